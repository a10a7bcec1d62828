// Package device is an MQTT device: it connects with a Will Message, says that
// it is there, and ends in a known way. After a DISCONNECT the broker discards
// the will, after any other end it publishes it (MQTT 3.1.1, 3.1.2.5).
package device

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/mochi-mqtt/server/v2/packets"

	"lastwill/internal/will"
)

// timeout is how long the broker may take to accept a connection or to
// acknowledge a packet.
const timeout = 30 * time.Second

// firstFailure is the lowest return or reason code that is one of failure, in
// SUBACK and in all packets of MQTT 5 (MQTT 3.1.1, 3.9.3; MQTT 5.0, 2.4).
const firstFailure = 0x80

// Message is an MQTT message.
type Message struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool
	// Properties go with the message in MQTT 5 only.
	Properties Properties
}

// Properties are those of a message in MQTT 5 that AWS IoT Core keeps
// (developer guide, "MQTT", MQTT 5 properties). The zero value has none.
type Properties struct {
	// Text says that the payload is UTF-8: the Payload Format Indicator.
	Text            bool
	ContentType     string
	ResponseTopic   string
	CorrelationData []byte
	// Expiry is after how long the broker need not deliver the message any more,
	// in whole seconds. Zero: never.
	Expiry time.Duration
	User   []UserProperty
}

// UserProperty is a name and a value that the broker passes on (MQTT 5.0, 3.3.2.3.7).
type UserProperty struct{ Name, Value string }

// Config says who the device is and where it connects.
type Config struct {
	// Endpoint is the broker's host name or IP address, or host:port. Required.
	Endpoint string
	// Port of the broker. Default: the one in Endpoint, else 8883, or 443 with
	// Credentials.
	Port int
	// Proxy returns the proxy on the way to the broker, nil for none, as in
	// http.Transport. Default: http.ProxyFromEnvironment, which reads
	// HTTPS_PROXY and NO_PROXY.
	Proxy func(*http.Request) (*url.URL, error)
	// Roots are the authorities that may vouch for the broker. Default: the
	// system's.
	Roots *x509.CertPool
	// Certificate and private key of the device. Required, unless there are
	// Credentials.
	Certificate tls.Certificate
	// ALPN says in the TLS handshake that MQTT follows, not HTTP, for which AWS
	// IoT Core has one port. Default: on port 443.
	ALPN bool
	// Credentials make the device connect over WebSocket, with a request that they
	// sign, instead of with Certificate. Default: none.
	Credentials aws.CredentialsProvider
	// Region that the signature is for, where the endpoint's name does not tell.
	Region string
	// MQTT5 makes the device speak MQTT 5.0. Default: MQTT 3.1.1.
	MQTT5 bool
	// ClientID of the connection; AWS IoT Core wants the thing's name. Required.
	ClientID string
	// Will is the Will Message. Default: the scenario's topic, payload and QoS,
	// not retained.
	Will Message
	// NoWill lets the device leave no Will Message with the broker. Default: it does.
	NoWill bool
	// KeepAlive is the longest time in which the device sends nothing, in whole
	// seconds. The broker gives up on it after 1.5 times that. Default: 30 s.
	KeepAlive time.Duration
	// ConnectedTopic receives the connected message. Default: the scenario's.
	ConnectedTopic string
	// ConnectedMessage is the text that Announce publishes. Default: the scenario's.
	ConnectedMessage string
	// UserProperties go with CONNECT and the connected message in MQTT 5.
	UserProperties []UserProperty
	// Kill has the broker end the connection of a client ID. Default: End cannot Kill.
	Kill func(ctx context.Context, clientID string) error
	// Receive gets the messages of the subscriptions, one after the other. It
	// must not call the Device's methods. Default: they are discarded.
	Receive func(Message)
}

func (c Config) withDefaults() Config {
	names := will.NewNames("")
	if c.Proxy == nil {
		c.Proxy = http.ProxyFromEnvironment
	}
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
	if c.Receive == nil {
		c.Receive = func(Message) {}
	}
	return c
}

// Validate says what keeps Connect from using the configuration.
func (c Config) Validate() error {
	c = c.withDefaults()
	host, _, err := c.address()
	switch {
	case err != nil:
		return err
	case c.Credentials != nil && c.region(host) == "":
		return fmt.Errorf("the AWS region is not known and not in the endpoint %q: set AWS_REGION", c.Endpoint)
	case c.ClientID == "":
		return errors.New("client ID is empty: give the thing's name")
	case c.KeepAlive < time.Second || c.KeepAlive%time.Second != 0 || c.KeepAlive > math.MaxUint16*time.Second:
		return fmt.Errorf("keep alive of %s: give whole seconds from 1s to 65535s", c.KeepAlive)
	case c.Will.QoS > 2:
		return fmt.Errorf("will QoS %d: give 0 or 1 (AWS IoT Core refuses 2)", c.Will.QoS)
	}
	return c.validateStrings()
}

