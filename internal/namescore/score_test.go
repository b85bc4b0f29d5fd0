package namescore

import (
	"fmt"
	"testing"
	"time"
)

// xorshift is a program that makes names up.
type xorshift uint64

func (x *xorshift) next() uint64 {
	*x ^= *x << 13
	*x ^= *x >> 7
	*x ^= *x << 17
	return uint64(*x)
}

// Names that people chose score lower than names of programs which are no part of what
// the model learned from.
func TestScore(t *testing.T) {
	s := New()
	for _, name := range []string{"example.com", "wikipedia.org", "debian.org", "weather-forecast.co.uk", "x.com", "", ".", "com"} {
		if v := s.Score([]byte(name)); v > Likely {
			t.Errorf("%s: %.2f", name, v)
		}
	}
	made := 0
	x := xorshift(88172645463325252)
	for range 1000 {
		name := ""
		for range 14 {
			name += string(rune('a' + x.next()%26))
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

// Names of one program are told from names that people chose, in bounded time and
// without memory.
func TestTogether(t *testing.T) {
	s := New()
	fill := func(list ...string) (names []*Name) {
		for _, text := range list {
			n := &Name{}
			s.Fill(n, []byte(text))
			names = append(names, n)
		}
		return names
	}
	// Syllables, so that each alone is no evidence.
	var made []string
	x := xorshift(88172645463325252)
	for range 10 {
		name := ""
		for range 5 {
			v := x.next()
			name += string("bcdfghjklmnpqrstvwxz"[v%20]) + string("aeiou"[v>>32%5])
		}
		made = append(made, name+".info")
	}
	program := fill(made...)
	people := fill("weather-forecast.co.uk", "smithandsons.com", "gardenshop24.de", "my-photos.net", "lake.house", "oldbridgeschool.org", "tv2play.no", "northernrail.co.uk", "bestpizza.it", "stmarys.edu")
	a, b := s.Together(program), s.Together(people)
	t.Logf("%.2f, %.2f", a, b)
	if a < 0.85 || b > -1 { // 0.85 is the detector's limit for ten names
		t.Errorf("%.2f for names of a program, %.2f for those of people", a, b)
	}
	var many []*Name
	for len(many) < MostTogether+10 {
		many = append(many, fill("abcdefghijklmnopqrstuvwxyz0123456789-abcdefghijklmn.example")...)
	}
	if n := testing.AllocsPerRun(100, func() { s.Together(many) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkTogether(b *testing.B) {
	s := New()
	var names []*Name
	for i := range 10 {
		n := &Name{}
		s.Fill(n, fmt.Appendf(nil, "bakotel%d.info", i))
		names = append(names, n)
	}
	b.ReportAllocs()
	for b.Loop() {
		s.Together(names)
	}
}
