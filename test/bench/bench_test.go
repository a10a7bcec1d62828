// Package bench measures what the local endpoint promises next to a peer in
// the same run; README.md has the figures. Times are reported, never asserted;
// counts are asserted.
package bench

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"lastwill/internal/localaws/mail"
	"lastwill/internal/will"
)

// BenchmarkDisconnectToMail loses 1,000 connected devices one after the other,
// in turn on the endpoint and on mosquitto. Ours ends when the mail is in the
// mailbox, mosquitto's when a subscriber has the will.
func BenchmarkDisconnectToMail(b *testing.B) {
	const disconnects = 1000
	e := startEndpoint(b)
	mosquitto := startMosquitto(b)
	subscriber := subscribed(b, mosquitto, names.WillTopic)
	for b.Loop() {
		ours, theirs := connectAll(b, e.identity, disconnects), connectAll(b, mosquitto, disconnects)
		var toMail, toWill []time.Duration
		for i := range disconnects {
			toMail = append(toMail, e.lose(b, ours[i], deviceID(i)))
			toWill = append(toWill, lose(b, theirs[i], deviceID(i), subscriber))
		}
		report(b, "mosquitto", "p50", percentile(toMail, 50), percentile(toWill, 50))
		report(b, "mosquitto", "p99", percentile(toMail, 99), percentile(toWill, 99))
	}
	b.ReportMetric(0, "ns/op") // says nothing here
}

// lose drops a device and returns how long its mail took.
func (e *endpoint) lose(t testing.TB, device *client, id string) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	seen := len(e.Mailbox.List())
	dropped := device.drop()
	mails, err := e.Mailbox.Wait(ctx, seen)
	check(t, err)
	if len(mails) != 1 || !strings.Contains(string(mails[0].Raw), string(will.Payload(id))) {
		t.Fatalf("%d mails for %s:\n%s", len(mails), id, mails[0].Raw)
	}
	return mails[0].Arrived.Sub(dropped)
}

// lose drops a device and returns how long its will took to a subscriber.
func lose(t testing.TB, device *client, id string, subscriber *client) time.Duration {
	t.Helper()
	check(t, subscriber.conn.SetReadDeadline(time.Now().Add(patience)))
	dropped := device.drop()
	payload, err := subscriber.next()
	took := time.Since(dropped)
	check(t, err)
	if payload != string(will.Payload(id)) {
		t.Fatalf("mosquitto sends %s for %s", payload, id)
	}
	return took
}

// BenchmarkMailDialogue is why mails are handed over in one go: the Mailer next
// to go-smtp's client, which waits for an answer to each command. Both keep
// their connection open.
func BenchmarkMailDialogue(b *testing.B) {
	const mails = 1000
	quiet := slog.New(slog.DiscardHandler)
	box, err := mail.NewMailbox("127.0.0.1:0", "", quiet)
	check(b, err)
	b.Cleanup(func() { box.Close() })
	mailer := mail.NewMailer(box.Addr(), quiet)
	b.Cleanup(func() { mailer.Close(context.Background()) })
	client, err := smtp.Dial(box.Addr())
	check(b, err)
	b.Cleanup(func() { client.Close() })
	message := mail.Message{
		From: mail.Address{Name: "lwtSNSTopic", Address: "no-reply@sns.amazonaws.com"}, To: mail.Address{Address: "operator@example.com"},
		Subject: "AWS Notification Message", Body: string(will.Payload(deviceID(0))),
	}
	for b.Loop() {
		var ours, theirs []time.Duration
		for range mails {
			ours = append(ours, arrival(b, box, func() error { return mailer.Send(message) }))
			raw := box.List()[0].Raw
			theirs = append(theirs, arrival(b, box, func() error {
				return client.SendMail(message.From.Address, []string{message.To.Address}, bytes.NewReader(raw))
			}))
		}
		report(b, "go-smtp", "p50", percentile(ours, 50), percentile(theirs, 50))
		report(b, "go-smtp", "p99", percentile(ours, 99), percentile(theirs, 99))
	}
	b.ReportMetric(0, "ns/op")
}

