// Package device is an MQTT device: it connects over mutual TLS with a Will
// Message, says that it is there, and leaves in a known way: by a DISCONNECT,
// after which the broker discards the will, or by dropping its socket, after
// which the broker publishes it (MQTT 3.1.1, 3.1.2.5).
package device

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"lastwill/internal/will"
)

const (
	// timeout is how long the broker may take to accept a connection or to
	// acknowledge a packet.
	timeout = 30 * time.Second
	// refusedFilter is the return code of a SUBACK for a filter that the broker
	// did not accept (MQTT 3.1.1, 3.9.3).
	refusedFilter = 0x80
)

// Message is an MQTT message.
type Message struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool
}

// Config says who the device is and where it connects.
type Config struct {
	// Endpoint is the broker's host name or IP address, or host:port. Required.
	Endpoint string
	// Port of the broker. Default: the one in Endpoint, else 8883.
	Port int
	// Roots are the authorities that may vouch for the broker. Default: the
	// system's.
	Roots *x509.CertPool
	// Certificate and private key of the device. Required.
	Certificate tls.Certificate
	// ClientID of the connection; AWS IoT Core wants the thing's name. Required.
	ClientID string
	// Will is the Will Message. Default: the scenario's topic, payload and QoS,
	// not retained.
	Will Message
	// KeepAlive is the longest time in which the device sends nothing, in whole
	// seconds. The broker gives up on it after 1.5 times that. Default: 30 s.
	KeepAlive time.Duration
	// ConnectedTopic receives the connected message. Default: the scenario's.
	ConnectedTopic string
	// ConnectedMessage is the text that Announce publishes. Default: the scenario's.
	ConnectedMessage string
}

func (c Config) withDefaults() Config {
	names := will.NamesFor("")
	if c.Will.Topic == "" {
		c.Will = Message{Topic: names.WillTopic, Payload: will.Payload(c.ClientID), QoS: will.QoS}
	}
	if c.KeepAlive == 0 {
		c.KeepAlive = will.KeepAlive
	}
	if c.ConnectedTopic == "" {
		c.ConnectedTopic = names.ConnectedTopic
	}
	if c.ConnectedMessage == "" {
		c.ConnectedMessage = will.ConnectedMessage
	}
	return c
}

// Validate says what keeps Connect from using the configuration.
func (c Config) Validate() error {
	c = c.withDefaults()
	_, _, err := address(c.Endpoint, c.Port)
	switch {
	case err != nil:
		return err
	case c.ClientID == "":
		return errors.New("client ID is empty: give the thing's name")
	case c.KeepAlive < time.Second || c.KeepAlive%time.Second != 0 || c.KeepAlive > 65535*time.Second:
		return fmt.Errorf("keep alive of %s: give whole seconds from 1s to 65535s", c.KeepAlive)
	case c.Will.QoS > 2:
		return fmt.Errorf("will QoS %d: give 0 or 1 (AWS IoT Core refuses 2)", c.Will.QoS)
	}
	return nil
}

// Device is one connection of a device, from CONNECT to its end. Its methods
// may be called from several goroutines.
type Device struct {
	cfg    Config
	addr   string
	conn   *conn
	client mqtt.Client

	ended sync.Once
	done  chan struct{}
	err   error
}

// Connect connects the device and sets its will. It returns when the broker has
// accepted the connection, or after 30 seconds, or when ctx ends. A failed
// attempt is an *Error with a hint.
func Connect(ctx context.Context, cfg Config) (*Device, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	host, addr, _ := address(cfg.Endpoint, cfg.Port)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c, err := open(ctx, addr, &tls.Config{
		MinVersion:   tls.VersionTLS12,
		ServerName:   host,
		RootCAs:      cfg.Roots,
		Certificates: []tls.Certificate{cfg.Certificate},
	})
	if err != nil {
		return nil, err
	}
	d := &Device{cfg: cfg, addr: addr, conn: c, done: make(chan struct{})}
	d.client = mqtt.NewClient(d.options())
	if err := d.handshake(ctx); err != nil {
		return nil, err
	}
	return d, nil
}

func (d *Device) options() *mqtt.ClientOptions {
	w := d.cfg.Will
	return mqtt.NewClientOptions().
		AddBroker("mqtts://broker"). // paho wants one; the connection below is already open
		SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return d.conn, nil }).
		SetProtocolVersion(4). // 3.1.1; paho would otherwise try 3.1 after a refusal
		SetClientID(d.cfg.ClientID).
		SetCleanSession(true).
		SetKeepAlive(d.cfg.KeepAlive).
		SetBinaryWill(w.Topic, w.Payload, w.QoS, w.Retain).
		SetConnectTimeout(timeout).
		SetAutoReconnect(false).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { d.end(lost(d.addr, err)) })
}

