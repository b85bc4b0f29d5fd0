package detect

import (
	"bytes"
	"hash/maphash"
	"net/netip"
	"slices"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
)

// transfer finds zone transfers (AXFR, RFC 5936; IXFR, RFC 1995) over UDP and TCP,
// and zones that are walked by their NSEC records (RFC 4034 section 4). All of one
// client at one server are one incident, so that a burst of guesses is one alert.
type transfer struct {
	options *Options
	open    *table[flow, transferring]
	pairs   *table[pair, copying]
	told    *table[notified, struct{}]
	walks   *table[pair, walking]
	seed    maphash.Seed
	whole   dnswire.Message // of last
}

// flow is one transfer: answers after the first may come without the question.
type flow struct {
	client, server netip.Addr
	port, id       uint16
}

type pair struct{ client, server netip.Addr }

// notified is a client that was told of changes in a zone (RFC 1996), as primaries
// tell their secondaries, from any of their addresses.
type notified struct {
	client netip.Addr
	zone   uint64
}

type transferring struct {
	zone    []byte
	start   int64
	answers uint64
	told    bool // its outcome was counted
	ixfr    bool
	ended   bool // its last answer ended with a SOA
}

// copying is all that a client copied, or tried to, from a server.
type copying struct {
	start, end       int64
	attempts, done   uint64 // attempts, and those which got records
	complete         uint64 // of done, those whose last record so far is a SOA
	refused, current uint64
	records, octets  uint64
	messages         uint64
	zones            []string // samples
	zoneHashes       []uint64 // of all zones, at most maxZones
	lastZone         uint64   // hash
	outcomes         []string
	refreshs         bool // the client asked for the serial, as secondaries do
}

func newTransfer(o *Options) Detector {
	return &transfer{
		options: o, seed: maphash.MakeSeed(),
		open: newTable[flow, transferring](4096), pairs: newTable[pair, copying](4096), walks: newTable[pair, walking](4096),
		told: newTable[notified, struct{}](4096),
	}
}

// Threat implements Detector.
func (*transfer) Threat() string { return "dns_zone_transfer" }

// wantsQuery implements asker.
func (t *transfer) wantsQuery(q dnswire.Type) bool {
	return q == dnswire.TypeAXFR || q == dnswire.TypeIXFR || q == dnswire.TypeSOA
}

const (
	opcodeNotify = 4
	// maxZones is how many zones of a client at a server are told apart.
	maxZones = 256
)

// See implements Detector.
func (t *transfer) See(s *Seen, d *Desk) {
	m := &s.Msg
	isTransfer := s.Type == dnswire.TypeAXFR || s.Type == dnswire.TypeIXFR
	switch {
	case m.Flags.Opcode() == opcodeNotify:
		if who := (notified{s.Server, maphash.Bytes(t.seed, s.Name)}); !s.Response && t.told.get(who) == nil {
			t.told.add(who)
		}
	case s.Class != event.ClassMessage:
	case !s.Response && isTransfer:
		t.attempt(s)
	case !s.Response && s.Type == dnswire.TypeSOA && m.Flags&dnswire.FlagRD == 0:
		t.pair(pair{s.Client, s.Server}, s.Time).refreshs = true
	case s.Response && (isTransfer || s.Meta.Protocol == 6 && len(m.Questions) == 0):
		t.answer(s, d)
	case s.Response:
		t.walk(s, d)
	}
}

func (t *transfer) pair(p pair, now int64) *copying {
	c := t.pairs.get(p)
	if c == nil {
		c = t.pairs.add(p)
		*c = copying{zones: c.zones[:0], zoneHashes: c.zoneHashes[:0], outcomes: c.outcomes[:0]}
	}
	if c.attempts == 0 {
		c.start = now
	}
	return c
}

