package iotsql

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Limits of a statement.
const (
	// MaxStatementBytes is the size of a rule definition (general reference,
	// "AWS IoT Core endpoints and quotas", rules engine).
	MaxStatementBytes = 256 * 1024
	// MaxNesting bounds how deep expressions and nested queries stand in each
	// other.
	MaxNesting = 100
)

// A SyntaxError wraps one of these if a statement exceeds a limit.
var (
	ErrStatementTooLong = errors.New("the statement is too long")
	ErrNestingTooDeep   = errors.New("the statement nests too deep")
)

type parser struct {
	sql    string
	ver    Version
	tokens []token
	next   int
	depth  int
	vars   map[string]variable // those of SET
	paths  *paths
	nested int // how many SELECTs stand around the current one
}

// A parser's methods stop the parse by panicking with parseFailed; newParser's
// caller gets the error back from catch. It never leaves this package.
type parseFailed struct{ err *SyntaxError }

func catch(err **SyntaxError) {
	switch r := recover().(type) {
	case nil:
	case parseFailed:
		*err = r.err
	default:
		panic(r)
	}
}

func newParser(sql string, ver Version) (*parser, *SyntaxError) {
	if len(sql) > MaxStatementBytes {
		e := newSyntaxError(sql, span{0, 0}, fmt.Sprintf("the statement has %d bytes, at most %d are allowed", len(sql), MaxStatementBytes))
		e.cause = ErrStatementTooLong
		return nil, e
	}
	tokens, err := lex(sql)
	if err != nil {
		return nil, err
	}
	return &parser{sql: sql, ver: ver, tokens: tokens, vars: map[string]variable{}, paths: newPaths()}, nil
}

func parse(sql string, ver Version) (s *statement, err *SyntaxError) {
	p, err := newParser(sql, ver)
	if err != nil {
		return nil, err
	}
	defer catch(&err)
	s = &statement{}
	if p.accept("SET") {
		s.set = p.assignments()
	}
	if t := p.peek(); !t.is("SELECT") {
		p.fail(t.span, "expected SELECT, found %s", t)
	}
	s.query = p.query()
	s.paths = p.paths
	p.expectEnd()
	return s, nil
}

// peek returns the current token.
func (p *parser) peek() token { return p.tokens[p.next] }

// after returns the token at a distance from the current one.
func (p *parser) after(n int) token {
	return p.tokens[min(p.next+n, len(p.tokens)-1)]
}

func (p *parser) take() token {
	t := p.peek()
	if t.kind != tokEnd {
		p.next++
	}
	return t
}

func (p *parser) accept(text string) bool {
	if p.peek().is(text) {
		p.next++
		return true
	}
	return false
}

func (p *parser) expect(text string) token {
	t := p.peek()
	if !t.is(text) {
		p.unexpected("expected " + text)
	}
	return p.take()
}

func (p *parser) expectEnd() {
	if p.peek().kind != tokEnd {
		p.unexpected("expected the end of the statement")
	}
}

// end is where the last token taken ended.
func (p *parser) end() int {
	if p.next == 0 {
		return 0
	}
	return p.tokens[p.next-1].end
}

func (p *parser) since(start int) span { return span{start, p.end()} }

func (p *parser) fail(at span, format string, args ...any) {
	panic(parseFailed{newSyntaxError(p.sql, at, fmt.Sprintf(format, args...))})
}

// notInReference are words of other SQLs where an operator or clause may
// stand, with what to write instead.
var notInReference = map[string]string{
	"LIKE":     "use regexp_matches, startswith, endswith or indexof",
	"BETWEEN":  "use >= and <=",
	"IS":       "use isNull or isUndefined",
	"JOIN":     "a rule reads one message",
	"GROUP":    "a rule reads one message",
	"ORDER":    "a rule reads one message",
	"LIMIT":    "a rule reads one message",
	"HAVING":   "a rule reads one message",
	"UNION":    "write one rule for each statement",
	"DISTINCT": "a rule reads one message",
	"NOT":      "write NOT before the whole comparison",
}

