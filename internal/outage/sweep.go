package outage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"lastwill/internal/will"
)

// Timeout is how long a sweep may take. What runs it ends it then.
const Timeout = 55 * time.Second

// Parts of the timeout. The rest is for the mail and what is stored around it.
const (
	receiving = 15 * time.Second
	asking    = 35 * time.Second
)

// lease is how long a sweep keeps others out: longer than the longest run, and over
// before the next one begins, a minute after this one, so that a run that died holds
// up none but those of its own minute.
const lease = 58 * time.Second

// maxLooks bounds one sweep, so that it can store and tell all that it finds.
const maxLooks = 10_000

// A Message of the queue.
type Message struct {
	// Receipt acknowledges the message.
	Receipt string
	Body    []byte
	// Sent is when it came into the queue.
	Sent time.Time
}

// Queue has the events. Messages may come more than once, late and in any order.
type Queue interface {
	// Receive returns some messages; none if there are none now.
	Receive(ctx context.Context) ([]Message, error)
	// Delete acknowledges messages. What is not acknowledged comes again.
	Delete(ctx context.Context, messages []Message) error
}

// Errors of a Table.
var (
	// ErrLocked: another sweep has the lease.
	ErrLocked = errors.New("another sweep is running")
	// ErrChanged: the item is not there in the revision that the write expects.
	ErrChanged = errors.New("the item has changed")
)

// A Write stores or deletes an item if the table has it in the revision Item.Rev; with
// revision 0, if the table does not have it. What is stored has the next revision.
type Write struct {
	Item   Item
	Delete bool
}

// Table keeps items, lease and mutes. Reads are consistent.
type Table interface {
	// Lock takes the lease until a time, and returns the bucket of mails.
	// ErrLocked if the lease of another sweep has not ended.
	Lock(ctx context.Context, now, until time.Time) (Bucket, error)
	// Spend stores the bucket, and the lease until a time. ErrLocked if the lease is not
	// this sweep's.
	Spend(ctx context.Context, b Bucket, until time.Time) error
	// Unlock stores the bucket and ends the lease.
	Unlock(ctx context.Context, b Bucket) error
	// Due returns the items that must be looked at. If they are more than a sweep has
	// time for, it may leave some out, but not the same ones each time.
	Due(ctx context.Context, now time.Time) ([]Item, error)
	// Get returns an item; none is no error.
	Get(ctx context.Context, device string) (i Item, found bool, err error)
	// Write returns an error or nil for each write, in their order.
	Write(ctx context.Context, writes []Write) []error
	// Mutes returns all mutes, also those that are over.
	Mutes(ctx context.Context) ([]Mute, error)
}

// Sweeper finds out about outages and tells people. All fields but Observe are required.
type Sweeper struct {
	// Grace is how long a device must be offline before people hear of it, and
	// connected before it counts as back.
	Grace time.Duration
	// Environment is named in mails. Empty: the one without a name.
	Environment string
	Clock       func() time.Time
	Queue       Queue
	Table       Table
	// Ask answers about each of the devices, in their order. It gives up at a time.
	Ask func(ctx context.Context, devices []string, until time.Time) []Answer
	// Tell publishes a mail.
	Tell func(ctx context.Context, m Mail) error
	// Observe gets each decision. Default: nobody does.
	Observe func(d Decision)
}

// A Decision is what a sweep did about a device, or about all if it names none.
type Decision struct {
	Device string
	// Did is a word for machines: received, repeated, refused, keep, drop, muted, told,
	// told-back, told-shared, locked, degraded.
	Did string
	// Why is for people.
	Why   string
	State State
	Since time.Time
	// Reason is GetConnection's disconnectReason.
	Reason string
}

func (s *Sweeper) observe(d Decision) {
	if s.Observe != nil {
		s.Observe(d)
	}
}

