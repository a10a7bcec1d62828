package iotsql

import (
	"math"
	"math/big"
)

// The functions here compute with many more digits than a double has and round
// once, at the end. Package math is up to a digit off in a third of the cases
// (sin(2), tan(1), log(5)); Java's mathematics, which AWS uses, hardly ever is.

// bigBits is how many bits they compute with: those of a double, as many again
// for the reduction of arguments up to maxReduced, and some to spare.
const bigBits = 300

// maxReduced is up to where arguments of sin, cos and tan are reduced here.
const maxReduced = 1e15

var (
	bigPi  = bigConstant("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211706798")
	bigLn2 = bigConstant("0.69314718055994530941723212145817656807550013436025525412068000949339362196969471560586332699641868754")
	bigOne = bigConstant("1")
	bigTwo = bigConstant("2")
)

func bigConstant(digits string) *big.Float {
	f, _, err := big.ParseFloat(digits, 10, bigBits, big.ToNearestEven)
	if err != nil {
		panic(err) // the constants above are numbers
	}
	return f
}

func newBig() *big.Float { return new(big.Float).SetPrec(bigBits) }

func toBigFloat(x float64) *big.Float { return newBig().SetFloat64(x) }

func toDouble(x *big.Float) float64 {
	f, _ := x.Float64()
	return f
}

// ordinary reports whether a double is neither zero nor infinite nor no number.
func ordinary(x float64) bool { return x != 0 && !math.IsInf(x, 0) && !math.IsNaN(x) }

// maxExp is up to where bigExp computes; far before, e to the x is no double.
const maxExp = 1000

// bigExp is e to the x, for |x| up to maxExp.
func bigExp(x *big.Float) *big.Float {
	k := math.Round(toDouble(newBig().Quo(x, bigLn2)))
	r := newBig().Sub(x, newBig().Mul(toBigFloat(k), bigLn2))
	sum, term := newBig().Set(bigOne), newBig().Set(bigOne)
	for n := 1.0; small(term, sum); n++ {
		term.Quo(term.Mul(term, r), toBigFloat(n))
		sum.Add(sum, term)
	}
	return newBig().SetMantExp(sum, int(k))
}

// small reports whether a term still counts in a sum.
func small(term, sum *big.Float) bool {
	return term.Sign() != 0 && term.MantExp(nil) > sum.MantExp(nil)-bigBits
}

// bigLn is the natural logarithm of x > 0: that of the fraction, by package math
// and corrected by one step of Halley's method, which triples the digits, and
// that of the power of two.
func bigLn(x float64) *big.Float {
	fraction, exponent := math.Frexp(x)
	if fraction < math.Sqrt2/2 { // so that nothing is left of the powers near 1
		fraction, exponent = 2*fraction, exponent-1
	}
	y := toBigFloat(math.Log(fraction))
	e, f := bigExp(y), toBigFloat(fraction)
	step := newBig().Quo(newBig().Sub(f, e), newBig().Add(f, e))
	y.Add(y, step.Mul(step, bigTwo))
	return y.Add(y, newBig().Mul(bigLn2, toBigFloat(float64(exponent))))
}

// bigSinCos is sine and cosine of x, for |x| up to maxReduced.
func bigSinCos(x *big.Float) (sin, cos *big.Float) {
	half := newBig().Quo(bigPi, bigTwo)
	k := math.Round(toDouble(newBig().Quo(x, half)))
	r := newBig().Sub(x, half.Mul(half, toBigFloat(k)))
	square := newBig().Mul(r, r)
	square.Neg(square)
	sin, cos = alternating(r, square, 1), alternating(newBig().Set(bigOne), square, 0)
	switch quadrant := int64(k) & 3; quadrant {
	case 1:
		return cos, sin.Neg(sin)
	case 2:
		return sin.Neg(sin), cos.Neg(cos)
	case 3:
		return cos.Neg(cos), sin
	}
	return sin, cos
}

// alternating sums first * square / ((n+1)(n+2)) and so on.
func alternating(first, square *big.Float, n float64) *big.Float {
	sum, term := newBig().Set(first), newBig().Set(first)
	for small(term, sum) {
		term.Quo(term.Mul(term, square), toBigFloat((n+1)*(n+2)))
		sum.Add(sum, term)
		n += 2
	}
	return sum
}

