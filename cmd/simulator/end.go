package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"lastwill/internal/cli"
	"lastwill/internal/device"
)

// patience is how long the broker may take to end a connection that it shall end.
const patience = 30 * time.Second

// An end is a way in which a device ends.
type end struct {
	// what it is, for -h and for the line before it.
	what string
	run  func(ctx context.Context, l *life) error
}

// Names of ends that other rules ask for.
const (
	endDisconnect = "disconnect"
	endDrop       = "drop"
	endReset      = "reset"
	endKill       = "kill"
)

// ends has the ways to end by the names that -end takes.
var ends = map[string]end{
	endDisconnect: {"disconnecting properly", disconnect},
	endDrop:       {"vanishing without DISCONNECT", func(_ context.Context, l *life) error { return l.vanish("dropped", l.d.Drop) }},
	endReset:      {"vanishing with a TCP reset", func(_ context.Context, l *life) error { return l.vanish("reset", l.d.Reset) }},
	"freeze":      {"falling silent", freeze},
	"takeover":    {"being replaced by a second connection", takeOver},
	endKill:       {"being ended by the broker", kill},
}

func endNames() string { return strings.Join(slices.Sorted(maps.Keys(ends)), ", ") }

func disconnect(_ context.Context, l *life) error {
	if err := l.d.Disconnect(); err != nil {
		return err
	}
	l.r.say(event{Event: "disconnected", ClientID: l.cfg.ClientID}, "sent DISCONNECT: the broker discards the will")
	return nil
}

var vanished = map[string]string{
	"dropped": "closed the socket without DISCONNECT",
	"reset":   "reset the TCP connection",
}

func (l *life) vanish(how string, f func() (time.Time, error)) error {
	at, err := f()
	if err != nil {
		return err
	}
	l.r.say(event{Time: at, Event: how, ClientID: l.cfg.ClientID, WillTopic: l.cfg.Will.Topic},
		"%s: the broker publishes the will on %s", vanished[how], l.cfg.Will.Topic)
	return nil
}

// freeze falls silent and stays until the broker has given up on the device: the
// end of the process would close the socket, which is another way to end.
func freeze(ctx context.Context, l *life) error {
	at, err := l.d.Freeze()
	if err != nil {
		return err
	}
	silence := l.d.KeepAlive() * 3 / 2
	l.r.say(event{Event: "frozen", ClientID: l.cfg.ClientID, WillTopic: l.cfg.Will.Topic},
		"fell silent, the socket stays open: the broker publishes the will on %s when nothing has come for %s (Ctrl-C: close the socket instead)", l.cfg.Will.Topic, silence)
	ctx, cancel := context.WithTimeout(ctx, silence+patience)
	defer cancel()
	select {
	case <-l.d.Done():
		l.r.say(event{Event: "ended", ClientID: l.cfg.ClientID, SilenceSeconds: time.Since(at).Seconds()},
			"the broker ended the connection after %s of silence", time.Since(at).Round(100*time.Millisecond))
		return nil
	case <-ctx.Done():
	}
	if err := l.vanish("dropped", l.d.Drop); err != nil {
		return err
	}
	if ctx.Err() == context.DeadlineExceeded {
		return fmt.Errorf("the broker did not end the connection within %s of silence", silence+patience)
	}
	return nil
}

// takeOver connects once more. The second connection lives: it says so, and then
// disconnects, so that there is one will.
func takeOver(ctx context.Context, l *life) error {
	second, err := l.d.Reconnect(ctx)
	if err != nil {
		return err
	}
	first := l.d
	l.d = second
	if err := l.ended(ctx, first); err != nil {
		return err
	}
	l.r.say(event{Event: "taken-over", ClientID: l.cfg.ClientID, WillTopic: l.cfg.Will.Topic},
		"a second connection took the client ID: the broker publishes the will of the first on %s", l.cfg.Will.Topic)
	l.r.connected(l.cfg, l.d)
	if err := l.announce(ctx); err != nil {
		return err
	}
	return disconnect(ctx, l)
}

// kill has the broker end the connection.
func kill(ctx context.Context, l *life) error {
	if err := l.account.deleteConnection(ctx, l.cfg.ClientID, l.o.preventWill); err != nil {
		return err
	}
	if err := l.ended(ctx, l.d); err != nil {
		return err
	}
	e, then := event{Event: "killed", ClientID: l.cfg.ClientID}, "discards the will"
	if !l.o.preventWill {
		e.WillTopic, then = l.cfg.Will.Topic, "publishes the will on "+l.cfg.Will.Topic
	}
	l.r.say(e, "the broker ended the connection, as DeleteConnection told it: it %s", then)
	return nil
}

// ended waits until the broker has ended a connection.
func (l *life) ended(ctx context.Context, d *device.Device) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-d.Done():
		return nil
	case <-ctx.Done():
	}
	if ctx.Err() == context.Canceled {
		return ctx.Err()
	}
	return cli.WithHint(fmt.Errorf("the broker did not end the connection within %s", patience),
		"is the connection on this account's endpoint? \"aws iot-data get-connection --client-id %s\" shows what the broker knows of it", l.cfg.ClientID)
}
