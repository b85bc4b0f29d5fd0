package sink

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// elasticServer stands in for Elasticsearch: it takes what the bulk API's description
// allows, and nothing else.
// https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk
type elasticServer struct {
	t testing.TB

	mu        sync.Mutex
	documents map[string]string // by _id
	conflicts int
	n         int
	largest   int // lines that a request may have; 0: any
	// status says what becomes of a document, 0: what should.
	status        func(n int, id string) int
	authorization string
}

// ServeHTTP implements http.Handler.
func (e *elasticServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.n++
	e.authorization = r.Header.Get("Authorization")
	text := bodyOf(e.t, r)
	if r.Method != "POST" || r.URL.Path != "/es/_bulk" || r.Header.Get("Content-Type") != "application/x-ndjson" || !strings.HasSuffix(text, "\n") {
		e.t.Errorf("%s %s %s %.100q", r.Method, r.URL, r.Header, text)
		w.WriteHeader(400)
		return
	}
	list := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(list)%2 != 0 {
		e.t.Error("an action without a document")
	}
	if e.largest > 0 && len(list) > 2*e.largest {
		w.WriteHeader(413)
		return
	}
	if e.n%5 == 2 {
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(429)
		return
	}
	out := bufio.NewWriter(w)
	defer out.Flush()
	fmt.Fprint(out, `{"items":[`)
	for i := 0; i+1 < len(list); i += 2 {
		var action struct {
			Create *struct {
				Index string `json:"_index"`
				ID    string `json:"_id"`
			} `json:"create"`
		}
		in := json.NewDecoder(strings.NewReader(list[i]))
		in.DisallowUnknownFields()
		if err := in.Decode(&action); err != nil || action.Create == nil || action.Create.Index != "logs-x" || len(action.Create.ID) > 512 || !json.Valid([]byte(list[i+1])) || list[i+1][0] != '{' {
			e.t.Errorf("%v: %.300s %.300s", err, list[i], list[i+1])
			return
		}
		id, status := action.Create.ID, http.StatusCreated
		if e.status != nil {
			if given := e.status(e.n, id); given != 0 {
				status = given
			}
		}
		if _, ok := e.documents[id]; ok {
			status = http.StatusConflict
			e.conflicts++
		}
		if i > 0 {
			fmt.Fprint(out, ",")
		}
		if status == http.StatusCreated {
			e.documents[id] = list[i+1]
			fmt.Fprintf(out, `{"create":{"status":%d}}`, status)
		} else {
			fmt.Fprintf(out, `{"create":{"status":%d,"error":{"type":"some_exception","reason":"no \u001b[31m"}}}`, status)
		}
	}
	fmt.Fprint(out, `]}`)
}

func newElastic(t testing.TB) (*elasticServer, string) {
	e := &elasticServer{t: t, documents: map[string]string{}}
	return e, strings.TrimPrefix(serve(t, "http", nil, e.ServeHTTP), "http://") + "/es?index=logs-x"
}

// Some documents have no room at first, some are never taken, and whole requests are
// too large or too many: all others are indexed, each once.
func TestElastic(t *testing.T) {
	server, address := newElastic(t)
	server.largest = 60
	tries := map[string]int{}
	server.status = func(n int, id string) int {
		switch tries[id]++; {
		case strings.HasSuffix(id, "5") && tries[id] < 2:
			return 429
		case strings.HasSuffix(id, "6") && tries[id] < 2:
			return 503
		case strings.HasSuffix(id, "77"):
			return 400
		}
		return 0
	}
	s, _ := open(t, "elastic://"+address+"&api-key=k3y")
	if refused := insist(t, s, block(1, 100), block(101, 100), block(201, 100)); refused != 3 || len(server.documents) != 297 || server.conflicts != 0 {
		t.Errorf("%d refused, %d documents, %d conflicts", refused, len(server.documents), server.conflicts)
	}
	for i := range 300 {
		id := fmt.Sprintf("host-0123abcd-t-%d", 1+i)
		if n, want := tries[id], map[byte]int{'5': 2, '6': 2}[id[len(id)-1]]; n != max(1, want) {
			t.Errorf("%s was sent %d times", id, n)
		}
		if d, ok := server.documents[id]; ok == strings.HasSuffix(id, "77") || ok && !strings.HasPrefix(d, `{"event_id":"`+id+`",`) {
			t.Errorf("%s: %q", id, d)
		}
	}
	if server.authorization != "ApiKey k3y" {
		t.Error(server.authorization)
	}
	t.Logf("%d requests", server.n)
}

