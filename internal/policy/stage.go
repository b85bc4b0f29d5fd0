package policy

import (
	"math/bits"
	"sync/atomic"

	"github.com/dnshark-io/dnshark/event"
)

// Stage is the step that keeps what the policies want. It comes behind the one
// that says which kinds an event may be emitted as.
type Stage struct {
	next  atomic.Pointer[Set] // policies to begin with at the next batch
	set   *Set
	rules [32][]matcher
	names map[uint64][]string // of policies, by their bits
	// Dropped counts observations that no policy wanted as any event.
	Dropped uint64
}

// NewStage returns the stage for a set.
func NewStage(s *Set) *Stage {
	stage := &Stage{}
	stage.Use(s)
	return stage
}

// Use replaces the policies. It may be called from any goroutine.
func (s *Stage) Use(set *Set) { s.next.Store(set) }

// Process drops the kinds that no policy wants from every event, and notes which
// policies want the others.
func (s *Stage) Process(b *event.Batch) {
	if set := s.next.Load(); set != s.set {
		s.set, s.rules, s.names = set, set.compile(), map[uint64][]string{}
	}
	for i := range b.Events {
		e := &b.Events[i]
		before, wanted := e.Kinds, uint64(0)
		for kinds := e.Kinds; kinds != 0; kinds &= kinds - 1 {
			k := bits.TrailingZeros32(kinds)
			by := uint64(0)
			for j := range s.rules[k] {
				if m := &s.rules[k][j]; m.match(e) {
					by |= 1 << m.policy
				}
			}
			if by == 0 {
				e.Kinds &^= 1 << k
			}
			wanted |= by
		}
		if before != 0 && e.Kinds == 0 {
			s.Dropped++
		}
		if wanted != 0 {
			e.Policies = s.namesOf(wanted)
		}
	}
}

func (m *matcher) match(e *event.Event) bool {
	for _, f := range m.when {
		if !f.Match(e) {
			return false
		}
	}
	return true
}

// maxCombinations bounds the memory of names: sets of policies that match
// together are few, but an attacker's events may try them all.
const maxCombinations = 1024

// namesOf returns the names of policies. It allocates for a combination that is
// new.
func (s *Stage) namesOf(wanted uint64) []string {
	names, ok := s.names[wanted]
	if ok {
		return names
	}
	for w := wanted; w != 0; w &= w - 1 {
		if name := s.set.Policies[bits.TrailingZeros64(w)].Name; name != "" {
			names = append(names, name)
		}
	}
	if len(s.names) < maxCombinations {
		s.names[wanted] = names
	}
	return names
}
