package fleet

import (
	"slices"
	"testing"
	"time"

	"lastwill/internal/device"
)

// fleetOf is a fleet whose devices have connected, except for some.
func fleetOf(size int, cfg Config, without ...int) *fleet {
	f := &fleet{Config: cfg, devices: make([]*device.Device, size)}
	for i := range f.devices {
		if !slices.Contains(without, i) {
			f.devices[i] = &device.Device{}
		}
	}
	return f
}

func TestShares(t *testing.T) {
	t.Parallel()
	shares := []Share{{device.Drop, 0.5}, {device.Freeze, 0.25}}
	counts := map[device.End]int{}
	for _, e := range fleetOf(103, Config{Shares: shares}, 0, 1, 2).plan() {
		if e.device < 3 {
			t.Errorf("device %d did not connect and has an end", e.device)
		}
		counts[e.end]++
	}
	if counts[device.Drop] != 50 || counts[device.Freeze] != 25 || counts[device.Disconnect] != 25 {
		t.Errorf("got %v", counts)
	}
	thirds := []Share{{device.Drop, 1.0 / 3}, {device.Reset, 1.0 / 3}, {device.Kill, 1.0 / 3}}
	for _, e := range fleetOf(100, Config{Shares: thirds}).plan() {
		if e.end == device.Disconnect {
			t.Error("three thirds leave a device over")
		}
	}
}

func TestSeed(t *testing.T) {
	t.Parallel()
	plan := func(seed uint64) []ending {
		return fleetOf(100, Config{Shares: []Share{{device.Drop, 0.5}}, Over: time.Minute, Seed: seed}).plan()
	}
	if !slices.Equal(plan(1), plan(1)) {
		t.Error("the same seed gives another plan")
	}
	if slices.Equal(plan(1), plan(2)) {
		t.Error("another seed gives the same plan")
	}
	last := time.Duration(0)
	for _, e := range plan(1) {
		if e.at < last || e.at >= time.Minute {
			t.Errorf("%s comes after %s", e.at, last)
		}
		last = e.at
	}
}
