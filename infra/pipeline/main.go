// Command pipeline is a CDK app of its own: a pipeline that deploys the
// environments of the environments file one after the other, checks each, and
// updates itself. Start it with the CDK CLI, as README.md says. It is apart from
// infra because the CDK's pipelines triple the build.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"

	"lastwill/internal/cli"
)

func main() { cli.Main("lastwill", run) }

func run(context.Context, []string, cli.Streams) (err error) {
	defer closeNode()
	defer func() {
		// jsii panics with what the CDK threw.
		if r := recover(); r != nil {
			err = fmt.Errorf("synthesis failed: %v", r)
		}
	}()
	app := awscdk.NewApp(&awscdk.AppProps{AnalyticsReporting: jsii.Bool(false)})
	context, _ := app.Node().GetAllContext(nil).(map[string]any)
	settings, err := settingsFrom(context)
	if err != nil {
		return err
	}
	newStack(app, settings)
	app.Synth(nil)
	return nil
}

// closeNode ends jsii's process. jsii waits for it twice and reports the second
// wait as a failure on standard error, where nothing else writes any more.
func closeNode() {
	if null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0); err == nil {
		os.Stderr = null
	}
	jsii.Close()
}
