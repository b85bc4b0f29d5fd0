package main

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

// What is told of a process that is gone within milliseconds: what it ran, where,
// for whom, and who it descends from.
func TestLiveProcess(t *testing.T) {
	host := testkit.NewHost(t)
	host.Dnsmasq("127.0.0.1")
	a := startAgent(t)
	dir := realPath(t, t.TempDir())
	const name = "process.example.test"
	// Two shells between this process and dig, none of which calls it with exec.
	script := `sh -c 'dig @127.0.0.1 ` + name + ` +nsid; true'; true`
	cmd := host.Command("sh", "-c", script, "--password", "hunter2")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	p := a.one(name).Process
	if want := []string{"dig", "@127.0.0.1", name, "+nsid"}; p == nil || !slices.Equal(p.Args, want) || p.Cwd != dir || p.User != "root" {
		t.Fatalf("%+v, want args %q in %s", p, want, dir)
	}
	shell := realPath(t, "/bin/sh")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Ancestors) < 3 {
		t.Fatalf("%d ancestors, want at least 3: %+v", len(p.Ancestors), *p)
	}
	younger := p.StartTime
	for i, want := range []struct {
		pid       int
		comm, exe string
	}{{p.PPID, "sh", shell}, {cmd.Process.Pid, "sh", shell}, {os.Getpid(), "", self}} {
		got := p.Ancestors[i]
		if got.PID != want.pid || want.comm != "" && got.Comm != want.comm || got.Exe != want.exe || got.StartTime > younger {
			t.Errorf("ancestor %d: %+v, want %+v", i, got, want)
		}
		younger = got.StartTime
	}
	// A shell that asks by itself, with a secret in its arguments.
	ask := `printf '\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x06secret\x07example\x04test\x00\x00\x01\x00\x01' > /dev/udp/127.0.0.1/53; sleep 0.1`
	host.Run("bash", "-c", ask, "x", "--password", "hunter2")
	var s seen
	testkit.Eventually(t, 5*time.Second, "the shell's query", func() bool {
		for _, e := range a.named("secret.example.test") {
			s = e
		}
		return s.Process != nil
	})
	if list := s.Process.Args; strings.Contains(strings.Join(list, " "), "hunter2") || list[len(list)-1] != "[redacted]" {
		t.Errorf("args %q", list)
	}
}
