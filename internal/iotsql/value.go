package iotsql

import (
	"strings"
)

// A kind is a data type of AWS IoT SQL (developer guide, iot-sql-data-types).
type kind uint8

const (
	undefinedKind kind = iota
	nullKind
	booleanKind
	intKind
	decimalKind
	stringKind
	arrayKind
	objectKind
)

var kindNames = [...]string{"Undefined", "Null", "Boolean", "Int", "Decimal", "String", "Array", "Object"}

func (k kind) String() string { return kindNames[k] }

// A value is the result of an expression. Values are never changed once made.
type value struct {
	kind kind
	bool bool
	// text is a String's characters, a number's digits as they print or, of an
	// Array or Object whose nested is nil, checked JSON from a payload.
	text   string
	nested *nested
}

// A nested holds the items of an Array, or the members of an Object in order.
type nested struct {
	keys  []string // of an Object
	items []value
}

var (
	undefined = value{}
	null      = value{kind: nullKind}
)

func boolean(b bool) value { return value{kind: booleanKind, bool: b} }

func stringValue(s string) value { return value{kind: stringKind, text: s} }

func arrayValue(items []value) value { return value{kind: arrayKind, nested: &nested{items: items}} }

func objectValue(n *nested) value { return value{kind: objectKind, nested: n} }

// set gives a key of an Object in the making its value. Undefined values are
// not kept.
func (n *nested) set(key string, v value) {
	if v.kind == undefinedKind {
		return
	}
	for i, k := range n.keys {
		if k == key {
			n.items[i] = v
			return
		}
	}
	n.keys = append(n.keys, key)
	n.items = append(n.items, v)
}

func (n *nested) get(key string) value {
	for i, k := range n.keys {
		if k == key {
			return n.items[i]
		}
	}
	return undefined
}

// member returns what an Object has under a key; Undefined if nothing, or if v
// is no Object.
func (v value) member(key string, ver Version) value {
	switch {
	case v.kind != objectKind:
		return undefined
	case v.nested != nil:
		return v.nested.get(key)
	}
	if text := jsonMember(v.text, key); text != "" {
		return jsonValue(text, ver)
	}
	return undefined
}

// members returns the members of an Object. Of equal keys the last counts, in
// the place of the first.
func (v value) members(ver Version) *nested {
	if v.nested != nil {
		return v.nested
	}
	n := &nested{}
	at := map[string]int{}
	for name, text := range jsonMembers(v.text) {
		key, item := unquoteJSON(name), jsonValue(text, ver)
		if i, ok := at[key]; ok {
			n.items[i] = item
			continue
		}
		at[key] = len(n.keys)
		n.keys = append(n.keys, key)
		n.items = append(n.items, item)
	}
	return n
}

// elements returns the items of an Array.
func (v value) elements(ver Version) []value {
	if v.nested != nil {
		return v.nested.items
	}
	var items []value
	for text := range jsonElements(v.text) {
		items = append(items, jsonValue(text, ver))
	}
	return items
}

// jsonValue is the value of checked JSON.
func jsonValue(text string, ver Version) value {
	switch text[0] {
	case '"':
		return stringValue(unquoteJSON(text))
	case '{':
		return value{kind: objectKind, text: text}
	case '[':
		return value{kind: arrayKind, text: text}
	case 't':
		return boolean(true)
	case 'f':
		return boolean(false)
	case 'n':
		return null
	}
	return numberValue(text, ver)
}

