package detect

import (
	"bytes"
	"hash/maphash"
	"net/netip"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
)

// poison finds forged answers: replies that guess the id or the port of a query,
// second answers to one query that differ from the first, and records about names
// that the answering server has no say in.
type poison struct {
	options *Options
	guesses *table[guessed, guessing]
	pairs   *cache[paired]
	firsts  []firstAnswer // by hash; a newer one takes the place
	races   *table[pair, racing]
	strays  *table[netip.Addr, straying]
	seed    maphash.Seed
}

// guessed is what replies without a question are about.
type guessed struct {
	client netip.Addr
	domain uint64 // hash of the registered domain, or of the name without one
}

type guessing struct {
	start, end    int64
	count         uint64
	matched       uint64 // answers about the domain whose question was seen
	window        rate   // over slowWindow
	second        int64  // begin of the second at hand
	inSecond      uint32 // replies in it
	most          uint32 // of any second
	name          uint64 // hash of name and client port at hand
	ids           [64]uint16
	nIDs          int // different ids seen for it
	mostIDs       int // of any name and port
	names         []string
	answers       []string
	servers       [16]uint64 // hashes
	nServers      int
	wrongQuestion uint64 // the id and the ports fit, the question did not
	lowTTL        uint8  // IP TTL
	highTTL       uint8
}

// paired counts what came from a server to a client.
type paired struct{ matched, unmatched uint64 }

// firstAnswer is the first answer to a query. It fills a cache line.
type firstAnswer struct {
	hash  uint64 // of its addresses, ports and id
	time  int64
	addrs [40]byte // up to ten addresses of 4 octets, or two of 16
	n     uint8    // of octets in it
	size  uint8    // of an address
	rcode uint16
	hops  uint8
}

const firstAnswers = 1 << 13

type racing struct {
	start, end int64
	count      uint64
	jumps      uint64 // races in which the IP TTL differed
	names      []string
	first      []string // addresses
	second     []string
}

type straying struct {
	start, end int64
	count      uint64
	domain     []byte // owner of the last record
	names      []string
	asked      []string
}

// Thresholds. A resolver gets a late or doubled reply now and then, under the id
// that it chose; five wrong ids at one port for one name are guesses.
const (
	guessIDs   = 5
	slowCount  = 20
	slowWindow = 600e9
	// raceTime is within which a second answer is an answer to the same question
	// and no new one with the same id and port.
	raceTime = 5e9
	raceMin  = 2
	guessGap = 1800e9 // ends a campaign
)

func newPoison(o *Options) Detector {
	return &poison{
		options: o, seed: maphash.MakeSeed(),
		guesses: newTable[guessed, guessing](4096), pairs: newCache[paired](8192), firsts: make([]firstAnswer, firstAnswers),
		races: newTable[pair, racing](1024), strays: newTable[netip.Addr, straying](1024),
	}
}

// Threat implements Detector.
func (*poison) Threat() string { return "dns_cache_poisoning" }

// See implements Detector.
func (p *poison) See(s *Seen, d *Desk) {
	if s.Class != event.ClassMessage || !s.Response {
		return
	}
	both := p.pairs.get(s.PairHash, s.Time)
	if both == nil {
		both = p.pairs.add(s.PairHash, s.Time)
		*both = paired{}
	}
	switch s.Txn.State {
	case event.StateAnswered:
		both.matched++
		if p.guesses.len() > 0 && len(s.Registered) > 0 {
			if g := p.guesses.peek(guessed{s.Client, s.DomainHash}); g != nil {
				g.matched++
			}
		}
		p.remember(s)
		if !s.Repeat {
			p.stray(s, d)
		}
	case event.StateDuplicate:
		p.race(s, d)
	case event.StateUnsolicited, event.StateMismatched:
		both.unmatched++
		if s.Meta.Protocol == 17 && len(s.Name) > 0 {
			p.guess(s, d, both)
		}
	}
}

