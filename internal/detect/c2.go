package detect

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"hash/maphash"
	"math"
	"net/netip"
	"slices"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
)

// c2 finds malware that is controlled through DNS: beacons, programs in TXT records and
// fast flux. Periodic look-ups alone are no alert, for monitoring and update checks are
// more regular than any malware: a beacon also has one client and new content each time.
type c2 struct {
	options *Options
	beacons *cache[beacon]
	users   *cache[users] // of a domain
	fluxes  *cache[flux]  // of a name
	seed    maphash.Seed
	decoded []byte
}

// users are the clients of a domain, as far as it matters: one or more.
type users struct {
	client netip.Addr
	many   bool
}

// beacon is how a client asks about a domain.
type beacon struct {
	start, last int64
	queries     uint32
	intervals   uint32
	buckets     [buckets]uint16 // of intervals, four per octave from 1 s
	names       uint32          // labels that were new
	contents    uint32          // TXT data that was new
	octets      uint32          // of it
	lowTTL      uint32
	empty       uint32 // answers without an address one could go to
	samples     []string
	texts       []string
}

const (
	buckets   = 56 // 1 s to 4.5 h
	perOctave = 4
	// A beacon keeps within a factor of 2.4 around its interval, jitter included.
	regularSpan    = 5
	regularShare   = 0.85
	beaconMin      = 20 // intervals
	beaconTime     = 1200e9
	beaconContents = 0.5 // share of answers with new content
	beaconGap      = 6 * 3600e9
)

// flux is what a name's addresses are.
type flux struct {
	start, end int64
	fresh      uint32 // answers with addresses that were new
	highTTL    uint32
	samples    [maxSamples]netip.Addr
	addrs      hashes
	nets       hashes // by network
}

// Thresholds of flux: the score of Holz et al. (NDSS 2008) with /16 for autonomous
// systems asks for about this much. Content delivery has many addresses in few networks.
const (
	fluxAddrs   = 20
	fluxNets    = 12
	fluxShare   = 0.5 // networks per address
	fluxAnswers = 6
	fluxTTL     = 900
)

func newC2(o *Options) Detector {
	return &c2{
		options: o, seed: maphash.MakeSeed(), beacons: newCache[beacon](1 << 15), users: newCache[users](1 << 16), fluxes: newCache[flux](4096),
	}
}

// Threat implements Detector.
func (*c2) Threat() string { return "dns_c2" }

// See implements Detector.
func (c *c2) See(s *Seen, d *Desk) {
	if s.Class != event.ClassMessage || !s.Response || s.Repeat || len(s.Registered) == 0 || s.Allowed ||
		s.Meta.SrcPort == portMDNS || within(s.Name, []byte("arpa")) {
		return
	}
	if s.Txn.State == event.StateDuplicate || s.Txn.State == event.StateLate {
		return
	}
	if speaks(s) {
		c.beacon(s, d)
	}
	if s.Msg.RCode() != dnswire.RCodeNoError {
		return
	}
	switch s.Type {
	case dnswire.TypeTXT:
		c.stager(s, d)
	case dnswire.TypeA:
		if !s.Common {
			c.flux(s, d)
		}
	}
}

// speaks reports whether an answer could be one to a beacon: text, or nothing that one
// could connect to.
func speaks(s *Seen) bool {
	if s.Type == dnswire.TypeTXT {
		return true
	}
	for i := range s.Msg.Answer() {
		r := &s.Msg.Answer()[i]
		if r.Type == dnswire.TypeTXT {
			return true
		}
		if r.Type == dnswire.TypeA || r.Type == dnswire.TypeAAAA {
			return inner(addressOf(&s.Msg, r))
		}
	}
	return len(s.Labels) > 0 // NXDOMAIN and the like, below a domain
}

