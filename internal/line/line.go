// Package line is the worker: it carries batches of frames through every step,
// with direct calls. Read it first.
package line

import (
	"context"
	"errors"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/decode"
	"github.com/dnshark-io/dnshark/internal/source"
)

// Stage is a step between decoding and output. It works in place: it may change
// or add events, and keeps nothing of the batch. One that has more events than a
// batch should take says so by a method More() bool, and gets another batch.
type Stage interface{ Process(*event.Batch) }

// Writer is where events go. It takes the batch and returns an empty one to go
// on with, the same or another.
type Writer interface {
	Write(*event.Batch) (*event.Batch, error)
}

// Births is told of new processes, before the events that their packets make.
type Births interface{ Birth(*event.Birth) }

// Cgroups is told of new cgroups, before the processes in there are born.
type Cgroups interface{ Cgroup(*event.Cgroup) }

// How much is decoded before it goes on. It bounds the memory that is touched
// between decoding and output to what caches hold, and what long messages can
// make of it.
const (
	batchEvents = 192
	batchOctets = 384 << 10 // of messages that were copied
)

// Worker serves one lane.
type Worker struct {
	Lane    source.Lane
	Decoder *decode.Decoder
	Stages  []Stage // in order
	Writer  Writer
	Births  []Births
	Cgroups Cgroups // nil where nobody wants to know
	Host    string
	Limits  dnswire.Limits // what is kept of a message
	// Clock tells the time, ns since the Unix epoch, when a live lane is
	// silent. It is nil for files, whose only time is that of their packets.
	Clock func() int64

	// Skipped counts frames that were handed over and not looked at, because
	// the writer wanted no more.
	Skipped uint64

	batch  *event.Batch
	failed bool // the writer wants no more
}

// Run works until the lane ends, ctx ends, or the writer fails.
func (w *Worker) Run(ctx context.Context) error {
	w.batch = &event.Batch{Host: w.Host, Limits: w.Limits}
	err := w.Lane.Run(ctx, w.take)
	if w.failed {
		return err
	}
	// What the decoder still holds.
	w.Decoder.Flush(w.batch)
	w.batch.Last = true
	return errors.Join(err, w.flush())
}

func (w *Worker) take(frames []source.Frame) error {
	for i := range frames {
		f := &frames[i]
		if f.Birth != nil || f.NewCgroup != nil {
			w.news(f)
			continue
		}
		w.Decoder.Frame(f, w.batch)
		if len(w.batch.Events) >= batchEvents || w.batch.Held() >= batchOctets {
			if err := w.flush(); err != nil {
				w.skip(frames[i+1:])
				return err
			}
		}
	}
	if len(frames) == 0 && w.Clock != nil {
		w.advance(w.Clock())
	}
	w.Decoder.Tick(w.batch.Now)
	return w.flush()
}

// news is what comes between the packets.
func (w *Worker) news(f *source.Frame) {
	w.advance(f.Time)
	if f.NewCgroup != nil && w.Cgroups != nil {
		w.Cgroups.Cgroup(f.NewCgroup)
	}
	if f.Birth != nil {
		for _, b := range w.Births {
			b.Birth(f.Birth)
		}
	}
}

// advance moves the time forward, and back where the host's clock was set back.
func (w *Worker) advance(now int64) {
	if now > w.batch.Now || w.batch.Now-now > decode.ClockStep {
		w.batch.Now = now
	}
}

func (w *Worker) skip(frames []source.Frame) {
	for i := range frames {
		if frames[i].Birth == nil && frames[i].NewCgroup == nil {
			w.Skipped++
		}
	}
}

func (w *Worker) flush() error {
	for {
		more, last := false, w.batch.Last
		for _, s := range w.Stages {
			s.Process(w.batch)
			if s, ok := s.(interface{ More() bool }); ok && s.More() {
				more = true
			}
		}
		var err error
		w.batch, err = w.Writer.Write(w.batch)
		if w.failed = err != nil; w.failed || !more {
			return err
		}
		w.batch.Last = last
	}
}
