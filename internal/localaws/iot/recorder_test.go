package iot_test

import (
	"context"
	"testing"

	"lastwill/internal/localaws/iot"
)

func TestARecorderWaitsForWhatIsToCome(t *testing.T) {
	t.Parallel()
	r := iot.NewRecorder()
	is := func(kind iot.EventKind) func(iot.Event) bool {
		return func(e iot.Event) bool { return e.Kind == kind }
	}
	r.Record(iot.Event{Kind: iot.Connected, ClientID: "a"})
	e, next, err := r.Await(t.Context(), 0, is(iot.Connected))
	if e.ClientID != "a" || next != 1 || err != nil {
		t.Errorf("what has come: %v, %d, %v", e, next, err)
	}
	go func() {
		r.Record(iot.Event{Kind: iot.Disconnected, ClientID: "a"})
		r.Record(iot.Event{Kind: iot.Connected, ClientID: "b"})
	}()
	e, next, err = r.Await(t.Context(), next, is(iot.Connected))
	if e.ClientID != "b" || next != 3 || err != nil {
		t.Errorf("what comes later: %v, %d, %v", e, next, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, next, err = r.Await(ended, 1, is(iot.Refused)); next != 1 || err == nil {
		t.Errorf("what does not come: %d, %v", next, err)
	}
	if n := r.Count(is(iot.Connected)); n != 2 {
		t.Errorf("%d connected", n)
	}
}
