package iot

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"lastwill/internal/localaws/loopback"
	"lastwill/internal/will"
)

// Limits of the message broker (general reference, "AWS IoT Core endpoints and
// quotas", message broker).
const (
	maxSubscriptionsPerRequest = 8
	// maxPacketBytes leaves room around the largest payload for topic and properties.
	maxPacketBytes = will.MaxPayloadBytes + 4096
	// sessionExpiry is how long a persistent session outlives its connection
	// (developer guide, "MQTT persistent sessions", the default).
	sessionExpiry = time.Hour
)

func (s *Service) startBroker() error {
	options := &mqtt.Options{
		// AWS has no $SYS topics; computing them stops the world each time.
		SysTopicResendInterval: int64((365 * 24 * time.Hour).Seconds()),
		Logger:                 slog.New(slog.DiscardHandler), // what matters is observed by the hook
		Capabilities:           mqtt.NewDefaultServerCapabilities(),
	}
	options.Capabilities.MinimumProtocolVersion = 4 // MQTT 3.1.1
	options.Capabilities.MaximumQos = 1
	options.Capabilities.TopicAliasMaximum = 0
	options.Capabilities.MaximumPacketSize = maxPacketBytes
	options.Capabilities.MaximumSessionExpiryInterval = uint32(sessionExpiry.Seconds())
	options.Capabilities.Compatibilities.NoInheritedPropertiesOnAck = true
	s.broker = mqtt.New(options)
	s.retain(s.retained)
	s.inline = s.broker.NewClient(nil, mqtt.LocalListener, mqtt.InlineClientId, true)
	if err := s.broker.AddHook(s.hook, nil); err != nil {
		return err
	}
	tcp, err := loopback.Listen(s.options.MQTTAddress)
	if err != nil {
		return fmt.Errorf("listen for MQTT: %w", err)
	}
	l := &listener{
		tcp: tcp, tls: s.deviceTLS(), verify: s.options.VerifyWebSocket, log: s.options.Log, ended: s.hook.ended, conns: map[*tls.Conn]bool{},
		refused: func(err error) {
			if !s.closing.Load() {
				s.observe(Event{Kind: Refused, Detail: err.Error()})
			}
		},
	}
	s.address = l.Address()
	if err := s.broker.AddListener(l); err != nil {
		return errors.Join(err, tcp.Close())
	}
	return s.broker.Serve()
}

// keepAlive is the interval that AWS IoT Core honours for the one asked for.
func keepAlive(asked uint16) uint16 {
	least, most := uint16(will.MinKeepAlive.Seconds()), uint16(will.MaxKeepAlive.Seconds())
	if asked == 0 {
		return most
	}
	return min(max(asked, least), most)
}

// checkPublish enforces the broker's limits on a message. Its errors wrap the
// reason code of MQTT 5.
func checkPublish(topic string, payloadBytes int, qos byte) error {
	slashes := strings.Count(topic, "/")
	if isBasicIngest(topic) {
		slashes -= 3 // the prefix of Basic Ingest does not count
	}
	switch {
	case qos > 1:
		return packets.ErrQosNotSupported
	case topic == "" || strings.ContainsAny(topic, "+#\x00"):
		return fmt.Errorf("%w: %q is empty or has wildcards", packets.ErrTopicNameInvalid, topic)
	case len(topic) > will.MaxTopicBytes:
		return fmt.Errorf("%w: it has %d bytes, at most %d are allowed", packets.ErrTopicNameInvalid, len(topic), will.MaxTopicBytes)
	case slashes > will.MaxTopicSlashes:
		return fmt.Errorf("%w: %q has %d slashes, at most %d are allowed", packets.ErrTopicNameInvalid, topic, slashes, will.MaxTopicSlashes)
	case payloadBytes > will.MaxPayloadBytes:
		return fmt.Errorf("%w: the payload has %d bytes, at most %d are allowed", packets.ErrPacketTooLarge, payloadBytes, will.MaxPayloadBytes)
	}
	return nil
}

// basicIngest begins the topics whose third level names the rule to run (developer
// guide, "Reducing messaging costs with Basic Ingest").
const basicIngest = "$aws/rules/"

func isBasicIngest(topic string) bool { return strings.HasPrefix(topic, basicIngest) }

// publish sends a message that no connected client sent: a republished one, one
// of the API's, or a will. It goes to subscribers and to the rules.
func (s *Service) publish(m *Message) error {
	err := s.broker.InjectPacket(s.inline, packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: m.QoS, Retain: m.Retain},
		TopicName:   m.Topic, Payload: m.Payload, Properties: m.properties,
		PacketID: uint16(m.QoS), // any, where there must be one
	})
	if err != nil {
		return err
	}
	s.process(m)
	return nil
}

// process tells of a message that subscribers have got and runs the rules on it,
// but not while the broker closes: it is the broker that goes then, not its devices.
func (s *Service) process(m *Message) {
	if s.closing.Load() {
		return
	}
	s.observe(Event{Kind: Published, ClientID: m.ClientID, Message: m})
	s.runRules(m)
}
