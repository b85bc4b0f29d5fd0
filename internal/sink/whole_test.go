package sink

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/kind"
	"github.com/dnshark-io/dnshark/internal/output"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

func wholeTarget(t testing.TB, path, options string) (*wholeSink, error) {
	t.Helper()
	target, err := Parse("parquet:" + path + options)
	if err != nil {
		return nil, err
	}
	target.Log, target.Whole, target.Binary = t.Logf, true, true
	s, err := target.Kind.Open(target)
	if err != nil {
		return nil, err
	}
	return s.(*wholeSink), nil
}

func openWholeTest(t testing.TB, path, options string) *wholeSink {
	t.Helper()
	w, err := wholeTarget(t, path, options)
	if err == nil {
		err = w.Open()
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// names returns what is in a directory.
func names(t testing.TB, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// Each block is a file; nothing else stays, and nothing that is there is touched.
func TestWholeFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.parquet")
	if err := os.WriteFile(path, []byte("the user's"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := openWholeTest(t, path, ",rotate=1MB,mode=0600")
	for i := range 3 {
		put(t, w, numbered(10*i, 10))
	}
	end(t, w)
	files, err := filepath.Glob(filepath.Join(dir, "x-*.parquet"))
	if err != nil || len(files) != 3 || len(names(t, dir)) != 4 {
		t.Fatalf("%v: %v", err, names(t, dir))
	}
	wantLines(t, 30, false, files...)
	if info, err := os.Stat(files[0]); err != nil || info.Mode() != 0o600 {
		t.Error(err, info.Mode())
	}
	if content(t, path) != "the user's" {
		t.Error(content(t, path))
	}
}

// What a killed run left goes away, a second dnshark is refused, and no link leads
// elsewhere.
func TestWholePartial(t *testing.T) {
	dir := t.TempDir()
	path, partial := filepath.Join(dir, "x.parquet"), filepath.Join(dir, ".x.parquet.partial")
	if err := os.WriteFile(partial, []byte("half"), 0o644); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "other")
	if err := os.Link(partial, other); err != nil {
		t.Fatal(err)
	}
	w := openWholeTest(t, path, ",every=1h")
	second, err := wholeTarget(t, path, ",every=1h")
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Open(); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second one: %v", err)
	}
	put(t, w, numbered(0, 10))
	if content(t, other) != "half" {
		t.Error("a file that was there was written to")
	}
	// The next file is made when it is needed.
	if err := os.Symlink(other, partial); err != nil {
		t.Fatal(err)
	}
	if err := w.Deliver(t.Context(), numbered(10, 10)); !errors.Is(err, unix.ELOOP) {
		t.Errorf("a symbolic link: %v", err)
	}
	if err := os.Remove(partial); err != nil {
		t.Fatal(err)
	}
	put(t, w, numbered(10, 10))
	end(t, w)
	files, _ := filepath.Glob(filepath.Join(dir, "x-*.parquet"))
	wantLines(t, 20, false, files...)
	if content(t, other) != "half" || len(names(t, dir)) != 3 {
		t.Errorf("%q, %v", content(t, other), names(t, dir))
	}
}

// A full disk: the file comes when there is room, and no part of it before.
func TestWholeFullDisk(t *testing.T) {
	dir := tmpfs(t, "size=256k")
	w := openWholeTest(t, filepath.Join(dir, "x.parquet"), ",rotate=1MB")
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 200<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	b := numbered(0, 10_000)
	if err := w.Deliver(t.Context(), b); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	if left := names(t, dir); len(left) != 1 {
		t.Errorf("left %v", left)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	put(t, w, b)
	end(t, w)
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	wantLines(t, 10_000, false, files...)
}

// A file ends when its time is over or it has its size, and begins and ends as a file
// must.
func TestWholeTimes(t *testing.T) {
	for _, when := range []string{"every=1s", "rotate=1MB"} {
		dir := t.TempDir()
		target, err := Parse("parquet:" + filepath.Join(dir, "x.parquet") + "," + when)
		if err != nil {
			t.Fatal(err)
		}
		target.Whole, target.Log = true, t.Logf
		target.Trailer = func(dst []byte) []byte { return append(dst, "#end\n"...) }
		o := &Output{Target: target, Kinds: ^kind.Set(0), Carried: ^kind.Set(0), Host: "h", Encoder: output.NewJSON()}
		if o.Sink, err = openFile(target); err != nil {
			t.Fatal(err)
		}
		if err := o.Start(false); err != nil {
			t.Fatal(err)
		}
		b, written := &event.Batch{}, 0
		testkit.Eventually(t, time.Minute, "two files", func() bool {
			batch(b, 100)
			o.Write(b)
			b.Reset()
			written += 100
			return o.Queue.Stats().Delivered > 0 && len(names(t, dir)) >= 2
		})
		if err := o.Close(testGrace); err != nil {
			t.Fatal(err)
		}
		if s := o.Queue.Stats(); s.Delivered != uint64(written) || s.Events != s.Delivered {
			t.Errorf("%s: %d events, %+v", when, written, s)
		}
		lines := 0
		for _, name := range names(t, dir) {
			text, whole := strings.CutSuffix(content(t, filepath.Join(dir, name)), "#end\n")
			if lines += strings.Count(text, "\n"); !whole || !strings.HasPrefix(name, "x-") || strings.Contains(text, "#") {
				t.Errorf("%s: %s is not whole", when, name)
			}
			if when == "rotate=1MB" && len(text) > 2<<20 {
				t.Errorf("%s has %d octets", name, len(text))
			}
		}
		if lines != written {
			t.Errorf("%s: %d lines of %d events", when, lines, written)
		}
	}
}

func TestWholeOptions(t *testing.T) {
	for options, want := range map[string]string{
		"":                            "rotate=64MB or every=1h",
		",rotate=1KB":                 "from 1MB to 256MB",
		",rotate=1GB":                 "from 1MB to 256MB",
		",every=1ms":                  "at least 1s",
		",every=1h,compress=gzip":     "compressed already",
		",every=1h,batch=1MB":         "batch=",
		",every=1h,linger=1s":         "linger=",
		",every=1h,spool=100MB":       "spool=",
		",every=1h,mode=999":          "octal",
		",every=1h,keep=3,max-age=7d": "",
	} {
		_, err := wholeTarget(t, filepath.Join(t.TempDir(), "x.parquet"), options)
		if why := ""; err != nil {
			why = err.Error()
			if want == "" || !strings.Contains(why, want) {
				t.Errorf("%s: %v", options, err)
			}
		} else if want != "" {
			t.Errorf("%s is taken", options)
		}
	}
}
