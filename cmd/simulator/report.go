package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"lastwill/internal/device"
)

// event is one line of -json.
type event struct {
	Time  time.Time `json:"time"`
	Event string    `json:"event"`
	// Endpoint is host:port.
	Endpoint string `json:"endpoint,omitempty"`
	// Transport is mtls, mtls-alpn or websocket; MQTT is 3.1.1 or 5.
	Transport        device.Transport `json:"transport,omitempty"`
	MQTT             string           `json:"mqtt,omitempty"`
	ClientID         string           `json:"clientId,omitempty"`
	KeepAliveSeconds int              `json:"keepAliveSeconds,omitempty"`
	WillTopic        string           `json:"willTopic,omitempty"`
	Topic            string           `json:"topic,omitempty"`
	// Payload is set when it is UTF-8, PayloadBase64 when it is not.
	Payload       string  `json:"payload,omitempty"`
	PayloadBase64 []byte  `json:"payloadBase64,omitempty"`
	SleepSeconds  float64 `json:"sleepSeconds,omitempty"`
	// SilenceSeconds is how long a frozen device was silent before the broker
	// ended the connection.
	SilenceSeconds float64 `json:"silenceSeconds,omitempty"`
}

// reporter tells what happens, for people or as JSON. Messages arrive in a
// goroutine of their own.
type reporter struct {
	mu   sync.Mutex
	out  io.Writer
	json bool
}

func (r *reporter) say(e event, format string, args ...any) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.json {
		encoder := json.NewEncoder(r.out)
		encoder.SetEscapeHTML(false)
		_ = encoder.Encode(e) // to a terminal or a pipe; there is nobody left to tell
		return
	}
	fmt.Fprintf(r.out, "%s  %s\n", e.Time.Format("15:04:05.000"), fmt.Sprintf(format, args...))
}

func (r *reporter) connected(cfg device.Config, d *device.Device) {
	how := cfg.Transport()
	r.say(event{
		Event: "connected", Endpoint: d.Addr(), Transport: how, MQTT: cfg.Protocol(), ClientID: cfg.ClientID,
		KeepAliveSeconds: int(d.KeepAlive() / time.Second), WillTopic: cfg.Will.Topic,
	}, "connected to %s as %s, MQTT %s over %s, keep alive %s, will on %s", d.Addr(), cfg.ClientID, cfg.Protocol(), how.Words(), d.KeepAlive(), cfg.Will.Topic)
}

func (r *reporter) subscribed(topic string) {
	r.say(event{Event: "subscribed", Topic: topic}, "subscribed to %s", topic)
}

func (r *reporter) published(topic string, payload []byte) {
	e := withPayload(event{Event: "published", Topic: topic}, payload)
	r.say(e, "published to %s: %s", topic, printable(payload))
}

func (r *reporter) message(m device.Message) {
	e := withPayload(event{Event: "message", Topic: m.Topic}, m.Payload)
	r.say(e, "received on %s: %s", printable([]byte(m.Topic)), printable(m.Payload))
}

func (r *reporter) sleeping(o options) {
	hint := ""
	if o.end != string(device.Disconnect) && o.onInterrupt == string(device.Disconnect) {
		hint = " (Ctrl-C: disconnect properly instead)"
	}
	r.say(event{Event: "sleeping", SleepSeconds: o.sleep.Seconds()}, "sleeping %s, then %s%s", o.sleep, ends[device.End(o.end)].what, hint)
}

func withPayload(e event, payload []byte) event {
	if utf8.Valid(payload) {
		e.Payload = string(payload)
	} else {
		e.PayloadBase64 = payload
	}
	return e
}

// printable quotes a payload that could play tricks with a terminal.
func printable(payload []byte) string {
	s := string(payload)
	tricky := func(r rune) bool { return !unicode.IsPrint(r) && r != '\n' && r != '\t' }
	if !utf8.ValidString(s) || strings.ContainsFunc(s, tricky) {
		return fmt.Sprintf("%q", s)
	}
	return s
}
