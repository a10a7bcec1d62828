package iotsql

import (
	"crypto/md5" //nolint:gosec // the reference lists it
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // the reference lists it
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/cockroachdb/apd/v3"
)

// dataFunctions look into values, make new ones and translate them.
var dataFunctions = []function{
	{name: "decode", min: 2, max: 6, added: true, fixed: []int{1}, special: decode},
	{name: "encode", min: 2, max: 2, added: true, fixed: []int{1}, returns: maybeString, special: encode},
	{name: "get", min: 2, max: 2, apply: get},
	{name: "get_or_default", min: 1, max: 2, added: true, special: getOrDefault},
	{name: "isNull", min: 1, max: 1, returns: setOf(booleanKind), apply: func(_ *env, args []value) value { return boolean(args[0].kind == nullKind) }},
	{name: "isUndefined", min: 1, max: 1, added: true, returns: setOf(booleanKind), apply: func(_ *env, args []value) value { return boolean(args[0].kind == undefinedKind) }},
	{name: "md2", min: 1, max: 1, returns: maybeString, apply: hash(64, md2)},
	{name: "md5", min: 1, max: 1, returns: maybeString, apply: hash(4, func(b []byte) []byte { s := md5.Sum(b); return s[:] })}, //nolint:gosec // the reference lists it
	{name: "newuuid", returns: setOf(stringKind), apply: newUUID},
	{name: "sha1", min: 1, max: 1, returns: maybeString, apply: hash(4, func(b []byte) []byte { s := sha1.Sum(b); return s[:] })}, //nolint:gosec // the reference lists it
	{name: "sha224", min: 1, max: 1, returns: maybeString, apply: hash(4, func(b []byte) []byte { s := sha256.Sum224(b); return s[:] })},
	{name: "sha256", min: 1, max: 1, returns: maybeString, apply: hash(4, func(b []byte) []byte { s := sha256.Sum256(b); return s[:] })},
	{name: "sha384", min: 1, max: 1, returns: maybeString, apply: hash(4, func(b []byte) []byte { s := sha512.Sum384(b); return s[:] })},
	{name: "sha512", min: 1, max: 1, returns: maybeString, apply: hash(4, func(b []byte) []byte { s := sha512.Sum512(b); return s[:] })},
	{name: "transform", min: 3, max: 3, added: true, fixed: []int{0}, returns: setOf(arrayKind, undefinedKind), apply: transform},
}

// errService tells a service's own failure from others.
var errService = errors.New("failed")

// serviceFunctions call other AWS services, or read what MQTT 5 adds to a
// message; Message.Services has them.
var serviceFunctions = []function{
	{name: "aws_lambda", min: 2, max: 2, special: service},
	{name: "get_dynamodb", min: 4, max: 6, added: true, fixed: []int{-1}, special: service},
	{name: "get_mqtt_property", min: 1, max: 1, added: true, returns: maybeString, special: service},
	{name: "get_registry_data", min: 3, max: 3, added: true, fixed: []int{-1}, special: service},
	{name: "get_secret", min: 3, max: 4, added: true, fixed: []int{-1}, special: service},
	{name: "get_thing_shadow", min: 2, max: 3, added: true, fixed: []int{-1}, special: service},
	{name: "get_user_properties", max: 1, added: true, returns: setOf(arrayKind, undefinedKind), special: service},
	{name: "machinelearning_predict", min: 3, max: 3, fixed: []int{1}, special: service},
}

// getOrDefault is the second argument, or Undefined without one, if the first
// is Null, Undefined or a call that fails. A function that is not available here
// does not fail: what it would return is not known.
func getOrDefault(e *env, c *call) value {
	v := c.args[0].eval(e)
	if e.err != nil && errors.Is(e.err, errService) && !errors.Is(e.err, ErrNotAvailable) {
		e.err, v = nil, undefined
	}
	switch {
	case v.kind != undefinedKind && v.kind != nullKind:
		return v
	case len(c.args) == 1:
		return undefined
	}
	return c.args[1].eval(e)
}

func service(e *env, c *call) value {
	if e.m.Services == nil {
		return e.fail(fmt.Errorf("%s is %w: it calls another service", c.fn.name, ErrNotAvailable))
	}
	args := make([][]byte, len(c.args))
	for i, x := range c.args {
		if v := serviceArgument(e, c.fn, x); v.kind != undefinedKind {
			args[i] = appendJSON([]byte{}, v)
		}
	}
	if e.err != nil {
		return undefined
	}
	answer, err := e.m.Services.Call(c.fn.name, args)
	switch {
	case err != nil:
		return e.fail(fmt.Errorf("%s %w: %w", c.fn.name, errService, err))
	case len(answer) > MaxOutputBytes:
		return e.tooLarge(len(answer))
	case answer == nil:
		return undefined
	}
	text, ok := trimJSON(string(answer), e.ver)
	if !ok {
		return e.fail(fmt.Errorf("%s: the answer is not JSON", c.fn.name))
	}
	return jsonValue(text, e.ver)
}

