package pemfile_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"

	"lastwill/internal/cli"
	"lastwill/internal/pemfile"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// What the tests wrap in other forms.
var (
	ec       = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	rsaKey   = must(rsa.GenerateKey(rand.Reader, 2048))
	template = &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	certDER  = must(x509.CreateCertificate(rand.Reader, template, template, ec.Public(), ec))
	keyDER   = must(x509.MarshalPKCS8PrivateKey(ec))
	csrDER   = must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, ec))
	cert     = &pem.Block{Type: "CERTIFICATE", Headers: map[string]string{}, Bytes: certDER}
	key      = &pem.Block{Type: "PRIVATE KEY", Headers: map[string]string{}, Bytes: keyDER}
	csr      = &pem.Block{Type: "CERTIFICATE REQUEST", Headers: map[string]string{}, Bytes: csrDER}
	certText = string(pem.EncodeToMemory(cert))
	keyText  = string(pem.EncodeToMemory(key))
)

func write(t testing.TB, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "a file.pem")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func inUTF16(text string, big bool, mark string) string {
	var b bytes.Buffer
	for _, u := range utf16.Encode([]rune(mark + text)) {
		if big {
			b.Write([]byte{byte(u >> 8), byte(u)})
		} else {
			b.Write([]byte{byte(u), byte(u >> 8)})
		}
	}
	return b.String()
}

// program writes a text as the strings of a program, one a line.
func program(text, before, after string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(before + `"` + strings.TrimSuffix(line, "\n") + `\n"` + after + "\n")
	}
	return b.String()
}

func asJSON(v any) string { return string(must(json.MarshalIndent(v, "", "    "))) }

