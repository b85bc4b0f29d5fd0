package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	export "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// collector stands in for OpenTelemetry's: OpenTelemetry's own package reads requests
// and writes answers, over HTTP and gRPC.
type collector struct {
	export.UnimplementedLogsServiceServer
	t    testing.TB
	host string

	mu      sync.Mutex
	records map[string]*logs.LogRecord // by event_id
	again   int
	n       int
	sent    http.Header
	// answer says what is answered to a request: an error, or how many records are rejected.
	answer func(n int, ids []string) (rejected int64, why string, err error)
}

// attributesOf returns attributes as text, which must not be there twice.
func (c *collector) attributesOf(list []*common.KeyValue) map[string]string {
	found := map[string]string{}
	for _, a := range list {
		if _, ok := found[a.Key]; ok || a.Key == "" || a.Value == nil {
			c.t.Errorf("attribute %v", a)
		}
		switch v := a.Value.Value.(type) {
		case *common.AnyValue_StringValue:
			found[a.Key] = v.StringValue
		case *common.AnyValue_IntValue:
			found[a.Key] = fmt.Sprint(v.IntValue)
		case *common.AnyValue_ArrayValue:
			var list []string
			for _, e := range v.ArrayValue.Values {
				list = append(list, e.GetStringValue())
			}
			found[a.Key] = fmt.Sprintf("%q", list)
		default:
			c.t.Errorf("attribute %v", a)
		}
	}
	return found
}

// Export implements export.LogsServiceServer.
func (c *collector) Export(ctx context.Context, r *export.ExportLogsServiceRequest) (*export.ExportLogsServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	if sent, ok := metadata.FromIncomingContext(ctx); ok {
		c.sent = http.Header{}
		for name, values := range sent {
			c.sent[http.CanonicalHeaderKey(name)] = values
		}
	}
	if len(r.ProtoReflect().GetUnknown()) > 0 || len(r.ResourceLogs) != 1 || len(r.ResourceLogs[0].ScopeLogs) != 1 {
		c.t.Errorf("%v", r)
		return nil, status.Error(codes.InvalidArgument, "no request")
	}
	if a := c.attributesOf(r.ResourceLogs[0].Resource.Attributes); a["service.name"] != "dnshark" || a["host.name"] != c.host || len(a) != 2 {
		c.t.Error(a)
	}
	scope := r.ResourceLogs[0].ScopeLogs[0]
	if scope.Scope.Name != "dnshark" {
		c.t.Error(scope.Scope)
	}
	var ids []string
	for _, record := range scope.LogRecords {
		ids = append(ids, c.attributesOf(record.Attributes)["event_id"])
	}
	answer := &export.ExportLogsServiceResponse{}
	if c.answer != nil {
		rejected, why, err := c.answer(c.n, ids)
		if err != nil {
			return nil, err
		}
		if rejected > 0 || why != "" {
			answer.PartialSuccess = &export.ExportLogsPartialSuccess{RejectedLogRecords: rejected, ErrorMessage: why}
			ids = ids[rejected:]
		}
	}
	for i, record := range scope.LogRecords[len(scope.LogRecords)-len(ids):] {
		if _, ok := c.records[ids[i]]; ok {
			c.again++
		}
		c.records[ids[i]] = record
	}
	return answer, nil
}

// ServeHTTP implements http.Handler.
func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text := bodyOf(c.t, r)
	var request export.ExportLogsServiceRequest
	if err := proto.Unmarshal([]byte(text), &request); err != nil || r.Method != "POST" || r.URL.String() != "/v1/logs" || r.Header.Get("Content-Type") != "application/x-protobuf" {
		c.t.Errorf("%v %s %s %s", err, r.Method, r.URL, r.Header)
		w.WriteHeader(404)
		return
	}
	answer, err := c.Export(r.Context(), &request)
	c.mu.Lock()
	c.sent = r.Header
	c.mu.Unlock()
	if err != nil {
		s := status.Convert(err)
		code := map[codes.Code]int{codes.Unavailable: 503, codes.InvalidArgument: 400}[s.Code()]
		octets, _ := proto.Marshal(s.Proto())
		w.Header().Set("Content-Type", "application/x-protobuf")
		w.WriteHeader(code)
		_, _ = w.Write(octets)
		return
	}
	octets, err := proto.Marshal(answer)
	if err != nil {
		c.t.Error(err)
	}
	_, _ = w.Write(octets)
}

