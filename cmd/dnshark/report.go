package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/decode"
	"github.com/dnshark-io/dnshark/internal/detect"
	"github.com/dnshark-io/dnshark/internal/filter"
	"github.com/dnshark-io/dnshark/internal/kind"
	"github.com/dnshark-io/dnshark/internal/line"
	"github.com/dnshark-io/dnshark/internal/loss"
	"github.com/dnshark-io/dnshark/internal/metrics"
	"github.com/dnshark-io/dnshark/internal/output"
	"github.com/dnshark-io/dnshark/internal/pair"
	"github.com/dnshark-io/dnshark/internal/policy"
	"github.com/dnshark-io/dnshark/internal/runtimes"
	"github.com/dnshark-io/dnshark/internal/sink"
	"github.com/dnshark-io/dnshark/internal/source"
	"github.com/dnshark-io/dnshark/internal/store"
	"github.com/dnshark-io/dnshark/internal/store/eventlog"
)

// reporter is the last writer: it prints the counters of all steps. The counters
// are the worker's own, so it is the worker that prints them, when a timer asks.
type reporter struct {
	lane    source.Lane
	decoder *decode.Decoder
	table   *pair.Table
	worker  *line.Worker
	marker  *kind.Marker
	limit   output.Limit
	tally   *output.Tally
	next    line.Writer
	json    bool

	recorder metrics.Recorder
	asked    chan chan *metrics.Snapshot // nil without metrics
	out      io.Writer
	due      atomic.Bool

	observer  *policy.Observer
	responses policy.Responses
	servers   policy.Servers
	processes policy.Processes
	// What was asked for by an expression and by policies; either may be nil.
	filter   *filter.Filter
	policies *policy.Stage
	detect   *detect.Stage   // nil when nobody wants alerts
	history  *store.Stage    // nil without --store
	events   *eventlog.Stage // nil where no whole events are kept
	keeper   *keeper         // of what detectors know, nil when that is not kept
	runtimes *runtimes.Set
	outputs  []*sink.Output // nil for a single plain one
	loss     *loss.Stage    // nil where nothing is captured
}

// Write implements line.Writer. When the batch is gone, all that was decoded has
// become something.
func (r *reporter) Write(b *event.Batch) (*event.Batch, error) {
	b, err := r.next.Write(b)
	if r.due.CompareAndSwap(true, false) {
		r.print(false)
	}
	if r.asked != nil {
		r.answer()
	}
	if r.keeper != nil && r.keeper.due.CompareAndSwap(true, false) {
		r.keeper.save(false)
	}
	return b, err
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

// print prints the counters; at the end also what became of the packets that the
// source handed over, of which some wait until then.
func (r *reporter) print(end bool) {
	if r.json {
		r.printJSON(end)
		return
	}
	for _, a := range r.accounts() {
		if a.name == "frames" && !end {
			continue
		}
		fmt.Fprintln(r.out, "dnshark:", a)
	}
	fmt.Fprintf(r.out, "dnshark: decoding: %v\n", r.decoder.Stats())
	fmt.Fprintf(r.out, "dnshark: shown: %s\n", r.shown())
	if r.detect != nil {
		r.printRules("alerts suppressed by", r.detect.SuppressedBy())
		r.printRules("messages allowed by", r.detect.AllowedBy())
		for _, why := range r.detect.Failed {
			fmt.Fprintf(r.out, "dnshark: detector off: %s\n", event.AppendSafe(nil, why))
		}
	}
	if also := text(r.also()); also != "" {
		fmt.Fprintln(r.out, "dnshark: also:", also)
	}
}

// also counts what is of interest beside the accounts.
func (r *reporter) also() []count {
	p := r.table.Stats
	var spoolFailed, spoolBad, noForm uint64
	for _, o := range r.outputs {
		s := o.Queue.Stats()
		spoolFailed, spoolBad, noForm = spoolFailed+s.SpoolFailed, spoolBad+s.SpoolBad, noForm+o.NoForm
	}
	return []count{
		{spoolFailed, "spool_failed"}, {spoolBad, "spool_bad"}, {noForm, "no_form"},
		{r.lane.Stats().Truncated, "packets_cut"}, {r.detectorsOff(), "detectors_off"},
		{r.birthsLost(), "births_lost"}, {r.receiptsLost(), "receipts_lost"}, {r.runtimes.Missed(), "containers_not_asked"}, {r.followLost(), "follow_lost"},
		{p.Retransmits, "retransmits"}, {p.Unsolicited, "unsolicited"}, {p.Duplicate, "duplicate"}, {p.Late, "late"}, {p.Mismatched, "mismatched"},
	}
}

// shown says how many events of each kind there were.
func (r *reporter) shown() string {
	if list := text(r.kinds()); list != "" {
		return list
	}
	return "none"
}

func (r *reporter) kinds() (list []count) {
	for i, k := range kind.Catalogue {
		if n := r.tally.Events[i]; n > 0 {
			list = append(list, count{n, k.Name})
		}
	}
	return list
}

// printRules prints how often rules held, with their names in quotes.
func (r *reporter) printRules(what string, list []detect.RuleCount) {
	var held []string
	for _, c := range counts(list) {
		if c.n > 0 {
			held = append(held, fmt.Sprintf("%q %d", c.name, c.n))
		}
	}
	if len(held) > 0 {
		fmt.Fprintf(r.out, "dnshark: %s: %s\n", what, strings.Join(held, ", "))
	}
}

// counts are those of detection's rules by their names, which are made safe. Rules of
// one name count together.
func counts(list []detect.RuleCount) (counts []count) {
	for _, c := range list {
		name := string(event.AppendSafe(nil, c.Rule))
		i := slices.IndexFunc(counts, func(c count) bool { return c.name == name })
		if i < 0 {
			i, counts = len(counts), append(counts, count{0, name})
		}
		counts[i].n += c.N
	}
	return counts
}

func (r *reporter) detectorsOff() uint64 {
	if r.detect == nil {
		return 0
	}
	return uint64(len(r.detect.Failed))
}

func (r *reporter) birthsLost() uint64 {
	if l, ok := r.lane.(interface{ BirthsLost() uint64 }); ok {
		return l.BirthsLost()
	}
	return 0
}

func (r *reporter) receiptsLost() uint64 {
	if l, ok := r.lane.(interface{ ReceiptsLost() uint64 }); ok {
		return l.ReceiptsLost()
	}
	return 0
}

func (r *reporter) followLost() uint64 {
	if l, ok := r.lane.(interface{ FollowLost() uint64 }); ok {
		return l.FollowLost()
	}
	return 0
}