func serviceArgument(e *env, fn *function, x expr) value {
	if _, all := x.(*star); all && fn.name == "decode" {
		return stringValue(base64.StdEncoding.EncodeToString(e.m.Payload))
	}
	return x.eval(e)
}

// get is an element of an Array, a character of a String or what an Object has
// under a key. Indexes count from 0: the reference's example get("abc", 1) =
// "a" contradicts its table and its example for an Array.
func get(e *env, args []value) value {
	from, at := args[0], args[1]
	if from.kind == objectKind {
		if at.kind != stringKind {
			return undefined
		}
		return e.member(from, at.text)
	}
	i, ok := toIndex(at, e.ver)
	if !ok {
		return undefined
	}
	switch from.kind {
	case arrayKind:
		if items := e.elements(from); i < int64(len(items)) {
			return items[i]
		}
	case stringKind:
		if chars := []rune(from.text); i < int64(len(chars)) {
			return stringValue(string(chars[i]))
		}
	}
	return undefined
}

// toIndex is the conversion to Int (developer guide, iot-sql-data-types): a
// Decimal is rounded to the nearest Int, a String's is cut off.
func toIndex(v value, ver Version) (i int64, ok bool) {
	d := toDecimal(v, ver)
	if d == nil {
		return 0, false
	}
	rule := apd.RoundHalfUp
	if v.kind == stringKind {
		rule = apd.RoundDown
	}
	i, ok = smallInt(intValue(roundTo(d, rule)).text)
	return i, ok && i >= 0
}

// rawArgument evaluates the first argument of encode and decode to a String.
// There * is the whole payload, whatever it is.
func rawArgument(e *env, x expr) (s string, ok bool) {
	if _, all := x.(*star); all && e.nested == nil {
		return string(e.m.Payload), true
	}
	return toString(x.eval(e))
}

const base64Scheme = "base64"

func encode(e *env, c *call) value {
	s, ok := rawArgument(e, c.args[0])
	scheme := c.args[1].eval(e)
	if !ok || scheme.kind != stringKind || scheme.text != base64Scheme {
		return undefined
	}
	return e.newString(base64.StdEncoding.EncodedLen(len(s)), func() string {
		return base64.StdEncoding.EncodeToString([]byte(s))
	})
}

// decode returns what a text in base64 says: a value if that is JSON, otherwise
// a String; Null if it cannot be decoded. The scheme 'proto' reads a
// descriptor from S3 and is a service.
func decode(e *env, c *call) value {
	scheme := c.args[1].eval(e)
	if scheme.kind == stringKind && scheme.text == "proto" && len(c.args) == 6 {
		return service(e, c)
	}
	s, ok := rawArgument(e, c.args[0])
	if !ok || len(c.args) > 2 || scheme.kind != stringKind || scheme.text != base64Scheme {
		return undefined
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil || !utf8.Valid(b) {
		return null
	}
	if text, ok := trimJSON(string(b), e.ver); ok {
		return jsonValue(text, e.ver)
	}
	return stringValue(string(b))
}

// hash is a sum in hexadecimal digits; work is what it costs for each byte,
// compared with reading it.
func hash(work int, sum func([]byte) []byte) func(*env, []value) value {
	return func(e *env, args []value) value {
		s, ok := toString(args[0])
		if !ok || !e.spend(work*len(s)) {
			return undefined
		}
		return stringValue(hex.EncodeToString(sum([]byte(s))))
	}
}

// newUUID is a random UUID (RFC 9562, version 4).
func newUUID(*env, []value) value {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return stringValue(fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]))
}

// only is the item of an Array that has one item, of this type; otherwise v.
func (e *env) only(k kind, v value) value {
	if v.kind == arrayKind {
		if items := e.elements(v); len(items) == 1 && items[0].kind == k {
			return items[0]
		}
	}
	return v
}

// maxTransformBytes is from the reference's note on transform.
const maxTransformBytes = 128 * 1024

// transform is its one mode, enrichArray: each Object of the Array with the
// attributes of the Object added. An attribute that both have is the Object's
// [LIVE]. Either may be the one item of an Array, as a nested SELECT over an
// Object makes it (developer guide, iot-sql-functions, transform example 3).
func transform(e *env, args []value) value {
	mode, object, array := args[0], e.only(objectKind, args[1]), e.only(arrayKind, args[2])
	if mode.kind != stringKind || mode.text != "enrichArray" || object.kind != objectKind || array.kind != arrayKind {
		return undefined
	}
	var items []value
	size := 0
	for _, element := range e.elements(array) {
		if element.kind != objectKind {
			return undefined
		}
		out := &nested{}
		e.merge(out, element)
		e.merge(out, object)
		if size += out.size; size > maxTransformBytes {
			return e.fail(fmt.Errorf("%w: transform returns at most %d bytes", ErrOutputTooLarge, maxTransformBytes))
		}
		items = append(items, e.newObject(out))
	}
	return e.newArray(items)
}
