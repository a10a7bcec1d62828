package iot

import (
	"maps"
	"slices"
	"strings"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// A RetainedMessage is what new subscribers to its topic get.
type RetainedMessage struct {
	Topic        string
	Payload      []byte
	QoS          byte
	LastModified time.Time // to the second
}

// ListRetainedMessages returns all retained messages by topic.
func (s *Service) ListRetainedMessages() []RetainedMessage {
	kept := s.broker.Topics.Retained.GetAll()
	out := make([]RetainedMessage, 0, len(kept))
	for _, topic := range slices.Sorted(maps.Keys(kept)) {
		if !brokersOwn(topic) {
			out = append(out, retainedMessage(kept[topic]))
		}
	}
	return out
}

// retain brings retained messages back.
func (s *Service) retain(messages []RetainedMessage) {
	for _, m := range messages {
		s.broker.Topics.RetainMessage(packets.Packet{
			FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: m.QoS, Retain: true},
			TopicName:   m.Topic, Payload: m.Payload, Created: m.LastModified.Unix(), Origin: mqtt.InlineClientId,
		})
	}
}

// brokersOwn tells mochi-mqtt's statistics, which AWS does not have.
func brokersOwn(topic string) bool { return strings.HasPrefix(topic, "$SYS/") }

func retainedMessage(pk packets.Packet) RetainedMessage {
	return RetainedMessage{Topic: pk.TopicName, Payload: pk.Payload, QoS: pk.FixedHeader.Qos, LastModified: time.Unix(pk.Created, 0)}
}
