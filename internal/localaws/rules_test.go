package localaws_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/google/go-cmp/cmp"

	"lastwill/internal/localaws"
	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/cloudformation"
	"lastwill/internal/localaws/iot"
	"lastwill/internal/will"
)

// The message of every test here.
const lost = `{"state":{"reported":{"last_will":"yes","trigger_action":"on","client_id":"lwtThing"}}}`

// published runs the rules on a message and returns what they published to
// /lwt/executed. The rules have run when Publish returns.
func (c *cloud) published(t testing.TB, payload string) []string {
	t.Helper()
	check(t, c.IoT.Publish(deadline(t), names.WillTopic, []byte(payload), 0, false))
	var copies []string
	for _, e := range c.events.Events() {
		if publishedOn(names.ExecutedTopic)(e) {
			copies = append(copies, string(e.Message.Payload))
		}
	}
	return copies
}

// The rule that was deployed decides, not one that is known here.
func TestDeployedRuleDecides(t *testing.T) {
	t.Parallel()
	sql := func(sql string) func(*testing.T, template) {
		return func(t *testing.T, tm template) { tm.rule(t)["Sql"] = sql }
	}
	for _, c := range []struct {
		claim  string
		change func(*testing.T, template)
		want   []string
	}{
		{"the scenario's rule copies the will", func(*testing.T, template) {}, []string{lost}},
		{"another SELECT makes another copy", sql("SELECT state.reported.client_id AS who FROM '/last/will/topic'"), []string{`{"who":"lwtThing"}`}},
		{"another filter does not match", sql("SELECT * FROM '/last/will/other'"), nil},
		{"a wildcard matches", sql("SELECT * FROM '/last/+/topic'"), []string{lost}},
		{"a WHERE that is false fires nothing", sql("SELECT * FROM '/last/will/topic' WHERE state.reported.last_will = 'no'"), nil},
		{"nor does one that is Undefined", sql("SELECT * FROM '/last/will/topic' WHERE nothing.there = 1"), nil},
		{"a disabled rule fires nothing", func(t *testing.T, tm template) { tm.rule(t)["RuleDisabled"] = true }, nil},
		{
			"two rules on one topic both fire", func(t *testing.T, tm template) { tm.copyRule(t, "second", "SELECT 'second' AS rule FROM '/last/#'") },
			[]string{lost, `{"rule":"second"}`},
		},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			cloud := start(t)
			cloud.deploy(t, func(tm template) { c.change(t, tm) })
			got := cloud.published(t, lost)
			if diff := cmp.Diff(sorted(c.want), sorted(got)); diff != "" {
				t.Errorf("copies (-want +got):\n%s", diff)
			}
		})
	}
}

// copyRule adds a second rule with the first one's actions. Its role must trust it.
func (tm template) copyRule(t testing.TB, name, sql string) {
	t.Helper()
	id, first := tm.resource(t, "AWS::IoT::TopicRule")
	second := clone(t, first)
	second["Properties"].(object)["RuleName"] = name
	second["Properties"].(object)["TopicRulePayload"].(object)["Sql"] = sql
	tm["Resources"].(object)[id+"Second"] = second
	tm.trust(t, "rule/*")
}

// trust lets the rules of a name, which may hold a wildcard, assume the role.
func (tm template) trust(t testing.TB, rule string) {
	t.Helper()
	policy := tm.properties(t, "AWS::IAM::Role")["AssumeRolePolicyDocument"].(object)
	statement := policy["Statement"].([]any)[0].(object)
	statement["Condition"].(object)["ArnEquals"] = object{"aws:SourceArn": localaws.Account.ARN("iot", rule)}
}

// forbid takes an action from the role.
func (tm template) forbid(t testing.TB, action string) {
	t.Helper()
	policy := tm.properties(t, "AWS::IAM::Role")["Policies"].([]any)[0].(object)["PolicyDocument"].(object)
	var kept []any
	for _, s := range policy["Statement"].([]any) {
		if s.(object)["Action"].([]any)[0] != action {
			kept = append(kept, s)
		}
	}
	if len(kept) == len(policy["Statement"].([]any)) {
		t.Fatalf("the role does not allow %s", action)
	}
	policy["Statement"] = kept
}

