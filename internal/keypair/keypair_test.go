package keypair_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"lastwill/internal/keypair"
)

func TestEnsureMakesAPairOnce(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "certs")
	first, err := keypair.Ensure(dir, "lwtThing", true)
	if err != nil {
		t.Fatal(err)
	}
	csr := parseCSR(t, first)
	if got := csr.PublicKey.(*ecdsa.PublicKey).Curve; got != elliptic.P256() {
		t.Errorf("curve = %v, want P-256", got.Params().Name)
	}
	if got := csr.Subject.CommonName; got != "lwtThing" {
		t.Errorf("common name = %q", got)
	}
	for path, want := range map[string]os.FileMode{dir: 0o700 | os.ModeDir, keypair.KeyFile(dir, "lwtThing"): 0o600, keypair.CSRFile(dir, "lwtThing"): 0o644} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v; want mode %v", path, info.Mode(), err, want)
		}
	}
	before := contents(t, dir)
	second, err := keypair.Ensure(dir, "lwtThing", true)
	if err != nil || second != first {
		t.Errorf("the second call returned another CSR (%v)", err)
	}
	if after := contents(t, dir); len(before) != 2 || after["lwtThing.key"] != before["lwtThing.key"] || after["lwtThing.csr"] != before["lwtThing.csr"] {
		t.Errorf("the second call changed files, or the first left more than two behind")
	}
}

func TestEnsureAgreesWithItselfWhenRunAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	csrs := make([]string, 16)
	var all sync.WaitGroup
	for i := range csrs {
		all.Go(func() {
			var err error
			if csrs[i], err = keypair.Ensure(dir, "lwtThing", true); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, csr := range csrs {
		if csr != csrs[0] {
			t.Fatal("two runs at once returned different CSRs")
		}
	}
	if files := contents(t, dir); len(files) != 2 {
		t.Errorf("%d files left, want key and CSR", len(files))
	}
}

func TestEnsureKeepsToLongNames(t *testing.T) {
	t.Parallel()
	csr, err := keypair.Ensure(t.TempDir(), strings.Repeat("x", 128), true)
	if err != nil {
		t.Fatal(err)
	}
	if got := len(parseCSR(t, csr).Subject.CommonName); got != 64 {
		t.Errorf("common name of %d characters, X.509 allows 64", got)
	}
}

// keys are made once: RSA keys cost time.
var p256, otherP256, rsa1024, ed = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
	must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
	must(rsa.GenerateKey(rand.Reader, 1024)),
	ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))

func TestEnsureTakesWhatIsThere(t *testing.T) {
	t.Parallel()
	sec1 := pemOf("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(p256)))
	cases := []struct {
		name     string
		key, csr string
		create   bool
	}{
		{"key and CSR, nothing to create", keyPEM(p256), csrPEM(p256), false},
		{"a CSR alone: its key may live on the device", "", csrPEM(p256), true},
		{"a CSR alone, on a build machine", "", csrPEM(p256), false},
		{"a key alone gets its CSR", keyPEM(p256), "", true},
		{"a key as openssl ecparam writes it", "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" + sec1, csrPEM(p256), false},
		{"a key with Windows' line breaks and a mark", "\ufeff" + strings.ReplaceAll(keyPEM(p256), "\n", "\r\n"), csrPEM(p256), false},
		{"key and CSR with line breaks written out", strings.ReplaceAll(keyPEM(p256), "\n", `\n`), strings.ReplaceAll(csrPEM(p256), "\n", `\n`), false},
		{"a CSR in DER", keyPEM(p256), string(must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, p256))), false},
		{"key and CSR in one file, twice", keyPEM(p256) + csrPEM(p256), csrPEM(p256) + keyPEM(p256), false},
		{"a CSR with text before it", keyPEM(p256), "Certificate Request:\n    Data:\n" + csrPEM(p256), false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := folder(t, c.key, c.csr)
			csr, err := keypair.Ensure(dir, "lwtThing", c.create)
			if err != nil {
				t.Fatal(err)
			}
			if !p256.PublicKey.Equal(parseCSR(t, csr).PublicKey) {
				t.Error("the CSR is not of the key that was there")
			}
			after := contents(t, dir)
			if after["lwtThing.key"] != c.key {
				t.Error("the key file was changed")
			}
			if c.csr != "" && after["lwtThing.csr"] != c.csr {
				t.Error("the CSR file was changed")
			}
		})
	}
}

