package main

import (
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/decode"
	"github.com/dnshark-io/dnshark/internal/kind"
	"github.com/dnshark-io/dnshark/internal/pair"
	"github.com/dnshark-io/dnshark/internal/source"
)

// reporter is the last stage: it prints the counters of all steps. The counters
// are the worker's own, so it is the worker that prints them, when a timer asks.
type reporter struct {
	lane    source.Lane
	decoder *decode.Decoder
	table   *pair.Table
	marker  *kind.Marker
	out     io.Writer
	due     atomic.Bool
}

// Process implements line.Stage.
func (r *reporter) Process(*event.Batch) {
	if r.due.CompareAndSwap(true, false) {
		r.print()
	}
}

// every makes counters due in steps of d, until the returned function is called.
func (r *reporter) every(d time.Duration) (stop func()) {
	if d <= 0 {
		return func() {}
	}
	ticker := time.NewTicker(d)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-ticker.C:
				r.due.Store(true)
			case <-done:
				return
			}
		}
	}()
	return func() {
		ticker.Stop()
		close(done)
	}
}

func (r *reporter) print() {
	s, p := r.lane.Stats(), r.table.Stats
	var events []string
	for i, k := range kind.Catalogue {
		if n := r.marker.Emitted[i]; n > 0 {
			events = append(events, fmt.Sprintf("%d %s", n, k.Name))
		}
	}
	if len(events) == 0 {
		events = []string{"none"}
	}
	fmt.Fprintf(r.out, "dnshark: packets: %d seen, %d submitted, %d lost (ring full), %d lost (copy error), %d cut\n",
		s.Seen, s.Submitted, s.RingFull, s.CopyError, s.Truncated)
	if l, ok := r.lane.(interface{ BirthsLost() uint64 }); ok && l.BirthsLost() > 0 {
		fmt.Fprintf(r.out, "dnshark: processes: %d forks and execs lost (ring full)\n", l.BirthsLost())
	}
	fmt.Fprintf(r.out, "dnshark: decoding: %v\n", r.decoder.Stats())
	fmt.Fprintf(r.out, "dnshark: transactions: %d queries, %d retransmits, %d answered, %d unanswered, %d waiting, "+
		"%d unsolicited, %d duplicate, %d late, %d mismatched, %d forgotten\n",
		p.Queries, p.Retransmits, p.Answered, p.Unanswered, p.Pending,
		p.Unsolicited, p.Duplicate, p.Late, p.Mismatched, p.Evicted)
	fmt.Fprintf(r.out, "dnshark: events: %s\n", strings.Join(events, ", "))
}
