package sink

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// file is a file that outputs are appended to.
var file = Kind{
	Scheme: "file",
	Form:   "FORMAT:PATH[,OPTION=VALUE...] or file:///PATH?OPTION=VALUE&...",
	Doc:    "a file, also a named pipe",
	Delivery: "An event counts as delivered when the kernel has it. What was written of a block before an error, such\n" +
		"as a full disk, is taken back, and the block written again. Parquet files appear when they are complete,\n" +
		"each under a name of its own. docs/files.md tells more.",
	Example: "-o json:/var/log/dnshark.json,rotate=100MB,keep=14,compress=zstd",
	Format:  "json",
	Options: []Option{
		{"rotate", "size", "", "begin a new file before it is larger than this"},
		{"every", "time", "", "begin a new file at each multiple of this, in UTC"},
		{"keep", "number", "", "how many old files stay; default: all"},
		{"max-age", "time", "", "how old they may be; default: any age"},
		{"compress", "one of gzip, zstd", "", "compress old files"},
		{"mode", "text", "0640", "permissions of new files, octal"},
	},
	Open: openFile,
}

func openFile(t *Target) (Sink, error) {
	if t.Whole {
		return openWhole(t)
	}
	mode, err := t.mode()
	if err != nil {
		return nil, err
	}
	f := &fileSink{
		target: t, path: t.URL.Path, mode: mode,
		rotate: t.Size("rotate"), every: t.Time("every"), undo: -1,
		old: newArchive(t.URL.Path, t.Number("keep"), t.Time("max-age"), t.Text("compress"), t.Log),
	}
	if err := t.checkEvery(); err != nil {
		return nil, err
	}
	for _, name := range []string{"keep", "max-age", "compress"} {
		if t.Given(name) && !f.rotates() {
			return nil, fmt.Errorf("%s= is about old files, which rotate= or every= make", name)
		}
	}
	return f, nil
}

func (t *Target) mode() (os.FileMode, error) {
	mode, err := strconv.ParseUint(t.Text("mode"), 8, 9)
	if err != nil {
		return 0, fmt.Errorf("mode=%s: permissions are octal, as 0640", t.Text("mode"))
	}
	return os.FileMode(mode), nil
}

func (t *Target) checkEvery() error {
	if every := t.Time("every"); every > 0 && every < time.Second {
		return errors.New("every= is at least 1s")
	}
	return nil
}

// fileSink appends blocks to a file. A block is in there as a whole or not at all.
// The file is opened again when somebody has moved it away.
type fileSink struct {
	target *Target
	path   string
	mode   os.FileMode
	rotate int64
	every  time.Duration
	old    *archive

	mu      sync.Mutex // what follows has two users, the queue and keep
	file    *os.File
	regular bool      // neither pipe nor device
	link    bool      // the user's path is a symbolic link
	opened  bool      // once at least
	size    int64     // of file, before the next block
	begins  int64     // where its first block begins, behind what it begins with
	undo    int64     // where the last whole block ends, when more is to be cut off; or -1
	due     time.Time // when the next file begins, with every
	pause   time.Time // until then no file is moved, because that failed

	stop chan struct{} // ends keep; nil before Open
	done sync.WaitGroup
}

func (f *fileSink) rotates() bool { return f.rotate > 0 || f.every > 0 }

// Open implements Opener.
func (f *fileSink) Open() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	// A pipe that nobody reads yet is opened when somebody does.
	if err := f.open(); err != nil && !errors.Is(err, unix.ENXIO) {
		return err
	}
	f.stop = make(chan struct{})
	f.done.Go(f.keep)
	f.done.Go(func() { f.old.run(f.stop) })
	return nil
}

