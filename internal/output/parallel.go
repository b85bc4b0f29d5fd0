package output

import (
	"io"
	"sync"
	"sync/atomic"

	"github.com/dnshark-io/dnshark/event"
)

// Parallel is a Writer that encodes several batches at once and writes them in
// their order, so that its output is the same whatever the number of workers.
// The encoder must be one of those that Stateless names.
//
// Batches must own their memory: what they borrow has to outlive Write.
type Parallel struct {
	jobs  chan *job // to whichever worker is free
	order chan *job // to the goroutine that writes
	free  chan *job
	wait  sync.WaitGroup
	err   atomic.Pointer[error]

	encoder Encoder
	sink    io.Writer
	begun   bool // belongs to write, and to Close when that has ended
	whole   bool // Begin was called
}

// job is a batch on its way to the sink.
type job struct {
	batch *event.Batch
	text  []byte
	ready chan struct{}
}

// NewParallel starts workers goroutines that encode and one that writes.
func NewParallel(e Encoder, sink io.Writer, workers int) *Parallel {
	// One batch is filled and one written while every worker has one and finds
	// the next.
	n := 2*workers + 2
	p := &Parallel{jobs: make(chan *job, n), order: make(chan *job, n), free: make(chan *job, n), encoder: e, sink: sink}
	for range n {
		p.free <- &job{batch: &event.Batch{}, ready: make(chan struct{}, 1)}
	}
	for range workers {
		encoder := e.(stateless).worker()
		p.wait.Go(func() {
			for j := range p.jobs {
				j.text = encoder.Append(j.text[:0], j.batch)
				j.ready <- struct{}{}
			}
		})
	}
	p.wait.Go(p.write)
	return p
}

func (p *Parallel) write() {
	for j := range p.order {
		<-j.ready
		if len(j.text) > 0 {
			p.begin()
			p.put(j.text)
		}
		j.batch.Reset()
		p.free <- j
	}
}

func (p *Parallel) begin() {
	if !p.begun {
		p.begun = true
		p.put(header(p.encoder, nil))
	}
}

func (p *Parallel) put(text []byte) {
	if p.err.Load() != nil || len(text) == 0 {
		return
	}
	if _, err := p.sink.Write(text); err != nil {
		p.fail(err)
	}
}

// Write takes the batch and returns another. An error is that of an earlier
// batch.
func (p *Parallel) Write(b *event.Batch) (*event.Batch, error) {
	j := <-p.free
	next := j.batch
	next.Host, next.Limits, next.Now = b.Host, b.Limits, b.Now
	j.batch = b
	p.jobs <- j
	p.order <- j
	return next, p.failed()
}

// Begin is that of Writer. No Write may follow.
func (p *Parallel) Begin() { p.whole = true }

// Close waits until everything is written. No Write may follow.
func (p *Parallel) Close() error {
	close(p.jobs)
	close(p.order)
	p.wait.Wait()
	if p.whole {
		p.begin()
	}
	if p.begun {
		p.put(trailer(p.encoder, nil))
	}
	return p.failed()
}

// fail keeps an error. It is apart, so that nothing is allocated without one.
//
//go:noinline
func (p *Parallel) fail(err error) { p.err.Store(&err) }

func (p *Parallel) failed() error {
	if err := p.err.Load(); err != nil {
		return *err
	}
	return nil
}
