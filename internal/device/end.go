package device

import (
	"context"
	"fmt"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// ConnectInterval is how often AWS IoT Core takes a CONNECT with the same client
// ID (general reference, "AWS IoT Core endpoints and quotas", connect requests
// per second per client ID).
const ConnectInterval = time.Second

// Disconnect sends an MQTT DISCONNECT and closes the connection: the broker
// discards the will. It returns when the packet is written and nothing of the
// device is left running. If the connection had ended before, Disconnect
// returns why.
func (d *Device) Disconnect() error {
	if !d.end(nil) {
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
	if !d.end(nil) {
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
// for 1.5 times KeepAlive after it, and ends the connection, which closes Done.
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

// end records how the connection ended and reports whether this was the first
// to do so.
func (d *Device) end(err error) bool {
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
