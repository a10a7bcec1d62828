package localaws_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"lastwill/internal/will"
)

// A wire is a client that sends what a test tells it, allowed or not.
type wire struct {
	t testing.TB
	*tls.Conn
}

// dial opens a connection on which nothing has been sent yet.
func (c *cloud) dial(t testing.TB, id identity) wire {
	t.Helper()
	conn, err := c.tryDial(id)
	check(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return wire{t, conn}
}

func (c *cloud) tryDial(id identity) (*tls.Conn, error) {
	conn, err := tls.Dial("tcp", c.IoT.Address(), &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: "localhost", RootCAs: id.roots, Certificates: []tls.Certificate{id.pair},
	})
	if err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(time.Now().Add(patience))
}

func (w wire) send(p packets.ControlPacket) {
	w.t.Helper()
	check(w.t, p.Write(w))
}

func (w wire) receive() packets.ControlPacket {
	w.t.Helper()
	p, err := packets.ReadPacket(w)
	check(w.t, err)
	return p
}

// connect sends a CONNECT and returns the return code of the CONNACK.
func (w wire) connect(p *packets.ConnectPacket) byte {
	w.t.Helper()
	w.send(p)
	return w.receive().(*packets.ConnackPacket).ReturnCode
}

// ended waits until the broker has closed the connection and returns what it
// sent before.
func (w wire) ended() []byte {
	w.t.Helper()
	rest, err := io.ReadAll(w)
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		w.t.Fatal("the broker did not end the connection")
	}
	return rest
}

// connectPacket is what the scenario's device sends.
func connectPacket(clientID string, changes ...func(*packets.ConnectPacket)) *packets.ConnectPacket {
	p := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	p.ProtocolName, p.ProtocolVersion = "MQTT", 4
	p.ClientIdentifier, p.CleanSession, p.Keepalive = clientID, true, 30
	p.WillFlag, p.WillTopic, p.WillMessage = true, will.NewNames("").WillTopic, will.Payload(clientID)
	for _, change := range changes {
		change(p)
	}
	return p
}

func publishPacket(topic string, payload []byte, qos byte) *packets.PublishPacket {
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.TopicName, p.Payload, p.Qos = topic, payload, qos
	if qos > 0 {
		p.MessageID = 1
	}
	return p
}

func subscribePacket(filters ...string) *packets.SubscribePacket {
	p := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	p.MessageID, p.Topics, p.Qoss = 1, filters, bytes.Repeat([]byte{1}, len(filters))
	return p
}

// read fills b.
func (w wire) read(b []byte) {
	w.t.Helper()
	_, err := io.ReadFull(w, b)
	check(w.t, err)
}

// write sends bytes.
func (w wire) write(b ...byte) {
	w.t.Helper()
	_, err := w.Write(b)
	check(w.t, err)
}

// connect5 connects with MQTT 5, a clean start and the scenario's will.
// properties belong to the will.
func (w wire) connect5(clientID string, keepAlive uint16, properties ...byte) (connack []byte) {
	w.t.Helper()
	text := func(s string) []byte { return append([]byte{byte(len(s) >> 8), byte(len(s))}, s...) }
	body := append(text("MQTT"), 5, 0b110, byte(keepAlive>>8), byte(keepAlive), 0)
	body = append(body, text(clientID)...)
	body = append(append(body, byte(len(properties))), properties...)
	body = append(append(body, text(names.WillTopic)...), text(string(will.Payload(clientID)))...)
	w.write(append([]byte{0x10, byte(len(body)&0x7F | 0x80), byte(len(body) >> 7)}, body...)...)
	head := make([]byte, 2)
	w.read(head)
	connack = make([]byte, head[1])
	w.read(connack)
	if head[0] != 0x20 || connack[1] != 0 {
		w.t.Fatalf("the broker answered % x % x", head, connack)
	}
	return connack
}

// subscribe5 subscribes to one filter with MQTT 5 and waits for the SUBACK.
func (w wire) subscribe5(filter string) {
	w.t.Helper()
	w.write(append(append([]byte{0x82, byte(6 + len(filter)), 0, 1, 0, 0, byte(len(filter))}, filter...), 0)...)
	w.read(make([]byte, 6))
}
