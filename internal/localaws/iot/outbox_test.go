package iot

import (
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// An MQTT 5 client gets no more messages of QoS 1 than its Receive Maximum before it
// acknowledges one, then the next, all of them, in order (MQTT 5, 4.9 and 4.6). Those
// of QoS 0 do not wait for them.
func TestReceiveMaximum(t *testing.T) {
	t.Parallel()
	const messages = 250
	for _, c := range []struct {
		claim   string
		version byte
		asked   int // 0 for none
		most    int
	}{
		{"one at a time", mqtt5, 1, 1},
		{"three", mqtt5, 3, 3},
		{"AWS's own limit", mqtt5, 0, 100},
		{"more than AWS's limit", mqtt5, 65535, 100},
		{"MQTT 3.1.1", mqtt311, 0, 100},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			r := run(t)
			p := r.dial(r.anybody(), c.version, overTLS)
			announced := hello{clientID: "c"}
			if c.asked > 0 {
				announced.properties = [][]byte{append([]byte{0x21}, uint16s(c.asked)...)}
			}
			p.connect(announced)
			p.subscribe(filter{"#", 1})
			for i := range messages {
				r.send("burst", fmt.Sprint(i), 1)
			}
			r.send("urgent", "", 0)
			var unacknowledged []received
			next, urgent := 0, false
			take := func() {
				got := p.receive()
				if got.topic == "urgent" {
					urgent = true
					got = p.receive()
				}
				if want := fmt.Sprint(next); got.payload != want || got.id == 0 || got.dup {
					t.Fatalf("received %+v, want message %s", got, want)
				}
				next++
				unacknowledged = append(unacknowledged, got)
			}
			for range c.most {
				take()
			}
			if !urgent {
				if got := p.receive(); got.topic != "urgent" {
					t.Fatalf("received %+v with %d unacknowledged", got, len(unacknowledged))
				}
			}
			p.nothing()
			for next < messages {
				p.acknowledge(unacknowledged[0])
				unacknowledged = unacknowledged[1:]
				take()
			}
			p.nothing()
			for _, got := range unacknowledged {
				p.acknowledge(got)
			}
			r.send("burst", "after", 1)
			if got := p.receive(); got.payload != "after" {
				t.Errorf("received %+v", got)
			}
		})
	}
}

// A PUBACK for what was not sent, or twice for one message, does not let more through.
func TestStrayPubacks(t *testing.T) {
	t.Parallel()
	r := run(t)
	p := r.dial(r.anybody(), mqtt5, overTLS)
	p.connect(hello{clientID: "c", properties: [][]byte{{0x21, 0, 1}}})
	p.subscribe(filter{"#", 1})
	for i := range 4 {
		r.send("a", fmt.Sprint(i), 1)
	}
	first := p.receive()
	p.acknowledge(received{id: 4711})
	p.nothing()
	p.acknowledge(first)
	p.acknowledge(first)
	if got := p.receive(); got.payload != "1" {
		t.Errorf("received %+v", got)
	}
	p.nothing()
}

// A persistent session keeps what its client missed: messages of QoS 1, in order, those
// that it had not acknowledged first and with DUP and their packet identifiers.
func TestPersistentSessions(t *testing.T) {
	t.Parallel()
	for _, version := range both {
		t.Run(versionName(version), func(t *testing.T) {
			t.Parallel()
			r := run(t)
			cert := r.anybody()
			announced := hello{clientID: "c", persistent: true, properties: [][]byte{{0x11}, uint32s(600)}}
			p := r.dial(cert, version, overTLS)
			if connack := p.connect(announced); connack[0] != 0 {
				t.Error("a session is present that never was")
			}
			p.subscribe(filter{"news/+", 1}, filter{"low", 0})
			r.send("news/1", "acknowledged", 1)
			p.acknowledge(p.receive())
			r.send("news/1", "not acknowledged", 1)
			sent := p.receive()
			check(t, p.Close())
			r.gone("c")
			r.send("news/1", "lost", 0)
			r.send("low", "lost", 1)
			r.send("news/2", "stored", 1)
			r.send("news/3", "stored, too", 1)

			back := r.dial(cert, version, overTLS)
			if connack := back.connect(announced); connack[0] != 1 {
				t.Error("the session is not present")
			}
			again := back.receive()
			if again.payload != "not acknowledged" || !again.dup || again.id != sent.id {
				t.Errorf("received %+v, want %+v again", again, sent)
			}
			for _, want := range []string{"stored", "stored, too"} {
				got := back.receive()
				if got.payload != want || got.dup || got.qos != 1 {
					t.Errorf("received %+v, want %q", got, want)
				}
				back.acknowledge(got)
			}
			back.acknowledge(again)
			r.send("news/4", "live", 1)
			if got := back.receive(); got.payload != "live" {
				t.Errorf("received %+v", got)
			}
			back.write([]byte{0xE0, 0})
			r.await("two ends", func(e Event) bool { return e.Kind == Disconnected && e.Detail == clientInitiated })

			clean := r.dial(cert, version, overTLS)
			if connack := clean.connect(hello{clientID: "c"}); connack[0] != 0 {
				t.Error("a clean start finds the session")
			}
			r.send("news/5", "x", 1)
			clean.nothing()
		})
	}
}

