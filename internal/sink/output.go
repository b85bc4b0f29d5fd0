package sink

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/filter"
	"github.com/dnshark-io/dnshark/internal/kind"
	"github.com/dnshark-io/dnshark/internal/output"
)

// Output encodes the events that it wants and hands them to its queue in blocks.
// It belongs to the worker, but for its queue's Stats.
type Output struct {
	Target  *Target
	Sink    Sink
	Encoder output.Encoder
	// Filter and Kinds say what is wanted. Without a Filter everything is.
	Filter *filter.Filter
	Kinds  kind.Set
	Host   string // in ids
	Queue  *Queue // since Start
	// NoForm counts events that were wanted here, and that the format has no form for.
	NoForm  uint64
	Carried kind.Set // what the format has a form for

	block  *Block
	since  time.Time // of the first event in block
	linger time.Duration
	full   int
	every  time.Duration // at multiples of this a block ends, or 0
	next   uint64        // sequence number
	source string
	kinds  []uint32 // of a batch's events, while some are hidden from the encoder
}

// Opener is a Sink that wants to open what it needs before dnshark gives up its
// privileges.
type Opener interface{ Open() error }

// Start makes the output ready for events. A patient one drops nothing, however
// slow its sink: who reads files can wait.
func (o *Output) Start(patient bool) error {
	if s, ok := o.Sink.(Opener); ok {
		if err := s.Open(); err != nil {
			return err
		}
	}
	t := o.Target
	if limit := t.Size("spool"); limit > 0 {
		var err error
		if o.Queue, err = newSpooled(o.Sink, t.Size("queue"), patient, t.Log, t.spoolDir(), limit); err != nil {
			return fmt.Errorf("spool: %w", err)
		}
	} else {
		o.Queue = NewQueue(o.Sink, max(t.Size("queue"), 2*wholeSize(t)), patient, t.Log)
	}
	o.block, o.linger, o.full = &Block{}, t.Time("linger"), int(max(1, t.Size("batch")))
	if t.Whole {
		o.linger, o.full, o.every = forever, int(wholeSize(t)), t.Time("every")
	}
	o.next, o.source = firstSequence(), source(o.Host, t.Name)
	return nil
}

// Write encodes what is wanted of the batch and leaves it as it was.
func (o *Output) Write(b *event.Batch) {
	before := len(o.block.Text)
	o.hide(b)
	o.block.Text = o.Encoder.Append(o.block.Text, b)
	o.show(b)
	if before == 0 && len(o.block.Text) > 0 {
		o.since = time.Now()
		if o.every > 0 {
			o.linger = o.since.UTC().Truncate(o.every).Add(o.every).Sub(o.since)
		}
	}
	if len(o.block.Text) >= o.full || len(o.block.Text) > 0 && time.Since(o.since) >= o.linger {
		o.flush()
	}
}

// hide takes from the events the kinds that are not wanted, and counts the others.
func (o *Output) hide(b *event.Batch) {
	o.kinds = o.kinds[:0]
	for i := range b.Events {
		e := &b.Events[i]
		o.kinds = append(o.kinds, e.Kinds)
		if e.Kinds &= uint32(o.Kinds); e.Kinds != 0 && o.Filter != nil && !o.Filter.Match(e) {
			e.Kinds = 0
		}
		o.NoForm += uint64(bits.OnesCount32(e.Kinds &^ uint32(o.Carried)))
		e.Kinds &= uint32(o.Carried)
		o.block.Events += bits.OnesCount32(e.Kinds)
	}
}

func (o *Output) show(b *event.Batch) {
	for i := range b.Events {
		b.Events[i].Kinds = o.kinds[i]
	}
}

func (o *Output) flush() {
	if len(o.block.Text) == 0 {
		return
	}
	if o.Target.Whole {
		o.block.Text = o.Target.Trailer(o.block.Text)
	}
	o.block.First, o.block.source = o.next, o.source
	o.next += uint64(bytes.Count(o.block.Text, []byte{'\n'}))
	o.block = o.Queue.Put(o.block)
}

// Close delivers what is left, for as long as grace.
func (o *Output) Close(grace time.Duration) error {
	o.flush()
	return o.Queue.Close(grace)
}

// Outputs is a line.Writer of several outputs.
type Outputs struct {
	List  []*Output
	Grace time.Duration // for what waits at the end
}

// Write gives the batch to every output and returns it, empty.
func (o *Outputs) Write(b *event.Batch) (*event.Batch, error) {
	for _, out := range o.List {
		out.Write(b)
	}
	b.Reset()
	return b, nil
}

// Close closes all outputs, all at the same time.
func (o *Outputs) Close() error {
	errs := make(chan error)
	for _, out := range o.List {
		go func() { errs <- out.Close(o.Grace) }()
	}
	var err error
	for range o.List {
		err = errors.Join(err, <-errs)
	}
	return err
}

// idOctets are what names in ids are made of.
const idOctets = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._"

// source returns what an output's ids begin with.
func source(host, name string) string {
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	short, _, _ := strings.Cut(string(boot), "-")
	host = strings.Map(func(r rune) rune {
		if !strings.ContainsRune(idOctets, r) {
			return '_'
		}
		return r
	}, host[:min(len(host), 64)])
	return host + "-" + cmp.Or(strings.TrimSpace(short), "0") + "-" + name + "-"
}

// firstSequence is where sequence numbers begin: nanoseconds since boot, of which
// a later run has more than an earlier one had events.
func firstSequence() uint64 {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return uint64(time.Now().UnixNano())
	}
	return uint64(t.Nano())
}

// DefaultName is the name of the output at place i, from 0.
func DefaultName(i int) string { return strconv.Itoa(i + 1) }
