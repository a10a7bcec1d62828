package iotsql

import (
	"math"
	"math/big"
	"math/rand/v2"

	"github.com/cockroachdb/apd/v3"
)

// maybeInt: see kindsOf.
var maybeInt = setOf(intKind, undefinedKind)

// mathFunctions compute with numbers. Those of the reference's "Decimal (with
// double precision)" are computed by double.
var mathFunctions = []function{
	{name: "abs", min: 1, max: 1, returns: maybeNumber, apply: abs},
	{name: "acos", min: 1, max: 1, returns: maybeNumber, apply: double(arcCosine)},
	{name: "asin", min: 1, max: 1, returns: maybeNumber, apply: double(arcSine)},
	{name: "atan", min: 1, max: 1, returns: maybeNumber, apply: double(arcTangent)},
	{name: "atan2", min: 2, max: 2, returns: maybeNumber, apply: double2(arcTangent2)},
	{name: "bitand", min: 2, max: 2, returns: maybeInt, apply: bits((*big.Int).And)},
	{name: "bitor", min: 2, max: 2, returns: maybeInt, apply: bits((*big.Int).Or)},
	{name: "bitxor", min: 2, max: 2, returns: maybeInt, apply: bits((*big.Int).Xor)},
	{name: "bitnot", min: 1, max: 1, returns: maybeInt, apply: bitnot},
	{name: "ceil", min: 1, max: 1, returns: maybeInt, apply: rounded(apd.RoundCeiling)},
	{name: "cos", min: 1, max: 1, returns: maybeNumber, apply: double(cosine)},
	{name: "cosh", min: 1, max: 1, returns: maybeNumber, apply: double(hyperbolicCosine)},
	{name: "exp", min: 1, max: 1, returns: maybeNumber, apply: double(exponential)},
	{name: "floor", min: 1, max: 1, returns: maybeInt, apply: rounded(apd.RoundFloor)},
	{name: "ln", min: 1, max: 1, returns: maybeNumber, apply: double(logarithm)},
	{name: "log", min: 1, max: 1, returns: maybeNumber, apply: double(logarithm10)},
	{name: "mod", min: 2, max: 2, returns: maybeNumber, apply: remainder},
	{name: "nanvl", min: 2, max: 2, apply: nanvl},
	{name: "power", min: 2, max: 2, returns: maybeNumber, apply: double2(raise)},
	{name: "rand", returns: setOf(decimalKind), apply: random},
	{name: "remainder", min: 2, max: 2, returns: maybeNumber, apply: remainder},
	// The reference's examples round halves away from zero: round(1.5) = 2,
	// round(-1.5) = -2. Its table says "rounded down", which they contradict.
	{name: "round", min: 1, max: 1, returns: maybeInt, apply: rounded(apd.RoundHalfUp)},
	{name: "sign", min: 1, max: 1, returns: maybeInt, apply: signOf},
	{name: "sin", min: 1, max: 1, returns: maybeNumber, apply: double(sine)},
	{name: "sinh", min: 1, max: 1, returns: maybeNumber, apply: double(hyperbolicSine)},
	{name: "sqrt", min: 1, max: 1, returns: maybeNumber, apply: double(math.Sqrt)},
	{name: "tan", min: 1, max: 1, returns: maybeNumber, apply: double(tangent)},
	{name: "tanh", min: 1, max: 1, returns: maybeNumber, apply: double(hyperbolicTangent)},
	{name: "trunc", min: 2, max: 2, returns: maybeNumber, apply: trunc},
}

func random(e *env, _ []value) value {
	return floatValue(rand.Float64(), e.ver) //nolint:gosec // the reference says pseudorandom
}

// doubleWork is what a function of double.go costs, compared with reading bytes.
const doubleWork = 2048

func double(f func(float64) float64) func(*env, []value) value {
	return func(e *env, args []value) value {
		x, ok := toFloat(args[0], e.ver)
		if !ok || !e.spend(doubleWork) {
			return undefined
		}
		return floatValue(f(x), e.ver)
	}
}

