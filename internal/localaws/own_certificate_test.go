package localaws_test

import (
	"crypto/tls"
	"os"
	"strings"
	"testing"

	"lastwill/internal/device"
	"lastwill/internal/device/brokertest"
	"lastwill/internal/localaws/iot"
	"lastwill/internal/will"
)

// ownCertificate replaces the template's CSR by a certificate that somebody else issued.
func ownCertificate(t *testing.T, file, mode string) func(template) {
	content, err := os.ReadFile(file)
	check(t, err)
	return func(tm template) {
		p := tm.properties(t, "AWS::IoT::Certificate")
		delete(p, "CertificateSigningRequest")
		p["CertificatePem"], p["CertificateMode"] = string(content), mode
	}
}

func TestAThingConnectsWithACertificateOfItsOwn(t *testing.T) {
	t.Parallel()
	c := start(t)
	certFile, keyFile := brokertest.NewPKI(t).Issue(t, will.ThingName)
	stack := c.deploy(t, ownCertificate(t, certFile, "SNI_ONLY"))
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	check(t, err)
	d := connect(t, device.Config{Endpoint: c.IoT.Address(), Roots: c.roots(), Certificate: pair, ClientID: will.ThingName})
	_, err = d.Drop()
	check(t, err)
	c.events.await(t, 1, func(e iot.Event) bool { return e.Kind == iot.Disconnected && e.ClientID == will.ThingName })
	if _, err := c.IoT.RegisterCertificateWithoutCA(c.IoT.ListCertificates()[0].PEM, true); err == nil || !strings.Contains(err.Error(), "already registered") {
		t.Errorf("registered twice: %v", err)
	}
	c.destroy(t, stack)
	if n := len(c.IoT.ListCertificates()); n > 0 {
		t.Errorf("%d certificates are left", n)
	}
}

func TestACertificateNeedsASource(t *testing.T) {
	t.Parallel()
	certFile, _ := brokertest.NewPKI(t).Issue(t, will.ThingName)
	for want, change := range map[string]func(template){
		`CertificateMode "DEFAULT" of a CertificatePem is not supported here`: ownCertificate(t, certFile, "DEFAULT"),
		"needs one of CertificateSigningRequest and CertificatePem": func(tm template) {
			delete(tm.properties(t, "AWS::IoT::Certificate"), "CertificateSigningRequest")
		},
		"The certificate is not in PEM": func(tm template) {
			p := tm.properties(t, "AWS::IoT::Certificate")
			delete(p, "CertificateSigningRequest")
			p["CertificatePem"], p["CertificateMode"] = "certificate", "SNI_ONLY"
		},
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			if _, err := start(t).tryDeploy(t, change); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v", err)
			}
		})
	}
}
