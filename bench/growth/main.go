// Command growth measures how dnshark's time and memory grow: with the size of
// the capture, with the queries that wait at once, with the number of names, and
// what more processors give.
package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"

	"github.com/dnshark-io/dnshark/bench/internal/chart"
	"github.com/dnshark-io/dnshark/bench/internal/machine"
	"github.com/dnshark-io/dnshark/bench/internal/run"
	"github.com/dnshark-io/dnshark/bench/internal/synth"
)

type results struct {
	Machine machine.Machine `json:"machine"`
	StartUp run.Usage       `json:"start_up"`
	Axes    []*axis         `json:"axes"`
	Cores   []*cores        `json:"cores"`
}

// axis is what one property does.
type axis struct {
	Name string  `json:"name"`
	What string  `json:"what"`
	Runs []*size `json:"sizes"`
	// Exponents k of y = c x^k over all sizes: of CPU time without start-up, and
	// of memory.
	CPUExponent    float64 `json:"cpu_exponent"`
	MemoryExponent float64 `json:"memory_exponent"`
}

type size struct {
	X       int           `json:"x"`
	Capture synth.Capture `json:"capture"`
	Octets  int64         `json:"octets"`
	Runs    []run.Usage   `json:"runs"`
	Median  run.Usage     `json:"median"`
}

type cores struct {
	Procs  int         `json:"gomaxprocs"`
	Runs   []run.Usage `json:"runs"`
	Best   run.Usage   `json:"best"`   // other load slows down, nothing speeds up
	SHA256 string      `json:"sha256"` // of the output
}

func main() {
	var (
		out     = flag.String("out", "", "directory for the results")
		dnshark = flag.String("dnshark", "dnshark", "")
		largest = flag.Int("largest", 10_000_000, "responses of the largest capture (some 270 octets each on disk)")
		rounds  = flag.Int("rounds", 3, "runs of each size")
		lock    = flag.String("lock", "", "file to hold a lock on, for two minutes or so at a time")
	)
	flag.Parse()
	g := &growth{dnshark: *dnshark, rounds: *rounds}
	var err error
	if g.lock, err = run.NewLock(*lock); err == nil {
		err = g.all(*out, *largest)
		g.lock.Release()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "growth:", err)
		os.Exit(1)
	}
}

type growth struct {
	dnshark string
	rounds  int
	lock    *run.Lock
	dir     string
}

func (g *growth) all(out string, largest int) (err error) {
	if g.dir, err = os.MkdirTemp("", "dnsbench-"); err != nil {
		return err
	}
	defer os.RemoveAll(g.dir)
	r := &results{Machine: machine.Here(nil)}
	empty, err := g.measure(synth.Capture{Names: 1}, 0)
	if err != nil {
		return err
	}
	r.StartUp = empty.Median

	base := synth.Capture{Responses: min(largest, 1_000_000), Pending: 1000, Names: 50_000}
	sizes := &axis{Name: "responses in the capture", What: "1,000 queries wait at once, 50,000 names or half as many as responses"}
	for n := 10_000; n <= largest; n *= 10 {
		c := base
		c.Responses, c.Names = n, min(n/2, base.Names)
		if err := g.add(sizes, c, n); err != nil {
			return err
		}
	}
	flows := &axis{Name: "queries that wait at once", What: "each its own flow; twice as many responses as the most of them, 50,000 names"}
	for n := 1000; n <= base.Responses; n *= 10 {
		c := base
		c.Responses, c.Pending = 2*base.Responses, n
		if err := g.add(flows, c, n); err != nil {
			return err
		}
	}
	distinct := &axis{Name: "distinct names", What: "1,000 queries wait at once; twice as many responses as the most names"}
	for n := 100; n <= base.Responses; n *= 10 {
		c := base
		c.Responses, c.Names = 2*base.Responses, n
		if err := g.add(distinct, c, n); err != nil {
			return err
		}
	}
	r.Axes = []*axis{sizes, flows, distinct}
	for _, a := range r.Axes {
		var x, cpu, memory []float64
		for _, s := range a.Runs {
			x, cpu, memory = append(x, float64(s.X)), append(cpu, max(s.Median.CPU-r.StartUp.CPU, 1e-6)), append(memory, s.Median.RSS)
		}
		a.CPUExponent, a.MemoryExponent = chart.Exponent(x, cpu), chart.Exponent(x, memory)
	}
	if r.Cores, err = g.cores(base); err != nil {
		return err
	}
	if err := write(out, r); err != nil {
		return err
	}
	return r.bounds()
}

