package iam

import (
	"fmt"
	"strings"
	"testing"

	"lastwill/internal/localaws/policy"
)

func TestTrustPolicies(t *testing.T) {
	t.Parallel()
	statement := func(principal, action, condition string) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":` + principal + `,"Action":"` + action + `","Condition":{` + condition + `}}]}`
	}
	long := func(n int) string {
		const begin, end = `{"Statement":{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole","Sid":"`, `"}}`
		return begin + strings.Repeat("x", n-len(begin)-len(end)) + end
	}
	for _, c := range []struct{ claim, document, code, says string }{
		{"a service", statement(`{"Service":"iot.amazonaws.com"}`, "sts:AssumeRole", ""), "", ""},
		{"several", statement(`{"Service":["lambda.amazonaws.com","edgelambda.amazonaws.com","logs.eu-central-1.amazonaws.com","codedeploy.us-gov-west-1.amazonaws.com"]}`, "sts:AssumeRole", ""), "", ""},
		{"a service that does not exist", statement(`{"Service":"nosuch.amazonaws.com"}`, "sts:AssumeRole", ""), "MalformedPolicyDocument", `Invalid principal in policy: "SERVICE":"nosuch.amazonaws.com"`},
		{"one among others", statement(`{"Service":["iot.amazonaws.com","iott.amazonaws.com"]}`, "sts:AssumeRole", ""), "MalformedPolicyDocument", `"SERVICE":"iott.amazonaws.com"`},
		{"a service without its domain", statement(`{"Service":"iot"}`, "sts:AssumeRole", ""), "MalformedPolicyDocument", `"SERVICE":"iot"`},
		{"the account, root and number", statement(`{"AWS":["arn:aws:iam::123456789012:root","123456789012","*"]}`, "sts:AssumeRole", ""), "", ""},
		{"a role that exists", statement(`{"AWS":"arn:aws:iam::123456789012:role/service/role"}`, "sts:AssumeRole", ""), "", ""},
		{"a role that does not", statement(`{"AWS":"arn:aws:iam::123456789012:role/none"}`, "sts:AssumeRole", ""), "MalformedPolicyDocument", `Invalid principal in policy: "AWS":"arn:aws:iam::123456789012:role/none"`},
		{"another account's", statement(`{"AWS":"arn:aws:iam::999999999999:role/x"}`, "sts:AssumeRole", ""), "", ""},
		{"a name", statement(`{"AWS":"somebody"}`, "sts:AssumeRole", ""), "MalformedPolicyDocument", `"AWS":"somebody"`},
		{"an action of another service", statement(`{"AWS":"*"}`, "sns:Publish", ""), "MalformedPolicyDocument", "AssumeRole policy may only specify STS AssumeRole actions"},
		{"a condition", statement(`{"AWS":"*"}`, "sts:AssumeRole", `"StringEquals":{"sts:ExternalId":"a"}`), "", ""},
		{"an unknown condition key", statement(`{"AWS":"*"}`, "sts:AssumeRole", `"StringEquals":{"aws:SourceArm":"a"}`), "MalformedPolicyDocument", `"aws:SourceArm"`},
		{"2048 characters", long(2048), "", ""},
		{"2049", long(2049), "LimitExceeded", "Cannot exceed quota for ACLSizePerRole: 2048"},
		{"white space does not count", long(2048) + strings.Repeat(" ", 100), "", ""},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			s, _ := newRole(t)
			_, err := s.CreateRole(RoleInput{Name: "another", TrustPolicy: c.document})
			if code(err) != c.code || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("created: %v, want %q %q", err, c.code, c.says)
			}
			if _, err := s.UpdateRole(RoleInput{Name: "role", TrustPolicy: c.document}); code(err) != c.code {
				t.Errorf("updated: %v, want %q", err, c.code)
			}
		})
	}
}

func TestInlinePolicies(t *testing.T) {
	t.Parallel()
	statement := func(action, resource, condition string) string {
		return `{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":` + action + `,"Resource":` + resource + `,"Condition":{` + condition + `}}}`
	}
	for _, c := range []struct{ claim, document, says string }{
		{"actions and ARNs", statement(`["sns:Publish","s3:*","nosuch:Thing"]`, `["arn:aws:sns:us-east-1:123456789012:t","arn:aws:s3:::b/*","arn:*:s3:::b","*"]`, ""), ""},
		{"an action without vendor", statement(`"Publish"`, `"*"`, ""), "Actions/Conditions must be prefaced by a vendor"},
		{"an action with two colons", statement(`"sns:Publish:x"`, `"*"`, ""), "can contain only one colon"},
		{"a vendor with a space", statement(`"s n s:Publish"`, `"*"`, ""), "Vendor s n s is not valid"},
		{"a resource that is no ARN", statement(`"sns:Publish"`, `"topic"`, ""), `Resource topic must be in ARN format or "*".`},
		{"a short ARN", statement(`"sns:Publish"`, `"arn:aws:sns"`, ""), `Resource arn:aws:sns must be in ARN format`},
		{"a partition that does not exist", statement(`"sns:Publish"`, `"arn:amazon:sns:us-east-1:123456789012:t"`, ""), `must be in ARN format`},
		{"a condition of another service's", statement(`"*"`, `"*"`, `"StringEquals":{"kms:ViaService":"x"}`), ""},
		{"a condition key that does not exist", statement(`"*"`, `"*"`, `"StringEquals":{"aws:Nothing":"x"}`), `"aws:Nothing"`},
		{"one whose value is not known here", statement(`"*"`, `"*"`, `"StringEquals":{"aws:MultiFactorAuthPresent":"x"}`), `"aws:MultiFactorAuthPresent" does not exist or is not supported here`},
	} {
		s, _ := newRole(t)
		err := s.PutRolePolicy("role", "p", c.document)
		if want := map[bool]string{true: "MalformedPolicyDocument"}[c.says != ""]; code(err) != want || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.claim, err, c.says)
		}
	}
}