// validateStrings checks what CONNECT carries in fields of a two-byte length
// (MQTT 3.1.1, 1.5.3).
func (c Config) validateStrings() error {
	w := c.Will
	fields := []struct{ name, value string }{
		{"client ID", c.ClientID},
		{"connected topic", c.ConnectedTopic},
		{"will topic", w.Topic},
		{"will payload", string(w.Payload)},
		{"content type of the will", w.Properties.ContentType},
		{"response topic of the will", w.Properties.ResponseTopic},
		{"correlation data of the will", string(w.Properties.CorrelationData)},
	}
	for _, p := range append(c.UserProperties, w.Properties.User...) {
		fields = append(fields, struct{ name, value string }{"user property", p.Name}, struct{ name, value string }{"user property " + p.Name, p.Value})
	}
	for _, f := range fields {
		if len(f.value) > math.MaxUint16 {
			return fmt.Errorf("%s of %d bytes: MQTT takes at most %d", f.name, len(f.value), math.MaxUint16)
		}
	}
	if strings.ContainsAny(w.Properties.ResponseTopic, "+#") {
		return fmt.Errorf("response topic %q of the will has a wildcard: name one topic", w.Properties.ResponseTopic)
	}
	if e := w.Properties.Expiry; e < 0 || e%time.Second != 0 || e > math.MaxUint32*time.Second {
		return fmt.Errorf("expiry of %s of the will: give whole seconds, not negative", e)
	}
	return nil
}

// Device is one connection of a device, from CONNECT to its end. Its methods
// may be called from several goroutines.
type Device struct {
	cfg  Config
	link *link
	wire *wire
	// keepAlive is the configuration's, or the one that the broker asks for.
	keepAlive time.Duration
	// accepted is when the CONNACK came.
	accepted time.Time

	mu     sync.Mutex
	lastID uint16
	acks   map[awaited]chan<- packets.Packet
	beat   *time.Timer
	pinged bool // and not answered yet

	ended   sync.Once
	done    chan struct{} // closed when it is known how the connection ended
	err     error
	stopped chan struct{} // closed when nothing reads any more
}

// Connect connects the device and sets its will. It returns when the broker has
// accepted the connection, or after 30 seconds, or when ctx ends. A failed
// attempt is an *Error with a hint.
func Connect(ctx context.Context, cfg Config) (*Device, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	l, err := open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: l, version: cfg.version()}
	d := &Device{
		cfg: cfg, link: l, wire: w, keepAlive: cfg.KeepAlive,
		acks: map[awaited]chan<- packets.Packet{}, done: make(chan struct{}), stopped: make(chan struct{}),
	}
	if err := d.handshake(ctx); err != nil {
		l.socket.Close()
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.beat = time.AfterFunc(d.keepAlive, d.keepUp) // mu: it may fire before this returns
	go d.serve()
	return d, nil
}

// Protocol is the version of MQTT.
func (c Config) Protocol() string {
	if c.MQTT5 {
		return "5"
	}
	return "3.1.1"
}

func (c Config) version() byte {
	if c.MQTT5 {
		return mqtt5
	}
	return mqtt311
}

// connect is the CONNECT packet.
func (c Config) connect() packets.Packet {
	return packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Connect},
		Properties:  Properties{User: c.UserProperties}.wire(),
		Mods:        packets.Mods{AllowResponseInfo: true}, // else the codec leaves the will's response topic out
		Connect: packets.ConnectParams{
			ProtocolName:     []byte("MQTT"),
			Clean:            true,
			Keepalive:        uint16(c.KeepAlive / time.Second),
			ClientIdentifier: c.ClientID,
			WillFlag:         !c.NoWill,
			WillTopic:        c.Will.Topic,
			WillPayload:      c.Will.Payload,
			WillQos:          c.Will.QoS,
			WillRetain:       c.Will.Retain,
			WillProperties:   c.Will.Properties.wire(),
		},
	}
}

// wire is the form of properties that the codec takes.
func (p Properties) wire() packets.Properties {
	out := packets.Properties{
		PayloadFormatFlag:     p.Text,
		ContentType:           p.ContentType,
		ResponseTopic:         p.ResponseTopic,
		CorrelationData:       p.CorrelationData,
		MessageExpiryInterval: uint32(p.Expiry / time.Second),
	}
	if p.Text {
		out.PayloadFormat = 1
	}
	for _, u := range p.User {
		out.User = append(out.User, packets.UserProperty{Key: u.Name, Val: u.Value})
	}
	return out
}

