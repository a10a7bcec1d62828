package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/cfn"
)

func TestARequestThatCannotBeReadIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		claim      string
		properties map[string]any
		says       string
	}{
		{"no limit", map[string]any{"Target": map[string]any{}}, `LimitSeconds "" is no number`},
		{"a target that is a text", map[string]any{"Target": "x", "LimitSeconds": "10"}, "properties of the check"},
		{"a target without parts", map[string]any{"Target": map[string]any{}, "LimitSeconds": "1"}, "the target of the check has no"},
	} {
		id, _, err := respond(t.Context(), cfn.Event{RequestType: cfn.RequestCreate, ResourceProperties: c.properties})
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.claim, err)
		}
		if id != checkID {
			t.Errorf("%s: the physical id is %q: another one would have CloudFormation delete the check", c.claim, id)
		}
	}
}

// Whatever state a check is in, its stack can be deleted.
func TestADeletionNeverFails(t *testing.T) {
	t.Setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1") // nobody answers
	t.Setenv("AWS_REGION", "us-east-1")
	t.Setenv("AWS_ACCESS_KEY_ID", "x")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "x")
	for _, properties := range []map[string]any{
		nil,
		{"Target": map[string]any{"policy": "p", "thing": "t"}, "LimitSeconds": "10"},
	} {
		id, _, err := respond(t.Context(), cfn.Event{RequestType: cfn.RequestDelete, PhysicalResourceID: checkID, ResourceProperties: properties})
		if err != nil || id != checkID {
			t.Errorf("the deletion of %v ended with %q, %v", properties, id, err)
		}
	}
}

func TestAReasonFitsIntoAResponse(t *testing.T) {
	t.Parallel()
	err := shortened(errors.New(strings.Repeat("é", 5000)))
	if len(err.Error()) > maxReason || !strings.HasPrefix(err.Error(), "end-to-end check: é") {
		t.Errorf("the reason has %d bytes", len(err.Error()))
	}
}
