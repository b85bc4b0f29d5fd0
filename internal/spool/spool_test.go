package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

// book is an Account.
type book struct{ stored, dropped, damaged uint64 }

func (b *book) Stored(n uint64)  { b.stored += n }
func (b *book) Dropped(n uint64) { b.dropped += n }
func (b *book) Damaged(n uint64) { b.damaged += n }

// fast returns a directory in memory, where there is one: fsync is not what most of
// these tests are about.
func fast(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "dnshark-spool-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func open(t testing.TB, dir string, limit int64) (*Spool, *book) {
	t.Helper()
	b := &book{}
	s, err := Open(dir, limit, b, make(chan struct{}, 1))
	if err != nil {
		t.Fatal(err)
	}
	return s, b
}

func shut(t testing.TB, s *Spool) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// record returns one whose content is random but for its number.
func record(r *rand.Rand, number uint64, size int) *Record {
	text := fmt.Appendf(nil, "%d\n", number)
	for len(text) < size {
		text = append(text, byte(r.Uint32()))
	}
	return &Record{Source: "host-0-t-", First: number, Events: 1 + int(number%5), Text: text}
}

// rest reads and acknowledges all that is there.
func rest(t testing.TB, s *Spool) (list []*Record) {
	t.Helper()
	for {
		r := &Record{}
		found, err := s.Next(r)
		if err != nil {
			t.Fatal(err)
		}
		if !found {
			return list
		}
		list = append(list, r)
		if err := s.Ack(); err != nil {
			t.Fatal(err)
		}
	}
}

func same(a, b *Record) bool {
	return a.Source == b.Source && a.First == b.First && a.Events == b.Events && bytes.Equal(a.Text, b.Text)
}

func events(list []*Record) (n uint64) {
	for _, r := range list {
		n += uint64(r.Events)
	}
	return n
}

// compare wants got to be all of want, or all but those that lost says.
func compare(t testing.TB, what string, got, want []*Record, lost int) {
	t.Helper()
	i := 0
	for _, r := range got {
		for i < len(want) && !same(r, want[i]) {
			i++
		}
		if i == len(want) {
			t.Fatalf("%s: record %d was never put there, or comes twice, or out of order", what, r.First)
		}
		i++
	}
	if n := len(want) - len(got); n > lost {
		t.Errorf("%s: %d records missing, want at most %d", what, n, lost)
	}
}

func TestRecordsStay(t *testing.T) {
	dir, r := fast(t), rand.New(rand.NewPCG(1, 2))
	var want, got []*Record
	for run := range 5 {
		s, _ := open(t, dir, 1<<20)
		if n := s.Pending(); n != events(want[len(got):]) {
			t.Errorf("%d events pending, want %d", n, events(want[len(got):]))
		}
		for range 50 {
			w := record(r, uint64(len(want)), 1+r.IntN(5000))
			if err := s.Append(w, true); err != nil {
				t.Fatal(err)
			}
			want = append(want, w)
		}
		for range 40 + 10*(run/4) {
			x := &Record{}
			if found, err := s.Next(x); !found || err != nil {
				t.Fatal(found, err)
			}
			got = append(got, x)
			if err := s.Ack(); err != nil {
				t.Fatal(err)
			}
		}
		if run == 4 {
			got = append(got, rest(t, s)...)
		}
		if _, err := Open(dir, 1<<20, &book{}, nil); !errors.Is(err, ErrInUse) {
			t.Errorf("a second process: %v", err)
		}
		shut(t, s)
	}
	compare(t, "all", got, want, 0)
	if names, _ := filepath.Glob(filepath.Join(dir, "*"+suffix)); len(names) > 0 {
		t.Errorf("%v are still there", names)
	}
	if info, err := os.Stat(filepath.Join(dir, "position")); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
}

// TestUnacknowledged: what was read and not acknowledged comes again.
func TestUnacknowledged(t *testing.T) {
	dir, r := fast(t), rand.New(rand.NewPCG(1, 2))
	s, _ := open(t, dir, 1<<20)
	w := record(r, 7, 100)
	if err := s.Append(w, true); err != nil {
		t.Fatal(err)
	}
	x := &Record{}
	if found, err := s.Next(x); !found || err != nil || !s.Kept() {
		t.Fatal(found, err, s.Kept())
	}
	shut(t, s)
	s, _ = open(t, dir, 1<<20)
	compare(t, "again", rest(t, s), []*Record{w}, 0)
	shut(t, s)
}

func diskUse(t testing.TB, dir string) (n int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			n += info.Size()
		}
	}
	return n
}

