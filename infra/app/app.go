// Package app runs a CDK app and keeps jsii's quirks off users' screens.
package app

import (
	"context"
	"fmt"
	"os"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"

	"lastwill/internal/cli"
)

// Main synthesizes the app that build fills, and ends the process. The context is
// the CDK's, whose keys the CLI's -c and cdk.json set.
func Main(name string, build func(ctx context.Context, app awscdk.App, context map[string]any) error) {
	cli.Main(name, func(ctx context.Context, _ []string, _ cli.Streams) error { return synth(ctx, build) })
}

func synth(ctx context.Context, build func(context.Context, awscdk.App, map[string]any) error) (err error) {
	defer closeNode()
	defer func() {
		// jsii panics with what the CDK threw.
		if r := recover(); r != nil {
			err = fmt.Errorf("synthesis failed: %v", r)
		}
	}()
	app := awscdk.NewApp(&awscdk.AppProps{AnalyticsReporting: jsii.Bool(false)})
	settings, _ := app.Node().GetAllContext(nil).(map[string]any)
	if err := build(ctx, app, settings); err != nil {
		return err
	}
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
