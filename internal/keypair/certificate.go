package keypair

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"lastwill/internal/pemfile"
)

// issuedName is the common name of every certificate that AWS IoT issues, also for
// a CSR with another one (developer guide, "Create AWS IoT client certificates").
const issuedName = "AWS IoT Certificate"

// CertificateFile is where the certificate of a thing is kept.
func CertificateFile(dir, thing string) string { return fileOf(dir, thing, ".pem.crt") }

// OwnCertificate returns in PEM the certificate of a thing that somebody other than
// AWS IoT issued, to be deployed as it is. It returns "" without an error if the
// thing's certificate is, or will be, the one that AWS IoT issues for the CSR: there
// is no certificate, or AWS IoT issued it for the key of the CSR beside it. What AWS
// IoT issued for another key is an error, since it is registered already and a stack
// cannot have it.
func OwnCertificate(dir, thing string) (certificatePEM string, err error) {
	file := CertificateFile(dir, thing)
	blocks, err := readPEM(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	block := pemfile.Of(blocks, pemfile.Certificate)
	if block == nil {
		return "", holdsOther(file, pemfile.Certificate, blocks[0])
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", damaged(file, err)
	}
	if certificate.Subject.CommonName == issuedName {
		return "", checkIssued(dir, thing, certificate)
	}
	if err := checkOwn(certificate, time.Now()); err != nil {
		return "", fmt.Errorf("%s %w", file, err)
	}
	return encode("CERTIFICATE", certificate.Raw), nil
}

func checkIssued(dir, thing string, certificate *x509.Certificate) error {
	csr, err := readCSR(CSRFile(dir, thing))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil || csr != nil && samePublicKey(csr.PublicKey, certificate.PublicKey) {
		return err
	}
	return fmt.Errorf("%s is a certificate that AWS IoT issued, but not for %s: if it is an old one, move it away; if the thing exists already with this certificate, deploy another one with -c things=NAME",
		CertificateFile(dir, thing), CSRFile(dir, thing))
}

// checkOwn refuses what AWS IoT does not register, or does not let connect
// (developer guide, "X.509 client certificates", certificate signing algorithms).
func checkOwn(certificate *x509.Certificate, now time.Time) error {
	const day = "2006-01-02 15:04 MST"
	switch algorithm := certificate.SignatureAlgorithm.String(); {
	case !Accepted(certificate.PublicKey):
		return errors.New("has a key that AWS IoT refuses: use ECDSA P-256, P-384 or P-521, or RSA of at least 2048 bits")
	case strings.Contains(algorithm, "SHA1") || strings.Contains(algorithm, "MD5") || strings.Contains(algorithm, "MD2"):
		return fmt.Errorf("is signed with %s, which AWS IoT refuses: have it signed with SHA-256 or better", algorithm)
	case now.After(certificate.NotAfter):
		return fmt.Errorf("expired on %s: put a valid one there, or move it away to get one from AWS IoT", certificate.NotAfter.Format(day))
	case now.Before(certificate.NotBefore):
		return fmt.Errorf("is not valid before %s: check this machine's clock", certificate.NotBefore.Format(day))
	}
	return nil
}
