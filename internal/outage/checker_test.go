package outage

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"
)

// The checker runs the real Sweeper in every possible world up to some bounds. A sweep
// is deterministic but for what it is answered. So a half-done sweep is the list of the
// answers that it got: to take it one step further, the checker runs it again from its
// beginning, gives it the same answers, and stops it before the call after the next.
//
// Between two steps anything can happen: a device is lost, back, or disconnects; the sweep
// dies; another begins. A message may stay in the queue although it was deleted, and a
// delivery may leave out any message. Time passes only between sweeps, a minute at a time,
// since what runs a sweep ends it before the next is due.

var deep = flag.Bool("deep", false, "check the outage's states to larger bounds (minutes)")

// bounds are how often each thing may happen.
type bounds struct {
	devices, losses, leaves, minutes     int
	crashes, doubles, throttles, overlap int
	tokens                               int
}

const checkedGrace = time.Minute

var epoch = time.Date(2026, 11, 28, 14, 0, 0, 0, time.UTC)

const (
	nothingSaid = iota
	saidOffline
	saidBack
)

type modelDevice struct {
	up, left bool
	since    int // minute
	losses   int
	// said is what the last mail about the device says.
	said int
	// doubtful: a sweep died after it stored that it would speak, and before it stored
	// that it had.
	doubtful bool
	item     Item // Rev 0: none
}

type modelMessage struct{ device, minute int }

// world is a value: assigning it copies all but the queue and the sweeps' answers,
// which are never changed in place.
type world struct {
	minute  int
	devices [2]modelDevice
	queue   []modelMessage
	leased  time.Time
	holder  int
	bucket  Bucket
	runs    [2]run
	started int // sweeps in this minute
	left    bounds
}

// run is a sweep under way.
type run struct {
	active  bool
	id      int
	answers []*reply
	hash    digest
	next    string // the call that it is about to make
	speaks  [2]int // what it stored that it would say, until it has stored that it said it
	asked   [2]Answer
}

// reply is what one call was answered.
type reply struct {
	messages []Message
	items    []Item
	answers  []Answer
	bucket   Bucket
	found    bool
	err      error
}

type paused struct{ next string }

// fault takes one of the safeguards out.
type fault string

type checker struct {
	limits  bounds
	fault   fault
	seen    map[uint64]bool
	settled map[uint64]bool
	problem string
	trail   []trailed
}

func (w *world) now() time.Time { return epoch.Add(time.Duration(w.minute) * time.Minute) }

func deviceName(d int) string { return string(rune('a' + d)) }

// digest is FNV-1a over numbers and texts.
type digest uint64

const newDigest digest = 14695981039346656037

func (d *digest) add(numbers ...int64) {
	for _, n := range numbers {
		for range 8 {
			*d = (*d ^ digest(n&0xff)) * 1099511628211
			n >>= 8
		}
	}
}

func (d *digest) text(s string) {
	d.add(int64(len(s)))
	for n := range len(s) {
		*d = (*d ^ digest(s[n])) * 1099511628211
	}
}

func (d *digest) flags(flags ...bool) {
	n := int64(1)
	for _, f := range flags {
		n <<= 1
		if f {
			n |= 1
		}
	}
	d.add(n)
}

func (d *digest) item(i Item) {
	d.flags(i.Rev > 0, i.Unchecked, i.Shared)
	if i.Rev > 0 {
		d.text(string(i.State))
		d.text(i.Reason)
		d.add(i.Since.Unix(), i.Due.Unix(), i.First.Unix(), int64(i.Losses))
	}
}

func (a *reply) digest(d *digest) {
	for _, m := range a.messages {
		d.text(m.Receipt)
	}
	for _, i := range a.items {
		d.item(i)
		d.add(i.Rev)
	}
	for _, x := range a.answers {
		d.add(int64(x.Connection), x.Since.Unix())
		d.text(x.Reason)
	}
	d.add(int64(a.bucket.Tokens), a.bucket.Gained.Unix())
	d.flags(a.found, a.err != nil)
}

// stepper stands between a sweep and the world.
type stepper struct {
	c        *checker
	w        *world
	r        *run
	at       int
	choice   int  // of the next step; -1: pause before it
	through  bool // never pause
	received bool
}

