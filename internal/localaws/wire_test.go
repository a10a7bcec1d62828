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
	conn, err := tls.Dial("tcp", c.IoT.Address(), &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: "localhost", RootCAs: id.roots, Certificates: []tls.Certificate{id.pair},
	})
	check(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	check(t, conn.SetDeadline(time.Now().Add(patience)))
	return wire{t, conn}
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
	p.WillFlag, p.WillTopic, p.WillMessage = true, will.NamesFor("").WillTopic, will.Payload(clientID)
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
