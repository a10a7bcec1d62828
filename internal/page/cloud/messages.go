package cloud

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"lastwill/internal/device"
	"lastwill/internal/iotsql"
	"lastwill/internal/page"
	"lastwill/internal/will"
)

// A client is what is known of a client ID.
type client struct {
	// named tells that the stack's topics have named it. The events of others that
	// are none of its things are held back.
	named bool
	held  []page.Event
	// version is that of the newest lifecycle event, noted that of the last old one
	// that was told, and told when the newest came, in AWS's time.
	version, noted int64
	told           time.Time
	connected      bool
	// silent since it connected: its connected message has not come.
	silent time.Time
	// news counts the events of its connections, wills and copies what was told.
	news, wills, copies int
}

const (
	// maxClients bounds how many clients are remembered.
	maxClients = 10_000
	// maxHeld is a connection and its end.
	maxHeld = 2
)

// client returns what is known of a client ID; p.mu is held.
func (p *Page) client(id string) *client {
	c, ok := p.known[id]
	if ok {
		return c
	}
	if len(p.known) >= maxClients {
		p.forget()
	}
	c = &client{version: -1, noted: -1}
	p.known[id] = c
	return c
}

// forget drops a client: rather one of somebody else's, but never a thing of the
// stack, whatever its topics name.
func (p *Page) forget() {
	var dropped string
	for id, c := range p.known {
		if p.things[id] {
			continue
		}
		dropped = id
		if !c.named {
			break
		}
	}
	delete(p.known, dropped)
}

// ours tells whether a client is of this stack; p.mu is held.
func (p *Page) ours(id string) bool { return p.things[id] || p.client(id).named }

// tell records an event of one of our clients, after what was held back of it;
// p.mu is held.
func (p *Page) tell(e page.Event) {
	if e.Client != "" {
		c := p.client(e.Client)
		c.named = true
		for _, held := range c.held {
			p.history.Record(held)
		}
		c.held = nil
	}
	p.history.Record(e)
}

// clientOf is the client that a payload names in client_id, at any depth, or "".
func clientOf(payload []byte) string {
	var v any
	if json.Unmarshal(payload, &v) != nil {
		return ""
	}
	if id := named(v); len(id) <= will.MaxClientIDBytes {
		return id
	}
	return ""
}

func named(v any) string {
	switch v := v.(type) {
	case map[string]any:
		if id, ok := v["client_id"].(string); ok {
			return id
		}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if id := named(v[key]); id != "" {
				return id
			}
		}
	case []any:
		for _, element := range v {
			if id := named(element); id != "" {
				return id
			}
		}
	}
	return ""
}

// receive takes a message on one of the stack's topics.
func (p *Page) receive(ctx context.Context, m device.Message) {
	e := message(page.Message, m)
	e.Client = clientOf(m.Payload)
	p.mu.Lock()
	defer p.mu.Unlock()
	if m.Retain { // it is of an earlier time
		p.tell(e)
		return
	}
	switch m.Topic {
	case p.target.WillTopic:
		e.Kind = page.Will
	case p.target.ExecutedTopic:
		e.Kind = page.Copy
		if e.Client == "" {
			break
		}
		if c := p.client(e.Client); c.copies >= c.wills { // its will is on the way
			p.later(ctx, overtakes, func() { p.takeLate(ctx, e) })
			return
		}
	case p.target.ConnectedTopic:
		if e.Client == "" {
			e.Client = p.justConnected(e.Time)
		}
		if e.Client == "" { // its lifecycle event may be on the way
			p.later(ctx, claimedWithin, func() { p.takeLate(ctx, e) })
			return
		}
	}
	p.take(ctx, e)
}

// takeLate takes a message that waited for what comes on another connection.
func (p *Page) takeLate(ctx context.Context, e page.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.Client == "" {
		e.Client = p.justConnected(e.Time)
	}
	p.take(ctx, e)
}

// take tells of a message and of what the rules make of it; p.mu is held.
func (p *Page) take(ctx context.Context, e page.Event) {
	p.tell(e)
	switch {
	case e.Client == "":
	case e.Kind == page.Will:
		p.client(e.Client).wills++
	case e.Kind == page.Copy:
		c := p.client(e.Client)
		c.copies = min(c.copies+1, c.wills) // one may be of a will before the page
	}
	for _, r := range p.rules {
		if r.query.MatchesTopic(e.Topic) {
			p.history.Record(r.judge(e))
		}
	}
	if e.Kind == page.Will && e.Client != "" {
		news := p.client(e.Client).news
		p.later(ctx, whileAway, func() { p.look(ctx, e.Client, news) })
	}
}

