package iot

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"lastwill/internal/will"
)

// hook enforces IoT policies and limits, and hands every message to the rules.
type hook struct {
	mqtt.HookBase
	service  *Service
	sessions sync.Map // net.Conn to *session

	mu      sync.Mutex
	holders map[string]*session // by client ID

	connections connections
	throttle    throttle
	// turns are taken to publish wills. When a fleet vanishes, thousands at once
	// would queue at every lock on the way, and all copies come at the end, faster
	// than subscribers can be sent them.
	turns chan struct{}
}

func (h *hook) ID() string { return "lastwill" }

func (h *hook) Provides(b byte) bool {
	switch b {
	case mqtt.OnConnect, mqtt.OnConnectAuthenticate, mqtt.OnSessionEstablished, mqtt.OnPacketRead, mqtt.OnACLCheck,
		mqtt.OnSubscribe, mqtt.OnSubscribed, mqtt.OnUnsubscribed, mqtt.OnPublished, mqtt.OnDisconnect:
		return true
	}
	return false
}

// OnConnect decides on a CONNECT: identity, policy, will, keep alive.
func (h *hook) OnConnect(cl *mqtt.Client, pk packets.Packet) error {
	if !h.throttle.take(cl.ID, time.Now()) {
		return h.refuse(cl, cl.ID, fmt.Errorf("%w: one CONNECT in %s is taken for a client ID", packets.ErrQuotaExceeded, h.throttle.interval))
	}
	s, err := h.admit(cl, pk)
	if err == nil {
		err = h.takeOver(s)
	}
	if err != nil {
		if s != nil && errors.Is(err, packets.ErrNotAuthorized) {
			h.tellRefused(s)
		}
		return h.refuse(cl, cl.ID, err)
	}
	honoured := keepAlive(pk.Connect.Keepalive)
	cl.State.ServerKeepalive = honoured != pk.Connect.Keepalive
	cl.State.Keepalive = honoured
	return nil
}

// refuse answers a CONNECT with a refusal and returns its reason.
func (h *hook) refuse(cl *mqtt.Client, clientID string, reason error) error {
	h.service.observe(Event{Kind: Refused, ClientID: clientID, Detail: reason.Error()})
	code := codeOf(reason)
	if cl.Properties.ProtocolVersion != 5 {
		code = returnCode(code)
	}
	return errors.Join(reason, h.service.broker.SendConnack(cl, code, false, nil))
}

// codeOf is the reason code of MQTT 5 for an error.
func codeOf(err error) packets.Code {
	if code, ok := errors.AsType[packets.Code](err); ok {
		return code
	}
	return packets.ErrNotAuthorized
}

// returnCode is MQTT 3.1.1's for a reason code.
func returnCode(code packets.Code) packets.Code {
	if code.Code == packets.ErrQuotaExceeded.Code {
		return packets.Err3ServerUnavailable
	}
	return packets.Err3NotAuthorized
}

// OnConnectAuthenticate agrees: OnConnect has decided.
func (h *hook) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return true }

// OnSessionEstablished tells that a client is connected.
func (h *hook) OnSessionEstablished(cl *mqtt.Client, pk packets.Packet) {
	s, ok := h.session(cl)
	if ok {
		s.version = h.connections.connected(s, pk)
	}
	h.service.observe(Event{Kind: Connected, ClientID: cl.ID, KeepAlive: time.Duration(cl.State.Keepalive) * time.Second})
	if ok {
		h.tellConnected(s)
	}
}

// OnPacketRead ends the connection on what AWS ends it on: a publish that is
// forbidden or beyond the limits, a SUBSCRIBE beyond them. An error
// from here, unlike one from the ACL hook, is no proper end; mochi-mqtt takes
// none but ErrRejectPacket seriously.
func (h *hook) OnPacketRead(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if pk.FixedHeader.Type == packets.Connect {
		return pk, h.checkConnect(cl, pk)
	}
	s, ok := h.session(cl)
	if !ok {
		return pk, nil
	}
	if err := h.checkPacket(s, pk); err != nil {
		h.service.observe(Event{Kind: Refused, ClientID: cl.ID, Detail: err.Error()})
		h.end(s, codeOf(err))
		return pk, errors.Join(err, packets.ErrRejectPacket)
	}
	return pk, nil
}

// checkConnect refuses a will of QoS 2 before mochi-mqtt does, which answers an
// MQTT 3.1.1 client with a return code of MQTT 5.
func (h *hook) checkConnect(cl *mqtt.Client, pk packets.Packet) error {
	if !pk.Connect.WillFlag || pk.Connect.WillQos < 2 {
		return nil
	}
	cl.Properties.ProtocolVersion = pk.ProtocolVersion
	return errors.Join(h.refuse(cl, pk.Connect.ClientIdentifier, fmt.Errorf("will: %w", packets.ErrQosNotSupported)), packets.ErrRejectPacket)
}

