package policy

import (
	"strings"
	"testing"
)

const thingPolicy = `{"Version":"2012-10-17","Statement":[
 {"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:eu-west-1:1:client/${iot:Connection.Thing.ThingName}",
  "Condition":{"Bool":{"iot:Connection.Thing.IsAttached":"true"}}},
 {"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":["arn:aws:iot:eu-west-1:1:topic/last/*"]},
 {"Effect":"Deny","Action":"iot:Publish","Resource":"arn:aws:iot:eu-west-1:1:topic/last/secret"}]}`

const trustPolicy = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"iot.amazonaws.com"},"Action":"sts:AssumeRole",
 "Condition":{"StringEquals":{"aws:SourceAccount":"1"},"ArnLike":{"aws:SourceArn":"arn:aws:iot:eu-west-1:1:rule/lastWillRule"}}}}`

const tlsOnly = `{"Statement":[{"Effect":"Deny","Principal":"*","Action":"sns:Publish","Resource":"t","Condition":{"Bool":{"aws:SecureTransport":"false"}}},
 {"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::1:root"},"Action":"SNS:*","Resource":"t","Condition":{"StringEquals":{"AWS:SourceOwner":"1"}}}]}`

func TestEvaluate(t *testing.T) {
	t.Parallel()
	thing := map[string]string{"iot:Connection.Thing.ThingName": "lwtThing", "iot:Connection.Thing.IsAttached": "true"}
	iot := Principal{Service: "iot.amazonaws.com"}
	rule := map[string]string{"aws:SourceAccount": "1", "aws:SourceArn": "arn:aws:iot:eu-west-1:1:rule/lastWillRule"}
	for _, c := range []struct {
		claim string
		doc   string
		r     Request
		want  Decision
	}{
		{"a thing connects as its own name", thingPolicy, Request{Action: "iot:Connect", Resource: "arn:aws:iot:eu-west-1:1:client/lwtThing", Context: thing}, Allow},
		{"and as no other", thingPolicy, Request{Action: "iot:Connect", Resource: "arn:aws:iot:eu-west-1:1:client/other", Context: thing}, ImplicitDeny},
		{"a variable without a value matches nothing", thingPolicy, Request{Action: "iot:Connect", Resource: "arn:aws:iot:eu-west-1:1:client/", Context: map[string]string{"iot:Connection.Thing.IsAttached": "true"}}, ImplicitDeny},
		{"a variable's value is no wildcard", thingPolicy, Request{Action: "iot:Connect", Resource: "arn:aws:iot:eu-west-1:1:client/x", Context: map[string]string{"iot:Connection.Thing.ThingName": "*", "iot:Connection.Thing.IsAttached": "true"}}, ImplicitDeny},
		{"a condition that fails keeps the statement out", thingPolicy, Request{Action: "iot:Connect", Resource: "arn:aws:iot:eu-west-1:1:client/lwtThing", Context: map[string]string{"iot:Connection.Thing.ThingName": "lwtThing", "iot:Connection.Thing.IsAttached": "false"}}, ImplicitDeny},
		{"a star spans slashes", thingPolicy, Request{Action: "iot:Publish", Resource: "arn:aws:iot:eu-west-1:1:topic/last/will/topic"}, Allow},
		{"deny beats allow", thingPolicy, Request{Action: "iot:Publish", Resource: "arn:aws:iot:eu-west-1:1:topic/last/secret"}, ExplicitDeny},
		{"actions compare without case", thingPolicy, Request{Action: "IOT:publish", Resource: "arn:aws:iot:eu-west-1:1:topic/last/a"}, Allow},
		{"resources compare with case", thingPolicy, Request{Action: "iot:Publish", Resource: "arn:aws:iot:eu-west-1:1:topic/Last/a"}, ImplicitDeny},
		{"a service may assume the role for its rule", trustPolicy, Request{Principal: iot, Action: "sts:AssumeRole", Context: rule}, Allow},
		{"and for no other rule", trustPolicy, Request{Principal: iot, Action: "sts:AssumeRole", Context: map[string]string{"aws:SourceAccount": "1", "aws:SourceArn": "arn:aws:iot:eu-west-1:1:rule/other"}}, ImplicitDeny},
		{"another service may not", trustPolicy, Request{Principal: Principal{Service: "lambda.amazonaws.com"}, Action: "sts:AssumeRole", Context: rule}, ImplicitDeny},
		{"a missing context key fails the condition", trustPolicy, Request{Principal: iot, Action: "sts:AssumeRole"}, ImplicitDeny},
		{"plain HTTP is denied by a TLS-only policy", tlsOnly, Request{Principal: Principal{Account: "1"}, Action: "sns:Publish", Resource: "t", Context: map[string]string{"aws:SecureTransport": "false"}}, ExplicitDeny},
		{"TLS is not", tlsOnly, Request{Principal: Principal{ARN: "arn:aws:iam::1:root", Account: "1"}, Action: "sns:Publish", Resource: "t", Context: map[string]string{"aws:SecureTransport": "true", "aws:SourceOwner": "1"}}, Allow},
		{"an account's root leaves it to the policies of its principals", tlsOnly, Request{Principal: Principal{ARN: "arn:aws:sts::1:assumed-role/a/b", Account: "1"}, Action: "sns:Publish", Resource: "t", Context: map[string]string{"aws:SourceOwner": "1"}}, ImplicitDeny},
		{"and stands for no other account's", tlsOnly, Request{Principal: Principal{Account: "2"}, Action: "sns:Publish", Resource: "t", Context: map[string]string{"aws:SourceOwner": "1"}}, ImplicitDeny},
		{"NotAction covers the rest", `{"Statement":{"Effect":"Deny","NotAction":"iot:Connect","Resource":"*"}}`, Request{Action: "iot:Publish", Resource: "x"}, ExplicitDeny},
		{"a negated operator holds without the key", `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringNotEquals":{"a":"b"}}}}`, Request{Action: "x"}, Allow},
		{"IfExists holds without the key", `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEqualsIfExists":{"a":"b"}}}}`, Request{Action: "x"}, Allow},
		{"Null asks for absence", `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Null":{"a":"true"}}}}`, Request{Action: "x", Context: map[string]string{"a": "1"}}, ImplicitDeny},
		{"StringEquals has no wildcards", `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"a":"b*"}}}}`, Request{Action: "x", Context: map[string]string{"a": "bc"}}, ImplicitDeny},
		{"a written-out ${*} is a star, not a wildcard", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"a${*}"}}`, Request{Action: "x", Resource: "abc"}, ImplicitDeny},
		{"a variable resolves", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"${a}"}}`, Request{Action: "x", Resource: "b", Context: map[string]string{"a": "b"}}, Allow},
		{"in the older version it is text", `{"Version":"2008-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"${a}"}}`, Request{Action: "x", Resource: "b", Context: map[string]string{"a": "b"}}, ImplicitDeny},
		{"which is the default", `{"Statement":{"Effect":"Allow","Action":"*","Resource":"${a}*"}}`, Request{Action: "x", Resource: "${a}b", Context: map[string]string{"a": "b"}}, Allow},
		{"in conditions, too", `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"a":"${b}"}}}}`, Request{Action: "x", Context: map[string]string{"a": "c", "b": "c"}}, ImplicitDeny},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			d, err := Parse([]byte(c.doc))
			if err != nil {
				t.Fatal(err)
			}
			if got := d.Evaluate(c.r); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ claim, doc, want string }{
		{"no JSON", `nope`, "policy is not valid"},
		{"no statement", `{"Version":"2012-10-17"}`, "no Statement"},
		{"an unknown version", `{"Version":"2020-01-01","Statement":[]}`, `version "2020-01-01"`},
		{"an unknown effect", `{"Statement":{"Effect":"Maybe","Action":"*","Resource":"*"}}`, `Effect "Maybe"`},
		{"a misspelled element", `{"Statement":{"Effect":"Allow","Actions":"*","Resource":"*"}}`, `"Actions"`},
		{"both forms", `{"Statement":{"Effect":"Allow","Action":"*","NotAction":"a","Resource":"*"}}`, "exclude each other"},
		{"a missing action", `{"Statement":{"Effect":"Allow","Resource":"*"}}`, "Action is missing"},
		{"an operator that does not exist", `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringMatches":{"a":"b"}}}}`, `"StringMatches" does not exist`},
		{"a qualifier that does not exist", `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"ForSomeValues:StringEquals":{"a":"b"}}}}`, `"ForSomeValues:StringEquals" does not exist`},
		{"a number that is none", `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"NumericLessThan":{"a":"x"}}}}`, `cannot have the value "x"`},
		{"a date that is none", `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"DateLessThan":{"a":"tomorrow"}}}}`, `cannot have the value "tomorrow"`},
		{"a network that is none", `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"IpAddress":{"a":"10.0.0.0/33"}}}}`, `cannot have the value "10.0.0.0/33"`},
		{"a Null that is neither", `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Null":{"a":"x"}}}}`, `takes true or false`},
		{"two statements of one ID", `{"Statement":[{"Sid":"a","Effect":"Allow","Action":"*","Resource":"*"},{"Sid":"a","Effect":"Allow","Action":"*","Resource":"*"}]}`, `must be unique: "a"`},
		{"an empty list of statements", `{"Statement":[]}`, "no Statement"},
		{"a number where a name belongs", `{"Statement":{"Effect":"Allow","Action":5,"Resource":"*"}}`, "string or an array"},
		{"trailing text", `{"Statement":[]} x`, "policy is not valid"},
		{"a huge document", `{"Statement":[` + strings.Repeat(" ", maxDocumentBytes) + `]}`, "at most"},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			_, err := Parse([]byte(c.doc))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want it to contain %q", err, c.want)
			}
		})
	}
}

