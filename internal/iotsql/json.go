package iotsql

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxPayloadDepth bounds how deep a payload's arrays and objects nest.
const maxPayloadDepth = 512

// The functions here read JSON (RFC 8259) in place: a payload is checked once
// from end to end, and on the way the values of the paths that a statement names
// are noted. Nothing else is decoded.

// skipSpace returns the first index from i on that is no white space.
func skipSpace(s string, i int) int {
	for i < len(s) && (s[i] == ' ' || s[i] == '\n' || s[i] == '\r' || s[i] == '\t') {
		i++
	}
	return i
}

// trimJSON returns a JSON text without the white space around it, and as the
// version has its numbers; ok is false if s is not one JSON text.
func trimJSON(s string, ver Version) (text string, ok bool) {
	c := checker{s: s}
	if text, ok = c.document(nil); ok && c.whole && ver != V2015 {
		text = ints(text)
	}
	return text, ok
}

// A pathNode is a name in the tree of all paths of a statement.
type pathNode struct {
	slot     int // where the value of the path that ends here is noted, or -1
	name     string
	children []*pathNode
	byName   map[string]*pathNode // the children, if there are many
}

// add enters a path and returns its slot; next is the first free one.
func (n *pathNode) add(names []string, next int) (slot int) {
	for _, name := range names {
		child := n.child(name)
		if child == nil {
			child = &pathNode{slot: -1, name: name}
			n.adopt(child)
		}
		n = child
	}
	if n.slot < 0 {
		n.slot = next
	}
	return n.slot
}

func (n *pathNode) adopt(child *pathNode) {
	n.children = append(n.children, child)
	switch {
	case n.byName != nil:
		n.byName[child.name] = child
	case len(n.children) > manyKeys:
		n.byName = map[string]*pathNode{}
		for _, c := range n.children {
			n.byName[c.name] = c
		}
	}
}

func (n *pathNode) child(name string) *pathNode {
	if n.byName != nil {
		return n.byName[name]
	}
	for _, c := range n.children {
		if c.name == name {
			return c
		}
	}
	return nil
}

// clone copies a tree, for more paths to be added.
func (n *pathNode) clone() *pathNode {
	out := &pathNode{slot: n.slot, name: n.name}
	for _, c := range n.children {
		out.adopt(c.clone())
	}
	return out
}

// named returns the child that a key in its quotes stands for, or nil.
func (n *pathNode) named(quoted string) *pathNode {
	if n.byName != nil {
		return n.byName[unquoteJSON(quoted)]
	}
	for _, c := range n.children {
		if nameIs(quoted, c.name) {
			return c
		}
	}
	return nil
}

// A checker checks JSON and notes the values of paths.
type checker struct {
	s     string
	found []string // the text of each slot's value, empty if there is none
	loose bool     // there is insignificant white space
	whole bool     // there may be numbers that ints writes differently
}

// document checks one JSON text with white space around it.
func (c *checker) document(paths *pathNode) (text string, ok bool) {
	start := c.space(0)
	end := c.value(start, 0, paths)
	if end < 0 || c.space(end) != len(c.s) {
		return "", false
	}
	return c.s[start:end], true
}

func (c *checker) space(i int) int {
	if i < len(c.s) && c.s[i] > ' ' {
		return i
	}
	end := skipSpace(c.s, i)
	c.loose = c.loose || end > i
	return end
}

// value returns the end of the JSON value that begins at i, or -1 if there is
// none. n holds the paths that go on below it, nil if there are none.
func (c *checker) value(i, depth int, n *pathNode) int {
	s := c.s
	if i >= len(s) || depth > maxPayloadDepth {
		return -1
	}
	switch s[i] {
	case '"':
		return checkString(s, i)
	case '{':
		return c.object(i, depth, n)
	case '[':
		return c.array(i, depth)
	case 't':
		return checkWord(s, i, "true")
	case 'f':
		return checkWord(s, i, "false")
	case 'n':
		return checkWord(s, i, "null")
	}
	end := checkNumber(s, i)
	if end > 0 && !c.whole {
		c.whole = mayBeWhole(s[i:end])
	}
	return end
}

func checkWord(s string, i int, word string) int {
	if strings.HasPrefix(s[i:], word) {
		return i + len(word)
	}
	return -1
}

