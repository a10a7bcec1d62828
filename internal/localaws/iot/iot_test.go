package iot

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/iam"
	"lastwill/internal/localaws/logs"
	"lastwill/internal/will"
)

var account = awsapi.Account{ID: "123456789012", Region: "us-east-1"}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// registry returns a Service whose broker is not started.
func registry(t testing.TB) *Service {
	t.Helper()
	s, err := New(Options{Account: account, IAM: iam.New(account), Logs: logs.New(account), Log: slog.New(slog.DiscardHandler)})
	check(t, err)
	return s
}

// request is a PEM certificate signing request.
func request(t testing.TB, key any) string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	check(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

func ecKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	check(t, err)
	return key
}

func certificateIn(t testing.TB, s *Service, active bool) Certificate {
	t.Helper()
	c, err := s.CreateCertificateFromCSR(request(t, ecKey(t, elliptic.P256())), active)
	check(t, err)
	return c
}

// code is the error code of an API's answer; empty for success.
func code(err error) string {
	if e, ok := errors.AsType[*awsapi.Error](err); ok {
		return e.Code
	}
	if err != nil {
		return "not an API error: " + err.Error()
	}
	return ""
}

const anything = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:*","Resource":"*"}}`

// What hangs together is taken apart in one order only; each step too early is
// refused with AWS's code and changes nothing.
func TestDeletionOrder(t *testing.T) {
	t.Parallel()
	s := registry(t)
	_, err := s.CreateThing("thing", nil)
	check(t, err)
	c := certificateIn(t, s, true)
	_, err = s.CreatePolicy("policy", anything, nil)
	check(t, err)
	check(t, s.AttachPolicy("policy", c.ARN))
	check(t, s.AttachThingPrincipal("thing", c.ARN))
	_, err = s.CreatePolicyVersion("policy", anything, false)
	check(t, err)
	for _, step := range []struct {
		claim string
		do    func() error
		code  string
	}{
		{"a thing with a principal stays", func() error { return s.DeleteThing("thing") }, "InvalidRequestException"},
		{"an attached policy stays", func() error { return s.DeletePolicy("policy") }, "DeleteConflictException"},
		{"an ACTIVE certificate stays", func() error { return s.DeleteCertificate(c.ID) }, "CertificateStateException"},
		{"it can be deactivated", func() error { return s.UpdateCertificate(c.ID, "INACTIVE") }, ""},
		{"one with a policy stays", func() error { return s.DeleteCertificate(c.ID) }, "DeleteConflictException"},
		{"the policy comes off", func() error { return s.DetachPolicy("policy", c.ARN) }, ""},
		{"a certificate of a thing stays", func() error { return s.DeleteCertificate(c.ID) }, "DeleteConflictException"},
		{"the thing comes off", func() error { return s.DetachThingPrincipal("thing", c.ARN) }, ""},
		{"a policy with two versions stays", func() error { return s.DeletePolicy("policy") }, "DeleteConflictException"},
		{"the default version stays", func() error { return s.DeletePolicyVersion("policy", "1") }, "DeleteConflictException"},
		{"the other one goes", func() error { return s.DeletePolicyVersion("policy", "2") }, ""},
		{"now the policy goes", func() error { return s.DeletePolicy("policy") }, ""},
		{"the thing goes", func() error { return s.DeleteThing("thing") }, ""},
		{"the certificate goes", func() error { return s.DeleteCertificate(c.ID) }, ""},
		{"what is gone is not there", func() error { return s.DeleteCertificate(c.ID) }, "ResourceNotFoundException"},
	} {
		if got := code(step.do()); got != step.code {
			t.Errorf("%s: %q, want %q", step.claim, got, step.code)
		}
	}
	if left := len(s.ListThings()) + len(s.ListCertificates()) + len(s.ListPolicies()); left > 0 {
		t.Errorf("%d objects are left", left)
	}
}

