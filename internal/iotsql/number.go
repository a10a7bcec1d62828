package iotsql

import (
	"math"
	"strconv"
	"strings"

	"github.com/cockroachdb/apd/v3"
)

// A Decimal has 34 digits and a magnitude from 1E-999 to 9.999...E999 (developer
// guide, iot-sql-data-types).
const (
	maxDigits   = 34
	maxExponent = 999
)

// decimals rounds as decimal128 does, the format with 34 digits.
var decimals = &apd.Context{
	Precision:   maxDigits,
	MaxExponent: maxExponent,
	MinExponent: -maxExponent,
	Rounding:    apd.RoundHalfEven,
}

// parseDecimal reads a number's text, rounded to 34 digits. It returns nil if
// the magnitude is too large; one that is too small is zero.
func parseDecimal(text string) *apd.Decimal {
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		if _, err := strconv.ParseInt(text[i+1:], 10, 16); err != nil {
			return outOfRange(text[:i], text[i+1:])
		}
	}
	d := new(apd.Decimal)
	if _, _, err := decimals.SetString(d, text); err != nil {
		return nil
	}
	return inRange(d)
}

// outOfRange is a number whose exponent is beyond all limits.
func outOfRange(coefficient, exponent string) *apd.Decimal {
	if strings.HasPrefix(exponent, "-") || strings.Trim(coefficient, "-0.") == "" {
		return new(apd.Decimal)
	}
	return nil
}

// inRange returns a result of decimals, zero if it is too small, or nil if it
// is too large or no number.
func inRange(d *apd.Decimal) *apd.Decimal {
	switch {
	case d.Form != apd.Finite:
		return nil
	case d.IsZero():
		d.Negative = false
		return d
	}
	adjusted := int64(d.Exponent) + d.NumDigits() - 1
	switch {
	case adjusted > maxExponent:
		return nil
	case adjusted < -maxExponent:
		return new(apd.Decimal)
	}
	return d
}

// numberValue is the Int or Decimal that a number's text stands for. A
// magnitude beyond a Decimal's is Undefined. Where later versions than
// 2015-10-08 process 10.0 as an Int, ints has done so before; a 10.0 of the
// statement is a Decimal under all of them [LIVE].
func numberValue(text string, ver Version) value {
	isInt := !strings.ContainsAny(text, ".eE")
	if isInt && len(text) <= 18 && text[0] != '0' && text[0] != '-' {
		return value{kind: intKind, text: text}
	}
	d := parseDecimal(text)
	switch {
	case d == nil:
		return undefined
	case isInt:
		return intValue(d)
	}
	return decimalValue(d, ver)
}

// decimalValue is a result of decimals, as a Decimal. Later versions than
// 2015-10-08 print it as an Int if it is whole.
func decimalValue(d *apd.Decimal, ver Version) value {
	if d = inRange(d); d == nil {
		return undefined
	}
	if ver != V2015 && isWhole(d) {
		return value{kind: decimalKind, text: intValue(d).text}
	}
	return value{kind: decimalKind, text: d.String()}
}

// intValue is a whole number as an Int, in standard notation. One with more
// than 34 digits is a Decimal.
func intValue(d *apd.Decimal) value {
	switch {
	case d.IsZero():
		return value{kind: intKind, text: "0"}
	case int64(d.Exponent)+d.NumDigits() > maxDigits:
		return value{kind: decimalKind, text: d.String()}
	case d.Exponent == 0:
		return value{kind: intKind, text: d.String()}
	}
	whole := new(apd.Decimal)
	if _, err := decimals.Quantize(whole, d, 0); err != nil {
		return undefined
	}
	return value{kind: intKind, text: whole.String()}
}

// asInt is a Decimal as an Int if it prints as one.
func asInt(v value) value {
	if v.kind == decimalKind && !strings.ContainsAny(v.text, ".E") {
		v.kind = intKind
	}
	return v
}

// int64Value is an Int.
func int64Value(n int64) value { return value{kind: intKind, text: strconv.FormatInt(n, 10)} }

