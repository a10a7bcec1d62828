package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"slices"
	"time"

	"lastwill/internal/cli"
	"lastwill/internal/outage"
)

const offlineUsage = `lwt offline lists the devices that are or may be offline, of a stack with confirmed
alerts (-c grace=3m): since when, why, and whether people know.

Usage: lwt offline [FLAGS]

  -stack NAME         the stack; default: that of the environment
  -environment NAME   the environment; default: none, the stack Lastwill
  -json               print a JSON list

Exit codes: 0 done; 1 failed; 2 wrong usage.
`

// An offlineDevice is one line of the list, and its JSON.
type offlineDevice struct {
	Device string    `json:"device"`
	Since  time.Time `json:"since"`
	Reason string    `json:"reason,omitempty"`
	// State is that of internal/outage.
	State string `json:"state"`
	// Told: people know about the loss.
	Told bool `json:"told"`
	// Checked: GetConnection has said that the device is offline.
	Checked    bool       `json:"checked"`
	NextLook   time.Time  `json:"nextLook"`
	MutedUntil *time.Time `json:"mutedUntil,omitempty"`
}

func newOfflineDevice(i outage.Item, mutes []outage.Mute, now time.Time) offlineDevice {
	return offlineDevice{
		Device: i.Device, Since: i.Since, Reason: i.Reason, State: string(i.State), Told: i.State == outage.Told || i.State == outage.Closing,
		Checked: !i.Unchecked && i.Reason != "", NextLook: i.Due, MutedUntil: optionalTime(outage.MutedUntil(mutes, i.Device, now)),
	}
}

// words say what people know.
func (d offlineDevice) words() string {
	switch {
	case d.State == string(outage.Closing):
		return "back, about to be told"
	case d.Told:
		return "told"
	case d.MutedUntil != nil:
		return "not told: muted until " + inUTC(*d.MutedUntil)
	}
	return "not told yet: the next look is at " + d.NextLook.UTC().Format("15:04:05 UTC")
}

func runOffline(ctx context.Context, args []string, s cli.Streams) error {
	flags := flag.NewFlagSet("lwt offline", flag.ContinueOnError)
	var stack stackFlags
	stack.add(flags)
	asJSON := flags.Bool("json", false, "")
	if err := cli.Parse(flags, args, s.Out, offlineUsage); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return cli.WithHint(cli.Usagef("unexpected argument %q", flags.Arg(0)), "lwt offline -h shows the flags; lwt status CLIENT-ID is about one device")
	}
	if err := stack.validate(); err != nil {
		return err
	}
	found, err := needConfirmed(ctx, stack.name())
	if err != nil {
		return err
	}
	items, err := found.table.Items(ctx)
	if err != nil {
		return fmt.Errorf("read the outages: %w", err)
	}
	mutes, err := found.table.Mutes(ctx)
	if err != nil {
		return fmt.Errorf("read the mutes: %w", err)
	}
	list := []offlineDevice{}
	for _, i := range items {
		list = append(list, newOfflineDevice(i, mutes, time.Now()))
	}
	slices.SortFunc(list, func(a, b offlineDevice) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Device, b.Device))
	})
	if *asJSON {
		return printJSON(s.Out, list)
	}
	printOffline(s, list)
	return nil
}

func printOffline(s cli.Streams, list []offlineDevice) {
	if len(list) == 0 {
		fmt.Fprintln(s.Out, "no device is offline")
		return
	}
	for _, d := range list {
		fmt.Fprintf(s.Out, "%s\n  since %s, %s\n  %s\n", outage.Shown(d.Device), inUTC(d.Since), outage.Explain(d.Reason), d.words())
	}
	fmt.Fprintf(s.Out, "\n%d in all\n", len(list))
}
