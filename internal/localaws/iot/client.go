package iot

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/policy"
)

const (
	// farewell is how long a client may take to read why its connection ends.
	farewell = time.Second
	// readBytes is for the reader's buffer; devices send small packets.
	readBytes = 512
	// maxTopicAliases is the Topic Alias Maximum of AWS's CONNACK, as clients report it
	// (aws-crt-java issue 618).
	maxTopicAliases = 8
	// maxSubscriptions of a connection, and of one SUBSCRIBE (general reference, "AWS IoT
	// Core endpoints and quotas", subscriptions per connection and per subscribe request).
	maxSubscriptions           = 50
	maxSubscriptionsPerRequest = 8
)

// A client is a connection from its CONNECT to its end.
type client struct {
	broker *broker
	conn   *transport
	reader *bufio.Reader

	// What its CONNECT says.
	id      string
	version byte
	who     *principal
	// keepAlive is the one that is honoured, in seconds.
	keepAlive uint16
	will      *Message // nil for none
	// sessionExpiry is how many seconds the session outlives the connection.
	sessionExpiry uint32
	// receiveMaximum and maxPacketBytes bound what it is sent; no bytes are no bound.
	receiveMaximum int
	maxPacketBytes uint32

	session     *session
	sessionLeft bool
	aliases     map[uint16]string // of topics
	// sessionID and sessionVersion are those of lifecycle events.
	sessionID      string
	sessionVersion int64

	writing       sync.Mutex
	willPrevented atomic.Bool
	// why the broker ends the connection; nil as long as it does not.
	why atomic.Pointer[packets.Code]
	// ended is closed when nothing of the connection is left.
	ended chan struct{}
}

// A principal is who connected, with the policy variables and condition keys of the
// connection.
type principal struct {
	// id is the certificate's id, or the unique ID of the credentials.
	id string
	// certificateID is empty for a client with AWS credentials; role may be nil then.
	certificateID string
	role          policy.Identity
	sourceIP      string
	context       map[string]string
	sets          map[string][]string // of the certificate
}

// A disconnection is what a client's own DISCONNECT says.
type disconnection byte

func (disconnection) Error() string { return "the client disconnected" }

// serve speaks MQTT with a client until the connection ends.
func (b *broker) serve(conn *transport) {
	c := &client{
		broker: b, conn: conn, reader: bufio.NewReaderSize(conn, readBytes), sessionID: awsapi.NewID(), ended: make(chan struct{}),
		who: &principal{id: conn.signer.UserID, role: conn.signer.Role, sourceIP: host(conn.RemoteAddr())},
	}
	if peer := conn.peer(); peer != nil {
		c.who.certificateID = fingerprint(peer.Raw)
		c.who.id = c.who.certificateID
	}
	defer c.recovered()
	defer b.left(c)
	defer conn.Close()
	var hello packets.Packet
	err := c.guarded(func() (err error) {
		hello, err = c.connect()
		return err
	})
	if err != nil {
		c.refuse(err)
		return
	}
	c.leave(c.guarded(func() error {
		c.begin(hello)
		return c.read()
	}))
}

// guarded makes an error of a panic: a packet that the broker cannot handle ends its
// connection and no other.
func (c *client) guarded(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			c.fault(r)
			err = fmt.Errorf("%w: %v", packets.ErrUnspecifiedError, r)
			c.end(packets.ErrUnspecifiedError)
		}
	}()
	return f()
}

// recovered is deferred where nothing else is left to do.
func (c *client) recovered() {
	if r := recover(); r != nil {
		c.fault(r)
		_ = c.conn.tls.NetConn().Close()
	}
}

func (c *client) fault(r any) {
	c.broker.service.options.Log.Error("the broker failed at a connection and ends it; please report this", "client", c.id, "fault", r, "stack", string(debug.Stack()))
}