func propertiesOf(p packets.Properties) Properties {
	out := Properties{
		Text:            p.PayloadFormat == 1,
		ContentType:     p.ContentType,
		ResponseTopic:   p.ResponseTopic,
		CorrelationData: p.CorrelationData,
		Expiry:          time.Duration(p.MessageExpiryInterval) * time.Second,
	}
	for _, u := range p.User {
		out.User = append(out.User, UserProperty{u.Key, u.Val})
	}
	return out
}

// handshake sends CONNECT and waits for CONNACK.
func (d *Device) handshake(ctx context.Context) error {
	keep := context.AfterFunc(ctx, func() { _ = d.link.socket.SetDeadline(time.Unix(1, 0)) })
	answer, err := d.ask(d.cfg.connect())
	switch {
	case !keep():
		// The broker may have the CONNECT, and with it the will: this discards it. A
		// client need not wait for CONNACK (MQTT 3.1.1, 3.1.4).
		_ = d.wire.write(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}})
		return interrupted(ctx, d.Addr(), "waiting for the CONNACK")
	case err != nil:
		return connectFailed(d.Addr(), d.cfg, err)
	case answer.FixedHeader.Type != packets.Connack:
		return connectFailed(d.Addr(), d.cfg, fmt.Errorf("it is %s", packets.PacketNames[answer.FixedHeader.Type]))
	case answer.ReasonCode != 0:
		return refused(d.Addr(), d.cfg, answer)
	}
	d.accepted = time.Now()
	if answer.Properties.ServerKeepAliveFlag { // the broker's word counts (MQTT 5.0, 3.2.2.3.14)
		d.keepAlive = time.Duration(answer.Properties.ServerKeepAlive) * time.Second
	}
	return nil
}

// ask sends CONNECT and returns the answer. In TLS 1.3 the broker judges the
// client's certificate when the client's side of the handshake is done (RFC
// 8446, 4.4): it may have closed the connection before CONNECT is written, and
// its reason is then still to be read.
func (d *Device) ask(connect packets.Packet) (packets.Packet, error) {
	unsent := d.wire.write(connect)
	answer, err := d.wire.read()
	if unsent != nil && err == nil {
		err = unsent
	}
	return answer, err
}

// Addr is the broker's host:port.
func (d *Device) Addr() string { return d.link.addr }

// KeepAlive is the longest time in which the device sends nothing: the
// configuration's, unless the broker asked for another in MQTT 5.
func (d *Device) KeepAlive() time.Duration { return d.keepAlive }

// Announce publishes the connected message at QoS 1 and returns when the broker
// has acknowledged it.
func (d *Device) Announce(ctx context.Context) error {
	ack, err := d.exchange(ctx, packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: will.ConnectedQoS},
		TopicName:   d.cfg.ConnectedTopic,
		Payload:     will.ConnectedPayload(d.cfg.ConnectedMessage),
		Properties:  Properties{User: d.cfg.UserProperties}.wire(),
	}, packets.Puback)
	if err == nil && ack.ReasonCode >= firstFailure {
		err = fmt.Errorf("the broker refused it in the PUBACK: %s", reason(ack))
	}
	if err != nil {
		return publishFailed(d.cfg.ConnectedTopic, err)
	}
	return nil
}

// Subscribe subscribes to a topic filter at QoS 1 and returns when the broker
// has accepted it. The messages go to the configuration's Receive.
func (d *Device) Subscribe(ctx context.Context, filter string) error {
	ack, err := d.exchange(ctx, packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Subscribe},
		Filters:     packets.Subscriptions{{Filter: filter, Qos: 1}},
	}, packets.Suback)
	switch {
	case err != nil:
		return subscribeFailed(filter, err)
	case len(ack.ReasonCodes) != 1:
		return subscribeFailed(filter, fmt.Errorf("the SUBACK has %d answers to one filter", len(ack.ReasonCodes)))
	case ack.ReasonCodes[0] >= firstFailure:
		ack.ReasonCode = ack.ReasonCodes[0]
		return subscribeFailed(filter, fmt.Errorf("the broker refused it in the SUBACK: %s", reason(ack)))
	}
	return nil
}

// Done is closed when the connection has ended, by the device or by the broker,
// or because it was lost.
func (d *Device) Done() <-chan struct{} { return d.done }

// Err tells why the connection was lost, as an *Error with a hint. It is nil as
// long as the connection stands, and after the device has ended it.
func (d *Device) Err() error {
	select {
	case <-d.done:
		return d.err
	default:
		return nil
	}
}
