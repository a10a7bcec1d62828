package device

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"lastwill/internal/will"
)

// maxPacketBytes has room for the largest payload of AWS IoT Core with its topic
// and properties.
const maxPacketBytes = will.MaxPayloadBytes + 4096

// Protocol levels in CONNECT (MQTT 3.1.1 and 5.0, 3.1.2.2).
const (
	mqtt311 = 4
	mqtt5   = 5
)

// noTopicAliases is what CONNECT promises by its silence (MQTT 5.0, 3.1.2.11.5).
const noTopicAliases = 0

var errFrozen = errors.New("the device is frozen: it sends nothing any more")

// wire carries MQTT packets. Reading is one goroutine's, writing is everybody's.
type wire struct {
	net.Conn
	version byte

	mu     sync.Mutex
	sent   time.Time // the last packet
	frozen bool
}

// write sends a packet, unless the wire is frozen.
func (w *wire) write(p packets.Packet) error {
	p.ProtocolVersion = w.version
	var buf bytes.Buffer
	if err := encode(&p, &buf); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.frozen {
		return errFrozen
	}
	w.SetWriteDeadline(time.Now().Add(timeout))
	_, err := w.Write(buf.Bytes())
	w.sent = time.Now()
	return err
}

// freeze lets nothing be sent any more and returns the moment of the last packet.
func (w *wire) freeze() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.frozen = true
	return w.sent
}

// idle is how long nothing has been sent.
func (w *wire) idle() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Since(w.sent)
}

// read returns the next packet.
func (w *wire) read() (packets.Packet, error) {
	p := packets.Packet{ProtocolVersion: w.version}
	first, err := bytewise{w}.ReadByte()
	if err != nil {
		return p, err
	}
	if err := p.FixedHeader.Decode(first); err != nil {
		return p, err
	}
	if p.FixedHeader.Remaining, _, err = packets.DecodeLength(bytewise{w}); err != nil {
		return p, err
	}
	if p.FixedHeader.Remaining > maxPacketBytes {
		return p, fmt.Errorf("a packet of %d bytes: AWS IoT Core sends at most %d", p.FixedHeader.Remaining, maxPacketBytes)
	}
	body := make([]byte, p.FixedHeader.Remaining)
	if _, err := io.ReadFull(w, body); err != nil {
		return p, err
	}
	return p, decode(&p, body)
}

// bytewise reads single bytes. TLS and WebSocket have buffers already, and every
// device of a fleet would pay for another.
type bytewise struct{ io.Reader }

func (b bytewise) ReadByte() (byte, error) {
	var one [1]byte
	_, err := io.ReadFull(b.Reader, one[:])
	return one[0], err
}

func encode(p *packets.Packet, buf *bytes.Buffer) error {
	switch p.FixedHeader.Type {
	case packets.Connect:
		return p.ConnectEncode(buf)
	case packets.Publish:
		return p.PublishEncode(buf)
	case packets.Puback:
		return p.PubackEncode(buf)
	case packets.Subscribe:
		p.FixedHeader.Qos = 1 // its reserved bits (MQTT 3.1.1, 3.8.1)
		return p.SubscribeEncode(buf)
	case packets.Pingreq:
		return p.PingreqEncode(buf)
	case packets.Disconnect:
		return p.DisconnectEncode(buf)
	}
	return fmt.Errorf("a device does not send %s", packets.PacketNames[p.FixedHeader.Type])
}

func decode(p *packets.Packet, body []byte) error {
	switch p.FixedHeader.Type {
	case packets.Connack:
		if len(body) == 2 { // MQTT 5 adds properties: a broker that refuses the version answers in its own
			p.ProtocolVersion = mqtt311
		}
		return p.ConnackDecode(body)
	case packets.Publish:
		if err := p.PublishDecode(body); err != nil {
			return err
		}
		if code := p.PublishValidate(noTopicAliases); code != packets.CodeSuccess {
			return code
		}
		return nil
	case packets.Puback:
		return p.PubackDecode(body)
	case packets.Suback:
		return p.SubackDecode(body)
	case packets.Pingresp:
		return nil
	case packets.Disconnect:
		if p.ProtocolVersion != mqtt5 {
			break // clients' alone (MQTT 3.1.1, 3.14)
		}
		if len(body) == 1 { // the codec reads no reason code without properties
			p.ReasonCode = body[0]
		}
		return p.DisconnectDecode(body)
	}
	return fmt.Errorf("unexpected packet %s", packets.PacketNames[p.FixedHeader.Type])
}
