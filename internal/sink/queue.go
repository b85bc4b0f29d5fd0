package sink

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Stats count events and octets of one output.
type Stats struct {
	Events    uint64 // that the output was to deliver
	Recovered uint64 // that an earlier run has left in the spool; with Events, the sum of the next eight
	Delivered uint64 // the receiver has them
	Waiting   uint64 // in the queue
	Spooled   uint64 // in the spool: at the end, for a later run
	Overflow  uint64 // dropped: the queue was full
	Refused   uint64 // dropped: the receiver will never take them
	Abandoned uint64 // dropped: dnshark ended first
	Dropped   uint64 // dropped: the spool was full, and they were the oldest
	Damaged   uint64 // dropped: the spool had them, and what is there cannot be read

	Octets  uint64 // of Events, encoded
	Queued  uint64 // octets of Waiting
	Retries uint64 // deliveries that failed and were tried again
	// SpoolFailed counts batches that could not be written to the spool at once,
	// SpoolBad what was found there and is no record.
	SpoolFailed, SpoolBad uint64
}

// Queue carries blocks from the line to a sink.
type Queue struct {
	sink    Sink
	log     func(format string, args ...any)
	bound   int64 // octets that may wait
	patient bool  // whoever puts waits for room
	disk    *disk // nil without a spool

	mu      sync.Mutex
	hurried bool // patience is over
	stats   Stats
	turn    *sync.Cond // something was put, taken or closed
	blocks  []*Block
	octets  int64 // in blocks
	free    []*Block
	closed  bool

	ctx    context.Context // ends when nothing more is tried
	cancel context.CancelFunc
	done   chan struct{}
	last   atomic.Pointer[error] // of the sink; nil when it works
}

const (
	firstPause = 100 * time.Millisecond
	// maxPause lets a sink that works again have its events within 10 s.
	maxPause = 6 * time.Second
	// maxAfter bounds for how long a receiver can send us away.
	maxAfter = time.Minute
	// maxFree bounds the blocks that are kept to be used again, maxKept their octets.
	maxFree = 8
	maxKept = 16 << 20
)

// NewQueue starts a goroutine that delivers. A patient queue never drops: Put
// waits, for what reads a file can wait.
func NewQueue(s Sink, bound int64, patient bool, log func(format string, args ...any)) *Queue {
	q := newQueue(s, bound, patient, log)
	go q.run()
	return q
}

func newQueue(s Sink, bound int64, patient bool, log func(format string, args ...any)) *Queue {
	q := &Queue{sink: s, log: log, bound: bound, patient: patient, done: make(chan struct{})}
	q.turn = sync.NewCond(&q.mu)
	q.ctx, q.cancel = context.WithCancel(context.Background())
	return q
}

// Put hands a block over and returns another, empty. When there is no room it is
// dropped, or, by a patient queue, Put waits.
func (q *Queue) Put(b *Block) *Block {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stats.Events += uint64(b.Events)
	q.stats.Octets += uint64(len(b.Text))
	for q.patient && !q.hurried && !q.fits(b) && q.ctx.Err() == nil {
		q.turn.Wait()
	}
	if !q.fits(b) {
		q.stats.Overflow += uint64(b.Events)
		b.reset()
		return b
	}
	q.blocks = append(q.blocks, b)
	q.octets += int64(len(b.Text))
	q.stats.Waiting += uint64(b.Events)
	q.turn.Broadcast()
	if n := len(q.free); n > 0 {
		next := q.free[n-1]
		q.free = q.free[:n-1]
		return next
	}
	return &Block{}
}

// Hurry lets Put wait no more: the user wants dnshark to end.
func (q *Queue) Hurry() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.hurried = true
	q.turn.Broadcast()
}

// fits reports whether there is room. One block always fits an empty queue.
func (q *Queue) fits(b *Block) bool {
	return len(q.blocks) == 0 || q.octets+int64(len(b.Text)) <= q.bound
}

func (b *Block) reset() { b.Text, b.Events = b.Text[:0], 0 }

// run is the goroutine that delivers.
func (q *Queue) run() {
	defer close(q.done)
	for {
		b := q.next()
		if b == nil {
			return
		}
		refused, err := q.deliver(b)
		q.finish(b, refused, err)
	}
}