func TestMessageFormats(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		claim, format, payload string
		mail, failure          string
	}{
		{"RAW mails the payload", "RAW", lost, lost, ""},
		{"RAW is the default", "", lost, lost, ""},
		{"JSON mails the text under default", "JSON", `{"default":"gone"}`, "gone", ""},
		{"JSON prefers the text under email", "JSON", `{"default":"gone","email":"lwtThing is gone"}`, "lwtThing is gone", ""},
		{"JSON without default fails", "JSON", lost, "", "No default entry in JSON message body"},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			cloud := start(t)
			stack := cloud.deploy(t, func(tm template) {
				tm.rule(t)["Sql"] = "SELECT * FROM '/last/will/topic'"
				sns := tm.rule(t)["Actions"].([]any)[0].(object)["Sns"].(object)
				delete(sns, "MessageFormat")
				if c.format != "" {
					sns["MessageFormat"] = c.format
				}
			})
			cloud.confirm(t)
			cloud.published(t, c.payload)
			if c.mail != "" {
				if m := cloud.nextMail(t); !strings.HasPrefix(m.Body, c.mail+"\n") {
					t.Errorf("the mail says %q", m.Body)
				}
			}
			if c.failure != "" {
				if m := cloud.nextMail(t); !strings.HasPrefix(m.Subject, "ALARM") {
					t.Errorf("the mail says %q", m.Body)
				}
			}
			cloud.noMoreMails(t)
			failures := cloud.errorLog(t, stack)
			if c.failure == "" && len(failures) > 0 || c.failure != "" && (len(failures) != 1 || !strings.Contains(failures[0], c.failure)) {
				t.Errorf("the error log has %q, want %q", failures, c.failure)
			}
		})
	}
}

// errorLog returns what the error action wrote.
func (c *cloud) errorLog(t testing.TB, stack *cloudformation.Stack) []string {
	t.Helper()
	events, err := c.Logs.Events(stack.Output("ErrorLogGroup"))
	check(t, err)
	var messages []string
	for _, e := range events {
		messages = append(messages, e.Message)
	}
	return messages
}

// An action that its role does not allow fails into the error action, and the
// others run all the same.
func TestFailedActionGoesToTheErrorAction(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		action, failed, resource string
		copies, mails            int // the alarm's mail is one
	}{
		{"sns:Publish", "SnsAction", "arn:aws:sns:us-east-1:123456789012:lwtSNSTopic", 1, 1},
		{"iot:Publish", "RepublishAction", "/lwt/executed", 0, 2},
	} {
		t.Run(c.action, func(t *testing.T) {
			t.Parallel()
			cloud := start(t)
			stack := cloud.deploy(t, func(tm template) { tm.forbid(t, c.action) })
			cloud.confirm(t)
			d := connect(t, cloud.device(cloud.thing(t, stack)))
			_, err := d.Drop()
			check(t, err)
			cloud.disconnected(t, "lwtThing")
			if n := cloud.events.Count(publishedOn(names.ExecutedTopic)); n != c.copies {
				t.Errorf("%d copies, want %d", n, c.copies)
			}
			for range c.mails {
				cloud.nextMail(t)
			}
			cloud.noMoreMails(t)
			log := cloud.errorLog(t, stack)
			if len(log) != 1 {
				t.Fatalf("the error log has %q", log)
			}
			var got struct {
				RuleName, Topic, CloudwatchTraceID, ClientID, Base64OriginalPayload string
				Failures                                                            []struct{ FailedAction, FailedResource, ErrorMessage string }
			}
			check(t, json.Unmarshal([]byte(log[0]), &got))
			payload, err := base64.StdEncoding.DecodeString(got.Base64OriginalPayload)
			check(t, err)
			if got.RuleName != names.Rule || got.Topic != names.WillTopic || got.ClientID != "lwtThing" ||
				got.CloudwatchTraceID == "" || string(payload) != lost {
				t.Errorf("the error action got %s", log[0])
			}
			if len(got.Failures) != 1 || got.Failures[0].FailedAction != c.failed || got.Failures[0].FailedResource != c.resource ||
				!strings.Contains(strings.ToLower(got.Failures[0].ErrorMessage), strings.ToLower(c.action)) {
				t.Errorf("failures %+v, want one of %s on %s that names %s", got.Failures, c.failed, c.resource, c.action)
			}
		})
	}
}

// The error action has no error action of its own: its failure is an event.
func TestFailureOfTheErrorActionIsReported(t *testing.T) {
	t.Parallel()
	cloud := start(t)
	stack := cloud.deploy(t, func(tm template) {
		tm.forbid(t, "sns:Publish")
		tm.forbid(t, "logs:CreateLogStream")
	})
	if got := cloud.published(t, lost); len(got) != 1 {
		t.Errorf("copies %q", got)
	}
	e := cloud.events.await(t, 2, func(e iot.Event) bool { return e.Kind == iot.ActionFailed })
	if !strings.Contains(e.Detail, "CloudwatchLogsAction") || !strings.Contains(e.Detail, "logs:") || e.Rule != names.Rule {
		t.Errorf("the event says %+v", e)
	}
	if log := cloud.errorLog(t, stack); len(log) > 0 {
		t.Errorf("the error log has %q", log)
	}
}