func TestFilesAsPeopleHaveThemAreRead(t *testing.T) {
	t.Parallel()
	both := []*pem.Block{cert, key}
	encrypted := &pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC,00"}, Bytes: []byte("secret")}
	for _, tt := range []struct {
		claim, content string
		want           []*pem.Block
	}{
		{"PEM", certText, []*pem.Block{cert}},
		{"certificate and key", certText + keyText, both},
		{"key and certificate", keyText + certText, []*pem.Block{key, cert}},
		{"text before, between and after", "Certificate:\n    Data:\n" + certText + "Bag Attributes\n" + keyText + "the end\n", both},
		{"Windows' line breaks", strings.ReplaceAll(certText+keyText, "\n", "\r\n"), both},
		{"old Macs' line breaks", strings.ReplaceAll(certText+keyText, "\n", "\r"), both},
		{"no line break at the end", strings.TrimSpace(certText), []*pem.Block{cert}},
		{"a byte order mark", "\ufeff" + certText, []*pem.Block{cert}},
		{"UTF-16 as PowerShell writes it", inUTF16(strings.ReplaceAll(certText+keyText, "\n", "\r\n"), false, "\ufeff"), both},
		{"UTF-16, the other byte first", inUTF16(certText, true, "\ufeff"), []*pem.Block{cert}},
		{"UTF-16 without a mark", inUTF16(certText, false, ""), []*pem.Block{cert}},
		{`literal \n`, strings.ReplaceAll(certText+keyText, "\n", `\n`), both},
		{`literal \r\n`, strings.ReplaceAll(certText, "\n", `\r\n`), []*pem.Block{cert}},
		{`literal \n, escaped twice`, strings.ReplaceAll(certText, "\n", `\\n`), []*pem.Block{cert}},
		{`literal \n in quotes`, `"` + strings.ReplaceAll(certText, "\n", `\n`) + `"`, []*pem.Block{cert}},
		{`literal \n in single quotes`, `'` + strings.ReplaceAll(certText, "\n", `\n`) + `'`, []*pem.Block{cert}},
		{`a line of an .env file`, `DEVICE_KEY="` + strings.ReplaceAll(keyText, "\n", `\n`) + `"`, []*pem.Block{key}},
		{"quotes around", `"` + certText + `"`, []*pem.Block{cert}},
		{"spaces in place of line breaks", strings.ReplaceAll(certText+keyText, "\n", " "), both},
		{"no line breaks at all", strings.ReplaceAll(certText+keyText, "\n", ""), both},
		{"indented, as in YAML", "certificate: |\n" + regexp.MustCompile(`(?m)^`).ReplaceAllString(certText, "  "), []*pem.Block{cert}},
		{"strings of a C program", "const char cert[] =\n" + program(certText, "  ", "") + ";\nconst char key[] =\n" + program(keyText, "  ", "") + ";\n", both},
		{"strings of a Java program", "String cert =\n" + program(certText, "  ", " +") + "  \"\";\n", []*pem.Block{cert}},
		{"strings of a list", "[\n" + program(certText, "  ", ",") + "]\n", []*pem.Block{cert}},
		{"create-keys-and-certificate", asJSON(map[string]any{
			"certificateArn": "arn:aws:iot:us-east-1:123456789012:cert/abc", "certificatePem": certText, "keyPair": map[string]any{"PrivateKey": keyText},
		}), both},
		{"describe-certificate", asJSON(map[string]any{"certificateDescription": map[string]any{"certificatePem": certText, "status": "ACTIVE"}}), []*pem.Block{cert}},
		{"a string of JSON", asJSON(certText), []*pem.Block{cert}},
		{"a string of JSON with a mark, in UTF-16", inUTF16(asJSON(certText), false, "\ufeff"), []*pem.Block{cert}},
		{"a certificate in DER", string(certDER), []*pem.Block{cert}},
		{"a request in DER", string(csrDER), []*pem.Block{csr}},
		{"a key in DER, PKCS #8", string(keyDER), []*pem.Block{key}},
		{"a key in DER, SEC 1", string(must(x509.MarshalECPrivateKey(ec))), []*pem.Block{{Type: "EC PRIVATE KEY", Headers: map[string]string{}, Bytes: must(x509.MarshalECPrivateKey(ec))}}},
		{"a key in DER, PKCS #1", string(x509.MarshalPKCS1PrivateKey(rsaKey)), []*pem.Block{{Type: "RSA PRIVATE KEY", Headers: map[string]string{}, Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)}}},
		{"DER in base64, without its lines", base64.StdEncoding.EncodeToString(certDER), []*pem.Block{cert}},
		{"PEM in base64, as a secret is stored", base64.StdEncoding.EncodeToString([]byte(certText + keyText)), both},
		{"the name that openssl once gave certificates", strings.ReplaceAll(certText, "CERTIFICATE", "X509 CERTIFICATE"), []*pem.Block{cert}},
		{"a certificate with what openssl trusts it for", string(pem.EncodeToMemory(&pem.Block{Type: "TRUSTED CERTIFICATE", Bytes: append(bytes.Clone(certDER), 0x30, 0)})), []*pem.Block{cert}},
		{"the name that Windows gives requests", strings.ReplaceAll(string(pem.EncodeToMemory(csr)), "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"), []*pem.Block{csr}},
		{"a key encrypted the old way, with Windows' line breaks", strings.ReplaceAll(string(pem.EncodeToMemory(encrypted)), "\n", "\r\n"), []*pem.Block{encrypted}},
	} {
		t.Run(tt.claim, func(t *testing.T) {
			t.Parallel()
			got, err := pemfile.Read(write(t, tt.content))
			if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
				t.Errorf("error %v, (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestWhatIsNoPEMIsNamed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ claim, content, says, hint string }{
		{"nothing", "", "is empty", "again"},
		{"white space with a mark", "\ufeff \r\n", "is empty", "again"},
		{"text", "hello", "is not in PEM format", "-----BEGIN"},
		{"a web page", "<!DOCTYPE html><html>", "is not in PEM format: it is a web page", "curl"},
		{"JSON of something else", `{"message": "AccessDenied"}`, "is not in PEM format: it is JSON without", "describe-certificate"},
		{"a ZIP archive", "PK\x03\x04....", "is not in PEM format: it is a ZIP archive", "unzip '"},
		{"PKCS #12", "\x30\x05\x02\x01\x03\x30\x00", "is not in PEM format: it is a PKCS #12 archive", "openssl pkcs12 -in '"},
		{"PKCS #7 in DER", "\x30\x0b\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02", "is not in PEM format: it is PKCS #7", "openssl pkcs7 -inform der -in '"},
		{"a file that breaks off", certText[:len(certText)/2], "is cut off", "whole file"},
		{"a key that breaks off after a certificate", certText + keyText[:80], "is cut off", "whole file"},
		{"a certificate that breaks off before a key", certText[:200] + "\n" + keyText, "is cut off", "whole file"},
		{"other characters", strings.Replace(certText, "M", "\u2026", 1), "is damaged: what it has as CERTIFICATE is not base64", "again"},
		{"a key of PuTTY", "PuTTY-User-Key-File-3: ecdsa-sha2-nistp256\n", "is not in PEM format: it is a key of PuTTY", "puttygen '"},
		{"a public key of SSH", "ssh-ed25519 AAAAC3Nz me@example.com\n", "is not in PEM format: it is a public key of SSH", "private key"},
	} {
		t.Run(tt.claim, func(t *testing.T) {
			t.Parallel()
			file := write(t, tt.content)
			_, err := pemfile.Read(file)
			if err == nil || !strings.HasPrefix(err.Error(), file+" "+tt.says) || !strings.Contains(cli.Hint(err), tt.hint) {
				t.Errorf("it says %v, hint %q", err, cli.Hint(err))
			}
		})
	}
}

// FuzzRead checks that a file gives blocks, or an error with a hint.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		certText, keyText + certText, strings.ReplaceAll(certText, "\n", `\n`), asJSON(certText), inUTF16(certText, false, "\ufeff"), string(certDER), string(csrDER),
		base64.StdEncoding.EncodeToString(keyDER), "-----BEGIN A-----\nB: c\n\nAAAA\n-----END A-----\n", "{", "\"", "\x30\x80",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := pemfile.Read(write(t, string(data)))
		if err == nil == (len(got) == 0) || err != nil && cli.Hint(err) == "" {
			t.Fatalf("blocks %v, error %v, hint %q", got, err, cli.Hint(err))
		}
		if b := pemfile.Key(got); b != nil {
			pemfile.Encrypted(b)
		}
	})
}
