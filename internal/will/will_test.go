package will

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheScenariosOwnNames(t *testing.T) {
	t.Parallel()
	want := Names{
		Stack: "Lastwill", Rule: "lastWillRule", SNSTopic: "lwtSNSTopic",
		WillTopic: "/last/will/topic", ConnectedTopic: "/lwt/connected/topic", ExecutedTopic: "/lwt/executed",
	}
	if diff := cmp.Diff(want, NamesFor("")); diff != "" {
		t.Error(diff)
	}
	if got := NamesFor("").Thing(ThingName); got != "lwtThing" {
		t.Errorf("the thing is %q", got)
	}
}

func TestEveryNameCarriesTheEnvironment(t *testing.T) {
	t.Parallel()
	want := Names{
		Environment: "pr-7", Stack: "Lastwill-pr-7", Rule: "lastWillRule_pr_7", SNSTopic: "lwtSNSTopic-pr-7",
		WillTopic: "/pr-7/last/will/topic", ConnectedTopic: "/pr-7/lwt/connected/topic", ExecutedTopic: "/pr-7/lwt/executed",
	}
	if diff := cmp.Diff(want, NamesFor("pr-7")); diff != "" {
		t.Error(diff)
	}
	if got := NamesFor("pr-7").Thing(ThingName); got != "lwtThing-pr-7" {
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

func TestCheckNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ claim, thing, prefix string }{
		{"the scenario's", "lwtThing", "lwtThing-check-"},
		{"a queue's name has no colons", "a:b", "a_b-check-"},
		{"a certificate's common name has 64 characters", strings.Repeat("x", 128), strings.Repeat("x", 47) + "-check-"},
	} {
		name := CheckName(c.thing)
		if CheckPrefix(c.thing) != c.prefix || !strings.HasPrefix(name, c.prefix) || len(name) != len(c.prefix)+10 {
			t.Errorf("%s: %s, %s", c.claim, CheckPrefix(c.thing), name)
		}
		if name == CheckName(c.thing) {
			t.Errorf("%s: two checks have the name %s", c.claim, name)
		}
	}
}

func TestCheckRuleName(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		claim, name string
		good        bool
	}{
		{"the scenario's", "lastWillRule", true},
		{"an environment's", NamesFor("pr-7").Rule, true},
		{"the longest", strings.Repeat("r", 128), true},
		{"a longer one", strings.Repeat("r", 129), false},
		{"none", "", false},
		{"a hyphen", "last-will", false},
		{"a line end", "lastWillRule\n", false},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			if err := CheckRuleName(c.name); (err == nil) != c.good {
				t.Error(err)
			}
		})
	}
}

func TestCheckTopicName(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ claim, topic, want string }{
		{"the scenario's", "/last/will/topic", ""},
		{"seven slashes", strings.Repeat("/a", 7), ""},
		{"256 bytes", strings.Repeat("a", 256), ""},
		{"letters beyond ASCII", "gerät/türe", ""},
		{"empty", "", "empty"},
		{"eight slashes", strings.Repeat("/a", 8), "8 slashes"},
		{"257 bytes", strings.Repeat("a", 257), "257 bytes"},
		{"one level's wildcard", "a/+/b", "wildcard"},
		{"the rest's wildcard", "a/#", "wildcard"},
		{"reserved", "$aws/things/x", "reserved"},
		{"a quote would end the SQL's", "a'b", "quote"},
		{"a template", "a/${b}", "${"},
		{"a control character", "a\x00b", "control"},
		{"not UTF-8", "a\xff", "UTF-8"},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			err := CheckTopicName(c.topic)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
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
	if got := NamesFor(longest).SNSTopic; len(got) != maxSNSTopicName {
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
		got, err := EnvironmentFor(c.branch)
		if got != c.want || (err != nil) != (c.want == "") || len(got) > 32 {
			t.Errorf("EnvironmentFor(%q) = %q, %v; want %q", c.branch, got, err, c.want)
		}
	}
}
