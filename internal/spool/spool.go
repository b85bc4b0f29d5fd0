// Package spool keeps records on disk until somebody has them: in the order in
// which they came, at least once, whatever ends the process or the machine.
//
// A spool is a directory of segments, files that only grow and are removed as a
// whole, when all of their records are acknowledged or when the spool is full. A
// segment is named by the number of events before it, and each record has that
// number too. So what is missing is known by counting, wherever it went.
package spool

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// Account is told what becomes of events. It is called while the spool is locked
// and calls nothing of it.
type Account interface {
	Stored(events uint64)  // they are in the spool
	Dropped(events uint64) // they were, and it was full
	Damaged(events uint64) // they were, and cannot be read
}

// Spool is an open spool. One goroutine may append while another reads.
type Spool struct {
	dir     string
	limit   int64
	segment int64 // size at which another is begun
	account Account
	changed chan<- struct{}

	// Of the goroutine that appends.
	writer recordWriter
	out    []byte

	// Of the goroutine that reads.
	parser parser
	file   *os.File // of the segment with the base fileBase, or nil
	base   uint64
	tries  int

	mu       sync.Mutex
	position *position
	segments []*segment
	size     int64  // of all segments
	end      uint64 // events that were appended
	next     uint64 // events that were read
	acked    uint64 // events that were acknowledged
	pos      int64  // where the reader is in segments[0] or a later one, by at
	at       *segment
	last     uint64   // offset of the record that was read last
	active   *os.File // of the last segment, while it grows
	sealed   []*os.File
	bad      uint64
	syncErr  error
	moved    bool // position was saved and not synced
	named    bool // a segment was made and its name not synced

	dirty chan struct{}
	stop  chan struct{}
	done  chan struct{}
}

type segment struct {
	base uint64 // events before it
	size int64
}

const (
	suffix = ".spool"
	// gather is for how long writes are gathered before they are synced.
	gather = 100 * time.Millisecond
	// A segment is a share of the limit, for it is dropped as a whole.
	shares, maxSegment = 16, 64 << 20
	// maxTries is how often a segment that cannot be read is tried.
	maxTries = 10
)

// ErrFull is of a record for which there is no room.
var ErrFull = errors.New("the spool is full")

// Open opens the spool in a directory, which it makes, or recovers it. It holds at
// most limit octets. When something was appended it sends on changed, which has
// room for one. Only one process can have a spool open: ErrInUse.
func Open(dir string, limit int64, account Account, changed chan<- struct{}) (*Spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	p, acked, fresh, err := openPosition(dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	s := &Spool{
		dir: dir, limit: limit, segment: min(limit/shares, maxSegment), account: account, changed: changed,
		position: p, acked: acked,
		dirty: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	s.writer.z, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
	if err == nil {
		s.parser.z, err = newDecoder(maxText)
	}
	if err == nil {
		s.parser.small, err = newDecoder(4 * maxApart)
	}
	if err == nil {
		err = s.recover(fresh)
	}
	if err != nil {
		return nil, errors.Join(err, p.file.Close())
	}
	go s.sync()
	return s, nil
}

func newDecoder(most uint64) (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(most), zstd.WithDecoderLowmem(true))
}

// recover learns what is there.
func (s *Spool) recover(fresh bool) error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		number, ok := strings.CutSuffix(e.Name(), suffix)
		base, err := strconv.ParseUint(number, 10, 64)
		if info, statErr := e.Info(); ok && err == nil && statErr == nil && info.Mode().IsRegular() {
			s.segments = append(s.segments, &segment{base, info.Size()})
		}
	}
	slices.SortFunc(s.segments, func(a, b *segment) int { return cmp.Compare(a.base, b.base) })
	if fresh {
		s.guessMarker()
		if err := s.position.save(0); err != nil {
			return err
		}
	}
	s.parser.marker = s.position.marker
	s.end = s.acked
	if n := len(s.segments); n > 0 {
		last := s.segments[n-1]
		end, err := s.scan(last)
		s.end = max(s.end, end)
		if err != nil {
			// It may be readable for somebody else. One is kept.
			if err := os.Rename(s.path(last), filepath.Join(s.dir, "unreadable")); err != nil {
				return err
			}
			last.size = 0
		}
		if end == last.base { // its name may be needed again
			if err := s.remove(n - 1); err != nil {
				return err
			}
		}
	}
	for _, g := range s.segments {
		s.size += g.size
	}
	if len(s.segments) > 0 {
		s.acked = max(s.acked, s.segments[0].base)
		s.at = s.segments[0]
	}
	s.next = s.acked
	s.removeRead()
	return nil
}

