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
	"strings"
	"testing"
	"time"

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
			if csp := response.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "script-src 'self'") || strings.Contains(csp, "unsafe") {
				t.Errorf("the policy is %q", csp)
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
	p := h.since(0, true)
	if len(p.entries) > 2 || p.totals[placeOf[Will]] != 3*MaxEvents || p.totals[placeOf[Message]] != 10 {
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
	for last != fmt.Sprintf("%s-%d", h.epoch, events) {
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
			if b.Totals["message"] != len(seen)+missed {
				t.Fatalf("%d events were told and %d left out, the total is %d", len(seen), missed, b.Totals["message"])
			}
			if last == fmt.Sprintf("%s-%d", h.epoch, events) {
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

func TestStreamOfAnotherHistoryBeginsAnew(t *testing.T) {
	t.Parallel()
	h, server := serve(t)
	h.Record(Event{Kind: Message, Topic: "a"})
	for _, id := range []string{"other-1", "nonsense", h.epoch + "-99"} {
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