// floatValue is a Decimal with double precision. What is no number is
// Undefined. Under version 2015-10-08 a whole one keeps a digit after the
// point, as in the reference's power(2, 5) = 32.0.
func floatValue(f float64, ver Version) value {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return undefined
	}
	if ver == V2015 && f == math.Trunc(f) && math.Abs(f) < 1e7 {
		return value{kind: decimalKind, text: strconv.FormatFloat(math.Abs(f)*sign(f), 'f', 1, 64)}
	}
	d := parseDecimal(strconv.FormatFloat(f, 'e', -1, 64))
	if d == nil {
		return undefined
	}
	return decimalValue(d, ver)
}

func sign(f float64) float64 {
	if f < 0 {
		return -1
	}
	return 1
}

// isWhole reports whether a number has no fraction other than zero.
func isWhole(d *apd.Decimal) bool {
	if d.Exponent >= 0 || d.IsZero() {
		return true
	}
	reduced, _ := new(apd.Decimal).Reduce(d)
	return reduced.Exponent >= 0
}

// compareNumbers compares two numbers' texts.
func compareNumbers(a, b string) int {
	if a == b {
		return 0
	}
	if x, ok := smallInt(a); ok {
		if y, ok := smallInt(b); ok {
			return compareInts(x, y)
		}
	}
	x, y := parseDecimal(a), parseDecimal(b)
	if x == nil || y == nil {
		return strings.Compare(a, b) // cannot be: values are in range
	}
	return x.Cmp(y)
}

func compareInts(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// smallInt reads an Int of at most 18 digits.
func smallInt(text string) (n int64, ok bool) {
	digits := strings.TrimPrefix(text, "-")
	if len(digits) > 18 {
		return 0, false
	}
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	if len(digits) < len(text) {
		n = -n
	}
	return n, len(digits) > 0
}

// arithmetic computes a op b for two numbers. Int with Int stays Int, also in a
// division; anything else is a Decimal. Division by zero and results that are
// too large are Undefined.
func arithmetic(op string, a, b value, ver Version) value {
	x, y := parseDecimal(a.text), parseDecimal(b.text)
	if x == nil || y == nil || (op == "/" || op == "%") && y.IsZero() {
		return undefined
	}
	bothInt := a.kind == intKind && b.kind == intKind
	d := new(apd.Decimal)
	var err error
	switch op {
	case "+":
		_, err = decimals.Add(d, x, y)
	case "-":
		_, err = decimals.Sub(d, x, y)
	case "*":
		_, err = decimals.Mul(d, x, y)
	case "%":
		_, err = decimals.Rem(d, x, y)
	case "/":
		if bothInt {
			_, err = decimals.QuoInteger(d, x, y)
			break
		}
		_, err = decimals.Quo(d, x, y)
		stripZeros(d, x.Exponent-y.Exponent)
	}
	if err != nil {
		return undefined
	}
	if !bothInt {
		return decimalValue(d, ver)
	}
	if d = inRange(d); d == nil {
		return undefined
	}
	return intValue(d)
}

// stripZeros removes trailing zeros of a quotient as far as the exponent that
// an exact division would have.
func stripZeros(d *apd.Decimal, ideal int32) {
	if d.Form != apd.Finite {
		return
	}
	reduced, _ := new(apd.Decimal).Reduce(d)
	if reduced.Exponent <= ideal {
		d.Set(reduced)
		return
	}
	if _, err := decimals.Quantize(d, reduced, ideal); err != nil {
		d.Set(reduced)
	}
}

// roundTo returns a number rounded to a whole one by a rule of apd.
func roundTo(d *apd.Decimal, rule apd.Rounder) *apd.Decimal {
	if d.Exponent >= 0 {
		return d
	}
	c := *decimals
	c.Rounding = rule
	whole := new(apd.Decimal)
	if _, err := c.Quantize(whole, d, 0); err != nil {
		return d // cannot be: 34 digits hold every integer part that has a fraction
	}
	return whole
}
