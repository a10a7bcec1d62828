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
)

// environmentsFile writes a file of environments and returns the context that
// names it.
func environmentsFile(t *testing.T, content string) (file string, context map[string]any) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "environments.json")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, map[string]any{"environments": file}
}

const threeEnvironments = `{
  "staging":    {"email": "dev@example.com", "region": "eu-central-1", "keepAlive": 60},
  "production": {"email": ["ops@example.com", "night@example.com"], "account": "123456789012", "things": ["pump", "valve"], "removeLogs": false},
  "pr-*":       {"email": "dev@example.com"}
}`

func TestNamedSettings(t *testing.T) {
	staging := func(c *monitoring.Config) {
		c.Environment, c.Email, c.Region, c.KeepAlive = "staging", []string{"dev@example.com"}, "eu-central-1", time.Minute
	}
	cases := []struct {
		name    string
		context map[string]any
		change  func(*monitoring.Config)
	}{
		{"of the environment that the context names", map[string]any{"environment": "staging"}, staging},
		{
			"the context wins",
			map[string]any{"environment": "staging", "email": "me@example.com", "keepAlive": "45"},
			func(c *monitoring.Config) {
				staging(c)
				c.Email, c.KeepAlive = []string{"me@example.com"}, 45*time.Second
			},
		},
		{
			"account, things and logs",
			map[string]any{"environment": "production"},
			func(c *monitoring.Config) {
				c.Environment, c.Email = "production", []string{"ops@example.com", "night@example.com"}
				c.Account, c.Things, c.RemoveLogs = "123456789012", []string{"pump", "valve"}, false
			},
		},
		{
			"a family",
			map[string]any{"environment": "pr-123"},
			func(c *monitoring.Config) { c.Environment, c.Email = "pr-123", []string{"dev@example.com"} },
		},
		{
			"the environment without a name has none",
			map[string]any{"email": "me@example.com"},
			func(c *monitoring.Config) { c.Email = []string{"me@example.com"} },
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, context := environmentsFile(t, threeEnvironments)
			for key, value := range c.context {
				context[key] = value
			}
			got, err := monitoring.ConfigFrom(context)
			if err != nil {
				t.Fatal(err)
			}
			want := monitoring.DefaultConfig()
			c.change(&want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// FILE stands for the file's path.
func TestMistakesInNamedSettings(t *testing.T) {
	cases := []struct {
		name, content string
		context       map[string]any
		want          string
	}{
		{
			"misspelled names and bad values, of file and context together",
			`{"staging": {"emial": "dev@example.com", "keepAlive": 5, "removeLogs": "perhaps", "region": "Frankfurt"}}`,
			map[string]any{"environment": "staging", "thing": "pump"},
			`problems with the configuration: 6
  FILE: staging: removeLogs: perhaps is neither true nor false
  thing: is no setting: did you mean things?
  FILE: staging: emial: is no setting: did you mean email?
  email: no address, and an alarm that tells nobody is a mistake: add -c email=YOU@EXAMPLE.COM
  FILE: staging: keepAlive: 5 seconds: AWS IoT Core honours 30 to 1200, use one of these
  FILE: staging: region: "Frankfurt" is no AWS region: give one such as eu-central-1`,
		},
		{
			"a misspelled environment", threeEnvironments,
			map[string]any{"environment": "stagin", "email": "me@example.com"},
			`problems with the configuration: 1
  environment: "stagin" is not in FILE: did you mean staging?`,
		},
		{
			"an environment that is not there", threeEnvironments,
			map[string]any{"environment": "test", "email": "me@example.com"},
			`problems with the configuration: 1
  environment: "test" is not in FILE, which has staging, production, pr-*: add it, or a family such as "pr-*"`,
		},
		{
			"no environment", threeEnvironments, nil,
			`problems with the configuration: 2
  email: no address, and an alarm that tells nobody is a mistake: add -c email=YOU@EXAMPLE.COM
  environment: none is named: add -c environment=NAME for one in FILE`,
		},
		{
			"an environment in an environment", `{"staging": {"environment": "production", "email": "me@example.com"}}`,
			map[string]any{"environment": "staging"},
			`problems with the configuration: 1
  FILE: staging: environment: is no setting: the README lists them under Options`,
		},
		{
			"names that cannot be", `{"": {}, "pr_1": {}, "pr--*": {}, "a": {}, "a": {}}`,
			map[string]any{"environment": "a", "email": "me@example.com"},
			`problems with the configuration: 4
  FILE: "" is no name: what the environment without a name needs goes into the context of cdk.json
  FILE: "pr_1" cannot be part of all names: use 1 to 88 letters and digits, with single hyphens between them
  FILE: "pr--x" cannot be part of all names: use 1 to 88 letters and digits, with single hyphens between them
  FILE: "a" is there twice: name each environment once`,
		},
		{
			"no JSON", "{\n  \"staging\": {\n    email: 1\n", nil,
			`problems with the configuration: 2
  FILE: line 3: invalid character 'e' looking for beginning of object key string
  email: no address, and an alarm that tells nobody is a mistake: add -c email=YOU@EXAMPLE.COM`,
		},
		{
			"another shape", `{"staging": "dev@example.com"}`,
			map[string]any{"email": "me@example.com"},
			`problems with the configuration: 1
  FILE: line 1: the file must be one object, with an object of settings for each environment`,
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			file, context := environmentsFile(t, c.content)
			for key, value := range c.context {
				context[key] = value
			}
			_, err := monitoring.ConfigFrom(context)
			if diff := cmp.Diff(c.want, strings.ReplaceAll(fmt.Sprint(err), file, "FILE")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAFileThatIsNamedMustBeThere(t *testing.T) {
	_, err := monitoring.ConfigFrom(map[string]any{"email": "me@example.com", "environments": "elsewhere.json"})
	if want := "elsewhere.json: open elsewhere.json: no such file or directory"; !strings.Contains(fmt.Sprint(err), want) {
		t.Errorf("err = %v, want %q in it", err, want)
	}
}

// Editors and shells of Windows put a byte order mark before a text.
func TestTheFileMayHaveAByteOrderMark(t *testing.T) {
	utf16 := strings.ReplaceAll(threeEnvironments, "\n", "\r\n")
	for name, content := range map[string]string{
		"UTF-8":  "\ufeff" + threeEnvironments,
		"UTF-16": "\xff\xfe" + strings.Join(strings.Split(utf16, ""), "\x00") + "\x00",
	} {
		_, context := environmentsFile(t, content)
		context["environment"] = "staging"
		if c, err := monitoring.ConfigFrom(context); err != nil || c.Region != "eu-central-1" {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

func TestEnvironmentsComeInTheOrderOfTheFile(t *testing.T) {
	_, context := environmentsFile(t, `{"z": {"email": "z@example.com"}, "pr-*": {"email": "p@example.com"}, "a": {"email": "a@example.com"}}`)
	context["keepAlive"] = "60"
	configs, err := monitoring.Environments(context)
	if err != nil || len(configs) != 2 {
		t.Fatalf("%d environments, %v", len(configs), err)
	}
	for i, name := range []string{"z", "a"} {
		if c := configs[i]; c.Environment != name || c.Email[0] != name+"@example.com" || c.KeepAlive != time.Minute {
			t.Errorf("environment %d is %+v", i, c)
		}
	}
}

func TestProblemsOfAllEnvironmentsComeAtOnce(t *testing.T) {
	file, context := environmentsFile(t, `{"x": {"email": "x", "things": "a-y"}, "y-x": {"email": "y@example.com", "things": "a", "kepAlive": 60}}`)
	context["reigon"] = "eu-central-1"
	_, err := monitoring.Environments(context)
	want := `problems with the configuration: 4
  reigon: is no setting: did you mean region?
  FILE: x: email: e-mail address "x": give one address such as ops@example.com
  FILE: y-x: kepAlive: is no setting: did you mean keepAlive?
  FILE: y-x: things: "a-y-x" is a thing of the environment x too: rename one`
	if diff := cmp.Diff(want, strings.ReplaceAll(fmt.Sprint(err), file, "FILE")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := monitoring.Environments(nil); err == nil || !strings.Contains(err.Error(), "names no environment") {
		t.Errorf("without a file: %v", err)
	}
}

func TestAProblemHasItsKeyAndItsPlace(t *testing.T) {
	file, context := environmentsFile(t, `{"x": {"email": "x", "keepAlive": "soon", "kepAlive": 60}}`)
	context["reigon"] = "eu-central-1"
	_, err := monitoring.Environments(context)
	problems, ok := errors.AsType[monitoring.Problems](err)
	if !ok {
		t.Fatal(err)
	}
	var got [][2]string
	for _, p := range problems {
		got = append(got, [2]string{p.Origin, p.Key})
	}
	want := [][2]string{{file + ": x", "keepAlive"}, {"", "reigon"}, {file + ": x", "kepAlive"}, {file + ": x", "email"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	_, context = environmentsFile(t, `[]`)
	context["environment"] = "x"
	_, err = monitoring.ConfigFrom(context)
	if problems, ok := errors.AsType[monitoring.Problems](err); !ok || problems[0].Origin != context["environments"] || problems[0].Key != "" {
		t.Errorf("a file that is none: %#v", err)
	}
}

// A topic of an environment begins with its name; the one without a name has no
// such beginning.
func TestATopicOfTheUnnamedEnvironmentIsTaken(t *testing.T) {
	_, err := configFrom(map[string]any{"email": "me@example.com", "environment": "last", "willTopic": "/will/topic"})
	if want := `willTopic: topic "/last/will/topic" belongs to the environment without a name: choose another`; !strings.Contains(fmt.Sprint(err), want) {
		t.Errorf("err = %v, want %q in it", err, want)
	}
}

func FuzzEnvironmentsAreAcceptedWholeOrNotAtAll(f *testing.F) {
	f.Add(threeEnvironments)
	f.Add(`{"a": null}`)
	f.Fuzz(func(t *testing.T, content string) {
		_, context := environmentsFile(t, content)
		configs, err := monitoring.Environments(context)
		for _, c := range configs {
			if err == nil && (c.Environment == "" || c.Validate() != nil) {
				t.Errorf("accepted %+v", c)
			}
		}
	})
}
