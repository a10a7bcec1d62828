package monitoring_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lastwill/constructs/alert"
	"lastwill/constructs/check"
	"lastwill/constructs/device"
	"lastwill/constructs/health"
	"lastwill/constructs/outage"
	"lastwill/infra/monitoring"
	"lastwill/internal/will"
)

// template is as much of a CloudFormation template as the invariants need.
type template struct {
	raw       []byte
	Resources map[string]resource
	Outputs   map[string]struct{ Value any }
}

type resource struct {
	Type           string
	Properties     map[string]any
	DependsOn      any
	DeletionPolicy string
}

// TestInvariants states what no change may take from any variant, whatever its
// golden template says.
func TestInvariants(t *testing.T) {
	invariants := []struct {
		name  string
		check func(*testing.T, template, monitoring.Config)
	}{
		{"no statement grants a wildcard", noWildcards},
		{"no private key leaves the workstation", noKeyMaterial},
		{"every name carries the environment", namesCarryEnvironment},
		{"attachments depend on both ends", attachmentsDependOnBothEnds},
		{"the rule depends on its role's permissions", ruleDependsOnPermissions},
		{"the rule's role trusts this account's rule only", roleTrustsRuleOnly},
		{"the topic lets this environment's alarms publish, and no other service", topicTrustsAlarmsOnly},
		{"alarms tell the topic of the e-mails", alarmsTellTopic},
		{"nothing is retained", nothingRetained},
		{"the check comes last and goes first", checkComesLast},
		{"the IoT policy has the tags itself", policyHasTags},
		{"the count of resources is as computed", countIsAsComputed},
		{"confirmed alerts do what they do and no more", alerterMayNoMore},
		{"confirmed alerts hear wills before the topic stops to", outageRuleComesFirst},
	}
	for name, c := range variants {
		parsed := parse(t, synth(t, c))
		for _, i := range invariants {
			t.Run(name+"/"+i.name, func(t *testing.T) { i.check(t, parsed, c) })
		}
	}
}

func parse(t *testing.T, raw []byte) template {
	t.Helper()
	tpl := template{raw: raw}
	if err := json.Unmarshal(raw, &tpl); err != nil {
		t.Fatal(err)
	}
	return tpl
}

func noWildcards(t *testing.T, tpl template, c monitoring.Config) {
	seen := 0
	own := will.NewCheckPrefix(c.Names().Thing(c.Things[0])) + "*"
	for id, r := range tpl.Resources {
		for _, s := range statements(r.Properties) {
			seen++
			for _, key := range []string{"Action", "Resource"} {
				for _, text := range texts(s[key]) {
					excepted := isCheck(id) && checkMay(texts(s["Action"]), text, own) || isOutage(id) && alerterMay(texts(s["Action"]), text)
					if strings.ContainsAny(text, "*?") && !excepted {
						t.Errorf("%s: %s %s", id, key, text)
					}
				}
			}
			if s["NotAction"] != nil || s["NotResource"] != nil {
				t.Errorf("%s grants by exception: %v", id, s)
			}
		}
	}
	want := 4 + 1 + 3 + 1
	if c.Check {
		want += 1 + 12
	}
	if c.Alarms {
		want++
	}
	if c.Grace != 0 {
		want += 3 + 6 - 1 // the rule's role and the function's; the first rule no longer publishes
		if c.Alarms {
			want += 2
		}
	}
	if seen != want {
		t.Errorf("%d statements seen, want %d: IoT policy, trust, permissions, topic policy, and trust and permissions of the check", seen, want)
	}
}

func isCheck(id string) bool { return strings.HasPrefix(id, "Check") }

func isOutage(id string) bool { return strings.HasPrefix(id, "Outage") }

// alerterMay ask about any client: nobody knows their IDs before.
func alerterMay(actions []string, resource string) bool {
	return slices.Equal(actions, []string{"iot:GetConnection"}) && strings.HasSuffix(resource, ":client/*")
}

