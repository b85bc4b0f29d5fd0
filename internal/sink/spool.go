package sink

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/internal/spool"
)

const (
	spoolRoot = "/var/lib/dnshark/spool"
	// diskPause is how long a disk that failed is left alone.
	diskPause = time.Second
	// stuck is for how long a sink may do nothing at the end, when a spool keeps
	// what it does not take.
	stuck = time.Second
)

// disk is the spool of a queue. One goroutine, fill, carries blocks from memory to
// disk; another, drain, from there to the sink. While the disk fails, fill hands
// them to drain itself.
type disk struct {
	q     *Queue
	dir   string
	limit int64
	spool atomic.Pointer[spool.Spool] // nil until it can be opened

	changed chan struct{} // something is in the spool
	filled  chan struct{} // fill has ended
	direct  chan *Block
	result  chan result // of direct

	// Of fill.
	record  spool.Record
	failing bool
	retry   time.Time
}

type result struct {
	refused int
	final   bool
	err     error
}

// spoolDir is where the target's spool is. Events of another format would not be
// understood, so each format has its own.
func (t *Target) spoolDir() string {
	dir := t.Text("spool-dir")
	if dir == "" {
		name := t.Name
		if !t.Given("name") {
			// Its place in the list may be another's next time.
			h := fnv.New64a()
			_, _ = h.Write([]byte(t.String() + "\x00" + t.Filter))
			kind := "stdout"
			if t.Kind != nil {
				kind = t.Kind.Scheme
			}
			name = fmt.Sprintf("%s_%016x", kind, h.Sum64())
		}
		dir = filepath.Join(spoolRoot, name)
	}
	return filepath.Join(dir, cmp.Or(t.Format, "default"))
}

// checkSpool refuses what no spool can be.
func (t *Target) checkSpool() error {
	switch {
	case !t.Given("spool"):
		if t.Given("spool-dir") {
			return errors.New("spool-dir= needs spool=, how much may be there")
		}
	case t.Size("spool") < max(1<<20, 4*t.Size("batch")):
		return fmt.Errorf("spool=%s: at least 1MB, and four times batch=", t.Text("spool"))
	case t.Name != "" && strings.Trim(t.Name, ".") == "":
		return fmt.Errorf("name=%s: no name for a directory", t.Name)
	}
	return nil
}

// newSpooled is NewQueue with a spool. A disk that fails at the moment is no error.
func newSpooled(s Sink, bound int64, patient bool, log func(format string, args ...any), dir string, limit int64) (*Queue, error) {
	q := newQueue(s, bound, patient, log)
	d := &disk{
		q: q, dir: dir, limit: limit, changed: make(chan struct{}, 1), filled: make(chan struct{}),
		direct: make(chan *Block), result: make(chan result),
	}
	q.disk = d
	if err := d.open(); err != nil {
		if !passing(err) {
			return nil, err
		}
		d.failed(err)
	}
	go d.fill()
	go d.drain()
	return q, nil
}

