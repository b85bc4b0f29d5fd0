package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

// lab is a resolver, an agent, and the processes of the cases: m makes sockets,
// a sends, b receives.
type lab struct {
	t       *testing.T
	agent   *agent
	m, a, b *testkit.Asker
	n       int
	want    []answer
}

// answer is an answer that somebody must be found for.
type answer struct {
	name            string
	asker, receiver int
	mayBeNone       string // why, where nobody is the right answer as well
}

func newLab(t *testing.T) (*lab, *testkit.Host) {
	testkit.NeedRoot(t)
	testkit.NeedPrograms(t, "unbound", "ip")
	host := testkit.NewHost(t)
	host.Unbound("127.0.0.1", "::1")
	return &lab{t: t, m: host.Asker(), a: host.Asker(), b: host.Asker()}, host
}

// name returns a name that nobody asked about before. Its answer must name the
// asker.
func (l *lab) name(what string, asker, receiver int) string {
	l.n++
	name := fmt.Sprintf("%s-%d.example.test", what, l.n)
	l.want = append(l.want, answer{name: name, asker: asker, receiver: receiver})
	return name
}

// mayBeNone says that the last name's asker may stay unknown.
func (l *lab) mayBeNone(why string) { l.want[len(l.want)-1].mayBeNone = why }

// check compares what the agent wrote with what was asked.
func (l *lab) check() {
	l.t.Helper()
	found := map[string]seen{}
	testkit.Eventually(l.t, 5*time.Second, "an event about each answer", func() bool {
		for _, w := range l.want {
			if list := l.agent.named(w.name); len(list) > 0 {
				found[w.name] = list[0]
			} else if w.mayBeNone == "" || !strings.Contains(w.mayBeNone, "answer") {
				return false
			}
		}
		return true
	})
	methods := map[string]int{}
	received, unknown := 0, 0
	for _, w := range l.want {
		e := found[w.name]
		if len(l.agent.named(w.name)) > 1 {
			l.t.Errorf("%s: %d events", w.name, len(l.agent.named(w.name)))
		}
		switch {
		case w.receiver == 0 || found[w.name].DNSResponse == nil:
		case e.Receiver.PID == w.receiver:
			received++
		case e.Receiver.PID == 0:
			unknown++
		default:
			l.t.Errorf("%s: received by %d, not by %d", w.name, w.receiver, e.Receiver.PID)
		}
		switch p := e.Process; {
		case p == nil:
			l.t.Errorf("%s: no process", w.name)
		case p.PID == w.asker:
			methods[p.Attribution]++
		case p.Attribution == "none" && p.PID == 0 && w.mayBeNone != "":
			l.t.Logf("%s: none: %s", w.name, w.mayBeNone)
			methods["none"]++
		default:
			l.t.Errorf("%s: asked by %d, attributed to %d (%s); m, a, b are %d, %d, %d, transaction %s",
				w.name, w.asker, p.PID, p.Attribution, l.m.PID, l.a.PID, l.b.PID, e.Transaction.State)
		}
	}
	l.t.Logf("%d answers: %v; %d with the right receiver, %d without", len(l.want), methods, received, unknown)
	if received < unknown {
		l.t.Error("most receivers are unknown")
	}
}

// hand passes the socket on.
func hand(from, to *testkit.Asker, socket string) {
	from.Do("give", socket, to.PID)
	to.Do("get", socket)
}

