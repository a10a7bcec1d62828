package iotsql

import (
	"strings"

	"github.com/cockroachdb/apd/v3"
)

// eval converts as developer guide, iot-sql-functions, cast says: like the
// conversions of every function, and numbers to and from Boolean besides.
func (x *cast) eval(e *env) value {
	v := x.x.eval(e)
	name := strings.ToUpper(x.typ)
	switch castKinds[name] {
	case stringKind:
		if s, ok := toString(v); ok {
			return stringValue(s)
		}
	case booleanKind:
		return castBoolean(v)
	default:
		return castNumber(v, name, e.ver)
	}
	return undefined
}

func castBoolean(v value) value {
	if v.isNumber() {
		return boolean(compareNumbers(v.text, "0") != 0)
	}
	if b, ok := toBoolean(v); ok {
		return boolean(b)
	}
	return undefined
}

// castNumber casts to Int, which rounds down, to Decimal or to Double.
func castNumber(v value, name string, ver Version) value {
	if v.kind == booleanKind {
		v = value{kind: decimalKind, text: map[bool]string{true: "1.0", false: "0.0"}[v.bool]}
	}
	d := toDecimal(v, ver)
	switch {
	case d == nil:
		return undefined
	case castKinds[name] == intKind:
		return intValue(roundTo(d, apd.RoundFloor))
	case name == "DOUBLE":
		f, err := d.Float64()
		if err != nil {
			return undefined
		}
		v = floatValue(f, ver)
	default:
		v = decimalValue(d, ver)
	}
	if ver != V2015 {
		return asInt(v) // "return an Int value (10) instead of the expected Decimal value (10.0)"
	}
	return v
}
