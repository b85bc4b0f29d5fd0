package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/output"
	"github.com/dnshark-io/dnshark/internal/store"
	"github.com/dnshark-io/dnshark/internal/store/eventlog"
	"github.com/dnshark-io/dnshark/internal/store/storetest"
)

// TestMeasure writes docs/bench/store.md: DNSHARK_BENCH_STORE is how many events.
// Names are asked for as often as their rank says (Zipf), 60 hosts and 12 processes
// ask, and a name has one to four records: 2.5 tuples for each. So 10 million events
// have 500,000 tuples.
func TestMeasure(t *testing.T) {
	events, _ := strconv.Atoi(os.Getenv("DNSHARK_BENCH_STORE"))
	if events == 0 {
		return
	}
	names := max(events/50, 4) &^ 3
	tuples := names / 4 * (1 + 2 + 3 + 4)
	dir := t.TempDir()
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	g := store.NewStage(s, "sensor1")
	g.Wait = true
	log, err := eventlog.Open(filepath.Join(dir, eventlog.DirName), eventlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	whole := eventlog.NewStage(log, output.NewJSON().Append)
	whole.Wait = true
	process := func(b *event.Batch) {
		whole.Process(b)
		g.Process(b)
	}
	r := rand.New(rand.NewPCG(1, 2))
	random := rand.NewZipf(r, 1.05, 50, uint64(names-1))
	var b event.Batch
	messages := make([][]byte, min(names, 1<<16)) // those that come often
	askers := make([]event.Party, 12)
	for i := range askers {
		id := &event.Identity{TGID: uint32(100 + i)}
		exe := fmt.Sprintf("service%d", i)
		copy(id.Comm[:], exe)
		askers[i] = event.Party{ID: id, Process: &event.Process{Exe: "/usr/bin/" + exe}}
	}
	before, begin := cpuTime(t), time.Now()
	for i := range events {
		n := uint32(random.Uint64())
		if i%50 == 0 { // each at least once
			n = uint32(i/50) % uint32(names)
		}
		var raw []byte
		if int(n) < len(messages) {
			if messages[n] == nil {
				messages[n] = measured(n)
			}
			raw = messages[n]
		} else {
			raw = measured(n)
		}
		e := b.Next()
		e.Msg.Unpack(b.Hold(raw))
		e.Kinds, e.Txn.State = 1, event.StateAnswered
		e.Time = storetest.Noon.UnixNano() + int64(i)*(int64(72*time.Hour)/int64(events))
		e.Meta.SrcIP, e.Meta.DstIP = netip.AddrFrom4([4]byte{192, 0, 2, 53}), netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(60))})
		e.Asker = askers[n%12]
		if len(b.Events) == 256 {
			process(&b)
			b.Reset()
		}
	}
	process(&b)
	if err := errors.Join(g.Close(), log.Close()); err != nil {
		t.Fatal(err)
	}
	took, cpu := time.Since(begin), cpuTime(t)-before
	rss := peakRSS(t)
	c, err := s.Counts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if c.Tuples != int64(tuples) {
		t.Fatalf("%d tuples, want %d", c.Tuples, tuples)
	}

	reader, err := store.OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	var out strings.Builder
	fmt.Fprintf(&out, "# The history store\n\nWritten by `make bench-store STORE_EVENTS=%d`: %s, %s, %d processors.\n\n", events, time.Now().UTC().Format(time.DateOnly), runtime.Version(), runtime.NumCPU())
	fmt.Fprintf(&out, "| what | figure |\n|---|---|\n| events, tuples, names | %d, %d, %d |\n| events per second, making them included | %.0f |\n", events, c.Tuples, c.Names, float64(events)/took.Seconds())
	fmt.Fprintf(&out, "| processor time per event, making it included | %v |\n", (cpu / time.Duration(events)).Round(10*time.Nanosecond))
	fmt.Fprintf(&out, "| octets per event, whole | %.1f |\n", float64(octetsIn(t, filepath.Join(dir, eventlog.DirName)))/float64(events))
	fmt.Fprintf(&out, "| octets per tuple, with its name, who asked, hours and days | %.0f |\n| most memory (RSS) while writing | %d MiB |\n", float64(c.Octets)/float64(c.Tuples), rss>>10)
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, store.FileName)+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var free int64
	if err := db.QueryRow(`SELECT freelist_count * page_size FROM pragma_freelist_count(), pragma_page_size()`).Scan(&free); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&out, "| octets per tuple of free pages | %.1f |\n", float64(free)/float64(c.Tuples))
	tables, err := db.Query(`SELECT name, sum(pgsize) FROM dbstat GROUP BY name HAVING sum(pgsize) > 100000 ORDER BY 2 DESC`)
	if err != nil {
		t.Fatal(err)
	}
	defer tables.Close()
	for tables.Next() {
		var name string
		var octets int64
		if err := tables.Scan(&name, &octets); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "| octets per tuple in %s | %.1f |\n", name, float64(octets)/float64(c.Tuples))
	}
	fmt.Fprintf(&out, "\n| look-up | p50 | p99 |\n|---|---|---|\n")
	look := func(what string, times int, ask func(n uint32) error) {
		list := make([]time.Duration, times)
		for i := range list {
			at := time.Now()
			if err := ask(uint32(r.IntN(names))); err != nil {
				t.Fatal(err)
			}
			list[i] = time.Since(at)
		}
		slices.Sort(list)
		fmt.Fprintf(&out, "| %s | %v | %v |\n", what, list[times/2].Round(time.Microsecond), list[times*99/100].Round(time.Microsecond))
	}
	lookup := func(q store.Query, least int) error {
		n := 0
		if q.Limit == 0 {
			q.Limit = 100
		}
		_, err := reader.Lookup(context.Background(), &q, func(*store.Tuple) error { n++; return nil })
		if err == nil && n < least {
			err = fmt.Errorf("%+v: %d tuples, want %d", q, n, least)
		}
		return err
	}
	look("name", 2000, func(n uint32) error { return lookup(store.Query{Text: measuredName(n)}, 1+int(n%4)) })
	look("*.name, to 100 tuples", 2000, func(n uint32) error {
		return lookup(store.Query{Text: fmt.Sprintf("d%d.example.test", n/64), Wild: store.Left}, 1)
	})
	look("name.*", 2000, func(n uint32) error { return lookup(store.Query{Text: fmt.Sprintf("h%d", n), Wild: store.Right}, 1) })
	look("address", 2000, func(n uint32) error {
		return lookup(store.Query{By: store.ByNet, Net: netip.PrefixFrom(measuredIP(n, 0), 32)}, 1)
	})
	look("range of 256 addresses", 2000, func(n uint32) error {
		return lookup(store.Query{By: store.ByNet, Net: netip.PrefixFrom(measuredIP(n, 0), 24).Masked()}, 1)
	})
	look("top 10 names of three days", 5, func(uint32) error {
		_, err := reader.Top(context.Background(), store.Names, store.Range{}, 10)
		return err
	})
	t.Log(out.String())
	if path := os.Getenv("DNSHARK_BENCH_OUT"); path != "" {
		if err := os.WriteFile(path, []byte(out.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

func measuredName(n uint32) string { return fmt.Sprintf("h%d.d%d.example.test", n, n/64) }

func measuredIP(n uint32, i uint32) netip.Addr {
	n = n*4 + i
	return netip.AddrFrom4([4]byte{100 + byte(n>>24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// measured is a response with the records of the n-th name.
func measured(n uint32) []byte {
	count := 1 + n%4
	raw := []byte{0, 7, 0x81, 0x80, 0, 1, 0, byte(count), 0, 0, 0, 0}
	for label := range strings.SplitSeq(measuredName(n), ".") {
		raw = append(append(raw, byte(len(label))), label...)
	}
	raw = append(raw, 0, 0, 1, 0, 1)
	for i := range count {
		raw = append(raw, 0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4)
		raw = append(raw, measuredIP(n, i).AsSlice()...)
	}
	return raw
}

// octetsIn returns how much the files of a directory hold.
func octetsIn(t *testing.T, dir string) (n int64) {
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		n += info.Size()
	}
	return n
}

// cpuTime returns what the process took of processors.
func cpuTime(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// peakRSS returns KiB.
func peakRSS(t *testing.T) (kib int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmHWM:" {
			kib, err = strconv.Atoi(f[1])
		}
	}
	if err != nil || kib == 0 {
		t.Fatal("no VmHWM", err)
	}
	return kib
}
