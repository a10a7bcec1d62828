package page

import (
	"crypto/rand"
	"maps"
	"slices"
	"sync"
	"time"
)

// Bounds of the history. What is older is gone but for its count, so that a week
// of running does not grow.
const (
	MaxEvents       = 5000
	maxPayloadBytes = 16 << 20
	// maxPings bounds how many signs of life are kept apart from the events.
	maxPings = 1024
	// maxClients bounds for how many connected clients a page that begins is told
	// about.
	maxClients = 200
)

// A History keeps the last events and counts all. Recording never blocks and
// costs about a microsecond, whoever reads.
type History struct {
	// epoch tells the numbers of this history from those of one before a restart.
	epoch string

	mu        sync.Mutex
	entries   []*entry // entries[n%MaxEvents] is event n
	first     uint64   // number of the oldest event kept
	next      uint64   // number of the next one
	bytes     int      // of the payloads kept
	totals    [len(kinds)]uint64
	connected map[string]client
	pings     []ping // newest last
	waiting   bool
	changed   chan struct{} // closed, and made anew, when something happens while somebody waits
}

// A client that is connected.
type client struct {
	since, heard time.Time
	keepAlive    time.Duration
}

// A ping is a sign of life of a client after event number after.
type ping struct {
	after  uint64
	client string
	time   time.Time
}

// NewHistory returns an empty History.
func NewHistory() *History {
	return &History{
		epoch: rand.Text()[:8], entries: make([]*entry, MaxEvents), first: 1, next: 1,
		connected: map[string]client{}, changed: make(chan struct{}),
	}
}

// Record adds an event.
func (h *History) Record(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.totals[placeOf[e.Kind]]++
	switch e.Kind {
	case Connected:
		h.connected[e.Client] = client{e.Time, e.Time, e.KeepAlive}
	case Disconnected:
		delete(h.connected, e.Client)
	case Message:
		if c, ok := h.connected[e.Client]; ok {
			c.heard = e.Time
			h.connected[e.Client] = c
		}
	}
	slot := h.next % MaxEvents
	if h.next-h.first == MaxEvents {
		h.forget()
	}
	h.entries[slot] = &entry{Event: e, n: h.next}
	h.next++
	h.bytes += len(e.Payload) + len(e.Output)
	for h.bytes > maxPayloadBytes {
		h.forget()
	}
	h.tell()
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
	c, ok := h.connected[id]
	if !ok {
		return
	}
	c.heard = at
	h.connected[id] = c
	if len(h.pings) == maxPings {
		h.pings = h.pings[1:]
	}
	h.pings = append(h.pings, ping{h.next, id, at})
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

// position is the number of the last event.
func (h *History) position() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.next - 1
}

// A part of the history: all that happened up to an event.
type part struct {
	last    uint64
	totals  [len(kinds)]uint64
	online  int
	entries []*entry // those still kept, oldest first
	clients []clientState
	changed <-chan struct{} // closed when there is more
}

// clientState is what the page's script reads of a connected client.
type clientState struct {
	Client    string  `json:"client"`
	Since     float64 `json:"since"`
	Heard     float64 `json:"heard"`
	KeepAlive float64 `json:"keepAlive"`
}

// since returns what happened after an event; from the beginning of the history
// where fresh. Signs of life may come twice: the last one counts.
func (h *History) since(after uint64, fresh bool) part {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiting = true
	p := part{last: h.next - 1, totals: h.totals, online: len(h.connected), changed: h.changed}
	from := max(after+1, h.first)
	p.entries = make([]*entry, 0, h.next-min(from, h.next))
	for n := from; n < h.next; n++ {
		p.entries = append(p.entries, h.entries[n%MaxEvents])
	}
	if fresh {
		for _, id := range slices.Sorted(maps.Keys(h.connected)) {
			if len(p.clients) == maxClients {
				break
			}
			p.clients = append(p.clients, h.connected[id].state(id))
		}
		return p
	}
	for _, ping := range slices.Backward(h.pings) {
		if ping.after <= after {
			break
		}
		if c, ok := h.connected[ping.client]; ok {
			p.clients = append(p.clients, c.state(ping.client))
		}
	}
	return p
}

func (c client) state(id string) clientState {
	return clientState{id, milliseconds(c.since), milliseconds(c.heard), c.keepAlive.Seconds()}
}