func TestCertificateRequests(t *testing.T) {
	t.Parallel()
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	check(t, err)
	strong, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	damaged := strings.Replace(request(t, strong), "MII", "MIJ", 1)
	for _, c := range []struct{ claim, csr, code string }{
		{"P-256", request(t, ecKey(t, elliptic.P256())), ""},
		{"P-384", request(t, ecKey(t, elliptic.P384())), ""},
		{"P-521", request(t, ecKey(t, elliptic.P521())), ""},
		{"RSA of 2048 bits", request(t, strong), ""},
		{"RSA of 1024 bits is too weak", request(t, weak), "InvalidRequestException"},
		{"P-224 is not accepted", request(t, ecKey(t, elliptic.P224())), "InvalidRequestException"},
		{"Ed25519 is not accepted", request(t, edwards), "InvalidRequestException"},
		{"a damaged request", damaged, "InvalidRequestException"},
		{"no PEM", "x", "InvalidRequestException"},
		{"nothing", "", "InvalidRequestException"},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			s := registry(t)
			if _, err := s.CreateCertificateFromCSR(c.csr, true); code(err) != c.code {
				t.Errorf("got %v, want %q", err, c.code)
			}
			if c.code != "" && len(s.ListCertificates()) > 0 {
				t.Error("a certificate was made all the same")
			}
		})
	}
}

// A certificate is AWS's: its id is its fingerprint, its subject not the
// request's, and the same request twice gives two of them.
func TestCertificates(t *testing.T) {
	t.Parallel()
	s := registry(t)
	csr := request(t, ecKey(t, elliptic.P256()))
	first, err := s.CreateCertificateFromCSR(csr, true)
	check(t, err)
	second, err := s.CreateCertificateFromCSR(csr, false)
	check(t, err)
	if first.ID == second.ID || first.Status != "ACTIVE" || second.Status != "INACTIVE" {
		t.Errorf("got %+v and %+v", first, second)
	}
	block, _ := pem.Decode([]byte(first.PEM))
	parsed, err := x509.ParseCertificate(block.Bytes)
	check(t, err)
	if fingerprint(parsed.Raw) != first.ID || first.ARN != account.ARN("iot", "cert/"+first.ID) || parsed.Subject.CommonName != "AWS IoT Certificate" {
		t.Errorf("certificate %s of %s has ARN %s", first.ID, parsed.Subject, first.ARN)
	}
	for status, want := range map[string]string{"INACTIVE": "", "REVOKED": "", "ACTIVE": "", "PENDING_TRANSFER": "InvalidRequestException", "": "InvalidRequestException"} {
		if got := code(s.UpdateCertificate(first.ID, status)); got != want {
			t.Errorf("status %q: %q, want %q", status, got, want)
		}
	}
	if got := code(s.UpdateCertificate("none", "ACTIVE")); got != "ResourceNotFoundException" {
		t.Errorf("an unknown certificate: %q", got)
	}
}

func TestThings(t *testing.T) {
	t.Parallel()
	s := registry(t)
	first, err := s.CreateThing("thing", map[string]string{"site": "eu"})
	check(t, err)
	again, err := s.CreateThing("thing", map[string]string{"site": "eu"})
	if err != nil || cmp.Diff(first, again) != "" {
		t.Errorf("the same thing again: %+v, %v", again, err)
	}
	for _, c := range []struct {
		claim, code string
		do          func() error
	}{
		{"other attributes", "ResourceAlreadyExistsException", func() error { _, err := s.CreateThing("thing", nil); return err }},
		{"a name with a slash", "InvalidRequestException", func() error { _, err := s.CreateThing("a/b", nil); return err }},
		{"a name of 129 characters", "InvalidRequestException", func() error { _, err := s.CreateThing(strings.Repeat("x", 129), nil); return err }},
		{"no name", "InvalidRequestException", func() error { _, err := s.CreateThing("", nil); return err }},
		{"an unknown thing", "ResourceNotFoundException", func() error { _, err := s.DescribeThing("none"); return err }},
		{"an unknown thing's deletion", "ResourceNotFoundException", func() error { return s.DeleteThing("none") }},
		{"a principal of another account", "InvalidRequestException", func() error {
			return s.AttachThingPrincipal("thing", "arn:aws:iot:us-east-1:999999999999:cert/x")
		}},
		{"an unknown principal", "ResourceNotFoundException", func() error {
			return s.AttachThingPrincipal("thing", account.ARN("iot", "cert/none"))
		}},
	} {
		if got := code(c.do()); got != c.code {
			t.Errorf("%s: %q, want %q", c.claim, got, c.code)
		}
	}
	again.Attributes["site"] = "us"
	if kept, err := s.DescribeThing("thing"); err != nil || kept.Attributes["site"] != "eu" {
		t.Errorf("a caller changed the registry: %+v, %v", kept, err)
	}
}

