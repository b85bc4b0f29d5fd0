package chart

import (
	"math"
	"testing"
)

func TestExponent(t *testing.T) {
	x := []float64{1e3, 1e4, 1e5, 1e6}
	for _, k := range []float64{0, 0.5, 1, 2} {
		var y []float64
		for _, v := range x {
			y = append(y, 3*math.Pow(v, k))
		}
		if got := Exponent(x, y); math.Abs(got-k) > 1e-9 {
			t.Errorf("exponent %v, want %v", got, k)
		}
	}
}
