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

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"lastwill/internal/check"
	"lastwill/internal/cli"
	"lastwill/internal/deployed"
	"lastwill/internal/leftovers"
	"lastwill/internal/will"
)

const ephemeralUsage = `lwt ephemeral creates an environment for a branch or a pull request, checks it and
destroys it, local or on AWS. It destroys always: also when the deployment or the
check failed, and at Ctrl-C; another Ctrl-C does not stop that. After it was killed,
run it again: it removes what the former run left.

Usage: lwt ephemeral -name NAME [-c KEY=VALUE]... [-json] [-e HOST[:PORT]] [-r FILE]

  -name NAME       the branch's name, or such as pr-123; what cannot be part of an
                   environment's name becomes a hyphen
  -c KEY=VALUE     a setting for the CDK app, as with cdk deploy; several are possible
  -json            print one JSON object: environment, passed, the check's report and
                   what is left; with error and hint if something failed
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
	switch key, _, ok := strings.Cut(v, "="); {
	case !ok || key == "":
		return errors.New("write KEY=VALUE, such as email=you@example.com")
	case key == "environment":
		return errors.New("-name names the environment")
	}
	*s = append(*s, v)
	return nil
}

// destroyTime is how long cdk destroy may take after an interruption.
const destroyTime = 15 * time.Minute

func runEphemeral(ctx context.Context, args []string, s cli.Streams) error {
	flags := flag.NewFlagSet("lwt ephemeral", flag.ContinueOnError)
	name := flags.String("name", "", "")
	var given settings
	flags.Var(&given, "c", "")
	var broker brokerFlags
	broker.add(flags)
	asJSON := flags.Bool("json", false, "")
	if err := cli.Parse(flags, args, s.Out, ephemeralUsage); err != nil {
		return err
	}
	if flags.NArg() > 0 || *name == "" {
		return cli.WithHint(cli.Usagef("give -name and no other arguments"), "lwt ephemeral -h shows the flags")
	}
	environment, err := will.NewEnvironment(*name)
	if err != nil {
		return cli.WithHint(cli.Usagef("%w", err), "name it yourself: -name pr-123")
	}
	config, err := awsConfig(ctx)
	if err != nil {
		return err
	}
	roots, err := broker.roots()
	if err != nil {
		return err
	}
	// Who may not even look at the stack would hear of it three times.
	if _, err := stackStatus(ctx, config, will.NewNames(environment).Stack); err != nil {
		return deployed.Hint(err)
	}
	e := &ephemeral{aws: config, environment: environment, context: []string{"--context", "environment=" + environment}, streams: s}
	if *asJSON {
		e.streams.Out = s.Err // standard output is the object's
	}
	for _, c := range given {
		e.context = append(e.context, "--context", c)
	}
	fmt.Fprintf(e.streams.Out, "lwt ephemeral: environment %s\n", environment)
	err = e.prove(ctx, check.Options{AWS: config, Endpoint: broker.endpoint, Roots: roots})
	if ctx.Err() != nil {
		fmt.Fprintf(e.streams.Out, "lwt ephemeral: interrupted, environment %s is destroyed now\n", environment)
	}
	left, problem := e.destroy(ctx)
	err = errors.Join(err, problem)
	if !*asJSON {
		return err
	}
	return cli.Told(errors.Join(err, printJSON(s.Out, ephemeralResult{
		Environment: environment, Passed: err == nil, Check: e.report, Left: append([]leftovers.Item{}, left...), Failure: cli.FailureOf(err),
	})))
}

// An ephemeralResult is what -json prints.
type ephemeralResult struct {
	Environment string           `json:"environment"`
	Passed      bool             `json:"passed"`
	Check       *check.Report    `json:"check,omitempty"` // if it came to one
	Left        []leftovers.Item `json:"left"`
	cli.Failure
}

// An ephemeral is an environment for one run.
type ephemeral struct {
	aws         aws.Config
	environment string
	context     []string // of the CDK app
	streams     cli.Streams
	report      *check.Report
}

// prove deploys and checks the environment.
func (e *ephemeral) prove(ctx context.Context, o check.Options) (err error) {
	if err := runCDK(ctx, e.streams.Err, append([]string{"deploy", "--require-approval", "never"}, e.context...)...); err != nil {
		return err
	}
	e.report, err = checkStack(ctx, o, will.NewNames(e.environment).Stack, e.streams)
	return err
}

// destroy goes on after an interruption, and tells what stands in the way or is left. A
// deployment that ended before there was a stack leaves nothing to destroy.
func (e *ephemeral) destroy(ctx context.Context) ([]leftovers.Item, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), destroyTime)
	defer cancel()
	stack := will.NewNames(e.environment).Stack
	err := makeWay(ctx, e.aws, stack, e.streams)
	if status, problem := stackStatus(ctx, e.aws, stack); problem != nil || status != "" {
		err = errors.Join(err, problem, runCDK(ctx, e.streams.Err, append([]string{"destroy", "--force"}, e.context...)...))
	}
	items, problem := leftovers.Find(ctx, leftovers.Options{AWS: e.aws, Environment: e.environment})
	if problem != nil {
		return nil, errors.Join(err, problem)
	}
	printLeftovers(e.streams, e.environment, items)
	for _, i := range items {
		if i.Kind != leftovers.PendingSubscription {
			return items, errors.Join(err, fmt.Errorf("something is left of environment %s: see above", e.environment))
		}
	}
	return items, err
}

// makeWay makes a stack one that can be deleted. A deployment goes on when the CDK
// CLI is interrupted, and meanwhile the stack cannot be; nor can a policy to which a
// killed check has left a certificate attached.
func makeWay(ctx context.Context, config aws.Config, stack string, s cli.Streams) error {
	status, err := stackStatus(ctx, config, stack)
	for told := false; err == nil && busy(status); status, err = stackStatus(ctx, config, stack) {
		if !told {
			fmt.Fprintf(s.Out, "lwt ephemeral: stack %s is %s: its destruction waits for the end of that\n", stack, status)
			told = true
		}
		timer := time.NewTimer(stackPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
	if err != nil || status == "" {
		return err
	}
	target, err := deployed.Target(ctx, config, stack)
	if err != nil {
		return nil //nolint:nilerr // a stack whose deployment failed has no outputs, nor was it checked
	}
	_, err = check.Sweep(ctx, config, target)
	return err
}

// stackPause is the time between two looks at a stack.
const stackPause = time.Second

// stackStatus is "" if there is no such stack.
func stackStatus(ctx context.Context, config aws.Config, stack string) (types.StackStatus, error) {
	found, err := deployed.Stack(ctx, config, stack)
	switch {
	case err != nil:
		return "", fmt.Errorf("read stack %s: %w", stack, err)
	case found == nil:
		return "", nil
	}
	return found.StackStatus, nil
}

// busy tells whether something is under way. A stack that waits for a change set to
// be executed waits for nobody.
func busy(status types.StackStatus) bool {
	return strings.HasSuffix(string(status), "_IN_PROGRESS") && status != types.StackStatusReviewInProgress
}

// runCDK runs the pinned CDK CLI, whose output goes to w. An interruption reaches it
// and all that it started once, and only if ctx ends: a terminal's would reach it at
// any time.
func runCDK(ctx context.Context, w io.Writer, args ...string) error {
	program := filepath.Join("node_modules", ".bin", "cdk")
	if _, err := os.Stat(program); err != nil {
		return cli.WithHint(errors.New("the CDK CLI is not installed here"), "run npm ci in the project's folder, and this command there too")
	}
	cmd := exec.CommandContext(ctx, program, append(args, "--no-notices", "--progress", "events")...)
	cmd.Stdout, cmd.Stderr = w, w
	ownGroup(cmd)
	cmd.WaitDelay = patience
	err := cmd.Run()
	switch {
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("cdk %s was interrupted: %w", args[0], context.Cause(ctx))
	case err != nil:
		return fmt.Errorf("cdk %s: %w", args[0], err)
	}
	return nil
}
