// Package brokertest gives tests real MQTT brokers over real mutual TLS on
// loopback: mochi-mqtt in the test's process, mosquitto beside it, and
// mosquitto's clients as observers that owe nothing to our code.
package brokertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// PKI is a throwaway certificate authority with its files in the test's folder.
type PKI struct {
	CAFile string
	Pool   *x509.CertPool

	dir    string
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	issued atomic.Int64
}

// NewPKI makes an authority.
func NewPKI(t testing.TB) *PKI {
	t.Helper()
	p := &PKI{dir: t.TempDir(), key: NewKey(t)}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "throwaway test CA"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, p.key.Public(), p.key)
	check(t, err)
	p.cert, err = x509.ParseCertificate(der)
	check(t, err)
	p.Pool = x509.NewCertPool()
	p.Pool.AddCert(p.cert)
	p.CAFile = p.File(t, "ca.pem", "CERTIFICATE", der)
	return p
}

// Issue issues a certificate for clients and for servers on loopback, with a new
// key, and returns their files. change may alter the certificate before it is
// signed.
func (p *PKI) Issue(t testing.TB, name string, change ...func(*x509.Certificate)) (certFile, keyFile string) {
	t.Helper()
	key := NewKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(p.issued.Add(1)),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		DNSNames:     []string{"localhost", "broker.test"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	for _, f := range change {
		f(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, p.cert, key.Public(), p.key)
	check(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	check(t, err)
	file := fmt.Sprintf("%s-%d.pem", name, template.SerialNumber)
	return p.File(t, file+".crt", "CERTIFICATE", der), p.File(t, file+".key", "PRIVATE KEY", pkcs8)
}

// ServerTLS is the TLS configuration of a broker that wants client certificates
// of this authority.
func (p *PKI) ServerTLS(t testing.TB) *tls.Config {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(p.Issue(t, "broker"))
	check(t, err)
	return &tls.Config{
		Certificates: []tls.Certificate{cert},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    p.Pool,
		MinVersion:   tls.VersionTLS12,
	}
}

// File writes a PEM file into the authority's folder and returns its path.
func (p *PKI) File(t testing.TB, name, blockType string, der []byte) string {
	t.Helper()
	file := filepath.Join(p.dir, name)
	check(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: blockType, Bytes: der}), 0o600))
	return file
}

// NewKey makes a private key.
func NewKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	return key
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
