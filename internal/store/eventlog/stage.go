package eventlog

import (
	"errors"
	"math/bits"

	"github.com/dnshark-io/dnshark/event"
)

// Stage appends events that are shown. Where the disk is too slow, a live line
// drops them and counts; Wait makes it wait instead.
type Stage struct {
	Wait bool
	// Encode appends a batch's events, a line of JSON for each of their kinds.
	Encode func(dst []byte, b *event.Batch) []byte

	// Counted by the line.
	Events, Dropped, Failed uint64

	log *Log
	buf []byte
}

// NewStage returns a stage that writes into l, which stays the caller's.
func NewStage(l *Log, encode func([]byte, *event.Batch) []byte) *Stage {
	return &Stage{Encode: encode, log: l}
}

// Process implements line.Stage.
func (s *Stage) Process(b *event.Batch) {
	n := 0
	for i := range b.Events {
		n += bits.OnesCount32(b.Events[i].Kinds)
	}
	if n == 0 {
		return
	}
	s.Events += uint64(n)
	s.buf = s.Encode(s.buf[:0], b)
	add := s.log.Append
	if s.Wait {
		add = s.log.AppendWait
	}
	switch err := add(s.buf, n); {
	case errors.Is(err, ErrFull):
		s.Dropped += uint64(n)
	case err != nil:
		s.Failed += uint64(n)
	}
}

// Stats returns how many events are written and how many wait.
func (s *Stage) Stats() (written, waiting uint64) { return s.log.Stats() }