// startCollector starts one and returns what a URL begins with.
func startCollector(t testing.TB, scheme string, ca *authority) (*collector, string) {
	t.Helper()
	c := &collector{t: t, records: map[string]*logs.LogRecord{}}
	if _, plain, http := strings.Cut(scheme, "+"); http {
		return c, "otlp+" + serve(t, plain, ca, c.ServeHTTP)
	}
	return c, scheme + "://" + serveGRPC(t, c, ca, "127.0.0.1:0").address
}

type grpcServer struct {
	*grpc.Server
	address string
}

func serveGRPC(t testing.TB, c *collector, ca *authority, address string) grpcServer {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	var options []grpc.ServerOption
	if ca != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(ca.server.Clone())))
	}
	s := grpc.NewServer(options...)
	export.RegisterLogsServiceServer(s, c)
	go s.Serve(l)
	t.Cleanup(s.Stop)
	return grpcServer{s, l.Addr().String()}
}

var otlpSchemes = []string{"otlp", "otlps", "otlp+http", "otlp+https"}

func TestOTLP(t *testing.T) {
	ca := newAuthority(t)
	for i, scheme := range otlpSchemes {
		trust, options := (*authority)(nil), "?token=t0k&headers=X-Tenant:ops&compression="+[]string{"gzip", "none", "zstd", "gzip"}[i]
		if strings.HasSuffix(scheme, "s") {
			trust, options = ca, options+"&ca="+ca.path
		}
		c, url := startCollector(t, scheme, trust)
		c.host = "h"
		s, target := open(t, url+options)
		target.Host = c.host
		b := events(hostileNames...)
		if err := errors.Join(deliver(t, s, b), s.Close()); err != nil {
			t.Fatal(scheme, err)
		}
		for i, name := range hostileNames {
			id := fmt.Sprintf("host-0123abcd-t-%d", 1+i)
			r := c.records[id]
			if r.GetBody().GetStringValue() != dnsEvent(name) || r.EventName != "net_packet_dns_response" || r.SeverityNumber != logs.SeverityNumber_SEVERITY_NUMBER_INFO ||
				time.Unix(0, int64(r.TimeUnixNano)).UTC().Format(time.RFC3339Nano) != "2026-11-23T00:41:13.10163231Z" || time.Since(time.Unix(0, int64(r.ObservedTimeUnixNano))) > time.Minute {
				t.Errorf("%s: %v", scheme, r)
			}
			want := map[string]string{
				"event_id": id, "dns.question.name": name, "dns.question.type": "A", "dns.response_code": "NXDOMAIN", "dns.op_code": "QUERY", "dns.id": "1",
				"dns.answers": `["192.0.2.80" "\"x\\\"y\""]`, "error.type": "NXDOMAIN",
				"network.protocol.name": "dns", "network.transport": "udp", "network.type": "ipv6",
				"client.address": "2001:db8::1", "client.port": "40000", "server.address": "192.0.2.53", "server.port": "53",
				"process.pid": "15588", "process.executable.name": "dig", "process.executable.path": "/usr/bin/dig", "process.owner": "root",
				"container.id": "c0ffee", "container.name": "c", "container.image.name": "i", "k8s.pod.name": "p", "k8s.namespace.name": "n",
				"dnshark.unit": "dig.service", "dnshark.observer": "client", "dnshark.attribution": "query_egress", "dnshark.state": "answered",
			}
			if got := c.attributesOf(r.Attributes); !maps.Equal(got, want) {
				t.Errorf("%s: %v\nwant %v", scheme, got, want)
			}
		}
		if len(c.records) != len(hostileNames) || c.sent.Get("Authorization") != "Bearer t0k" || c.sent.Get("X-Tenant") != "ops" || !strings.HasPrefix(c.sent.Get("User-Agent"), "dnshark") {
			t.Error(scheme, len(c.records), c.sent)
		}
	}
	for url, want := range map[string]string{
		"otlp://h?format=dnstap":    "is a stream",
		"otlp://h/x":                "a path is for otlp+http",
		"otlp://h?compression=zstd": "for otlp+http",
		"otlp://h?ca=/x":            "ca is for TLS",
		"otlp://":                   "needs a host",
	} {
		if why := refusedBy(url); !strings.Contains(why, want) {
			t.Errorf("%s: %q, want %q", url, why, want)
		}
	}
}

