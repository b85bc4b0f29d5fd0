package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

// seen is an event as a user's program reads it.
type seen struct {
	Time        time.Time               `json:"time"`
	Event       string                  `json:"event"`
	Host        string                  `json:"host"`
	Observer    string                  `json:"observer"`
	Metadata    event.PktMeta           `json:"metadata"`
	DNSResponse []event.DnsResponseData `json:"dns_response"`
	Questions   []event.DnsQueryData    `json:"dns_questions"`
	DNS         struct {
		ID     uint16   `json:"id"`
		RCode  string   `json:"rcode"`
		Flags  []string `json:"flags"`
		Answer []struct {
			Name, Type, Class, Data string
			TTL                     uint32
		} `json:"answer"`
	} `json:"dns"`
	Transaction struct {
		State       string  `json:"state"`
		LatencyUS   *uint64 `json:"latency_us"`
		Retransmits int     `json:"retransmits"`
		CausedBy    *struct {
			Rule    string    `json:"rule"`
			Time    time.Time `json:"time"`
			SrcIP   string    `json:"src_ip"`
			SrcPort uint16    `json:"src_port"`
			ID      uint16    `json:"id"`
			PID     int       `json:"pid"`
			Comm    string    `json:"comm"`
		} `json:"caused_by"`
	} `json:"transaction"`
	Process *party `json:"process"`
	Server  *party `json:"server_process"`
	// Receiver has a few of a party's keys.
	Receiver party `json:"receiver"`
	Alert    struct {
		Threat, Kind, Severity, Src, Domain string
		Update                              int
	} `json:"alert"`
	Loss struct {
		Where, Name string
		Count       uint64
		ByReason    map[string]uint64 `json:"by_reason"`
		Duration    float64           `json:"duration_s"`
		Unfinished  bool
	} `json:"loss"`
}

type party struct {
	Attribution string   `json:"attribution"`
	PID         int      `json:"pid"`
	TID         int      `json:"tid"`
	PPID        int      `json:"ppid"`
	UID         int      `json:"uid"`
	User        string   `json:"user"`
	Comm        string   `json:"comm"`
	Exe         string   `json:"exe"`
	ExeSHA256   string   `json:"exe_sha256"`
	Cwd         string   `json:"cwd"`
	Args        []string `json:"args"`
	StartTime   string   `json:"start_time"`
	Ancestors   []struct {
		PID       int    `json:"pid"`
		Comm      string `json:"comm"`
		Exe       string `json:"exe"`
		StartTime string `json:"start_time"`
	} `json:"ancestors"`
	NetNS        uint64 `json:"netns"`
	Cgroup       uint64 `json:"cgroup_id"`
	Disagreement struct {
		Method string `json:"method"`
		PID    int    `json:"pid"`
	} `json:"disagreement"`
	Unit      string         `json:"unit"`
	Container *seenContainer `json:"container"`
}

// agent is a running dnshark whose JSON is read as it comes.
type agent struct {
	*testkit.Daemon
	t      *testing.T
	mu     sync.Mutex
	events []seen
}

// startAgent runs dnshark on the machine, where it sees the sockets of every
// network namespace, and waits until it does. It has the rights that it needs,
// and no others.
func startAgent(t *testing.T, args ...string) *agent {
	t.Helper()
	return startAgentWith(t, asNobody(socketCaps...), args...)
}

func startAgentWith(t *testing.T, rights *syscall.SysProcAttr, args ...string) *agent {
	t.Helper()
	testkit.NeedRoot(t)
	cmd := exec.Command(shareable(t), append([]string{"-o", "json"}, args...)...)
	cmd.SysProcAttr = rights
	return watch(t, cmd)
}

// watch starts a command that writes events as JSON, and waits until it watches.
func watch(t *testing.T, cmd *exec.Cmd) *agent {
	t.Helper()
	stdout, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdout.Close() })
	cmd.Stdout = w
	reader := bufio.NewReaderSize(stdout, 1<<20)
	a := &agent{t: t}
	a.Daemon = testkit.Start(t, cmd)
	w.Close()
	go func() {
		for {
			line, err := reader.ReadBytes('\n')
			if err != nil {
				return
			}
			var s seen
			if err := json.Unmarshal(line, &s); err != nil {
				t.Errorf("not JSON: %v: %s", err, line)
			}
			a.mu.Lock()
			a.events = append(a.events, s)
			a.mu.Unlock()
		}
	}()
	a.waitUntilWatching()
	return a
}

