package iot

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// A RetainedMessage is what new subscribers to its topic get.
type RetainedMessage struct {
	Topic        string
	Payload      []byte
	QoS          byte
	LastModified time.Time // to the second
	// Expires is zero for a message that stays until it is replaced; AWS keeps it for
	// three years.
	Expires time.Time `json:",omitzero"`

	properties packets.Properties
}

type retainedMessages struct {
	mu      sync.Mutex
	byTopic map[string]RetainedMessage
}

// keep retains a message, or forgets the one before if it is empty [MQTT-3.3.1-6].
func (r *retainedMessages) keep(m *Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(m.Payload) == 0 {
		delete(r.byTopic, m.Topic)
		return
	}
	r.byTopic[m.Topic] = RetainedMessage{
		Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, LastModified: m.Time.Truncate(time.Second), Expires: m.expires, properties: m.properties,
	}
}

// get returns the message of a topic, unless it has expired.
func (r *retainedMessages) get(topic string, now time.Time) (RetainedMessage, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, ok := r.byTopic[topic]
	if ok && !m.Expires.IsZero() && !now.Before(m.Expires) {
		delete(r.byTopic, topic)
		return RetainedMessage{}, false
	}
	return m, ok
}

// sendRetained gives a new subscriber the message of its topic. AWS sends it to a filter
// that equals the topic alone, never to one with wildcards (developer guide, "MQTT
// retained messages").
func (b *broker) sendRetained(s *session, f packets.Subscription) {
	m, ok := b.retained.get(f.Filter, time.Now())
	if !ok {
		return
	}
	b.deliver(s, delivery{qos: min(m.QoS, f.Qos), retain: true, message: &Message{
		Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, Retain: true, properties: m.properties, expires: m.Expires,
	}})
}

// ListRetainedMessages returns all retained messages by topic.
func (s *Service) ListRetainedMessages() []RetainedMessage {
	r := &s.broker.retained
	r.mu.Lock()
	topics := slices.Sorted(maps.Keys(r.byTopic))
	r.mu.Unlock()
	out := make([]RetainedMessage, 0, len(topics))
	for _, topic := range topics {
		if m, ok := r.get(topic, time.Now()); ok {
			out = append(out, m)
		}
	}
	return out
}