// The receiver has no room, rejects records, and finds one request broken: all others
// come, and the accounts close.
func TestOTLPTrouble(t *testing.T) {
	for _, scheme := range []string{"otlp", "otlp+http"} {
		c, url := startCollector(t, scheme, nil)
		c.answer = func(n int, ids []string) (int64, string, error) {
			switch {
			case n == 2:
				s, err := status.New(codes.Unavailable, "no room\n").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(20 * time.Millisecond)})
				if err != nil {
					t.Error(err)
				}
				return 0, "", s.Err()
			case slices.Contains(ids, "host-0123abcd-t-77"):
				return 0, "", status.Error(codes.InvalidArgument, "no \x1b[31m")
			case len(ids) == 100 && n > 10:
				return 3, "three \x1b[31m", nil
			}
			return 0, "well...", nil
		}
		s, target := open(t, url)
		q := NewQueue(s, 64<<20, false, target.Log)
		const blocks, each = 5, 100
		for i := range blocks {
			q.Put(block(1+each*i, each))
		}
		if err := q.Close(testGrace); err != nil {
			t.Error(err)
		}
		stats := q.Stats()
		if stats.Refused != 1+3*(blocks-1) || stats.Delivered != blocks*each-stats.Refused || len(c.records) != int(stats.Delivered) || c.again != 0 {
			t.Errorf("%s: %+v, %d records, %d again", scheme, stats, len(c.records), c.again)
		}
	}
}

// The receiver is killed while events come, and comes back.
func TestOTLPRestart(t *testing.T) {
	c := &collector{t: t, records: map[string]*logs.LogRecord{}}
	server := serveGRPC(t, c, nil, "127.0.0.1:0")
	s, _ := open(t, "otlp://"+server.address+"?timeout=2s")
	q := newRestartSpool(t, s)
	const blocks, each = 200, 100
	for i := range blocks {
		q.Put(block(1+each*i, each))
		time.Sleep(time.Millisecond)
		if i%100 == 50 {
			server.Stop()
			time.Sleep(20 * time.Millisecond)
			server = serveGRPC(t, c, nil, server.address)
		}
	}
	q.settle()
	if err := q.Close(testGrace); err != nil {
		t.Error(err)
	}
	if stats := q.Stats(); stats.Delivered != blocks*each || len(c.records) != blocks*each {
		t.Errorf("%+v, %d records", stats, len(c.records))
	}
	t.Logf("%d came again, %d retries", c.again, q.Stats().Retries)
}

// Whatever is at the other end, a delivery ends and says why.
func TestOTLPStrangers(t *testing.T) {
	ca := newAuthority(t)
	hold := make(chan struct{})
	defer close(hold)
	silent := listen(t, "tcp", nil, func(net.Conn) { <-hold })
	page := strings.TrimPrefix(serve(t, "http", nil, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = w.Write(bytes.Repeat([]byte("<html>\x1b"), 100_000))
	}), "http://")
	trusted, url := startCollector(t, "otlps", ca)
	trusted.answer = func(int, []string) (int64, string, error) {
		return 0, "", status.Error(codes.Unauthenticated, strings.Repeat("no\x1b", 10_000))
	}
	for url, want := range map[string]string{
		"otlp://" + silent.address + "?timeout=300ms":      "DeadlineExceeded",
		"otlp+http://" + silent.address + "?timeout=300ms": "longer than",
		"otlp://127.0.0.1:1":                               "connection refused",
		"otlp://" + page:                                   "",
		"otlp+http://" + page:                              "none of OTLP",
		url + "?ca=" + ca.path:                             "Unauthenticated: no\\027no",
		url:                                                "certificate",
		strings.Replace(url, "otlps", "otlp", 1):           "",
	} {
		s, _ := open(t, url)
		begin := time.Now()
		err := deliver(t, s, block(1, 1))
		if err == nil || isPermanent(err) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\x1b") || len(err.Error()) > 5*maxQuoted || time.Since(begin) > testGrace {
			t.Errorf("%s: %v after %v", url, err, time.Since(begin))
		}
		t.Logf("%s: %v", url, err)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func otlpStandIn(t *testing.T) (string, func() []string) {
	c, url := startCollector(t, "otlp", nil)
	return url, func() (list []string) {
		c.mu.Lock()
		defer c.mu.Unlock()
		for id, r := range c.records {
			list = append(list, withID(id, r.Body.GetStringValue()))
		}
		return list
	}
}