// Every way of using a socket, by one process and by three: who made the socket
// and who takes the answer are not who asked.
func TestAttribution(t *testing.T) {
	l, _ := newLab(t)
	m, a, b := l.m, l.a, l.b

	// Sockets older than the agent.
	for _, kind := range []string{"udp4", "udp6", "udp46", "tcp4", "tcp6", "tcp46"} {
		old := "old-" + kind
		m.Do("socket", old, kind)
		m.Do("connect", old)
		m.Do("ask", old, "write", 1, "before-the-agent.example.test")
		m.Do("take", old, "read")
		hand(m, a, old)
		hand(a, b, old)
	}
	a.Do("socket", "old-open", "udp4")
	l.agent = startAgent(t, "--timeout", "2s")

	for _, kind := range []string{"udp4", "udp6", "udp46", "tcp4", "tcp6", "tcp46"} {
		old := "old-" + kind
		a.Do("ask", old, "write", 2, l.name(old, a.PID, b.PID))
		b.Do("take", old, "recv")
	}
	a.Do("ask", "old-open", "sendto", 3, l.name("old-open", a.PID, a.PID))
	a.Do("take", "old-open", "recvfrom")

	ways := []struct{ send, take string }{
		{"send", "recv"}, {"write", "read"}, {"sendto", "recvfrom"}, {"sendmsg", "recvmsg"}, {"sendmmsg", "recvmmsg"}, {"send", "peek"},
	}
	if _, err := a.Try("ask", "old-open", "uring", 4, "uring.example.test"); err != nil &&
		(strings.Contains(err.Error(), "not permitted") || strings.Contains(err.Error(), "not implemented")) {
		t.Logf("io_uring is not tested: %v", err)
	} else {
		ways = append(ways, struct{ send, take string }{"uring", "uring"})
	}
	for _, kind := range []string{"udp4", "udp6", "udp46", "tcp4", "tcp6", "tcp46"} {
		for _, connected := range []bool{true, false} {
			for _, way := range ways {
				s := fmt.Sprintf("%s-%s-%v", kind, way.send, connected)
				if !connected && (kind[:3] == "tcp" || way.send == "send" || way.send == "write" || way.send == "uring") ||
					kind[:3] == "tcp" && (way.send == "sendto" || way.send == "sendmmsg") {
					continue
				}
				// Alone.
				a.Do("socket", s, kind)
				if connected {
					a.Do("connect", s)
				}
				a.Do("ask", s, way.send, 1, l.name(s, a.PID, a.PID))
				a.Do("take", s, way.take)
				// Sent by another process than before, received by a third.
				hand(a, m, s)
				hand(m, b, s)
				m.Do("ask", s, way.send, 2, l.name(s+"-by-m", m.PID, b.PID))
				b.Do("take", s, way.take)
				a.Do("ask", s, way.send, 3, l.name(s+"-by-a", a.PID, b.PID))
				b.Do("take", s, way.take)
				// Inherited.
				name := l.name(s+"-by-child", 0, b.PID)
				l.want[len(l.want)-1].asker = m.Number("child", s, way.send, 4, name)
				b.Do("take", s, way.take)
				for _, x := range []*testkit.Asker{m, a, b} {
					x.Do("close", s)
				}
				// Made by m, connected by m, never used by it.
				s += "-passed"
				m.Do("socket", s, kind)
				if connected {
					m.Do("connect", s)
				}
				hand(m, a, s)
				hand(m, b, s)
				m.Do("close", s)
				a.Do("ask", s, way.send, 1, l.name(s, a.PID, b.PID))
				b.Do("take", s, way.take)
				a.Do("close", s)
				b.Do("close", s)
			}
		}
	}

	// Both ask before either takes an answer, with the same id and in turns.
	for _, kind := range []string{"udp4", "udp6", "tcp4"} {
		s := "turns-" + kind
		m.Do("socket", s, kind)
		m.Do("connect", s)
		hand(m, a, s)
		hand(m, b, s)
		for i := range 6 {
			who := []*testkit.Asker{a, b}[i%2]
			who.Do("ask", s, "write", 7, l.name(s, who.PID, 0))
			if kind == "tcp4" {
				l.mayBeNone("TCP may send octets of two processes in one segment (RFC 1122 section 4.2.3.4)")
			}
		}
		for range 6 {
			m.Do("take", s, "read")
		}
	}

	// What TCP keeps is sent later, by whoever uses the socket next.
	m.Do("socket", "cork", "tcp4")
	m.Do("connect", "cork")
	hand(m, a, "cork")
	hand(m, b, "cork")
	a.Do("ask", "cork", "corked", 1, l.name("corked", a.PID, 0))
	l.mayBeNone("another process sent it first")
	b.Do("flush", "cork")
	b.Do("take", "cork", "read")
	a.Do("ask", "cork", "corked", 2, l.name("corked-again", a.PID, 0))
	b.Do("ask", "cork", "corked", 3, l.name("corked-together", b.PID, 0))
	b.Do("flush", "cork")
	l.mayBeNone("one segment with octets of two processes")
	l.want[len(l.want)-2].mayBeNone = l.want[len(l.want)-1].mayBeNone
	b.Do("take", "cork", "read")
	b.Do("take", "cork", "read")

	// Pipelining: several questions in a segment, and a question in several.
	for _, kind := range []string{"tcp4", "tcp6"} {
		s := "pipe-" + kind
		a.Do("socket", s, kind)
		a.Do("connect", s)
		var names []string
		for range 20 {
			names = append(names, l.name(s, a.PID, a.PID))
		}
		a.Do("ask", s, "write", 100, strings.Join(names, " "))
		for range names {
			a.Do("take", s, "read")
		}
		name := l.name(s+"-parts", a.PID, a.PID)
		length := 2 + 12 + len(name) + 2 + 4
		for _, cut := range [][2]int{{0, 2}, {2, 1}, {3, 12}, {15, length - 15}} {
			a.Do("part", s, 200, name, cut[0], cut[1])
			time.Sleep(2 * time.Millisecond) // a segment of its own
		}
		a.Do("take", s, "read")
	}

	// One port, several processes: the kernel chooses whose socket gets an
	// answer.
	for i, kind := range []string{"udp4", "udp6"} {
		for j := range 4 {
			s, port := fmt.Sprintf("group-%s-%d", kind, j), 20000+100*i+j
			for _, x := range []*testkit.Asker{a, b} {
				x.Do("socket", s, kind)
				x.Do("bind", s, port)
			}
			a.Do("ask", s, "sendto", 1, l.name(s, a.PID, 0))
			b.Do("ask", s, "sendto", 2, l.name(s, b.PID, 0))
			time.Sleep(5 * time.Millisecond)
			a.Do("close", s)
			b.Do("close", s)
		}
	}

	// Two processes, the same id and the same name at once.
	twins := map[int]int{}
	for range 5 {
		for _, x := range []*testkit.Asker{a, b} {
			x.Do("socket", "twin", "udp4")
			x.Do("connect", "twin")
		}
		a.Do("ask", "twin", "send", 9, "twin.example.test")
		b.Do("ask", "twin", "send", 9, "twin.example.test")
		for _, x := range []*testkit.Asker{a, b} {
			x.Do("take", "twin", "recv")
			x.Do("close", "twin")
			twins[x.PID]++
		}
	}

	// Processes that are gone at once.
	for range 20 {
		m.Do("socket", "brief", "udp4")
		m.Do("connect", "brief")
		name := l.name("brief", 0, m.PID)
		l.want[len(l.want)-1].asker = m.Number("child", "brief", "send", 4, name)
		m.Do("take", "brief", "recv")
		m.Do("close", "brief")
	}

	l.check()
	got := map[int]int{}
	for _, e := range l.agent.named("twin.example.test") {
		if e.Process != nil {
			got[e.Process.PID]++
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(twins) {
		t.Errorf("twins: %v, want %v", got, twins)
	}
}

// Answers to questions that the agent did not see: the socket tells who may have
// asked, if one process alone uses it.
func TestAttributionWithoutQuery(t *testing.T) {
	l, _ := newLab(t)
	m, a, b := l.m, l.a, l.b
	open := func(socket string, port int) {
		a.Do("socket", socket, "udp4")
		a.Do("bind", socket, port)
	}
	open("old", 30001)
	open("old-shared", 30002)
	hand(a, m, "old-shared")
	l.agent = startAgent(t)
	open("new", 30003)
	open("used", 30004)
	a.Do("ask", "used", "sendto", 1, "used.example.test")
	a.Do("take", "used", "recvfrom")
	open("used-shared", 30005)
	hand(a, m, "used-shared")
	for _, x := range []*testkit.Asker{m, a} {
		x.Do("ask", "used-shared", "sendto", 1, "used.example.test")
		x.Do("take", "used-shared", "recvfrom")
	}
	for _, c := range []struct {
		name, attribution string
		port, pid         int
		other             string
	}{
		{"old", "socket_seed", 30001, a.PID, ""},
		{"old-shared", "none", 30002, 0, "socket_seed"},
		{"new", "cgroup", 30003, 0, ""},
		{"used", "socket_sender", 30004, a.PID, ""},
		{"used-shared", "none", 30005, 0, "socket_sender"},
	} {
		name := c.name + ".forged.test"
		b.Do("forge", c.port, 99, name)
		e := l.agent.one(name)
		p := e.Process
		if p == nil || e.Transaction.State != "unsolicited" || p.Attribution != c.attribution || p.PID != c.pid ||
			p.Disagreement.Method != c.other || (c.other != "") != (p.Disagreement.PID == a.PID || p.Disagreement.PID == m.PID) ||
			(c.attribution == "cgroup") != (p.PID == 0 && p.Cgroup != 0) {
			t.Errorf("%s: %+v, want %+v", c.name, p, c)
		}
	}
}

// A firewall daemon sends what netfilter queued for it, in its own system calls:
// it is named as a doubt, and not taken for the asker.
func TestAttributionBehindQueue(t *testing.T) {
	testkit.NeedPrograms(t, "iptables-legacy")
	l, host := newLab(t)
	a, b := l.a, l.b
	b.Do("queue", "-")
	host.Run("iptables-legacy", "-A", "OUTPUT", "-p", "udp", "--dport", "53", "-j", "NFQUEUE", "--queue-num", "0")
	l.agent = startAgent(t)
	for _, connected := range []bool{true, false} {
		for i := range 5 {
			s := fmt.Sprintf("queued-%v-%d", connected, i)
			a.Do("socket", s, "udp4")
			if connected {
				a.Do("connect", s)
			}
			for j := range 2 {
				name := fmt.Sprintf("%s-%d.example.test", s, j)
				a.Do("ask", s, "sendmsg", j+1, name)
				a.Do("take", s, "recv")
				p := l.agent.one(name).Process
				if p.PID != a.PID || p.Disagreement.PID != b.PID {
					t.Errorf("%s: asked by %d, attributed to %d (%s), in doubt of %d", name, a.PID, p.PID, p.Attribution, p.Disagreement.PID)
				}
			}
		}
	}
}

// Many processes at once that come and go: nobody is wrong, and next to nobody
// is unknown.
func TestAttributionOfMany(t *testing.T) {
	const processes, each, atOnce = 200, 500, 4
	_, host := newLab(t)
	// To a file, because whoever reads JSON as it comes is slower than this.
	file := filepath.Join(t.TempDir(), "events")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Chown(file, nobody, nobody), os.Chmod(filepath.Dir(filepath.Dir(file)), 0o755)); err != nil {
		t.Fatal(err)
	}
	a := startAgent(t, "-w", file)
	var mu sync.Mutex
	var wg sync.WaitGroup
	pids := make([]int, processes)
	slots := make(chan struct{}, atOnce)
	began := time.Now()
	for i := range processes {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			pid, err := host.Burst(fmt.Sprintf("burst%d", i), each)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			pids[i] = pid
		})
	}
	wg.Wait()
	took := time.Since(began)
	time.Sleep(500 * time.Millisecond) // for the last answers
	if err := a.Stop(t); err != nil {
		t.Error(err)
	}
	events, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	right, wrong, none, received := 0, 0, 0, 0
	methods := map[string]int{}
	for lines := json.NewDecoder(bufio.NewReaderSize(events, 1<<20)); ; {
		var e seen
		if err := lines.Decode(&e); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if len(e.DNSResponse) != 1 {
			continue
		}
		var i, j int
		if n, _ := fmt.Sscanf(e.DNSResponse[0].QueryData.Query, "burst%d-%d.example.test", &i, &j); n != 2 {
			continue
		}
		switch e.Receiver.PID {
		case 0:
		case pids[i]:
			received++
		default:
			t.Errorf("received by %d, not by %d", e.Receiver.PID, pids[i])
		}
		switch {
		case e.Process == nil || e.Process.PID == 0:
			none++
		case e.Process.PID == pids[i]:
			right++
			methods[e.Process.Attribution]++
		default:
			wrong++
		}
	}
	all := processes * each
	t.Logf("%d processes asked %d times in %v: %d right (%v), %d unknown, %d wrong; %d with their receiver\n%s",
		processes, all, took.Round(time.Millisecond), right, methods, none, wrong, received, a.Output)
	if wrong != 0 || right < all*999/1000 || right+none > all || slices.Contains(pids, 0) {
		t.Errorf("%d of %d right, %d wrong, %d unknown", right, all, wrong, none)
	}
}