// The inline policies of a role have 10,240 characters together, white space apart.
func TestSizeOfInlinePolicies(t *testing.T) {
	t.Parallel()
	sized := func(n int) string {
		const begin, end = `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Sid":"`, `"}}`
		return begin + strings.Repeat("x", n-len(begin)-len(end)) + end
	}
	s, _ := newRole(t)
	check(t, s.PutRolePolicy("role", "a", sized(10000)))
	check(t, s.PutRolePolicy("role", "b", sized(240)+strings.Repeat("\n", 500)))
	if err := s.PutRolePolicy("role", "b", sized(241)); code(err) != "LimitExceeded" || !strings.Contains(err.Error(), "Maximum policy size of 10240 bytes exceeded for role role") {
		t.Errorf("got %v", err)
	}
	check(t, s.PutRolePolicy("role", "a", sized(9000))) // in the place of the first
}

func TestManagedPolicies(t *testing.T) {
	t.Parallel()
	const aws = "arn:aws:iam::aws:policy/"
	for _, c := range []struct {
		arns []string
		code string
	}{
		{[]string{aws + "AdministratorAccess", aws + "ReadOnlyAccess", aws + "service-role/AWSLambdaBasicExecutionRole", aws + "service-role/AWSIoTLogging"}, ""},
		{[]string{aws + "AWSLambdaBasicExecutionRole"}, "NoSuchEntity"}, // which is below service-role
		{[]string{aws + "NoSuchPolicy"}, "NoSuchEntity"},
		{[]string{"arn:aws:iam::123456789012:policy/mine"}, "NoSuchEntity"},
		{[]string{"AdministratorAccess"}, "NoSuchEntity"},
	} {
		s, _ := newRole(t)
		_, err := s.CreateRole(RoleInput{Name: "r", TrustPolicy: trust, ManagedPolicies: c.arns})
		if code(err) != c.code {
			t.Errorf("%v: %v, want %q", c.arns, err, c.code)
		}
		if _, err := s.UpdateRole(RoleInput{Name: "role", TrustPolicy: trust, ManagedPolicies: c.arns}); code(err) != c.code {
			t.Errorf("updated: %v: %v, want %q", c.arns, err, c.code)
		}
	}
}

// Every key that a role's policies may ask for has its value.
func TestConditionsOfARole(t *testing.T) {
	t.Parallel()
	for condition, want := range map[string]bool{
		`"StringEquals":{"aws:RequestedRegion":"us-east-1"}`:                                        true,
		`"StringEquals":{"aws:RequestedRegion":"eu-west-1"}`:                                        false,
		`"StringEquals":{"aws:PrincipalAccount":"123456789012"}`:                                    true,
		`"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::123456789012:role/service/*"}`:                 true,
		`"StringEquals":{"aws:PrincipalType":"AssumedRole"}`:                                        true,
		`"StringLike":{"aws:userid":"AROA*:iot"}`:                                                   true,
		`"StringEquals":{"aws:ResourceAccount":"123456789012","s3:ResourceAccount":"123456789012"}`: true,
		`"Bool":{"aws:SecureTransport":"true"}`:                                                     true,
		`"Null":{"aws:SourceVpc":"true","aws:PrincipalOrgID":"true","kms:ViaService":"true"}`:       true,
		`"DateGreaterThan":{"aws:CurrentTime":"2020-01-01T00:00:00Z"}`:                              true,
		`"StringEquals":{"aws:PrincipalTag/team":"a"}`:                                              true,
		`"StringEquals":{"aws:PrincipalTag/team":"b"}`:                                              false,
		`"StringNotEquals":{"aws:RequestedRegion":"us-east-1"}`:                                     false,
	} {
		s := New(account)
		r, err := s.CreateRole(RoleInput{Name: "role", Path: "/service/", TrustPolicy: trust, Tags: map[string]string{"team": "a"}})
		check(t, err)
		check(t, s.PutRolePolicy("role", "p", fmt.Sprintf(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sns:Publish","Resource":"*","Condition":{%s}}}`, condition)))
		caller, err := s.Assume(r.ARN, "iot.amazonaws.com", map[string]string{"aws:SourceAccount": "123456789012", "aws:SourceArn": "arn:aws:iot:us-east-1:123456789012:rule/r"})
		check(t, err)
		if got := caller.Decide(policy.Request{Action: "sns:Publish", Resource: "arn:aws:sns:us-east-1:123456789012:t"}) == policy.Allow; got != want {
			t.Errorf("%s: allowed %v, want %v", condition, got, want)
		}
	}
}
