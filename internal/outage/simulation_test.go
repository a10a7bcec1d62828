package outage

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"
)

// conditions are how fast AWS is, and how much it allows.
type conditions struct {
	queueCall, tableCall, question, publish time.Duration
	// What runs at a time, as in cmd/alerter and internal/outage/dynamo.
	receivers, writers, askers int
	// questionsPerSecond is cmd/alerter's own limit; AWS documents no quota.
	questionsPerSecond int
	// tableCallsPerSecond is what the function's share of a processor is good for.
	tableCallsPerSecond int
	doubled, late       float64 // of the messages
	throttled           float64 // of the questions
	killed              float64 // of the sweeps, at a random call
}

var usual = conditions{
	queueCall: 15 * time.Millisecond, tableCall: 5 * time.Millisecond, question: 20 * time.Millisecond, publish: 50 * time.Millisecond,
	receivers: 10, writers: 64, askers: 32, questionsPerSecond: 500, tableCallsPerSecond: 2000,
	doubled: 0.01, late: 0.05, throttled: 0.02, killed: 0.05,
}

// List prices in US dollars, us-east-1, November 2026: a million requests to SQS, DynamoDB's write
// and read units on demand, and SNS e-mails; a gigabyte second of AWS Lambda. GetConnection's price is
// not published: it counts as a message.
const (
	priceQueue    = 0.40
	priceWrite    = 0.625
	priceRead     = 0.125
	priceQuestion = 1.00
	priceMail     = 20.0
	priceMemory   = 0.0000166667
	gigabytes     = 0.25
)

type fleetDevice struct {
	up, left bool
	since    time.Time
	lostAt   time.Time
	toldAt   time.Time
	backAt   time.Time
	toldBack time.Time
	item     Item
}

type delivery struct {
	id     int
	at     time.Time // when it can be received
	device int
	lost   time.Time
}

// simulation is AWS and a fleet, in virtual time.
type simulation struct {
	conditions
	random  *rand.Rand
	now     time.Time
	devices []fleetDevice
	events  []event
	queue   []delivery
	later   []delivery // late, or received and not deleted
	sent    int
	deleted map[int]bool
	leased  time.Time
	bucket  Bucket
	mutes   []Mute
	down    Connection // what all questions are answered, if set
	broken  bool       // the table does not answer

	started, deadline time.Time
	minute            uint64
	untilDeath        int // calls; -1: it lives
	mails             []Mail
	mailTimes         []time.Time
	calls             struct{ queue, writes, reads, questions int }
	running           time.Duration
	decisions         map[string]int
}

type event struct {
	at     time.Time
	device int
	what   string // lost, back, left, forged
}

type killed struct{}

func newSimulation(seed uint64, devices int, c conditions) *simulation {
	s := &simulation{
		conditions: c, random: rand.New(rand.NewPCG(seed, 1)), now: epoch, devices: make([]fleetDevice, devices),
		deleted: map[int]bool{}, decisions: map[string]int{}, untilDeath: -1,
	}
	for n := range s.devices {
		s.devices[n] = fleetDevice{up: true, since: epoch.Add(-24 * time.Hour)}
	}
	return s
}

func (s *simulation) name(n int) string { return "pump-" + strconv.Itoa(n) }

func (s *simulation) index(name string) int {
	n, err := strconv.Atoi(name[len("pump-"):])
	if err != nil {
		panic(err)
	}
	return n
}

// at plans something to happen to a device.
func (s *simulation) at(after time.Duration, device int, what string) {
	s.events = append(s.events, event{epoch.Add(after), device, what})
}

// happen lets the world catch up with the clock.
func (s *simulation) happen() {
	for len(s.events) > 0 && !s.events[0].at.After(s.now) {
		e := s.events[0]
		s.events = s.events[1:]
		d := &s.devices[e.device]
		switch e.what {
		case "lost":
			d.up, d.left, d.since, d.lostAt = false, false, e.at, e.at
			d.toldAt = time.Time{}
		case "back":
			d.up, d.left, d.since, d.backAt = true, false, e.at, e.at
			d.toldBack = time.Time{}
		case "left":
			d.up, d.left, d.since = false, true, e.at
		}
		if e.what == "lost" || e.what == "forged" {
			s.send(e)
		}
	}
}

func (s *simulation) send(e event) {
	times := 1
	if s.random.Float64() < s.doubled {
		times = 2
	}
	for range times {
		s.sent++
		m := delivery{s.sent, e.at.Add(time.Duration(s.random.Int64N(int64(time.Second)))), e.device, e.at}
		if s.random.Float64() < s.late {
			m.at = m.at.Add(time.Duration(s.random.Int64N(int64(2 * time.Minute))))
		}
		s.later = append(s.later, m)
	}
}

