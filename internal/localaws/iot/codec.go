package iot

import (
	"bufio"
	"bytes"
	"fmt"
	"io"

	"github.com/mochi-mqtt/server/v2/packets"
)

// Versions of MQTT by their protocol level.
const (
	mqtt311 = 4
	mqtt5   = 5
)

// maxPacketBytes is the Maximum Packet Size of AWS's CONNACK, as clients report it:
// 128 KB of payload and room for topic and properties.
const maxPacketBytes = 146 << 10

// readPacket reads a packet of a client. What is not MQTT is an error that wraps a
// reason code of MQTT 5.
func readPacket(r *bufio.Reader, version byte) (packets.Packet, error) {
	p := packets.Packet{ProtocolVersion: version}
	first, err := r.ReadByte()
	if err != nil {
		return p, err
	}
	if err := p.FixedHeader.Decode(first); err != nil {
		return p, err
	}
	length, err := readLength(r)
	if err != nil {
		return p, err
	}
	if length > maxPacketBytes {
		return p, fmt.Errorf("%w: %s has %d bytes, at most %d are allowed", packets.ErrPacketTooLarge, nameOf(p), length, maxPacketBytes)
	}
	p.FixedHeader.Remaining = length
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return p, err
	}
	if err := decode(&p, body); err != nil {
		return p, fmt.Errorf("%s: %w", nameOf(p), err)
	}
	return p, nil
}

// readLength reads the remaining length, of four bytes at most (MQTT 5, 1.5.5).
func readLength(r io.ByteReader) (length int, err error) {
	for shift := 0; shift < 28; shift += 7 {
		b, err := r.ReadByte()
		if err != nil {
			return 0, err
		}
		length |= int(b&0x7F) << shift
		if b < 0x80 {
			return length, nil
		}
	}
	return 0, packets.ErrMalformedVariableByteInteger
}

func nameOf(p packets.Packet) string {
	names := [...]string{
		"reserved packet", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
		"SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
	}
	return names[p.FixedHeader.Type]
}

// decode fills a packet from its body. The decoder is the library's, and known to
// panic (mochi-mqtt issue 501): a panic means that the packet is malformed.
func decode(p *packets.Packet, body []byte) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", packets.ErrMalformedPacket, r)
		}
	}()
	if err := checkBody(p, body); err != nil {
		return err
	}
	switch p.FixedHeader.Type {
	case packets.Connect:
		return p.ConnectDecode(body)
	case packets.Publish:
		return p.PublishDecode(body)
	case packets.Puback:
		return p.PubackDecode(body)
	case packets.Subscribe:
		return p.SubscribeDecode(body)
	case packets.Unsubscribe:
		return p.UnsubscribeDecode(body)
	case packets.Pingreq:
		if len(body) > 0 {
			return packets.ErrMalformedPacket
		}
		return nil
	case packets.Disconnect:
		return decodeDisconnect(p, body)
	}
	return packets.ErrProtocolViolation
}

// decodeDisconnect also takes a reason code without properties, which the library
// takes for none (MQTT 5, 3.14.2.2.1).
func decodeDisconnect(p *packets.Packet, body []byte) error {
	switch {
	case p.ProtocolVersion != mqtt5 && len(body) > 0:
		return packets.ErrMalformedPacket
	case p.ProtocolVersion == mqtt5 && len(body) == 1:
		p.ReasonCode = body[0]
		return nil
	}
	return p.DisconnectDecode(body)
}

// encode writes a packet of the broker.
func encode(b *bytes.Buffer, p packets.Packet) error {
	p.Mods.AllowResponseInfo = true // response topic and correlation data are the publisher's
	switch p.FixedHeader.Type {
	case packets.Connack:
		return p.ConnackEncode(b)
	case packets.Publish:
		return p.PublishEncode(b)
	case packets.Puback:
		return p.PubackEncode(b)
	case packets.Suback:
		return p.SubackEncode(b)
	case packets.Unsuback:
		return p.UnsubackEncode(b)
	case packets.Pingresp:
		return p.PingrespEncode(b)
	case packets.Disconnect:
		return p.DisconnectEncode(b)
	}
	return fmt.Errorf("the broker sends no %s", nameOf(p))
}
