package web

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/bits"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/filter"
	"github.com/dnshark-io/dnshark/internal/kind"
	"github.com/dnshark-io/dnshark/internal/output"
	"github.com/dnshark-io/dnshark/internal/sink"
)

// Hub gives live events to those who read /api/v1/stream.
//
// It stands at two ends of an output's queue. On the line it is the encoder: there
// events are still events, so there the filter of each reader decides, and a bit per
// reader goes with each line of JSON. Behind the queue it is the sink, which copies
// lines to the readers that want them. A reader that is slow loses events, which are
// counted; neither the line nor another reader waits for it.
type Hub struct {
	audience atomic.Pointer[audience]

	// The line's.
	json   output.Encoder
	one    event.Batch
	wanted []uint64 // readers, for each event of a batch
	budget budget

	output *sink.Output

	series series // Deliver's

	mu      sync.Mutex
	readers [maxReaders]*Reader
	epoch   uint64 // of the newest audience
}

// OutputName is the hub's among the outputs.
const OutputName = "serve"

// linger is for how long events are gathered: readers want them at once.
const linger = "50ms"

// maxReaders is how many bits a line has for them.
const maxReaders = 64

// maxUnread bounds what waits for one reader, in octets.
const maxUnread = 1 << 20

// audience is who reads, as the line sees it.
type audience struct {
	epoch   uint64
	all     uint64 // readers without a filter
	filters []readerFilter
}

type readerFilter struct {
	*Reader
	spent time.Duration // the line's, since the audience is this one
}

// budget bounds what all filters together take of a live line's time: a part of it, and
// more than that for a moment. When it is spent, the costliest reader must go: its
// expression may be made to be slow.
type budget struct {
	patient bool
	part    time.Duration // of a second
	moment  time.Duration
	debt    time.Duration
	at      time.Time
}

// charge takes what filters spent until now. It reports whether that is too much.
func (b *budget) charge(spent time.Duration, now time.Time) bool {
	paid := time.Duration(float64(b.part) * now.Sub(b.at).Seconds())
	b.debt, b.at = max(b.debt-paid, 0)+spent, now
	if b.patient || b.debt <= b.moment {
		return false
	}
	b.debt = 0
	return true
}

// ErrReaders is returned when there are as many readers as there can be.
var ErrReaders = errors.New("too many readers of live events")

// NewHub returns a hub without readers. A patient one gives filters all time, for what
// reads files can wait.
func NewHub(host string, patient bool, log func(format string, args ...any)) *Hub {
	h := &Hub{json: output.NewJSON()}
	h.budget = budget{patient: patient, part: 200 * time.Millisecond, moment: time.Second, at: time.Now()}
	h.audience.Store(&audience{})
	how := &sink.Kind{Options: []sink.Option{{Name: "linger", Type: "time", Default: linger}}}
	h.output = &sink.Output{
		Target: &sink.Target{Kind: how, Format: "json", Name: OutputName, Host: host, URL: &url.URL{Path: "dnshark serve"}, Log: log},
		Sink:   h, Encoder: h, Kinds: ^kind.Set(0), Carried: ^kind.Set(0), Host: host,
	}
	return h
}

// Output returns the hub as one of the outputs of the line.
func (h *Hub) Output() *sink.Output { return h.output }

// mark stands before a line.
type mark struct {
	wanted uint64 // readers that want it
	epoch  uint64 // of the audience that was asked: in a reader's place may be another by now
	time   int64
	sample sample
}

const markSize = 4 * 8

func (m *mark) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, m.wanted)
	dst = binary.BigEndian.AppendUint64(dst, m.epoch)
	dst = binary.BigEndian.AppendUint64(dst, uint64(m.time))
	return binary.BigEndian.AppendUint64(dst, uint64(m.sample))
}

func (m *mark) read(text []byte) {
	m.wanted, m.epoch = binary.BigEndian.Uint64(text), binary.BigEndian.Uint64(text[8:])
	m.time, m.sample = int64(binary.BigEndian.Uint64(text[16:])), sample(binary.BigEndian.Uint64(text[24:]))
}

// Append implements output.Encoder. Each line of JSON has a mark before it, so what
// it appends is for Deliver alone.
func (h *Hub) Append(dst []byte, b *event.Batch) []byte {
	a := h.audience.Load()
	h.ask(a, b)
	for i := range b.Events {
		e := &b.Events[i]
		m, kinds := mark{h.wanted[i], a.epoch, e.Time, sampleOf(e)}, e.Kinds
		for left := kinds; left != 0; left &= left - 1 {
			e.Kinds = left & -left
			h.one.Events = b.Events[i : i+1]
			dst = h.json.Append(m.append(dst), &h.one)
			m.sample = 0
		}
		e.Kinds = kinds
	}
	h.one.Events = nil
	return dst
}

