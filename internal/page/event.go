package page

import (
	"encoding/hex"
	"encoding/json"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"lastwill/internal/iotsql"
	"lastwill/internal/will"
)

// Kind says what happened.
type Kind string

// What the page shows.
const (
	// Connected is a CONNECT that was accepted.
	Connected Kind = "connected"
	// Refused is a packet that was not; Detail says why.
	Refused Kind = "refused"
	// Disconnected is the end of a connection; Detail has AWS's disconnectReason.
	Disconnected Kind = "disconnected"
	// Message, Will and Copy are messages on a topic: one that somebody published,
	// one that the broker published for a lost client, one that a rule republished.
	Message Kind = "message"
	Will    Kind = "will"
	Copy    Kind = "copy"
	// Matched and NotMatched are what a rule said to a message.
	Matched    Kind = "matched"
	NotMatched Kind = "unmatched"
	// Done and Failed are rule actions, ErrorAction is one that ran because of a
	// failed one.
	Done        Kind = "done"
	Failed      Kind = "failed"
	ErrorAction Kind = "erroraction"
	// Mail is an e-mail that arrived.
	Mail Kind = "mail"
	// Stack is a change of state of a stack or one of its resources.
	Stack Kind = "stack"
	// Note is something to know about a client, or about what the page was told;
	// Detail says what.
	Note Kind = "note"
)

// kinds has a place in Totals for each Kind.
var kinds = [...]Kind{Connected, Refused, Disconnected, Message, Will, Copy, Matched, NotMatched, Done, Failed, ErrorAction, Mail, Stack, Note}

var kindPlace = func() map[Kind]int {
	m := map[Kind]int{}
	for i, k := range kinds {
		m[k] = i
	}
	return m
}()

// An Event is one thing that happened. Payload, Output and Query must not change
// afterwards.
type Event struct {
	Kind   Kind
	Time   time.Time
	Client string
	Rule   string
	// Topic, Payload, QoS and Retain are those of the message, also of the one
	// that a rule was evaluated over.
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool
	// Detail is a line for people.
	Detail string
	// KeepAlive of a client that connected, as the broker honours it.
	KeepAlive time.Duration
	// Query is the statement that was evaluated, Message the message as it saw it.
	Query   *iotsql.Rule
	Message *iotsql.Message
	// Output is what the statement made of the message.
	Output []byte
	// Name of the mail.
	Name string
}

// An entry is an Event in the history.
type entry struct {
	Event
	n uint64
	// heard is when the client was last heard of, of an event that ends its connection.
	heard   time.Time
	encoded atomic.Pointer[[]byte]
}

// maxPreview is how much of a payload goes into the stream; the rest is asked
// for when somebody looks at it.
const maxPreview = 2048

// wireEvent is an Event as the page's script reads it.
type wireEvent struct {
	N         uint64  `json:"n"`
	Kind      Kind    `json:"kind"`
	Time      float64 `json:"t"` // milliseconds since 1970
	Client    string  `json:"client,omitempty"`
	Rule      string  `json:"rule,omitempty"`
	Topic     string  `json:"topic,omitempty"`
	Payload   string  `json:"payload,omitempty"`
	Hex       bool    `json:"hex,omitempty"`  // Payload is no text and written in hexadecimal
	Size      int     `json:"size,omitempty"` // of the whole payload, where Payload is not all of it
	QoS       byte    `json:"qos"`
	Retain    bool    `json:"retain,omitempty"`
	Detail    string  `json:"detail,omitempty"`
	KeepAlive float64 `json:"keepAlive,omitempty"` // seconds
	Heard     float64 `json:"heard,omitempty"`     // milliseconds since 1970
	Own       bool    `json:"own,omitempty"`       // Client is one of lwt itself
	Name      string  `json:"name,omitempty"`
}

func (e *entry) wire(most int) wireEvent {
	w := wireEvent{
		N: e.n, Kind: e.Kind, Time: milliseconds(e.Time), Client: e.Client, Rule: e.Rule, Topic: e.Topic,
		QoS: e.QoS, Retain: e.Retain, Detail: e.Detail, KeepAlive: e.KeepAlive.Seconds(), Name: e.Name,
		Own: will.IsOwnClient(e.Client),
	}
	if !e.heard.IsZero() {
		w.Heard = milliseconds(e.heard)
	}
	shown := e.Payload[:min(len(e.Payload), most)]
	if len(shown) < len(e.Payload) {
		w.Size = len(e.Payload)
	}
	w.Payload, w.Hex = text(shown)
	return w
}

// text shows bytes: as they are if they are text, which may be cut within its last
// character, else in hexadecimal.
func text(b []byte) (s string, isHex bool) {
	whole := b
	for i := len(b) - 1; i >= max(0, len(b)-utf8.UTFMax); i-- {
		if utf8.RuneStart(b[i]) {
			if !utf8.FullRune(b[i:]) {
				whole = b[:i]
			}
			break
		}
	}
	if utf8.Valid(whole) {
		return string(whole), false
	}
	return hex.EncodeToString(b), true
}

// json is the event as the stream sends it, encoded once for all readers.
func (e *entry) json() []byte {
	if b := e.encoded.Load(); b != nil {
		return *b
	}
	b, err := json.Marshal(e.wire(maxPreview))
	if err != nil {
		b = []byte("null") // strings and numbers always marshal
	}
	e.encoded.Store(&b)
	return b
}

func milliseconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1000 }
