package sink

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// loki pushes lines to Grafana Loki.
var loki = Kind{
	Scheme: "loki",
	Also:   []string{"lokis"},
	Form:   "loki://[USER:PASSWORD@]HOST[:PORT][/PREFIX], lokis://HOST with TLS",
	Doc:    "Grafana Loki, a line per event; labels are host and event, all else is structured metadata",
	Delivery: `A request counts as delivered when Loki has taken it. Labels are host, event and those that you
name, never what a packet says: so there are as many streams as kinds of events. Names, addresses
and processes are structured metadata: {job="dnshark"} | rcode="NXDOMAIN" | process="curl". A line
that comes again has the same time, labels and text, so Loki keeps it once; lines that it refuses
cost themselves alone. VictoriaLogs takes JSON lines by the output http:
http://HOST:9428/insert/jsonline?query=_time_field%3Dtime%26_msg_field%3Devent%26_stream_fields%3Dhost%2Cevent`,
	Example: "-o 'lokis://1234:${LOKI_TOKEN}@logs.example?labels=job=dnshark,env=prod'",
	Format:  "json",
	Options: options([]Option{
		{"labels", "text", "job=dnshark", "more labels: NAME=VALUE, several with commas"},
		{"metadata", "yes/no", "yes", "structured metadata: event_id, qname, rcode, client, process...; Loki 3, or 2.9 that is told to"},
		{"tenant", "text", "", "tenant (X-Scope-OrgID)"},
		{"linger", "time", "1s", "for how long events are gathered"},
	}, httpOptions("gzip")),
	Open: openLoki,
}

// lokiStream is what of a request has the same labels.
type lokiStream struct {
	labels string // JSON object
	values []byte // JSON, without brackets
}

type lokiSink struct {
	client   *httpClient
	header   http.Header
	labels   string // JSON members, each followed by a comma
	host     string
	ours     bool // format json
	metadata bool
	pieces   pieces
	facts    facts
	// By event, of which there are as many as the catalogue has. Nothing that a packet
	// says is a label: every value would be a stream of its own.
	streams []lokiStream
	body    []byte
}

func openLoki(t *Target) (Sink, error) {
	if err := t.refuseBinary(); err != nil {
		return nil, err
	}
	s := &lokiSink{host: t.Host, ours: t.Format == "json", metadata: t.Yes("metadata"), header: http.Header{"Content-Type": {"application/json"}}}
	if tenant := t.Text("tenant"); tenant != "" {
		if strings.ContainsFunc(tenant, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, errors.New("tenant: a name without spaces")
		}
		s.header["X-Scope-Orgid"] = []string{tenant}
	}
	names := []string{"host", "event"}
	for _, label := range strings.Split(t.Text("labels"), ",") {
		name, value, ok := strings.Cut(label, "=")
		if label == "" {
			continue
		}
		if !ok || value == "" || name == "" || strings.Trim(name, strings.Trim(idOctets, ".")) != "" || strings.ContainsAny(name[:1], "0123456789") || slices.Contains(names, name) {
			return nil, fmt.Errorf("labels: %q is no NAME=VALUE of letters, digits and _, or a label twice", label)
		}
		names = append(names, name)
		s.labels += string(appendString(append(appendString(nil, []byte(name)), ':'), []byte(value))) + ","
	}
	var err error
	if s.client, err = t.httpClient(); err != nil {
		return nil, err
	}
	s.client.defaultPort("3100", "443")
	return s, nil
}

// Deliver implements Sink. Loki takes the other lines of a request of which it refuses
// some, and drops a line that it has: so pieces that come again do no harm.
func (s *lokiSink) Deliver(ctx context.Context, b *Block) error {
	return s.pieces.deliver(b, func(lines [][]byte, from int) error {
		s.streams = s.streams[:0]
		for i, line := range lines {
			s.add(b, from+i, line)
		}
		s.body = append(s.body[:0], `{"streams":[`...)
		for i, stream := range s.streams {
			if i > 0 {
				s.body = append(s.body, ',')
			}
			s.body = append(append(s.body, `{"stream":`...), stream.labels...)
			s.body = append(append(append(s.body, `,"values":[`...), stream.values...), `]}`...)
		}
		s.body = append(s.body, `]}`...)
		_, err := s.client.post(ctx, "/loki/api/v1/push", nil, s.header, s.body, 0)
		return err
	})
}

// add adds line i to its stream.
func (s *lokiSink) add(b *Block, i int, line []byte) {
	f := &s.facts
	*f = facts{}
	if s.ours {
		f.read(line)
	}
	host := string(f.host)
	if host == "" {
		host = string(appendString(nil, []byte(s.host)))
	}
	labels := "{" + s.labels + `"host":` + host
	if f.event != nil {
		labels += `,"event":` + string(f.event)
	}
	labels += "}"
	n := slices.IndexFunc(s.streams, func(stream lokiStream) bool { return stream.labels == labels })
	if n < 0 {
		n = len(s.streams)
		// What an earlier request left there is used again.
		s.streams = slices.Grow(s.streams, 1)[:n+1]
		s.streams[n] = lokiStream{labels, s.streams[n].values[:0]}
	}
	to := s.streams[n].values
	if len(to) > 0 {
		to = append(to, ',')
	}
	to = strconv.AppendInt(append(to, `["`...), timeOf(line).UnixNano(), 10)
	to = appendString(append(to, `",`...), line)
	if s.metadata {
		to = append(b.AppendID(append(to, `,{"event_id":"`...), i), '"')
		for _, m := range [...]struct {
			name  string
			value []byte
		}{
			{"qname", f.qname}, {"qtype", f.qtype}, {"rcode", f.rcode}, {"client", f.client}, {"server", f.server},
			{"process", f.comm}, {"pid", f.pid}, {"unit", f.unit}, {"container", f.container}, {"pod", f.pod}, {"namespace", f.namespace},
		} {
			if m.value != nil {
				to = append(append(append(to, `,"`...), m.name...), `":`...)
				to = appendString(to, []byte(text(m.value)))
			}
		}
		to = append(to, '}')
	}
	s.streams[n].values = append(to, ']')
}

// Close implements Sink.
func (s *lokiSink) Close() error {
	s.client.close()
	return nil
}
