package iotsql

import (
	"math"
	"testing"
)

// TestDoublesAreRoundedOnce: the values are of a C library, where Go's package
// math has another last digit, and the ends of what a function takes.
func TestDoublesAreRoundedOnce(t *testing.T) {
	t.Parallel()
	inf, nan := math.Inf(1), math.NaN()
	for _, c := range []struct {
		name    string
		f       func(float64) float64
		x, want float64
	}{
		{"sin", sine, 2, 0.9092974268256817},
		{"sin", sine, -2.5, -0.5984721441039565},
		{"sin", sine, 1000, 0.8268795405320025},
		{"sin", sine, 0, 0},
		{"sin", sine, 1e-300, 1e-300},
		{"sin", sine, math.Pi, 1.2246467991473532e-16},
		{"sin", sine, 1e14, -0.2094083074964523},
		{"sin", sine, 1e300, math.Sin(1e300)},
		{"cos", cosine, 0.1, 0.9950041652780258},
		{"cos", cosine, 5, 0.28366218546322625},
		{"cos", cosine, 0, 1},
		{"tan", tangent, 1, 1.5574077246549023},
		{"tan", tangent, 180, 1.3386902103511544},
		{"tan", tangent, 3, -0.1425465430742778},
		{"asin", arcSine, 0.2, 0.2013579207903308},
		{"asin", arcSine, 1, math.Pi / 2},
		{"asin", arcSine, 0, 0},
		{"asin", arcSine, 1.1, nan},
		{"acos", arcCosine, 0.5, 1.0471975511965979},
		{"acos", arcCosine, -1, math.Pi},
		{"acos", arcCosine, 1, 0},
		{"acos", arcCosine, -1.1, nan},
		{"atan", arcTangent, 5, 1.373400766945016},
		{"atan", arcTangent, 0, 0},
		{"atan", arcTangent, -1e300, -math.Pi / 2},
		{"exp", exponential, 1.5, 4.4816890703380645},
		{"exp", exponential, 0, 1},
		{"exp", exponential, 709.5, 1.3549863193146328e+308},
		{"exp", exponential, 710, inf},
		{"exp", exponential, -746, 0},
		{"exp", exponential, -745, 5e-324},
		{"ln", logarithm, 3, 1.0986122886681098},
		{"ln", logarithm, 1, 0},
		{"ln", logarithm, 0, -inf},
		{"ln", logarithm, 5e-324, -744.4400719213812},
		{"ln", logarithm, -1, nan},
		{"log", logarithm10, 5, 0.6989700043360189},
		{"log", logarithm10, 1000, 3},
		{"log", logarithm10, 0.1, -1},
		{"log", logarithm10, 0, -inf},
		{"sinh", hyperbolicSine, 1.5, 2.1292794550948173},
		{"sinh", hyperbolicSine, -0.1, -0.10016675001984403},
		{"sinh", hyperbolicSine, 0, 0},
		{"sinh", hyperbolicSine, -50, -2.592352764293536e+21},
		{"sinh", hyperbolicSine, 1000, inf},
		{"cosh", hyperbolicCosine, 1.5, 2.352409615243247},
		{"cosh", hyperbolicCosine, 0, 1},
		{"cosh", hyperbolicCosine, 0.1, 1.0050041680558035},
		{"tanh", hyperbolicTangent, 0.7, 0.6043677771171636},
		{"tanh", hyperbolicTangent, -100, -1},
		{"tanh", hyperbolicTangent, 0, 0},
	} {
		if got := c.f(c.x); got != c.want && !(math.IsNaN(got) && math.IsNaN(c.want)) {
			t.Errorf("%s(%v) = %v, want %v", c.name, c.x, got, c.want)
		}
	}
}

func TestPowersAndAngles(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		f          func(x, y float64) float64
		x, y, want float64
	}{
		{"power", raise, 2, 10, 1024},
		{"power", raise, 1.5, 2.5, 2.7556759606310752},
		{"power", raise, 1.01, 365, 37.78343433288728},
		{"power", raise, 10, -3, 0.001},
		{"power", raise, -2, 3, -8},
		{"power", raise, -2, -2, 0.25},
		{"power", raise, -8, 0.5, math.NaN()},
		{"power", raise, 0, 0, 1},
		{"power", raise, 0, -1, math.Inf(1)},
		{"power", raise, 10, 400, math.Inf(1)},
		{"power", raise, 1, 1e300, 1},
		{"atan2", arcTangent2, 1, 0, math.Pi / 2},
		{"atan2", arcTangent2, 0, -1, math.Pi},
		{"atan2", arcTangent2, -1, -1, -2.356194490192345},
		{"atan2", arcTangent2, 0, 0, 0},
		{"atan2", arcTangent2, 1e-300, 1e300, 0},
	} {
		if got := c.f(c.x, c.y); got != c.want && !(math.IsNaN(got) && math.IsNaN(c.want)) {
			t.Errorf("%s(%v, %v) = %v, want %v", c.name, c.x, c.y, got, c.want)
		}
	}
}

// FuzzDoubles holds every function to package math, but for the last digits.
func FuzzDoubles(f *testing.F) {
	for _, x := range []float64{0, 1, -1, 0.5, 1e-300, 1e300, math.MaxFloat64, math.SmallestNonzeroFloat64, 700, -745.2} {
		f.Add(x, 2.5)
	}
	pairs := []struct {
		name         string
		exact, rough func(float64) float64
	}{
		{"sin", sine, math.Sin},
		{"cos", cosine, math.Cos},
		{"tan", tangent, math.Tan},
		{"asin", arcSine, math.Asin},
		{"acos", arcCosine, math.Acos},
		{"atan", arcTangent, math.Atan},
		{"exp", exponential, math.Exp},
		{"ln", logarithm, math.Log},
		{"log", logarithm10, math.Log10},
		{"sinh", hyperbolicSine, math.Sinh},
		{"cosh", hyperbolicCosine, math.Cosh},
		{"tanh", hyperbolicTangent, math.Tanh},
	}
	f.Fuzz(func(t *testing.T, x, y float64) {
		if math.IsNaN(x) || math.IsInf(x, 0) || math.IsNaN(y) || math.IsInf(y, 0) {
			return // no number of a statement is one
		}
		for _, p := range pairs {
			checkNear(t, p.name, x, p.exact(x), p.rough(x))
		}
		checkNear(t, "atan2", x, arcTangent2(x, y), math.Atan2(x, y))
		checkNear(t, "power", x, raise(x, y), math.Pow(x, y))
	})
}

func checkNear(t *testing.T, name string, x, got, rough float64) {
	t.Helper()
	const tolerance = 1e-11
	switch {
	case math.IsNaN(rough):
		if !math.IsNaN(got) {
			t.Errorf("%s(%v) = %v, want no number", name, x, got)
		}
	case math.Abs(x) < 1e-300: // package math's logarithm is wrong there
	case math.IsInf(rough, 0) || math.Abs(rough) > 1e307 || math.Abs(rough) < 1e-300:
	case math.Abs(got-rough) > tolerance*math.Abs(rough) && math.Abs(got-rough) > 1e-15:
		t.Errorf("%s(%v) = %v, package math has %v", name, x, got, rough)
	}
}
