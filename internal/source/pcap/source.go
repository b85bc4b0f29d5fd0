// Package pcap reads capture files: pcap and pcapng in either byte order, plain
// or compressed. A file is read through one block of memory that is used again
// and again, never mapped: a file that is cut while it is read must not end the
// process with SIGBUS.
//
// Formats: draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng.
package pcap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/dnshark-io/dnshark/internal/source"
)

// What may be wrong with a file. Every error names the file and what to do.
var (
	ErrNotCapture  = errors.New("not a capture file")
	ErrCut         = errors.New("capture file breaks off")
	ErrUnsupported = errors.New("unsupported capture file")
)

// MaxFrame is the length of the longest frame that is read, in octets. It is
// what tcpdump calls the maximum snapshot length.
const MaxFrame = 256 << 10

// Options for reading.
type Options struct {
	Stdin  *os.File  // what "-" means, default os.Stdin
	Reader io.Reader // what "-" means instead, when it is set
}

// Source is a list of files.
type Source struct {
	paths  []string
	stdin  *os.File
	reader io.Reader
}

// New returns a source for the files, read in the order given.
func New(paths []string, o Options) *Source {
	if o.Stdin == nil {
		o.Stdin = os.Stdin
	}
	return &Source{paths, o.Stdin, o.Reader}
}

// Open returns one lane, which reads all files: their packets stay in order.
func (s *Source) Open(int) ([]source.Lane, error) {
	l := &Lane{source: s}
	for _, path := range s.paths {
		// What cannot be looked at now is told when it is read.
		if info, err := os.Stat(path); path == "-" || err == nil && !info.Mode().IsRegular() {
			l.total = 0
			break
		} else if err == nil {
			l.total += info.Size()
		}
	}
	return []source.Lane{l}, nil
}

// Lane reads the files of a Source.
type Lane struct {
	source    *Source
	frames    atomic.Uint64
	truncated atomic.Uint64
	octets    atomic.Int64
	total     int64
	batch     []source.Frame
	block     []byte // the memory of reader, used again for every file
}

// Run implements source.Lane. It returns nil when ctx ends. A bad file does not
// keep the next one from being read; the errors of all files are joined, take's
// being the last.
func (l *Lane) Run(ctx context.Context, take func([]source.Frame) error) error {
	var errs []error
	for _, path := range l.source.paths {
		err := l.readFile(ctx, path, take)
		if end := (*takeError)(nil); errors.As(err, &end) {
			if len(errs) == 0 {
				return end.err
			}
			return errors.Join(append(errs, end.err)...)
		}
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// takeError is an error of take's, which ends the run as it is.
type takeError struct{ err error }

func (e *takeError) Error() string { return e.err.Error() }

// Stats implements source.Lane.
func (l *Lane) Stats() source.Stats {
	n := l.frames.Load()
	return source.Stats{Seen: n, Submitted: n, Truncated: l.truncated.Load()}
}

// Progress returns how many octets of the files were read, as they are stored,
// and how many there are, 0 when that is unknown. It may be called at any time
// from any goroutine.
func (l *Lane) Progress() (read, total int64) { return l.octets.Load(), l.total }

// Close implements source.Lane. Files are closed as soon as they are read.
func (l *Lane) Close() error { return nil }

func (l *Lane) readFile(ctx context.Context, path string, take func([]source.Frame) error) error {
	name, f := "standard input", l.source.stdin
	if path != "-" {
		name = path
		var err error
		if f, err = open(path); err != nil {
			return err
		}
		defer f.Close()
	}
	err := error(nil)
	if path == "-" && l.source.reader != nil {
		name = "capture"
		err = l.readStream(ctx, &stream{l.source.reader, ctx, &l.octets}, take)
	} else {
		err = l.readInput(ctx, f, take)
	}
	if errors.Is(err, ErrCut) {
		return fmt.Errorf("%s: %w; all packets before that were read", name, err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func (l *Lane) readInput(ctx context.Context, f *os.File, take func([]source.Frame) error) error {
	// A reader that ends early takes its helpers with it.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in, err := newInput(ctx, f, &l.octets)
	if err != nil {
		return err
	}
	return l.readStream(ctx, in, take)
}

func (l *Lane) readStream(ctx context.Context, in io.Reader, take func([]source.Frame) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	plain, err := decompress(in)
	if err != nil {
		return err
	}
	defer plain.Close()
	defer cancel() // before Close, which may wait for a helper that waits for data
	if l.block == nil {
		l.block = make([]byte, blockBytes)
	}
	return l.read(ctx, &reader{src: plain, buf: l.block}, take)
}

// read reads a capture from its magic number on.
func (l *Lane) read(ctx context.Context, r *reader, take func([]source.Frame) error) error {
	magic, err := r.peek(4)
	if len(magic) < 4 {
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if len(magic) == 0 {
			return fmt.Errorf("is empty: %w", ErrNotCapture)
		}
		return fmt.Errorf("%w: only %d octets", ErrNotCapture, len(magic))
	}
	var next interface {
		// next reads a frame. Its Data is good until the block is refilled.
		next(r *reader, f *source.Frame) error
	}
	if [4]byte(magic) == pcapngMagic {
		next = &pcapng{}
	} else if next, err = newPcap(r); err != nil {
		return err
	}
	for {
		// A batch ends where the block ends: what comes behind moves it.
		l.batch = l.batch[:0]
		for {
			l.batch = append(l.batch, source.Frame{})
			f := &l.batch[len(l.batch)-1]
			if err = next.next(r, f); err != nil {
				l.batch = l.batch[:len(l.batch)-1]
				break
			}
			if len(f.Data) < f.WireLen {
				l.truncated.Add(1)
			}
			if len(l.batch) == maxBatch {
				break
			}
		}
		l.frames.Add(uint64(len(l.batch)))
		if len(l.batch) > 0 {
			if err := take(l.batch); err != nil {
				return &takeError{err}
			}
		}
		switch {
		case err == nil, errors.Is(err, errRefill):
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if errors.Is(err, errRefill) {
				r.refill()
			}
		case errors.Is(err, io.EOF):
			return nil
		default:
			return err
		}
	}
}

const maxBatch = 1024
