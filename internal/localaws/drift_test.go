package localaws_test

import (
	"slices"
	"strings"
	"testing"

	"lastwill/internal/localaws/cloudformation"
)

// What somebody deleted or changed behind CloudFormation's back is as the template says
// after a deployment that reverts drift; all else stays as it is.
func TestDriftIsReverted(t *testing.T) {
	t.Parallel()
	c := start(t)
	stack := c.deploy(t)
	c.confirm(t)
	body := []byte(stack.TemplateBody)
	revert := func() *cloudformation.ChangeSet {
		t.Helper()
		set, err := c.CloudFormation.CreateChangeSet("revert", "", false, cloudformation.Input{Name: stack.Name, TemplateBody: body, RevertDrift: true})
		check(t, err)
		return set
	}
	if set := revert(); set.Status != "FAILED" || !strings.Contains(set.StatusReason, "didn't contain changes") {
		t.Fatalf("without drift the change set is %s: %s, %+v", set.Status, set.StatusReason, set.Changes)
	}
	check(t, c.CloudFormation.DeleteChangeSet("revert", stack.Name))

	policy, certificate := c.IoT.ListPolicies()[0].Name, c.IoT.ListCertificates()[0]
	topic := c.SNS.ListTopics()[0]
	check(t, c.IoT.DeleteTopicRule(names.Rule))
	check(t, c.IoT.DetachPolicy(policy, certificate.ARN))
	check(t, c.IoT.DetachThingPrincipal("lwtThing", certificate.ARN))
	check(t, c.IoT.DeleteThing("lwtThing"))
	check(t, c.IoT.UpdateCertificate(certificate.ID, "INACTIVE"))
	_, err := c.IoT.CreatePolicyVersion(policy, `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"iot:Publish","Resource":"*"}]}`, true)
	check(t, err)
	for _, r := range c.IAM.ListRoles() {
		for name := range r.Policies {
			check(t, c.IAM.DeleteRolePolicy(r.Name, name))
		}
	}
	check(t, c.SNS.SetTopicAttributes(topic, "DisplayName", "mine"))
	check(t, c.SNS.Unsubscribe(c.SNS.ListSubscriptions()[0].ARN))
	check(t, c.CloudWatch.DeleteAlarms(c.CloudWatch.Alarms()[0].Name))
	_, err = c.Logs.Update(c.Logs.Groups()[0].Name, 1, nil)
	check(t, err)

	set := revert()
	drifts := map[string]cloudformation.Drift{}
	for _, change := range set.Changes {
		drifts[strings.TrimPrefix(change.Type, "AWS::")] = change.Drift
	}
	for kind, want := range map[string]cloudformation.Drift{
		"IoT::TopicRule": cloudformation.Deleted, "IoT::PolicyPrincipalAttachment": cloudformation.Deleted, "IoT::ThingPrincipalAttachment": cloudformation.Deleted,
		"IoT::Thing": cloudformation.Deleted, "IoT::Certificate": cloudformation.Modified, "IoT::Policy": cloudformation.Modified,
		"SNS::Topic": cloudformation.Modified, "SNS::Subscription": cloudformation.Deleted, "CloudWatch::Alarm": cloudformation.Deleted,
		"Logs::LogGroup": cloudformation.Modified,
	} {
		if drifts[kind] != want {
			t.Errorf("the drift of %s is %q, want %q", kind, drifts[kind], want)
		}
	}
	if slices.ContainsFunc(set.Changes, func(c cloudformation.Change) bool { return c.Type == "AWS::CloudWatch::Dashboard" }) {
		t.Error("the dashboard is to be changed, which nobody touched")
	}
	id, err := c.CloudFormation.ExecuteChangeSet("revert", stack.Name, false)
	check(t, err)
	_, err = c.CloudFormation.Await(deadline(t), id)
	check(t, err)
	if set := revert(); set.Status != "FAILED" {
		t.Errorf("after the deployment there is drift still: %+v", set.Changes)
	}
	c.confirm(t) // a new subscription
	if got := c.published(t, lost); len(got) != 1 {
		t.Errorf("copies %q, want one", got)
	}
	c.destroy(t, stack)
	if left := c.Leftovers(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
