package page

import (
	"cmp"
	"container/list"
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"lastwill/internal/will"
)

// Bounds of the history. What is older is gone but for its count, so that a week
// of running does not grow.
const (
	MaxEvents       = 5000
	maxPayloadBytes = 16 << 20
	// maxGone bounds how many clients that are no longer connected are remembered.
	maxGone = 10_000
	// pulseSeconds is how far back events are counted by the second.
	pulseSeconds = 120
)

// A History keeps the last events and counts all. Recording never blocks and
// costs about a microsecond, whoever reads.
type History struct {
	// epoch tells the numbers of this history from those of one before a restart.
	epoch string

	mu      sync.Mutex
	entries []*entry // entries[n%MaxEvents] is event n
	first   uint64   // number of the oldest event kept
	next    uint64   // number of the next one
	bytes   int      // of the payloads kept
	totals  [len(kinds)]uint64
	// clients by their IDs: elements of online or of gone, whose values are *client.
	// In both, the client with the latest news is in front.
	clients      map[string]*list.Element
	online, gone *list.List
	news         uint64 // number of the last news of a client
	pulse        [pulseSeconds + 1]second
	waiting      bool
	changed      chan struct{} // closed and replaced when something happens while somebody waits
}

// A client is what its last events say of it.
type client struct {
	id           string
	state        string
	since, heard time.Time
	keepAlive    time.Duration
	news         uint64
}

// States of a client.
const (
	stateConnected = "connected"
	stateLost      = "lost"
	stateLeft      = "left" // with a DISCONNECT
)

// A second counts the events of a second.
type second struct {
	unix          int64
	wills, others int
	last          uint64 // number of the last event counted
}

// A place in the history is behind an event and behind some news of clients.
type place struct{ event, news uint64 }

// NewHistory returns an empty History.
func NewHistory() *History {
	return &History{
		epoch: rand.Text()[:8], entries: make([]*entry, MaxEvents), first: 1, next: 1,
		clients: map[string]*list.Element{}, online: list.New(), gone: list.New(), changed: make(chan struct{}),
	}
}

// Record adds an event.
func (h *History) Record(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.totals[kindPlace[e.Kind]]++
	h.count(e)
	added := &entry{Event: e, n: h.next, heard: h.follow(e)}
	slot := h.next % MaxEvents
	if h.next-h.first == MaxEvents {
		h.forget()
	}
	h.entries[slot] = added
	h.next++
	h.bytes += len(e.Payload) + len(e.Output)
	for h.bytes > maxPayloadBytes {
		h.forget()
	}
	h.tell()
}

// follow updates the client of an event. It returns when the client was last heard
// of, if the event ends its connection; h.mu is held.
func (h *History) follow(e Event) (heard time.Time) {
	if e.Client == "" {
		return heard
	}
	c := client{id: e.Client}
	if known, ok := h.clients[e.Client]; ok {
		c = *known.Value.(*client)
	}
	before := c
	switch e.Kind {
	case Connected:
		c.state, c.since, c.heard, c.keepAlive = stateConnected, e.Time, e.Time, e.KeepAlive
	case Will:
		c.state, c.since = stateLost, e.Time
	case Disconnected:
		c.state, c.since = stateLost, e.Time
		if e.Detail == clientInitiated {
			c.state = stateLeft
		}
	case Message:
		if c.state != stateConnected {
			return heard
		}
		c.heard = e.Time
	default:
		return heard
	}
	h.put(c)
	if before.state == stateConnected && c.state != stateConnected {
		heard = before.heard
	}
	return heard
}

// clientInitiated is AWS's disconnectReason after a DISCONNECT of the client.
const clientInitiated = "CLIENT_INITIATED_DISCONNECT"

// put keeps what is new of a client; h.mu is held.
func (h *History) put(c client) {
	h.news++
	c.news = h.news
	if old, ok := h.clients[c.id]; ok {
		h.online.Remove(old) // an element of the other list stays
		h.gone.Remove(old)
	}
	into := h.gone
	if c.state == stateConnected {
		into = h.online
	}
	h.clients[c.id] = into.PushFront(&c)
	if h.gone.Len() > maxGone {
		oldest := h.gone.Remove(h.gone.Back()).(*client)
		delete(h.clients, oldest.id)
	}
}

