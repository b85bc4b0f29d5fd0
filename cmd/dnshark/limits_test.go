package main

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

// hostileMessages writes every message that was made to break readers to a capture.
func hostileMessages(t *testing.T) (path string, n int) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "messages.pcap")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	capture, err := testkit.NewCapture(f)
	if err != nil {
		t.Fatal(err)
	}
	server, client := netip.MustParseAddrPort("192.0.2.53:53"), netip.MustParseAddrPort("192.0.2.1:4000")
	err = filepath.WalkDir(testkit.Corpus(t, "hostile"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Base(filepath.Dir(path)) != "msg" {
			return err
		}
		message, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		n++
		return capture.UDP(int64(n)*1e6, server, client, message[:min(len(message), 65000)])
	})
	if err != nil {
		t.Fatal(err)
	}
	return path, n
}

// Every capture and message that was made to break readers is read with 64 file descriptors
// and 256 MiB of memory.
func TestHostileWithinLimits(t *testing.T) {
	const descriptors, memory = 64, 256 << 20
	captures, err := filepath.Glob(filepath.Join(testkit.Corpus(t, "hostile"), "synthetic", "pcap", "*"))
	if err != nil || len(captures) == 0 {
		t.Fatalf("%v, %d captures", err, len(captures))
	}
	messages, n := hostileMessages(t)
	if captures = append(captures, messages); n < 100 {
		t.Fatalf("%d messages", n)
	}
	cgroup := testkit.Cgroup(t, "memory", "limits")
	if err := os.WriteFile(filepath.Join(cgroup, "memory.limit_in_bytes"), []byte(strconv.Itoa(memory)), 0); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, capture := range captures {
		cmd := exec.Command("sh", "-c", `echo $$ > "$0/cgroup.procs" && ulimit -n `+strconv.Itoa(descriptors)+` && exec "$@"`, cgroup,
			testkit.Dnshark(t), "read", "-o", "json:"+filepath.Join(dir, "out.json"), "--store", filepath.Join(dir, "store"), capture)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && (!errors.As(err, &exit) || !exit.Exited() || exit.ExitCode() != exitCut && exit.ExitCode() != exitError) ||
			strings.Contains(string(out), "goroutine ") || strings.Contains(string(out), " unaccounted") && !strings.Contains(string(out), "; 0 unaccounted") {
			t.Errorf("%s: %v: %s", filepath.Base(capture), err, out)
		}
	}
	text, err := os.ReadFile(filepath.Join(cgroup, "memory.max_usage_in_bytes"))
	if err != nil {
		t.Fatal(err)
	}
	peak, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	t.Logf("%d captures and %d messages with %d descriptors, at most %d MiB in use, files' pages included", len(captures)-1, n, descriptors, peak>>20)
}
