package store

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/event"
)

func TestClock(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for _, test := range []struct {
		name                 string
		before, wall, passed time.Duration // before the start, after it, since it
		want                 time.Duration // after the start
	}{
		{"right", time.Minute, 2 * time.Hour, 2 * time.Hour, 2 * time.Hour},
		{"set forward", time.Minute, year, 2 * time.Hour, 2 * time.Hour},
		{"set back", time.Minute, -year, 2 * time.Hour, -year},
		{"wrong at the start", year, time.Minute, time.Minute, time.Minute - year},
		{"wrong at the start, then right", year, -year + time.Minute, 2 * time.Hour, -year + time.Minute},
		{"away for a year", year, 2 * time.Hour, 2 * time.Hour, 2 * time.Hour},
	} {
		now := time.Now().Round(0)
		c := NewClock(filepath.Join(t.TempDir(), "clock"), now.Add(-test.before))
		c.Opened = now
		c.Passed, c.Wall = func() time.Duration { return test.passed }, func() time.Time { return now.Add(test.wall) }
		if got := c.Now().Sub(now); got != test.want {
			t.Errorf("%s: %v after the start, want %v", test.name, got, test.want)
		}
		if again := NewClock(c.path, now); !again.before.Equal(now.Add(test.want)) {
			t.Errorf("%s: the next run goes on from %v", test.name, again.before.Sub(now))
		}
	}
}

// A clock that is wrong by a year, when the program starts or later, removes nothing of the
// history, nor when it is right again.
func TestClockJump(t *testing.T) {
	dir := t.TempDir()
	kept := func(s Store, when string, want uint64) {
		t.Helper()
		var b event.Batch
		answers(t, &b, time.Now(), "new.test. A 192.0.2.9")
		write(t, s, &b) // which looks for what is old
		if c, err := s.Counts(t.Context()); err != nil || uint64(c.Tuples) != want {
			t.Errorf("%s: %+v, %v; want %d", when, c, err, want)
		}
	}
	s := open2(t, dir, Options{Age: time.Hour})
	var b event.Batch
	answers(t, &b, time.Now(), "a.test. A 192.0.2.1", "b.test. A 192.0.2.2")
	write(t, s, &b)
	for _, years := range []int{1, -1} {
		s.(*sqlite).clock.Wall = func() time.Time { return time.Now().AddDate(years, 0, 0) }
		s.(*sqlite).removed = time.Time{}
		kept(s, "set while it runs", 3)
	}
	s.Close()

	// As if the clock were a year ahead: what there is is a year old.
	dir = t.TempDir()
	s = open2(t, dir, Options{})
	b = event.Batch{}
	answers(t, &b, time.Now().AddDate(-1, 0, 0), "a.test. A 192.0.2.1", "b.test. A 192.0.2.2")
	write(t, s, &b)
	s.Close()
	for range 3 {
		s = open2(t, dir, Options{Age: time.Hour})
		kept(s, "wrong at the start", 3)
		s.Close()
	}
	s = open2(t, dir, Options{Age: time.Hour})
	s.(*sqlite).clock.Passed = func() time.Duration { return 2 * time.Hour }
	right := time.Now().AddDate(-1, 0, 0)
	s.(*sqlite).clock.Wall = func() time.Time { return right.Add(time.Minute) }
	s.(*sqlite).removed = time.Time{}
	kept(s, "right again", 3)
	s.(*sqlite).clock.Wall = time.Now // it was right: the history was away for a year
	s.(*sqlite).removed, s.(*sqlite).sweep = time.Time{}, sweep{}
	kept(s, "away for a year", 1)
	t.Log("a clock that is wrong by a year, at four starts and later: 0 of 3 tuples removed")
}
