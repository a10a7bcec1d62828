package iotsql

import (
	"fmt"
	"time"
	"unsafe"
)

// An env is the evaluation of one statement over one message. The first error
// ends it: what is computed after that does not count.
type env struct {
	m   *Message
	ver Version
	err error

	paths   *paths
	payload string           // checked, without white space around it
	read    bool             // payload has been read
	compact bool             // and is what the message has, without white space in it
	found   []string         // the text of each path's value, empty if missing
	inline  [fewPaths]string // found, of a statement with few paths
	work    int              // done so far, see spend
	now     time.Time        // what timestamp tells, once it has been asked

	set   []assignment
	known []bool // which variables have been evaluated
	vars  []value

	nested *scope // of the nested SELECT that is evaluated, if any
}

// A scope is the element that a nested SELECT looks at. Its names are the
// element's; those of the payload around it are not seen [LIVE].
type scope struct {
	element value
	alias   string
}

func (e *env) fail(err error) value {
	if e.err == nil {
		e.err = err
	}
	return undefined
}

// fewPaths is up to how many paths are noted without memory of their own.
const fewPaths = 4

// json returns the text of the payload, which must be JSON. An empty payload
// counts as an Object without members (developer guide, binary-payloads: data
// can be added to an empty payload).
func (e *env) json() (text string, ok bool) {
	if !e.read {
		e.read = true
		e.readPayload()
	}
	return e.payload, e.payload != ""
}

// object reports whether the payload is an Object. That it is not is an error for
// whatever looks into it.
func (e *env) object() bool {
	text, ok := e.json()
	if ok && text[0] != '{' {
		e.failPayload()
		return false
	}
	return ok
}

func (e *env) failPayload() value {
	return e.fail(fmt.Errorf("%w: only * and what is computed from it take other payloads", ErrPayload))
}

// text is the payload without a copy, which would be the only memory that most
// messages take. Nothing keeps it after the evaluation.
func (m *Message) text() string {
	return unsafe.String(unsafe.SliceData(m.Payload), len(m.Payload)) //nolint:gosec // read only, and not kept
}

func (e *env) readPayload() {
	e.found = e.inline[:]
	if e.paths.n > fewPaths {
		e.found = make([]string, e.paths.n)
	}
	s := e.m.text()
	if s == "" {
		s = "{}"
	}
	if !e.check(s) {
		e.fail(fmt.Errorf("%w, nor other JSON: only SELECT * and encode(*, 'base64') take that", ErrPayload))
		return
	}
	e.spend(len(e.payload))
}

// check reads a payload and notes its paths; it reports whether it is JSON. Later versions than 2015-10-08 get it with its whole numbers as Ints,
// wherever they stand.
func (e *env) check(s string) bool {
	c := checker{s: s, found: e.found}
	root := e.paths.root
	if e.found == nil {
		root = nil
	}
	text, ok := c.document(root)
	if !ok {
		return false
	}
	e.compact = !c.loose
	if c.whole && e.ver != V2015 {
		e.compact = false
		if text = ints(text); len(text) > max(len(s), MaxOutputBytes) {
			e.tooLarge(len(text))
		}
		c = checker{s: text, found: e.found}
		c.document(root)
	}
	e.payload = text
	return true
}

// holds reports whether WHERE is the Boolean true. It stops at the first part
// of an AND that is not true.
func (e *env) holds(where expr) bool {
	v := e.condition(where)
	return v.kind == booleanKind && v.bool && e.err == nil
}

func (e *env) condition(x expr) value {
	and, ok := x.(*binary)
	if !ok || and.op != "AND" {
		return x.eval(e)
	}
	if l, ok := toBoolean(e.condition(and.l)); !ok || !l {
		return undefined
	}
	if r, ok := toBoolean(e.condition(and.r)); !ok || !r {
		return undefined
	}
	return boolean(true)
}

// output evaluates the select list of the outer query to the payload of the
// actions.
func (e *env) output(q *query) []byte {
	if _, all := q.items[0].expr.(*star); all && len(q.items) == 1 && q.items[0].alias == nil {
		return e.wholePayload()
	}
	v := e.selected(q)
	if q.value && v.kind == arrayKind && e.ver == V2015 {
		return []byte{} // an Array as the whole payload came with 2016-03-23 (iot-rule-sql-version)
	}
	if e.err != nil {
		return nil
	}
	b := appendJSON([]byte{}, v)
	if len(b) > MaxOutputBytes {
		e.tooLarge(len(b))
	}
	return b
}

