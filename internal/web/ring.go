package web

import (
	"bytes"
	"context"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dnshark-io/dnshark/internal/store"
)

// Events keeps whole events for a while.
type Events interface {
	// Append adds n events, a line of JSON each, in their order.
	Append(lines []byte, n int) error
	// Find calls f for the events that q wants, in the order of their arrival or the
	// newest first. It reports whether there are more than q.Limit. f keeps nothing
	// of the line, which has no newline.
	Find(ctx context.Context, q *EventQuery, f func(line []byte) error) (more bool, err error)
}

// EventQuery says which events are wanted. What is "" or zero does not matter.
type EventQuery struct {
	store.Range
	Kind                      string // the event's name, or alerts for all those
	Name                      string // of a question, in presentation format, or *. and a name for all at or below it
	Process, Container, RCode string // comm or executable; id or its beginning; as NXDOMAIN
	Addr                      netip.Prefix
	Limit                     int
}

// Ring keeps the newest events in memory, and alerts for longer than the others.
type Ring struct {
	mu          sync.Mutex
	all, alerts blocks
}

// blocks are lines, the oldest first.
type blocks struct {
	list   [][]byte
	octets int
}

// Bounds of a ring, in octets.
const (
	maxRing   = 16 << 20
	maxAlerts = 4 << 20
)

// isAlert is in the line of every alert, and of no other event: in a text the quotes
// would be escaped.
var isAlert = []byte(`,"alert":{`)

// Append implements Events.
func (g *Ring) Append(lines []byte, _ int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all.add(bytes.Clone(lines), maxRing)
	if !bytes.Contains(lines, isAlert) {
		return nil
	}
	for line := range bytes.Lines(lines) {
		if bytes.Contains(line, isAlert) {
			g.alerts.add(bytes.Clone(line), maxAlerts)
		}
	}
	return nil
}

func (b *blocks) add(lines []byte, most int) {
	b.list = append(b.list, lines)
	for b.octets += len(lines); b.octets > most && len(b.list) > 1; b.list = b.list[1:] {
		b.octets -= len(b.list[0])
		b.list[0] = nil
	}
}

// Find implements Events: the newest first.
func (g *Ring) Find(ctx context.Context, q *EventQuery, f func(line []byte) error) (more bool, err error) {
	g.mu.Lock()
	from := &g.all
	if q.Kind == "alerts" {
		from = &g.alerts
	}
	blocks := slices.Clone(from.list)
	g.mu.Unlock()
	n := 0
	for i := len(blocks) - 1; i >= 0; i-- {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		for rest := blocks[i]; len(rest) > 0; {
			rest = bytes.TrimSuffix(rest, []byte{'\n'})
			begin := bytes.LastIndexByte(rest, '\n') + 1
			line := rest[begin:]
			rest = rest[:begin]
			if !q.wants(line) {
				continue
			}
			if n++; n > q.Limit {
				return true, nil
			}
			if err := f(line); err != nil {
				return false, err
			}
		}
	}
	return false, nil
}

// known is what of an event queries are about.
type known struct {
	Time     time.Time `json:"time"`
	Event    string    `json:"event"`
	Metadata struct {
		SrcIP netip.Addr `json:"src_ip"`
		DstIP netip.Addr `json:"dst_ip"`
	} `json:"metadata"`
	DNS struct {
		RCode     string `json:"rcode"`
		Questions []struct {
			Name string `json:"name"`
		} `json:"questions"`
		Answer []struct {
			Type string `json:"type"`
			Data string `json:"data"`
		} `json:"answer"`
	} `json:"dns"`
	Process struct {
		Comm      string `json:"comm"`
		Exe       string `json:"exe"`
		Container struct {
			ID string `json:"id"`
		} `json:"container"`
	} `json:"process"`
	Alert *struct {
		ID       string     `json:"id"`
		Threat   string     `json:"threat"`
		Severity string     `json:"severity"`
		Domain   string     `json:"domain"`
		Src      netip.Addr `json:"src"`
		Server   netip.Addr `json:"server"`
	} `json:"alert"`
}

func (q *EventQuery) wants(line []byte) bool {
	var e known
	if json.Unmarshal(line, &e) != nil {
		return false
	}
	at := e.Time.UnixNano()
	switch {
	case q.Since != 0 && at < q.Since, q.Until != 0 && at > q.Until,
		q.Kind == "alerts" && e.Alert == nil, q.Kind != "" && q.Kind != "alerts" && q.Kind != e.Event,
		q.RCode != "" && !strings.EqualFold(q.RCode, e.DNS.RCode),
		q.Process != "" && q.Process != e.Process.Comm && q.Process != e.Process.Exe,
		q.Container != "" && !strings.HasPrefix(e.Process.Container.ID, q.Container):
		return false
	}
	return (q.Name == "" || e.named(q.Name)) && (!q.Addr.IsValid() || e.with(q.Addr))
}

func (e *known) named(name string) bool {
	below, wild := strings.CutPrefix(name, "*.")
	is := func(n string) bool {
		n = strings.ToLower(n)
		return n == below || wild && (below == "." || strings.HasSuffix(n, "."+below))
	}
	for i := range e.DNS.Questions {
		if is(e.DNS.Questions[i].Name) {
			return true
		}
	}
	return e.Alert != nil && e.Alert.Domain != "" && is(e.Alert.Domain)
}

func (e *known) with(p netip.Prefix) bool {
	if p.Contains(e.Metadata.SrcIP) || p.Contains(e.Metadata.DstIP) || e.Alert != nil && (p.Contains(e.Alert.Src) || p.Contains(e.Alert.Server)) {
		return true
	}
	for i := range e.DNS.Answer {
		if r := &e.DNS.Answer[i]; r.Type == "A" || r.Type == "AAAA" {
			if a, err := netip.ParseAddr(r.Data); err == nil && p.Contains(a) {
				return true
			}
		}
	}
	return false
}
