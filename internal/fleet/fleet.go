// Package fleet runs many devices in one process: they connect one after the
// other at a rate, stand for a time, and end in several ways, at once or spread
// at random.
package fleet

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"lastwill/internal/device"
)

const (
	// dialers is how many devices connect at the same time.
	dialers = 256
	// progressInterval is how often Progress is told.
	progressInterval = time.Second
)

// Share is a part of the devices that ends in a way.
type Share struct {
	End device.End
	// Fraction of the devices, 0 to 1.
	Fraction float64
}

// Config is what a fleet does.
type Config struct {
	// Size is the number of devices. Required.
	Size int
	// Device returns the configuration of a device, 0 to Size-1; each has a client
	// ID of its own, and Kill where a share ends so. Required.
	Device func(i int) device.Config
	// Rate is how many devices connect in a second. Required.
	Rate float64
	// Announce makes each device send its connected message.
	Announce bool
	// Shares end in their ways; all other devices disconnect.
	Shares []Share
	// After is how long all devices stand when the last has connected.
	After time.Duration
	// Over spreads the ends at random over a time. Default: all end at once.
	Over time.Duration
	// Seed of what is random: which device ends how, and when.
	Seed uint64
	// Progress is told how things stand, every second. Default: nobody is told.
	Progress func(Report)
}

// Report is how things stand, or stood at the end.
type Report struct {
	Devices   int `json:"devices"`
	Connected int `json:"connected"`
	// ConnectSeconds is from the first CONNECT to the last CONNACK.
	ConnectSeconds float64 `json:"connectSeconds"`
	// Refused are the devices that could not connect, by the reason.
	Refused map[device.Reason]Failures `json:"refused,omitempty"`
	// Lost are those whose connection ended before its time, or otherwise than told.
	Lost map[device.Reason]Failures `json:"lost,omitempty"`
	// Ended are those that ended as told.
	Ended map[device.End]int `json:"ended"`
	// WillsExpected is how many wills the broker has to publish.
	WillsExpected int `json:"willsExpected"`
	// FirstEnd and LastEnd are when the first and the last device ended. One that fell
	// silent ended with its last packet.
	FirstEnd time.Time `json:"firstEnd,omitzero"`
	LastEnd  time.Time `json:"lastEnd,omitzero"`
	// Interrupted tells that the devices disconnected before their time.
	Interrupted bool `json:"interrupted,omitempty"`
}

// Failures are those of one reason.
type Failures struct {
	Count int `json:"count"`
	// Example is the first, in words.
	Example string `json:"example"`
	hint    error
}

// Hint carries what can be done about the example.
func (f Failures) Hint() error { return f.hint }

// OK reports whether all devices connected and ended as told.
func (r Report) OK() bool { return len(r.Refused)+len(r.Lost) == 0 }

// fleet is a Config at work.
type fleet struct {
	Config
	devices []*device.Device // nil for one that did not connect

	mu     sync.Mutex
	report Report
}

// Run runs a fleet until all its devices have ended. When ctx ends, they
// disconnect.
func Run(ctx context.Context, cfg Config) Report {
	f := &fleet{Config: cfg, devices: make([]*device.Device, cfg.Size), report: Report{
		Devices: cfg.Size, Refused: map[device.Reason]Failures{}, Lost: map[device.Reason]Failures{}, Ended: map[device.End]int{},
	}}
	stop := f.tellProgress()
	defer stop()
	f.connect(ctx)
	pause(ctx, f.After)
	f.end(ctx)
	return f.now()
}

func (f *fleet) tellProgress() (stop func()) {
	if f.Progress == nil {
		return func() {}
	}
	done := make(chan struct{})
	var telling sync.WaitGroup
	telling.Go(func() {
		ticker := time.NewTicker(progressInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				f.Progress(f.now())
			case <-done:
				return
			}
		}
	})
	return func() { close(done); telling.Wait() }
}

// now is a copy of the report.
func (f *fleet) now() Report {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.report
	r.Refused, r.Lost, r.Ended = clone(r.Refused), clone(r.Lost), clone(r.Ended)
	return r
}