// A rule that does not fire says which part of its WHERE was not true.
func TestRuleThatDoesNotFireSaysWhy(t *testing.T) {
	t.Parallel()
	cloud := start(t)
	cloud.deploy(t)
	cloud.published(t, `{"state":{"reported":{"last_will":"no","trigger_action":"on"}}}`)
	cloud.published(t, `no JSON`)
	for _, want := range []string{"state.reported.last_will = 'yes' is false", "not a JSON object"} {
		cloud.events.await(t, 1, func(e iot.Event) bool {
			return e.Kind == iot.NotMatched && e.Rule == names.Rule && strings.Contains(e.Detail, want)
		})
	}
}

// A message of Basic Ingest goes to the rule that its topic names, whatever the
// rule's FROM, and to nobody else; one answer over HTTP and MQTT.
func TestBasicIngest(t *testing.T) {
	t.Parallel()
	over := map[string]func(*testing.T, *cloud, wire, string, []byte){
		"HTTP": func(t *testing.T, c *cloud, _ wire, topic string, payload []byte) {
			check(t, c.IoT.Publish(deadline(t), topic, payload, 0, false))
		},
		"MQTT": func(_ *testing.T, _ *cloud, w wire, topic string, payload []byte) {
			w.send(publishPacket(topic, payload, 1))
			w.receive()
		},
	}
	named := "$aws/rules/" + names.Rule
	for _, c := range []struct {
		claim, sql, topic string
		want              []string
	}{
		{"FROM need not match", "SELECT a, topic() AS t FROM 'else/where'", named + "/b/c", []string{`{"a":1,"t":"b/c"}`}},
		{"there need be none", "SELECT a, topic() AS t", named, []string{`{"a":1,"t":""}`}},
		{"it may name the rule itself", "SELECT a FROM '" + named + "/#'", named + "/b", []string{`{"a":1}`}},
		{"WHERE counts", "SELECT a WHERE a = 2", named + "/b", nil},
		{"another rule is not run", "SELECT a FROM '$aws/rules/other/#'", "$aws/rules/other/b", nil},
	} {
		for way, send := range over {
			t.Run(c.claim+", "+way, func(t *testing.T) {
				t.Parallel()
				cloud := start(t)
				stack := cloud.deploy(t, addStatement(t, allow("iot:Publish", "topic/$aws/rules/*", "topic/after")), func(tm template) { tm.rule(t)["Sql"] = c.sql })
				observer := cloud.observer(t, "$aws/#", "#")
				w := cloud.dial(t, cloud.thing(t, stack))
				w.connect(connectPacket(will.ThingName))
				send(t, cloud, w, c.topic, []byte(`{"a":1}`))
				w.send(publishPacket("after", nil, 1)) // rules of one connection's messages run in order
				cloud.events.await(t, 1, publishedOn("after"))
				var copies []string
				for _, e := range cloud.events.Events() {
					if publishedOn(names.ExecutedTopic)(e) {
						copies = append(copies, string(e.Message.Payload))
					}
				}
				if diff := cmp.Diff(c.want, copies); diff != "" {
					t.Errorf("copies (-want +got):\n%s", diff)
				}
				if seen := topics(observer.Rest(t)); strings.Contains(seen, "$aws/rules/") {
					t.Errorf("a subscriber got %s", seen)
				}
			})
		}
	}
}

func TestNobodySubscribesToBasicIngest(t *testing.T) {
	t.Parallel()
	cloud := start(t)
	stack := cloud.deploy(t, addStatement(t, allow("iot:Subscribe", "topicfilter/*")))
	w := cloud.dial(t, cloud.thing(t, stack))
	w.connect(connectPacket(will.ThingName))
	w.send(subscribePacket("$aws/rules/" + names.Rule + "/#"))
	if ack, ok := w.receive().(*packets.SubackPacket); !ok || ack.ReturnCodes[0] != 0x80 {
		t.Errorf("SUBACK %v, want a refusal", ack)
	}
}

