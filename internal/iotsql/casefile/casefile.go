// Package casefile reads and runs files of cases for topic rules: statement,
// message, and what must come of it. `lwt rule test` runs users' files, the
// conformance tests run the reference's.
//
// A file is lines of "field: value". Indented lines continue a value, # begins
// a line of comment. The field "case" begins a case and names what it claims;
// fields before the first case, and those after a line "---", hold for the
// cases that follow. The fields:
//
//	case            what the case claims. Required.
//	sql             the statement. Required.
//	version         its SQL version. Default: 2016-03-23.
//	topic           the message's topic. Required.
//	payload         the message's payload. Default: empty.
//	payload base64  the same, for bytes that are no text.
//	clientid        the client's ID. Default: clientid() is "n/a".
//	principal       the client's principal. Default: Undefined.
//	sourceip        where the message came from. Default: Undefined.
//	traceid         the message's trace ID. Default: Undefined.
//	timestamp       milliseconds since 1970. Default: now.
//	source          the page that the case is from. Default: none.
//	want            what the actions get, as JSON: white space and the order of
//	                keys do not count, the digits of numbers do. Or one of:
//	                "no match" (the actions do not run), "nothing" (they run
//	                with an empty payload), "text ..." (no JSON but this),
//	                "error ..." (the statement or the payload is refused, with
//	                this in the message). Required.
package casefile

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"strconv"
	"strings"
	"time"

	"lastwill/internal/iotsql"
)

// A Case is one case of a file.
type Case struct {
	// Name is what the case claims, Line where it begins.
	Name string
	Line int

	fields map[string]string
}

var fieldNames = []string{
	"case", "sql", "version", "topic", "payload", "payload base64", "clientid",
	"principal", "sourceip", "traceid", "timestamp", "source", "want",
}

const (
	separator = "---"
	maxLine   = 1024 * 1024
)

// Parse reads a file. Its errors name the line.
func Parse(r io.Reader) ([]Case, error) {
	p := &parser{shared: map[string]string{}}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		if err := p.line(n, lines.Text()); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("cannot read on: %w", err)
	}
	if len(p.cases) == 0 {
		return nil, errors.New("there is no case in it: a case begins with a line case: WHAT IT CLAIMS")
	}
	for _, c := range p.cases {
		for _, required := range []string{"sql", "topic", "want"} {
			if c.fields[required] == "" {
				return nil, fmt.Errorf("line %d: the case %q has no %s", c.Line, c.Name, required)
			}
		}
	}
	return p.cases, nil
}

type parser struct {
	cases  []Case
	shared map[string]string // of the cases that follow
	inCase bool
	last   string // the field that an indented line continues
}

func (p *parser) line(n int, text string) error {
	switch {
	case strings.TrimSpace(text) == "" || text[0] == '#':
		return nil
	case text == separator:
		p.shared, p.inCase, p.last = map[string]string{}, false, ""
		return nil
	case text[0] == ' ' || text[0] == '\t':
		if p.last == "" {
			return errors.New("an indented line continues a value, but there is none")
		}
		p.target()[p.last] += "\n" + strings.TrimSpace(text)
		return nil
	}
	name, value, found := strings.Cut(text, ":")
	value = strings.TrimSpace(value)
	if !found || !known(name) {
		return fmt.Errorf("expected FIELD: VALUE, found %q; the fields are %s", text, strings.Join(fieldNames, ", "))
	}
	if name == "case" {
		p.cases = append(p.cases, Case{value, n, maps.Clone(p.shared)})
		p.inCase, p.last = true, ""
		return nil
	}
	p.target()[name] = value
	p.last = name
	return nil
}

func known(name string) bool {
	for _, f := range fieldNames {
		if f == name {
			return true
		}
	}
	return false
}

// target is where fields go: the current case or what following cases share.
func (p *parser) target() map[string]string {
	if p.inCase {
		return p.cases[len(p.cases)-1].fields
	}
	return p.shared
}

// Source is the page that the case is from.
func (c Case) Source() string { return c.fields["source"] }

// SQL is the case's statement.
func (c Case) SQL() string { return c.fields["sql"] }

// Version is the version that the case's statement is for.
func (c Case) Version() iotsql.Version {
	if v := c.fields["version"]; v != "" {
		return iotsql.Version(v)
	}
	return iotsql.V2016
}

// Message is the case's message. Its error is for a field that cannot be read.
func (c Case) Message() (*iotsql.Message, error) {
	m := &iotsql.Message{
		Topic:     c.fields["topic"],
		Payload:   []byte(c.fields["payload"]),
		ClientID:  c.fields["clientid"],
		Principal: c.fields["principal"],
		SourceIP:  c.fields["sourceip"],
		TraceID:   c.fields["traceid"],
	}
	if text := c.fields["payload base64"]; text != "" {
		payload, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("payload base64 %q: %w", text, err)
		}
		m.Payload = payload
	}
	if text := c.fields["timestamp"]; text != "" {
		ms, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("timestamp %q is no number of milliseconds", text)
		}
		m.Time = time.UnixMilli(ms)
	}
	return m, nil
}

// Run runs a case. It returns nil if the rule does what the case wants,
// otherwise an error that says what it does instead.
func (c Case) Run() error {
	m, err := c.Message()
	if err != nil {
		return err
	}
	want := c.fields["want"]
	got, err := c.eval(m)
	wantedError, wantsError := strings.CutPrefix(want, "error ")
	switch {
	case wantsError && err == nil:
		return fmt.Errorf("want an error with %q, got %s", wantedError, got)
	case wantsError && !strings.Contains(err.Error(), wantedError):
		return fmt.Errorf("want an error with %q, got: %w", wantedError, err)
	case wantsError:
		return nil
	case err != nil:
		return fmt.Errorf("want %s, got an error: %w", want, err)
	}
	return compare(want, got)
}

// An outcome is what a rule made of a message.
type outcome struct {
	fired   bool
	payload []byte
	reason  string
}

func (o outcome) String() string {
	switch {
	case !o.fired:
		return "no match: " + o.reason
	case len(o.payload) == 0:
		return "nothing"
	}
	return string(o.payload)
}

func (c Case) eval(m *iotsql.Message) (outcome, error) {
	rule, err := iotsql.Compile(c.SQL(), c.Version())
	if err != nil {
		return outcome{}, err
	}
	why, err := rule.Explain(m)
	if err != nil || !why.Fired {
		return outcome{reason: why.String()}, err
	}
	result, err := rule.Eval(m)
	if err == nil && !result.Fired {
		err = errors.New("no reason is found why it does not fire")
	}
	return outcome{fired: true, payload: result.Payload}, err
}

func compare(want string, got outcome) error {
	text, isText := strings.CutPrefix(want, "text ")
	same := false
	switch {
	case want == "no match" || !got.fired:
		same = want == "no match" && !got.fired
	case want == "nothing":
		same = len(got.payload) == 0
	case isText:
		same = text == string(got.payload)
	default:
		wanted, err := readJSON([]byte(want))
		if err != nil {
			return fmt.Errorf("want %s is neither JSON nor no match, nothing, text ... or error ...: %w", want, err)
		}
		value, err := readJSON(got.payload)
		same = err == nil && reflect.DeepEqual(wanted, value)
	}
	if same {
		return nil
	}
	return fmt.Errorf("want %s, got %s", want, got)
}

// readJSON reads one JSON text and keeps the digits of numbers.
func readJSON(b []byte) (value any, err error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&value); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more than one JSON text")
	}
	return value, nil
}