// checkMay is what the check's role may have with a wildcard: what is its own by
// name, certificates, whose names nobody knows before, and actions for which AWS
// knows no resource (service authorization reference, AWS IoT and Amazon SNS).
func checkMay(actions []string, resource, own string) bool {
	without := []string{
		"iot:DescribeEndpoint", "iot:CreateCertificateFromCsr", "iot:AttachThingPrincipal", "iot:DetachThingPrincipal",
		"iot:ListThingPrincipals", "sns:Unsubscribe",
	}
	certificates := []string{"iot:UpdateCertificate", "iot:DeleteCertificate", "iot:AttachPolicy", "iot:DetachPolicy"}
	allIn := func(list []string) bool {
		return !slices.ContainsFunc(actions, func(a string) bool { return !slices.Contains(list, a) })
	}
	switch {
	case resource == "*":
		return allIn(without)
	case strings.HasSuffix(resource, ":cert/*"):
		return allIn(certificates)
	}
	return strings.HasSuffix(resource, "/"+own) || strings.HasSuffix(resource, ":"+own)
}

// CloudFormation makes the check after all that it checks and needs, and deletes it
// before.
func checkComesLast(t *testing.T, tpl template, c monitoring.Config) {
	seen := 0
	for id, r := range tpl.Resources {
		var needs []string
		switch r.Type {
		case "Custom::EndToEndCheck":
			needs = []string{"AWS::Lambda::Function", "AWS::IoT::Policy", "AWS::IoT::TopicRule", "AWS::SNS::Topic", "AWS::SNS::TopicPolicy", "AWS::Logs::LogGroup"}
		case "AWS::Lambda::Function":
			if isCheck(id) {
				needs = []string{"AWS::IAM::Role", "AWS::Logs::LogGroup"}
			}
		}
		for _, need := range needs {
			seen++
			if dependencies(tpl, r)[need]+referenced(tpl, r)[need] == 0 {
				t.Errorf("%s does not depend on a %s", id, need)
			}
		}
	}
	if c.Check != (seen == 8) {
		t.Errorf("%d needs seen", seen)
	}
}

func noKeyMaterial(t *testing.T, tpl template, _ monitoring.Config) {
	if bytes.Contains(tpl.raw, []byte("PRIVATE KEY")) {
		t.Error("there is a private key in the template")
	}
}

// namesCarryEnvironment also holds that what has no name here gets one from
// CloudFormation, which begins with the stack's.
func namesCarryEnvironment(t *testing.T, tpl template, c monitoring.Config) {
	for id, r := range tpl.Resources {
		for property, value := range r.Properties {
			if !strings.HasSuffix(property, "Name") || property == "MetricName" || isReference(value) {
				continue // AWS's name, or that of another resource
			}
			if name := texts(value)[0]; !strings.Contains(name, c.Environment) {
				t.Errorf("%s: %s %s", id, property, name)
			}
		}
		for _, s := range statements(r.Properties) {
			for _, arn := range texts(s["Resource"]) {
				anyClient := isOutage(id) && alerterMay(texts(s["Action"]), arn)
				if strings.HasPrefix(arn, "arn:") && !strings.Contains(arn, "${iot:") && !strings.Contains(arn, c.Environment) && !anyClient {
					t.Errorf("%s: resource %s", id, arn)
				}
			}
		}
	}
	for _, output := range []string{"ThingName", "WillTopic", "ConnectedTopic", "ExecutedTopic"} {
		if got := tpl.Outputs[output].Value.(string); !strings.Contains(got, c.Environment) {
			t.Errorf("output %s: %s", output, got)
		}
	}
}

