package device

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"lastwill/internal/cli"
	"lastwill/internal/pemfile"
)

// LoadRoots reads the CA certificates of a file, in any form that pemfile reads. Its
// errors are *Error with a hint.
func LoadRoots(file string) (*x509.CertPool, error) {
	certificates, err := readCertificates("root CA", file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, c := range certificates {
		pool.AddCert(c)
	}
	return pool, nil
}

// LoadCertificate reads a device's certificate, with any intermediates, and its private
// key from two files, or from one that holds both, in any form that pemfile reads. It
// refuses a pair that does not belong together and a certificate that is not valid today.
// Its errors are *Error with a hint and never hold key material.
func LoadCertificate(certFile, keyFile string) (tls.Certificate, error) {
	certificates, err := readCertificates("certificate", certFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := readKey(keyFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	own := slices.IndexFunc(certificates, func(c *x509.Certificate) bool { return ok && public.Equal(c.PublicKey) })
	if own < 0 {
		return tls.Certificate{}, fail(BadCredentials, fmt.Errorf("private key %s does not belong to certificate %s", keyFile, certFile),
			"give the key whose CSR the certificate was issued for")
	}
	leaf := certificates[own]
	const day = "2006-01-02 15:04 MST"
	now := time.Now()
	if now.After(leaf.NotAfter) {
		return tls.Certificate{}, fail(BadCredentials, fmt.Errorf("certificate %s expired on %s", certFile, leaf.NotAfter.Format(day)),
			"issue a new one; if it should still be valid, check this machine's clock")
	}
	if now.Before(leaf.NotBefore) {
		return tls.Certificate{}, fail(BadCredentials, fmt.Errorf("certificate %s is not valid before %s", certFile, leaf.NotBefore.Format(day)),
			"check this machine's clock")
	}
	chain := [][]byte{leaf.Raw} // comes first (RFC 8446, 4.4.2)
	for i, c := range certificates {
		if i != own {
			chain = append(chain, c.Raw)
		}
	}
	return tls.Certificate{Certificate: chain, PrivateKey: key, Leaf: leaf}, nil
}

// readCertificates returns the certificates of a file, at least one.
func readCertificates(what, file string) (certificates []*x509.Certificate, err error) {
	blocks, err := readPEM(what, file)
	if err != nil {
		return nil, err
	}
	for _, b := range blocks {
		if b.Type != pemfile.Certificate {
			continue
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fail(BadCredentials, fmt.Errorf("%s %s: %w", what, file, err), "the file is damaged: get it again")
		}
		certificates = append(certificates, c)
	}
	if certificates == nil {
		return nil, wrongPEM(what, file, pemfile.Certificate, blocks[0])
	}
	return certificates, nil
}

// readKey reads the first private key of a file.
func readKey(file string) (crypto.Signer, error) {
	const what = "private key"
	blocks, err := readPEM(what, file)
	if err != nil {
		return nil, err
	}
	b := pemfile.Key(blocks)
	switch {
	case b == nil:
		return nil, wrongPEM(what, file, pemfile.PrivateKey, blocks[0])
	case pemfile.Encrypted(b):
		return nil, fail(BadCredentials, fmt.Errorf("%s %s is encrypted", what, file),
			"a device starts without a passphrase; this removes it: %s", pemfile.Decrypt(file))
	}
	var key any
	switch b.Type {
	case pemfile.PrivateKey:
		key, err = x509.ParsePKCS8PrivateKey(b.Bytes)
	case pemfile.RSAKey:
		key, err = x509.ParsePKCS1PrivateKey(b.Bytes)
	case pemfile.ECKey:
		key, err = x509.ParseECPrivateKey(b.Bytes)
	}
	if err != nil {
		return nil, fail(BadCredentials, fmt.Errorf("%s %s: %w", what, file, err), "the file is damaged: get it again")
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fail(BadCredentials, fmt.Errorf("%s %s cannot sign: %T", what, file, key), "AWS IoT Core takes RSA and ECDSA keys")
	}
	return signer, nil
}

// readPEM returns the blocks of a file, at least one.
func readPEM(what, file string) ([]*pem.Block, error) {
	blocks, err := pemfile.Read(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fail(BadCredentials, fmt.Errorf("%s %s: no such file", what, file), "%s", whereFrom[what])
	case err != nil && cli.Hint(err) != "":
		return nil, fail(BadCredentials, fmt.Errorf("%s %w", what, err), "%s", cli.Hint(err))
	case err != nil:
		return nil, fail(BadCredentials, fmt.Errorf("%s: %w", what, err), "name a file that you may read")
	}
	return blocks, nil
}

var whereFrom = map[string]string{
	"root CA":     "for AWS get https://www.amazontrust.com/repository/AmazonRootCA1.pem, or leave -r out to trust the system's CAs",
	"certificate": "\"aws iot describe-certificate --certificate-id ID --query certificateDescription.certificatePem --output text\" prints it",
	"private key": "the key is made with the CSR and stays on the machine that made it: look in certs/ there",
}

func wrongPEM(what, file, want string, got *pem.Block) error {
	return fail(BadCredentials, fmt.Errorf("%s %s holds %s, not %s", what, file, got.Type, want), "%s", pemfile.Instead(file, got.Type))
}
