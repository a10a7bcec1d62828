package page

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lastwill/internal/iotsql"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// serve serves a page of a history of its own.
func serve(t testing.TB) (*History, *httptest.Server) {
	t.Helper()
	h := NewHistory()
	server := httptest.NewUnstartedServer(nil)
	server.Config.Handler = New(Options{
		Place: "Test", Address: server.Listener.Addr().String(), History: h,
		Publish: func(context.Context, Outgoing) error { return nil },
	})
	server.Config.ReadTimeout = 200 * time.Millisecond // a stream must outlive it
	server.Start()
	t.Cleanup(server.CloseClientConnections)
	t.Cleanup(server.Close)
	return h, server
}

func TestOnlyThePageItselfMayAsk(t *testing.T) {
	t.Parallel()
	_, server := serve(t)
	address := server.Listener.Addr().String()
	_, port, err := net.SplitHostPort(address)
	check(t, err)
	for _, c := range []struct {
		claim, method, path, host string
		header                    map[string]string
		want                      int
	}{
		{"a person opens it", "GET", "", address, map[string]string{"Sec-Fetch-Site": "none"}, 200},
		{"by the name localhost", "GET", "", "localhost:" + port, nil, 200},
		{"a link on another page leads here", "GET", "", address, map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200},
		{"a name that points at this machine", "GET", "", "evil.example:" + port, nil, 403},
		{"another port's name", "GET", "", "127.0.0.1:1", nil, 403},
		{"a rebound name reads the stream", "GET", "events?once", "evil.example", nil, 403},
		{"another page loads the stream", "GET", "events?once", address, map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403},
		{"another page frames it", "GET", "", address, map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, 403},
		{"another port of this machine asks", "GET", "events?once", address, map[string]string{"Origin": "http://127.0.0.1:1"}, 403},
		{"it publishes", "POST", "publish", address, map[string]string{"Origin": "http://" + address, "Content-Type": "application/json"}, 200},
		{"another page publishes", "POST", "publish", address, map[string]string{"Origin": "http://evil.example", "Content-Type": "application/json"}, 403},
		{"a page without an origin publishes", "POST", "publish", address, map[string]string{"Origin": "null", "Content-Type": "application/json"}, 403},
		{"another page's form publishes", "POST", "publish", address, map[string]string{"Content-Type": "text/plain"}, 403},
		{"a link publishes", "GET", "publish", address, nil, 404},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			request, err := http.NewRequest(c.method, server.URL+Root+c.path, strings.NewReader("{}"))
			check(t, err)
			request.Host = c.host
			for name, value := range c.header {
				request.Header.Set(name, value)
			}
			response, err := server.Client().Do(request)
			check(t, err)
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			check(t, err)
			if response.StatusCode != c.want {
				t.Errorf("answered %s: %.200s", response.Status, body)
			}
			const policy = "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self'; connect-src 'self'; " +
				"frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
				"require-trusted-types-for 'script'; trusted-types 'none'"
			if got := response.Header.Get("Content-Security-Policy"); got != policy {
				t.Errorf("the Content-Security-Policy is\n%s, want\n%s", got, policy)
			}
		})
	}
}

func TestHistoryIsBoundedAndCountsAll(t *testing.T) {
	t.Parallel()
	h := NewHistory()
	for i := range 3 * MaxEvents {
		h.Record(Event{Kind: Will, Client: fmt.Sprint(i), Payload: make([]byte, 10_000)})
	}
	if kept := int(h.next - h.first); kept > MaxEvents || kept*10_000 > maxPayloadBytes {
		t.Errorf("%d events are kept", kept)
	}
	for range 10 {
		h.Record(Event{Kind: Message, Payload: make([]byte, maxPayloadBytes/2)})
	}
	p := h.since(place{})
	if len(p.entries) > 2 || p.totals[kindPlace[Will]] != 3*MaxEvents || p.totals[kindPlace[Message]] != 10 {
		t.Errorf("%d events are kept, the totals are %v", len(p.entries), p.totals)
	}
	if n := len(kinds); n != len(p.totals) {
		t.Errorf("there are %d kinds and %d totals", n, len(p.totals))
	}
}

// A reader follows a stream.
type reader struct {
	lines *bufio.Scanner
	close func()
}

type readBatch struct {
	ID     string
	Fresh  bool
	Missed int
	More   int
	First  uint64
	Totals map[string]int
	Events []wireEvent
}

