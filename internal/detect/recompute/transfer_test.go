package recompute

import (
	"slices"
	"strings"

	"github.com/miekg/dns"
)

func init() {
	recomputations["transfer"] = transfer
	recomputations["ixfr"] = transfer
	recomputations["guesses"] = transfer
	recomputations["nsec_walk"] = walk
}

func transfer(v *view, a *alert) figures {
	type one struct {
		zone       string
		ixfr, told bool
		answers    int
		ended      bool
	}
	n := map[string]float64{"attempts": 0, "zones": 0, "transferred": 0, "complete": 0, "refused": 0, "up_to_date": 0, "records": 0, "octets": 0, "messages": 0}
	zones, outcomes := map[string]bool{}, map[string]bool{}
	open := map[transaction]*one{}
	for _, m := range v.messages {
		if m.time > a.end() {
			break
		}
		if m.Msg == nil || m.client.Addr() != a.Src || m.server.Addr() != a.Server || m.state == unanswered || m.Opcode != dns.OpcodeQuery {
			continue
		}
		key := transaction{m.client, m.server, false, m.Id}
		asks := m.is(dns.TypeAXFR, dns.TypeIXFR)
		t := open[key]
		if asks && (t == nil || !m.Response && (t.told || t.zone != m.name)) {
			t = &one{zone: m.name, ixfr: m.is(dns.TypeIXFR)}
			open[key] = t
			if n["attempts"] == 0 {
				n[start] = float64(m.time / 1000)
			}
			n["attempts"]++
			zones[m.name] = true
		}
		if !m.Response || t == nil || !asks && !(m.tcp && len(m.Question) == 0) {
			continue
		}
		n[end] = float64(m.time / 1000)
		k := len(m.Answer)
		before := t.answers
		t.answers += k
		switch {
		case m.Rcode != dns.RcodeSuccess || k == 0 && before == 0:
			n["refused"]++
			outcomes[strings.ToLower(dns.RcodeToString[m.Rcode])] = true
			t.told = true
		case t.ixfr && k == 1 && before == 0 && !m.tcp:
			n["up_to_date"]++
			t.told = true
		default:
			if !t.told {
				t.told = true
				n["transferred"]++
				outcomes["noerror"] = true
			}
			n["records"] += float64(k)
			n["messages"]++
			n["octets"] += float64(len(m.raw))
			if t.ended {
				n["complete"]--
			}
			if t.ended = before+k > 1 && k > 0 && m.Answer[k-1].Header().Rrtype == dns.TypeSOA; t.ended {
				n["complete"]++
			}
		}
	}
	if n["zones"] = float64(len(zones)); len(zones) >= 256 {
		n["zones_at_least"] = 256
		delete(n, "zones")
	}
	n[value] = n["attempts"]
	return figures{n, map[string]func(string) bool{"outcomes": some(outcomes), "zone_names": some(zones)}}
}

// walk counts the queries for names that NSEC records gave, the last eight of them, as next.
func walk(v *view, a *alert) figures {
	var next []string
	begin, steps := int64(0), 0.0
	names := map[string]bool{}
	for _, m := range v.messages {
		if m.time > a.end() {
			break
		}
		if !m.response() || m.client.Addr() != a.Src || m.server.Addr() != a.Server || m.is(dns.TypeAXFR, dns.TypeIXFR) {
			continue
		}
		if at := slices.Index(next, strings.TrimPrefix(m.name, "\x00.")); at >= 0 {
			next[at] = "?"
			steps++
			names[m.name] = true
		}
		for _, r := range append(append(m.Answer[:len(m.Answer):len(m.Answer)], m.Ns...), m.Extra...) {
			nsec, ok := r.(*dns.NSEC)
			if !ok {
				continue
			}
			if begin == 0 || m.time-begin > 600e9 && steps < 8 {
				begin, steps, next = m.time, 0, nil
			}
			if name := canonical(nsec.NextDomain); !slices.Contains(next, name) {
				next = append(next, name)
				if len(next) > 8 {
					next = next[1:]
				}
			}
		}
	}
	return figures{map[string]float64{"steps": steps, value: steps, start: float64(begin / 1000), end: float64(a.end() / 1000)}, map[string]func(string) bool{"names": some(names)}}
}
