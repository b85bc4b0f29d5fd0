package pcap

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/dnshark-io/dnshark/internal/source"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

// readAll returns copies of all frames and the error at the end.
func readAll(path string) (frames []source.Frame, err error) {
	lanes, err := New([]string{path}, Options{}).Open(1)
	if err != nil {
		return nil, err
	}
	err = lanes[0].Run(context.Background(), func(batch []source.Frame) error {
		for _, f := range batch {
			f.Data = bytes.Clone(f.Data)
			frames = append(frames, f)
		}
		return nil
	})
	return frames, err
}

type oracle interface {
	ReadPacketData() ([]byte, gopacket.CaptureInfo, error)
}

// Every capture of the corpus gives the frames that pcapgo reads.
func TestCorpus(t *testing.T) {
	compared := 0
	err := filepath.WalkDir(testkit.Corpus(t, "pcaps"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if z, err := gzip.NewReader(bytes.NewReader(raw)); err == nil {
			if raw, err = io.ReadAll(z); err != nil {
				return err
			}
		}
		var want oracle
		if want, err = pcapgo.NewReader(bytes.NewReader(raw)); err != nil {
			if want, err = pcapgo.NewNgReader(bytes.NewReader(raw), pcapgo.NgReaderOptions{WantMixedLinkType: true}); err != nil {
				return nil // not a format that pcapgo knows
			}
		}
		frames, err := readAll(path)
		if errors.Is(err, ErrUnsupported) {
			return nil
		}
		if err != nil && !errors.Is(err, ErrCut) {
			t.Errorf("%s: %v", path, err)
		}
		compared++
		for i := 0; ; i++ {
			data, info, err := want.ReadPacketData()
			if err != nil {
				if i != len(frames) {
					t.Errorf("%s: %d frames, want %d", path, len(frames), i)
				}
				return nil
			}
			if i == len(frames) {
				t.Errorf("%s: only %d frames", path, i)
				return nil
			}
			f := frames[i]
			if !bytes.Equal(f.Data, data) || f.WireLen != max(info.Length, len(data)) || f.Time != info.Timestamp.UnixNano() {
				t.Errorf("%s: frame %d differs", path, i)
				return nil
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d captures compared", compared)
	if compared < 150 {
		t.Errorf("only %d captures compared", compared)
	}
}

// The same packets, however they are compressed.
func TestCompressed(t *testing.T) {
	dir := filepath.Join(testkit.Corpus(t, "pcaps"), "DNS-OARC+dnscap")
	want, err := readAll(filepath.Join(dir, "src__test__dns.pcap.gz"))
	if err != nil || len(want) == 0 {
		t.Fatalf("%d frames: %v", len(want), err)
	}
	for _, name := range []string{"src__test__dns.pcap.lz4", "src__test__dns.pcap.xz", "src__test__dns.pcap.zst"} {
		got, err := readAll(filepath.Join(dir, name))
		if err != nil || len(got) != len(want) {
			t.Errorf("%s: %d frames, want %d: %v", name, len(got), len(want), err)
			continue
		}
		for i := range got {
			if !bytes.Equal(got[i].Data, want[i].Data) {
				t.Errorf("%s: frame %d differs", name, i)
			}
		}
	}
}

// Files that lie about themselves; see the catalogue beside them.
func TestHostileFiles(t *testing.T) {
	dir := filepath.Join(testkit.Corpus(t, "hostile"), "synthetic", "pcap")
	for name, want := range map[string]struct {
		frames int
		err    error
	}{
		"F01_caplen_ffff.pcap":    {1, ErrCut},
		"F01b_caplen_1g.pcap":     {1, ErrCut},
		"F02_snap0.pcap":          {1, nil},
		"F03_magic_ns.pcap":       {1, nil},
		"F04_trunc_hdr.pcap":      {1, ErrCut},
		"F04b_trunc_global.pcap":  {0, ErrCut},
		"F10_ts_back.pcap":        {4, nil},
		"F11_linktype.pcap":       {0, ErrUnsupported},
		"F05_ng_len0.pcapng":      {0, ErrCut},
		"F05b_ng_len13.pcapng":    {0, ErrCut},
		"F05c_ng_mismatch.pcapng": {0, ErrCut},
		"F06_ng_block4g.pcapng":   {0, ErrCut},
		"F08_ng_badif.pcapng":     {0, ErrCut},
		"F08b_ng_cap.pcapng":      {0, ErrCut},
		"F07_ng_100k_idb.pcapng":  {1, nil},
	} {
		frames, err := readAll(filepath.Join(dir, name))
		if len(frames) != want.frames || !errors.Is(err, want.err) || (want.err == nil) != (err == nil) {
			t.Errorf("%s: %d frames, error %v; want %d, %v", name, len(frames), err, want.frames, want.err)
		}
	}
}

func TestBitsOfTime(t *testing.T) {
	for _, c := range []struct {
		resol uint8
		ticks uint64
		want  int64
	}{
		{6, 1_700_000_000_123_456, 1_700_000_000_123_456_000},
		{9, 1_700_000_000_123_456_789, 1_700_000_000_123_456_789},
		{12, 1_700_000_000_123_456_789, 1_700_000_000_123_456},
		{0, 1_700_000_000, 1_700_000_000_000_000_000},
		{0x80, 17, 17_000_000_000},
		{0x80 | 1, 3, 1_500_000_000},
		{0x80 | 32, 5<<32 | 1<<31, 5_500_000_000},
		{0x80 | 127, 1, 0},
		{127, 1 << 63, 0},
	} {
		if got := (&iface{resol: c.resol}).time(c.ticks); got != c.want {
			t.Errorf("resolution %#x, %d ticks: %d, want %d", c.resol, c.ticks, got, c.want)
		}
	}
}

// build returns a pcap file of n frames.
func build(n int) []byte {
	file := make([]byte, fileHeader)
	le := binary.LittleEndian
	le.PutUint32(file, magicMicro)
	le.PutUint32(file[20:], 1)
	for i := range n {
		file = le.AppendUint32(file, uint32(i))
		file = le.AppendUint32(file, 0)
		file = le.AppendUint32(file, 100)
		file = le.AppendUint32(file, 100)
		file = append(file, make([]byte, 100)...)
	}
	return file
}

// drip gives one octet at a time, as a slow pipe may.
type drip struct{ r io.Reader }

func (d drip) Read(p []byte) (int, error) { return d.r.Read(p[:1]) }

func TestSlowPipe(t *testing.T) {
	var l Lane
	n := 0
	err := l.read(context.Background(), newReader(drip{bytes.NewReader(build(20))}), func(f []source.Frame) error {
		n += len(f)
		return nil
	})
	if n != 20 || err != nil {
		t.Errorf("%d frames, %v", n, err)
	}
}

func TestTakeEndsTheRun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.pcap")
	if err := os.WriteFile(file, build(5000), 0o600); err != nil {
		t.Fatal(err)
	}
	stop := errors.New("enough")
	calls := 0
	lanes, _ := New([]string{file, file}, Options{}).Open(1)
	err := lanes[0].Run(context.Background(), func([]source.Frame) error { calls++; return stop })
	if err != stop || calls != 1 {
		t.Errorf("%v after %d calls", err, calls)
	}
}

func TestAllocations(t *testing.T) {
	file := build(100_000)
	var l Lane
	r := newReader(nil)
	run := func() {
		r.src, r.err, r.from, r.to = bytes.NewReader(file), nil, 0, 0
		if err := l.read(context.Background(), r, func([]source.Frame) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	run()
	// The reader of the bytes, and the format.
	if n := testing.AllocsPerRun(5, run); n > 10 {
		t.Errorf("%v allocations for 100,000 frames", n)
	}
}

// checkFuzz reads a file at once and octet by octet, which must be the same, and
// no frame may hold more than the file does.
func checkFuzz(t *testing.T, file []byte) {
	if len(file) > 1<<16 {
		return
	}
	want, wantErr := show(bytes.NewReader(file))
	got, err := show(drip{bytes.NewReader(file)})
	if !slices.Equal(got, want) || (err == nil) != (wantErr == nil) {
		t.Errorf("%d frames, %v; octet by octet %d, %v", len(want), wantErr, len(got), err)
	}
	var l Lane
	octets := 0
	l.read(context.Background(), &reader{src: bytes.NewReader(file), buf: memory}, func(frames []source.Frame) error {
		for i := range frames {
			octets += len(frames[i].Data)
			if f := frames[i]; f.Time < 0 || f.WireLen < len(f.Data) || len(f.Data) > MaxFrame || !known(f.Link) {
				t.Errorf("%+v", f)
			}
		}
		return nil
	})
	if octets > len(file) {
		t.Errorf("%d octets out of %d", octets, len(file))
	}
}

func FuzzPcap(f *testing.F) {
	f.Add(build(2))
	f.Add(classicFile(binary.BigEndian, magicNano, 101, "first", 5, "cut", 99))
	f.Fuzz(checkFuzz)
}

func FuzzPcapng(f *testing.F) {
	x := &builder{order: binary.LittleEndian}
	f.Add(x.section(binary.LittleEndian).iface(1, 0, x.option(nil, optIfName, []byte("eth0")), x.option(nil, optIfTSResol, []byte{0x89})).
		enhanced(0, 1<<40, 9, "datum").simple(4, "data").old(0, 1, 1, "x").block(5, make([]byte, 12)).
		section(binary.BigEndian).iface(101, 3).iface(65000, 0).enhanced(1, 5, 5, "other").simple(9, "dat").file)
	f.Fuzz(checkFuzz)
}

func BenchmarkRead(b *testing.B) {
	file := build(100_000)
	var l Lane
	r := newReader(nil)
	frames := 0
	b.ReportAllocs()
	for b.Loop() {
		r.src, r.err, r.from, r.to = bytes.NewReader(file), nil, 0, 0
		l.read(context.Background(), r, func(f []source.Frame) error { frames += len(f); return nil })
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(frames), "ns/packet")
}

// The way of a whole file, with system calls and decompression.
func BenchmarkFile(b *testing.B) {
	const packets = 200_000
	plain := build(packets)
	files := compressions(b, plain)
	files["plain"] = plain
	for _, name := range []string{"plain", "gzip", "zstd", "lz4", "xz"} {
		path := filepath.Join(b.TempDir(), "file")
		if err := os.WriteFile(path, files[name], 0o600); err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				lanes, _ := New([]string{path}, Options{}).Open(1)
				if err := lanes[0].Run(context.Background(), func([]source.Frame) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*packets), "ns/packet")
		})
	}
}
