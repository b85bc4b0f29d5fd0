// Command gen makes the captures that programs are compared with: a real server
// (Knot DNS) and a real client (dnsperf), each in a network namespace, tcpdump
// between them. It needs root, iproute2, knot, dnsperf and tcpdump.
//
// Beside the captures it writes truth.json: how many responses each holds, as
// dnsperf counted them. A capture is made again, at half the rate, until no query
// was lost and no packet was dropped.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dnshark-io/dnshark/bench/internal/truth"
)

func main() {
	n := flag.Int("n", 1_000_000, "responses over UDP; a fifth of it over TCP")
	dir := flag.String("out", "", "directory for the captures")
	seed := flag.Uint64("seed", 1, "of zones and questions")
	rate := flag.Int("rate", 60_000, "queries per second")
	flag.Parse()
	if *dir == "" || *n < 1000 {
		fmt.Fprintln(os.Stderr, "gen: -out is needed, and -n is at least 1000")
		os.Exit(2)
	}
	if err := generate(*dir, *n, *seed, *rate); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func generate(dir string, n int, seed uint64, rate int) (err error) {
	work, err := os.MkdirTemp("", "dnsbench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	w := newWorld(seed)
	if err := w.writeZones(work); err != nil {
		return err
	}
	net, err := newNet(work)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, net.close()) }()
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		net.close()
		os.RemoveAll(work)
		os.Exit(1)
	}()
	if err := net.serve(); err != nil {
		return err
	}
	t := truth.Truth{Seed: seed, Names: names, Versions: versions()}
	// The small captures are for programs that would need minutes for a large one.
	for _, c := range []struct {
		name string
		n    int
		tcp  bool
	}{{"udp", n, false}, {"tcp", n / 5, true}, {"udp-small", n / 10, false}, {"tcp-small", n / 50, true}} {
		capture, err := record(net, w, filepath.Join(dir, c.name+".pcap"), c.n, seed, rate, c.tcp)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		capture.Name = c.name
		t.Captures = append(t.Captures, *capture)
		if !c.tcp {
			continue
		}
		// The same octets, cut elsewhere.
		name := strings.Replace(c.name, "tcp", "tcp-split", 1)
		segments, err := split(filepath.Join(dir, name+".pcap"), filepath.Join(dir, c.name+".pcap"), seed)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		t.Captures = append(t.Captures, truth.Capture{Name: name, Responses: capture.Responses})
		fmt.Fprintf(os.Stderr, "gen: %s: %d responses in %d segments\n", name, capture.Responses, segments)
	}
	text, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, truth.File), append(text, '\n'), 0o644)
}

// phases are the clients: old ones, usual ones, and those that validate.
var phases = []phase{
	{25, []string{"-s", server4}},
	{35, []string{"-s", server4, "-e"}},
	{10, []string{"-s", server6, "-e"}},
	{30, []string{"-s", server4, "-D"}},
}

func record(net *net, w *world, file string, n int, seed uint64, rate int, tcp bool) (*truth.Capture, error) {
	for range 5 {
		start := time.Now()
		stop, err := net.capture(file)
		if err != nil {
			return nil, err
		}
		total, missing := 0, 0
		var failed error
		for i, p := range phases {
			list := filepath.Join(net.dir, "questions")
			if failed = w.writeQueries(list, n*p.share/100, seed+uint64(i)); failed != nil {
				break
			}
			// More outstanding queries overflow the buffer of the server's socket.
			p.args = append([]string{"-Q", strconv.Itoa(rate), "-c", "100", "-q", "100", "-t", "2"}, p.args...)
			if tcp { // some 20 queries are under way on each connection
				p.args = append(p.args, "-m", "tcp", "-c", "20", "-q", "400")
			}
			var r result
			if r, failed = net.ask(p, list); failed != nil {
				break
			}
			total += r.completed
			missing += r.lost
		}
		dropped, err := stop()
		if err := errors.Join(failed, err); err != nil {
			return nil, err
		}
		fmt.Fprintf(os.Stderr, "gen: %s: %d responses, %d lost, %d packets dropped, %.1f s\n",
			filepath.Base(file), total, missing, dropped, time.Since(start).Seconds())
		if missing == 0 && dropped == 0 {
			return &truth.Capture{Responses: total}, nil
		}
		rate /= 2
	}
	return nil, errors.New("queries are lost or packets dropped at every rate")
}

func versions() map[string]string {
	v := map[string]string{}
	for name, arg := range map[string]string{"knotd": "--version", "dnsperf": "-h", "tcpdump": "--version"} {
		out, _ := exec.Command(name, arg).CombinedOutput()
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "ersion") {
				v[name] = strings.TrimSpace(line)
				break
			}
		}
	}
	return v
}
