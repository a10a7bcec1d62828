package outage

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"lastwill/internal/will"
)

// A Mail is what people and machines are told about all changes of a sweep.
type Mail struct {
	// Subject has fewer than 100 characters, none of them a control character (SNS API
	// reference, Publish).
	Subject string
	// Text is for people.
	Text string
	// Machine is versioned JSON for the protocols sqs and lambda.
	Machine string
	// Chat is for the protocol https: the custom notification of Amazon Q Developer in
	// chat applications.
	Chat string
	// Event is the value of the message attribute "event": offline, back, mixed, shared or degraded.
	Event string
}

// Limits of a mail.
const (
	maxSubject   = 99
	maxNames     = 20  // in the text
	maxDevices   = 100 // in the forms for machines
	maxTitle     = 250 // Amazon Q Developer in chat applications, "Custom notifications"
	maxChatText  = 8000
	maxForm      = 100_000 // of 262,144 bytes for all forms of a message (SNS API reference, Publish)
	machineForms = 1       // the version of the JSON for machines
)

// plain names need no quotes in a shell, and are not taken for flags.
var plain = regexp.MustCompile(`^[A-Za-z0-9:_][A-Za-z0-9:_-]{0,127}$`)

// Plain reports whether a client ID may stand in a command that people paste. A client ID
// is the claim of a stranger.
func Plain(device string) bool { return plain.MatchString(device) }

// Shown is a client ID for people, safe in a terminal and in a mail.
func Shown(device string) string { return shown(device, will.MaxClientIDBytes) }

// shown is a client ID for people: quoted, escaped and cut unless it is plain.
func shown(device string, limit int) string {
	if Plain(device) {
		return cut(device, limit)
	}
	inner := strconv.QuoteToASCII(device)
	return `"` + cut(inert.Replace(inner[1:len(inner)-1]), limit-2) + `"`
}

// inert escapes what mail and chat clients make links, mentions or markup of.
var inert = strings.NewReplacer("<", `\x3c`, ">", `\x3e`, "&", `\x26`, "@", `\x40`, "`", `\x60`, "*", `\x2a`, "//", `\x2f\x2f`)

func cut(s string, limit int) string {
	if utf8.RuneCountInString(s) <= limit {
		return s
	}
	return string([]rune(s)[:limit-3]) + "..."
}

// reasons in words (developer guide, "Lifecycle events").
var reasons = map[string]string{
	"AUTH_ERROR":                  "it could not be authenticated, or its policy or certificate was withdrawn",
	"CLIENT_ERROR":                "the device sent something that the broker does not take",
	"CONNECTION_LOST":             "the connection broke: network, power or a crash",
	"CUSTOMAUTH_TTL_EXPIRATION":   "the time of its custom authorization was over",
	"DUPLICATE_CLIENTID":          "another connection took its client ID",
	"FORBIDDEN_ACCESS":            "it did what its policy does not allow",
	"MQTT_KEEP_ALIVE_TIMEOUT":     "silent for 1.5 times its keep alive: power or network, most likely",
	"SERVER_ERROR":                "AWS IoT Core had an error",
	"SERVER_INITIATED_DISCONNECT": "AWS IoT Core ended the connection",
	"THROTTLED":                   "it exceeded a limit of AWS IoT Core",
	"WEBSOCKET_TTL_EXPIRATION":    "its WebSocket connection reached its longest time",
	LeftProperly:                  "it disconnected properly",
}

// Explain says a reason of GetConnection in words, and shows one that is not known as it came.
func Explain(reason string) string {
	words, known := reasons[reason]
	switch {
	case reason == "":
		return "AWS IoT Core gives no reason"
	case known:
		return words + " (" + reason + ")"
	}
	return shown(reason, 60)
}

func clock(t, now time.Time) string {
	t, now = t.UTC(), now.UTC()
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format("15:04 UTC")
	}
	return t.Format("2 Jan 15:04 UTC")
}

func moment(t time.Time) string { return t.UTC().Format("2 Jan 2006, 15:04:05 UTC") }