// wholePayload is SELECT *: "a new JSON object containing the message data. If
// the message payload is not in JSON format, * returns the entire message
// payload as raw bytes" (developer guide, iot-sql-json).
func (e *env) wholePayload() []byte {
	if !e.read && !e.check(e.m.text()) || e.compact || e.payload == "" || e.payload[0] != '{' {
		return e.m.Payload
	}
	return appendCompact(make([]byte, 0, len(e.payload)), e.payload)
}

// selected evaluates a select list: an Object, or what VALUE stands for.
func (e *env) selected(q *query) value {
	if q.value {
		return q.items[0].expr.eval(e)
	}
	if s, ok := q.items[0].expr.(*star); ok && len(q.items) == 1 && q.items[0].alias == nil {
		return s.eval(e)
	}
	out := &nested{}
	for _, c := range q.items {
		if _, all := c.expr.(*star); all && c.alias == nil && e.nested == nil {
			e.object() // * beside other columns stands for its members
		}
		e.column(out, c)
	}
	return e.newObject(out)
}

func (e *env) column(out *nested, c column) {
	v := c.expr.eval(e)
	switch {
	case c.merges():
		e.merge(out, v)
	case c.alias == nil:
		out.set(c.name, v)
	case v.kind != undefinedKind:
		e.setPath(out, c.alias, v)
	}
}

// merges reports whether the column stands for the members of its value: * and
// path.* without a name.
func (c column) merges() bool {
	switch c.expr.(type) {
	case *star, *spread:
		return c.alias == nil
	}
	return false
}

// merge adds the members of an Object; anything else has none.
func (e *env) merge(out *nested, v value) {
	if v.kind != objectKind {
		return
	}
	members := e.members(v)
	for i, key := range members.keys {
		out.set(key, members.items[i])
	}
}

// setPath gives a.b.c its value. What stands in the way and is no Object is
// replaced.
func (e *env) setPath(n *nested, keys []string, v value) {
	if len(keys) == 1 {
		n.set(keys[0], v)
		return
	}
	inner := &nested{}
	e.merge(inner, n.get(keys[0]))
	e.setPath(inner, keys[1:], v)
	n.set(keys[0], e.newObject(inner))
}

func (x *literal) eval(*env) value { return x.value }

func (x *path) eval(e *env) value {
	if x.slot < 0 {
		return e.lookup(e.nested, x.names)
	}
	if !e.object() || e.found[x.slot] == "" {
		return undefined
	}
	return jsonValue(e.found[x.slot], e.ver)
}

func (e *env) lookup(s *scope, names []string) value {
	if s.alias != "" && names[0] == s.alias {
		return e.follow(s.element, names[1:])
	}
	return e.follow(s.element, names)
}

func (e *env) follow(v value, names []string) value {
	for _, name := range names {
		v = e.member(v, name)
	}
	return v
}

func (x *member) eval(e *env) value { return e.follow(x.of.eval(e), x.names) }

func (x *star) eval(e *env) value {
	if e.nested != nil {
		return e.nested.element
	}
	text, ok := e.json()
	if !ok {
		return undefined
	}
	return jsonValue(text, e.ver)
}

func (x *spread) eval(e *env) value {
	if v := x.of.eval(e); v.kind == objectKind {
		return v
	}
	return undefined
}

// eval computes a variable on its first use and keeps the value: a function in
// SET is called at most once for a message.
func (x *variable) eval(e *env) value {
	if e.known == nil {
		e.known, e.vars = make([]bool, len(e.set)), make([]value, len(e.set))
	}
	if !e.known[x.index] {
		around := e.nested
		e.nested = nil
		e.vars[x.index] = e.set[x.index].x.eval(e)
		e.known[x.index] = true
		e.nested = around
	}
	return e.vars[x.index]
}

func (x *unary) eval(e *env) value {
	v := x.x.eval(e)
	if x.op == "-" {
		if n, ok := toNumber(v, e.ver); ok {
			return arithmetic("-", value{kind: intKind, text: "0"}, n, e.ver)
		}
		return undefined
	}
	if b, ok := toBoolean(v); ok {
		return boolean(!b)
	}
	return undefined
}