func (a *agent) waitUntilWatching() {
	a.t.Helper()
	testkit.Eventually(a.t, 30*time.Second, "the agent to watch", func() bool {
		return a.Ended() || strings.Contains(a.Output.String(), "watching")
	})
	if a.Ended() {
		testkit.Unable(a.t, "the agent ended: %s", a.Output)
	}
}

// named returns the events so far whose question is name.
func (a *agent) named(name string) (list []seen) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.events {
		for _, q := range e.DNSResponse {
			if q.QueryData.Query == name {
				list = append(list, e)
			}
		}
		for _, q := range e.Questions {
			if q.Query == name {
				list = append(list, e)
			}
		}
	}
	return list
}

// one waits for an event about name and some time longer, for any second one.
func (a *agent) one(name string) seen {
	a.t.Helper()
	testkit.Eventually(a.t, 10*time.Second, "an event about "+name, func() bool { return len(a.named(name)) > 0 })
	time.Sleep(300 * time.Millisecond)
	list := a.named(name)
	if len(list) != 1 {
		a.t.Fatalf("%d events about %s, want one: %+v", len(list), name, list)
	}
	return list[0]
}

// Every way in which dig can ask a resolver on the same host, in two network
// namespaces: one event each, with dig's process id and the leader's name.
func TestLiveDig(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.NeedPrograms(t, "dig", "dnsmasq", "ip")
	machine, other := testkit.Machine(t), testkit.NewHost(t)
	machine.Dnsmasq("127.53.0.1")
	other.Dnsmasq("127.0.0.1", "::1")
	a := startAgent(t)

	cases := []struct {
		name   string
		host   *testkit.Host
		server string
		tcp    bool
	}{
		{"machine-udp4", machine, "127.53.0.1", false},
		{"machine-tcp4", machine, "127.53.0.1", true},
		{"netns-udp4", other, "127.0.0.1", false},
		{"netns-tcp4", other, "127.0.0.1", true},
		{"netns-udp6", other, "::1", false},
		{"netns-tcp6", other, "::1", true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			name := c.name + ".example.test"
			args := []string{"@" + c.server, name}
			if c.tcp {
				args = append(args, "+tcp")
			}
			dig := c.host.Command("dig", args...)
			if out, err := dig.CombinedOutput(); err != nil {
				t.Fatalf("dig: %v: %s", err, out)
			}
			a.t = t
			e := a.one(name)
			if e.Event != "net_packet_dns_response" || e.Observer != "client" {
				t.Errorf("event %s seen by the %s", e.Event, e.Observer)
			}
			want := event.DnsResponseData{
				QueryData: event.DnsQueryData{Query: name, QueryType: "A", QueryClass: "IN"},
				DnsAnswer: []event.DnsAnswer{{Type: "A", TTL: 300, Answer: "192.0.2.80"}},
			}
			if got := fmt.Sprint(e.DNSResponse); got != fmt.Sprint([]event.DnsResponseData{want}) {
				t.Errorf("dns_response %v, want %v", got, want)
			}
			protocol := uint8(17)
			if c.tcp {
				protocol = 6
			}
			if m := e.Metadata; m.SrcIP.String() != c.server || m.SrcPort != 53 || m.Protocol != protocol || m.Iface != "lo" || m.PacketLen < 60 {
				t.Errorf("metadata %+v", m)
			}
			if tx := e.Transaction; tx.State != "answered" || tx.LatencyUS == nil || *tx.LatencyUS == 0 || *tx.LatencyUS > 1e6 {
				t.Errorf("transaction %+v", tx)
			}
			p := e.Process
			if p == nil {
				t.Fatal("no process")
			}
			if p.PID != dig.Process.Pid || p.Comm != "dig" || p.Attribution != "query_egress" || p.UID != 0 || p.PPID != os.Getpid() {
				t.Errorf("process %+v, want dig with pid %d", *p, dig.Process.Pid)
			}
			if path, _ := exec.LookPath("dig"); p.Exe != realPath(t, path) {
				t.Errorf("exe %q, want that of %s", p.Exe, path)
			}
		})
	}
}

// Both ends of a conversation are shown when both are wanted.
func TestLiveObserverBoth(t *testing.T) {
	host := testkit.NewHost(t)
	host.Dnsmasq("127.0.0.1")
	a := startAgent(t, "--observer", "both")
	host.Run("dig", "@127.0.0.1", "both.example.test")
	testkit.Eventually(t, 2*time.Second, "both ends", func() bool { return len(a.named("both.example.test")) == 2 })
	ends := map[string]bool{}
	for _, e := range a.named("both.example.test") {
		ends[e.Observer] = true
	}
	if !ends["client"] || !ends["server"] {
		t.Errorf("seen by %v", ends)
	}
}

