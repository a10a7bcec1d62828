package iot

import (
	"crypto/x509"
	"encoding/asn1"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/mochi-mqtt/server/v2/packets"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/policy"
)

// conditionKeys are the condition keys and variables of IoT policies, in lower
// case: of a connection (developer guide, "Basic AWS IoT Core policy variables", "Thing
// policy variables", "Using connectAttributes") and of its certificate. No thing
// has a type here and no client an Amazon Cognito identity, so those have no value.
var conditionKeys = map[string]bool{
	"aws:sourceip": true, "aws:securetransport": true, "aws:currenttime": true, "aws:epochtime": true,
	"iot:clientid": true, "iot:domainname": true, "iot:certificateid": true,
	"iot:connectattributes": true, "iot:lastwilltopic": true,
	"iot:connection.thing.thingname": true, "iot:connection.thing.thingtypename": true, "iot:connection.thing.isattached": true,
	"cognito-identity.amazonaws.com:sub": true, "cognito-identity.amazonaws.com:aud": true, "cognito-identity.amazonaws.com:amr": true,
	"iot:certificate.serialnumber": true, "iot:certificate.availablekeys": true,
}

// nameAttributes are the attributes of a certificate's subject or issuer that
// policies know (developer guide, "X.509 Certificate AWS IoT Core policy variables"),
// by their type (ITU-T X.520).
var nameAttributes = map[string]string{
	"2.5.4.46": "DistinguishedNameQualifier", "2.5.4.6": "Country", "2.5.4.10": "Organization", "2.5.4.11": "OrganizationalUnit",
	"2.5.4.8": "State", "2.5.4.3": "CommonName", "2.5.4.5": "SerialNumber", "2.5.4.12": "Title", "2.5.4.4": "Surname",
	"2.5.4.42": "GivenName", "2.5.4.43": "Initials", "2.5.4.65": "Pseudonym", "2.5.4.44": "GenerationQualifier",
}

var alternativeNames = []string{"RFC822Name", "DNSName", "DirectoryName", "UniformResourceIdentifier", "IPAddress"}

// Limits of certificate variables (the same page, limitations).
const (
	maxCertificateValues = 5
	maxCertificateValue  = 1024
)

const certificateKey = "iot:Certificate."

func init() {
	for _, of := range []string{"Subject.", "Issuer."} {
		for _, name := range nameAttributes {
			conditionKeys[strings.ToLower(certificateKey+of+name)] = true
		}
		for _, name := range alternativeNames {
			conditionKeys[strings.ToLower(certificateKey+of+"AlternativeName."+name)] = true
		}
	}
}