func TestKindsOfPolicies(t *testing.T) {
	t.Parallel()
	const (
		identity = `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`
		trust    = `{"Statement":{"Effect":"Allow","Action":"*","Principal":"*"}}`
		both     = `{"Statement":[{"Effect":"Allow","Action":"*","Principal":"*","Resource":"*"}]}`
		neither  = `{"Statement":{"Effect":"Allow","Action":"*"}}`
	)
	for _, c := range []struct {
		claim string
		parse func([]byte) (*Document, error)
		doc   string
		want  string // in the error; empty: there is none
	}{
		{"an identity's policy has resources", ParseIdentity, identity, ""},
		{"and needs them", ParseIdentity, neither, "policy statement 1: the element Resource is missing"},
		{"and has no principal", ParseIdentity, both, "Principal has no place"},
		{"a trust policy has principals", ParseTrust, trust, ""},
		{"and needs them", ParseTrust, neither, "policy statement 1: the element Principal is missing"},
		{"and has no resource", ParseTrust, both, "Resource has no place"},
		{"a resource's policy has both", ParseResource, both, ""},
		{"and needs principals", ParseResource, identity, "Principal is missing"},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			_, err := c.parse([]byte(c.doc))
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func FuzzPolicy(f *testing.F) {
	for _, doc := range []string{thingPolicy, trustPolicy, tlsOnly, `{"Statement":[]}`, `{}`} {
		f.Add(doc, "iot:Publish", "arn:aws:iot:eu-west-1:1:topic/last/x")
	}
	f.Fuzz(func(t *testing.T, doc, action, resource string) {
		// Of resources, of roles and things, of a role's trust.
		for _, parse := range []func([]byte) (*Document, error){Parse, ParseIdentity, ParseTrust} {
			if d, err := parse([]byte(doc)); err == nil {
				d.Evaluate(Request{Action: action, Resource: resource, Context: map[string]string{"a": doc}})
			}
		}
	})
}

func TestGlobTimeIsBounded(t *testing.T) {
	t.Parallel()
	pattern := strings.Repeat("a*", 500) + "b"
	if globMatch(newPattern(pattern), strings.Repeat("a", 5000), nil) {
		t.Error("a pattern that ends in b matched a text that does not")
	}
}
