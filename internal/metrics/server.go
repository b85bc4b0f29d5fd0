package metrics

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/dnshark-io/dnshark/dnswire"
)

// Snapshot is what was counted at one moment.
type Snapshot struct {
	Recorder
	Counts  []Count
	Rules   []Count // of alerts, by name in What; Side says what they did. No two have both alike
	Most    []Count // of Recorder.Top
	Outputs []Output
}

// Output is what became of the events of one output.
type Output struct {
	Name, Target, Format string

	Events   uint64  // that it was to deliver
	Outcomes []Count // delivered, overflow, ...; only What and N
	Waiting  uint64  // events
	Queued   uint64  // octets of Waiting
	Octets   uint64  // of Events
	Retries  uint64
	Up       bool // the last delivery worked
}

// Count is a counter of some step of the line.
type Count struct {
	Account string // packets, frames, payloads, messages, transactions, events, ...
	Side    string // in: what came; out: what became of it; also: of interest beside
	What    string
	N       uint64
}

// Server answers requests for metrics.
type Server struct {
	// Snapshot asks the worker for what it counted. It fails when the worker
	// does not answer in time.
	Snapshot func(context.Context) (*Snapshot, error)
	Version  string

	http http.Server
}

// Bounds of requests, which may come from anybody on the host.
const (
	maxHeader   = 8 << 10
	maxRequests = 4 // at once
	timeout     = 5 * time.Second
)

// Listen opens an address: a host and port of this machine, or unix: and a path.
// Other hosts have no business here, so only loopback addresses are taken.
func Listen(address string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return net.Listen("unix", path)
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("%s is no address; want one as 127.0.0.1:9553, or unix:/run/dnshark.sock", address)
	}
	if a, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !a.IsLoopback()) {
		return nil, fmt.Errorf("%s is not on loopback: metrics are for this host; put a proxy with TLS and a password before them", address)
	}
	return net.Listen("tcp", address)
}

// Handler answers /metrics, /healthz and /readyz.
func (s *Server) Handler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(s)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxRequests, Timeout: timeout}))
	alive := func(w http.ResponseWriter, r *http.Request) {
		if _, err := s.Snapshot(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	}
	mux.HandleFunc("GET /healthz", alive)
	mux.HandleFunc("GET /readyz", alive)
	return mux
}

