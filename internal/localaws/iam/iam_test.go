package iam

import (
	"errors"
	"strings"
	"testing"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/policy"
)

var account = awsapi.Account{ID: "123456789012", Region: "us-east-1"}

const (
	trust = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"iot.amazonaws.com"},"Action":"sts:AssumeRole",
		"Condition":{"StringEquals":{"aws:SourceAccount":"123456789012"},"ArnEquals":{"aws:SourceArn":"arn:aws:iot:us-east-1:123456789012:rule/r"}}}}`
	publish = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sns:Publish","Resource":"arn:aws:sns:us-east-1:123456789012:t"}}`
	deny    = `{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"sns:*","Resource":"*"}}`
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func code(err error) string {
	if e, ok := errors.AsType[*awsapi.Error](err); ok {
		return e.Code
	}
	if err != nil {
		return "not an API error: " + err.Error()
	}
	return ""
}

func newRole(t testing.TB) (*Service, Role) {
	t.Helper()
	s := New(account)
	r, err := s.CreateRole(RoleInput{Name: "role", Path: "/service/", TrustPolicy: trust})
	check(t, err)
	return s, r
}

// A role is assumed by the service, account and rule that it trusts, and by
// nobody else.
func TestAssume(t *testing.T) {
	t.Parallel()
	rule := func(account, name string) map[string]string {
		return map[string]string{"aws:SourceAccount": account, "aws:SourceArn": "arn:aws:iot:us-east-1:123456789012:rule/" + name}
	}
	s, r := newRole(t)
	for _, c := range []struct {
		claim, arn, service string
		context             map[string]string
		refused             string
	}{
		{"the rule that it trusts", r.ARN, "iot.amazonaws.com", rule("123456789012", "r"), ""},
		{"another rule", r.ARN, "iot.amazonaws.com", rule("123456789012", "other"), "trust policy"},
		{"another account", r.ARN, "iot.amazonaws.com", rule("999999999999", "r"), "trust policy"},
		{"no source at all", r.ARN, "iot.amazonaws.com", nil, "trust policy"},
		{"another service", r.ARN, "lambda.amazonaws.com", rule("123456789012", "r"), "trust policy"},
		{"a role that does not exist", "arn:aws:iam::123456789012:role/none", "iot.amazonaws.com", nil, "does not exist"},
		{"the right name under another path", "arn:aws:iam::123456789012:role/role", "iot.amazonaws.com", nil, "does not exist"},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			_, err := s.Assume(c.arn, c.service, c.context)
			if c.refused == "" && err != nil || c.refused != "" && (code(err) != "AccessDenied" || !strings.Contains(err.Error(), c.refused)) {
				t.Errorf("got %v, want %q", err, c.refused)
			}
		})
	}
}

// A session may do what the role's policies allow at the time.
func TestSessionAsksThePoliciesOfTheMoment(t *testing.T) {
	t.Parallel()
	s, r := newRole(t)
	session, err := s.Assume(r.ARN, "iot.amazonaws.com", map[string]string{
		"aws:SourceAccount": account.ID, "aws:SourceArn": "arn:aws:iot:us-east-1:123456789012:rule/r",
	})
	check(t, err)
	if got := session.Principal(); got.Account != account.ID || !strings.HasPrefix(got.ARN, "arn:aws:sts::123456789012:assumed-role/role/") {
		t.Errorf("the session is %+v", got)
	}
	for _, step := range []struct {
		claim string
		do    func() error
		want  policy.Decision
	}{
		{"no policy", func() error { return nil }, policy.ImplicitDeny},
		{"one that allows", func() error { return s.PutRolePolicy("role", "publish", publish) }, policy.Allow},
		{"another one that denies", func() error { return s.PutRolePolicy("role", "deny", deny) }, policy.ExplicitDeny},
		{"the denial gone", func() error { return s.DeleteRolePolicy("role", "deny") }, policy.Allow},
		{"the policy replaced", func() error { return s.PutRolePolicy("role", "publish", strings.Replace(publish, ":t", ":other", 1)) }, policy.ImplicitDeny},
		{"the role gone", func() error { return errors.Join(s.DeleteRolePolicy("role", "publish"), s.DeleteRole("role")) }, policy.ImplicitDeny},
	} {
		check(t, step.do())
		got := session.Decide(policy.Request{Action: "sns:Publish", Resource: "arn:aws:sns:us-east-1:123456789012:t"})
		if got != step.want {
			t.Errorf("%s: %v, want %v", step.claim, got, step.want)
		}
	}
}

func TestRolesAreRefused(t *testing.T) {
	t.Parallel()
	s, _ := newRole(t)
	create := func(in RoleInput) func() error {
		return func() error { _, err := s.CreateRole(in); return err }
	}
	check(t, s.PutRolePolicy("role", "publish", publish))
	for _, c := range []struct {
		claim, code string
		do          func() error
	}{
		{"a name that is taken", "EntityAlreadyExists", create(RoleInput{Name: "role", TrustPolicy: trust})},
		{"a name with a slash", "ValidationError", create(RoleInput{Name: "a/b", TrustPolicy: trust})},
		{"a name of 65 characters", "ValidationError", create(RoleInput{Name: strings.Repeat("x", 65), TrustPolicy: trust})},
		{"a path without slashes", "ValidationError", create(RoleInput{Name: "r", Path: "service", TrustPolicy: trust})},
		{"no trust policy", "MalformedPolicyDocument", create(RoleInput{Name: "r"})},
		{"a trust policy for nobody", "MalformedPolicyDocument", create(RoleInput{Name: "r", TrustPolicy: publish})},
		{"an inline policy with a principal", "MalformedPolicyDocument", func() error { return s.PutRolePolicy("role", "p", trust) }},
		{"a policy of a role that does not exist", "NoSuchEntity", func() error { return s.PutRolePolicy("none", "p", publish) }},
		{"the deletion of a policy that does not exist", "NoSuchEntity", func() error { return s.DeleteRolePolicy("role", "none") }},
		{"the deletion of a role with policies", "DeleteConflict", func() error { return s.DeleteRole("role") }},
		{"the deletion of a role that does not exist", "NoSuchEntity", func() error { return s.DeleteRole("none") }},
	} {
		if got := code(c.do()); got != c.code {
			t.Errorf("%s: %q, want %q", c.claim, got, c.code)
		}
	}
	if roles := s.ListRoles(); len(roles) != 1 || roles[0].Policies["publish"] != publish {
		t.Errorf("the roles are %+v", roles)
	}
}
