package page

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"lastwill/internal/iotsql"
)

// The stream sends what happened in batches, each at most maxBatch events: of
// more than that the newest, and the totals tell how many there were. A batch
// that was full is followed by a pause, so that a storm costs a page no more than
// a breeze.
const (
	maxBatch  = 120
	pace      = 12 * time.Millisecond
	stormPace = 250 * time.Millisecond
	// beat keeps proxies and the browser from taking silence for an end.
	beat = 15 * time.Second
)

// serveEvents is the stream of Server-Sent Events. The id of a batch is the
// number of its last event; a browser that lost the connection gives it back in
// Last-Event-ID and gets what came after, no event twice and none left out
// without being counted. With filter parameters there are only messages whose
// topic one of them matches, and those are subscribed to; after begins behind an event, once ends after one batch.
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
	var b bytes.Buffer
	for {
		part := p.history.since(after, fresh)
		b.Reset()
		full := p.writeBatch(&b, part, fresh, wanted)
		_, err := w.Write(b.Bytes())
		if err == nil {
			err = control.Flush()
		}
		if err != nil {
			return // the page is gone
		}
		if r.URL.Query().Has("once") {
			return
		}
		after, fresh = part.last, false
		wait := pace
		if full {
			wait = stormPace
		}
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

// resumed tells where a stream begins. An id of another history, from before a
// restart, is one to begin anew.
func (p *Page) resumed(r *http.Request) (after uint64, fresh bool) {
	id := r.Header.Get("Last-Event-ID")
	if id == "" {
		id = r.URL.Query().Get("after")
	}
	epoch, number, _ := strings.Cut(id, "-")
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil || epoch != p.history.epoch || n > p.history.position() {
		return 0, true
	}
	return n, false
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

// writeBatch writes one event of the stream and reports whether it had to leave
// events out.
func (p *Page) writeBatch(b *bytes.Buffer, part part, fresh bool, wanted func(*entry) bool) (full bool) {
	var chosen []*entry
	for _, e := range part.entries {
		if wanted(e) {
			chosen = append(chosen, e)
		}
	}
	missed := max(0, len(chosen)-maxBatch)
	chosen = chosen[missed:]
	totals := map[string]uint64{"online": uint64(part.online)}
	for i, k := range kinds {
		totals[string(k)] = part.totals[i]
	}
	head, err := json.Marshal(struct {
		Fresh   bool              `json:"fresh"`
		Now     float64           `json:"now"`
		Missed  int               `json:"missed"`
		Totals  map[string]uint64 `json:"totals"`
		Clients []clientState     `json:"clients"`
	}{fresh, milliseconds(time.Now()), missed, totals, part.clients})
	if err != nil {
		return false // numbers and strings always marshal
	}
	fmt.Fprintf(b, "id: %s-%d\ndata: %s,\"events\":[", p.history.epoch, part.last, bytes.TrimSuffix(head, []byte("}")))
	for i, e := range chosen {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(e.json())
	}
	b.WriteString("]}\n\n")
	return missed > 0
}
