package localaws_test

import (
	"slices"
	"strings"
	"testing"

	"lastwill/internal/localaws"
	"lastwill/internal/localaws/cloudformation"
	"lastwill/internal/localaws/localtest"
)

// A destroyed stack leaves nothing, once its subscription was confirmed.
func TestDestroyedStackLeavesNothing(t *testing.T) {
	t.Parallel()
	cloud := start(t)
	stack := cloud.deploy(t)
	cloud.confirm(t)
	d := connect(t, cloud.device(cloud.thing(t, stack)))
	cloud.destroy(t, stack)
	if left := cloud.Leftovers(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	wait(t, d.Done(), "a device of the stack is still connected")
}

// A subscription that nobody confirmed outlives its stack, as on AWS; it cannot
// be confirmed any more.
func TestPendingSubscriptionOutlivesItsStack(t *testing.T) {
	t.Parallel()
	cloud := start(t)
	stack := cloud.deploy(t)
	cloud.destroy(t, stack)
	deleted, err := cloud.CloudFormation.Describe(stack.ID)
	check(t, err)
	told := slices.ContainsFunc(deleted.Events, func(e cloudformation.Event) bool {
		return e.Status == "DELETE_COMPLETE" && strings.Contains(e.StatusReason, "nobody confirmed the subscription of ops@example.com: it stays")
	})
	if !told {
		t.Errorf("no event says that the subscription stays: %+v", deleted.Events)
	}
	want := "subscription ops@example.com of " + localaws.Account.ARN("sns", names.SNSTopic)
	if left := cloud.Leftovers(); len(left) != 1 || left[0] != want {
		t.Errorf("left behind: %q, want %q", left, want)
	}
	// It does not keep the stack from being deployed again.
	again := cloud.deploy(t)
	if again.Status != "CREATE_COMPLETE" {
		t.Errorf("the stack is %s", again.Status)
	}
}

// What cannot be deployed here is named, and a stack that fails leaves nothing
// but its record.
func TestUnsupportedIsNamed(t *testing.T) {
	t.Parallel()
	resources := func(tm template) object { return tm["Resources"].(object) }
	for _, c := range []struct {
		claim  string
		change func(*testing.T, template)
		says   []string
	}{
		{"a resource type", func(t *testing.T, tm template) {
			resources(tm)["Fleet"] = object{"Type": "AWS::IoT::ThingGroup", "Properties": object{}}
		}, []string{"Unrecognized resource types: [AWS::IoT::ThingGroup]"}},
		{"a property", func(t *testing.T, tm template) {
			tm.properties(t, "AWS::SNS::Topic")["FifoTopic"] = true
		}, []string{"AWS::SNS::Topic", "FifoTopic"}},
		{"a missing property", func(t *testing.T, tm template) {
			delete(tm.properties(t, "AWS::IoT::Certificate"), "Status")
		}, []string{"AWS::IoT::Certificate", "Status"}},
		{"an attribute", func(t *testing.T, tm template) {
			thing, _ := tm.resource(t, "AWS::IoT::Thing")
			tm.properties(t, "AWS::SNS::Topic")["DisplayName"] = object{"Fn::GetAtt": []any{thing, "Shadow"}}
		}, []string{"Shadow"}},
		{"an intrinsic function", func(t *testing.T, tm template) {
			tm.properties(t, "AWS::SNS::Topic")["DisplayName"] = object{"Fn::Cidr": []any{"10.0.0.0/8", 1, 8}}
		}, []string{"Fn::Cidr"}},
		{"a reference to nothing", func(t *testing.T, tm template) {
			tm.properties(t, "AWS::SNS::Topic")["DisplayName"] = object{"Ref": "Nothing"}
		}, []string{"Nothing"}},
		{"a rule action", func(t *testing.T, tm template) {
			tm.rule(t)["Actions"] = []any{object{"Lambda": object{"FunctionArn": "arn:aws:lambda:us-east-1:123456789012:function:f"}}}
		}, []string{"AWS::IoT::TopicRule", "Lambda"}},
		{"a rule whose SQL does not parse", func(t *testing.T, tm template) {
			tm.rule(t)["Sql"] = "SELECT * FRM 'x'"
		}, []string{"AWS::IoT::TopicRule", "SqlParseException"}},
		{"a rule name with a hyphen", func(t *testing.T, tm template) {
			tm.properties(t, "AWS::IoT::TopicRule")["RuleName"] = "last-will"
			tm.trust(t, "rule/*")
		}, []string{"AWS::IoT::TopicRule", "last-will"}},
		{"an IoT policy with a misspelled element", func(t *testing.T, tm template) {
			policy := tm.properties(t, "AWS::IoT::Policy")["PolicyDocument"].(object)
			policy["Statement"].([]any)[0].(object)["Resources"] = "*"
		}, []string{"AWS::IoT::Policy", "Resources"}},
		{"a request that is no CSR", func(t *testing.T, tm template) {
			tm.properties(t, "AWS::IoT::Certificate")["CertificateSigningRequest"] = "no CSR"
		}, []string{"AWS::IoT::Certificate", "CSR"}},
		{"a protocol of a subscription", func(t *testing.T, tm template) {
			tm.properties(t, "AWS::SNS::Subscription")["Protocol"] = "sms"
		}, []string{"AWS::SNS::Subscription", "sms"}},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			cloud := start(t)
			_, err := cloud.tryDeploy(t, func(tm template) { c.change(t, tm) })
			if err == nil {
				t.Fatal("the deployment succeeded")
			}
			for _, says := range c.says {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("the error is %q, want %q in it", err, says)
				}
			}
			for _, left := range cloud.Leftovers() {
				if !strings.HasPrefix(left, "stack ") && !strings.HasPrefix(left, "subscription ") {
					t.Errorf("left behind: %q", left)
				}
			}
		})
	}
}