func (c *checker) object(i, depth int, n *pathNode) int {
	i = c.space(i + 1)
	if i < len(c.s) && c.s[i] == '}' {
		return i + 1
	}
	for i < len(c.s) && c.s[i] == '"' {
		if i = c.member(i, depth, n); i < 0 {
			return -1
		}
		if i = c.space(i); i >= len(c.s) {
			return -1
		}
		if c.s[i] == '}' {
			return i + 1
		}
		if c.s[i] != ',' {
			return -1
		}
		i = c.space(i + 1)
	}
	return -1
}

// member checks a key and its value. Of several equal keys the last counts.
func (c *checker) member(i, depth int, n *pathNode) int {
	end := checkString(c.s, i)
	if end < 0 {
		return -1
	}
	var below *pathNode
	if n != nil {
		below = n.named(c.s[i:end])
	}
	if i = c.space(end); i >= len(c.s) || c.s[i] != ':' {
		return -1
	}
	i = c.space(i + 1)
	if below == nil {
		return c.value(i, depth+1, nil)
	}
	c.forget(below)
	if end = c.value(i, depth+1, below); end >= 0 && below.slot >= 0 {
		c.found[below.slot] = c.s[i:end]
	}
	return end
}

// forget takes back what an earlier key of the same name has left.
func (c *checker) forget(n *pathNode) {
	if n.slot >= 0 {
		c.found[n.slot] = ""
	}
	for _, child := range n.children {
		c.forget(child)
	}
}

func (c *checker) array(i, depth int) int {
	i = c.space(i + 1)
	if i < len(c.s) && c.s[i] == ']' {
		return i + 1
	}
	for {
		if i = c.value(i, depth+1, nil); i < 0 {
			return -1
		}
		if i = c.space(i); i >= len(c.s) {
			return -1
		}
		if c.s[i] == ']' {
			return i + 1
		}
		if c.s[i] != ',' {
			return -1
		}
		i = c.space(i + 1)
	}
}

// plain are the bytes that stand for themselves in a JSON string and need no
// check.
var plain = func() (table [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		table[c] = c != '"' && c != '\\'
	}
	return table
}()

func checkString(s string, i int) int {
	start, ascii := i, true
	for i++; i < len(s); i++ {
		if plain[s[i]] {
			continue
		}
		switch c := s[i]; {
		case c == '"':
			if !ascii && !utf8.ValidString(s[start:i]) {
				return -1
			}
			return i + 1
		case c == '\\':
			if i = checkEscape(s, i); i < 0 {
				return -1
			}
		case c < ' ':
			return -1
		default:
			ascii = false
		}
	}
	return -1
}

// checkEscape returns the last index of the escape that begins at i.
func checkEscape(s string, i int) int {
	if i+1 >= len(s) {
		return -1
	}
	if s[i+1] != 'u' {
		if strings.IndexByte(`"\/bfnrt`, s[i+1]) < 0 {
			return -1
		}
		return i + 1
	}
	if i+5 >= len(s) {
		return -1
	}
	for _, c := range []byte(s[i+2 : i+6]) {
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') {
			return -1
		}
	}
	return i + 5
}

func checkNumber(s string, i int) int {
	if s[i] == '-' {
		i++
	}
	start := i
	if i = skipDigits(s, i); i == start || i > start+1 && s[start] == '0' {
		return -1
	}
	if i < len(s) && s[i] == '.' {
		start = i + 1
		if i = skipDigits(s, start); i == start {
			return -1
		}
	}
	if i < len(s) && s[i]|0x20 == 'e' {
		if i++; i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		start = i
		if i = skipDigits(s, start); i == start {
			return -1
		}
	}
	return i
}

// mayBeWhole reports whether a number is written with a fraction or exponent
// and may yet be whole, or is -0.
func mayBeWhole(number string) bool {
	for i := 0; i < len(number); i++ {
		switch number[i] {
		case '.':
			rest := strings.TrimLeft(number[i+1:], "0")
			return rest == "" || strings.ContainsAny(rest, "eE")
		case 'e', 'E':
			return true
		}
	}
	return number == "-0"
}

// ints writes checked JSON with its whole numbers as Ints, as versions later than
// 2015-10-08 process them: 10.0 becomes 10 (developer guide, iot-sql-data-types,
// Decimal). All else stays as it is.
func ints(s string) string {
	var b strings.Builder
	start := 0
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '"':
			i = skipString(s, i)
		case c == '-' || c >= '0' && c <= '9':
			end := skipValue(s, i)
			if mayBeWhole(s[i:end]) {
				if v := asInt(numberValue(s[i:end], V2016)); v.kind == intKind {
					b.WriteString(s[start:i])
					b.WriteString(v.text)
					start = end
				}
			}
			i = end
		default:
			i++
		}
	}
	b.WriteString(s[start:])
	return b.String()
}

