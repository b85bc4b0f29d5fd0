package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

// load is what dnsperf and the accounts of the machine say about a while of
// questions.
type load struct {
	answers  uint64
	rate     float64
	cpu      map[string]time.Duration // of each process, user and kernel
	machine  time.Duration            // of all that ran on the machine
	programs time.Duration            // of dnshark's, in the kernel, where that was counted
	runs     uint64
}

func (l *load) perMillion(cpu time.Duration) float64 { return cpu.Seconds() / float64(l.answers) * 1e6 }

// What dnshark costs a resolver: rounds with it and without take turns, and the
// nearest are compared, because the machine is not ours alone. Where all processors
// are busy, its share of them is throughput lost; half as fast, it must not be felt.
//
// DNSHARK_BENCH_LIVE=ROUNDS makes it long, and its bound on the loss of
// throughput a test.
func TestLiveOverhead(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.NeedPrograms(t, "dnsperf", "unbound")
	rounds, seconds := 1, 1
	if n, err := strconv.Atoi(os.Getenv("DNSHARK_BENCH_LIVE")); err == nil {
		rounds, seconds = n, 4
	}
	b := &overhead{t: t, host: testkit.NewHost(t), rounds: rounds, seconds: seconds}
	b.resolver = b.host.Unbound("127.0.0.1")
	b.names = filepath.Join(t.TempDir(), "names")
	var names strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&names, "host%d.example.test A\n", i)
	}
	if err := os.WriteFile(b.names, []byte(names.String()), 0o600); err != nil {
		t.Fatal(err)
	}

	all := b.without(0) // warms up
	for _, qps := range []int{0, int(all.rate) / 2, 10_000, 1_000} {
		pace := "as fast as possible"
		if qps > 0 {
			pace = fmt.Sprintf("%d questions/s", qps)
		}
		var losses, costs, ours []float64
		for range rounds {
			before := b.without(qps)
			with := b.with(qps)
			after := b.without(qps)
			losses = append(losses, 100*(1-with.rate/((before.rate+after.rate)/2)))
			costs = append(costs, with.perMillion(with.machine)-(before.perMillion(before.machine)+after.perMillion(after.machine))/2)
			ours = append(ours, with.perMillion(with.cpu["dnshark"]))
			for _, l := range []*load{before, with, after} {
				t.Logf("%s: %.0f answers/s; CPU s per million answers: machine %.2f, unbound %.2f, dnsperf %.2f, dnshark %.2f", pace,
					l.rate, l.perMillion(l.machine), l.perMillion(l.cpu["unbound"]), l.perMillion(l.cpu["dnsperf"]), l.perMillion(l.cpu["dnshark"]))
			}
		}
		loss := median(losses)
		t.Logf("%s: throughput %.1f %% less; CPU per million answers: %.2f s more on the machine, of which dnshark's process %.2f s",
			pace, loss, median(costs), median(ours))
		if rounds > 2 && qps > 0 && loss > 3 {
			t.Errorf("%s: dnshark costs %.1f %% of the throughput, want at most 3 %%", pace, loss)
		}
	}
	if rounds > 2 {
		b.floor()
	}
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		t.Fatal(err)
	}
	defer stats.Close()
	with := b.with(0)
	t.Logf("in the kernel: %.2f s per million answers in %.1f runs of the programs per answer, %.0f ns each",
		with.perMillion(with.programs), float64(with.runs)/float64(with.answers), float64(with.programs.Nanoseconds())/float64(with.runs))
}

// floor measures what programs cost that do nothing, where dnshark's look at packets:
// no observer of sockets that uses these hooks can cost less.
func (b *overhead) floor() {
	b.t.Helper()
	var losses []float64
	for range b.rounds {
		before := b.without(0)
		var links []link.Link
		for _, attach := range []ebpf.AttachType{ebpf.AttachCGroupInetIngress, ebpf.AttachCGroupInetEgress} {
			prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
				Type: ebpf.CGroupSKB, AttachType: attach, License: "GPL",
				Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()},
			})
			if err != nil {
				b.t.Fatal(err)
			}
			defer prog.Close()
			l, err := link.AttachCgroup(link.CgroupOptions{Path: cgroupRoot(b.t), Attach: attach, Program: prog})
			if err != nil {
				b.t.Fatal(err)
			}
			links = append(links, l)
		}
		with := b.without(0)
		for _, l := range links {
			if err := l.Close(); err != nil {
				b.t.Fatal(err)
			}
		}
		after := b.without(0)
		losses = append(losses, 100*(1-with.rate/((before.rate+after.rate)/2)))
	}
	b.t.Logf("floor: empty programs at the two packet hooks: throughput %.1f %% less (each of %.1f rounds)", median(losses), losses)
}

// cgroupRoot returns where cgroup v2 is mounted.
func cgroupRoot(t *testing.T) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup2" {
			return f[1]
		}
	}
	t.Fatal("no cgroup v2 is mounted")
	return ""
}

func median(list []float64) float64 {
	list = slices.Clone(list)
	slices.Sort(list)
	n := len(list)
	return (list[(n-1)/2] + list[n/2]) / 2
}