func (s *stepper) step(next string, apply func() *reply) *reply {
	s.at++
	if s.at <= len(s.r.answers) {
		return s.r.answers[s.at-1]
	}
	if s.choice < 0 && !s.through {
		panic(paused{next})
	}
	a := apply()
	if s.through {
		return a
	}
	s.choice = -1
	s.r.answers = append(slices.Clip(s.r.answers), a)
	s.r.hash.text(next)
	a.digest(&s.r.hash)
	return a
}

func (s *stepper) Receive(context.Context) ([]Message, error) {
	if s.received {
		return nil, nil
	}
	s.received = true
	a := s.step("receive", func() *reply {
		a := &reply{}
		for n, m := range s.w.queue {
			if s.choice&(1<<n) != 0 {
				continue // not this time
			}
			body := fmt.Sprintf(`{"client":%q,"time":%d}`, deviceName(m.device), epoch.Add(time.Duration(m.minute)*time.Minute).UnixMilli())
			a.messages = append(a.messages, Message{Receipt: fmt.Sprint(m.device, m.minute), Body: []byte(body)})
		}
		return a
	})
	return a.messages, nil
}

func (s *stepper) Delete(_ context.Context, messages []Message) error {
	s.step("delete", func() *reply {
		if s.choice == 1 {
			s.w.left.doubles--
			return &reply{}
		}
		var rest []modelMessage
		for _, m := range s.w.queue {
			if !slices.ContainsFunc(messages, func(x Message) bool { return x.Receipt == fmt.Sprint(m.device, m.minute) }) {
				rest = append(rest, m)
			}
		}
		s.w.queue = rest
		return &reply{}
	})
	return nil
}

func (s *stepper) Lock(_ context.Context, now, until time.Time) (Bucket, error) {
	a := s.step("lock", func() *reply {
		if s.w.leased.After(now) && s.c.fault != "no lease" {
			return &reply{err: ErrLocked}
		}
		s.w.leased, s.w.holder = until, s.r.id
		return &reply{bucket: s.w.bucket}
	})
	return a.bucket, a.err
}

func (s *stepper) hold(next string, b Bucket, until time.Time) error {
	return s.step(next, func() *reply {
		if s.w.holder != s.r.id && s.c.fault != "no lease" {
			return &reply{err: ErrLocked}
		}
		s.w.bucket, s.w.leased = b, until
		return &reply{}
	}).err
}

func (s *stepper) Spend(_ context.Context, b Bucket, until time.Time) error {
	return s.hold("spend", b, until)
}

func (s *stepper) Unlock(_ context.Context, b Bucket) error {
	return s.hold("unlock", b, time.Time{})
}

func (s *stepper) Due(_ context.Context, now time.Time) ([]Item, error) {
	return slices.Clone(s.step("due", func() *reply {
		a := &reply{}
		for _, d := range s.w.devices {
			if d.item.Rev > 0 && !d.item.Due.After(now) {
				a.items = append(a.items, d.item)
			}
		}
		return a
	}).items), nil
}

func (s *stepper) Get(_ context.Context, device string) (Item, bool, error) {
	a := s.step("get", func() *reply {
		i := s.w.devices[device[0]-'a'].item
		return &reply{items: []Item{i}, found: i.Rev > 0}
	})
	return a.items[0], a.found, nil
}

func (s *stepper) Write(_ context.Context, writes []Write) []error {
	errs := make([]error, len(writes))
	for n, w := range writes {
		errs[n] = s.step("write", func() *reply {
			d := &s.w.devices[w.Item.Device[0]-'a']
			if d.item.Rev != w.Item.Rev {
				return &reply{err: ErrChanged}
			}
			s.marks(w)
			before := d.item
			d.item = w.Item
			d.item.Rev++
			switch {
			case w.Delete:
				d.item = Item{}
			case w.Item.State == Saying && s.c.fault == "no saying",
				w.Item.State == Closing && s.c.fault == "no closing":
				d.item.State = before.State
			}
			return &reply{}
		}).err
	}
	return errs
}

// marks notes what the sweep has stored that it would say, or that it said.
func (s *stepper) marks(w Write) {
	d := w.Item.Device[0] - 'a'
	switch {
	case w.Item.State == Saying && !w.Delete:
		s.r.speaks[d] = saidOffline
	case w.Item.State == Closing && !w.Delete:
		s.r.speaks[d] = saidBack
	default:
		s.r.speaks[d] = nothingSaid
	}
}

