// Package eventlog keeps recent events whole: in files that are found by time, name,
// address, process and container without reading all of them, and unlinked when
// they are too old or too many. Read columns.go for how they become small.
package eventlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/internal/store"
)

// Options says how much is kept.
type Options struct {
	MaxAge  time.Duration // since events were written, about; 0: any
	MaxSize int64         // octets of all files, about; at least MinSize, 0: any
}

// DirName is the directory of the log in the directory of a store.
const DirName = "events"

// MinSize is the least MaxSize.
const MinSize = 16 << 20

const (
	commitEvery = 150 * time.Millisecond
	lookEvery   = 10 * time.Second // for what is too old
	retryEvery  = time.Second      // when the disk is full

	blockLines = 4 << 20  // octets of lines of a block, about
	maxPending = 8 << 20  // octets that wait for the disk
	maxAppend  = 16 << 20 // octets of one Append
)

// ErrFull is of events that came faster than they can be written.
var ErrFull = errors.New("the log of events is behind")

// Log is the log of the one process that writes it.
type Log struct {
	*Reader
	options Options
	lock    *os.File

	mu       sync.Mutex // of what waits
	room     sync.Cond
	pending  []byte
	events   int // in pending
	written  uint64
	onTheWay uint64 // taken out of pending and not written
	failed   error
	closed   bool
	wake     chan struct{}
	done     chan struct{}
	shutdown chan struct{}

	commit  sync.Mutex // of the files
	packer  *packer
	journal *os.File
	end     int64  // of the journal
	open    []byte // lines of the block in the making
	first   uint64 // number of its first event
	count   int    // of its events
	in      int    // octets of it that are in the journal
	inCount int
	since   time.Time // when its first event came
	spare   []byte
	record  []byte   // of the journal, in the making
	segment *os.File // the last one, nil before its first block
	size    int64
	period  int64 // of the segment's first block
	looked  time.Time
	clock   *store.Clock
}

