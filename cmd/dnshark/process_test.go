package main

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

// Executables are hashed while they run, whichever mount namespace they are in.
func TestLiveExeHash(t *testing.T) {
	testkit.NeedPrograms(t, "python3")
	host := testkit.NewHost(t)
	server := host.Dnsmasq("127.0.0.1")
	a := startAgent(t, "--exe-hash")
	ask := func(name string) (client, answers string) {
		host.Run("dig", "@127.0.0.1", name)
		e := a.one(name)
		return e.Process.ExeSHA256, e.Server.ExeSHA256
	}
	want := func(path string) string {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(data)
		return hex.EncodeToString(sum[:])
	}
	dig, err := exec.LookPath("dig")
	if err != nil {
		t.Fatal(err)
	}
	// The first event of a program may come before its hash.
	if client, _ := ask("first.example.test"); client != "" && client != want(dig) {
		t.Errorf("the hash of dig: %q", client)
	}
	if _, answers := ask("second.example.test"); answers != want("/proc/"+strconv.Itoa(server.Process.Pid)+"/exe") {
		t.Errorf("the server's hash: %q", answers)
	}
	// A process that lives long enough to be told of twice.
	script := "import socket\n" +
		"for n in 'p1', 'p2':\n" +
		" q = b'\\x12\\x34\\x01' + b'\\0\\0\\1' + bytes(6) + b'\\2' + n.encode() + b'\\7example\\4test\\0\\0\\1\\0\\1'\n" +
		" s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n" +
		" s.sendto(q, ('127.0.0.1', 53)); s.recv(512)\n" +
		" import time; time.sleep(2)\n"
	host.Run("/usr/bin/python3", "-c", script)
	if got := a.one("p2.example.test").Process; got.ExeSHA256 != want("/usr/bin/python3") {
		t.Errorf("the client's hash: %+v", got)
	}
}

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
