package recompute

import (
	"math"
	"net/netip"
	"regexp"
	"strings"

	"github.com/miekg/dns"
)

func init() {
	recomputations["beacon"] = beacon
	recomputations["program_in_txt"] = program
	recomputations["dns_fast_flux"] = flux
}

// c2 reports whether detection of C2 looks at a message.
func c2(m *message) bool {
	return m.response() && !m.repeat && m.registered != "" && !within(m.name, "arpa") && m.state != duplicate && m.state != late
}

var (
	reversed = regexp.MustCompile(`^(\d{1,3}\.){3}\d{1,3}($|\.)|^([0-9a-f]\.){15}[0-9a-f]($|\.)`)
	digest   = regexp.MustCompile(`^([0-9a-f]{32}|[0-9a-f]{40})(\..{0,32})?$`)
)

func beacon(v *view, a *alert) figures {
	var n map[string]float64
	var times, gaps []int64
	names, texts := news{}, news{}
	asked := map[string]bool{}
	for _, m := range v.messages {
		if m.time > a.end() {
			break
		}
		if m.client.Addr() != a.Src || m.registered != a.Domain || !c2(m) || !speaks(m) {
			continue
		}
		if len(times) == 0 || m.time-times[len(times)-1] > 6*hour {
			n, times, gaps = map[string]float64{"answers": 0, "new_names": 0, "new_texts": 0, "octets_of_new_texts": 0, "answers_without_address": 0}, []int64{m.time}, nil
		}
		n["answers"]++
		if gap := m.time - times[len(times)-1]; gap >= 1e9 {
			times, gaps = append(times, m.time), append(gaps, gap)
		}
		asked[m.name] = true
		if m.labels != "" && !reversed.MatchString(m.labels) && !digest.MatchString(m.labels) && names.add(m.name, m.time) {
			n["new_names"]++
		}
		useful := false
		for _, r := range m.Answer {
			ttl := float64(r.Header().Ttl)
			if low, ok := n["lowest_ttl"]; !ok || ttl < low {
				n["lowest_ttl"] = ttl
			}
			if ip := address(r); ip.IsValid() && !inner(ip) {
				useful = true
			}
			if txt, ok := r.(*dns.TXT); ok && txt.Hdr.Rdlength > 8 && !reversed.MatchString(m.labels) && texts.add(rdata(r), m.time) {
				n["new_texts"]++
				n["octets_of_new_texts"] += float64(txt.Hdr.Rdlength)
			}
		}
		if !useful {
			n["answers_without_address"]++
		}
	}
	n["intervals"] = float64(len(gaps))
	n["interval_s"] = float64(times[len(times)-1]-times[0]) / 1e9 / n["intervals"]
	// Intervals are sorted by quarters of octaves; five neighbours are a factor of 2.4.
	most := 0
	for low := 0; low < 56; low++ {
		k := 0
		for _, gap := range gaps {
			if at := min(55, int(4*math.Log2(float64(gap)/1e9))); at >= low && at < low+5 {
				k++
			}
		}
		most = max(most, k)
	}
	n["regular_share"] = float64(most) / n["intervals"]
	n[value], n[start], n[end] = n["regular_share"], float64(times[0]/1000), float64(a.end()/1000)
	n[window] = float64(a.end()-times[0]) / 1e9
	return figures{n, map[string]func(string) bool{"names": some(asked), "texts": anything}}
}

// speaks reports whether an answer is text, or nothing that one could connect to.
func speaks(m *message) bool {
	if m.is(dns.TypeTXT) {
		return true
	}
	for _, r := range m.Answer {
		switch r.(type) {
		case *dns.TXT:
			return true
		case *dns.A, *dns.AAAA:
			return inner(address(r))
		}
	}
	return m.labels != ""
}

// program finds the record by the beginning of its text.
func program(v *view, a *alert) figures {
	beginning := octetsOf(a.Evidence["beginning"].([]any)[0].(string))
	n := map[string]float64{value: 1}
	names := map[string]bool{}
	for _, m := range v.messages {
		if m.time != a.end()/1000*1000 && m.time != a.end() || !m.response() || m.client.Addr() != a.Src || m.registered != a.Domain {
			continue
		}
		for _, r := range m.Answer {
			if r.Header().Rrtype != dns.TypeTXT {
				continue
			}
			text, data := "", rdata(r)
			for len(data) > 0 {
				text, data = text+data[1:1+data[0]], data[1+data[0]:]
			}
			if strings.HasPrefix(text, beginning) && n["octets"] == 0 {
				n["octets"], names[m.name] = float64(r.Header().Rdlength), true
				n[start], n[end] = float64(m.time/1000), float64(m.time/1000)
			}
		}
	}
	return figures{n, map[string]func(string) bool{"name": some(names), "beginning": anything, "form": anything, "mark": anything}}
}

func flux(v *view, a *alert) figures {
	n := map[string]float64{"answers_with_new_addresses": 0, "highest_ttl": 0}
	addresses, networks := map[string]bool{}, map[netip.Prefix]bool{}
	for _, m := range v.messages {
		if m.time > a.end() {
			break
		}
		if m.name != canonical(a.Domain) || !c2(m) || m.Rcode != dns.RcodeSuccess || !m.is(dns.TypeA) {
			continue
		}
		ttl, some, isNew := uint32(0), false, false
		for _, r := range m.Answer {
			if r.Header().Rrtype == dns.TypeA {
				ttl, some = max(ttl, r.Header().Ttl), true
			}
		}
		if !some || ttl > 900 {
			continue
		}
		if n[start] == 0 {
			n[start] = float64(m.time / 1000)
		}
		n["highest_ttl"] = max(n["highest_ttl"], float64(ttl))
		for _, r := range m.Answer {
			ip := address(r)
			if !ip.Is4() || inner(ip) || addresses[ip.String()] || len(addresses) == 64 {
				continue
			}
			isNew = true
			addresses[ip.String()] = true
			network, _ := ip.Prefix(16)
			networks[network] = true
		}
		if isNew {
			n["answers_with_new_addresses"]++
		}
		n[end] = float64(m.time / 1000)
	}
	n["addresses_at_least"], n["networks_at_least"] = float64(len(addresses)), float64(len(networks))
	n["score_of_holz"] = 1.32*n["addresses_at_least"] + 18.54*n["networks_at_least"]
	n[value] = n["networks_at_least"]
	return figures{n, map[string]func(string) bool{"addresses": some(addresses), "networks_are": func(s string) bool { return s == "/16" }}}
}
