package will

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheScenariosOwnNames(t *testing.T) {
	t.Parallel()
	want := Names{
		Stack: "Lastwill", Rule: "lastWillRule", OutageRule: "lastWillRuleOutages", SNSTopic: "lwtSNSTopic", AlarmTopic: "lwtAlarms",
		WillTopic: "/last/will/topic", ConnectedTopic: "/lwt/connected/topic", ExecutedTopic: "/lwt/executed",
	}
	if diff := cmp.Diff(want, NewNames("")); diff != "" {
		t.Error(diff)
	}
	if got := NewNames("").Thing(ThingName); got != "lwtThing" {
		t.Errorf("the thing is %q", got)
	}
}

func TestEveryNameCarriesTheEnvironment(t *testing.T) {
	t.Parallel()
	want := Names{
		Environment: "pr-7", Stack: "Lastwill-pr-7", Rule: "lastWillRule_pr_7", OutageRule: "lastWillRuleOutages_pr_7",
		SNSTopic: "lwtSNSTopic-pr-7", AlarmTopic: "lwtAlarms-pr-7",
		WillTopic: "/pr-7/last/will/topic", ConnectedTopic: "/pr-7/lwt/connected/topic", ExecutedTopic: "/pr-7/lwt/executed",
	}
	if diff := cmp.Diff(want, NewNames("pr-7")); diff != "" {
		t.Error(diff)
	}
	if got := NewNames("pr-7").Thing(ThingName); got != "lwtThing-pr-7" {
		t.Errorf("the thing is %q", got)
	}
}

func TestTheScenariosTexts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ claim, got, want string }{
		{"will payload", string(Payload("lwtThing")), `{"state":{"reported":{"last_will":"yes","trigger_action":"on","client_id":"lwtThing"}}}`},
		{"connected message", string(ConnectedPayload(ConnectedMessage)), `{"message": "AWS IoT Thing connected message to IoT Core"}`},
		{"quotes in a message stay inside it", string(ConnectedPayload(`a "b"`)), `{"message": "a \"b\""}`},
		{"SQL", SQL("/last/will/topic"), `SELECT * FROM '/last/will/topic' WHERE state.reported.last_will = 'yes' AND state.reported.trigger_action = 'on'`},
	} {
		if c.got != c.want {
			t.Errorf("%s is %s, want %s", c.claim, c.got, c.want)
		}
	}
}

func TestNamesThatNoCheckGave(t *testing.T) {
	t.Parallel()
	if thing, found := CutCheck(ThingName); found || thing != ThingName {
		t.Errorf("%s, %t", thing, found)
	}
}

func TestNewCheckName(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ claim, thing, prefix string }{
		{"the scenario's", "lwtThing", "lwtThing-check-"},
		{"a queue's name has no colons", "a:b", "a_b-check-"},
		{"a certificate's common name has 64 characters", strings.Repeat("x", 128), strings.Repeat("x", 47) + "-check-"},
	} {
		name := NewCheckName(c.thing)
		if NewCheckPrefix(c.thing) != c.prefix || !strings.HasPrefix(name, c.prefix) || len(name) != len(c.prefix)+10 {
			t.Errorf("%s: %s, %s", c.claim, NewCheckPrefix(c.thing), name)
		}
		if thing, found := CutCheck(name); !found || thing+"-check-" != c.prefix {
			t.Errorf("%s: %s is a check of %s, %t", c.claim, name, thing, found)
		}
		if name == NewCheckName(c.thing) {
			t.Errorf("%s: two checks have the name %s", c.claim, name)
		}
	}
}

func TestCheckEnvironment(t *testing.T) {
	t.Parallel()
	longest := strings.Repeat("e", 88)
	for _, c := range []struct {
		claim, name string
		good        bool
	}{
		{"none", "", true},
		{"a pull request's", "pr-123", true},
		{"the longest", longest, true},
		{"a longer one", longest + "e", false},
		{"two hyphens, which could share a rule with one", "pr--1", false},
		{"a hyphen at the end", "pr-", false},
		{"an underscore", "pr_1", false},
		{"a space", "pr 1", false},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			if err := CheckEnvironment(c.name); (err == nil) != c.good {
				t.Error(err)
			}
		})
	}
	if got := NewNames(longest).SNSTopic; len(got) != maxSNSTopicName {
		t.Errorf("the SNS topic of the longest environment has %d characters", len(got))
	}
}

func TestEnvironmentForABranch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ branch, want string }{
		{"pr-123", "pr-123"},
		{"feature/FOO_bar", "feature-FOO-bar-7b3b5e"},
		{"feature-FOO-bar", "feature-FOO-bar"},
		{"--wip--", "wip-d66460"},
		{strings.Repeat("long", 20), "longlonglonglonglonglongl-5aa1dc"},
		{"///", ""},
		{"", ""},
	} {
		got, err := NewEnvironment(c.branch)
		if got != c.want || (err != nil) != (c.want == "") || len(got) > 32 {
			t.Errorf("NewEnvironment(%q) = %q, %v; want %q", c.branch, got, err, c.want)
		}
	}
}
