//go:build sinks

package sink

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

// realLoki is Grafana's own Loki (LOKI, which scripts/build-receiver.sh builds), with its
// write-ahead log, so that what it has acknowledged survives its end.
type realLoki struct {
	t       *testing.T
	config  string
	address string
	process *exec.Cmd
}

func newRealLoki(t *testing.T) *realLoki {
	ports, dir := testkit.FreePorts(t, 3), t.TempDir()
	l := &realLoki{t: t, config: filepath.Join(dir, "loki.yaml"), address: fmt.Sprintf("127.0.0.1:%d", ports[0])}
	text := fmt.Sprintf(`
auth_enabled: false
server: {http_listen_address: 127.0.0.1, http_listen_port: %[1]d, grpc_listen_address: 127.0.0.1, grpc_listen_port: %[2]d, log_level: warn, http_server_write_timeout: 5m, grpc_server_max_recv_msg_size: 104857600, grpc_server_max_send_msg_size: 104857600}
frontend_worker: {grpc_client_config: {max_send_msg_size: 104857600}}
common:
  instance_addr: 127.0.0.1
  instance_interface_names: [lo]
  path_prefix: %[4]s
  storage: {filesystem: {chunks_directory: %[4]s/chunks, rules_directory: %[4]s/rules}}
  replication_factor: 1
  ring: {kvstore: {store: inmemory}, instance_addr: 127.0.0.1}
schema_config:
  configs: [{from: 2024-01-01, store: tsdb, object_store: filesystem, schema: v13, index: {prefix: index_, period: 24h}}]
limits_config: {allow_structured_metadata: true, max_entries_limit_per_query: 100000}
analytics: {reporting_enabled: false}
memberlist: {bind_addr: [127.0.0.1], bind_port: %[3]d, advertise_addr: 127.0.0.1}
`, ports[0], ports[1], ports[2], dir)
	if err := os.WriteFile(l.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.kill() })
	return l
}

func (l *realLoki) start() {
	l.t.Helper()
	l.process = exec.Command(os.Getenv("LOKI"), "-config.file="+l.config)
	l.process.Stdout, l.process.Stderr = os.Stderr, os.Stderr
	if err := l.process.Start(); err != nil {
		l.t.Fatal(err)
	}
}

func (l *realLoki) ready() {
	l.t.Helper()
	testkit.Eventually(l.t, 2*time.Minute, "a Loki that is ready", func() bool {
		answer, err := http.Get("http://" + l.address + "/ready")
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
}

func (l *realLoki) kill() {
	if l.process != nil {
		l.process.Process.Kill()
		l.process.Wait()
	}
}

// entry is a line as Loki tells it, with its labels and structured metadata.
type entry struct {
	line   string
	labels map[string]string
}

func (l *realLoki) entries(query string) (list []entry) {
	l.t.Helper()
	now := time.Now()
	q := url.Values{"query": {query}, "limit": {"100000"}, "start": {fmt.Sprint(now.Add(-time.Hour).UnixNano())}, "end": {fmt.Sprint(now.Add(time.Minute).UnixNano())}}
	var result struct {
		Data struct {
			Result []struct {
				Stream map[string]string
				Values [][]string
			}
		}
	}
	// Fresh after a start it is slow to answer.
	testkit.Eventually(l.t, 5*time.Minute, "an answer", func() bool {
		answer, err := http.Get("http://" + l.address + "/loki/api/v1/query_range?" + q.Encode())
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if answer.StatusCode != http.StatusOK {
			l.t.Logf("%s: %.200s", answer.Status, text)
			return false
		}
		if err = errors.Join(err, json.Unmarshal(text, &result)); err != nil {
			l.t.Fatalf("%v: %.500s", err, text)
		}
		return true
	})
	for _, s := range result.Data.Result {
		for _, v := range s.Values {
			list = append(list, entry{v[1], s.Stream})
		}
	}
	return list
}

var eventTime = regexp.MustCompile(`"time":"[^"]*"`)

// recent makes events of now, each with a time of its own: Loki neither takes nor shows
// what is old, and compares all lines of the same time.
func recent(b *Block, now time.Time) *Block {
	n := b.First
	b.Text = eventTime.ReplaceAllFunc(b.Text, func([]byte) []byte {
		n++
		return now.Add(time.Duration(n)*time.Microsecond).UTC().AppendFormat(nil, `"time":"2006-01-02T15:04:05.000000000Z"`)
	})
	return b
}

// Loki is killed and started again under load: it has every line, and each once.
func TestRealLokiRestarts(t *testing.T) {
	l := newRealLoki(t)
	l.start()
	l.ready()
	s, target := open(t, "loki://"+l.address+"?labels=job=restarts&timeout=5s")
	target.Host = "h"
	q := newRestartSpool(t, s)
	const blocks, each, kills = 200, 100, 3
	now := time.Now()
	delivered := uint64(0)
	for i := range blocks {
		q.Put(recent(block(1+i*each, each), now))
		time.Sleep(5 * time.Millisecond)
		if i%(blocks/kills) == blocks/kills/2 {
			l.ready()
			testkit.Eventually(t, time.Minute, "something delivered", func() bool { return q.Stats().Delivered > delivered })
			delivered = q.Stats().Delivered
			l.kill()
			l.start()
		}
	}
	l.ready()
	q.settle()
	if err := q.Close(time.Minute); err != nil || q.Stats().Delivered != blocks*each {
		t.Error(err, q.Stats())
	}
	ids, again := map[string]int{}, 0
	for _, e := range l.entries(`{job="restarts"}`) {
		if ids[e.labels["event_id"]]++; ids[e.labels["event_id"]] > 1 {
			again++
		}
	}
	for n := 1; n <= blocks*each; n++ {
		if ids[fmt.Sprintf("host-0123abcd-t-%d", n)] == 0 {
			t.Fatalf("event %d is not there", n)
		}
	}
	if len(ids) != blocks*each || again > 0 {
		t.Errorf("%d events, %d lines more than once", len(ids), again)
	}
	t.Logf("%d events once each, %d deliveries repeated", len(ids), q.Stats().Retries)
}

// Whatever names hold, they stay in their line and in their metadata.
func TestRealLokiHostile(t *testing.T) {
	l := newRealLoki(t)
	l.start()
	l.ready()
	s, target := open(t, "loki://"+l.address+"?labels=job=hostile")
	target.Host = "h"
	hostile := recent(events(hostileNames...), time.Now())
	lines := map[string]bool{}
	for line := range strings.Lines(string(hostile.Text)) {
		lines[strings.TrimSuffix(line, "\n")] = true
	}
	if err := errors.Join(deliver(t, s, hostile), s.Close()); err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	for _, name := range hostileNames {
		want[name] = true
	}
	list := l.entries(`{job="hostile"}`)
	for _, e := range list {
		name := e.labels["qname"]
		if !want[name] || !lines[e.line] {
			t.Errorf("%q: %s", name, e.line)
		}
		delete(want, name)
		for label := range e.labels {
			if !lokiLabel.MatchString(label) {
				t.Errorf("label %q", label)
			}
		}
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
	if got := l.entries(`{job="hostile"} | rcode="NXDOMAIN" | process="dig"`); len(got) != len(hostileNames) {
		t.Errorf("%d lines by metadata", len(got))
	}
}
