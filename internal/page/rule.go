package page

import (
	"errors"
	"net/http"
	"time"
	"unicode/utf16"

	"lastwill/internal/iotsql"
)

// A mark is a place in a statement, in UTF-16 code units as JavaScript counts.
type mark struct {
	Start int    `json:"start"`
	End   int    `json:"end"`
	Text  string `json:"text"`
}

// markAt is the mark of a place in bytes.
func markAt(sql string, offset, length int, text string) mark {
	start := units(sql[:offset])
	return mark{start, start + units(sql[offset:offset+length]), text}
}

func units(s string) (n int) {
	for _, r := range s {
		n += max(1, utf16.RuneLen(r))
	}
	return n
}

// A part of WHERE that decided.
type clause struct {
	mark
	Value  string         `json:"value"`
	Inputs []iotsql.Input `json:"inputs"`
}

// A verdict is what a statement says to a message.
type verdict struct {
	SQL     string   `json:"sql"`
	Version string   `json:"version"`
	Fired   bool     `json:"fired"`
	Topic   string   `json:"topic,omitempty"` // why the topic does not match
	Against []clause `json:"against"`
	For     []clause `json:"for"`
	Error   string   `json:"error,omitempty"` // of the evaluation
}

// judge explains what a rule makes of a message.
func judge(rule *iotsql.Rule, m *iotsql.Message) verdict {
	v := verdict{SQL: rule.SQL(), Version: string(rule.Version())}
	x, err := rule.Explain(m)
	if err != nil {
		v.Error = err.Error()
		return v
	}
	v.Fired, v.Topic = x.Fired, x.Topic
	v.Against, v.For = parts(v.SQL, x.Reasons), parts(v.SQL, x.Held)
	return v
}

func parts(sql string, reasons []iotsql.Reason) []clause {
	out := []clause{}
	for _, r := range reasons {
		p := clause{markAt(sql, r.Offset, r.Length, r.SQL), r.Value, r.Inputs}
		if p.Inputs == nil {
			p.Inputs = []iotsql.Input{}
		}
		out = append(out, p)
	}
	return out
}

// A trial is what somebody tries on a rule.
type trial struct {
	SQL, Version, Topic, Payload, Client string
}

// tryRule evaluates a statement over a message with the evaluator of the rules
// engine, and says where the fault is if it does not compile.
func (p *Page) tryRule(w http.ResponseWriter, r *http.Request) {
	var in trial
	if !decode(w, r, &in) {
		return
	}
	var out struct {
		Fault    *mark   `json:"fault,omitempty"`
		Warnings []mark  `json:"warnings"`
		Verdict  verdict `json:"verdict"`
		Output   string  `json:"output"`
	}
	out.Warnings = []mark{}
	rule, err := iotsql.Compile(in.SQL, iotsql.Version(in.Version))
	if fault, ok := errors.AsType[*iotsql.SyntaxError](err); ok {
		m := markAt(in.SQL, fault.Offset, fault.Length, fault.Error())
		out.Fault = &m
		answer(w, out, nil)
		return
	}
	if err != nil {
		answer(w, nil, err)
		return
	}
	for _, problem := range rule.Check() {
		out.Warnings = append(out.Warnings, markAt(in.SQL, problem.Offset, problem.Length, problem.String()))
	}
	m := &iotsql.Message{Topic: in.Topic, Payload: []byte(in.Payload), ClientID: in.Client, Time: time.Now()}
	out.Verdict = judge(rule, m)
	if out.Verdict.Fired {
		result, err := rule.Eval(m)
		if err != nil {
			out.Verdict.Fired, out.Verdict.Error = false, err.Error()
		}
		out.Output, _ = text(result.Payload)
	}
	answer(w, out, nil)
}