// Bounds of what is measured. Time may not grow faster than what is read; what
// is above 1 here is noise.
const (
	maxExponent = 1.1
	maxMemory   = 200 // MiB
)

func (r *results) bounds() error {
	for _, a := range r.Axes {
		if a.CPUExponent > maxExponent || a.MemoryExponent > maxExponent {
			return fmt.Errorf("by %s, CPU time grows with the power %.2f, memory with %.2f", a.Name, a.CPUExponent, a.MemoryExponent)
		}
		for _, s := range a.Runs {
			if s.Median.RSS > maxMemory {
				return fmt.Errorf("%d %s take %.0f MiB, more than %d", s.X, a.Name, s.Median.RSS, maxMemory)
			}
		}
	}
	return nil
}

func (g *growth) add(a *axis, c synth.Capture, x int) error {
	s, err := g.measure(c, x)
	if err != nil {
		return err
	}
	a.Runs = append(a.Runs, s)
	fmt.Fprintf(os.Stderr, "growth: %d %s: %.2f s CPU, %.2f s, %.0f MiB\n", x, a.Name, s.Median.CPU, s.Median.Wall, s.Median.RSS)
	return nil
}

var answered = regexp.MustCompile(`(\d+) answered`)

func (g *growth) measure(c synth.Capture, x int) (*size, error) {
	if err := g.lock.Pause(); err != nil {
		return nil, err
	}
	file := filepath.Join(g.dir, "growth.pcap")
	if err := c.Write(file); err != nil {
		return nil, err
	}
	defer os.Remove(file)
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	s := &size{X: x, Capture: c, Octets: info.Size()}
	// That every query met its answer, and the file is in the page cache.
	err = run.Output([]string{g.dnshark, "read", "-e", "net_packet_dns_response", "-o", "none", file}, nil, func(out io.Reader) error {
		text, err := io.ReadAll(out)
		if m := answered.FindSubmatch(text); c.Responses > 0 && (m == nil || string(m[1]) != strconv.Itoa(c.Responses)) {
			return fmt.Errorf("%d answers were to be paired:\n%s", c.Responses, text)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	for range g.rounds {
		u, err := run.Measure([]string{g.dnshark, "read", "-q", "-e", "net_packet_dns_response", "-o", "json", file})
		if err != nil {
			return nil, err
		}
		s.Runs = append(s.Runs, u)
	}
	s.Median = run.MedianUsage(s.Runs)
	return s, nil
}

func (g *growth) cores(c synth.Capture) (list []*cores, err error) {
	if err := g.lock.Pause(); err != nil {
		return nil, err
	}
	file := filepath.Join(g.dir, "growth.pcap")
	if err := c.Write(file); err != nil {
		return nil, err
	}
	argv := []string{g.dnshark, "read", "-q", "--host", "host", "-e", "net_packet_dns_response", "-o", "json", file}
	env := func(procs int) string { return "GOMAXPROCS=" + strconv.Itoa(procs) }
	for procs := 1; procs <= runtime.NumCPU(); procs *= 2 {
		k := &cores{Procs: procs}
		sum := sha256.New()
		err := run.Output(argv, []string{env(procs)}, func(out io.Reader) error {
			_, err := io.Copy(sum, out)
			return err
		})
		if err != nil {
			return nil, err
		}
		k.SHA256 = fmt.Sprintf("%x", sum.Sum(nil))
		if len(list) > 0 && k.SHA256 != list[0].SHA256 {
			return nil, fmt.Errorf("the output with %d processors is not that with 1", procs)
		}
		list = append(list, k)
	}
	for range 3 * g.rounds {
		for _, k := range list {
			u, err := run.Measure(argv, env(k.Procs))
			if err != nil {
				return nil, err
			}
			k.Runs = append(k.Runs, u)
		}
	}
	for _, k := range list {
		k.Best = slices.MinFunc(k.Runs, func(a, b run.Usage) int { return cmp.Compare(a.Wall, b.Wall) })
	}
	return list, nil
}

func write(dir string, r *results) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "growth.json"), append(text, '\n'), 0o644); err != nil {
		return err
	}
	var cpu, memory []chart.Series
	for _, a := range r.Axes {
		s := chart.Series{Name: a.Name}
		m := s
		for _, p := range a.Runs {
			s.X, s.Y = append(s.X, float64(p.X)), append(s.Y, perMillion(p, r))
			m.X, m.Y = append(m.X, float64(p.X)), append(m.Y, p.Median.RSS)
		}
		cpu, memory = append(cpu, s), append(memory, m)
	}
	if err := chart.Curves(filepath.Join(dir, "growth-cpu.svg"), "CPU time of dnshark read -o json", "how many", "seconds per million responses", cpu); err != nil {
		return err
	}
	if err := chart.Curves(filepath.Join(dir, "growth-memory.svg"), "Memory of dnshark read -o json", "how many", "MiB at the peak", memory); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "growth.md"), page(r), 0o644)
}

