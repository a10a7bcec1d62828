package bench

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"lastwill/internal/localaws"
	"lastwill/internal/page"
	localpage "lastwill/internal/page/local"
	"lastwill/internal/will"
)

// BenchmarkPagesOpen is what ten open pages cost the pipeline: messages that the
// rule matches, republishes and mails, next to as many while no page is open. The
// pages' end is in this process too. The medians of seven rounds count.
func BenchmarkPagesOpen(b *testing.B) {
	const rounds, pages = 7, 10
	for b.Loop() {
		var with, without []time.Duration
		for range rounds {
			without = append(without, throughput(b, 0))
			with = append(with, throughput(b, pages))
		}
		report(b, "closed", "round", percentile(with, 50), percentile(without, 50))
		b.ReportMetric(float64(percentile(without, 50))/float64(percentile(with, 50)), "throughput-ratio")
	}
	b.ReportMetric(0, "ns/op")
}

// throughput returns how long 10,000 messages take through the pipeline to the
// last mail, while some pages are open.
func throughput(b *testing.B, pages int) time.Duration {
	b.Helper()
	const messages, publishers = 10_000, 4
	shown := localpage.New(b.TempDir())
	e := startEndpoint(b, func(o *localaws.Options) {
		o.ObserveIoT, o.ObserveStacks, o.Page = shown.ObserveIoT, shown.ObserveStacks, shown.Serve
	})
	ctx, closePages := context.WithCancel(b.Context())
	var readers sync.WaitGroup
	for range pages {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, e.URL()+page.Root+"events", nil)
		check(b, err)
		response, err := http.DefaultClient.Do(request)
		check(b, err)
		readers.Go(func() {
			defer response.Body.Close()
			_, _ = io.Copy(io.Discard, response.Body) // until it is closed
		})
	}
	seen := len(e.Mailbox.List())
	started := time.Now()
	var busy sync.WaitGroup
	for p := range publishers {
		busy.Go(func() {
			for i := range messages / publishers {
				check(b, e.IoT.Publish(ctx, names.WillTopic, will.Payload(fmt.Sprint(p, "-", i)), 0, false))
			}
		})
	}
	busy.Wait()
	_, err := e.Mailbox.Wait(ctx, seen+messages-1)
	check(b, err)
	took := time.Since(started)
	closePages()
	readers.Wait()
	check(b, e.Close(context.Background()))
	return took
}

// BenchmarkVanishOnThePage is BenchmarkVanish with the timeline open in Chromium,
// next to none, before and after: 10,000 real devices connect, and vanish within one second. All the
// while somebody clicks on the page; what counts is the time from the click to its
// handler, and the longest task of the page's. The page must have counted every
// will, match and copy.
func BenchmarkVanishOnThePage(b *testing.B) {
	const devices = 10_000
	shown := localpage.New(b.TempDir())
	e := startEndpoint(b, func(o *localaws.Options) {
		o.ObserveIoT, o.ObserveStacks, o.Page = shown.ObserveIoT, shown.ObserveStacks, shown.Serve
	})
	vanished := 0
	lose := func() time.Duration {
		vanished += devices
		return percentile(loseFleet(b, e.identity, names.ExecutedTopic, devices), 99)
	}
	for b.Loop() {
		before := lose()
		tab, closeTab := openTab(b, e.URL()+page.Root)
		evaluate[bool](b, tab, `(window.clicks = [], addEventListener('click', (c) => window.clicks.push(performance.now() - c.timeStamp)), window.longest = 0,
			new PerformanceObserver((l) => { window.longest = Math.max(window.longest, ...l.getEntries().map((t) => t.duration)); }).observe({ type: 'longtask' }), true)`)
		over := make(chan struct{})
		var clicking sync.WaitGroup
		clicking.Go(func() {
			for {
				select {
				case <-over:
					return
				case <-time.After(200 * time.Millisecond):
					check(b, chromedp.Do(tab, chromedp.MouseClickXY(300, 80)))
				}
			}
		})
		open := lose()
		for _, figure := range []string{"will", "matched", "copy"} {
			want := fmt.Sprintf(`document.querySelector('[data-figure=%s]').textContent.replaceAll(',', '') === '%d'`, figure, vanished)
			for deadline := time.Now().Add(patience); !evaluate[bool](b, tab, want); {
				if time.Now().After(deadline) {
					b.Fatalf("the page never counts %d: %s", vanished, evaluate[string](b, tab, `document.querySelector('.figures').innerText`))
				}
			}
		}
		close(over)
		clicking.Wait()
		clicks := evaluate[[]float64](b, tab, `window.clicks`)
		slices.Sort(clicks)
		longest := evaluate[float64](b, tab, `window.longest`)
		closeTab()
		report(b, "closed", "p99", open, (before+lose())/2)
		b.ReportMetric(clicks[(len(clicks)-1)*95/100], "click-p95-ms")
		b.ReportMetric(clicks[len(clicks)-1], "click-max-ms")
		b.ReportMetric(longest, "task-max-ms")
	}
	b.ReportMetric(0, "ns/op")
}

// openTab opens a page in a browser, and returns when its stream has begun.
func openTab(b *testing.B, address string) (tab context.Context, quit func()) {
	b.Helper()
	allocator, quit := chromedp.NewExecAllocator(b.Context(), append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.DisableGPU)...)
	b.Cleanup(quit)
	tab, end := chromedp.NewContext(allocator)
	b.Cleanup(end)
	check(b, chromedp.Do(tab, chromedp.EmulateViewport(1280, 900), chromedp.Navigate(address)))
	for deadline := time.Now().Add(patience); !evaluate[bool](b, tab, `document.querySelector('#link').textContent === 'live'`); {
		if time.Now().After(deadline) {
			b.Fatal("the page's stream does not begin")
		}
	}
	return tab, quit
}

func evaluate[T any](b *testing.B, tab context.Context, expression string) T {
	b.Helper()
	v, err := chromedp.Run(tab, chromedp.Evaluate[T](expression))
	check(b, err)
	return v
}
