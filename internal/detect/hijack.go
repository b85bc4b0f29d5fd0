package detect

import (
	"hash/maphash"
	"net/netip"
	"slices"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/namescore"
	"github.com/dnshark-io/dnshark/internal/suffix"
)

// hijack finds answers that lead elsewhere than they did: names that move from the
// Internet into the client's own network (rebinding), many unrelated names that
// move to one address, and resolvers that give such answers.
type hijack struct {
	options   *Options
	names     *cache[known]       // by hash of the name
	domains   *cache[inside]      // registered domains with names in private networks
	sinks     *table[sink, holes] // where block lists send names
	targets   *cache[moving]
	resolvers *cache[resolver] // how many clients use one
	clients   *cache[client]
	seed      maphash.Seed
	scorer    *namescore.Scorer
}

// known is what a name was answered with, by anybody.
type known struct {
	networks [6]netNumber // newest last
	n        uint8
	public   int64 // time of the last public address, 0 when there was none
	// What it was answered with last, if all of that is public and in networks, and when
	// that was learned. Unlike Seen.Common this does not forget, so figures may rest on it.
	content uint64
	learned int64
}

// inside counts private answers under a registered domain.
type inside struct{ names [4]uint64 }

type sink struct{ server, target netip.Addr }

type holes struct{ domains [4]uint64 }

// moving is an address that names have as their only one, and those that moved there.
type moving struct {
	start, end int64
	moved      int64   // when the first of domains came
	hosts      hashes  // registered domains that have it
	domains    hashes  // those that were elsewhere before
	fresh      int     // hosts that nobody knew an address of before
	scores     float32 // of those, summed
	freshNames []string
	from       [8]netNumber // different networks they come from
	nFrom      int
	answers    uint64
	names      []string
	before     []string
	clients    [4]netip.Addr
	nClients   int
	servers    [4]netip.Addr
	nServers   int
}

type resolver struct {
	clients [8]netip.Addr
	n       int
}

type client struct {
	resolvers [4]netip.Addr
	n         int
	answers   uint64
	since     int64
}

const (
	// driftNames is how many unrelated names must move to one address: sites move
	// one by one, and what is hosted together comes from one place.
	driftNames  = 4
	driftFrom   = 3
	driftShare  = 6 // in ten of those that have the address
	driftWindow = 3600e9
	// substituted made-up names at one address, of such a mean score, are no sites.
	substituted     = 8
	substitutedMean = 1.5
	// rebindTTL: an attacker needs the next look-up soon.
	rebindTTL    = 300
	rebindWindow = 6 * 3600e9
	// newResolverAfter is how many answers a client had from others before.
	newResolverAfter = 20
)

func newHijack(o *Options) Detector {
	return &hijack{
		options: o, seed: maphash.MakeSeed(), scorer: namescore.New(), names: newCache[known](1 << 16), domains: newCache[inside](4096),
		sinks: newTable[sink, holes](1024), targets: newCache[moving](4096),
		resolvers: newCache[resolver](4096), clients: newCache[client](8192),
	}
}

// Threat implements Detector.
func (*hijack) Threat() string { return "dns_hijacking" }

// See implements Detector.
func (h *hijack) See(s *Seen, d *Desk) {
	if s.Class != event.ClassMessage || !s.Response || s.Txn.State != event.StateAnswered || len(s.Registered) == 0 ||
		s.Type != dnswire.TypeA && s.Type != dnswire.TypeAAAA || s.Msg.RCode() != dnswire.RCodeNoError {
		return
	}
	isNew := h.resolver(s)
	if s.Repeat {
		return
	}
	k := h.names.get(s.NameHash, s.Time)
	if k != nil && k.content == s.content && s.Time-k.learned < commonTime && s.Time >= k.learned {
		k.public = s.Time
		return
	}
	var set answerSet
	set.fill(s)
	private, public := set.split()
	if len(s.Msg.Answer()) > 0 && set.n == 0 && h.toLocalhost(s) {
		private = netip.IPv6Loopback()
	}
	if !private.IsValid() && !public.IsValid() {
		return
	}
	if k == nil {
		k = h.names.add(s.NameHash, s.Time)
		*k = known{}
	}
	domain := s.DomainHash
	if private.IsValid() {
		h.rebind(s, d, k, &set, private, public, domain)
	}
	if !public.IsValid() {
		return
	}
	k.public = s.Time
	if s.Type != dnswire.TypeA {
		return // one family is enough to see names move
	}
	if set.n == 1 && !s.Allowed {
		m := h.target(set.addrs[0], s.Time)
		if m.hosts.add(domain) && k.n == 0 && suffix.Bought(s.Registered) {
			h.substitute(s, d, m, set.addrs[0])
		}
		if k.n > 0 && !k.has(&set) {
			h.drift(s, d, k, m, set.addrs[0], domain, isNew)
		}
	}
	k.learn(&set)
	if !private.IsValid() && int(set.n) <= len(k.networks) {
		k.content, k.learned = s.content, s.Time
	}
}