func (s *stepper) Mutes(context.Context) ([]Mute, error) { return nil, nil }

func (s *stepper) ask(_ context.Context, devices []string, _ time.Time) []Answer {
	return slices.Clone(s.step("ask", func() *reply {
		a := &reply{}
		for _, name := range devices {
			d := name[0] - 'a'
			answer := s.w.answer(int(d))
			if s.choice == 1 {
				answer = Answer{Connection: Throttled}
			}
			s.r.asked[d] = answer
			a.answers = append(a.answers, answer)
		}
		if s.choice == 1 {
			s.w.left.throttles--
		}
		return a
	}).answers)
}

// answer is what GetConnection says.
func (w *world) answer(device int) Answer {
	d := w.devices[device]
	since := epoch.Add(time.Duration(d.since) * time.Minute)
	switch {
	case d.up:
		return Answer{Connected, since, ""}
	case w.now().Sub(since) > 30*time.Minute:
		return Answer{Connection: NotFound}
	case d.left:
		return Answer{Disconnected, since, LeftProperly}
	}
	return Answer{Disconnected, since, "CONNECTION_LOST"}
}

func (s *stepper) tell(_ context.Context, m Mail) error {
	s.step("tell", func() *reply {
		var f form
		if err := json.Unmarshal([]byte(m.Machine), &f); err != nil {
			s.c.fail("%v", err)
		}
		for _, told := range f.Devices {
			s.said(int(told.Device[0]-'a'), told.Event)
		}
		return &reply{}
	})
	return nil
}

// said holds the invariants of one mail.
func (s *stepper) said(device int, event string) {
	d := &s.w.devices[device]
	now, a := saidOffline, s.r.asked[device]
	lost := a.Connection == NotFound || a.Connection == Disconnected && a.Reason != LeftProperly && s.w.now().Sub(a.Since) >= checkedGrace
	if event == "back" {
		now = saidBack
	}
	switch {
	case now == saidOffline && !lost:
		s.c.fail("told that %s is offline, and GetConnection said %v", deviceName(device), a)
	case now == saidBack && lost:
		s.c.fail("told that %s is back, and GetConnection said %v", deviceName(device), a)
	case now == d.said && !d.doubtful:
		s.c.fail("told %s of %s twice, and no sweep died", event, deviceName(device))
	case now == saidBack && d.said == nothingSaid && !d.doubtful:
		s.c.fail("told the recovery of %s, and the loss was not told", deviceName(device))
	}
	d.said, d.doubtful = now, false
}

func (c *checker) fail(format string, args ...any) {
	if c.problem == "" {
		c.problem = fmt.Sprintf(format, args...)
		for _, t := range c.trail {
			c.problem += "\n  " + t.String()
		}
	}
}

// advance takes a sweep one step further.
func (c *checker) advance(w *world, n, choice int) {
	r := &w.runs[n]
	c.run(w, &stepper{c: c, w: w, r: r, choice: choice})
}

func (c *checker) run(w *world, s *stepper) {
	r := s.r
	defer func() {
		switch p := recover().(type) {
		case nil:
		case paused:
			r.next = p.next
		default:
			panic(p)
		}
	}()
	sweeper := Sweeper{
		Grace: checkedGrace, Clock: w.now, Queue: s, Table: s, Ask: s.ask, Tell: s.tell,
	}
	if err := sweeper.Sweep(context.Background()); err != nil && !errors.Is(err, ErrChanged) && !errors.Is(err, ErrLocked) {
		c.fail("a sweep failed: %v", err)
	}
	*r = run{}
}

// begin starts a sweep, up to its first call.
func (c *checker) begin(w *world, n int) {
	w.started++
	w.runs[n] = run{active: true, id: 10*w.minute + w.started, hash: newDigest}
	c.advance(w, n, -1)
}

func (c *checker) crash(w *world, n int) {
	for d, what := range w.runs[n].speaks {
		if what != nothingSaid {
			w.devices[d].doubtful = true
		}
	}
	w.runs[n] = run{}
}

