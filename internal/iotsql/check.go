package iotsql

import (
	"fmt"
	"slices"
	"strings"
)

// A Problem is what a static check finds in a statement that compiles but does
// not do what its author can have meant.
type Problem struct {
	// SQL is the whole statement.
	SQL string
	// Offset and Length are the place in bytes, Line and Column count from 1;
	// Column counts characters.
	Offset, Length, Line, Column int
	// Msg says what is wrong.
	Msg string
	// Warning tells that AWS may make of the statement what its author means, but
	// this package does not or nobody knows.
	Warning bool
}

// String is one line: place and message.
func (p Problem) String() string {
	return fmt.Sprintf("line %d, column %d: %s", p.Line, p.Column, p.Msg)
}

// Snippet shows the line of the statement with carets under the place.
func (p Problem) Snippet() string { return snippet(p.SQL, p.Offset, p.Length) }

// Check looks for mistakes that need no message to be seen: calls with a wrong
// number of arguments, comparisons whose result is always Undefined or the
// same, patterns that do not compile, a WHERE that is never true, a topic filter
// that no topic matches. With
// the topics of the rule's republish actions, which may hold substitution
// templates, it also finds rules that trigger themselves. Problems come in the
// order of the statement.
func (r *Rule) Check(republish ...string) []Problem {
	c := &linter{rule: r}
	for _, a := range r.stmt.set {
		c.expr(a.x)
	}
	c.query(r.stmt.query)
	c.filter(r.stmt.query.from)
	for _, topic := range republish {
		c.republish(topic)
	}
	slices.SortStableFunc(c.found, func(a, b Problem) int { return a.Offset - b.Offset })
	return c.found
}

// A linter collects the problems of a rule.
type linter struct {
	rule   *Rule
	found  []Problem
	dynamo int // calls of get_dynamodb
}

func (c *linter) add(at span, format string, args ...any) {
	line, column := position(c.rule.sql, at.start)
	c.found = append(c.found, Problem{
		SQL: c.rule.sql, Offset: at.start, Length: at.end - at.start, Line: line, Column: column,
		Msg: oneLine(fmt.Sprintf(format, args...)),
	})
}

// warn adds a problem that may be none on AWS.
func (c *linter) warn(at span, format string, args ...any) {
	c.add(at, format, args...)
	c.found[len(c.found)-1].Warning = true
}

func (c *linter) query(q *query) {
	for _, item := range q.items {
		c.expr(item.expr)
		if item.alias == nil && !q.value && unnamed(item.expr) {
			c.warn(item.expr.place(), "this column has no name: give it one with AS")
		}
		if item.alias != nil && q.value {
			c.warn(item.expr.place(), "SELECT VALUE gives the value itself: its name after AS is not used")
		}
	}
	if q.from.over != nil {
		c.expr(q.from.over)
	}
	if q.where == nil {
		return
	}
	c.expr(q.where)
	if kindsOf(q.where)&setOf(booleanKind) == 0 {
		c.add(q.where.place(), "WHERE is never true: this is %s, not a Boolean", kindsOf(q.where))
	}
}

func unnamed(x expr) bool {
	switch x.(type) {
	case *path, *member, *star, *spread, *variable, *call, *cast:
		return false
	}
	return true
}

// expr checks a node and all below it.
func (c *linter) expr(x expr) {
	if sub, ok := x.(*subquery); ok {
		c.query(sub.query)
		return
	}
	for _, child := range children(x) {
		c.expr(child)
	}
	switch x := x.(type) {
	case *binary:
		c.binary(x)
	case *unary:
		c.unary(x)
	case *call:
		c.call(x)
	}
}

// children are the nodes right below one.
func children(x expr) []expr {
	switch x := x.(type) {
	case *member:
		return []expr{x.of}
	case *spread:
		return []expr{x.of}
	case *unary:
		return []expr{x.x}
	case *binary:
		return []expr{x.l, x.r}
	case *call:
		return x.args
	case *cast:
		return []expr{x.x}
	case *exists:
		return []expr{x.sub}
	case *arrayLiteral:
		return x.items
	case *objectLiteral:
		return x.items
	case *caseOf:
		list := []expr{x.of}
		for _, w := range x.whens {
			list = append(list, w.match, w.then)
		}
		if x.orElse != nil {
			list = append(list, x.orElse)
		}
		return list
	}
	return nil
}

func (c *linter) call(x *call) {
	n := len(x.args)
	for _, i := range x.fn.fixed {
		if i < 0 {
			i += n
		}
		if i < 0 || i >= n {
			continue
		}
		if v, ok := x.args[i].(*variable); ok {
			c.add(v.span, "%s takes no variable here", x.name)
		}
	}
	if x.tooNew {
		c.warn(x.span, "%s came with SQL version %s: under %s it gives null", x.name, V2016, V2015)
	}
	switch fn := x.fn; {
	case n < fn.min:
		c.add(x.span, "%s takes %s, not %d: the result is always Undefined", x.name, fn.arity(), n)
	case fn.max >= 0 && n > fn.max:
		c.add(x.args[fn.max].place(), "%s takes %s, not %d: the result is always Undefined", x.name, fn.arity(), n)
	case fn.name == "get_dynamodb":
		if c.dynamo++; c.dynamo > 1 {
			c.add(x.span, "get_dynamodb is called a second time: AWS then ends the rule without an action")
		}
	case strings.HasPrefix(fn.name, "regexp_"):
		c.pattern(x.args[1])
	}
}

