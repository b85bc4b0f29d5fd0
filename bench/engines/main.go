// Engines measures what a history of tuples costs in the stores that could hold it: how
// fast it is written, how large it is, how fast it answers.
//
//	go run . -events 2000000 -out ../../docs/bench/engines.md
//
// Each engine runs in a process of its own. All get the same groups of rows, each tuple
// once in a group as dnshark's aggregates have them, and all must give the same answers.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// engine is a store of tuples. Times of a look-up's answer do not matter.
type engine interface {
	// write adds a group; it survives the end of the program, not of the machine.
	write(group []row) error
	// finish is called once after the last group.
	finish() error
	// Look-ups return how many tuples there are and how often they were seen.
	name(name string) (found, error)
	below(name string) (found, error)  // *.name
	begins(text string) (found, error) // text.*
	address(text string) (found, error)
	close() error
}

type found struct{ Tuples, Count int64 }

// row is a tuple and who asked.
type row struct {
	name, rdata, bailiwick, sensor, asker string
	typ                                   uint16
	first, last, count                    int64
}

// key is what makes a row another one.
func (r *row) key() string {
	return strings.Join([]string{r.name, strconv.Itoa(int(r.typ)), r.rdata, r.bailiwick, r.sensor, r.asker}, "\x00")
}

var engines = []struct {
	name, how string
	open      func(dir string) (engine, error)
}{
	{"dnshark", "SQLite, the tuples of a name packed in a row; beside them names and counts per hour and day, which the others do not have", openDnshark},
	{"sqlite", "SQLite (modernc), a row for each tuple, three indices", openSQLite},
	{"duckdb", "DuckDB (cgo), an upsert of each group out of a staging table", openDuckDB},
	{"pebble", "Pebble, a merge for each tuple, keys for each kind of look-up", openPebble},
	{"parquet", "Parquet (zstd), a sorted file for each quarter of a million rows, statistics and Bloom filters", openParquet},
}

const groupEvents = 20_000 // 200 ms at 100,000 events/s

type result struct {
	Engine          string
	EventsPerSecond float64
	CPU             time.Duration // per event
	Worst           time.Duration // of a group
	Octets          int64
	Tuples          int64
	RSS             int64 // KiB
	Looked          map[string][2]time.Duration
	Answers         map[string]found
}

func main() {
	log.SetFlags(0)
	events := flag.Int("events", 1_000_000, "how many events")
	only := flag.String("engine", "", "measure this one here, and print the result as JSON")
	out := flag.String("out", "", "write the table to this file")
	flag.Parse()
	if *only != "" {
		for _, e := range engines {
			if e.name == *only {
				r, err := measure(e.name, e.open, *events)
				if err == nil {
					err = json.NewEncoder(os.Stdout).Encode(r)
				}
				if err != nil {
					log.Fatal(e.name, ": ", err)
				}
				return
			}
		}
		log.Fatalf("no engine %q", *only)
	}
	var results []result
	for _, e := range engines {
		cmd := exec.Command(os.Args[0], "-engine", e.name, "-events", strconv.Itoa(*events))
		cmd.Stderr = os.Stderr
		text, err := cmd.Output()
		var r result
		if err == nil {
			err = json.Unmarshal(text, &r)
		}
		if err != nil {
			log.Fatal(e.name, ": ", err)
		}
		log.Printf("%s: %.0f events/s", e.name, r.EventsPerSecond)
		results = append(results, r)
	}
	for _, r := range results[1:] {
		for what, answer := range results[0].Answers {
			if r.Answers[what] != answer {
				log.Fatalf("%s: %s says %+v, %s %+v", what, r.Engine, r.Answers[what], results[0].Engine, answer)
			}
		}
	}
	text := table(*events, results)
	if *out == "" {
		fmt.Print(text)
	} else if err := os.WriteFile(*out, []byte(text), 0o666); err != nil {
		log.Fatal(err)
	}
}

func measure(name string, open func(string) (engine, error), events int) (*result, error) {
	dir, err := os.MkdirTemp("", "engines")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	e, err := open(dir)
	if err != nil {
		return nil, err
	}
	r := &result{Engine: name, Looked: map[string][2]time.Duration{}, Answers: map[string]found{}}
	var making, makingCPU time.Duration
	w := newWorkload(events)
	begin, cpu := time.Now(), used()
	for {
		at, c := time.Now(), used()
		group := w.group()
		making, makingCPU = making+time.Since(at), makingCPU+used()-c
		if len(group) == 0 {
			break
		}
		at = time.Now()
		if err := e.write(group); err != nil {
			return nil, err
		}
		r.Worst = max(r.Worst, time.Since(at))
	}
	if err := e.finish(); err != nil {
		return nil, err
	}
	took := time.Since(begin) - making
	r.EventsPerSecond, r.CPU = float64(events)/took.Seconds(), (used()-cpu-makingCPU)/time.Duration(events)
	r.RSS = peak()
	if r.Octets, err = octets(dir); err != nil {
		return nil, err
	}
	r.Tuples = int64(w.tuples())
	random := rand.New(rand.NewPCG(3, 4))
	look := func(what string, times int, ask func(n uint32) (found, error)) error {
		list := make([]time.Duration, times)
		var sum found
		for i := range list {
			n := uint32(random.IntN(w.names))
			at := time.Now()
			f, err := ask(n)
			if err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			list[i] = time.Since(at)
			sum.Tuples, sum.Count = sum.Tuples+f.Tuples, sum.Count+f.Count
		}
		slices.Sort(list)
		r.Looked[what], r.Answers[what] = [2]time.Duration{list[times/2], list[times*99/100]}, sum
		return nil
	}
	const times = 500
	for _, err := range []error{
		look("name", times, func(n uint32) (found, error) { return e.name(nameOf(n)) }),
		look("*.name", times, func(n uint32) (found, error) { return e.below(fmt.Sprintf("d%d.example.test", n/64)) }),
		look("name.*", times, func(n uint32) (found, error) { return e.begins(fmt.Sprintf("h%d", n)) }),
		look("address", times, func(n uint32) (found, error) { return e.address(addressOf(n, 0)) }),
	} {
		if err != nil {
			return nil, err
		}
	}
	return r, e.close()
}