// Deliver implements Sink.
func (f *fileSink) Deliver(ctx context.Context, b *Block) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.ready(int64(len(b.Text))); err != nil {
		return err
	}
	if !f.regular {
		// Whoever reads a pipe may stop reading.
		pipe := f.file
		defer context.AfterFunc(ctx, func() { _ = pipe.SetWriteDeadline(time.Unix(1, 0)) })()
	}
	return f.write(b.Text)
}

// ready makes file the one for the next n octets.
func (f *fileSink) ready(n int64) error {
	if f.file != nil && f.regular {
		if err := f.heal(); err != nil {
			return err
		}
		if f.moved() {
			f.finish()
		}
	}
	if f.file == nil {
		return f.open()
	}
	if !f.regular {
		return nil
	}
	if f.size == 0 { // somebody emptied it
		return f.begin()
	}
	now := time.Now()
	full := f.rotate > 0 && f.size+n+int64(len(f.target.Trailer(nil))) > f.rotate
	if f.size == f.begins || !full && !f.past(now) || now.Before(f.pause) {
		return nil
	}
	if err := f.old.add(); err != nil {
		f.pause = now.Add(time.Minute)
		f.target.Log("the file goes on growing: %v", err)
		return nil
	}
	f.finish()
	return f.open()
}

// past reports whether the file's time is over.
func (f *fileSink) past(now time.Time) bool { return f.every > 0 && !now.Before(f.due) }

// moved reports whether the path is another file's now, or nobody's, and learns the
// size if not.
func (f *fileSink) moved() bool {
	var at, open unix.Stat_t
	if unix.Fstat(int(f.file.Fd()), &open) != nil {
		return true
	}
	f.size = open.Size
	err := unix.Stat(f.path, &at)
	if err != nil {
		return errors.Is(err, unix.ENOENT)
	}
	return at.Dev != open.Dev || at.Ino != open.Ino
}

// open opens the file, and begins it if it is new.
func (f *fileSink) open() error {
	flags := os.O_WRONLY | os.O_CREATE | os.O_APPEND | unix.O_NONBLOCK
	// A link that the user has made may stay one; no other is followed, for
	// whoever may write to the directory must not choose what we write to.
	if !f.opened {
		info, err := os.Lstat(f.path)
		f.link = err == nil && info.Mode()&fs.ModeSymlink != 0
	}
	if !f.link || f.rotates() {
		flags |= unix.O_NOFOLLOW
	}
	file, err := os.OpenFile(f.path, flags, f.mode)
	if errors.Is(err, unix.ELOOP) {
		return fmt.Errorf("%w; a link is followed only if it was there at the start, and no file is rotated", err)
	}
	if err != nil {
		return err
	}
	if err := f.use(file); err != nil {
		file.Close()
		f.file = nil
		return err
	}
	f.opened = true
	return nil
}

// use takes an open file.
func (f *fileSink) use(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	f.file, f.regular, f.size, f.begins, f.undo = file, info.Mode().IsRegular(), info.Size(), 0, -1
	if !f.regular {
		if f.rotates() {
			return fmt.Errorf("%s is no file: it cannot be rotated", f.path)
		}
		_, err := file.Write(f.target.Header(nil))
		return err
	}
	if err := lock(file); err != nil {
		return err
	}
	f.due = time.Time{}
	if f.every > 0 {
		since := time.Now()
		if f.size > 0 {
			since = info.ModTime()
		}
		f.due = since.UTC().Truncate(f.every).Add(f.every)
	}
	if f.size == 0 {
		return f.begin()
	}
	if f.target.Binary || len(f.target.Trailer(nil)) > 0 {
		// What has an end cannot be continued.
		if err := f.old.add(); err != nil {
			return fmt.Errorf("%s cannot be continued, and not be set aside: %w", f.path, err)
		}
		return errors.Join(file.Close(), f.open())
	}
	return f.endLine()
}

// lock keeps other outputs and other dnsharks from a file. Where a file system has no
// locks there are none.
func lock(file *os.File) error {
	if errors.Is(unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK) {
		return fmt.Errorf("%s is in use: another output, or another dnshark, writes to it", file.Name())
	}
	return nil
}

