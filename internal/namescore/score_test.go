package namescore

import (
	"fmt"
	"testing"
	"time"
)

// Names that people chose score lower than names of programs which are no part of what
// the model learned from.
func TestScore(t *testing.T) {
	s := New()
	for _, name := range []string{"example.com", "wikipedia.org", "debian.org", "weather-forecast.co.uk", "x.com", "", ".", "com"} {
		if v := s.Score([]byte(name)); v > Likely {
			t.Errorf("%s: %.2f", name, v)
		}
	}
	// xorshift is a program that makes names up.
	made := 0
	x := uint64(88172645463325252)
	for range 1000 {
		name := ""
		for range 14 {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			name += string(rune('a' + x%26))
		}
		if s.Score([]byte(name+".com")) > Surely {
			made++
		}
	}
	if made < 950 {
		t.Errorf("%d of 1000 made-up names", made)
	}
	t.Logf("%d of 1000 made-up names", made)
}

// A name costs less than 2 us and no memory.
func TestCost(t *testing.T) {
	s, name := New(), []byte("internationalconference2026-registration.example")
	if n := testing.AllocsPerRun(1000, func() { s.Score(name) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	const names = 500
	best := 1e9
	for range 300 { // some of so short rounds are alone on their processor
		begin := time.Now()
		for range names {
			s.Score(name)
		}
		best = min(best, float64(time.Since(begin).Nanoseconds())/names)
	}
	t.Logf("%.0f ns for a name of %d octets", best, len(name))
	if best > 2000 {
		t.Errorf("%.0f ns", best)
	}
}

func FuzzScore(f *testing.F) {
	f.Add([]byte(`a\000b.example`))
	s := New()
	f.Fuzz(func(_ *testing.T, name []byte) { s.Score(name) })
}

func ExampleScorer_Score() {
	fmt.Println(New().Score([]byte("xjwqkzvbnmrt.info")) > Surely)
	// Output: true
}
