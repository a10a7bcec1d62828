package bench

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

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