func follow(t testing.TB, server *httptest.Server, query, lastID string) *reader {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+Root+"events?"+query, nil)
	check(t, err)
	if lastID != "" {
		request.Header.Set("Last-Event-ID", lastID)
	}
	response, err := server.Client().Do(request) //nolint:bodyclose // the reader closes it
	check(t, err)
	if response.StatusCode != http.StatusOK {
		t.Fatal(response.Status)
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 10<<20)
	r := &reader{lines, func() { cancel(); response.Body.Close() }}
	t.Cleanup(r.close)
	return r
}

func (r *reader) next(t testing.TB) (b readBatch) {
	t.Helper()
	for r.lines.Scan() {
		if id, ok := strings.CutPrefix(r.lines.Text(), "id: "); ok {
			b.ID = id
		}
		if data, ok := strings.CutPrefix(r.lines.Text(), "data: "); ok {
			check(t, json.Unmarshal([]byte(data), &b))
			return b
		}
	}
	t.Fatalf("the stream ended: %v", r.lines.Err())
	return b
}

// A stream that is cut again and again tells every event once, and whatever is
// left out is counted.
func TestStreamResumesWithoutGapsOrDoubles(t *testing.T) {
	t.Parallel()
	h, server := serve(t)
	const events = 2000
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range events {
			h.Record(Event{Kind: Message, Topic: fmt.Sprint(i)})
			if i%20 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
	}()
	seen, last, missed := map[uint64]int{}, "", 0
	end := fmt.Sprintf("%s-%d-", h.epoch, events)
	for !strings.HasPrefix(last, end) {
		r := follow(t, server, "", last)
		for range 3 { // and then the connection is cut
			b := r.next(t)
			if b.Fresh != (last == "") {
				t.Errorf("fresh is %v after %q", b.Fresh, last)
			}
			last, missed = b.ID, missed+b.Missed
			for _, e := range b.Events {
				seen[e.N]++
			}
			if b.More == 0 && b.Totals["message"] != len(seen)+missed {
				t.Fatalf("%d events were told and %d left out, the total is %d", len(seen), missed, b.Totals["message"])
			}
			if strings.HasPrefix(last, end) {
				break
			}
		}
		r.close()
	}
	<-done
	for n, times := range seen {
		if times != 1 {
			t.Errorf("event %d was told %d times", n, times)
		}
	}
}

// numbers are those of events.
func numbers(events []wireEvent) (n []uint64) {
	for _, e := range events {
		n = append(n, e.N)
	}
	return n
}

func upTo(first, last uint64) (n []uint64) {
	for ; first <= last; first++ {
		n = append(n, first)
	}
	return n
}

// A page that is opened, or comes back, gets all that is kept, with the numbers that
// the events have had from the beginning.
func TestAStreamBeginsWithAllThatIsKept(t *testing.T) {
	t.Parallel()
	h, server := serve(t)
	const events = MaxEvents + 1234
	for i := range uint64(events) {
		h.Record(Event{Kind: Message, Topic: fmt.Sprint("topic/", i+1)})
	}
	for _, c := range []struct {
		claim, query, last string
		first              uint64
	}{
		{"a page that is opened", "", "", events - MaxEvents + 1},
		{"a page that was away for a while", "", h.id(place{event: events - 2000}), events - 2000 + 1},
		{"a page that was away for too long", "", h.id(place{event: 7}), events - MaxEvents + 1},
		{"a tab that has no stream", "once&after=" + h.id(place{event: events - 700}), "", events - 700 + 1},
		{"messages of a filter", "filter=topic/%2B", "", events - MaxEvents + 1},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			r := follow(t, server, c.query, c.last)
			var got []uint64
			for more := 1; more > 0; {
				b := r.next(t)
				if len(b.Events) > wholeBatch || b.Missed != 0 || b.First != events-MaxEvents+1 {
					t.Errorf("a batch has %d events, left %d out, and the oldest kept is %d", len(b.Events), b.Missed, b.First)
				}
				got, more = append(got, numbers(b.Events)...), b.More
			}
			if !slices.Equal(got, upTo(c.first, events)) {
				t.Errorf("it told %d events from %v, want %d to %d", len(got), got[:min(3, len(got))], c.first, events)
			}
		})
	}
	for n, want := range map[uint64]int{events - MaxEvents: 422, events - MaxEvents + 1: 200, MaxEvents: 200, MaxEvents + 1: 200, events: 200, events + 1: 422, 1: 422, 0: 422} {
		response, err := server.Client().Get(fmt.Sprint(server.URL, Root, "event/", n))
		check(t, err)
		var e wireEvent
		check(t, json.NewDecoder(response.Body).Decode(&e))
		response.Body.Close()
		if response.StatusCode != want || want == 200 && (e.N != n || e.Topic != fmt.Sprint("topic/", n)) {
			t.Errorf("event %d: %s, number %d on %s", n, response.Status, e.N, e.Topic)
		}
	}
}

