// Command pipeline is a CDK app of its own: a pipeline that deploys the
// environments of the environments file one after the other, checks each, and
// updates itself. Start it with the CDK CLI, as README.md says. It is apart from
// infra because the CDK's pipelines triple the build.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"

	"lastwill/infra/app"
)

func main() { app.Main("lastwill", build) }

func build(_ context.Context, scope awscdk.App, context map[string]any) error {
	settings, err := settingsFrom(context)
	if err != nil {
		return err
	}
	newStack(scope, settings)
	fmt.Fprintf(os.Stderr, "lastwill: the commands for these settings, the first ones once:\n  %s\n", strings.Join(settings.commands(), "\n  "))
	return nil
}
