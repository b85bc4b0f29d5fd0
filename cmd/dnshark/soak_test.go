package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

// soakSample is what a process holds.
type soakSample struct {
	at          time.Duration
	rss, anon   int // KiB, and of that without the pages of files, which come and go as the page cache likes
	descriptors int
	threads     int
}

// TestSoak runs dnshark with history, spool and a variety of questions for as long as
// DNSHARK_SOAK says, of which the first fifth is for warming up: by then every name was asked
// for and what is kept of them, such as the history's pages, is full. From then on
// memory does not grow, nor do descriptors. At the end it counts goroutines.
func TestSoak(t *testing.T) {
	length, err := time.ParseDuration(os.Getenv("DNSHARK_SOAK"))
	if err != nil {
		return // make soak
	}
	testkit.NeedPrograms(t, "dnsperf")
	host := testkit.NewHost(t)
	host.Dnsmasq("127.0.0.1")
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	a := startAgentWith(t, nil, "--store", filepath.Join(dir, "store"), "-o", "json:"+filepath.Join(dir, "out.json")+",rotate=10MB,keep=2,spool=20MB,spool-dir="+filepath.Join(dir, "spool"))
	var samples []soakSample
	begin := time.Now()
	for n := 0; time.Since(begin) < length; n++ {
		names := filepath.Join(dir, "names")
		var b strings.Builder
		for i := range 2000 {
			fmt.Fprintf(&b, "s%d.example.test A\n", (n*2000+i)%100_000)
		}
		if err := os.WriteFile(names, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		host.Run("dnsperf", "-s", "127.0.0.1", "-d", names, "-l", "5", "-Q", "2000")
		a.mu.Lock()
		a.events = nil // millions
		a.mu.Unlock()
		samples = append(samples, sampleOf(t, a.Process.Pid, time.Since(begin)))
	}
	for i := 0; i < len(samples); i += max(1, len(samples)/10) {
		s := samples[i]
		t.Logf("after %v: RSS %d MiB, %d of them anonymous, %d descriptors, %d threads", s.at.Round(time.Second), s.rss>>10, s.anon>>10, s.descriptors, s.threads)
	}
	warm := samples[len(samples)/5:]
	var x, y, xx, xy float64
	low, high := warm[0].descriptors, warm[0].descriptors
	for _, s := range warm {
		at, anon := s.at.Hours(), float64(s.anon)/1024
		x, y, xx, xy = x+at, y+anon, xx+at*at, xy+at*anon
		low, high = min(low, s.descriptors), max(high, s.descriptors)
	}
	n := float64(len(warm))
	slope := (n*xy - x*y) / (n*xx - x*x)
	last := warm[len(warm)-1]
	if err := a.Process.Signal(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	a.Wait(t, 30*time.Second)
	goroutines := strings.Count(a.Output.String(), "\ngoroutine ")
	t.Logf("%v: RSS %d MiB, of which %d are anonymous, %+.1f MiB an hour; descriptors %d to %d; %d threads; %d goroutines", length, last.rss>>10, last.anon>>10, slope, low, high, last.threads, goroutines)
	if slope*length.Hours() > 16 {
		t.Errorf("memory grows by %.1f MiB an hour", slope)
	}
	if high-low > 8 {
		t.Errorf("descriptors: %d to %d", low, high)
	}
	if goroutines == 0 || goroutines > 64 {
		t.Errorf("%d goroutines", goroutines)
	}
}

func sampleOf(t *testing.T, pid int, at time.Duration) (s soakSample) {
	t.Helper()
	s.at = at
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		f := strings.Fields(line)
		switch f[0] {
		case "VmRSS:":
			s.rss, _ = strconv.Atoi(f[1])
		case "RssAnon:":
			s.anon, _ = strconv.Atoi(f[1])
		case "Threads:":
			s.threads, _ = strconv.Atoi(f[1])
		}
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	s.descriptors = len(fds)
	return s
}
