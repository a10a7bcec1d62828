package iotsql

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// A Version is a version of the rules engine that a statement is written for
// (developer guide, iot-rule-sql-version).
type Version string

// The versions. VBeta is evaluated as V2016: what AWS tries out there is not
// documented.
const (
	V2015 Version = "2015-10-08"
	V2016 Version = "2016-03-23"
	VBeta Version = "beta"
)

// CheckVersion returns an error that lists the versions if v is none of them.
func CheckVersion(v Version) error {
	switch v {
	case V2015, V2016, VBeta:
		return nil
	}
	return fmt.Errorf("no SQL version %q: there are %s, %s and %s", v, V2015, V2016, VBeta)
}

// MaxOutputBytes bounds a rule's output and every value on the way to it. It
// is far above the 128 KiB of an MQTT message.
const MaxOutputBytes = 1024 * 1024

// Errors of an evaluation.
var (
	// ErrPayload is wrapped by the error for a payload that is not JSON, or not a JSON
	// object, while the statement needs one.
	ErrPayload = errors.New("the payload is not a JSON object")
	// ErrNotAvailable is wrapped by the error for a function that calls another
	// AWS service and that Message.Services does not have.
	ErrNotAvailable = errors.New("not available here")
	// ErrTooMuchWork is wrapped by the error for an evaluation that takes too
	// long, such as nested queries over many elements in each other.
	ErrTooMuchWork = errors.New("the evaluation is too much work")
	// ErrOutputTooLarge is wrapped by the error for an output above
	// MaxOutputBytes.
	ErrOutputTooLarge = errors.New("the output is too large")
)

// A Message is what a rule is evaluated over. Eval reads it and keeps nothing
// of it but, in Result.Payload, the payload.
type Message struct {
	Topic   string
	Payload []byte
	// ClientID of the MQTT client that sent the message. Default: clientid()
	// is "n/a", as for a message that came another way.
	ClientID string
	// Principal is the certificate's thumbprint or the user's ID. Default:
	// principal() is Undefined.
	Principal string
	// SourceIP is the address that the message came from. Default: sourceip()
	// is Undefined.
	SourceIP string
	// AccountID of the rule's owner. Default: accountid() is "123456789012".
	AccountID string
	// TraceID is the message's UUID. Default: traceid() is Undefined.
	TraceID string
	// Time is what timestamp() tells. Default: now.
	Time time.Time
	// Services are the functions that call other services. Default: calling
	// one is an error that wraps ErrNotAvailable.
	Services Services
}

// Services are the functions that need more than the message and the clock,
// such as get_thing_shadow.
type Services interface {
	// Call calls a function, named in lower case, with its arguments as JSON;
	// an Undefined argument is nil, the payload of decode(*, 'proto', ...) a
	// String in base64. It returns JSON, or nil for Undefined. An
	// error ends the evaluation; one for a function that it does not have wraps
	// ErrNotAvailable.
	Call(function string, args [][]byte) ([]byte, error)
}

// A Rule is a compiled statement. It is safe for concurrent use.
type Rule struct {
	sql  string
	ver  Version
	stmt *statement
	envs sync.Pool // evaluations to be used again: most messages match no rule
}

// A Result is what a message makes of a rule.
type Result struct {
	// Fired reports whether the actions run: WHERE is the Boolean true or absent.
	Fired bool
	// Payload is what the actions get, nil if not Fired. It may share memory
	// with the message's payload. It is empty if the statement selects an
	// Undefined VALUE.
	Payload []byte
}

// Compile parses a statement. Its error is a *SyntaxError; only an unknown
// version is an error of another type.
func Compile(sql string, v Version) (*Rule, error) {
	if err := CheckVersion(v); err != nil {
		return nil, err
	}
	stmt, err := parse(sql, v)
	if err != nil {
		return nil, err
	}
	return &Rule{sql: sql, ver: v, stmt: stmt}, nil
}

// SQL returns the statement as it was written.
func (r *Rule) SQL() string { return r.sql }

// String returns the statement in one normal form, which compiles to the same
// rule.
func (r *Rule) String() string { return string(r.stmt.appendSQL(nil)) }

// Version returns the version that the statement is evaluated under.
func (r *Rule) Version() Version { return r.ver }

// Filter returns the topic filter of FROM. It is empty for a rule without one,
// which only Basic Ingest can trigger.
func (r *Rule) Filter() string { return r.stmt.query.from.filter }

// MatchesTopic reports whether a message on the topic triggers the rule.
func (r *Rule) MatchesTopic(topic string) bool { return MatchFilter(r.Filter(), topic) }

// Eval evaluates the rule over a message whatever its topic: which rules a
// topic triggers is the caller's to find, with MatchesTopic or an Index. WHERE
// is evaluated first. The error wraps ErrPayload, ErrNotAvailable,
// ErrOutputTooLarge, ErrTooMuchWork or what Services returned.
func (r *Rule) Eval(m *Message) (Result, error) {
	e, ok := r.envs.Get().(*env)
	if !ok {
		e = new(env)
	}
	*e = env{m: m, ver: r.ver, set: r.stmt.set, paths: r.stmt.paths}
	defer func() {
		*e = env{} // nothing of the message stays
		r.envs.Put(e)
	}()
	q := r.stmt.query
	if q.where != nil && !e.holds(q.where) {
		return Result{}, e.err
	}
	payload := e.output(q)
	if e.err != nil {
		return Result{}, e.err
	}
	return Result{Fired: true, Payload: payload}, nil
}
