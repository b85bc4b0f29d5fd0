// Package loss tells when dnshark begins to lose something and when it loses nothing
// more, by looking at the counters of the steps.
package loss

import (
	"time"

	"github.com/dnshark-io/dnshark/event"
)

// Place is a step that may lose something.
type Place struct {
	Where, Name string   // as in event.Loss
	Reasons     []string // as in event.LossReason
	// Read tells the counters of the reasons, from the beginning on, in n.
	Read func(n []uint64)
	// Carries says that the place is where loss events go: losing these alone is no episode,
	// which would never end.
	Carries bool
}

const (
	// every is how often counters are looked at.
	every = 100 * time.Millisecond
	// quiet ends an episode.
	quiet = time.Second
	// reach is how long after it a loss may be that of a loss event.
	reach = 10 * time.Second
)

// Stage is the step of the line that adds the events. It looks at the counters ten times a
// second, so that packets cost one comparison.
type Stage struct {
	Told uint64 // events

	places []place
	due    int64     // by the packets' time
	told   time.Time // the last event
	clock  func() time.Time
}

type place struct {
	Place
	last, now []uint64
	lost      []uint64 // in this episode
	own       uint64   // loss events that may be among what is lost

	losing      bool
	start, end  int64
	first, seen time.Time // of start and end
}

// NewStage returns the stage for some places. More may be added until it runs.
func NewStage(places ...Place) *Stage {
	s := &Stage{clock: time.Now}
	for _, p := range places {
		s.Add(p)
	}
	return s
}

// Add adds a place.
func (s *Stage) Add(p Place) {
	n := len(p.Reasons)
	s.places = append(s.places, place{Place: p, last: make([]uint64, n), now: make([]uint64, n), lost: make([]uint64, n)})
}

// Process implements line.Stage.
func (s *Stage) Process(b *event.Batch) {
	// A clock that was set back makes it due too.
	if wait := s.due - b.Now; wait > 0 && wait <= int64(every) && !b.Last {
		return
	}
	s.due = b.Now + int64(every)
	now := s.clock()
	for i := range s.places {
		p := &s.places[i]
		if now.Sub(s.told) > reach {
			p.own = 0
		}
		switch lost, grew := p.look(); {
		case grew && p.losing:
			p.end, p.seen = b.Now, now
		case lost:
			p.losing, p.start, p.end, p.first, p.seen = true, b.Now, b.Now, now, now
			s.tell(b, p, now, false)
		}
		if p.losing && (b.Last || now.Sub(p.seen) >= quiet) {
			s.tell(b, p, now, true)
			p.losing = false
			clear(p.lost)
		}
	}
}

// look reads the counters. It reports whether anything was lost since the last time, and
// whether that is more than loss events.
func (p *place) look() (lost, grew bool) {
	p.Read(p.now)
	var n uint64
	for i := range p.now {
		n += p.now[i] - p.last[i]
		p.lost[i] += p.now[i] - p.last[i]
	}
	p.now, p.last = p.last, p.now
	own := min(n, p.own)
	p.own -= own
	if n == own && !p.losing {
		clear(p.lost)
	}
	return n > own, n > 0
}

func (s *Stage) tell(b *event.Batch, p *place, now time.Time, ends bool) {
	s.told = now
	for i := range s.places {
		if s.places[i].Carries {
			s.places[i].own++
		}
	}
	l := &event.Loss{
		Ends: ends, Unfinished: ends && now.Sub(p.seen) < quiet,
		Where: p.Where, Name: p.Name, Start: p.start, End: p.end, Duration: int64(p.seen.Sub(p.first)),
	}
	for i, name := range p.Reasons {
		l.Reason = append(l.Reason, event.LossReason{Name: name, N: p.lost[i]})
	}
	e := b.Next()
	e.Class, e.Time, e.Loss = event.ClassLoss, b.Now, l
	s.Told++
}
