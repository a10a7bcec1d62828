package iot

import (
	"sync"
	"time"
)

// connectInterval is how often a client ID may send CONNECT (general reference,
// "AWS IoT Core endpoints and quotas", connect requests per second per client ID).
const connectInterval = time.Second

// A throttle takes one CONNECT of a client ID in an interval.
type throttle struct {
	interval time.Duration

	mu    sync.Mutex
	taken map[string]bool
	order []connect // oldest first
}

type connect struct {
	clientID string
	at       time.Time
}

// take reports whether a CONNECT may pass now.
func (t *throttle) take(clientID string, now time.Time) bool {
	if t.interval <= 0 {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.order) > 0 && now.Sub(t.order[0].at) >= t.interval {
		delete(t.taken, t.order[0].clientID)
		t.order = t.order[1:]
	}
	if t.taken[clientID] {
		return false
	}
	t.taken[clientID] = true
	t.order = append(t.order, connect{clientID, now})
	return true
}