// target returns what is known of an address that names have as their only one.
func (h *hijack) target(a netip.Addr, now int64) *moving {
	b := a.As16()
	hash := maphash.Bytes(h.seed, b[:])
	m := h.targets.get(hash, now)
	if m == nil {
		m = h.targets.add(hash, now)
		m.end = 0
	}
	if now-m.end > driftWindow {
		*m = moving{start: now, names: m.names[:0], before: m.before[:0], freshNames: m.freshNames[:0]}
	}
	m.end = now
	return m
}

// hashes are a few different hashes.
type hashes struct {
	list [64]uint32
	n    int
}

func (h *hashes) add(hash uint64) (isNew bool) {
	v := uint32(hash >> 16)
	if slices.Contains(h.list[:h.n], v) || h.n == len(h.list) {
		return false
	}
	h.list[h.n] = v
	h.n++
	return true
}

// split returns one of the private and one of the public addresses.
func (a *answerSet) split() (private, public netip.Addr) {
	for _, ip := range a.addrs[:a.n] {
		if inner(ip) {
			private = ip
		} else {
			public = ip
		}
	}
	return private, public
}

var sharedSpace = netip.MustParsePrefix("100.64.0.0/10") // RFC 6598

// inner reports whether an address is of the client's own network or host.
func inner(ip netip.Addr) bool {
	return ip.IsPrivate() || ip.IsLoopback() || ip.IsUnspecified() || ip.IsLinkLocalUnicast() || sharedSpace.Contains(ip)
}

// toLocalhost reports whether the answer is an alias of the client itself.
func (h *hijack) toLocalhost(s *Seen) bool {
	var text [4 * dnswire.MaxNameLen]byte
	for i := range s.Msg.Answer() {
		r := &s.Msg.Answer()[i]
		if r.Type == dnswire.TypeCNAME && r.Fault == dnswire.None {
			target := string(lower(s.Msg.AppendRData(text[:0], r)))
			if target == "localhost" || target == "localhost.localdomain" {
				return true
			}
		}
	}
	return false
}

// netNumber is a network in few octets: the /24 of IPv4 itself, the /48 of IPv6.
type netNumber uint64

func numberOf(ip netip.Addr) netNumber {
	b := ip.As16()
	if ip.Is4() {
		return netNumber(b[12])<<16 | netNumber(b[13])<<8 | netNumber(b[14])
	}
	n := netNumber(1) << 48
	for i, o := range b[:6] {
		n |= netNumber(o) << (40 - 8*i)
	}
	return n
}

// String returns the network's first address.
func (n netNumber) String() string {
	if n>>48 == 0 {
		return netip.AddrFrom4([4]byte{byte(n >> 16), byte(n >> 8), byte(n)}).String()
	}
	var b [16]byte
	for i := range 6 {
		b[i] = byte(n >> (40 - 8*i))
	}
	return netip.AddrFrom16(b).String()
}

func (k *known) has(set *answerSet) bool {
	for _, ip := range set.addrs[:set.n] {
		if slices.Contains(k.networks[:k.n], numberOf(ip)) {
			return true
		}
	}
	return false
}

func (k *known) learn(set *answerSet) {
	for _, ip := range set.addrs[:set.n] {
		net := numberOf(ip)
		if inner(ip) || slices.Contains(k.networks[:k.n], net) {
			continue
		}
		if int(k.n) == len(k.networks) {
			copy(k.networks[:], k.networks[1:])
			k.n--
		}
		k.networks[k.n] = net
		k.n++
	}
}

// note adds a hash to a few different ones and reports whether they are full now.
func note(list []uint64, h uint64) bool {
	for i := range list {
		switch list[i] {
		case h:
			return list[len(list)-1] != 0
		case 0:
			list[i] = h
			return i == len(list)-1
		}
	}
	return true
}