// read handles packets until the connection ends, and returns why it did.
func (c *client) read() error {
	for {
		grace := time.Duration(c.keepAlive) * time.Second * 3 / 2 // [MQTT-3.1.2-22]
		_ = c.conn.SetDeadline(time.Now().Add(grace))
		p, err := readPacket(c.reader, c.version)
		if err == nil {
			err = c.handle(p)
		}
		if err == nil {
			continue
		}
		if code, ok := errors.AsType[packets.Code](err); ok && c.why.Load() == nil {
			c.observe(Refused, err.Error())
			c.end(code)
		}
		return err
	}
}

// handle does what a packet asks for. An error ends the connection.
func (c *client) handle(p packets.Packet) error {
	switch p.FixedHeader.Type {
	case packets.Publish:
		return c.publish(p)
	case packets.Puback:
		c.session.outbox.acknowledge(p.PacketID)
		return nil
	case packets.Subscribe:
		return c.subscribe(p)
	case packets.Unsubscribe:
		return c.unsubscribe(p)
	case packets.Pingreq:
		c.observe(Pinged, "")
		return c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingresp}})
	case packets.Disconnect:
		return c.disconnect(p)
	case packets.Connect:
		return fmt.Errorf("%w: a second CONNECT", packets.ErrProtocolViolationSecondConnect)
	}
	return fmt.Errorf("%w: %s", packets.ErrProtocolViolation, nameOf(p))
}

// publish takes a message. What is forbidden or beyond the limits ends the connection.
func (c *client) publish(p packets.Packet) error {
	topic, err := c.topic(p)
	if err != nil {
		return err
	}
	if err := checkPublish(topic, len(p.Payload), p.FixedHeader.Qos); err != nil {
		return err
	}
	if err := c.broker.service.requirePublish(c.who, topic, p.FixedHeader.Retain); err != nil {
		return err
	}
	if isReserved(topic) {
		return fmt.Errorf("%w: %q is reserved for what is not here: shadows, jobs", packets.ErrTopicNameInvalid, topic)
	}
	if p.FixedHeader.Qos > 0 {
		if err := c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}, PacketID: p.PacketID}); err != nil {
			return err
		}
	}
	m := c.message(topic, p.Payload, p.Properties)
	m.QoS, m.Retain = p.FixedHeader.Qos, p.FixedHeader.Retain
	c.broker.service.publish(m)
	return nil
}

// topic is that of a PUBLISH, which may name it by an alias (MQTT 5, 3.3.2.3.4).
func (c *client) topic(p packets.Packet) (string, error) {
	alias := p.Properties.TopicAlias
	switch {
	case len(p.Properties.SubscriptionIdentifier) > 0:
		return "", packets.ErrProtocolViolationSurplusSubID // [MQTT-3.3.4-6]
	case !p.Properties.TopicAliasFlag:
		return p.TopicName, nil
	case alias == 0 || alias > maxTopicAliases: // [MQTT-3.3.2-8] [MQTT-3.3.2-9]
		return "", fmt.Errorf("%w: %d, at most %d are allowed", packets.ErrTopicAliasInvalid, alias, maxTopicAliases)
	case p.TopicName == "" && c.aliases[alias] == "":
		return "", fmt.Errorf("%w: topic alias %d has no topic", packets.ErrProtocolViolationNoTopic, alias)
	case p.TopicName == "":
		return c.aliases[alias], nil
	}
	if c.aliases == nil {
		c.aliases = map[uint16]string{}
	}
	c.aliases[alias] = strings.Clone(p.TopicName)
	return p.TopicName, nil
}

// message is one of this client's.
func (c *client) message(topic string, payload []byte, p packets.Properties) *Message {
	m := &Message{Topic: topic, Payload: payload, ClientID: c.id, Principal: c.who.id, SourceIP: c.who.sourceIP, Time: time.Now()}
	m.expiry = time.Duration(p.MessageExpiryInterval) * time.Second
	m.properties = packets.Properties{ // those that go on to subscribers (MQTT 5, 3.3.2.3)
		PayloadFormat: p.PayloadFormat, PayloadFormatFlag: p.PayloadFormatFlag, ContentType: p.ContentType,
		ResponseTopic: p.ResponseTopic, CorrelationData: p.CorrelationData, User: p.User,
	}
	return m
}

