package recompute

import (
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

func init() {
	recomputations["forged_replies"] = forged
	recomputations["two_answers"] = twoAnswers
	recomputations["foreign_records"] = foreign
}

const campaignGap = 1800e9

func forged(v *view, a *alert) figures {
	var n map[string]float64
	names, answers := map[string]bool{}, map[string]bool{}
	ids, servers := map[uint16]bool{}, map[netip.Addr]bool{}
	var last, second, span int64
	var inSecond, now, past float64
	at := ""
	fit := map[netip.Addr]float64{}
	for _, m := range v.messages {
		if m.time > a.end() {
			break
		}
		if !m.response() || m.client.Addr() != a.Src {
			continue
		}
		if m.state == answered {
			fit[m.server.Addr()]++
		}
		domain := m.registered
		if domain == "" {
			domain = m.name
		}
		if m.tcp || m.name == "" || domain != canonical(a.Domain) || m.state != unsolicited && m.state != mismatched {
			continue
		}
		if n == nil || m.time-last > campaignGap {
			n = map[string]float64{
				"replies_without_question": 0, "most_in_a_second": 0, "ids_for_one_name_and_port_at_least": 0, "wrong_question": 0,
				"ip_ttl_lowest": 255, "ip_ttl_highest": 0, start: float64(m.time / 1000),
			}
			clear(servers)
			second, span, at = 0, 0, ""
		}
		last = m.time
		n["replies_without_question"]++
		if m.state == mismatched {
			n["wrong_question"]++
		}
		switch since := m.time - span; {
		case since >= 600e9:
			span, now, past = m.time, 0, 0
		case since >= 300e9:
			span, now, past = span+300e9, 0, now
		}
		now++
		if m.time-second >= 1e9 {
			second, inSecond = m.time, 0
		}
		inSecond++
		n["most_in_a_second"] = max(n["most_in_a_second"], inSecond)
		if key := m.name + " " + m.client.String(); key != at {
			at = key
			clear(ids)
		}
		ids[m.Id] = true
		n["ids_for_one_name_and_port_at_least"] = max(n["ids_for_one_name_and_port_at_least"], float64(min(64, len(ids))))
		servers[m.server.Addr()] = true
		n["ip_ttl_lowest"], n["ip_ttl_highest"] = min(n["ip_ttl_lowest"], float64(m.hops)), max(n["ip_ttl_highest"], float64(m.hops))
		names[m.name] = true
		for _, r := range m.Answer {
			answers[canonical(strings.TrimPrefix(r.String(), r.Header().String()))] = true
		}
		n["replies_of_this_server_that_fit"] = fit[a.Server]
	}
	n["in_window"], n["servers_at_least"] = now+past, float64(min(16, len(servers)))
	n[value], n[end] = n["replies_without_question"], float64(last/1000)
	if a.Window == 600 {
		n[value] = n["in_window"]
	}
	return figures{n, map[string]func(string) bool{"names": some(names), "answers": some(answers)}}
}

// addresses returns those of an answer.
func addresses(m *message) (list []netip.Addr) {
	for _, r := range m.Answer {
		if a := address(r); a.IsValid() {
			list = append(list, a)
		}
	}
	return list
}

// network is the /24 or /48 of an address.
func network(a netip.Addr) netip.Prefix {
	n := 48
	if a.Is4() {
		n = 24
	}
	p, _ := a.Prefix(n)
	return p
}

func twoAnswers(v *view, a *alert) figures {
	n := map[string]float64{"queries_with_two_answers": 0, "with_another_ip_ttl": 0}
	names, first, second := map[string]bool{}, map[string]bool{}, map[string]bool{}
	firsts := map[transaction]*message{}
	last := int64(0)
	samples := func(set map[string]bool, m *message) {
		for _, ip := range addresses(m) {
			set[ip.String()] = true
		}
		set[strings.ToLower(dns.RcodeToString[m.Rcode])] = true
	}
	for _, m := range v.messages {
		if m.time > a.end() {
			break
		}
		if !m.response() || m.client.Addr() != a.Src || m.server.Addr() != a.Server {
			continue
		}
		key := transaction{m.client, m.server, m.tcp, m.Id}
		if m.state == answered && !m.tcp && m.is(dns.TypeA, dns.TypeAAAA) {
			firsts[key] = m
		}
		f := firsts[key]
		if m.state != duplicate || f == nil || m.time-f.time > 5e9 {
			continue
		}
		near := false
		x, y := addresses(f), addresses(m)
		for _, one := range x {
			for _, other := range y {
				near = near || network(one) == network(other)
			}
		}
		says := func(m *message) bool { return m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError }
		if !says(f) || !says(m) || f.Rcode == m.Rcode && (len(x) == 0 || len(y) == 0 || near) {
			continue
		}
		if last == 0 || m.time-last > campaignGap {
			clear(n)
			n["with_another_ip_ttl"], n[start] = 0, float64(f.time/1000)
		}
		last = m.time
		n["queries_with_two_answers"]++
		if f.hops != m.hops {
			n["with_another_ip_ttl"]++
		}
		names[m.name] = true
		samples(first, f)
		samples(second, m)
	}
	n[value], n[end] = n["queries_with_two_answers"], float64(last/1000)
	return figures{n, map[string]func(string) bool{"names": some(names), "first_answers": some(first), "second_answers": some(second)}}
}

// foreign counts addresses of names that the message does not need, and name servers of
// zones that the question is not in.
func foreign(v *view, a *alert) figures {
	n := map[string]float64{"records": 0}
	names, asked := map[string]bool{}, map[string]bool{}
	last := int64(0)
	for _, m := range v.messages {
		if m.time > a.end() {
			break
		}
		if !m.response() || m.server.Addr() != a.Server || m.state != answered || m.repeat || m.registered == "" || m.Rcode != dns.RcodeSuccess {
			continue
		}
		note := func(owner string) {
			if last == 0 || m.time-last > campaignGap {
				n = map[string]float64{"records": 0, start: float64(m.time / 1000)}
			}
			last = m.time
			n["records"]++
			names[owner], asked[m.name] = true, true
		}
		needed, chained := map[string]bool{}, func(string) bool { return false }
		for _, r := range append(append(m.Answer[:len(m.Answer):len(m.Answer)], m.Ns...), m.Extra...) {
			for _, target := range targets(r) {
				needed[target] = true
			}
		}
		for _, r := range m.Answer {
			before, led := chained, canonical(r.Header().Name)
			if t := targets(r); (r.Header().Rrtype == dns.TypeCNAME || r.Header().Rrtype == dns.TypeDNAME) && len(t) == 1 {
				led = t[0]
			}
			chained = func(zone string) bool { return before(zone) || within(led, zone) }
		}
		for _, r := range m.Extra {
			owner := canonical(r.Header().Name)
			if t := r.Header().Rrtype; (t == dns.TypeA || t == dns.TypeAAAA) && !within(owner, m.registered) && !needed[owner] {
				note(owner)
			}
		}
		for _, r := range m.Ns {
			owner := canonical(r.Header().Name)
			if r.Header().Rrtype == dns.TypeNS && !within(m.name, owner) && !within(owner, m.registered) && !chained(owner) {
				note(owner)
			}
		}
	}
	n[value], n[end] = n["records"], float64(last/1000)
	return figures{n, map[string]func(string) bool{"names": some(names), "asked_for": some(asked)}}
}

// targets are the names that a record refers to.
func targets(r dns.RR) []string {
	name := func(s string) []string {
		if s == "." {
			s = r.Header().Name
		}
		return []string{canonical(s)}
	}
	switch r := r.(type) {
	case *dns.NS:
		return name(r.Ns)
	case *dns.CNAME:
		return name(r.Target)
	case *dns.DNAME:
		return name(r.Target)
	case *dns.PTR:
		return name(r.Ptr)
	case *dns.SOA:
		return name(r.Ns)
	case *dns.MX:
		return name(r.Mx)
	case *dns.SRV:
		return name(r.Target)
	case *dns.HTTPS:
		return name(r.Target)
	case *dns.SVCB:
		return name(r.Target)
	}
	return nil
}
