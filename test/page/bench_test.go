package page_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"lastwill/internal/page"
)

// BenchmarkFirstPaint is the time from the request to the first paint, as the
// browser tells it, from view to view, next to the smallest page that this endpoint
// has, a few lines without script or style sheet, over and over.
func BenchmarkFirstPaint(b *testing.B) {
	s := setUp(b)
	s.deploy(b)
	tab := s.open(b, page.Root)
	for b.Loop() {
		var paints, smallest []float64
		views := []string{"", "client", "mailbox", "stack", "rule", "simulate"}
		for i := range 30 {
			paints = append(paints, tab.firstPaint(s.address+page.Root+views[i%len(views)]))
		}
		for range 30 {
			smallest = append(smallest, tab.firstPaint(s.address+"/_lwt/sns/confirm"))
		}
		report(b, "", paints)
		report(b, "smallest-", smallest)
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkEventToPixels is the time from an event of the broker, by its own time,
// to the frame that shows it, at 100 events a second from ten devices.
func BenchmarkEventToPixels(b *testing.B) {
	h, s, _ := rehearse(b)
	tab := s.open(b, page.Root)
	tab.shows("#link", "live")
	for i := range 10 {
		h.Record(page.Event{Kind: page.Connected, Time: time.Now(), Client: fmt.Sprint("pump-", i), KeepAlive: 30 * time.Second})
	}
	tab.sees(`document.querySelectorAll('.lane').length === 10`)
	// What is on the screen in the frame after the one in which it changed.
	value[bool](tab, `(() => {
		window.times = [];
		const seen = new Set();
		new MutationObserver(() => {
			const steps = [...document.querySelectorAll('.step[data-n]')].filter((s) => !seen.has(s.dataset.n));
			steps.forEach((s) => seen.add(s.dataset.n));
			requestAnimationFrame(() => setTimeout(() => {
				const now = performance.timeOrigin + performance.now();
				steps.forEach((s) => window.times.push(now - Number(s.dataset.t)));
			}));
		}).observe(document.getElementById('lanes'), { subtree: true, childList: true, attributes: true, attributeFilter: ['data-n'] });
		return true;
	})()`)
	for b.Loop() {
		value[bool](tab, `(window.times = [], true)`)
		const events = 1000 // ten seconds
		tick := time.NewTicker(10 * time.Millisecond)
		for i := range events {
			<-tick.C
			h.Record(page.Event{Kind: page.Message, Time: time.Now(), Client: fmt.Sprint("pump-", i%10), Topic: "site/pressure", Payload: fmt.Appendf(nil, `{"n":%d}`, i)})
		}
		tick.Stop()
		tab.sees(`[...document.querySelectorAll('[data-kind=message] small')].every((s) => Number(s.textContent.slice(1)) % 100 === 0)`)
		report(b, "", value[[]float64](tab, `window.times`))
	}
	b.ReportMetric(0, "ns/op")
}

func (b *tab) firstPaint(address string) float64 {
	b.t.Helper()
	b.do(chromedp.Navigate(address))
	return value[float64](b, `new Promise((done) => new PerformanceObserver((l) => {
		const paint = l.getEntries().find((e) => e.name === 'first-paint');
		if (paint) done(paint.startTime - performance.getEntriesByType('navigation')[0].requestStart);
	}).observe({ type: 'paint', buffered: true }))`)
}

func report(b *testing.B, of string, milliseconds []float64) {
	slices.Sort(milliseconds)
	at := func(p int) float64 { return milliseconds[(len(milliseconds)-1)*p/100] }
	b.ReportMetric(at(50), of+"p50-ms")
	b.ReportMetric(at(95), of+"p95-ms")
}