// unexpected fails at the current token.
func (p *parser) unexpected(expected string) {
	t := p.peek()
	if t.kind == tokWord {
		word := strings.ToUpper(t.text)
		if instead, ok := notInReference[word]; ok {
			p.fail(t.span, "%s is not in the AWS IoT SQL reference here: %s", word, instead)
		}
	}
	if t.is("=") && p.next > 0 && p.tokens[p.next-1].is("=") {
		p.fail(t.span, "equal is written =")
	}
	if t.is("[") {
		p.fail(t.span, "%s, found [: an element is reached with get(array, index)", expected)
	}
	p.fail(t.span, "%s, found %s", expected, t)
}

// newer fails for what an older version than 2016-03-23 does not have.
func (p *parser) newer(at span, what string) {
	if p.ver == V2015 {
		p.fail(at, "%s need SQL version %s, this statement is %s", what, V2016, V2015)
	}
}

func (p *parser) assignments() []assignment {
	var list []assignment
	for {
		t := p.take()
		if t.kind != tokVariable {
			p.fail(t.span, "expected a variable such as @name after SET, found %s", t)
		}
		if _, twice := p.vars[t.text]; twice {
			p.fail(t.span, "@%s has a value already: a variable is set once", t.text)
		}
		p.expect("=")
		x := p.expr()
		a := assignment{p.since(t.start), t.text, x}
		p.declare(a, len(list))
		list = append(list, a)
		if !p.accept(",") {
			break
		}
	}
	if t := p.peek(); t.is("SET") {
		p.fail(t.span, "SET stands once in a statement: separate the variables with commas")
	}
	return list
}

// declare makes the variable of an assignment known.
func (p *parser) declare(a assignment, index int) {
	p.vars[a.name] = variable{name: a.name, index: index, kinds: kindsOf(a.x)}
}

func (p *parser) query() *query {
	q := &query{}
	start := p.expect("SELECT").start
	q.value = p.acceptValue()
	for {
		q.items = append(q.items, p.column())
		if !p.peek().is(",") {
			break
		}
		comma := p.take()
		if p.peek().is("FROM") { // AWS takes a comma after the last column, as deployed rules have it
			break
		}
		if q.value {
			p.fail(comma.span, "SELECT VALUE takes one expression")
		}
	}
	if p.nested > 0 {
		p.source(q)
	} else {
		p.topicFilter(q)
	}
	if p.accept("WHERE") {
		q.where = p.expr()
	}
	q.span = p.since(start)
	return q
}

// acceptValue takes the keyword VALUE. As value is a common attribute name, it
// is the keyword only where an expression follows; VALUE -1 is one, value - 1 a
// difference.
func (p *parser) acceptValue() bool {
	if !p.peek().is("VALUE") {
		return false
	}
	next := p.after(1)
	keyword := false
	switch next.kind {
	case tokVariable, tokNumber, tokString:
		keyword = true
	case tokWord:
		keyword = !slices.ContainsFunc([]string{"FROM", "WHERE", "AS", "AND", "OR", "IN"}, next.is) && notInReference[strings.ToUpper(next.text)] == "" || next.is("NOT")
	case tokSymbol:
		negative := next.is("-") && next.start > p.peek().end && next.end == p.after(2).start
		keyword = next.is("(") || next.is("[") || next.is("{") || negative || next.is("*") && p.endsItem(p.after(2))
	}
	if keyword {
		p.next++
	}
	return keyword
}

func (p *parser) endsItem(t token) bool {
	return t.kind == tokEnd || t.is("FROM") || t.is("WHERE") || t.is(",") || t.is(")") || t.is(".")
}

func (p *parser) column() column {
	var c column
	start := p.peek()
	c.expr = p.expr()
	if p.peek().is(".") && p.after(1).is("*") {
		p.next += 2
		c.expr = &spread{p.since(start.start), c.expr}
	}
	if !p.accept("AS") {
		if t := p.peek(); t.kind == tokWord && !p.endsItem(t) && notInReference[strings.ToUpper(t.text)] == "" {
			if start.is("DISTINCT") {
				p.next--
				p.unexpected("expected an expression")
			}
			p.fail(t.span, "expected AS before the name %s", t.text)
		}
		c.name = p.columnName(c.expr)
		return c
	}
	c.alias = p.names("a name after AS")
	return c
}