// ask fills h.wanted.
func (h *Hub) ask(a *audience, b *event.Batch) {
	h.wanted = h.wanted[:0]
	for range b.Events {
		h.wanted = append(h.wanted, a.all)
	}
	if len(a.filters) == 0 {
		return
	}
	begin := time.Now()
	last := begin
	costliest := &a.filters[0]
	for i := range a.filters {
		r := &a.filters[i]
		if r.costly.Load() {
			continue
		}
		for i := range b.Events {
			if e := &b.Events[i]; e.Kinds != 0 && r.f.Match(e) {
				h.wanted[i] |= 1 << r.place
			}
		}
		now := time.Now()
		if r.spent += now.Sub(last); r.spent > costliest.spent || costliest.costly.Load() {
			costliest = r
		}
		last = now
	}
	if h.budget.charge(last.Sub(begin), last) {
		costliest.costly.Store(true)
		costliest.wakeUp()
	}
}

// Deliver implements sink.Sink.
func (h *Hub) Deliver(_ context.Context, b *sink.Block) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.series.mu.Lock()
	defer h.series.mu.Unlock()
	var m mark
	for text := b.Text; len(text) > markSize; {
		m.read(text)
		text = text[markSize:]
		n := bytes.IndexByte(text, '\n') + 1
		h.series.note(m.time, m.sample)
		for wanted := m.wanted; wanted != 0; wanted &= wanted - 1 {
			if r := h.readers[bits.TrailingZeros64(wanted)]; r != nil && r.since <= m.epoch {
				r.put(text[:n])
			}
		}
		text = text[n:]
	}
	for _, r := range h.readers {
		if r != nil {
			r.wake()
		}
	}
	return nil
}

// Close implements sink.Sink. Readers stay, and get what waits for them.
func (h *Hub) Close() error { return nil }

// Readers returns how many there are.
func (h *Hub) Readers() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.readers {
		if r != nil {
			n++
		}
	}
	return n
}

// Reader is one who reads live events.
type Reader struct {
	hub   *Hub
	place int
	since uint64 // epoch

	f *filter.Filter // nil: all events; the line's

	costly atomic.Bool   // f takes too long, and is asked no more
	ready  chan struct{} // something came

	mu    sync.Mutex
	lines []byte
	lost  uint64
}

// Join adds a reader of the events that f wants, or of all. It must Leave.
func (h *Hub) Join(f *filter.Filter) (*Reader, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, taken := range h.readers {
		if taken == nil {
			r := &Reader{hub: h, place: i, since: h.epoch + 1, f: f, ready: make(chan struct{}, 1)}
			h.readers[i] = r
			h.publish()
			return r, nil
		}
	}
	return nil, ErrReaders
}

// Leave takes the reader away.
func (r *Reader) Leave() {
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	r.hub.readers[r.place] = nil
	r.hub.publish()
}

// publish tells the line who reads, locked.
func (h *Hub) publish() {
	h.epoch++
	a := &audience{epoch: h.epoch}
	for i, r := range h.readers {
		switch {
		case r == nil:
		case r.f == nil:
			a.all |= 1 << i
		default:
			a.filters = append(a.filters, readerFilter{Reader: r})
		}
	}
	h.audience.Store(a)
}

func (r *Reader) put(line []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.lines)+len(line) > maxUnread {
		r.lost++
		return
	}
	r.lines = append(r.lines, line...)
}

func (r *Reader) wake() {
	r.mu.Lock()
	some := len(r.lines) > 0 || r.lost > 0
	r.mu.Unlock()
	if some {
		r.wakeUp()
	}
}

func (r *Reader) wakeUp() {
	select {
	case r.ready <- struct{}{}:
	default:
	}
}

// Ready is sent to when there may be something to Take.
func (r *Reader) Ready() <-chan struct{} { return r.ready }

// Costly reports that the filter takes too long: nothing more comes.
func (r *Reader) Costly() bool { return r.costly.Load() }

// Take appends at most n lines to dst, and returns how many events this reader lost
// before them since it took last.
func (r *Reader) Take(dst []byte, n int) (lines []byte, lost uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	lost, r.lost = r.lost, 0
	end := 0
	for ; n > 0 && end < len(r.lines); n-- {
		end += bytes.IndexByte(r.lines[end:], '\n') + 1
	}
	dst = append(dst, r.lines[:end]...)
	r.lines = r.lines[:copy(r.lines, r.lines[end:])]
	if len(r.lines) > 0 {
		r.wakeUp()
	}
	return dst, lost
}