// subscribe subscribes to those filters that the policy allows. At QoS 2 AWS does not
// answer (developer guide, "MQTT", differences from the specifications), to a
// subscription identifier it does with a DISCONNECT (node-red issue 4115).
func (c *client) subscribe(p packets.Packet) error {
	if len(p.Properties.SubscriptionIdentifier) > 0 {
		return fmt.Errorf("SUBSCRIBE: %w", packets.ErrSubscriptionIdentifiersNotSupported)
	}
	if n := len(p.Filters); n > maxSubscriptionsPerRequest {
		return fmt.Errorf("%w: SUBSCRIBE has %d filters, at most %d are allowed", packets.ErrQuotaExceeded, n, maxSubscriptionsPerRequest)
	}
	for _, f := range p.Filters {
		if err := checkFilter(f.Filter); err != nil {
			return err
		}
		if _, shared := unshared(f.Filter); shared && f.NoLocal {
			return packets.ErrProtocolViolationInvalidSharedNoLocal // [MQTT-3.8.3-4]
		}
	}
	for _, f := range p.Filters {
		if f.Qos > 1 {
			c.observe(Refused, fmt.Sprintf("SUBSCRIBE to %q at QoS 2 gets no SUBACK: use QoS 0 or 1", f.Filter))
			return nil
		}
	}
	codes, isNew := make([]byte, len(p.Filters)), make([]bool, len(p.Filters))
	for i, f := range p.Filters {
		codes[i], isNew[i] = c.subscribeTo(f)
	}
	c.tellFilters("subscribed", p.Filters, codes)
	if err := c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Suback}, PacketID: p.PacketID, ReasonCodes: codes}); err != nil {
		return err
	}
	for i, f := range p.Filters {
		if codes[i] < packets.ErrUnspecifiedError.Code && (f.RetainHandling == 0 || f.RetainHandling == 1 && isNew[i]) {
			c.broker.sendRetained(c.session, f)
		}
	}
	return nil
}

// subscribeTo subscribes to a filter and returns its reason code.
func (c *client) subscribeTo(f packets.Subscription) (code byte, isNew bool) {
	err := c.broker.service.require(c.who, "iot:Subscribe", "topicfilter/"+f.Filter)
	if err == nil && isBasicIngest(f.Filter) {
		err = fmt.Errorf("%w: nobody subscribes to Basic Ingest, whose messages go to one rule: %q", packets.ErrTopicFilterInvalid, f.Filter)
	}
	if err == nil {
		sub := &subscription{session: c.session, qos: f.Qos, noLocal: f.NoLocal, retainAsPublished: f.RetainAsPublished}
		var ok bool
		if isNew, ok = c.broker.router.subscribe(strings.Clone(f.Filter), sub, maxSubscriptions); !ok {
			err = fmt.Errorf("%w: a connection has at most %d subscriptions, and %q is one more", packets.ErrQuotaExceeded, maxSubscriptions, f.Filter)
		}
	}
	if err == nil {
		return f.Qos, isNew
	}
	c.observe(Refused, err.Error())
	if c.version != mqtt5 {
		return packets.ErrUnspecifiedError.Code, false // MQTT 3.1.1 has no other [MQTT-3.9.3-2]
	}
	return codeOf(err).Code, false
}

func (c *client) unsubscribe(p packets.Packet) error {
	codes := make([]byte, len(p.Filters))
	for i, f := range p.Filters {
		if !c.broker.router.unsubscribe(f.Filter, c.session) {
			codes[i] = packets.CodeNoSubscriptionExisted.Code
		}
	}
	c.tellFilters("unsubscribed", p.Filters, nil)
	return c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Unsuback}, PacketID: p.PacketID, ReasonCodes: codes})
}

