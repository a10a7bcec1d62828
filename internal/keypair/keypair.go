// Package keypair keeps a device's private key and certificate signing request
// (CSR) in files. The key stays on the machine that made it; the CSR is public
// and is what a certificate authority, here AWS IoT, gets to see.
package keypair

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"lastwill/internal/cli"
	"lastwill/internal/pemfile"
	"lastwill/internal/shell"
)

// maxCommonName is the longest common name of an X.509 subject (RFC 5280,
// ub-common-name); a thing's name may be longer.
const maxCommonName = 64

// KeyFile is where the private key of a thing is kept.
func KeyFile(dir, thing string) string { return fileOf(dir, thing, ".key") }

// CSRFile is where the certificate signing request of a thing is kept.
func CSRFile(dir, thing string) string { return fileOf(dir, thing, ".csr") }

func fileOf(dir, thing, ending string) string { return filepath.Join(dir, thing+ending) }

// A MissingError is a CSR that is not there and may not be made here.
type MissingError struct {
	// CSR and Key are the files that Command makes.
	CSR, Key, Command string
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("%s is missing: on a workstation, with all settings of this run, %s makes it and %s; then git add -f %s and commit it",
		e.CSR, e.Command, e.Key, shell.Quote(e.CSR))
}

// Ensure returns the CSR of a thing in PEM. With create it makes what is missing:
// an ECDSA P-256 key, and a CSR for it. Files that exist are never changed, and
// are an error if they are damaged or do not belong together. A CSR alone is
// enough: its key may live on the device.
func Ensure(dir, thing string, create bool) (csrPEM string, err error) {
	csr, err := readCSR(CSRFile(dir, thing))
	switch missing := errors.Is(err, fs.ErrNotExist); {
	case missing && create:
		csr, err = makeCSR(dir, thing)
	case missing:
		return "", &MissingError{CSR: CSRFile(dir, thing), Key: KeyFile(dir, thing), Command: "npx cdk synth --quiet"}
	}
	if err != nil {
		return "", err
	}
	key, err := readKey(KeyFile(dir, thing))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err == nil && !samePublicKey(key.Public(), csr.PublicKey) {
		return "", fmt.Errorf("%s was not made from %s: bring back the one that belongs to it, or move both away to get a new pair and with it a new certificate",
			CSRFile(dir, thing), KeyFile(dir, thing))
	}
	return encode("CERTIFICATE REQUEST", csr.Raw), nil
}

// makeCSR makes a CSR for the key of a thing, and the key if there is none.
func makeCSR(dir, thing string) (*x509.CertificateRequest, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for keys and CSRs: %w: name one that can be made", err)
	}
	key, err := readKey(KeyFile(dir, thing))
	if errors.Is(err, fs.ErrNotExist) {
		key, err = makeKey(KeyFile(dir, thing))
	}
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: thing[:min(len(thing), maxCommonName)]},
	}, key)
	if err != nil {
		return nil, fmt.Errorf("make a CSR from %s: %w", KeyFile(dir, thing), err)
	}
	if err := writeNew(CSRFile(dir, thing), encode("CERTIFICATE REQUEST", der), 0o644); err != nil {
		return nil, err
	}
	return readCSR(CSRFile(dir, thing))
}

func makeKey(path string) (crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key pair: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make a key pair: %w", err)
	}
	if err := writeNew(path, encode("PRIVATE KEY", der), 0o600); err != nil {
		return nil, err
	}
	return readKey(path)
}

// writeNew writes a file that does not exist yet, wholly or not at all. If
// somebody else made it meanwhile, theirs stays.
func writeNew(path, content string, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // nothing to lose: it is a second name or a failed file
	_, err = f.WriteString(content)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		// A rename would overwrite, a link cannot.
		err = os.Link(f.Name(), path)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func readCSR(path string) (*x509.CertificateRequest, error) {
	blocks, err := readPEM(path)
	if err != nil {
		return nil, err
	}
	block := pemfile.Of(blocks, pemfile.Request)
	if block == nil {
		return nil, holdsOther(path, pemfile.Request, blocks[0])
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err == nil {
		err = csr.CheckSignature()
	}
	if err != nil {
		return nil, damaged(path, err)
	}
	if !Accepted(csr.PublicKey) {
		return nil, fmt.Errorf("%s has a key that AWS IoT refuses: use ECDSA P-256, P-384 or P-521, or RSA of at least 2048 bits", path)
	}
	return csr, nil
}

func readKey(path string) (crypto.Signer, error) {
	blocks, err := readPEM(path)
	if err != nil {
		return nil, err
	}
	block := pemfile.Key(blocks)
	switch {
	case block == nil:
		return nil, holdsOther(path, pemfile.PrivateKey, blocks[0])
	case pemfile.Encrypted(block):
		return nil, fmt.Errorf("%s is encrypted, and a device starts without a passphrase; this removes it: %s", path, pemfile.Decrypt(path))
	}
	if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, damaged(path, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, damaged(path, fmt.Errorf("a %T cannot sign", key))
	}
	return signer, nil
}

func readPEM(path string) ([]*pem.Block, error) {
	blocks, err := pemfile.Read(path)
	switch hint := cli.Hint(err); {
	case hint != "":
		return nil, fmt.Errorf("%w: %s", err, hint)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: make it readable, or name another folder", err)
	}
	return blocks, err
}

func holdsOther(path, want string, got *pem.Block) error {
	return fmt.Errorf("%s holds %s, not %s: %s", path, got.Type, want, pemfile.Instead(path, got.Type))
}

func damaged(path string, err error) error {
	return fmt.Errorf("%s is damaged (%w): bring back a good copy, or move it away", path, err)
}

// Accepted tells whether AWS IoT takes a CSR of this key (API reference,
// CreateCertificateFromCsr).
func Accepted(public any) bool {
	switch key := public.(type) {
	case *rsa.PublicKey:
		return key.N.BitLen() >= 2048
	case *ecdsa.PublicKey:
		return key.Curve == elliptic.P256() || key.Curve == elliptic.P384() || key.Curve == elliptic.P521()
	}
	return false
}

func samePublicKey(a, b any) bool {
	comparable, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && comparable.Equal(b)
}

func encode(block string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: block, Bytes: der}))
}
