package sink

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// lokiServer stands in for Loki: it takes what the push API's description allows, and
// nothing else. https://grafana.com/docs/loki/latest/reference/loki-http-api/
type lokiServer struct {
	t testing.TB

	mu      sync.Mutex
	entries map[string]lokiEntry // by event_id
	again   int
	streams map[string]bool
	// answer says what a request is answered, 0: as it should be.
	answer func(n int, entries map[string]lokiEntry) int
	n      int
	header http.Header
}

type lokiEntry struct {
	labels, line string
	time         time.Time
	metadata     map[string]string
}

func newLokiServer(t testing.TB) *lokiServer {
	return &lokiServer{t: t, entries: map[string]lokiEntry{}, streams: map[string]bool{}}
}

var lokiLabel = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

// ServeHTTP implements http.Handler.
func (l *lokiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
	l.header = r.Header
	text := bodyOf(l.t, r)
	if r.Method != "POST" || r.URL.String() != "/loki/api/v1/push" || r.Header.Get("Content-Type") != "application/json" {
		l.t.Errorf("%s %s %s", r.Method, r.URL, r.Header)
		w.WriteHeader(404)
		return
	}
	entries, err := readLokiPush(text)
	if err != nil {
		l.t.Errorf("%v: %.500s", err, text)
		http.Error(w, err.Error(), 400)
		return
	}
	if l.answer != nil {
		if status := l.answer(l.n, entries); status != 0 {
			w.Header().Set("Retry-After", "0")
			http.Error(w, "Ingestion rate limit exceeded", status)
			return
		}
	}
	for id, e := range entries {
		if old, ok := l.entries[id]; ok {
			l.again++
			// It is the same only then.
			if old.labels != e.labels || old.line != e.line || !old.time.Equal(e.time) {
				l.t.Errorf("%s came again as another: %v, %v", id, old, e)
			}
		}
		l.entries[id] = e
		l.streams[e.labels] = true
	}
	w.WriteHeader(http.StatusNoContent)
}

func readLokiPush(text string) (map[string]lokiEntry, error) {
	var push struct {
		Streams []struct {
			Stream map[string]string   `json:"stream"`
			Values [][]json.RawMessage `json:"values"`
		} `json:"streams"`
	}
	in := json.NewDecoder(strings.NewReader(text))
	in.DisallowUnknownFields()
	if err := in.Decode(&push); err != nil {
		return nil, err
	}
	entries := map[string]lokiEntry{}
	for _, stream := range push.Streams {
		if len(stream.Stream) == 0 || len(stream.Stream) > 15 || len(stream.Values) == 0 {
			return nil, errors.New("labels or values")
		}
		labels := ""
		for _, name := range slices.Sorted(maps.Keys(stream.Stream)) {
			if !lokiLabel.MatchString(name) || len(stream.Stream[name]) > 2048 {
				return nil, errors.New("label " + name)
			}
			labels += name + "=" + stream.Stream[name] + ";"
		}
		for _, value := range stream.Values {
			e := lokiEntry{labels: labels}
			var at string
			if len(value) < 2 || len(value) > 3 {
				return nil, errors.New("a value has two or three parts")
			}
			err := errors.Join(json.Unmarshal(value[0], &at), json.Unmarshal(value[1], &e.line))
			if len(value) == 3 {
				err = errors.Join(err, json.Unmarshal(value[2], &e.metadata))
			}
			ns, numberErr := strconv.ParseInt(at, 10, 64)
			if err = errors.Join(err, numberErr); err != nil {
				return nil, err
			}
			e.time = time.Unix(0, ns).UTC()
			id := e.metadata["event_id"]
			if id == "" {
				id = e.line
			}
			if _, ok := entries[id]; ok {
				return nil, errors.New("an entry twice")
			}
			entries[id] = e
		}
	}
	return entries, nil
}