// knownKey reports whether IoT policies have a condition key, in lower case. Those
// of a certificate's names may end in an index or .List.
func knownKey(key string) bool {
	if strings.HasPrefix(key, "iot:connection.thing.attributes[") {
		return strings.HasSuffix(key, "]")
	}
	if base, last, _ := cutLast(key, "."); strings.HasPrefix(key, "iot:certificate.subject.") || strings.HasPrefix(key, "iot:certificate.issuer.") {
		if n, err := strconv.Atoi(last); last == "list" || err == nil && n >= 0 {
			key = base
		}
	}
	return conditionKeys[key]
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// documentRules are what AWS IoT asks of a policy's document: its own actions,
// those that Greengrass and Jobs add to it, and ARNs as resources.
var documentRules = policy.Rules{
	Key: knownKey,
	Action: func(action string) string {
		service, name, found := strings.Cut(action, ":")
		switch {
		case action == "*":
			return ""
		case !found || name == "":
			return "Actions must be prefaced by a vendor, e.g., iot"
		case service != "iot" && service != "iotjobsdata" && service != "greengrass":
			return "Invalid policy syntax: not an action of AWS IoT"
		}
		return ""
	},
	Resource:      func(resource string) bool { return resource == "*" || strings.HasPrefix(resource, "arn:") },
	ResourceWords: "The following resources are invalid: %s",
}

// parsePolicy reads the document of an IoT policy.
func parsePolicy(document string) (*policy.Document, error) {
	parsed, err := policy.ParseIdentity([]byte(document))
	if err == nil {
		err = parsed.Check(documentRules)
	}
	if err != nil {
		return nil, awsapi.Errorf("MalformedPolicyException", "Policy document is Malformed: %v", err)
	}
	return parsed, nil
}

// certificateContext are the variables and condition keys of a certificate. A
// value with a wildcard, or one that is too long, is none.
func certificateContext(cert *x509.Certificate) (one map[string]string, sets map[string][]string) {
	one, sets = map[string]string{}, map[string][]string{}
	add := func(name string, values []string) {
		values = slices.DeleteFunc(slices.Clone(values), func(v string) bool {
			return v == "" || len(v) > maxCertificateValue || strings.ContainsAny(v, "*?")
		})
		values = values[:min(len(values), maxCertificateValues)]
		if len(values) == 0 {
			return
		}
		one[certificateKey+name] = values[0]
		sets[certificateKey+name+".List"] = values
		for i, v := range values {
			one[certificateKey+name+"."+strconv.Itoa(i)] = v
		}
	}
	addNames(add, "Subject.", cert.RawSubject)
	addNames(add, "Issuer.", cert.RawIssuer)
	add("Subject.AlternativeName.RFC822Name", cert.EmailAddresses)
	add("Subject.AlternativeName.DNSName", cert.DNSNames)
	var uris, addresses []string
	for _, u := range cert.URIs {
		uris = append(uris, u.String())
	}
	for _, a := range cert.IPAddresses {
		addresses = append(addresses, a.String())
	}
	add("Subject.AlternativeName.UniformResourceIdentifier", uris)
	add("Subject.AlternativeName.IPAddress", addresses)
	if cert.SerialNumber != nil {
		one[certificateKey+"SerialNumber"] = cert.SerialNumber.String() // decimal [LIVE]
	}
	var available []string
	for _, key := range slices.Sorted(maps.Keys(one)) {
		if _, last, _ := cutLast(key, "."); strings.Trim(last, "0123456789") != "" {
			// With or without iot: is not said [LIVE].
			available = append(available, key, strings.TrimPrefix(key, "iot:"))
		}
	}
	sets[certificateKey+"AvailableKeys"] = available
	return one, sets
}

func addNames(add func(string, []string), of string, raw []byte) {
	var sequence []asn1.RawValue
	if _, err := asn1.Unmarshal(raw, &sequence); err != nil {
		return
	}
	byName := map[string][]string{}
	for _, set := range sequence {
		var attributes []struct {
			Type  asn1.ObjectIdentifier
			Value any
		}
		if _, err := asn1.UnmarshalWithParams(set.FullBytes, &attributes, "set"); err != nil {
			continue
		}
		for _, a := range attributes {
			if value, ok := a.Value.(string); ok {
				if name, ok := nameAttributes[a.Type.String()]; ok {
					byName[name] = append(byName[name], value)
				}
			}
		}
	}
	for name, values := range byName {
		add(of+name, values)
	}
}

// connectRequest adds to a CONNECT what only it has: how its session is, and its
// will (developer guide, "Using connectAttributes").
func (s *Service) connectRequest(r policy.Request, pk packets.Packet) policy.Request {
	r.Sets = maps.Clone(r.Sets)
	if r.Sets == nil {
		r.Sets = map[string][]string{}
	}
	var attributes []string
	if !pk.Connect.Clean || pk.ProtocolVersion == 5 && pk.Properties.SessionExpiryInterval > 0 {
		attributes = append(attributes, "PersistentConnect")
	}
	if pk.Connect.WillFlag {
		attributes = append(attributes, "LastWill")
		r.Context = maps.Clone(r.Context)
		r.Context["iot:LastWillTopic"] = s.topicARN(pk.Connect.WillTopic)
	}
	r.Sets["iot:ConnectAttributes"] = attributes
	return r
}
