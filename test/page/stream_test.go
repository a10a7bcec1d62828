package page_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"lastwill/internal/localaws"
	"lastwill/internal/page"
	"lastwill/internal/will"
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

// An endpoint that keeps its state is stopped and started again while its page is
// open: the views go on by themselves, with what was kept, and tell nothing twice.
func TestTheEndpointStartsAgain(t *testing.T) {
	t.Parallel()
	s := &stage{certs: t.TempDir()}
	t.Cleanup(func() { s.stop(t) })
	data := t.TempDir()
	s.start(t, localaws.Options{DataDir: data})
	s.deploy(t)
	confirmation := s.open(t, page.Root+"mailbox/00000001.eml")
	confirmation.click(".text a")
	confirmation.other("/_lwt/sns/confirm").shows("h1", "Subscription confirmed!")
	timeline, mailbox := s.open(t, page.Root), s.open(t, page.Root+"mailbox")
	stack, client := s.open(t, page.Root+"stack"), s.open(t, page.Root+"client")
	client.do(chromedp.SetValue(chromedp.CSS("#filter"), "#"))
	client.click("#subscribe .main")
	client.shows("#filters", "#")
	lose := func() {
		timeline.post("devices", page.Order{Thing: will.ThingName, KeepAlive: 30, WillPayload: string(will.Payload(will.ThingName))})
		timeline.post("devices/drop", map[string]string{"client": will.ThingName})
		timeline.sees(steps(will.ThingName, 0) + `.replace('mail copy', 'copy mail') === 'connected message disconnected will matched done copy mail'`)
	}
	messages := func(n int) {
		t.Helper()
		client.sees(fmt.Sprintf(`document.querySelectorAll('.message').length === %d && document.querySelector('#count').textContent === '%[1]d'`, n))
	}
	lose()
	messages(3)
	mailbox.sees(`document.querySelectorAll('.letters li').length === 2`)

	mailbox.shows("#link", "live")
	address := strings.TrimPrefix(s.address, "http://")
	s.stop(t)
	for _, b := range []*tab{timeline, stack, client, mailbox} {
		b.shows("#link", "connection lost")
		b.shows("#stale:not([hidden])", "The connection was lost at")
	}
	s.start(t, localaws.Options{DataDir: data, HTTPAddress: address})
	for _, b := range []*tab{timeline, stack, client, mailbox} {
		b.shows("#link", "live")
		b.sees(`document.querySelector('#stale').hidden`)
	}
	// The history begins anew; stacks and mails are those that were there.
	timeline.shows("#waiting:not([hidden])", "No device yet")
	timeline.sees(`document.querySelectorAll('.lane').length === 0 && document.querySelector('[data-figure=mail]').textContent === '0'`)
	lose()
	timeline.sees(`document.querySelectorAll('.lane').length === 1 && document.querySelectorAll('.life').length === 1 && ![...document.querySelectorAll('.step small')].some((s) => s.textContent)`)
	timeline.sees(`document.querySelector('[data-figure=will]').textContent === '1' && document.querySelector('[data-figure=mail]').textContent === '1'`)
	messages(6)
	mailbox.sees(`document.querySelectorAll('.letters li').length === 3`)
	stack.shows(".stack-head", "CREATE_COMPLETE")
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
	value[bool](b, `(addEventListener('click', () => { window.clicked = true; }), true)`)
	for i := range devices {
		if i == devices/2 { // somebody uses the page meanwhile
			b.do(chromedp.MouseClickXY(300, 80))
		}
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
	b.shows("#storm", "10,000 connections ended, the rule matched 10,000 times and did not match 0 times, 10,000 copies, 10,000 e-mails")
	b.sees(`document.querySelectorAll('.lane').length <= 40`)
	if !value[bool](b, `!!window.clicked`) {
		t.Error("a click in the middle of the storm is not handled")
	}
	t.Logf("longest time between two frames in the storm: %.0f ms", value[float64](b, `window.longest`))
	b.clean()
}

// vanish records the life and the loss of many devices, one after the other over a
// time that is said to have passed.
func vanish(h *page.History, devices int, over time.Duration) {
	begun := time.Now().Add(-over)
	for i := range devices {
		client := fmt.Sprintf("device-%05d", i)
		at := begun.Add(time.Duration(i) * over / time.Duration(devices))
		h.Record(page.Event{Kind: page.Connected, Time: at, Client: client, KeepAlive: 30 * time.Second})
		for _, kind := range []page.Kind{page.Will, page.Matched, page.Done, page.Copy, page.Disconnected} {
			h.Record(page.Event{Kind: kind, Time: at, Client: client, Topic: "/last/will/topic", Payload: []byte("{}"), Rule: "r"})
		}
	}
}

// After a storm of a thousand devices a page that is opened has all that is kept:
// each device can be found, the bars have all of the storm, lwt's own clients are
// hidden unless asked for. A page that was open has the same.
func TestAStormIsLookedAtAfterwards(t *testing.T) {
	h, s, _ := rehearse(t)
	open := s.open(t, page.Root)
	open.shows("#link", "live")
	const devices = 1000
	vanish(h, devices, 20*time.Second)
	h.Record(page.Event{Kind: page.Connected, Time: time.Now(), Client: "device-00007", KeepAlive: 30 * time.Second})
	h.Record(page.Event{Kind: page.Disconnected, Time: time.Now(), Client: "device-00007", Detail: "CLIENT_INITIATED_DISCONNECT"})
	h.Record(page.Event{Kind: page.Connected, Time: time.Now(), Client: will.WatchPrefix + "abcdefghij"})
	h.Record(page.Event{Kind: page.Connected, Time: time.Now(), Client: will.NewCheckName(will.ThingName), KeepAlive: 30 * time.Second})
	late := s.open(t, page.Root)
	for _, b := range []*tab{open, late} {
		b.shows("#devices-count", "1,000 devices")
		b.shows("#lost-count", "999")
		b.shows("#older", "Show older devices: 960 more")
		b.sees(`document.querySelectorAll('.lane').length === 40`)
		b.sees(`document.querySelector('#pulse').ariaLabel === 'Events in the last two minutes: 1000 Will Messages, 5004 others'`)
		b.sees(`[...document.querySelectorAll('#pulse i')].filter((i) => i.children[1].style.height > '0%').length >= 20`)
		const shown = `[...document.querySelectorAll('.lane')].map((l) => l.dataset.client)`
		b.sees(`!` + shown + `.some((c) => c.includes('-check-') || c.startsWith('lwt-watch-'))`)
		b.click("#own")
		b.shows("#own-count", "2")
		b.sees(shown + `.filter((c) => c.includes('-check-') || c.startsWith('lwt-watch-')).length === 2`)
		b.click("#own")
		b.sees(`!` + shown + `.some((c) => c.includes('-check-') || c.startsWith('lwt-watch-'))`)
		b.shows("#older", "Show older devices: 960 more")

		// What is older comes on demand, and the focus goes on with it.
		b.click("#older")
		b.sees(`document.querySelectorAll('.lane').length === 80`)
		b.sees(`document.activeElement.closest('.lane') === document.querySelectorAll('.lane')[40]`)

		// A device in the middle of the storm, with its whole life.
		b.types("#search", "DEVICE-00500")
		b.sees(shown + `.join() === 'device-00500'`)
		b.sees(steps("device-00500", 0) + ` === 'connected disconnected will matched done copy'`)
		// One from its beginning, of which events are no longer kept, is known to be lost.
		b.types("#search", "device-00002")
		b.sees(shown + `.join() === 'device-00002'`)
		b.shows(".lane[data-tone=lost]", "Its events are no longer kept.")
		b.types("#search", "device-0000")
		b.sees(shown + `.length === 10`)
		b.click("#lost")
		b.sees(shown + `.length === 9 && !` + shown + `.includes('device-00007')`)
		b.types("#search", "pump")
		b.shows("#no-match:not([hidden])", "No such device")
		b.click("#show-all")
		b.sees(`document.querySelectorAll('.lane').length === 40 && document.querySelector('#search').value === ''`)
	}

	// With the filter on, a device that is lost comes, and goes when it is back.
	late.click("#lost")
	h.Record(page.Event{Kind: page.Will, Time: time.Now(), Client: "pump", Topic: "/last/will/topic"})
	late.sees(`document.querySelector('.lane').dataset.client === 'pump'`)
	h.Record(page.Event{Kind: page.Connected, Time: time.Now(), Client: "pump", KeepAlive: 30 * time.Second})
	late.sees(`!document.querySelector('[data-client=pump]')`)
	open.clean()
	late.clean()
}

// What a lane does not show at once is a press away: older connections, and older
// events of one connection. Nothing of what is read goes away when it is drawn again.
func TestOlderEventsOfADevice(t *testing.T) {
	h, s, _ := rehearse(t)
	for i := range 8 {
		h.Record(page.Event{Kind: page.Connected, Time: time.Now(), Client: "pump", KeepAlive: 30 * time.Second})
		for j := range 30 {
			h.Record(page.Event{Kind: page.Message, Time: time.Now(), Client: "pump", Topic: fmt.Sprintf("t/%d/%d", i, j)})
		}
		h.Record(page.Event{Kind: page.Disconnected, Time: time.Now(), Client: "pump", Detail: "CONNECTION_LOST"})
	}
	b := s.open(t, page.Root)
	b.sees(`document.querySelectorAll('.life').length === 3`)
	b.shows(".lane > div > .older", "5 older connections")
	b.click(".lane > div > .older")
	b.sees(`document.querySelectorAll('.life').length === 6`)
	b.shows(".lane > div > .older", "2 older connections")
	b.shows(".more", "18 older")
	b.click(".life .more button")
	b.sees(`document.querySelector('.life').querySelectorAll('.step').length === 32`)

	b.do(chromedp.Focus(chromedp.CSS(`.life [data-n="250"] button`)), chromedp.KeyEvent("\r"))
	b.shows("#detail .facts", "t/7/24")
	b.sees(`document.activeElement === document.querySelector('#detail h2')`)
	vanish(h, 200, time.Second) // which draws all lanes again
	b.shows("#devices-count", "201 devices")
	b.shows("#detail .facts", "t/7/24")
	b.sees(`document.activeElement === document.querySelector('#detail h2')`)
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
