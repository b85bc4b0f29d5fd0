// Package output turns events into octets and hands them to sinks. Each format
// is one file with one Encoder.
package output

import (
	"errors"
	"io"
	"math/bits"

	"github.com/dnshark-io/dnshark/event"
)

// Encoder appends a batch's events, each once per kind in its Kinds, in one
// format. It keeps nothing of the batch.
type Encoder interface {
	Append(dst []byte, b *event.Batch) []byte
}

// blockBytes is how much output is gathered for one write(2): a write per event
// would cost more than all other work on it.
const blockBytes = 256 << 10

// Writer gathers what an Encoder makes and writes it in blocks.
type Writer struct {
	encoder Encoder
	sink    io.Writer
	prompt  bool
	begun   bool
	buf     []byte
}

// NewWriter returns a Writer. A prompt one writes after every batch, as somebody
// who watches live events wants it; otherwise it waits for a full block.
func NewWriter(e Encoder, sink io.Writer, prompt bool) *Writer {
	return &Writer{encoder: e, sink: sink, prompt: prompt, buf: make([]byte, 0, blockBytes+64<<10)}
}

// Write encodes the batch and returns it, empty.
func (w *Writer) Write(b *event.Batch) (*event.Batch, error) {
	begun := w.begun
	w.Begin()
	before := len(w.buf)
	w.buf = w.encoder.Append(w.buf, b)
	if len(w.buf) == before && !begun {
		w.buf, w.begun = w.buf[:0], false
	}
	b.Reset()
	if w.prompt || len(w.buf) >= blockBytes {
		return b, w.flush()
	}
	return b, nil
}

// Begin makes sure that what the format begins with is written, events or none.
// Without it the first event does.
func (w *Writer) Begin() {
	if !w.begun {
		w.buf, w.begun = header(w.encoder, w.buf), true
	}
}

// Close writes what was gathered, and what the format ends with. No Write may
// follow.
func (w *Writer) Close() error {
	if w.begun {
		w.buf = trailer(w.encoder, w.buf)
	}
	return w.flush()
}

func (w *Writer) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	_, err := w.sink.Write(w.buf)
	w.buf = w.buf[:0]
	return err
}

// ErrLimit ends a run after as many events as were asked for.
var ErrLimit = errors.New("event limit reached")

// Limit passes on at most N events.
type Limit struct {
	N    uint64
	Once bool   // an event counts once, by however many names it goes
	Cut  uint64 // observations of which nothing was passed on
	Next interface {
		Write(*event.Batch) (*event.Batch, error)
	}
}

// Write passes the batch on, shortened to what is left of N. It returns
// ErrLimit with the last event.
func (l *Limit) Write(b *event.Batch) (*event.Batch, error) {
	for i := range b.Events {
		e := &b.Events[i]
		some := e.Kinds != 0
		if l.Once {
			if some && l.N > 0 {
				l.N--
			} else if some {
				e.Kinds = 0
				l.Cut++
			}
			continue
		}
		for n := bits.OnesCount32(e.Kinds); uint64(n) > l.N; n-- {
			e.Kinds &^= 1 << (31 - bits.LeadingZeros32(e.Kinds))
		}
		l.N -= uint64(bits.OnesCount32(e.Kinds))
		if some && e.Kinds == 0 {
			l.Cut++
		}
	}
	b, err := l.Next.Write(b)
	if err == nil && l.N == 0 {
		err = ErrLimit
	}
	return b, err
}

// None is the encoder that writes nothing: for measuring and for statistics.
type None struct{}

// Append implements Encoder.
func (None) Append(dst []byte, _ *event.Batch) []byte { return dst }
