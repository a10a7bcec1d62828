package bench

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"lastwill/internal/will"
)

// An identity is how a client of this package reaches a broker. It is the same
// for the endpoint and for mosquitto, and travels to the fleet as JSON.
type identity struct {
	Addr              string
	CAFile            string
	CertFile, KeyFile string
}

func (i identity) tls() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(i.CertFile, i.KeyFile)
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(i.CAFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, ServerName: "localhost"}, nil
}

// A client is a bare MQTT 3.1.1 session over mutual TLS: so little code that
// what is measured is the broker.
type client struct {
	conn *tls.Conn
	r    *bufio.Reader
}

// connect returns a client whose CONNECT was accepted. A device has the will
// of the reference scenario.
func connect(addr string, config *tls.Config, clientID string, isDevice bool) (*client, error) {
	conn, err := tls.Dial("tcp", addr, config)
	if err != nil {
		return nil, err
	}
	c := &client{conn, bufio.NewReader(conn)}
	hello := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	hello.ProtocolName, hello.ProtocolVersion = "MQTT", 4
	hello.CleanSession = true
	hello.ClientIdentifier = clientID
	hello.Keepalive = uint16(will.MaxKeepAlive.Seconds()) // long enough that nobody needs to ping
	if isDevice {
		hello.WillFlag = true
		hello.WillTopic = names.WillTopic
		hello.WillMessage = will.Payload(clientID)
	}
	if err := c.send(hello); err != nil {
		return nil, err
	}
	answer, err := packets.ReadPacket(c.r)
	if err != nil {
		return nil, err
	}
	if ack, ok := answer.(*packets.ConnackPacket); !ok || ack.ReturnCode != packets.Accepted {
		return nil, fmt.Errorf("broker answers CONNECT with %v", answer)
	}
	return c, nil
}

// send writes a packet at once; packets write themselves in pieces, each of
// which would be a TLS record.
func (c *client) send(p interface{ Write(io.Writer) error }) error {
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		return err
	}
	_, err := c.conn.Write(b.Bytes())
	return err
}

func (c *client) subscribe(filter string) error {
	p := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	p.MessageID, p.Topics, p.Qoss = 1, []string{filter}, []byte{0}
	if err := c.send(p); err != nil {
		return err
	}
	answer, err := packets.ReadPacket(c.r)
	if err != nil {
		return err
	}
	if ack, ok := answer.(*packets.SubackPacket); !ok || ack.ReturnCodes[0] != 0 {
		return fmt.Errorf("broker answers SUBSCRIBE with %v", answer)
	}
	return nil
}

func (c *client) publish(topic, payload string) error {
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.TopicName, p.Payload = topic, []byte(payload)
	return c.send(p)
}

// next returns the payload of the next message.
func (c *client) next() (string, error) {
	p, err := packets.ReadPacket(c.r)
	if err != nil {
		return "", err
	}
	message, ok := p.(*packets.PublishPacket)
	if !ok {
		return "", fmt.Errorf("broker sends %v where a message was due", p)
	}
	return string(message.Payload), nil
}

// drop closes the socket as a lost device does: without a DISCONNECT and
// without TLS's close_notify. It returns the time just before.
func (c *client) drop() time.Time {
	now := time.Now()
	c.conn.NetConn().(*net.TCPConn).Close()
	return now
}
