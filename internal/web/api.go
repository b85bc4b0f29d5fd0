package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/store"
	"github.com/dnshark-io/dnshark/internal/store/eventlog"
)

// handler answers, or returns an error before it has written anything.
type handler func(http.ResponseWriter, *http.Request) error

// problem is an error for whoever asks (RFC 9457).
type problem struct {
	status int
	detail string
	column int // of an expression, from 1, or 0
}

func (p *problem) Error() string { return p.detail }

func badRequest(detail string) error {
	return &problem{status: http.StatusBadRequest, detail: safe(detail)}
}

// problems answers with what its handler returns.
func problems(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			fail(w, err)
		}
	})
}

func fail(w http.ResponseWriter, err error) {
	var p *problem
	switch {
	case errors.As(err, &p):
	case errors.Is(err, store.ErrQuery), errors.Is(err, eventlog.ErrQuery):
		p = &problem{status: http.StatusBadRequest, detail: safe(err.Error())}
	case tooLong(err):
		p = &problem{status: http.StatusGatewayTimeout, detail: "the question takes too long; ask for less, or for a shorter time"}
	default:
		p = &problem{status: http.StatusInternalServerError, detail: why(err)}
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(p.status)
	out := []byte(`{"type":"about:blank","title":"` + http.StatusText(p.status) + `","status":` + strconv.Itoa(p.status) + `,"detail":`)
	out = event.AppendJSON(out, p.detail)
	if p.column > 0 {
		out = strconv.AppendInt(append(out, `,"column":`...), int64(p.column), 10)
	}
	w.Write(append(out, "}\n"...))
}

// answer sends a whole answer.
func answer(w http.ResponseWriter, out []byte) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Write(append(out, '\n'))
	return nil
}

// Bounds of lists.
const (
	defaultList = 100
	maxList     = 1000 // whole events
	maxRanked   = 10_000
	maxTuples   = 10_000
	maxAnswer   = 16 << 20 // octets
)

// parameters reads those of a request. Each is given once at most, and none is there
// that nobody reads.
type parameters struct {
	values url.Values
	now    time.Time
	err    error
}

func read(r *http.Request, known []param) *parameters {
	p := &parameters{now: time.Now()}
	var err error
	var names []string
	for i := range known {
		names = append(names, known[i].name)
	}
	if p.values, err = url.ParseQuery(r.URL.RawQuery); err != nil {
		p.fail("the parameters cannot be read")
	}
	for name, values := range p.values {
		switch {
		case !slices.Contains(names, name):
			hint := "there are none"
			if len(names) > 0 {
				hint = "there are " + strings.Join(names, ", ")
			}
			p.fail(fmt.Sprintf("no parameter %q; %s", name, hint))
		case len(values) > 1:
			p.fail(name + " is given twice")
		}
	}
	for i := range known {
		value := p.text(known[i].name)
		if list, ok := known[i].schema["enum"].([]string); ok && value != "" && !slices.Contains(list, value) {
			p.fail(known[i].name + " is one of " + strings.Join(list, ", "))
		}
		if known[i].schema["required"] == true && value == "" {
			p.fail(known[i].name + " is missing: " + known[i].doc)
		}
	}
	return p
}

func (p *parameters) fail(detail string) {
	if p.err == nil {
		p.err = badRequest(detail)
	}
}

func (p *parameters) text(name string) string { return p.values.Get(name) }

// span reads since and until: -1h, or as dnshark history has them.
func (p *parameters) span() store.Range {
	r, err := store.ParseRange(strings.TrimPrefix(p.text("since"), "-"), strings.TrimPrefix(p.text("until"), "-"), p.now)
	if err != nil && p.err == nil {
		p.err = err
	}
	return r
}

func (p *parameters) limit(most int) int {
	text := p.text("limit")
	if text == "" {
		return min(defaultList, most)
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		p.fail(fmt.Sprintf("limit is 1 to %d", most))
	}
	return n
}

func (p *parameters) prefix(name string) (net netip.Prefix) {
	if text := p.text(name); text != "" {
		var q store.Query
		if err := q.ParseNet(text); err != nil {
			p.fail(name + " is an address, or a range of addresses as 192.0.2.0/24")
		}
		net = q.Net
	}
	return net
}

// name reads NAME or *.NAME as events have it.
func (p *parameters) name(key string) string {
	text := p.text(key)
	if text == "" {
		return ""
	}
	var q store.Query
	if err := q.ParseName(text); err != nil || q.Wild == store.Right {
		p.fail(key + " is a domain name, or *. and a domain name")
		return ""
	}
	if q.Wild == store.Left {
		return "*." + q.Text
	}
	return q.Text
}

// endpoints are all of the API.
func (s *Server) endpoints() []endpoint {
	required := schema{"type": "string", "required": true}
	return []endpoint{
		{path: "openapi.json", doc: "This description", answer: "OpenAPI", handler: s.openapi},
		{path: "status", doc: "How capture is, and how much is kept", answer: "Status", handler: s.status},
		{path: "events", doc: "Recent events, the newest first", answer: "Events", handler: s.events, params: []param{
			paramSince, paramUntil, text("name", "of a question, of a record of the answer or of an alert, or *. and a name"), text("addr", "an address or range: of client, server or an answer"),
			text("process", "comm, or path of the executable, at either end"), text("container", "id, or its beginning, 12 digits or more"), text("rcode", "response code, as NXDOMAIN"),
			text("kind", "the event's name, see: dnshark events"), limited(maxList),
		}},
		{path: "alerts", doc: "Recent alerts, the last update of each incident, the newest first", answer: "Events", handler: s.alerts, params: []param{
			paramSince, paramUntil, oneOf("severity", "of the alert", event.SeverityNames...), oneOf("threat", "name of the event", threats()...), limited(maxList),
		}},
		{path: "top/{what}", doc: "What the history has most often; times are taken by whole hours", answer: "Ranked", handler: s.top, params: []param{
			oneOf("what", "what is ranked", store.WhatNames()...), paramSince, paramUntil, limited(maxRanked),
		}},
		{path: "new", doc: "Names that were first seen then, the newest first", answer: "New", handler: s.new, params: []param{paramSince, paramUntil, limited(maxRanked)}},
		{path: "series", doc: "Events over time; latencies in ms. Longer steps than asked for may come: hours where only a store is", answer: "Series", handler: s.series, params: []param{
			paramSince, paramUntil, {"step", schema{"type": "integer", "minimum": 1, "default": 60}, "seconds"},
		}},
		{path: "history", doc: "Records that a name, an address, a process or a container has had", answer: "History", handler: s.history, params: []param{
			{"q", required, "NAME, *.NAME, NAME.*, address, range, process:NAME or container:ID"}, text("type", "of records, as A"), paramSince, paramUntil, limited(maxTuples),
		}},
		{path: "asked", doc: "Who asked for a name, of the events that are kept", answer: "Asked", handler: s.asked, params: []param{
			{"name", required, "a name, or *. and a name"}, paramSince, paramUntil, limited(maxRanked),
		}},
		{path: "stream", doc: "Live events (Server-Sent Events): events has an array of at most 200 Events, lost has {\"count\": n} where this reader was too slow", handler: s.stream, free: true, params: []param{
			text("filter", "expression, see: dnshark fields"),
		}},
	}
}

// Status is how capture is.
type Status struct {
	Version   string    `json:"version"`
	Host      string    `json:"host"`
	Started   time.Time `json:"started"`
	Capturing bool      `json:"capturing"`
	Source    string    `json:"source"` // what is captured, in words
	Events    uint64    `json:"events"` // since Started
	Lost      uint64    `json:"lost"`   // packets and events, since Started
}