// Of a storm the newest events are shown at once, and the others counted.
func TestABatchOfAStormHasTheNewestEvents(t *testing.T) {
	t.Parallel()
	h, server := serve(t)
	p := New(Options{Address: server.Listener.Addr().String(), History: h})
	for range 1000 {
		h.Record(Event{Kind: Will})
	}
	all := func(*entry) bool { return true }
	batches := p.batches(h.since(place{event: 100}), false, false, all)
	if len(batches) != 1 || batches[0].Missed != 900-liveBatch || batches[0].id != h.id(h.position()) {
		t.Fatalf("there are %d batches, the first left %d out", len(batches), batches[0].Missed)
	}
	var got []uint64
	for _, e := range batches[0].events {
		got = append(got, e.n)
	}
	if !slices.Equal(got, upTo(1000-liveBatch+1, 1000)) {
		t.Errorf("it has %v", got)
	}
}

// What is known of each client: whether it is connected, lost or left, since when.
func TestStatesOfClients(t *testing.T) {
	t.Parallel()
	at := func(second int64) time.Time { return time.Unix(second, 0) }
	connected := func(id string, second int64) Event {
		return Event{Kind: Connected, Client: id, Time: at(second), KeepAlive: 30 * time.Second}
	}
	disconnected := func(id, reason string, second int64) Event {
		return Event{Kind: Disconnected, Client: id, Detail: reason, Time: at(second)}
	}
	state := func(id, state string, since, heard int64) clientState {
		return clientState{Client: id, State: state, Since: float64(since * 1000), Heard: float64(heard * 1000), KeepAlive: 30}
	}
	for _, c := range []struct {
		claim  string
		events []Event
		want   []clientState // the latest news first, those connected before the others
		online int
	}{
		{"connected", []Event{connected("a", 1), connected("b", 2)}, []clientState{state("b", "connected", 2, 2), state("a", "connected", 1, 1)}, 2},
		{"one disconnects", []Event{connected("a", 1), connected("b", 2), disconnected("a", clientInitiated, 3)}, []clientState{state("b", "connected", 2, 2), state("a", "left", 3, 1)}, 1},
		{"lost", []Event{connected("a", 1), disconnected("a", "CONNECTION_LOST", 3)}, []clientState{state("a", "lost", 3, 1)}, 0},
		{"lost, as its will says", []Event{connected("a", 1), {Kind: Will, Client: "a", Time: at(4)}}, []clientState{state("a", "lost", 4, 1)}, 0},
		{"back", []Event{connected("a", 1), disconnected("a", "CONNECTION_LOST", 3), connected("a", 5)}, []clientState{state("a", "connected", 5, 5)}, 1},
		{"taken over", []Event{connected("a", 1), disconnected("a", "DUPLICATE_CLIENTID", 2), connected("a", 2)}, []clientState{state("a", "connected", 2, 2)}, 1},
		{"connected twice counts once", []Event{connected("a", 1), connected("a", 2)}, []clientState{state("a", "connected", 2, 2)}, 1},
		{"a message is a sign of life", []Event{connected("a", 1), {Kind: Message, Client: "a", Time: at(9)}}, []clientState{state("a", "connected", 1, 9)}, 1},
		{"a message of one that is lost is none", []Event{connected("a", 1), disconnected("a", "CONNECTION_LOST", 3), {Kind: Message, Client: "a", Time: at(9)}}, []clientState{state("a", "lost", 3, 1)}, 0},
		{"events of no client", []Event{{Kind: Message, Time: at(1)}, {Kind: Will, Time: at(1)}}, nil, 0},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			h := NewHistory()
			for _, e := range c.events {
				h.Record(e)
			}
			p := h.since(place{})
			if diff := cmp.Diff(c.want, p.clients); diff != "" || p.online != c.online {
				t.Errorf("%d are online, want %d; the clients differ:\n%s", p.online, c.online, diff)
			}
		})
	}
}