// lasting is a duration in the units that people use.
func lasting(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

func number(n int) string {
	s := strconv.Itoa(n)
	for at := len(s) - 3; at > 0; at -= 3 {
		s = s[:at] + "," + s[at:]
	}
	return s
}

// letter is a mail while it is written.
type letter struct {
	environment        string
	grace              time.Duration
	now                time.Time
	lost, back, shared []Change
	text               strings.Builder
}

func newMail(environment string, grace time.Duration, changes []Change, now time.Time) Mail {
	l := letter{environment: environment, grace: grace, now: now}
	for _, c := range changes {
		switch c.Verdict {
		case Say:
			l.lost = append(l.lost, c)
		case Back:
			l.back = append(l.back, c)
		default:
			l.shared = append(l.shared, c)
		}
	}
	slices.SortStableFunc(l.lost, func(a, b Change) int { return a.Item.Since.Compare(b.Item.Since) })
	subject := cut(l.prefix()+l.headline(), maxSubject)
	l.writeLost()
	l.writeBack()
	l.writeShared()
	return l.mail(subject, slices.Concat(l.lost, l.back, l.shared))
}

func (l *letter) prefix() string {
	if l.environment == "" {
		return ""
	}
	return "[" + cut(l.environment, 20) + "] "
}

func (l *letter) headline() string {
	var parts []string
	if n := len(l.lost); n > 0 {
		parts = append(parts, l.lostHeadline())
	}
	name := func(c Change) string { return shown(c.Item.Device, 48) }
	switch n := len(l.back); {
	case n == 1 && len(parts) == 0:
		c := l.back[0]
		switch c.Answer.Connection {
		case NotFound:
			parts = append(parts, name(c)+" was not lost: no such connection")
		case Disconnected:
			parts = append(parts, name(c)+" was back and disconnected properly")
		default:
			parts = append(parts, name(c)+" is back after "+lasting(c.Answer.Since.Sub(c.Item.Since)))
		}
	case n == 1:
		parts = append(parts, name(l.back[0])+" back")
	case n > 1 && len(parts) == 0:
		parts = append(parts, number(n)+" devices are back")
	case n > 1:
		parts = append(parts, number(n)+" back")
	}
	switch n := len(l.shared); {
	case n == 1 && len(parts) == 0:
		parts = append(parts, name(l.shared[0])+": two devices may share this client ID")
	case n > 0:
		parts = append(parts, number(n)+" client "+plural(n, "ID", "IDs")+" may be shared")
	}
	return strings.Join(parts, ", ")
}

func (l *letter) lostHeadline() string {
	first := l.lost[0].Item
	unchecked := l.unchecked()
	n := len(l.lost)
	switch {
	case n == 1 && unchecked == 1:
		return shown(first.Device, 48) + " was lost at " + clock(first.Since, l.now) + ", not checked"
	case n == 1:
		return shown(first.Device, 48) + " is offline since " + clock(first.Since, l.now)
	case unchecked == n:
		return number(n) + " devices were lost since " + clock(first.Since, l.now) + ", not checked"
	}
	return number(n) + " devices offline since " + clock(first.Since, l.now)
}

func (l *letter) unchecked() (n int) {
	for _, c := range l.lost {
		if c.Item.Unchecked {
			n++
		}
	}
	return n
}

func plural(n int, one, more string) string {
	if n == 1 {
		return one
	}
	return more
}

func (l *letter) printf(format string, args ...any) { fmt.Fprintf(&l.text, format, args...) }

// flag is what commands end with.
func (l *letter) flag() string {
	if l.environment == "" {
		return ""
	}
	return " -environment " + l.environment
}

func (l *letter) writeLost() {
	switch len(l.lost) {
	case 0:
	case 1:
		l.writeOneLost(l.lost[0].Item)
	default:
		l.writeManyLost()
	}
}

func (l *letter) writeOneLost(i Item) {
	name := shown(i.Device, 128)
	if i.Unchecked {
		l.printf("%s lost its connection on %s. It was not checked whether it is back: AWS IoT Core does not answer.\n", name, moment(i.Since))
	} else {
		l.printf("%s lost its connection on %s. Looked again at %s: still offline.\n", name, moment(i.Since), l.now.UTC().Format(time.TimeOnly))
		l.printf("Why     %s\n", Explain(i.Reason))
	}
	if Plain(i.Device) {
		l.printf("Look    lwt status %s%s\n", i.Device, l.flag())
		l.printf("Mute    lwt mute %s -for 2h%s\n", i.Device, l.flag())
	} else {
		l.printf("Look    lwt offline%s\n", l.flag())
		l.printf("        The name is not a usual one: do not paste it into a shell.\n")
	}
	l.printf("One more mail follows when it has been back for %s.\n", lasting(l.grace))
}

func (l *letter) writeManyLost() {
	l.printf("%s devices are offline, the first since %s. Looked again at %s.\n", number(len(l.lost)), moment(l.lost[0].Item.Since), l.now.UTC().Format(time.TimeOnly))
	if n := l.unchecked(); n > 0 {
		l.printf("%s of them were not checked: AWS IoT Core does not answer.\n", number(n))
	}
	count := map[string]int{}
	for _, c := range l.lost {
		if !c.Item.Unchecked {
			count[c.Item.Reason]++
		}
	}
	byCount := slices.SortedFunc(maps.Keys(count), func(a, b string) int {
		return cmp.Or(cmp.Compare(count[b], count[a]), cmp.Compare(a, b))
	})
	for n, reason := range byCount[:min(len(byCount), maxNames)] {
		l.printf("%-7s %s: %s\n", map[bool]string{true: "Why"}[n == 0], number(count[reason]), Explain(reason))
	}
	l.printf("Look    lwt offline%s\n", l.flag())
	prefix := commonPrefix(l.lost)
	if len(prefix) > 2 && Plain(prefix) {
		l.printf("Mute    lwt mute '%s*' -for 2h%s\n", prefix, l.flag())
		l.printf("Names   all begin with %s\n", prefix)
	}
	l.writeNames(l.lost)
	l.printf("One more mail follows when some have been back for %s.\n", lasting(l.grace))
}

func (l *letter) writeNames(changes []Change) {
	for _, c := range changes[:min(len(changes), maxNames)] {
		l.printf("        %s\n", shown(c.Item.Device, 128))
	}
	if more := len(changes) - maxNames; more > 0 {
		l.printf("        and %s more\n", number(more))
	}
}

func commonPrefix(changes []Change) string {
	prefix := changes[0].Item.Device
	for _, c := range changes {
		for !strings.HasPrefix(c.Item.Device, prefix) {
			prefix = prefix[:len(prefix)-1]
		}
	}
	return prefix
}

func (l *letter) gap() {
	if l.text.Len() > 0 {
		l.printf("\n")
	}
}

func (l *letter) writeBack() {
	if len(l.back) == 0 {
		return
	}
	l.gap()
	if len(l.back) > 1 {
		l.printf("%s devices are back:\n", number(len(l.back)))
		l.writeNames(l.back)
		return
	}
	c := l.back[0]
	name := shown(c.Item.Device, 128)
	switch c.Answer.Connection {
	case NotFound:
		l.printf("%s was not lost: AWS IoT Core knows no connection with this client ID. Somebody sent a will in its name.\n", name)
	case Disconnected:
		l.printf("%s came back after its loss on %s, and disconnected properly on %s.\n", name, moment(c.Item.Since), moment(c.Answer.Since))
	default:
		l.printf("%s is back since %s. It was offline for %s, since %s.\n", name, moment(c.Answer.Since), lasting(c.Answer.Since.Sub(c.Item.Since)), moment(c.Item.Since))
	}
}

func (l *letter) writeShared() {
	if len(l.shared) == 0 {
		return
	}
	l.gap()
	for _, c := range l.shared[:min(len(l.shared), maxNames)] {
		l.printf("%s lost its connection %d times in %s and was connected again each time.\n", shown(c.Item.Device, 128), c.Item.Losses, lasting(SharedWindow))
	}
	if more := len(l.shared) - maxNames; more > 0 {
		l.printf("So did %s more.\n", number(more))
	}
	l.printf("Two devices with one client ID do this: each connection ends the other's. Give every device a client ID of its own.\n" +
		"A single device whose network comes and goes does it too. This is said once.\n")
}

// form is the JSON for machines.
type form struct {
	Version     int          `json:"version"`
	Event       string       `json:"event"`
	ID          string       `json:"id,omitempty"`
	Device      string       `json:"device,omitempty"`
	Environment string       `json:"environment"`
	Since       string       `json:"since,omitempty"`
	Reason      string       `json:"reason,omitempty"`
	Total       int          `json:"total"`
	Devices     []formDevice `json:"devices"`
}

type formDevice struct {
	Device  string `json:"device"`
	Event   string `json:"event"`
	Since   string `json:"since"`
	Reason  string `json:"reason,omitempty"`
	Checked bool   `json:"checked"`
}

func (l *letter) event() string {
	kinds := 0
	event := ""
	for _, k := range []struct {
		changes []Change
		event   string
	}{{l.lost, "offline"}, {l.back, "back"}, {l.shared, "shared"}} {
		if len(k.changes) > 0 {
			kinds++
			event = k.event
		}
	}
	if kinds > 1 {
		return "mixed"
	}
	return event
}

// reason is why a device was lost, or how it is back.
func reason(c Change) string {
	switch {
	case c.Verdict != Back:
		return c.Item.Reason
	case c.Answer.Connection == NotFound:
		return NoConnection
	}
	return c.Answer.Reason
}

func (l *letter) mail(subject string, changes []Change) Mail {
	first := changes[0].Item
	f := form{
		Version: machineForms, Event: l.event(), Environment: l.environment, Since: first.Since.UTC().Format(time.RFC3339),
		Reason: reason(changes[0]), Total: len(changes), Devices: []formDevice{},
	}
	if len(changes) == 1 {
		f.Device, f.ID = first.Device, first.Device
		if l.environment != "" {
			f.ID = l.environment + "/" + first.Device
		}
	}
	for _, c := range changes[:min(len(changes), maxDevices)] {
		f.Devices = append(f.Devices, formDevice{
			Device: c.Item.Device, Event: map[Verdict]string{Say: "offline", Back: "back", Share: "shared"}[c.Verdict],
			Since: c.Item.Since.UTC().Format(time.RFC3339), Reason: reason(c), Checked: !c.Item.Unchecked,
		})
	}
	return finish(subject, l.text.String(), f)
}

func finish(subject, text string, f form) Mail {
	machine := toJSON(f)
	// Twice in one message, and quoted once more there.
	for len(toJSON(machine)) > maxForm && len(f.Devices) > 0 {
		f.Devices = f.Devices[:len(f.Devices)/2]
		machine = toJSON(f)
	}
	type content struct {
		TextType    string `json:"textType"`
		Title       string `json:"title"`
		Description string `json:"description"`
	}
	type metadata struct {
		ThreadID          string            `json:"threadId,omitempty"`
		Summary           string            `json:"summary"`
		EventType         string            `json:"eventType"`
		AdditionalContext map[string]string `json:"additionalContext"`
	}
	context := map[string]string{
		"version": strconv.Itoa(f.Version), "event": f.Event, "id": f.ID, "device": f.Device,
		"environment": f.Environment, "since": f.Since, "reason": f.Reason, "total": strconv.Itoa(f.Total),
	}
	maps.DeleteFunc(context, func(_, value string) bool { return value == "" })
	chat := toJSON(struct {
		Version  string   `json:"version"`
		Source   string   `json:"source"`
		Content  content  `json:"content"`
		Metadata metadata `json:"metadata"`
	}{
		"1.0", "custom",
		content{"client-markdown", cut(subject, maxTitle), "```\n" + cut(text, maxChatText-8) + "\n```"},
		metadata{f.ID, subject, f.Event, context},
	})
	return Mail{Subject: subject, Text: text, Machine: machine, Chat: chat, Event: f.Event}
}

// degradedMail is all that can be said without the table.
func degradedMail(environment, first string, total int, now time.Time) Mail {
	l := letter{environment: environment, now: now}
	what := number(total) + " devices were lost, not checked"
	if total == 1 {
		what = shown(first, 48) + " was lost, not checked"
	}
	l.printf("%s: the table of outages does not answer, so nobody knows who is back already.\n", strings.TrimSuffix(what, ", not checked"))
	l.printf("Their wills stay in the queue. Until the table answers, such a mail follows every minute while there are some.\n")
	l.printf("Look    the log of the function that sent this mail, and the alarms of its stack\n")
	return finish(cut(l.prefix()+what, maxSubject), l.text.String(),
		form{Version: machineForms, Event: "degraded", Environment: environment, Total: total, Devices: []formDevice{}})
}

func toJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings, numbers and structs of them always marshal
	}
	return string(b)
}