// names reads a.b.c after AS or a dot. Keywords are allowed.
func (p *parser) names(expected string) []string {
	var list []string
	for {
		t := p.peek()
		if t.kind != tokWord {
			p.unexpected("expected " + expected)
		}
		list = append(list, p.take().text)
		if !p.peek().is(".") || p.after(1).is("*") {
			return list
		}
		p.next++
	}
}

// columnName is the key of a column without AS: the last segment of a path, the
// name of a function or variable, otherwise the expression itself.
func (p *parser) columnName(x expr) string {
	switch x := x.(type) {
	case *path:
		return x.names[len(x.names)-1]
	case *member:
		return x.names[len(x.names)-1]
	case *variable:
		return x.name
	case *call:
		return x.name
	case *cast:
		return "cast"
	}
	return string(x.appendSQL(nil))
}

func (p *parser) topicFilter(q *query) {
	from := p.peek()
	if !p.accept("FROM") {
		if !from.is("WHERE") && from.kind != tokEnd {
			p.unexpected("expected FROM and a topic filter")
		}
		return
	}
	t := p.peek()
	if t.kind != tokString {
		p.fail(t.span, "expected a topic filter in quotes after FROM, found %s", t)
	}
	p.take()
	if msg := checkFilter(t.text); msg != "" {
		p.fail(t.span, "%s", msg)
	}
	q.from = source{filter: t.text, at: t.span}
}

// source reads what a nested SELECT runs over. AS names its element
// (iot-sql-operators, EXISTS).
func (p *parser) source(q *query) {
	start := p.expect("FROM").start
	if t := p.peek(); t.kind == tokString {
		p.fail(t.span, "a nested SELECT runs over an attribute, not over a topic filter")
	}
	p.nested--
	q.from.over = p.operand()
	p.nested++
	if p.accept("AS") {
		t := p.take()
		if t.kind != tokWord {
			p.fail(t.span, "expected a name after AS, found %s", t)
		}
		q.from.alias = t.text
	}
	q.from.at = p.since(start)
}

// enter counts nesting; its caller defers leave.
func (p *parser) enter() {
	if p.depth++; p.depth > MaxNesting {
		e := newSyntaxError(p.sql, p.peek().span, fmt.Sprintf("the statement nests deeper than %d levels", MaxNesting))
		e.cause = ErrNestingTooDeep
		panic(parseFailed{e})
	}
}

func (p *parser) leave() { p.depth-- }

// Operators from weak to strong; those of one row are left-associative.
var precedence = [][]string{
	{"OR"},
	{"AND"},
	{"NOT"},
	{"=", "<>", "<", "<=", ">", ">=", "IN"},
	{"+", "-"},
	{"*", "/", "%"},
}

const notLevel = 2

func (p *parser) expr() expr {
	p.enter()
	defer p.leave()
	return p.level(0)
}

func (p *parser) level(n int) expr {
	switch {
	case n == len(precedence):
		return p.operand()
	case n == notLevel:
		return p.not()
	}
	start := p.peek().start
	x := p.level(n + 1)
	for terms := 0; ; terms++ {
		op := p.peek()
		if !slices.ContainsFunc(precedence[n], op.is) || p.startsNext(op) {
			return x
		}
		p.limitTerms(terms, op)
		p.take()
		r := p.level(n + 1)
		x = &binary{p.since(start), strings.ToUpper(op.text), x, r}
	}
}

// maxTerms bounds a chain a + b + c ..., which is as deep as it is long.
const maxTerms = 1000

func (p *parser) limitTerms(n int, op token) {
	if n < maxTerms {
		return
	}
	e := newSyntaxError(p.sql, op.span, fmt.Sprintf("a chain of %s has at most %d terms", op.text, maxTerms))
	e.cause = ErrNestingTooDeep
	panic(parseFailed{e})
}

// startsNext reports whether a * after an expression is not a product's.
func (p *parser) startsNext(op token) bool {
	return op.is("*") && p.next+1 < len(p.tokens) && p.endsItem(p.after(1)) && !p.after(1).is(".")
}

func (p *parser) not() expr {
	if !p.peek().is("NOT") {
		return p.level(notLevel + 1)
	}
	p.enter()
	defer p.leave()
	start := p.take().start
	x := p.not()
	return &unary{p.since(start), "NOT", x}
}

