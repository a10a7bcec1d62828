package iot

import (
	"strings"
	"sync"

	"lastwill/internal/iotsql"
)

// A router finds the sessions that a message goes to, by topic filters as AWS IoT
// Core matches them: unlike in MQTT, "sensor/#" does not match "sensor" (developer
// guide, "MQTT topics", topic filters).
type router struct {
	mu     sync.RWMutex
	index  iotsql.Index[*subscription]
	shared map[string]*subscription // the one in the index, by filter with $share
}

// A subscription is a filter of one session or, of the kind $share/NAME/FILTER, of
// several: then members take turns.
type subscription struct {
	session           *session
	members           []*subscription
	turn              int
	qos               byte
	noLocal           bool
	retainAsPublished bool
}

// unshared is the filter that topics are matched with.
func unshared(filter string) (plain string, shared bool) {
	parts := strings.SplitN(filter, "/", 3)
	if len(parts) == 3 && parts[0] == "$share" {
		return parts[2], true
	}
	return filter, false
}

// subscribe enters a subscription, in the place of an earlier one to the same filter,
// and reports whether there was none. A session has at most so many, else ok is false.
func (r *router) subscribe(filter string, sub *subscription, most int) (isNew, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := sub.session.subscriptions[filter]
	if before == nil && len(sub.session.subscriptions) >= most {
		return true, false
	}
	if before != nil {
		r.remove(filter, before)
	}
	sub.session.subscriptions[filter] = sub
	plain, shared := unshared(filter)
	if !shared {
		r.index.Add(plain, sub)
		return before == nil, true
	}
	group := r.shared[filter]
	if group == nil {
		group = &subscription{}
		r.shared[filter] = group
		r.index.Add(plain, group)
	}
	group.members = append(group.members, sub)
	return before == nil, true
}

// unsubscribe reports whether there was such a subscription.
func (r *router) unsubscribe(filter string, s *session) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	sub := s.subscriptions[filter]
	if sub == nil {
		return false
	}
	r.remove(filter, sub)
	delete(s.subscriptions, filter)
	return true
}

// leave takes out all subscriptions of a session.
func (r *router) leave(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for filter, sub := range s.subscriptions {
		r.remove(filter, sub)
	}
	clear(s.subscriptions)
}

// remove takes a subscription out of the index; r.mu is held.
func (r *router) remove(filter string, sub *subscription) {
	plain, shared := unshared(filter)
	if !shared {
		r.index.Remove(plain, sub)
		return
	}
	group := r.shared[filter]
	for i, member := range group.members {
		if member == sub {
			group.members = append(group.members[:i], group.members[i+1:]...)
			break
		}
	}
	if len(group.members) == 0 {
		r.index.Remove(plain, group)
		delete(r.shared, filter)
	}
}

// heard reports whether somebody has subscribed to a topic.
func (r *router) heard(topic string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for range r.index.Match(topic) {
		return true
	}
	return false
}

// match returns who gets a message on a topic: each session once, at the highest QoS
// of its subscriptions [MQTT-3.3.5-1], and of a shared one a single member.
func (r *router) match(topic string) []subscription {
	r.mu.Lock() // shared subscriptions take turns
	defer r.mu.Unlock()
	var found []subscription
	for sub := range r.index.Match(topic) {
		if len(sub.members) > 0 {
			sub = sub.next()
		}
		found = append(found, *sub)
	}
	if len(found) < 2 {
		return found
	}
	at := make(map[*session]int, len(found))
	merged := found[:0]
	for _, sub := range found {
		i, ok := at[sub.session]
		if !ok {
			at[sub.session] = len(merged)
			merged = append(merged, sub)
			continue
		}
		merged[i].qos = max(merged[i].qos, sub.qos)
		merged[i].noLocal = merged[i].noLocal && sub.noLocal
		merged[i].retainAsPublished = merged[i].retainAsPublished || sub.retainAsPublished
	}
	return merged
}

// next is the member whose turn it is: one that is connected, if there is any.
func (sub *subscription) next() *subscription {
	for range sub.members {
		sub.turn++
		member := sub.members[sub.turn%len(sub.members)]
		if member.session.outbox.connected() {
			return member
		}
	}
	return sub.members[sub.turn%len(sub.members)]
}
