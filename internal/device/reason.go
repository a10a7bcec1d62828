package device

import (
	"fmt"

	"github.com/mochi-mqtt/server/v2/packets"
)

// reasons are the reason codes of MQTT 5 that a broker answers a device with
// (MQTT 5.0, 2.4), in words.
var reasons = map[byte]string{
	0x00: "no reason given",
	0x04: "disconnected, with its will",
	0x80: "unspecified error",
	0x81: "it finds the packet malformed",
	0x82: "it finds an error of protocol",
	0x83: "the packet is valid, but not for this broker",
	0x84: "it does not take this version of MQTT",
	0x85: "it does not allow the client ID",
	0x86: "it refuses user name or password",
	0x87: "not authorized",
	0x88: "the broker is unavailable",
	0x89: "the broker is busy",
	0x8a: "the client is banned",
	0x8b: "the broker is shutting down",
	0x8c: "it does not take this way to authenticate",
	0x8d: "nothing came for 1.5 times the keep alive",
	0x8e: "another connection has taken the client ID",
	0x8f: "it does not take the topic filter",
	0x90: "it does not take the topic name",
	0x91: "the packet identifier is in use",
	0x92: "the packet identifier is not known",
	0x93: "too many messages without acknowledgement",
	0x94: "the topic alias is not valid",
	0x95: "the packet is too large",
	0x96: "messages come too fast",
	0x97: "a quota is used up",
	0x98: "ended by an administrator",
	0x99: "the payload is not of the format that is announced",
	0x9a: "it does not retain messages",
	0x9b: "it does not take this QoS",
	0x9c: "use another broker for now",
	0x9d: "use another broker from now on",
	0x9e: "it has no shared subscriptions",
	0x9f: "connections come too fast",
	0xa0: "the longest time of a connection is over",
	0xa1: "it has no subscription identifiers",
	0xa2: "it has no subscriptions with wildcards",
}

// reason tells the reason code of a packet in words, with the broker's own where
// it sent some.
func reason(p packets.Packet) string {
	words, ok := reasons[p.ReasonCode]
	if p.ProtocolVersion != mqtt5 {
		return fmt.Sprintf("return code 0x%02x", p.ReasonCode)
	}
	if !ok {
		words = "a reason that MQTT 5 does not know"
	}
	words += fmt.Sprintf(" (reason code 0x%02x)", p.ReasonCode)
	if p.Properties.ReasonString != "" {
		words += fmt.Sprintf(": %q", p.Properties.ReasonString)
	}
	return words
}
