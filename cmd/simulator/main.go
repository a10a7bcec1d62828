// Command simulator is a device that connects to AWS IoT Core, or to any MQTT
// broker, leaves a Will Message there, sleeps and ends in one of the ways in
// which devices end. Its command line is that of the basicPubSub sample in the
// reference scenario. As an AWS Lambda function it is the end-to-end check of a
// stack instead.
package main

import (
	"context"
	"errors"
	"time"

	"lastwill/internal/cli"
	"lastwill/internal/device"
	"lastwill/internal/will"
)

func main() {
	if inLambda() {
		serveChecks()
	}
	cli.Main("simulator", run)
}

func run(ctx context.Context, args []string, s cli.Streams) error {
	if len(args) > 0 && args[0] == "fleet" {
		return runFleet(ctx, args[1:], s)
	}
	o, err := parse(args, s.Out)
	if err != nil {
		return err
	}
	l := &life{o: o, r: &reporter{out: s.Out, json: o.json}}
	if l.cfg, err = o.config(ctx); err != nil {
		return err
	}
	l.cfg.Receive = l.r.message
	return l.run(ctx)
}

// A life is that of a device, from CONNECT to its end.
type life struct {
	o   options
	cfg device.Config
	r   *reporter
	d   *device.Device
	// away tells that the device has dropped and means to come back.
	away bool
}

func (l *life) run(ctx context.Context) (err error) {
	if l.d, err = device.Connect(ctx, l.cfg); err != nil {
		return err
	}
	l.r.connected(l.cfg, l.d)
	err = l.announce(ctx)
	if err == nil {
		err = l.flap(ctx)
	}
	if err == nil {
		l.r.sleeping(l.o)
		err = l.sleep(ctx, l.o.sleep)
	}
	switch {
	case ctx.Err() != nil: // SIGINT or SIGTERM
		return l.interrupted(ctx)
	case err != nil:
		if !l.away && l.d.Err() == nil { // the connection stands
			err = errors.Join(err, l.d.Disconnect())
		}
		return err
	}
	return ends[device.End(l.o.end)].run(ctx, l)
}

func (l *life) interrupted(ctx context.Context) error {
	if l.away {
		l.r.say(event{Event: "interrupted", ClientID: l.cfg.ClientID}, "interrupted while away: the broker has the will published")
		return nil
	}
	if l.o.onInterrupt != string(device.Disconnect) {
		return ends[device.End(l.o.onInterrupt)].run(ctx, l)
	}
	if err := l.d.Disconnect(); err != nil {
		return err
	}
	l.r.say(event{Event: "disconnected", ClientID: l.cfg.ClientID}, "interrupted: sent DISCONNECT, the broker discards the will")
	return nil
}

// announce subscribes and publishes, as the mode says, in the sample's order.
func (l *life) announce(ctx context.Context) error {
	if l.o.mode != modePublish {
		if err := l.d.Subscribe(ctx, l.o.topic); err != nil {
			return err
		}
		l.r.subscribed(l.o.topic)
	}
	if l.o.mode != modeSubscribe {
		if err := l.d.Announce(ctx); err != nil {
			return err
		}
		l.r.published(l.o.topic, will.ConnectedPayload(l.o.message))
	}
	return nil
}

// sleep returns after a time or when ctx ends, or with an error when the
// connection is lost.
func (l *life) sleep(ctx context.Context, duration time.Duration) error {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	case <-l.d.Done():
	}
	return l.d.Err()
}

// flap drops and comes back, as often as asked for, and spreads that over the
// time: half of each turn the device is there, half it is away.
func (l *life) flap(ctx context.Context) error {
	for range l.o.flap {
		turn := l.o.within / time.Duration(l.o.flap)
		if err := l.sleep(ctx, turn/2); err != nil {
			return err
		}
		if err := drop(ctx, l); err != nil {
			return err
		}
		l.away = true
		select {
		case <-time.After(turn - turn/2):
		case <-ctx.Done():
			return ctx.Err()
		}
		back, err := l.d.Reconnect(ctx)
		if err != nil {
			return err
		}
		l.d, l.away = back, false
		l.r.connected(l.cfg, l.d)
		if err := l.announce(ctx); err != nil {
			return err
		}
	}
	return nil
}
