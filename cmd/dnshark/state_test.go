package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/internal/detect"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

// What a client asked for before a restart is nothing new after it: no alert comes again. A
// capture file neither adds to what is known nor uses it.
func TestLiveStateSurvives(t *testing.T) {
	testkit.NeedRoot(t)
	host := testkit.NewHost(t)
	host.Dnsmasq("127.0.0.1") // no name below test exists
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	for d := dir; d != os.TempDir(); d = filepath.Dir(d) { // dnshark runs as another user
		if err := os.Chmod(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	for _, name := range strings.Fields("xkqzvwjhtrpmbd qpzxnvkwtjhdrb zzkvqxwpjmnthd wvkxqzjpbtrhmd jqxzkvwptnmhrd kzxqvjwbptmhnd vqzxkwjtpdmhrb " +
		"xqkzwvjnptmhdr zqkxvwjptbmnhd wxzqkvjhptmrdb qkxzvjwmpthdnb zxvkqwjdptmhrn") {
		names = append(names, name+".test")
	}
	run := func(args ...string) (alerts int, said string) {
		a := startAgent(t, args...)
		for _, name := range names {
			host.Run("dig", "@127.0.0.1", "+tries=1", name)
		}
		host.Run("dig", "@127.0.0.1", "last.example.test")
		testkit.Eventually(t, 20*time.Second, "the last answer", func() bool { return len(a.named("last.example.test")) > 0 })
		if err := a.Stop(t); err != nil {
			t.Fatalf("%v: %s", err, a.Output)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, e := range a.events {
			if e.Event == "dns_dga" {
				alerts++
			}
		}
		return alerts, a.Output.String()
	}
	if n, said := run("--state", dir); n == 0 {
		t.Fatalf("no alert: %s", said)
	}
	file := filepath.Join(dir, detect.StateFile)
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n, said := run("--state", dir); n != 0 || strings.Contains(said, "not used") {
		t.Errorf("%d alerts about names that were known: %s", n, said)
	}
	// Torn state is told once and replaced.
	if err := os.WriteFile(file, before[:len(before)/2], 0o666); err != nil {
		t.Fatal(err)
	}
	if n, said := run("--state", dir); n == 0 || strings.Count(said, "detectors.state is not used: it is damaged") != 1 {
		t.Errorf("%d alerts; %s", n, said)
	}
	after, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if detect.NewStage(&detect.Options{}).Load(after, time.Now()) != nil {
		t.Error("the new state is bad")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("%v is left", entries)
	}
	capture := filepath.Join(t.TempDir(), "capture.pcap")
	writeSample(t, capture)
	if out, err := exec.Command(testkit.Dnshark(t), "read", "-q", "--store", dir, capture).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if now, err := os.ReadFile(file); err != nil || !slices.Equal(now, after) {
		t.Error("a capture file changed what is known of the network")
	}
}