// spend passes time, and ends a sweep that takes too long or whose hour has come.
func (s *simulation) spend(calls int, d time.Duration) {
	s.now = s.now.Add(d)
	s.happen()
	if s.untilDeath >= 0 {
		if s.untilDeath -= 1; s.untilDeath < 0 {
			panic(killed{})
		}
	}
	if s.now.After(s.deadline) {
		panic(killed{})
	}
}

// atATime is how long calls take of which some run at a time.
func atATime(calls, workers int, each time.Duration, perSecond int) time.Duration {
	if calls == 0 {
		return 0
	}
	d := time.Duration((calls+workers-1)/workers) * each
	if perSecond > 0 {
		d = max(d, time.Duration(calls)*time.Second/time.Duration(perSecond))
	}
	return d
}

// arrive makes messages visible. It is enough once a sweep.
func (s *simulation) arrive() {
	rest := s.later[:0]
	for _, m := range s.later {
		switch {
		case s.deleted[m.id]:
			delete(s.deleted, m.id)
		case m.at.After(s.now):
			rest = append(rest, m)
		default:
			s.queue = append(s.queue, m)
		}
	}
	s.later = rest
}

func (s *simulation) Receive(context.Context) ([]Message, error) {
	var messages []Message
	got := s.queue[:min(len(s.queue), 10*(1+s.receivers))]
	s.queue = s.queue[len(got):]
	for _, m := range got {
		body := fmt.Sprintf(`{"client":%q,"time":%d}`, s.name(m.device), m.lost.UnixMilli())
		messages = append(messages, Message{Receipt: strconv.Itoa(m.id), Body: []byte(body), Sent: m.at})
		// It comes again unless it is deleted.
		m.at = s.now.Add(56 * time.Second)
		s.later = append(s.later, m)
	}
	s.calls.queue += 1 + len(messages)/10
	wait := 2 * s.queueCall
	if len(messages) == 0 {
		wait = time.Second // long polling
	}
	s.spend(1, wait)
	return messages, nil
}

func (s *simulation) Delete(_ context.Context, messages []Message) error {
	for _, m := range messages {
		id, err := strconv.Atoi(m.Receipt)
		if err != nil {
			panic(err)
		}
		s.deleted[id] = true
	}
	calls := (len(messages) + 9) / 10
	s.calls.queue += calls
	s.spend(calls, atATime(calls, s.receivers, s.queueCall, 0))
	return nil
}

func (s *simulation) Lock(_ context.Context, now, until time.Time) (Bucket, error) {
	if s.broken {
		return Bucket{}, fmt.Errorf("the table is gone")
	}
	s.calls.reads++
	s.calls.writes++
	if s.leased.After(now) {
		return Bucket{}, ErrLocked
	}
	s.leased = until
	s.spend(2, 2*s.tableCall)
	return s.bucket, nil
}

func (s *simulation) Spend(_ context.Context, b Bucket, until time.Time) error {
	s.bucket, s.leased = b, until
	s.calls.writes++
	s.spend(1, s.tableCall)
	return nil
}

func (s *simulation) Unlock(_ context.Context, b Bucket) error {
	s.bucket, s.leased = b, time.Time{}
	s.calls.writes++
	s.spend(1, s.tableCall)
	return nil
}

// bytesAnItem is what an item takes in the table, names and all.
const bytesAnItem = 200

func (s *simulation) Due(_ context.Context, now time.Time) ([]Item, error) {
	var due []Item
	open := 0
	// As internal/outage/dynamo does, with its limits.
	const maxDue = 50_000
	first := s.minute * 0x9e3779b97f4a7c15 >> 32 * uint64(len(s.devices)) >> 32
	for n := range s.devices {
		i := &s.devices[(n+int(first))%len(s.devices)].item
		if i.Rev == 0 {
			continue
		}
		open++
		if i.Due.After(now) {
			continue
		}
		if len(due) < maxDue {
			due = append(due, *i)
		}
	}
	pages := 4 + open*bytesAnItem/1_000_000
	s.calls.reads += 4 + open*bytesAnItem/4096
	s.spend(pages, atATime(pages, 4, 10*s.tableCall, 0))
	return due, nil
}

func (s *simulation) Get(_ context.Context, device string) (Item, bool, error) {
	i := s.devices[s.index(device)].item
	s.calls.reads++
	s.spend(1, s.tableCall)
	return i, i.Rev > 0, nil
}

