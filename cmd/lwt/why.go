package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"lastwill/internal/cli"
	"lastwill/internal/deployed"
	"lastwill/internal/outage"
)

const whyUsage = `lwt why says what confirmed alerts (-c grace=3m) decided about a device, and so why
there was a mail or none. It reads the function's log.

Usage: lwt why CLIENT-ID [FLAGS]

  -last TIME          how far to look back; default: 24h
  -stack NAME         the stack; default: that of the environment
  -environment NAME   the environment; default: none, the stack Lastwill
  -json               print a JSON list of the decisions

Exit codes: 0 done; 1 failed; 2 wrong usage.
`

// A decision is a line of the function's log, and of the command's JSON.
type decision struct {
	Time   time.Time `json:"time"`
	Device string    `json:"device"`
	Did    string    `json:"did"`
	Why    string    `json:"why"`
	State  string    `json:"state"`
	Since  time.Time `json:"since"`
	Reason string    `json:"reason,omitempty"`
}

func runWhy(ctx context.Context, args []string, s cli.Streams) error {
	flags := flag.NewFlagSet("lwt why", flag.ContinueOnError)
	var stack stackFlags
	stack.add(flags)
	last := flags.Duration("last", 24*time.Hour, "")
	asJSON := flags.Bool("json", false, "")
	rest, err := parseMixed(flags, args, s.Out, whyUsage)
	if err != nil {
		return err
	}
	device, err := oneDevice(flags, rest)
	if err != nil {
		return err
	}
	if err := stack.validate(); err != nil {
		return err
	}
	if *last <= 0 {
		return cli.WithHint(cli.Usagef("-last %s: give a time above zero", *last), "lwt why CLIENT-ID -last 24h")
	}
	found, err := needConfirmed(ctx, stack.name())
	if err != nil {
		return err
	}
	decisions, err := decisionsAbout(ctx, found, device, time.Now().Add(-*last))
	if err != nil {
		return err
	}
	if *asJSON {
		return printJSON(s.Out, decisions)
	}
	printWhy(s, device, *last, decisions)
	return nil
}

func decisionsAbout(ctx context.Context, found *confirmed, device string, since time.Time) ([]decision, error) {
	pattern := `"decision"`
	if outage.Plain(device) { // nothing that the pattern would read as its own
		pattern = `"` + device + `"`
	}
	pages := cloudwatchlogs.NewFilterLogEventsPaginator(cloudwatchlogs.NewFromConfig(found.aws), &cloudwatchlogs.FilterLogEventsInput{
		LogGroupName: &found.log, FilterPattern: &pattern, StartTime: aws.Int64(since.UnixMilli()),
	})
	lines, err := deployed.All(ctx, pages, func(p *cloudwatchlogs.FilterLogEventsOutput) []types.FilteredLogEvent { return p.Events })
	if err != nil {
		return nil, fmt.Errorf("read the log %s: %w", found.log, err)
	}
	decisions := []decision{}
	for _, line := range lines {
		if d, ok := parseDecision(aws.ToString(line.Message)); ok && d.Device == device {
			decisions = append(decisions, d)
		}
	}
	slices.SortStableFunc(decisions, func(a, b decision) int { return a.Time.Compare(b.Time) })
	return decisions, nil
}

// parseDecision reads a line of the log. Others than decisions, such as AWS Lambda's own, are none.
func parseDecision(line string) (d decision, ok bool) {
	err := json.Unmarshal([]byte(line), &d)
	return d, err == nil && d.Device != "" && d.Did != ""
}

func printWhy(s cli.Streams, device string, last time.Duration, decisions []decision) {
	if len(decisions) == 0 {
		fmt.Fprintf(s.Out, "No mail about %s: no will of it came within the last %s.\n", outage.Shown(device), last)
		fmt.Fprintf(s.Out, "It did not lose its connection, disconnected properly, or connects without a will on the stack's topic.\n")
		return
	}
	for _, d := range decisions {
		fmt.Fprintf(s.Out, "%s  %-11s  %s%s\n", d.Time.UTC().Format("2 Jan 15:04:05 UTC"), d.Did, d.Why, inBrackets(d.Reason))
	}
	fmt.Fprintf(s.Out, "\n%s\n", verdictAbout(device, decisions[len(decisions)-1]))
}

func inBrackets(reason string) string {
	if reason == "" {
		return ""
	}
	return " (" + strings.Trim(shownMuted(reason), `"`) + ")"
}

// verdictAbout answers the question in one sentence.
func verdictAbout(device string, last decision) string {
	name := outage.Shown(device)
	switch last.Did {
	case "told", "told-back", "told-shared":
		return "The last mail about " + name + " was sent at " + inUTC(last.Time) + "."
	case "drop":
		return "No mail about " + name + ": " + last.Why + "."
	case "muted":
		return "No mail about " + name + ": " + last.Why + "."
	case "received", "repeated":
		return "No mail about " + name + " yet: a will came, and the grace time is not over."
	}
	if last.State == string(outage.Told) {
		return "People know about " + name + ": " + last.Why + "."
	}
	return "No mail about " + name + " yet: " + last.Why + "."
}
