package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"time"

	"lastwill/internal/cli"
	"lastwill/internal/outage"
)

const muteUsage = `lwt mute keeps mails about a device back for a while, in a stack with confirmed alerts
(-c grace=3m). What is still offline when the mute ends is told then.

Usage: lwt mute CLIENT-ID|PREFIX* -for TIME [FLAGS]
       lwt mute -list [FLAGS]

  -for TIME           how long, 1m to 720h, such as 2h
  -reason TEXT        why, for those who read the list
  -list               list the mutes
  -stack NAME         the stack; default: that of the environment
  -environment NAME   the environment; default: none, the stack Lastwill
  -json               print JSON

A mute of the same name takes the place of the former. Quote a prefix: 'pump-*'.

Exit codes: 0 done; 1 failed; 2 wrong usage.
`

const unmuteUsage = `lwt unmute ends a mute.

Usage: lwt unmute CLIENT-ID|PREFIX* [FLAGS]

  -stack NAME         the stack; default: that of the environment
  -environment NAME   the environment; default: none, the stack Lastwill
  -json               print JSON

Exit codes: 0 done; 1 there is no such mute, or it failed; 2 wrong usage.
`

// Bounds of a mute: whoever mutes for longer should destroy the stack, or take the device off.
const (
	minMute = time.Minute
	maxMute = 30 * 24 * time.Hour
)

// A mute is the commands' JSON.
type mute struct {
	Devices string    `json:"devices"`
	Until   time.Time `json:"until"`
	Reason  string    `json:"reason,omitempty"`
}

func runMute(ctx context.Context, args []string, s cli.Streams) error {
	flags := flag.NewFlagSet("lwt mute", flag.ContinueOnError)
	var stack stackFlags
	stack.add(flags)
	duration := flags.Duration("for", 0, "")
	reason := flags.String("reason", "", "")
	list := flags.Bool("list", false, "")
	asJSON := flags.Bool("json", false, "")
	rest, err := parseMixed(flags, args, s.Out, muteUsage)
	if err != nil {
		return err
	}
	if err := stack.validate(); err != nil {
		return err
	}
	if *list {
		if len(rest) > 0 || *duration != 0 || *reason != "" {
			return cli.Usagef("-list cannot be combined with a device, -for or -reason")
		}
		return listMutes(ctx, s, stack.name(), *asJSON)
	}
	devices, err := oneMuted(flags, rest)
	if err != nil {
		return err
	}
	if *duration < minMute || *duration > maxMute {
		return cli.WithHint(cli.Usagef("-for %s: give 1m to 720h", *duration), "lwt mute %s -for 2h", forShell(devices))
	}
	found, err := needConfirmed(ctx, stack.name())
	if err != nil {
		return err
	}
	m := outage.Mute{Devices: devices, Until: time.Now().Add(*duration).Truncate(time.Second).UTC(), Reason: *reason}
	if err := found.table.Mute(ctx, m); err != nil {
		return fmt.Errorf("mute %q: %w", devices, err)
	}
	if *asJSON {
		return printJSON(s.Out, mute(m))
	}
	fmt.Fprintf(s.Out, "%s is muted until %s\n", shownMuted(devices), inUTC(m.Until))
	return nil
}

func oneMuted(flags *flag.FlagSet, args []string) (string, error) {
	switch {
	case len(args) == 0:
		return "", cli.WithHint(cli.Usagef("no device given"), "%s CLIENT-ID, or a prefix in quotes: %s 'pump-*'", flags.Name(), flags.Name())
	case len(args) > 1:
		return "", cli.WithHint(cli.Usagef("unexpected argument %q", args[1]), "quote a prefix, or the shell makes file names of it: %s 'pump-*'", flags.Name())
	}
	if err := outage.CheckMuted(args[0]); err != nil {
		return "", cli.Usagef("%w", err)
	}
	return args[0], nil
}

// forShell is a word that a shell leaves alone.
func forShell(devices string) string {
	if outage.Plain(devices) {
		return devices
	}
	return "'PREFIX*'"
}

// shownMuted keeps control characters off the terminal.
func shownMuted(devices string) string {
	quoted := strconv.QuoteToASCII(devices)
	if quoted == `"`+devices+`"` {
		return devices
	}
	return quoted
}

func withReason(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + shownMuted(reason)
}

func listMutes(ctx context.Context, s cli.Streams, stack string, asJSON bool) error {
	found, err := needConfirmed(ctx, stack)
	if err != nil {
		return err
	}
	all, err := found.table.Mutes(ctx)
	if err != nil {
		return fmt.Errorf("read the mutes: %w", err)
	}
	mutes := []mute{}
	for _, m := range all {
		if m.Until.After(time.Now()) {
			mutes = append(mutes, mute(m))
		}
	}
	slices.SortFunc(mutes, func(a, b mute) int {
		return cmp.Or(a.Until.Compare(b.Until), cmp.Compare(a.Devices, b.Devices))
	})
	if asJSON {
		return printJSON(s.Out, mutes)
	}
	if len(mutes) == 0 {
		fmt.Fprintln(s.Out, "nothing is muted")
	}
	for _, m := range mutes {
		fmt.Fprintf(s.Out, "%s until %s%s\n", shownMuted(m.Devices), inUTC(m.Until), withReason(m.Reason))
	}
	return nil
}

func runUnmute(ctx context.Context, args []string, s cli.Streams) error {
	flags := flag.NewFlagSet("lwt unmute", flag.ContinueOnError)
	var stack stackFlags
	stack.add(flags)
	asJSON := flags.Bool("json", false, "")
	rest, err := parseMixed(flags, args, s.Out, unmuteUsage)
	if err != nil {
		return err
	}
	if err := stack.validate(); err != nil {
		return err
	}
	devices, err := oneMuted(flags, rest)
	if err != nil {
		return err
	}
	found, err := needConfirmed(ctx, stack.name())
	if err != nil {
		return err
	}
	there, err := found.table.Unmute(ctx, devices)
	if err != nil {
		return fmt.Errorf("unmute %q: %w", devices, err)
	}
	if !there {
		return cli.WithHint(fmt.Errorf("there is no mute of %q", devices), "lwt mute -list shows the mutes")
	}
	if *asJSON {
		return printJSON(s.Out, struct {
			Devices string `json:"devices"`
		}{devices})
	}
	fmt.Fprintf(s.Out, "%s is no longer muted; what is offline is told within 15 minutes\n", shownMuted(devices))
	return nil
}