func (t *transfer) attempt(s *Seen) *transferring {
	key := flow{s.Client, s.Server, s.ClientPort, s.Msg.ID}
	if one := t.open.get(key); one != nil && !one.told && bytes.Equal(one.zone, s.Name) {
		return one // sent again
	}
	t.open.drop(key)
	one := t.open.add(key)
	*one = transferring{zone: append(one.zone[:0], s.Name...), start: s.Time, ixfr: s.Type == dnswire.TypeIXFR}
	c := t.pair(pair{s.Client, s.Server}, s.Time)
	c.attempts++
	c.lastZone = maphash.Bytes(t.seed, s.Name)
	if len(c.zoneHashes) < maxZones && !slices.Contains(c.zoneHashes, c.lastZone) {
		c.zoneHashes = append(c.zoneHashes, c.lastZone)
		c.zones = sample(c.zones, string(s.Name))
	}
	return one
}

func (t *transfer) answer(s *Seen, d *Desk) {
	m := &s.Msg
	one := t.open.get(flow{s.Client, s.Server, s.ClientPort, m.ID})
	if one == nil {
		if len(m.Questions) == 0 {
			return
		}
		one = t.attempt(s) // its question was not seen
	}
	who := pair{s.Client, s.Server}
	c := t.pair(who, s.Time)
	c.end = s.Time
	n, before := uint64(m.Seen[dnswire.SectionAnswer]), one.answers
	one.answers += n
	switch {
	case m.RCode() != dnswire.RCodeNoError || n == 0 && before == 0:
		c.refused++
		c.outcomes = sample(c.outcomes, string(m.RCode().Append(nil)))
		one.told = true
	case one.ixfr && n == 1 && before == 0 && s.Meta.Protocol != 6:
		c.current++ // RFC 1995 section 2: the serial is the newest, or the client must use TCP
		one.told = true
	default:
		if !one.told {
			one.told = true
			c.done++
			c.outcomes = sample(c.outcomes, "NOERROR")
		}
		c.records += n
		c.messages++
		c.octets += uint64(len(m.Raw) + s.Missing)
		// The first record is a SOA, and so is the last (RFC 5936 section 2.2).
		if one.ended {
			c.complete--
		}
		if one.ended = before+n > 1 && n > 0 && t.last(m) == dnswire.TypeSOA; one.ended {
			c.complete++
		}
	}
	t.report(s, d, who, c, one)
}

// last returns the type of the last record of a message's answer section, which may have
// more records than messages usually keep.
func (t *transfer) last(m *dnswire.Message) dnswire.Type {
	rs := m.Answer()
	if len(rs) < int(m.Seen[dnswire.SectionAnswer]) {
		t.whole.Limits.Records = dnswire.MaxLen
		t.whole.Unpack(m.Raw)
		rs = t.whole.Answer()
	}
	return rs[len(rs)-1].Type
}

func (t *transfer) report(s *Seen, d *Desk, who pair, c *copying, one *transferring) {
	a := &event.Alert{
		Threat: t.Threat(), Kind: "transfer", Severity: event.SeverityMedium, Confidence: 1, Technique: "T1590.002",
		Rule:  "a client that is no known secondary asked for a whole zone",
		Start: c.start, End: c.end, Src: s.Client, Server: s.Server, Value: float64(c.attempts), Threshold: 1,
		Evidence: []event.Evidence{
			{Name: "attempts", Number: float64(c.attempts)}, {Name: "zones", Number: float64(len(c.zoneHashes))},
			{Name: "transferred", Number: float64(c.done)}, {Name: "complete", Number: float64(c.complete)},
			{Name: "refused", Number: float64(c.refused)}, {Name: "up_to_date", Number: float64(c.current)},
			{Name: "records", Number: float64(c.records)}, {Name: "octets", Number: float64(c.octets)}, {Name: "messages", Number: float64(c.messages)},
			{Name: "outcomes", Texts: append([]string{}, c.outcomes...)}, {Name: "zone_names", Texts: append([]string{}, c.zones...)},
		},
	}
	if len(c.zoneHashes) == maxZones {
		a.Evidence[1] = event.Evidence{Name: "zones_at_least", Number: maxZones}
	}
	if len(c.zoneHashes) == 1 {
		a.Domain = string(one.zone)
	}
	if c.done > 0 {
		a.Severity, a.Rule = event.SeverityHigh, "a client that is no known secondary copied a zone"
		if one.ixfr {
			a.Kind = "ixfr"
		}
	} else if float64(len(c.zoneHashes)) >= t.options.at(limitZones) {
		a.Kind, a.Rule = "guesses", "a client asked for many zones and got none"
	}
	switch {
	case t.secondary(s.Client):
		a.Severity, a.Rule = event.SeverityInfo, "an authorised secondary copied a zone"
	case len(c.zoneHashes) == 1 && t.told.peek(notified{s.Client, c.lastZone}) != nil:
		a.Severity, a.Rule = event.SeverityLow, "a client that somebody notifies of changes, as primaries do, copied a zone; name it an authorised secondary if it is one"
	case c.refreshs:
		a.Severity, a.Rule = event.SeverityLow, "a client that asks for the zone's serial, as secondaries do, copied a zone; name it an authorised secondary if it is one"
	default:
		a.Rejected = []string{"authorised secondary: not configured", "secondary: nobody notified it of changes", "secondary: it never asked for the serial first"}
	}
	d.Raise(s, who.client.String()+" "+who.server.String(), float64(c.attempts), a)
}

