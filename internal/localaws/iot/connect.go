package iot

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/policy"
	"lastwill/internal/will"
)

var errTakenOver = errors.New("another connection has taken the client ID")

// connect reads a CONNECT, decides on it (identity, policy, will, keep alive) and
// answers it.
func (c *client) connect() (packets.Packet, error) {
	p, err := readPacket(c.reader, 0)
	if p.FixedHeader.Type == packets.Connect {
		c.version = p.ProtocolVersion
	}
	if err != nil {
		return p, err
	}
	if p.FixedHeader.Type != packets.Connect {
		return p, fmt.Errorf("%w: %s", packets.ErrProtocolViolationRequireFirstConnect, nameOf(p)) // [MQTT-3.1.0-1]
	}
	c.id = strings.Clone(p.Connect.ClientIdentifier)
	if err := checkConnect(p); err != nil {
		return p, err
	}
	if c.id == "" {
		c.id = awsapi.NewID() // [MQTT-3.1.3-6]
	}
	if !c.broker.throttle.take(c.id, time.Now()) {
		return p, fmt.Errorf("%w: one CONNECT in %s is taken for a client ID", packets.ErrQuotaExceeded, c.broker.throttle.interval)
	}
	if err := c.admit(p); err != nil {
		return p, err
	}
	if err := c.takeOver(); err != nil {
		return p, err
	}
	c.keepAlive = keepAlive(p.Connect.Keepalive)
	c.receiveMaximum = maxUnacknowledged
	if n := p.Properties.ReceiveMaximum; n > 0 {
		c.receiveMaximum = int(n)
	}
	c.maxPacketBytes = p.Properties.MaximumPacketSize
	switch {
	case c.version == mqtt5:
		c.sessionExpiry = honouredExpiry(p.Properties.SessionExpiryInterval)
	case !p.Connect.Clean:
		c.sessionExpiry = uint32(sessionExpiry.Seconds())
	}
	return p, c.accept(p, c.broker.openSession(c, p.Connect.Clean))
}

// begin lets a client that is connected have its messages, and tells of it.
func (c *client) begin(p packets.Packet) {
	c.session.outbox.attach(c)
	c.sessionVersion = c.broker.connections.connected(c, p)
	c.broker.service.observe(Event{Kind: Connected, ClientID: c.id, KeepAlive: time.Duration(c.keepAlive) * time.Second})
	c.tellConnected()
}

// honouredExpiry is a Session Expiry Interval in seconds, as far as it is honoured.
func honouredExpiry(asked uint32) uint32 { return min(asked, uint32(sessionExpiry.Seconds())) }

// checkConnect checks what a CONNECT says of itself.
func checkConnect(p packets.Packet) error {
	connect := p.Connect
	switch {
	case string(connect.ProtocolName) == "MQIsdp", string(connect.ProtocolName) == "MQTT" && p.ProtocolVersion != mqtt311 && p.ProtocolVersion != mqtt5:
		return fmt.Errorf("%w: level %d: use MQTT 3.1.1 or 5", packets.ErrUnsupportedProtocolVersion, p.ProtocolVersion)
	case string(connect.ProtocolName) != "MQTT":
		return fmt.Errorf("%w %q", packets.ErrProtocolViolationProtocolName, connect.ProtocolName)
	case p.ReservedBit != 0:
		return packets.ErrProtocolViolationReservedBit // [MQTT-3.1.2-3]
	case connect.ClientIdentifier == "" && !connect.Clean && p.ProtocolVersion == mqtt311:
		return fmt.Errorf("%w: there is none, and the session is persistent", packets.ErrClientIdentifierNotValid) // [MQTT-3.1.3-8]
	case connect.WillQos == 3:
		return packets.ErrProtocolViolationQosOutOfRange // [MQTT-3.1.2-14]
	case !connect.WillFlag && (connect.WillQos > 0 || connect.WillRetain):
		return packets.ErrProtocolViolationWillFlagSurplusRetain // [MQTT-3.1.2-11] [MQTT-3.1.2-13]
	case connect.PasswordFlag && !connect.UsernameFlag && p.ProtocolVersion == mqtt311:
		return packets.ErrProtocolViolationFlagNoUsername // [MQTT-3.1.2-22]
	case p.Properties.AuthenticationMethod != "":
		return fmt.Errorf("%w: %q", packets.ErrBadAuthenticationMethod, p.Properties.AuthenticationMethod)
	case len(connect.ClientIdentifier) > will.MaxClientIDBytes:
		return fmt.Errorf("%w: it has %d bytes, at most %d are allowed", packets.ErrClientIdentifierNotValid, len(connect.ClientIdentifier), will.MaxClientIDBytes)
	}
	return nil
}

