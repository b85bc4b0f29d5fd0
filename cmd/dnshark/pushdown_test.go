package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

// What the kernel is told of an expression, beside other flags.
func TestPushDown(t *testing.T) {
	for _, c := range []struct{ args, expression, want string }{
		{"", `process.comm == "curl" && server.ip == 192.0.2.1 && process.pid == 7`, "pid comm address"},
		{"", `process.uid == 0 && process.cgroup_id == 7`, "uid cgroup"},
		{"", `dns.rcode == NXDOMAIN`, ""},
		{"", `process.uid in (` + strings.Repeat("1,", 16) + `2)`, ""}, // more than the kernel takes
		{"--comm dig", `process.comm == "curl" && process.uid == 0`, "uid"},
		{"--server 192.0.2.1", `server.ip == 192.0.2.2 && metadata.src_port == 53`, ""},
		{"--observer both", `process.comm == "curl" && client.ip == 192.0.2.1`, "address"},
		{"--observer server", `process.comm == "curl"`, ""},
		{"--ports 53,5353", `metadata.src_port == 53`, "port"},
		{"--ports 53,5353", `metadata.src_port in {53, 40000}`, ""}, // it may be a client's
		{"--ports 53,5353 --responses-only", `metadata.src_port == 53`, ""},
		{"", `metadata.src_port == 53`, ""}, // as it is
		{"--ports any", `metadata.src_port == 53 && client.ip == 192.0.2.1 && process.uid == 0`, "uid"},
		{"-e net_packet_udp", `process.comm == "curl" && metadata.src_ip == 192.0.2.1`, ""},
		{"-e alerts,net_packet_dns_response", `process.comm == "curl"`, ""}, // detectors see all
		{"-e alerts,net_packet_dns_response", `process.comm == "curl" && qname.under("test")`, "comm"},
		{"-o json:x -o ecs:y,filter=server_process.pid==1", `process.comm == "curl"`, ""},
		{"-o json:x -o ecs:y,filter=process.pid==1", `process.comm == "curl"`, "comm"},
		{"--metrics 127.0.0.1:0", `process.comm == "curl"`, ""},
		{"--scope uid=0", `process.comm == "curl"`, ""},
		{"-- true", `process.comm == "curl" && process.pid == 7`, "comm"},
	} {
		o := &options{filter: c.expression}
		flags, command, _ := strings.Cut("-e net_packet_dns_response "+c.args, "-- ")
		cmd := newLive(o)
		o.addOutput(cmd.Flags())
		if err := cmd.Flags().Parse(strings.Fields(flags)); err != nil {
			t.Fatal(err)
		}
		o.filter, o.command = c.expression, strings.Fields(command)
		if err := errors.Join(o.loadPolicies(), o.checkOutputs()); err != nil {
			t.Fatal(err)
		}
		live, err := o.liveSource()
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(live.pushed, " "); got != c.want {
			t.Errorf("%s -f %s: the kernel is told %q, want %q", c.args, c.expression, got, c.want)
		}
	}
}

// An expression that the kernel decides costs less than none.
func TestLivePushDownCost(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.NeedPrograms(t, "dnsperf", "unbound")
	b := &overhead{t: t, host: testkit.NewHost(t), rounds: 1, seconds: 2}
	b.resolver = b.host.Unbound("127.0.0.1")
	b.names = filepath.Join(t.TempDir(), "names")
	if err := os.WriteFile(b.names, []byte("www.example.test A\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const pace = 20_000
	run := func(args ...string) (cpu float64, submitted, shown uint64) {
		cmd := dnsharkAs(t, asNobody(socketCaps...), append([]string{"-o", "none", "-e", "net_packet_dns_response"}, args...)...)
		agent := testkit.Start(t, cmd)
		testkit.Eventually(t, 30*time.Second, "dnshark to watch", func() bool {
			return agent.Ended() || strings.Contains(agent.Output.String(), "watching")
		})
		l := b.ask(pace, agent)
		if err := agent.Stop(t); err != nil {
			t.Fatalf("%v: %s", err, agent.Output)
		}
		out := agent.Output.String()
		t.Logf("%s: %d answers, CPU s per million answers: dnshark's process %.2f, machine %.2f; %d records submitted, %d events",
			strings.Join(args, " "), l.answers, l.perMillion(l.cpu["dnshark"]), l.perMillion(l.machine), numberBefore(out, " submitted"), numberBefore(out, " net_packet_dns_response"))
		return l.perMillion(l.cpu["dnshark"]), numberBefore(out, " submitted"), numberBefore(out, " net_packet_dns_response")
	}
	var none, some []float64
	for range 3 {
		cpu, submitted, shown := run()
		none = append(none, cpu)
		const text = `process.comm == "nobody-asks" && dns.rcode == NXDOMAIN`
		filtered, left, _ := run("-f", text)
		some = append(some, filtered)
		if shown == 0 || left > submitted/10 {
			t.Errorf("%d records with a filter, %d without, of %d answers", left, submitted, shown)
		}
	}
	if less, without := slices.Min(some), slices.Min(none); less >= without/2 {
		t.Errorf("%.2f s per million with a filter, %.2f without", less, without)
	}
}