// guessMarker takes the marker from a segment, when position does not tell it.
func (s *Spool) guessMarker() {
	for _, g := range s.segments {
		f, err := s.open(g)
		if err != nil {
			continue
		}
		p := parser{z: s.parser.z, small: s.parser.small}
		_ = readAt(f, p.marker[:], 0)
		n, _ := p.parse(f, 0, g.size, &Record{}, false)
		f.Close()
		if n > 0 {
			s.position.marker = p.marker
			return
		}
	}
}

// scan returns how many events come before the end of a segment, and cuts off what
// is no record there.
func (s *Spool) scan(g *segment) (end uint64, err error) {
	f, err := s.open(g)
	if err != nil {
		return g.base, err
	}
	defer f.Close()
	end = g.base
	var r Record
	for pos := int64(0); ; {
		after, found, bad, err := s.parser.next(f, pos, g.size, &r, false)
		if err != nil {
			return g.base, err
		}
		if !found {
			if bad {
				s.bad++
				_ = os.Truncate(s.path(g), pos) // or it stays, and is not looked at
			}
			g.size = pos
			return end, nil
		}
		if pos = after; r.offset >= end {
			end = r.offset + uint64(r.Events)
		}
	}
}

func (s *Spool) path(g *segment) string {
	return filepath.Join(s.dir, fmt.Sprintf("%020d", g.base)+suffix)
}

func (s *Spool) open(g *segment) (*os.File, error) {
	return os.OpenFile(s.path(g), os.O_RDONLY|unix.O_NOFOLLOW, 0)
}

// Pending returns how many events wait.
func (s *Spool) Pending() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end - s.acked
}

// Bad returns how often something was found that is no record.
func (s *Spool) Bad() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bad
}

// Append adds a record. Where there is no room, the oldest are dropped or, if they
// are to be kept, ErrFull is returned. After any error the spool is as it was, and
// the next record may find it well again.
func (s *Spool) Append(r *Record, keep bool) error {
	r.offset = s.end // which only we change
	var err error
	if s.out, err = s.writer.append(s.out[:0], s.position.marker, r); err != nil {
		return err
	}
	n := int64(len(s.out))
	if n > s.limit {
		return ErrTooLarge
	}
	file, err := s.room(n, keep)
	if err != nil {
		return err
	}
	wrote, err := file.Write(s.out)
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.segments[len(s.segments)-1]
	if err != nil {
		// What cannot be cut off stays, behind the end of a segment that ends.
		if wrote > 0 && file.Truncate(g.size) != nil {
			s.seal()
		}
		return err
	}
	g.size += n
	s.size += n
	s.end += uint64(r.Events)
	s.account.Stored(uint64(r.Events))
	notify(s.dirty)
	notify(s.changed)
	return nil
}