func (t *transfer) secondary(a netip.Addr) bool {
	for _, p := range t.options.Rules.Secondaries {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// walking is what a client may walk at a server: the names that come next.
type walking struct {
	start int64
	next  [8]uint64 // hashes of next owners, 0 for none
	at    uint8
	steps uint64
	names []string
}

const (
	// walkSteps is how often a client must ask for the name that the server gave
	// as the next one. Nobody does that by accident; validators look up what
	// users ask for.
	walkSteps = 8
	// guessedZones is how many zones nobody tries by mistake.
	guessedZones = 4
	walkPause    = 600e9
)

// walk follows a client that asks for the names which NSEC records give as next,
// or for what comes right behind them.
func (t *transfer) walk(s *Seen, d *Desk) {
	m := &s.Msg
	who := pair{s.Client, s.Server}
	if t.walks.len() == 0 && len(m.Authority()) == 0 {
		return
	}
	w := t.walks.peek(who)
	if w != nil && len(s.Name) > 0 {
		name := bytes.TrimPrefix(s.Name, []byte(`\000.`))
		h := maphash.Bytes(t.seed, name) | 1
		for i := range w.next {
			if w.next[i] == h {
				w.next[i] = 0
				w.steps++
				w.names = sample(w.names, string(s.Name))
				if float64(w.steps) >= t.options.at(limitSteps) {
					t.reportWalk(s, d, who, w)
				}
				break
			}
		}
	}
	for i := range m.Records {
		r := &m.Records[i]
		if r.Type != dnswire.TypeNSEC || r.Fault != dnswire.None {
			continue
		}
		if w = t.walks.get(who); w == nil || s.Time-w.start > walkPause && float64(w.steps) < t.options.at(limitSteps) {
			t.walks.drop(who)
			w = t.walks.add(who)
			*w = walking{start: s.Time, names: w.names[:0]}
		}
		var text [1 << 10]byte
		next, _, _ := bytes.Cut(m.AppendRData(text[:0], r), []byte{' '})
		h := maphash.Bytes(t.seed, bytes.ToLower(bytes.TrimSuffix(next, []byte{'.'}))) | 1
		known := false
		for _, other := range w.next {
			known = known || other == h
		}
		if !known {
			w.next[w.at%uint8(len(w.next))] = h
			w.at++
		}
	}
}

func (t *transfer) reportWalk(s *Seen, d *Desk, who pair, w *walking) {
	d.Raise(s, who.client.String()+" "+who.server.String(), float64(w.steps), &event.Alert{
		Threat: t.Threat(), Kind: "nsec_walk", Severity: event.SeverityMedium, Confidence: 0.9, Technique: "T1590.002",
		Rule:  "a client asked for one name after another as NSEC records give them",
		Start: w.start, End: s.Time, Src: s.Client, Server: s.Server, Domain: string(s.Registered),
		Value: float64(w.steps), Threshold: t.options.at(limitSteps), Window: walkPause,
		Evidence: []event.Evidence{{Name: "steps", Number: float64(w.steps)}, {Name: "names", Texts: append([]string{}, w.names...)}},
		Rejected: []string{"validating resolver: it asks for what its users want, not for the next name"},
	})
}