func perMillion(s *size, r *results) float64 {
	return max(s.Median.CPU-r.StartUp.CPU, 1e-6) / float64(s.Capture.Responses) * 1e6
}

func page(r *results) []byte {
	var b bytes.Buffer
	b.WriteString("# How time and memory grow\n\nWritten by `make bench-growth`; [README.md](README.md) says how it is measured.\n\n")
	fmt.Fprintf(&b, "%s\n`dnshark read -o json`, medians. Starting up takes %.0f ms of CPU, which is taken off where figures are per million.\n\n", r.Machine.Markdown(), r.StartUp.CPU*1000)
	b.WriteString("![CPU time](growth-cpu.svg)\n![Memory](growth-memory.svg)\n")
	for _, a := range r.Axes {
		fmt.Fprintf(&b, "\n## By %s\n\n%s.\n\n| %s | responses | file, MiB | CPU, s | CPU, s per million | time, s | peak memory, MiB |\n|--:|--:|--:|--:|--:|--:|--:|\n", a.Name, a.What, a.Name)
		for _, s := range a.Runs {
			fmt.Fprintf(&b, "| %d | %d | %.0f | %.2f | %.2f | %.2f | %.0f |\n", s.X, s.Capture.Responses, float64(s.Octets)/(1<<20), s.Median.CPU, perMillion(s, r), s.Median.Wall, s.Median.RSS)
		}
		fmt.Fprintf(&b, "\nExponent of the fit y = c x^k: CPU time %.2f, memory %.2f.\n", a.CPUExponent, a.MemoryExponent)
	}
	fmt.Fprintf(&b, "\n## By processors\n\nThe fastest of %d runs each. The output is the same octet for octet.\n\n| GOMAXPROCS | CPU, s | time, s | speed-up | output, SHA-256 |\n|--:|--:|--:|--:|---|\n", len(r.Cores[0].Runs))
	for _, c := range r.Cores {
		fmt.Fprintf(&b, "| %d | %.2f | %.2f | %.2f | `%s` |\n", c.Procs, c.Best.CPU, c.Best.Wall, r.Cores[0].Best.Wall/c.Best.Wall, c.SHA256[:16])
	}
	if err := r.bounds(); err != nil {
		fmt.Fprintf(&b, "\nOut of bounds: %v.\n", err)
	}
	b.WriteString("\nEvery single run: [growth.json](growth.json).\n")
	return b.Bytes()
}