// arrival sends a mail and returns how long it took into the mailbox.
func arrival(t testing.TB, box *mail.Mailbox, send func() error) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	seen := len(box.List())
	started := time.Now()
	check(t, send())
	mails, err := box.Wait(ctx, seen)
	check(t, err)
	return mails[0].Arrived.Sub(started)
}

// BenchmarkFleetDrops kills a process with 5,000 devices. Ours ends when the
// rule has republished the last will (it has queued as many mails by then),
// mosquitto's when a subscriber has the last will. The medians of three rounds
// count: one lone stall of the machine is half a round.
func BenchmarkFleetDrops(b *testing.B) {
	const devices, rounds = 5000, 3
	e := startEndpoint(b)
	mosquitto := startMosquitto(b)
	for b.Loop() {
		var republished, wills []time.Duration
		for range rounds {
			republished = append(republished, e.loseFleet(b, devices))
			wills = append(wills, percentile(loseFleet(b, mosquitto, names.WillTopic, devices), 100))
		}
		report(b, "mosquitto", "total", percentile(republished, 50), percentile(wills, 50))
	}
	b.ReportMetric(0, "ns/op")
}

// TestAFleetThatDropsIsHeardOnce is the claim of BenchmarkFleetDrops, small.
func TestAFleetThatDropsIsHeardOnce(t *testing.T) {
	t.Parallel()
	startEndpoint(t).loseFleet(t, 100)
}

// loseFleet claims that each device that drops is republished and mailed once.
func (e *endpoint) loseFleet(t testing.TB, devices int) time.Duration {
	t.Helper()
	seen := len(e.Mailbox.List())
	took := percentile(loseFleet(t, e.identity, names.ExecutedTopic, devices), 100)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	check(t, e.Flush(ctx))
	counts := map[string]int{}
	for _, m := range e.Mailbox.List()[seen:] {
		counts[deviceIn(string(m.Raw))]++
	}
	checkOnce(t, "mails", counts, devices)
	return took
}

// loseFleet returns how long it takes from the end of all devices until a
// subscriber has the message of each, and claims that it has each once.
func loseFleet(t testing.TB, id identity, topic string, devices int) (took []time.Duration) {
	t.Helper()
	subscriber := subscribed(t, id, topic)
	drop := startFleet(t, id, devices)
	check(t, subscriber.conn.SetReadDeadline(time.Now().Add(patience)))
	dropped := drop()
	counts := map[string]int{}
	for len(counts) < devices {
		payload, err := subscriber.next()
		if err != nil {
			t.Fatalf("messages of %d of %d devices, then %v", len(counts), devices, err)
		}
		counts[deviceIn(payload)]++
		took = append(took, time.Since(dropped))
	}

	// What comes before a later message is all there was before it.
	const mark = "mark"
	marker, err := connect(id.Addr, clientTLS(t, id), mark, false)
	check(t, err)
	defer marker.drop()
	check(t, marker.publish(topic, mark))
	for {
		payload, err := subscriber.next()
		check(t, err)
		if payload == mark {
			break
		}
		counts[deviceIn(payload)]++
	}
	checkOnce(t, "messages", counts, devices)
	return took
}

// BenchmarkWillCost is what a will costs the endpoint from the broker to the
// mailbox in CPU time and allocations, which the machine's load disturbs less than
// it does the times. The kernel's and the publishers' part is in it.
func BenchmarkWillCost(b *testing.B) {
	const messages, publishers = 10_000, 4
	e := startEndpoint(b)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu, sent := cpuTime(b), 0
	for b.Loop() {
		var busy sync.WaitGroup
		for p := range publishers {
			busy.Go(func() {
				for i := range messages / publishers {
					check(b, e.IoT.Publish(b.Context(), names.WillTopic, will.Payload(fmt.Sprint(p, "-", i)), 0, false))
				}
			})
		}
		busy.Wait()
		check(b, e.Flush(b.Context()))
		sent += messages
	}
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64((cpuTime(b)-cpu).Microseconds())/float64(sent), "CPU-us/will")
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(sent), "allocs/will")
	b.ReportMetric(0, "ns/op")
}