// admit asks certificate and policy about a client and its will.
func (c *client) admit(p packets.Packet) error {
	// Known before the certificate is asked: one that is deactivated now either
	// fails here or finds the client.
	c.broker.enter(c)
	if peer := c.conn.peer(); peer != nil {
		if _, err := c.broker.service.certificateOf(peer); err != nil {
			return err
		}
	}
	service := c.broker.service
	c.who.context = service.policyContext(c)
	err := service.requireAll(c.who, service.connectRequest(policy.Request{
		Action: "iot:Connect", Resource: service.options.Account.ARN("iot", "client/"+c.id), Context: c.who.context, Sets: c.who.sets,
	}, p))
	if err == nil {
		err = c.admitWill(p)
	}
	if errors.Is(err, packets.ErrNotAuthorized) {
		c.tellRefused()
	}
	return err
}

// policyContext has the policy variables and condition keys of a connection. The
// thing is the one named like the client ID, if the certificate is attached to
// it (developer guide, "Thing policy variables").
func (s *Service) policyContext(c *client) map[string]string {
	context := map[string]string{
		"iot:ClientId": c.id, "aws:SourceIp": c.who.sourceIP, "aws:SecureTransport": "true",
		"iot:Connection.Thing.IsAttached": "false",
	}
	if peer := c.conn.peer(); peer != nil {
		var own map[string]string
		own, c.who.sets = certificateContext(peer)
		maps.Copy(context, own)
		context["iot:CertificateId"] = c.who.certificateID
	}
	if name := c.conn.tls.ConnectionState().ServerName; name != "" {
		context["iot:DomainName"] = name
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if t, ok := s.things[c.id]; ok && t.principals[c.who.certificateID] {
		context["iot:Connection.Thing.IsAttached"] = "true"
		context["iot:Connection.Thing.ThingName"] = c.id
		for key, value := range t.Attributes {
			context["iot:Connection.Thing.Attributes["+key+"]"] = value
		}
	}
	return context
}

// admitWill keeps the Will Message of a client. AWS has no Will Delay Interval: the
// will goes at once.
func (c *client) admitWill(p packets.Packet) error {
	w := p.Connect
	if !w.WillFlag {
		return nil
	}
	if err := checkPublish(w.WillTopic, len(w.WillPayload), w.WillQos); err != nil {
		return fmt.Errorf("will: %w", err)
	}
	if err := c.broker.service.requirePublish(c.who, w.WillTopic, w.WillRetain); err != nil {
		return fmt.Errorf("will: %w", err)
	}
	if strings.HasPrefix(w.WillTopic, "$") {
		return fmt.Errorf("will: %w: %q is reserved: use a topic of your own and republish from a rule", packets.ErrTopicNameInvalid, w.WillTopic)
	}
	c.will = c.message(w.WillTopic, w.WillPayload, w.WillProperties)
	c.will.QoS, c.will.Retain, c.will.Will = w.WillQos, w.WillRetain, true
	return nil
}

// requirePublish is an error unless the principal may publish on a topic.
func (s *Service) requirePublish(who *principal, topic string, retain bool) error {
	if err := s.require(who, "iot:Publish", "topic/"+topic); err != nil {
		return err
	}
	if retain {
		return s.require(who, "iot:RetainPublish", "topic/"+topic)
	}
	return nil
}

// require is an error unless the policies of the certificate, or of the role that
// signed the request, allow the action. Others with AWS credentials may do everything.
func (s *Service) require(who *principal, action, resource string) error {
	arn := s.options.Account.ARN("iot", resource)
	return s.requireAll(who, policy.Request{Action: action, Resource: arn, Context: who.context, Sets: who.sets})
}

func (s *Service) requireAll(who *principal, request policy.Request) error {
	action, arn := request.Action, request.Resource
	if who.certificateID == "" {
		if who.role != nil && who.role.Decide(request) != policy.Allow {
			return fmt.Errorf("%w: no policy of the role allows %s on %s", packets.ErrNotAuthorized, action, arn)
		}
		return nil
	}
	if s.decide(who.certificateID, request) != policy.Allow {
		return fmt.Errorf("%w: no IoT policy of the certificate allows %s on %s", packets.ErrNotAuthorized, action, arn)
	}
	return nil
}

// takeOver gives a client its client ID. The connection that has it is ended first and
// leaves nothing behind.
func (c *client) takeOver() error {
	before := c.broker.hold(c)
	if before == nil {
		return nil
	}
	before.end(packets.ErrSessionTakenOver)
	<-before.ended
	if c.why.Load() != nil {
		return errTakenOver
	}
	return nil
}

// accept sends the CONNACK, with the properties that AWS's has: those of developer
// guide, "MQTT 5 supported features", at the values that clients log
// (receive_maximum=100, maximum_packet_size=149504, topic_alias_maximum=8).
func (c *client) accept(p packets.Packet, present bool) error {
	connack := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connack}, SessionPresent: present}
	connack.Properties = packets.Properties{
		ReceiveMaximum: maxUnacknowledged, MaximumPacketSize: maxPacketBytes, TopicAliasMaximum: maxTopicAliases,
		MaximumQos: 1, MaximumQosFlag: true, RetainAvailable: 1, RetainAvailableFlag: true,
		WildcardSubAvailable: 1, WildcardSubAvailableFlag: true, SharedSubAvailable: 1, SharedSubAvailableFlag: true,
		SubIDAvailable: 0, SubIDAvailableFlag: true, ServerKeepAlive: c.keepAlive, ServerKeepAliveFlag: true,
	}
	if p.Connect.ClientIdentifier == "" {
		connack.Properties.AssignedClientID = c.id // [MQTT-3.2.2-16]
	}
	if c.version == mqtt5 && c.sessionExpiry != p.Properties.SessionExpiryInterval {
		connack.Properties.SessionExpiryInterval, connack.Properties.SessionExpiryIntervalFlag = c.sessionExpiry, true
	}
	return c.send(connack)
}

