package iot

import (
	"context"
	"slices"
	"sync"
)

// A Recorder keeps the events that Record is told, and lets others wait for one.
type Recorder struct {
	mu      sync.Mutex
	events  []Event
	changed chan struct{} // closed, and made anew, with each event
}

// NewRecorder returns a Recorder without events.
func NewRecorder() *Recorder { return &Recorder{changed: make(chan struct{})} }

// Record keeps an event.
func (r *Recorder) Record(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	close(r.changed)
	r.changed = make(chan struct{})
}

// Await returns the first event that matches, from a place on, and the place after
// it. It waits for the event until ctx ends; the place is then the same.
func (r *Recorder) Await(ctx context.Context, from int, match func(Event) bool) (e Event, next int, err error) {
	for at := from; ; {
		r.mu.Lock()
		events, changed := r.events[at:], r.changed
		r.mu.Unlock()
		if i := slices.IndexFunc(events, match); i >= 0 {
			return events[i], at + i + 1, nil
		}
		at += len(events)
		select {
		case <-changed:
		case <-ctx.Done():
			return Event{}, from, ctx.Err()
		}
	}
}

// Events are those so far.
func (r *Recorder) Events() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// Count is how many of the events so far match.
func (r *Recorder) Count(match func(Event) bool) int {
	n := 0
	for _, e := range r.Events() {
		if match(e) {
			n++
		}
	}
	return n
}
