package iot

import (
	"encoding/json"
	"strings"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// A lifecycleEvent is what the broker publishes about a client (developer guide,
// "Lifecycle events"). There is no exclusive thing here, so none names its thing.
type lifecycleEvent struct {
	ClientID  string `json:"clientId"`
	Timestamp int64  `json:"timestamp"` // milliseconds since 1970
	// EventType is the last word of the topic: connected, disconnected,
	// connect_failed, subscribed or unsubscribed.
	EventType                 string   `json:"eventType"`
	ConnectFailureReason      string   `json:"connectFailureReason,omitempty"`
	SessionIdentifier         string   `json:"sessionIdentifier"`
	PrincipalIdentifier       string   `json:"principalIdentifier"`
	IPAddress                 string   `json:"ipAddress,omitempty"`
	ClientInitiatedDisconnect *bool    `json:"clientInitiatedDisconnect,omitempty"`
	DisconnectReason          string   `json:"disconnectReason,omitempty"`
	VersionNumber             *int64   `json:"versionNumber,omitempty"`
	Topics                    []string `json:"topics,omitempty"`
}

// WatchLifecycle makes the broker publish all lifecycle events from now on, for
// an observer that is no subscriber.
func (s *Service) WatchLifecycle() { s.lifecycleWatched.Store(true) }

// tell publishes a lifecycle event of a session below $aws/events/, if anybody
// would get it: a fleet that comes or goes costs twice as much with events.
func (h *hook) tell(s *session, group string, e lifecycleEvent) {
	topic := "$aws/events/" + group + "/" + e.EventType + "/" + s.client.ID
	if strings.ContainsAny(s.client.ID, "+#") || !h.service.heard(topic) {
		return
	}
	e.ClientID, e.SessionIdentifier, e.PrincipalIdentifier = s.client.ID, s.id, s.principal
	now := time.Now()
	e.Timestamp = now.UnixMilli()
	b, err := json.Marshal(e)
	if err == nil {
		err = h.service.publish(&Message{Topic: topic, Payload: b, Time: now})
	}
	if err != nil {
		h.service.options.Log.Error("lifecycle event was not published", "topic", topic, "error", err)
	}
}

// heard reports whether a message on a topic would get to a subscriber, a rule, or
// an observer of lifecycle events.
func (s *Service) heard(topic string) bool {
	if s.lifecycleWatched.Load() {
		return true
	}
	s.mu.RLock()
	for range s.index.Match(topic) {
		s.mu.RUnlock()
		return true
	}
	s.mu.RUnlock()
	found := s.broker.Topics.Subscribers(topic)
	return len(found.Subscriptions)+len(found.Shared) > 0
}

func (h *hook) tellConnected(s *session) {
	h.tell(s, "presence", lifecycleEvent{EventType: "connected", IPAddress: s.sourceIP, VersionNumber: &s.version})
}

func (h *hook) tellDisconnected(s *session, reason string) {
	initiated := reason == clientInitiated
	h.tell(s, "presence", lifecycleEvent{
		EventType: "disconnected", ClientInitiatedDisconnect: &initiated, DisconnectReason: reason, VersionNumber: &s.version,
	})
}

// tellRefused tells of a CONNECT that a policy forbids, or whose will it does.
func (h *hook) tellRefused(s *session) {
	h.tell(s, "presence", lifecycleEvent{EventType: "connect_failed", ConnectFailureReason: "AUTHORIZATION_FAILED", IPAddress: s.sourceIP})
}

// OnUnsubscribed tells of filters that a client does not want any more. Those that
// go with its connection are none of them.
func (h *hook) OnUnsubscribed(cl *mqtt.Client, pk packets.Packet) {
	if s, ok := h.session(cl); ok && !cl.Closed() {
		h.tellFilters(s, "unsubscribed", pk.Filters, nil)
	}
}

// tellFilters tells of those filters whose reason code is none of failure.
func (h *hook) tellFilters(s *session, eventType string, filters packets.Subscriptions, codes []byte) {
	var topics []string
	for i, f := range filters {
		if i >= len(codes) || codes[i] < packets.ErrUnspecifiedError.Code {
			topics = append(topics, f.Filter)
		}
	}
	if len(topics) > 0 {
		h.tell(s, "subscriptions", lifecycleEvent{EventType: eventType, Topics: topics})
	}
}
