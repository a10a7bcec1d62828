package iot

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"lastwill/internal/localaws/loopback"
	"lastwill/internal/localaws/policy"
	"lastwill/internal/will"
)

// Limits of the message broker (general reference, "AWS IoT Core endpoints and
// quotas", message broker).
const (
	maxSubscriptionsPerRequest = 8
	maxClientIDBytes           = 128
	// connectTimeout is how long a socket may stay without a CONNECT.
	connectTimeout = 30 * time.Second
	// maxPacketBytes leaves room around the largest payload for topic and properties.
	maxPacketBytes = will.MaxPayloadBytes + 4096
)

func (s *Service) startBroker() error {
	options := &mqtt.Options{
		InlineClient: true,
		// AWS has no $SYS topics; computing them stops the world each time.
		SysTopicResendInterval: int64((365 * 24 * time.Hour).Seconds()),
		Logger:                 slog.New(slog.DiscardHandler), // what matters is observed by the hook
		Capabilities:           mqtt.NewDefaultServerCapabilities(),
	}
	options.Capabilities.MaximumQos = 1
	options.Capabilities.TopicAliasMaximum = 0
	options.Capabilities.MaximumPacketSize = maxPacketBytes
	options.Capabilities.Compatibilities.NoInheritedPropertiesOnAck = true
	s.broker = mqtt.New(options)
	if err := s.broker.AddHook(&hook{service: s}, nil); err != nil {
		return err
	}
	listener, err := loopback.Listen(s.options.MQTTAddress)
	if err != nil {
		return fmt.Errorf("listen for MQTT: %w", err)
	}
	s.address = listener.Addr().String()
	if err := s.broker.AddListener(listeners.NewNet("mqtt", tls.NewListener(impatient{listener}, s.deviceTLS()))); err != nil {
		return errors.Join(err, listener.Close())
	}
	return s.broker.Serve()
}

// impatient gives each connection until connectTimeout to become an MQTT
// session; the keep alive then sets deadlines of its own.
type impatient struct{ net.Listener }

func (l impatient) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return c, c.SetDeadline(time.Now().Add(connectTimeout))
}

// deviceTLS asks for a client certificate and takes those that are registered
// and active. Who signed it does not matter: the registry knows it or not.
func (s *Service) deviceTLS() *tls.Config {
	config := s.ca.serverConfig()
	config.ClientAuth = tls.RequireAnyClientCert
	config.VerifyConnection = func(state tls.ConnectionState) error {
		peer := state.PeerCertificates[0]
		if _, err := s.certificateOf(peer); err != nil {
			s.observe(Event{Kind: Refused, Detail: err.Error()})
			return err
		}
		if now := time.Now(); now.Before(peer.NotBefore) || now.After(peer.NotAfter) {
			return x509.CertificateInvalidError{Cert: peer, Reason: x509.Expired}
		}
		return nil
	}
	return config
}

// hook enforces IoT policies and limits, and hands every message to the rules.
type hook struct {
	mqtt.HookBase
	service  *Service
	sessions sync.Map // *mqtt.Client to *session
}

// A session is a connected client as the broker's hook needs it.
type session struct {
	certificateID string
	sourceIP      string
	context       map[string]string // for policies
	will          *mqtt.Will
	willSent      atomic.Bool
	// subscribing holds the filters of the SUBSCRIBE packet at hand.
	subscribing atomic.Pointer[packets.Subscriptions]
}

func (h *hook) ID() string { return "lastwill" }

func (h *hook) Provides(b byte) bool {
	switch b {
	case mqtt.OnConnect, mqtt.OnConnectAuthenticate, mqtt.OnSessionEstablished, mqtt.OnPacketRead, mqtt.OnACLCheck,
		mqtt.OnSubscribe, mqtt.OnSubscribed, mqtt.OnPublished, mqtt.OnWillSent, mqtt.OnDisconnect:
		return true
	}
	return false
}

