package monitoring_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"
	"github.com/google/go-cmp/cmp"

	"lastwill/infra/monitoring"
)

var update = flag.Bool("update", false, "write the golden templates instead of comparing with them")

// Nothing here runs in parallel: all tests of a process share one Node process.
func TestMain(m *testing.M) {
	flag.Parse()
	// Validation adds seconds; test/infra has it on. The runtime took its
	// environment when it was imported, closing it makes it look again.
	os.Setenv("CDK_VALIDATION", "false")
	os.Setenv("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "20")
	jsii.Close()
	code := m.Run()
	// os.Exit skips deferred calls, and an open runtime leaves 2 MB behind.
	jsii.Close()
	os.Exit(code)
}

// variants are the stacks that have a golden template each.
var variants = map[string]monitoring.Config{
	"default": config(func(c *monitoring.Config) {
		c.Email = []string{"ops@example.com"}
	}),
	"environment": config(func(c *monitoring.Config) {
		c.Environment = "staging"
		c.Email = []string{"ops@example.com", "night.shift+iot@example.org"}
		c.Things = []string{"lwtThing", "pump", "valve_7"}
		c.KeepAlive = 60e9
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
	out := t.TempDir()
	app := awscdk.NewApp(&awscdk.AppProps{Outdir: &out, AnalyticsReporting: jsii.Bool(false)})
	monitoring.NewStack(app, monitoring.StackProps{
		Config:    c,
		Devices:   devices,
		Simulator: filepath.Join("testdata", "simulator.txt"),
	})
	app.Synth(nil)
	template, err := os.ReadFile(filepath.Join(out, c.Names().Stack+".template.json"))
	if err != nil {
		t.Fatal(err)
	}
	return template
}

func TestTemplatesAreAsReviewed(t *testing.T) {
	for name, c := range variants {
		t.Run(name, func(t *testing.T) {
			got := synth(t, c)
			golden := filepath.Join("testdata", name+".template.json")
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			var gotValue, wantValue any
			if err := json.Unmarshal(got, &gotValue); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(want, &wantValue); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(wantValue, gotValue); diff != "" {
				t.Errorf("template differs from %s; if that is meant, run go test ./infra/monitoring -update and review (-want +got):\n%s", golden, diff)
			}
		})
	}
}