// begin writes what a file begins with.
func (f *fileSink) begin() error {
	err := f.write(f.target.Header(nil))
	f.begins = f.size
	return err
}

// endLine ends the last line if a crash has torn it.
func (f *fileSink) endLine() error {
	// The file is open for writing only, for it may be that we cannot read it.
	r, err := os.Open("/proc/self/fd/" + strconv.Itoa(int(f.file.Fd())))
	if err != nil {
		return nil
	}
	defer r.Close()
	var last [1]byte
	if _, err := r.ReadAt(last[:], f.size-1); err != nil || last[0] == '\n' {
		return nil
	}
	return f.write([]byte{'\n'})
}

// write appends p, or nothing.
func (f *fileSink) write(p []byte) error {
	n, err := f.file.Write(p)
	if err == nil {
		f.size += int64(n)
		return nil
	}
	if n > 0 && f.regular {
		f.undo = f.size
		err = errors.Join(err, f.heal())
	}
	full := errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
	if !f.regular || !full && f.undo < 0 {
		err = errors.Join(err, f.file.Close())
		f.file = nil
	}
	return err
}

// heal cuts off what was written of a block that does not fit.
func (f *fileSink) heal() error {
	if f.undo < 0 {
		return nil
	}
	info, err := f.file.Stat()
	if err == nil && info.Size() > f.undo {
		err = f.file.Truncate(f.undo)
	}
	if err != nil {
		return fmt.Errorf("a part of a block cannot be taken back: %w", err)
	}
	f.undo = -1
	return nil
}

// finish ends and closes the file. Its events are in there already, so all that can
// go wrong is told.
func (f *fileSink) finish() {
	err := f.write(f.target.Trailer(nil))
	if f.file != nil {
		err = errors.Join(err, f.file.Close())
	}
	if err != nil {
		f.target.Log("%v", err)
	}
	f.file = nil
}

// keep looks after the file while no blocks come.
func (f *fileSink) keep() {
	hangup := make(chan os.Signal, 1)
	if !onTerminal() {
		signal.Notify(hangup, syscall.SIGHUP)
		defer signal.Stop(hangup)
	}
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		select {
		case <-f.stop:
			return
		case <-hangup:
			f.look(true)
		case <-second.C:
			f.look(false)
		}
	}
}

// look rotates a file whose time has come. After a signal it also looks whether the
// file was moved away.
func (f *fileSink) look(signalled bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil || !f.regular || !signalled && !f.past(time.Now()) {
		return
	}
	if err := f.ready(0); err != nil {
		f.target.Log("%v", err)
	}
}

// onTerminal reports whether a terminal is ours: then SIGHUP says that it is gone,
// and ends dnshark.
func onTerminal() bool {
	tty, err := os.Open("/dev/tty")
	if err == nil {
		tty.Close()
	}
	return err == nil
}

// Close implements Sink.
func (f *fileSink) Close() error {
	if f.stop != nil {
		close(f.stop)
		f.done.Wait()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return nil
	}
	err := f.heal()
	if err == nil {
		err = f.write(f.target.Trailer(nil))
	}
	if f.file != nil {
		err = cmp.Or(err, f.file.Close())
	}
	return err
}

// Stream is a sink that is open already, such as standard output.
type Stream struct {
	Target *Target
	File   *os.File
	begun  bool
}

// Deliver implements Sink.
func (s *Stream) Deliver(_ context.Context, b *Block) error {
	if !s.begun {
		s.begun = true
		if _, err := s.File.Write(s.Target.Header(nil)); err != nil {
			return err
		}
	}
	_, err := s.File.Write(b.Text)
	return err
}

// Close implements Sink.
func (s *Stream) Close() error {
	if !s.begun {
		return nil
	}
	_, err := s.File.Write(s.Target.Trailer(nil))
	return err
}
