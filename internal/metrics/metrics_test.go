package metrics

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
)

func batch() *event.Batch {
	b := &event.Batch{}
	add := func(response bool, typ, rcode byte, latency int64) {
		flags := byte(1)
		if response {
			flags |= 0x80
		}
		e := b.Next()
		e.Msg.Unpack(b.Hold([]byte{0, 7, flags, rcode, 0, 1, 0, 0, 0, 0, 0, 0, 1, 'a', 0, 0, typ, 0, 1}))
		if e.Txn.Latency = latency; latency >= 0 {
			e.Txn.State = event.StateAnswered
		}
	}
	add(false, 1, 0, -1)
	add(false, 28, 0, -1)
	add(true, 1, 0, 1_000_000)
	add(true, 28, 3, 16_000)
	add(true, 28, 3, -1)
	add(true, 1, 15, 60e9)
	b.Next().Class = event.ClassPacket
	return b
}

func TestRecorder(t *testing.T) {
	var r Recorder
	b := batch()
	r.Process(b)
	if r.Queries[1] != 1 || r.Queries[28] != 1 || r.Responses[0] != 1 || r.Responses[3] != 2 || r.Responses[15] != 1 {
		t.Errorf("%v %v", r.Queries, r.Responses)
	}
	if r.Latency.Sum != 60e9+1_016_000 || r.Latency.Buckets[0] != 1 || r.Latency.Buckets[numBuckets-1] != 1 {
		t.Errorf("%+v", r.Latency)
	}
	for i, n := range r.Latency.Buckets[:numBuckets-1] {
		if n == 1 && i > 0 && (bound(i) < 0.001 || bound(i-1) >= 0.001) {
			t.Errorf("1 ms is in the bucket up to %v", bound(i))
		}
	}
	if n := testing.AllocsPerRun(10, func() { r.Process(b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	for i := range NumTypes {
		if i < NumTypes-1 && typeIndex(mustType(t, typeName(i))) != i {
			t.Errorf("counter %d is that of %s", i, typeName(i))
		}
	}
}

func mustType(t *testing.T, name string) dnswire.Type {
	typ, ok := dnswire.ParseType(name)
	if !ok {
		t.Fatalf("%s is no type", name)
	}
	return typ
}

func serve(t *testing.T, address string, snapshot func(context.Context) (*Snapshot, error)) net.Listener {
	t.Helper()
	l, err := Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- (&Server{Snapshot: snapshot, Version: "1"}).Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l
}

func get(t *testing.T, client *http.Client, url, host string) (int, string) {
	t.Helper()
	r, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func counted(context.Context) (*Snapshot, error) {
	s := &Snapshot{Counts: []Count{
		{"packets", "in", "seen", 10}, {"packets", "out", "submitted", 7}, {"packets", "out", "ring_full", 3},
		{"events", "in", "messages", 5}, {"events", "out", "shown", 4}, {"", "also", "births_lost", 2},
	}, Rules: []Count{
		{Side: "suppressed", What: "scanner", N: 3}, {Side: "allowed", What: "scanner", N: 4},
	}, Outputs: []Output{
		{Name: "1", Target: "tcp://h:1", Format: "json", Events: 10, Waiting: 2, Queued: 900, Octets: 4000, Retries: 3,
			Outcomes: []Count{{What: "delivered", N: 5}, {What: "overflow", N: 3}}},
		{Name: "siem", Target: "https://h/x", Format: "ecs", Events: 1, Outcomes: []Count{{What: "delivered", N: 1}}, Up: true},
	}}
	s.Process(batch())
	return s, nil
}

func TestServer(t *testing.T) {
	url := "http://" + serve(t, "127.0.0.1:0", counted).Addr().String()
	code, body := get(t, http.DefaultClient, url+"/metrics", "")
	if code != 200 {
		t.Fatal(code, body)
	}
	for _, want := range []string{
		`dnshark_build_info{version="1"} 1`, `dnshark_queries_total{type="AAAA"} 1`, `dnshark_responses_total{rcode="NXDOMAIN"} 2`,
		`dnshark_responses_total{rcode="RCODE15"} 1`, `dnshark_response_latency_seconds_bucket{le="+Inf"} 3`, `dnshark_response_latency_seconds_sum 60.001016`,
		`dnshark_in_total{step="packets",what="seen"} 10`, `dnshark_out_total{step="packets",what="ring_full"} 3`,
		`dnshark_unaccounted{step="packets"} 0`, `dnshark_unaccounted{step="events"} 1`, `dnshark_noted_total{what="births_lost"} 2`,
		`dnshark_output_info{format="ecs",output="siem",target="https://h/x"} 1`, `dnshark_output_events_total{outcome="overflow",output="1"} 3`,
		`dnshark_output_bytes_total{output="1"} 4000`, `dnshark_output_retries_total{output="1"} 3`, `dnshark_output_queue_events{output="1"} 2`,
		`dnshark_output_queue_bytes{output="1"} 900`, `dnshark_output_up{output="1"} 0`, `dnshark_output_up{output="siem"} 1`,
		`dnshark_unaccounted{step="output 1"} 0`, `dnshark_alert_rules_total{did="suppressed",rule="scanner"} 3`, `dnshark_alert_rules_total{did="allowed",rule="scanner"} 4`,
	} {
		if !strings.Contains(body, want+"\n") {
			t.Errorf("no %s in\n%s", want, body)
		}
	}
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	if err != nil || len(problems) > 0 {
		t.Error(err, problems)
	}
	// A page that lets its own name point here learns nothing.
	for host, want := range map[string]int{"evil.example": 421, "localhost:1": 200, "127.0.0.1": 200, "[::1]:9": 200, "192.0.2.1": 421} {
		if code, _ := get(t, http.DefaultClient, url+"/metrics", host); code != want {
			t.Errorf("host %s: %d, want %d", host, code, want)
		}
	}
	if code, _ := get(t, http.DefaultClient, url+"/healthz", ""); code != 200 {
		t.Error(code)
	}
	if code, _ := get(t, http.DefaultClient, url+"/", ""); code != 404 {
		t.Error(code)
	}
}

func TestStuckWorker(t *testing.T) {
	url := "http://" + serve(t, "[::1]:0", func(context.Context) (*Snapshot, error) { return nil, errors.New("the worker is stuck") }).Addr().String()
	for _, path := range []string{"/healthz", "/readyz"} {
		if code, body := get(t, http.DefaultClient, url+path, ""); code != 503 || !strings.Contains(body, "stuck") {
			t.Error(path, code, body)
		}
	}
	if code, _ := get(t, http.DefaultClient, url+"/metrics", ""); code != 500 {
		t.Error(code)
	}
}

func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	serve(t, "unix:"+path, counted)
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}, Timeout: time.Minute}
	if code, _ := get(t, client, "http://any/metrics", ""); code != 200 {
		t.Error(code)
	}
	for _, bad := range []string{"0.0.0.0:0", ":9553", "192.0.2.1:1", "example.com:80", "9553", "[::]:1", "localhost"} {
		if l, err := Listen(bad); err == nil {
			l.Close()
			t.Errorf("%s was taken", bad)
		}
	}
}

var _ prometheus.Collector = (*Server)(nil)