// cpuTime is what this process has taken.
func cpuTime(t testing.TB) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	check(t, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// deviceIn finds the device that a will or a mail is about.
func deviceIn(text string) string {
	_, rest, _ := strings.Cut(text, `"client_id":"`)
	id, _, _ := strings.Cut(rest, `"`)
	return id
}

func checkOnce(t testing.TB, what string, counts map[string]int, devices int) {
	t.Helper()
	for i := range devices {
		if n := counts[deviceID(i)]; n != 1 {
			t.Errorf("%d %s of %s, want one", n, what, deviceID(i))
		}
	}
	if len(counts) != devices {
		t.Errorf("%s of %d devices, want %d", what, len(counts), devices)
	}
}

// BenchmarkColdBuild builds the commands and counts the CPU time of the
// compiler and all else that go build starts: with an empty build cache, and
// ("own") with one that has Go's standard library, which costs all the same.
func BenchmarkColdBuild(b *testing.B) {
	commands := []string{"infra", "cmd/lwt", "cmd/simulator"}
	for b.Loop() {
		standard := b.TempDir()
		goRun(b, standard, append([]string{"build"}, standardPackages(b, commands)...)...)
		reportBuilds(b, "", commands, "")
		reportBuilds(b, "own-", commands, standard)
	}
	b.ReportMetric(0, "ns/op")
}

func reportBuilds(b *testing.B, what string, commands []string, cache string) {
	b.Helper()
	var infra time.Duration
	for i, command := range commands {
		own := b.TempDir()
		if cache != "" {
			check(b, os.CopyFS(own, os.DirFS(cache)))
		}
		cpu := goRun(b, own, "build", "-o", os.DevNull, "./"+command)
		b.ReportMetric(cpu.Seconds(), filepath.Base(command)+"-"+what+"s")
		if i == 0 {
			infra = cpu
			continue
		}
		b.ReportMetric(cpu.Seconds()/infra.Seconds(), filepath.Base(command)+"-"+what+"ratio")
	}
}

// goRun runs the go command in the module's folder and returns its CPU time,
// with that of what it starts.
func goRun(b *testing.B, cache string, args ...string) time.Duration {
	b.Helper()
	cmd := goCommand(args...)
	cmd.Env = append(os.Environ(), "GOCACHE="+cache)
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("go %s: %v\n%s", args, err, out)
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

func standardPackages(b *testing.B, commands []string) []string {
	b.Helper()
	args := []string{"list", "-deps", "-f", "{{if .Standard}}{{.ImportPath}}{{end}}"}
	for _, command := range commands {
		args = append(args, "./"+command)
	}
	out, err := goCommand(args...).Output()
	check(b, err)
	return strings.Fields(string(out))
}

func goCommand(args ...string) *exec.Cmd {
	cmd := exec.Command("go", args...)
	cmd.Dir = filepath.Join("..", "..")
	return cmd
}

func connectAll(t testing.TB, id identity, devices int) []*client {
	t.Helper()
	config := clientTLS(t, id)
	all := make([]*client, devices)
	for i := range all {
		device, err := connect(id.Addr, config, deviceID(i), true)
		check(t, err)
		t.Cleanup(func() { device.drop() })
		all[i] = device
	}
	return all
}

func subscribed(t testing.TB, id identity, filter string) *client {
	t.Helper()
	c, err := connect(id.Addr, clientTLS(t, id), fmt.Sprintf("subscriber-%s", t.Name()), false)
	check(t, err)
	check(t, c.subscribe(filter))
	t.Cleanup(func() { c.drop() })
	return c
}

func report(b *testing.B, peer, what string, ours, theirs time.Duration) {
	b.ReportMetric(float64(ours.Microseconds()), what+"-us")
	b.ReportMetric(float64(theirs.Microseconds()), peer+"-"+what+"-us")
	b.ReportMetric(float64(ours)/float64(theirs), what+"-ratio")
}

func percentile(times []time.Duration, p int) time.Duration {
	slices.Sort(times)
	return times[(len(times)-1)*p/100]
}
