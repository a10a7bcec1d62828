package outage

import (
	"fmt"
	"strings"
	"time"
)

// A Mute keeps mails about some devices back until it is over.
type Mute struct {
	// Devices is a client ID, or a prefix of some with * at the end.
	Devices string
	Until   time.Time
	// Reason in the words of whoever muted. Default: none.
	Reason string
}

// Matches reports whether the mute is about a device.
func (m Mute) Matches(device string) bool {
	if prefix, ok := strings.CutSuffix(m.Devices, "*"); ok {
		return strings.HasPrefix(device, prefix)
	}
	return m.Devices == device
}

// MutedUntil returns when the last mute of a device ends, and zero if there is none.
func MutedUntil(mutes []Mute, device string, now time.Time) time.Time {
	var until time.Time
	for _, m := range mutes {
		if m.Until.After(now) && m.Until.After(until) && m.Matches(device) {
			until = m.Until
		}
	}
	return until
}

// CheckDevice says what keeps a text from being a client ID.
func CheckDevice(device string) error {
	if !possible(device) {
		return fmt.Errorf("client ID %q: no client can have it; use 1 to 128 bytes that do not begin with $", device)
	}
	return nil
}

// CheckMuted says what keeps a text from naming devices to mute.
func CheckMuted(devices string) error {
	name := strings.TrimSuffix(devices, "*")
	switch {
	case devices == "":
		return fmt.Errorf(`devices "": give a client ID, or a prefix with * at the end`)
	case strings.Contains(name, "*"):
		return fmt.Errorf("devices %q: use * at the end only", devices)
	case name != "" && !possible(name):
		return fmt.Errorf("devices %q: no client can have this ID; use 1 to 128 bytes that do not begin with $", devices)
	}
	return nil
}
