package iotsql

import "fmt"

// maxWork bounds what one evaluation reads and makes, in bytes. A statement
// over the largest message that looks at it from end to end for each of a
// hundred columns is far below it.
const maxWork = 64 * 1024 * 1024

// itemWork is what decoding an element or member costs, besides its text.
const itemWork = 64

// spend counts work; it reports false when there has been too much.
func (e *env) spend(bytes int) bool {
	if e.work += bytes; e.work > maxWork {
		e.fail(fmt.Errorf("%w: more than %d MiB were read or made", ErrTooMuchWork, maxWork>>20))
	}
	return e.err == nil
}

func (e *env) tooLarge(bytes int) value {
	return e.fail(fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrOutputTooLarge, bytes, MaxOutputBytes))
}

// newString makes a String unless its length is above the limit.
func (e *env) newString(length int, make func() string) value {
	if length > MaxOutputBytes {
		return e.tooLarge(length)
	}
	if !e.spend(length) {
		return undefined
	}
	return stringValue(make())
}

// newArray makes an Array unless it is above the limit. Undefined items are
// not kept.
func (e *env) newArray(items []value) value {
	n := &nested{items: make([]value, 0, len(items)), size: len("[]")}
	for _, item := range items {
		if item.kind != undefinedKind {
			n.items = append(n.items, item)
			n.size += item.size() + len(",")
		}
	}
	return e.newNested(arrayKind, n)
}

// newObject makes an Object unless it is above the limit.
func (e *env) newObject(n *nested) value { return e.newNested(objectKind, n) }

func (e *env) newNested(k kind, n *nested) value {
	if n.size > MaxOutputBytes {
		return e.tooLarge(n.size)
	}
	if !e.spend(n.size) {
		return undefined
	}
	return value{kind: k, nested: n}
}

// member returns what an Object has under a key; Undefined if nothing, or if v
// is no Object.
func (e *env) member(v value, key string) value {
	switch {
	case v.kind != objectKind:
		return undefined
	case v.nested != nil:
		return v.nested.get(key)
	case !e.spend(len(v.text)):
		return undefined
	}
	if text := jsonMember(v.text, key); text != "" {
		return jsonValue(text, e.ver)
	}
	return undefined
}

// members returns the members of an Object. Of equal keys the last counts, in
// the place of the first.
func (e *env) members(v value) *nested {
	if v.nested != nil {
		e.spend(v.nested.size)
		return v.nested
	}
	n := &nested{}
	if e.spend(len(v.text)) {
		for name, text := range jsonMembers(v.text) {
			n.set(unquoteJSON(name), jsonValue(text, e.ver))
		}
		e.spend(itemWork * len(n.items))
	}
	return n
}

// elements returns the items of an Array.
func (e *env) elements(v value) []value {
	if v.nested != nil {
		e.spend(v.nested.size)
		return v.nested.items
	}
	var items []value
	if e.spend(len(v.text)) {
		for text := range jsonElements(v.text) {
			items = append(items, jsonValue(text, e.ver))
		}
		e.spend(itemWork * len(items))
	}
	return items
}

// equal is the = operator for two values that are not Undefined: no
// conversion, numbers by amount, Arrays in order, Objects in any order
// (developer guide, iot-sql-operators).
func (e *env) equal(a, b value) bool {
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
		return e.equalItems(e.elements(a), e.elements(b))
	case objectKind:
		return e.equalMembers(e.members(a), e.members(b))
	}
	return true
}

func (e *env) equalItems(a, b []value) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !e.equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

func (e *env) equalMembers(a, b *nested) bool {
	if len(a.keys) != len(b.keys) {
		return false
	}
	for i, key := range a.keys {
		at := b.find(key)
		if at < 0 || !e.equal(a.items[i], b.items[at]) {
			return false
		}
	}
	return true
}
