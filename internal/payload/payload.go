// Package payload shows MQTT messages to people and scripts. Whoever may publish
// decides what is in a message; nothing in it reaches a terminal but printable
// characters.
package payload

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// A Message to show.
type Message struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool
}

// JSONLine is a message as one JSON object.
func JSONLine(at time.Time, m Message) string {
	line := struct {
		Time    string          `json:"time"`
		Topic   string          `json:"topic"`
		QoS     byte            `json:"qos"`
		Retain  bool            `json:"retain"`
		Payload json.RawMessage `json:"payload,omitempty"`
		Text    *string         `json:"text,omitempty"`
		Base64  []byte          `json:"base64,omitempty"`
	}{Time: at.UTC().Format("2006-01-02T15:04:05.000Z"), Topic: m.Topic, QoS: m.QoS, Retain: m.Retain}
	switch text := string(m.Payload); {
	case json.Valid(m.Payload) && utf8.Valid(m.Payload):
		line.Payload = m.Payload
	case utf8.Valid(m.Payload):
		line.Text = &text
	default:
		line.Base64 = m.Payload
	}
	b, err := json.Marshal(line)
	if err != nil { // what is valid can be marshalled
		return fmt.Sprintf("{%q: %q}\n", "error", err)
	}
	return Printable(string(b)) + "\n"
}

// Line is a message on one line.
func Line(at time.Time, m Message) string {
	payload := m.Payload
	var compact bytes.Buffer
	if json.Compact(&compact, payload) == nil {
		payload = compact.Bytes()
	}
	return fmt.Sprintf("%s  %s%s  %s\n", clock(at), Printable(m.Topic), retained(m), plain(payload))
}

// Paragraph is a message for people: JSON is indented.
func Paragraph(at time.Time, m Message) string {
	var lines []string
	var indented bytes.Buffer
	if nesting(m.Payload) <= maxIndent && json.Indent(&indented, m.Payload, "", "  ") == nil && utf8.Valid(m.Payload) {
		lines = strings.Split(indented.String(), "\n")
		for i, line := range lines {
			lines[i] = Printable(line)
		}
	} else {
		lines = []string{plain(m.Payload)}
	}
	return fmt.Sprintf("%s  %s%s\n    %s\n", clock(at), Printable(m.Topic), retained(m), strings.Join(lines, "\n    "))
}

func clock(at time.Time) string { return at.Format("15:04:05.000") }

func retained(m Message) string {
	if m.Retain {
		return " (retained)"
	}
	return ""
}

// maxIndent is how deep JSON may nest to be indented: what is deeper was not
// written for people, and its indentation can be a thousand times its size.
const maxIndent = 32

// nesting is how deep the brackets of a payload nest, those in its texts included.
func nesting(payload []byte) int {
	depth, deepest := 0, 0
	for _, c := range payload {
		switch c {
		case '{', '[':
			depth++
			deepest = max(deepest, depth)
		case '}', ']':
			depth--
		}
	}
	return deepest
}

// shownBytes is how much of a binary payload is shown.
const shownBytes = 64

// plain is a payload on one line.
func plain(payload []byte) string {
	switch {
	case len(payload) == 0:
		return "(empty)"
	case utf8.Valid(payload):
		return Printable(string(payload))
	case len(payload) > shownBytes:
		return fmt.Sprintf("(binary, %d bytes) %s...", len(payload), hex.EncodeToString(payload[:shownBytes]))
	}
	return fmt.Sprintf("(binary, %d bytes) %s", len(payload), hex.EncodeToString(payload))
}

// Printable escapes what could drive a terminal or hide something on it: control
// characters, those that turn the direction of writing, broken UTF-8. It escapes
// as JSON does, so that JSON stays what it is.
func Printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
