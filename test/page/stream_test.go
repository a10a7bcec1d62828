package page_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"lastwill/internal/page"
)

// A wire is a proxy that can be cut.
type wire struct {
	net.Listener
	to string

	mu    sync.Mutex
	conns map[net.Conn]bool
	cut   bool
}

func (w *wire) run() {
	for {
		from, err := w.Accept()
		if err != nil {
			return
		}
		to, err := net.Dial("tcp", w.to)
		if err != nil {
			from.Close()
			continue
		}
		w.mu.Lock()
		w.conns[from], w.conns[to] = true, true
		if w.cut {
			from.Close()
			to.Close()
		}
		w.mu.Unlock()
		go func() { io.Copy(to, from); to.Close() }()
		go func() { io.Copy(from, to); from.Close() }()
	}
}

// set cuts the wire, or mends it.
func (w *wire) set(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = cut
	if cut {
		for c := range w.conns {
			c.Close()
		}
		clear(w.conns)
	}
}

// rehearse shows a history of the test's own, through a wire.
func rehearse(t testing.TB) (*page.History, *stage, *wire) {
	t.Helper()
	h := page.NewHistory()
	front, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	server := httptest.NewServer(page.New(page.Options{
		Place: "Rehearsal", Address: front.Addr().String(), History: h,
		Publish: func(context.Context, page.Outgoing) error { return nil },
	}))
	w := &wire{Listener: front, to: server.Listener.Addr().String(), conns: map[net.Conn]bool{}}
	go w.run()
	t.Cleanup(func() { front.Close(); w.set(true); server.CloseClientConnections(); server.Close() })
	return h, &stage{address: "http://" + front.Addr().String()}, w
}

// A lost connection is seen, resumed, and leaves neither gaps nor doubles.
func TestTheStreamIsCutAndResumes(t *testing.T) {
	h, s, w := rehearse(t)
	b := s.open(t, page.Root)
	b.shows("#link", "live")
	sent := 0
	send := func(n int) {
		for range n {
			sent++
			h.Record(page.Event{Kind: page.Message, Time: time.Now(), Client: "pump", Topic: "t", Payload: fmt.Append(nil, sent)})
		}
	}
	send(7)
	b.shows(".event small", "× 7")
	for range 3 {
		w.set(true)
		b.shows("#link", "connection lost")
		send(11)
		w.set(false)
		b.shows("#link", "live")
		b.sees(fmt.Sprintf(`document.querySelector('.event small').textContent === '× %d'`, sent))
	}
	send(1)
	b.sees(fmt.Sprintf(`document.querySelector('.event small').textContent === '× %d' && document.querySelectorAll('.step').length === 1`, sent))
}

// A storm is counted to the last, and the page goes on answering.
func TestAStormIsCounted(t *testing.T) {
	h, s, _ := rehearse(t)
	b := s.open(t, page.Root)
	b.shows("#link", "live")
	const devices = 10_000
	for i := range devices {
		h.Record(page.Event{Kind: page.Connected, Time: time.Now(), Client: fmt.Sprintf("device-%05d", i), KeepAlive: 30 * time.Second})
	}
	b.sees(`document.querySelector('[data-figure=online]').textContent === '10,000'`)
	value[bool](b, `(window.longest = 0, window.before = performance.now(), window.watch = () => { const now = performance.now(); window.longest = Math.max(window.longest, now - window.before); window.before = now; requestAnimationFrame(window.watch); }, window.watch(), true)`)
	for i := range devices {
		client := fmt.Sprintf("device-%05d", i)
		for _, kind := range []page.Kind{page.Will, page.Matched, page.Done, page.Copy, page.Disconnected, page.Mail} {
			h.Record(page.Event{Kind: kind, Time: time.Now(), Client: client, Topic: "/last/will/topic", Payload: []byte("{}"), Rule: "r"})
		}
	}
	for _, figure := range []string{"will", "matched", "copy"} {
		b.sees(fmt.Sprintf(`document.querySelector('[data-figure=%s]').textContent === '10,000'`, figure))
	}
	b.sees(`document.querySelector('[data-figure=online]').textContent === '0'`)
	b.shows("#storm", "A storm: 10,000 Will Messages")
	b.shows("#storm", "10,000 connections ended, the rule matched 10,000 times and not 0 times, 10,000 copies, 10,000 e-mails")
	b.sees(`document.querySelectorAll('.lane').length <= 40`)
	t.Logf("longest time between two frames in the storm: %.0f ms", value[float64](b, `window.longest`))
	b.clean()
}

// A browser has six connections to a server. A tenth tab is still served, and
// told what happens.
func TestTenTabsAreTold(t *testing.T) {
	h, s, _ := rehearse(t)
	var tabs []*tab
	for range 10 {
		b := s.open(t, page.Root)
		b.shows("#link", "live")
		tabs = append(tabs, b)
	}
	h.Record(page.Event{Kind: page.Will, Time: time.Now(), Client: "pump", Topic: "t"})
	for _, b := range tabs {
		b.shows(".lane h2", "pump")
	}
}

// What is embedded stays small: a view with all that it loads.
func TestAViewTransfersLittle(t *testing.T) {
	_, s, _ := rehearse(t)
	b := s.open(t, page.Root)
	b.shows("#link", "live")
	b.sees(`document.fonts.status === 'loaded'`)
	bytes := value[int](b, `[...performance.getEntriesByType('resource'), ...performance.getEntriesByType('navigation')].reduce((n, e) => n + e.transferSize, 0)`)
	t.Logf("%d bytes", bytes)
	if bytes == 0 || bytes > 150_000 {
		t.Errorf("%d bytes are transferred, at most 150,000 should be", bytes)
	}
}