// News of clients come once, also without an event; what is gone is bounded, who is
// connected is not.
func TestNewsOfClients(t *testing.T) {
	t.Parallel()
	h := NewHistory()
	begun := time.Unix(1, 0)
	h.Record(Event{Kind: Connected, Client: "quiet", Time: begun})
	h.Record(Event{Kind: Connected, Client: "pinger", Time: begun})
	h.Record(Event{Kind: Will, Client: "gone", Time: begun})
	before := h.position()
	for range 3 {
		h.Heard("pinger", begun.Add(time.Minute))
		h.Heard("gone", begun.Add(time.Minute))
		h.Heard("unknown", begun.Add(time.Minute))
	}
	p := h.since(before)
	if len(p.entries) != 0 || len(p.clients) != 1 || p.clients[0].Client != "pinger" || p.clients[0].Heard != milliseconds(begun.Add(time.Minute)) {
		t.Errorf("after three pings there is %+v", p.clients)
	}
	if p := h.since(p.end); len(p.clients) != 0 {
		t.Errorf("it is told again: %+v", p.clients)
	}
	for i := range maxGone + 10 {
		h.Record(Event{Kind: Will, Client: fmt.Sprint("device-", i), Time: begun})
	}
	if p := h.since(place{}); p.online != 2 || len(p.clients) != maxGone+2 || p.clients[2].Client != fmt.Sprint("device-", maxGone+9) {
		t.Errorf("%d clients are known, %d of them online, the last gone is %+v", len(p.clients), p.online, p.clients[2])
	}
	last, ok := h.find(3)
	if ok {
		t.Errorf("event 3 is %+v", last)
	}
}

// The event that ends a connection says when the client was last heard of.
func TestAnEndSaysHowLongItWasSilent(t *testing.T) {
	t.Parallel()
	h := NewHistory()
	begun := time.Unix(100, 0)
	h.Record(Event{Kind: Connected, Client: "a", Time: begun})
	h.Heard("a", begun.Add(20*time.Second))
	h.Record(Event{Kind: Will, Client: "a", Time: begun.Add(50 * time.Second)})
	h.Record(Event{Kind: Disconnected, Client: "a", Time: begun.Add(50 * time.Second)})
	var got []float64
	for _, e := range h.since(place{}).entries {
		got = append(got, e.wire(0).Heard)
	}
	if want := []float64{0, milliseconds(begun.Add(20 * time.Second)), 0}; !slices.Equal(got, want) {
		t.Errorf("the events say %v, want %v", got, want)
	}
}

// Each second of the last two minutes has its counts, whatever is no longer kept.
func TestSecondsAreCounted(t *testing.T) {
	t.Parallel()
	h := NewHistory()
	const begun = 1_000_000
	for second := range int64(200) {
		for range 100 {
			h.Record(Event{Kind: Will, Time: time.Unix(begun+second, 999)})
			h.Record(Event{Kind: Matched, Time: time.Unix(begun+second, 0)})
			h.Record(Event{Kind: Stack, Time: time.Unix(begun+second, 0)})
		}
	}
	h.Record(Event{Kind: Mail, Time: time.Unix(begun+150, 0)}) // late
	h.Record(Event{Kind: Mail, Time: time.Unix(begun+10, 0)})  // too late
	before := h.position()
	h.Record(Event{Kind: Mail, Time: time.Unix(begun+199, 0)})
	if got := h.since(before).seconds; !slices.Equal(got, [][3]int64{{begun + 199, 100, 101}}) {
		t.Errorf("news are %v", got)
	}
	got := map[int64][3]int64{}
	for _, s := range h.since(place{}).seconds {
		got[s[0]] = s
	}
	for second := int64(200 - pulseSeconds); second < 200; second++ {
		want := [3]int64{begun + second, 100, 100}
		if second == 150 || second == 199 {
			want[2]++
		}
		if got[begun+second] != want {
			t.Errorf("second %d has %v", second, got[begun+second])
		}
	}
	if _, ok := got[begun+10]; ok {
		t.Error("what is long past is counted")
	}
}