// A server that never answers.
func TestLiveUnanswered(t *testing.T) {
	host := testkit.NewHost(t)
	a := startAgent(t, "--timeout", "1s")
	sink := testkit.Start(t, host.Command("dnsmasq", "-k", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
		"--bind-interfaces", "--listen-address=127.0.0.2", "--user=root", "--pid-file=", "--server=127.0.0.3"))
	time.Sleep(200 * time.Millisecond)
	dig := host.Command("dig", "@127.0.0.2", "+time=1", "+tries=1", "lost.example.test")
	dig.Run()
	if sink.Ended() {
		t.Fatalf("dnsmasq ended: %s", sink.Output)
	}
	var mine []seen
	testkit.Eventually(t, 5*time.Second, "an unanswered query", func() bool {
		mine = mine[:0]
		for _, e := range a.named("lost.example.test") {
			if e.Event == "net_packet_dns_unanswered" && e.Process != nil && e.Process.PID == dig.Process.Pid {
				mine = append(mine, e)
			}
		}
		return len(mine) > 0
	})
	if e := mine[0]; len(mine) != 1 || e.Process.Comm != "dig" || e.Transaction.State != "unanswered" {
		t.Errorf("%+v", mine)
	}
}

// Several clients at full speed at once: every answer comes, with the right
// process.
func TestLiveFullSpeed(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.NeedPrograms(t, "dnsperf", "unbound")
	const clients, each = 4, 2500
	host := testkit.NewHost(t)
	server := host.Unbound("127.0.0.1")
	a := startAgent(t)
	pids := make([]int, clients)
	var wg sync.WaitGroup
	for c := range clients {
		var names strings.Builder
		for i := range each {
			fmt.Fprintf(&names, "c%d-%d.example.test A\n", c, i)
		}
		file := filepath.Join(t.TempDir(), "names")
		if err := os.WriteFile(file, []byte(names.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := host.Command("dnsperf", "-s", "127.0.0.1", "-d", file, "-n", "1", "-c", "5", "-q", "100")
		out := &testkit.Buffer{}
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		pids[c] = cmd.Process.Pid
		wg.Go(func() {
			if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), fmt.Sprintf("Queries completed:    %d", each)) {
				t.Errorf("dnsperf: %v: %s", err, out)
			}
		})
	}
	wg.Wait()
	answers := func() int {
		a.mu.Lock()
		defer a.mu.Unlock()
		n := 0
		for _, e := range a.events {
			if e.Event == "net_packet_dns_response" && strings.HasPrefix(e.DNSResponse[0].QueryData.Query, "c") {
				n++
			}
		}
		return n
	}
	deadline := time.Now().Add(5 * time.Second)
	for answers() < clients*each && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
	}
	time.Sleep(200 * time.Millisecond)
	if err := a.Stop(t); err != nil {
		t.Errorf("the agent ended with %v", err)
	}

	names := map[string]int{}
	wrong, unserved := 0, 0
	for _, e := range a.events {
		if e.Event != "net_packet_dns_response" {
			continue
		}
		name := e.DNSResponse[0].QueryData.Query
		number, rest, ok := strings.Cut(strings.TrimPrefix(name, "c"), "-")
		c, err := strconv.Atoi(number)
		if !ok || err != nil || !strings.HasSuffix(rest, ".example.test") {
			continue
		}
		names[name]++
		if e.Process == nil || e.Process.PID != pids[c] || e.Process.Comm != "dnsperf" {
			wrong++
		}
		if e.Server == nil {
			unserved++
		} else if e.Server.PID != server.Process.Pid {
			wrong++
		}
	}
	once := 0
	for _, n := range names {
		if n == 1 {
			once++
		}
	}
	t.Logf("%d queries, %d answered exactly once, %d with a wrong process or none, %d without the server's\n%s", clients*each, once, wrong, unserved, a.Output)
	if once != clients*each || wrong != 0 || unserved > clients*each/100 {
		t.Errorf("%d of %d answers exactly once, %d with a wrong process or none, %d without the server's", once, clients*each, wrong, unserved)
	}
}

// Packets of an interface, without processes.
func TestLiveInterface(t *testing.T) {
	client, server := testkit.NewHost(t), testkit.NewHost(t)
	client.Connect("c0", []string{"198.51.100.1/24"}, server, "s0", []string{"198.51.100.2/24"})
	server.Dnsmasq("198.51.100.2")
	out := &testkit.Buffer{}
	cmd := client.Command(testkit.Dnshark(t), "-i", "c0", "-o", "json", "--count", "1")
	cmd.Stdout = out
	d := testkit.Start(t, cmd)
	testkit.Eventually(t, 10*time.Second, "the agent to watch", func() bool {
		return d.Ended() || strings.Contains(d.Output.String(), "watching")
	})
	client.Run("dig", "@198.51.100.2", "iface.example.test")
	if err := d.Wait(t, 5*time.Second); err != nil {
		t.Fatalf("%v: %s", err, d.Output)
	}
	var e seen
	if err := json.Unmarshal([]byte(out.String()), &e); err != nil {
		t.Fatal(err)
	}
	if e.Observer != "passive" || e.Process != nil || e.Metadata.Iface != "c0" || e.Transaction.State != "answered" {
		t.Errorf("%s", out)
	}
}

