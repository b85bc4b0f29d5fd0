package web

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"strconv"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/store"
)

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
	q := &EventQuery{Range: p.span(), Name: p.name("name"), Limit: maxAsked}
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
			if err := json.Unmarshal(line, &e); err != nil {
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
