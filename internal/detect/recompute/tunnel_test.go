package recompute

import (
	"strings"

	"github.com/miekg/dns"
	"golang.org/x/net/publicsuffix"
)

func init() {
	for kind, value := range map[string]string{"odd_types": "octets", "undelegated_targets": "undelegated_targets", "two_way": "octets_down", "exfiltration": "octets_up"} {
		recomputations[kind] = func(v *view, a *alert) figures { return tunnel(v, a, value) }
	}
	recomputations["not_dns_on_port"] = notDNS
}

// hour is how long the figures of a tunnel are gathered.
const hour = 3600e9

func tunnel(v *view, a *alert, of string) figures {
	names, data := news{}, news{}
	n := map[string]float64{}
	types, samples := map[string]bool{}, map[string]bool{}
	begin := int64(0)
	fresh := func() {
		for _, key := range []string{"different_transactions", "unique_names", "octets_up", "octets_down", "unique_answers", "records", "nxdomain", "odd_types", "undelegated_targets"} {
			n[key] = 0
		}
	}
	for _, m := range v.messages {
		if m.time > a.end() {
			break
		}
		if m.client.Addr() != a.Src || m.registered != a.Domain || m.state == query || m.repeat || !carries(m) {
			continue
		}
		if begin == 0 || m.time-begin >= hour {
			begin = m.time
			fresh()
		}
		n["different_transactions"]++
		types[strings.ToLower(dns.Type(m.qtype).String())], samples[m.name] = true, true
		if m.is(dns.TypeNULL, dns.TypeKEY) || m.qtype >= 65280 && m.qtype < 65535 {
			n["odd_types"]++
		}
		if m.labels != "" && names.add(m.name, m.time) {
			n["unique_names"]++
			n["octets_up"] += float64(len(m.labels))
		}
		if !m.response() {
			continue
		}
		if m.Rcode == dns.RcodeNameError {
			n["nxdomain"]++
		}
		for _, r := range m.Answer {
			h := r.Header()
			switch h.Rrtype {
			case dns.TypeRRSIG, dns.TypeNSEC, dns.TypeNSEC3, dns.TypeDNSKEY, dns.TypeDS, dns.TypePTR, dns.TypeNS, dns.TypeSOA:
				continue
			}
			if h.Rdlength == 0 {
				continue
			}
			n["records"]++
			if !data.add(rdata(r), m.time) {
				continue
			}
			n["unique_answers"]++
			n["octets_down"] += float64(h.Rdlength)
			target := ""
			switch r := r.(type) {
			case *dns.CNAME:
				target = canonical(r.Target)
			case *dns.MX:
				target = canonical(r.Mx)
			case *dns.SRV:
				target = canonical(r.Target)
			}
			if suffix, known := publicsuffix.PublicSuffix(target); target != "" && !known && !strings.Contains(suffix, ".") && !within(target, a.Domain) {
				n["undelegated_targets"]++
			}
		}
	}
	octets := n["octets_up"] + n["octets_down"]
	n["octets_per_second"] = octets / max(1, float64(a.end()-begin)/1e9)
	n[value] = n[of]
	if of == "octets" {
		n[value] = octets
	}
	n[start], n[end] = float64(begin/1000), float64(a.end()/1000)
	return figures{n, map[string]func(string) bool{"types": some(types), "names": some(samples), "data": anything}}
}

// carries reports whether a message can carry enough to count.
func carries(m *message) bool {
	return len(m.labels) >= 16 || !m.is(dns.TypeA, dns.TypeAAAA, dns.TypeHTTPS, dns.TypePTR, dns.TypeNS, dns.TypeSOA, dns.TypeDS, dns.TypeDNSKEY)
}

// notDNS counts what two hosts send each other on the port, until a minute is silent.
func notDNS(v *view, a *alert) figures {
	n := map[string]float64{}
	begin, last := int64(0), int64(0)
	for _, m := range v.messages {
		if m.time > a.end() {
			break
		}
		if x, y := m.from.Addr(), m.to.Addr(); !(x == a.Src && y == a.Server || x == a.Server && y == a.Src) || m.state == unanswered {
			continue
		}
		if m.time-last > 60e9 {
			begin, n = 0, map[string]float64{}
		}
		if begin == 0 && m.Msg != nil {
			continue
		}
		if begin == 0 {
			begin, n = m.time, map[string]float64{"not_dns": 0, "dns": 0, "octets": 0}
		}
		last = m.time
		if m.Msg != nil {
			n["dns"]++
			continue
		}
		n["not_dns"]++
		n["octets"] += float64(len(m.raw))
	}
	n[value], n[start], n[end] = n["not_dns"], float64(begin/1000), float64(last/1000)
	return figures{n, nil}
}