// A filter is unsubscribed from when the last page that has it ends it, and not
// before.
func TestUnsubscribingLeavesOtherPages(t *testing.T) {
	t.Parallel()
	ended := make(chan string, 10)
	h := NewHistory()
	server := httptest.NewUnstartedServer(nil)
	page := New(Options{
		Address: server.Listener.Addr().String(), History: h,
		Publish:     func(context.Context, Outgoing) error { return nil },
		Unsubscribe: func(filter string) { ended <- filter },
	})
	page.afterwards = 10 * time.Millisecond
	server.Config.Handler = page
	server.Start()
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections)
	streams := func(filter string, want int) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
			page.mu.Lock()
			got := page.wanted[filter]
			page.mu.Unlock()
			if got == want {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s is wanted by %d streams, want %d", filter, got, want)
			}
		}
	}
	unsubscribe := func(filter string) {
		t.Helper()
		response, err := server.Client().Post(server.URL+Root+"unsubscribe", "application/json", strings.NewReader(`{"filter":"`+filter+`"}`))
		check(t, err)
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Fatal(response.Status)
		}
	}
	one, other := follow(t, server, "filter=site/%23&filter=news", ""), follow(t, server, "filter=site/%23", "")
	one.next(t)
	other.next(t)
	one.close()
	streams("site/#", 1)
	streams("news", 0)
	unsubscribe("site/#")
	unsubscribe("news") // whose end shows that the other was considered, too
	if got := <-ended; got != "news" {
		t.Fatalf("%q was unsubscribed from, and another page has it", got)
	}
	select {
	case got := <-ended:
		t.Fatalf("%q was unsubscribed from, and another page has it", got)
	default:
	}
	other.close()
	streams("site/#", 0)
	unsubscribe("site/#")
	if got := <-ended; got != "site/#" {
		t.Errorf("%q was unsubscribed from", got)
	}
}

// A box of mails with numbers for names.
type box int

func (b box) List(skip, limit int) (out []Letter, total int) {
	for n := int(b) - skip; n > 0 && len(out) < limit; n-- {
		out = append(out, Letter{Name: fmt.Sprintf("%08d.eml", n), Subject: fmt.Sprint("mail ", n)})
	}
	return out, int(b)
}

func (b box) Newer(name string) (int, bool) {
	n, err := strconv.Atoi(strings.TrimSuffix(name, ".eml"))
	return int(b) - n, err == nil && n > 0 && n <= int(b)
}

func (b box) Letter(name string) (Letter, bool) {
	_, ok := b.Newer(name)
	return Letter{Name: name, Subject: "Subject of " + name}, ok
}

// All mails can be reached: from part to part of the list, and a mail that is opened
// is in the part that is shown.
func TestTheMailboxHasOlderMails(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(nil)
	server.Config.Handler = New(Options{Address: server.Listener.Addr().String(), History: NewHistory(), Mailbox: box(1120)})
	server.Start()
	t.Cleanup(server.Close)
	get := func(path string) string {
		t.Helper()
		response, err := server.Client().Get(server.URL + path)
		check(t, err)
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		check(t, err)
		if response.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", path, response.Status)
		}
		return string(body)
	}
	listed := regexp.MustCompile(`class="subject">mail (\d+)<`)
	link := func(body, name string) string {
		found := regexp.MustCompile(`href="([^"]+)">` + name + `<`).FindStringSubmatch(body)
		if found == nil {
			return ""
		}
		return found[1]
	}
	next, want, path := 1120, "", Root+"mailbox"
	var paths []string
	for ; path != ""; path = link(get(path), "Older") {
		body := get(path)
		paths = append(paths, path)
		first := next
		for _, found := range listed.FindAllStringSubmatch(body, -1) {
			if found[1] != strconv.Itoa(next) {
				t.Fatalf("%s lists mail %s, want %d", path, found[1], next)
			}
			next--
		}
		if want = fmt.Sprintf("<span>%s to %s of 1,120</span>", thousands(1120-first+1), thousands(1120-next)); !strings.Contains(body, want) {
			t.Errorf("%s does not say %s", path, want)
		}
	}
	if next != 0 {
		t.Errorf("mail %d and those before it are not listed", next)
	}
	for i := len(paths) - 1; i > 0; i-- {
		if newer := link(get(paths[i]), "Newer"); newer != paths[i-1] {
			t.Errorf("newer than %s is %q, want %s", paths[i], newer, paths[i-1])
		}
	}
	for _, name := range []string{"00001120.eml", "00000500.eml", "00000001.eml"} {
		if body := get(Root + "mailbox/" + name); !regexp.MustCompile(`mailbox/` + name + `[^>]* aria-current="true"`).MatchString(body) {
			t.Errorf("%s is open, and not in the list", name)
		}
	}
}

