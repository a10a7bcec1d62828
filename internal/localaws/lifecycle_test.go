package localaws_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"lastwill/internal/device"
	"lastwill/internal/device/brokertest"
	"lastwill/internal/will"
)

// A lifecycle is what the broker says of a client.
type lifecycle struct {
	ClientID                  string   `json:"clientId"`
	Timestamp                 int64    `json:"timestamp"`
	EventType                 string   `json:"eventType"`
	SessionIdentifier         string   `json:"sessionIdentifier"`
	PrincipalIdentifier       string   `json:"principalIdentifier"`
	IPAddress                 string   `json:"ipAddress"`
	ClientInitiatedDisconnect *bool    `json:"clientInitiatedDisconnect"`
	DisconnectReason          string   `json:"disconnectReason"`
	ConnectFailureReason      string   `json:"connectFailureReason"`
	VersionNumber             *int64   `json:"versionNumber"`
	Topics                    []string `json:"topics"`
}

func lifecycleOf(t testing.TB, seen brokertest.Seen) lifecycle {
	t.Helper()
	var e lifecycle
	check(t, json.Unmarshal([]byte(seen.Payload), &e))
	if want := "/" + e.EventType + "/" + e.ClientID; len(seen.Topic) < len(want) || seen.Topic[len(seen.Topic)-len(want):] != want {
		t.Errorf("%s came on topic %s", seen.Payload, seen.Topic)
	}
	return e
}

// Who comes and goes is told on $aws/events, to those who ask for it and nobody else.
func TestLifecycleEvents(t *testing.T) {
	t.Parallel()
	c := start(t)
	stack := c.deploy(t, addStatement(t, allow("iot:Subscribe", "topicfilter/site/#")))
	identity := c.thing(t, stack)
	id := stack.Output("CertificateId")
	everything := c.observer(t, "#")
	follower := c.person(t, "follower", allow("iot:*", "*")).mosquitto(t, c)
	observer := follower.Observe(t, "$aws/events/presence/+/lwtThing", "$aws/events/subscriptions/+/lwtThing")

	cfg := c.device(identity)
	cfg.NoWill = true
	first := connect(t, cfg)
	check(t, first.Subscribe(deadline(t), "site/#"))
	if err := first.Subscribe(deadline(t), "forbidden"); err == nil {
		t.Error("a forbidden subscription was accepted")
	}
	second := connect(t, cfg)
	_, err := second.Drop()
	check(t, err)
	third := connect(t, cfg)
	check(t, third.Disconnect())
	cfg.NoWill, cfg.Will = false, device.Message{Topic: "forbidden", Payload: []byte("x")}
	if _, err := device.Connect(deadline(t), cfg); err == nil {
		t.Error("a will on a forbidden topic was accepted")
	}

	session := ""
	for _, want := range []struct {
		event, reason string
		version       int64
		again         bool // of the same session as the event before
	}{
		{"connected", "", 0, false},
		{"subscribed", "", -1, true},
		{"disconnected", "DUPLICATE_CLIENTID", 0, true},
		{"connected", "", 1, false},
		{"disconnected", "CONNECTION_LOST", 1, true},
		{"connected", "", 2, false},
		{"disconnected", "CLIENT_INITIATED_DISCONNECT", 2, true},
		{"connect_failed", "AUTHORIZATION_FAILED", -1, false},
	} {
		e := lifecycleOf(t, observer.Next(t))
		if e.EventType != want.event || e.ClientID != will.ThingName || e.DisconnectReason+e.ConnectFailureReason != want.reason {
			t.Fatalf("%+v, want %+v", e, want)
		}
		if e.PrincipalIdentifier != id || e.Timestamp == 0 || (e.SessionIdentifier == session) != want.again {
			t.Errorf("%s has session %q (before: %q), principal %q, timestamp %d", e.EventType, e.SessionIdentifier, session, e.PrincipalIdentifier, e.Timestamp)
		}
		session = e.SessionIdentifier
		if (e.VersionNumber != nil) != (want.version >= 0) || e.VersionNumber != nil && *e.VersionNumber != want.version {
			t.Errorf("%s of version %v, want %d", e.EventType, e.VersionNumber, want.version)
		}
		if want.event == "connected" && e.IPAddress != "127.0.0.1" {
			t.Errorf("connected from %q", e.IPAddress)
		}
		if want.event == "subscribed" && fmt.Sprint(e.Topics) != "[site/#]" {
			t.Errorf("subscribed to %v", e.Topics)
		}
		if want.event == "disconnected" && *e.ClientInitiatedDisconnect != (want.reason == "CLIENT_INITIATED_DISCONNECT") {
			t.Errorf("%s is client initiated: %v", want.reason, *e.ClientInitiatedDisconnect)
		}
	}
	if rest := everything.Rest(t); len(rest) > 0 {
		t.Errorf("# got %v", topics(rest))
	}
}

// A rule may take them, whether or not somebody has subscribed.
func TestARuleTakesLifecycleEvents(t *testing.T) {
	t.Parallel()
	c := start(t)
	stack := c.deploy(t, func(tm template) {
		tm.rule(t)["Sql"] = "SELECT clientId, disconnectReason FROM '$aws/events/presence/disconnected/+' WHERE clientInitiatedDisconnect = false"
	})
	observer := c.observer(t, names.ExecutedTopic)
	d := connect(t, c.device(c.thing(t, stack)))
	_, err := d.Drop()
	check(t, err)
	if got, want := observer.Next(t).Payload, `{"clientId":"lwtThing","disconnectReason":"CONNECTION_LOST"}`; got != want {
		t.Errorf("the rule's copy is %s, want %s", got, want)
	}
}