// passing reports whether an error is of a kind that goes away by itself.
func passing(err error) bool {
	for _, e := range []error{unix.ENOSPC, unix.EDQUOT, unix.EROFS, unix.EIO, unix.EMFILE, unix.ENFILE} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (d *disk) open() error {
	s, err := spool.Open(d.dir, d.limit, d, d.changed)
	if err != nil {
		return err
	}
	n := s.Pending()
	d.q.mu.Lock()
	d.q.stats.Recovered += n
	d.q.stats.Spooled += n
	d.q.mu.Unlock()
	if n > 0 {
		d.q.log("%d events of an earlier run are in %s", n, d.dir)
	}
	d.spool.Store(s)
	d.wake()
	return nil
}

func (d *disk) wake() {
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// Stored implements spool.Account.
func (d *disk) Stored(n uint64) {
	d.q.mu.Lock()
	defer d.q.mu.Unlock()
	d.q.stats.Waiting -= n
	d.q.stats.Spooled += n
}

// Dropped implements spool.Account.
func (d *disk) Dropped(n uint64) { d.lost(&d.q.stats.Dropped, n) }

// Damaged implements spool.Account.
func (d *disk) Damaged(n uint64) { d.lost(&d.q.stats.Damaged, n) }

func (d *disk) lost(counter *uint64, n uint64) {
	d.q.mu.Lock()
	defer d.q.mu.Unlock()
	d.q.stats.Spooled -= n
	*counter += n
}

func (d *disk) bad() uint64 {
	if s := d.spool.Load(); s != nil {
		return s.Bad()
	}
	return 0
}

// fill is the goroutine that carries blocks from memory to disk.
func (d *disk) fill() {
	defer close(d.filled)
	for {
		b := d.q.next()
		if b == nil {
			return
		}
		d.store(b)
	}
}

// store gets rid of a block, one way or the other.
func (d *disk) store(b *Block) {
	q := d.q
	for {
		if b.Events > 0 && !time.Now().Before(d.retry) {
			err := d.append(b)
			switch {
			case err == nil:
				q.mu.Lock()
				q.release(b)
				q.mu.Unlock()
				return
			case errors.Is(err, spool.ErrTooLarge):
				q.log("%v; %d events dropped", err, b.Events)
				q.mu.Lock()
				q.stats.Waiting -= uint64(b.Events)
				q.stats.Overflow += uint64(b.Events)
				q.release(b)
				q.mu.Unlock()
				return
			case errors.Is(err, spool.ErrFull):
				d.retry = time.Now().Add(10 * time.Millisecond)
			default:
				d.failed(err)
			}
		}
		var again <-chan time.Time
		if b.Events > 0 {
			again = time.After(time.Until(d.retry))
		}
		select {
		case d.direct <- b:
			if r := <-d.result; r.final {
				q.finish(b, r.refused, r.err)
				return
			}
		case <-again:
		case <-q.ctx.Done():
			q.finish(b, 0, q.ctx.Err())
			return
		}
	}
}

func (d *disk) append(b *Block) error {
	if d.spool.Load() == nil {
		if err := d.open(); err != nil {
			return err
		}
	}
	d.record.Source, d.record.First, d.record.Events, d.record.Text = b.source, b.First, b.Events, b.Text
	err := d.spool.Load().Append(&d.record, d.q.patient)
	if err == nil && d.failing {
		d.failing = false
		d.q.log("the spool works again")
	}
	return err
}

func (d *disk) failed(err error) {
	d.retry = time.Now().Add(diskPause)
	d.q.mu.Lock()
	d.q.stats.SpoolFailed++
	d.q.mu.Unlock()
	if !d.failing {
		d.failing = true
		d.q.log("spool: %v; events wait in memory", err)
	}
}

// drain is the goroutine that carries events to the sink.
func (d *disk) drain() {
	q := d.q
	defer close(q.done)
	defer func() { <-d.filled }()
	var b Block
	var record spool.Record
	pause := firstPause
	for q.ctx.Err() == nil {
		ended := false
		select {
		case <-d.filled:
			ended = true
		default:
		}
		found, err := d.next(&record)
		switch {
		case found:
			b = Block{Text: record.Text, First: record.First, Events: record.Events, source: record.Source}
			d.pass(&b)
			continue
		case err != nil:
			q.log("spool: %v; trying again", err)
			q.sleep(diskPause)
			continue
		case ended:
			return
		}
		select {
		case b := <-d.direct:
			refused, final, err := q.try(b)
			d.result <- result{refused, final, err}
			if final {
				pause = firstPause
			} else {
				pause = q.wait(pause, err)
			}
		case <-d.changed:
		case <-d.filled:
		case <-q.ctx.Done():
		}
	}
}

func (d *disk) next(r *spool.Record) (bool, error) {
	s := d.spool.Load()
	if s == nil {
		return false, nil
	}
	return s.Next(r)
}

// pass delivers a block that is in the spool.
func (d *disk) pass(b *Block) {
	q, n := d.q, uint64(b.Events)
	refused, err := q.deliver(b)
	if err != nil && refused == 0 { // ended
		if !d.spool.Load().Kept() {
			d.lost(&q.stats.Dropped, n)
		}
		return
	}
	q.mu.Lock()
	q.stats.Spooled -= n
	q.stats.Delivered += n - uint64(refused)
	q.stats.Refused += uint64(refused)
	q.mu.Unlock()
	// What is not noted as delivered is delivered again after a restart, no more.
	_ = d.spool.Load().Ack()
}

// finish delivers for as long as grace. What is on disk can wait for the next run,
// so a sink that does not work is not waited for, unless it is all we have to do.
func (d *disk) finish(grace time.Duration) {
	end := time.Now().Add(grace)
	delivered, since := uint64(0), time.Now()
	for time.Now().Before(end) {
		select {
		case <-d.q.done:
			return
		case <-time.After(20 * time.Millisecond):
		}
		if s := d.q.Stats(); s.Delivered != delivered {
			delivered, since = s.Delivered, time.Now()
		}
		select {
		case <-d.filled:
			if !d.q.patient && (d.q.Err() != nil || time.Since(since) > stuck) {
				return
			}
		default:
		}
	}
}

// close closes the spool and says what stays.
func (d *disk) close() error {
	s := d.spool.Load()
	if s == nil {
		return nil
	}
	if n := d.q.Stats().Spooled; n > 0 {
		d.q.log("%d events stay in %s, for the next run", n, d.dir)
	}
	return s.Close()
}
