package iot

import (
	"sync/atomic"
	"time"
)

// sessionExpiry is how long a persistent session outlives its connection at most
// (developer guide, "MQTT persistent sessions", the default).
const sessionExpiry = time.Hour

// A session is what the broker keeps of a client ID, for one connection or, if it is
// persistent, for several: subscriptions, and messages of QoS 1 (MQTT 5, 4.1).
type session struct {
	clientID string
	// who connected last: it is their policies that allow deliveries.
	who    atomic.Pointer[principal]
	outbox *outbox
	// subscriptions by filter; the router's lock is held.
	subscriptions map[string]*subscription
	// ends the session after the connection; nil while it is connected.
	ends *time.Timer
}

// openSession gives a client its session, and reports whether it was there before.
func (b *broker) openSession(c *client, clean bool) (present bool) {
	b.mu.Lock()
	s, present := b.sessions[c.id]
	if present && s.ends != nil {
		s.ends.Stop()
		s.ends = nil
	}
	if !present || clean {
		before := s
		s = &session{clientID: c.id, subscriptions: map[string]*subscription{}}
		s.outbox = newOutbox(func() {
			b.service.options.Log.Warn("messages are dropped: a client takes them too slowly", "client", s.clientID, "bytesWaiting", maxOutboxBytes)
		})
		b.sessions[c.id] = s
		if present {
			defer b.router.leave(before)
		}
	}
	b.mu.Unlock()
	s.who.Store(c.who)
	c.session = s
	return present && !clean
}

// leaveSession ends the session of a client that has gone, or lets it wait for the
// client's return.
func (b *broker) leaveSession(c *client) {
	s := c.session
	if s == nil || c.sessionLeft {
		return
	}
	c.sessionLeft = true
	s.outbox.detach()
	expiry := time.Duration(c.sessionExpiry) * time.Second
	b.mu.Lock()
	s.ends = time.AfterFunc(max(expiry, time.Second), func() { b.endSession(s) })
	b.mu.Unlock()
	if expiry == 0 {
		b.endSession(s)
	}
}

// endSession forgets a session with all it holds, unless its client has come back.
func (b *broker) endSession(s *session) {
	b.mu.Lock()
	over := s.ends != nil && b.sessions[s.clientID] == s
	if over {
		s.ends.Stop()
		delete(b.sessions, s.clientID)
	}
	b.mu.Unlock()
	if over {
		b.router.leave(s)
	}
}
