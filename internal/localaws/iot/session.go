package iot

import (
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/policy"
	"lastwill/internal/will"
)

// farewell is how long a client may take to read why its connection ends.
const farewell = time.Second

var errTakenOver = errors.New("another connection has taken the client ID")

// A session is a connection from its CONNECT to its end.
type session struct {
	client *mqtt.Client
	conn   *transport
	// certificateID is empty for a client with AWS credentials.
	certificateID string
	// principal is the certificate's id, or the unique ID of the credentials.
	principal string
	sourceIP  string
	// id and version are those of the session in lifecycle events.
	id            string
	version       int64
	context       map[string]string // for policies
	will          *Message          // nil for none
	willPrevented atomic.Bool
	// subscribing holds the filters of the SUBSCRIBE packet at hand.
	subscribing atomic.Pointer[packets.Subscriptions]
	// why the broker ends the connection; nil as long as it does not.
	why atomic.Pointer[packets.Code]
	// ended is closed when nothing of the connection is left.
	ended chan struct{}
}

// admit opens a session if certificate, policy and will allow it. Where it is the
// policy that does not, it returns the session beside the error.
func (h *hook) admit(cl *mqtt.Client, pk packets.Packet) (*session, error) {
	conn, ok := cl.Net.Conn.(*transport)
	if !ok {
		return nil, fmt.Errorf("the connection is a %T", cl.Net.Conn)
	}
	s := &session{client: cl, conn: conn, principal: conn.signer.UserID, sourceIP: host(cl.Net.Remote), id: awsapi.NewID(), ended: make(chan struct{})}
	peer := conn.peer()
	if peer != nil {
		s.certificateID = fingerprint(peer.Raw)
		s.principal = s.certificateID
	}
	// Known before the certificate is asked: one that is deactivated now either
	// fails here or finds the session.
	h.sessions.Store(cl.Net.Conn, s)
	if peer != nil {
		if _, err := h.service.certificateOf(peer); err != nil {
			return nil, err
		}
	}
	if len(cl.ID) > will.MaxClientIDBytes {
		return nil, fmt.Errorf("%w: it has %d bytes, at most %d are allowed", packets.ErrClientIdentifierNotValid, len(cl.ID), will.MaxClientIDBytes)
	}
	s.context = h.service.policyContext(s)
	if err := h.require(s, "iot:Connect", "client/"+cl.ID); err != nil {
		return s, err
	}
	return s, h.admitWill(s, pk.Connect.WillProperties)
}

func host(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}