// refuse says why there is no connection: in the log, and to the client if its version
// has a code for it.
func (c *client) refuse(reason error) {
	if !c.broker.service.closing.Load() {
		c.observe(Refused, reason.Error())
	}
	code, ok := connackCode(c.version, reason)
	if !ok || c.why.Load() != nil {
		return
	}
	if c.version != mqtt311 && c.version != mqtt5 {
		c.version = mqtt311 // what all can read
	}
	_ = c.send(packets.Packet{ // whether it arrives or not, the connection ends
		FixedHeader: packets.FixedHeader{Type: packets.Connack}, ReasonCode: code, Properties: packets.Properties{ReasonString: codeOf(reason).Reason},
	})
}

// codeOf is the reason code of MQTT 5 for an error.
func codeOf(err error) packets.Code {
	if code, ok := errors.AsType[packets.Code](err); ok {
		return code
	}
	return packets.ErrNotAuthorized
}

// connackCode is the code of a refusal that is legal in a version's CONNACK (MQTT
// 3.1.1, 3.2.2.3; MQTT 5, 3.2.2.2); ok is false for none: then the connection just
// ends, as MQTT 3.1.1 wants it for a CONNECT that is malformed [MQTT-3.1.4-1].
func connackCode(version byte, reason error) (code byte, ok bool) {
	code = codeOf(reason).Code
	if version == 0 { // no CONNECT came
		return 0, false
	}
	if version == mqtt5 {
		if code >= 0x80 && code <= 0x8A || slices.Contains([]byte{0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F}, code) {
			return code, true
		}
		return packets.ErrUnspecifiedError.Code, true
	}
	switch code {
	case packets.ErrUnsupportedProtocolVersion.Code:
		return packets.Err3UnsupportedProtocolVersion.Code, true
	case packets.ErrClientIdentifierNotValid.Code:
		return packets.Err3ClientIdentifierNotValid.Code, true
	case packets.ErrServerUnavailable.Code, packets.ErrServerBusy.Code, packets.ErrQuotaExceeded.Code, packets.ErrConnectionRateExceeded.Code:
		return packets.Err3ServerUnavailable.Code, true
	case packets.ErrMalformedPacket.Code, packets.ErrProtocolViolation.Code, packets.ErrUnspecifiedError.Code:
		return 0, false
	}
	return packets.Err3NotAuthorized.Code, true
}
