package localaws_test

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"lastwill/internal/device"
	"lastwill/internal/localaws"
)

// Close ends everything, whatever clients do: nothing runs on, no mail is lost,
// and devices that lose their broker raise no alarm.
//
// It counts goroutines, so it does not run beside other tests.
func TestClose(t *testing.T) {
	before := runtime.NumGoroutine()
	events := newRecorder()
	server, err := localaws.Start(localaws.Options{ObserveIoT: events.Record, ConnectInterval: -1})
	check(t, err)
	cloud := &cloud{Server: server, events: events, dir: t.TempDir()}
	stack := cloud.deploy(t)
	cloud.confirm(t)
	id := cloud.thing(t, stack)
	guest := cloud.person(t, "guest", allow("iot:*", "*"))

	d, err := device.Connect(deadline(t), cloud.device(id))
	check(t, err)
	silent, err := net.Dial("tcp", cloud.IoT.Address()) // no TLS
	check(t, err)
	defer silent.Close()
	cloud.dial(t, guest) // no CONNECT
	deaf := cloud.dial(t, guest)
	deaf.connect5("deaf", 1200)
	deaf.subscribe5("flood")
	for range 200 { // more than a socket's buffers hold, which nobody reads
		check(t, cloud.IoT.Publish(deadline(t), "flood", make([]byte, 100_000), 0, false))
	}
	const mails = 100
	for range mails {
		check(t, cloud.IoT.Publish(deadline(t), names.WillTopic, []byte(lost), 0, false))
	}

	check(t, cloud.Close(deadline(t)))
	wait(t, d.Done(), "the device is still connected")
	if got := len(cloud.Mailbox.List()); got != 1+mails {
		t.Errorf("%d mails, want the confirmation and %d alerts", got, mails)
	}
	if n := events.Count(isWill); n > 0 {
		t.Errorf("%d wills when the broker was closed", n)
	}
	check(t, cloud.Close(deadline(t))) // a second time is harmless
	for _, address := range []string{cloud.IoT.Address(), cloud.Mailbox.Addr(), host(t, cloud.URL())} {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			t.Errorf("%s is still open", address)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	nothingRuns(t, before)
}

// nothingRuns waits until there are no more goroutines than there were before.
func nothingRuns(t testing.TB, before int) {
	t.Helper()
	for giveUp := time.Now().Add(patience); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(giveUp) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, there were %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

func host(t testing.TB, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	check(t, err)
	return u.Host
}

func TestCloseEndsWithItsContext(t *testing.T) {
	t.Parallel()
	deaf, err := net.Listen("tcp", "127.0.0.1:0") // an SMTP server that never answers
	check(t, err)
	defer deaf.Close()
	server, err := localaws.Start(localaws.Options{SMTPAddress: deaf.Addr().String()})
	check(t, err)
	arn, err := server.SNS.CreateTopic("t", nil, nil)
	check(t, err)
	_, err = server.SNS.Subscribe(arn, "email", "ops@example.com", nil)
	check(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := server.Close(ctx); err == nil || !strings.Contains(err.Error(), "wait for mails") {
		t.Errorf("Close returned %v, want to hear of mails that did not leave", err)
	}
}

func TestAllPortsAreOnLoopback(t *testing.T) {
	t.Parallel()
	cloud := start(t)
	for _, address := range []string{cloud.IoT.Address(), cloud.Mailbox.Addr(), host(t, cloud.URL())} {
		resolved, err := net.ResolveTCPAddr("tcp", address)
		check(t, err)
		if !resolved.IP.IsLoopback() {
			t.Errorf("%s is not on loopback", address)
		}
	}
	for _, o := range []localaws.Options{{HTTPAddress: "0.0.0.0:0"}, {MQTTAddress: "0.0.0.0:0"}, {HTTPAddress: ":0"}, {MQTTAddress: "[::]:0"}} {
		if _, err := localaws.Start(o); err == nil || !strings.Contains(err.Error(), "loopback") {
			t.Errorf("%+v: %v, want a refusal", o, err)
		}
	}
}

// A port that is taken is named, and what was open by then is closed again.
func TestStartOnATakenPort(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer taken.Close()
	before := runtime.NumGoroutine()
	for claim, o := range map[string]localaws.Options{
		"HTTP": {HTTPAddress: taken.Addr().String()},
		"MQTT": {MQTTAddress: taken.Addr().String()},
	} {
		server, err := localaws.Start(o)
		if err == nil || !strings.Contains(err.Error(), taken.Addr().String()) || !strings.Contains(err.Error(), "in use") || server != nil {
			t.Errorf("%s: %v, want the address and that it is in use", claim, err)
		}
	}
	nothingRuns(t, before)
}