// policyContext has the policy variables and condition keys of a connection. The
// thing is the one named like the client ID, if the certificate is attached to
// it (developer guide, "Thing policy variables").
func (s *Service) policyContext(of *session) map[string]string {
	clientID := of.client.ID
	context := map[string]string{
		"iot:ClientId": clientID, "aws:SourceIp": of.sourceIP, "aws:SecureTransport": "true",
		"iot:Connection.Thing.IsAttached": "false",
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if t, ok := s.things[clientID]; ok && t.principals[of.certificateID] {
		context["iot:Connection.Thing.IsAttached"] = "true"
		context["iot:Connection.Thing.ThingName"] = clientID
		for key, value := range t.Attributes {
			context["iot:Connection.Thing.Attributes["+key+"]"] = value
		}
	}
	return context
}

// admitWill keeps the Will Message of a client, and from mochi-mqtt: it drops all
// properties but those of users and, where the broker itself ends a connection
// that is just handling a packet (a takeover, say), the will.
func (h *hook) admitWill(s *session, p packets.Properties) error {
	w := s.client.Properties.Will
	if w.Flag == 0 {
		return nil
	}
	if err := checkPublish(w.TopicName, len(w.Payload), w.Qos); err != nil {
		return fmt.Errorf("will: %w", err)
	}
	if err := h.requirePublish(s, w.TopicName, w.Retain); err != nil {
		return fmt.Errorf("will: %w", err)
	}
	s.client.Properties.Will = mqtt.Will{}
	s.will = &Message{
		Topic: w.TopicName, Payload: w.Payload, ClientID: s.client.ID, Principal: s.principal, SourceIP: s.sourceIP,
		QoS: w.Qos, Retain: w.Retain, Will: true,
	}
	p.WillDelayInterval = 0 // AWS has none: the will goes at once
	s.will.properties = p
	return nil
}

func (h *hook) requirePublish(s *session, topic string, retain bool) error {
	if err := h.require(s, "iot:Publish", "topic/"+topic); err != nil {
		return err
	}
	if retain {
		return h.require(s, "iot:RetainPublish", "topic/"+topic)
	}
	return nil
}

// require is an error unless the policies of the session's certificate, or of the
// role that signed its request, allow the action. Others with AWS credentials may
// do everything.
func (h *hook) require(s *session, action, resource string) error {
	arn := h.service.options.Account.ARN("iot", resource)
	request := policy.Request{Action: action, Resource: arn, Context: s.context}
	if s.certificateID == "" {
		role := s.conn.signer.Role
		if role != nil && role.Decide(request) != policy.Allow {
			return fmt.Errorf("%w: no policy of the role allows %s on %s", packets.ErrNotAuthorized, action, arn)
		}
		return nil
	}
	if h.service.decide(s.certificateID, request) != policy.Allow {
		return fmt.Errorf("%w: no IoT policy of the certificate allows %s on %s", packets.ErrNotAuthorized, action, arn)
	}
	return nil
}

// takeOver gives a session its client ID. The connection that has it is ended
// first and leaves nothing behind: mochi-mqtt's own takeover keeps both of two
// connections that come at once, and the late end of an old one makes it forget
// the new one.
func (h *hook) takeOver(s *session) error {
	h.mu.Lock()
	before := h.holders[s.client.ID]
	h.holders[s.client.ID] = s
	h.mu.Unlock()
	if before == nil {
		return nil
	}
	h.end(before, packets.ErrSessionTakenOver)
	<-before.ended
	if s.client.Closed() {
		return errTakenOver
	}
	return nil
}

// end ends a connection from the broker's side. An MQTT 5 client is told why;
// MQTT 3.1.1 has no DISCONNECT in this direction [MQTT-3.14].
func (h *hook) end(s *session, why packets.Code) {
	s.why.CompareAndSwap(nil, &why)
	// Whoever reads nothing shall not hold up the others.
	hurry := time.AfterFunc(farewell, func() { _ = s.conn.tls.NetConn().Close() })
	defer hurry.Stop()
	if s.client.Properties.ProtocolVersion == 5 {
		_ = h.service.broker.DisconnectClient(s.client, why) // it returns the code that it was given
		return
	}
	s.client.Stop(why)
}

// ended is told by the listener that mochi-mqtt is done with a connection.
func (h *hook) ended(conn net.Conn) {
	loaded, ok := h.sessions.LoadAndDelete(conn)
	if !ok {
		return
	}
	s, _ := loaded.(*session)
	h.mu.Lock()
	if h.holders[s.client.ID] == s {
		delete(h.holders, s.client.ID)
	}
	h.mu.Unlock()
	close(s.ended)
}

func (h *hook) session(cl *mqtt.Client) (*session, bool) {
	loaded, ok := h.sessions.Load(cl.Net.Conn)
	if !ok {
		return nil, false
	}
	s, ok := loaded.(*session)
	return s, ok
}

// disconnectPrincipal ends the connections of a certificate, as AWS does within
// minutes of its deactivation.
func (s *Service) disconnectPrincipal(certificateID string) {
	s.hook.sessions.Range(func(_, loaded any) bool {
		if of, ok := loaded.(*session); ok && of.certificateID == certificateID {
			s.hook.end(of, packets.ErrAdministrativeAction)
		}
		return true
	})
}
