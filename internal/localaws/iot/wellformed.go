package iot

import (
	"encoding/binary"
	"fmt"

	"github.com/mochi-mqtt/server/v2/packets"
)

// checkBody checks what the library's decoder takes on trust: that a SUBSCRIBE has
// options for each filter, where the decoder panics, and that each property is
// there once and has a value that MQTT 5 allows (2.2.2).
func checkBody(p *packets.Packet, body []byte) error {
	c := cursor{rest: body}
	v5 := p.ProtocolVersion == mqtt5
	switch p.FixedHeader.Type {
	case packets.Connect:
		c.text()
		p.ProtocolVersion = c.byte() // the answer to a malformed CONNECT depends on it
		v5 = p.ProtocolVersion == mqtt5
		willFlag := c.byte()&0b100 != 0
		c.uint16()
		if v5 {
			c.properties()
			c.text()
			if willFlag {
				c.properties()
			}
		}
	case packets.Publish:
		c.text()
		if p.FixedHeader.Qos > 0 {
			c.packetID()
		}
		if v5 {
			c.properties()
		}
	case packets.Puback:
		c.packetID()
		if v5 && len(c.rest) > 1 {
			c.byte()
			c.properties()
		}
	case packets.Subscribe, packets.Unsubscribe:
		c.packetID()
		if v5 {
			c.properties()
		}
		if len(c.rest) == 0 {
			c.fail(packets.ErrProtocolViolationNoFilters)
		}
		for len(c.rest) > 0 && c.err == nil {
			c.text()
			if p.FixedHeader.Type == packets.Subscribe {
				c.subscriptionOptions(v5)
			}
		}
	case packets.Disconnect:
		if v5 && len(body) > 1 {
			c.byte()
			c.properties()
		}
	}
	return c.err
}

// A cursor reads the parts of a packet. After an error it reads zeros.
type cursor struct {
	rest []byte
	err  error
}

func (c *cursor) fail(err error) {
	if c.err == nil {
		c.err = err
	}
	c.rest = nil
}

func (c *cursor) take(n int) []byte {
	if n > len(c.rest) {
		c.fail(fmt.Errorf("%w: it ends too early", packets.ErrMalformedPacket))
		return make([]byte, min(n, 4))
	}
	taken := c.rest[:n]
	c.rest = c.rest[n:]
	return taken
}

func (c *cursor) byte() byte     { return c.take(1)[0] }
func (c *cursor) uint16() uint16 { return binary.BigEndian.Uint16(c.take(2)) }
func (c *cursor) uint32() uint32 { return binary.BigEndian.Uint32(c.take(4)) }
func (c *cursor) text()          { c.take(int(c.uint16())) }

// ReadByte lets readLength read from the cursor.
func (c *cursor) ReadByte() (byte, error) {
	b := c.byte()
	return b, c.err
}

func (c *cursor) length() int {
	n, err := readLength(c)
	if err != nil {
		c.fail(err)
	}
	return n
}

func (c *cursor) packetID() {
	if c.uint16() == 0 {
		c.fail(packets.ErrProtocolViolationNoPacketID) // [MQTT-2.2.1-3]
	}
}

// subscriptionOptions: reserved bits must be 0, Retain Handling is no 3
// [MQTT-3.8.3-5], QoS no 3 [MQTT-3-8.3-4].
func (c *cursor) subscriptionOptions(v5 bool) {
	options := c.byte()
	reserved := byte(0b11111100)
	if v5 {
		reserved = 0b11000000
	}
	switch {
	case options&reserved != 0, v5 && options>>4 == 3:
		c.fail(packets.ErrProtocolViolationReservedBit)
	case options&0b11 == 3:
		c.fail(packets.ErrProtocolViolationQosOutOfRange)
	}
}

func (c *cursor) properties() {
	whole := cursor{rest: c.take(c.length())}
	seen := map[byte]bool{}
	for len(whole.rest) > 0 && whole.err == nil {
		id := whole.byte()
		if seen[id] && id != packets.PropUser && id != packets.PropSubscriptionIdentifier {
			whole.fail(fmt.Errorf("%w: property 0x%02X is there twice", packets.ErrProtocolViolation, id))
		}
		seen[id] = true
		whole.property(id)
	}
	if whole.err != nil {
		c.fail(whole.err)
	}
}

// property reads a value, and refuses those that are a protocol error.
func (c *cursor) property(id byte) {
	bad := false
	switch id {
	case packets.PropPayloadFormat, packets.PropRequestProblemInfo, packets.PropRequestResponseInfo:
		bad = c.byte() > 1
	case packets.PropReceiveMaximum:
		bad = c.uint16() == 0
	case packets.PropTopicAlias, packets.PropTopicAliasMaximum:
		c.uint16() // an alias of 0 has a reason code of its own
	case packets.PropMaximumPacketSize:
		bad = c.uint32() == 0
	case packets.PropMessageExpiryInterval, packets.PropSessionExpiryInterval, packets.PropWillDelayInterval:
		c.uint32()
	case packets.PropSubscriptionIdentifier:
		bad = c.length() == 0
	case packets.PropContentType, packets.PropResponseTopic, packets.PropCorrelationData,
		packets.PropAuthenticationMethod, packets.PropAuthenticationData, packets.PropReasonString:
		c.text()
	case packets.PropUser:
		c.text()
		c.text()
	default:
		c.fail(fmt.Errorf("%w: 0x%02X", packets.ErrMalformedBadProperty, id))
	}
	if bad {
		c.fail(fmt.Errorf("%w: property 0x%02X has a value that MQTT 5 forbids", packets.ErrProtocolViolation, id))
	}
}