// Two environments live side by side, and the end of one takes nothing of the
// other.
func TestTwoStacks(t *testing.T) {
	t.Parallel()
	cloud := start(t)
	other := func(tm template) {
		tm.properties(t, "AWS::IoT::Thing")["ThingName"] = "otherThing"
		tm.properties(t, "AWS::SNS::Topic")["TopicName"] = "otherTopic"
		tm.properties(t, "AWS::IoT::TopicRule")["RuleName"] = "otherRule"
		tm.rule(t)["Sql"] = "SELECT * FROM '/other/will'"
		tm.rule(t)["Actions"].([]any)[1].(object)["Republish"].(object)["Topic"] = "/other/executed"
		tm.trust(t, "rule/otherRule")
		for _, r := range tm["Resources"].(object) {
			delete(r.(object)["Properties"].(object), "AlarmName") // CloudFormation then finds names
			delete(r.(object)["Properties"].(object), "DashboardName")
		}
	}
	second := cloud.scenario(t)
	other(second)
	stack := cloud.deploy(t)
	beside, err := localtest.Create(deadline(t), cloud.Server, "Lastwill-other", second)
	check(t, err)
	cloud.destroy(t, beside)
	if got := cloud.published(t, lost); len(got) != 1 {
		t.Errorf("copies %q, want the first stack's one", got)
	}
	cloud.destroy(t, stack)
}

// The same template again finds its names taken and leaves the first as it is.
func TestNamesOfAnotherStackAreTaken(t *testing.T) {
	t.Parallel()
	cloud := start(t)
	cloud.deploy(t)
	_, err := localtest.Create(deadline(t), cloud.Server, "Twin", cloud.scenario(t))
	if err == nil || !strings.Contains(err.Error(), "already exists") {
		t.Errorf("the deployment ended with %v", err)
	}
	if got := cloud.published(t, lost); len(got) != 1 {
		t.Errorf("copies %q, want the first stack's one", got)
	}
}