func (c *c2) beacon(s *Seen, d *Desk) {
	domain := s.DomainHash
	u := c.users.get(domain, s.Time)
	if u == nil {
		u = c.users.add(domain, s.Time)
		*u = users{client: s.Client}
	}
	if u.client != s.Client {
		u.many = true
	}
	if u.many {
		return
	}
	key := domain + s.ClientHash
	b := c.beacons.get(key, s.Time)
	if b == nil {
		b = c.beacons.add(key, s.Time)
		b.last = 0
	}
	if s.Time-b.last > beaconGap {
		*b = beacon{start: s.Time, last: s.Time, lowTTL: math.MaxUint32, samples: b.samples[:0], texts: b.texts[:0]}
	}
	b.queries++
	if gap := s.Time - b.last; gap >= 1e9 { // closer together is one look-up in several types
		b.intervals++
		b.buckets[min(buckets-1, int(perOctave*math.Log2(float64(gap)/1e9)))]++
		b.last = s.Time
	}
	isNew := len(s.Labels) > 0 && !isReversed(s.Labels) && !isDigest(s.Labels) && s.Fresh(s.NameHash, saltBeaconLabels)
	if isNew {
		b.names++
	}
	useful := false
	for i := range s.Msg.Answer() {
		r := &s.Msg.Answer()[i]
		b.lowTTL = min(b.lowTTL, r.EffectiveTTL())
		if ip := addressOf(&s.Msg, r); ip.IsValid() && !inner(ip) {
			useful = true
		}
		if r.Type == dnswire.TypeTXT && r.Len > 8 && !isReversed(s.Labels) && s.Fresh(domain+s.hash(s.Msg.RData(r)), saltBeaconData) {
			b.contents++
			b.octets += uint32(r.Len)
			if len(b.texts) < 3 {
				b.texts = sample(b.texts, string(s.Msg.AppendRData(nil, r)))
			}
		}
	}
	if !useful {
		b.empty++
	}
	if float64(b.intervals) < c.options.at(limitIntervals) || s.Time-b.start < beaconTime {
		return
	}
	// Something must be carried: commands in TXT data, or news in names.
	carries := b.contents
	if b.empty > b.queries*9/10 {
		carries = max(carries, b.names)
	}
	if float64(carries) < beaconContents*float64(b.queries) || float64(carries) < c.options.at(limitIntervals)*beaconContents {
		return
	}
	share := b.regular()
	if share < regularShare {
		return
	}
	period := float64(b.last-b.start) / 1e9 / float64(b.intervals)
	if len(b.samples) < 3 {
		b.samples = sample(b.samples, string(s.Name))
	}
	a := &event.Alert{
		Threat: c.Threat(), Kind: "beacon", Severity: event.SeverityHigh, Confidence: 0.85, Technique: "T1071.004",
		Rule:  "one client alone asks about a domain at regular intervals, and gets or tells something new each time",
		Start: b.start, End: s.Time, Src: s.Client, Server: s.Server, Domain: string(s.Registered),
		Value: share, Threshold: regularShare, Window: s.Time - b.start,
		Evidence: []event.Evidence{
			{Name: "answers", Number: float64(b.queries)}, {Name: "intervals", Number: float64(b.intervals)}, {Name: "interval_s", Number: period},
			{Name: "regular_share", Number: share}, {Name: "new_names", Number: float64(b.names)}, {Name: "new_texts", Number: float64(b.contents)},
			{Name: "octets_of_new_texts", Number: float64(b.octets)}, {Name: "answers_without_address", Number: float64(b.empty)},
			{Name: "names", Texts: append([]string{}, b.samples...)}, {Name: "texts", Texts: append([]string{}, b.texts...)},
		},
		Rejected: []string{"monitoring and update checks: they ask for the same and get the same", "popular service: no other client asks"},
	}
	if b.lowTTL != math.MaxUint32 {
		a.Evidence = append(a.Evidence, event.Evidence{Name: "lowest_ttl", Number: float64(b.lowTTL)})
	}
	if b.contents < b.queries/2 {
		a.Severity, a.Confidence = event.SeverityMedium, 0.7
	}
	d.Raise(s, s.Client.String()+" "+string(s.Registered), float64(b.queries), a)
}

// regular returns the share of intervals that are alike.
func (b *beacon) regular() float64 {
	best, sum := 0, 0
	for i, n := range b.buckets {
		sum += int(n)
		if i >= regularSpan {
			sum -= int(b.buckets[i-regularSpan])
		}
		best = max(best, sum)
	}
	return float64(best) / float64(max(1, b.intervals))
}

