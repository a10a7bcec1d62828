// Command infra is the CDK app: it synthesizes the monitoring stack of the
// environment that the CDK context describes. Start it with the CDK CLI.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"

	"github.com/aws/aws-cdk-go/awscdk/v2"

	"lastwill/constructs/simulator"
	"lastwill/infra/app"
	"lastwill/infra/monitoring"
	"lastwill/internal/keypair"
	"lastwill/internal/textfile"
)

func main() { app.Main("lastwill", build) }

func build(ctx context.Context, scope awscdk.App, settings map[string]any) error {
	config, err := monitoring.ConfigFrom(settings)
	if err != nil {
		return err
	}
	devices, err := config.Devices(onWorkstation())
	if err != nil {
		return err
	}
	for _, thing := range devices {
		if thing.Certificate != "" {
			fmt.Fprintf(os.Stderr, "lastwill: %s is deployed as the certificate of %s\n", keypair.CertificateFile(config.Certs, thing.Name), thing.Name)
		}
	}
	if config.Architecture == "" && deploysLocally() {
		config.Architecture = simulator.Local()
	}
	if config.Architecture == simulator.ARM {
		if err := buildForARM(ctx); err != nil {
			return err
		}
	}
	monitoring.NewStack(scope, monitoring.StackProps{Config: config, Devices: devices})
	return nil
}

// onWorkstation tells whether keys may be made: a key made by a build machine
// would be lost with it. CI is read as the CDK CLI reads it; AWS CodeBuild does
// not set it.
func onWorkstation() bool {
	ci := os.Getenv("CI")
	return (ci == "" || ci == "false" || ci == "0") && os.Getenv("CODEBUILD_BUILD_ID") == ""
}

// deploysLocally reports whether the CDK CLI will speak with an endpoint on this
// machine, where a function runs as a process.
func deploysLocally() bool {
	endpoint, err := url.Parse(os.Getenv("AWS_ENDPOINT_URL"))
	if err != nil {
		return false
	}
	ip := net.ParseIP(endpoint.Hostname())
	return endpoint.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// buildForARM builds the simulator by the line in cdk.json with which the CDK CLI
// has built it for the usual architecture.
func buildForARM(ctx context.Context) error {
	content, err := textfile.Read("cdk.json")
	if err != nil {
		return fmt.Errorf("build the simulator for %s: %w", simulator.ARM, err)
	}
	var app struct{ Build string }
	if err := json.Unmarshal(content, &app); err != nil {
		return fmt.Errorf("cdk.json: %w", err)
	}
	build := exec.CommandContext(ctx, "sh", "-c", app.Build)
	build.Env = append(os.Environ(), "SIMULATOR_ARCH="+simulator.ARM.GOARCH())
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the simulator for %s: %w\n%s", simulator.ARM, err, out)
	}
	return nil
}