func double2(f func(x, y float64) float64) func(*env, []value) value {
	return func(e *env, args []value) value {
		x, ok := toFloat(args[0], e.ver)
		y, ok2 := toFloat(args[1], e.ver)
		if !ok || !ok2 || !e.spend(doubleWork) {
			return undefined
		}
		return floatValue(f(x, y), e.ver)
	}
}

func toFloat(v value, ver Version) (float64, bool) {
	d := toDecimal(v, ver)
	if d == nil {
		return 0, false
	}
	f, err := d.Float64()
	return f, err == nil
}

// toDecimal returns a number or a String that is one, or nil.
func toDecimal(v value, ver Version) *apd.Decimal {
	n, ok := toNumber(v, ver)
	if !ok {
		return nil
	}
	return parseDecimal(n.text)
}

// numberLike is a result in the type of the argument: Int for an Int, Decimal
// for anything else.
func numberLike(arg value, d *apd.Decimal, ver Version) value {
	if arg.kind == intKind {
		return intValue(d)
	}
	return decimalValue(d, ver)
}

func abs(e *env, args []value) value {
	d := toDecimal(args[0], e.ver)
	if d == nil {
		return undefined
	}
	d.Negative = false
	return numberLike(args[0], d, e.ver)
}

func rounded(rule apd.Rounder) func(*env, []value) value {
	return func(e *env, args []value) value {
		d := toDecimal(args[0], e.ver)
		if d == nil {
			return undefined
		}
		return intValue(roundTo(d, rule))
	}
}

func signOf(e *env, args []value) value {
	d := toDecimal(args[0], e.ver)
	if d == nil {
		return undefined
	}
	return int64Value(int64(d.Sign()))
}

func remainder(e *env, args []value) value {
	a, ok := toNumber(args[0], e.ver)
	b, ok2 := toNumber(args[1], e.ver)
	if !ok || !ok2 {
		return undefined
	}
	return arithmetic("%", a, b, e.ver)
}

func nanvl(_ *env, args []value) value {
	if args[0].kind == undefinedKind || args[0].kind == nullKind {
		return args[1]
	}
	return args[0]
}

func bits(f func(z, x, y *big.Int) *big.Int) func(*env, []value) value {
	return func(e *env, args []value) value {
		x, y := toBig(args[0], e.ver), toBig(args[1], e.ver)
		if x == nil || y == nil {
			return undefined
		}
		return bigValue(f(x, x, y))
	}
}

func bitnot(e *env, args []value) value {
	x := toBig(args[0], e.ver)
	if x == nil {
		return undefined
	}
	return bigValue(x.Not(x))
}

// toBig rounds a number down to an Int; nil if it is none of at most 34 digits.
func toBig(v value, ver Version) *big.Int {
	d := toDecimal(v, ver)
	if d == nil {
		return nil
	}
	n := intValue(roundTo(d, apd.RoundFloor))
	if n.kind != intKind {
		return nil
	}
	x, ok := new(big.Int).SetString(n.text, 10)
	if !ok {
		return nil
	}
	return x
}

func bigValue(x *big.Int) value {
	d := parseDecimal(x.String())
	if d == nil {
		return undefined
	}
	return intValue(d)
}

// trunc cuts a number off after 0 to 34 decimal places and strips zeros at the
// end.
func trunc(e *env, args []value) value {
	d := toDecimal(args[0], e.ver)
	if d == nil || !args[1].isNumber() {
		return undefined
	}
	places := int32(min(max(clampedInt(args[1], e.ver), 0), maxDigits))
	if d.Exponent < -places {
		c := *decimals
		c.Rounding = apd.RoundDown
		if _, err := c.Quantize(d, d, -places); err != nil {
			return undefined
		}
	}
	stripZeros(d, 0)
	return numberLike(args[0], d, e.ver)
}

// clampedInt rounds a number, or a String that is one, down to an int64; what
// is beyond that range becomes its end.
func clampedInt(v value, ver Version) int64 {
	d := toDecimal(v, ver)
	switch {
	case d == nil:
		return 0
	case int64(d.Exponent)+d.NumDigits() > 18 && d.Negative:
		return math.MinInt64
	case int64(d.Exponent)+d.NumDigits() > 18:
		return math.MaxInt64
	}
	n, _ := smallInt(intValue(roundTo(d, apd.RoundFloor)).text)
	return n
}
