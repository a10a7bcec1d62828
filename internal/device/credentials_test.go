package device_test

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"lastwill/internal/cli"
	"lastwill/internal/device"
	"lastwill/internal/device/brokertest"
)

// files are the PEM files of a test.
type files struct {
	t   *testing.T
	dir string
}

func (f files) write(name string, blocks ...*pem.Block) string {
	f.t.Helper()
	var data []byte
	for _, b := range blocks {
		data = append(data, pem.EncodeToMemory(b)...)
	}
	return f.raw(name, data)
}

func (f files) raw(name string, data []byte) string {
	f.t.Helper()
	file := filepath.Join(f.dir, name)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		f.t.Fatal(err)
	}
	return file
}

// must unwraps the result of a function that cannot fail here.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestKeysOfEveryCommonFormLoad(t *testing.T) {
	t.Parallel()
	p256 := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	rsaKey := must(rsa.GenerateKey(rand.Reader, 2048))
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		signer crypto.Signer
		blocks []*pem.Block
	}{
		{"PKCS #8, ECDSA", p256, []*pem.Block{{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(p256))}}},
		{"PKCS #8, RSA", rsaKey, []*pem.Block{{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(rsaKey))}}},
		{"PKCS #8, Ed25519", edKey, []*pem.Block{{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(edKey))}}},
		{"PKCS #1, as AWS makes them", rsaKey, []*pem.Block{{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)}}},
		{"SEC 1 after its parameters, as openssl ecparam makes them", p256, []*pem.Block{
			{Type: "EC PARAMETERS", Bytes: []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}},
			{Type: "EC PRIVATE KEY", Bytes: must(x509.MarshalECPrivateKey(p256))},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
			der := must(x509.CreateCertificate(rand.Reader, template, template, tt.signer.Public(), tt.signer))
			f := files{t, t.TempDir()}
			pair, err := device.LoadCertificate(f.write("cert.pem", &pem.Block{Type: "CERTIFICATE", Bytes: der}), f.write("key.pem", tt.blocks...))
			if err != nil || pair.Leaf == nil || len(pair.Certificate) != 1 {
				t.Errorf("got %v, %v", pair.Leaf, err)
			}
		})
	}
}

// Who has one file gives it twice.
func TestCertificateAndKeyMayBeInOneFile(t *testing.T) {
	t.Parallel()
	pki := brokertest.NewPKI(t)
	certFile, keyFile := pki.Issue(t, "lwtThing")
	f := files{t, t.TempDir()}
	cert, key, ca := string(must(os.ReadFile(certFile))), string(must(os.ReadFile(keyFile))), string(must(os.ReadFile(pki.CAFile)))
	for _, tt := range []struct {
		claim, content string
		chain          int
	}{
		{"the certificate first", cert + key, 1},
		{"the key first", key + cert, 1},
		{"with the CA between", key + ca + cert, 2},
		{"with the CA first", ca + cert + key, 2},
		{"in quotes, with line breaks written out", strconv.Quote(cert + key), 1},
	} {
		t.Run(tt.claim, func(t *testing.T) {
			t.Parallel()
			both := f.raw(strings.ReplaceAll(tt.claim, " ", "_"), []byte(tt.content))
			for _, files := range [][2]string{{both, both}, {both, keyFile}, {certFile, both}} {
				pair, err := device.LoadCertificate(files[0], files[1])
				if err != nil {
					t.Errorf("%v: %v", files, err)
					continue
				}
				own := must(x509.ParseCertificate(pair.Certificate[0]))
				if own.Subject.CommonName != "lwtThing" || !own.Equal(pair.Leaf) || files[0] == both && len(pair.Certificate) != tt.chain {
					t.Errorf("%v: %d certificates, first %s", files, len(pair.Certificate), own.Subject)
				}
			}
			if _, err := device.LoadRoots(both); err != nil {
				t.Errorf("as roots: %v", err)
			}
		})
	}
	encrypted := f.raw("encrypted.pem", []byte(cert+strings.ReplaceAll(key, "PRIVATE KEY", "ENCRYPTED PRIVATE KEY")))
	_, err := device.LoadCertificate(encrypted, encrypted)
	wantFailure(t, err, failure{device.BadCredentials, "encrypted.pem is encrypted", "openssl pkey -in " + encrypted})
}

