package device

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/mochi-mqtt/server/v2/packets"
)

// from is a wire that brings bytes, each alone.
func from(version byte, bytes string) *wire {
	return &wire{Conn: script{Reader: iotest.OneByteReader(strings.NewReader(bytes))}, version: version}
}

type script struct {
	net.Conn
	io.Reader
}

func (s script) Read(p []byte) (int, error) { return s.Reader.Read(p) }

func TestPacketsOfABroker(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		version byte
		bytes   string
		want    packets.Packet // in its parts that matter
		err     string
	}{
		{"an accepted connection", mqtt311, "\x20\x02\x00\x00", packets.Packet{}, ""},
		{"a refusal", mqtt311, "\x20\x02\x00\x05", packets.Packet{ReasonCode: 5}, ""},
		{"a return code that MQTT 3.1.1 reserves", mqtt311, "\x20\x02\x00\xff", packets.Packet{ReasonCode: 255}, ""},
		{"a refusal in MQTT 5", mqtt5, "\x20\x03\x00\x87\x00", packets.Packet{ReasonCode: 0x87}, ""},
		{"the refusal of MQTT 5 in MQTT 3.1.1", mqtt5, "\x20\x02\x00\x01", packets.Packet{ReasonCode: 1}, ""},
		{"a DISCONNECT of MQTT 5 with properties", mqtt5, "\xe0\x06\x8e\x04\x1f\x00\x01x", packets.Packet{ReasonCode: 0x8e}, ""},
		{"with a reason code alone", mqtt5, "\xe0\x01\x8e", packets.Packet{ReasonCode: 0x8e}, ""},
		{"with nothing", mqtt5, "\xe0\x00", packets.Packet{}, ""},
		{"MQTT 3.1.1 has none for a broker to send", mqtt311, "\xe0\x00", packets.Packet{}, "unexpected packet Disconnect"},
		{"a packet that clients send", mqtt311, "\xc0\x00", packets.Packet{}, "unexpected packet Pingreq"},
		{"a message without the packet identifier it needs", mqtt311, "\x32\x05\x00\x01t\x00\x00", packets.Packet{}, "protocol violation: missing packet id"},
		{"a topic alias, which was not offered", mqtt5, "\x30\x06\x00\x00\x03\x23\x00\x01", packets.Packet{}, "topic alias invalid"},
		{"half a packet", mqtt311, "\x20\x02\x00", packets.Packet{}, "unexpected EOF"},
		{"a close between packets", mqtt311, "", packets.Packet{}, "EOF"},
		{"more than AWS IoT Core sends", mqtt311, "\x30\xff\xff\x7f", packets.Packet{}, "a packet of 2097151 bytes: AWS IoT Core sends at most 135168"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := from(tt.version, tt.bytes).read()
			if err != nil && err.Error() != tt.err || err == nil && tt.err != "" {
				t.Fatalf("got %v, want %q", err, tt.err)
			}
			if got.ReasonCode != tt.want.ReasonCode {
				t.Errorf("reason code %#x, want %#x", got.ReasonCode, tt.want.ReasonCode)
			}
		})
	}
}

// FuzzWire checks that nothing a broker sends does worse than to be refused, and
// that messages come through whole.
func FuzzWire(f *testing.F) {
	for _, s := range []string{
		"\x20\x02\x00\x00", "\x20\x09\x00\x87\x06\x1f\x00\x03bad", "\x32\x05\x00\x01t\x00\x07", "\x90\x03\x00\x01\x80",
		"\x40\x02\x00\x01", "\xd0\x00", "\xe0\x01\x8e", "\x30\x0e\x00\x01t\x0a\x26\x00\x01k\x00\x01v\x01\x01x", "\x30\x80\x80\x80\x80\x01",
	} {
		f.Add(false, []byte(s))
		f.Add(true, []byte(s))
	}
	f.Fuzz(func(t *testing.T, five bool, data []byte) {
		version := Config{MQTT5: five}.version()
		p, err := from(version, string(data)).read()
		if err != nil || p.FixedHeader.Type != packets.Publish {
			return
		}
		m := Message{p.TopicName, p.Payload, p.FixedHeader.Qos, p.FixedHeader.Retain, propertiesOf(p.Properties)}
		var buf bytes.Buffer
		p.Mods.AllowResponseInfo = true
		p.Properties = m.Properties.wire()
		if err := encode(&p, &buf); err != nil {
			t.Fatal(err)
		}
		p, err = from(version, buf.String()).read()
		if err != nil {
			t.Fatalf("% x: %v", buf.Bytes(), err)
		}
		again := Message{p.TopicName, p.Payload, p.FixedHeader.Qos, p.FixedHeader.Retain, propertiesOf(p.Properties)}
		if strings.ContainsAny(m.Properties.ResponseTopic, "+#") {
			m.Properties.ResponseTopic = "" // not allowed; the codec leaves it out
		}
		if diff := cmp.Diff(m, again); diff != "" {
			t.Error(diff)
		}
	})
}