func (p *poison) guess(s *Seen, d *Desk, both *paired) {
	domain := s.Registered
	if len(domain) == 0 {
		domain = s.Name
	}
	key := guessed{s.Client, s.DomainHash}
	g := p.guesses.get(key)
	if g == nil || s.Time-g.end > guessGap {
		p.guesses.drop(key)
		g = p.guesses.add(key)
		*g = guessing{start: s.Time, names: g.names[:0], answers: g.answers[:0], lowTTL: 255}
	}
	g.end = s.Time
	g.count++
	if s.Txn.State == event.StateMismatched {
		g.wrongQuestion++
	}
	inWindow := g.window.add(s.Time, slowWindow)
	if s.Time-g.second >= 1e9 || s.Time < g.second {
		g.second, g.inSecond = s.Time, 0
	}
	g.inSecond++
	g.most = max(g.most, g.inSecond)
	if name := maphash.Bytes(p.seed, s.Name) ^ uint64(s.ClientPort); name != g.name {
		g.name, g.nIDs = name, 0
	}
	addNew(g.ids[:], &g.nIDs, s.Msg.ID)
	g.mostIDs = max(g.mostIDs, g.nIDs)
	g.lowTTL, g.highTTL = min(g.lowTTL, s.Flow.Hops), max(g.highTTL, s.Flow.Hops)
	addNew(g.servers[:], &g.nServers, s.ServerHash)

	fast := float64(g.mostIDs) >= p.options.at(limitGuessedIDs)
	// Where most questions are not seen at all, replies prove nothing; nor where some
	// are missed of many that get their answers.
	slow := float64(inWindow) >= p.options.at(limitUnasked) && 2*g.count >= g.matched && (both.matched >= 3*(both.unmatched-min(both.unmatched, g.count)) || both.unmatched == g.count)
	if !fast && !slow {
		return
	}
	g.names = sample(g.names, string(s.Name))
	g.sampleAnswers(s)
	a := &event.Alert{
		Threat: p.Threat(), Kind: "forged_replies", Severity: event.SeverityHigh, Confidence: 0.95, Technique: "T1557",
		Rule:  "replies with wrong ids for one name at one port: somebody guesses the id of a query",
		Start: g.start, End: g.end, Src: s.Client, Server: s.Server, Domain: string(domain),
		Value: float64(g.count), Threshold: p.options.at(limitGuessedIDs), Window: 1e9,
		Evidence: []event.Evidence{
			{Name: "replies_without_question", Number: float64(g.count)}, {Name: "most_in_a_second", Number: float64(g.most)},
			{Name: "in_window", Number: float64(inWindow)}, {Name: "ids_for_one_name_and_port_at_least", Number: float64(g.mostIDs)},
			{Name: "wrong_question", Number: float64(g.wrongQuestion)}, {Name: "servers_at_least", Number: float64(g.nServers)},
			{Name: "ip_ttl_lowest", Number: float64(g.lowTTL)}, {Name: "ip_ttl_highest", Number: float64(g.highTTL)},
			{Name: "replies_of_this_server_that_fit", Number: float64(both.matched)},
			{Name: "names", Texts: append([]string{}, g.names...)}, {Name: "answers", Texts: append([]string{}, g.answers...)},
		},
		Rejected: []string{"late reply: it would have the id of a question that was seen", "doubled reply: it would have the id of the first", "questions are not seen here: those of other names are"},
	}
	if !fast {
		a.Confidence, a.Threshold, a.Window = 0.8, p.options.at(limitUnasked), slowWindow
		a.Value = float64(inWindow)
		a.Rule = "many replies about one domain that nobody asked for"
	}
	d.Raise(s, s.Client.String()+" "+string(domain), float64(g.count), a)
}

func (g *guessing) sampleAnswers(s *Seen) {
	for i := range s.Msg.Answer() {
		if len(g.answers) < maxSamples {
			g.answers = sample(g.answers, string(s.Msg.AppendRData(nil, &s.Msg.Answer()[i])))
		}
	}
}

