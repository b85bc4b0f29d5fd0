package sink

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

// TestOTLPCollector exports to OpenTelemetry's own Collector, which prints what it received.
func TestOTLPCollector(t *testing.T) {
	built, _ := filepath.Glob("/usr/local/lib/dnshark-tests/otelcol-*")
	if len(built) == 0 {
		testkit.Unable(t, "the OpenTelemetry Collector is not built (scripts/install-test-deps.sh does it)")
	}
	ports, dir := testkit.FreePorts(t, 2), t.TempDir()
	config := filepath.Join(dir, "c.yaml")
	text := fmt.Sprintf(`
receivers: {otlp: {protocols: {grpc: {endpoint: 127.0.0.1:%d}, http: {endpoint: 127.0.0.1:%d}}}}
exporters: {debug: {verbosity: detailed, sampling_initial: 1000000}}
service: {telemetry: {metrics: {level: none}}, pipelines: {logs: {receivers: [otlp], exporters: [debug]}}}
`, ports[0], ports[1])
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	said, err := os.Create(filepath.Join(dir, "said"))
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	start := func() *exec.Cmd {
		c := exec.Command(built[len(built)-1], "--config", config)
		c.Stdout, c.Stderr = said, said
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	stop := func(c *exec.Cmd) {
		_ = c.Process.Kill()
		_ = c.Wait()
	}
	c := start()
	defer func() { stop(c) }()
	for i, url := range []string{fmt.Sprintf("otlp://127.0.0.1:%d", ports[0]), fmt.Sprintf("otlp+http://127.0.0.1:%d", ports[1])} {
		s, target := open(t, url+"?timeout=2s")
		target.Host = "h"
		q := newRestartSpool(t, s)
		const blocks, each = 50, 100
		for n := range blocks {
			q.Put(block(1+(i*blocks+n)*each, each))
			if n == blocks/2 {
				eventually(t, "something delivered", func() bool { return q.Stats().Delivered > 0 })
				// Killed, it may have a request that it did not print yet: here it ends in between.
				eventually(t, "nothing waiting", func() bool { return q.Stats().Waiting == 0 })
				stop(c)
				c = start()
			}
		}
		q.settle()
		if err := q.Close(30 * time.Second); err != nil || q.Stats().Delivered != blocks*each {
			t.Error(err, q.Stats())
		}
	}
	hostile, _ := open(t, fmt.Sprintf("otlp://127.0.0.1:%d", ports[0]))
	b := events(hostileNames...)
	b.First = 1_000_000
	if err := errors.Join(deliver(t, hostile, b), hostile.Close()); err != nil {
		t.Error(err)
	}
	read := func() string {
		text, err := os.ReadFile(said.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	eventually(t, "all printed", func() bool {
		return strings.Contains(read(), fmt.Sprintf("host-0123abcd-t-%d)", 999_999+len(hostileNames)))
	})
	text = read()
	for n := range 10_000 {
		if !strings.Contains(text, fmt.Sprintf("-> event_id: Str(host-0123abcd-t-%d)", 1+n)) {
			t.Fatalf("event %d was not received", 1+n)
		}
	}
	for _, want := range []string{"-> host.name: Str(h)", "EventName: net_packet_dns_response", "-> client.port: Int(40000)", `-> dns.answers: Slice(["192.0.2.80","\"x\\\"y\""])`, "-> dns.question.name: Str(" + hostileNames[0] + ")"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
}