// AWS IoT refuses to delete a thing, a policy or a certificate that is still attached.
func attachmentsDependOnBothEnds(t *testing.T, tpl template, c monitoring.Config) {
	ends := map[string][]string{
		"AWS::IoT::ThingPrincipalAttachment":  {"AWS::IoT::Thing", "AWS::IoT::Certificate"},
		"AWS::IoT::PolicyPrincipalAttachment": {"AWS::IoT::Policy", "AWS::IoT::Certificate"},
	}
	seen := 0
	for id, r := range tpl.Resources {
		for _, end := range ends[r.Type] {
			seen++
			if n := dependencies(tpl, r)[end]; n != 1 {
				t.Errorf("%s depends on %d of %s, want 1", id, n, end)
			}
			if n := referenced(tpl, r)[end]; n != 1 {
				t.Errorf("%s names %d of %s, want 1", id, n, end)
			}
		}
	}
	if want := 4 * len(c.Things); seen != want {
		t.Errorf("%d ends of attachments, want %d", seen, want)
	}
}

// AWS IoT tries the role while it creates the rule.
func ruleDependsOnPermissions(t *testing.T, tpl template, _ monitoring.Config) {
	for id, r := range tpl.Resources {
		switch r.Type {
		case "AWS::IoT::TopicRule":
			if n := dependencies(tpl, r)["AWS::IAM::Role"]; n != 1 {
				t.Errorf("%s depends on %d roles, want 1", id, n)
			}
		case "AWS::IAM::Role":
			if len(list(r.Properties["Policies"])) == 0 {
				t.Errorf("%s has no permissions of its own", id)
			}
		case "AWS::IAM::Policy", "AWS::IAM::ManagedPolicy":
			t.Errorf("%s: the rule could be made before this", id)
		}
	}
}

