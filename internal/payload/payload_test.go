package payload

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
)

var moment = time.Date(2026, 11, 25, 22, 45, 1, 123e6, time.UTC)

func TestFormats(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		claim           string
		payload         string
		line, paragraph string
		json            string
	}{
		{
			"JSON is indented for people", `{"a": {"b":"ü"}}`,
			`{"a":{"b":"ü"}}`, "{\n      \"a\": {\n        \"b\": \"ü\"\n      }\n    }",
			`"payload":{"a":{"b":"ü"}}`,
		},
		{"JSON keeps its digits, order and equal keys", `{"b":1.000,"a":12345678901234567890,"b":2}`, `{"b":1.000,"a":12345678901234567890,"b":2}`, "{\n      \"b\": 1.000,\n      \"a\": 12345678901234567890,\n      \"b\": 2\n    }", `"payload":{"b":1.000,"a":12345678901234567890,"b":2}`},
		{"text is one line", "two\nlines", `two\u000alines`, `two\u000alines`, `"text":"two\nlines"`},
		{"an escape sequence does not reach the terminal", "\x1b]0;owned\x07", `\u001b]0;owned\u0007`, `\u001b]0;owned\u0007`, `"text":"\u001b]0;owned\u0007"`},
		{"nor does one of a single character", "\u009b2J", `\u009b2J`, `\u009b2J`, `"text":"\u009b2J"`},
		{"nor one in the texts of JSON", "{\"a\":\"\u009b2J\"}", `{"a":"\u009b2J"}`, "{\n      \"a\": \"\\u009b2J\"\n    }", `"payload":{"a":"\u009b2J"}`},
		{"nothing turns the direction of writing", "a\u202eb", `a\u202eb`, `a\u202eb`, `"text":"a\u202eb"`},
		{"beyond 16 bits an escape has two halves", "\U000e0041", `\udb40\udc41`, `\udb40\udc41`, `"text":"\udb40\udc41"`},
		{"binary is hexadecimal, and base64 for scripts", "\x00\xff", "(binary, 2 bytes) 00ff", "(binary, 2 bytes) 00ff", `"base64":"AP8="`},
		{"much binary is cut for people alone", strings.Repeat("\xff", 66), "(binary, 66 bytes) " + strings.Repeat("f", 128) + "...", "(binary, 66 bytes) " + strings.Repeat("f", 128) + "...", `"base64":"` + strings.Repeat("/", 88) + `"`},
		{"nothing is said to be nothing", "", "(empty)", "(empty)", `"text":""`},
	} {
		t.Run(tt.claim, func(t *testing.T) {
			t.Parallel()
			m := Message{Topic: "a/b", Payload: []byte(tt.payload), QoS: 1, Retain: true}
			if got, want := Line(moment, m), "22:45:01.123  a/b (retained)  "+tt.line+"\n"; got != want {
				t.Errorf("the line is\n%s, not\n%s", got, want)
			}
			if got, want := Paragraph(moment, m), "22:45:01.123  a/b (retained)\n    "+tt.paragraph+"\n"; got != want {
				t.Errorf("the paragraph is\n%s, not\n%s", got, want)
			}
			if got, want := JSONLine(moment, m), `{"time":"2026-11-25T22:45:01.123Z","topic":"a/b","qos":1,"retain":true,`+tt.json+"}\n"; got != want {
				t.Errorf("the JSON is\n%s, not\n%s", got, want)
			}
		})
	}
}

func TestDeepJSONIsNotIndented(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 9000) + strings.Repeat("]", 9000)
	if got := Paragraph(moment, Message{Topic: "t", Payload: []byte(deep)}); len(got) > 2*len(deep) {
		t.Errorf("%d bytes have become %d", len(deep), len(got))
	}
}

// FuzzFormats: whatever comes, nothing but printable characters and the lines'
// own ends reaches the terminal, and a JSON line is one line that says what came.
func FuzzFormats(f *testing.F) {
	for _, seed := range []string{`{"a":"b"}`, "\x1b[2J", "\u009b", "\xff\x00", "{\"a\":\"\u202e\"}", "[[[]]]", "", "\U000e0041", `"\ud800"`, "1e999", " \r\n{}"} {
		f.Add(seed, []byte(seed))
	}
	f.Fuzz(func(t *testing.T, topic string, payload []byte) {
		m := Message{Topic: topic, Payload: payload}
		for _, out := range []string{Line(moment, m), Paragraph(moment, m), JSONLine(moment, m)} {
			for _, r := range out {
				if !unicode.IsPrint(r) && r != '\n' {
					t.Fatalf("%q lets %q through as %q", payload, r, out)
				}
			}
		}
		line := JSONLine(moment, m)
		if strings.Count(line, "\n") != 1 || strings.Count(Line(moment, m), "\n") != 1 {
			t.Fatalf("%q is more than a line: %q", payload, line)
		}
		var got struct {
			Payload json.RawMessage
			Text    *string
			Base64  []byte
		}
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatalf("%q has become %q: %v", payload, line, err)
		}
		switch {
		case got.Text != nil && *got.Text == string(payload), got.Base64 != nil && bytes.Equal(got.Base64, payload):
		case json.Valid(payload) && reflect.DeepEqual(value(t, got.Payload), value(t, payload)):
		default:
			t.Fatalf("%q has become %q", payload, line)
		}
	})
}

// value of a JSON text, with its numbers as they are written.
func value(t *testing.T, text []byte) (v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return v
}
