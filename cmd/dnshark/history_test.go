package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

// What an agent with a store saw, dnshark history tells: while it runs, and after it.
func TestLiveHistory(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.NeedPrograms(t, "dig", "dnsmasq", "ip")
	host := testkit.NewHost(t)
	host.Dnsmasq("127.0.0.1")
	dir := t.TempDir()
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	store := filepath.Join(dir, "store")
	a := startAgent(t, "--store", store)
	const name = "kept.example.test"
	if out, err := host.Command("dig", "@127.0.0.1", name).CombinedOutput(); err != nil {
		t.Fatalf("dig: %v: %s", err, out)
	}
	history := func(subject string) string {
		// While the store is being made this may fail.
		out, _ := exec.Command(testkit.Dnshark(t), "history", "-q", "--store", store, subject).CombinedOutput()
		return string(out)
	}
	testkit.Eventually(t, 30*time.Second, "the history to have the answer", func() bool {
		return strings.Contains(history(name), name+" A 192.0.2.80")
	})
	if err := a.Stop(t); err != nil {
		t.Error(err, a.Output)
	}
	for _, subject := range []string{name, "*.example.test", "192.0.2.80", "process:dig"} {
		if got := history(subject); strings.Count(got, "\n") != 2 || !strings.Contains(got, name+" A 192.0.2.80") {
			t.Errorf("%s: %s", subject, got)
		}
	}
}