func TestPolicyVersions(t *testing.T) {
	t.Parallel()
	s := registry(t)
	_, err := s.CreatePolicy("policy", anything, nil)
	check(t, err)
	for range 4 {
		_, err := s.CreatePolicyVersion("policy", anything, false)
		check(t, err)
	}
	if _, err := s.CreatePolicyVersion("policy", anything, true); code(err) != "VersionsLimitExceededException" {
		t.Errorf("a sixth version: %v", err)
	}
	check(t, s.DeletePolicyVersion("policy", "3"))
	added, err := s.CreatePolicyVersion("policy", anything, true)
	check(t, err)
	if added.ID != "6" || !added.IsDefault {
		t.Errorf("got %+v, want version 6: numbers are not used again", added)
	}
	versions, err := s.ListPolicyVersions("policy")
	check(t, err)
	var ids []string
	for _, v := range versions {
		ids = append(ids, v.ID)
	}
	if diff := cmp.Diff([]string{"6", "5", "4", "2", "1"}, ids); diff != "" {
		t.Errorf("versions (-want +got):\n%s", diff)
	}
}

func TestPolicyDocuments(t *testing.T) {
	t.Parallel()
	// Of n characters that are no white space.
	sized := func(n int) string {
		const begin, end = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:*","Resource":"arn:aws:iot:*:*:topic/`, `"}}`
		return begin + strings.Repeat("x", n-len(begin)-len(end)) + end
	}
	with := func(action, resource, condition string) string {
		return `{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":` + action + `,"Resource":` + resource + `,"Condition":{` + condition + `}}}`
	}
	for _, c := range []struct{ claim, name, document, code string }{
		{"a document of 2048 characters", "p", sized(maxPolicyBytes), ""},
		{"one more", "p", sized(maxPolicyBytes + 1), "MalformedPolicyException"},
		{"white space does not count", "p", strings.Repeat(" \n", maxPolicyBytes) + sized(maxPolicyBytes), ""},
		{"an action of another service", "p", with(`"sns:Publish"`, `"*"`, ``), "MalformedPolicyException"},
		{"one among those of AWS IoT", "p", with(`["iot:Connect","s3:GetObject"]`, `"*"`, ``), "MalformedPolicyException"},
		{"an action without a service", "p", with(`"Connect"`, `"*"`, ``), "MalformedPolicyException"},
		{"actions of Greengrass and Jobs", "p", with(`["greengrass:Discover","iotjobsdata:*","IOT:Connect","*"]`, `"*"`, ``), ""},
		{"a resource that is no ARN", "p", with(`"iot:*"`, `"topic/a"`, ``), "MalformedPolicyException"},
		{"a resource of a backslash", "p", with(`"iot:*"`, `["*","\\"]`, ``), "MalformedPolicyException"},
		{"an empty resource", "p", with(`"iot:*"`, `""`, ``), "MalformedPolicyException"},
		{"keys of a connection", "p", with(`"iot:*"`, `"*"`, `"StringEquals":{"iot:ClientId":"a","iot:DomainName":"b","AWS:SourceIp":"c"},"ArnLike":{"iot:LastWillTopic":"arn:*"}`), ""},
		{"keys of a certificate", "p", with(`"iot:*"`, `"*"`, `"StringEquals":{"iot:Certificate.Subject.CommonName":"a","iot:Certificate.Issuer.Country.1":"b","iot:Certificate.Subject.Organization.List":"c","iot:CertificateId":"d"}`), ""},
		{"keys of a thing", "p", with(`"iot:*"`, `"*"`, `"StringEquals":{"iot:Connection.Thing.Attributes[room]":"a","iot:Connection.Thing.ThingTypeName":"b"}`), ""},
		{"an attribute that certificates do not have", "p", with(`"iot:*"`, `"*"`, `"StringEquals":{"iot:Certificate.Subject.Shoe":"a"}`), "MalformedPolicyException"},
		{"a key of another service", "p", with(`"iot:*"`, `"*"`, `"StringEquals":{"sts:ExternalId":"a"}`), "MalformedPolicyException"},
		{"a misspelled key", "p", with(`"iot:*"`, `"*"`, `"StringEquals":{"iot:ClientID2":"a"}`), "MalformedPolicyException"},
		{"a misspelled variable", "p", with(`"iot:*"`, `"arn:aws:iot:*:*:topic/${iot:Connection.Thing.Name}"`, ``), "MalformedPolicyException"},
		{"no JSON", "p", "x", "MalformedPolicyException"},
		{"no resource", "p", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:*"}}`, "MalformedPolicyException"},
		{"a principal", "p", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*","Principal":"*"}}`, "MalformedPolicyException"},
		{"a name with a space", "a b", anything, "InvalidRequestException"},
		{"a name of 129 characters", strings.Repeat("x", 129), anything, "InvalidRequestException"},
		{"a name that is taken", "taken", anything, "ResourceAlreadyExistsException"},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			s := registry(t)
			_, err := s.CreatePolicy("taken", anything, nil)
			check(t, err)
			if _, err := s.CreatePolicy(c.name, c.document, nil); code(err) != c.code {
				t.Errorf("got %v, want %q", err, c.code)
			}
		})
	}
}

