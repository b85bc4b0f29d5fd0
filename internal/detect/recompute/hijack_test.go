package recompute

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
	"golang.org/x/net/publicsuffix"
)

func init() {
	for _, kind := range []string{"rebinding", "drift", "rogue_resolver", "nxdomain_substitution"} {
		recomputations[kind] = hijack
	}
}

// led is what a name was answered with.
type led struct {
	networks []netip.Prefix // the last six
	public   int64          // when it last had a public address
}

func (l *led) learn(list []netip.Addr) {
	for _, ip := range list {
		if n := network(ip); !inner(ip) && !slices.Contains(l.networks, n) {
			l.networks = append(l.networks, n)
			l.networks = l.networks[max(0, len(l.networks)-6):]
		}
	}
}

func (l *led) texts() map[string]bool {
	set := map[string]bool{}
	for _, n := range l.networks {
		set[n.Addr().String()] = true
	}
	return set
}

// target is an address that names have as their only one, until nobody does for an hour.
type target struct {
	first, moved, last                                       int64
	there, domains, clients, servers, names, fresh, networks map[string]bool
	answers, scores                                          float64
	freshDomains                                             int
}

func newTarget(now int64) *target {
	t := &target{first: now}
	for _, set := range []*map[string]bool{&t.there, &t.domains, &t.clients, &t.servers, &t.names, &t.fresh, &t.networks} {
		*set = map[string]bool{}
	}
	return t
}

func hijack(v *view, a *alert) figures {
	names := map[string]*led{}
	about := netip.Addr{}
	if list, ok := a.Evidence["target"].([]any); ok {
		about = netip.MustParseAddr(list[0].(string))
	}
	var t *target
	for _, m := range v.messages {
		if m.time > a.end() {
			break
		}
		if !m.response() || m.state != answered || m.registered == "" || !m.is(dns.TypeA, dns.TypeAAAA) || m.Rcode != dns.RcodeSuccess || m.repeat {
			continue
		}
		list := addresses(m)
		list = list[:min(8, len(list))]
		l := names[m.name]
		if l == nil {
			l = &led{}
			names[m.name] = l
		}
		if a.Kind == "rebinding" && m.name == canonical(a.Domain) && m.client.Addr() == a.Src && m.time/1000 == a.end()/1000 {
			return rebinding(m, l, list)
		}
		public := slices.ContainsFunc(list, func(ip netip.Addr) bool { return !inner(ip) })
		if !public {
			continue
		}
		l.public = m.time
		if !m.is(dns.TypeA) {
			continue
		}
		if len(list) == 1 && list[0] == about {
			if t == nil || m.time-t.last > hour {
				t = newTarget(m.time)
			}
			t.last = m.time
			_, bought := publicsuffix.PublicSuffix(m.registered)
			if !t.there[m.registered] && len(t.there) < 64 {
				t.there[m.registered] = true
				if len(l.networks) == 0 && bought {
					t.freshDomains++
					t.fresh[m.name] = true
					t.scores += float64(score(m.registered))
					t.clients[m.client.Addr().String()], t.servers[m.server.Addr().String()] = true, true
				}
			}
			if len(l.networks) > 0 && !slices.Contains(l.networks, network(about)) {
				t.answers++
				if len(t.domains) == 0 {
					t.moved = m.time
				}
				t.domains[m.registered], t.names[m.name] = true, true
				t.networks[l.networks[len(l.networks)-1].Addr().String()] = true
				t.clients[m.client.Addr().String()], t.servers[m.server.Addr().String()] = true, true
			}
		}
		l.learn(list)
	}
	if t == nil {
		return figures{map[string]float64{}, nil}
	}
	only := func(s string) bool { return s == about.String() }
	n := map[string]float64{"domains_there_at_least": float64(len(t.there)), "clients_at_least": float64(min(4, len(t.clients)))}
	if a.Kind == "nxdomain_substitution" {
		n["domains"], n["mean_score"] = float64(t.freshDomains), t.scores/float64(t.freshDomains)
		n[value], n[start], n[end] = n["domains"], float64(t.first/1000), float64(a.end()/1000)
		return figures{n, map[string]func(string) bool{"target": only, "names": some(t.fresh)}}
	}
	n["domains"], n["networks_before_at_least"], n["answers"], n["resolvers_at_least"] = float64(min(64, len(t.domains))), float64(min(8, len(t.networks))), t.answers, float64(min(4, len(t.servers)))
	n[value], n[start], n[end] = n["domains"], float64(t.moved/1000), float64(t.last/1000)
	return figures{n, map[string]func(string) bool{"target": only, "names": some(t.names), "networks_before": some(t.networks)}}
}

func rebinding(m *message, before *led, list []netip.Addr) figures {
	n := map[string]float64{value: 1, end: float64(m.time / 1000), start: float64(m.time / 1000)}
	for _, r := range m.Answer {
		if ttl := float64(r.Header().Ttl); n["ttl"] == 0 || ttl < n["ttl"] {
			n["ttl"] = ttl
		}
	}
	if before.public != 0 && m.time-before.public < 6*hour {
		n["seconds_since_public"], n[start] = float64(m.time-before.public)/1e9, float64(before.public/1000)
	}
	shown := map[string]bool{strings.ToLower(dns.RcodeToString[m.Rcode]): len(list) == 0}
	for _, ip := range list {
		shown[ip.String()] = true
	}
	return figures{n, map[string]func(string) bool{"addresses": some(shown), "networks_before": some(before.texts())}}
}
