package sink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// elastic indexes documents in Elasticsearch, or in OpenSearch.
var elastic = Kind{
	Scheme: "elastic",
	Also:   []string{"elastics"},
	Form:   "elastic://[USER:PASSWORD@]HOST[:PORT][/PREFIX], elastics://HOST[:PORT] with TLS",
	Doc:    "Elasticsearch or OpenSearch, a document per event (in ECS if format says nothing else); event_id is its _id",
	Delivery: `A document counts as delivered when it is indexed. Its _id is the event's id and the action create,
so one that comes again is none more; in a data stream until that rolls over. Documents that had no
room (429) come again alone, those with a field that cannot be mapped (400) are refused, alone.`,
	Example: "-o 'elastics://es.example:9200?api-key=${ES_KEY}&ca=/etc/dnshark/es.pem'",
	Format:  "ecs",
	Options: options([]Option{
		{"index", "text", "logs-dnshark.dns-default", "index or data stream"},
		{"pipeline", "text", "", "ingest pipeline"},
		{"api-key", "text", "", "API key, as it is encoded, best as ${NAME}"},
		{"api-key-file", "path", "", "file with the API key"},
		{"linger", "time", "1s", "for how long events are gathered"},
		{"batch", "size", "1MB", "how much is gathered at most"},
	}, httpOptions("gzip")),
	Open: openElastic,
}

type elasticSink struct {
	client *httpClient
	key    *secret
	query  url.Values
	index  string
	each   each
	most   int // lines of a request; fewer when the server did not take more
	singly int // lines in a row that were refused as a request of their own
	body   []byte
	sent   []int // lines of the request
}

func openElastic(t *Target) (Sink, error) {
	if err := t.needJSON(); err != nil {
		return nil, err
	}
	s := &elasticSink{index: t.Text("index"), query: url.Values{
		"filter_path": {"items.*.status,items.*.error.type,items.*.error.reason"},
	}}
	if s.index == "" || strings.ContainsAny(s.index, "\\/*?\"<>| ,#:") || strings.ToLower(s.index) != s.index || strings.HasPrefix(s.index, "_") {
		return nil, fmt.Errorf("index=%s: no name of an index", s.index)
	}
	if pipeline := t.Text("pipeline"); pipeline != "" {
		s.query.Set("pipeline", pipeline)
	}
	var err error
	if s.key, err = t.secret("api-key"); err != nil {
		return nil, err
	}
	if s.client, err = t.httpClient(); err != nil {
		return nil, err
	}
	if s.key.given() && (s.client.user != "" || s.client.token.given()) {
		return nil, errors.New("an API key and a user or token are one too many")
	}
	s.client.defaultPort("9200", "9200")
	return s, nil
}

// Deliver implements Sink.
func (s *elasticSink) Deliver(ctx context.Context, b *Block) error {
	if s.each.begin(b) {
		s.most, s.singly = len(s.each.lines), 0
	}
	var err error
	for next := 0; next < len(s.each.lines) && err == nil; {
		next = s.gather(b, next)
		if len(s.sent) == 0 {
			break
		}
		header := http.Header{"Content-Type": {"application/x-ndjson"}}
		if s.key.given() {
			header["Authorization"] = []string{"ApiKey " + s.key.text()}
		}
		var answer []byte
		answer, err = s.client.post(ctx, "/_bulk", s.query, header, s.body, maxAnswer+int64(len(s.sent))<<10)
		switch {
		case err == nil:
			err = s.settle(answer)
		case isPermanent(err):
			next, err = s.smaller(err), nil
		}
	}
	return s.each.end(err)
}

// gather makes a request of lines from number next on and returns where it is to go on.
func (s *elasticSink) gather(b *Block, next int) int {
	s.body, s.sent = s.body[:0], s.sent[:0]
	for ; next < len(s.each.lines) && len(s.sent) < s.most; next++ {
		if s.each.settled[next] {
			continue
		}
		s.sent = append(s.sent, next)
		s.body = appendString(append(s.body, `{"create":{"_index":`...), []byte(s.index))
		s.body = b.AppendID(append(s.body, `,"_id":"`...), next)
		s.body = append(b.AppendJSON(append(s.body, "\"}}\n"...), next, s.each.lines[next]), '\n')
	}
	return next
}

// bulkItem is what became of a document.
type bulkItem struct {
	Status int `json:"status"`
	Error  struct {
		Type   string `json:"type"`
		Reason string `json:"reason"`
	} `json:"error"`
}

// settle reads the answer to a request. An error says that some lines are to come
// again.
func (s *elasticSink) settle(answer []byte) (again error) {
	var list struct {
		Items []map[string]bulkItem `json:"items"`
	}
	if err := json.Unmarshal(answer, &list); err != nil {
		s.most = max(1, len(s.sent)/2) // it may have been too long
		return fmt.Errorf("no answer to a bulk request: %w", err)
	}
	if len(list.Items) != len(s.sent) {
		return fmt.Errorf("an answer about %d of %d documents", len(list.Items), len(s.sent))
	}
	for i, item := range list.Items {
		done, line := item["create"], s.sent[i]
		why := error(&httpError{done.Status, printable([]byte(done.Error.Type + ": " + done.Error.Reason))})
		switch {
		// A conflict: it has been here before.
		case done.Status >= 200 && done.Status < 300, done.Status == http.StatusConflict:
			s.each.taken(line)
			s.singly = 0
		case done.Status == http.StatusBadRequest || done.Status == http.StatusRequestEntityTooLarge:
			s.each.refuse(line, why)
		case done.Status == http.StatusTooManyRequests && again == nil:
			again = After(why, 0)
		case done.Status != http.StatusTooManyRequests:
			again = why
		}
	}
	return again
}

// smaller is for a request that was refused as a whole. It returns where to go on.
func (s *elasticSink) smaller(why error) int {
	if len(s.sent) > 1 {
		s.most = len(s.sent) / 2
		return s.sent[0]
	}
	s.each.refuse(s.sent[0], why)
	// Then it is not about the events.
	if s.singly++; s.singly == maxRefused {
		for i := range s.each.lines {
			s.each.refuse(i, why)
		}
	}
	return s.sent[0] + 1
}

// Close implements Sink.
func (s *elasticSink) Close() error {
	s.client.close()
	return nil
}
