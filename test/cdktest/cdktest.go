// Package cdktest is what tests need that run the CDK in their own process.
// Such tests share one Node process and must not run in parallel.
package cdktest

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"
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

// Template returns what CloudFormation would get of the stack that add puts into an app.
func Template(t *testing.T, add func(awscdk.App) awscdk.Stack) []byte {
	t.Helper()
	out := t.TempDir()
	app := awscdk.NewApp(&awscdk.AppProps{Outdir: &out, AnalyticsReporting: jsii.Bool(false)})
	stack := add(app)
	app.Synth(nil)
	template, err := os.ReadFile(filepath.Join(out, *stack.TemplateFile()))
	if err != nil {
		t.Fatal(err)
	}
	return template
}
