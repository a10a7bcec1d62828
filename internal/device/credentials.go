package device

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// LoadRoots reads the CA certificates of a PEM file. Its errors are *Error with
// a hint.
func LoadRoots(file string) (*x509.CertPool, error) {
	blocks, err := readPEM("root CA", file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, b := range blocks {
		if b.Type != "CERTIFICATE" {
			return nil, wrongPEM("root CA", file, "CERTIFICATE", b)
		}
		cert, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fail(BadCredentials, fmt.Errorf("root CA %s: %w", file, err), "the file is damaged: get it again")
		}
		pool.AddCert(cert)
	}
	return pool, nil
}

// LoadCertificate reads a device's certificate, with any intermediates after it,
// and its private key from two PEM files. It refuses a pair that does not belong
// together and a certificate that is not valid today. Its errors are *Error with
// a hint and never hold key material.
func LoadCertificate(certFile, keyFile string) (tls.Certificate, error) {
	chain, leaf, err := readChain(certFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := readKey(keyFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	if public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(leaf.PublicKey) {
		return tls.Certificate{}, fail(BadCredentials, fmt.Errorf("private key %s does not belong to certificate %s", keyFile, certFile),
			"give the key whose CSR the certificate was issued for")
	}
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
	return tls.Certificate{Certificate: chain, PrivateKey: key, Leaf: leaf}, nil
}

func readChain(file string) (chain [][]byte, leaf *x509.Certificate, err error) {
	blocks, err := readPEM("certificate", file)
	if err != nil {
		return nil, nil, err
	}
	for _, b := range blocks {
		if b.Type != "CERTIFICATE" {
			return nil, nil, wrongPEM("certificate", file, "CERTIFICATE", b)
		}
		chain = append(chain, b.Bytes)
	}
	leaf, err = x509.ParseCertificate(chain[0])
	if err != nil {
		return nil, nil, fail(BadCredentials, fmt.Errorf("certificate %s: %w", file, err), "the file is damaged: get it again")
	}
	return chain, leaf, nil
}

// readKey reads the first private key of a file; an EC PARAMETERS block, which
// openssl writes before it, is passed over.
func readKey(file string) (crypto.Signer, error) {
	blocks, err := readPEM("private key", file)
	if err != nil {
		return nil, err
	}
	b := blocks[0]
	if b.Type == "EC PARAMETERS" && len(blocks) > 1 {
		b = blocks[1]
	}
	if b.Type == "ENCRYPTED PRIVATE KEY" || b.Headers["DEK-Info"] != "" {
		return nil, fail(BadCredentials, fmt.Errorf("private key %s is encrypted", file),
			"a device starts without a passphrase: \"openssl pkey -in %s -out device.key\" decrypts it", file)
	}
	var key any
	switch b.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(b.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(b.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(b.Bytes)
	default:
		return nil, wrongPEM("private key", file, "PRIVATE KEY", b)
	}
	if err != nil {
		return nil, fail(BadCredentials, fmt.Errorf("private key %s: %w", file, err), "the file is damaged: get it again")
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fail(BadCredentials, fmt.Errorf("private key %s cannot sign: %T", file, key), "AWS IoT Core takes RSA and ECDSA keys")
	}
	return signer, nil
}

// readPEM returns the PEM blocks of a file, at least one.
func readPEM(what, file string) ([]*pem.Block, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fail(BadCredentials, fmt.Errorf("%s %s: no such file", what, file), "%s", whereFrom[what])
	}
	if err != nil {
		return nil, fail(BadCredentials, fmt.Errorf("%s: %w", what, err), "name a file that you may read")
	}
	var blocks []*pem.Block
	for {
		var b *pem.Block
		b, data = pem.Decode(data)
		if b == nil {
			break
		}
		blocks = append(blocks, b)
	}
	if len(blocks) == 0 {
		return nil, fail(BadCredentials, fmt.Errorf("%s %s is not in PEM format", what, file),
			"a PEM file has a line -----BEGIN ...-----; \"openssl x509 -inform der\" and \"openssl pkey -inform der\" convert DER files")
	}
	return blocks, nil
}

var whereFrom = map[string]string{
	"root CA":     "for AWS get https://www.amazontrust.com/repository/AmazonRootCA1.pem, or leave -r out to trust the system's CAs",
	"certificate": "\"aws iot describe-certificate --certificate-id ID --query certificateDescription.certificatePem --output text\" prints it",
	"private key": "the key is made with the CSR and stays on the machine that made it: look in certs/ there",
}

func wrongPEM(what, file, want string, got *pem.Block) error {
	return fail(BadCredentials, fmt.Errorf("%s %s holds %s, not %s", what, file, got.Type, want), "are two file names swapped?")
}
