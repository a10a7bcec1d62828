package iot

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/url"
	"strconv"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"lastwill/internal/localaws/policy"
)

// Certificate variables have the first value, any by its index, all as a list.
func TestCertificateVariables(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	uri, err := url.Parse("urn:device:1")
	check(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(42),
		Subject: pkix.Name{
			CommonName: "device-1", Organization: []string{"AnyCompany", "Example Corp"}, Country: []string{"DE"}, Province: []string{"*"}, SerialNumber: "s-1",
		},
		DNSNames: []string{"a.example", "b.example"}, EmailAddresses: []string{"ops@example.com"}, URIs: []*url.URL{uri}, IPAddresses: []net.IP{net.IPv4(10, 0, 0, 1)},
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	check(t, err)
	cert, err := x509.ParseCertificate(raw)
	check(t, err)
	one, sets := certificateContext(cert)
	for _, c := range []struct {
		condition string
		want      bool
	}{
		{`"StringEquals":{"iot:Certificate.Subject.CommonName":"device-1"}`, true},
		{`"StringEquals":{"iot:Certificate.Issuer.CommonName":"device-1"}`, true},
		{`"StringEquals":{"iot:Certificate.Subject.Organization":"AnyCompany"}`, true},
		{`"StringEquals":{"iot:Certificate.Subject.Organization":"Example Corp"}`, false},
		{`"StringEquals":{"iot:Certificate.Subject.Organization.1":"Example Corp"}`, true},
		{`"StringEquals":{"iot:Certificate.Subject.Organization.2":"Example Corp"}`, false},
		{`"ForAnyValue:StringEquals":{"iot:Certificate.Subject.Organization.List":"AnyCompany"}`, true},
		{`"ForAllValues:StringEquals":{"iot:Certificate.Subject.Organization.List":["AnyCompany","Example Corp"]}`, true},
		{`"ForAllValues:StringEquals":{"iot:Certificate.Subject.Organization.List":["Example Corp"]}`, false},
		{`"Null":{"iot:Certificate.Subject.State":"true"}`, true}, // a value with a wildcard is none
		{`"StringEquals":{"iot:Certificate.Subject.SerialNumber":"s-1"}`, true},
		{`"StringEquals":{"iot:Certificate.SerialNumber":"42"}`, true},
		{`"StringEquals":{"iot:Certificate.Subject.AlternativeName.DNSName.1":"b.example"}`, true},
		{`"StringEquals":{"iot:Certificate.Subject.AlternativeName.RFC822Name":"ops@example.com"}`, true},
		{`"StringEquals":{"iot:Certificate.Subject.AlternativeName.UniformResourceIdentifier":"urn:device:1"}`, true},
		{`"IpAddress":{"iot:Certificate.Subject.AlternativeName.IPAddress":"10.0.0.0/24"}`, true},
		{`"ForAnyValue:StringEquals":{"iot:Certificate.AvailableKeys":"Certificate.Subject.CommonName"}`, true},
		{`"ForAnyValue:StringEquals":{"iot:Certificate.AvailableKeys":"Certificate.Subject.Title"}`, false},
	} {
		d, err := parsePolicy(`{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"iot:*","Resource":"*","Condition":{` + c.condition + `}}}`)
		check(t, err)
		got := d.Evaluate(policy.Request{Action: "iot:Connect", Context: one, Sets: sets}) == policy.ExplicitDeny
		if got != c.want {
			t.Errorf("%s: %v, want %v", c.condition, got, c.want)
		}
	}
}

// What a CONNECT says of its session and will, in the policies of AWS's developer
// guide ("Connect policy examples").
func TestConnectAttributes(t *testing.T) {
	t.Parallel()
	const persistent, lastWill = 1, 2
	statement := func(effect, condition string) string {
		return `{"Effect":"` + effect + `","Action":["iot:Connect"],"Resource":"*","Condition":{` + condition + `}}`
	}
	attributes := func(qualifier, values string) string {
		return `"` + qualifier + `":{"iot:ConnectAttributes":[` + values + `]}`
	}
	const allow = `{"Effect":"Allow","Action":["iot:Connect"],"Resource":"*"}`
	const topic = `{"iot:LastWillTopic":"arn:aws:iot:us-east-1:123456789012:topic/my/will"}`
	for _, c := range []struct {
		claim, statements string
		want              [4]bool // neither, persistent, will, both
	}{
		{"a persistent session", statement("Allow", attributes("ForAllValues:StringEquals", `"PersistentConnect"`)), [4]bool{true, true, false, false}},
		{"none", statement("Allow", attributes("ForAllValues:StringNotEquals", `"PersistentConnect"`)), [4]bool{true, false, true, false}},
		{"none, by a Deny", allow + "," + statement("Deny", attributes("ForAnyValue:StringEquals", `"PersistentConnect"`)), [4]bool{true, false, true, false}},
		{"both", statement("Allow", attributes("ForAllValues:StringEquals", `"PersistentConnect","LastWill"`)), [4]bool{true, true, true, true}},
		{"default features only", statement("Allow", attributes("ForAllValues:StringEquals", ``)), [4]bool{true, false, false, false}},
		{"a persistent session always", statement("Allow", attributes("ForAnyValue:StringEquals", `"PersistentConnect"`)), [4]bool{false, true, false, true}},
		{"no will, by a plain operator", allow + "," + statement("Deny", attributes("StringEquals", `"LastWill"`)), [4]bool{true, true, false, false}},
		{"no will on this topic", allow + "," + statement("Deny", `"ArnEquals":`+topic), [4]bool{true, true, false, false}},
		{"a will on this topic only", statement("Allow", `"ArnEquals":`+topic), [4]bool{false, false, true, true}},
		{"if there is a will, on this topic", statement("Allow", `"ArnEqualsIfExists":`+topic), [4]bool{true, true, true, true}},
		{"no will at all", allow + "," + statement("Deny", `"Null":{"iot:LastWillTopic":"false"}`), [4]bool{true, true, false, false}},
	} {
		d, err := parsePolicy(`{"Version":"2012-10-17","Statement":[` + c.statements + `]}`)
		if err != nil {
			t.Errorf("%s: %v", c.claim, err)
			continue
		}
		for i, want := range c.want {
			pk := packets.Packet{ProtocolVersion: 4}
			pk.Connect.Clean = i&persistent == 0
			if i&lastWill != 0 {
				pk.Connect.WillFlag, pk.Connect.WillTopic = true, "my/will"
			}
			r := registry(t).connectRequest(policy.Request{Action: "iot:Connect", Resource: "x", Context: map[string]string{}}, pk)
			if got := d.Evaluate(r) == policy.Allow; got != want {
				t.Errorf("%s: with %v, will %q: %v, want %v", c.claim, r.Sets, r.Context["iot:LastWillTopic"], got, want)
			}
		}
	}
}

func TestCertificateHasAtMostTenPolicies(t *testing.T) {
	t.Parallel()
	s := registry(t)
	c, err := s.CreateCertificateFromCSR(request(t, ecKey(t, elliptic.P256())), true)
	check(t, err)
	for i := range maxCertificatePolicies + 1 {
		name := "p" + strconv.Itoa(i)
		_, err := s.CreatePolicy(name, anything, nil)
		check(t, err)
		err = s.AttachPolicy(name, c.ARN)
		if want := map[bool]string{true: "LimitExceededException"}[i == maxCertificatePolicies]; code(err) != want {
			t.Errorf("policy %d: %v, want %q", i+1, err, want)
		}
	}
	check(t, s.AttachPolicy("p0", c.ARN)) // again
}