func (s *simulation) Write(_ context.Context, writes []Write) []error {
	errs := make([]error, len(writes))
	for n, w := range writes {
		d := &s.devices[s.index(w.Item.Device)]
		switch {
		case d.item.Rev != w.Item.Rev:
			errs[n] = ErrChanged
		case w.Delete:
			d.item = Item{}
		default:
			d.item = w.Item
			d.item.Rev++
		}
	}
	s.calls.writes += len(writes)
	s.spend(len(writes), atATime(len(writes), s.writers, s.tableCall, s.tableCallsPerSecond))
	return errs
}

func (s *simulation) Mutes(context.Context) ([]Mute, error) {
	s.calls.reads++
	s.spend(1, s.tableCall)
	return s.mutes, nil
}

func (s *simulation) ask(_ context.Context, devices []string, until time.Time) []Answer {
	answers := make([]Answer, len(devices))
	for at := 0; at < len(devices) && s.now.Before(until); at += 1000 {
		part := devices[at:min(at+1000, len(devices))]
		for n, name := range part {
			answers[at+n] = s.answer(s.index(name))
		}
		s.calls.questions += len(part)
		s.spend(len(part), atATime(len(part), s.askers, s.question, s.questionsPerSecond))
	}
	return answers
}

func (s *simulation) answer(n int) Answer {
	d := s.devices[n]
	switch {
	case s.down != Unasked:
		return Answer{Connection: s.down}
	case s.random.Float64() < s.throttled:
		return Answer{Connection: Throttled}
	case d.up:
		return Answer{Connected, d.since, ""}
	case s.now.Sub(d.since) > 30*time.Minute:
		return Answer{Connection: NotFound}
	case d.left:
		return Answer{Disconnected, d.since, LeftProperly}
	}
	return Answer{Disconnected, d.since, "CONNECTION_LOST"}
}

func (s *simulation) tell(_ context.Context, m Mail) error {
	s.mails = append(s.mails, m)
	s.mailTimes = append(s.mailTimes, s.now)
	s.spend(1, s.publish)
	return nil
}

func (s *simulation) observe(d Decision) {
	s.decisions[d.Did]++
	switch d.Did {
	case "told":
		s.devices[s.index(d.Device)].toldAt = s.now
	case "told-back":
		s.devices[s.index(d.Device)].toldBack = s.now
	}
}

// run runs a sweep each minute.
func (s *simulation) run(d time.Duration) {
	slices.SortStableFunc(s.events, func(a, b event) int { return a.at.Compare(b.at) })
	for start := s.now.Add(time.Duration(s.random.Int64N(int64(time.Second)))); start.Before(epoch.Add(d)); start = start.Add(time.Minute) {
		s.now = start
		s.happen()
		s.arrive()
		s.minute++
		s.untilDeath = -1
		if s.random.Float64() < s.killed {
			s.untilDeath = s.random.IntN(12)
		}
		s.sweep()
		s.running += s.now.Sub(start)
	}
}

func (s *simulation) sweep() {
	s.started, s.deadline = s.now, s.now.Add(Timeout)
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(killed); !ok {
				panic(p)
			}
		}
	}()
	sweeper := Sweeper{
		Grace: 3 * time.Minute, Clock: func() time.Time { return s.now }, Queue: s, Table: s, Ask: s.ask, Tell: s.tell, Observe: s.observe,
	}
	if err := sweeper.Sweep(context.Background()); err != nil && !s.broken {
		panic(err)
	}
}

func (s *simulation) cost() float64 {
	million := 1e6
	return float64(s.calls.queue)/million*priceQueue + float64(s.calls.writes)/million*priceWrite + float64(s.calls.reads)/million*priceRead +
		float64(s.calls.questions)/million*priceQuestion + float64(len(s.mails))/million*priceMail + s.running.Seconds()*gigabytes*priceMemory
}

// allLost loses all devices within a second, and has them all back within a minute after half an hour.
func allLost(seed uint64, devices int, d time.Duration) *simulation {
	s := newSimulation(seed, devices, usual)
	for n := range devices {
		s.at(10*time.Minute+time.Duration(s.random.Int64N(int64(time.Second))), n, "lost")
		s.at(40*time.Minute+time.Duration(s.random.Int64N(int64(time.Minute))), n, "back")
	}
	s.run(d)
	return s
}

type figures struct {
	mails, told               int
	first, all, recovered     time.Duration
	queue, writes, reads, ask int
	cost                      float64
}

