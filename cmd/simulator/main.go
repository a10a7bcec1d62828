// Command simulator is a device that connects to AWS IoT Core, or to any MQTT
// broker with mutual TLS, leaves a Will Message there, sleeps and vanishes
// without a DISCONNECT. Its command line is that of the basicPubSub sample in
// the reference scenario.
package main

import (
	"context"
	"errors"
	"time"

	"lastwill/internal/cli"
	"lastwill/internal/device"
	"lastwill/internal/will"
)

func main() { cli.Main("simulator", run) }

func run(ctx context.Context, args []string, s cli.Streams) error {
	o, err := parse(args, s.Out)
	if err != nil {
		return err
	}
	cfg, err := o.config()
	if err != nil {
		return err
	}
	r := &reporter{out: s.Out, json: o.json}
	cfg.Receive = r.message
	return live(ctx, o, cfg, r)
}

// live is the life of the device, from CONNECT to its end.
func live(ctx context.Context, o options, cfg device.Config, r *reporter) error {
	d, err := device.Connect(ctx, cfg)
	if err != nil {
		return err
	}
	r.connected(cfg, d.Addr())
	err = announce(ctx, d, o, r)
	if err == nil {
		r.sleeping(o.sleep)
		err = sleep(ctx, d, o.sleep)
	}
	switch {
	case ctx.Err() != nil: // SIGINT or SIGTERM
		if err := d.Disconnect(); err != nil {
			return err
		}
		r.disconnected(cfg)
		return nil
	case err != nil:
		if d.Err() == nil { // the connection stands
			err = errors.Join(err, d.Disconnect())
		}
		return err
	}
	at, err := d.Drop()
	if err != nil {
		return err
	}
	r.dropped(at, cfg)
	return nil
}

// announce subscribes and publishes, as the mode says, in the sample's order.
func announce(ctx context.Context, d *device.Device, o options, r *reporter) error {
	if o.mode != modePublish {
		if err := d.Subscribe(ctx, o.topic); err != nil {
			return err
		}
		r.subscribed(o.topic)
	}
	if o.mode != modeSubscribe {
		if err := d.Announce(ctx); err != nil {
			return err
		}
		r.published(o.topic, will.ConnectedPayload(o.message))
	}
	return nil
}

// sleep returns after a time or when ctx ends, or with an error when the
// connection is lost.
func sleep(ctx context.Context, d *device.Device, duration time.Duration) error {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-d.Done():
	}
	return d.Err()
}