// later does something after a time, unless ctx ends before.
func (p *Page) later(ctx context.Context, d time.Duration, do func()) {
	p.ended.Go(func() {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			do()
		case <-ctx.Done():
		}
	})
}

// justConnected is the only one of our clients that a connected message can be of,
// or ""; p.mu is held.
func (p *Page) justConnected(now time.Time) string {
	var candidates []string
	for id, c := range p.known {
		if c.connected && !c.silent.IsZero() && now.Sub(c.silent) < connectedWithin && p.ours(id) {
			candidates = append(candidates, id)
		}
	}
	if len(candidates) != 1 {
		return ""
	}
	p.client(candidates[0]).silent = time.Time{}
	return candidates[0]
}

// judge says what a rule makes of a message.
func (r rule) judge(e page.Event) page.Event {
	m := &iotsql.Message{Topic: e.Topic, Payload: e.Payload, ClientID: e.Client, AccountID: r.account, Time: e.Time}
	out := page.Event{
		Kind: page.NotMatched, Time: time.Now(), Client: e.Client, Rule: r.name, Topic: e.Topic, Payload: e.Payload, QoS: e.QoS,
		Query: r.query, Message: m,
	}
	note := func(detail string) page.Event {
		return page.Event{Kind: page.Note, Time: out.Time, Client: e.Client, Rule: r.name, Topic: e.Topic, Payload: e.Payload, QoS: e.QoS, Detail: detail}
	}
	switch {
	case r.disabled:
		return note("rule " + r.name + " is disabled")
	case r.unknowable != "":
		return note("rule " + r.name + " cannot be judged on this machine: " + r.unknowable)
	}
	result, err := r.query.Eval(m)
	switch {
	case errors.Is(err, iotsql.ErrNotAvailable):
		return note(fmt.Sprintf("rule %s cannot be judged on this machine: %v", r.name, err))
	case err != nil:
		out.Detail = err.Error()
	case result.Fired:
		out.Kind, out.Output = page.Matched, result.Payload
	default:
		why, _ := r.query.Explain(m) // its errors are those of Eval
		out.Detail = why.String()
	}
	return out
}

// presence takes a lifecycle event (developer guide, "Lifecycle events"), which
// may come late or twice: its version number tells.
func (p *Page) presence(m device.Message) {
	var e struct {
		ClientID, EventType, DisconnectReason, ConnectFailureReason string
		Timestamp, VersionNumber                                    int64
	}
	if json.Unmarshal(m.Payload, &e) != nil || e.ClientID == "" || len(e.ClientID) > will.MaxClientIDBytes || strings.HasPrefix(e.ClientID, will.WatchPrefix) {
		return
	}
	out := message(page.Note, m)
	out.Client = e.ClientID
	p.mu.Lock()
	defer p.mu.Unlock()
	c, at := p.client(e.ClientID), time.UnixMilli(e.Timestamp)
	if e.EventType != "connect_failed" && at.Sub(c.told) > unordered {
		c.version, c.noted = -1, -1
	}
	switch e.EventType {
	case "connected":
		if e.VersionNumber <= c.version {
			return
		}
		out.Kind = page.Connected
		c.connected, c.silent = true, out.Time
	case "disconnected":
		switch {
		case e.VersionNumber < c.version:
			if e.VersionNumber <= c.noted {
				return
			}
			c.noted = e.VersionNumber
			out.Detail = "an earlier connection ended: " + e.DisconnectReason
		case e.VersionNumber == c.version && !c.connected:
			return
		default:
			out.Kind, out.Detail = page.Disconnected, e.DisconnectReason
			c.connected = false
		}
	case "connect_failed":
		if !at.After(c.told) { // it has no version
			return
		}
		c.told = at
		out.Kind, out.Detail = page.Refused, e.ConnectFailureReason+": its policies forbid the connection, or its Will Message"
	default:
		return
	}
	if out.Kind == page.Connected || out.Kind == page.Disconnected {
		c.version, c.told = e.VersionNumber, at
	}
	c.news++
	if p.ours(e.ClientID) {
		p.tell(out)
		return
	}
	c.held = append(c.held, out)
	c.held = c.held[max(0, len(c.held)-maxHeld):]
}
