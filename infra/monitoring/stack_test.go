package monitoring_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/google/go-cmp/cmp"

	"lastwill/infra/monitoring"
	"lastwill/internal/device/brokertest"
	"lastwill/test/cdktest"
)

var update = flag.Bool("update", false, "write the golden templates instead of comparing with them")

func TestMain(m *testing.M) { cdktest.Main(m) }

// variants are the stacks that have a golden template each.
var variants = map[string]monitoring.Config{
	"default": config(func(c *monitoring.Config) {
		c.Email = []string{"ops@example.com"}
	}),
	"check": config(func(c *monitoring.Config) {
		c.Email = []string{"ops@example.com"}
		c.Check = true
	}),
	"environment": config(func(c *monitoring.Config) {
		c.Environment = "staging"
		c.Email = []string{"ops@example.com", "night.shift+iot@example.org"}
		c.Things = []string{"lwtThing", "pump", "valve_7"}
		c.KeepAlive = time.Minute
	}),
	"confirmed": config(func(c *monitoring.Config) {
		c.Email = []string{"ops@example.com"}
		c.Grace = 3 * time.Minute
	}),
	"confirmed-environment": config(func(c *monitoring.Config) {
		c.Environment = "staging"
		c.Email = []string{"ops@example.com", "night.shift+iot@example.org"}
		c.Grace = 90 * time.Second
	}),
	"confirmed-quiet": config(func(c *monitoring.Config) {
		c.Email = []string{"ops@example.com"}
		c.Grace = 15 * time.Minute
		c.Alarms, c.Dashboard = false, false
	}),
	"quiet": config(func(c *monitoring.Config) {
		c.Email = []string{"ops@example.com"}
		c.Alarms, c.Dashboard = false, false
	}),
}

func config(change func(*monitoring.Config)) monitoring.Config {
	c := monitoring.DefaultConfig()
	c.Certs = filepath.Join("testdata", "certs")
	change(&c)
	return c
}

// synth returns the template of a stack as CloudFormation would get it.
func synth(t *testing.T, c monitoring.Config) []byte {
	t.Helper()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	devices, err := c.Devices(false)
	if err != nil {
		t.Fatal(err)
	}
	return cdktest.Template(t, func(app awscdk.App) awscdk.Stack {
		return monitoring.NewStack(app, monitoring.StackProps{
			Config:    c,
			Devices:   devices,
			Simulator: filepath.Join("testdata", "simulator"),
			Alerter:   filepath.Join("testdata", "simulator"),
		})
	})
}

func TestTemplatesAreAsReviewed(t *testing.T) {
	for name, c := range variants {
		t.Run(name, func(t *testing.T) {
			cdktest.Golden(t, synth(t, c), filepath.Join("testdata", name+".template.json"), *update)
		})
	}
}

// Account and region, if named, are in the template, so that it cannot be
// deployed elsewhere by mistake; logs are kept if asked for.
func TestPlaceAndLogsAsConfigured(t *testing.T) {
	c := config(func(c *monitoring.Config) {
		c.Email = []string{"ops@example.com"}
		c.Account, c.Region, c.RemoveLogs = "123456789012", "eu-central-1", false
	})
	whole := synth(t, c)
	if want := ":iot:eu-central-1:123456789012:rule/lastWillRule"; !strings.Contains(string(whole), want) {
		t.Errorf("there is no %s in the template", want)
	}
	tpl := parse(t, whole)
	for id, r := range tpl.Resources {
		if want := map[bool]string{true: "Retain"}[r.Type == "AWS::Logs::LogGroup"]; r.DeletionPolicy != want {
			t.Errorf("%s has the DeletionPolicy %q, want %q", id, r.DeletionPolicy, want)
		}
	}
}