// OnConnect decides on a CONNECT: identity, policy, will, keep alive.
func (h *hook) OnConnect(cl *mqtt.Client, pk packets.Packet) error {
	session, err := h.admit(cl)
	if err != nil {
		code := packets.ErrNotAuthorized
		if cl.Properties.ProtocolVersion < 5 {
			code = packets.Err3NotAuthorized
		}
		h.service.observe(Event{Kind: Refused, ClientID: cl.ID, Detail: err.Error()})
		return errors.Join(err, h.service.broker.SendConnack(cl, code, false, nil))
	}
	h.sessions.Store(cl, session)
	honoured := keepAlive(pk.Connect.Keepalive)
	cl.State.ServerKeepalive = honoured != pk.Connect.Keepalive
	cl.State.Keepalive = honoured
	cl.Properties.Will.WillDelayInterval = 0 // AWS has no Will Delay Interval: the will goes at once
	return nil
}

// keepAlive is the interval that AWS IoT Core honours for the one asked for.
func keepAlive(asked uint16) uint16 {
	least, most := uint16(will.MinKeepAlive.Seconds()), uint16(will.MaxKeepAlive.Seconds())
	if asked == 0 {
		return most
	}
	return min(max(asked, least), most)
}

func (h *hook) admit(cl *mqtt.Client) (*session, error) {
	conn, ok := cl.Net.Conn.(*tls.Conn)
	if !ok {
		return nil, errors.New("the connection has no TLS")
	}
	c, err := h.service.certificateOf(conn.ConnectionState().PeerCertificates[0])
	if err != nil {
		return nil, err
	}
	if len(cl.ID) > maxClientIDBytes {
		return nil, fmt.Errorf("client ID has %d bytes, at most %d are allowed", len(cl.ID), maxClientIDBytes)
	}
	host, _, err := net.SplitHostPort(cl.Net.Remote)
	if err != nil {
		host = cl.Net.Remote
	}
	session := &session{certificateID: c.ID, sourceIP: host, context: h.service.policyContext(cl.ID, c.ID, host)}
	if err := h.require(session, "iot:Connect", "client/"+cl.ID); err != nil {
		return nil, err
	}
	return session, h.admitWill(session, cl)
}

// policyContext has the policy variables and condition keys of a connection. The
// thing is the one named like the client ID, if the certificate is attached to
// it (developer guide, "Thing policy variables").
func (s *Service) policyContext(clientID, certificateID, sourceIP string) map[string]string {
	context := map[string]string{
		"iot:ClientId": clientID, "aws:SourceIp": sourceIP, "aws:SecureTransport": "true",
		"iot:Connection.Thing.IsAttached": "false",
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if t, ok := s.things[clientID]; ok && t.principals[certificateID] {
		context["iot:Connection.Thing.IsAttached"] = "true"
		context["iot:Connection.Thing.ThingName"] = clientID
		for key, value := range t.Attributes {
			context["iot:Connection.Thing.Attributes["+key+"]"] = value
		}
	}
	return context
}

func (h *hook) admitWill(session *session, cl *mqtt.Client) error {
	if cl.Properties.Will.Flag == 0 {
		return nil
	}
	w := cl.Properties.Will
	if err := checkPublish(w.TopicName, len(w.Payload), w.Qos); err != nil {
		return fmt.Errorf("will: %w", err)
	}
	if err := h.requirePublish(session, w.TopicName, w.Retain); err != nil {
		return fmt.Errorf("will: %w", err)
	}
	session.will = &mqtt.Will{TopicName: w.TopicName, Payload: w.Payload, Qos: w.Qos, Retain: w.Retain}
	return nil
}

func (h *hook) requirePublish(session *session, topic string, retain bool) error {
	if err := h.require(session, "iot:Publish", "topic/"+topic); err != nil {
		return err
	}
	if retain {
		return h.require(session, "iot:RetainPublish", "topic/"+topic)
	}
	return nil
}

// require is an error unless the policies of the session's certificate allow the action.
func (h *hook) require(session *session, action, resource string) error {
	arn := h.service.options.Account.ARN("iot", resource)
	request := policy.Request{Action: action, Resource: arn, Context: session.context}
	if h.service.decide(session.certificateID, request) != policy.Allow {
		return fmt.Errorf("%w: no IoT policy of the certificate allows %s on %s", errForbidden, action, arn)
	}
	return nil
}

var errForbidden = errors.New("forbidden")

// checkPublish enforces the broker's limits on a message.
func checkPublish(topic string, payloadBytes int, qos byte) error {
	slashes := strings.Count(topic, "/")
	if strings.HasPrefix(topic, "$aws/rules/") {
		slashes -= 3 // the prefix of Basic Ingest does not count
	}
	switch {
	case qos > 1:
		return errQoS2
	case topic == "" || strings.ContainsAny(topic, "+#\x00"):
		return fmt.Errorf("topic name %q is empty or has wildcards", topic)
	case len(topic) > will.MaxTopicBytes:
		return fmt.Errorf("topic name has %d bytes, at most %d are allowed", len(topic), will.MaxTopicBytes)
	case slashes > will.MaxTopicSlashes:
		return fmt.Errorf("topic name %q has %d slashes, at most %d are allowed", topic, slashes, will.MaxTopicSlashes)
	case payloadBytes > will.MaxPayloadBytes:
		return fmt.Errorf("payload has %d bytes, at most %d are allowed", payloadBytes, will.MaxPayloadBytes)
	}
	return nil
}

// OnConnectAuthenticate agrees: OnConnect has decided.
func (h *hook) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return true }

