package device

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// lastWord is how long a broker that ends a connection may take to say why.
const lastWord = time.Second

var (
	errLeft     = errors.New("the device has already left")
	errNoAnswer = errors.New("the broker does not answer any more")
)

// serve takes what the broker sends until the connection ends.
func (d *Device) serve() {
	defer close(d.stopped)
	for {
		p, err := d.wire.read()
		if err == nil {
			err = d.take(p)
		}
		if err != nil {
			d.finish(lost(d.Addr(), err))
			d.link.socket.Close()
			return
		}
	}
}

// take acts on a packet. Its error ends the connection.
func (d *Device) take(p packets.Packet) error {
	switch p.FixedHeader.Type {
	case packets.Publish:
		d.cfg.Receive(Message{p.TopicName, p.Payload, p.FixedHeader.Qos, p.FixedHeader.Retain, propertiesOf(p.Properties)})
		if p.FixedHeader.Qos == 1 {
			return d.acknowledge(p.PacketID)
		}
	case packets.Puback, packets.Suback:
		d.deliver(p)
	case packets.Pingresp:
		d.mu.Lock()
		defer d.mu.Unlock()
		d.pinged = false
	case packets.Disconnect:
		return &endedByBroker{p}
	default:
		return fmt.Errorf("unexpected packet %s", packets.PacketNames[p.FixedHeader.Type])
	}
	return nil
}

func (d *Device) acknowledge(id uint16) error {
	err := d.wire.write(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}, PacketID: id})
	if errors.Is(err, errFrozen) {
		return nil
	}
	return err
}

// exchange sends a packet with a new packet identifier and waits for its
// acknowledgement, which must be of a type.
func (d *Device) exchange(ctx context.Context, p packets.Packet, wanted byte) (packets.Packet, error) {
	id, ack := d.expect(wanted)
	defer d.forget(id, wanted)
	p.PacketID = id
	if err := d.send(p); err != nil {
		return p, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no acknowledgement within %s", timeout))
	defer cancel()
	select {
	case p = <-ack:
	case <-ctx.Done():
	case <-d.done:
	}
	switch {
	case p.FixedHeader.Type == wanted:
		return p, nil
	case len(ack) > 0: // it came when something else came too
		return <-ack, nil
	case d.hasEnded():
		return p, d.alreadyEnded()
	}
	return p, context.Cause(ctx)
}

// send sends a packet. When it cannot, it ends the connection and returns why it
// ended.
func (d *Device) send(p packets.Packet) error {
	if d.hasEnded() {
		return d.alreadyEnded()
	}
	err := d.wire.write(p)
	if err == nil || errors.Is(err, errFrozen) {
		return err
	}
	d.giveUp()
	<-d.done
	return d.alreadyEnded()
}

// giveUp ends the connection, but lets the broker have its last word, which says
// more than a failed write.
func (d *Device) giveUp() { d.link.SetReadDeadline(time.Now().Add(lastWord)) }

// awaited is an acknowledgement that somebody waits for.
type awaited struct {
	id         uint16
	packetType byte
}

// expect chooses a packet identifier and makes the place for its acknowledgement.
func (d *Device) expect(packetType byte) (uint16, <-chan packets.Packet) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lastID = d.lastID%math.MaxUint16 + 1 // 0 is none (MQTT 3.1.1, 2.3.1)
	ack := make(chan packets.Packet, 1)
	d.acks[awaited{d.lastID, packetType}] = ack
	return d.lastID, ack
}

func (d *Device) forget(id uint16, packetType byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.acks, awaited{id, packetType})
}

// deliver hands an acknowledgement to who waits for it.
func (d *Device) deliver(p packets.Packet) {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := awaited{p.PacketID, p.FixedHeader.Type}
	if ack, ok := d.acks[key]; ok {
		ack <- p
		delete(d.acks, key)
	}
}

// keepUp sends PINGREQ when nothing else has been sent for a keep alive, and
// ends the connection when the last one is not answered (MQTT 3.1.1, 3.1.2.10).
func (d *Device) keepUp() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.hasEnded() {
		return
	}
	if d.pinged {
		d.giveUp()
		return
	}
	if rest := d.keepAlive - d.wire.idle(); rest > 0 {
		d.beat.Reset(rest)
		return
	}
	switch err := d.wire.write(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}}); {
	case errors.Is(err, errFrozen):
	case err != nil:
		d.giveUp()
	default:
		d.pinged = true
		d.beat.Reset(min(d.keepAlive, timeout))
	}
}
