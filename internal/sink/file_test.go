package sink

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

// fileTarget returns the sink of a file, with the options as they are written.
func fileTarget(t testing.TB, path, options string, frame bool) *fileSink {
	t.Helper()
	text := "json:" + path
	if options != "" {
		text += "," + options
	}
	target, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	target.Log = t.Logf
	target.Header = func(dst []byte) []byte { return dst }
	target.Trailer = target.Header
	if frame {
		target.Header = func(dst []byte) []byte { return append(dst, "#begin\n"...) }
		target.Trailer = func(dst []byte) []byte { return append(dst, "#end\n"...) }
	}
	s, err := target.Kind.Open(target)
	if err != nil {
		t.Fatal(err)
	}
	return s.(*fileSink)
}

func begin(t testing.TB, f *fileSink) *fileSink {
	t.Helper()
	if err := f.Open(); err != nil {
		t.Fatal(err)
	}
	return f
}

// numbered returns a block of n numbered lines.
func numbered(first, n int) *Block {
	b := &Block{First: uint64(first), Events: n, source: "host-0-t-"}
	for i := range n {
		b.Text = fmt.Appendf(b.Text, "{\"n\":%06d}\n", first+i)
	}
	return b
}

func put(t testing.TB, s Sink, b *Block) {
	t.Helper()
	if err := s.Deliver(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

func end(t testing.TB, s Sink) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// history returns the names of the old files of f.json, and the current one.
func history(t testing.TB, dir string) (names []string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "f-*"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return append(names, filepath.Join(dir, "f.json"))
}

// content reads a file, compressed or not.
func content(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var r io.Reader = bytes.NewReader(data)
	switch filepath.Ext(path) {
	case ".gz":
		r, err = gzip.NewReader(r)
	case ".zst":
		r, err = zstd.NewReader(r)
	}
	if err == nil {
		data, err = io.ReadAll(r)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return string(data)
}

// wantLines wants the lines numbered 0..n-1 in order, once each, in the files, each of
// which begins and ends as it must.
func wantLines(t testing.TB, n int, frame bool, files ...string) {
	t.Helper()
	var all strings.Builder
	for _, path := range files {
		text := content(t, path)
		if frame {
			inner, begins := strings.CutPrefix(text, "#begin\n")
			inner, ends := strings.CutSuffix(inner, "#end\n")
			if !begins || !ends || strings.Contains(inner, "#") {
				t.Errorf("%s begins %v, ends %v: %.30q", path, begins, ends, text)
			}
			text = inner
		}
		all.WriteString(text)
	}
	if got, want := all.String(), string(numbered(0, n).Text); got != want {
		t.Errorf("%d octets of events, want %d: %.200q", len(got), len(want), got)
	}
}

func TestFileRotation(t *testing.T) {
	for _, compress := range []string{"", "gzip", "zstd"} {
		dir := t.TempDir()
		options := "rotate=1KB"
		if compress != "" {
			options += ",compress=" + compress
		}
		f := begin(t, fileTarget(t, filepath.Join(dir, "f.json"), options, true))
		for i := range 100 {
			put(t, f, numbered(10*i, 10))
		}
		names := history(t, dir)
		if compress != "" {
			testkit.Eventually(t, time.Minute, "old files to be compressed", func() bool {
				names = history(t, dir)
				return !slices.ContainsFunc(names[:len(names)-1], func(n string) bool { return strings.HasSuffix(n, ".json") })
			})
		}
		end(t, f)
		if len(names) != 15 { // 7 blocks of 120 octets each
			t.Errorf("%d files, want 15", len(names))
		}
		for _, name := range names {
			if n := len(content(t, name)); n > 1024 {
				t.Errorf("%s has %d octets", name, n)
			}
		}
		wantLines(t, 1000, true, names...)
		if info, err := os.Stat(names[0]); err != nil || info.Mode().Perm() != 0o640 {
			t.Errorf("%v, %v, want mode 0640", info.Mode(), err)
		}
	}
}

func TestFileKeepAndAge(t *testing.T) {
	dir := t.TempDir()
	ancient := filepath.Join(dir, "f-20010102T030405.000Z.json.gz")
	others := filepath.Join(dir, "f-g-20010102T030405.000Z.json")
	for _, path := range []string{ancient, others} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f := begin(t, fileTarget(t, filepath.Join(dir, "f.json"), "rotate=100,keep=3", false))
	for i := range 10 {
		put(t, f, numbered(10*i, 10))
	}
	testkit.Eventually(t, time.Minute, "three old files", func() bool { return len(history(t, dir)) == 3+2 }) // and others
	end(t, f)
	if exists(ancient) || !exists(others) {
		t.Error("the oldest is still there, or another output's file is not")
	}

	dir = t.TempDir()
	ancient = filepath.Join(dir, "f-20010102T030405.000Z.json.gz")
	if err := os.WriteFile(ancient, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f = begin(t, fileTarget(t, filepath.Join(dir, "f.json"), "rotate=100,max-age=30d", false))
	for i := range 3 {
		put(t, f, numbered(10*i, 10))
	}
	testkit.Eventually(t, time.Minute, "old files to go", func() bool { return !exists(ancient) })
	end(t, f)
	wantLines(t, 30, false, history(t, dir)...)
}

func TestFileEvery(t *testing.T) {
	dir := t.TempDir()
	f := begin(t, fileTarget(t, filepath.Join(dir, "f.json"), "every=1s", true))
	put(t, f, numbered(0, 5))
	testkit.Eventually(t, time.Minute, "a new file without new events", func() bool { return len(history(t, dir)) == 2 })
	time.Sleep(1200 * time.Millisecond)
	if n := len(history(t, dir)); n != 2 {
		t.Errorf("%d files: one without events was rotated", n)
	}
	put(t, f, numbered(5, 5))
	end(t, f)
	wantLines(t, 10, true, history(t, dir)...)
}

func TestFileMovedAway(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f.json")
	f := begin(t, fileTarget(t, path, "", true))
	put(t, f, numbered(0, 5))
	if err := os.Rename(path, filepath.Join(dir, "f-1")); err != nil {
		t.Fatal(err)
	}
	put(t, f, numbered(5, 5))
	// What logrotate calls copytruncate.
	if err := os.WriteFile(filepath.Join(dir, "f-2"), []byte(content(t, path)+"#end\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	put(t, f, numbered(10, 5))
	end(t, f)
	wantLines(t, 15, true, history(t, dir)...)
}

func TestFileLinks(t *testing.T) {
	dir := t.TempDir()
	path, secret := filepath.Join(dir, "f.json"), filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	soft, hard := filepath.Join(dir, "f-20010102T030405.000Z.json"), filepath.Join(dir, "f-20010102T030406.000Z.json")
	if err := errors.Join(os.Symlink(secret, soft), os.Link(secret, hard)); err != nil {
		t.Fatal(err)
	}
	f := begin(t, fileTarget(t, path, "rotate=100,compress=gzip", false))
	put(t, f, numbered(0, 9))
	put(t, f, numbered(9, 9))
	testkit.Eventually(t, time.Minute, "a compressed file", func() bool {
		names, _ := filepath.Glob(filepath.Join(dir, "f-*.gz"))
		return len(names) == 1
	})
	if err := errors.Join(os.Remove(path), os.Symlink(secret, path)); err != nil {
		t.Fatal(err)
	}
	if err := f.Deliver(t.Context(), numbered(18, 9)); err == nil {
		t.Error("a link was followed")
	}
	end(t, f)
	if got := content(t, secret); got != "secret\n" {
		t.Errorf("a link was followed: %q", got)
	}
	if exists(soft+".gz") || exists(hard+".gz") || !exists(soft) || !exists(hard) {
		t.Error("a link was compressed")
	}

	// The user's own link.
	own := filepath.Join(dir, "own")
	if err := os.Symlink(filepath.Join(dir, "target"), own); err != nil {
		t.Fatal(err)
	}
	f = begin(t, fileTarget(t, own, "", false))
	put(t, f, numbered(0, 9))
	end(t, f)
	wantLines(t, 9, false, filepath.Join(dir, "target"))
}

func TestFileIsTakenUpAgain(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f.json")
	if err := os.WriteFile(path, []byte("{\"n\":000000}\n{\"n\":00"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := begin(t, fileTarget(t, path, "", false))
	second := fileTarget(t, path, "", false)
	if err := second.Open(); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second output on the same file: %v", err)
	}
	put(t, f, numbered(1, 1))
	end(t, f)
	if got, want := content(t, path), "{\"n\":000000}\n{\"n\":00\n{\"n\":000001}\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}

	// What has an end is set aside.
	dir = t.TempDir()
	for i := range 3 {
		f := begin(t, fileTarget(t, filepath.Join(dir, "f.json"), "", true))
		put(t, f, numbered(5*i, 5))
		end(t, f)
	}
	wantLines(t, 15, true, history(t, dir)...)
}

// TestFileOnFullDisk: no line is torn or doubled, and events go on when there is
// room again.
func TestFileOnFullDisk(t *testing.T) {
	dir := tmpfs(t, "size=256k")
	f := begin(t, fileTarget(t, filepath.Join(dir, "f.json"), "", true))
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 200<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	q := NewQueue(f, 16<<20, true, t.Logf)
	const blocks, per = 20, 997
	for i := range blocks {
		q.Put(numbered(per*i, per))
		if i == 9 {
			testkit.Eventually(t, time.Minute, "the disk to be full", func() bool { return errors.Is(q.Err(), unix.ENOSPC) })
			text := content(t, filepath.Join(dir, "f.json"))
			if !strings.HasSuffix(text, "}\n") {
				t.Errorf("torn: %q", text[len(text)-20:])
			}
		}
	}
	time.Sleep(2 * time.Second)
	freed := time.Now()
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, time.Minute, "events to go on", func() bool { return q.Stats().Delivered == blocks*per })
	t.Logf("healed within %v", time.Since(freed).Round(time.Millisecond))
	if err := q.Close(time.Second); err != nil {
		t.Error(err)
	}
	wantLines(t, blocks*per, true, filepath.Join(dir, "f.json"))
}

// tmpfs mounts one that is small in some respect, and returns it.
func tmpfs(t testing.TB, options string) string {
	t.Helper()
	testkit.NeedRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		testkit.Unable(t, "mounting a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestFilePipe: who reads a pipe may come late, and go.
func TestFilePipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.json")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f := begin(t, fileTarget(t, path, "", false))
	if err := f.Deliver(t.Context(), numbered(0, 1)); !errors.Is(err, unix.ENXIO) {
		t.Fatalf("without a reader: %v", err)
	}
	r, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	put(t, f, numbered(0, 10))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	for err == nil { // nobody reads
		err = f.Deliver(ctx, numbered(10, 1000))
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a full pipe: %v", err)
	}
	end(t, f)
}

func TestFileOptions(t *testing.T) {
	for text, want := range map[string]string{
		"json:f,mode=0999":                 "octal",
		"json:f,keep=3":                    "rotate= or every=",
		"json:f,every=5ms":                 "at least 1s",
		"json:f,rotate=3,compress=lzma":    "one of gzip, zstd",
		"json:/dev/null,rotate=1MB":        "no file",
		"json:/proc/self/nowhere/f,keep=x": "keep=x",
	} {
		target, err := Parse(text)
		var s Sink
		if err == nil {
			target.Header = func(dst []byte) []byte { return dst }
			s, err = target.Kind.Open(target)
		}
		if err == nil {
			err = s.(Opener).Open()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