func (s *simulation) figures() figures {
	f := figures{mails: len(s.mails), queue: s.calls.queue, writes: s.calls.writes, reads: s.calls.reads, ask: s.calls.questions, cost: s.cost()}
	for _, d := range s.devices {
		if d.toldAt.IsZero() {
			continue
		}
		f.told++
		told := d.toldAt.Sub(d.lostAt)
		if f.first == 0 || told < f.first {
			f.first = told
		}
		f.all = max(f.all, told)
		if !d.toldBack.IsZero() {
			f.recovered = max(f.recovered, d.toldBack.Sub(d.backAt))
		}
	}
	return f
}

func TestAWholeFleetIsTold(t *testing.T) {
	t.Parallel()
	t.Log("| devices | told | mails | first after | all told after | all told back after | SQS | DynamoDB writes | reads | GetConnection | cost |")
	for _, c := range []struct {
		devices  int
		lasts    time.Duration
		maxMails int
		maxAll   time.Duration
	}{
		{20, 90 * time.Minute, 6, 10 * time.Minute},
		{10_000, 90 * time.Minute, 15, 12 * time.Minute},
		{1_000_000, 12 * time.Hour, 150, 6 * time.Hour},
	} {
		if c.devices > 100_000 && !*deep {
			continue
		}
		s := allLost(1, c.devices, c.lasts)
		f := s.figures()
		t.Logf("| %s | %s | %d | %s | %s | %s | %s | %s | %s | %s | $%.2f |", number(c.devices), number(f.told), f.mails, lasting(f.first), lasting(f.all), lasting(f.recovered),
			number(f.queue), number(f.writes), number(f.reads), number(f.ask), f.cost)
		if f.mails > c.maxMails || f.all > c.maxAll || f.first > 3*time.Minute+75*time.Second+time.Minute {
			t.Errorf("%+v", f)
		}
		for n, d := range s.devices {
			// Of a million, some are back before there was time to ask about them.
			if d.toldAt.IsZero() && c.devices <= 10_000 || d.toldBack.IsZero() && !d.toldAt.IsZero() || d.item.Rev != 0 {
				t.Fatalf("device %d: told at %s, told back at %s, item %+v", n, d.toldAt, d.toldBack, d.item)
			}
		}
	}
}

// calm are conditions without accidents.
var calm = func() conditions {
	c := usual
	c.doubled, c.late, c.throttled, c.killed = 0, 0, 0, 0
	return c
}()

func TestWhatPeopleHearOf(t *testing.T) {
	t.Parallel()
	minutes := func(n float64) time.Duration { return time.Duration(n * float64(time.Minute)) }
	for _, c := range []struct {
		claim  string
		change func(s *simulation)
		want   []string
	}{
		{"a blip is not told", func(s *simulation) { s.at(minutes(1), 0, "lost"); s.at(minutes(1.2), 0, "back") }, nil},
		{"a late will, when the device is back", func(s *simulation) { s.late = 1; s.at(minutes(1), 0, "lost"); s.at(minutes(1.1), 0, "back") }, nil},
		{"a forged will of a connected device", func(s *simulation) { s.at(minutes(1), 0, "forged") }, nil},
		{
			"a forged will of a client that never was",
			func(s *simulation) {
				s.devices[0] = fleetDevice{left: true, since: epoch.Add(-time.Hour)}
				s.at(minutes(1), 0, "forged")
			}, nil,
		},
		{
			"a loss, and a recovery", func(s *simulation) { s.at(minutes(1), 0, "lost"); s.at(minutes(15), 0, "back") },
			[]string{"pump-0 is offline since 14:01 UTC", "pump-0 is back after 14 min"},
		},
		{
			"back for 20 seconds, then a proper disconnect",
			func(s *simulation) {
				s.at(minutes(1), 0, "lost")
				s.at(minutes(15), 0, "back")
				s.at(minutes(15)+20*time.Second, 0, "left")
			},
			[]string{"pump-0 is offline since 14:01 UTC", "pump-0 was back and disconnected properly"},
		},
		{
			"a device that flaps 30 times is one mail",
			func(s *simulation) {
				for n := range 30 {
					s.at(minutes(float64(n)/2), 0, "lost")
					s.at(minutes(float64(n)/2)+10*time.Second, 0, "back")
				}
			},
			[]string{"pump-0: two devices may share this client ID"},
		},
		{
			"GetConnection denied", func(s *simulation) { s.down = Unavailable; s.at(minutes(1), 0, "lost") },
			[]string{"pump-0 was lost at 14:01 UTC, not checked"},
		},
		{
			"GetConnection throttled for long", func(s *simulation) { s.down = Throttled; s.at(minutes(1), 0, "lost") },
			[]string{"pump-0 was lost at 14:01 UTC, not checked"},
		},
		{
			"a table that does not answer: one mail a sweep with the count, and never one a device",
			func(s *simulation) { s.broken = true; s.at(minutes(28.5), 0, "lost"); s.at(minutes(28.5), 1, "lost") },
			[]string{"2 devices were lost, not checked"},
		},
		{
			"muted until the mute is over",
			func(s *simulation) {
				s.mutes = []Mute{{Devices: "pump-*", Until: epoch.Add(minutes(20))}}
				s.at(minutes(1), 0, "lost")
			},
			[]string{"pump-0 is offline since 14:01 UTC"},
		},
		{
			"muted, and back before the mute is over",
			func(s *simulation) {
				s.mutes = []Mute{{Devices: "pump-0", Until: epoch.Add(minutes(20))}}
				s.at(minutes(1), 0, "lost")
				s.at(minutes(10), 0, "back")
			}, nil,
		},
		{
			"losses of the same time are one mail, and so are their recoveries",
			func(s *simulation) {
				for n := range 20 {
					s.at(minutes(1), n, "lost")
					s.at(minutes(10), n, "back")
				}
			},
			[]string{"20 devices offline since 14:01 UTC", "20 devices are back"},
		},
	} {
		s := newSimulation(7, 20, calm)
		c.change(s)
		s.run(30 * time.Minute)
		var got []string
		for _, m := range s.mails {
			got = append(got, m.Subject)
			checkMail(t, m)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: mails %q, want %q (%v)", c.claim, got, c.want, s.decisions)
		}
	}
}

