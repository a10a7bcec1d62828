package await

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A failing is a test that is expected to fail.
type failing struct {
	testing.TB
	said string
}

func (f *failing) Helper() {}

func (f *failing) Fatal(args ...any) {
	f.said = fmt.Sprint(args...)
	runtime.Goexit()
}

// said is what a test fails with, or "", and after how long it ended.
func said(t *testing.T, test func(testing.TB)) (text string, after time.Duration) {
	f := &failing{TB: t}
	begun, ended := time.Now(), make(chan struct{})
	go func() {
		defer close(ended)
		test(f)
	}()
	<-ended
	return f.said, time.Since(begun)
}

func TestWaiting(t *testing.T) {
	t.Parallel()
	instead := func() string { return "two mails" }
	for _, c := range []struct {
		claim string
		test  func(testing.TB)
		said  string
		after time.Duration
	}{
		{"a value comes", func(t testing.TB) {
			c := make(chan int)
			go func() { time.Sleep(time.Second); c <- 7 }()
			if got := Value(t, c, "the answer"); got != 7 {
				t.Fatal(got)
			}
		}, "", time.Second},
		{"a channel is closed", func(t testing.TB) {
			c := make(chan int)
			close(c)
			Value(t, c, "the end")
		}, "", 0},
		{"no value comes", func(t testing.TB) { Value(t, make(chan int), "the mail") }, "waited 45s in vain for the mail", Patience},
		{"it says what there is instead", func(t testing.TB) { Value(t, make(chan int), "the mail", instead) }, "waited 45s in vain for the mail; instead: two mails", Patience},
		{"it becomes true", func(t testing.TB) {
			begun := time.Now()
			True(t, func() bool { return time.Since(begun) >= time.Minute/2 }, "half a minute")
		}, "", time.Minute / 2},
		{"it never does", func(t testing.TB) { True(t, func() bool { return false }, "peace", instead) }, "waited 45s in vain for peace; instead: two mails", Patience},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				text, after := said(t, c.test)
				if text != c.said || after < c.after || after > c.after+time.Second {
					t.Errorf("it said %q after %v, want %q after %v", text, after, c.said, c.after)
				}
			})
		})
	}
}

func TestAContextEndsByName(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := Context(t)
		<-ctx.Done()
		if err := context.Cause(ctx); !strings.Contains(err.Error(), "TestAContextEndsByName waited 45s in vain") {
			t.Error(err)
		}
	})
}
