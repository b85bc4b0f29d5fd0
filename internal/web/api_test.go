package web

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/output"
	"github.com/dnshark-io/dnshark/internal/store/eventlog"
)

// fits says why a value is not as a schema has it, or "".
func fits(all, want map[string]any, got any) string {
	if ref, ok := want["$ref"].(string); ok {
		want = all[strings.TrimPrefix(ref, "#/components/schemas/")].(map[string]any)
	}
	types, ok := want["type"].([]any)
	if !ok {
		types = []any{want["type"]}
	}
	is := ""
	switch v := got.(type) {
	case nil:
		is = "null"
	case bool:
		is = "boolean"
	case string:
		is = "string"
		if _, err := time.Parse(time.RFC3339Nano, v); want["format"] == "date-time" && err != nil {
			return err.Error()
		}
	case float64:
		is = "number"
		if v == float64(int64(v)) && !slices.Contains(types, any("number")) {
			is = "integer"
		}
		if least, ok := want["minimum"].(float64); ok && v < least {
			return fmt.Sprint(v, " is less than ", least)
		}
	case []any:
		is = "array"
		for i := range v {
			if why := fits(all, want["items"].(map[string]any), v[i]); why != "" {
				return fmt.Sprintf("[%d]: %s", i, why)
			}
		}
	case map[string]any:
		is = "object"
		properties, _ := want["properties"].(map[string]any)
		required, _ := want["required"].([]any)
		for _, key := range required {
			if _, ok := v[key.(string)]; !ok {
				return fmt.Sprintf("no %s", key)
			}
		}
		for key := range v {
			p, ok := properties[key].(map[string]any)
			if !ok && want["additionalProperties"] == false {
				return key + " is not described"
			}
			if ok {
				if why := fits(all, p, v[key]); why != "" {
					return key + ": " + why
				}
			}
		}
	}
	if !slices.Contains(types, any(is)) {
		return fmt.Sprintf("%s instead of %v", is, types)
	}
	return ""
}