// handshake sends CONNECT and waits for CONNACK.
func (d *Device) handshake(ctx context.Context) error {
	keep := context.AfterFunc(ctx, func() { d.conn.socket.Close() })
	token := d.client.Connect()
	token.Wait()
	err := token.Error()
	switch {
	case !keep():
		err = interrupted(ctx, d.addr, "waiting for the CONNACK")
	case d.conn.refusal() != 0:
		err = refused(d.addr, d.cfg, d.conn.refusal())
	case err != nil:
		err = connectFailed(d.addr, d.cfg, err)
	}
	if err != nil && token.Error() == nil {
		d.end(err)
		d.stop() // only now: paho's Disconnect stalls if its Connect has just failed
	}
	return err
}

// Addr is the broker's host:port.
func (d *Device) Addr() string { return d.addr }

// Announce publishes the connected message at QoS 1 and returns when the broker
// has acknowledged it.
func (d *Device) Announce(ctx context.Context) error {
	token := d.client.Publish(d.cfg.ConnectedTopic, will.ConnectedQoS, false, will.ConnectedPayload(d.cfg.ConnectedMessage))
	if err := d.wait(ctx, token); err != nil {
		return publishFailed(d.cfg.ConnectedTopic, err)
	}
	return nil
}

// Subscribe subscribes to a topic filter at QoS 1 and returns when the broker
// has accepted it. handle gets one message after the other; it must not call
// the Device's methods.
func (d *Device) Subscribe(ctx context.Context, filter string, handle func(Message)) error {
	token := d.client.Subscribe(filter, 1, func(_ mqtt.Client, m mqtt.Message) {
		handle(Message{Topic: m.Topic(), Payload: m.Payload(), QoS: m.Qos(), Retain: m.Retained()})
	})
	if err := d.wait(ctx, token); err != nil {
		return subscribeFailed(filter, err)
	}
	if token.(*mqtt.SubscribeToken).Result()[filter] == refusedFilter {
		return subscribeFailed(filter, errors.New("the broker refused it in the SUBACK"))
	}
	return nil
}

// wait waits for the broker's acknowledgement.
func (d *Device) wait(ctx context.Context, token mqtt.Token) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no acknowledgement within %s", timeout))
	defer cancel()
	select {
	case <-token.Done():
	case <-ctx.Done():
	}
	select {
	case <-token.Done(): // even if ctx has ended in the meantime
	default:
		return context.Cause(ctx)
	}
	if token.Error() != nil && !d.client.IsConnectionOpen() {
		<-d.done // paho tells those who wait first, then why the connection was lost
		return d.alreadyEnded()
	}
	return token.Error()
}

// Drop closes the TCP socket, with neither an MQTT DISCONNECT nor a TLS
// close_notify before it, as when the device's process dies. It returns the
// moment just before it closed the socket, when nothing of the device is left
// running. If the connection had ended before, Drop returns why.
func (d *Device) Drop() (time.Time, error) {
	if !d.end(nil) {
		return time.Time{}, d.alreadyEnded()
	}
	at := time.Now()
	d.conn.socket.Close()
	d.stop()
	return at, nil
}

// Disconnect sends an MQTT DISCONNECT and closes the connection: the broker
// discards the will. It returns when the packet is written and nothing of the
// device is left running. If the connection had ended before, Disconnect
// returns why.
func (d *Device) Disconnect() error {
	if !d.end(nil) {
		return d.alreadyEnded()
	}
	// paho's own Disconnect does not tell whether it has sent the packet.
	d.conn.SetDeadline(time.Now().Add(timeout))
	err := packets.NewControlPacket(packets.Disconnect).Write(d.conn)
	d.conn.Close()
	d.stop()
	if err != nil {
		return fmt.Errorf("send DISCONNECT to %s: %w", d.addr, err)
	}
	return nil
}

// Done is closed when the connection has ended, by Drop, by Disconnect or
// because it was lost.
func (d *Device) Done() <-chan struct{} { return d.done }

// Err tells why the connection was lost, as an *Error with a hint. It is nil as
// long as the connection stands, and after Drop and Disconnect.
func (d *Device) Err() error {
	select {
	case <-d.done:
		return d.err
	default:
		return nil
	}
}

// end records how the connection ended and reports whether this was the first
// to do so.
func (d *Device) end(err error) bool {
	first := false
	d.ended.Do(func() {
		first = true
		d.err = err
		close(d.done)
	})
	return first
}

func (d *Device) alreadyEnded() error {
	if d.err != nil {
		return d.err
	}
	return errors.New("the device has already left")
}

// stop ends paho's goroutines. The socket is closed, so the DISCONNECT that
// paho tries to send goes nowhere.
func (d *Device) stop() { d.client.Disconnect(uint(timeout.Milliseconds())) }