func TestEnsureRefuses(t *testing.T) {
	t.Parallel()
	forged := must(x509.ParseCertificateRequest(must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, p256)))).Raw
	forged[len(forged)-1] ^= 1
	cases := []struct {
		name     string
		key, csr string
		create   bool
		want     string
	}{
		{"a missing CSR on a build machine", "", "", false, "lwtThing.csr is missing: on a workstation, with all settings of this run, npx cdk synth --quiet makes it"},
		{"a key without CSR on a build machine", keyPEM(p256), "", false, "lwtThing.csr is missing: on a workstation, with all settings of this run, npx cdk synth --quiet makes it"},
		{"a CSR of another key", keyPEM(otherP256), csrPEM(p256), true, "was not made from"},
		{"a CSR of another kind of key", keyPEM(rsa1024), csrPEM(p256), true, "was not made from"},
		{"an empty key file", "\n", csrPEM(p256), true, "lwtThing.key is empty"},
		{"an encrypted key", strings.ReplaceAll(keyPEM(p256), "PRIVATE", "ENCRYPTED PRIVATE"), csrPEM(p256), true, "lwtThing.key is encrypted, and a device starts without a passphrase; this removes it: openssl pkey -in "},
		{
			"a key encrypted the old way", string(pem.EncodeToMemory(&pem.Block{
				Type: "EC PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}, Bytes: []byte("x"),
			})), "", true, "lwtThing.key is encrypted",
		},
		{"a certificate in place of the key", pemOf("CERTIFICATE", []byte("x")), "", true, "lwtThing.key holds CERTIFICATE, not PRIVATE KEY"},
		{"a PKCS #12 archive in place of the key", "\x30\x05\x02\x01\x03\x30\x00", "", true, "lwtThing.key is not in PEM format: it is a PKCS #12 archive: openssl pkcs12 -in "},
		{"an empty CSR file", keyPEM(p256), "\n", true, "lwtThing.csr is empty"},
		{"a CSR that breaks off", keyPEM(p256), csrPEM(p256)[:80], true, "lwtThing.csr is cut off"},
		{"a key that breaks off", keyPEM(p256)[:80], "", true, "lwtThing.key is cut off"},
		{"a CSR with a false signature", keyPEM(p256), pemOf("CERTIFICATE REQUEST", forged), true, "lwtThing.csr is damaged"},
		{"a key in place of the CSR", keyPEM(p256), keyPEM(p256), true, "lwtThing.csr holds PRIVATE KEY, not CERTIFICATE REQUEST: are two file names swapped?"},
		{"a short RSA key", "", csrPEM(rsa1024), true, "use ECDSA P-256, P-384 or P-521, or RSA of at least 2048 bits"},
		{"an Ed25519 key", "", csrPEM(ed), true, "use ECDSA P-256, P-384 or P-521, or RSA of at least 2048 bits"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := folder(t, c.key, c.csr)
			before := contents(t, dir)
			_, err := keypair.Ensure(dir, "lwtThing", c.create)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("err = %v, want %q in it", err, c.want)
			}
			after := contents(t, dir)
			if len(after) != len(before) || after["lwtThing.key"] != before["lwtThing.key"] || after["lwtThing.csr"] != before["lwtThing.csr"] {
				t.Error("files changed")
			}
		})
	}
}

func TestEnsureMakesNothingOnABuildMachine(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "certs")
	if _, err := keypair.Ensure(dir, "lwtThing", false); err == nil {
		t.Fatal("no error for a missing CSR")
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the folder was made (%v)", err)
	}
}

func TestEnsureSaysWhyAFolderIsNoGood(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{
		filepath.Join(file, "certs"): "not a directory: make it readable, or name another folder",
		"/proc/certs":                "make the folder for keys and CSRs: mkdir /proc/certs: ",
	} {
		if _, err := keypair.Ensure(dir, "lwtThing", true); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: err = %v, want %q in it", dir, err, want)
		}
	}
}

func FuzzEnsureNeverPanicsOrWrites(f *testing.F) {
	f.Add(keyPEM(p256), csrPEM(p256))
	f.Add(keyPEM(rsa1024), csrPEM(ed))
	f.Fuzz(func(t *testing.T, key, csr string) {
		dir := folder(t, key, csr)
		before := len(contents(t, dir))
		got, err := keypair.Ensure(dir, "lwtThing", false)
		if err == nil {
			parseCSR(t, got)
		}
		if len(contents(t, dir)) != before {
			t.Error("a file was written")
		}
	})
}

// folder holds the files of lwtThing; an empty content means no file.
func folder(t *testing.T, key, csr string) string {
	t.Helper()
	dir := t.TempDir()
	for path, content := range map[string]string{keypair.KeyFile(dir, "lwtThing"): key, keypair.CSRFile(dir, "lwtThing"): csr} {
		if content == "" {
			continue
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(content)
	}
	return files
}

func parseCSR(t *testing.T, s string) *x509.CertificateRequest {
	t.Helper()
	block, rest := pem.Decode([]byte(s))
	if block == nil || block.Type != "CERTIFICATE REQUEST" || len(rest) > 0 {
		t.Fatalf("not one PEM block of a CSR: %q", s)
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if err := csr.CheckSignature(); err != nil {
		t.Fatal(err)
	}
	return csr
}

func keyPEM(key crypto.Signer) string {
	return pemOf("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key)))
}

func csrPEM(key crypto.Signer) string {
	return pemOf("CERTIFICATE REQUEST", must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)))
}

func pemOf(block string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: block, Bytes: der}))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