// A topic that is reserved for AWS IoT is refused over HTTP, too.
func TestPublishToAReservedTopic(t *testing.T) {
	t.Parallel()
	cloud := start(t)
	for _, topic := range []string{"$aws/events/presence/connected/x", "$aws/things/x/shadow/update", "$SYS/broker/uptime", "$mine"} {
		err := cloud.IoT.Publish(deadline(t), topic, nil, 0, false)
		if refused, ok := errors.AsType[*awsapi.Error](err); !ok || refused.Code != "ForbiddenException" || refused.Status != 403 {
			t.Errorf("%s: %v, want ForbiddenException", topic, err)
		}
	}
}

// A reserved topic is written with $$, as $ begins substitution templates.
func TestRepublishToAReservedTopic(t *testing.T) {
	t.Parallel()
	cloud := start(t)
	cloud.deploy(t, func(tm template) {
		tm.rule(t)["Actions"].([]any)[1].(object)["Republish"].(object)["Topic"] = "$$aws/things/${state.reported.client_id}/shadow/update"
		permit(t, tm, "Alert", "iot:Publish", localaws.Account.ARN("iot", "topic/$aws/things/lwtThing/shadow/update"))
	})
	check(t, cloud.IoT.Publish(deadline(t), names.WillTopic, []byte(lost), 0, false))
	cloud.events.await(t, 1, publishedOn("$aws/things/lwtThing/shadow/update"))
}

// A rule that republishes into its own filter is stopped, and says so.
func TestRepublishLoopIsStopped(t *testing.T) {
	t.Parallel()
	cloud := start(t)
	stack := cloud.deploy(t, func(tm template) {
		tm.rule(t)["Sql"] = "SELECT * FROM '/lwt/executed'"
	})
	check(t, cloud.IoT.Publish(deadline(t), names.ExecutedTopic, []byte(lost), 0, false))
	log := cloud.errorLog(t, stack)
	if len(log) != 1 || !strings.Contains(log[0], "feeds itself") {
		t.Errorf("the error log has %q, want the one message that stopped the loop", log)
	}
	if n := cloud.events.Count(publishedOn(names.ExecutedTopic)); n > 20 {
		t.Errorf("%d messages before the loop was stopped", n)
	}
}

// The role is probed when the rule is made: one that does not trust this very
// rule fails the stack, which leaves nothing behind.
func TestRuleRoleIsProbed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		claim  string
		change func(*testing.T, template)
	}{
		{"a role that trusts another rule", func(t *testing.T, tm template) { tm.trust(t, "rule/another") }},
		{"a role that trusts another service", func(t *testing.T, tm template) {
			policy := tm.properties(t, "AWS::IAM::Role")["AssumeRolePolicyDocument"].(object)
			policy["Statement"].([]any)[0].(object)["Principal"] = object{"Service": "lambda.amazonaws.com"}
		}},
		{"a role that trusts another account", func(t *testing.T, tm template) {
			policy := tm.properties(t, "AWS::IAM::Role")["AssumeRolePolicyDocument"].(object)
			policy["Statement"].([]any)[0].(object)["Condition"].(object)["StringEquals"] = object{"aws:SourceAccount": "999999999999"}
		}},
		{"a disabled rule is probed too", func(t *testing.T, tm template) {
			tm.rule(t)["RuleDisabled"] = true
			tm.trust(t, "rule/another")
		}},
		{"so is the error action's role", func(t *testing.T, tm template) {
			tm.rule(t)["ErrorAction"].(object)["CloudwatchLogs"].(object)["RoleArn"] = "arn:aws:iam::123456789012:role/none"
		}},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			cloud := start(t)
			_, err := cloud.tryDeploy(t, func(tm template) {
				withoutSubscription(t, tm)
				c.change(t, tm)
			})
			if err == nil || !strings.Contains(err.Error(), "sts:AssumeRole") || !strings.Contains(err.Error(), "AWS::IoT::TopicRule") {
				t.Errorf("the deployment ended with %v, want the rule's role as the reason", err)
			}
			if left := cloud.Leftovers(); len(left) != 1 || !strings.HasPrefix(left[0], "stack ") {
				t.Errorf("left behind: %q, want nothing but the failed stack", left)
			}
		})
	}
}

// withoutSubscription takes the subscription out: unconfirmed, it would outlive
// the stack.
func withoutSubscription(t testing.TB, tm template) {
	t.Helper()
	id, _ := tm.resource(t, "AWS::SNS::Subscription")
	delete(tm["Resources"].(object), id)
}

func clone(t testing.TB, o object) object {
	t.Helper()
	b, err := json.Marshal(o)
	check(t, err)
	var c object
	check(t, json.Unmarshal(b, &c))
	return c
}

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }
