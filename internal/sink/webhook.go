package sink

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/dnshark-io/dnshark/event"
)

// webhook posts events to a URL, several in a request.
var webhook = Kind{
	Scheme: "https",
	Also:   []string{"http"},
	Form:   "https://[USER:PASSWORD@]HOST[:PORT]/PATH",
	Doc:    "HTTP requests (POST), each with many events",
	Delivery: `A request counts as delivered when it is answered with 2xx. After 400, 413 and 422 it is sent in smaller
pieces, so that one event that is refused costs that event alone; all other answers and errors are
tried again, after 429 and 503 not before Retry-After, but within a minute. A request that is sent
again has the same Idempotency-Key, unless it was cut in pieces in between. Redirections are not followed.`,
	Example: "-o 'https://hooks.example/dns?form=array&compression=gzip&token-file=/etc/dnshark/token'",
	Format:  "json",
	Options: options([]Option{
		{"form", "one of ndjson, array", "ndjson", "a body is lines of JSON, or one JSON array"},
		{"query", "text", "", "query of the URL that is posted to, percent-encoded"},
	}, httpOptions("none")),
	Open: func(t *Target) (Sink, error) {
		if t.Binary {
			return nil, fmt.Errorf("requests carry text, and %s is none", t.Format)
		}
		query, err := url.ParseQuery(t.Text("query"))
		if err != nil {
			return nil, fmt.Errorf("query: %w", err)
		}
		client, err := t.httpClient()
		if err != nil {
			return nil, err
		}
		return &webhookSink{client: client, query: query, array: t.Text("form") == "array"}, nil
	},
}

type webhookSink struct {
	client *httpClient
	query  url.Values
	array  bool
	pieces pieces
	body   []byte
}

// Deliver implements Sink.
func (w *webhookSink) Deliver(ctx context.Context, b *Block) error {
	return w.pieces.deliver(b, func(lines [][]byte, from int) error {
		content := "application/x-ndjson"
		if w.array {
			content, w.body = "application/json", b.appendArray(w.body[:0], lines, from)
		} else {
			w.body = b.appendNDJSON(w.body[:0], lines, from)
			if len(lines[0]) == 0 || lines[0][0] != '{' {
				content = "text/plain; charset=utf-8"
			}
		}
		// The same request again has the same key.
		key := strconv.AppendInt(append(b.AppendID(nil, from), '-'), int64(len(lines)), 10)
		_, err := w.client.post(ctx, "", w.query, http.Header{
			"Content-Type": {content}, "Idempotency-Key": {string(key)},
		}, w.body, 0)
		return err
	})
}

// Close implements Sink.
func (w *webhookSink) Close() error {
	w.client.close()
	return nil
}

// appendString appends text, any octets, as a JSON string.
func appendString(dst, text []byte) []byte {
	if !slices.ContainsFunc(text, func(c byte) bool { return c < ' ' || c > '~' }) {
		at := len(dst) + 1
		return append(event.EscapeJSON(append(append(dst, '"'), text...), at), '"')
	}
	s, err := json.Marshal(string(text))
	if err != nil {
		return append(dst, `""`...)
	}
	return append(dst, s...)
}