func TestStreamOfAnotherHistoryBeginsAnew(t *testing.T) {
	t.Parallel()
	h, server := serve(t)
	h.Record(Event{Kind: Message, Topic: "a"})
	for _, id := range []string{"other-1", "nonsense", h.epoch + "-1", h.epoch + "-99-0", h.epoch + "-1-99"} {
		if b := follow(t, server, "", id).next(t); !b.Fresh || len(b.Events) != 1 {
			t.Errorf("after %q: fresh is %v with %d events", id, b.Fresh, len(b.Events))
		}
	}
}

func TestStreamOutlivesTheServersDeadlines(t *testing.T) {
	t.Parallel()
	h, server := serve(t)
	r := follow(t, server, "", "")
	r.next(t)
	time.Sleep(2 * server.Config.ReadTimeout) // no event tells that a deadline has passed
	h.Record(Event{Kind: Message, Topic: "late"})
	if b := r.next(t); len(b.Events) != 1 || b.Events[0].Topic != "late" {
		t.Errorf("it told %+v", b)
	}
}

func TestStreamOfFilters(t *testing.T) {
	t.Parallel()
	h, server := serve(t)
	for _, topic := range []string{"sport", "sport/tennis", "news", "sports/x"} {
		h.Record(Event{Kind: Message, Topic: topic})
		h.Record(Event{Kind: Matched, Topic: topic})
	}
	b := follow(t, server, "filter=sport/%23&filter=news", "").next(t)
	var topics []string
	for _, e := range b.Events {
		topics = append(topics, e.Topic)
	}
	if got := strings.Join(topics, " "); got != "sport sport/tennis news" {
		t.Errorf("it told of %s", got)
	}
}

// Recording goes on at its pace when a page is open that reads nothing.
func TestRecordingWaitsForNobody(t *testing.T) {
	t.Parallel()
	h, server := serve(t)
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	check(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "GET %sevents HTTP/1.1\r\nHost: %s\r\n\r\n", Root, server.Listener.Addr())
	check(t, err)
	payload := []byte(strings.Repeat("x", 2000))
	for range 100_000 {
		h.Record(Event{Kind: Will, Client: "c", Payload: payload})
	}
	if b := follow(t, server, "", "").next(t); b.Totals["will"] != 100_000 {
		t.Errorf("%d were counted", b.Totals["will"])
	}
}

func TestJudgeMarksWhatDecided(t *testing.T) {
	t.Parallel()
	const sql = `SELECT '😀' AS face FROM 'a' WHERE x = 1 AND (y = 2 OR z = 3)`
	rule, err := iotsql.Compile(sql, iotsql.V2016)
	check(t, err)
	at := func(part string) mark {
		before, _, _ := strings.Cut(sql, part)
		start := units(before)
		return mark{start, start + units(part), part}
	}
	for _, c := range []struct {
		claim, payload string
		against, pro   []mark
	}{
		{"the side of AND that says no", `{"x":2,"y":2,"z":3}`, []mark{at("x = 1")}, nil},
		{"both sides of OR", `{"x":1,"y":1,"z":1}`, []mark{at("y = 2"), at("z = 3")}, nil},
		{"the sides that say yes", `{"x":1,"y":2,"z":1}`, nil, []mark{at("x = 1"), at("y = 2")}},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			v := judge(rule, &iotsql.Message{Topic: "a", Payload: []byte(c.payload)})
			same := func(got []clause, want []mark) bool {
				if len(got) != len(want) {
					return false
				}
				for i := range got {
					if got[i].mark != want[i] {
						return false
					}
				}
				return true
			}
			if c.pro != nil && !v.Fired || c.against != nil && v.Fired || !same(v.Against, c.against) || len(c.pro) > 0 && !same(v.For[:len(c.pro)], c.pro) {
				t.Errorf("fired %v, against %+v, for %+v", v.Fired, v.Against, v.For)
			}
		})
	}
	if units("😀") != len([]rune("😀"))+1 {
		t.Error("JavaScript counts two units")
	}
}

func TestPayloadsAreTextOrHexadecimal(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		claim string
		in    []byte
		want  string
		hex   bool
	}{
		{"text", []byte("grüße"), "grüße", false},
		{"text that was cut within a character", []byte("grü")[:3], "gr", false},
		{"bytes", []byte{0xff, 0x00}, "ff00", true},
		{"nothing", nil, "", false},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			if got, isHex := text(c.in); got != c.want || isHex != c.hex {
				t.Errorf("got %q, %v", got, isHex)
			}
		})
	}
}
