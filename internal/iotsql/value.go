package iotsql

import (
	"slices"
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
// None of them is Undefined.
type nested struct {
	keys  []string // of an Object
	items []value
	at    map[string]int // where each key is, of an Object with many
	size  int            // of the JSON, but for escapes
}

var (
	undefined = value{}
	null      = value{kind: nullKind}
)

func boolean(b bool) value { return value{kind: booleanKind, bool: b} }

func stringValue(s string) value { return value{kind: stringKind, text: s} }

// size is about how many bytes of JSON the value makes.
func (v value) size() int {
	if v.nested != nil {
		return v.nested.size
	}
	return len(v.text) + len(`""`)
}

// manyKeys is from how many on keys are searched by map.
const manyKeys = 16

// find returns the place of a key in an Object, or -1.
func (n *nested) find(key string) int {
	if n.at != nil {
		if i, ok := n.at[key]; ok {
			return i
		}
		return -1
	}
	return slices.Index(n.keys, key)
}

// set gives a key of an Object in the making its value. Undefined values are
// not kept.
func (n *nested) set(key string, v value) {
	if v.kind == undefinedKind {
		return
	}
	if i := n.find(key); i >= 0 {
		n.size += v.size() - n.items[i].size()
		n.items[i] = v
		return
	}
	n.keys = append(n.keys, key)
	n.items = append(n.items, v)
	n.size += len(key) + v.size() + len(`"":,`)
	if n.at != nil {
		n.at[key] = len(n.keys) - 1
	} else if len(n.keys) > manyKeys {
		n.at = make(map[string]int, 2*len(n.keys))
		for i, k := range n.keys {
			n.at[k] = i
		}
	}
}

func (n *nested) get(key string) value {
	if i := n.find(key); i >= 0 {
		return n.items[i]
	}
	return undefined
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
	for i, item := range v.nested.items {
		if i > 0 {
			b = append(b, ',')
		}
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

func (v value) isNumber() bool { return v.kind == intKind || v.kind == decimalKind }