// A session without an expiry ends with its connection, as does one whose client says so
// in its DISCONNECT; one that had none cannot get one.
func TestSessionsEnd(t *testing.T) {
	t.Parallel()
	expiry := func(s uint32) []byte { return append([]byte{0x11}, uint32s(s)...) }
	for _, c := range []struct {
		claim      string
		connect    [][]byte
		disconnect []byte
		present    byte
		reason     string
	}{
		{"no expiry", nil, packet(0xE0), 0, clientInitiated},
		{"an expiry", [][]byte{expiry(600)}, packet(0xE0), 1, clientInitiated},
		{"taken back", [][]byte{expiry(600)}, packet(0xE0, []byte{0, 5}, expiry(0)), 0, clientInitiated},
		{"given too late", nil, packet(0xE0, []byte{0, 5}, expiry(600)), 0, "CLIENT_ERROR"},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			r := run(t)
			cert := r.anybody()
			p := r.dial(cert, mqtt5, overTLS)
			p.connect(hello{clientID: "c", persistent: true, properties: c.connect})
			p.write(c.disconnect)
			if reason, _ := r.gone("c"); reason != c.reason {
				t.Errorf("ended with %s", reason)
			}
			back := r.dial(cert, mqtt5, overTLS)
			if connack := back.connect(hello{clientID: "c", persistent: true}); connack[0] != c.present {
				t.Errorf("session present: %d, want %d", connack[0], c.present)
			}
		})
	}
}

// A message has the expiry that its publisher gave it, seven days at most, and none if it
// gave none; what is left goes on to the subscriber.
func TestMessageExpiry(t *testing.T) {
	t.Parallel()
	const day = 24 * 60 * 60
	r := run(t)
	cert := r.anybody()
	subscriber, publisher := r.dial(cert, mqtt5, overTLS), r.dial(cert, mqtt5, overTLS)
	subscriber.connect(hello{clientID: "subscriber"})
	subscriber.subscribe(filter{"#", 0})
	publisher.connect(hello{clientID: "publisher"})
	for _, c := range []struct{ asked, want uint32 }{{0, 0}, {60, 60}, {7 * day, 7 * day}, {8 * day, 7 * day}, {math.MaxUint32, 7 * day}} {
		var property []byte
		if c.asked > 0 {
			property = append([]byte{2}, uint32s(c.asked)...)
		}
		publisher.write(publisher.publishPacket("a", "x", 0, 0, property))
		want := ""
		if c.want > 0 {
			want = string(append([]byte{2}, uint32s(c.want)...))
		}
		if got := subscriber.receive(); got.properties != want {
			t.Errorf("asked for %d s: properties % x, want % x", c.asked, got.properties, want)
		}
	}
}

// A subscriber that wants no packet beyond a size gets the others [MQTT-3.1.2-24].
func TestMaximumPacketSize(t *testing.T) {
	t.Parallel()
	r := run(t)
	p := r.dial(r.anybody(), mqtt5, overTLS)
	p.connect(hello{clientID: "c", properties: [][]byte{{0x27}, uint32s(200), {0x21, 0, 1}}})
	p.subscribe(filter{"a", 1})
	r.send("a", strings.Repeat("x", 300), 1)
	r.send("a", "small", 1)
	if got := p.receive(); got.payload != "small" {
		t.Errorf("received %.30q", got.payload)
	}
}

