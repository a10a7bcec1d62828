package iot

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// Packets that made the library panic, and their like: each ends its own connection,
// with its will, and no other.
func TestMalformedPackets(t *testing.T) {
	t.Parallel()
	r := run(t)
	cert := r.anybody()
	witness := r.dial(cert, mqtt5, overTLS)
	witness.connect(hello{clientID: "witness"})
	for _, c := range []struct {
		claim  string
		packet []byte
	}{
		{"SUBSCRIBE without options", []byte{0x82, 6, 0, 1, 0, 0, 1, 'a'}},
		{"SUBSCRIBE without options for the second filter", []byte{0x82, 10, 0, 1, 0, 0, 1, 'a', 1, 0, 1, 'b'}},
		{"SUBSCRIBE that ends in a filter", []byte{0x82, 6, 0, 1, 0, 0, 9, 'a'}},
		{"SUBSCRIBE of nothing", []byte{0x82, 0}},
		{"SUBSCRIBE with identifier 0", []byte{0x82, 7, 0, 0, 0, 0, 1, 'a', 1}},
		{"UNSUBSCRIBE of nothing", []byte{0xA2, 2, 0, 1}},
		{"PUBLISH of nothing", []byte{0x30, 0}},
		{"PUBLISH at QoS 1 without an identifier", []byte{0x32, 3, 0, 1, 'a'}},
		{"PUBLISH at QoS 3", []byte{0x36, 6, 0, 1, 'a', 0, 1, 0}},
		{"PUBLISH at QoS 0 with DUP", []byte{0x38, 4, 0, 1, 'a', 0}},
		{"PUBLISH with a NUL in its topic", []byte{0x30, 4, 0, 1, 0, 0}},
		{"PUBLISH with a topic that is not UTF-8", []byte{0x30, 4, 0, 1, 0xFF, 0}},
		{"PUBACK of a byte", []byte{0x40, 1, 0}},
		{"PINGREQ with a body", []byte{0xC0, 1, 0}},
		{"a length of five bytes", []byte{0xC0, 0x80, 0x80, 0x80, 0x80, 0}},
		{"a packet type that does not exist", []byte{0x00, 0}},
		{"a packet that is too large", []byte{0x30, 0xFF, 0xFF, 0xFF, 0x7F}},
	} {
		for _, version := range both {
			for _, transport := range transports {
				clientID := fmt.Sprintf("%s, %s, %s", c.claim, versionName(version), transport)
				p := r.dial(cert, version, transport)
				p.connect(hello{clientID: clientID, willTopic: "w"})
				p.write(c.packet)
				got := p.ended()
				if version == mqtt5 && (len(got) < 3 || got[0] != 0xE0 || got[2] < 0x80) || version == mqtt311 && len(got) > 0 {
					t.Errorf("%s: the broker answered % x", clientID, got)
				}
				if reason, wills := r.gone(clientID); reason != "CLIENT_ERROR" || wills != 1 {
					t.Errorf("%s: it ended with %s and %d wills", clientID, reason, wills)
				}
			}
		}
	}
	witness.nothing()
	if log := r.logged(); strings.Contains(log, "the broker failed") {
		t.Errorf("a guard had to catch a panic:\n%s", log)
	}
}

// Whatever panics at a connection ends it alone: here it is who watches the broker.
func TestAPanicEndsItsConnection(t *testing.T) {
	t.Parallel()
	for _, kind := range []EventKind{Connected, Pinged, Published, Disconnected} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			r := run(t, func(o *Options) {
				observe := o.Observe
				o.Observe = func(e Event) {
					observe(e)
					if e.ClientID == "bad" && e.Kind == kind {
						panic("a fault")
					}
				}
			})
			cert := r.anybody()
			witness := r.dial(cert, mqtt311, overTLS)
			witness.connect(hello{clientID: "witness"})
			p := r.dial(cert, mqtt5, overTLS)
			p.connect(hello{clientID: "bad"})
			_, _ = p.Write(append(p.publishPacket("a", "x", 0, 0), 0xC0, 0, 0xE0, 0)) // the connection may have ended
			p.ended()
			r.await("the end", func(e Event) bool { return e.Kind == Disconnected && e.ClientID == "bad" })
			witness.nothing()
			again := r.dial(cert, mqtt311, overTLS) // the client ID is free: nothing is left of the connection
			again.write(again.connectPacket(hello{clientID: "bad"}))
			if got := again.expect(0x20); got[1] != 0 {
				t.Errorf("CONNACK % x", got)
			}
			if !strings.Contains(r.logged(), "please report this") {
				t.Errorf("the log does not tell:\n%s", r.logged())
			}
		})
	}
}

