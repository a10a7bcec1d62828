package outage

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"lastwill/internal/will"
)

// An Event is a will, as the topic rule puts it into the queue.
type Event struct {
	// Device is the client ID that the will is about.
	Device string
	// Time is when the rule ran. Zero if the rule did not say.
	Time time.Time
}

// ParseEvent reads a message of the rule's SQS action (will.OutageSQL). The broker's
// client ID counts; the one that the payload claims only where the broker names none,
// as for messages over HTTP (developer guide, "clientid()").
// An event without a possible client ID has an empty Device: no such client can connect.
func ParseEvent(body []byte) (Event, error) {
	var raw struct {
		Client  any      `json:"client"`
		Claimed any      `json:"claimed"`
		Time    *float64 `json:"time"`
	}
	if err := json.Unmarshal(body, &raw); err != nil {
		return Event{}, fmt.Errorf("event %.100q: %w", body, err)
	}
	var e Event
	if raw.Time != nil && *raw.Time > 0 && *raw.Time < 1e14 {
		e.Time = time.UnixMilli(int64(*raw.Time)).UTC()
	}
	e.Device, _ = raw.Client.(string)
	if e.Device == "" || strings.EqualFold(e.Device, "n/a") {
		e.Device, _ = raw.Claimed.(string)
	}
	if !possible(e.Device) {
		e.Device = ""
	}
	return e, nil
}

// possible reports whether a client can have connected with this ID: AWS IoT Core takes
// UTF-8 of 1 to 128 bytes, and GetConnection none that begins with $. MQTT has no
// U+0000 in strings (MQTT 3.1.1, 1.5.3-2).
func possible(clientID string) bool {
	return clientID != "" && len(clientID) <= will.MaxClientIDBytes && utf8.ValidString(clientID) &&
		!strings.HasPrefix(clientID, "$") && !strings.Contains(clientID, "\x00")
}
