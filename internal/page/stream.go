package page

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"lastwill/internal/iotsql"
)

// The stream sends what happened in batches. It begins with all that is kept, in
// batches of at most wholeBatch events, one after the other. Afterwards a batch has
// at most liveBatch events: of more than that the newest, and the totals tell how
// many there were. A batch that was full is followed by a pause, so that a storm
// costs a page no more than a breeze.
const (
	wholeBatch = 500
	liveBatch  = 120
	pace       = 12 * time.Millisecond
	stormPace  = 250 * time.Millisecond
	// beat keeps proxies and the browser from taking silence for an end.
	beat = 15 * time.Second
)

// serveEvents is the stream of Server-Sent Events. The id of a batch is its place in
// the history; a browser that lost the connection gives it back in Last-Event-ID and
// gets what came after, no event twice and none left out without being counted. With
// filter parameters there are only messages whose topic one of them matches, and
// those are subscribed to; after begins behind a place, and once ends when all that
// is kept was sent.
func (p *Page) serveEvents(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	// The server's deadlines are for requests that end.
	if err := control.SetReadDeadline(time.Time{}); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	after, fresh := p.resumed(r)
	filters := r.URL.Query()["filter"]
	done, err := p.want(r.Context(), filters)
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	defer done()
	wanted := wantedBy(filters)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	heartbeat := time.NewTicker(beat)
	defer heartbeat.Stop()
	for whole := true; ; whole = false {
		part := p.history.since(after)
		wait := pace
		for _, batch := range p.batches(part, fresh, whole, wanted) {
			_, err := w.Write(batch.bytes())
			if err == nil {
				err = control.Flush()
			}
			if err != nil {
				return // the page is gone
			}
			if batch.Missed > 0 {
				wait = stormPace
			}
		}
		if r.URL.Query().Has("once") {
			return
		}
		after, fresh = part.end, false
		if !p.pause(r, wait) {
			return
		}
		for waiting := true; waiting; {
			select {
			case <-part.changed:
				waiting = false
			case <-heartbeat.C:
				_, err := w.Write([]byte(": still here\n\n"))
				if err != nil || control.Flush() != nil {
					return
				}
			case <-r.Context().Done():
				return
			case <-p.options.Closing:
				return
			}
		}
	}
}

// pause waits, and reports whether the stream goes on after it.
func (p *Page) pause(r *http.Request, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
	case <-p.options.Closing:
	}
	return false
}

// resumed says where a stream begins. An id of another history, from before a
// restart, begins from the start.
func (p *Page) resumed(r *http.Request) (after place, fresh bool) {
	id := r.Header.Get("Last-Event-ID")
	if id == "" {
		id = r.URL.Query().Get("after")
	}
	if after, ok := p.history.placeOf(id); ok {
		return after, false
	}
	return place{}, true
}

// wantedBy tells which events a stream is for: all, or messages on some topics.
func wantedBy(filters []string) func(*entry) bool {
	if len(filters) == 0 {
		return func(*entry) bool { return true }
	}
	return func(e *entry) bool {
		switch e.Kind {
		case Message, Will, Copy:
			for _, f := range filters {
				if Subscribed(f, e.Topic) {
					return true
				}
			}
		}
		return false
	}
}

// Subscribed reports whether a subscription to a filter gets a topic's messages:
// unlike a rule's, sport/# also matches sport (MQTT 3.1.1, 4.7.1.2).
func Subscribed(filter, topic string) bool {
	parent, isTree := strings.CutSuffix(filter, "/#")
	return iotsql.MatchFilter(filter, topic) || isTree && iotsql.MatchFilter(parent, topic)
}

// A batch is one event of the stream, as the page's script reads it.
type batch struct {
	id     string
	events []*entry // follow the rest

	Fresh   bool              `json:"fresh"` // forget what was before
	More    int               `json:"more"`  // batches that follow at once
	Now     float64           `json:"now"`
	Missed  int               `json:"missed"` // events that were left out
	First   uint64            `json:"first"`  // number of the oldest event that can be asked for
	Totals  map[string]uint64 `json:"totals"`
	Clients []clientState     `json:"clients,omitempty"`
	Seconds [][3]int64        `json:"seconds,omitempty"` // each its time since 1970, Will Messages, other events
}

// batches are a part of the history as the stream sends it: whole, or the newest of it.
func (p *Page) batches(part part, fresh, whole bool, wanted func(*entry) bool) []*batch {
	var chosen []*entry
	for _, e := range part.entries {
		if wanted(e) {
			chosen = append(chosen, e)
		}
	}
	totals := map[string]uint64{"online": uint64(part.online)}
	for i, k := range kinds {
		totals[string(k)] = part.totals[i]
	}
	missed := 0
	if !whole {
		missed = max(0, len(chosen)-liveBatch)
	}
	chunks := slices.Collect(slices.Chunk(chosen[missed:], wholeBatch))
	if len(chunks) == 0 {
		chunks = [][]*entry{nil} // totals and clients have news
	}
	var out []*batch
	for i, events := range chunks {
		b := &batch{
			id: p.history.id(part.end), events: events, Fresh: fresh && i == 0, More: len(chunks) - 1 - i,
			Now: milliseconds(time.Now()), Missed: missed, First: part.first, Totals: totals,
		}
		if b.More > 0 { // who is cut off here goes on behind these
			b.id = p.history.id(place{events[len(events)-1].n, part.end.news})
		}
		if i == 0 {
			b.Clients, b.Seconds = part.clients, part.seconds
		}
		out = append(out, b)
	}
	return out
}

// bytes is the batch as it is sent.
func (b *batch) bytes() []byte {
	head, err := json.Marshal(b)
	if err != nil {
		head = []byte("{}") // numbers and strings always marshal
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "id: %s\ndata: %s,\"events\":[", b.id, bytes.TrimSuffix(head, []byte("}")))
	for i, e := range b.events {
		if i > 0 {
			out.WriteByte(',')
		}
		out.Write(e.json())
	}
	out.WriteString("]}\n\n")
	return out.Bytes()
}