// TestLimit: the oldest go, the disk is not used beyond the limit, and the account
// closes while somebody reads.
func TestLimit(t *testing.T) {
	const limit = 1 << 20
	dir, r := fast(t), rand.New(rand.NewPCG(3, 4))
	s, b := open(t, dir, limit)
	var put, got uint64
	x := &Record{}
	held := false
	for i := range 5000 {
		w := record(r, uint64(i), 1+r.IntN(3000))
		if err := s.Append(w, false); err != nil {
			t.Fatal(err)
		}
		put += uint64(w.Events)
		if n := diskUse(t, dir); n > limit+2*slotSize {
			t.Fatalf("%d octets on disk", n)
		}
		// The reader has a record for a long time, or reads several.
		if held && i%700 == 0 {
			kept := s.Kept()
			if kept != (s.segments[0].base <= x.offset) {
				t.Errorf("Kept is %v", kept)
			}
			if err := s.Ack(); err != nil {
				t.Fatal(err)
			}
			got, held = got+uint64(x.Events), false
		}
		for !held && i%700 < 100 {
			found, err := s.Next(x)
			if err != nil {
				t.Fatal(err)
			}
			if held = found; !found || i%10 != 0 {
				break
			}
			got, held = got+uint64(x.Events), false
			if err := s.Ack(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if held {
		got += uint64(x.Events)
		if err := s.Ack(); err != nil {
			t.Fatal(err)
		}
	}
	got += events(rest(t, s))
	if b.dropped == 0 || b.damaged != 0 || b.stored != put || got+b.dropped != put {
		t.Errorf("%d put, %d stored, %d read, %d dropped, %d damaged", put, b.stored, got, b.dropped, b.damaged)
	}
	shut(t, s)

	s, _ = open(t, fast(t), limit)
	defer shut(t, s)
	if err := s.Append(record(r, 0, 2*limit), false); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a record larger than the spool: %v", err)
	}
	for i := 0; ; i++ {
		if err := s.Append(record(r, uint64(i), 10000), true); err != nil {
			if !errors.Is(err, ErrFull) {
				t.Error(err)
			}
			break
		}
	}
	if n := len(rest(t, s)); n < 95 {
		t.Errorf("%d records of 10000 octets", n)
	}
	if err := s.Append(record(r, 0, 10000), true); err != nil {
		t.Error(err)
	}
}

// filled returns a spool's files and what is in it. The records hold others'
// records, as an attacker might send them.
func filled(t testing.TB, limit int64, n, size int) (files map[string][]byte, want []*Record) {
	t.Helper()
	dir, r := fast(t), rand.New(rand.NewPCG(5, 6))
	s, _ := open(t, dir, limit)
	var forged marker
	for i := range n {
		w := record(r, uint64(i), 1+r.IntN(size))
		inner, err := s.writer.append(nil, forged, &Record{Events: 1, Text: []byte("forged")})
		if err != nil {
			t.Fatal(err)
		}
		w.Text = append(w.Text, inner...)
		if err := s.Append(w, true); err != nil {
			t.Fatal(err)
		}
		want = append(want, w)
	}
	shut(t, s)
	files = map[string][]byte{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = data
	}
	return files, want
}

func write(t testing.TB, dir string, files map[string][]byte) {
	t.Helper()
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// recovered opens a spool of these files, reads it, and tells what the account
// says of what is missing.
func recovered(t testing.TB, dir string, files map[string][]byte, limit int64) (got []*Record, damaged, bad uint64) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, dir, files)
	s, b := open(t, dir, limit)
	pending := s.Pending()
	// It works on as if nothing had been.
	more := record(rand.New(rand.NewPCG(7, 8)), 1<<40, 100)
	if err := s.Append(more, true); err != nil {
		t.Fatal(err)
	}
	got = rest(t, s)
	if n := len(got); n == 0 || !same(got[n-1], more) {
		t.Fatal("what came later is not there")
	}
	got = got[:len(got)-1]
	if n := events(got); n+b.damaged != pending {
		t.Fatalf("%d events pending, %d read, %d damaged", pending, n, b.damaged)
	}
	if n := s.Pending(); n != 0 {
		t.Fatalf("%d events still pending", n)
	}
	bad = s.Bad()
	shut(t, s)
	return got, b.damaged, bad
}

// TestTornTail cuts a segment at every octet of its last 64 KiB.
func TestTornTail(t *testing.T) {
	files, want := filled(t, 16<<20, 60, 4000)
	const name = "00000000000000000000" + suffix
	whole := files[name]
	if len(files) != 2 || len(whole) < 64<<10 {
		t.Fatalf("%d files, %d octets", len(files), len(whole))
	}
	dir := filepath.Join(fast(t), "s")
	s, _ := open(t, fast(t), 1<<20)
	defer shut(t, s)
	p := parser{marker: marker(whole[:8]), z: s.parser.z, small: s.parser.small}
	var ends []int
	for pos, n := int64(0), 0; ; n++ {
		r := &Record{}
		after, found, _, err := p.next(bytes.NewReader(whole), pos, int64(len(whole)), r, true)
		if err != nil {
			t.Fatal(err)
		}
		if !found {
			break
		}
		if !same(r, want[n]) {
			t.Fatalf("record %d", n)
		}
		ends, pos = append(ends, int(after)), after
	}
	from := len(whole) - 64<<10
	first, _ := slices.BinarySearch(ends, from) // the first record that ends there
	start := int64(ends[first-1])
	for cut := from; cut < len(whole); cut++ {
		// Whole records before the cut, and nothing else.
		n, torn := first, bytes.NewReader(whole[:cut])
		for pos := start; ; {
			r := &Record{}
			after, found, bad, err := p.next(torn, pos, int64(cut), r, false)
			if err != nil {
				t.Fatal(err)
			}
			if !found {
				if bad != (pos < int64(cut)) {
					t.Fatalf("cut at %d: bad is %v", cut, bad)
				}
				break
			}
			n, pos = n+1, after
		}
		if full, exact := slices.BinarySearch(ends, cut); n != full && !(exact && n == full+1) {
			t.Fatalf("cut at %d: %d records, want %d", cut, n, full)
		}
		if cut%199 == 0 {
			got, damaged, _ := recovered(t, dir, map[string][]byte{"position": files["position"], name: whole[:cut]}, 16<<20)
			compare(t, fmt.Sprint("cut at ", cut), got, want[:n], 0)
			if damaged > 0 {
				t.Fatalf("cut at %d: %d events damaged", cut, damaged)
			}
		}
	}
	t.Logf("cut at each of %d octets: every whole record before that was read, and nothing else", len(whole)-from)
}

// TestBitFlips: a bit costs at most the record in which it is.
func TestBitFlips(t *testing.T) {
	const limit, flips = 1 << 20, 10000
	files, want := filled(t, limit, 100, 2000)
	dir, r := filepath.Join(fast(t), "s"), rand.New(rand.NewPCG(9, 10))
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	lost, begin := 0, time.Now()
	for i := range flips {
		name := names[r.IntN(len(names))]
		data := files[name]
		at, bit := r.IntN(len(data)), byte(1)<<r.IntN(8)
		data[at] ^= bit
		got, _, bad := recovered(t, dir, files, limit)
		data[at] ^= bit
		allowed := 1
		if name == "position" {
			allowed = 0
		}
		compare(t, fmt.Sprintf("flip %d in %s at %d", i, name, at), got, want, allowed)
		if n := len(want) - len(got); n > 0 {
			lost += n
			if bad == 0 {
				t.Errorf("flip %d: %d records lost, none bad", i, n)
			}
		}
	}
	if lost < flips/2 {
		t.Errorf("%d records lost: the flips hit nothing", lost)
	}
	t.Logf("%d flips, %d records lost, %v per recovery", flips, lost, time.Since(begin)/flips)
}

// TestBurst: much is broken, the rest is delivered.
func TestBurst(t *testing.T) {
	const limit = 1 << 20
	files, want := filled(t, limit, 100, 2000)
	dir, r := filepath.Join(fast(t), "s"), rand.New(rand.NewPCG(11, 12))
	for range 200 {
		broken := map[string][]byte{}
		for name, data := range files {
			data = bytes.Clone(data)
			for range 3 {
				at := r.IntN(len(data))
				part := data[at:min(len(data), at+r.IntN(5000))]
				switch r.IntN(3) {
				case 0:
					clear(part)
				case 1:
					for i := range part {
						part[i] = byte(r.Uint32())
					}
				case 2:
					data = slices.Delete(data, at, at+len(part))
				}
				if len(data) == 0 {
					break
				}
			}
			broken[name] = data
		}
		if r.IntN(2) == 0 {
			delete(broken, "position")
		}
		got, _, _ := recovered(t, dir, broken, limit)
		compare(t, "burst", got, want, len(want))
	}
}

func FuzzRecover(f *testing.F) {
	files, _ := filled(f, 1<<20, 3, 100)
	for name, data := range files {
		if name != "position" {
			f.Add(data, files["position"], uint64(3))
		}
	}
	f.Fuzz(func(t *testing.T, segment, position []byte, base uint64) {
		name := fmt.Sprintf("%020d", base) + suffix
		dir := filepath.Join(fast(t), "s")
		recovered(t, dir, map[string][]byte{name: segment, "position": position}, 1<<20)
	})
}

// TestRecoveryTime opens a large spool.
func TestRecoveryTime(t *testing.T) {
	size := int64(256 << 20)
	if os.Getenv("DNSHARK_LONG") != "" {
		size = 1 << 30
	}
	dir, r := fast(t), rand.New(rand.NewPCG(13, 14))
	s, _ := open(t, dir, size)
	w := record(r, 0, 256<<10)
	for diskUse(t, dir)+2*256<<10 < size {
		if err := s.Append(w, true); err != nil {
			t.Fatal(err)
		}
	}
	shut(t, s)
	took := time.Duration(1 << 62)
	for range 3 { // others may have the machine meanwhile
		begin := time.Now()
		s, _ = open(t, dir, size)
		took = min(took, time.Since(begin))
		shut(t, s)
	}
	t.Logf("%d MiB opened in %v", diskUse(t, dir)>>20, took)
	if per := took * time.Duration(1<<30/size); per > 2*time.Second {
		t.Errorf("%v per GiB", per)
	}
}

// TestFailingDisk: records come through a disk that fails at times. It runs itself
// under strace.
func TestFailingDisk(t *testing.T) {
	const n, env = 400, "DNSHARK_TEST_SPOOL"
	r := rand.New(rand.NewPCG(15, 16))
	var want []*Record
	for i := range n {
		want = append(want, record(r, uint64(i), 200))
	}
	if dir := os.Getenv(env); dir != "" {
		s, _ := open(t, dir, 16<<20)
		failed := 0
		for _, w := range want {
			for s.Append(w, true) != nil {
				failed++
			}
			time.Sleep(2 * time.Millisecond)
		}
		fmt.Printf("%d appends failed\n", failed)
		if failed == 0 {
			t.Error("nothing failed")
		}
		_ = s.Close()
		return
	}
	testkit.NeedPrograms(t, "strace")
	for _, inject := range []string{"fdatasync:error=EIO:when=2+3", "write:error=ENOSPC:when=20+7"} {
		dir := t.TempDir()
		// Only calls on the spool's files.
		cmd := exec.Command("strace", "-f", "-qq", "-o", os.DevNull, "-P", filepath.Join(dir, fmt.Sprintf("%020d", 0)+suffix),
			"-e", "inject="+inject, os.Args[0], "-test.run=^TestFailingDisk$")
		cmd.Env = append(os.Environ(), env+"="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", inject, err, out)
		}
		s, _ := open(t, dir, 16<<20)
		compare(t, inject, rest(t, s), want, 0)
		shut(t, s)
		t.Logf("%s: %s", inject, bytes.SplitN(out, []byte("\n"), 2)[0])
	}
}

func BenchmarkSpool(b *testing.B) {
	// What a batch of events looks like.
	line := `{"event":"net_packet_dns_response","time":"2026-11-18T11:06:41.%09dZ","dns":{"id":%d,"question":[{"name":"host%d.example","type":"A"}],"rcode":"NOERROR","answer":[{"name":"host%d.example","type":"A","ttl":300,"data":"192.0.2.%d"}]},"process":{"pid":%d,"comm":"resolver","exe":"/usr/sbin/resolver"}}` + "\n"
	r := rand.New(rand.NewPCG(17, 18))
	w := &Record{Source: "host-0123abcd-1-", Events: 700}
	for range w.Events {
		n := r.IntN(1 << 20)
		w.Text = fmt.Appendf(w.Text, line, r.IntN(1e9), r.IntN(65536), n, n, r.IntN(256), r.IntN(65536))
	}
	s, _ := open(b, b.TempDir(), 1<<30)
	b.Run("append", func(b *testing.B) {
		for b.Loop() {
			if err := s.Append(w, false); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N*w.Events)/b.Elapsed().Seconds(), "events/s")
		b.ReportMetric(float64(len(s.out))/float64(w.Events), "octets/event")
		b.ReportMetric(float64(len(w.Text))/float64(w.Events), "plain/event")
	})
	b.Run("read", func(b *testing.B) {
		for i := 0; i < b.N; {
			found, err := s.Next(w)
			if err != nil {
				b.Fatal(err)
			}
			if found {
				i++
				err = s.Ack()
			} else {
				b.StopTimer()
				for range 1000 {
					err = errors.Join(err, s.Append(w, false))
				}
				b.StartTimer()
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N*w.Events)/b.Elapsed().Seconds(), "events/s")
	})
	if err := s.Close(); err != nil && !errors.Is(err, io.EOF) {
		b.Fatal(err)
	}
}
