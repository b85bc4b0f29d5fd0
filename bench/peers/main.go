// Command peers compares whole processes that read the same capture: what each
// takes of processor, time and memory, and which share of the responses it shows.
// All programs run in turn, several rounds, so that whatever else the machine
// does meets all of them alike.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/dnshark-io/dnshark/bench/internal/chart"
	"github.com/dnshark-io/dnshark/bench/internal/machine"
	"github.com/dnshark-io/dnshark/bench/internal/run"
	"github.com/dnshark-io/dnshark/bench/internal/truth"
)

// results is what is written beside the page.
type results struct {
	Machine  machine.Machine `json:"machine"`
	Truth    *truth.Truth    `json:"truth"`
	Captures []*capture      `json:"captures"`
}

type capture struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	Rows  []*row `json:"rows"`
}

// row is a program and a capture.
type row struct {
	Program   string      `json:"program"`
	Note      string      `json:"note"`
	Command   string      `json:"command"`
	Capture   string      `json:"capture"`
	Responses int         `json:"responses"` // in the capture
	Shown     int         `json:"shown"`     // by the program
	Octets    int64       `json:"octets"`    // that it writes
	StartUp   float64     `json:"start_up_s"`
	Runs      []run.Usage `json:"runs"`
	// Of the medians:
	CPU   float64 `json:"cpu_s_per_million"`
	Wall  float64 `json:"wall_s_per_million"`
	RSS   float64 `json:"rss_mib"`
	Ratio float64 `json:"ratio"` // of CPU, to the first program's

	program program
	argv    []string
}

func main() {
	var (
		dir       = flag.String("captures", "", "directory that gen wrote")
		out       = flag.String("out", "", "directory for the results")
		dnshark   = flag.String("dnshark", "dnshark", "")
		floor     = flag.String("floor", "floor", "")
		reference = flag.String("reference", "reference", "")
		rounds    = flag.Int("rounds", 5, "runs of each program")
		slow      = flag.Int("slow-rounds", 2, "runs of tshark, which takes minutes")
		lock      = flag.String("lock", "", "file to hold a lock on, for two minutes or so at a time")
	)
	flag.Parse()
	if err := compare(*dir, *out, programs(*dnshark, *floor, *reference), *rounds, *slow, *lock); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func compare(dir, out string, list []program, rounds, slow int, lock string) error {
	t, err := truth.Read(dir)
	if err != nil {
		return err
	}
	empty, err := emptyCapture()
	if err != nil {
		return err
	}
	defer os.Remove(empty)
	r := &results{Truth: t, Machine: machine.Here(map[string][]string{
		"tcpdump": {"tcpdump", "--version"}, "tshark": {"tshark", "--version"}, "dnscap": {"dnscap", "-V"},
	}), Captures: []*capture{
		{Name: "udp", Title: "UDP"},
		{Name: "tcp", Title: "TCP, pipelined"},
		{Name: "tcp-split", Title: "TCP, segments cut anywhere"},
	}}
	held, err := run.NewLock(lock)
	if err != nil {
		return err
	}
	defer held.Release()
	for _, c := range r.Captures {
		for _, p := range list {
			row, err := prepare(dir, empty, c.Name, t, p)
			if errors.Is(err, exec.ErrNotFound) {
				fmt.Fprintf(os.Stderr, "peers: %s is left out: %v\n", p.name, err)
				continue
			} else if err != nil {
				return err
			}
			c.Rows = append(c.Rows, row)
			fmt.Fprintf(os.Stderr, "peers: %s, %s: shows %d of %d\n", row.Capture, p.name, row.Shown, row.Responses)
			if err := held.Pause(); err != nil {
				return err
			}
		}
	}
	for i := range rounds {
		for _, c := range r.Captures {
			if err := held.Pause(); err != nil {
				return err
			}
			for _, row := range c.Rows {
				if row.program.slow && i >= slow {
					continue
				}
				u, err := run.Measure(row.argv)
				if err != nil {
					return err
				}
				row.Runs = append(row.Runs, u)
			}
			fmt.Fprintf(os.Stderr, "peers: round %d, %s\n", i+1, c.Name)
		}
	}
	for _, c := range r.Captures {
		for _, row := range c.Rows {
			m, millions := run.MedianUsage(row.Runs), float64(row.Responses)/1e6
			if row.program.slow { // a tenth of the work would show the start tenfold
				m.CPU -= row.StartUp
				m.Wall = max(m.Wall-row.StartUp, 0)
			}
			row.CPU, row.Wall, row.RSS = m.CPU/millions, m.Wall/millions, m.RSS
			row.Ratio = row.CPU / c.Rows[0].CPU
		}
	}
	return write(out, r)
}

func command(p program, file string) []string {
	argv := append([]string(nil), p.argv...)
	for i := range argv {
		argv[i] = strings.ReplaceAll(argv[i], "%f", file)
	}
	return argv
}

// prepare counts what a program shows, which also brings the capture into the
// page cache.
func prepare(dir, empty, name string, t *truth.Truth, p program) (*row, error) {
	if _, err := exec.LookPath(p.argv[0]); err != nil {
		return nil, err
	}
	if p.slow {
		name += "-small"
	}
	c := t.Find(name)
	if c == nil {
		return nil, fmt.Errorf("%s has no capture %s", truth.File, name)
	}
	file := filepath.Join(dir, name+".pcap")
	r := &row{Program: p.name, Note: p.note, Capture: name, Responses: c.Responses, program: p, argv: command(p, file)}
	r.Command = strings.ReplaceAll(strings.Join(r.argv, " "), file, name+".pcap")
	r.Command = strings.ReplaceAll(r.Command, p.argv[0], filepath.Base(p.argv[0]))
	err := run.Output(r.argv, nil, func(out io.Reader) (err error) {
		counted := &counter{r: out}
		r.Shown, err = run.CountLines(counted, p.count)
		r.Octets = counted.octets
		return err
	})
	if err != nil {
		return nil, err
	}
	if p.ours && r.Shown == 0 {
		return nil, fmt.Errorf("%s: its output is not what this program reads", p.name)
	}
	var starts []run.Usage
	for range 3 {
		u, err := run.Measure(command(p, empty))
		if err != nil {
			return nil, err
		}
		starts = append(starts, u)
	}
	r.StartUp = run.MedianUsage(starts).CPU
	return r, nil
}

// counter counts what is read through it.
type counter struct {
	r      io.Reader
	octets int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.octets += int64(n)
	return n, err
}

// emptyCapture makes a capture without packets.
func emptyCapture() (string, error) {
	f, err := os.CreateTemp("", "empty-*.pcap")
	if err != nil {
		return "", err
	}
	defer f.Close()
	_, err = f.Write([]byte("\xd4\xc3\xb2\xa1\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x00\x00\x01\x00\x00\x00"))
	return f.Name(), err
}

func write(dir string, r *results) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "results.json"), append(text, '\n'), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "results.md"), page(r), 0o644); err != nil {
		return err
	}
	var bars []chart.Bar
	for _, row := range r.Captures[0].Rows {
		bars = append(bars, chart.Bar{Label: row.Program, Value: row.CPU, Ours: row.program.ours})
	}
	if err := chart.Bars(filepath.Join(dir, "peers.svg"), "CPU seconds per million DNS responses over UDP (less is better)", bars); err != nil {
		return err
	}
	return history(filepath.Join(dir, "history.tsv"), r)
}