// Sweep takes in what is in the queue, looks at the devices that are due, and tells
// people in one mail what has changed.
func (s *Sweeper) Sweep(ctx context.Context) error {
	start := s.Clock()
	bucket, err := s.Table.Lock(ctx, start, start.Add(lease))
	if errors.Is(err, ErrLocked) {
		s.observe(Decision{Did: "locked", Why: err.Error()})
		return nil
	}
	if err != nil {
		return errors.Join(fmt.Errorf("lease: %w", err), s.withoutTable(ctx, start))
	}
	bucket = bucket.fill(start)
	err = s.receive(ctx, start)
	err = errors.Join(err, s.look(ctx, start, &bucket))
	return errors.Join(err, s.Table.Unlock(ctx, bucket))
}

// withoutTable tells people how many wills there are, once a sweep, and leaves them
// in the queue.
func (s *Sweeper) withoutTable(ctx context.Context, start time.Time) error {
	devices := map[string]bool{}
	first := ""
	for s.Clock().Sub(start) < receiving {
		messages, err := s.Queue.Receive(ctx)
		if err != nil {
			return fmt.Errorf("queue: %w", err)
		}
		if len(messages) == 0 {
			break
		}
		for _, m := range messages {
			if e, err := ParseEvent(m.Body); err == nil && e.Device != "" && !will.IsOwnClient(e.Device) {
				devices[e.Device] = true
				first = cmp.Or(first, e.Device)
			}
		}
	}
	if len(devices) == 0 {
		return nil
	}
	s.observe(Decision{Did: "degraded", Why: fmt.Sprintf("the table does not answer: %d devices are told in one mail", len(devices))})
	return s.Tell(ctx, degradedMail(s.Environment, first, len(devices), s.Clock()))
}

// receive puts an item into the table for each device that a will names.
func (s *Sweeper) receive(ctx context.Context, start time.Time) error {
	for s.Clock().Sub(start) < receiving {
		messages, err := s.Queue.Receive(ctx)
		if err != nil {
			return fmt.Errorf("queue: %w", err)
		}
		if len(messages) == 0 {
			return nil
		}
		if err := s.note(ctx, messages); err != nil {
			return err
		}
	}
	return nil
}

// arrival is all that a batch of messages says about one device.
type arrival struct {
	item     Item
	messages []Message
}

func (s *Sweeper) note(ctx context.Context, messages []Message) error {
	arrivals, done := s.group(messages)
	writes := make([]Write, len(arrivals))
	for n, a := range arrivals {
		writes[n].Item = a.item
	}
	var problems []error
	for n, err := range s.Table.Write(ctx, writes) {
		a := arrivals[n]
		did, why := "received", "a will came: look at "+a.item.Due.UTC().Format(time.TimeOnly)
		if errors.Is(err, ErrChanged) {
			did, why = "repeated", "there is an item already"
			err = s.count(ctx, a.item)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("table: item of %.200q: %w", a.item.Device, err))
			continue // the messages come again
		}
		s.observe(Decision{Device: a.item.Device, Did: did, Why: why, State: Waiting, Since: a.item.Since})
		done = append(done, a.messages...)
	}
	if len(done) > 0 {
		if err := s.Queue.Delete(ctx, done); err != nil {
			problems = append(problems, fmt.Errorf("queue: %w", err))
		}
	}
	return errors.Join(problems...)
}