// Options that no golden template has arrive where they act.
func TestOptionsReachTheirResources(t *testing.T) {
	c, err := monitoring.ConfigFrom(map[string]any{
		"email": "ops@example.com", "environment": "staging", "certs": "testdata/certs", "check": "true", "checkLimit": "77",
		"architecture": "arm64", "tags": "team=fleet,cost center=42", "things": "lwtThing",
	})
	if err != nil {
		t.Fatal(err)
	}
	devices, err := c.Devices(false)
	if err != nil {
		t.Fatal(err)
	}
	var tags map[string]*string
	tpl := parse(t, cdktest.Template(t, func(app awscdk.App) awscdk.Stack {
		stack := monitoring.NewStack(app, monitoring.StackProps{Config: c, Devices: devices, Simulator: filepath.Join("testdata", "simulator")})
		tags = *stack.Tags().TagValues()
		return stack
	}))
	got := map[string]string{}
	for key, value := range tags {
		got[key] = *value
	}
	if diff := cmp.Diff(map[string]string{"app": "lastwill", "environment": "staging", "team": "fleet", "cost center": "42"}, got); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	seen := 0
	for id, r := range tpl.Resources {
		switch r.Type {
		case "AWS::Lambda::Function":
			seen++
			if diff := cmp.Diff([]any{"arm64"}, r.Properties["Architectures"]); diff != "" {
				t.Errorf("%s: architectures (-want +got):\n%s", id, diff)
			}
			if r.Properties["Timeout"] != 77.0+60 {
				t.Errorf("%s: timeout %v, want the limit and a minute to clean up", id, r.Properties["Timeout"])
			}
		case "Custom::EndToEndCheck":
			seen++
			if r.Properties["LimitSeconds"] != 77.0 {
				t.Errorf("%s: limit %v", id, r.Properties["LimitSeconds"])
			}
		}
	}
	if seen != 2 {
		t.Errorf("%d resources of the check seen", seen)
	}
}

// A custom resource runs again only when one of its properties changes.
func TestTheCheckRunsAgainWhenTheAlertCouldHaveBroken(t *testing.T) {
	properties := func(change func(*monitoring.Config)) string {
		c := variants["check"]
		change(&c)
		var tpl template
		if err := json.Unmarshal(synth(t, c), &tpl); err != nil {
			t.Fatal(err)
		}
		for _, r := range tpl.Resources {
			if r.Type == "Custom::EndToEndCheck" {
				b, err := json.Marshal(r.Properties)
				if err != nil {
					t.Fatal(err)
				}
				return string(b)
			}
		}
		t.Fatal("no check in the template")
		return ""
	}
	before := properties(func(*monitoring.Config) {})
	for _, c := range []struct {
		claim  string
		change func(*monitoring.Config)
		again  bool
	}{
		{"nothing changed", func(*monitoring.Config) {}, false},
		{"another address", func(c *monitoring.Config) { c.Email = []string{"night@example.com"} }, false},
		{"another copy", func(c *monitoring.Config) { c.ExecutedTopic = "/lwt/other" }, true},
		{"another thing, with another CSR", func(c *monitoring.Config) { c.Things = []string{"lwtThing", "pump-staging"} }, true},
	} {
		if again := properties(c.change) != before; again != c.again {
			t.Errorf("%s: the check runs again: %t, want %t", c.claim, again, c.again)
		}
	}
}

