package web

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/kind"
	"github.com/dnshark-io/dnshark/internal/store"
	"github.com/dnshark-io/dnshark/internal/store/eventlog"
)

// Events finds whole events, as eventlog does.
type Events interface {
	Find(ctx context.Context, q *eventlog.Query, f func(line []byte) error) (more bool, err error)
}

var errNoEvents = &problem{status: http.StatusServiceUnavailable, detail: "no events are kept here"}

func (s *Server) events(w http.ResponseWriter, r *http.Request, p *parameters) error {
	q := &eventlog.Query{
		Range: p.span(), Newest: true, Name: p.name("name"), Addr: p.prefix("addr"), Process: p.text("process"),
		Container: p.text("container"), RCode: p.text("rcode"), Kind: p.text("kind"), Limit: p.limit(maxList),
	}
	if p.err != nil {
		return p.err
	}
	if s.Events == nil {
		return errNoEvents
	}
	a := newEventList()
	more, err := s.Events.Find(r.Context(), q, a.add)
	if err != nil && !a.full {
		return err
	}
	return a.answer(w, more)
}

// eventList is an answer in the making.
type eventList struct {
	out  []byte
	full bool
}

func newEventList() *eventList { return &eventList{out: []byte(`{"events":[`)} }

// add adds a line with its newline. It returns errEnough where the answer has no room
// for it.
func (a *eventList) add(line []byte) error {
	if a.full = len(a.out)+len(line) > maxAnswer; a.full {
		return errEnough
	}
	if a.out[len(a.out)-1] != '[' {
		a.out = append(a.out, ',')
	}
	a.out = append(a.out, line[:len(line)-1]...)
	return nil
}

func (a *eventList) answer(w http.ResponseWriter, more bool) error {
	return answer(w, append(strconv.AppendBool(append(a.out, `],"more":`...), more || a.full), '}'))
}

// known is what is read of an event.
type known struct {
	Time     time.Time `json:"time"`
	Metadata struct {
		SrcIP netip.Addr `json:"src_ip"`
		DstIP netip.Addr `json:"dst_ip"`
	} `json:"metadata"`
	Process struct {
		Comm      string `json:"comm"`
		Container struct {
			ID string `json:"id"`
		} `json:"container"`
	} `json:"process"`
	Alert struct {
		ID       string `json:"id"`
		Severity string `json:"severity"`
	} `json:"alert"`
}

// maxAlerts bounds how many alerts of a threat are read for an answer, updates
// included.
const maxAlerts = 10_000

// alerts answers with the last update of each incident.
func (s *Server) alerts(w http.ResponseWriter, r *http.Request, p *parameters) error {
	span, severity, limit := p.span(), p.text("severity"), p.limit(maxList)
	if p.err != nil {
		return p.err
	}
	if s.Events == nil {
		return errNoEvents
	}
	threats := threats()
	if t := p.text("threat"); t != "" {
		threats = []string{t}
	}
	type alert struct {
		at   int64
		line []byte
	}
	var list []alert
	more, octets := false, 0
	for _, threat := range threats {
		seen := map[string]bool{}
		q := &eventlog.Query{Range: span, Newest: true, Kind: threat, Limit: maxAlerts}
		cut, err := s.Events.Find(r.Context(), q, func(line []byte) error {
			var e known
			if json.Unmarshal(line, &e) != nil || seen[e.Alert.ID] {
				return nil
			}
			seen[e.Alert.ID] = true
			if severity != "" && severity != e.Alert.Severity {
				return nil
			}
			if octets += len(line); octets > maxAnswer {
				return errEnough
			}
			list = append(list, alert{e.Time.UnixNano(), slices.Clone(line)})
			return nil
		})
		if err != nil && octets <= maxAnswer {
			return err
		}
		more = more || cut || err != nil
	}
	slices.SortStableFunc(list, func(a, b alert) int { return cmp.Compare(b.at, a.at) })
	a := newEventList()
	for i := range list[:min(limit, len(list))] {
		if a.add(list[i].line) != nil {
			break
		}
	}
	return a.answer(w, more || len(list) > limit)
}

// threats are the names of the events that are alerts.
func threats() (names []string) {
	for _, k := range kind.Catalogue {
		if slices.Contains(k.Sets, kind.SetAlerts) {
			names = append(names, k.Name)
		}
	}
	return names
}

// asker is who asked for a name.
type asker struct{ process, container, client string }

type askedTimes struct {
	count       int
	first, last int64 // ns since the Unix epoch
}

// maxAsked bounds how many events are read for an answer.
const maxAsked = 100_000

// asked tells who asked for a name, from the events that are kept.
func (s *Server) asked(w http.ResponseWriter, r *http.Request, p *parameters) error {
	q := &eventlog.Query{Range: p.span(), Newest: true, Name: p.name("name"), Limit: maxAsked}
	limit := p.limit(maxRanked)
	if p.err != nil {
		return p.err
	}
	if s.Events == nil {
		return errNoEvents
	}
	rows := map[asker]*askedTimes{}
	// Answers, and questions that had none: what else there is tells of the same.
	for _, q.Kind = range []string{"net_packet_dns_response", "net_packet_dns_unanswered"} {
		_, err := s.Events.Find(r.Context(), q, func(line []byte) error {
			var e known
			if json.Unmarshal(line, &e) != nil {
				return nil
			}
			client := e.Metadata.DstIP
			if q.Kind == "net_packet_dns_unanswered" {
				client = e.Metadata.SrcIP
			}
			who := asker{e.Process.Comm, e.Process.Container.ID, addrText(client)}
			t, at := rows[who], e.Time.UnixNano()
			if t == nil {
				t = &askedTimes{first: at, last: at}
				rows[who] = t
			}
			t.count, t.first, t.last = t.count+1, min(t.first, at), max(t.last, at)
			return nil
		})
		if err != nil {
			return err
		}
	}
	order := make([]asker, 0, len(rows))
	for who := range rows {
		order = append(order, who)
	}
	slices.SortFunc(order, func(a, b asker) int {
		return cmp.Or(rows[b].count-rows[a].count, cmp.Compare(rows[b].last, rows[a].last), cmp.Compare(a.client, b.client), cmp.Compare(a.process, b.process), cmp.Compare(a.container, b.container))
	})
	out := []byte(`{"rows":[`)
	for i, who := range order[:min(len(order), limit)] {
		if i > 0 {
			out = append(out, ',')
		}
		t := rows[who]
		out = store.AppendText(append(out, `{"process":`...), who.process)
		out = store.AppendText(append(out, `,"container":`...), who.container)
		out = store.AppendText(append(out, `,"client":`...), who.client)
		out = strconv.AppendInt(append(out, `,"count":`...), int64(t.count), 10)
		out = event.AppendTime(append(out, `,"first":"`...), t.first)
		out = append(event.AppendTime(append(out, `","last":"`...), t.last), `"}`...)
	}
	return answer(w, append(out, ']', '}'))
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
