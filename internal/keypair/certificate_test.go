package keypair_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"lastwill/internal/keypair"
)

// certificatePEM is a certificate of a key, signed by itself.
func certificatePEM(key crypto.Signer, commonName string, change func(*x509.Certificate)) string {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: commonName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	change(template)
	return pemOf("CERTIFICATE", must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)))
}

func plain(*x509.Certificate) {}

func TestOwnCertificate(t *testing.T) {
	t.Parallel()
	own := certificatePEM(otherP256, "lwtThing", plain)
	cases := []struct {
		name             string
		certificate, csr string
		want             string // the certificate
		wantErr          string // a part of the message
	}{
		{"no certificate", "", csrPEM(p256), "", ""},
		{"somebody else's, of another key than the CSR's", own, csrPEM(p256), own, ""},
		{"somebody else's, for the CSR's key", certificatePEM(p256, "lwtThing", plain), csrPEM(p256), "certificate", ""},
		{"somebody else's, without a CSR", own, "", own, ""},
		{"with its key in the same file, before or after it", keyPEM(otherP256) + own + keyPEM(otherP256), "", own, ""},
		{"with its CA after it", own + certificatePEM(p256, "CA", plain), "", own, ""},
		{"what AWS IoT issued for the CSR", certificatePEM(p256, "AWS IoT Certificate", plain), csrPEM(p256), "", ""},
		{"what AWS IoT issued for an older CSR", certificatePEM(otherP256, "AWS IoT Certificate", plain), csrPEM(p256), "", "but not for "},
		{"what AWS IoT issued for a key of its own", certificatePEM(p256, "AWS IoT Certificate", plain), "", "", "deploy another one with -c things=NAME"},
		{"what AWS IoT issued, beside a damaged CSR", certificatePEM(p256, "AWS IoT Certificate", plain), "x", "", "lwtThing.csr is not in PEM format"},
		{"no PEM", "x", "", "", "lwtThing.pem.crt is not in PEM format"},
		{"a certificate that breaks off", pemOf("CERTIFICATE", []byte{0x30, 0x82}), "", "", "lwtThing.pem.crt is damaged"},
		{"a CSR in its place", csrPEM(p256), csrPEM(p256), "", "lwtThing.pem.crt holds CERTIFICATE REQUEST"},
		{"a key that AWS IoT refuses", certificatePEM(ed, "x", plain), "", "", "has a key that AWS IoT refuses"},
		{
			"expired", certificatePEM(p256, "x", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), "", "",
			"lwtThing.pem.crt expired on ",
		},
		{
			"not valid yet", certificatePEM(p256, "x", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }), "", "",
			"lwtThing.pem.crt is not valid before ",
		},
		{"signed with SHA-1, as old CAs do", sha1Signed, "", "", "is signed with SHA1-RSA, which AWS IoT refuses"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := folder(t, "", c.csr)
			if c.certificate != "" {
				if err := os.WriteFile(keypair.CertificateFile(dir, "lwtThing"), []byte(c.certificate), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			before := contents(t, dir)
			got, err := keypair.OwnCertificate(dir, "lwtThing")
			if c.want == "certificate" {
				c.want = c.certificate
			}
			if got != c.want {
				t.Errorf("got %s\nwant %s", got, c.want)
			}
			if (err == nil) != (c.wantErr == "") || err != nil && !strings.Contains(err.Error(), c.wantErr) {
				t.Errorf("err = %v, want %q in it", err, c.wantErr)
			}
			if strings.Contains(got, "PRIVATE KEY") {
				t.Error("a private key was returned")
			}
			after := contents(t, dir)
			for file, content := range before {
				if after[file] != content {
					t.Errorf("%s was changed", file)
				}
			}
		})
	}
}

func FuzzOwnCertificateIsACertificateOrAnError(f *testing.F) {
	f.Add(certificatePEM(p256, "lwtThing", plain), csrPEM(p256))
	f.Add(keyPEM(p256)+certificatePEM(p256, "AWS IoT Certificate", plain), "")
	f.Fuzz(func(t *testing.T, certificate, csr string) {
		dir := folder(t, "", csr)
		if err := os.WriteFile(keypair.CertificateFile(dir, "lwtThing"), []byte(certificate), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := keypair.OwnCertificate(dir, "lwtThing")
		if got == "" || err != nil {
			return
		}
		block, rest := pem.Decode([]byte(got))
		if block == nil || block.Type != "CERTIFICATE" || len(bytes.TrimSpace(rest)) > 0 {
			t.Errorf("returned %q", got)
		}
	})
}

// sha1Signed is of openssl req -x509 -sha1: Go signs no such certificate any more.
const sha1Signed = `-----BEGIN CERTIFICATE-----
MIIDCTCCAfGgAwIBAgIUJMy4GWcDp/d1RuWCFHG1fpUkfz8wDQYJKoZIhvcNAQEF
BQAwEzERMA8GA1UEAwwIbHd0VGhpbmcwIBcNMjYxMTI4MjE0NjE2WhgPMjEyNjEx
MDQyMTQ2MTZaMBMxETAPBgNVBAMMCGx3dFRoaW5nMIIBIjANBgkqhkiG9w0BAQEF
AAOCAQ8AMIIBCgKCAQEAxZqQc6zbSqXW7PDO77zx4g8i6dIVh6Dhtlh3OL9Wi4bW
h88FwPi3xjgQlq7X1WY/VtQLpKMlP3ci+i83t9dO7FWKSmPU4I+t2Qs0mpQdLaw+
cGiUipOlrhqWO4hD87v5yK+vroAWCdnmn9Hcc1lzjUrr6phHpPpOEKYsoSzLSBKw
l9wgZ1z30epViSkdAYopZ8sQiMWolatJuPd2ci4wzJqOETVqBR5BAnnyhgb2QxZO
fzC8tCrzNG9ApiOLPmaOEYWIohGGOGwo34N5FtilDF1YFY3kfkYucDcm7PD0Wo/d
F/fy1lvVickNItAMnd7cN5h5XLOh5t5v5REq7YhDlQIDAQABo1MwUTAdBgNVHQ4E
FgQUFOl/xbKb+BiNf6N1X+gWuj8t4c4wHwYDVR0jBBgwFoAUFOl/xbKb+BiNf6N1
X+gWuj8t4c4wDwYDVR0TAQH/BAUwAwEB/zANBgkqhkiG9w0BAQUFAAOCAQEAZDup
JLbcbxWr78DJeLX8SKsdm5yvL89fqsHFrmWDsNXR0aqHnje26Wpy97LtkoLvCIGT
x0EiDd+1MgrTG2DoUUVpnwOi/jCc2PM574ajvGS0YCYnraKVTKpcKC5gX/ngkVvc
tio//dNk97CBIvrm0JgmL8dxYFbe+5SkRgwnxTMhnC3sY5gQDQC8DCv92CFl8D6R
mvZ0uaWe9gn410W9dZvSPapFvvaXTuwd2Up6qwn6kFtwgaFhKN8TQc5B2C93Qkjn
XsJwvCnf/dCySegp7ARurNEKLTMXjrJUtF53Hmq6lMiIpYt+ZQFnhJjylQ5zIq07
1vii5g3+RrDMUWzfPw==
-----END CERTIFICATE-----
`
