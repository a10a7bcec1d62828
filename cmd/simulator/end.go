package main

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"lastwill/internal/cli"
	"lastwill/internal/device"
)

// An end is what a device says of a way to end.
type end struct {
	// what it is, for -h and for the line before it.
	what string
	run  func(ctx context.Context, l *life) error
}

// ends has the ways to end by the names that -end takes.
var ends = map[device.End]end{
	device.Disconnect: {"disconnecting properly", disconnect},
	device.Drop:       {"vanishing without DISCONNECT", drop},
	device.Reset:      {"vanishing with a TCP reset", reset},
	device.Freeze:     {"falling silent", freeze},
	device.Takeover:   {"being replaced by a second connection", takeOver},
	device.Kill:       {"being ended by the broker", kill},
}

func endNames() string {
	var names []string
	for _, how := range slices.Sorted(maps.Keys(ends)) {
		names = append(names, string(how))
	}
	return strings.Join(names, ", ")
}

func disconnect(ctx context.Context, l *life) error {
	if _, err := l.d.End(ctx, device.Disconnect); err != nil {
		return err
	}
	l.r.say(event{Event: "disconnected", ClientID: l.cfg.ClientID}, "sent DISCONNECT: the broker discards the will")
	return nil
}

func drop(ctx context.Context, l *life) error {
	return l.vanish(ctx, device.Drop, "dropped", "closed the socket without DISCONNECT")
}

func reset(ctx context.Context, l *life) error {
	return l.vanish(ctx, device.Reset, "reset", "reset the TCP connection")
}

func (l *life) vanish(ctx context.Context, how device.End, name, what string) error {
	ended, err := l.d.End(ctx, how)
	if err != nil {
		return err
	}
	l.r.say(event{Time: ended.At, Event: name, ClientID: l.cfg.ClientID, WillTopic: l.cfg.Will.Topic},
		"%s: the broker publishes the will on %s", what, l.cfg.Will.Topic)
	return nil
}

// freeze falls silent and stays until the broker has given up on the device: the
// end of the process would close the socket, which is another way to end.
func freeze(ctx context.Context, l *life) error {
	frozen, err := l.d.End(ctx, device.Freeze)
	if err != nil {
		return err
	}
	l.r.say(event{Event: "frozen", ClientID: l.cfg.ClientID, WillTopic: l.cfg.Will.Topic},
		"fell silent, the socket stays open: the broker publishes the will on %s when nothing has come for %s (Ctrl-C: close the socket instead)", l.cfg.Will.Topic, l.d.Silence())
	err = l.d.AwaitEnd(ctx, frozen.Due)
	if err == nil {
		l.r.say(event{Event: "ended", ClientID: l.cfg.ClientID, SilenceSeconds: time.Since(frozen.At).Seconds()},
			"the broker ended the connection after %s of silence", time.Since(frozen.At).Round(100*time.Millisecond))
		return nil
	}
	if failed := drop(ctx, l); failed != nil || ctx.Err() != nil { // Ctrl-C, as was said
		return failed
	}
	return err
}

// takeOver connects once more. The second connection lives: it says so, and then
// disconnects, so that there is one will.
func takeOver(ctx context.Context, l *life) error {
	first := l.d
	taken, err := first.End(ctx, device.Takeover)
	if err != nil {
		return err
	}
	l.d = taken.Second
	if err := l.ended(ctx, first, taken); err != nil {
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
	killed, err := l.d.End(ctx, device.Kill)
	if err != nil {
		return err
	}
	if err := l.ended(ctx, l.d, killed); err != nil {
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
func (l *life) ended(ctx context.Context, d *device.Device, e device.Ending) error {
	err := d.AwaitEnd(ctx, e.Due)
	if err == nil || ctx.Err() != nil {
		return err
	}
	return cli.WithHint(err, "is the connection on this account's endpoint? \"aws iot-data get-connection --client-id %s\" shows what the broker knows of it", l.cfg.ClientID)
}