// Without eBPF, the interfaces; processes are then unknown, and said to be.
func TestLiveFallback(t *testing.T) {
	testkit.NeedRoot(t)
	host := testkit.NewHost(t)
	host.Dnsmasq("127.0.0.1")
	out := &testkit.Buffer{}
	testkit.NeedPrograms(t, "setpriv")
	// Entering the namespace takes rights that dnshark is not to have.
	cmd := host.Command("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
		"--inh-caps=-all,+net_raw", "--ambient-caps=-all,+net_raw", shareable(t), "-o", "json", "--count", "1")
	cmd.Stdout = out
	d := testkit.Start(t, cmd)
	testkit.Eventually(t, 10*time.Second, "the agent to watch", func() bool {
		return d.Ended() || strings.Contains(d.Output.String(), "watching all interfaces")
	})
	host.Run("dig", "@127.0.0.1", "fallback.example.test")
	if err := d.Wait(t, 5*time.Second); err != nil {
		t.Fatalf("%v: %s", err, d.Output)
	}
	var e seen
	if err := json.Unmarshal([]byte(out.String()), &e); err != nil {
		t.Fatal(err)
	}
	if e.Process != nil || e.Observer != "passive" || e.Metadata.Iface != "lo" || e.Transaction.State != "answered" {
		t.Errorf("%s", out)
	}
	if !strings.Contains(d.Output.String(), "CAP_BPF") {
		t.Errorf("why there is no eBPF is not told: %s", d.Output)
	}
}

// With no capability at all: one line that names what is missing, and 77.
func TestLiveNotPermitted(t *testing.T) {
	testkit.NeedRoot(t)
	for _, args := range [][]string{{}, {"-i", "lo"}} {
		cmd := dnsharkAs(t, asNobody(), args...)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != exitNotPermitted {
			t.Errorf("dnshark %v: %v, want exit code %d", args, err, exitNotPermitted)
		}
		text := string(out)
		if strings.Count(text, "\n") != 1 || !strings.Contains(text, "CAP_NET_RAW") || !strings.Contains(text, "sudo") {
			t.Errorf("dnshark %v says:\n%s", args, text)
		}
		if len(args) == 0 && !strings.Contains(text, "CAP_BPF") {
			t.Errorf("dnshark %v says:\n%s", args, text)
		}
	}
}

// A capture file that may not be read.
func TestLiveUnreadable(t *testing.T) {
	testkit.NeedRoot(t)
	file := filepath.Join(t.TempDir(), "secret.pcap")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := dnsharkAs(t, asNobody(), "read", file).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitError || strings.Count(string(out), "\n") != 1 || !strings.Contains(string(out), "permission denied") {
		t.Errorf("%v\n%s", err, out)
	}
}

// Packets of every port, when asked for, with their headers.
func TestLivePackets(t *testing.T) {
	host := testkit.NewHost(t)
	host.Dnsmasq("127.0.0.1")
	a := startAgent(t, "-e", "net_packet_udp,net_packet_tcp,net_packet_ip")
	host.Run("dig", "+tcp", "@127.0.0.1", "packets.example.test")
	kinds := map[string]bool{}
	testkit.Eventually(t, 2*time.Second, "TCP packets", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, e := range a.events {
			if e.Metadata.Iface == "lo" {
				kinds[e.Event] = true
			}
		}
		return kinds["net_packet_tcp"] && kinds["net_packet_ip"]
	})
}

// A resolver on a port that nobody named.
func TestLiveAnyPort(t *testing.T) {
	host := testkit.NewHost(t)
	host.DnsmasqOn("5399", "127.0.0.1")
	a := startAgent(t, "--ports", "any")
	for _, option := range []string{"+notcp", "+tcp"} {
		name := "any" + option[1:] + ".example.test"
		host.Run("dig", option, "@127.0.0.1", "-p", "5399", name)
		if e := a.one(name); e.Metadata.SrcPort != 5399 || e.Process == nil || e.Process.Comm != "dig" || e.Observer != "client" {
			t.Errorf("%+v", e)
		}
	}
}
