package sink

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
)

// script is a sink that answers as it is told, and then takes everything.
type script struct {
	mu     sync.Mutex
	answer []error
	took   []uint64 // First of the blocks that were taken
	tries  int
	hold   chan struct{} // nil, or closed when deliveries may go on
	closed bool
}

// Deliver implements Sink.
func (s *script) Deliver(ctx context.Context, b *Block) error {
	if s.hold != nil {
		select {
		case <-s.hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tries++
	if len(s.answer) > 0 {
		err := s.answer[0]
		s.answer = s.answer[1:]
		if err != nil {
			return err
		}
	}
	s.took = append(s.took, b.First)
	return nil
}

// Close implements Sink.
func (s *script) Close() error { s.closed = true; return nil }

// accounted reports whether each event became something.
func accounted(s Stats) bool {
	return s.Events == s.Delivered+s.Waiting+s.Overflow+s.Refused+s.Abandoned
}

// Blocks are delivered in order, each until the sink has it, and none after it was
// refused.
func TestQueueOrder(t *testing.T) {
	busy, never := errors.New("busy"), Permanent(errors.New("never"))
	s := &script{answer: []error{nil, busy, busy, nil, never, Partly(3, errors.New("some")), nil}}
	var said lines
	q := NewQueue(s, 1<<20, false, func(format string, args ...any) { said.add(format) })
	b := block(0, 10)
	for i := range 6 {
		*b = *block(i, 10)
		b = q.Put(b)
	}
	if err := q.Close(testGrace); err != nil {
		t.Error(err)
	}
	want := []uint64{0, 1, 4, 5} // 2 was refused, 3 in part
	if len(s.took) != 4 || s.took[0] != want[0] || s.took[1] != want[1] || s.took[2] != want[2] || s.took[3] != want[3] || !s.closed {
		t.Errorf("%v, closed: %v", s.took, s.closed)
	}
	stats := q.Stats()
	if stats.Delivered != 47 || stats.Refused != 13 || stats.Retries != 2 || !accounted(stats) || q.Err() != nil {
		t.Errorf("%+v, %v", stats, q.Err())
	}
	if log := strings.Join(said.get(), "|"); log != "%v; trying again|works again|%v; %d events dropped|%v; %d events dropped" {
		t.Errorf("%q", log)
	}
}

// What does not fit is dropped and counted, and what was there stays; who is patient
// waits instead.
func TestQueueBound(t *testing.T) {
	s := &script{hold: make(chan struct{})}
	one := int64(len(block(100, 10).Text))
	q := NewQueue(s, 3*one, false, t.Logf)
	for i := range 10 {
		q.Put(block(100+i, 10))
	}
	if stats := q.Stats(); stats.Overflow != 70 || stats.Waiting != 30 || !accounted(stats) {
		t.Errorf("%+v", stats)
	}
	close(s.hold)
	if err := q.Close(testGrace); err != nil || len(s.took) != 3 {
		t.Error(err, s.took)
	}

	s = &script{hold: make(chan struct{})}
	q = NewQueue(s, 3*one, true, t.Logf)
	put := make(chan int, 10)
	go func() {
		for i := range 10 {
			q.Put(block(100+i, 10))
			put <- i
		}
	}()
	eventually(t, "a full queue", func() bool { return len(put) == 3 })
	time.Sleep(20 * time.Millisecond)
	if len(put) != 3 {
		t.Errorf("%d blocks in a queue for 3", len(put))
	}
	close(s.hold)
	eventually(t, "all put", func() bool { return len(put) == 10 })
	if err := q.Close(testGrace); err != nil || q.Stats().Delivered != 100 {
		t.Error(err, q.Stats())
	}
	// Who is in a hurry does not wait.
	s = &script{hold: make(chan struct{})}
	q = NewQueue(s, 1, true, t.Logf)
	q.Put(block(0, 10))
	time.AfterFunc(20*time.Millisecond, q.Hurry)
	q.Put(block(1, 10))
	close(s.hold)
	if err := q.Close(testGrace); err != nil || q.Stats().Overflow != 10 || q.Stats().Delivered != 10 {
		t.Error(err, q.Stats())
	}
	// A block larger than the queue fits an empty one.
	s = &script{}
	q = NewQueue(s, 1, false, t.Logf)
	q.Put(block(0, 10))
	if err := q.Close(testGrace); err != nil || q.Stats().Delivered != 10 {
		t.Error(err, q.Stats())
	}
}

// At the end there is a limit to patience, and what is lost is said.
func TestQueueGrace(t *testing.T) {
	s := &script{hold: make(chan struct{})}
	q := NewQueue(s, 1<<20, true, t.Logf)
	q.Put(block(0, 10))
	q.Put(block(1, 10))
	begin := time.Now()
	err := q.Close(50 * time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "20 events not delivered") || time.Since(begin) > testGrace || !s.closed {
		t.Errorf("%v after %v", err, time.Since(begin))
	}
	if stats := q.Stats(); stats.Abandoned != 20 || !accounted(stats) {
		t.Errorf("%+v", stats)
	}
	// A patient Put does not outlive the queue.
	s = &script{answer: []error{errors.New("a"), errors.New("b"), errors.New("c"), errors.New("d"), errors.New("e"), errors.New("f")}}
	q = NewQueue(s, 1, true, t.Logf)
	q.Put(block(0, 10))
	done := make(chan struct{})
	go func() { q.Put(block(1, 10)); close(done) }()
	time.Sleep(10 * time.Millisecond)
	if err := q.Close(50 * time.Millisecond); err == nil || !strings.Contains(err.Error(), " events not delivered: ") {
		t.Error(err)
	}
	select {
	case <-done:
	case <-time.After(testGrace):
		t.Error("Put waits for ever")
	}
	if stats := q.Stats(); !accounted(stats) || stats.Delivered != 0 {
		t.Errorf("%+v", stats)
	}
}

// A receiver that wants to be left alone is, for as long as it says.
func TestQueueAfter(t *testing.T) {
	s := &script{answer: []error{After(errors.New("busy"), 500*time.Millisecond)}}
	q := NewQueue(s, 1<<20, true, t.Logf)
	begin := time.Now()
	q.Put(block(0, 1))
	if err := q.Close(testGrace); err != nil || time.Since(begin) < 500*time.Millisecond || s.tries != 2 {
		t.Errorf("%v after %v, %d tries", err, time.Since(begin), s.tries)
	}
}