// role makes a role that the rules of an ARN pattern may assume.
func role(t testing.TB, s *Service, rules string) string {
	t.Helper()
	r, err := s.options.IAM.CreateRole(iam.RoleInput{Name: "role", TrustPolicy: `{"Version":"2012-10-17","Statement":{"Effect":"Allow",
		"Principal":{"Service":"iot.amazonaws.com"},"Action":"sts:AssumeRole","Condition":{"ArnLike":{"aws:SourceArn":"` + rules + `"}}}}`})
	check(t, err)
	return r.ARN
}

func TestTopicRules(t *testing.T) {
	t.Parallel()
	const sql = "SELECT * FROM 'a'"
	republish := func(role, topic string, qos byte) Action {
		return Action{Republish: &RepublishAction{RoleARN: role, Topic: topic, QoS: qos}}
	}
	for _, c := range []struct {
		claim, name string
		payload     func(role string) TopicRulePayload
		code, says  string
	}{
		{"a rule", "rule_1", func(role string) TopicRulePayload {
			return TopicRulePayload{SQL: sql, Actions: []Action{republish(role, "b/${topic(1)}", 1)}}
		}, "", ""},
		{"a name with a hyphen", "a-b", func(string) TopicRulePayload { return TopicRulePayload{SQL: sql} }, "InvalidRequestException", `"a-b"`},
		{"a name of 129 characters", strings.Repeat("x", 129), func(string) TopicRulePayload { return TopicRulePayload{SQL: sql} }, "InvalidRequestException", "128"},
		{"a name that is taken", "taken", func(string) TopicRulePayload { return TopicRulePayload{SQL: sql} }, "ResourceAlreadyExistsException", "taken"},
		{"bad SQL", "r", func(string) TopicRulePayload { return TopicRulePayload{SQL: "SELECT FROM"} }, "SqlParseException", ""},
		{"an unknown SQL version", "r", func(string) TopicRulePayload { return TopicRulePayload{SQL: sql, AwsIotSQLVersion: "2020-01-01"} }, "SqlParseException", "2020-01-01"},
		{"a role that does not exist", "r", func(string) TopicRulePayload {
			return TopicRulePayload{SQL: sql, Actions: []Action{republish("arn:aws:iam::123456789012:role/none", "b", 0)}}
		}, "InvalidRequestException", "sts:AssumeRole"},
		{"a role that trusts other rules", "other", func(role string) TopicRulePayload {
			return TopicRulePayload{SQL: sql, Actions: []Action{republish(role, "b", 0)}}
		}, "InvalidRequestException", "trust policy"},
		{"a disabled rule's role is probed, too", "other", func(role string) TopicRulePayload {
			return TopicRulePayload{SQL: sql, RuleDisabled: true, ErrorAction: &Action{Republish: &RepublishAction{RoleARN: role, Topic: "b"}}}
		}, "InvalidRequestException", "trust policy"},
		{"eleven actions", "rule_1", func(role string) TopicRulePayload {
			return TopicRulePayload{SQL: sql, Actions: slices.Repeat([]Action{republish(role, "b", 0)}, 11)}
		}, "InvalidRequestException", "at most 10"},
		{"republishing at QoS 2", "rule_1", func(role string) TopicRulePayload {
			return TopicRulePayload{SQL: sql, Actions: []Action{republish(role, "b", 2)}}
		}, "InvalidRequestException", "QoS 2"},
		{"a FIFO topic", "rule_1", func(role string) TopicRulePayload {
			return TopicRulePayload{SQL: sql, Actions: []Action{{SNS: &SNSAction{RoleARN: role, TargetARN: account.ARN("sns", "t.fifo")}}}}
		}, "InvalidRequestException", "FIFO"},
		{"a message format that SNS does not have", "rule_1", func(role string) TopicRulePayload {
			return TopicRulePayload{SQL: sql, Actions: []Action{{SNS: &SNSAction{RoleARN: role, TargetARN: account.ARN("sns", "t"), MessageFormat: "XML"}}}}
		}, "InvalidRequestException", `"XML"`},
		{"two actions in one", "rule_1", func(role string) TopicRulePayload {
			return TopicRulePayload{SQL: sql, Actions: []Action{{SNS: &SNSAction{RoleARN: role}, Republish: &RepublishAction{RoleARN: role, Topic: "b"}}}}
		}, "InvalidRequestException", "exactly one"},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			s := registry(t)
			_, err := s.CreateTopicRule("taken", TopicRulePayload{SQL: sql}, nil)
			check(t, err)
			_, err = s.CreateTopicRule(c.name, c.payload(role(t, s, account.ARN("iot", "rule/rule_*"))), nil)
			if code(err) != c.code || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %q with %q", err, c.code, c.says)
			}
			if n := len(s.ListTopicRules()); c.code == "" && n != 2 || c.code != "" && n != 1 {
				t.Errorf("there are %d rules", n)
			}
		})
	}
}

