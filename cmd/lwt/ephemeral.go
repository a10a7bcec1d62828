package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"lastwill/internal/cli"
	"lastwill/internal/leftovers"
	"lastwill/internal/will"
)

const ephemeralUsage = `lwt ephemeral creates an environment for a branch or a pull request, checks it and
destroys it, local or on AWS. It destroys always: also when the deployment or the
check failed, and at Ctrl-C.

Usage: lwt ephemeral -name NAME [-c KEY=VALUE]... [-e HOST[:PORT]] [-r FILE]

  -name NAME       the branch's name, or such as pr-123; what cannot be part of an
                   environment's name becomes a hyphen
  -c KEY=VALUE     a setting for the CDK app, as with cdk deploy; several are possible
  -e HOST[:PORT]   the message broker; default: the account's
  -r FILE          CA file that vouches for it; default: $LWT_ROOT_CA, else the
                   system's CAs

Run it in the project's folder, after npm ci, in a bootstrapped account and region.

Exit codes: 0 the check passed and nothing is left but subscriptions that nobody
confirmed; 1 something else; 2 wrong usage.
`

// settings are the values of a flag that may be there several times.
type settings []string

func (s *settings) String() string { return strings.Join(*s, ",") }
func (s *settings) Set(v string) error {
	*s = append(*s, v)
	return nil
}

// destroyTime is how long cdk destroy may take after an interruption.
const destroyTime = 15 * time.Minute

func runEphemeral(ctx context.Context, args []string, s cli.Streams) (err error) {
	flags := flag.NewFlagSet("lwt ephemeral", flag.ContinueOnError)
	name := flags.String("name", "", "")
	var given settings
	flags.Var(&given, "c", "")
	var broker brokerFlags
	broker.add(flags)
	if err := cli.Parse(flags, args, s.Out, ephemeralUsage); err != nil {
		return err
	}
	if flags.NArg() > 0 || *name == "" {
		return cli.WithHint(cli.Usagef("give -name and no other arguments"), "lwt ephemeral -h shows the flags")
	}
	environment, err := will.EnvironmentFor(*name)
	if err != nil {
		return cli.WithHint(cli.Usagef("%w", err), "name it yourself: -name pr-123")
	}
	fmt.Fprintf(s.Out, "lwt ephemeral: environment %s\n", environment)
	cdkArgs := []string{"--context", "environment=" + environment}
	for _, c := range given {
		cdkArgs = append(cdkArgs, "--context", c)
	}
	defer func() {
		err = errors.Join(err, destroyEphemeral(ctx, environment, cdkArgs, s))
	}()
	if err := runCDK(ctx, s.Err, append([]string{"deploy", "--require-approval", "never"}, cdkArgs...)...); err != nil {
		return err
	}
	check := []string{"-environment", environment}
	if broker.endpoint != "" {
		check = append(check, "-e", broker.endpoint)
	}
	if broker.rootCA != "" {
		check = append(check, "-r", broker.rootCA)
	}
	if err := runCheck(ctx, check, s); err != nil {
		var code *cli.ExitError
		if errors.As(err, &code) && code.Err == nil { // it has said why
			err = errors.New("the check failed")
		}
		return err
	}
	return nil
}

// destroyEphemeral goes on after an interruption, and tells what stands in the way
// or is left.
func destroyEphemeral(ctx context.Context, environment string, cdkArgs []string, s cli.Streams) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), destroyTime)
	defer cancel()
	err := runCDK(ctx, s.Err, append([]string{"destroy", "--force"}, cdkArgs...)...)
	config, problem := awsConfig(ctx)
	if problem != nil {
		return errors.Join(err, problem)
	}
	items, problem := leftovers.Find(ctx, leftovers.Options{AWS: config, Environment: environment})
	if problem != nil {
		return errors.Join(err, problem)
	}
	printLeftovers(s, environment, items)
	for _, i := range items {
		if i.Kind != leftovers.PendingSubscription {
			return errors.Join(err, fmt.Errorf("something is left of environment %s: see above", environment))
		}
	}
	return err
}

// runCDK runs the pinned CDK CLI, whose output goes to w.
func runCDK(ctx context.Context, w io.Writer, args ...string) error {
	program := filepath.Join("node_modules", ".bin", "cdk")
	if _, err := os.Stat(program); err != nil {
		return cli.WithHint(errors.New("the CDK CLI is not installed here"), "run npm ci in the project's folder, and this command there too")
	}
	cmd := exec.CommandContext(ctx, program, append(args, "--no-notices", "--progress", "events")...)
	cmd.Stdout, cmd.Stderr = w, w
	// The CLI gets SIGINT of the terminal itself; after it, it may clean up.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = patience
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("cdk %s: %w", args[0], err)
	}
	return nil
}