func trigonometric(rough func(float64) float64, exact func(sin, cos *big.Float) *big.Float) func(float64) float64 {
	return func(x float64) float64 {
		if !ordinary(x) || math.Abs(x) > maxReduced {
			return rough(x)
		}
		return toDouble(exact(bigSinCos(toBigFloat(x))))
	}
}

var (
	sine    = trigonometric(math.Sin, func(sin, _ *big.Float) *big.Float { return sin })
	cosine  = trigonometric(math.Cos, func(_, cos *big.Float) *big.Float { return cos })
	tangent = trigonometric(math.Tan, func(sin, cos *big.Float) *big.Float { return sin.Quo(sin, cos) })
)

// bigAtan2 is the angle of the point (x, y): package math's, turned by what is
// left.
func bigAtan2(y, x *big.Float) float64 {
	rough := math.Atan2(toDouble(y), toDouble(x))
	if !ordinary(rough) {
		return rough
	}
	angle := toBigFloat(rough)
	sin, cos := bigSinCos(angle)
	across := newBig().Sub(newBig().Mul(y, cos), newBig().Mul(x, sin))
	along := newBig().Add(newBig().Mul(x, cos), newBig().Mul(y, sin))
	return toDouble(angle.Add(angle, across.Quo(across, along)))
}

func arcTangent2(y, x float64) float64 {
	return bigAtan2(toBigFloat(y), toBigFloat(x))
}

func arcTangent(x float64) float64 { return arcTangent2(x, 1) }

func arcSine(x float64) float64 {
	if !(math.Abs(x) <= 1) {
		return math.NaN()
	}
	return bigAtan2(toBigFloat(x), besides(x))
}

func arcCosine(x float64) float64 {
	if !(math.Abs(x) <= 1) {
		return math.NaN()
	}
	return bigAtan2(besides(x), toBigFloat(x))
}

// besides is the other side of a right triangle in the unit circle.
func besides(x float64) *big.Float {
	square := newBig().Mul(toBigFloat(x), toBigFloat(x))
	return square.Sqrt(square.Sub(bigOne, square))
}

func exponential(x float64) float64 {
	const largest, smallest = 709.782712893384, -745.1332191019412 // of a finite result that is not zero
	switch {
	case x > largest:
		return math.Inf(1)
	case x < smallest:
		return 0
	}
	return toDouble(bigExp(toBigFloat(x)))
}

func logarithm(x float64) float64 {
	if x <= 0 || math.IsInf(x, 0) {
		return math.Log(x)
	}
	return toDouble(bigLn(x))
}

func logarithm10(x float64) float64 {
	if x <= 0 || math.IsInf(x, 0) {
		return math.Log10(x)
	}
	const ten = 10
	return toDouble(newBig().Quo(bigLn(x), bigLn(ten)))
}

// The hyperbolic functions are computed in double precision by the steps of
// fdlibm (e_sinh.c, e_cosh.c, s_tanh.c), as Java specifies them.

func hyperbolicSine(x float64) float64 {
	a := math.Abs(x)
	t := math.Expm1(a)
	switch {
	case a > fdlibmLarge:
		return math.Copysign(exponential(a)/2, x)
	case a < 1:
		return math.Copysign((2*t-t*t/(t+1))/2, x)
	}
	return math.Copysign((t+t/(t+1))/2, x)
}

func hyperbolicCosine(x float64) float64 {
	a := math.Abs(x)
	switch {
	case a > fdlibmLarge:
		return exponential(a) / 2
	case a < math.Ln2/2:
		t := math.Expm1(a)
		return 1 + t*t/(2*(1+t))
	}
	t := exponential(a)
	return t/2 + 1/t/2
}

func hyperbolicTangent(x float64) float64 {
	a := math.Abs(x)
	switch {
	case a > fdlibmLarge:
		return math.Copysign(1, x)
	case a >= 1:
		return math.Copysign(1-2/(math.Expm1(2*a)+2), x)
	}
	t := math.Expm1(-2 * a)
	return math.Copysign(-t/(t+2), x)
}

// fdlibmLarge is from where on the hyperbolic functions are e to the |x| alone.
const fdlibmLarge = 22

// raise is x to the power of y.
func raise(x, y float64) float64 {
	rough := math.Pow(x, y)
	if !ordinary(rough) || x == 0 {
		return rough
	}
	power := newBig().Mul(toBigFloat(y), bigLn(math.Abs(x)))
	if math.Abs(toDouble(power)) > maxExp {
		return rough
	}
	return math.Copysign(toDouble(bigExp(power)), rough)
}