// operand reads a value with what follows its dots.
func (p *parser) operand() expr {
	start := p.peek().start
	x := p.primary()
	for p.peek().is(".") && !p.after(1).is("*") {
		p.next++
		names := p.names("an attribute's name after the dot")
		if root, ok := x.(*path); ok {
			x = &path{p.since(start), append(root.names, names...), -1}
			continue
		}
		if _, ok := x.(*star); ok {
			x = &path{p.since(start), names, -1}
			continue
		}
		x = &member{p.since(start), x, names}
	}
	if whole, ok := x.(*path); ok && p.nested == 0 {
		whole.slot = p.paths.add(whole.names)
	}
	return x
}

func (p *parser) primary() expr {
	t := p.peek()
	switch t.kind {
	case tokNumber:
		p.take()
		return p.number(t.span, t.text)
	case tokString:
		p.take()
		return &literal{t.span, stringValue(t.text), quoteSQL(t.text)}
	case tokVariable:
		p.take()
		v, ok := p.vars[t.text]
		if !ok {
			p.fail(t.span, "@%s has no value: SET it before its first use", t.text)
		}
		v.span = t.span
		return &v
	case tokWord:
		return p.word(t)
	case tokSymbol:
		return p.symbol(t)
	}
	p.unexpected("expected an expression")
	return nil
}

func (p *parser) number(at span, text string) expr {
	v := numberValue(text, p.ver)
	if v.kind == undefinedKind {
		p.fail(at, "the number is too large: at most 9.999...E999")
	}
	return &literal{at, v, text}
}

func (p *parser) symbol(t token) expr {
	switch t.text {
	case "(":
		return p.parenthesis()
	case "[":
		return p.array()
	case "{":
		return p.object()
	case "*":
		p.take()
		return &star{t.span}
	case "-":
		return p.negative()
	}
	p.unexpected("expected an expression")
	return nil
}

func (p *parser) negative() expr {
	minus := p.take()
	if t := p.peek(); t.kind == tokNumber && t.start == minus.end {
		p.take()
		return p.number(p.since(minus.start), "-"+t.text)
	}
	p.enter()
	defer p.leave()
	x := p.operand()
	return &unary{p.since(minus.start), "-", x}
}

func (p *parser) parenthesis() expr {
	start := p.take().start
	if p.peek().is("SELECT") {
		return p.subquery(start)
	}
	x := p.expr()
	if p.peek().is(",") {
		p.unexpected("expected ), a list is written [1, 2]")
	}
	p.expect(")")
	return x
}

// subquery reads a nested SELECT after its parenthesis.
func (p *parser) subquery(start int) *subquery {
	q := p.nestedQuery()
	p.expect(")")
	return &subquery{p.since(start), q}
}

func (p *parser) nestedQuery() *query {
	p.newer(p.peek().span, "nested queries")
	p.enter()
	defer p.leave()
	p.nested++
	defer func() { p.nested-- }()
	return p.query()
}

func (p *parser) array() expr {
	open := p.take()
	p.newer(open.span, "array literals")
	var items []expr
	for !p.accept("]") {
		if len(items) > 0 && p.separator("]") {
			break
		}
		items = append(items, p.expr())
	}
	return &arrayLiteral{p.since(open.start), items}
}

func (p *parser) object() expr {
	open := p.take()
	p.newer(open.span, "object literals")
	o := &objectLiteral{}
	for !p.accept("}") {
		if len(o.items) > 0 && p.separator("}") {
			break
		}
		key := p.peek()
		if key.kind != tokString {
			p.fail(key.span, "expected a key in quotes, found %s", key)
		}
		p.take()
		p.expect(":")
		o.keys = append(o.keys, key.text)
		o.items = append(o.items, p.expr())
	}
	o.span = p.since(open.start)
	return o
}

// separator takes a comma. The last item of a literal may have one too, as in
// rules that AWS's samples deploy; then it takes the end and returns true.
func (p *parser) separator(end string) (ended bool) {
	if !p.accept(",") {
		p.unexpected("expected , or " + end)
	}
	return p.accept(end)
}

// reserved words are no attribute names at the beginning of a path.
var reserved = []string{
	"SELECT", "FROM", "WHERE", "AS", "AND", "OR", "NOT", "IN", "EXISTS",
	"CASE", "WHEN", "THEN", "ELSE", "END", "SET",
}