// move is one thing that can happen.
type move struct {
	who  int
	what string
	// choice of the sweep's next call; -1 for all else.
	choice int
	do     func(w *world)
}

type trailed struct {
	minute int
	move
	next string
}

func (t trailed) String() string {
	switch {
	case t.choice >= 0:
		return fmt.Sprintf("%02d  sweep %d: %s, choice %d", t.minute, t.who, t.next, t.choice)
	case t.next != "":
		return fmt.Sprintf("%02d  sweep %d %s %s", t.minute, t.who, t.what, t.next)
	}
	return fmt.Sprintf("%02d  %d %s", t.minute, t.who, t.what)
}

func (c *checker) moves(w *world) []move {
	var moves []move
	add := func(who int, what string, do func(*world)) { moves = append(moves, move{who, what, -1, do}) }
	active, outside := false, true
	for n, r := range w.runs {
		if !r.active {
			continue
		}
		active = true
		// What devices do matters to no other call: before them it would only be the
		// same world by another way.
		outside = r.next == "receive" || r.next == "ask" || r.next == "tell"
		choices := 1
		switch {
		case r.next == "receive":
			choices = 1 << len(w.queue)
		case r.next == "delete" && w.left.doubles > 0, r.next == "ask" && w.left.throttles > 0:
			choices = 2
		}
		for choice := range choices {
			moves = append(moves, move{n, "", choice, func(w *world) { c.advance(w, n, choice) }})
		}
		if w.left.crashes > 0 {
			add(n, "dies before", func(w *world) {
				w.left.crashes--
				c.crash(w, n)
			})
		}
	}
	switch {
	case !active && w.started == 0:
		add(0, "begins", func(w *world) { c.begin(w, 0) })
	case w.left.overlap > 0 && !w.runs[1].active && w.started > 0:
		add(1, "begins", func(w *world) { w.left.overlap--; c.begin(w, 1) })
	}
	if !active && w.left.minutes > 0 {
		add(0, "minute passes", func(w *world) { w.left.minutes--; w.pass() })
	}
	if outside {
		c.deviceMoves(w, add)
	}
	return moves
}

func (c *checker) deviceMoves(w *world, add func(int, string, func(*world))) {
	for n := range c.limits.devices {
		d := w.devices[n]
		if d.up && d.losses > 0 {
			add(n, "is lost", func(w *world) {
				d := &w.devices[n]
				d.losses--
				d.up, d.left, d.since = false, false, w.minute
				w.queue = append(slices.Clip(w.queue), modelMessage{n, w.minute})
			})
		}
		if d.up && w.left.leaves > 0 {
			add(n, "disconnects", func(w *world) {
				d := &w.devices[n]
				w.left.leaves--
				d.up, d.left, d.since = false, true, w.minute
			})
		}
		if !d.up {
			add(n, "connects", func(w *world) { d := &w.devices[n]; d.up, d.left, d.since = true, false, w.minute })
		}
	}
}

func (w *world) pass() { w.minute++; w.started = 0 }

// key identifies a world. Sweeps differ by their answers.
func (w *world) key(budgets bool) uint64 {
	d := newDigest
	for n, m := range slices.SortedFunc(slices.Values(w.queue), func(a, b modelMessage) int { return 100*(a.device-b.device) + a.minute - b.minute }) {
		d.add(int64(n), int64(m.device), int64(m.minute))
	}
	d.add(int64(w.minute), int64(w.started), w.leased.Unix(), int64(w.holder), int64(w.bucket.Tokens), w.bucket.Gained.Unix())
	for _, x := range w.devices {
		d.flags(x.up, x.left, x.doubtful)
		d.add(int64(x.since), int64(x.losses), int64(x.said))
		d.item(x.item)
	}
	for _, r := range w.runs {
		d.flags(r.active)
		d.add(int64(r.hash), int64(r.speaks[0]), int64(r.speaks[1]))
	}
	if budgets {
		l := w.left
		d.add(int64(l.leaves), int64(l.minutes), int64(l.crashes), int64(l.doubles), int64(l.throttles), int64(l.overlap))
	}
	return uint64(d)
}

