package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"
)

func TestOnlyEarlierCertificatesOfTheSameKeyAreReplaced(t *testing.T) {
	t.Parallel()
	newKey := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	own, other := newKey(), newKey()
	issue := func(key *ecdsa.PrivateKey, issuer pkix.Name) *x509.Certificate {
		signer := newKey()
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)},
			&x509.Certificate{Subject: issuer}, key.Public(), signer)
		if err != nil {
			t.Fatal(err)
		}
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return certificate
	}
	aws := pkix.Name{OrganizationalUnit: []string{"Amazon Web Services O=Amazon.com Inc. L=Seattle ST=Washington C=US"}}
	local := pkix.Name{CommonName: "lastwill local root CA", Organization: []string{"lastwill"}}
	fresh := issue(own, aws)
	for _, tt := range []struct {
		claim string
		old   *x509.Certificate
		want  bool
	}{
		{"an earlier one of AWS IoT", issue(own, aws), true},
		{"one of the local endpoint", issue(own, local), true},
		{"one of the owner's authority, for the same key", issue(own, pkix.Name{CommonName: "my CA"}), false},
		{"one of AWS IoT for another key", issue(other, aws), false},
	} {
		if got := replaceable(tt.old, fresh); got != tt.want {
			t.Errorf("%s: %v", tt.claim, got)
		}
	}
}
