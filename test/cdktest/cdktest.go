// Package cdktest is what tests need that run the CDK in their own process.
// Such tests share one Node process and must not run in parallel.
package cdktest

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"
	"github.com/google/go-cmp/cmp"
)

// Main is for TestMain: it runs the tests and exits.
func Main(m *testing.M) {
	// Validation adds seconds; test/synth has it on.
	err := errors.Join(
		os.Setenv("CDK_VALIDATION", "false"),
		os.Setenv("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "20"),
	)
	if err != nil {
		panic(err)
	}
	// jsii took its environment when it was imported, closing it makes it look again.
	jsii.Close()
	code := m.Run()
	// os.Exit skips deferred calls, and a runtime left open leaves 2 MB behind.
	jsii.Close()
	os.Exit(code)
}

// Golden compares a template with the file that reviewers have read, which update
// writes anew.
func Golden(t *testing.T, got []byte, file string, update bool) {
	t.Helper()
	if update {
		check(t, os.WriteFile(file, got, 0o644)) //nolint:gosec // it is committed
	}
	want, err := os.ReadFile(file)
	check(t, err)
	var gotValue, wantValue any
	check(t, json.Unmarshal(got, &gotValue))
	check(t, json.Unmarshal(want, &wantValue))
	if diff := cmp.Diff(wantValue, gotValue); diff != "" {
		t.Errorf("template differs from %s; if that is meant, run this test with -update and review (-want +got):\n%s", file, diff)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Template returns what CloudFormation would get of the stack that add puts into an app.
func Template(t *testing.T, add func(awscdk.App) awscdk.Stack) []byte {
	t.Helper()
	out := t.TempDir()
	app := awscdk.NewApp(&awscdk.AppProps{Outdir: &out, AnalyticsReporting: jsii.Bool(false)})
	stack := add(app)
	app.Synth(nil)
	template, err := os.ReadFile(filepath.Join(out, *stack.TemplateFile()))
	check(t, err)
	return template
}
