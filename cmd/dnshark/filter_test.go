package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/internal/source/ebpf"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

// notWanted returns how many packets the kernel did not hand over because of a
// rule, as the summary says.
func (a *agent) notWanted(rule string) int {
	m := regexp.MustCompile(`packets: .* (\d+) filtered_` + rule + `\b`).FindStringSubmatch(a.Output.String())
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

// closes checks that the summary accounts for everything.
func (a *agent) closes() {
	a.t.Helper()
	summary := a.Output.String()
	if n := strings.Count(summary, " unaccounted"); n != accountsIn(summary) || strings.Count(summary, "; 0 unaccounted") != n {
		a.t.Errorf("the accounts do not close:\n%s", summary)
	}
}

// shell is a bash that runs lines as they come.
type shell struct {
	*testkit.Daemon
	in    io.Writer
	lines int
}

func newShell(t *testing.T, host *testkit.Host) *shell {
	t.Helper()
	testkit.NeedPrograms(t, "bash")
	cmd := host.Command("bash")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	return &shell{Daemon: testkit.Start(t, cmd), in: in}
}

// run runs a line and waits for its end.
func (s *shell) run(t *testing.T, line string) {
	t.Helper()
	s.lines++
	done := fmt.Sprintf("done-%d.", s.lines)
	fmt.Fprintf(s.in, "%s\necho %s\n", line, done)
	testkit.Eventually(t, 10*time.Second, line, func() bool { return strings.Contains(s.Output.String(), done) })
}

// rawQuery returns what printf makes a query for name.example.test of. The name
// must not have ten octets: printf writes when it sees a newline.
func rawQuery(name string) string {
	return fmt.Sprintf(`\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x%02x%s\x07example\x04test\x00\x00\x01\x00\x01`, len(name), name)
}

// askOnce returns a line of bash that asks a local server and waits for its
// answer: nobody sees an answer to a socket that is closed.
func askOnce(name string) string {
	return "exec 4<>/dev/udp/127.0.0.1/53; printf '" + rawQuery(name) + "' >&4; read -t 5 -N 1 -u 4; exec 4>&-"
}

// testCgroup makes a cgroup (v2) for the time of the test.
func testCgroup(t *testing.T, parent string) string {
	t.Helper()
	if parent == "" {
		mounts, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(mounts), "\n") {
			if before, after, _ := strings.Cut(line, " - "); strings.HasPrefix(after, "cgroup2 ") {
				parent = strings.Fields(before)[4]
			}
		}
		if parent == "" {
			testkit.Unable(t, "cgroup v2 is not mounted")
		}
	}
	dir, err := os.MkdirTemp(parent, "dnshark-test-")
	if err != nil {
		testkit.Unable(t, "no cgroup can be made: %v", err)
	}
	t.Cleanup(func() { os.Remove(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Every condition shows what it should and nothing else, and what it does not
// show never left the kernel.
func TestLiveFilters(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.NeedPrograms(t, "dig", "dnsmasq", "bash", "setpriv", "readlink")
	host, other := testkit.NewHost(t), testkit.NewHost(t)
	host.Dnsmasq("127.0.0.1", "127.0.0.2", "::1")
	other.Dnsmasq("127.0.0.1")
	dig, err := exec.LookPath("dig")
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "wanted-dig")
	if err := os.Symlink(dig, link); err != nil {
		t.Fatal(err)
	}
	group := testCgroup(t, "")
	groupID, err := ebpf.CgroupID(group)
	if err != nil {
		t.Fatal(err)
	}
	inGroup := func(dir, name, tcp string) {
		// ip netns exec hides what is mounted below /sys.
		dig := host.Command("dig", "@127.0.0.1", name+".example.test", tcp)
		testkit.Machine(t).Run("bash", "-c", "echo $$ > "+dir+"/cgroup.procs && exec "+strings.Join(dig.Args, " "))
	}
	netns := strings.Trim(strings.TrimSpace(host.Run("readlink", "/proc/self/ns/net")), "net:[]")
	mine, theirs := newShell(t, host), newShell(t, host)
	// A child that is older than dnshark, and stays.
	mine.run(t, "coproc bash; older() { echo \"$1\" >&${COPROC[1]}; echo echo done >&${COPROC[1]}; read -u ${COPROC[0]}; }")
	ask := func(h *testkit.Host, server, name string, option string) {
		h.Run("dig", "@"+server, name+".example.test", option)
	}

	for _, c := range []struct {
		rule string
		args []string
		run  func(t *testing.T, tcp string) // asks for wanted-... and unwanted-...
		more []string                       // other names that are wanted
	}{
		{"server", []string{"--server", "127.0.0.2,2001:db8::/32"}, func(_ *testing.T, tcp string) {
			ask(host, "127.0.0.2", "wanted", tcp)
			ask(host, "127.0.0.1", "unwanted", tcp)
			ask(host, "::1", "unwanted", tcp)
		}, nil},
		{"server", []string{"--server", "::/64"}, func(_ *testing.T, tcp string) {
			ask(host, "::1", "wanted", tcp)
			ask(host, "127.0.0.1", "unwanted", tcp)
		}, nil},
		{"netns", []string{"--netns", netns}, func(_ *testing.T, tcp string) {
			ask(host, "127.0.0.1", "wanted", tcp)
			ask(other, "127.0.0.1", "unwanted", tcp)
		}, nil},
		{"uid", []string{"--uid", "nobody,4711"}, func(t *testing.T, tcp string) {
			host.Run("setpriv", "--reuid", "nobody", "--clear-groups", "dig", "@127.0.0.1", "wanted.example.test", tcp)
			ask(host, "127.0.0.1", "unwanted", tcp)
		}, nil},
		{"comm", []string{"--comm", "nobody-has-this", "--comm", "wanted"}, func(_ *testing.T, tcp string) {
			host.Run(link, "@127.0.0.1", "wanted.example.test", tcp)
			ask(host, "127.0.0.1", "unwanted", tcp)
		}, nil},
		{"cgroup", []string{"--cgroup", group}, func(t *testing.T, tcp string) {
			below := testCgroup(t, group) // younger than dnshark
			inGroup(below, "wanted", tcp)
			ask(host, "127.0.0.1", "unwanted", tcp)
		}, nil},
		{"pid", []string{"--pid", strconv.Itoa(mine.Process.Pid)}, func(t *testing.T, tcp string) {
			mine.run(t, askOnce("wanted"))
			theirs.run(t, askOnce("unwanted"))
			mine.run(t, "dig @127.0.0.1 unwanted.example.test "+tcp) // a child is another process
		}, nil},
		{"pid", []string{"--follow", "--pid", strconv.Itoa(mine.Process.Pid)}, func(t *testing.T, tcp string) {
			mine.run(t, "(bash -c 'dig @127.0.0.1 wanted.example.test "+tcp+"; true')")
			mine.run(t, "older 'dig @127.0.0.1 older.example.test "+tcp+" >/dev/null'")
			theirs.run(t, "dig @127.0.0.1 unwanted.example.test "+tcp)
			ask(host, "127.0.0.1", "unwanted", tcp)
		}, []string{"older"}},
		// The same, found in expressions.
		{"server", []string{"-f", `server.ip in 127.0.0.2 && dns.response`}, func(_ *testing.T, tcp string) {
			ask(host, "127.0.0.2", "wanted", tcp)
			ask(host, "127.0.0.1", "unwanted", tcp)
		}, nil},
		{"uid", []string{"-f", `dns.rcode == NOERROR && process.uid in {65534, 4711}`}, func(t *testing.T, tcp string) {
			host.Run("setpriv", "--reuid", "nobody", "--clear-groups", "dig", "@127.0.0.1", "wanted.example.test", tcp)
			ask(host, "127.0.0.1", "unwanted", tcp)
		}, nil},
		{"comm", []string{"-e", "net_packet_dns_response", "-f", `process.comm == "wanted-dig" || process.comm.begins("wanted-") && !dns.aa`}, func(_ *testing.T, tcp string) {
			host.Run(link, "@127.0.0.1", "wanted.example.test", tcp)
			ask(host, "127.0.0.1", "unwanted", tcp)
		}, nil},
		{"cgroup", []string{"-e", "net_packet_dns_response", "-f", fmt.Sprintf("process.cgroup_id == %d", groupID)}, func(t *testing.T, tcp string) {
			inGroup(group, "wanted", tcp)
			inGroup(testCgroup(t, group), "unwanted", tcp) // which the expression alone refuses
			ask(host, "127.0.0.1", "unwanted", tcp)
		}, nil},
		{"pid", []string{"-e", "net_packet_dns_response", "-f", fmt.Sprintf("process.pid == %d", mine.Process.Pid)}, func(t *testing.T, tcp string) {
			mine.run(t, askOnce("wanted"))
			theirs.run(t, askOnce("unwanted"))
			mine.run(t, "dig @127.0.0.1 unwanted.example.test "+tcp)
		}, nil},
	} {
		for _, tcp := range []string{"+notcp", "+tcp"} {
			t.Run(strings.Join(append(c.args, tcp), " "), func(t *testing.T) {
				a := startAgent(t, append(c.args, "--timeout", "2s")...)
				c.run(t, tcp)
				wanted := append(c.more, "wanted")
				for _, name := range wanted {
					if e := a.one(name + ".example.test"); e.Process == nil || e.Process.Attribution != "query_egress" ||
						tcp == "+tcp" && e.Metadata.Protocol != 6 && c.rule != "pid" {
						t.Errorf("%s: %+v", name, e)
					}
				}
				if err := a.Stop(t); err != nil {
					t.Error(err)
				}
				if len(a.events) != len(wanted) {
					t.Errorf("%d events, want %v: %+v", len(a.events), wanted, a.events)
				}
				a.closes()
				if a.notWanted(c.rule) == 0 {
					t.Errorf("nothing was refused by the rule %s:\n%s", c.rule, a.Output)
				}
			})
		}
	}
}

// Responses without their queries.
func TestLiveResponsesOnly(t *testing.T) {
	host := testkit.NewHost(t)
	host.Dnsmasq("127.0.0.1")
	a := startAgent(t, "--responses-only")
	for _, tcp := range []string{"+notcp", "+tcp"} {
		name := "only-" + tcp[1:] + ".example.test"
		dig := host.Command("dig", "@127.0.0.1", name, tcp)
		if err := dig.Run(); err != nil {
			t.Fatal(err)
		}
		if e := a.one(name); e.Event != "net_packet_dns_response" || e.Transaction.State != "unsolicited" {
			t.Errorf("%+v", e)
		}
	}
	a.Stop(t)
	if a.notWanted("responses") < 4 {
		t.Errorf("%s", a.Output)
	}
}

// answerLater is a server for the test's own use: it reads as many queries as
// there are names, and only then answers them all.
func answerLater(t *testing.T, server *net.UDPConn, names ...string) {
	t.Helper()
	server.SetDeadline(time.Now().Add(5 * time.Second))
	type query struct {
		from net.Addr
		msg  []byte
	}
	var queries []query
	for range names {
		msg := make([]byte, 512)
		n, from, err := server.ReadFrom(msg)
		if err != nil {
			t.Fatal(err)
		}
		queries = append(queries, query{from, msg[:n]})
	}
	for i, q := range queries {
		if !bytes.Contains(q.msg, []byte(names[i])) {
			t.Fatalf("query %d is %q, want one for %s", i, q.msg[dnswire.HeaderLen:], names[i])
		}
		q.msg[2] |= 0x80
		if _, err := server.WriteTo(q.msg, q.from); err != nil {
			t.Fatal(err)
		}
	}
}

// Two processes ask on one socket, of which only one is wanted. The answers come
// when both have asked, so that the socket's last sender tells nothing.
func TestLiveSharedSocket(t *testing.T) {
	testkit.NeedRoot(t)
	server, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	_, port, _ := net.SplitHostPort(server.LocalAddr().String())
	mine := newShell(t, testkit.Machine(t))
	mine.run(t, "exec 3<>/dev/udp/127.0.0.1/"+port) // older than dnshark
	a := startAgent(t, "--ports", port, "--pid", strconv.Itoa(mine.Process.Pid))
	for i, children := range [][]bool{{false, true}, {true, false}, {true, false, true}} {
		var names []string
		for j, child := range children {
			name := fmt.Sprintf("wanted%d%d", i, j)
			line := "printf '" + rawQuery(name) + "' >&3"
			if child {
				name = "other-" + name
				line = "(printf '" + rawQuery(name) + "' >&3)"
			}
			names = append(names, name)
			mine.run(t, line)
		}
		answerLater(t, server, names...)
		for j, child := range children {
			if !child {
				if e := a.one(names[j] + ".example.test"); e.Process == nil || e.Process.PID != mine.Process.Pid || e.Transaction.State != "answered" {
					t.Errorf("%s: %+v", names[j], e)
				}
			}
		}
	}
	a.Stop(t)
	if len(a.events) != 3 {
		t.Errorf("%d events, want 3: %+v\n%s", len(a.events), a.events, a.Output)
	}
}

// A server that is wanted, seen from its own end.
func TestLiveServerProcess(t *testing.T) {
	host := testkit.NewHost(t)
	wanted := host.Dnsmasq("127.0.0.1")
	host.Dnsmasq("127.0.0.2")
	a := startAgent(t, "--observer", "server", "--pid", strconv.Itoa(wanted.Process.Pid))
	for _, tcp := range []string{"+notcp", "+tcp"} {
		host.Run("dig", "@127.0.0.2", "unwanted.example.test", tcp)
		host.Run("dig", "@127.0.0.1", "wanted-"+tcp[1:]+".example.test", tcp)
	}
	for _, name := range []string{"wanted-notcp.example.test"} {
		if e := a.one(name); e.Observer != "server" {
			t.Errorf("%+v", e)
		}
	}
	a.Stop(t)
	if n := len(a.named("unwanted.example.test")); n != 0 || a.notWanted("pid") == 0 {
		t.Errorf("%d events about the other server:\n%s", n, a.Output)
	}
}

// dnshark runs a command and returns its output, standard error and how it ended.
func runFor(t *testing.T, limit time.Duration, stdin string, args ...string) (stdout, stderr string, state *os.ProcessState) {
	t.Helper()
	cmd := exec.Command(testkit.Dnshark(t), args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(limit, func() { cmd.Process.Kill() })
	defer timer.Stop()
	cmd.Wait()
	return out.String(), errs.String(), cmd.ProcessState
}

// hostArgs returns the words that run a command on a host.
func hostArgs(h *testkit.Host, args ...string) []string {
	return append([]string{"--"}, h.Command(args[0], args[1:]...).Args...)
}

// A command that asks at once and ends at once is never missed, and nobody
// else is shown.
func TestLiveCommand(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.NeedPrograms(t, "dig", "dnsmasq", "bash")
	host := testkit.NewHost(t)
	host.Dnsmasq("127.0.0.1")
	noise := newShell(t, host)
	fmt.Fprintf(noise.in, "while :; do printf '%s' > /dev/udp/127.0.0.1/53; sleep 0.02; done\n", rawQuery("noise"))
	for i := range 50 {
		name := fmt.Sprintf("cmd%d.example.test", i)
		stdout, stderr, state := runFor(t, 20*time.Second, "", append([]string{"-o", "json"}, hostArgs(host, "dig", "+short", "@127.0.0.1", name)...)...)
		if state.ExitCode() != 0 || stdout != "192.0.2.80\n" {
			t.Fatalf("run %d: %v, dig says %q\n%s", i, state, stdout, stderr)
		}
		if strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, `"query":"`+name+`"`) || !strings.Contains(stderr, `"comm":"dig"`) {
			t.Fatalf("run %d: not the one event:\n%s", i, stderr)
		}
	}
}

// How commands end, what they read and write, and what is said of them.
func TestLiveCommandEnds(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.NeedPrograms(t, "dig", "dnsmasq", "bash")
	host := testkit.NewHost(t)
	host.Dnsmasq("127.0.0.1")

	t.Run("input, output, code", func(t *testing.T) {
		stdout, stderr, state := runFor(t, 20*time.Second, "in", "live", "--", "sh", "-c", "cat; echo err >&2; exit 42")
		if stdout != "in" || stderr != "err\n" || state.ExitCode() != 42 {
			t.Errorf("%q, %q, %v", stdout, stderr, state)
		}
	})
	t.Run("descendants, file, code of dig", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "events")
		args := append([]string{"live", "-o", "json", "-w", file}, hostArgs(host, "bash", "-c",
			"(dig @127.0.0.1 one.example.test; bash -c 'dig +tcp @127.0.0.1 two.example.test; true') >/dev/null; dig +tries=1 +time=1 @127.0.0.9 three.example.test >/dev/null")...)
		_, stderr, state := runFor(t, 20*time.Second, "", args...)
		events, _ := os.ReadFile(file)
		if state.ExitCode() != 9 || stderr != "" || strings.Count(string(events), "\n") < 3 {
			t.Errorf("%v, %s\n%s", state, stderr, events)
		}
		for _, want := range []string{`"query":"one.example.test"`, `"query":"two.example.test"`, `"event":"net_packet_dns_unanswered"`} {
			if !strings.Contains(string(events), want) {
				t.Errorf("no %s in\n%s", want, events)
			}
		}
	})
	t.Run("answers after the end", func(t *testing.T) {
		_, stderr, _ := runFor(t, 20*time.Second, "", append([]string{"-o", "json"}, hostArgs(host, "bash", "-c", "(sleep 0.02; printf '"+rawQuery("late")+"'; sleep 1) <>/dev/udp/127.0.0.1/53 >&0 2>/dev/null &")...)...)
		if !strings.Contains(stderr, `"query":"late.example.test"`) || !strings.Contains(stderr, "net_packet_dns_response") {
			t.Errorf("%s", stderr)
		}
	})
	t.Run("no such command", func(t *testing.T) {
		if _, stderr, state := runFor(t, 20*time.Second, "", "--", "no-such-command"); state.ExitCode() != exitNotFound || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%v, %s", state, stderr)
		}
	})
	t.Run("pipe", func(t *testing.T) {
		// The command must not inherit that dnshark outlives broken pipes.
		if _, _, state := runFor(t, 20*time.Second, "", "--", "bash", "-c", "yes | true; exit ${PIPESTATUS[0]}"); state.ExitCode() != 128+int(syscall.SIGPIPE) {
			t.Errorf("%v", state)
		}
	})
	t.Run("privileges", func(t *testing.T) {
		stdout, _, _ := runFor(t, 20*time.Second, "", "--", "grep", "-E", "CapEff|NoNewPrivs", "/proc/self/status")
		own, err := exec.Command("grep", "-E", "CapEff|NoNewPrivs", "/proc/self/status").Output()
		if err != nil || stdout != string(own) {
			t.Errorf("%v: with dnshark %q, without %q", err, stdout, own)
		}
	})
	t.Run("what goes wrong is told at once", func(t *testing.T) {
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer taken.Close()
		d := testkit.Start(t, exec.Command(testkit.Dnshark(t), "--metrics", taken.Addr().String(), "--", "sleep", "600"))
		testkit.Eventually(t, 60*time.Second, "the error", func() bool { return strings.Contains(d.Output.String(), "address already in use") })
		if d.Ended() {
			t.Error("dnshark left the command alone")
		}
		d.Process.Signal(syscall.SIGTERM)
		var exit *exec.ExitError
		if err := d.Wait(t, 60*time.Second); !errors.As(err, &exit) || exit.ExitCode() != exitUsage || strings.Count(d.Output.String(), "\n") != 1 {
			t.Errorf("%v: %s", err, d.Output)
		}
	})
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1} {
		t.Run("forwards "+sig.String(), func(t *testing.T) {
			name := strings.TrimPrefix(unix.SignalName(sig), "SIG")
			for _, trapped := range []bool{true, false} {
				// Not a bash that waits for a child: that ends by SIGINT only
				// when its child does.
				script := "echo ready; exec sleep 60"
				if trapped {
					script = "trap 'exit 7' " + name + "; echo ready; while :; do sleep 0.05; done"
				}
				cmd := exec.Command(testkit.Dnshark(t), "--", "bash", "-c", script)
				d := testkit.Start(t, cmd)
				testkit.Eventually(t, 10*time.Second, "the command to run", func() bool { return strings.Contains(d.Output.String(), "ready") })
				d.Process.Signal(sig)
				err := d.Wait(t, 10*time.Second)
				var exit *exec.ExitError
				if !errors.As(err, &exit) {
					t.Fatalf("%v: %s", err, d.Output)
				}
				ws := exit.Sys().(syscall.WaitStatus)
				same := ws.Signaled() && ws.Signal() == sig || sig == syscall.SIGUSR1 && ws.ExitStatus() == 128+int(sig)
				if trapped && ws.ExitStatus() != 7 || !trapped && !same {
					t.Errorf("trapped=%v: %v: %s", trapped, err, d.Output)
				}
			}
		})
	}
}
