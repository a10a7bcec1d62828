package iot

import (
	"strconv"
	"strings"
	"testing"

	"lastwill/internal/localaws/awsapi"
)

func TestAttributesOfThings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		claim      string
		attributes map[string]string
		code       string
	}{
		{"all that is allowed", map[string]string{"a.b,c@d/e:f#g_h-1": "x=[1],y", "empty": "", "long": strings.Repeat("v", 800)}, ""},
		{"a name with a space", map[string]string{"a b": "c"}, "InvalidRequestException"},
		{"an empty name", map[string]string{"": "c"}, "InvalidRequestException"},
		{"a name of 129 characters", map[string]string{strings.Repeat("x", 129): "c"}, "InvalidRequestException"},
		{"a value with a space", map[string]string{"a": "b c"}, "InvalidRequestException"},
		{"a value of 801 characters", map[string]string{"a": strings.Repeat("v", 801)}, "InvalidRequestException"},
		{"four without a thing type", map[string]string{"a": "", "b": "", "c": "", "d": ""}, "InvalidRequestException"},
	} {
		s := registry(t)
		_, err := s.CreateThing("t", c.attributes)
		if code(err) != c.code {
			t.Errorf("%s: created: %v, want %q", c.claim, err, c.code)
		}
		_, err = s.CreateThing("other", nil)
		check(t, err)
		if _, err := s.UpdateThing("other", c.attributes); code(err) != c.code {
			t.Errorf("%s: updated: %v, want %q", c.claim, err, c.code)
		}
	}
}

func TestTags(t *testing.T) {
	t.Parallel()
	many := func(n int) awsapi.Tags {
		tags := awsapi.Tags{}
		for i := range n {
			tags["k"+strconv.Itoa(i)] = "v"
		}
		return tags
	}
	for _, c := range []struct {
		claim string
		tags  awsapi.Tags
		code  string
	}{
		{"50 tags", many(50), ""},
		{"51", many(51), "LimitExceededException"},
		{"a key of AWS", awsapi.Tags{"aws:x": "v"}, "InvalidRequestException"},
		{"in any case", awsapi.Tags{"AWS:x": "v"}, "InvalidRequestException"},
		{"a key of 129 characters", awsapi.Tags{strings.Repeat("ü", 129): "v"}, "InvalidRequestException"},
		{"a key and value of the longest", awsapi.Tags{strings.Repeat("ü", 128): strings.Repeat("ü", 256)}, ""},
		{"a value of 257 characters", awsapi.Tags{"k": strings.Repeat("v", 257)}, "InvalidRequestException"},
	} {
		s := registry(t)
		_, err := s.CreatePolicy("p", anything, c.tags)
		if code(err) != c.code {
			t.Errorf("%s: policy: %v, want %q", c.claim, err, c.code)
		}
		if _, err := s.CreateTopicRule("r", TopicRulePayload{SQL: "SELECT * FROM 'a'"}, c.tags); code(err) != c.code {
			t.Errorf("%s: rule: %v, want %q", c.claim, err, c.code)
		}
	}
}

func TestActionsHaveTheirMembers(t *testing.T) {
	t.Parallel()
	s := registry(t)
	for claim, a := range map[string]Action{
		"sns without topic":            {SNS: &SNSAction{RoleARN: "r"}},
		"sns without role":             {SNS: &SNSAction{TargetARN: "t"}},
		"republish without topic":      {Republish: &RepublishAction{RoleARN: "r"}},
		"republish without role":       {Republish: &RepublishAction{Topic: "t"}},
		"cloudwatchLogs without group": {CloudwatchLogs: &CloudwatchLogsAction{RoleARN: "r"}},
		"cloudwatchLogs without role":  {CloudwatchLogs: &CloudwatchLogsAction{LogGroupName: "g"}},
	} {
		if _, err := s.CreateTopicRule("r", TopicRulePayload{SQL: "SELECT * FROM 'a'", Actions: []Action{a}}, nil); code(err) != "InvalidRequestException" || !strings.Contains(err.Error(), "must have") {
			t.Errorf("%s: %v", claim, err)
		}
	}
	if _, err := s.CreateCertificateFromCSR(strings.Repeat("x", 4097), true); code(err) != "InvalidRequestException" || !strings.Contains(err.Error(), "4097") {
		t.Errorf("a CSR of 4097 characters: %v", err)
	}
}
