package localaws_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"lastwill/internal/keypair"
	"lastwill/internal/localaws/cloudformation"
)

// Another CSR is another certificate. The new one, with both attachments, is there
// before the old one goes, so that a device that knows either can connect at any
// time of the update; afterwards nothing is left of the old one.
func TestAnotherCSRReplacesTheCertificateAndItsAttachments(t *testing.T) {
	t.Parallel()
	c := start(t)
	stack := c.deploy(t)
	before := stack.Output("CertificateId")
	old := connect(t, c.device(c.thing(t, stack)))

	tm := c.scenario(t)
	newKeys := t.TempDir()
	csr, err := keypair.Ensure(newKeys, "lwtThing", true)
	check(t, err)
	tm.properties(t, "AWS::IoT::Certificate")["CertificateSigningRequest"] = csr
	stack = c.update(t, stack, tm)

	if after := stack.Output("CertificateId"); after == before {
		t.Fatal("the certificate is still the old one")
	}
	certificates := c.IoT.ListCertificates()
	if len(certificates) != 1 || certificates[0].ID != stack.Output("CertificateId") || certificates[0].Status != "ACTIVE" {
		t.Errorf("the certificates are %+v", certificates)
	}
	targets, err := c.IoT.ListTargetsForPolicy(c.IoT.ListPolicies()[0].Name)
	check(t, err)
	principals, err := c.IoT.ListThingPrincipals("lwtThing")
	check(t, err)
	if want := []string{certificates[0].ARN}; !slices.Equal(targets, want) || !slices.Equal(principals, want) {
		t.Errorf("the policy is attached to %v, the thing to %v, want %v", targets, principals, want)
	}
	wait(t, old.Done(), "a device with the certificate that was replaced is still connected")

	// In the order of the events all that is new comes before anything old goes.
	lastNew, firstOld := 0, len(stack.Events)
	for i, e := range stack.Events[slices.IndexFunc(stack.Events, func(e cloudformation.Event) bool { return e.Status == "UPDATE_IN_PROGRESS" }):] {
		switch {
		case !strings.HasPrefix(e.Type, "AWS::IoT::"):
		case e.Status == "UPDATE_COMPLETE":
			lastNew = max(lastNew, i)
		case e.Status == "DELETE_IN_PROGRESS":
			firstOld = min(firstOld, i)
		}
	}
	if lastNew == 0 || firstOld < lastNew {
		t.Errorf("the first deletion is event %d, the last creation %d: %s", firstOld, lastNew, told(stack))
	}

	// The new key works.
	check(t, os.Rename(keypair.KeyFile(newKeys, "lwtThing"), keypair.KeyFile(c.dir, "lwtThing")))
	connect(t, c.device(c.thing(t, stack)))
	c.confirm(t)
	c.destroy(t, stack)
	if left := c.Leftovers(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// update brings a stack to another template.
func (c *cloud) update(t testing.TB, stack *cloudformation.Stack, tm template) *cloudformation.Stack {
	t.Helper()
	_, err := c.CloudFormation.Update(cloudformation.Input{Name: stack.Name, TemplateBody: encode(t, tm)})
	check(t, err)
	updated, err := c.CloudFormation.Await(deadline(t), stack.ID)
	check(t, err)
	return updated
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	check(t, err)
	return b
}

func told(stack *cloudformation.Stack) string {
	var b strings.Builder
	for _, e := range stack.Events {
		fmt.Fprintln(&b, e.LogicalID, e.Status, e.StatusReason)
	}
	return b.String()
}

// A stack that cannot be deleted says what is in the way, and can be deleted once
// that is gone.
func TestWhatIsInUseKeepsItsStack(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		claim  string
		occupy func(*testing.T, *cloud, *cloudformation.Stack) (free func() error)
		says   string
	}{
		{"a policy that somebody attached elsewhere", func(t *testing.T, c *cloud, stack *cloudformation.Stack) func() error {
			_, arn := c.certify(t, "guest")
			policy := stack.Output("PolicyName")
			check(t, c.IoT.AttachPolicy(policy, arn))
			return func() error { return c.IoT.DetachPolicy(policy, arn) }
		}, "DeleteConflictException"},
		{"a thing with another principal", func(t *testing.T, c *cloud, stack *cloudformation.Stack) func() error {
			_, arn := c.certify(t, "guest")
			check(t, c.IoT.AttachThingPrincipal("lwtThing", arn))
			return func() error { return c.IoT.DetachThingPrincipal("lwtThing", arn) }
		}, "lwtThing"},
		{"a certificate with another policy", func(t *testing.T, c *cloud, stack *cloudformation.Stack) func() error {
			_, err := c.IoT.CreatePolicy("guest", string(encode(t, document(allow("iot:*", "*")))), nil)
			check(t, err)
			certificate, err := c.IoT.DescribeCertificate(stack.Output("CertificateId"))
			check(t, err)
			check(t, c.IoT.AttachPolicy("guest", certificate.ARN))
			return func() error { return c.IoT.DetachPolicy("guest", certificate.ARN) }
		}, "DeleteConflictException"},
	} {
		t.Run(test.claim, func(t *testing.T) {
			t.Parallel()
			c := start(t)
			stack := c.deploy(t)
			free := test.occupy(t, c, stack)
			check(t, c.CloudFormation.Delete(stack.ID))
			stuck, err := c.CloudFormation.Await(deadline(t), stack.ID)
			if err == nil || stuck.Status != "DELETE_FAILED" || !strings.Contains(err.Error(), test.says) {
				t.Errorf("the stack is %s: %v", stuck.Status, err)
			}
			check(t, free())
			c.destroy(t, stack)
		})
	}
}