// appendJSON writes a value; Undefined writes nothing.
func appendJSON(b []byte, v value) []byte {
	switch v.kind {
	case undefinedKind:
		return b
	case nullKind:
		return append(b, "null"...)
	case booleanKind:
		return append(b, booleanText(v.bool)...)
	case stringKind:
		return appendString(b, v.text)
	case intKind, decimalKind:
		return append(b, v.text...)
	}
	if v.nested == nil {
		return appendCompact(b, v.text)
	}
	open, end := byte('['), byte(']')
	if v.kind == objectKind {
		open, end = '{', '}'
	}
	b = append(b, open)
	first := true
	for i, item := range v.nested.items {
		if item.kind == undefinedKind {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		if v.kind == objectKind {
			b = append(appendString(b, v.nested.keys[i]), ':')
		}
		b = appendJSON(b, item)
	}
	return append(b, end)
}

func booleanText(b bool) string {
	if b {
		return "true"
	}
	return "false"
}

// toString is the conversion to String (developer guide, iot-sql-data-types);
// ok is false for Undefined.
func toString(v value) (s string, ok bool) {
	switch v.kind {
	case undefinedKind, nullKind:
		return "", false
	case booleanKind:
		return booleanText(v.bool), true
	case stringKind, intKind, decimalKind:
		return v.text, true
	}
	return string(appendJSON(nil, v)), true
}

// toBoolean is the conversion to Boolean; ok is false for Undefined.
func toBoolean(v value) (b, ok bool) {
	switch {
	case v.kind == booleanKind:
		return v.bool, true
	case v.kind == stringKind && strings.EqualFold(v.text, "true"):
		return true, true
	case v.kind == stringKind && strings.EqualFold(v.text, "false"):
		return false, true
	}
	return false, false
}

// toNumber is the conversion of a function's or operator's argument to a number:
// a String becomes a Decimal. ok is false for Undefined, and for Null, which no
// function or operator takes for a number.
func toNumber(v value, ver Version) (number value, ok bool) {
	switch v.kind {
	case intKind, decimalKind:
		return v, true
	case stringKind:
		if isDecimalText(v.text) {
			n := numberValue(v.text, ver)
			return value{kind: decimalKind, text: n.text}, n.kind != undefinedKind
		}
	}
	return undefined, false
}

// isDecimalText reports whether a String converts to a number: it matches
// -?\d+(\.\d+)?([eE]-?\d+)? (developer guide, iot-sql-data-types).
func isDecimalText(s string) bool {
	i := 0
	if strings.HasPrefix(s, "-") {
		i++
	}
	start := i
	if i = skipDigits(s, i); i == start {
		return false
	}
	if i < len(s) && s[i] == '.' {
		start = i + 1
		if i = skipDigits(s, start); i == start {
			return false
		}
	}
	if i < len(s) && s[i]|0x20 == 'e' {
		i++
		if i < len(s) && s[i] == '-' {
			i++
		}
		start = i
		if i = skipDigits(s, start); i == start {
			return false
		}
	}
	return i == len(s)
}

// equal is the = operator for two values that are not Undefined: no
// conversion, numbers by amount, Arrays in order, Objects in any order
// (developer guide, iot-sql-operators).
func equal(a, b value, ver Version) bool {
	switch {
	case a.isNumber() && b.isNumber():
		return compareNumbers(a.text, b.text) == 0
	case a.kind != b.kind:
		return false
	}
	switch a.kind {
	case booleanKind:
		return a.bool == b.bool
	case stringKind:
		return a.text == b.text
	case arrayKind:
		return equalItems(a.elements(ver), b.elements(ver), ver)
	case objectKind:
		return equalMembers(a.members(ver), b.members(ver), ver)
	}
	return true
}

func (v value) isNumber() bool { return v.kind == intKind || v.kind == decimalKind }

func equalItems(a, b []value, ver Version) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !equal(a[i], b[i], ver) {
			return false
		}
	}
	return true
}

func equalMembers(a, b *nested, ver Version) bool {
	if len(a.keys) != len(b.keys) {
		return false
	}
	other := make(map[string]value, len(b.keys))
	for i, key := range b.keys {
		other[key] = b.items[i]
	}
	for i, key := range a.keys {
		v, ok := other[key]
		if !ok || !equal(a.items[i], v, ver) {
			return false
		}
	}
	return true
}
