package output

import (
	"io"
	"iter"
	"sync"
	"sync/atomic"

	"github.com/dnshark-io/dnshark/event"
)

// Parallel is a Writer that encodes several batches at once and writes them in
// their order, so that its output is the same whatever the number of workers.
// The encoder must be one of those that Stateless names.
//
// Everything before the encoder is done in order, by one worker at a time: whoever
// has the turn. When a few batches are in stock it leaves the turn to the next and
// encodes the batch it has filled, which is in its processor's cache. Who finds the
// turn taken lives on the stock: to sleep and be woken takes as long as a batch.
//
// Batches must own their memory: what they borrow has to outlive Write.
type Parallel struct {
	workers int
	encoder Encoder
	sink    io.Writer
	whole   bool // Begin was called
	err     atomic.Pointer[error]

	turn  chan struct{} // holds a value when nobody has the turn; closed behind the last batch
	stock chan *job     // filled and not encoded; closed before turn
	free  chan *job

	// Of who has the turn.
	yield   func(*job) bool // from Write to the worker
	filling *job
	batches int

	mu      sync.Mutex
	ready   []*job // by number, encoded and not yet written
	written int    // batches
	writing bool   // by one worker, which alone may use sink and begun
	begun   bool
}

// job is a batch on its way to the sink.
type job struct {
	number int
	batch  *event.Batch
	text   []byte
}

// NewParallel returns a Parallel for so many workers, which Run starts.
func NewParallel(e Encoder, sink io.Writer, workers int) *Parallel {
	// One is filled, every worker has one, and so has the stock for everyone.
	n := 2*workers + 2
	p := &Parallel{
		workers: workers, encoder: e, sink: sink,
		turn: make(chan struct{}, 1), stock: make(chan *job, workers), free: make(chan *job, n), ready: make([]*job, n),
	}
	for range n {
		p.free <- &job{batch: &event.Batch{}}
	}
	return p
}

// Run calls line, which calls Write, and returns its error when everything is
// written. Line runs on the goroutine of one worker after the other.
func (p *Parallel) Run(line func() error) (err error) {
	next, stop := iter.Pull(func(yield func(*job) bool) {
		p.yield = yield
		err = line()
	})
	defer stop()
	var wait sync.WaitGroup
	for range p.workers {
		encoder := p.encoder.(stateless).worker()
		wait.Go(func() { p.work(next, encoder) })
	}
	p.turn <- struct{}{}
	wait.Wait()
	return err
}

func (p *Parallel) work(next func() (*job, bool), encoder Encoder) {
	own := <-p.free
	for {
		j, leads, more := p.find(&own)
		if leads && more {
			p.filling, own = own, nil
			if j, more = next(); more {
				p.turn <- struct{}{}
			} else {
				close(p.stock)
				close(p.turn)
			}
		}
		if !more {
			break
		}
		j.text = encoder.Append(j.text[:0], j.batch)
		own = p.deliver(j, own)
	}
	for j := range p.stock {
		j.text = encoder.Append(j.text[:0], j.batch)
		own = p.deliver(j, own)
	}
}

// find waits for the turn or for a job in stock, until there is no more. Who leads needs a
// job to fill, own. Nobody leads while the stock is full: what waits there is
// older than what comes, and all that is encoded waits for it. Not all can wait so
// in vain, for the stock has a job for every worker.
func (p *Parallel) find(own **job) (j *job, leads, more bool) {
	for {
		turn, free := p.turn, p.free
		if *own == nil {
			select {
			case *own = <-free:
			default:
				turn = nil
			}
		}
		if *own != nil {
			free = nil
		}
		if len(p.stock) == cap(p.stock) {
			turn = nil
		}
		select {
		case _, more = <-turn: // before the stock, which is for when somebody else leads
			return nil, true, more
		default:
		}
		select {
		case _, more = <-turn:
			return nil, true, more
		case j, more = <-p.stock:
			return j, false, more
		case *own = <-free:
		}
	}
}

// Write takes the batch and returns another. An error is that of an earlier
// batch. It is called by what Run calls.
func (p *Parallel) Write(b *event.Batch) (*event.Batch, error) {
	host, limits, now := b.Host, b.Limits, b.Now
	j := p.filling
	j.batch, j.number = b, p.batches
	p.batches++
	select {
	case p.stock <- j:
		p.filling = <-p.free
	default:
		p.yield(j) // it returns when a worker has the turn again, which has said what to fill
	}
	next := p.filling.batch
	next.Host, next.Limits, next.Now = host, limits, now
	return next, p.failed()
}

// deliver writes what is next, if nobody else does, and returns a job for the worker
// to go on with: own, or one that was written.
func (p *Parallel) deliver(j, own *job) *job {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ready[j.number%len(p.ready)] = j
	if p.writing {
		return own
	}
	p.writing = true
	for {
		at := &p.ready[p.written%len(p.ready)]
		j := *at
		if j == nil {
			p.writing = false
			return own
		}
		*at = nil
		p.written++
		p.mu.Unlock()
		if len(j.text) > 0 {
			p.begin()
			p.put(j.text)
		}
		j.batch.Reset()
		if own == nil {
			own = j
		} else {
			p.free <- j
		}
		p.mu.Lock()
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

// Begin is that of Writer. No Write may follow.
func (p *Parallel) Begin() { p.whole = true }

// Close ends what Run has written.
func (p *Parallel) Close() error {
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