// group also returns the messages that nothing follows from. What cannot be read stays
// in the queue, for its dead-letter queue.
func (s *Sweeper) group(messages []Message) (arrivals []arrival, done []Message) {
	now := s.Clock()
	index := map[string]int{}
	for _, m := range messages {
		e, err := ParseEvent(m.Body)
		switch {
		case err != nil:
			s.observe(Decision{Did: "refused", Why: err.Error()})
			continue
		case e.Device == "":
			s.observe(Decision{Did: "refused", Why: fmt.Sprintf("no client can have this ID: %.300q", m.Body)})
			done = append(done, m)
			continue
		case will.IsOwnClient(e.Device):
			s.observe(Decision{Device: e.Device, Did: "refused", Why: "the client of a check: nobody needs to know"})
			done = append(done, m)
			continue
		}
		if e.Time.IsZero() {
			e.Time = m.Sent
		}
		if e.Time.IsZero() || e.Time.After(now) {
			e.Time = now
		}
		n, ok := index[e.Device]
		if !ok {
			n = len(arrivals)
			index[e.Device] = n
			arrivals = append(arrivals, arrival{item: Item{Device: e.Device, State: Waiting, Since: e.Time, First: e.Time}})
		}
		a := &arrivals[n]
		a.item.Losses++
		a.messages = append(a.messages, m)
		if e.Time.Before(a.item.Since) {
			a.item.Since, a.item.First = e.Time, e.Time
		}
		a.item.Due = a.item.Since.Add(s.Grace)
	}
	return arrivals, done
}

// count adds losses to an item that is there, as long as they matter: to find client IDs
// that two devices share.
func (s *Sweeper) count(ctx context.Context, more Item) error {
	i, found, err := s.Table.Get(ctx, more.Device)
	if err != nil || !found || i.State != Waiting || i.Shared {
		return err
	}
	if more.First.Sub(i.First) > SharedWindow {
		i.First, i.Losses = more.First, 0
	}
	i.Losses += more.Losses
	return s.Table.Write(ctx, []Write{{Item: i}})[0]
}

// A Change is what people are told about one device.
type Change struct {
	Item    Item
	Answer  Answer
	Verdict Verdict
	why     string
}

// look asks about the devices that are due, stores what follows, and tells people.
func (s *Sweeper) look(ctx context.Context, start time.Time, bucket *Bucket) error {
	if bucket.Tokens == 0 {
		s.observe(Decision{Did: "keep", Why: "no token for a mail until " + bucket.Gained.Add(TokenEvery).UTC().Format(time.TimeOnly)})
		return nil
	}
	items, err := s.Table.Due(ctx, s.Clock())
	if err != nil {
		return fmt.Errorf("table: %w", err)
	}
	if items = urgent(items); len(items) == 0 {
		return nil
	}
	devices := make([]string, len(items))
	for n, i := range items {
		devices[n] = i.Device
	}
	answers := s.Ask(ctx, devices, start.Add(asking))
	forgiveThrottling(answers)
	quiet, changes := s.decide(items, answers, s.Clock())
	if len(changes) > 0 {
		var muted []Write
		if changes, muted, err = s.mute(ctx, changes); err != nil {
			return err
		}
		quiet = append(quiet, muted...)
	}
	err = s.store(ctx, quiet)
	if len(changes) > 0 {
		err = errors.Join(err, s.tell(ctx, start, changes, bucket))
	}
	return err
}

// urgent sorts what another sweep has left undone first, then what nobody was told.
func urgent(items []Item) []Item {
	rank := func(i Item) int {
		switch i.State {
		case Saying, Closing:
			return 0
		case Waiting:
			return 1
		}
		return 2
	}
	slices.SortFunc(items, func(a, b Item) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), a.Due.Compare(b.Due), cmp.Compare(a.Device, b.Device))
	})
	return items[:min(len(items), maxLooks)]
}

// forgiveThrottling lets the rest wait for the next sweep if some questions were
// answered: then there is progress, and no reason to tell people of unchecked losses.
func forgiveThrottling(answers []Answer) {
	answered := slices.ContainsFunc(answers, func(a Answer) bool {
		return a.Connection == Connected || a.Connection == Disconnected || a.Connection == NotFound
	})
	for n := range answers {
		if answered && answers[n].Connection == Throttled {
			answers[n].Connection = Unasked
		}
	}
}

func (s *Sweeper) decide(items []Item, answers []Answer, now time.Time) (quiet []Write, changes []Change) {
	for n, i := range items {
		next, v, why := judge(i, answers[n], now, s.Grace)
		switch v {
		case Keep, Drop:
			s.observe(Decision{Device: i.Device, Did: string(v), Why: why, State: i.State, Since: next.Since, Reason: next.Reason})
			if v == Drop || next != i {
				quiet = append(quiet, Write{Item: next, Delete: v == Drop})
			}
		default:
			changes = append(changes, Change{next, answers[n], v, why})
		}
	}
	return quiet, changes
}