// count counts an event in its second; h.mu is held.
func (h *History) count(e Event) {
	if e.Kind == Stack || e.Kind == Note {
		return
	}
	unix := e.Time.Unix()
	s := &h.pulse[uint64(unix)%uint64(len(h.pulse))]
	switch {
	case unix < s.unix: // older than what is shown
		return
	case unix > s.unix:
		*s = second{unix: unix}
	}
	s.last = h.next
	if e.Kind == Will {
		s.wills++
		return
	}
	s.others++
}

// forget drops the oldest event; h.mu is held.
func (h *History) forget() {
	old := h.entries[h.first%MaxEvents]
	h.bytes -= len(old.Payload) + len(old.Output)
	h.entries[h.first%MaxEvents] = nil
	h.first++
}

// Heard notes a sign of life from a client.
func (h *History) Heard(id string, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	known, ok := h.clients[id]
	if !ok || known.Value.(*client).state != stateConnected {
		return
	}
	c := *known.Value.(*client)
	c.heard = at
	h.put(c)
	h.tell()
}

// tell wakes who waits; h.mu is held.
func (h *History) tell() {
	if h.waiting {
		close(h.changed)
		h.changed, h.waiting = make(chan struct{}), false
	}
}

// find returns an event by its number, if it is still there.
func (h *History) find(n uint64) (*entry, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n < h.first || n >= h.next {
		return nil, false
	}
	return h.entries[n%MaxEvents], true
}

// position is the place behind all that happened.
func (h *History) position() place {
	h.mu.Lock()
	defer h.mu.Unlock()
	return place{h.next - 1, h.news}
}

// id is a place as the stream names it.
func (h *History) id(at place) string { return fmt.Sprintf("%s-%d-%d", h.epoch, at.event, at.news) }

// placeOf reads an id; not ok if it is of no place in this history.
func (h *History) placeOf(id string) (at place, ok bool) {
	epoch, numbers, _ := strings.Cut(id, "-")
	event, news, _ := strings.Cut(numbers, "-")
	var errEvent, errNews error
	at.event, errEvent = strconv.ParseUint(event, 10, 64)
	at.news, errNews = strconv.ParseUint(news, 10, 64)
	end := h.position()
	return at, epoch == h.epoch && cmp.Or(errEvent, errNews) == nil && at.event <= end.event && at.news <= end.news
}

// A part of the history: all that happened up to a place.
type part struct {
	end     place
	first   uint64 // number of the oldest event kept
	totals  [len(kinds)]uint64
	online  int
	entries []*entry // those still kept, oldest first
	clients []clientState
	seconds [][3]int64
	changed <-chan struct{} // closed when there is more
}

// clientState is what the page's script reads of a client.
type clientState struct {
	Client    string  `json:"client"`
	State     string  `json:"state"`
	Since     float64 `json:"since"`
	Heard     float64 `json:"heard,omitempty"`
	KeepAlive float64 `json:"keepAlive,omitempty"`
	Own       bool    `json:"own,omitempty"` // of lwt itself
}

// since returns what happened after a place; the zero place is the beginning.
func (h *History) since(after place) part {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiting = true
	p := part{end: place{h.next - 1, h.news}, first: h.first, totals: h.totals, online: h.online.Len(), changed: h.changed}
	from := max(after.event+1, h.first)
	p.entries = make([]*entry, 0, h.next-min(from, h.next))
	for n := from; n < h.next; n++ {
		p.entries = append(p.entries, h.entries[n%MaxEvents])
	}
	for _, clients := range []*list.List{h.online, h.gone} {
		for e := clients.Front(); e != nil && e.Value.(*client).news > after.news; e = e.Next() {
			p.clients = append(p.clients, e.Value.(*client).wire())
		}
	}
	for _, s := range h.pulse {
		if s.last > after.event {
			p.seconds = append(p.seconds, [3]int64{s.unix, int64(s.wills), int64(s.others)})
		}
	}
	return p
}

func (c *client) wire() clientState {
	out := clientState{
		Client: c.id, State: c.state, Since: milliseconds(c.since), KeepAlive: c.keepAlive.Seconds(), Own: will.IsOwnClient(c.id),
	}
	if !c.heard.IsZero() {
		out.Heard = milliseconds(c.heard)
	}
	return out
}