func (h *hijack) rebind(s *Seen, d *Desk, k *known, set *answerSet, private, public netip.Addr, domain uint64) {
	local := private.IsUnspecified() || private.IsLoopback()
	listed := false
	if local {
		key := sink{s.Server, private}
		sk := h.sinks.get(key)
		if sk == nil {
			sk = h.sinks.add(key)
			*sk = holes{}
		}
		listed = note(sk.domains[:3], domain)
	}
	in := h.domains.get(domain, s.Time)
	if in == nil {
		in = h.domains.add(domain, s.Time)
		*in = inside{}
	}
	name := s.NameHash
	split := in.names[0] != 0 && in.names[0] != name // others of the domain are in there for good
	flipped := k.public != 0 && s.Time-k.public < rebindWindow
	mixed := public.IsValid()
	if !flipped && !mixed {
		note(in.names[:], name)
		return
	}
	ttl := ^uint32(0)
	for i := range s.Msg.Answer() {
		ttl = min(ttl, s.Msg.Answer()[i].EffectiveTTL())
	}
	if listed || float64(ttl) > h.options.at(limitRebindTTL) || s.Allowed {
		return
	}
	a := &event.Alert{
		Threat: h.Threat(), Kind: "rebinding", Severity: event.SeverityHigh, Confidence: 0.9, Technique: "T1557",
		Rule:  "a name had a public address, and now one of the client's own network",
		Start: s.Time, End: s.Time, Src: s.Client, Server: s.Server, Domain: string(s.Name), Value: 1, Threshold: 1, Window: rebindWindow,
		Evidence: []event.Evidence{
			{Name: "addresses", Texts: set.samples([]string{})}, {Name: "networks_before", Texts: texts(k.networks[:k.n])}, {Name: "ttl", Number: float64(ttl)},
		},
		Rejected: []string{"private name: it had a public address before", "block list: the server sends no other domains there"},
	}
	if flipped {
		a.Start = k.public
		a.Evidence = append(a.Evidence, event.Evidence{Name: "seconds_since_public", Number: float64(s.Time-k.public) / 1e9})
	}
	if mixed && !flipped {
		a.Rule, a.Severity, a.Confidence = "a name has public addresses and one of the client's own network at once", event.SeverityMedium, 0.7
		a.Rejected = a.Rejected[1:]
	}
	if split {
		a.Severity, a.Confidence = event.SeverityLow, 0.4
		a.Rule += "; other names of the domain always had such, so it may be a company's view from inside"
	}
	d.Raise(s, s.Client.String()+" "+string(s.Registered), 1, a)
}

func texts(list []netNumber) []string {
	out := []string{}
	for _, a := range list {
		out = append(out, a.String())
	}
	return out
}

// resolver notes who uses whom. It reports whether the client came to this server
// after it had used others, and nobody else uses it.
func (h *hijack) resolver(s *Seen) (isNew bool) {
	// The usual case: the client's first server, and both are known.
	if c := h.clients.get(s.ClientHash, s.Time); c != nil && c.answers > newResolverAfter && c.resolvers[0] == s.Server {
		return false
	}
	r := h.resolvers.get(s.ServerHash, s.Time)
	if r == nil {
		r = h.resolvers.add(s.ServerHash, s.Time)
		*r = resolver{}
	}
	if i := slices.Index(r.clients[:r.n], s.Client); i < 0 && r.n < len(r.clients) {
		r.clients[r.n] = s.Client
		r.n++
	}
	c := h.clients.get(s.ClientHash, s.Time)
	if c == nil {
		c = h.clients.add(s.ClientHash, s.Time)
		*c = client{since: s.Time}
	}
	c.answers++
	i := slices.Index(c.resolvers[:c.n], s.Server)
	if i < 0 {
		if c.n > 0 && c.answers <= newResolverAfter {
			c.n = 0 // too early to know its resolvers
		}
		if c.n < len(c.resolvers) {
			c.resolvers[c.n] = s.Server
			i = c.n
			c.n++
		}
	}
	return i != 0 && r.n == 1
}

