package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iotdataplane"

	"lastwill/internal/deployed"
	"lastwill/internal/device"
	"lastwill/internal/will"
)

// A Mode is a way in which the device's connection ends.
type Mode string

// Ways to vanish.
const (
	// Drop closes the socket, as when the device's process dies.
	Drop Mode = "drop"
	// Reset resets the connection, as when the device restarts.
	Reset Mode = "reset"
	// Freeze falls silent, as when the device loses power or network. The broker
	// notices after 1.5 times the keep alive.
	Freeze Mode = "freeze"
	// Takeover connects a second time with the same client ID.
	Takeover Mode = "takeover"
	// Kill lets the broker end the connection (iot-data, DeleteConnection).
	Kill Mode = "kill"
	// Leave is a proper disconnect. A check ends with it in any case.
	Leave Mode = "disconnect"

	// successor is who takes over.
	successor Mode = "successor"
)

// Modes are all ways to vanish.
var Modes = []Mode{Drop, Reset, Freeze, Takeover, Kill}

// ParseMode reads a way to vanish.
func ParseMode(s string) (Mode, error) {
	var names []string
	for _, m := range Modes {
		if s == string(m) {
			return m, nil
		}
		names = append(names, string(m))
	}
	return "", fmt.Errorf("mode %q: give some of %s", s, strings.Join(names, ", "))
}

// UniqueModes is an error if a mode is there twice.
func UniqueModes(modes []Mode) error {
	for i, m := range modes {
		if slices.Contains(modes[:i], m) {
			return fmt.Errorf("mode %s is given twice: name each once", m)
		}
	}
	return nil
}

// A loss is a device that vanished.
type loss struct {
	mode  Mode
	token string
	// at is when it vanished, due when the broker can know.
	at, due time.Time
	// settle ends what is left of it, once the alert has come.
	settle func() error
}

// vanish ends the connection of a device in a way.
func (c *check) vanish(ctx context.Context, d *device.Device, mode Mode) (*loss, error) {
	lost := &loss{mode: mode, token: c.token(mode), settle: func() error { return nil }}
	var detail string
	var err error
	switch mode {
	case Drop:
		detail = "socket closed, no DISCONNECT"
		lost.at, err = d.Drop()
	case Reset:
		detail = "connection reset, no DISCONNECT"
		lost.at, err = d.Reset()
	case Freeze:
		notice := d.KeepAlive() * 3 / 2
		detail = "nothing is sent any more; the broker notices after " + notice.String()
		lost.at, err = d.Freeze()
		lost.due = lost.at.Add(notice)
		lost.settle = func() error { d.Drop(); return nil } //nolint:errcheck // the broker has closed it
		c.close = append(c.close, func() { _ = lost.settle() })
	case Takeover:
		detail = "a second connection with the same client ID"
		lost.at, err = c.takeOver(ctx, lost)
	case Kill:
		detail = "connection deleted with the API"
		lost.at = time.Now()
		_, err = deployed.DataPlane(c.AWS, c.report.Endpoint).DeleteConnection(ctx, &iotdataplane.DeleteConnectionInput{ClientId: &c.name})
		if err != nil {
			err = fmt.Errorf("delete the connection of %s: %w", c.name, err)
		}
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, interrupted(ctx)
	case errors.As(err, new(*Broken)):
		return nil, err
	case err != nil && mode == Kill:
		return nil, err // the API's, not the device's
	case err != nil:
		return nil, c.broken(ctx, Connect, mode, err)
	}
	if lost.due.IsZero() {
		lost.due = lost.at
	}
	c.step(mode, "vanish", detail, 0)
	return lost, nil
}

// takeOver connects a second time. The second connection must outlive the first,
// and its own will must never come.
func (c *check) takeOver(ctx context.Context, lost *loss) (time.Time, error) {
	if err := wait(ctx, time.Until(c.next)); err != nil {
		return time.Time{}, err
	}
	config := c.identified
	config.Will.Payload = will.Payload(c.token(successor))
	at := time.Now()
	second, err := device.Connect(ctx, config)
	c.next = time.Now().Add(device.ConnectInterval)
	if err != nil {
		return at, err
	}
	c.close = append(c.close, func() { _ = second.Disconnect() }) // unless it has ended
	lost.settle = func() error {
		if err := second.Disconnect(); err != nil {
			return c.broken(context.Background(), Connect, Takeover, fmt.Errorf("the connection that took over did not last: %w", err))
		}
		return nil
	}
	return at, nil
}