func roleTrustsRuleOnly(t *testing.T, tpl template, c monitoring.Config) {
	for id, r := range tpl.Resources {
		if r.Type != "AWS::IAM::Role" || isCheck(id) || strings.HasPrefix(id, "OutageRole") {
			continue
		}
		rule := c.Names().Rule
		if isOutage(id) {
			rule = c.Names().OutageRule
		}
		want := []any{map[string]any{
			"Effect":    "Allow",
			"Action":    "sts:AssumeRole",
			"Principal": map[string]any{"Service": "iot.amazonaws.com"},
			"Condition": map[string]any{
				"StringEquals": map[string]any{"aws:SourceAccount": "<AWS::AccountId>"},
				"ArnEquals":    map[string]any{"aws:SourceArn": "arn:<AWS::Partition>:iot:<AWS::Region>:<AWS::AccountId>:rule/" + rule},
			},
		}}
		got := r.Properties["AssumeRolePolicyDocument"].(map[string]any)["Statement"]
		if diff := cmp.Diff(want, resolved(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", id, diff)
		}
	}
}

func topicTrustsAlarmsOnly(t *testing.T, tpl template, c monitoring.Config) {
	alarms := func(rule string, names ...string) []any {
		if !c.Alarms {
			return nil
		}
		var arns []any
		for _, name := range names {
			arns = append(arns, "arn:<AWS::Partition>:cloudwatch:<AWS::Region>:<AWS::AccountId>:alarm:"+rule+"-"+name)
		}
		return []any{map[string]any{
			"StringEquals": map[string]any{"aws:SourceAccount": "<AWS::AccountId>"},
			"ArnEquals":    map[string]any{"aws:SourceArn": arns},
		}}
	}
	for id, r := range tpl.Resources {
		if r.Type != "AWS::SNS::TopicPolicy" {
			continue
		}
		want := alarms(c.Names().Rule, "Failure", "ErrorActionFailure", "ParseError", "RuleMessageThrottled")
		if isOutage(id) {
			want = alarms(c.Names().OutageRule, "NotRun", "FunctionErrors", "DeadLetters", "Backlog", "RuleFailure")
		}
		var got []any
		for _, s := range statements(r.Properties) {
			if s["Effect"] == "Allow" {
				got = append(got, resolved(s["Condition"]))
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: conditions of what the topic allows (-want +got):\n%s", id, diff)
		}
	}
}

func alarmsTellTopic(t *testing.T, tpl template, c monitoring.Config) {
	seen := 0
	for id, r := range tpl.Resources {
		if r.Type != "AWS::CloudWatch::Alarm" {
			continue
		}
		seen++
		topic := texts(r.Properties["AlarmActions"])[0]
		if referenced(tpl, r)["AWS::SNS::Topic"] != 1 || isOutage(id) != strings.HasPrefix(topic, "<Outage") || len(list(r.Properties["AlarmActions"])) != 1 {
			t.Errorf("%s tells %v", id, r.Properties["AlarmActions"])
		}
	}
	want := 0
	if c.Alarms {
		want += health.AlarmResources
		if c.Grace != 0 {
			want += 5
		}
	}
	if seen != want {
		t.Errorf("%d alarms, want %d", seen, want)
	}
}

func nothingRetained(t *testing.T, tpl template, _ monitoring.Config) {
	for id, r := range tpl.Resources {
		if r.DeletionPolicy != "" && r.DeletionPolicy != "Delete" {
			t.Errorf("%s: DeletionPolicy %s", id, r.DeletionPolicy)
		}
		// CloudFormation's handler of log groups is told so, lest a default of
		// the CDK's keep alarms of a stack that is gone.
		if r.Type == "AWS::Logs::LogGroup" && r.DeletionPolicy != "Delete" {
			t.Errorf("%s has no DeletionPolicy", id)
		}
	}
}

// lwt leftovers knows the policy by them.
func policyHasTags(t *testing.T, tpl template, c monitoring.Config) {
	want := []any{map[string]any{"Key": "app", "Value": "lastwill"}}
	if c.Environment != "" {
		want = append(want, map[string]any{"Key": "environment", "Value": c.Environment})
	}
	seen := 0
	for id, r := range tpl.Resources {
		if r.Type != "AWS::IoT::Policy" {
			continue
		}
		seen++
		if diff := cmp.Diff(want, r.Properties["Tags"]); diff != "" {
			t.Errorf("%s: tags (-want +got):\n%s", id, diff)
		}
	}
	if seen != 1 {
		t.Errorf("%d IoT policies seen", seen)
	}
}

// The error for too many things promises how many fit.
func countIsAsComputed(t *testing.T, tpl template, c monitoring.Config) {
	want := device.SharedResources + device.ResourcesPerThing*len(c.Things) + alert.SharedResources + len(c.Email)
	if c.Check {
		want += check.Resources
	}
	if c.Alarms {
		want += health.AlarmResources
	}
	if c.Dashboard {
		want += health.DashboardResources
	}
	if c.Grace != 0 {
		want += outage.Resources
		if c.Alarms {
			want += outage.AlarmResources + len(c.Email)
		}
	}
	if got := len(tpl.Resources); got != want {
		t.Errorf("%d resources, computed %d", got, want)
	}
}

func alerterMayNoMore(t *testing.T, tpl template, c monitoring.Config) {
	want := map[string]string{
		"sqs:SendMessage": "AWS::SQS::Queue", "logs:CreateLogStream logs:DescribeLogStreams logs:PutLogEvents": "AWS::Logs::LogGroup",
		"logs:CreateLogStream logs:PutLogEvents": "AWS::Logs::LogGroup", "sqs:ReceiveMessage sqs:DeleteMessage": "AWS::SQS::Queue",
		"dynamodb:GetItem dynamodb:PutItem dynamodb:DeleteItem dynamodb:Query": "AWS::DynamoDB::Table", "sns:Publish": "AWS::SNS::Topic",
		"iot:GetConnection": "",
	}
	if c.Grace == 0 {
		want = map[string]string{}
	}
	got := map[string]string{}
	for id, r := range tpl.Resources {
		if r.Type != "AWS::IAM::Role" || !isOutage(id) {
			continue
		}
		for _, s := range statements(r.Properties["Policies"]) {
			ids := map[string]bool{}
			references(s["Resource"], ids)
			kind := ""
			for id := range ids {
				kind = tpl.Resources[id].Type
			}
			if len(ids) > 1 {
				kind = "" // an ARN of pseudo parameters
			}
			got[strings.Join(texts(s["Action"]), " ")] = kind
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// With the SNS action gone and the other rule not there yet, wills would be lost.
func outageRuleComesFirst(t *testing.T, tpl template, c monitoring.Config) {
	for id, r := range tpl.Resources {
		if r.Type == "AWS::IoT::TopicRule" && !isOutage(id) {
			if got, want := dependencies(tpl, r)["AWS::IoT::TopicRule"] == 1, c.Grace != 0; got != want {
				t.Errorf("%s depends on the other rule: %t, want %t", id, got, want)
			}
		}
	}
}

// Whoever has confirmed the subscription need not do so again.
func TestTurningConfirmedAlertsOnKeepsTheSubscriptions(t *testing.T) {
	subscriptions := func(c monitoring.Config) map[string]resource {
		found := map[string]resource{}
		for id, r := range parse(t, synth(t, c)).Resources {
			if strings.HasPrefix(r.Type, "AWS::SNS::") && !isOutage(id) {
				found[id] = r
			}
		}
		return found
	}
	off, on := subscriptions(variants["default"]), subscriptions(variants["confirmed"])
	if diff := cmp.Diff(off, on); diff != "" || len(off) != 3 {
		t.Errorf("%d resources of SNS (-off +on):\n%s", len(off), diff)
	}
}

// statements finds the policy statements anywhere in v.
func statements(v any) []map[string]any {
	var found []map[string]any
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			found = append(found, statements(item)...)
		}
	case map[string]any:
		for _, s := range list(v["Statement"]) {
			found = append(found, s.(map[string]any))
		}
		for key, item := range v {
			if key != "Statement" {
				found = append(found, statements(item)...)
			}
		}
	}
	return found
}

// dependencies counts by type what r depends on in so many words.
func dependencies(tpl template, r resource) map[string]int {
	types := map[string]int{}
	for _, id := range list(r.DependsOn) {
		types[tpl.Resources[id.(string)].Type]++
	}
	return types
}

// referenced counts by type the resources that r's properties name.
func referenced(tpl template, r resource) map[string]int {
	ids := map[string]bool{}
	references(r.Properties, ids)
	types := map[string]int{}
	for id := range ids {
		types[tpl.Resources[id].Type]++
	}
	return types
}

func references(v any, into map[string]bool) {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			references(item, into)
		}
	case map[string]any:
		if id, ok := v["Ref"].(string); ok {
			into[id] = true
		}
		if attribute, ok := v["Fn::GetAtt"].([]any); ok {
			into[attribute[0].(string)] = true
		}
		for _, item := range v {
			references(item, into)
		}
	}
}

func isReference(v any) bool {
	fields, _ := v.(map[string]any)
	return fields["Ref"] != nil || fields["Fn::GetAtt"] != nil
}

// resolved replaces intrinsics by text, with <...> for what is known at
// deployment only.
func resolved(v any) any {
	switch v := v.(type) {
	case []any:
		items := make([]any, len(v))
		for i, item := range v {
			items[i] = resolved(item)
		}
		return items
	case map[string]any:
		if ref, ok := v["Ref"]; ok {
			return fmt.Sprintf("<%v>", ref)
		}
		if attribute, ok := v["Fn::GetAtt"]; ok {
			return fmt.Sprintf("<%v>", attribute)
		}
		if join, ok := v["Fn::Join"].([]any); ok {
			return strings.Join(texts(join[1]), "")
		}
		fields := map[string]any{}
		for key, item := range v {
			fields[key] = resolved(item)
		}
		return fields
	}
	return v
}

// texts are one or several strings, resolved.
func texts(v any) []string {
	var all []string
	for _, item := range list(v) {
		all = append(all, fmt.Sprint(resolved(item)))
	}
	return all
}

// list takes one value for a list of one, as CloudFormation and policies do.
func list(v any) []any {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		return v
	}
	return []any{v}
}