// Replacing and deleting a rule changes what matches.
func TestTopicRulesMatchAsTheyAre(t *testing.T) {
	t.Parallel()
	s := registry(t)
	matches := func(topic string) (n int) {
		for range s.index.Match(topic) {
			n++
		}
		return n
	}
	_, err := s.CreateTopicRule("r", TopicRulePayload{SQL: "SELECT * FROM 'a'"}, nil)
	check(t, err)
	for _, step := range []struct {
		claim string
		do    func() error
		a, b  int
	}{
		{"as created", func() error { return nil }, 1, 0},
		{"replaced by a disabled one", func() error {
			return s.ReplaceTopicRule("r", TopicRulePayload{SQL: "SELECT * FROM 'a'", RuleDisabled: true})
		}, 0, 0},
		{"replaced by one with another filter", func() error { return s.ReplaceTopicRule("r", TopicRulePayload{SQL: "SELECT * FROM 'b'"}) }, 0, 1},
		{"not replaced by bad SQL", func() error {
			if code(s.ReplaceTopicRule("r", TopicRulePayload{SQL: "no"})) != "SqlParseException" {
				return errors.New("bad SQL was accepted")
			}
			return nil
		}, 0, 1},
		{"deleted", func() error { return s.DeleteTopicRule("r") }, 0, 0},
		{"deleted again", func() error { return s.DeleteTopicRule("r") }, 0, 0},
	} {
		check(t, step.do())
		if a, b := matches("a"), matches("b"); a != step.a || b != step.b {
			t.Errorf("%s: %d rules match a and %d match b, want %d and %d", step.claim, a, b, step.a, step.b)
		}
	}
	if got := code(s.ReplaceTopicRule("r", TopicRulePayload{SQL: "SELECT * FROM 'a'"})); got != "UnauthorizedException" {
		t.Errorf("replacing a rule that does not exist: %q", got)
	}
}

