// Package load measures one engine in the process it runs in.
package load

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"io/fs"
	"log"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/store"
)

// Engine keeps a history. Its methods are those of store.Store.
type Engine interface {
	// Write adds an aggregate, all of it or nothing; it survives the end of the
	// program.
	Write(context.Context, *store.Aggregate) error
	// Lookup finds by name, *.name, name.* or address, in any order.
	Lookup(ctx context.Context, q *store.Query, f func(*store.Tuple) error) (more bool, err error)
	Close() error
}

// Result is what an engine's process prints.
type Result struct {
	Took, CPU   time.Duration // of writing all events, making them included
	Commits     int
	WorstCommit time.Duration
	Octets      int64 // of all files
	Beside      int64 // of these, what other engines do not keep
	RSS         int64 // octets, at most, while writing
	Lookups     []Lookups
}

// Lookups are those of one kind.
type Lookups struct {
	Kind     string
	Times    int
	P50, P99 time.Duration
	Tuples   int    // in the answers to the first Checked
	Sum      uint64 // of these answers
}

// Checked is how many look-ups of a kind are compared between engines.
const Checked = 100

// enough is how long look-ups of a kind go on.
const enough = 20 * time.Second

// Main writes the events that the command line asks for into an engine, opens it
// again and looks names up.
func Main(open func(dir string) (Engine, error)) {
	events := flag.Int("events", 1_000_000, "how many")
	times := flag.Int("lookups", 1000, "of each kind")
	dir := flag.String("dir", "", "an empty directory")
	flag.Parse()
	r, err := measure(open, *dir, *events, *times)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(r)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// group is how many events are committed at once: 200 ms of 100,000 a second.
const group = 20_000

// timed is an engine as a store, which measures commits.
type timed struct {
	store.Store // nothing of it is called
	engine      Engine
	result      *Result
}

// Pace lets the stage hand over whatever it got.
func (t *timed) Pace() time.Duration { return 0 }

func (t *timed) Write(ctx context.Context, a *store.Aggregate) error {
	begin := time.Now()
	err := t.engine.Write(ctx, a)
	t.result.WorstCommit = max(t.result.WorstCommit, time.Since(begin))
	t.result.Commits++
	return err
}

func measure(open func(dir string) (Engine, error), dir string, events, times int) (*Result, error) {
	e, err := open(dir)
	if err != nil {
		return nil, err
	}
	r := &Result{}
	w := newWorkload(events)
	cpu, begin := cpuTime(), time.Now()
	stage := store.NewStage(&timed{engine: e, result: r}, "sensor1")
	stage.Wait = true
	w.run(stage)
	if err := errors.Join(stage.Close(), e.Close()); err != nil {
		return nil, err
	}
	r.Took, r.CPU, r.RSS = time.Since(begin), cpuTime()-cpu, peakRSS()
	err = filepath.WalkDir(dir, func(_ string, f fs.DirEntry, err error) error {
		if err != nil || f.IsDir() {
			return err
		}
		info, err := f.Info()
		if err == nil {
			r.Octets += info.Size()
		}
		return err
	})
	if err != nil {
		return nil, err
	}

	if e, err = open(dir); err != nil {
		return nil, err
	}
	defer e.Close()
	if more, ok := e.(interface{ Beside() (int64, error) }); ok {
		if r.Beside, err = more.Beside(); err != nil {
			return nil, err
		}
	}
	for _, kind := range kinds {
		l, err := look(e, kind, w.names, times)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kind.name, err)
		}
		r.Lookups = append(r.Lookups, *l)
	}
	return r, nil
}

type kind struct {
	name  string
	query func(n uint32) store.Query
}

var kinds = []kind{
	{"name", func(n uint32) store.Query { return store.Query{Text: name(n)} }},
	{"*.name", func(n uint32) store.Query {
		return store.Query{Text: name(n)[strings.IndexByte(name(n), '.')+1:], Wild: store.Left}
	}},
	{"name.*", func(n uint32) store.Query { return store.Query{Text: fmt.Sprintf("h%d", n), Wild: store.Right} }},
	{"address", func(n uint32) store.Query {
		return store.Query{By: store.ByNet, Net: netip.PrefixFrom(address(n, 0), 32)}
	}},
}

