package monitoring_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lastwill/infra/monitoring"
	"lastwill/internal/will"
)

var configFrom = monitoring.ConfigFrom

func TestContextBecomesConfig(t *testing.T) {
	cases := []struct {
		name    string
		context map[string]any
		change  func(*monitoring.Config)
	}{
		{"nothing but an address is the scenario", nil, func(*monitoring.Config) {}},
		{
			"several addresses with commas",
			map[string]any{"email": "a@example.com, b@example.com"},
			func(c *monitoring.Config) { c.Email = []string{"a@example.com", "b@example.com"} },
		},
		{
			"a JSON list on the command line",
			map[string]any{"email": ` ["a@example.com","b@example.com"]`},
			func(c *monitoring.Config) { c.Email = []string{"a@example.com", "b@example.com"} },
		},
		{
			"a list in cdk.json",
			map[string]any{"things": []any{"pump", "valve"}},
			func(c *monitoring.Config) { c.Things = []string{"pump", "valve"} },
		},
		{
			"tags on the command line",
			map[string]any{"tags": "team=fleet, cost center=42"},
			func(c *monitoring.Config) { c.Tags = map[string]string{"team": "fleet", "cost center": "42"} },
		},
		{
			"tags in cdk.json",
			map[string]any{"tags": map[string]any{"team": "fleet"}},
			func(c *monitoring.Config) { c.Tags = map[string]string{"team": "fleet"} },
		},
		{
			"seconds on the command line",
			map[string]any{"keepAlive": "1200"},
			func(c *monitoring.Config) { c.KeepAlive = 20 * time.Minute },
		},
		{
			"seconds in cdk.json",
			map[string]any{"keepAlive": 45.0},
			func(c *monitoring.Config) { c.KeepAlive = 45 * time.Second },
		},
		{
			"everything else",
			map[string]any{
				"environment": "pr-123", "willTopic": "w", "connectedTopic": "c", "executedTopic": "e", "certs": "keys",
				"account": "123456789012", "region": "eu-central-1", "removeLogs": "false", "alarms": false, "dashboard": "false",
			},
			func(c *monitoring.Config) {
				c.Environment, c.WillTopic, c.ConnectedTopic, c.ExecutedTopic, c.Certs = "pr-123", "w", "c", "e", "keys"
				c.Account, c.Region, c.RemoveLogs = "123456789012", "eu-central-1", false
				c.Alarms, c.Dashboard = false, false
			},
		},
		{"the shortest grace time", map[string]any{"grace": "60s"}, func(c *monitoring.Config) { c.Grace = time.Minute }},
		{"the longest grace time", map[string]any{"grace": "15m"}, func(c *monitoring.Config) { c.Grace = 15 * time.Minute }},
		{
			"what is nobody's setting here: the CDK's own, and that of a user's other apps",
			map[string]any{
				"@aws-cdk/core:validateAgainstDefaultRules": true, "aws:cdk:bundling-stacks": []any{"**"},
				"acknowledged-issue-numbers": []any{34892.0}, "availability-zones:account=1:region=x": []any{"a"},
				"colour": "red", "team": "fleet", "vpcId": "vpc-1", "stage": "prod", "": "",
			},
			func(*monitoring.Config) {},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			context := map[string]any{"email": "ops@example.com"}
			for key, value := range c.context {
				context[key] = value
			}
			got, err := configFrom(context)
			if err != nil {
				t.Fatal(err)
			}
			want := monitoring.DefaultConfig()
			want.Email = []string{"ops@example.com"}
			c.change(&want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestEachProblemHasValueAndFix(t *testing.T) {
	cases := []struct {
		name       string
		key, value string
		want       string
	}{
		{"not an address", "email", "me@", `email: e-mail address "me@": give one address such as ops@example.com`},
		{"nobody to tell", "email", "", `email: no address, and an alarm that tells nobody is a mistake: add -c email=YOU@EXAMPLE.COM`},
		{"an empty place in a list", "email", "me@example.com,", `email: e-mail address "": give one address such as ops@example.com`},
		{"JSON that breaks off", "email", `["me@example.com"`, `email: ["me@example.com" is not a list: give one value, several with commas between, or a JSON list of strings`},
		{"underscore in the environment", "environment", "pr_1", `environment: "pr_1" cannot be part of all names: use 1 to 88 letters and digits, with single hyphens between them`},
		{"environments that would share a rule", "environment", "pr--1", `environment: "pr--1" cannot be part of all names: use 1 to 88 letters and digits, with single hyphens between them`},
		{"too long an environment", "environment", strings.Repeat("e", 89), `environment: "` + strings.Repeat("e", 89) + `" cannot be part of all names: use 1 to 88 letters and digits, with single hyphens between them`},
		{"thing name", "things", "lwt thing", `things: thing name "lwt thing": use 1 to 128 letters, digits, colons, underscores and hyphens`},
		{"path in a thing name", "things", "../lwt", `things: thing name "../lwt": use 1 to 128 letters, digits, colons, underscores and hyphens`},
		{"a thing twice", "things", "a,a", `things: thing name "a" is given twice: name each thing once`},
		{"no thing", "things", "", `things: no thing: name at least one`},
		{"a check without time", "checkLimit", "9", `checkLimit: 9 seconds: give 10 to 600`},
		{"a processor that Lambda does not have", "architecture", "amd64", `architecture: architecture "amd64": use x86_64 or arm64`},
		{"too many things", "things", numbered(123), `things: 123 things: a stack of 500 resources has room for 122: spread them over several environments, or use fleet provisioning (AWS::IoT::ProvisioningTemplate)`},
		{"wildcard", "willTopic", "/last/+/topic", `willTopic: topic "/last/+/topic" has a wildcard: name one topic, without + and #`},
		{"no topic", "willTopic", "", `willTopic: topic is empty: give a name such as /last/will/topic`},
		{"reserved topic", "connectedTopic", "$aws/things", `connectedTopic: topic "$aws/things" is reserved: topics that begin with $ belong to AWS, choose another beginning`},
		{"eight slashes", "executedTopic", "/1/2/3/4/5/6/7/8", `executedTopic: topic "/1/2/3/4/5/6/7/8" has 8 slashes, AWS IoT Core takes at most 7: shorten it`},
		{"257 bytes", "executedTopic", strings.Repeat("t", 257), `executedTopic: topic "` + strings.Repeat("t", 257) + `" has 257 bytes, AWS IoT Core takes at most 256: shorten it`},
		{"a quote, which would end the rule's filter", "willTopic", "it's", `willTopic: topic "it's" has a quote or ${, which the rule's SQL and templates would read as their own: remove them`},
		{"one topic for two ends", "executedTopic", "/last/will/topic", `executedTopic: topic "/last/will/topic" is the willTopic already: choose another`},
		{"below AWS's keep alive", "keepAlive", "29", `keepAlive: 29 seconds: AWS IoT Core honours 30 to 1200, use one of these`},
		{"above AWS's keep alive", "keepAlive", "1201", `keepAlive: 1201 seconds: AWS IoT Core honours 30 to 1200, use one of these`},
		{"a misspelled setting", "emial", "me@example.com", `emial: is no setting: did you mean email?`},
		{"a setting in other letters", "keepalive", "30", `keepalive: is no setting: did you mean keepAlive?`},
		{"part of an account", "account", "1234", `account: "1234" is no AWS account: give its 12 digits, as text`},
		{"a place that is no region", "region", "Frankfurt", `region: "Frankfurt" is no AWS region: give one such as eu-central-1`},
		{"a tag without a value", "tags", "team", `tags: team are no tags: give KEY=VALUE, several with commas between, or a JSON object of strings`},
		{"a tag of the stack's own", "tags", "environment=x", `tags: "environment" is a tag of the stack's own: choose another key`},
		{"a tag of AWS's", "tags", "AWS:x=1", `tags: key "AWS:x": use 1 to 128 letters, digits, spaces and _ . : / = + - @, and not aws: at the beginning`},
		{"a tag that IAM does not take", "tags", "team=a&b", `tags: value "a&b" of team: use at most 256 letters, digits, spaces and _ . : / = + - @`},
		{"neither yes nor no", "removeLogs", "perhaps", `removeLogs: perhaps is neither true nor false`},
		{"no folder for keys", "certs", "", `certs: no folder for keys and CSRs: name one, such as certs`},
		{"a grace time without a unit", "grace", "180", `grace: "180": give a duration with its unit, 60s to 15m, such as 3m`},
		{"a grace time that is none", "grace", "soon", `grace: "soon": give a duration with its unit, 60s to 15m, such as 3m`},
		{"a grace time of nothing", "grace", "0s", `grace: "0s": give a duration with its unit, 60s to 15m, such as 3m`},
		{"an empty grace time", "grace", "", `grace: "": give a duration with its unit, 60s to 15m, such as 3m`},
		{"a grace time before it began", "grace", "-3m", `grace: "-3m0s": give a duration from 60s to 15m in whole seconds, such as 3m`},
		{"below the shortest grace time", "grace", "59s", `grace: "59s": give a duration from 60s to 15m in whole seconds, such as 3m`},
		{"above the longest grace time", "grace", "15m1s", `grace: "15m1s": give a duration from 60s to 15m in whole seconds, such as 3m`},
		{"a part of a second of grace time", "grace", "60500ms", `grace: "1m0.5s": give a duration from 60s to 15m in whole seconds, such as 3m`},
		{"keep alive with a unit", "keepAlive", "30s", `keepAlive: 30s is no number of seconds: give a whole number, such as 30`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			context := map[string]any{"email": "ops@example.com"}
			context[c.key] = c.value
			_, err := configFrom(context)
			want := "problems with the configuration: 1\n  " + c.want
			if got := fmt.Sprint(err); got != want {
				t.Errorf("got %s\nwant %s", got, want)
			}
		})
	}
}

// cdk.json can hold any JSON where a text, a list or a number belongs.
func TestOddValuesAreShownAsTheyWereWritten(t *testing.T) {
	_, err := configFrom(map[string]any{
		"environment": 7.0,
		"email":       map[string]any{"to": "ops@example.com"},
		"things":      []any{1.0, nil},
		"willTopic":   []any{"a"},
		"keepAlive":   map[string]any{"seconds": []any{30.0}},
		"certs":       nil,
		"grace":       180.0,
	})
	want := `problems with the configuration: 6
  environment: 7 is not a text: put it in quotes
  email: {"to":"ops@example.com"} is not a list: give one value, several with commas between, or a JSON list of strings
  things: [1,null] is not a list: give one value, several with commas between, or a JSON list of strings
  willTopic: ["a"] is not a text: put it in quotes
  keepAlive: {"seconds":[30]} is no number of seconds: give a whole number, such as 30
  grace: "180": give a duration with its unit, 60s to 15m, such as 3m`
	if got := fmt.Sprint(err); got != want {
		t.Errorf("(-want +got):\n%s", cmp.Diff(want, got))
	}
	_, err = configFrom(map[string]any{"email": "ops@example.com", "keepAlive": 1e7})
	if want := "keepAlive: 10000000 seconds: AWS IoT Core honours 30 to 1200"; !strings.Contains(fmt.Sprint(err), want) {
		t.Errorf("err = %v, want %q in it", err, want)
	}
}

func TestAllProblemsComeAtOnce(t *testing.T) {
	_, err := configFrom(map[string]any{
		"environment": "a b",
		"email":       []any{"x", "ops@example.com", "y"},
		"things":      7.0,
		"willTopic":   "#",
		"keepAlive":   "5",
		"certs":       true,
	})
	want := `problems with the configuration: 7
  things: 7 is not a list: give one value, several with commas between, or a JSON list of strings
  certs: true is not a text: put it in quotes
  environment: "a b" cannot be part of all names: use 1 to 88 letters and digits, with single hyphens between them
  email: e-mail address "x": give one address such as ops@example.com
  email: e-mail address "y": give one address such as ops@example.com
  willTopic: topic "#" has a wildcard: name one topic, without + and #
  keepAlive: 5 seconds: AWS IoT Core honours 30 to 1200, use one of these`
	if got := fmt.Sprint(err); got != want {
		t.Errorf("(-want +got):\n%s", cmp.Diff(want, got))
	}
}

// The context is where the CDK CLI found it: a message names the file.
func TestAProblemNamesTheFileOfItsSetting(t *testing.T) {
	home, project := t.TempDir(), t.TempDir()
	t.Setenv("HOME", home)
	t.Chdir(project)
	for file, content := range map[string]string{
		filepath.Join(project, "cdk.json"):          `{"app": "x", "context": {"keepAlive": 5, "emial": "me@example.com", "region": "here"}}`,
		filepath.Join(project, "cdk.context.json"):  `{"things": "a b", "acknowledged-issue-numbers": [34892]}`,
		filepath.Join(home, ".cdk.json"):            `{"context": {"willTopic": "#", "things": "c d", "vpc": "x"}}`,
		filepath.Join(project, "environments.json"): `{"staging": {"removeLogs": 7, "colour": "red", "@aws-cdk/core:x": true}}`,
	} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, err := configFrom(map[string]any{
		"keepAlive": 5.0, "emial": "me@example.com", "things": "a b", "willTopic": "#", "vpc": "x", "acknowledged-issue-numbers": []any{34892.0},
		"region": "there", "certs": "", "email": "ops@example.com", "environment": "staging", // on the command line
	})
	want := `problems with the configuration: 9
  environments.json: staging: removeLogs: 7 is neither true nor false
  cdk.json: emial: is no setting: did you mean email?
  environments.json: staging: @aws-cdk/core:x: is no setting: the README lists them under Options
  environments.json: staging: colour: is no setting: the README lists them under Options
  cdk.context.json: things: thing name "a b-staging": use 1 to 128 letters, digits, colons, underscores and hyphens
  ~/.cdk.json: willTopic: topic "/staging/#" has a wildcard: name one topic, without + and #
  cdk.json: keepAlive: 5 seconds: AWS IoT Core honours 30 to 1200, use one of these
  certs: no folder for keys and CSRs: name one, such as certs
  region: "there" is no AWS region: give one such as eu-central-1`
	if diff := cmp.Diff(want, fmt.Sprint(err)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := os.WriteFile("cdk.json", []byte(`{"context": {"environment": "stagin"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = configFrom(map[string]any{"environment": "stagin", "email": "ops@example.com"})
	if want := "\n  cdk.json: environment: \"stagin\" is not in environments.json: did you mean staging?"; !strings.Contains(fmt.Sprint(err), want) {
		t.Errorf("err = %v, want %q in it", err, want)
	}
}

func TestLimitsThatCanBeReached(t *testing.T) {
	longest := strings.Repeat("e", 88)
	for name, context := range map[string]map[string]any{
		"as many things as fit":                       {"things": numbered(122)},
		"as many things as fit without alarms":        {"things": numbered(123), "alarms": "false"},
		"the longest environment":                     {"environment": longest},
		"the longest thing beside it":                 {"environment": longest, "things": strings.Repeat("t", 128-1-88)},
		"seven slashes, the environment's among them": {"environment": "e", "willTopic": "1/2/3/4/5/6"},
	} {
		t.Run(name, func(t *testing.T) {
			context["email"] = "ops@example.com"
			if _, err := configFrom(context); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestEachAddressTakesRoomFromThings(t *testing.T) {
	_, err := configFrom(map[string]any{"email": "a@example.com,b@example.com,c@example.com", "things": numbered(123)})
	if want := "has room for 121"; !strings.Contains(fmt.Sprint(err), want) {
		t.Errorf("err = %v, want %q in it", err, want)
	}
}

func TestEnvironmentsShareNoName(t *testing.T) {
	seen := map[string]string{}
	for _, environment := range []string{"", "staging", "pr-1", "pr-12", "Staging"} {
		c := monitoring.DefaultConfig()
		c.Environment, c.WillTopic = environment, "plant/wills"
		n := c.Names()
		for _, name := range []string{n.Stack, n.Rule, n.SNSTopic, n.WillTopic, n.ConnectedTopic, n.ExecutedTopic, n.Thing("lwtThing")} {
			if other, taken := seen[name]; taken {
				t.Errorf("%q is a name of the environments %q and %q", name, other, environment)
			}
			seen[name] = environment
		}
	}
}

func TestDevicesNamesEveryMissingCSR(t *testing.T) {
	c := monitoring.DefaultConfig()
	c.Things = []string{"pump", "valve"}
	c.Certs = t.TempDir()
	_, err := c.Devices(false)
	for _, thing := range c.Things {
		if want := filepath.Join(c.Certs, thing+".csr") + " is missing"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("err = %v, want %q in it", err, want)
		}
	}
	devices, err := c.Devices(true)
	if err != nil || len(devices) != 2 {
		t.Fatalf("Devices(true) = %v, %v", devices, err)
	}
	again, err := c.Devices(false)
	if diff := cmp.Diff(devices, again); err != nil || diff != "" {
		t.Errorf("the CSRs that were made are not those that are read (%v): %s", err, diff)
	}
}

func TestKeysCarryTheEnvironment(t *testing.T) {
	c := monitoring.DefaultConfig()
	c.Environment, c.Certs = "staging", t.TempDir()
	if _, err := c.Devices(true); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(c.Certs, will.ThingName+"-staging.key")); err != nil {
		t.Error(err)
	}
}

func FuzzConfigIsAcceptedWholeOrNotAtAll(f *testing.F) {
	f.Add("", "ops@example.com", "lwtThing", "/last/will/topic", "30")
	f.Add("pr-1", `["a@example.com","b@example.com"]`, "a,b", "w", "1200")
	f.Fuzz(func(t *testing.T, environment, email, things, willTopic, keepAlive string) {
		c, err := configFrom(map[string]any{
			"environment": environment, "email": email, "things": things, "willTopic": willTopic, "keepAlive": keepAlive,
		})
		var problems monitoring.Problems
		if err != nil && !errors.As(err, &problems) {
			t.Fatalf("%T: %v", err, err)
		}
		if err == nil && (c.Validate() != nil || len(c.Email) == 0 || len(c.Things) == 0) {
			t.Errorf("accepted %+v", c)
		}
	})
}

func numbered(n int) string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("thing%d", i)
	}
	return strings.Join(names, ",")
}
