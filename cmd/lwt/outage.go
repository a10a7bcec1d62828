package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"lastwill/internal/cli"
	"lastwill/internal/deployed"
	"lastwill/internal/outage"
	"lastwill/internal/outage/dynamo"
	"lastwill/internal/will"
)

// confirmed is what the commands about outages read: a stack with confirmed alerts.
type confirmed struct {
	aws   aws.Config
	table *dynamo.Table
	log   string
}

// findConfirmed returns nil if the stack is not there or has no confirmed alerts.
func findConfirmed(ctx context.Context, c aws.Config, stack string) (*confirmed, error) {
	found, err := deployed.Stack(ctx, c, stack)
	if err != nil {
		return nil, deployed.Hint(fmt.Errorf("read stack %s: %w", stack, err))
	}
	if found == nil {
		return nil, nil // that there is none is an answer
	}
	outputs := deployed.Outputs(*found)
	name := outputs[will.OutputOutageTable]
	if name == "" {
		return nil, nil // as above
	}
	return &confirmed{c, dynamo.New(c, name), outputs[will.OutputOutageLog]}, nil
}

// needConfirmed is for commands that mean nothing without confirmed alerts.
func needConfirmed(ctx context.Context, stack string) (*confirmed, error) {
	c, err := awsConfig(ctx)
	if err != nil {
		return nil, err
	}
	found, err := findConfirmed(ctx, c, stack)
	if err == nil && found == nil {
		err = cli.WithHint(fmt.Errorf("there is no stack %s with confirmed alerts in region %s", stack, c.Region),
			"deploy it with -c grace=3m, name another with -stack or -environment, or set AWS_REGION or AWS_PROFILE")
	}
	return found, err
}

// parseMixed parses flags before and after the other arguments, which it returns. After "--"
// there are no flags.
func parseMixed(flags *flag.FlagSet, args []string, out io.Writer, usage string) ([]string, error) {
	var rest []string
	for {
		if err := cli.Parse(flags, args, out, usage); err != nil {
			return nil, err
		}
		left := flags.Args()
		if used := len(args) - len(left); len(left) == 0 || used > 0 && args[used-1] == "--" {
			return append(rest, left...), nil
		}
		rest, args = append(rest, left[0]), left[1:]
	}
}

// oneDevice is the only argument of a command.
func oneDevice(flags *flag.FlagSet, args []string) (string, error) {
	switch {
	case len(args) == 0:
		return "", cli.WithHint(cli.Usagef("no device given"), "%s CLIENT-ID", flags.Name())
	case len(args) > 1:
		return "", cli.WithHint(cli.Usagef("unexpected argument %q", args[1]), "%s -h shows the flags", flags.Name())
	}
	if err := outage.CheckDevice(args[0]); err != nil {
		return "", cli.Usagef("%w", err)
	}
	return args[0], nil
}

func inUTC(t time.Time) string { return t.UTC().Format("2 Jan 2006, 15:04:05 UTC") }

// optionalTime is left out of JSON if it is zero.
func optionalTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
