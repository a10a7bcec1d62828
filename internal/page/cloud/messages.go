package cloud

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iotdataplane"

	"lastwill/internal/device"
	"lastwill/internal/iotsql"
	"lastwill/internal/page"
	"lastwill/internal/watch"
)

// A client is what is known of a client ID.
type client struct {
	// ours tells that the client is of this stack: it is one of its things, or the
	// stack's topics have named it. The events of others are held back.
	ours bool
	held []page.Event
	// session is the one that is connected, over the one that ended last.
	session, over string
	// news counts the events of its connections.
	news int
}

const (
	// maxDevices bounds how many clients are remembered.
	maxDevices = 10_000
	// maxHeld is a connection and its end.
	maxHeld = 2
)

// client returns what is known of a client ID; p.mu is held.
func (p *Page) client(id string) *client {
	c, ok := p.devices[id]
	if ok {
		return c
	}
	for other := range p.devices {
		if len(p.devices) < maxDevices {
			break
		}
		delete(p.devices, other) // any: what it misses then is that it was known
	}
	c = &client{}
	p.devices[id] = c
	return c
}

// adopt makes a client one of this stack's, and tells what was held back; p.mu is held.
func (p *Page) adopt(id string) {
	c := p.client(id)
	c.ours = true
	for _, e := range c.held {
		p.history.Record(e)
	}
	c.held = nil
}

// clientOf is the client that a payload names in client_id, at any depth, or "".
func clientOf(payload []byte) string {
	var v any
	if json.Unmarshal(payload, &v) != nil {
		return ""
	}
	if id := named(v); len(id) <= maxClientIDBytes {
		return id
	}
	return ""
}

// maxClientIDBytes is the longest client ID that AWS IoT Core takes (general
// reference, message broker limits).
const maxClientIDBytes = 128

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
func (p *Page) receive(m device.Message) {
	e := message(page.Message, m)
	e.Client = clientOf(m.Payload)
	p.mu.Lock()
	defer p.mu.Unlock()
	if !m.Retain { // else it is of an earlier time
		switch m.Topic {
		case p.target.WillTopic:
			e.Kind = page.Will
		case p.target.ExecutedTopic:
			e.Kind = page.Copy
		case p.target.ConnectedTopic:
			if e.Client == "" {
				e.Client = p.justConnected(e.Time)
			}
			if e.Client == "" { // its lifecycle event may be on the way
				time.AfterFunc(claimedWithin, func() {
					p.mu.Lock()
					defer p.mu.Unlock()
					e.Client = p.justConnected(e.Time)
					p.take(e)
				})
				return
			}
		}
	}
	p.take(e)
}

// take tells of a message and of what the rules make of it; p.mu is held.
func (p *Page) take(e page.Event) {
	if e.Client != "" {
		p.adopt(e.Client)
	}
	p.history.Record(e)
	if e.Retain {
		return
	}
	for _, r := range p.rules {
		if r.query.MatchesTopic(e.Topic) {
			p.history.Record(r.judge(e))
		}
	}
	if e.Kind == page.Will && e.Client != "" {
		news := p.client(e.Client).news
		time.AfterFunc(whileAway, func() { p.look(e.Client, news) })
	}
}

const (
	// connectedWithin is how long after a connection its connected message may come.
	connectedWithin = 10 * time.Second
	// claimedWithin is how long it may come before.
	claimedWithin = time.Second
)

// justConnected is the only client that a connected message can be of, or ""; p.mu
// is held.
func (p *Page) justConnected(now time.Time) string {
	var ours, all []string
	for id, at := range p.connecting {
		if now.Sub(at) > connectedWithin {
			delete(p.connecting, id)
			continue
		}
		all = append(all, id)
		if p.client(id).ours {
			ours = append(ours, id)
		}
	}
	for _, candidates := range [][]string{ours, all} {
		if len(candidates) == 1 {
			delete(p.connecting, candidates[0])
			return candidates[0]
		}
	}
	return ""
}