// pattern finds a regular expression that is wrong, or Java's alone.
func (c *linter) pattern(x expr) {
	l, ok := x.(*literal)
	if !ok || l.value.kind != stringKind {
		return
	}
	if _, err := compilePattern(l.value.text); err != nil {
		c.warn(l.span, "%v; the result is Undefined here, AWS takes the patterns of Java", err)
	}
}

func (f *function) arity() string {
	plural := func(n int) string {
		if n == 1 {
			return "1 argument"
		}
		return fmt.Sprintf("%d arguments", n)
	}
	switch {
	case f.max < 0:
		return "at least " + plural(f.min)
	case f.min == f.max:
		return plural(f.min)
	}
	return fmt.Sprintf("%d to %s", f.min, plural(f.max))
}

func (c *linter) unary(x *unary) {
	if x.op == "NOT" && !canBeBoolean(x.x) {
		c.add(x.span, "always Undefined: NOT takes a Boolean, this is %s", kindsOf(x.x))
	}
}

func (c *linter) binary(x *binary) {
	switch x.op {
	case "AND", "OR":
		c.operands(x, canBeBoolean, "a Boolean")
	case "<", "<=", ">", ">=", "-", "*", "/", "%":
		c.operands(x, canBeNumber, "numbers")
	case "+":
		if (kindsOf(x.l)|kindsOf(x.r))&setOf(stringKind) == 0 {
			c.operands(x, canBeNumber, "numbers or a String")
		}
	case "IN":
		if kindsOf(x.r)&setOf(arrayKind) == 0 {
			c.add(x.r.place(), "always Undefined: IN looks into an Array, this is %s", kindsOf(x.r))
		}
	case "=", "<>":
		c.equality(x)
	}
}

func (c *linter) operands(x *binary, fits func(expr) bool, wanted string) {
	for _, side := range []expr{x.l, x.r} {
		if !fits(side) {
			c.add(side.place(), "always Undefined: %s takes %s, this is %s", x.op, wanted, described(side))
		}
	}
}

func (c *linter) equality(x *binary) {
	l, r := kindsOf(x.l), kindsOf(x.r)
	for _, side := range []expr{x.l, x.r} {
		if kindsOf(side) == setOf(undefinedKind) {
			c.add(side.place(), "always Undefined: %s with Undefined; use isUndefined", x.op)
			return
		}
	}
	if (asNumbers(l)&asNumbers(r))&^setOf(undefinedKind) == 0 {
		c.add(x.span, "always %v: %s and %s are never equal, there is no conversion", x.op == "<>", described(x.l), described(x.r))
	}
}

// asNumbers makes Int and Decimal the same, as = does.
func asNumbers(s kindSet) kindSet {
	if s&numberKinds != 0 {
		return s | numberKinds
	}
	return s
}

func described(x expr) string {
	if l, ok := x.(*literal); ok {
		return fmt.Sprintf("the %s %s", l.value.kind, l.sql)
	}
	return kindsOf(x).String()
}

func canBeBoolean(x expr) bool {
	if l, ok := x.(*literal); ok {
		_, ok := toBoolean(l.value)
		return ok
	}
	return kindsOf(x)&setOf(booleanKind, stringKind) != 0
}

func canBeNumber(x expr) bool {
	if l, ok := x.(*literal); ok {
		_, ok := toNumber(l.value, V2016)
		return ok
	}
	return kindsOf(x)&(numberKinds|setOf(stringKind)) != 0
}

// A kindSet are the data types that an expression can have.
type kindSet uint16

func setOf(list ...kind) kindSet {
	s := kindSet(0)
	for _, k := range list {
		s |= 1 << k
	}
	return s
}

var (
	anyKind      = setOf(undefinedKind, nullKind, booleanKind, intKind, decimalKind, stringKind, arrayKind, objectKind)
	numberKinds  = setOf(intKind, decimalKind)
	maybeBoolean = setOf(booleanKind, undefinedKind)
	maybeNumber  = setOf(intKind, decimalKind, undefinedKind)
	maybeString  = setOf(stringKind, undefinedKind)
)

// String lists the types other than Undefined, or names Undefined alone.
func (s kindSet) String() string {
	if s == anyKind {
		return "any type"
	}
	var names []string
	for k := nullKind; k <= objectKind; k++ {
		if s&setOf(k) != 0 {
			names = append(names, k.String())
		}
	}
	if len(names) == 0 {
		return undefinedKind.String()
	}
	return strings.Join(names, " or ")
}