// mute takes out the changes of muted devices. They are looked at again when
// the mute ends.
func (s *Sweeper) mute(ctx context.Context, changes []Change) (loud []Change, muted []Write, err error) {
	mutes, err := s.Table.Mutes(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("table: mutes: %w", err)
	}
	now := s.Clock()
	for _, c := range changes {
		until := MutedUntil(mutes, c.Item.Device, now)
		if until.IsZero() {
			loud = append(loud, c)
			continue
		}
		i := c.Item
		i.Due = now.Add(min(until.Sub(now), MaxLook))
		if i.State == Waiting {
			i.Unchecked = false
		}
		s.observe(Decision{Device: i.Device, Did: "muted", Why: c.why + "; muted until " + until.UTC().Format(time.RFC3339), State: i.State, Since: i.Since, Reason: i.Reason})
		muted = append(muted, Write{Item: i})
	}
	return loud, muted, nil
}

// store leaves alone what has changed meanwhile: the next sweep looks again.
func (s *Sweeper) store(ctx context.Context, writes []Write) error {
	if len(writes) == 0 {
		return nil
	}
	var problems []error
	for n, err := range s.Table.Write(ctx, writes) {
		if err != nil {
			problems = append(problems, fmt.Errorf("table: item of %.200q: %w", writes[n].Item.Device, err))
		}
	}
	return errors.Join(problems...)
}

// tell stores what it is about to say, says it, and stores that it was said.
func (s *Sweeper) tell(ctx context.Context, start time.Time, changes []Change, bucket *Bucket) error {
	bucket.Tokens--
	if err := s.Table.Spend(ctx, *bucket, start.Add(lease)); err != nil {
		return fmt.Errorf("table: mails: %w", err)
	}
	changes, problem := s.announce(ctx, changes)
	if len(changes) == 0 {
		return problem
	}
	now := s.Clock()
	mail := newMail(s.Environment, s.Grace, changes, now)
	if err := s.Tell(ctx, mail); err != nil {
		return errors.Join(problem, fmt.Errorf("publish %q: %w", mail.Subject, err))
	}
	var marks []Write
	for _, c := range changes {
		i, did := c.Item, "told"
		switch c.Verdict {
		case Say:
			i.State, i.Due = Told, nextLook(i, now)
		case Back:
			did = "told-back"
		default:
			i.Shared, did = true, "told-shared"
		}
		s.observe(Decision{Device: i.Device, Did: did, Why: c.why, State: i.State, Since: i.Since, Reason: i.Reason})
		marks = append(marks, Write{Item: i, Delete: c.Verdict == Back})
	}
	return errors.Join(problem, s.store(ctx, marks))
}

// announce stores saying and closing, and returns the changes for which that worked.
func (s *Sweeper) announce(ctx context.Context, changes []Change) ([]Change, error) {
	var writes []Write
	var announced []int
	for n := range changes {
		i := &changes[n].Item
		switch changes[n].Verdict {
		case Say:
			i.State = Saying
		case Back:
			i.State = Closing
		default:
			continue
		}
		writes = append(writes, Write{Item: *i})
		announced = append(announced, n)
	}
	var problems []error
	failed := map[int]bool{}
	if len(writes) > 0 {
		for w, err := range s.Table.Write(ctx, writes) {
			n := announced[w]
			changes[n].Item.Rev++
			if err != nil {
				failed[n] = true
				problems = append(problems, fmt.Errorf("table: item of %.200q: %w", changes[n].Item.Device, err))
			}
		}
	}
	var ready []Change
	for n, c := range changes {
		if !failed[n] {
			ready = append(ready, c)
		}
	}
	return ready, errors.Join(problems...)
}