// OnSessionEstablished tells that a client is connected.
func (h *hook) OnSessionEstablished(cl *mqtt.Client, _ packets.Packet) {
	h.service.observe(Event{Kind: Connected, ClientID: cl.ID})
}

// OnPacketRead ends the connection on what AWS ends it on: a publish that is
// forbidden or beyond the limits, a SUBSCRIBE with too many filters. An error
// from here, unlike one from the ACL hook, also publishes the will.
func (h *hook) OnPacketRead(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	session, ok := h.session(cl)
	if !ok {
		return pk, h.refuseConnect(cl, pk)
	}
	switch pk.FixedHeader.Type {
	case packets.Publish:
		if err := checkPublish(pk.TopicName, len(pk.Payload), pk.FixedHeader.Qos); err != nil {
			return pk, err
		}
		return pk, h.requirePublish(session, pk.TopicName, pk.FixedHeader.Retain)
	case packets.Subscribe:
		if len(pk.Filters) > maxSubscriptionsPerRequest {
			return pk, fmt.Errorf("SUBSCRIBE has %d filters, at most %d are allowed", len(pk.Filters), maxSubscriptionsPerRequest)
		}
	}
	return pk, nil
}

// refuseConnect refuses a will of QoS 2 before mochi-mqtt does, which answers an
// MQTT 3.1.1 client with a return code of MQTT 5.
func (h *hook) refuseConnect(cl *mqtt.Client, pk packets.Packet) error {
	if pk.FixedHeader.Type == packets.Connect && pk.Connect.WillFlag && pk.Connect.WillQos > 1 && pk.ProtocolVersion < 5 {
		h.service.observe(Event{Kind: Refused, ClientID: pk.Connect.ClientIdentifier, Detail: "will: " + errQoS2.Error()})
		cl.Properties.ProtocolVersion = pk.ProtocolVersion
		return errors.Join(errQoS2, h.service.broker.SendConnack(cl, packets.Err3NotAuthorized, false, nil))
	}
	return nil
}

// OnSubscribe remembers the filters, so that OnACLCheck tells a subscription
// from a delivery.
func (h *hook) OnSubscribe(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	if session, ok := h.session(cl); ok {
		session.subscribing.Store(&pk.Filters)
	}
	return pk
}

// OnSubscribed forgets them.
func (h *hook) OnSubscribed(cl *mqtt.Client, _ packets.Packet, _ []byte) {
	if session, ok := h.session(cl); ok {
		session.subscribing.Store(nil)
	}
}

// OnACLCheck allows subscriptions and deliveries. Publishing is checked in
// OnPacketRead, where a refusal ends the connection.
func (h *hook) OnACLCheck(cl *mqtt.Client, topic string, write bool) bool {
	session, ok := h.session(cl)
	if write || !ok {
		return write
	}
	if filters := session.subscribing.Load(); filters != nil {
		for _, f := range *filters {
			if f.Filter == topic {
				return h.require(session, "iot:Subscribe", "topicfilter/"+topic) == nil
			}
		}
	}
	return h.require(session, "iot:Receive", "topic/"+topic) == nil
}

// OnPublished runs the rules on what a client published. What the service
// publishes itself goes through publish.
func (h *hook) OnPublished(cl *mqtt.Client, pk packets.Packet) {
	if cl.Net.Inline {
		return
	}
	h.handOver(cl, pk.TopicName, pk.Payload, pk.FixedHeader.Qos, pk.FixedHeader.Retain, false)
}