func (h *hook) checkPacket(s *session, pk packets.Packet) error {
	switch pk.FixedHeader.Type {
	case packets.Publish:
		if err := checkPublish(pk.TopicName, len(pk.Payload), pk.FixedHeader.Qos); err != nil {
			return err
		}
		if err := h.requirePublish(s, pk.TopicName, pk.FixedHeader.Retain); err != nil {
			return err
		}
		if strings.HasPrefix(pk.TopicName, "$") && !isBasicIngest(pk.TopicName) {
			return fmt.Errorf("%w: %q is reserved for what is not here: shadows, jobs", packets.ErrTopicNameInvalid, pk.TopicName)
		}
	case packets.Pingreq:
		h.service.observe(Event{Kind: Pinged, ClientID: s.client.ID})
	case packets.Subscribe:
		if n := len(pk.Filters); n > maxSubscriptionsPerRequest {
			return fmt.Errorf("%w: SUBSCRIBE has %d filters, at most %d are allowed", packets.ErrQuotaExceeded, n, maxSubscriptionsPerRequest)
		}
		for _, f := range pk.Filters {
			if err := will.CheckTopicFilterSize(f.Filter); err != nil {
				return fmt.Errorf("%w: %w", packets.ErrTopicFilterInvalid, err)
			}
		}
	}
	return nil
}

// OnSubscribe remembers the filters, so that OnACLCheck tells a subscription
// from a delivery.
func (h *hook) OnSubscribe(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	if s, ok := h.session(cl); ok {
		s.subscribing.Store(&pk.Filters)
	}
	return pk
}

// OnSubscribed forgets them.
func (h *hook) OnSubscribed(cl *mqtt.Client, pk packets.Packet, codes []byte) {
	if s, ok := h.session(cl); ok {
		s.subscribing.Store(nil)
		h.tellFilters(s, "subscribed", pk.Filters, codes)
	}
}

// OnACLCheck allows subscriptions and deliveries. Publishing is checked in
// OnPacketRead, where a refusal ends the connection. mochi-mqtt does not tell the
// two apart: what is delivered on a topic at the very moment in which its name is
// subscribed to again counts as that subscription.
func (h *hook) OnACLCheck(cl *mqtt.Client, topic string, write bool) bool {
	s, ok := h.session(cl)
	if write || !ok {
		return write
	}
	if filters := s.subscribing.Load(); filters != nil {
		for _, f := range *filters {
			if f.Filter == topic {
				return h.allowSubscribe(s, topic)
			}
		}
	}
	return !isBasicIngest(topic) && h.require(s, "iot:Receive", "topic/"+topic) == nil
}

func (h *hook) allowSubscribe(s *session, filter string) bool {
	err := h.require(s, "iot:Subscribe", "topicfilter/"+filter)
	if err == nil && isBasicIngest(filter) {
		err = fmt.Errorf("%w: nobody subscribes to Basic Ingest, whose messages go to one rule: %q", packets.ErrTopicFilterInvalid, filter)
	}
	if err != nil {
		h.service.observe(Event{Kind: Refused, ClientID: s.client.ID, Detail: err.Error()})
	}
	return err == nil
}

// OnPublished runs the rules on what a client published. What the service
// publishes itself goes through publish.
func (h *hook) OnPublished(cl *mqtt.Client, pk packets.Packet) {
	if s, ok := h.session(cl); ok {
		h.handOver(s, pk)
	}
}

func (h *hook) handOver(s *session, pk packets.Packet) {
	h.service.process(&Message{
		Topic: pk.TopicName, Payload: pk.Payload, ClientID: s.client.ID, Principal: s.principal, SourceIP: s.sourceIP,
		QoS: pk.FixedHeader.Qos, Retain: pk.FixedHeader.Retain, Time: time.Now(),
	})
}

// OnDisconnect publishes the will, unless the client took it back with its
// DISCONNECT [MQTT-3.1.2-10].
func (h *hook) OnDisconnect(cl *mqtt.Client, err error, _ bool) {
	s, ok := h.session(cl)
	if !ok {
		return
	}
	reason := s.disconnectReason(err)
	takenBack := reason == clientInitiated && !errors.Is(s.client.StopCause(), packets.CodeDisconnectWillMessage)
	if s.will != nil && !takenBack && !s.willPrevented.Load() {
		h.turns <- struct{}{}
		s.will.Time = time.Now()
		if err := h.service.publish(s.will); err != nil {
			h.service.options.Log.Error("will was not published", "client", cl.ID, "error", err)
		}
		<-h.turns
	}
	known := h.connections.disconnected(cl.ID, reason)
	h.service.observe(Event{Kind: Disconnected, ClientID: cl.ID, Detail: reason})
	if known {
		h.tellDisconnected(s, reason)
	}
}

const clientInitiated = "CLIENT_INITIATED_DISCONNECT"

// disconnectReason is the word of AWS's lifecycle events (developer guide,
// "Lifecycle events", disconnect reasons). err is what mochi-mqtt ended with.
func (s *session) disconnectReason(err error) string {
	var why packets.Code
	if code := s.why.Load(); code != nil {
		why = *code
	}
	var timeout net.Error
	switch stopped := s.client.StopCause(); {
	case errors.Is(stopped, packets.CodeDisconnect), errors.Is(stopped, packets.CodeDisconnectWillMessage):
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