func (x *binary) eval(e *env) value {
	l, r := x.l.eval(e), x.r.eval(e)
	switch x.op {
	case "AND", "OR":
		return logical(x.op, l, r)
	case "=", "<>":
		if l.kind == undefinedKind || r.kind == undefinedKind {
			return undefined
		}
		return boolean(e.equal(l, r) == (x.op == "="))
	case "IN":
		return e.in(l, r)
	case "+":
		if l.kind == stringKind || r.kind == stringKind {
			return e.concat(l, r)
		}
		if !l.isNumber() || !r.isNumber() {
			return undefined
		}
		return arithmetic("+", l, r, e.ver)
	}
	a, ok := toNumber(l, e.ver)
	b, ok2 := toNumber(r, e.ver)
	if !ok || !ok2 {
		return undefined
	}
	switch x.op {
	case "<", "<=", ">", ">=":
		return boolean(ordered(x.op, compareNumbers(a.text, b.text)))
	}
	return arithmetic(x.op, a, b, e.ver)
}

// logical is AND and OR: Undefined if either side is no Boolean, also where
// the other side would decide [LIVE].
func logical(op string, l, r value) value {
	a, ok := toBoolean(l)
	b, ok2 := toBoolean(r)
	switch {
	case !ok || !ok2:
		return undefined
	case op == "AND":
		return boolean(a && b)
	}
	return boolean(a || b)
}

func ordered(op string, c int) bool {
	switch op {
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	}
	return c >= 0
}

// in is l IN r: whether the Array r has an element equal to l (developer
// guide, iot-sql-operators).
func (e *env) in(l, r value) value {
	if l.kind == undefinedKind || r.kind != arrayKind {
		return undefined
	}
	for _, item := range e.elements(r) {
		if e.equal(l, item) {
			return boolean(true)
		}
	}
	return boolean(false)
}

func (e *env) concat(l, r value) value {
	a, ok := toString(l)
	b, ok2 := toString(r)
	if !ok || !ok2 {
		return undefined
	}
	return e.newString(len(a)+len(b), func() string { return a + b })
}

func (x *caseOf) eval(e *env) value {
	v := x.of.eval(e)
	if v.kind == undefinedKind {
		return undefined
	}
	for _, w := range x.whens {
		if match := w.match.eval(e); match.kind != undefinedKind && e.equal(v, match) {
			return w.then.eval(e)
		}
	}
	if x.orElse == nil {
		return undefined
	}
	return x.orElse.eval(e)
}

func (x *exists) eval(e *env) value {
	v := x.sub.eval(e)
	if v.kind == arrayKind {
		return boolean(len(e.elements(v)) > 0)
	}
	return boolean(v.kind != undefinedKind)
}

// eval runs a nested SELECT over an Array, or over an Object as an Array of one.
// It yields an Array (developer guide, iot-sql-nested-queries; outputs recorded on
// AWS). Over anything else it is Undefined.
func (x *subquery) eval(e *env) value {
	q := x.query
	over := q.from.over.eval(e)
	around := e.nested
	defer func() { e.nested = around }()
	var elements []value
	switch over.kind {
	case objectKind:
		elements = []value{over}
	case arrayKind:
		elements = e.elements(over)
	default:
		return undefined
	}
	items := make([]value, 0, len(elements))
	for _, element := range elements {
		if !e.spend(elementWork) {
			return undefined
		}
		items = append(items, e.element(q, element))
	}
	return e.newArray(items)
}

// elementWork is what a nested SELECT costs for each element, besides what it
// reads and makes.
const elementWork = 100

func (e *env) element(q *query, v value) value {
	e.nested = &scope{v, q.from.alias}
	if q.where != nil && !e.holds(q.where) {
		return undefined
	}
	return e.selected(q)
}

func (x *arrayLiteral) eval(e *env) value {
	items := make([]value, 0, len(x.items))
	for _, item := range x.items {
		items = append(items, item.eval(e))
	}
	return e.newArray(items)
}

func (x *objectLiteral) eval(e *env) value {
	out := &nested{}
	for i, item := range x.items {
		out.set(x.keys[i], item.eval(e))
	}
	return e.newObject(out)
}

func (x *call) eval(e *env) value {
	if x.tooNew {
		return null
	}
	if len(x.args) < x.fn.min || x.fn.max >= 0 && len(x.args) > x.fn.max {
		return undefined // developer guide, iot-sql-data-types, Undefined
	}
	if x.fn.special != nil {
		return x.fn.special(e, x)
	}
	args := make([]value, len(x.args))
	for i, arg := range x.args {
		args[i] = arg.eval(e)
		e.spend(args[i].size())
	}
	if e.err != nil {
		return undefined
	}
	return x.fn.apply(e, args)
}
