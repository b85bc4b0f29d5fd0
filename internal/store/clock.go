package store

import "time"

// Clock tells by what time things become old. Clocks are set, some by years, and may be
// wrong until the network is there: nothing may be lost by that.
type Clock struct {
	opened time.Time
	newest time.Time // zero without doubt

	Passed func() time.Duration // since it was made, whatever becomes of the wall clock
	Wall   func() time.Time
}

// settle is how long a clock may take to be set right after a start.
const settle = time.Hour

// NewClock returns a clock for things of which the newest is of that time, zero if there
// are none, and which become old after age. By a clock that makes all of them old at once,
// none becomes so within an hour.
func NewClock(newest time.Time, age time.Duration) *Clock {
	c := &Clock{opened: time.Now(), Wall: time.Now}
	c.Passed = func() time.Duration { return time.Since(c.opened) }
	if !newest.IsZero() && c.opened.Sub(newest) > age {
		c.newest = newest
	}
	return c
}

// ClockFor returns a clock that was right once, and by which some time has passed since.
func ClockFor(right time.Time, passed func() time.Duration) *Clock {
	return &Clock{opened: right, Passed: passed, Wall: time.Now}
}

// Now returns the earlier of what the wall clock says, and what it said at first with the
// time that has passed: it may have been wrong before, or become so.
func (c *Clock) Now() time.Time {
	passed := c.Passed()
	now := c.opened.Round(0).Add(passed) // without the monotonic reading
	if wall := c.Wall().Round(0); wall.Before(now) {
		now = wall
	}
	if !c.newest.IsZero() && passed < settle && c.newest.Before(now) {
		return c.newest
	}
	return now
}