// OnWillSent runs the rules on a will. mochi-mqtt does not pass wills through
// OnPublish or OnPublished.
func (h *hook) OnWillSent(cl *mqtt.Client, pk packets.Packet) {
	if session, ok := h.session(cl); ok {
		session.willSent.Store(true)
	}
	h.handOver(cl, pk.TopicName, pk.Payload, pk.FixedHeader.Qos, pk.FixedHeader.Retain, true)
}

func (h *hook) handOver(cl *mqtt.Client, topic string, payload []byte, qos byte, retain, isWill bool) {
	m := &Message{Topic: topic, Payload: payload, ClientID: cl.ID, QoS: qos, Retain: retain, Will: isWill, Time: time.Now()}
	if session, ok := h.session(cl); ok {
		m.Principal, m.SourceIP = session.certificateID, session.sourceIP
	}
	h.service.observe(Event{Kind: Published, ClientID: cl.ID, Message: m})
	h.service.runRules(m)
}

// OnDisconnect publishes a will that mochi-mqtt lost: where the broker itself
// ends a connection that is just handling a packet (a takeover, say), mochi-mqtt
// takes the end for a proper one.
func (h *hook) OnDisconnect(cl *mqtt.Client, err error, _ bool) {
	loaded, ok := h.sessions.LoadAndDelete(cl)
	if !ok {
		return
	}
	session, _ := loaded.(*session)
	reason := disconnectReason(cl, err)
	h.service.observe(Event{Kind: Disconnected, ClientID: cl.ID, Detail: reason})
	if reason == "CLIENT_INITIATED_DISCONNECT" || session.will == nil || session.willSent.Load() || h.service.closing.Load() {
		return
	}
	w := session.will
	m := &Message{
		Topic: w.TopicName, Payload: w.Payload, ClientID: cl.ID, Principal: session.certificateID, SourceIP: session.sourceIP,
		QoS: w.Qos, Retain: w.Retain, Will: true, Time: time.Now(),
	}
	if err := h.service.publish(m); err != nil {
		h.service.options.Log.Error("will was not published", "client", cl.ID, "error", err)
	}
}

// disconnectReason is the word of AWS's lifecycle events (developer guide,
// "Lifecycle events", disconnect reasons).
func disconnectReason(cl *mqtt.Client, err error) string {
	var timeout net.Error
	switch cause := cl.StopCause(); {
	case errors.Is(cause, packets.CodeDisconnect):
		return "CLIENT_INITIATED_DISCONNECT"
	case errors.Is(cause, packets.ErrSessionTakenOver):
		return "DUPLICATE_CLIENTID"
	case errors.Is(cause, packets.ErrAdministrativeAction), errors.Is(cause, packets.ErrServerShuttingDown):
		return "SERVER_INITIATED_DISCONNECT"
	case errors.Is(err, errForbidden):
		return "FORBIDDEN_ACCESS"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "MQTT_KEEP_ALIVE_TIMEOUT"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.As(err, new(*net.OpError)):
		return "CONNECTION_LOST"
	}
	return "CLIENT_ERROR"
}

func (h *hook) session(cl *mqtt.Client) (*session, bool) {
	loaded, ok := h.sessions.Load(cl)
	if !ok {
		return nil, false
	}
	session, ok := loaded.(*session)
	return session, ok
}

// publish sends a message that no connected client sent: a republished one, one
// of the API's, or a will. It goes to subscribers and to the rules.
func (s *Service) publish(m *Message) error {
	if err := s.broker.Publish(m.Topic, m.Payload, m.Retain, m.QoS); err != nil {
		return err
	}
	s.observe(Event{Kind: Published, ClientID: m.ClientID, Message: m})
	s.runRules(m)
	return nil
}

// disconnectPrincipal ends the connections of a certificate, as AWS does within
// minutes of its deactivation.
func (s *Service) disconnectPrincipal(certificateID string) {
	for _, cl := range s.broker.Clients.GetAll() {
		conn, ok := cl.Net.Conn.(*tls.Conn)
		if !ok {
			continue
		}
		if peers := conn.ConnectionState().PeerCertificates; len(peers) > 0 && fingerprint(peers[0].Raw) == certificateID {
			_ = s.broker.DisconnectClient(cl, packets.ErrAdministrativeAction) // the code it returns is the one given
		}
	}
}