// disconnect takes a DISCONNECT, which may change how long the session stays. After
// the broker has ended the connection it comes too late to discard the will: a
// WebSocket client answers the broker's Close frame with one of its own.
func (c *client) disconnect(p packets.Packet) error {
	if c.why.Load() != nil {
		return net.ErrClosed
	}
	if p.Properties.SessionExpiryIntervalFlag {
		if c.sessionExpiry == 0 && p.Properties.SessionExpiryInterval > 0 {
			return packets.ErrProtocolViolationZeroNonZeroExpiry // MQTT 5, 3.14.2.2.2
		}
		c.sessionExpiry = honouredExpiry(p.Properties.SessionExpiryInterval)
	}
	return disconnection(p.ReasonCode)
}

// leave publishes the will, unless the client took it back with its DISCONNECT
// [MQTT-3.1.2-10], and leaves the session.
func (c *client) leave(err error) {
	reason := c.disconnectReason(err)
	var own disconnection
	takenBack := errors.As(err, &own) && byte(own) == packets.CodeDisconnect.Code
	c.broker.leaveSession(c)
	if c.will != nil && !takenBack && !c.willPrevented.Load() {
		c.publishWill()
	}
	known := c.broker.connections.disconnected(c.id, reason)
	c.observe(Disconnected, reason)
	if known {
		c.tellDisconnected(reason)
	}
}

func (c *client) publishWill() {
	c.broker.turns <- struct{}{}
	defer func() { <-c.broker.turns }()
	c.will.Time = time.Now()
	c.broker.service.publish(c.will)
}

const clientInitiated = "CLIENT_INITIATED_DISCONNECT"

// disconnectReason is the word of AWS's lifecycle events (developer guide,
// "Lifecycle events", disconnect reasons). err is what the connection ended with.
func (c *client) disconnectReason(err error) string {
	var why packets.Code
	if code := c.why.Load(); code != nil {
		why = *code
	}
	var timeout net.Error
	switch {
	case errors.As(err, new(disconnection)):
		return clientInitiated
	case why == packets.ErrSessionTakenOver:
		return "DUPLICATE_CLIENTID"
	case why == apiDisconnect:
		return "API_INITIATED_DISCONNECT"
	case why == packets.ErrAdministrativeAction:
		return "SERVER_INITIATED_DISCONNECT"
	case why == packets.ErrNotAuthorized:
		return "FORBIDDEN_ACCESS"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "MQTT_KEEP_ALIVE_TIMEOUT"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.As(err, new(*net.OpError)):
		return "CONNECTION_LOST"
	}
	return "CLIENT_ERROR"
}

// send sends a packet.
func (c *client) send(p packets.Packet) error {
	p.ProtocolVersion, p.Mods.MaxSize = c.version, c.maxPacketBytes
	var b bytes.Buffer
	if err := encode(&b, p); err != nil {
		return err
	}
	return c.write(b.Bytes())
}

func (c *client) write(b []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	_, err := c.conn.Write(b)
	return err
}

// end ends a connection from the broker's side. An MQTT 5 client is told why;
// MQTT 3.1.1 has no DISCONNECT in this direction [MQTT-3.14].
func (c *client) end(why packets.Code) {
	c.why.CompareAndSwap(nil, &why)
	// Whoever reads nothing shall not hold up the others.
	hurry := time.AfterFunc(farewell, func() { _ = c.conn.tls.NetConn().Close() })
	defer hurry.Stop()
	if c.version == mqtt5 {
		_ = c.send(packets.Packet{ // it is being ended anyway
			FixedHeader: packets.FixedHeader{Type: packets.Disconnect}, ReasonCode: why.Code, Properties: packets.Properties{ReasonString: why.Reason},
		})
	}
	_ = c.conn.Close()
}

func (c *client) observe(kind EventKind, detail string) {
	c.broker.service.observe(Event{Kind: kind, ClientID: c.id, Detail: detail})
}

func host(address net.Addr) string {
	if host, _, err := net.SplitHostPort(address.String()); err == nil {
		return host
	}
	return address.String()
}
