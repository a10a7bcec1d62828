package localaws_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"lastwill/internal/keypair"
	"lastwill/internal/localaws"
	"lastwill/internal/localaws/cloudformation"
	"lastwill/internal/localaws/lambda"
	"lastwill/internal/will"
)

// simulatorCode is the real program as the asset has it.
var simulatorCode = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "simulator-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "bootstrap")
	build := exec.Command("go", "build", "-tags", "lambda.norpc", "-o", program, "lastwill/cmd/simulator")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, errors.New(string(out))
	}
	return functionCode(program)
})

// checked returns the scenario's template with the end-to-end check, whose program
// is in the assets' bucket.
func (c *cloud) checked(t *testing.T) template {
	t.Helper()
	content, err := os.ReadFile("../../infra/monitoring/testdata/check.template.json")
	check(t, err)
	var tm template
	check(t, json.Unmarshal(content, &tm))
	csr, err := keypair.Ensure(c.dir, will.ThingName, true)
	check(t, err)
	tm.properties(t, "AWS::IoT::Certificate")["CertificateSigningRequest"] = csr
	tm.properties(t, checkType)["LimitSeconds"] = 100
	function := tm.properties(t, "AWS::Lambda::Function")
	function["Architectures"] = []string{lambda.Architecture()}

	code, err := simulatorCode()
	check(t, err)
	bucket := "cdk-hnb659fds-assets-" + localaws.Account.ID + "-" + localaws.Account.Region
	if !slices.Contains(c.S3.Buckets(), bucket) {
		check(t, c.S3.CreateBucket(bucket))
		key := function["Code"].(object)["S3Key"].(string)
		_, err = c.S3.PutObject(bucket, key, nil, bytes.NewReader(code), int64(len(code)), nil)
		check(t, err)
	}
	return tm
}

const checkType = "Custom::EndToEndCheck"

func (c *cloud) deployChecked(t *testing.T, change func(template)) (*cloudformation.Stack, error) {
	t.Helper()
	tm := c.checked(t)
	change(tm)
	body, err := json.Marshal(tm)
	check(t, err)
	c.SSM.Put("/cdk-bootstrap/hnb659fds/version", "30")
	id, err := c.CloudFormation.Create(cloudformation.Input{Name: "Lastwill", TemplateBody: body})
	check(t, err)
	return c.CloudFormation.Await(deadline(t), id)
}

func (c *cloud) updateChecked(t *testing.T, change func(template)) (*cloudformation.Stack, error) {
	t.Helper()
	tm := c.checked(t)
	change(tm)
	body, err := json.Marshal(tm)
	check(t, err)
	id, err := c.CloudFormation.Update(cloudformation.Input{Name: "Lastwill", TemplateBody: body})
	check(t, err)
	return c.CloudFormation.Await(deadline(t), id)
}

// logged counts what the check's function wrote into its own log.
func (c *cloud) logged(t *testing.T, text string) int {
	t.Helper()
	n := 0
	for _, g := range c.Logs.Groups() {
		if !strings.Contains(g.Name, "-Check") {
			continue
		}
		events, err := c.Logs.Events(g.Name)
		check(t, err)
		for _, e := range events {
			n += strings.Count(e.Message, text)
		}
	}
	return n
}

// ofTheStack fails the test unless there is what the stack has, and nothing of a check.
func (c *cloud) ofTheStack(t *testing.T) {
	t.Helper()
	for _, left := range c.Leftovers() {
		if strings.Contains(left, "-check-") {
			t.Errorf("the check left %s", left)
		}
	}
	if n := len(c.IoT.ListCertificates()); n != 1 {
		t.Errorf("there are %d certificates", n)
	}
	if n := len(c.SNS.ListSubscriptions()); n != 1 {
		t.Errorf("there are %d subscriptions", n)
	}
}