// kindsOf infers which types an expression can have.
func kindsOf(x expr) kindSet {
	switch x := x.(type) {
	case *literal:
		return setOf(x.value.kind)
	case *unary:
		if x.op == "NOT" {
			return maybeBoolean
		}
		return maybeNumber
	case *binary:
		return binaryKinds(x)
	case *call:
		return x.fn.kinds()
	case *cast:
		return castKindSet(x)
	case *exists:
		return setOf(booleanKind)
	case *arrayLiteral:
		return setOf(arrayKind)
	case *objectLiteral:
		return setOf(objectKind)
	case *caseOf:
		s := setOf(undefinedKind)
		for _, w := range x.whens {
			s |= kindsOf(w.then)
		}
		if x.orElse != nil {
			s |= kindsOf(x.orElse)
		}
		return s
	case *variable:
		return x.kinds
	}
	return anyKind
}

func binaryKinds(x *binary) kindSet {
	switch x.op {
	case "+":
		s := setOf(undefinedKind)
		l, r := kindsOf(x.l), kindsOf(x.r)
		if (l|r)&setOf(stringKind) != 0 {
			s |= setOf(stringKind)
		}
		if l&numberKinds != 0 && r&numberKinds != 0 {
			s |= numberKinds
		}
		return s
	case "-", "*", "/", "%":
		return maybeNumber
	}
	return maybeBoolean
}

func castKindSet(x *cast) kindSet {
	k := castKinds[strings.ToUpper(x.typ)]
	if k == decimalKind {
		return maybeNumber
	}
	return setOf(k, undefinedKind)
}

// kinds are the types of a function's results; any of them if the table does
// not say.
func (f *function) kinds() kindSet {
	if f.returns == 0 {
		return anyKind
	}
	return f.returns
}

// Limits of a topic (general reference, "AWS IoT Core endpoints and quotas",
// message broker).
const (
	maxTopicBytes   = 256
	maxTopicSlashes = 7
)

// filter finds filters that no topic matches, and * where a wildcard is meant. One
// of Basic Ingest need not match: the topic names the rule, whatever its filter.
func (c *linter) filter(from source) {
	slashes := strings.Count(from.filter, "/")
	literal := strings.NewReplacer("+", "", "#", "").Replace(from.filter)
	switch {
	case from.filter == "":
	case strings.Contains(from.filter, "*"):
		c.warn(from.at, "* is not a wildcard in a topic filter: + is any one level, # at the end all that follow")
	case slashes > maxTopicSlashes && !strings.HasPrefix(from.filter, "$aws/"):
		c.add(from.at, "this filter never matches: it has %d slashes, a topic has at most %d", slashes, maxTopicSlashes)
	case len(literal) > maxTopicBytes:
		c.add(from.at, "this filter never matches: it needs at least %d bytes, a topic has at most %d", len(literal), maxTopicBytes)
	}
}

// republish finds a topic that triggers the rule again.
func (c *linter) republish(topic string) {
	from := c.rule.stmt.query.from
	t, err := c.rule.CompileTemplate(topic)
	if err != nil {
		c.add(from.at, "the republish topic %q: %v", topic, err)
		return
	}
	if from.filter != "" && t.mayMatch(from.filter) {
		c.add(from.at, "the republish topic %q matches this filter: each message triggers the rule again without end", topic)
	}
}

// mayMatch reports whether the template's text can be a topic that the filter
// matches, if each value but topic() is within one level.
func (t *Template) mayMatch(filter string) bool {
	pattern := ""
	for _, part := range t.parts {
		switch call, isCall := part.x.(*call); {
		case part.x == nil:
			pattern += strings.NewReplacer("+", "", "#", "").Replace(part.text)
		case isCall && call.fn.name == "topic":
			pattern += topicPattern(call, filter)
		default:
			pattern += "+"
		}
	}
	return levelsMeet(strings.Split(filter, "/"), strings.Split(pattern, "/"))
}

// topicPattern is what topic() and topic(n) can be for a message that the
// filter matches.
func topicPattern(x *call, filter string) string {
	if len(x.args) == 0 {
		return filter
	}
	levels := strings.Split(filter, "/")
	n := int64(0)
	if l, ok := x.args[0].(*literal); ok {
		n, _ = smallInt(l.value.text)
	}
	if n < 1 || n > int64(len(levels)) || levels[n-1] == "#" {
		return "+"
	}
	return levels[n-1]
}

// levelsMeet reports whether a topic exists that both match. Besides + and #,
// a level of the pattern may hold + and # within text, for any text.
func levelsMeet(filter, pattern []string) bool {
	switch {
	case len(filter) == 0 || len(pattern) == 0:
		return len(filter) == len(pattern)
	case filter[0] == "#":
		return true
	case strings.Contains(pattern[0], "#"):
		return levelsMeet(filter[1:], pattern[1:]) || levelsMeet(filter[1:], pattern)
	}
	return levelMeets(filter[0], pattern[0]) && levelsMeet(filter[1:], pattern[1:])
}

func levelMeets(filter, pattern string) bool {
	first, last := strings.IndexByte(pattern, '+'), strings.LastIndexByte(pattern, '+')
	switch {
	case filter == "+":
		return true
	case first < 0:
		return filter == pattern
	}
	rest, ok := strings.CutPrefix(filter, pattern[:first])
	return ok && strings.HasSuffix(rest, pattern[last+1:])
}
