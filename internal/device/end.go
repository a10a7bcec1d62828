package device

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// ConnectInterval is how often AWS IoT Core takes a CONNECT with the same client
// ID (general reference, "AWS IoT Core endpoints and quotas", connect requests
// per second per client ID).
const ConnectInterval = time.Second

// An End is a way in which a device's connection ends.
type End string

// Ways to end.
const (
	// Disconnect is the proper end: the broker discards the will.
	Disconnect End = "disconnect"
	// Drop closes the socket, as when the device's process dies.
	Drop End = "drop"
	// Reset resets the connection, as when the device restarts.
	Reset End = "reset"
	// Freeze falls silent, as when the device loses power or network. The broker
	// notices after Silence.
	Freeze End = "freeze"
	// Takeover connects a second time with the same client ID.
	Takeover End = "takeover"
	// Kill has the broker end the connection (iot-data, DeleteConnection).
	Kill End = "kill"
)

// Ends are all ways to end.
var Ends = []End{Disconnect, Drop, Reset, Freeze, Takeover, Kill}

// LeavesWill reports whether the broker publishes the will.
func (e End) LeavesWill() bool { return e != Disconnect }

// EndPatience is how long a broker may take to end a connection that it shall end.
const EndPatience = 30 * time.Second

// An Ending is an end that has begun.
type Ending struct {
	// At is when the device ended, or fell silent.
	At time.Time
	// Due is when the broker can know: after a freeze later than At.
	Due time.Time
	// Second is the connection of a takeover, which stands. It is nil after others.
	Second *Device
}

// End ends the connection in a way. After Disconnect, Drop and Reset nothing of the
// device is left running; after the others the broker ends the connection, for which
// AwaitEnd waits. Kill needs Config.Kill. If the connection had ended before, End
// returns why.
func (d *Device) End(ctx context.Context, how End) (Ending, error) {
	e := Ending{At: time.Now()}
	var err error
	switch how {
	case Disconnect:
		err = d.Disconnect()
	case Drop:
		e.At, err = d.Drop()
	case Reset:
		e.At, err = d.Reset()
	case Freeze:
		e.At, err = d.Freeze()
		e.Due = e.At.Add(d.Silence())
	case Takeover:
		e.Second, err = d.Reconnect(ctx)
		e.At = time.Now()
	case Kill:
		if d.cfg.Kill == nil {
			return e, errors.New("nothing can have the broker end the connection: it takes AWS credentials")
		}
		err = d.cfg.Kill(ctx, d.cfg.ClientID)
	default:
		return e, fmt.Errorf("unknown end %q: use one of %v", how, Ends)
	}
	if e.Due.IsZero() {
		e.Due = e.At
	}
	return e, err
}

// AwaitEnd waits until the broker has ended the connection, for EndPatience after
// the moment from which it can know.
func (d *Device) AwaitEnd(ctx context.Context, due time.Time) error {
	within := time.Until(due) + EndPatience
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-d.done:
		return nil
	case <-timer.C:
		return fmt.Errorf("the broker did not end the connection within %s", within.Round(time.Second))
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Silence is after how long without a packet the broker gives up on the device: 1.5
// times the keep alive (MQTT 3.1.1, 3.1.2.10).
func (d *Device) Silence() time.Duration { return d.KeepAlive() * 3 / 2 }

// Disconnect sends an MQTT DISCONNECT and closes the connection: the broker
// discards the will. It returns when the packet is written and nothing of the
// device is left running. If the connection had ended before, Disconnect
// returns why.
func (d *Device) Disconnect() error {
	if !d.finish(nil) {
		return d.alreadyEnded()
	}
	err := d.wire.write(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}})
	d.link.Close()
	d.stop()
	if err != nil {
		return fmt.Errorf("send DISCONNECT to %s: %w", d.Addr(), err)
	}
	return nil
}

// Drop closes the TCP socket, with neither an MQTT DISCONNECT nor a TLS
// close_notify before it, as when the device's process dies: the broker
// publishes the will at once. It returns the moment just before it closed the
// socket, when nothing of the device is left running. If the connection had
// ended before, Drop returns why.
func (d *Device) Drop() (time.Time, error) {
	return d.vanish(func(*socket) error { return nil })
}

// Reset is Drop with a TCP reset instead of a FIN, as when the device restarts
// or a middlebox forgets the connection.
func (d *Device) Reset() (time.Time, error) {
	return d.vanish(func(s *socket) error { return s.SetLinger(0) })
}

func (d *Device) vanish(prepare func(*socket) error) (time.Time, error) {
	if !d.finish(nil) {
		return time.Time{}, d.alreadyEnded()
	}
	err := prepare(d.link.socket)
	at := time.Now()
	d.link.socket.Close()
	d.stop()
	return at, err
}

// Freeze lets the device fall silent, as when its power or its network is lost:
// the socket stays open, nothing is sent or answered any more. It returns the
// moment of the last packet; the broker publishes the will when nothing has come
// for Silence after it, and ends the connection, which closes Done.
// A frozen device can be dropped or reset. If the connection had ended before,
// Freeze returns why.
func (d *Device) Freeze() (time.Time, error) {
	if d.hasEnded() {
		return time.Time{}, d.alreadyEnded()
	}
	at := d.wire.freeze()
	d.link.socket.frozen.Store(true)
	return at, nil
}

// Reconnect connects once more with the same configuration, as Connect does, but
// not before NextConnect. If the first connection still stands, this is a
// takeover: the broker ends it and publishes its will (MQTT 3.1.1, 3.1.4).
func (d *Device) Reconnect(ctx context.Context) (*Device, error) {
	timer := time.NewTimer(time.Until(d.NextConnect()))
	defer timer.Stop()
	select {
	case <-timer.C:
		return Connect(ctx, d.cfg)
	case <-ctx.Done():
		return nil, interrupted(ctx, d.Addr(), "waiting for its turn")
	}
}

// NextConnect is the first moment at which AWS IoT Core takes another CONNECT
// with the same client ID.
func (d *Device) NextConnect() time.Time { return d.accepted.Add(ConnectInterval) }

// finish records how the connection ended and reports whether this was the first
// to do so.
func (d *Device) finish(err error) bool {
	first := false
	d.ended.Do(func() {
		first = true
		d.err = err
		close(d.done)
	})
	return first
}

func (d *Device) hasEnded() bool {
	select {
	case <-d.done:
		return true
	default:
		return false
	}
}

func (d *Device) alreadyEnded() error {
	if d.err != nil {
		return d.err
	}
	return errLeft
}

// stop waits until nothing of the device runs. The socket is closed.
func (d *Device) stop() {
	<-d.stopped
	d.mu.Lock()
	defer d.mu.Unlock()
	d.beat.Stop()
}