func (s *Server) status(w http.ResponseWriter, r *http.Request, p *parameters) error {
	answered := struct {
		Status
		Store struct {
			Tuples int64 `json:"tuples"`
			Names  int64 `json:"names"`
			Octets int64 `json:"octets"`
		} `json:"store"`
		Subscribers int `json:"subscribers"`
	}{Status: s.Status(r.Context())}
	counts, err := s.Store.Counts(r.Context())
	if err != nil {
		return err
	}
	answered.Store.Tuples, answered.Store.Names, answered.Store.Octets = counts.Tuples, counts.Names, counts.Octets
	if s.Hub != nil {
		answered.Subscribers = s.Hub.Readers()
	}
	answered.Source, answered.Host = safe(answered.Source), safe(answered.Host)
	out, err := json.Marshal(&answered)
	if err != nil {
		return err
	}
	return answer(w, out)
}

// errEnough ends a search.
var errEnough = errors.New("enough")

func (s *Server) top(w http.ResponseWriter, r *http.Request, p *parameters) error {
	what, err := store.ParseWhat(r.PathValue("what"))
	if err != nil {
		return &problem{status: http.StatusNotFound, detail: safe(err.Error())}
	}
	return s.ranked(w, r, p, func(ctx context.Context, span store.Range, n int) ([]store.Ranked, error) {
		return s.Store.Top(ctx, what, span, n)
	})
}

func (s *Server) new(w http.ResponseWriter, r *http.Request, p *parameters) error {
	return s.ranked(w, r, p, s.Store.New)
}

func (s *Server) ranked(w http.ResponseWriter, r *http.Request, p *parameters, ask func(context.Context, store.Range, int) ([]store.Ranked, error)) error {
	span, limit := p.span(), p.limit(maxRanked)
	if p.err != nil {
		return p.err
	}
	list, err := ask(r.Context(), span, limit)
	if err != nil {
		return err
	}
	out := []byte(`{"rows":[`)
	for i := range list {
		if i > 0 {
			out = append(out, ',')
		}
		out = list[i].AppendJSON(out)
	}
	return answer(w, append(out, ']', '}'))
}

func (s *Server) history(w http.ResponseWriter, r *http.Request, p *parameters) error {
	q, err := store.ParseSubject(p.text("q"))
	if err != nil {
		return err
	}
	if typ := p.text("type"); typ != "" {
		var ok bool
		if q.Type, ok = dnswire.ParseType(strings.ToUpper(typ)); !ok {
			p.fail(typ + " is no type of records")
		}
	}
	if q.Range, q.Limit = p.span(), p.limit(maxTuples); p.err != nil {
		return p.err
	}
	out := []byte(`{"tuples":[`)
	more, err := s.Store.Lookup(r.Context(), q, func(t *store.Tuple) error {
		if len(out) > maxAnswer {
			return errEnough
		}
		if out[len(out)-1] == '}' {
			out = append(out, ',')
		}
		out = appendTuple(out, t)
		return nil
	})
	if more = more || errors.Is(err, errEnough); err != nil && !errors.Is(err, errEnough) {
		return err
	}
	return answer(w, append(strconv.AppendBool(append(out, `],"more":`...), more), '}'))
}

func appendTuple(dst []byte, t *store.Tuple) []byte {
	dst = store.AppendText(append(dst, `{"rrname":`...), t.Name)
	dst = store.AppendText(append(dst, `,"rrtype":`...), t.Type.String())
	dst = store.AppendText(append(dst, `,"rdata":`...), t.RData)
	dst = store.AppendText(append(dst, `,"bailiwick":`...), t.Bailiwick)
	dst = event.AppendJSON(append(dst, `,"sensor":`...), t.Sensor)
	dst = append(event.AppendTime(append(dst, `,"time_first":"`...), t.First), '"')
	dst = append(event.AppendTime(append(dst, `,"time_last":"`...), t.Last), '"')
	return append(strconv.AppendInt(append(dst, `,"count":`...), t.Count, 10), '}')
}
