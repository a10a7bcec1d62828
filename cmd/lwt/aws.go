package main

import (
	"context"
	"crypto/x509"
	"flag"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/smithy-go/logging"

	"lastwill/internal/cli"
	"lastwill/internal/device"
	"lastwill/internal/will"
)

// awsConfig is what the usual variables and files say: credentials, region, and
// another endpoint than AWS's.
func awsConfig(ctx context.Context) (aws.Config, error) {
	c, err := config.LoadDefaultConfig(ctx, config.WithLogger(logging.Nop{})) // errors are told; what it tried meanwhile helps nobody
	if err != nil {
		return c, cli.WithHint(err, "AWS_PROFILE must name a profile of the shared configuration")
	}
	if c.Region == "" {
		return c, cli.WithHint(cli.Usagef("no AWS region is set"), "set AWS_REGION or AWS_PROFILE; for the local endpoint: eval \"$(lwt local env)\"")
	}
	return c, nil
}

// brokerFlags say where the message broker is and whose word is taken for it.
type brokerFlags struct{ endpoint, rootCA string }

func (b *brokerFlags) add(flags *flag.FlagSet) {
	for _, name := range []string{"e", "endpoint"} {
		flags.StringVar(&b.endpoint, name, "", "")
	}
	for _, name := range []string{"r", "rootCA"} {
		flags.StringVar(&b.rootCA, name, os.Getenv("LWT_ROOT_CA"), "")
	}
}

// roots returns nil for the system's authorities.
func (b *brokerFlags) roots() (*x509.CertPool, error) {
	if b.rootCA == "" {
		return nil, nil //nolint:nilnil // the system's authorities are not an error
	}
	return device.LoadRoots(b.rootCA)
}

// find asks for the account's message broker, unless the user has named one.
func (b *brokerFlags) find(ctx context.Context, c aws.Config) (string, error) {
	if b.endpoint != "" {
		return b.endpoint, nil
	}
	found, err := iot.NewFromConfig(c).DescribeEndpoint(ctx, &iot.DescribeEndpointInput{EndpointType: aws.String("iot:Data-ATS")})
	if err != nil {
		return "", cli.WithHint(err, "credentials and region come from AWS_PROFILE, AWS_REGION and the like; \"aws sts get-caller-identity\" shows whether they work; for the local endpoint: eval \"$(lwt local env)\"")
	}
	return aws.ToString(found.EndpointAddress), nil
}

// stackFlags name a stack, directly or by its environment.
type stackFlags struct{ stack, environment string }

func (s *stackFlags) add(flags *flag.FlagSet) {
	flags.StringVar(&s.stack, "stack", "", "")
	flags.StringVar(&s.environment, "environment", "", "")
}

func (s *stackFlags) validate() error {
	if s.stack != "" && s.environment != "" {
		return cli.Usagef("-stack and -environment both name a stack: give one of them")
	}
	return checkEnvironment(s.environment)
}

// checkEnvironment keeps a command from finding nothing where nothing can be.
func checkEnvironment(name string) error {
	if err := will.CheckEnvironment(name); err != nil {
		return cli.Usagef("-environment: %w", err)
	}
	return nil
}

// name of the stack.
func (s *stackFlags) name() string {
	if s.stack != "" {
		return s.stack
	}
	return will.NewNames(s.environment).Stack
}