func TestLoki(t *testing.T) {
	server := newLokiServer(t)
	address := strings.TrimPrefix(serve(t, "http", nil, server.ServeHTTP), "http://")
	s, _ := open(t, "loki://u:p@"+address+"?labels=job=dns,env=a%20b&tenant=ops")
	b := events(hostileNames...)
	if err := errors.Join(deliver(t, s, b), deliver(t, s, b), s.Close()); err != nil {
		t.Fatal(err)
	}
	for i, name := range hostileNames {
		id := fmt.Sprintf("host-0123abcd-t-%d", 1+i)
		e := server.entries[id]
		if e.line != dnsEvent(name) || e.labels != "env=a b;event=net_packet_dns_response;host=h;job=dns;" || e.time.Format(time.RFC3339Nano) != "2026-11-23T00:41:13.10163231Z" {
			t.Errorf("%+v", e)
		}
		want := map[string]string{
			"event_id": id, "qname": name, "qtype": "A", "rcode": "NXDOMAIN", "client": "2001:db8::1", "server": "192.0.2.53",
			"process": "dig", "pid": "15588", "unit": "dig.service", "container": "c0ffee", "pod": "p", "namespace": "n",
		}
		if !maps.Equal(e.metadata, want) {
			t.Errorf("%v\nwant %v", e.metadata, want)
		}
	}
	if len(server.entries) != len(hostileNames) || len(server.streams) != 1 || server.header.Get("X-Scope-OrgID") != "ops" {
		t.Error(len(server.entries), server.streams, server.header)
	}
	// Other formats have no labels but ours.
	other, target := open(t, "loki://"+address+"?format=csv&metadata=no&compression=none")
	target.Host = `h"x`
	if other, err := target.Kind.Open(target); err != nil || deliver(t, other, &Block{Text: []byte("a,\"b\"\n"), Events: 1}) != nil {
		t.Error(err)
	}
	other.Close()
	if e := server.entries[`a,"b"`]; e.labels != `host=h"x;job=dnshark;` || e.metadata != nil || time.Since(e.time) > time.Minute {
		t.Errorf("%+v", e)
	}
	for url, want := range map[string]string{
		"loki://h?format=dnstap":   "is a stream",
		"loki://h?labels=a":        "NAME=VALUE",
		"loki://h?labels=1a=b":     "NAME=VALUE",
		"loki://h?labels=a-b=b":    "NAME=VALUE",
		"loki://h?labels=host=b":   "a label twice",
		"loki://h?labels=a=b,a=b":  "a label twice",
		"loki://h?labels=a=":       "NAME=VALUE",
		"loki://h?tenant=a%0d%0ab": "tenant",
		"loki://":                  "needs a host",
	} {
		if why := refusedBy(url); !strings.Contains(why, want) {
			t.Errorf("%s: %q, want %q", url, why, want)
		}
	}
}

// Loki is busy, broken, and refuses single lines: all others come, each as one entry.
func TestLokiTrouble(t *testing.T) {
	server := newLokiServer(t)
	server.answer = func(n int, entries map[string]lokiEntry) int {
		switch {
		case n%7 == 3:
			return 429
		case n%11 == 5:
			return 500
		case entries["host-0123abcd-t-77"].line != "":
			// Loki takes the rest.
			delete(entries, "host-0123abcd-t-77")
			for id, e := range entries {
				server.entries[id] = e
			}
			return 400
		}
		return 0
	}
	address := serve(t, "http", nil, server.ServeHTTP)
	s, _ := open(t, strings.Replace(address, "http", "loki", 1))
	if refused := insist(t, s, block(1, 100), block(101, 100), block(201, 100)); refused != 1 || len(server.entries) != 299 {
		t.Errorf("%d refused, %d entries", refused, len(server.entries))
	}
	t.Logf("%d requests, %d entries came again", server.n, server.again)
}

func lokiStandIn(t *testing.T) (string, func() []string) {
	server := newLokiServer(t)
	return strings.Replace(serve(t, "http", nil, server.ServeHTTP), "http", "loki", 1), func() (list []string) {
		server.mu.Lock()
		defer server.mu.Unlock()
		for id, e := range server.entries {
			list = append(list, withID(id, e.line))
		}
		return list
	}
}