// workload is what 60 hosts and 12 processes ask: names as often as their rank says (Zipf),
// each of them at least once, with one to four addresses.
type workload struct {
	events, at, names int
	random            *rand.Zipf
	seen              map[string]*row
}

func newWorkload(events int) *workload {
	names := max(events/50, 4) &^ 3
	return &workload{events: events, names: names, random: rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.05, 50, uint64(names-1))}
}

func (w *workload) tuples() int { return w.names / 4 * (1 + 2 + 3 + 4) }

func nameOf(n uint32) string { return fmt.Sprintf("h%d.d%d.example.test", n, n/64) }

func addressOf(n, i uint32) string {
	n = n*4 + i
	return fmt.Sprintf("%d.%d.%d.%d", 100+n>>24, byte(n>>16), byte(n>>8), byte(n))
}

const begin = 1772366400e9 // ns since the Unix epoch

// next is the name and the time of the next event.
func (w *workload) next() (n uint32, at int64) {
	n = uint32(w.random.Uint64())
	if w.at%50 == 0 {
		n = uint32(w.at/50) % uint32(w.names)
	}
	at = begin + int64(w.at)*(72*3600e9/int64(w.events))
	w.at++
	return n, at
}

// group is what the next events say, each row once; none when all events were made.
func (w *workload) group() []row {
	type part struct{ n, i uint32 }
	rows := map[part]*row{}
	for end := min(w.at+groupEvents, w.events); w.at < end; {
		n, at := w.next()
		for i := range 1 + n%4 {
			r := rows[part{n, i}]
			if r == nil {
				r = &row{name: nameOf(n), typ: 1, rdata: addressOf(n, i), sensor: "sensor1", asker: fmt.Sprintf("/usr/bin/service%d", n%12), first: at}
				rows[part{n, i}] = r
			}
			r.last, r.count = at, r.count+1
		}
	}
	list := make([]row, 0, len(rows))
	for _, r := range rows {
		list = append(list, *r)
	}
	slices.SortFunc(list, func(a, b row) int {
		if c := strings.Compare(a.name, b.name); c != 0 {
			return c
		}
		return strings.Compare(a.rdata, b.rdata)
	})
	return list
}

// reversed is a name with its labels from the last to the first, a dot after each.
func reversed(name string) string {
	list := strings.Split(name, ".")
	slices.Reverse(list)
	return strings.Join(list, ".") + "."
}

// after is the first text behind all that begin with prefix.
func after(prefix string) string { return prefix[:len(prefix)-1] + string(prefix[len(prefix)-1]+1) }

func octets(dir string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil && !strings.HasSuffix(path, "-wal") && !strings.HasSuffix(path, "-shm") {
			n += info.Size()
		}
		return err
	})
	return n, err
}

// used is what the process took of processors.
func used() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		log.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// peak is the most memory, in KiB.
func peak() int64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		log.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmHWM:" {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n
		}
	}
	return 0
}

func table(events int, results []result) string {
	var out strings.Builder
	info, _ := debug.ReadBuildInfo()
	var versions []string
	for _, d := range info.Deps {
		for _, m := range []string{"modernc.org/sqlite", "github.com/duckdb/duckdb-go/v2", "github.com/cockroachdb/pebble/v2", "github.com/parquet-go/parquet-go"} {
			if d.Path == m {
				versions = append(versions, d.Path+" "+d.Version)
			}
		}
	}
	fmt.Fprintf(&out, "# Engines for the history\n\nWritten by `make bench-engines ENGINE_EVENTS=%d`: %s, %s, %d processors.\n%s.\n\n", events, time.Now().UTC().Format(time.DateOnly), runtime.Version(), runtime.NumCPU(), strings.Join(versions, ", "))
	fmt.Fprintf(&out, "%d events of %d names; %d tuples, each with who asked. Rows come in groups of %d events, each\ntuple once in a group; making them is not counted. A group is written when a killed program does not lose it.\n\n",
		events, newWorkload(events).names, results[0].Tuples, groupEvents)
	fmt.Fprintf(&out, "| | events/s | CPU per event | slowest group | octets per tuple | most memory | name, p50 / p99 | *.name | name.* | address |\n|---|---|---|---|---|---|---|---|---|---|\n")
	for i, r := range results {
		looked := func(what string) string {
			l := r.Looked[what]
			return fmt.Sprintf("%.2f / %.2f ms", l[0].Seconds()*1e3, l[1].Seconds()*1e3)
		}
		fmt.Fprintf(&out, "| %s | %.0f | %.1f µs | %d ms | %d | %d MiB | %s | %s | %s | %s |\n", engines[i].name, r.EventsPerSecond, r.CPU.Seconds()*1e6, r.Worst.Milliseconds(),
			r.Octets/r.Tuples, r.RSS>>10, looked("name"), looked("*.name"), looked("name.*"), looked("address"))
	}
	fmt.Fprintln(&out)
	for _, e := range engines {
		fmt.Fprintf(&out, "- %s: %s.\n", e.name, e.how)
	}
	return out.String()
}
