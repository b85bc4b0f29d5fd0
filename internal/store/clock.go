package store

import (
	"os"
	"time"
)

// Clock tells by what time things become old. Clocks are set, some by years, and may be
// wrong until the network is there: nothing may be lost by that. So for an hour after a
// start it goes on from where it was in the run before, and later no faster than time passes.
type Clock struct {
	before time.Time // what it said last before Opened, zero where nobody knows
	path   string    // of the file that has it
	saved  time.Duration

	Opened time.Time            // by the wall clock
	Passed func() time.Duration // since then, whatever becomes of that clock
	Wall   func() time.Time
}

const (
	// settle is how long a wall clock may take to be set right after a start.
	settle    = time.Hour
	saveEvery = time.Minute
	clockForm = time.RFC3339Nano
)

// NewClock returns the clock that goes on from what a file says, or without it from the
// newest of what there is, zero if there is nothing.
func NewClock(path string, newest time.Time) *Clock {
	c := &Clock{Opened: time.Now(), before: newest, path: path, saved: -saveEvery, Wall: time.Now}
	c.Passed = func() time.Duration { return time.Since(c.Opened) }
	if text, err := os.ReadFile(path); err == nil && len(text) < 64 {
		if t, err := time.Parse(clockForm, string(text)); err == nil {
			c.before = t
		}
	}
	return c
}

// Now returns the time. It belongs to one goroutine at a time.
func (c *Clock) Now() time.Time {
	passed := c.Passed()
	now := earlier(c.Opened.Round(0).Add(passed), c.Wall()) // Round: without the monotonic reading
	if passed < settle && !c.before.IsZero() {
		now = earlier(now, c.before.Add(passed))
	}
	if c.path != "" && passed-c.saved >= saveEvery {
		c.saved = passed
		c.save(now)
	}
	return now
}

// save writes the file. One that cannot be written is an older one: less is removed then.
func (c *Clock) save(now time.Time) {
	next := c.path + ".new"
	if os.WriteFile(next, []byte(now.UTC().Format(clockForm)), 0o600) == nil {
		_ = os.Rename(next, c.path)
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b.Round(0)
	}
	return a.Round(0)
}
