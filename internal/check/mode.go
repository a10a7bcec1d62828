package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"lastwill/internal/device"
	"lastwill/internal/will"
)

// successor stands in the will of who takes over.
const successor device.End = "successor"

// Modes are the ways to vanish. A check ends with a proper disconnect in any case.
var Modes = slices.DeleteFunc(slices.Clone(device.Ends), func(e device.End) bool { return e == device.Disconnect })

// ParseMode reads a way to vanish.
func ParseMode(s string) (device.End, error) {
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
func UniqueModes(modes []device.End) error {
	for i, m := range modes {
		if slices.Contains(modes[:i], m) {
			return fmt.Errorf("mode %s is given twice: name each once", m)
		}
	}
	return nil
}

// A loss is a device that vanished.
type loss struct {
	mode  device.End
	token string
	// at is when it vanished, due when the broker can know.
	at, due time.Time
	// settle ends what is left of it, once the alert has come.
	settle func() error
}

var vanished = map[device.End]string{
	device.Drop:     "socket closed, no DISCONNECT",
	device.Reset:    "connection reset, no DISCONNECT",
	device.Takeover: "a second connection with the same client ID",
	device.Kill:     "connection deleted with the API",
}

// vanish ends the connection of a device in a way.
func (c *check) vanish(ctx context.Context, d *device.Device, mode device.End) (*loss, error) {
	lost := &loss{mode: mode, token: c.token(mode), settle: func() error { return nil }}
	detail := vanished[mode]
	var ended device.Ending
	var err error
	switch mode {
	case device.Takeover:
		ended.At, err = c.takeOver(ctx, lost)
		ended.Due = ended.At
	case device.Freeze:
		ended, err = d.End(ctx, mode)
		detail = "nothing is sent any more; the broker notices after " + d.Silence().String()
		lost.settle = func() error { d.Drop(); return nil } //nolint:errcheck // the broker has closed it
		c.close = append(c.close, func() { _ = lost.settle() })
	default:
		ended, err = d.End(ctx, mode)
	}
	lost.at, lost.due = ended.At, ended.Due
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, interrupted(ctx)
	case errors.As(err, new(*Broken)):
		return nil, err
	case err != nil && mode == device.Kill:
		return nil, err // the API's, not the device's
	case err != nil:
		return nil, c.broken(ctx, Connect, mode, err)
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
			return c.broken(context.Background(), Connect, device.Takeover, fmt.Errorf("the connection that took over did not last: %w", err))
		}
		return nil
	}
	return at, nil
}
