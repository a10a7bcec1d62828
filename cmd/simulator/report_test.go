package main

import (
	"bytes"
	"strings"
	"testing"

	"lastwill/internal/device"
)

func TestReceivedPayloads(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, payload, text, json string
	}{
		{"text is shown as it is", `{"a":1}`, `on t: {"a":1}`, `"payload":"{\"a\":1}"`},
		{"lines and other scripts too", "été\n日本", "on t: été\n日本", `"payload":"été\n日本"`},
		{"escape sequences cannot reach the terminal", "\x1b[2Jgone", `on t: "\x1b[2Jgone"`, `"payload":"\u001b[2Jgone"`},
		{"bytes that are no text are quoted, base64 in JSON", "\xff\x00", `on t: "\xff\x00"`, `"payloadBase64":"/wA="`},
		{"an empty payload is empty", "", "on t: \n", `"topic":"t"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, asJSON := range []bool{false, true} {
				want := tt.text
				if asJSON {
					want = tt.json
				}
				var out bytes.Buffer
				(&reporter{out: &out, json: asJSON}).message(device.Message{Topic: "t", Payload: []byte(tt.payload)})
				if !strings.Contains(out.String(), want) {
					t.Errorf("got %q, want %q in it", out.String(), want)
				}
			}
		})
	}
}