// drift notes a name that has an address in a network where it never was.
func (h *hijack) drift(s *Seen, d *Desk, k *known, m *moving, target netip.Addr, domain uint64, isNew bool) {
	m.answers++
	if m.domains.n == 0 {
		m.moved = s.Time
	}
	if m.domains.add(domain) {
		m.names = sample(m.names, string(s.Name))
	}
	if from := k.networks[k.n-1]; !slices.Contains(m.from[:m.nFrom], from) && m.nFrom < len(m.from) {
		m.from[m.nFrom] = from
		m.nFrom++
		m.before = sample(m.before, from.String())
	}
	addNew(m.clients[:], &m.nClients, s.Client)
	addNew(m.servers[:], &m.nServers, s.Server)
	// A shared host has more names that were always there.
	if float64(m.domains.n) < h.options.at(limitMoved) || m.nFrom < driftFrom || 10*m.domains.n < driftShare*m.hosts.n {
		return
	}
	a := &event.Alert{
		Threat: h.Threat(), Kind: "drift", Severity: event.SeverityMedium, Confidence: 0.8, Technique: "T1584.002",
		Rule:  "unrelated names that were in different networks moved to one address",
		Start: m.moved, End: m.end, Value: float64(m.domains.n), Threshold: h.options.at(limitMoved), Window: driftWindow, Domain: "",
		Evidence: []event.Evidence{
			{Name: "domains", Number: float64(m.domains.n)}, {Name: "domains_there_at_least", Number: float64(m.hosts.n)}, {Name: "networks_before_at_least", Number: float64(m.nFrom)}, {Name: "answers", Number: float64(m.answers)},
			{Name: "clients_at_least", Number: float64(m.nClients)}, {Name: "resolvers_at_least", Number: float64(m.nServers)},
			{Name: "target", Texts: []string{target.String()}}, {Name: "names", Texts: append([]string{}, m.names...)}, {Name: "networks_before", Texts: append([]string{}, m.before...)},
		},
		Rejected: []string{"shared hosting: most names there were elsewhere before, in different networks", "content delivery: all went to one address"},
	}
	if m.nClients == 1 {
		a.Src = s.Client
	}
	if m.nServers == 1 {
		a.Server = s.Server
	}
	if m.nServers == 1 && isNew {
		a.Kind, a.Severity, a.Confidence = "rogue_resolver", event.SeverityHigh, 0.95
		a.Rule = "a resolver that one client alone began to use sends unrelated names to one address"
		a.Rejected = append(a.Rejected, "second resolver: its answers differ from the others'")
	}
	d.Raise(s, target.String(), float64(m.domains.n), a)
}

// substitute notes a name that nobody knew an address of. Many that look made up at one
// address exist nowhere else: somebody answers for names that do not exist.
func (h *hijack) substitute(s *Seen, d *Desk, m *moving, target netip.Addr) {
	m.fresh++
	m.scores += h.scorer.Clipped(s.Registered)
	addNew(m.clients[:], &m.nClients, s.Client)
	addNew(m.servers[:], &m.nServers, s.Server)
	if len(m.freshNames) < 3 {
		m.freshNames = sample(m.freshNames, string(s.Name))
	}
	mean := m.scores / float32(m.fresh)
	if float64(m.fresh) < h.options.at(limitSubstituted) || mean < substitutedMean || 10*m.fresh < driftShare*m.hosts.n {
		return
	}
	a := &event.Alert{
		Threat: h.Threat(), Kind: "nxdomain_substitution", Severity: event.SeverityMedium, Confidence: 0.8, Technique: "T1584.002",
		Rule:  "names that look made up, which should not exist, all have one address",
		Start: m.start, End: s.Time, Value: float64(m.fresh), Threshold: h.options.at(limitSubstituted), Window: driftWindow,
		Evidence: []event.Evidence{
			{Name: "domains", Number: float64(m.fresh)}, {Name: "domains_there_at_least", Number: float64(m.hosts.n)}, {Name: "mean_score", Number: float64(mean)},
			{Name: "clients_at_least", Number: float64(m.nClients)}, {Name: "target", Texts: []string{target.String()}}, {Name: "names", Texts: append([]string{}, m.freshNames...)},
		},
		Rejected: []string{"shared hosting: names of sites look chosen"},
	}
	if m.nClients == 1 {
		a.Src = s.Client
	}
	if m.nServers == 1 {
		a.Server = s.Server
	}
	d.Raise(s, target.String(), float64(m.fresh), a)
}

// addNew adds a value to the first n of list, if it is none of them and there is room.
func addNew[T comparable](list []T, n *int, v T) {
	if *n < len(list) && !slices.Contains(list[:*n], v) {
		list[*n] = v
		*n++
	}
}