// What comes again is no document more.
func TestElasticAgain(t *testing.T) {
	server, address := newElastic(t)
	s, _ := open(t, "elastic://u:p@"+address+"&format=json&compression=none")
	b := events(hostileNames...)
	if err := deliver(t, s, b); err != nil {
		t.Error(err)
	}
	var wait *after
	if err := deliver(t, s, b); !errors.As(err, &wait) { // the second request
		t.Error(err)
	}
	if err := deliver(t, s, b); err != nil || len(server.documents) != b.Events || server.conflicts != b.Events {
		t.Error(err, len(server.documents), server.conflicts)
	}
	for i, name := range hostileNames {
		id := fmt.Sprintf("host-0123abcd-t-%d", 1+i)
		if server.documents[id] != strings.Replace(dnsEvent(name), "{", `{"event_id":"`+id+`",`, 1) {
			t.Error(server.documents[id])
		}
	}
}

// Answers that are none are tried again, and what is refused for all is given up soon.
func TestElasticAnswers(t *testing.T) {
	for text, test := range map[string]struct {
		status  int
		refused int
		want    string
	}{
		`{"items":[{"create":{"status":400,"error":{"type":"a","reason":"\u001b"}}},{"index":{"status":200}}]}`: {200, -1, "0"},
		`{"items":[{"create":{"status":201}}]}`: {200, -1, "about 1 of 2"},
		`{}`:                                    {200, -1, "about 0 of 2"},
		`<html>`:                                {200, -1, "no answer to a bulk"},
		strings.Repeat("[", 1e6):                {200, -1, "no answer to a bulk"},
		`no such pipeline`:                      {400, 2, "no such pipeline"},
		`{"error":"no such user"}`:              {401, -1, "401"},
	} {
		address := serve(t, "http", nil, func(w http.ResponseWriter, r *http.Request) {
			bodyOf(t, r)
			w.WriteHeader(test.status)
			fmt.Fprint(w, text)
		})
		s, _ := open(t, strings.Replace(address, "http", "elastic", 1))
		err := deliver(t, s, block(1, 2))
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%.100s: %v", text, err)
		}
		var p *partly
		if errors.As(err, &p) != (test.refused > 0) || p != nil && p.refused != test.refused {
			t.Errorf("%.100s: %v", text, err)
		}
	}
	requests := 0
	address := serve(t, "http", nil, func(w http.ResponseWriter, r *http.Request) {
		requests++
		bodyOf(t, r)
		w.WriteHeader(400)
	})
	s, _ := open(t, strings.Replace(address, "http", "elastic", 1))
	var p *partly
	if err := deliver(t, s, block(1, 1000)); !errors.As(err, &p) || p.refused != 1000 || requests > 30 {
		t.Error(err, requests)
	}
	for url, want := range map[string]string{
		"elastic://h?format=csv":            "takes JSON",
		"elastic://h?index=A":               "no name of an index",
		"elastic://h?index=a/b":             "no name of an index",
		"elastic://h?index=":                "no name of an index",
		"elastic://u:p@h?api-key=x":         "one too many",
		"elastic://h?api-key-file=/nowhere": "/nowhere",
	} {
		if why := refusedBy(url); !strings.Contains(why, want) {
			t.Errorf("%s: %q, want %q", url, why, want)
		}
	}
}

func elasticStandIn(t *testing.T) (string, func() []string) {
	server, address := newElastic(t)
	return "elastic://" + address, func() (list []string) {
		server.mu.Lock()
		defer server.mu.Unlock()
		for _, d := range server.documents {
			list = append(list, d)
		}
		return list
	}
}
