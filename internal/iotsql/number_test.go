package iotsql

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestArithmeticIsExactToThe34thDigit compares with rational numbers, which
// round nothing.
func TestArithmeticIsExactToThe34thDigit(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		a, b := randomDecimal(random), randomDecimal(random)
		for _, op := range []string{"+", "-", "*", "/"} {
			x, y := value{kind: decimalKind, text: a}, value{kind: decimalKind, text: b}
			got := arithmetic(op, x, y, V2015)
			want := exact(op, a, b)
			if want == nil {
				if got.kind != undefinedKind {
					t.Fatalf("%s %s %s = %s, want Undefined", a, op, b, got.text)
				}
				continue
			}
			if got.kind != decimalKind || rational(got.text).Cmp(roundRat(want)) != 0 {
				t.Fatalf("%s %s %s = %s, want %s", a, op, b, got.text, roundRat(want).FloatString(60))
			}
			if digits := strings.Trim(strings.SplitN(strings.NewReplacer("-", "", ".", "").Replace(got.text), "E", 2)[0], "0"); len(digits) > maxDigits {
				t.Fatalf("%s %s %s = %s has %d digits", a, op, b, got.text, len(digits))
			}
		}
	}
}

func TestNumbersCompareAsRationalsDo(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	for range 20000 {
		a, b := randomDecimal(random), randomDecimal(random)
		if random.IntN(4) == 0 {
			b = a + "0" // the same amount in other digits
			if !strings.Contains(a, ".") {
				b = a + ".0"
			}
		}
		if got, want := compareNumbers(a, b), rational(a).Cmp(rational(b)); got != want {
			t.Fatalf("%s and %s compare as %d, want %d", a, b, got, want)
		}
	}
}

// TestNumbersKeepTheirDigits: what is read under 2015-10-08 prints as it was,
// and under 2016-03-23 with the same amount, whole ones without a point.
func TestNumbersKeepTheirDigits(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(5, 6))
	for range 20000 {
		text := randomDecimal(random)
		if got := numberValue(text, V2015).text; got != text {
			t.Fatalf("2015-10-08: %s prints as %s", text, got)
		}
		got := numberValue(text, V2016).text
		if rational(got).Cmp(rational(text)) != 0 || rational(text).IsInt() && strings.Contains(got, ".") {
			t.Fatalf("2016-03-23: %s prints as %s", text, got)
		}
	}
}

// randomDecimal is a number in standard notation of at most 34 digits.
func randomDecimal(random *rand.Rand) string {
	whole, fraction := 1+random.IntN(16), random.IntN(18)
	s := fmt.Sprint(1 + random.IntN(9))
	for range whole - 1 {
		s += fmt.Sprint(random.IntN(10))
	}
	if fraction > 0 {
		s += "."
		for range fraction {
			s += fmt.Sprint(random.IntN(10))
		}
	}
	if random.IntN(2) == 0 {
		s = "-" + s
	}
	return s
}

func rational(text string) *big.Rat {
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		panic(text)
	}
	return r
}

func exact(op, a, b string) *big.Rat {
	x, y, r := rational(a), rational(b), new(big.Rat)
	switch op {
	case "+":
		return r.Add(x, y)
	case "-":
		return r.Sub(x, y)
	case "*":
		return r.Mul(x, y)
	}
	if y.Sign() == 0 {
		return nil
	}
	return r.Quo(x, y)
}

// roundRat rounds to 34 digits, halves to the even digit.
func roundRat(r *big.Rat) *big.Rat {
	if r.Sign() == 0 {
		return r
	}
	ten := big.NewRat(10, 1)
	limit := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(maxDigits), nil))
	scale := big.NewRat(1, 1)
	x := new(big.Rat).Abs(r)
	for x.Cmp(limit) >= 0 {
		x.Quo(x, ten)
		scale.Mul(scale, ten)
	}
	for low := new(big.Rat).Quo(limit, ten); x.Cmp(low) < 0; {
		x.Mul(x, ten)
		scale.Quo(scale, ten)
	}
	quotient, rest := new(big.Int).QuoRem(x.Num(), x.Denom(), new(big.Int))
	if c := new(big.Int).Lsh(rest, 1).Cmp(x.Denom()); c > 0 || c == 0 && quotient.Bit(0) == 1 {
		quotient.Add(quotient, big.NewInt(1))
	}
	out := new(big.Rat).Mul(new(big.Rat).SetInt(quotient), scale)
	if r.Sign() < 0 {
		out.Neg(out)
	}
	return out
}