func clone[K comparable, V any](m map[K]V) map[K]V {
	out := make(map[K]V, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

// pause waits for a time, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// connect connects the devices, each at its turn.
func (f *fleet) connect(ctx context.Context) {
	began := time.Now()
	free := make(chan struct{}, dialers)
	var connecting sync.WaitGroup
	for i := range f.Size {
		pause(ctx, time.Until(began.Add(time.Duration(float64(i)/f.Rate*float64(time.Second)))))
		free <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		connecting.Go(func() {
			defer func() { <-free }()
			f.devices[i] = f.connectOne(ctx, i)
		})
	}
	connecting.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.report.ConnectSeconds = time.Since(began).Seconds()
}

func (f *fleet) connectOne(ctx context.Context, i int) *device.Device {
	d, err := device.Connect(ctx, f.Device(i))
	if err == nil && f.Announce {
		if err = d.Announce(ctx); err != nil {
			err = errors.Join(err, d.Disconnect())
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		if ctx.Err() == nil {
			fails(f.report.Refused, err)
		}
		return nil
	}
	f.report.Connected++
	return d
}

func fails(by map[device.Reason]Failures, err error) {
	reason := device.Reason("other")
	if known, ok := errors.AsType[*device.Error](err); ok {
		reason = known.Reason
	}
	f, ok := by[reason]
	if !ok {
		f.Example, f.hint = err.Error(), err
	}
	f.Count++
	by[reason] = f
}

// ending is a device's end and its time.
type ending struct {
	device int
	end    device.End
	at     time.Duration
}

// plan chooses which of the connected devices end how and when; it is the same
// for the same seed and the same devices.
func (f *fleet) plan() []ending {
	random := rand.New(rand.NewPCG(f.Seed, 0)) //nolint:gosec // it must repeat itself
	var list []ending
	for i, d := range f.devices {
		if d != nil {
			list = append(list, ending{device: i, end: device.Disconnect})
		}
	}
	random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	next, total := 0, 0.0
	for _, s := range f.Shares {
		total += s.Fraction
		for ; next < min(len(list), int(total*float64(len(list))+0.5)); next++ {
			list[next].end = s.End
		}
	}
	if f.Over > 0 {
		for i := range list {
			list[i].at = time.Duration(random.Int64N(int64(f.Over)))
		}
		slices.SortFunc(list, func(a, b ending) int { return int(a.at - b.at) })
	}
	return list
}

// end ends the devices at their times and returns when nothing is left of them.
func (f *fleet) end(ctx context.Context) {
	began := time.Now()
	var ending sync.WaitGroup
	for _, e := range f.plan() {
		pause(ctx, time.Until(began.Add(e.at)))
		d := f.devices[e.device]
		if ctx.Err() != nil {
			e.end = device.Disconnect
		}
		ending.Go(func() {
			at, err := f.endOne(ctx, d, e)
			f.mu.Lock()
			defer f.mu.Unlock()
			f.report.Interrupted = ctx.Err() != nil
			if err != nil {
				fails(f.report.Lost, err)
				f.report.WillsExpected++ // it did not disconnect
				return
			}
			f.report.Ended[e.end]++
			if e.end.LeavesWill() {
				f.report.WillsExpected++
			}
			if f.report.FirstEnd.IsZero() || at.Before(f.report.FirstEnd) {
				f.report.FirstEnd = at
			}
			if at.After(f.report.LastEnd) {
				f.report.LastEnd = at
			}
		})
	}
	ending.Wait()
}

// endOne ends a device and returns when that was.
func (f *fleet) endOne(ctx context.Context, d *device.Device, e ending) (time.Time, error) {
	ended, err := d.End(ctx, e.end)
	switch {
	case e.end == device.Kill && err != nil:
		return ended.At, errors.Join(err, d.Disconnect())
	case err != nil:
		return ended.At, err
	}
	switch e.end {
	case device.Freeze:
		if err := d.AwaitEnd(ctx, ended.Due); err != nil {
			_, closed := d.Drop()
			if ctx.Err() != nil { // nobody waits any longer
				err = nil
			}
			return ended.At, errors.Join(err, closed)
		}
	case device.Takeover:
		return ended.At, errors.Join(d.AwaitEnd(ctx, ended.Due), ended.Second.Disconnect())
	case device.Kill:
		return ended.At, d.AwaitEnd(ctx, ended.Due)
	}
	return ended.At, nil
}