func (p *poison) remember(s *Seen) {
	if s.Type != dnswire.TypeA && s.Type != dnswire.TypeAAAA || s.Meta.Protocol != 17 {
		return
	}
	h := p.query(s)
	f := &p.firsts[h%firstAnswers]
	f.hash, f.time, f.hops, f.rcode, f.n, f.size = h, s.Time, s.Flow.Hops, uint16(s.Msg.RCode()), 0, 4
	if s.Type == dnswire.TypeAAAA {
		f.size = 16
	}
	for i := range s.Msg.Answer() {
		r := &s.Msg.Answer()[i]
		if r.Type == s.Type && r.Class == dnswire.ClassIN && r.Fault == dnswire.None && int(f.n+f.size) <= len(f.addrs) {
			f.n += uint8(copy(f.addrs[f.n:], s.Msg.RData(r)))
		}
	}
}

// query hashes what a query and its answers have in common.
func (p *poison) query(s *Seen) uint64 {
	return mixed(s.PairHash + uint64(s.ClientPort)<<16 + uint64(s.Msg.ID))
}

// answers returns the set that was remembered.
func (f *firstAnswer) answers() (set answerSet) {
	set.rcode = dnswire.RCode(f.rcode)
	for octets := f.addrs[:f.n]; len(octets) >= int(f.size) && int(set.n) < len(set.addrs); octets = octets[f.size:] {
		a, _ := netip.AddrFromSlice(octets[:f.size])
		set.addrs[set.n] = a.Unmap()
		set.n++
	}
	return set
}

func (p *poison) race(s *Seen, d *Desk) {
	h := p.query(s)
	f := &p.firsts[h%firstAnswers]
	if f.hash != h || s.Time-f.time > raceTime || s.Time < f.time {
		return
	}
	set, before := answerSet{}, f.answers()
	set.fill(s)
	if set.rcode == before.rcode && (set.n == 0 || before.n == 0 || set.near(&before)) || badSecond(set.rcode) || badSecond(before.rcode) {
		return
	}
	jump := f.hops != s.Flow.Hops
	key := pair{s.Client, s.Server}
	r := p.races.get(key)
	if r == nil || s.Time-r.end > guessGap {
		p.races.drop(key)
		r = p.races.add(key)
		*r = racing{start: f.time, names: r.names[:0], first: r.first[:0], second: r.second[:0]}
	}
	r.end = s.Time
	r.count++
	r.names = sample(r.names, string(s.Name))
	r.first, r.second = before.samples(r.first), set.samples(r.second)
	if jump {
		r.jumps++
	}
	least := p.options.at(limitRaces)
	if float64(r.count) < least && r.jumps == 0 {
		return
	}
	a := &event.Alert{
		Threat: p.Threat(), Kind: "two_answers", Severity: event.SeverityMedium, Confidence: 0.7, Technique: "T1557",
		Rule:  "two answers to one query that have nothing in common",
		Start: r.start, End: r.end, Src: s.Client, Server: s.Server, Value: float64(r.count), Threshold: least, Window: raceTime,
		Evidence: []event.Evidence{
			{Name: "queries_with_two_answers", Number: float64(r.count)}, {Name: "with_another_ip_ttl", Number: float64(r.jumps)},
			{Name: "names", Texts: append([]string{}, r.names...)}, {Name: "first_answers", Texts: append([]string{}, r.first...)}, {Name: "second_answers", Texts: append([]string{}, r.second...)},
		},
		Rejected: []string{"doubled reply: the answers differ", "content delivery: the addresses are in different networks"},
	}
	if r.jumps > 0 {
		a.Rule += ", and came over paths of different length"
		a.Threshold, a.Confidence = 1, 0.9
		if float64(r.jumps) >= max(least, raceMin) {
			a.Severity = event.SeverityHigh
		}
	}
	d.Raise(s, s.Client.String()+" "+s.Server.String(), float64(r.count), a)
}

// badSecond reports whether a response code says nothing about the name: servers
// send it when they were asked twice.
func badSecond(r dnswire.RCode) bool { return r != dnswire.RCodeNoError && r != dnswire.RCodeNXDomain }

