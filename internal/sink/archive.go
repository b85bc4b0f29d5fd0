package sink

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// archive is the old files of one path: NAME-20060102T150405.000Z.EXT, by the time
// when they ended, and compressed with .gz or .zst behind that. What is to be done
// is read from the directory, so what a crash left undone is done later.
type archive struct {
	path, prefix, ext string // of the file whose old ones they are
	keep              int    // 0 for all
	maxAge            time.Duration
	compress          string // gzip, zstd or ""
	log               func(format string, args ...any)
	fresh             chan struct{} // there is another one
	last              string        // what was said of the last failure
	began             time.Time
}

const stampForm = "20060102T150405.000Z"

func newArchive(path string, keep int, maxAge time.Duration, compress string, log func(format string, args ...any)) *archive {
	ext := filepath.Ext(path)
	return &archive{
		path: path, ext: ext, prefix: strings.TrimSuffix(filepath.Base(path), ext) + "-",
		keep: keep, maxAge: maxAge, compress: compress, log: log, fresh: make(chan struct{}, 1), began: time.Now(),
	}
}

// add moves the file to its old name. Nothing that stands there is replaced or
// followed.
func (a *archive) add() error {
	now := time.Now().UTC()
	for range 1000 {
		name := filepath.Join(filepath.Dir(a.path), a.prefix+now.Format(stampForm)+a.ext)
		// A compressed one would have this name again.
		err := unix.EEXIST
		if !exists(name+".gz") && !exists(name+".zst") {
			err, _ = unix.Renameat2(unix.AT_FDCWD, a.path, unix.AT_FDCWD, name, unix.RENAME_NOREPLACE).(unix.Errno)
			if err == unix.EINVAL { // a file system without that
				err, _ = unix.Link(a.path, name).(unix.Errno)
				if err == 0 {
					err, _ = unix.Unlink(a.path).(unix.Errno)
				}
			}
		}
		switch err {
		case 0:
			select {
			case a.fresh <- struct{}{}:
			default:
			}
			return nil
		case unix.EEXIST:
			now = now.Add(time.Millisecond)
		default:
			return &os.LinkError{Op: "rename", Old: a.path, New: name, Err: err}
		}
	}
	return fmt.Errorf("%s: no free name to move it to", a.path)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// when returns the time in an old file's name, and whether it is one.
func (a *archive) when(name string) (time.Time, bool) {
	rest, ok := strings.CutPrefix(name, a.prefix)
	if !ok || len(rest) < len(stampForm) {
		return time.Time{}, false
	}
	t, err := time.Parse(stampForm, rest[:len(stampForm)])
	after, ok := strings.CutPrefix(rest[len(stampForm):], a.ext)
	return t, err == nil && ok && (after == "" || after == ".gz" || after == ".zst")
}

// run removes and compresses old files, one at a time, until stop ends.
func (a *archive) run(stop <-chan struct{}) {
	if a.keep == 0 && a.maxAge == 0 && a.compress == "" {
		return
	}
	minute := time.NewTicker(time.Minute)
	defer minute.Stop()
	for {
		if err := a.work(stop); err != nil && err.Error() != a.last {
			a.last = err.Error()
			a.log("old files: %v", err)
		}
		select {
		case <-stop:
			return
		case <-minute.C:
		case <-a.fresh:
		}
	}
}

func (a *archive) work(stop <-chan struct{}) error {
	dir := filepath.Dir(a.path)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var names []string
	for _, e := range entries {
		if _, ok := a.when(e.Name()); ok && e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	// By the time that has passed since: no file becomes old because somebody sets the clock.
	now := a.began.Add(time.Since(a.began))
	var errs []error
	for i, name := range names {
		left := len(names) - i
		at, _ := a.when(name)
		if a.keep > 0 && left > a.keep || a.maxAge > 0 && now.Sub(at) > a.maxAge {
			errs = append(errs, os.Remove(filepath.Join(dir, name)))
		} else if a.compress != "" && strings.HasSuffix(name, a.ext) {
			errs = append(errs, a.shrink(dir, name, stop))
		}
		select {
		case <-stop:
			return nil
		default:
		}
	}
	return errors.Join(errs...)
}

// shrink compresses one file. Its compressed form appears when it is complete.
func (a *archive) shrink(dir, name string, stop <-chan struct{}) error {
	path := filepath.Join(dir, name)
	from, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return err
	}
	// Another's file, which somebody linked here, is not shown to the world.
	if s, ok := info.Sys().(*syscall.Stat_t); !info.Mode().IsRegular() || ok && s.Nlink > 1 {
		return fmt.Errorf("%s: not compressed: it is no file of its own", path)
	}
	to := path + map[string]string{"gzip": ".gz", "zstd": ".zst"}[a.compress]
	temporary := filepath.Join(dir, "."+filepath.Base(to)+".tmp")
	if err := os.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	out, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, info.Mode().Perm())
	if err != nil {
		return err
	}
	err = a.pack(out, &stoppable{from, stop})
	if err == nil {
		err = out.Sync()
	}
	err = errors.Join(err, out.Close())
	if err == nil {
		_ = os.Chtimes(temporary, info.ModTime(), info.ModTime())
		err = os.Rename(temporary, to)
	}
	if err == nil {
		return os.Remove(path)
	}
	_ = os.Remove(temporary)
	if errors.Is(err, errStopped) {
		return nil
	}
	return err
}

func (a *archive) pack(out io.Writer, from io.Reader) error {
	var w io.WriteCloser = gzip.NewWriter(out)
	if a.compress == "zstd" {
		var err error
		if w, err = zstd.NewWriter(out, zstd.WithEncoderConcurrency(1)); err != nil {
			return err
		}
	}
	_, err := io.Copy(w, from)
	return errors.Join(err, w.Close())
}

var errStopped = errors.New("stopped")

// stoppable is a reader that fails when stop ends.
type stoppable struct {
	io.Reader
	stop <-chan struct{}
}

func (s *stoppable) Read(p []byte) (int, error) {
	select {
	case <-s.stop:
		return 0, errStopped
	default:
		return s.Reader.Read(p)
	}
}