// A certificate of the user's own is deployed as it is, and no command of the stack
// would overwrite its file; things that have none get theirs from AWS IoT.
func TestACertificateOfOnesOwnIsDeployed(t *testing.T) {
	c := config(func(c *monitoring.Config) {
		c.Email, c.Certs, c.Check = []string{"ops@example.com"}, t.TempDir(), true
		c.Things = []string{"lwtThing", "pump"}
	})
	file, _ := brokertest.NewPKI(t).Issue(t, "lwtThing")
	own, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	put := func(thing string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(c.Certs, thing+".pem.crt"), own, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("lwtThing")
	if _, err := c.Devices(true); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(c.Certs, "lwtThing.key")); !os.IsNotExist(err) {
		t.Errorf("a key was made beside a certificate of the user's own (%v)", err)
	}
	tpl := parse(t, synth(t, c))
	modes := map[any]int{}
	for _, r := range tpl.Resources {
		if r.Type != "AWS::IoT::Certificate" {
			continue
		}
		mode := r.Properties["CertificateMode"]
		modes[mode]++
		want := map[string]any{"Status": "ACTIVE", "CertificateMode": "SNI_ONLY", "CertificatePem": string(own)}
		if diff := cmp.Diff(want, r.Properties); mode != nil && diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if mode == nil && r.Properties["CertificateSigningRequest"] == nil {
			t.Errorf("the other thing has %v", r.Properties)
		}
	}
	if diff := cmp.Diff(map[any]int{"SNI_ONLY": 1, nil: 1}, modes); diff != "" {
		t.Errorf("certificates by mode (-want +got):\n%s", diff)
	}
	// That for several things overwrites nothing.
	if command, ok := tpl.Outputs["CertificateCommand"]; ok && !strings.HasPrefix(fmt.Sprint(command.Value), "go run ./cmd/lwt certificates") {
		t.Errorf("%v would overwrite the file", command.Value)
	}

	put("pump")
	_, err = c.Devices(true)
	if want := "lwtThing.pem.crt and " + c.Certs + "/pump.pem.crt are the same certificate: give each thing its own"; !strings.Contains(fmt.Sprint(err), want) {
		t.Errorf("err = %v, want %q in it", err, want)
	}
}

// TestPrintedCommandsSurviveTheShell runs the outputs' command lines in a shell
// whose go and aws only show what they are given.
func TestPrintedCommandsSurviveTheShell(t *testing.T) {
	certs := filepath.Join(t.TempDir(), "Ann's certs")
	c := config(func(c *monitoring.Config) {
		c.Email = []string{"ops@example.com"}
		c.Certs = certs
		c.WillTopic, c.ConnectedTopic = "plant $1/wills", "a;b"
		c.KeepAlive = 45 * time.Second
	})
	if _, err := c.Devices(true); err != nil {
		t.Fatal(err)
	}
	tpl := parse(t, synth(t, c))
	if key := keyLine(t, filepath.Join(certs, "lwtThing.key")); bytes.Contains(tpl.raw, key) {
		t.Error("the private key is in the template")
	}
	const certificateFile = "/lwtThing.pem.crt"

	shell(t, tpl.Outputs["CertificateCommand"].Value)
	written, err := os.ReadFile(certs + certificateFile)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Split(string(written), "\n"); got[1] != "describe-certificate" || !slices.Contains(got, "certificateDescription.certificatePem") {
		t.Errorf("aws was given %q", got)
	}

	want := []string{
		"run", "./cmd/simulator", "-e", "HOST",
		"-c", certs + certificateFile, "-k", certs + "/lwtThing.key", "-id", "lwtThing",
		"-t", "a;b", "-m", "publish", "-will-topic", "plant $1/wills", "-keep-alive", "45",
	}
	if diff := cmp.Diff(want, shell(t, tpl.Outputs["SimulatorCommand"].Value)); diff != "" {
		t.Errorf("go was given (-want +got):\n%s", diff)
	}
}

// keyLine is the first line of a private key's base64.
func keyLine(t *testing.T, file string) []byte {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Split(content, []byte("\n"))[1]
}

// shell returns the lines that an output's command prints.
func shell(t *testing.T, output any) []string {
	t.Helper()
	const stubs = `
		go() { for word; do echo "$word"; done; }
		aws() { if [ "$2" = describe-endpoint ]; then echo HOST; else go "$@"; fi; }
	`
	command := regexp.MustCompile(`<(\w+)>`).ReplaceAllString(texts(output)[0], "$1")
	out, err := exec.CommandContext(t.Context(), "sh", "-c", stubs+command).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}
