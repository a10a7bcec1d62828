package iot

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"lastwill/internal/atomicfile"
	"lastwill/internal/keypair"
)

// notAfter is the end of every certificate that AWS IoT issues.
var notAfter = time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC)

// An authority signs the broker's certificate and those of devices. Its key
// leaves the process for its own folder only.
type authority struct {
	root   *x509.Certificate
	key    *ecdsa.PrivateKey
	server tls.Certificate
}

// openAuthority brings back the authority that a folder keeps, so that devices
// go on trusting the broker after a restart, or makes one and keeps it there.
// Without a folder the authority is gone with the process.
func openAuthority(dir string) (*authority, error) {
	if dir == "" {
		return newAuthority()
	}
	file := filepath.Join(dir, "authority.pem")
	kept, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		a, err := newAuthority()
		if err != nil {
			return nil, err
		}
		kept, err = a.encode()
		if err != nil {
			return nil, err
		}
		return a, atomicfile.Write(file, kept)
	}
	if err != nil {
		return nil, err
	}
	a, err := parseAuthority(kept)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return a, nil
}

func (a *authority) encode() ([]byte, error) {
	key, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return nil, err
	}
	return append(a.rootPEM(), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...), nil
}

func parseAuthority(kept []byte) (*authority, error) {
	pair, err := tls.X509KeyPair(kept, kept)
	if err != nil {
		return nil, err
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("the key is not an ECDSA key")
	}
	a := &authority{root: pair.Leaf, key: key}
	return a, a.issueServer()
}

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "lastwill local root CA", Organization: []string{"lastwill"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: notAfter,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	a := &authority{key: key}
	if a.root, err = a.sign(template, template, &key.PublicKey); err != nil {
		return nil, err
	}
	return a, a.issueServer()
}

func (a *authority) issueServer() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	c, err := a.sign(&x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: notAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}, a.root, &key.PublicKey)
	if err != nil {
		return err
	}
	a.server = tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: key, Leaf: c}
	return nil
}

// issue makes a device certificate from a PEM certificate signing request. As on
// AWS the subject is AWS's own: the request only gives the public key.
func (a *authority) issue(csrPEM string) (*x509.Certificate, error) {
	block, _ := pem.Decode([]byte(csrPEM))
	if block == nil || block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST" {
		return nil, errors.New("the CSR is not a PEM certificate request")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the CSR cannot be read: %w", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("the CSR is not signed by its own key: %w", err)
	}
	if !keypair.Accepted(csr.PublicKey) {
		return nil, errors.New("the CSR's key must be RSA of at least 2048 bits or on the curve P-256, P-384 or P-521")
	}
	return a.sign(&x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "AWS IoT Certificate"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: notAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, a.root, csr.PublicKey)
}

func (a *authority) sign(template, parent *x509.Certificate, public any) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, a.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func (a *authority) rootPEM() []byte { return certificatePEM(a.root) }

func (a *authority) serverConfig() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{a.server}, MinVersion: tls.VersionTLS12}
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return n
}

// fingerprint is the id that AWS IoT gives a certificate: its SHA-256 fingerprint.
func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

func certificatePEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}
