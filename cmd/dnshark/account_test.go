package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

var (
	open   = regexp.MustCompile(`[^;]*; -?[1-9]\d* unaccounted`)
	closed = regexp.MustCompile(`; 0 unaccounted`)
)

// Whatever a capture holds and whatever is asked for: everything that comes in
// is accounted for.
func TestAccountsOfCaptures(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	ways := [][]string{
		{},
		{"-e", "network_events", "--ports", "any"},
		{"-e", "net_packet_dns_request", "--count", "3"},
		{"-o", "none", "--server", "0.0.0.0/1,2000::/3", "--stream-memory", "1", "--fragment-memory", "1"},
		{"--responses-only"},
	}
	var files []string
	for _, dir := range []string{"pcaps", "hostile", "threats"} {
		filepath.WalkDir(testkit.Corpus(t, dir), func(path string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() && strings.Contains(filepath.Base(path), ".pcap") {
				files = append(files, path)
			}
			return nil
		})
	}
	summaries := 0
	for i, path := range files {
		args := ways[i%len(ways)]
		if i%20 == 0 { // some of them in every way
			args = nil
		}
		for _, way := range ways {
			if args != nil && fmt.Sprint(way) != fmt.Sprint(args) {
				continue
			}
			summary := summaryOf(t, null, append(append([]string{"read", path}, way...), "-w", os.DevNull))
			if open.MatchString(summary) {
				t.Errorf("%s %v:\n%s", path, way, summary)
			}
			if n, want := len(closed.FindAllString(summary, -1)), accountsIn(summary); n == want {
				summaries++
			} else if n != 0 {
				t.Errorf("%s %v: %d accounts, want %d:\n%s", path, way, n, want, summary)
			}
		}
	}
	t.Logf("%d captures, %d summaries", len(files), summaries)
	if summaries < len(files)/2 { // some are no captures, or cut before the first packet
		t.Errorf("only %d summaries of %d captures", summaries, len(files))
	}
}

// accountsIn returns how many accounts a summary has: one more where alerts are looked for.
func accountsIn(summary string) int {
	if strings.Contains(summary, "dnshark: alerts: ") {
		return 7
	}
	return 6
}

// summaryOf runs a command and returns what it says on standard error.
func summaryOf(t *testing.T, null *os.File, args []string) string {
	t.Helper()
	file, err := os.CreateTemp(t.TempDir(), "stderr")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	mainExit(args, null, null, file)
	text, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes.TrimSpace(text))
}

// names writes a file of queries for dnsperf.
func names(t *testing.T, n int) string {
	t.Helper()
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "n%d.example.test A\n", i)
	}
	file := filepath.Join(t.TempDir(), "names")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// When the reader stands still and the ring is full, what is lost is counted
// exactly. Numbers that are asked for meanwhile add up as well.
func TestLiveOverload(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.NeedPrograms(t, "dnsperf", "unbound")
	host := testkit.NewHost(t)
	host.Unbound("127.0.0.1")
	file := names(t, 3000)
	burst := func(runs string) {
		host.Run("dnsperf", "-s", "127.0.0.1", "-d", file, "-n", runs, "-c", "4", "-q", "100")
	}

	t.Run("full ring", func(t *testing.T) {
		a := startAgent(t, "--ring-memory", "1")
		a.Process.Signal(syscall.SIGSTOP)
		burst("1")
		a.Process.Signal(syscall.SIGCONT)
		testkit.Eventually(t, 20*time.Second, "the end of the loss", func() bool { return len(a.losses("loss_end")) > 0 })
		a.Stop(t)
		a.closes()
		begun, ended := a.losses("loss_start"), a.losses("loss_end")
		lost := numberBefore(a.Output.String(), " ring_full")
		if len(begun) != 1 || len(ended) != 1 || ended[0].Loss.Where != "source" || ended[0].Loss.Unfinished || ended[0].Loss.Count != lost || ended[0].Loss.ByReason["ring_full"] != lost {
			t.Errorf("%d lost, told as %+v and %+v", lost, begun, ended)
		}
		if !regexp.MustCompile(`packets: 1[0-9]{4} seen: \d+ submitted, \d+ ring_full; 0 unaccounted`).MatchString(a.Output.String()) {
			t.Errorf("nothing was lost:\n%s", a.Output)
		}
		t.Log(a.Output)
	})
	t.Run("while it runs", func(t *testing.T) {
		a := startAgent(t, "--stats", "50ms")
		burst("10")
		a.Stop(t)
		text := a.Output.String()
		n := len(closed.FindAllString(text, -1))
		if n < 60 || open.MatchString(text) {
			t.Errorf("%d accounts close, and not: %q", n, open.FindAllString(text, -1))
		}
	})
	t.Run("enough events", func(t *testing.T) {
		a := startAgent(t, "--count", "500")
		burst("2")
		if err := a.Wait(t, 10*time.Second); err != nil {
			t.Error(err)
		}
		a.closes()
		if !strings.Contains(a.Output.String(), "shown: 500 net_packet_dns_response") {
			t.Errorf("%s", a.Output)
		}
	})
	t.Run("interface", func(t *testing.T) {
		for _, args := range [][]string{nil, {"--count", "500"}} {
			cmd := host.Command(testkit.Dnshark(t), append([]string{"-i", "lo", "-o", "none"}, args...)...)
			a := &agent{t: t, Daemon: testkit.Start(t, cmd)}
			a.waitUntilWatching()
			burst("1")
			if args == nil {
				a.Stop(t)
			} else if err := a.Wait(t, 10*time.Second); err != nil {
				t.Error(err)
			}
			a.closes()
		}
	})
}

// losses are the events of a kind that tell of losses.
func (a *agent) losses(name string) (list []seen) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.events {
		if e.Event == name {
			list = append(list, e)
		}
	}
	return list
}