func skipDigits(s string, i int) int {
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	return i
}

// skipValue returns the end of the value that begins at i of checked JSON.
func skipValue(s string, i int) int {
	switch s[i] {
	case '"':
		return skipString(s, i)
	case '{', '[':
		return skipNested(s, i)
	}
	for i < len(s) && strings.IndexByte(",]} \n\r\t", s[i]) < 0 {
		i++
	}
	return i
}

func skipString(s string, i int) int {
	for i++; s[i] != '"'; i++ {
		if s[i] == '\\' {
			i++
		}
	}
	return i + 1
}

func skipNested(s string, i int) int {
	for depth := 0; ; i++ {
		switch s[i] {
		case '"':
			i = skipString(s, i) - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
}

// jsonMember returns the text of the value under key in a checked JSON object,
// or "" if it has none. Of several equal keys the last counts.
func jsonMember(object, key string) string {
	found := ""
	for name, text := range jsonMembers(object) {
		if nameIs(name, key) {
			found = text
		}
	}
	return found
}

// nameIs reports whether a key in its quotes is this key.
func nameIs(name, key string) bool {
	inner := name[1 : len(name)-1]
	if len(inner) <= len(key) { // an escape is longer than what it stands for
		return inner == key
	}
	return strings.IndexByte(inner, '\\') >= 0 && unquoteJSON(name) == key
}

// jsonMembers yields the keys, in their quotes, and value texts of a checked
// JSON object.
func jsonMembers(object string) func(yield func(name, text string) bool) {
	return func(yield func(name, text string) bool) {
		for i := skipSpace(object, 1); object[i] == '"'; {
			end := skipString(object, i)
			name := object[i:end]
			start := skipSpace(object, skipSpace(object, end)+1)
			end = skipValue(object, start)
			if !yield(name, object[start:end]) {
				return
			}
			if i = skipSpace(object, end); object[i] == ',' {
				i = skipSpace(object, i+1)
			}
		}
	}
}

// jsonElements yields the value texts of a checked JSON array.
func jsonElements(array string) func(yield func(text string) bool) {
	return func(yield func(text string) bool) {
		for i := skipSpace(array, 1); array[i] != ']'; {
			end := skipValue(array, i)
			if !yield(array[i:end]) {
				return
			}
			if i = skipSpace(array, end); array[i] == ',' {
				i = skipSpace(array, i+1)
			}
		}
	}
}

// unquoteJSON returns the characters of a checked JSON string. A lone half of
// a surrogate pair becomes U+FFFD.
func unquoteJSON(quoted string) string {
	s := quoted[1 : len(quoted)-1]
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch s[i] {
		case 'u':
			r := hexRune(s[i+1:])
			i += 4
			if utf16.IsSurrogate(r) {
				pair := rune(utf8.RuneError)
				if strings.HasPrefix(s[i+1:], `\u`) {
					pair = utf16.DecodeRune(r, hexRune(s[i+3:]))
				}
				if pair != utf8.RuneError {
					i += 6
				}
				r = pair
			}
			b.WriteRune(r)
		case 'b', 'f', 'n', 'r', 't':
			b.WriteByte("\b\f\n\r\t"[strings.IndexByte("bfnrt", s[i])])
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func hexRune(s string) rune {
	n, _ := strconv.ParseUint(s[:4], 16, 32) // four hexadecimal digits, checked before
	return rune(n)
}

// appendString writes a JSON string with no more escapes than JSON requires.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c >= 0x20:
			b = append(b, c)
		case strings.IndexByte("\b\f\n\r\t", c) >= 0:
			b = append(b, '\\', "bfnrt"[strings.IndexByte("\b\f\n\r\t", c)])
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(b, '"')
}

// appendCompact writes checked JSON without its insignificant white space.
// Numbers, strings and the order of keys stay as they are.
func appendCompact(b []byte, s string) []byte {
	start := 0
	for i := 0; i < len(s); {
		switch s[i] {
		case '"':
			i = skipString(s, i)
		case ' ', '\n', '\r', '\t':
			b = append(b, s[start:i]...)
			i = skipSpace(s, i)
			start = i
		default:
			i++
		}
	}
	return append(b, s[start:]...)
}
