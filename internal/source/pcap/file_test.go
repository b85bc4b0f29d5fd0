package pcap

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"

	"github.com/dnshark-io/dnshark/internal/source"
)

func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func within5s(t *testing.T, what string, fn func()) {
	t.Helper()
	done := make(chan bool)
	go func() { defer close(done); fn() }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatalf("%s hangs", what)
	}
}

// What is no file is told in a line, and nothing hangs.
func TestNoFile(t *testing.T) {
	dir := t.TempDir()
	fifo, socket := filepath.Join(dir, "fifo"), filepath.Join(dir, "socket")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for _, c := range []struct {
		path, want string
		err        error
	}{
		{filepath.Join(dir, "missing"), "no such file", fs.ErrNotExist},
		{dir, "is a directory", nil},
		{fifo, "dnshark read - < FIFO", nil},
		{socket, "is a socket", nil},
		{"/dev/zero", "is a device", nil},
		{write(t, "empty", nil), "is empty", ErrNotCapture},
		{write(t, "text", []byte("just some text")), "neither pcap nor pcapng", ErrNotCapture},
	} {
		within5s(t, c.path, func() {
			_, err := readAll(c.path)
			if err == nil || !strings.Contains(err.Error(), c.path) || !strings.Contains(err.Error(), c.want) ||
				strings.Contains(err.Error(), "\n") || c.err != nil && !errors.Is(err, c.err) {
				t.Errorf("%s: %v", c.path, err)
			}
		})
	}
}

// A bad file does not keep the next ones from being read.
func TestSeveralFiles(t *testing.T) {
	a, b := write(t, "a", classicFile(binary.LittleEndian, magicMicro, 1, "a", 1)), write(t, "b", classicFile(binary.BigEndian, magicNano, 1, "b", 1))
	broken := write(t, "broken", cut(classicFile(binary.LittleEndian, magicMicro, 1, "c", 1, "d", 1), 1))
	lanes, err := New([]string{a, "/missing", broken, b}, Options{}).Open(4)
	if err != nil || len(lanes) != 1 {
		t.Fatal(lanes, err)
	}
	got := ""
	err = lanes[0].Run(context.Background(), func(f []source.Frame) error {
		for i := range f {
			got += string(f[i].Data)
		}
		return nil
	})
	if got != "acb" || !errors.Is(err, ErrCut) || !errors.Is(err, fs.ErrNotExist) || strings.Index(err.Error(), "/missing") > strings.Index(err.Error(), "broken") {
		t.Errorf("%q, %v", got, err)
	}
	if s := lanes[0].Stats(); s != (source.Stats{Seen: 3, Submitted: 3}) {
		t.Errorf("%+v", s)
	}
	lanes, _ = New([]string{a, b}, Options{}).Open(1)
	lanes[0].Run(context.Background(), func([]source.Frame) error { return nil })
	if read, total := lanes[0].(*Lane).Progress(); read != total || total != 82 {
		t.Errorf("%d of %d octets", read, total)
	}
}

// A slow pipe yields packets as they come, and ends with ctx.
func TestPipe(t *testing.T) {
	for _, compressed := range []bool{false, true} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		defer w.Close()
		ctx, cancel := context.WithCancel(context.Background())
		lanes, _ := New([]string{"-"}, Options{Stdin: r}).Open(1)
		var n atomic.Int64
		done := make(chan error)
		go func() {
			done <- lanes[0].Run(ctx, func(f []source.Frame) error { n.Add(int64(len(f))); return nil })
		}()
		file := build(3)
		if compressed {
			// Its beginning only: the rest is waited for.
			var z bytes.Buffer
			g := gzip.NewWriter(&z)
			g.Write(file)
			g.Flush()
			w.Write(z.Bytes())
		} else {
			w.Write(file)
			for end := time.Now().Add(5 * time.Second); n.Load() < 3 && time.Now().Before(end); {
				time.Sleep(time.Millisecond)
			}
			if n.Load() != 3 {
				t.Errorf("%d packets", n.Load())
			}
		}
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("Run does not end with ctx")
		}
		if _, total := lanes[0].(*Lane).Progress(); total != 0 {
			t.Errorf("a pipe of %d octets", total)
		}
	}
}