// judge says what a rule makes of a message.
func (r rule) judge(e page.Event) page.Event {
	m := &iotsql.Message{Topic: e.Topic, Payload: e.Payload, ClientID: e.Client, AccountID: r.account, Time: e.Time}
	out := page.Event{
		Kind: page.NotMatched, Time: time.Now(), Client: e.Client, Rule: r.name, Topic: e.Topic, Payload: e.Payload, QoS: e.QoS,
		Query: r.query, Message: m,
	}
	if r.disabled {
		out.Query, out.Message, out.Detail = nil, nil, "the rule is disabled"
		return out
	}
	result, err := r.query.Eval(m)
	switch {
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

// whileAway is when a client that has left a will is looked for: AWS says itself
// that a device may be back by the time that its will arrives (developer guide,
// "Lifecycle events", handling client disconnections).
const whileAway = 2 * time.Second

// maxLooks bounds how many are looked for at once: of a site that is lost, the
// lifecycle events must tell.
const maxLooks = 20

// look asks whether a client whose will came is connected all the same, unless its
// connections have told since.
func (p *Page) look(id string, news int) {
	defer p.looking.Add(-1)
	if p.looking.Add(1) > maxLooks {
		return
	}
	found, err := p.data.GetConnection(p.ctx, &iotdataplane.GetConnectionInput{ClientId: &id})
	if err != nil || !found.Connected {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.client(id).news == news {
		p.history.Record(page.Event{Kind: page.Connected, Time: time.Now(), Client: id, Detail: "it was not lost, or is back: " + sinceOf(found)})
	}
}

func sinceOf(c *iotdataplane.GetConnectionOutput) string {
	return fmt.Sprintf("connected since %s, keep alive %d s", time.UnixMilli(c.ConnectedSince).Local().Format("2 Jan 15:04:05"), c.KeepAliveDuration)
}

// presence takes a lifecycle event (developer guide, "Lifecycle events"), which
// may come late or twice.
func (p *Page) presence(m device.Message) {
	var e struct{ ClientID, EventType, SessionIdentifier, DisconnectReason, ConnectFailureReason string }
	if json.Unmarshal(m.Payload, &e) != nil || e.ClientID == "" || strings.HasPrefix(e.ClientID, watch.ClientPrefix) {
		return
	}
	out := message(page.Note, m)
	out.Client = e.ClientID
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.client(e.ClientID)
	switch e.EventType {
	case "connected":
		if e.SessionIdentifier == c.session || e.SessionIdentifier == c.over {
			return
		}
		c.session = e.SessionIdentifier
		out.Kind = page.Connected
		if len(p.connecting) < maxDevices {
			p.connecting[e.ClientID] = out.Time
		}
	case "disconnected":
		if e.SessionIdentifier == c.over {
			return
		}
		c.over = e.SessionIdentifier
		if c.session != "" && c.session != e.SessionIdentifier {
			out.Detail = "an earlier connection ended: " + e.DisconnectReason
			break
		}
		c.session = ""
		out.Kind, out.Detail = page.Disconnected, e.DisconnectReason
	case "connect_failed":
		out.Kind, out.Detail = page.Refused, e.ConnectFailureReason+": its policies forbid the connection, or its Will Message"
	default:
		return
	}
	c.news++
	if c.ours {
		p.history.Record(out)
		return
	}
	c.held = append(c.held, out)
	c.held = c.held[max(0, len(c.held)-maxHeld):]
}

// connectionOf is how a client's connection stands, as an event; false if that is
// not known.
func (p *Page) connectionOf(id string) (page.Event, bool) {
	found, err := p.data.GetConnection(p.ctx, &iotdataplane.GetConnectionInput{ClientId: &id})
	switch {
	case err != nil: // not within the last 30 minutes, or not allowed
		return page.Event{}, false
	case found.Connected:
		return page.Event{Kind: page.Connected, Time: time.UnixMilli(found.ConnectedSince), Client: id, Detail: sinceOf(found)}, true
	}
	return page.Event{Kind: page.Disconnected, Time: time.UnixMilli(found.DisconnectedSince), Client: id, Detail: aws.ToString(found.DisconnectReason)}, true
}