// Subscribers that read nothing cost what their outboxes hold, not what is sent to
// them, and do not hold up others. The log says so once.
func TestSubscribersThatNeverReadAreBounded(t *testing.T) {
	t.Parallel()
	const subscribers, messages, size = 3, 500, 120_000
	r := run(t, func(o *Options) { o.Observe = func(Event) {} }) // the test keeps no messages either
	cert := r.anybody()
	for i := range subscribers {
		p := r.dial(cert, both[i%2], overTLS)
		p.connect(hello{clientID: fmt.Sprint("deaf", i)})
		p.subscribe(filter{"flood", byte(i % 2)})
	}
	reader := r.dial(cert, mqtt5, overTLS)
	reader.connect(hello{clientID: "reader"})
	reader.subscribe(filter{"flood", 0})
	before := heap()
	for range messages {
		check(t, r.Publish(t.Context(), "flood", make([]byte, size), 1, false))
		reader.receive()
	}
	for _, s := range r.sessionsNow() {
		s.outbox.mu.Lock()
		if held := s.outbox.bytes; held > maxOutboxBytes {
			t.Errorf("the outbox of %s holds %d bytes", s.clientID, held)
		}
		s.outbox.mu.Unlock()
	}
	if grown := heap() - before; grown > 2*maxOutboxBytes {
		t.Errorf("%d MB are held after %d MB were sent to %d deaf subscribers", grown>>20, messages*size>>20, subscribers)
	}
	if n := strings.Count(r.logged(), "takes them too slowly"); n != subscribers {
		t.Errorf("the log says it %d times:\n%s", n, r.logged())
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func (r *running) sessionsNow() (sessions []*session) {
	r.broker.mu.Lock()
	defer r.broker.mu.Unlock()
	for _, s := range r.broker.sessions {
		sessions = append(sessions, s)
	}
	return sessions
}

// away is an outbox with so many messages of QoS 1 that its client missed.
func away(t *testing.T, messages int) (*outbox, *client) {
	t.Helper()
	o := newOutbox(func() { t.Error("a message was dropped") })
	for i := range messages {
		o.put(delivery{qos: 1, message: &Message{Topic: "a", Payload: []byte(fmt.Sprint(i))}})
	}
	return o, &client{broker: &broker{service: &Service{options: Options{Log: slog.New(slog.DiscardHandler)}}}, version: mqtt311}
}

// Stored messages come ten a second, whatever comes beside them.
func TestStoredMessagesComeSlowly(t *testing.T) {
	t.Parallel()
	o, c := away(t, 30)
	o.client, o.sending, o.quota = c, true, 100
	start := time.Now()
	sent := func(after time.Duration) (n int) {
		o.sending, o.storedWait = true, true // as if a goroutine sent and another waited
		before := len(o.unacknowledged)
		for o.batch(c, start.Add(after)) != nil {
			n = len(o.unacknowledged) - before
		}
		return n
	}
	for _, step := range []struct {
		after time.Duration
		want  int
	}{{0, 1}, {99 * time.Millisecond, 0}, {100 * time.Millisecond, 1}, {150 * time.Millisecond, 0}, {201 * time.Millisecond, 1}} {
		if got := sent(step.after); got != step.want {
			t.Errorf("after %s %d messages go, want %d", step.after, got, step.want)
		}
	}
	o.sending = true
	o.put(delivery{qos: 1, message: &Message{Topic: "live"}})
	if got := sent(202 * time.Millisecond); got != 1 {
		t.Errorf("%d live messages go beside the stored ones", got)
	}
}

// Packet identifiers are never 0 and never in use, also when they have all been used.
func TestPacketIdentifiers(t *testing.T) {
	t.Parallel()
	o, c := away(t, 0)
	o.client, o.sending, o.quota = c, true, 3
	var inUse []uint16
	seen := map[uint16]int{}
	for range 2 * math.MaxUint16 {
		o.put(delivery{qos: 1, message: &Message{Topic: "a"}})
		for o.batch(c, time.Now()) != nil {
			for id := range o.unacknowledged {
				if !slices.Contains(inUse, id) {
					inUse = append(inUse, id)
					seen[id]++
				}
			}
		}
		if len(inUse) == 3 { // the oldest stays for long
			o.sending = true
			o.acknowledge(inUse[1])
			inUse = append(inUse[:1], inUse[2])
		}
		o.sending = true
	}
	if seen[0] > 0 || seen[1] != 1 || len(seen) != math.MaxUint16 {
		t.Errorf("identifier 0 was used %d times, 1 (in use) %d times, %d different ones", seen[0], seen[1], len(seen))
	}
}
