package iotsql

import (
	"fmt"
	"strings"
)

// An Explanation says why a rule fires or does not.
type Explanation struct {
	// Fired is as in Result.
	Fired bool
	// Topic says why the message's topic does not trigger the rule; empty if it
	// does.
	Topic string
	// Reasons are the parts of WHERE that decided against the message.
	Reasons []Reason
	// Held are the parts of WHERE that decided for it; none if WHERE is absent or
	// not true.
	Held []Reason
}

// A Reason is a part of WHERE that decided.
type Reason struct {
	// Offset and Length are its place in the statement, in bytes.
	Offset, Length int
	// SQL is the part, Value what it is: true, false, Undefined or a value that is
	// no Boolean.
	SQL, Value string
	// Inputs are what it was computed from, in order.
	Inputs []Input
}

// An Input is an attribute, variable or function call and its value.
type Input struct{ SQL, Value string }

// String is the explanation as text, one line for each reason.
func (x Explanation) String() string {
	var lines []string
	if x.Topic != "" {
		lines = append(lines, x.Topic)
	}
	for _, r := range x.Reasons {
		lines = append(lines, r.String())
	}
	return strings.Join(lines, "\n")
}

// String is one line: the part, its value, and what it was computed from.
func (r Reason) String() string {
	s := fmt.Sprintf("%s is %s", r.SQL, r.Value)
	for i, in := range r.Inputs {
		s += [...]string{": ", ", "}[min(i, 1)] + in.SQL + " is " + in.Value
	}
	return oneLine(s)
}

// Explain evaluates the topic filter and WHERE again and says which parts of
// them kept the rule from firing. A Basic Ingest topic, $aws/rules/..., is taken
// to name this rule. Its errors are those of Eval.
func (r *Rule) Explain(m *Message) (Explanation, error) {
	var x Explanation
	switch {
	case r.MatchesTopic(m.Topic), strings.HasPrefix(m.Topic, basicIngest):
	case r.Filter() == "":
		x.Topic = "without FROM only Basic Ingest triggers the rule"
	default:
		x.Topic = fmt.Sprintf("the topic %s does not match %s", m.Topic, quoteSQL(r.Filter()))
	}
	e := &env{m: m, ver: r.ver, set: r.stmt.set, paths: r.stmt.paths}
	where := r.stmt.query.where
	if where != nil {
		if e.holds(where) {
			x.Held = e.reasons(where, true)
		} else {
			x.Reasons = e.reasons(where, false)
		}
	}
	x.Fired = x.Topic == "" && x.Reasons == nil
	return x, e.err
}

// reasons takes a condition apart that is true, or is not: the sides of an AND
// or OR count that are the same.
func (e *env) reasons(x expr, held bool) []Reason {
	if b, ok := x.(*binary); ok && (b.op == "AND" || b.op == "OR") {
		var list []Reason
		for _, side := range []expr{b.l, b.r} {
			if v, ok := toBoolean(side.eval(e)); (ok && v) == held {
				list = append(list, e.reasons(side, held)...)
			}
		}
		return list
	}
	at := x.place()
	r := Reason{Offset: at.start, Length: at.end - at.start, SQL: sqlOf(x), Value: shown(x.eval(e))}
	for _, in := range e.inputs(x) {
		if in.SQL != r.SQL {
			r.Inputs = append(r.Inputs, in)
		}
	}
	return []Reason{r}
}

// inputs are the values in an expression that depend on the message. Those
// inside a nested SELECT have no single value, and * is what its reader has
// before them; with encode it need not even be JSON.
func (e *env) inputs(x expr) []Input {
	switch x := x.(type) {
	case *star:
		return nil
	case *path, *member, *variable:
		return []Input{{sqlOf(x), shown(x.eval(e))}}
	case *call:
		in := Input{sqlOf(x), shown(x.eval(e))}
		var list []Input
		for _, arg := range x.args {
			list = append(list, e.inputs(arg)...)
		}
		return append(list, in)
	case *exists:
		return e.inputs(x.sub.query.from.over)
	case *subquery:
		return e.inputs(x.query.from.over)
	}
	var list []Input
	for _, child := range children(x) {
		list = append(list, e.inputs(child)...)
	}
	return list
}

func sqlOf(x expr) string { return string(x.appendSQL(nil)) }

// maxShown bounds how much of a value a text for people shows.
const maxShown = 200

// shown is a value as people read it.
func shown(v value) string {
	if v.kind == undefinedKind {
		return v.kind.String()
	}
	s := string(appendJSON(nil, v))
	if len(s) > maxShown {
		s = strings.ToValidUTF8(s[:maxShown], "") + "..."
	}
	return s
}

// Tree shows the parsed statement with the type of each expression, one node
// on a line.
func (r *Rule) Tree() string {
	t := &tree{}
	t.line(0, "statement, SQL version %s", r.ver)
	for _, a := range r.stmt.set {
		t.line(1, "SET @%s", a.name)
		t.expr(2, a.x)
	}
	t.query(1, r.stmt.query)
	return t.b.String()
}

type tree struct{ b strings.Builder }

func (t *tree) line(depth int, format string, args ...any) {
	fmt.Fprintf(&t.b, strings.Repeat("  ", depth)+format+"\n", args...)
}

func (t *tree) query(depth int, q *query) {
	if q.value {
		t.line(depth, "SELECT VALUE")
	} else {
		t.line(depth, "SELECT")
	}
	for _, c := range q.items {
		if name := c.key(); name != "" && !q.value {
			t.line(depth+1, "column %s", name)
			t.expr(depth+2, c.expr)
			continue
		}
		t.expr(depth+1, c.expr)
	}
	switch {
	case q.from.filter != "":
		t.line(depth, "FROM topic filter %s", quoteSQL(q.from.filter))
	case q.from.over != nil && q.from.alias != "":
		t.line(depth, "FROM, each element named %s", q.from.alias)
		t.expr(depth+1, q.from.over)
	case q.from.over != nil:
		t.line(depth, "FROM")
		t.expr(depth+1, q.from.over)
	default:
		t.line(depth, "no FROM: only Basic Ingest triggers this rule")
	}
	if q.where != nil {
		t.line(depth, "WHERE")
		t.expr(depth+1, q.where)
	}
}

// key is what the column is called in the output; empty if its members are
// merged into it.
func (c column) key() string {
	switch {
	case c.merges():
		return ""
	case c.alias != nil:
		return strings.Join(c.alias, ".")
	}
	return c.name
}

func (t *tree) expr(depth int, x expr) {
	if sub, ok := x.(*subquery); ok {
		t.line(depth, "nested query: Array of results")
		t.query(depth+1, sub.query)
		return
	}
	t.line(depth, "%s: %s", nodeName(x), kindsOf(x))
	for _, child := range children(x) {
		t.expr(depth+1, child)
	}
}

func nodeName(x expr) string {
	switch x := x.(type) {
	case *literal:
		return "literal " + x.sql
	case *path:
		return "attribute " + sqlOf(x)
	case *member:
		return "attribute ." + strings.Join(x.names, ".") + " of"
	case *star:
		return "* the whole payload"
	case *spread:
		return ".* all attributes of"
	case *variable:
		return "variable @" + x.name
	case *unary:
		return "operator " + x.op
	case *binary:
		return "operator " + x.op
	case *call:
		return "function " + x.fn.name
	case *cast:
		return "cast to " + x.typ
	case *caseOf:
		return "CASE"
	case *exists:
		return "EXISTS"
	case *arrayLiteral:
		return "array literal"
	case *objectLiteral:
		return "object literal with keys " + strings.Join(x.keys, ", ")
	}
	return sqlOf(x)
}