// finish takes the first block away, which kept its room until now. Of its events so
// many were refused.
func (q *Queue) finish(b *Block, refused int, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := uint64(b.Events)
	q.stats.Waiting -= n
	switch {
	case err == nil || refused > 0:
		q.stats.Delivered += n - uint64(refused)
		q.stats.Refused += uint64(refused)
	default:
		q.stats.Abandoned += n
	}
	q.release(b)
}

// release takes the first block away, locked.
func (q *Queue) release(b *Block) {
	q.blocks = q.blocks[1:]
	q.octets -= int64(len(b.Text))
	if b.reset(); len(q.free) < maxFree && cap(b.Text) <= maxKept {
		q.free = append(q.free, b)
	}
	q.turn.Broadcast()
}

// next waits for the first block. It returns nil when there will be none.
func (q *Queue) next() *Block {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.blocks) == 0 {
		if q.closed {
			return nil
		}
		q.turn.Wait()
	}
	return q.blocks[0]
}

// deliver tries until the sink has the block, refused it or some of its events for
// good, or nothing more is to be tried.
func (q *Queue) deliver(b *Block) (refused int, err error) {
	for pause := firstPause; ; {
		if err := q.ctx.Err(); err != nil {
			return 0, err
		}
		refused, final, err := q.try(b)
		if final || q.ctx.Err() != nil {
			return refused, err
		}
		pause = q.wait(pause, err)
	}
}

// try delivers once. It reports whether that was the last word.
func (q *Queue) try(b *Block) (refused int, final bool, err error) {
	err = q.sink.Deliver(q.ctx, b)
	if refused, final = refusal(b, err); final {
		if q.last.Swap(nil) != nil && err == nil {
			q.log("works again")
		}
		if refused > 0 {
			q.log("%v; %d events dropped", err, refused)
		}
		return refused, true, err
	}
	if q.ctx.Err() != nil {
		return 0, false, err
	}
	if q.last.Swap(&err) == nil {
		q.log("%v; trying again", err)
	}
	q.mu.Lock()
	q.stats.Retries++
	q.mu.Unlock()
	return 0, false, err
}

// wait waits before a delivery that failed is tried again, and returns for how long
// next time.
func (q *Queue) wait(pause time.Duration, err error) time.Duration {
	// Jitter: agents that lost the same broker must not all come back at once.
	wait := pause/2 + rand.N(pause)
	var a *after
	if errors.As(err, &a) {
		wait = max(wait, min(a.wait, maxAfter))
	}
	q.sleep(wait)
	return min(2*pause, maxPause)
}

// sleep sleeps, unless nothing more is to be tried.
func (q *Queue) sleep(d time.Duration) {
	select {
	case <-time.After(d):
	case <-q.ctx.Done():
	}
}

// refusal returns how many of the block's events an error refuses, and whether it is
// the last word about the others too.
func refusal(b *Block, err error) (refused int, final bool) {
	var p *partly
	switch {
	case err == nil:
		return 0, true
	case errors.As(err, &p):
		return min(p.refused, b.Events), true
	case isPermanent(err):
		return b.Events, true
	}
	return 0, false
}

// Err returns why the sink does not work at the moment, or nil.
func (q *Queue) Err() error {
	if err := q.last.Load(); err != nil {
		return *err
	}
	return nil
}

// Stats returns the counters.
func (q *Queue) Stats() Stats {
	q.mu.Lock()
	s := q.stats
	s.Queued = uint64(q.octets)
	q.mu.Unlock()
	if q.disk != nil {
		s.SpoolBad = q.disk.bad()
	}
	return s
}

// Close delivers what waits, for as long as grace, and closes the sink. What is in
// a spool may stay there. It returns an error when events were lost.
func (q *Queue) Close(grace time.Duration) error {
	q.mu.Lock()
	q.closed = true
	q.turn.Broadcast()
	q.mu.Unlock()
	if q.disk != nil {
		q.disk.finish(grace)
	} else {
		select {
		case <-q.done:
		case <-time.After(grace):
		}
	}
	q.cancel()
	q.mu.Lock()
	q.turn.Broadcast()
	q.mu.Unlock()
	<-q.done
	err := q.sink.Close()
	if q.disk != nil {
		err = errors.Join(err, q.disk.close())
	}
	if n := q.Stats().Abandoned; n > 0 {
		why := q.Err()
		if why == nil {
			why = errors.New("too slow")
		}
		err = errors.Join(fmt.Errorf("%d events not delivered: %w", n, why), err)
	}
	return err
}