// marks are what scripts and programs have and other text records do not.
var marks = [][]byte{
	[]byte("powershell"), []byte("invoke-expression"), []byte("iex("), []byte("iex ("), []byte("invoke-webrequest"), []byte("downloadstring"), []byte("frombase64string"),
	[]byte("cmd.exe"), []byte("cmd /c"), []byte("/bin/sh"), []byte("/bin/bash"), []byte("wscript"), []byte("new-object"), []byte("eval("), []byte("start-process"),
	[]byte("$env:"), []byte("this program cannot be run"), []byte("#!/"), []byte("virtualalloc"), []byte("system.reflection"),
}

const (
	// stagerMin is how much text is worth the look, and maxDecoded how much is decoded.
	stagerMin  = 40
	maxDecoded = 2048
)

// stager looks for programs in TXT records: as they are, in base64 and in hex.
func (c *c2) stager(s *Seen, d *Desk) {
	for i := range s.Msg.Answer() {
		r := &s.Msg.Answer()[i]
		if r.Type != dnswire.TypeTXT || r.Fault != dnswire.None || r.Len < stagerMin {
			continue
		}
		text := c.strings(s.Msg.RData(r))
		for _, form := range []string{"text", "base64", "hex"} {
			mark := c.mark(text, form)
			if mark == nil {
				continue
			}
			d.Raise(s, s.Client.String()+" "+string(s.Registered), 1, &event.Alert{
				Threat: c.Threat(), Kind: "program_in_txt", Severity: event.SeverityHigh, Confidence: 0.9, Technique: "T1105",
				Rule:  "a TXT record holds a piece of a program",
				Start: s.Time, End: s.Time, Src: s.Client, Server: s.Server, Domain: string(s.Registered), Value: 1, Threshold: 1,
				Evidence: []event.Evidence{
					{Name: "octets", Number: float64(r.Len)}, {Name: "name", Texts: []string{string(s.Name)}}, {Name: "form", Texts: []string{form}},
					{Name: "mark", Texts: []string{string(mark)}}, {Name: "beginning", Texts: []string{string(text[:min(len(text), 120)])}},
				},
				Rejected: []string{"keys, policies and verifications of domains: they hold no commands"},
			})
			return
		}
	}
}

// strings joins the strings of TXT data (RFC 1035 section 3.3.14), as much as is looked at.
func (c *c2) strings(data []byte) []byte {
	c.decoded = c.decoded[:0]
	for len(data) > 0 && len(c.decoded) < maxDecoded {
		n := min(int(data[0]), len(data)-1)
		c.decoded = append(c.decoded, data[1:1+n]...)
		data = data[1+n:]
	}
	return c.decoded
}

// mark returns the mark that text has in that form, or nil.
func (c *c2) mark(text []byte, form string) []byte {
	var buf [maxDecoded]byte
	plain := buf[:0]
	switch form {
	case "text":
		plain = append(plain, text[:min(len(text), maxDecoded)]...)
	case "base64":
		// The value may stand behind a key: what is no base64 ends it.
		at := bytes.LastIndexFunc(bytes.TrimRight(text, "=\"'; "), func(r rune) bool {
			return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '+' || r == '/' || r == '-' || r == '_')
		})
		code := bytes.TrimRight(text[at+1:], "=\"'; ")
		if len(code) < stagerMin/2 {
			return nil
		}
		encoding := base64.RawStdEncoding
		if bytes.ContainsAny(code, "-_") {
			encoding = base64.RawURLEncoding
		}
		code = code[:min(len(code)/4*4, maxDecoded)]
		n, _ := encoding.Decode(buf[:], code)
		plain = buf[:n]
	case "hex":
		n, _ := hex.Decode(buf[:], text[:min(len(text)/2*2, maxDecoded)])
		plain = buf[:n]
	}
	if len(plain) < stagerMin/4 {
		return nil
	}
	if form != "text" && len(plain) > 64 && plain[0] == 'M' && plain[1] == 'Z' {
		return []byte("MZ")
	}
	// UTF-16, as PowerShell takes it.
	if plain[1] == 0 {
		plain = slices.DeleteFunc(plain, func(b byte) bool { return b == 0 })
	}
	for i, b := range plain {
		if 'A' <= b && b <= 'Z' {
			plain[i] = b + 'a' - 'A'
		}
	}
	for _, m := range marks {
		if bytes.Contains(plain, m) {
			return m
		}
	}
	return nil
}

