package main

import (
	"bytes"
	"flag"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"lastwill/internal/cli"
	"lastwill/internal/outage"
)

func TestFlagsMayFollowTheDevice(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		rest []string
		json bool
	}{
		{[]string{"pump-7", "-json"}, []string{"pump-7"}, true},
		{[]string{"-json", "pump-7"}, []string{"pump-7"}, true},
		{[]string{"--", "-json"}, []string{"-json"}, false},
		{[]string{"-json", "--", "-x", "-y"}, []string{"-x", "-y"}, true},
		{[]string{"a", "-json", "b"}, []string{"a", "b"}, true},
		{nil, nil, false},
	} {
		flags := flag.NewFlagSet("lwt x", flag.ContinueOnError)
		asJSON := flags.Bool("json", false, "")
		rest, err := parseMixed(flags, c.args, io.Discard, "")
		if err != nil || !slices.Equal(rest, c.rest) || *asJSON != c.json {
			t.Errorf("%q: %q, json %t, %v", c.args, rest, *asJSON, err)
		}
	}
}

func FuzzParseDecision(f *testing.F) {
	f.Add(`{"time":"2026-11-28T14:05:24Z","level":"INFO","msg":"decision","did":"drop","why":"connected again","device":"pump-7","state":"waiting","since":"2026-11-28T14:02:11Z"}`)
	f.Add("START RequestId: 1 Version: $LATEST")
	f.Fuzz(func(t *testing.T, line string) {
		d, ok := parseDecision(line)
		if ok && (d.Device == "" || d.Did == "") {
			t.Errorf("%q became %+v", line, d)
		}
		if ok {
			var out bytes.Buffer
			printWhy(cli.Streams{Out: &out}, d.Device, time.Hour, []decision{d})
		}
	})
}

func TestWhyAnswersInASentence(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 28, 14, 5, 24, 0, time.UTC)
	for _, c := range []struct {
		claim string
		last  decision
		want  string
	}{
		{"a blip", decision{Did: "drop", Why: "connected again", State: "waiting"}, "No mail about pump-7: connected again."},
		{"a mail", decision{Did: "told", Time: at, State: "told"}, "The last mail about pump-7 was sent at 28 Nov 2026, 14:05:24 UTC."},
		{"waiting", decision{Did: "received", State: "waiting"}, "No mail about pump-7 yet: a will came, and the grace time is not over."},
		{"still out", decision{Did: "keep", Why: "still offline", State: "told"}, "People know about pump-7: still offline."},
		{"flapping", decision{Did: "keep", Why: "connected, but not yet for the grace time", State: "waiting"}, "No mail about pump-7 yet: connected, but not yet for the grace time."},
		{"muted", decision{Did: "muted", Why: "offline for the grace time; muted until 2026-11-28T16:00:00Z", State: "waiting"}, "No mail about pump-7: offline for the grace time; muted until 2026-11-28T16:00:00Z."},
	} {
		if got := verdictAbout("pump-7", c.last); got != c.want {
			t.Errorf("%s: %q, want %q", c.claim, got, c.want)
		}
	}
	var out bytes.Buffer
	printWhy(cli.Streams{Out: &out}, "pump-7", 24*time.Hour, nil)
	if !strings.HasPrefix(out.String(), "No mail about pump-7: no will of it came within the last 24h0m0s.\n") {
		t.Errorf("%s", out.String())
	}
}

func TestOfflineSaysWhatPeopleKnow(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 28, 14, 5, 24, 0, time.UTC)
	mutes := []outage.Mute{{Devices: "pump-*", Until: now.Add(time.Hour)}}
	for _, c := range []struct {
		claim string
		item  outage.Item
		mutes []outage.Mute
		want  string
	}{
		{"told", outage.Item{State: outage.Told}, nil, "told"},
		{"told, and muted since", outage.Item{State: outage.Told}, mutes, "told"},
		{"waiting", outage.Item{State: outage.Waiting, Due: now.Add(time.Minute)}, nil, "not told yet: the next look is at 14:06:24 UTC"},
		{"muted", outage.Item{State: outage.Waiting, Due: now}, mutes, "not told: muted until 28 Nov 2026, 15:05:24 UTC"},
		{"closing", outage.Item{State: outage.Closing}, nil, "back, about to be told"},
	} {
		c.item.Device, c.item.Since = "pump-7\x1b[2J", now
		if strings.HasPrefix(c.claim, "told") || c.claim == "muted" {
			c.item.Reason = "CONNECTION_LOST"
		}
		d := newOfflineDevice(c.item, c.mutes, now)
		if got := d.words(); got != c.want {
			t.Errorf("%s: %q, want %q", c.claim, got, c.want)
		}
		var out bytes.Buffer
		printOffline(cli.Streams{Out: &out}, []offlineDevice{d})
		if strings.Contains(out.String(), "\x1b") || !strings.Contains(out.String(), c.want) {
			t.Errorf("%s: %q", c.claim, out.String())
		}
	}
}
