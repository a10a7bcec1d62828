package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"lastwill/internal/cli"
	"lastwill/internal/localaws/iot"
	"lastwill/internal/localaws/mail"
)

// facts are what a demo observed, as -json prints them.
type facts struct {
	Passed bool `json:"passed"`
	cli.Failure
	Steps    []stepFact `json:"steps"`
	Timeline []moment   `json:"timeline"`
	Mail     *mailFact  `json:"mail,omitempty"`
	// Leftovers are what the destroyed stack left behind.
	Leftovers []string `json:"leftovers"`
}

type stepFact struct {
	Name         string  `json:"name"`
	OK           bool    `json:"ok"`
	Detail       string  `json:"detail,omitempty"`
	Milliseconds float64 `json:"milliseconds"`
}

// A moment of the timeline; milliseconds count from the close of the socket.
type moment struct {
	Event        string  `json:"event"`
	Where        string  `json:"where"`
	Payload      string  `json:"payload,omitempty"`
	Milliseconds float64 `json:"milliseconds"`
}

type mailFact struct {
	From    string `json:"from"`
	To      string `json:"to"`
	Subject string `json:"subject"`
	Body    string `json:"body"`
}

// A story tells a demo as it happens: to a person line by line, to a script as
// one JSON object at the end.
type story struct {
	out         io.Writer
	asJSON      bool
	color       bool
	facts       facts
	closed      time.Time
	mailArrived time.Time
}

func newStory(out io.Writer, asJSON bool) *story {
	s := &story{out: out, asJSON: asJSON, color: isTerminal(out) && os.Getenv("NO_COLOR") == ""}
	s.facts.Steps, s.facts.Timeline, s.facts.Leftovers = []stepFact{}, []moment{}, []string{}
	s.printf("%s\n\n", s.bold("lastwill demo: a device dies on this machine, and somebody gets an e-mail"))
	return s
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (s *story) printf(format string, args ...any) {
	if !s.asJSON {
		fmt.Fprintf(s.out, format, args...)
	}
}

func (s *story) bold(text string) string  { return s.paint("1", text) }
func (s *story) dim(text string) string   { return s.paint("2", text) }
func (s *story) green(text string) string { return s.paint("32", text) }
func (s *story) red(text string) string   { return s.paint("31", text) }

func (s *story) paint(code, text string) string {
	if !s.color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// introductions say what is about to happen, where that takes time or a word.
var introductions = map[string]string{
	"synthesize": "Synthesizing the CDK app. The first time this builds the CDK's packages: some minutes.",
	"deploy":     "The very commands of a deployment to AWS, against the local endpoint.",
	"vanish":     "The device's socket is closed, without a DISCONNECT.",
}

func (s *story) begin(step string) {
	if text, ok := introductions[step]; ok {
		s.printf("%s\n", s.dim("  "+text))
	}
}

func (s *story) done(step, detail string, took time.Duration, err error) {
	s.facts.Steps = append(s.facts.Steps, stepFact{step, err == nil, detail, milliseconds(took)})
	if err != nil {
		s.printf("%s  %s\n", s.red(fmt.Sprintf("  %-11s", step)), "did not happen")
		return
	}
	s.printf("%s  %s %s\n", s.green(fmt.Sprintf("  %-11s", step)), detail, s.dim("("+rounded(took)+")"))
}

func (s *story) closedAt(t time.Time) {
	s.closed = t
	s.printf("\n  %12s\n", "ms")
}

// happened adds a line to the timeline.
func (s *story) happened(event string, at time.Time, where string, payload []byte) {
	ms := milliseconds(at.Sub(s.closed))
	s.facts.Timeline = append(s.facts.Timeline, moment{event, where, string(payload), ms})
	s.printf("  %12.3f  %s  %s\n", ms, s.bold(fmt.Sprintf("%-17s", event)), where)
	if payload != nil {
		s.printf("  %12s  %-17s  %s\n", "", "", s.dim(string(payload)))
	}
}

func (s *story) showMail(m mail.Message) {
	s.facts.Mail = &mailFact{m.From.String(), m.To.Address, m.Subject, m.Body}
	s.printf("\n  From: %s\n  To: %s\n  Subject: %s\n\n", m.From.String(), m.To.Address, s.bold(m.Subject))
	for line := range strings.Lines(strings.TrimSpace(m.Body)) {
		s.printf("%s\n", strings.TrimRight("  "+s.dim("|")+" "+line, " \r\n"))
	}
	s.printf("\n")
}

// kept tells where the stack can be seen that is left up.
func (s *story) kept(address string) {
	s.printf("\n  %s  %s\n  %s\n\n", s.bold("The page:"), address, s.dim("Ctrl-C destroys the stack and ends."))
}

// end closes the story and returns the command's error.
func (s *story) end(err error) error {
	s.facts.Passed = err == nil
	s.facts.Failure = cli.FailureOf(err)
	if s.asJSON {
		return cli.Told(errors.Join(err, printJSON(s.out, s.facts)))
	}
	if err == nil {
		s.printf("\n  %s  All of it was observed. Next: README.md, Deploy to AWS.\n", s.green("passed"))
	}
	return err
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func rounded(d time.Duration) string {
	if d < time.Second {
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}

// complaints are what the broker and the rules engine refused, for an error.
func complaints(events []iot.Event) string {
	var b strings.Builder
	for _, e := range events {
		if e.Kind == iot.Refused || e.Kind == iot.NotMatched || e.Kind == iot.ActionFailed {
			fmt.Fprintf(&b, "; %s: %s %s", e.Kind, e.Rule, e.Detail)
		}
	}
	return b.String()
}
