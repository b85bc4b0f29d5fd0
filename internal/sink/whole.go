package sink

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of a whole file, which is kept in memory until it is written.
const (
	defaultWhole = 64 << 20
	maxWhole     = 256 << 20

	forever = time.Duration(math.MaxInt64)
)

// wholeSize returns at how many octets a whole file ends, 0 for other formats.
func wholeSize(t *Target) int64 {
	if !t.Whole {
		return 0
	}
	return cmp.Or(t.Size("rotate"), defaultWhole)
}

// wholeSink writes each block as a file of its own, of formats whose files can be
// read only when they are complete. A file is written under another name and gets
// its own, that of an old file, when it is complete; so whatever ends dnshark, what
// has such a name is whole.
type wholeSink struct {
	mode    os.FileMode
	old     *archive
	partial string   // name of the file until it is complete
	file    *os.File // of that name, locked, so that no other dnshark takes it

	stop chan struct{} // ends old's work; nil before Open
	done sync.WaitGroup
}

func openWhole(t *Target) (Sink, error) {
	mode, err := t.mode()
	if err != nil {
		return nil, err
	}
	if err := t.checkEvery(); err != nil {
		return nil, err
	}
	size := t.Size("rotate")
	switch {
	case !t.Given("rotate") && !t.Given("every"):
		return nil, fmt.Errorf("say when a file is complete, with rotate=64MB or every=1h; for a single file: -o %s -w FILE", t.Format)
	case t.Given("rotate") && (size < 1<<20 || size > maxWhole):
		return nil, errors.New("rotate= is from 1MB to 256MB: a file of this format is made in memory")
	case t.Given("compress"):
		return nil, errors.New("compress=: files of this format are compressed already")
	}
	for _, name := range []string{"linger", "batch", "spool"} {
		if t.Given(name) {
			return nil, fmt.Errorf("%s= is not for files of this format, which are written as a whole; see rotate and every", name)
		}
	}
	w := &wholeSink{
		mode: mode, partial: filepath.Join(filepath.Dir(t.URL.Path), "."+filepath.Base(t.URL.Path)+".partial"),
		old: newArchive(t.URL.Path, t.Number("keep"), t.Time("max-age"), "", t.Log),
	}
	w.old.path = w.partial
	return w, nil
}

// Open implements Opener.
func (w *wholeSink) Open() error {
	if err := w.open(); err != nil {
		return err
	}
	w.stop = make(chan struct{})
	w.done.Go(func() { w.old.run(w.stop) })
	return nil
}

// open makes the file that the next block goes to. One that an earlier run has not
// completed goes away; nothing is written to a file that was there.
func (w *wholeSink) open() error {
	for range 3 {
		f, err := os.OpenFile(w.partial, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, w.mode)
		made := err == nil
		if errors.Is(err, fs.ErrExist) {
			f, err = os.OpenFile(w.partial, os.O_WRONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		}
		if err != nil {
			return err
		}
		if err := lock(f); err != nil {
			return errors.Join(err, f.Close())
		}
		// Between the two somebody may have taken it away, as we do here.
		switch mine, err := sameFile(f, w.partial); {
		case mine && made:
			w.file = f
			return nil
		case mine:
			err = os.Remove(w.partial)
			fallthrough
		default:
			if err = errors.Join(err, f.Close()); err != nil {
				return err
			}
		}
	}
	return fmt.Errorf("%s: others make and remove this file", w.partial)
}

// sameFile reports whether the path is that of an open file.
func sameFile(f *os.File, path string) (bool, error) {
	open, err := f.Stat()
	if err != nil {
		return false, err
	}
	at, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(open, at), err
}

// Deliver implements Sink.
func (w *wholeSink) Deliver(_ context.Context, b *Block) (err error) {
	if w.file == nil {
		if err := w.open(); err != nil {
			return err
		}
	}
	defer func() {
		if err != nil {
			w.discard()
		}
	}()
	if _, err := w.file.Write(b.Text); err != nil {
		return err
	}
	if err := w.file.Sync(); err != nil {
		return err
	}
	if err := w.old.add(); err != nil {
		return err
	}
	// Its events are there, whatever Close says.
	_ = w.file.Close()
	w.file = nil
	return nil
}

// discard takes back a file that is not complete.
func (w *wholeSink) discard() {
	_ = os.Remove(w.partial)
	_ = w.file.Close()
	w.file = nil
}

// Close implements Sink.
func (w *wholeSink) Close() error {
	if w.file != nil {
		w.discard()
	}
	if w.stop != nil {
		close(w.stop)
		w.done.Wait()
	}
	return nil
}