// settle lets the rest of the world's story be quiet: devices stay as they are, all messages
// arrive, and sweeps run each minute.
func (c *checker) settle(w world) {
	key := w.key(false)
	if c.settled[key] {
		return
	}
	c.settled[key] = true
	for range 14 {
		w.pass()
		w.runs[0] = run{id: 10 * w.minute}
		c.run(&w, &stepper{c: c, w: &w, r: &w.runs[0], through: true})
		if c.settled[w.key(false)] {
			return // it has been here before
		}
	}
	if len(w.queue) > 0 {
		c.fail("messages stay in the queue: %v", w.queue)
	}
	for n := range c.limits.devices {
		d := w.devices[n]
		lost := !d.up && !d.left
		switch {
		case lost && d.said != saidOffline:
			c.fail("%s is lost, and people don't know", deviceName(n))
		case !lost && d.said == saidOffline:
			c.fail("%s is not lost, and the last mail says it is", deviceName(n))
		case !lost && d.item.Rev > 0:
			c.fail("%s is not lost, and its item stays: %v", deviceName(n), d.item)
		case lost && d.item.State != Told:
			c.fail("%s is lost, and its item is %v", deviceName(n), d.item)
		}
	}
}

func (c *checker) explore(w world) {
	if c.problem != "" {
		return
	}
	key := w.key(true)
	if c.seen[key] {
		return
	}
	c.seen[key] = true
	if !w.runs[0].active && !w.runs[1].active {
		c.settle(w)
	}
	for _, m := range c.moves(&w) {
		next := w
		t := trailed{minute: w.minute, move: m}
		if m.choice >= 0 || m.what == "dies before" {
			t.next = w.runs[m.who].next
		}
		c.trail = append(c.trail, t)
		m.do(&next)
		c.explore(next)
		c.trail = c.trail[:len(c.trail)-1]
	}
}

func check(limits bounds, f fault) *checker {
	c := &checker{limits: limits, fault: f, seen: map[uint64]bool{}, settled: map[uint64]bool{}}
	w := world{left: limits, bucket: Bucket{limits.tokens, epoch}}
	for n := range limits.devices {
		w.devices[n] = modelDevice{up: true, since: -60, losses: limits.losses}
	}
	c.explore(w)
	return c
}

func TestEveryInterleavingIsTold(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name string
		deep bool
		bounds
	}{
		{"one device, a death", false, bounds{devices: 1, losses: 3, minutes: 3, crashes: 1, tokens: 3}},
		{"one device, a death and a doubled message", false, bounds{devices: 1, losses: 2, leaves: 1, minutes: 2, crashes: 1, doubles: 1, tokens: 3}},
		{"one device, throttled, and two sweeps at a time", false, bounds{devices: 1, losses: 3, minutes: 2, throttles: 1, overlap: 1, tokens: 3}},
		{"one device, one mail left", false, bounds{devices: 1, losses: 3, minutes: 4, tokens: 1}},
		{"two devices", false, bounds{devices: 2, losses: 2, minutes: 1, crashes: 1, tokens: 3}},
		{"one device, three deaths", true, bounds{devices: 1, losses: 3, leaves: 1, minutes: 4, crashes: 3, tokens: 3}},
		{"one device, all at once", true, bounds{devices: 1, losses: 3, leaves: 1, minutes: 3, crashes: 1, doubles: 1, throttles: 1, overlap: 1, tokens: 3}},
		{"two devices, for longer", true, bounds{devices: 2, losses: 2, minutes: 2, crashes: 1, doubles: 1, tokens: 3}},
	}
	for _, c := range cases {
		if c.deep && !*deep {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			found := check(c.bounds, "")
			t.Logf("%d worlds, %d settled, %s", len(found.seen), len(found.settled), time.Since(start).Round(time.Millisecond))
			if found.problem != "" {
				t.Error(found.problem)
			}
		})
	}
}

func TestTheCheckerFindsWhatIsMissing(t *testing.T) {
	t.Parallel()
	crash := bounds{devices: 1, losses: 2, minutes: 4, crashes: 1, tokens: 3}
	for f, limits := range map[fault]bounds{
		"no lease":   {devices: 1, losses: 1, minutes: 2, overlap: 1, tokens: 3},
		"no saying":  crash,
		"no closing": crash,
	} {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			found := check(limits, f)
			t.Logf("%d worlds: %s", len(found.seen), found.problem)
			if found.problem == "" {
				t.Error("nothing was found")
			}
		})
	}
}