func page(r *results) []byte {
	var b bytes.Buffer
	b.WriteString("# Reading captures: dnshark and other programs\n\nWritten by `make bench-peers`; [README.md](README.md) says how it is measured.\n\n")
	fmt.Fprintf(&b, "%s\nAbsolute times are this machine's; the ratios are what carries over.\n\n![CPU seconds per million responses](peers.svg)\n", r.Machine.Markdown())
	for _, c := range r.Captures {
		fmt.Fprintf(&b, "\n## %s: %d responses\n\n", c.Title, r.Truth.Find(c.Name).Responses)
		b.WriteString("| program | CPU, s per million | ratio | time, s per million | peak memory, MiB | output, octets per response | responses shown |\n|---|--:|--:|--:|--:|--:|--:|\n")
		for _, row := range c.Rows {
			mark := ""
			if row.program.slow {
				mark = " ¹"
			}
			fmt.Fprintf(&b, "| %s%s | %.2f | %.2f | %.2f | %.0f | %.0f | %s |\n", row.Program, mark, row.CPU, row.Ratio, row.Wall, row.RSS,
				float64(row.Octets)/float64(row.Responses), share(row))
		}
	}
	fmt.Fprintf(&b, "\n¹ Run on a capture of a tenth, made the same way (%d responses over UDP), %d times instead of %d; its start-up, measured on an empty capture, is "+
		"taken off before the figures are scaled to a million.\n",
		r.Truth.Find("udp-small").Responses, slowRuns(r), len(r.Captures[0].Rows[0].Runs))
	b.WriteString("\n## What each program does\n\nA program that shows less does less work: compare ratios with this in mind.\n\n| program | shows | command |\n|---|---|---|\n")
	for _, row := range r.Captures[0].Rows {
		fmt.Fprintf(&b, "| %s | %s | `%s` |\n", row.Program, row.Note, row.Command)
	}
	b.WriteString("\nVersions: ")
	for _, name := range []string{"tcpdump", "dnscap", "tshark"} {
		fmt.Fprintf(&b, "%s; ", strings.TrimSuffix(r.Machine.Programs[name], "."))
	}
	fmt.Fprintf(&b, "captures made with %s, dnsperf %s, seed %d.\nEvery single run: [results.json](results.json).\n",
		r.Truth.Versions["knotd"], strings.TrimPrefix(r.Truth.Versions["dnsperf"], "Version "), r.Truth.Seed)
	return b.Bytes()
}

// share never rounds to 100 % what is less.
func share(r *row) string {
	if r.Shown == r.Responses {
		return "100 %"
	}
	return fmt.Sprintf("%.2f %%", min(float64(r.Shown)/float64(r.Responses)*100, 99.99))
}

func slowRuns(r *results) int {
	for _, row := range r.Captures[0].Rows {
		if row.program.slow {
			return len(row.Runs)
		}
	}
	return 0
}

// history appends a line: how dnshark's figures change with its commits. The
// ratio to the floor is what may be compared between machines.
func history(file string, r *results) error {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() == 0 {
		fmt.Fprintln(f, "date\tcommit\tgo\tcpu\tresponses\tjson_udp\tnone_udp\tjson_tcp\tjson_tcp_split\tfloor_udp\trss_mib")
	}
	figure := func(capture int, program string) float64 {
		for _, row := range r.Captures[capture].Rows {
			if row.Program == program {
				return row.CPU
			}
		}
		return 0
	}
	m := r.Machine
	_, err = fmt.Fprintf(f, "%s\t%s\t%s\t%s\t%d\t%.3f\t%.3f\t%.3f\t%.3f\t%.3f\t%.0f\n", m.Date, m.Commit, m.Go, m.CPU, r.Captures[0].Rows[0].Responses,
		figure(0, "dnshark -o json"), figure(0, "dnshark -o none"), figure(1, "dnshark -o json"), figure(2, "dnshark -o json"), figure(0, "floor"), r.Captures[0].Rows[0].RSS)
	return err
}