// What a rule is tagged with outlives what it does.
func TestAReplacedRuleKeepsItsTags(t *testing.T) {
	t.Parallel()
	s := registry(t)
	_, err := s.CreateTopicRule("r", TopicRulePayload{SQL: "SELECT * FROM 'a'"}, awsapi.Tags{"team": "fleet"})
	check(t, err)
	check(t, s.ReplaceTopicRule("r", TopicRulePayload{SQL: "SELECT * FROM 'b'"}))
	r, err := s.GetTopicRule("r")
	check(t, err)
	if r.Tags["team"] != "fleet" || len(r.Tags) != 1 {
		t.Errorf("the tags are %v", r.Tags)
	}
}

// An action or member that is not run here is named, never left out.
func TestTopicRulePayloads(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ claim, payload, want string }{
		{"as the API writes it", `{"sql":"x","actions":[{"republish":{"roleArn":"r","topic":"t","qos":1}}]}`, ""},
		{"as CloudFormation writes it", `{"Sql":"x","AwsIotSqlVersion":"2016-03-23","Actions":[{"Sns":{"TargetArn":"t","RoleArn":"r"}}]}`, ""},
		{"another action", `{"sql":"x","actions":[{"lambda":{"functionArn":"f"}}]}`, `"lambda"`},
		{"another member of an action", `{"sql":"x","actions":[{"republish":{"headers":{}}}]}`, `"headers"`},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			_, err := ParseTopicRulePayload([]byte(c.payload))
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestKeepAlive(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ asked, honoured uint16 }{
		{0, 1200}, {1, 30}, {29, 30}, {30, 30}, {31, 31}, {1199, 1199}, {1200, 1200}, {1201, 1200}, {65535, 1200},
	} {
		if got := keepAlive(c.asked); got != c.honoured {
			t.Errorf("keep alive %d is honoured as %d, want %d", c.asked, got, c.honoured)
		}
	}
}

func TestLimitsOfAMessage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		claim, topic string
		payload      int
		qos          byte
		want         string
	}{
		{"seven slashes", "1/2/3/4/5/6/7/8", 0, 0, ""},
		{"eight slashes", "1/2/3/4/5/6/7/8/9", 0, 0, "8 slashes"},
		{"Basic Ingest's prefix does not count", "$aws/rules/r/4/5/6/7/8/9/10/11", 0, 0, ""},
		{"256 bytes", strings.Repeat("x", 256), 0, 0, ""},
		{"257 bytes", strings.Repeat("x", 257), 0, 0, "257 bytes"},
		{"bytes count, not characters", strings.Repeat("ü", 129), 0, 0, "258 bytes"},
		{"no topic", "", 0, 0, "empty"},
		{"a plus", "a/+", 0, 0, "wildcards"},
		{"a hash", "a/#", 0, 0, "wildcards"},
		{"128 KB", "a", will.MaxPayloadBytes, 1, ""},
		{"a byte more", "a", will.MaxPayloadBytes + 1, 1, "131073 bytes"},
		{"QoS 2", "a", 0, 2, "qos not supported"},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			err := checkPublish(c.topic, c.payload, c.qos)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
