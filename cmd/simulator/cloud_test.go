package main

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"testing"
	"time"

	"lastwill/internal/device/brokertest"
	"lastwill/internal/localaws"
	"lastwill/internal/localaws/api"
	"lastwill/internal/localaws/iot"
	"lastwill/internal/will"
)

// A cloud is the local AWS endpoint with one thing.
type cloud struct {
	environment map[string]string
	events      chan iot.Event
}

func startCloud(w *world, pki *brokertest.PKI, unthrottled bool) *cloud {
	w.Helper()
	c := &cloud{events: make(chan iot.Event, 1000)}
	options := localaws.Options{ObserveIoT: func(e iot.Event) {
		if e.Kind == iot.Connected || e.Kind == iot.Disconnected || e.Message != nil && e.Message.Will {
			c.events <- e
		}
	}}
	if unthrottled {
		options.ConnectInterval = -1
	}
	server, err := localaws.Start(options)
	check(w, err)
	w.Cleanup(func() { check(w, server.Close(context.Background())) })
	key := brokertest.NewKey(w)
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	check(w, err)
	certificate, err := server.IoT.CreateCertificateFromCSR(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})), true)
	check(w, err)
	_, err = server.IoT.CreatePolicy("devices", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:*","Resource":"*"}}`, nil)
	check(w, err)
	check(w, server.IoT.AttachPolicy("devices", certificate.ARN))
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	check(w, err)
	status := server.Status()
	strangerCert, strangerKey := pki.Issue(w, "stranger")
	c.environment = map[string]string{
		"AWS_ENDPOINT_URL": status.Endpoint, "AWS_REGION": status.Region,
		"AWS_ACCESS_KEY_ID": api.TestAccessKeyID, "AWS_SECRET_ACCESS_KEY": api.TestSecretAccessKey,
		"MQTT": status.MQTT, "STRANGER_CERT": strangerCert, "STRANGER_KEY": strangerKey,
		"CA":   pki.File(w, "local-ca.pem", "CERTIFICATE", der(server.IoT.RootCA())),
		"CERT": pki.File(w, "local.crt", "CERTIFICATE", der([]byte(certificate.PEM))),
		"KEY":  pki.File(w, "local.key", "PRIVATE KEY", pkcs8),
	}
	return c
}

// ended waits for the end of a connection and returns how many wills there were.
func (c *cloud) ended(t testing.TB, reason string) (wills int) {
	t.Helper()
	giveUp := time.After(2 * will.MinKeepAlive)
	for {
		select {
		case e := <-c.events:
			switch {
			case e.Message != nil:
				wills++
			case e.Kind == iot.Disconnected && e.Detail == reason:
				return wills
			}
		case <-giveUp:
			t.Fatalf("no connection ended for %s", reason)
		}
	}
}

func (c *cloud) wills(t testing.TB, n int) {
	t.Helper()
	giveUp := time.After(will.MinKeepAlive)
	for n > 0 {
		select {
		case e := <-c.events:
			if e.Message != nil {
				n--
			}
		case <-giveUp:
			t.Fatalf("%d wills are missing", n)
		}
	}
}

func (c *cloud) joined(t testing.TB) {
	t.Helper()
	giveUp := time.After(will.MinKeepAlive)
	for {
		select {
		case e := <-c.events:
			if e.Kind == iot.Connected {
				return
			}
		case <-giveUp:
			t.Fatal("nobody connected")
		}
	}
}

func der(text []byte) []byte {
	block, _ := pem.Decode(text)
	return block.Bytes
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