// The description lists every route, and every answer is as it says, also an error's
// and also of hostile names.
func TestOpenAPI(t *testing.T) {
	h := newHub(t)
	events, err := eventlog.Open(t.TempDir(), eventlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	hostile := `a\"\010{\\\<script>\255.test.`
	l := serveWith(t, "127.0.0.1:0", func(s *Server) { s.Hub, s.Events = h, events }, append(records, hostile+" A 192.0.2.99")...)
	base := "http://" + l.Addr().String()
	for _, b := range []*event.Batch{answers(t, "www.example.test.", hostile), alertsOf(3)} {
		tell(t, h, b)
		if err := events.Append(output.NewJSON().Append(nil, b), len(b.Events)); err != nil {
			t.Fatal(err)
		}
	}

	_, text := get(t, base+"/api/v1/openapi.json", "")
	var described struct {
		OpenAPI    string
		Paths      map[string]map[string]map[string]any
		Components struct{ Schemas map[string]any }
	}
	if err := json.Unmarshal([]byte(text), &described); err != nil || described.OpenAPI != "3.1.0" {
		t.Fatal(err, described.OpenAPI)
	}
	all := described.Components.Schemas
	var routes []string
	for _, r := range (&Server{}).routes() {
		if path, ok := strings.CutPrefix(r.pattern, "GET /api/v1/"); ok {
			routes = append(routes, "/api/v1/"+path)
		}
	}
	if got := slices.Sorted(maps.Keys(described.Paths)); !slices.Equal(got, slices.Sorted(slices.Values(routes))) {
		t.Errorf("described are %v, served %v", got, routes)
	}

	asked := map[string][]string{
		"/api/v1/openapi.json": {""},
		"/api/v1/status":       {""},
		"/api/v1/events":       {"", "?limit=1", "?since=2026-01-01&until=2026-12-31&name=*.test&addr=192.0.2.0/24&rcode=NOERROR&kind=net_packet_dns_response", "?process=curl&container=012345678901"},
		"/api/v1/alerts":       {"", "?severity=high&limit=2", "?threat=dns_tunnel"},
		"/api/v1/top/{what}":   {"names", "clients?limit=1", "processes", "servers", "rcodes", "nxdomain?since=-1h"},
		"/api/v1/new":          {"", "?since=2026-03-01T00:00:00Z&limit=2"},
		"/api/v1/series":       {"", "?since=2026-03-01T00:00:00Z&until=2026-03-01T06:00:00Z&step=3600", "?since=2026-02-28T23:59:00Z&until=2026-03-01T00:01:00Z&step=10"},
		"/api/v1/history":      {"?q=*.test", "?q=192.0.2.80/31", "?q=process:curl", "?q=container:0123456789ab", "?q=mail.example.test&type=mx&since=2026-01-01"},
		"/api/v1/asked":        {"?name=www.example.test", "?name=*.test&limit=1"},
		"/api/v1/stream":       {"?filter=("},
	}
	for path, operation := range described.Paths {
		if len(asked[path]) == 0 {
			t.Errorf("nobody asks %s", path)
		}
		for _, query := range asked[path] {
			before, _, _ := strings.Cut(path, "{")
			code, text := get(t, base+before+query, "")
			status := strconv.Itoa(code)
			if path == "/api/v1/stream" {
				status = "default"
			}
			response, ok := operation["get"]["responses"].(map[string]any)[status].(map[string]any)
			if !ok {
				t.Errorf("%s%s: %d %s", before, query, code, text)
				continue
			}
			for _, content := range response["content"].(map[string]any) {
				var got any
				if err := json.Unmarshal([]byte(text), &got); err != nil {
					t.Errorf("%s%s: %v %s", before, query, err, text)
				} else if why := fits(all, content.(map[string]any)["schema"].(map[string]any), got); why != "" {
					t.Errorf("%s%s: %s: %s", before, query, why, text)
				}
			}
		}
		// What it describes is all that it takes.
		code, text := get(t, base+strings.ReplaceAll(path, "{what}", "names")+"?nonsense=1", "")
		var got any
		if err := json.Unmarshal([]byte(text), &got); code != 400 || err != nil || fits(all, all["Problem"].(map[string]any), got) != "" {
			t.Errorf("%s: %d %s", path, code, text)
		}
	}
	if why := fits(all, all["Tuple"].(map[string]any), map[string]any{"rrname": "x"}); why == "" {
		t.Error("anything fits")
	}

	for query, want := range map[string]int{
		"events": 5, "events?name=*.test": 5, "events?name=www.example.test": 1, "events?name=nothing.test": 0, "events?since=2026-03-01T00:00:01Z": 4,
		"events?kind=dns_tunnel": 3, "events?rcode=NXDOMAIN": 0, "events?addr=192.0.2.7": 1,
		"alerts": 2, "alerts?severity=critical": 0, "alerts?severity=high": 2, "alerts?limit=1": 1, "alerts?threat=dns_tunnel": 2, "alerts?threat=dns_dga": 0, "alerts?since=2026-03-01T01:00:02Z": 1, "events?container=0123456789ab": 0,
	} {
		_, text := get(t, base+"/api/v1/"+query, "")
		var list struct{ Events []any }
		if err := json.Unmarshal([]byte(text), &list); err != nil || len(list.Events) != want {
			t.Errorf("%s: %d events, want %d: %s", query, len(list.Events), want, text)
		}
	}
	// Of an incident the last update counts.
	if _, text := get(t, base+"/api/v1/alerts", ""); strings.Contains(text, `"id":"0","update":0`) || !strings.Contains(text, `"id":"0","update":1`) || strings.Contains(text, `"more":true`) {
		t.Error(text)
	}
	if _, text := get(t, base+"/api/v1/alerts?limit=1", ""); !strings.Contains(text, `"more":true`) {
		t.Error(text)
	}
	if _, text := get(t, base+"/api/v1/asked?name=*.test", ""); text != `{"rows":[{"process":"","container":"","client":"","count":2,"first":"2026-03-01T00:00:00.000000000Z","last":"2026-03-01T00:00:01.000000000Z"}]}`+"\n" {
		t.Error(text)
	}
}

// alertsOf returns n alerts, of which the last is an update of the first.
func alertsOf(n int) *event.Batch {
	b := &event.Batch{Host: "h"}
	for i := range n {
		e := b.Next()
		a := &event.Alert{ID: strconv.Itoa(i % (n - 1)), Update: i / (n - 1), Threat: "dns_tunnel", Kind: "a", Severity: event.SeverityHigh, Domain: `x"y.test`}
		if i == 1 {
			a.Src = netip.MustParseAddr("192.0.2.7")
		}
		e.Class, e.Alert, e.Kinds = event.ClassAlert, a, 1<<8
		e.Time = time.Date(2026, 3, 1, 1, 0, i, 0, time.UTC).UnixNano()
	}
	return b
}

// Steps add up, the newest day is there, and percentiles are those of the latencies.
func TestSeries(t *testing.T) {
	var s series
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC).UnixNano()
	for i := range int64(100) {
		s.note(at+i*1e9, sampleEvent|sampleRCode|sampleLatency|3<<32|sample(i+1)*1000)
	}
	s.note(at, sampleEvent|sampleRCode|2<<32)
	s.note(at, sampleEvent)
	s.note(at, 3<<32|sampleRCode)
	s.note(at-48*hour*1e9, sampleEvent)
	s.note(-1, sampleEvent)
	s.note(-1<<63, sampleEvent)
	list := s.between(at/1e9-60, at/1e9+120, 60)
	var text []byte
	for i := range list {
		text = append(list[i].append(text, 60), '\n')
	}
	want := `{"time":"2026-03-01T00:00:00Z","events":62,"nxdomain":60,"servfail":1,"latency_p50":30.7195,"latency_p95":53.2475,"latency_p99":61.4395}
{"time":"2026-03-01T00:01:00Z","events":40,"nxdomain":40,"servfail":0,"latency_p50":73.7275,"latency_p95":90.1115,"latency_p99":106.4955}
{"time":"2026-03-01T00:02:00Z","events":0,"nxdomain":0,"servfail":0,"latency_p50":null,"latency_p95":null,"latency_p99":null}
`
	if string(text) != want {
		t.Errorf("%swant\n%s", text, want)
	}
	for us := range uint32(1 << 20) {
		if ms := latencyOf(latencyIndex(us)); us > 0 && (ms*1000 < float64(us)*0.875 || ms*1000 > float64(us)*1.125) {
			t.Fatalf("%d us is %v ms", us, ms)
		}
	}
	if i := latencyIndex(1<<32 - 1); i != numLatencies-1 {
		t.Error(i)
	}
}

// A question to the store that never ends holds up neither the others nor, for long,
// itself; and there are only so many at once.
func TestTooManyQuestions(t *testing.T) {
	s := &Server{busy: make(chan struct{}, 1)}
	begun, end := make(chan struct{}), make(chan struct{})
	handler := s.asking(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, ok := r.Context().Deadline(); !ok {
			t.Error("no limit of time")
		}
		close(begun)
		<-end
	}))
	r, err := http.NewRequest("GET", "/", nil)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		handler.ServeHTTP(discard{}, r)
	}()
	<-begun
	w := &recorded{}
	handler.ServeHTTP(w, r)
	if w.status != http.StatusServiceUnavailable {
		t.Error(w.status)
	}
	close(end)
	<-done
}

type recorded struct {
	discard
	status int
}

func (w *recorded) WriteHeader(status int) { w.status = status }
