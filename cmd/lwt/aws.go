package main

import (
	"context"
	"crypto/x509"
	"flag"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"

	"lastwill/internal/cli"
	"lastwill/internal/deployed"
	"lastwill/internal/device"
	"lastwill/internal/will"
)

// awsConfig is what the usual variables and files say. A region is needed.
func awsConfig(ctx context.Context) (aws.Config, error) {
	c, err := deployed.Config(ctx)
	if err != nil {
		return c, err
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
		return nil, nil // the system's authorities are not an error
	}
	return device.LoadRoots(b.rootCA)
}

// find asks for the account's message broker, unless the user has named one.
func (b *brokerFlags) find(ctx context.Context, c aws.Config) (string, error) {
	if b.endpoint != "" {
		return b.endpoint, nil
	}
	return deployed.Endpoint(ctx, c)
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