// A deployment with the check succeeds because the alert arrived, says so in its
// log, runs again when something changed that can break the alert, and goes.
func TestADeploymentChecksItself(t *testing.T) {
	t.Parallel()
	c := start(t)
	stack, err := c.deployChecked(t, func(template) {})
	check(t, err)
	c.confirm(t)
	c.ofTheStack(t)
	for _, step := range []string{"will: /last/will/topic", "republish: /lwt/executed", "sns: the queue got it", "silence: DISCONNECT was sent; no will"} {
		if n := c.logged(t, step); n != 1 {
			t.Errorf("%q is in the check's log %d times", step, n)
		}
	}

	// What cannot break the alert is not checked.
	_, err = c.updateChecked(t, func(tm template) { tm.properties(t, "AWS::SNS::Topic")["DisplayName"] = "other" })
	check(t, err)
	_, err = c.updateChecked(t, func(tm template) { tm.properties(t, checkType)["Fingerprint"] = "another" })
	check(t, err)
	if n := c.logged(t, "will: /last/will/topic"); n != 2 {
		t.Errorf("two of three deployments were to be checked, %d were", n)
	}
	c.destroy(t, stack)
	if left := c.Leftovers(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// A deployment whose alert does not arrive fails, with the link that is broken in
// the reason, and leaves nothing.
func TestADeploymentThatAlertsNobodyIsRolledBack(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		claim  string
		change func(*testing.T, template)
		says   []string
	}{
		{"the IoT policy has no will topic", func(t *testing.T, tm template) {
			document := tm.properties(t, "AWS::IoT::Policy")["PolicyDocument"].(object)
			publish := document["Statement"].([]any)[1].(object)
			publish["Resource"] = publish["Resource"].([]any)[:1]
		}, []string{"connect is broken"}},
		{"the rule is disabled", func(t *testing.T, tm template) { tm.rule(t)["RuleDisabled"] = true }, []string{"rule is broken", "is disabled"}},
		{"the rule selects something else", func(t *testing.T, tm template) {
			tm.rule(t)["Sql"] = "SELECT * FROM '/last/will/topic' WHERE state.reported.last_will = 'no'"
		}, []string{"rule is broken", "does not select the will"}},
		{"the copy goes elsewhere", func(t *testing.T, tm template) {
			tm.rule(t)["Actions"].([]any)[1].(object)["Republish"].(object)["Topic"] = "/lwt/elsewhere"
			permit(t, tm, "Alert", "iot:Publish", "arn:aws:iot:us-east-1:123456789012:topic//lwt/elsewhere")
		}, []string{"republish is broken", "/lwt/elsewhere"}},
		{"the role may not publish to SNS", func(t *testing.T, tm template) {
			permit(t, tm, "Alert", "sns:Publish", "arn:aws:sns:us-east-1:123456789012:other")
		}, []string{"sns is broken", "not authorized to perform: SNS:Publish"}},
		{"the check's role may not watch", func(t *testing.T, tm template) {
			permit(t, tm, "Check", "iot:Subscribe", "arn:aws:iot:us-east-1:123456789012:topicfilter/other")
		}, []string{"/last/will/topic"}},
		{"the check's role may not make a thing", func(t *testing.T, tm template) {
			permit(t, tm, "Check", "iot:CreateThing", "arn:aws:iot:us-east-1:123456789012:thing/other")
		}, []string{"is not authorized to perform: iot:CreateThing on resource: arn:aws:iot:us-east-1:123456789012:thing/lwtThing-check-"}},
	} {
		t.Run(test.claim, func(t *testing.T) {
			t.Parallel()
			c := start(t)
			stack, err := c.deployChecked(t, func(tm template) {
				test.change(t, tm)
				tm.properties(t, checkType)["LimitSeconds"] = 12
			})
			if err == nil || stack.Status != "ROLLBACK_COMPLETE" {
				t.Fatalf("the stack is %s, error %v", stack.Status, err)
			}
			for _, says := range append(test.says, "Received response status [FAILED] from custom resource. Message returned: end-to-end check: ") {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("the reason is %q, want %q in it", err, says)
				}
			}
			for _, left := range c.Leftovers() {
				if !strings.HasPrefix(left, "stack ") && !strings.HasPrefix(left, "subscription ops@example.com ") {
					t.Errorf("left behind: %s", left)
				}
			}
		})
	}
}

// permit gives the role of the rule or of the check a permission for another
// resource.
func permit(t *testing.T, tm template, whose, action, resource string) {
	t.Helper()
	for id, r := range tm["Resources"].(object) {
		if !strings.HasPrefix(id, whose) || r.(object)["Type"] != "AWS::IAM::Role" {
			continue
		}
		policies := r.(object)["Properties"].(object)["Policies"].([]any)
		for _, s := range policies[0].(object)["PolicyDocument"].(object)["Statement"].([]any) {
			if statement := s.(object); slices.Contains(statement["Action"].([]any), any(action)) {
				statement["Resource"] = resource
				return
			}
		}
	}
	t.Fatalf("no statement allows %s", action)
}

// An update that breaks the alert is taken back, and what was there works as before.
func TestAnUpdateThatAlertsNobodyIsTakenBack(t *testing.T) {
	t.Parallel()
	c := start(t)
	_, err := c.deployChecked(t, func(template) {})
	check(t, err)
	stack, err := c.updateChecked(t, func(tm template) {
		tm.rule(t)["RuleDisabled"] = true
		tm.properties(t, checkType)["LimitSeconds"] = 12 // which has it run again, too
	})
	if err == nil || !strings.Contains(err.Error(), "rule is broken") || stack.Status != "UPDATE_ROLLBACK_COMPLETE" {
		t.Errorf("the stack is %s, error %v", stack.Status, err)
	}
	if n := c.logged(t, "the stack is being rolled back"); n != 1 {
		t.Errorf("the rollback asked the check %d times", n)
	}
	if rule, err := c.IoT.GetTopicRule(will.NewNames("").Rule); err != nil || rule.Payload.RuleDisabled {
		t.Errorf("the rule is %+v, %v", rule, err)
	}
	c.ofTheStack(t)
}

// A check that was killed has left its identity attached to the stack's policy,
// which could not be deleted.
func TestWhatAKilledCheckLeftGoesWithTheStack(t *testing.T) {
	t.Parallel()
	c := start(t)
	stack, err := c.deployChecked(t, func(template) {})
	check(t, err)
	c.confirm(t)
	name := will.NewCheckName(will.ThingName)
	_, arn := c.certify(t, name)
	_, err = c.IoT.CreateThing(name, nil)
	check(t, err)
	check(t, c.IoT.AttachThingPrincipal(name, arn))
	check(t, c.IoT.AttachPolicy(stack.Output("PolicyName"), arn))
	_, err = c.SQS.CreateQueue(name, nil)
	check(t, err)
	_, err = c.SNS.Subscribe(stack.Output("SNSTopicArn"), "sqs", localaws.Account.ARN("sqs", name), nil)
	check(t, err)
	c.destroy(t, stack)
	if left := c.Leftovers(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
