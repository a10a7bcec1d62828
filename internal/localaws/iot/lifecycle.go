package iot

import (
	"encoding/json"
	"strings"
	"time"

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

// tell publishes a lifecycle event of a client below $aws/events/, if anybody
// would get it: a fleet that comes or goes costs twice as much with events.
func (c *client) tell(group string, e lifecycleEvent) {
	topic := "$aws/events/" + group + "/" + e.EventType + "/" + c.id
	if strings.ContainsAny(c.id, "+#") || !c.broker.service.heard(topic) {
		return
	}
	e.ClientID, e.SessionIdentifier, e.PrincipalIdentifier = c.id, c.sessionID, c.who.id
	now := time.Now()
	e.Timestamp = now.UnixMilli()
	b, err := json.Marshal(e)
	if err != nil {
		c.broker.service.options.Log.Error("lifecycle event was not published", "topic", topic, "error", err)
		return
	}
	c.broker.service.publish(&Message{Topic: topic, Payload: b, Time: now})
}

// heard reports whether a message on a topic would get to a subscriber, a rule, or
// an observer of lifecycle events.
func (s *Service) heard(topic string) bool {
	if s.lifecycleWatched.Load() || s.broker.router.heard(topic) {
		return true
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for range s.index.Match(topic) {
		return true
	}
	return false
}

func (c *client) tellConnected() {
	c.tell("presence", lifecycleEvent{EventType: "connected", IPAddress: c.who.sourceIP, VersionNumber: &c.sessionVersion})
}

func (c *client) tellDisconnected(reason string) {
	initiated := reason == clientInitiated
	c.tell("presence", lifecycleEvent{
		EventType: "disconnected", ClientInitiatedDisconnect: &initiated, DisconnectReason: reason, VersionNumber: &c.sessionVersion,
	})
}

// tellRefused tells of a CONNECT that a policy forbids, or whose will it does.
func (c *client) tellRefused() {
	c.tell("presence", lifecycleEvent{EventType: "connect_failed", ConnectFailureReason: "AUTHORIZATION_FAILED", IPAddress: c.who.sourceIP})
}

// tellFilters tells of those filters whose reason code is none of failure. Those that
// go with their connection are not told of.
func (c *client) tellFilters(eventType string, filters packets.Subscriptions, codes []byte) {
	var topics []string
	for i, f := range filters {
		if i >= len(codes) || codes[i] < packets.ErrUnspecifiedError.Code {
			topics = append(topics, f.Filter)
		}
	}
	if len(topics) > 0 {
		c.tell("subscriptions", lifecycleEvent{EventType: eventType, Topics: topics})
	}
}