func TestCredentialErrors(t *testing.T) {
	t.Parallel()
	pki := brokertest.NewPKI(t)
	f := files{t, t.TempDir()}
	cert, key := pki.Issue(t, "lwtThing")
	_, otherKey := pki.Issue(t, "other")
	expired, expiredKey := pki.Issue(t, "expired", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	early, earlyKey := pki.Issue(t, "early", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })
	exchange := must(ecdh.X25519().GenerateKey(rand.Reader))
	tests := []struct {
		name, cert, key string
		text, hint      string
	}{
		{"a certificate that is not there", "missing.crt", key, "certificate missing.crt: no such file", "describe-certificate"},
		{"a key that is not there", cert, "missing.key", "private key missing.key: no such file", "certs/"},
		{"a folder", f.dir, key, "certificate: read " + f.dir, "may read"},
		{"a DER file that breaks off", f.raw("cert.der", []byte{0x30, 0x82}), key, "cert.der is not in PEM format", "-----BEGIN"},
		{"a damaged certificate", f.write("bad.crt", &pem.Block{Type: "CERTIFICATE", Bytes: []byte{0x30}}), key, "bad.crt: x509: ", "damaged"},
		{"a damaged key", cert, f.write("bad.key", &pem.Block{Type: "PRIVATE KEY", Bytes: []byte{0x30}}), "bad.key: ", "damaged"},
		{"files swapped", key, cert, "holds PRIVATE KEY, not CERTIFICATE", "swapped"},
		{"a certificate in place of the key", cert, cert, "holds CERTIFICATE, not PRIVATE KEY", "swapped"},
		{"a request in place of the certificate", f.write("lwtThing.csr", &pem.Block{Type: "CERTIFICATE REQUEST", Bytes: []byte{0x30}}), key, "lwtThing.csr holds CERTIFICATE REQUEST, not CERTIFICATE", "give the certificate that was issued"},
		{"a key of OpenSSH", cert, f.write("a device.key", &pem.Block{Type: "OPENSSH PRIVATE KEY", Bytes: []byte{0x30}}), "a device.key holds OPENSSH PRIVATE KEY, not PRIVATE KEY", "ssh-keygen -p -N '' -m PKCS8 -f '" + f.dir + "/a device.key'"},
		{"an encrypted key in a file whose name has a space", cert, f.write("the device.key", &pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte{0x30}}), "the device.key is encrypted", "openssl pkey -in '" + f.dir + "/the device.key' -out '"},
		{"a key of another certificate", cert, otherKey, "private key " + otherKey + " does not belong to certificate " + cert, "CSR"},
		{"an encrypted key", cert, f.write("enc.key", &pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte{0x30}}), "enc.key is encrypted", "openssl pkey -in"},
		{
			"a key encrypted the old way", cert,
			f.write("old.key", &pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC,00"}, Bytes: []byte{0x30}}),
			"old.key is encrypted", "openssl pkey -in",
		},
		{
			"a key that cannot sign", cert,
			f.write("x25519.key", &pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(exchange))}),
			"x25519.key cannot sign", "RSA and ECDSA",
		},
		{"an expired certificate", expired, expiredKey, "certificate " + expired + " expired on ", "clock"},
		{"a certificate that is not valid yet", early, earlyKey, "certificate " + early + " is not valid before ", "clock"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := device.LoadCertificate(tt.cert, tt.key)
			wantFailure(t, err, failure{device.BadCredentials, tt.text, tt.hint})
			wantNoSecret(t, err, key, otherKey)
		})
	}
}

func TestRootErrors(t *testing.T) {
	t.Parallel()
	pki := brokertest.NewPKI(t)
	f := files{t, t.TempDir()}
	_, key := pki.Issue(t, "lwtThing")
	tests := []struct{ name, file, text, hint string }{
		{"a file that is not there", "missing.pem", "root CA missing.pem: no such file", "https://www.amazontrust.com/repository/AmazonRootCA1.pem"},
		{"a key", key, "holds PRIVATE KEY, not CERTIFICATE", "swapped"},
		{"no PEM", f.raw("page.html", []byte("<html>")), "page.html is not in PEM format: it is a web page", "curl -fO"},
		{"a damaged certificate", f.write("bad.pem", &pem.Block{Type: "CERTIFICATE", Bytes: []byte{0x30}}), "bad.pem: x509: ", "damaged"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := device.LoadRoots(tt.file)
			wantFailure(t, err, failure{device.BadCredentials, tt.text, tt.hint})
			wantNoSecret(t, err, key)
		})
	}
	if _, err := device.LoadRoots(pki.CAFile); err != nil {
		t.Errorf("a CA: %v", err)
	}
}

// wantNoSecret checks that an error shows nothing of a key.
func wantNoSecret(t *testing.T, err error, keyFiles ...string) {
	t.Helper()
	for _, file := range keyFiles {
		block, _ := pem.Decode(must(os.ReadFile(file)))
		for _, secret := range []string{string(block.Bytes), base64.StdEncoding.EncodeToString(block.Bytes)[:32]} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the error shows the key %s", file)
			}
		}
	}
}

// FuzzCredentials checks that no file does worse than to be refused with a hint.
func FuzzCredentials(f *testing.F) {
	pki := brokertest.NewPKI(f)
	cert, key := pki.Issue(f, "lwtThing")
	for _, file := range []string{cert, key, pki.CAFile} {
		f.Add(must(os.ReadFile(file)))
	}
	f.Add([]byte("-----BEGIN EC PARAMETERS-----\n-----END EC PARAMETERS-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file := files{t, t.TempDir()}.raw("file.pem", data)
		for _, pair := range [][2]string{{file, key}, {cert, file}} {
			loaded, err := device.LoadCertificate(pair[0], pair[1])
			if err == nil && loaded.Leaf == nil || err != nil && cli.Hint(err) == "" {
				t.Errorf("%q: certificate %v, error %v", data, loaded.Leaf, err)
			}
		}
		if _, err := device.LoadRoots(file); err != nil && cli.Hint(err) == "" {
			t.Errorf("%q: %v", data, err)
		}
	})
}