func look(e Engine, k kind, names, times int) (*Lookups, error) {
	l := &Lookups{Kind: k.name}
	random := rand.New(rand.NewPCG(3, 4)) // the same ones for each engine
	var list []time.Duration
	var sum = fnv.New64a()
	begin := time.Now()
	for i := range times {
		if i >= Checked && time.Since(begin) > enough {
			break
		}
		q := k.query(uint32(random.IntN(names)))
		var answer []store.Tuple
		at := time.Now()
		_, err := e.Lookup(context.Background(), &q, func(t *store.Tuple) error {
			answer = append(answer, *t)
			return nil
		})
		if list = append(list, time.Since(at)); err != nil {
			return nil, err
		}
		if len(answer) == 0 {
			return nil, fmt.Errorf("nothing about %+v", q)
		}
		if i < Checked {
			slices.SortFunc(answer, func(a, b store.Tuple) int {
				return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.RData, b.RData))
			})
			fmt.Fprintf(sum, "%v\n", answer)
			l.Tuples += len(answer)
		}
	}
	slices.Sort(list)
	l.Times, l.Sum, l.P50, l.P99 = len(list), sum.Sum64(), list[len(list)/2], list[len(list)*99/100]
	return l, nil
}

// workload is that of internal/store/measure_test.go: names are asked for as often
// as their rank says (Zipf), each at least once; 60 hosts and 12 processes ask; a
// name has one to four records: 2.5 tuples for each.
type workload struct{ events, names int }

func newWorkload(events int) workload { return workload{events, max(events/50, 4) &^ 3} }

func (w workload) run(stage *store.Stage) {
	r := rand.New(rand.NewPCG(1, 2))
	random := rand.NewZipf(r, 1.05, 50, uint64(w.names-1))
	var b event.Batch
	messages := make([][]byte, min(w.names, 1<<16)) // those that come often
	askers := make([]event.Party, 12)
	for i := range askers {
		id := &event.Identity{TGID: uint32(100 + i)}
		exe := fmt.Sprintf("service%d", i)
		copy(id.Comm[:], exe)
		askers[i] = event.Party{ID: id, Process: &event.Process{Exe: "/usr/bin/" + exe}}
	}
	process := func() {
		for { // the one before is committed
			if _, _, waiting := stage.Stats(); waiting == 0 {
				break
			}
			time.Sleep(100 * time.Microsecond)
		}
		stage.Process(&b)
		b.Reset()
	}
	start := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC).UnixNano()
	for i := range w.events {
		n := uint32(random.Uint64())
		if i%50 == 0 {
			n = uint32(i/50) % uint32(w.names)
		}
		var raw []byte
		if int(n) < len(messages) {
			if messages[n] == nil {
				messages[n] = message(n)
			}
			raw = messages[n]
		} else {
			raw = message(n)
		}
		e := b.Next()
		e.Msg.Unpack(b.Hold(raw))
		e.Kinds, e.Txn.State = 1, event.StateAnswered
		e.Time = start + int64(float64(i)*float64(72*time.Hour)/float64(w.events))
		e.Meta.SrcIP, e.Meta.DstIP = netip.AddrFrom4([4]byte{192, 0, 2, 53}), netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(60))})
		e.Asker = askers[n%12]
		if len(b.Events) == group {
			process()
		}
	}
	process()
}

func name(n uint32) string { return fmt.Sprintf("h%d.d%d.example.test", n, n/64) }

func address(n, i uint32) netip.Addr {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], 100<<24+n*4+i)
	return netip.AddrFrom4(a)
}

// message is a response with the records of the n-th name.
func message(n uint32) []byte {
	count := 1 + n%4
	raw := []byte{0, 7, 0x81, 0x80, 0, 1, 0, byte(count), 0, 0, 0, 0}
	for label := range strings.SplitSeq(name(n), ".") {
		raw = append(append(raw, byte(len(label))), label...)
	}
	raw = append(raw, 0, 0, 1, 0, 1)
	for i := range count {
		raw = append(raw, 0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4)
		raw = append(raw, address(n, i).AsSlice()...)
	}
	return raw
}

// cpuTime is what the process took of processors.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		log.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func peakRSS() int64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		log.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmHWM:" {
			kib, _ := strconv.ParseInt(f[1], 10, 64)
			return kib << 10
		}
	}
	log.Fatal("no VmHWM")
	return 0
}
