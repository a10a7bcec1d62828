// Package await lets tests wait for what others do: generously, but not for ever,
// and with words for what did not come.
package await

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// Patience is how long a test waits. It only matters to tests that fail: it is long
// for a busy machine, and short enough for a package's tests to end in a minute.
const Patience = 45 * time.Second

// interval is between two looks at what tells nobody when it changes.
const interval = 10 * time.Millisecond

// Context ends after Patience, for calls that wait themselves. Their errors then say
// what they waited for.
func Context(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(context.Background(), Patience, fmt.Errorf("%s waited %v in vain", t.Name(), Patience))
	t.Cleanup(cancel)
	return ctx
}

// Value returns what a channel brings, which what describes, or the zero value when
// it is closed. It fails the test if nothing comes; instead, if given, says what
// there is.
func Value[T any](t testing.TB, c <-chan T, what string, instead ...func() string) T {
	t.Helper()
	timer := time.NewTimer(Patience)
	defer timer.Stop()
	select {
	case v := <-c:
		return v
	case <-timer.C:
		t.Fatal(inVain(what, instead))
		panic("not reached")
	}
}

// True returns when so holds, which what describes. It fails the test if it never
// does; instead, if given, says what there is.
func True(t testing.TB, so func() bool, what string, instead ...func() string) {
	t.Helper()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for end := time.Now().Add(Patience); !so(); <-ticker.C {
		if time.Now().After(end) {
			t.Fatal(inVain(what, instead))
		}
	}
}

func inVain(what string, instead []func() string) string {
	text := fmt.Sprintf("waited %v in vain for %s", Patience, what)
	for _, saw := range instead {
		text += "; instead: " + saw()
	}
	return text
}