// Open opens the log in dir for writing, and makes both when they do not exist.
// What a killed process left is put right.
func Open(dir string, o Options) (*Log, error) {
	if o.MaxSize != 0 && o.MaxSize < MinSize {
		return nil, fmt.Errorf("the log of events needs at least %d MiB", MinSize>>20)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	l := &Log{
		Reader: &Reader{dir: dir, segments: map[string]*segment{}}, options: o,
		wake: make(chan struct{}, 1), done: make(chan struct{}), shutdown: make(chan struct{}),
	}
	l.room.L = &l.mu
	var err error
	if l.packer, err = newPacker(); err != nil {
		return nil, err
	}
	if l.lock, err = os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, err
	}
	if err = unix.Flock(int(l.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		err = fmt.Errorf("%s: another dnshark writes here", dir)
	} else {
		err = l.recover()
	}
	if err != nil {
		l.closeFiles()
		return nil, err
	}
	go l.run()
	return l, nil
}

// recover reads what is in no block yet.
func (l *Log) recover() error {
	if err := removeUnfinished(l.dir); err != nil {
		return err
	}
	j, err := readJournal(l.dir)
	if err != nil {
		return err
	}
	names, err := segmentNames(l.dir)
	if err != nil {
		return err
	}
	var newest time.Time
	for _, name := range names {
		s, err := l.Reader.segment(name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if info, err := os.Stat(filepath.Join(l.dir, name)); err == nil {
			newest = info.ModTime()
		}
		if len(s.blocks) > 0 {
			j.from(s.blocks[len(s.blocks)-1].next())
		}
	}
	l.clock = store.NewClock(filepath.Join(l.dir, "clock"), newest)
	// The last segment is not gone on with: its end may be torn.
	l.open, l.count, l.first, l.since = j.lines, j.events, j.first, firstTime(j.lines)
	if l.journal, err = os.OpenFile(filepath.Join(l.dir, journalName), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	switch {
	case j.events == j.recorded && j.end >= fileHeader: // all of them are in no block
		l.in, l.inCount, l.end = len(l.open), l.count, j.end
		return l.journal.Truncate(l.end)
	case j.events > 0:
		return l.writeBlock(l.open)
	}
	return l.beginJournal()
}

// firstTime returns when the first of the lines was seen, which is not in the future.
func firstTime(lines []byte) time.Time {
	now := time.Now()
	line, _, _ := bytes.Cut(lines, []byte{'\n'})
	tokens, ok := scan(nil, line)
	for i := range tokens {
		if t := &tokens[i]; ok && t.fact() == factTime {
			if at, ok := parseTime(line[t.begin:t.end]); ok && at < now.UnixNano() {
				return time.Unix(0, at)
			}
		}
	}
	return now
}

// beginJournal begins the journal anew: with no events, but their number.
func (l *Log) beginJournal() error {
	raw := appendRecord(appendFileHeader(nil), nil, l.first, 0)
	if err := l.journal.Truncate(0); err != nil {
		return err
	}
	l.in, l.inCount, l.end = 0, 0, 0
	if _, err := l.journal.WriteAt(raw, 0); err != nil {
		return err
	}
	l.end = int64(len(raw))
	return nil
}

// Append takes n whole events, a line each. They are on their way to the disk
// within 200 ms; ErrFull says that too many are already, and nothing was taken.
func (l *Log) Append(lines []byte, n int) error { return l.add(lines, n, false) }

// AppendWait is Append which waits for room as long as the disk takes any.
func (l *Log) AppendWait(lines []byte, n int) error { return l.add(lines, n, true) }

func (l *Log) add(lines []byte, n int, wait bool) error {
	if len(lines) == 0 && n == 0 {
		return nil
	}
	if len(lines) == 0 || len(lines) > maxAppend || lines[len(lines)-1] != '\n' || bytes.Count(lines, []byte{'\n'}) != n {
		return errors.New("no whole events")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.events > 0 && len(l.pending)+len(lines) > maxPending && !l.closed {
		if !wait {
			return errors.Join(ErrFull, l.failed)
		}
		if l.failed != nil {
			return l.failed
		}
		l.signal()
		l.room.Wait()
	}
	if l.closed {
		return os.ErrClosed
	}
	l.pending = append(l.pending, lines...)
	if l.events == 0 || len(l.pending) >= blockLines {
		l.signal()
	}
	l.events += n
	return nil
}

func (l *Log) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *Log) run() {
	defer close(l.done)
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		pause, early := commitEvery, l.wake
		select {
		case <-l.shutdown:
			return
		case <-look.C:
			pause = 0
		case <-l.wake:
		}
		l.mu.Lock()
		if l.failed != nil {
			pause, early = retryEvery, nil
		} else if len(l.pending) >= blockLines {
			pause = 0
		}
		l.mu.Unlock()
		if pause > 0 {
			timer := time.NewTimer(pause)
			select {
			case <-timer.C:
			case <-l.shutdown:
			case <-early:
			}
			timer.Stop()
		}
		if l.Sync() != nil {
			l.signal()
		}
	}
}

// Sync writes what waits. What is written survives the end of the process,
// however that comes; the machine may take a while until it is on the disk.
func (l *Log) Sync() error {
	l.commit.Lock()
	defer l.commit.Unlock()
	// What a full disk refused is bounded as what waits is.
	if len(l.open)-l.in <= maxPending {
		l.mu.Lock()
		taken := l.pending
		l.pending, l.spare = l.spare[:0], nil
		l.onTheWay += uint64(l.events)
		l.count += l.events
		l.events = 0
		l.mu.Unlock()
		if len(l.open) == 0 {
			l.since = time.Now()
		}
		l.open, l.spare = append(l.open, taken...), taken
	}
	before := l.first + uint64(l.inCount)
	err := l.write()
	if err == nil && time.Since(l.looked) >= lookEvery {
		l.looked = time.Now()
		err = l.remove()
	}
	l.mu.Lock()
	l.failed = err
	n := l.first + uint64(l.inCount) - before
	l.written, l.onTheWay = l.written+n, l.onTheWay-n
	l.room.Broadcast()
	l.mu.Unlock()
	return err
}

// write writes whole blocks, and the rest into the journal.
func (l *Log) write() error {
	for len(l.open) >= blockLines || len(l.open) > 0 && time.Since(l.since) >= l.span() {
		lines := l.open
		if len(lines) > blockLines+blockLines/2 {
			if i := bytes.IndexByte(lines[blockLines:], '\n'); i >= 0 {
				lines = lines[:blockLines+i+1]
			}
		}
		if err := l.writeBlock(lines); err != nil {
			return err
		}
	}
	if l.in == len(l.open) {
		return nil
	}
	l.record = appendRecord(l.record[:0], l.open[l.in:], l.first+uint64(l.inCount), l.count-l.inCount)
	if _, err := l.journal.WriteAt(l.record, l.end); err != nil {
		return err
	}
	l.in, l.inCount, l.end = len(l.open), l.count, l.end+int64(len(l.record))
	return nil
}

// span is for how long at most the events of a file, and of a block in the making,
// come: so that files are a good part younger than what is kept.
func (l *Log) span() time.Duration {
	const day = 24 * time.Hour
	if l.options.MaxAge > 0 {
		return max(min(l.options.MaxAge/8, day), time.Second)
	}
	return day
}

func (l *Log) writeBlock(lines []byte) error {
	raw, b := l.packer.append(l.spare[:0], lines, l.first)
	l.spare = raw[:0]
	period := b.greatest / int64(l.span())
	if l.segment != nil && (period != l.period || l.options.MaxSize > 0 && l.size+int64(len(raw)) > l.options.MaxSize/16) {
		l.segment.Sync()
		l.segment.Close()
		l.segment = nil
	}
	if l.segment == nil {
		f, err := os.OpenFile(filepath.Join(l.dir, fmt.Sprintf("%020d%s", l.first, segmentSuffix)), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		l.segment, l.size, l.period = f, fileHeader, period
		if _, err := f.WriteAt(appendFileHeader(nil), 0); err != nil {
			f.Close()
			l.segment = nil
			return err
		}
	}
	if _, err := l.segment.WriteAt(raw, l.size); err != nil {
		return err // the next one writes over it
	}
	l.size += int64(len(raw))
	l.first += uint64(b.events)
	l.count -= b.events
	l.open = l.open[:copy(l.open, l.open[len(lines):])]
	l.since = time.Now()
	return l.beginJournal()
}

// remove unlinks files that are too old or too many. The number of the last event
// is in the journal.
func (l *Log) remove() error {
	names, err := segmentNames(l.dir)
	if err != nil {
		return err
	}
	now, total := l.clock.Now(), l.end
	files := make([]os.FileInfo, len(names))
	for i, name := range names {
		if files[i], err = os.Stat(filepath.Join(l.dir, name)); err != nil {
			return err
		}
		total += files[i].Size()
	}
	for i, name := range names {
		large := l.options.MaxSize > 0 && total > l.options.MaxSize
		old := l.options.MaxAge > 0 && now.Sub(files[i].ModTime()) > l.options.MaxAge
		if !old && !large {
			return nil
		}
		if i == len(names)-1 && l.segment != nil {
			l.segment.Close()
			l.segment = nil
		}
		if err := os.Remove(filepath.Join(l.dir, name)); err != nil {
			return err
		}
		total -= files[i].Size()
		l.Reader.mu.Lock()
		delete(l.Reader.segments, name)
		l.Reader.mu.Unlock()
	}
	return nil
}

// Find is Reader.Find that has what was appended before as well.
func (l *Log) Find(ctx context.Context, q *Query, f func(line []byte) error) (more bool, err error) {
	l.Sync() // what is written is found even where the disk takes no more
	return l.Reader.Find(ctx, q, f)
}

// Stats returns how many of the events that were appended are written, and how many
// wait.
func (l *Log) Stats() (written, waiting uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.written, uint64(l.events) + l.onTheWay
}

// Close writes what waits.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.room.Broadcast()
	l.mu.Unlock()
	close(l.shutdown)
	<-l.done
	err := l.Sync()
	l.packer.columns.z.Close()
	return errors.Join(err, l.closeFiles())
}

func (l *Log) closeFiles() (err error) {
	for _, f := range []*os.File{l.segment, l.journal, l.lock} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	return err
}
