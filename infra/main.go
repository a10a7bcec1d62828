// Command infra is the CDK app: it synthesizes the monitoring stack of the
// environment that the CDK context describes. Start it with the CDK CLI.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"

	"lastwill/infra/monitoring"
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
	return synth()
}

func synth() error {
	app := awscdk.NewApp(&awscdk.AppProps{AnalyticsReporting: jsii.Bool(false)})
	context, _ := app.Node().GetAllContext(nil).(map[string]any)
	config, err := monitoring.ConfigFrom(context)
	if err != nil {
		return err
	}
	devices, err := config.Devices(onWorkstation())
	if err != nil {
		return err
	}
	monitoring.NewStack(app, monitoring.StackProps{Config: config, Devices: devices})
	app.Synth(nil)
	return nil
}

// onWorkstation tells whether keys may be made: a key made by a build machine
// would be lost with it. CI is read as the CDK CLI reads it; AWS CodeBuild does
// not set it.
func onWorkstation() bool {
	ci := os.Getenv("CI")
	return (ci == "" || ci == "false" || ci == "0") && os.Getenv("CODEBUILD_BUILD_ID") == ""
}

// closeNode ends jsii's process. jsii waits for it twice and reports the second
// wait as a failure on standard error, where nothing else writes any more.
func closeNode() {
	if null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0); err == nil {
		os.Stderr = null
	}
	jsii.Close()
}
