package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"lastwill/internal/check"
	"lastwill/internal/cli"
	"lastwill/internal/deployed"
	"lastwill/internal/device"
	"lastwill/internal/will"
)

const checkUsage = `lwt check proves a deployed stack end to end, local or on AWS: a device of its own
connects and vanishes, and the Will Message, the rule's copy and the message to
the SNS topic are watched. Then it disconnects properly, and nothing may follow.

Usage: lwt check [FLAGS]

  -stack NAME         the stack; default: that of the environment
  -environment NAME   the environment; default: none, the stack Lastwill
  -modes LIST         ways to vanish, with commas between: drop, reset, freeze,
                      takeover, kill; default: drop
  -will-qos QOS       QoS of the device's Will Message, 0 or 1; default: 0
  -wait TIME          how long each link may take; default: 30s
  -json               print the report as one JSON object; one that failed has
                      error and hint
  -e HOST[:PORT]      the message broker; default: the account's
  -r FILE             CA file that vouches for it; default: $LWT_ROOT_CA, else the
                      system's CAs

Whoever is subscribed to the SNS topic gets one alert for each mode, in which
client_id begins with THING-check-.

The check makes a thing, a certificate whose key never leaves the process, a
queue and its subscription, and removes them in any case, also at Ctrl-C. Where
it may not make a queue, it judges the SNS topic by the rule's definition and the
log of failed actions, and says so. It takes at most half an hour. What a check left
that was killed more than 40 minutes ago, the next one removes first.

Exit codes: 0 passed; 1 failed, with the first link that broke, or could not be
carried out; 2 wrong usage.
`

func runCheck(ctx context.Context, args []string, s cli.Streams) error {
	flags := flag.NewFlagSet("lwt check", flag.ContinueOnError)
	var stack stackFlags
	var broker brokerFlags
	stack.add(flags)
	broker.add(flags)
	list := flags.String("modes", string(device.Drop), "")
	willQoS := flags.Uint("will-qos", will.QoS, "")
	patience := flags.Duration("wait", 30*time.Second, "")
	asJSON := flags.Bool("json", false, "")
	if err := cli.Parse(flags, args, s.Out, checkUsage); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return cli.WithHint(cli.Usagef("unexpected argument %q", flags.Arg(0)), "lwt check -h shows the flags")
	}
	if err := stack.validate(); err != nil {
		return err
	}
	modes, err := parseModes(*list)
	if err != nil {
		return err
	}
	if *willQoS > 1 {
		return cli.WithHint(cli.Usagef("-will-qos %d: give 0 or 1", *willQoS), "AWS IoT Core has no QoS 2")
	}
	if *patience < time.Second {
		return cli.Usagef("-wait %s: give at least 1s", *patience)
	}
	options := check.Options{Modes: modes, WillQoS: byte(*willQoS), Endpoint: broker.endpoint, Patience: *patience}
	if options.Roots, err = broker.roots(); err != nil {
		return err
	}
	if options.AWS, err = awsConfig(ctx); err != nil {
		return err
	}
	if *asJSON {
		var report *check.Report
		if options.Target, err = deployed.Target(ctx, options.AWS, stack.name()); err == nil {
			report, err = check.Run(ctx, options)
		}
		if report == nil {
			return err
		}
		err = verdict(report, err)
		return cli.Told(errors.Join(err, printJSON(s.Out, checkResult{report, cli.FailureOf(err)})))
	}
	_, err = checkStack(ctx, options, stack.name(), s)
	return err
}

// checkStack checks a stack and tells a person about it. Its error is the verdict.
func checkStack(ctx context.Context, o check.Options, stack string, s cli.Streams) (report *check.Report, err error) {
	if o.Target, err = deployed.Target(ctx, o.AWS, stack); err != nil {
		return nil, err
	}
	fmt.Fprintf(s.Out, "lwt check: stack %s in %s\n\n", stack, o.AWS.Region)
	o.Observe = func(step check.Step) { printStep(s, step) }
	if report, err = check.Run(ctx, o); report == nil {
		return nil, err
	}
	printVerdict(s, report)
	return report, verdict(report, err)
}

// A checkResult is what -json prints.
type checkResult struct {
	*check.Report
	cli.Failure
}

func parseModes(list string) ([]device.End, error) {
	var modes []device.End
	for _, name := range strings.Split(list, ",") {
		mode, err := check.ParseMode(strings.TrimSpace(name))
		if err != nil {
			return nil, cli.Usagef("-modes: %w", err)
		}
		modes = append(modes, mode)
	}
	if err := check.UniqueModes(modes); err != nil {
		return nil, cli.Usagef("-modes: %w", err)
	}
	return modes, nil
}

func printStep(s cli.Streams, step check.Step) {
	fmt.Fprintf(s.Out, "  %-10s  %-9s  %9s  %s\n", step.Mode, step.Name, shortly(step.Milliseconds), step.Detail)
}

// shortly shows a time to as many digits as tell something.
func shortly(ms float64) string {
	if ms == 0 {
		return ""
	}
	d := time.Duration(ms * float64(time.Millisecond))
	switch {
	case d < 10*time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	case d < 10*time.Second:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}

func printVerdict(s cli.Streams, r *check.Report) {
	fmt.Fprintln(s.Out)
	for _, w := range r.Warnings {
		fmt.Fprintf(s.Out, "warning: %s\n", w)
	}
	for _, l := range r.Left {
		fmt.Fprintf(s.Out, "left: %s (%s); remove it with: %s\n", l.What, l.Reason, l.Command)
	}
	if r.Passed {
		fmt.Fprintln(s.Out, "passed  Each alert came, and none after a proper disconnect.")
	}
}

// verdict is the command's error.
func verdict(r *check.Report, err error) error {
	if err != nil || r.Broken == nil {
		return err
	}
	err = fmt.Errorf("the check failed at %s, mode %s: %s", r.Broken.Link, r.Broken.Mode, r.Broken.Reason)
	if r.Broken.Hint == "" {
		return err
	}
	return cli.WithHint(err, "%s", r.Broken.Hint)
}