// Every compression, made by other programs' libraries, in several pieces.
func compressions(t testing.TB, plain []byte) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	pack := func(name string, open func(io.Writer) (io.WriteCloser, error)) {
		var buf bytes.Buffer
		for _, part := range [][]byte{plain[:len(plain)/3], plain[len(plain)/3:]} {
			w, err := open(&buf)
			if err == nil {
				_, err = w.Write(part)
			}
			if err == nil {
				err = w.Close()
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		out[name] = buf.Bytes()
	}
	pack("gzip", func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil })
	pack("zstd", func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) })
	pack("lz4", func(w io.Writer) (io.WriteCloser, error) { return lz4.NewWriter(w), nil })
	for name, c := range map[string]xz.WriterConfig{
		"xz": {}, "xz crc32": {CheckSum: xz.CRC32}, "xz sha256": {CheckSum: xz.SHA256}, "xz none": {NoCheckSum: true},
		"xz blocks": {BlockSize: 10_000},
	} {
		c.DictCap = lzma.MinDictCap
		pack(name, func(w io.Writer) (io.WriteCloser, error) { return c.NewWriter(w) })
	}
	return out
}

func TestCompressions(t *testing.T) {
	const packets = 20_000 // more than the blocks that are read ahead
	goroutines := runtime.NumGoroutine()
	for name, data := range compressions(t, build(packets)) {
		frames, err := readAll(write(t, name, data))
		if err != nil || len(frames) != packets || frames[packets-1].Time != (packets-1)*1e9 {
			t.Errorf("%s: %d frames, %v", name, len(frames), err)
		}
		// A file that breaks off, or is damaged, yields what is before that.
		frames, err = readAll(write(t, name, data[:len(data)-20]))
		if (!errors.Is(err, ErrCut) || len(frames) < packets/4) && name != "xz none" {
			t.Errorf("%s, cut: %d frames, %v", name, len(frames), err)
		}
		damaged := bytes.Clone(data)
		damaged[len(data)/2] ^= 0x55
		if _, err = readAll(write(t, name, damaged)); err == nil && name != "xz none" && name != "lz4" {
			t.Errorf("%s, damaged: no error", name)
		}
		// A reader that has enough leaves nothing behind.
		lanes, _ := New([]string{write(t, name, data)}, Options{}).Open(1)
		enough := errors.New("enough")
		if err := lanes[0].Run(context.Background(), func([]source.Frame) error { return enough }); err != enough {
			t.Errorf("%s: %v", name, err)
		}
	}
	for end := time.Now().Add(2 * time.Second); runtime.NumGoroutine() > goroutines && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines left of %d", n, goroutines)
	}
}

// A file must not choose how much memory is used.
func TestWindows(t *testing.T) {
	var big bytes.Buffer
	w, err := xz.WriterConfig{DictCap: maxWindow + 1}.NewWriter(&big)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(build(1))
	w.Close()
	// A zstd frame with a window descriptor of 2 GiB.
	window := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x01, 0x00, 0x00}
	for name, data := range map[string][]byte{"xz": big.Bytes(), "zstd": window} {
		if _, err := readAll(write(t, name, data)); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "decompress it first") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Memory stays the same whatever the file says.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("slow")
	}
	ng := (&builder{}).section(binary.LittleEndian)
	name := ng.option(nil, optIfName, bytes.Repeat([]byte("x"), 60_000))
	for range 300 {
		ng.iface(1, 0, name)
	}
	// Empty packets, 256 MiB, with noise at the end of each MiB that keeps the
	// ratio below the limit, or without.
	zipped := func(noise int) []byte {
		var file bytes.Buffer
		g := gzip.NewWriter(&file)
		g.Write(classicFile(binary.LittleEndian, magicMicro, 1))
		rng := rand.NewChaCha8([32]byte{})
		for range 256 {
			mib := make([]byte, 1<<20)
			for at := len(mib) - noise; at < len(mib); at += recordHeader {
				rng.Read(mib[at : at+8]) // the time
			}
			g.Write(mib)
		}
		g.Close()
		return file.Bytes()
	}
	for _, test := range []struct {
		name string
		file []byte
		want error
	}{{"interfaces", ng.file, nil}, {"dense", zipped(16 << 10), nil}, {"bomb", zipped(0), ErrUnsupported}} {
		name := test.name
		path := write(t, name, test.file)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		lanes, _ := New([]string{path}, Options{}).Open(1)
		if err := lanes[0].Run(context.Background(), func([]source.Frame) error { return nil }); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 8<<20 {
			t.Errorf("%s: %d octets allocated", name, used)
		}
	}
}

func FuzzXZ(f *testing.F) {
	for _, data := range compressions(f, build(50)) {
		if bytes.HasPrefix(data, magicXZ) {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := decompress(bytes.NewReader(data))
		if err != nil {
			return
		}
		defer r.Close()
		io.Copy(io.Discard, io.LimitReader(r, 1<<20))
	})
}
