package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iotdataplane"
	"github.com/aws/aws-sdk-go-v2/service/iotdataplane/types"

	"lastwill/internal/cli"
	"lastwill/internal/deployed"
	"lastwill/internal/outage"
)

const statusUsage = `lwt status says whether a device is connected, since when, and why it was lost.

Usage: lwt status CLIENT-ID [FLAGS]

  -stack NAME         the stack; default: that of the environment
  -environment NAME   the environment; default: none, the stack Lastwill
  -json               print JSON

AWS IoT Core knows a connection for 30 minutes after its end. A stack with confirmed
alerts (-c grace=3m) remembers the outage for longer; then it is said whether
people know about it, and whether the device is muted.

Exit codes: 0 done; 1 failed; 2 wrong usage.
`

// A deviceStatus is the command's JSON.
type deviceStatus struct {
	Device string `json:"device"`
	// Connection is connected, disconnected or unknown.
	Connection string         `json:"connection"`
	Since      *time.Time     `json:"since,omitempty"`
	Reason     string         `json:"reason,omitempty"`
	Outage     *offlineDevice `json:"outage,omitempty"`
	Mute       *mute          `json:"mute,omitempty"`
}

func runStatus(ctx context.Context, args []string, s cli.Streams) error {
	flags := flag.NewFlagSet("lwt status", flag.ContinueOnError)
	var stack stackFlags
	stack.add(flags)
	asJSON := flags.Bool("json", false, "")
	rest, err := parseMixed(flags, args, s.Out, statusUsage)
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
	c, err := awsConfig(ctx)
	if err != nil {
		return err
	}
	status, err := statusOf(ctx, c, stack.name(), device)
	if err != nil {
		return err
	}
	if *asJSON {
		return printJSON(s.Out, status)
	}
	printStatus(s, status)
	return nil
}

func statusOf(ctx context.Context, c aws.Config, stack, device string) (deviceStatus, error) {
	status := deviceStatus{Device: device, Connection: "unknown"}
	endpoint, err := deployed.Endpoint(ctx, c)
	if err != nil {
		return status, err
	}
	got, err := deployed.DataPlane(c, endpoint).GetConnection(ctx, &iotdataplane.GetConnectionInput{ClientId: &device})
	var notFound *types.ResourceNotFoundException
	switch {
	case errors.As(err, &notFound):
	case err != nil:
		return status, cli.WithHint(fmt.Errorf("ask about %q: %w", device, err), "it needs the permission iot:GetConnection on client/%s", device)
	case got.Connected:
		status.Connection, status.Since = "connected", optionalTime(time.UnixMilli(got.ConnectedSince))
	default:
		status.Connection, status.Since, status.Reason = "disconnected", optionalTime(time.UnixMilli(got.DisconnectedSince)), aws.ToString(got.DisconnectReason)
	}
	found, err := findConfirmed(ctx, c, stack)
	if err != nil || found == nil {
		return status, err
	}
	item, open, err := found.table.Get(ctx, device)
	if err != nil {
		return status, fmt.Errorf("read the outage of %q: %w", device, err)
	}
	mutes, err := found.table.Mutes(ctx)
	if err != nil {
		return status, fmt.Errorf("read the mutes: %w", err)
	}
	if open {
		of := newOfflineDevice(item, mutes, time.Now())
		status.Outage = &of
	}
	for _, m := range mutes {
		if m.Matches(device) && m.Until.After(time.Now()) {
			status.Mute = &mute{m.Devices, m.Until.UTC(), m.Reason}
		}
	}
	return status, nil
}

func printStatus(s cli.Streams, d deviceStatus) {
	name := outage.Shown(d.Device)
	switch d.Connection {
	case "connected":
		fmt.Fprintf(s.Out, "%s is connected since %s\n", name, inUTC(*d.Since))
	case "disconnected":
		fmt.Fprintf(s.Out, "%s is not connected since %s\n", name, inUTC(*d.Since))
		fmt.Fprintf(s.Out, "Why     %s\n", outage.Explain(d.Reason))
	default:
		fmt.Fprintf(s.Out, "%s has not been connected within the last 30 minutes\n", name)
	}
	if d.Outage != nil {
		fmt.Fprintf(s.Out, "Outage  since %s; %s\n", inUTC(d.Outage.Since), d.Outage.words())
	}
	if d.Mute != nil {
		fmt.Fprintf(s.Out, "Muted   until %s%s\n", inUTC(d.Mute.Until), withReason(d.Mute.Reason))
	}
}