func (p *parser) word(t token) expr {
	called := p.after(1).is("(")
	switch {
	case t.is("CASE"):
		return p.caseOf()
	case t.is("EXISTS") && called:
		return p.exists()
	case t.is("CAST") && called:
		return p.cast()
	case slices.ContainsFunc(reserved, t.is):
		p.unexpected("expected an expression")
	case called:
		return p.call()
	}
	p.take()
	switch {
	case t.is("TRUE"), t.is("FALSE"):
		return &literal{t.span, boolean(t.is("TRUE")), strings.ToLower(t.text)}
	case t.is("NULL"):
		return &literal{t.span, null, "null"}
	case t.is("UNDEFINED"):
		return &literal{t.span, undefined, "undefined"}
	}
	return &path{t.span, []string{t.text}, -1}
}

func (p *parser) exists() expr {
	start := p.take().start
	open := p.take()
	if !p.peek().is("SELECT") {
		p.unexpected("expected SELECT after EXISTS (")
	}
	sub := p.subquery(open.start)
	return &exists{p.since(start), sub}
}

func (p *parser) caseOf() expr {
	c := &caseOf{}
	start := p.take().start
	if t := p.peek(); t.is("WHEN") {
		p.fail(t.span, "expected a value after CASE: the reference has CASE value WHEN match THEN result only")
	}
	c.of = p.expr()
	for p.accept("WHEN") {
		match := p.expr()
		p.expect("THEN")
		c.whens = append(c.whens, when{match, p.expr()})
	}
	if len(c.whens) == 0 {
		p.unexpected("expected WHEN")
	}
	if p.accept("ELSE") {
		c.orElse = p.expr()
	}
	p.expect("END")
	c.span = p.since(start)
	return c
}

// castKinds are the words after AS in a cast (iot-sql-functions, cast), with
// what 2016-03-23 added in addedCasts.
var castKinds = map[string]kind{
	"STRING": stringKind, "NVARCHAR": stringKind, "TEXT": stringKind, "NTEXT": stringKind, "VARCHAR": stringKind,
	"INT": intKind, "INTEGER": intKind,
	"DOUBLE": decimalKind, "DECIMAL": decimalKind,
	"BOOL": booleanKind, "BOOLEAN": booleanKind,
}

var addedCasts = []string{"DECIMAL", "BOOL", "BOOLEAN"}

func (p *parser) cast() expr {
	start := p.take().start
	p.take()
	x := p.expr()
	p.expect("AS")
	t := p.take()
	name := strings.ToUpper(t.text)
	if _, ok := castKinds[name]; !ok || t.kind != tokWord {
		p.fail(t.span, "expected a type to cast to (String, Int, Decimal, Double, Boolean), found %s", t)
	}
	if slices.Contains(addedCasts, name) {
		p.newer(t.span, "casts to "+t.text)
	}
	p.expect(")")
	return &cast{p.since(start), x, t.text}
}

func (p *parser) call() expr {
	t := p.take()
	fn := functions[strings.ToLower(t.text)]
	if fn == nil {
		p.fail(t.span, "%s", unknownFunction(t.text))
	}
	p.expect("(")
	c := &call{fn: fn, name: t.text, tooNew: fn.added && p.ver == V2015}
	for !p.accept(")") {
		if len(c.args) > 0 && !p.accept(",") {
			p.unexpected("expected , or )")
		}
		c.args = append(c.args, p.argument())
	}
	c.span = p.since(t.start)
	c.compileRegex()
	return c
}

// argument reads an argument of a function. A nested SELECT needs no parentheses
// of its own there.
func (p *parser) argument() expr {
	start := p.peek()
	if !start.is("SELECT") {
		return p.expr()
	}
	q := p.nestedQuery()
	return &subquery{p.since(start.start), q}
}

// compileRegex compiles a pattern that is a literal once for all messages. One
// that is wrong is left to the evaluation, which is Undefined, and to Check.
func (c *call) compileRegex() {
	if !strings.HasPrefix(c.fn.name, "regexp_") || len(c.args) < 2 {
		return
	}
	if l, ok := c.args[1].(*literal); ok {
		if s, ok := toString(l.value); ok {
			if re, err := compilePattern(s); err == nil {
				c.regex = re
			}
		}
	}
}