func (c *c2) flux(s *Seen, d *Desk) {
	n := 0
	ttl := uint32(0)
	for i := range s.Msg.Answer() {
		if r := &s.Msg.Answer()[i]; r.Type == dnswire.TypeA {
			n++
			ttl = max(ttl, r.EffectiveTTL())
		}
	}
	if n == 0 || ttl > fluxTTL {
		return
	}
	key := s.NameHash
	f := c.fluxes.get(key, s.Time)
	if f == nil {
		f = c.fluxes.add(key, s.Time)
		*f = flux{start: s.Time}
	}
	f.end = s.Time
	f.highTTL = max(f.highTTL, ttl)
	isFresh := false
	for i := range s.Msg.Answer() {
		ip := addressOf(&s.Msg, &s.Msg.Answer()[i])
		if !ip.Is4() || inner(ip) {
			continue
		}
		b := ip.As4()
		if f.addrs.add(maphash.Bytes(c.seed, b[:]) | 1) {
			isFresh = true
			f.nets.add(c.network(ip))
			if f.addrs.n <= len(f.samples) {
				f.samples[f.addrs.n-1] = ip
			}
		}
	}
	if isFresh {
		f.fresh++
	}
	if float64(f.addrs.n) < c.options.at(limitFluxAddrs) || float64(f.nets.n) < c.options.at(limitFluxNets) || float64(f.nets.n) < fluxShare*float64(f.addrs.n) || f.fresh < fluxAnswers {
		return
	}
	kind, addresses := "/16", []string{}
	if c.options.Systems != nil {
		kind = "AS"
	}
	for _, ip := range f.samples {
		addresses = append(addresses, ip.String())
	}
	a := &event.Alert{
		Threat: c.Threat(), Kind: "dns_fast_flux", Severity: event.SeverityHigh, Confidence: 0.8, Technique: "T1568.001",
		Rule:  "a name's addresses change all the time and are spread over many networks",
		Start: f.start, End: f.end, Src: s.Client, Server: s.Server, Domain: string(s.Name), Value: float64(f.nets.n), Threshold: c.options.at(limitFluxNets),
		Evidence: []event.Evidence{
			{Name: "addresses_at_least", Number: float64(f.addrs.n)}, {Name: "networks_at_least", Number: float64(f.nets.n)}, {Name: "networks_are", Texts: []string{kind}},
			{Name: "answers_with_new_addresses", Number: float64(f.fresh)}, {Name: "highest_ttl", Number: float64(f.highTTL)},
			{Name: "score_of_holz", Number: 1.32*float64(f.addrs.n) + 18.54*float64(f.nets.n)}, {Name: "addresses", Texts: addresses},
		},
		Rejected: []string{"content delivery: it has many addresses in few networks", "pools of time servers and seeds of peers: the name is none"},
	}
	if volunteers(s.Name) {
		a.Severity, a.Confidence = event.SeverityLow, 0.2
		a.Rule += "; its name is that of a pool of volunteers"
		a.Rejected = a.Rejected[:1]
	}
	d.Raise(s, string(s.Name), float64(f.fresh), a)
}

// network hashes the autonomous system of an IPv4 address, or the /16 where none is known.
func (c *c2) network(ip netip.Addr) uint64 {
	b := ip.As4()
	octets := b[:2]
	if c.options.Systems != nil {
		if n := c.options.Systems(ip); n != 0 {
			octets = binary.BigEndian.AppendUint32(b[:0], n)
		}
	}
	return maphash.Bytes(c.seed, octets) | 1
}

// volunteers reports whether a name is one of those under which volunteers offer what
// is no web site: time servers, and peers to begin with.
func volunteers(name []byte) bool {
	for len(name) > 0 {
		label, rest, _ := bytes.Cut(name, []byte{'.'})
		name = rest
		switch string(label) {
		case "ntp", "pool", "seed", "dnsseed", "seeds", "seednode", "bootstrap", "nodes", "tracker":
			return true
		}
	}
	return false
}