type overhead struct {
	t        *testing.T
	host     *testkit.Host
	resolver *testkit.Daemon
	names    string
	rounds   int
	seconds  int // of a round
}

// without asks for the round's time, qps questions a second or, if that is 0, as
// many as are answered.
func (b *overhead) without(qps int) *load { return b.ask(qps, nil) }

// with does the same under the eyes of dnshark, which must not miss an answer.
func (b *overhead) with(qps int) *load {
	b.t.Helper()
	cmd := dnsharkAs(b.t, asNobody(socketCaps...), "-o", "json", "-w", os.DevNull)
	agent := testkit.Start(b.t, cmd)
	testkit.Eventually(b.t, 30*time.Second, "dnshark to watch", func() bool {
		return agent.Ended() || strings.Contains(agent.Output.String(), "watching")
	})
	l := b.ask(qps, agent)
	if err := agent.Stop(b.t); err != nil {
		b.t.Fatalf("dnshark ended with %v: %s", err, agent.Output)
	}
	out := agent.Output.String()
	events, lost := numberBefore(out, " net_packet_dns_response"), numberBefore(out, " ring_full")
	// On a machine that does other work too it may be too slow for the fastest
	// resolver, but never without saying so.
	if lost > 0 && (qps > 0 || b.rounds > 2) {
		b.t.Errorf("packets were lost: %s", out)
	}
	if events+lost < l.answers || numberBefore(out, " copy_error") != 0 {
		b.t.Errorf("%d events of %d answers: %s", events, l.answers, out)
	}
	return l
}

func (b *overhead) ask(qps int, agent *testkit.Daemon) *load {
	b.t.Helper()
	args := []string{"-s", "127.0.0.1", "-d", b.names, "-l", strconv.Itoa(b.seconds), "-c", "10", "-q", "100"}
	if qps > 0 {
		args = append(args, "-Q", strconv.Itoa(qps))
	}
	dnsperf := b.host.Command("dnsperf", args...)
	out := &testkit.Buffer{}
	dnsperf.Stdout, dnsperf.Stderr = out, out
	account := func() (list []time.Duration) {
		list = []time.Duration{machineTime(b.t), processTime(b.t, b.resolver.Process.Pid)}
		if agent != nil {
			list = append(list, processTime(b.t, agent.Process.Pid))
		}
		return list
	}
	programs, runs := programTime(b.t, agent)
	before := account()
	if err := dnsperf.Run(); err != nil {
		b.t.Fatalf("dnsperf: %v: %s", err, out)
	}
	if agent != nil {
		time.Sleep(20 * time.Millisecond) // it reads the last ones
	}
	after := account()
	l := &load{
		answers: numberAfter(out.String(), "Queries completed: "),
		machine: after[0] - before[0],
		cpu: map[string]time.Duration{
			"unbound": after[1] - before[1],
			"dnsperf": dnsperf.ProcessState.UserTime() + dnsperf.ProcessState.SystemTime(),
		},
	}
	l.rate = float64(numberAfter(out.String(), "Queries per second: "))
	if agent != nil {
		l.cpu["dnshark"] = after[2] - before[2]
		l.programs, l.runs = programTime(b.t, agent)
		l.programs -= programs
		l.runs -= runs
	}
	if l.answers == 0 {
		b.t.Fatalf("dnsperf got no answer: %s", out)
	}
	return l
}

// numberAfter reads the whole number that follows label in text.
func numberAfter(text, label string) uint64 {
	_, rest, _ := strings.Cut(text, label)
	rest = strings.TrimLeft(rest, " ")
	if end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		rest = rest[:end]
	}
	n, _ := strconv.ParseUint(rest, 10, 64)
	return n
}

// numberBefore reads the whole number before label in text.
func numberBefore(text, label string) uint64 {
	before, _, _ := strings.Cut(text, label)
	n, _ := strconv.ParseUint(before[strings.LastIndexAny(before, " \n")+1:], 10, 64)
	return n
}

const tick = 10 * time.Millisecond // USER_HZ, the unit of times in /proc

// processTime returns the CPU time of a process so far.
func processTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	return ticks(t, fields[11:13]) // utime, stime
}

// machineTime returns the time in which the machine's processors did anything.
func machineTime(t *testing.T) time.Duration {
	t.Helper()
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(data), "\n")
	fields := strings.Fields(line)
	return ticks(t, slices.Concat(fields[1:4], fields[6:8])) // user, nice, system, irq, softirq
}

func ticks(t *testing.T, fields []string) (sum time.Duration) {
	t.Helper()
	for _, f := range fields {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += time.Duration(n) * tick
	}
	return sum
}

// programTime returns what dnshark's programs have cost in the kernel so far,
// and how often they ran, where the kernel counts.
func programTime(t *testing.T, agent *testkit.Daemon) (sum time.Duration, runs uint64) {
	t.Helper()
	if agent == nil {
		return 0, 0
	}
	ids := kernelIDs(t, agent.Process.Pid)["prog"]
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		prog, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
		if err != nil {
			t.Fatal(err)
		}
		stats, err := prog.Stats()
		prog.Close()
		if err != nil {
			t.Fatal(err)
		}
		sum += stats.Runtime
		runs += stats.RunCount
	}
	return sum, runs
}