func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// room returns the file for the next n octets.
func (s *Spool) room(n int64, keep bool) (*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.syncErr; err != nil {
		s.syncErr = nil
		s.seal()
		return nil, err
	}
	for s.size+n > s.limit && len(s.segments) > 0 {
		if keep && s.acked < s.after(0) {
			return nil, ErrFull
		}
		if err := s.drop(); err != nil {
			return nil, err
		}
	}
	if len(s.segments) > 0 && s.active != nil && s.segments[len(s.segments)-1].size+n > s.segment {
		s.seal()
	}
	if s.active != nil {
		return s.active, nil
	}
	g := &segment{base: s.end}
	if k := len(s.segments); k > 0 && s.segments[k-1].base == g.base { // nothing could be written to it
		if err := s.remove(k - 1); err != nil {
			return nil, err
		}
	}
	file, err := os.OpenFile(s.path(g), os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	s.active, s.segments, s.named = file, append(s.segments, g), true
	if s.at == nil {
		s.at, s.pos = g, 0
	}
	return file, nil
}

// seal ends the segment that grows.
func (s *Spool) seal() {
	if s.active != nil {
		s.sealed = append(s.sealed, s.active)
		s.active = nil
		notify(s.dirty)
	}
}

// after returns how many events come before the end of segment i.
func (s *Spool) after(i int) uint64 {
	if i+1 < len(s.segments) {
		return s.segments[i+1].base
	}
	return s.end
}

// drop removes the oldest segment.
func (s *Spool) drop() error {
	end := s.after(0)
	if err := s.remove(0); err != nil {
		return err
	}
	if s.next < end {
		s.account.Dropped(end - s.next)
		s.next = end
	}
	s.acked = max(s.acked, end)
	return nil
}

// remove removes segment i and takes the reader away from it.
func (s *Spool) remove(i int) error {
	g := s.segments[i]
	if err := os.Remove(s.path(g)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if i == len(s.segments)-1 {
		s.seal()
	}
	s.segments = slices.Delete(s.segments, i, i+1)
	s.size -= g.size
	if s.at == g {
		s.at, s.pos = nil, 0
		if i < len(s.segments) {
			s.at = s.segments[i]
		}
	}
	return nil
}

// removeRead removes segments of which everything is acknowledged.
func (s *Spool) removeRead() {
	for len(s.segments) > 1 && s.after(0) <= s.acked && s.remove(0) == nil {
	}
}

// Next reads the record after the one that it returned last. It reports whether
// there is one. After an error it may be called again, after a while.
func (s *Spool) Next(r *Record) (bool, error) {
	for {
		g, pos, size, ok := s.step()
		if !ok {
			return false, nil
		}
		after, found, bad, err := s.read(g, pos, size, r)
		if err != nil {
			if s.tries++; s.tries < maxTries && !errors.Is(err, os.ErrNotExist) {
				return false, err
			}
			after, found, bad = size, false, true // given up
		}
		s.tries = 0
		if s.took(g, after, found, bad, r) {
			return true, nil
		}
	}
}

// step returns where the next record stands, if there is one.
func (s *Spool) step() (g *segment, pos, size int64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.at != nil {
		if s.pos < s.at.size {
			return s.at, s.pos, s.at.size, true
		}
		i := slices.Index(s.segments, s.at)
		if end := s.after(i); s.next < end {
			s.account.Damaged(end - s.next)
			s.next, s.acked = end, end
		}
		if i+1 == len(s.segments) {
			break
		}
		s.at, s.pos = s.segments[i+1], 0
	}
	return nil, 0, 0, false
}

// read reads one record of a segment.
func (s *Spool) read(g *segment, pos, size int64, r *Record) (after int64, found, bad bool, err error) {
	if s.file == nil || s.base != g.base {
		file, err := s.open(g)
		if err != nil {
			return pos, false, false, err
		}
		if s.file != nil {
			s.file.Close()
		}
		s.file, s.base = file, g.base
	}
	return s.parser.next(s.file, pos, size, r, true)
}

// took notes what was read and reports whether it is a record that is wanted.
func (s *Spool) took(g *segment, after int64, found, bad bool, r *Record) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if bad {
		s.bad++
	}
	if s.at != g { // dropped in between
		return false
	}
	s.pos = after
	end := r.offset + uint64(r.Events)
	if !found || end <= s.next || end > s.after(slices.Index(s.segments, g)) || r.offset < g.base {
		return false
	}
	if r.offset > s.next {
		s.account.Damaged(r.offset - s.next)
		s.acked = r.offset
	}
	s.last, s.next = r.offset, end
	return true
}

// Ack says that somebody has the record that Next returned last.
func (s *Spool) Ack() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acked = s.next
	s.removeRead()
	s.moved = true
	notify(s.dirty)
	return s.position.save(s.acked)
}

// Kept reports whether the record that Next returned last is still there, for
// who could not deliver it.
func (s *Spool) Kept() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.segments) > 0 && s.segments[0].base <= s.last
}

// sync syncs what was written, gathered, so that no fsync is for one record alone.
func (s *Spool) sync() {
	defer close(s.done)
	for {
		select {
		case <-s.dirty:
		case <-s.stop:
			s.syncNow()
			return
		}
		select {
		case <-time.After(gather):
		case <-s.stop:
		}
		s.syncNow()
	}
}

func (s *Spool) syncNow() {
	s.mu.Lock()
	sealed, active, moved, named := s.sealed, s.active, s.moved, s.named
	s.sealed, s.moved, s.named = nil, false, false
	s.mu.Unlock()
	var err error
	for _, f := range sealed {
		err = errors.Join(err, fdatasync(f), f.Close())
	}
	if active != nil {
		err = errors.Join(err, fdatasync(active))
	}
	if moved {
		err = errors.Join(err, fdatasync(s.position.file))
	}
	if named {
		if dir, openErr := os.Open(s.dir); openErr == nil {
			err = errors.Join(err, dir.Sync(), dir.Close())
		}
	}
	if err != nil {
		s.mu.Lock()
		s.syncErr = err
		s.mu.Unlock()
	}
}

func fdatasync(f *os.File) error {
	if err := unix.Fdatasync(int(f.Fd())); err != nil {
		return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
	}
	return nil
}

// Close syncs and closes the spool. What is not acknowledged stays.
func (s *Spool) Close() error {
	s.mu.Lock()
	if s.acked == s.end {
		for len(s.segments) > 0 && s.remove(0) == nil {
		}
	}
	s.seal()
	s.mu.Unlock()
	close(s.stop)
	<-s.done
	if s.file != nil {
		s.file.Close()
	}
	s.parser.z.Close()
	s.parser.small.Close()
	return errors.Join(s.syncErr, s.position.file.Close(), s.writer.z.Close())
}