// FuzzPackets sends packets to the real listener after a real CONNECT, in both versions
// and over each transport: whatever they are, the connection ends or goes on, and the
// broker serves others as before. first makes the CONNECT a part of what is fuzzed.
func FuzzPackets(f *testing.F) {
	for transport := range transports {
		for _, version := range both {
			p := peer{version: version}
			for _, seed := range [][]byte{
				{},
				{0x82, 6, 0, 1, 0, 0, 1, 'a'},
				p.publishPacket("a", "x", 0, 0),
				p.publishPacket("a", "x", 1, 1),
				p.publishPacket("a", "x", 1, 8, []byte{0x23, 0, 1, 2, 0, 0, 0, 9, 3, 0, 1, 'c', 8, 0, 1, 'r', 9, 0, 1, 'd', 1, 1, 0x26, 0, 1, 'k', 0, 1, 'v'}),
				p.subscribePacket(nil, filter{"a/+", 1}, filter{"$share/g/#", 0}),
				p.subscribePacket([][]byte{{0x0B, 0x80, 1}}, filter{"a", 0x2D}),
				packet(0xA2, uint16s(1), p.properties(), text("a/+"), text("b")),
				packet(0x40, uint16s(1)), packet(0x50, uint16s(1)), packet(0x62, uint16s(1)), packet(0x70, uint16s(1)),
				packet(0x40, uint16s(1), []byte{0x10, 0}),
				{0x20, 2, 0, 0},
				{0x90, 3, 0, 1, 0},
				{0xB0, 2, 0, 1},
				{0xC0, 0},
				{0xD0, 0},
				{0xE0, 0},
				{0xE0, 1, 4},
				packet(0xE0, []byte{0, 5, 0x11}, uint32s(9)),
				{0xF0, 0},
				{0xF0, 2, 0x18, 0},
			} {
				f.Add(byte(transport), version, false, seed)
			}
			for _, h := range []hello{
				{clientID: "c"},
				{clientID: "c", willTopic: "w", will: "gone", willFlags: 0b101000, persistent: true, keepAlive: 30},
				{clientID: "c", properties: [][]byte{{0x11}, uint32s(60), {0x21, 0, 1, 0x27, 0, 0, 1, 0, 0x22, 0, 8, 0x19, 1, 0x17, 0}, {0x26}, text("k"), text("v")}},
				{willTopic: "w", forWill: [][]byte{{0x18, 0, 0, 0, 9, 1, 1, 2, 0, 0, 0, 9}}},
			} {
				f.Add(byte(transport), version, true, p.connectPacket(h))
			}
		}
	}
	r := run(f, func(o *Options) { o.Observe = func(Event) {} })
	cert := r.anybody()
	witness := r.dial(cert, mqtt311, overTLS)
	witness.connect(hello{clientID: "witness"})
	check(f, witness.SetDeadline(time.Time{}))
	f.Fuzz(func(t *testing.T, transport, version byte, first bool, data []byte) {
		r.t, witness.t = t, t
		if version != mqtt5 {
			version = mqtt311
		}
		p, err := r.tryDial(cert, version, transports[int(transport)%len(transports)])
		check(t, err)
		defer p.Close()
		if !first {
			p.connect(hello{clientID: "fuzzed", willTopic: "w"})
		}
		// A DISCONNECT ends what the packets leave open, also a packet that is not whole.
		_, _ = p.Write(data) // the broker may have closed it
		_, _ = p.Write(bytes.Repeat([]byte{0xE0, 0}, 1<<8))
		if c, ok := p.Conn.(*tls.Conn); ok {
			_ = c.CloseWrite()
		} else {
			_ = p.Close()
		}
		if _, err := io.Copy(io.Discard, p.r); err != nil {
			if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
				t.Fatal("the connection neither goes on nor ends")
			}
		}
		witness.nothing()
		if log := r.logged(); strings.Contains(log, "the broker failed") {
			t.Fatalf("a guard had to catch a panic:\n%s", log)
		}
	})
}