// stray looks for addresses of names that the answer does not need, and for name
// servers of zones that the question is not in. Whoever caches these believes a
// server about other people's names (RFC 2181 section 5.4.1).
func (p *poison) stray(s *Seen, d *Desk) {
	m := &s.Msg
	if len(s.Registered) == 0 || m.RCode() != dnswire.RCodeNoError || len(m.Additional()) == 0 && len(m.Authority()) == 0 {
		return
	}
	var text [4 * dnswire.MaxNameLen]byte
	var st *straying
	for i := range m.Additional() {
		r := &m.Additional()[i]
		if (r.Type != dnswire.TypeA && r.Type != dnswire.TypeAAAA) || r.Fault != dnswire.None {
			continue
		}
		owner := m.AppendNameLower(text[:0], r.Name)
		if within(owner, s.Registered) || p.needed(m, owner) {
			continue
		}
		st = p.noteStray(s, owner)
	}
	for i := range m.Authority() {
		r := &m.Authority()[i]
		if r.Type != dnswire.TypeNS || r.Fault != dnswire.None {
			continue
		}
		owner := m.AppendNameLower(text[:0], r.Name)
		if within(s.Name, owner) || within(owner, s.Registered) || p.chained(m, owner) {
			continue
		}
		st = p.noteStray(s, owner)
	}
	if st != nil {
		p.reportStray(s, d, st)
	}
}

// needed reports whether a record of the answer or authority section names owner
// in its data, which is then why an address of owner comes along.
func (p *poison) needed(m *dnswire.Message, owner []byte) bool {
	var text [1 << 10]byte
	for i := range m.Records {
		r := &m.Records[i]
		before := 0 // words of the data before the name
		switch r.Type {
		case dnswire.TypeNS, dnswire.TypeCNAME, dnswire.TypeDNAME, dnswire.TypePTR, dnswire.TypeSOA:
		case dnswire.TypeMX, dnswire.TypeHTTPS, dnswire.TypeSVCB:
			before = 1
		case dnswire.TypeSRV:
			before = 3
		default:
			continue
		}
		if r.Fault != dnswire.None {
			continue
		}
		data := m.AppendRData(text[:0], r)
		for range before {
			_, data, _ = bytes.Cut(data, []byte{' '})
		}
		name, _, _ := bytes.Cut(data, []byte{' '})
		if bytes.Equal(lower(name), owner) || len(name) == 1 && bytes.Equal(lower(m.AppendName(text[:0], r.Name)), owner) {
			return true
		}
	}
	return false
}

// chained reports whether a CNAME or DNAME of the answer leads to the zone.
func (p *poison) chained(m *dnswire.Message, zone []byte) bool {
	var text [4 * dnswire.MaxNameLen]byte
	for i := range m.Answer() {
		r := &m.Answer()[i]
		if r.Type != dnswire.TypeCNAME && r.Type != dnswire.TypeDNAME {
			if within(m.AppendNameLower(text[:0], r.Name), zone) {
				return true
			}
			continue
		}
		if target := m.AppendRData(text[:0], r); within(lower(target), zone) {
			return true
		}
	}
	return false
}

// noteStray counts a record; owner is its name.
func (p *poison) noteStray(s *Seen, owner []byte) *straying {
	st := p.strays.get(s.Server)
	if st == nil || s.Time-st.end > guessGap {
		p.strays.drop(s.Server)
		st = p.strays.add(s.Server)
		*st = straying{start: s.Time, domain: st.domain[:0], names: st.names[:0], asked: st.asked[:0]}
	}
	st.end = s.Time
	st.count++
	st.domain = append(st.domain[:0], owner...)
	st.names, st.asked = sample(st.names, string(owner)), sample(st.asked, string(s.Name))
	return st
}

func (p *poison) reportStray(s *Seen, d *Desk, st *straying) {
	d.Raise(s, s.Server.String(), float64(st.count), &event.Alert{
		Threat: p.Threat(), Kind: "foreign_records", Severity: event.SeverityMedium, Confidence: 0.8, Technique: "T1557",
		Rule:  "an answer brings records about a name that it does not need and that is in another domain",
		Start: st.start, End: st.end, Src: s.Client, Server: s.Server, Domain: string(st.domain), Value: float64(st.count), Threshold: 1,
		Evidence: []event.Evidence{
			{Name: "records", Number: float64(st.count)},
			{Name: "names", Texts: append([]string{}, st.names...)}, {Name: "asked_for", Texts: append([]string{}, st.asked...)},
		},
		Rejected: []string{"glue: no record of the answer refers to the name", "alias: no CNAME leads there"},
	})
}