// Twenty devices that come and go for six hours, with all accidents: few mails, and none stuck.
func TestAFlappingFleetIsFewMails(t *testing.T) {
	t.Parallel()
	s := newSimulation(3, 20, usual)
	for n := range 20 {
		for at := time.Duration(0); at < 6*time.Hour; {
			at += time.Duration(s.random.Int64N(int64(10 * time.Minute)))
			s.at(at, n, "lost")
			at += time.Duration(s.random.Int64N(int64(5 * time.Minute)))
			s.at(at, n, "back")
		}
	}
	s.run(8 * time.Hour)
	t.Logf("%d mails, %v", len(s.mails), s.decisions)
	if len(s.mails) > 90 {
		t.Errorf("%d mails in eight hours", len(s.mails))
	}
	for n, d := range s.devices {
		if d.item.Rev != 0 {
			t.Errorf("device %d: %+v", n, d.item)
		}
	}
}

// Each of two hundred losses is told within the grace time and 75 seconds.
func TestALossIsToldInTime(t *testing.T) {
	t.Parallel()
	var times []time.Duration
	for seed := range uint64(200) {
		c := calm
		c.late, c.doubled = 0, usual.doubled
		s := newSimulation(seed, 1, c)
		s.at(5*time.Minute+time.Duration(s.random.Int64N(int64(time.Minute))), 0, "lost")
		s.run(15 * time.Minute)
		if len(s.mails) != 1 {
			t.Fatalf("seed %d: %d mails", seed, len(s.mails))
		}
		times = append(times, s.devices[0].toldAt.Sub(s.devices[0].lostAt))
	}
	slices.Sort(times)
	t.Logf("median %s, p99 %s", times[100], times[197])
	if times[197] > 3*time.Minute+75*time.Second {
		t.Errorf("p99 is %s", times[197])
	}
}

// Seven days out: looks do not grow.
func TestALongOutageIsLookedAtAtASteadyRate(t *testing.T) {
	t.Parallel()
	s := newSimulation(5, 1, calm)
	s.at(time.Minute, 0, "lost")
	s.run(24 * time.Hour)
	day := s.calls.questions
	s = newSimulation(5, 1, calm)
	s.at(time.Minute, 0, "lost")
	s.run(7 * 24 * time.Hour)
	if week := s.calls.questions; week > 7*day || day > 130 || len(s.mails) != 1 {
		t.Errorf("%d questions on the first day, %d in a week, %d mails", day, week, len(s.mails))
	}
}

// A quiet day: what the function calls although nothing happens.
func TestAQuietDayIsCheap(t *testing.T) {
	t.Parallel()
	s := newSimulation(1, 10, calm)
	s.run(24 * time.Hour)
	f := s.figures()
	t.Logf("a day: %d SQS, %d writes, %d reads; a month costs $%.2f", f.queue, f.writes, f.reads, 30*f.cost)
	if f.queue > 1440 || f.writes > 2*1440 || f.reads > 5*1440 || f.ask != 0 || f.mails != 0 {
		t.Errorf("%+v", f)
	}
}