// Serve answers until ctx ends.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	s.http = http.Server{
		Handler: onlyHere(s.Handler()), MaxHeaderBytes: maxHeader,
		ReadTimeout: timeout, WriteTimeout: 2 * timeout, IdleTimeout: time.Minute,
	}
	stop := context.AfterFunc(ctx, func() { s.http.Close() })
	defer stop()
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// onlyHere refuses requests for another name: a web page must not reach us under
// a name of its own that it lets point here (DNS rebinding).
func onlyHere(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		a, err := netip.ParseAddr(strings.Trim(host, "[]"))
		if host != "localhost" && (err != nil || !a.IsLoopback()) && r.Context().Value(http.LocalAddrContextKey).(net.Addr).Network() != "unix" {
			http.Error(w, "another host", http.StatusMisdirectedRequest)
			return
		}
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

var (
	descBuild     = prometheus.NewDesc("dnshark_build_info", "Version of dnshark.", []string{"version"}, nil)
	descQueries   = prometheus.NewDesc("dnshark_queries_total", "DNS queries seen, by type of the question.", []string{"type"}, nil)
	descResponses = prometheus.NewDesc("dnshark_responses_total", "DNS responses seen, by response code.", []string{"rcode"}, nil)
	descLatency   = prometheus.NewDesc("dnshark_response_latency_seconds", "Time from the first query to its answer.", nil, nil)
	descAnomalies = prometheus.NewDesc("dnshark_message_anomalies_total", "DNS messages in which something is odd or broken.", []string{"anomaly"}, nil)
	descIn        = prometheus.NewDesc("dnshark_in_total", "What came into a step.", []string{"step", "what"}, nil)
	descOut       = prometheus.NewDesc("dnshark_out_total", "What became of it, losses included.", []string{"step", "what"}, nil)
	descAlso      = prometheus.NewDesc("dnshark_noted_total", "What is of interest beside the accounts.", []string{"what"}, nil)
	descOutput    = prometheus.NewDesc("dnshark_output_info", "Outputs, where they go to and in which format.", []string{"output", "target", "format"}, nil)
	descOutcome   = prometheus.NewDesc("dnshark_output_events_total", "Events of an output, by what became of them.", []string{"output", "outcome"}, nil)
	descOctets    = prometheus.NewDesc("dnshark_output_bytes_total", "Octets that an output was to deliver, before compression.", []string{"output"}, nil)
	descRetries   = prometheus.NewDesc("dnshark_output_retries_total", "Deliveries that failed and were tried again.", []string{"output"}, nil)
	descWaiting   = prometheus.NewDesc("dnshark_output_queue_events", "Events that wait to be delivered.", []string{"output"}, nil)
	descQueued    = prometheus.NewDesc("dnshark_output_queue_bytes", "Octets that wait to be delivered.", []string{"output"}, nil)
	descUp        = prometheus.NewDesc("dnshark_output_up", "Whether the last delivery worked: 1 or 0.", []string{"output"}, nil)
	descRule      = prometheus.NewDesc("dnshark_alert_rules_total", "Alerts that each rule suppressed, and messages that each list of domains allowed.", []string{"did", "rule"}, nil)
	descTop       = prometheus.NewDesc("dnshark_top_responses_total", "DNS responses by domain, process and server, of those seen often; with an empty value all others.", []string{"by", "value"}, nil)
	descOpen      = prometheus.NewDesc("dnshark_unaccounted", "What came into a step and of which nobody knows what became: 0, or something is wrong.", []string{"step"}, nil)
)

// Describe implements prometheus.Collector.
func (s *Server) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descBuild, descQueries, descResponses, descLatency, descAnomalies, descIn, descOut, descAlso, descOpen, descRule, descTop,
		descOutput, descOutcome, descOctets, descRetries, descWaiting, descQueued, descUp} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (s *Server) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	snap, err := s.Snapshot(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(descBuild, err)
		return
	}
	value := func(d *prometheus.Desc, typ prometheus.ValueType, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, typ, float64(n), labels...)
	}
	counter := func(d *prometheus.Desc, n uint64, labels ...string) { value(d, prometheus.CounterValue, n, labels...) }
	ch <- prometheus.MustNewConstMetric(descBuild, prometheus.GaugeValue, 1, s.Version)
	for _, c := range snap.Rules {
		counter(descRule, c.N, c.Side, c.What)
	}
	for _, c := range snap.Most {
		counter(descTop, c.N, c.Side, c.What)
	}
	for i, n := range snap.Queries {
		if n > 0 {
			counter(descQueries, n, typeName(i))
		}
	}
	for i, n := range snap.Responses {
		name := dnswire.RCode(i).String()
		if i == NumRCodes-1 {
			name = "other"
		}
		if n > 0 {
			counter(descResponses, n, name)
		}
	}
	for i, n := range snap.Anomalies {
		if n > 0 {
			counter(descAnomalies, n, dnswire.Anomaly(i).String())
		}
	}
	buckets, total := map[float64]uint64{}, uint64(0)
	for i, n := range snap.Latency.Buckets {
		if total += n; i < numBuckets-1 {
			buckets[bound(i)] = total
		}
	}
	ch <- prometheus.MustNewConstHistogram(descLatency, total, float64(snap.Latency.Sum)/1e9, buckets)
	open := map[string]int64{}
	for _, c := range snap.Counts {
		switch c.Side {
		case "in":
			counter(descIn, c.N, c.Account, c.What)
			open[c.Account] += int64(c.N)
		case "out":
			counter(descOut, c.N, c.Account, c.What)
			open[c.Account] -= int64(c.N)
		default:
			counter(descAlso, c.N, c.What)
		}
	}
	for _, o := range snap.Outputs {
		left := int64(o.Events) - int64(o.Waiting)
		for _, c := range o.Outcomes {
			counter(descOutcome, c.N, o.Name, c.What)
			left -= int64(c.N)
		}
		open["output "+o.Name] = left
		up := uint64(0)
		if o.Up {
			up = 1
		}
		value(descOutput, prometheus.GaugeValue, 1, o.Name, o.Target, o.Format)
		counter(descOctets, o.Octets, o.Name)
		counter(descRetries, o.Retries, o.Name)
		value(descWaiting, prometheus.GaugeValue, o.Waiting, o.Name)
		value(descQueued, prometheus.GaugeValue, o.Queued, o.Name)
		value(descUp, prometheus.GaugeValue, up, o.Name)
	}
	for account, n := range open {
		ch <- prometheus.MustNewConstMetric(descOpen, prometheus.GaugeValue, float64(n), account)
	}
}
