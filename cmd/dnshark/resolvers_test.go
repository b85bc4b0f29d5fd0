package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

// clients are the resolvers that programs have inside them. Each asks for both
// address types of a name, in its own way: the types after each other or at once,
// from one socket or two, from the main thread or another.
func clients(t *testing.T) map[string]func(h *testkit.Host, name string) *exec.Cmd {
	t.Helper()
	testkit.NeedPrograms(t, "getent", "busybox", "curl", "musl-gcc", "gcc", "go")
	dir := realPath(t, t.TempDir())
	// build writes a source file and makes a program of it.
	build := func(source, text string, env []string, compiler ...string) string {
		program := filepath.Join(dir, "with-"+filepath.Base(source))
		source = filepath.Join(dir, source)
		if err := os.MkdirAll(filepath.Dir(source), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(compiler[0], append(compiler[1:], "-o", program, source)...)
		cmd.Env = append(os.Environ(), env...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
		}
		return program
	}
	const c = `#include <netdb.h>
int main(int n, char **v) { struct addrinfo *a; return getaddrinfo(v[1], "80", 0, &a); }`
	const golang = `package main
import ("net"; "os")
func main() { if _, err := net.LookupHost(os.Args[1]); err != nil { panic(err) } }`
	musl := build("musl.c", c, nil, "musl-gcc", "-static")
	netgo := build("netgo.go", golang, []string{"CGO_ENABLED=0"}, "go", "build")
	netcgo := build("netcgo.go", golang, []string{"CGO_ENABLED=1"}, "go", "build", "-tags", "netcgo")
	// A version manager may have put a script in its place on the path.
	python := "/usr/bin/python3"
	if _, err := os.Stat(python); err != nil {
		testkit.Unable(t, "there is no %s", python)
	}
	run := func(program string, args ...string) func(*testkit.Host, string) *exec.Cmd {
		return func(h *testkit.Host, name string) *exec.Cmd {
			return h.Command(program, append(slices.Clone(args), name)...)
		}
	}
	return map[string]func(*testkit.Host, string) *exec.Cmd{
		"glibc":   run("getent", "ahosts"),
		"busybox": run("busybox", "nslookup"),
		"musl":    run(musl),
		"netgo":   run(netgo),
		"netcgo":  run(netcgo),
		"python":  run(python, "-c", "import socket, sys; socket.getaddrinfo(sys.argv[1], 80)"),
		"curl": func(h *testkit.Host, name string) *exec.Cmd {
			return h.Command("curl", "-s", "--max-time", "2", "http://"+name+":9/")
		},
	}
}

// program returns the program that a command runs behind `ip netns exec NAME`.
func program(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	path, err := exec.LookPath(cmd.Args[4])
	if err != nil {
		t.Fatal(err)
	}
	return realPath(t, path)
}

// Whichever resolver a program has: one event for each answer, with the program
// and the server.
func TestLiveResolvers(t *testing.T) {
	host := testkit.NewHost(t)
	server := host.Dnsmasq("127.0.0.1")
	host.Nameserver("127.0.0.1")
	all := clients(t)
	a := startAgent(t)
	for resolver, command := range all {
		t.Run(resolver, func(t *testing.T) {
			name := resolver + ".example.test"
			cmd := command(host, name)
			out, err := cmd.CombinedOutput()
			if err != nil && resolver != "curl" { // nobody listens where it goes
				t.Fatalf("%v: %s", err, out)
			}
			exe := program(t, cmd)
			comm := filepath.Base(exe)
			comm = comm[:min(15, len(comm))]
			testkit.Eventually(t, 5*time.Second, "two answers", func() bool { return len(a.named(name)) >= 2 })
			time.Sleep(200 * time.Millisecond)
			types := map[string]int{}
			for _, e := range a.named(name) {
				types[e.DNSResponse[0].QueryData.QueryType]++
				p, s := e.Process, e.Server
				if p == nil || p.PID != cmd.Process.Pid || p.Exe != exe || p.Attribution != "query_egress" {
					t.Errorf("process %+v, want %s with pid %d", p, exe, cmd.Process.Pid)
				}
				// Python's name is that of the link it was called by.
				if p != nil && p.Comm != comm && p.Comm != filepath.Base(cmd.Args[4]) {
					t.Errorf("comm %q, want %q", p.Comm, comm)
				}
				if s == nil || s.PID != server.Process.Pid || s.Comm != "dnsmasq" || s.Attribution != "answer_egress" {
					t.Errorf("server_process %+v, want dnsmasq with pid %d", s, server.Process.Pid)
				}
				if tx := e.Transaction; tx.State != "answered" || tx.CausedBy != nil {
					t.Errorf("transaction %+v", tx)
				}
			}
			if want := map[string]int{"A": 1, "AAAA": 1}; fmt.Sprint(types) != fmt.Sprint(want) {
				t.Errorf("answers by type: %v, want %v", types, want)
			}
		})
	}
}

// A resolver on the same host: both ends of both conversations are named, and
// what it asks is linked to who asked it.
func TestLiveForwarders(t *testing.T) {
	for forwarder, start := range testkit.Forwarders {
		t.Run(forwarder, func(t *testing.T) {
			host, provider := testkit.NewHost(t), testkit.NewHost(t)
			host.Connect("c0", []string{"198.51.100.1/24"}, provider, "p0", []string{"198.51.100.2/24"})
			upstream := provider.Dnsmasq("198.51.100.2")
			stub := start(host, "127.0.0.5", "198.51.100.2")
			a := startAgent(t, "--observer", "both")
			// Who listens there is known from its first answer on.
			host.Run("dig", "@127.0.0.5", "first.example.test")
			for _, protocol := range []string{"+notcp", "+tcp"} {
				name := "for-" + protocol[1:] + ".example.test"
				dig := host.Command("dig", protocol, "@127.0.0.5", name)
				if out, err := dig.CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				testkit.Eventually(t, 5*time.Second, "four answers", func() bool { return len(a.named(name)) >= 4 })
				time.Sleep(200 * time.Millisecond)
				// isStub: dnsmasq serves each connection in a child.
				isStub := func(p *party) bool {
					return p != nil && (p.PID == stub.Process.Pid || p.PPID == stub.Process.Pid && p.Ancestors[0].PID == p.PPID)
				}
				ends := map[string]int{}
				for _, e := range a.named(name) {
					p, s, cause := e.Process, e.Server, e.Transaction.CausedBy
					toStub := e.Metadata.SrcIP.String() == "127.0.0.5"
					if toStub {
						ends["stub's "+e.Observer]++
						if p == nil || p.PID != dig.Process.Pid || p.Comm != "dig" || !isStub(s) || cause != nil {
							t.Errorf("%s: the answer of the stub: %+v from %+v because of %+v", name, p, s, cause)
						}
						continue
					}
					ends["provider's "+e.Observer]++
					if !isStub(p) || s == nil || s.PID != upstream.Process.Pid && s.PPID != upstream.Process.Pid || s.Comm != "dnsmasq" {
						t.Errorf("%s: the answer of the provider: %+v from %+v", name, p, s)
					}
					if e.Observer == "client" && (cause == nil || cause.PID != dig.Process.Pid || cause.Comm != "dig" ||
						cause.Rule != "same_question_pending" || cause.SrcIP != "127.0.0.1" || !cause.Time.Before(e.Time)) {
						t.Errorf("%s: because of %+v, want dig with pid %d", name, cause, dig.Process.Pid)
					}
				}
				want := map[string]int{"stub's client": 1, "stub's server": 1, "provider's client": 1, "provider's server": 1}
				if fmt.Sprint(ends) != fmt.Sprint(want) {
					t.Errorf("%s: seen %v, want %v", name, ends, want)
				}
			}
		})
	}
}
