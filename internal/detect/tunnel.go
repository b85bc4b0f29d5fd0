package detect

import (
	"bytes"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/suffix"
)

// tunnel finds data that is carried in names and records. For every client and
// registered domain it counts, per hour, how much information goes up (labels of
// names that were not asked for before) and down (data of records that were not seen
// before): a method of constant memory after ibHH (NDSS 2024), in both directions,
// because real tunnels fetch tens of KB in fewer names than any count of names flags.
type tunnel struct {
	options *Options
	flows   *cache[exchange]
	garble  *table[pair, garbled]
	lists   *table[uint64, samples] // of those that are about to be told
	text    []byte
}

// exchange is what a client and a domain exchanged in the hour at hand.
type exchange struct {
	start    int64  // ns since the Unix epoch
	up, down uint32 // octets of new labels, of new data
	queries  uint32 // that were answered, or found no answer, but for repeated ones
	names    uint32 // that were new
	answers  uint32 // data that was new
	records  uint32 // with data that could be new
	nxdomain uint16
	odd      uint16 // queries of types that hardly anybody uses
	strange  uint16 // names in data whose top-level domain does not exist
	reversed uint16 // names that are an address
	hashed   uint16 // names that are a digest
	told     bool
}

// samples are names and data for the evidence.
type samples struct {
	names, data []string
	types       []string
}

type garbled struct {
	start, end   int64
	broken, good uint64
	octets       uint64
}

// Thresholds, per hour. Names of content delivery, of reputation services and of
// reversed addresses carry more information than a slow tunnel; what tells them
// apart stands in judge.
const (
	tunnelWindow = 3600e9

	oddMin  = 10   // queries of odd types
	oddInfo = 500  // octets up or down with them
	upMin   = 2000 // octets of new labels
	upMean  = 20   // of them per new name
	// Two ways: tunnels answer nearly every name with new data.
	bothNames = 20
	bothDown  = 3000
	// Addresses alone are slow: 4 octets each.
	addressNames  = 200
	strangeMin    = 5
	garbledMin    = 20
	garbledWindow = 60e9
)

func newTunnel(o *Options) Detector {
	return &tunnel{
		options: o, flows: newCache[exchange](1 << 18), lists: newTable[uint64, samples](2048),
		garble: newTable[pair, garbled](4096),
	}
}

// Threat implements Detector.
func (*tunnel) Threat() string { return "dns_tunnel" }

const (
	portMDNS = 5353
	typeKEY  = dnswire.Type(25) // RFC 2535
)

// See implements Detector.
func (t *tunnel) See(s *Seen, d *Desk) {
	if s.Meta.SrcPort == portMDNS || s.Meta.DstPort == portMDNS {
		return
	}
	if s.Class == event.ClassMessage && (s.Msg.Broken != dnswire.None || t.garble.len() > 0) {
		t.garbled(s, d)
	}
	if len(s.Registered) == 0 || s.Allowed || s.Repeat || !carries(s) {
		return
	}
	key := mixed(s.ClientHash + s.DomainHash)
	x := t.flows.get(key, s.Time)
	if x == nil {
		x = t.flows.add(key, s.Time)
		*x = exchange{start: s.Time}
	} else if s.Time-x.start >= tunnelWindow { // an hour is over
		*x = exchange{start: s.Time}
	}
	x.queries++
	if odd(s.Type) {
		x.odd++
	}
	if len(s.Labels) > 0 && s.Fresh(s.NameHash+s.ClientHash, saltLabels) {
		x.names++
		x.up += uint32(octets(s.Labels))
		switch {
		case isReversed(s.Labels) || within(s.Name, []byte("arpa")):
			x.reversed++
		case isDigest(s.Labels):
			x.hashed++
		}
	}
	if s.Response {
		t.answer(s, x, key)
	}
	if rule := x.judge(t.options); rule != nil {
		t.report(s, d, x, rule, key)
	}
}

// shortLabels is how many octets of labels carry too little: most names have less.
const shortLabels = 16

// carries reports whether a message can carry enough data to count: long labels, or
// records of other types than addresses. All counts are of such messages.
func carries(s *Seen) bool {
	switch {
	case len(s.Labels) >= shortLabels && octets(s.Labels) >= shortLabels:
		return true
	case s.Type == dnswire.TypeA || s.Type == dnswire.TypeAAAA || s.Type == dnswire.TypeHTTPS || s.Type == dnswire.TypePTR || s.Type == dnswire.TypeNS || s.Type == dnswire.TypeSOA || s.Type == dnswire.TypeDS || s.Type == dnswire.TypeDNSKEY:
		return false
	}
	return true
}

// octets returns how many octets labels have on the wire, where none is escaped: a dot
// stands for a length.
func octets(labels []byte) int {
	n := len(labels)
	for {
		at := bytes.IndexByte(labels, '\\')
		if at < 0 || at+1 == len(labels) {
			return n
		}
		if c := labels[at+1]; c < '0' || c > '9' {
			n, labels = n-1, labels[at+2:]
			continue
		}
		n, labels = n-3, labels[min(at+4, len(labels)):]
	}
}

// odd reports whether a type is used by tunnels more than by anybody else.
func odd(q dnswire.Type) bool {
	return q == dnswire.TypeNULL || q == typeKEY || q >= 65280 && q < 65535
}

func (t *tunnel) answer(s *Seen, x *exchange, key uint64) {
	if s.Msg.RCode() == dnswire.RCodeNXDomain {
		x.nxdomain++
	}
	for i := range s.Msg.Answer() {
		r := &s.Msg.Answer()[i]
		switch r.Type {
		case dnswire.TypeRRSIG, dnswire.TypeNSEC, dnswire.TypeNSEC3, dnswire.TypeDNSKEY, dnswire.TypeDS, dnswire.TypePTR, dnswire.TypeNS, dnswire.TypeSOA:
			continue
		}
		if r.Len == 0 {
			continue
		}
		x.records++
		if !s.Fresh(key+s.hash(s.Msg.RData(r)), saltData) {
			continue
		}
		x.answers++
		x.down += uint32(r.Len)
		if r.Fault == dnswire.None && (r.Type == dnswire.TypeCNAME || r.Type == dnswire.TypeMX || r.Type == dnswire.TypeSRV) {
			t.text = s.Msg.AppendRData(t.text[:0], r)
			name := t.text
			if at := bytes.LastIndexByte(name, ' '); at >= 0 {
				name = name[at+1:]
			}
			if len(name) > 1 && !suffix.Delegated(lower(name)) && !within(name, s.Registered) {
				x.strange++
			}
		}
	}
}

// tunnelRule says what was met.
type tunnelRule struct {
	kind, text string
	severity   event.Severity
	confidence float64
	value      func(x *exchange) float64
	threshold  func(o *Options) float64
}

var (
	ruleOdd = &tunnelRule{"odd_types", "data in records of types that hardly anybody but tunnels uses", event.SeverityHigh, 0.95,
		func(x *exchange) float64 { return float64(x.up + x.down) }, func(*Options) float64 { return oddInfo }}
	ruleStrange = &tunnelRule{"undelegated_targets", "new aliases for every name, under top-level domains that do not exist", event.SeverityHigh, 0.95,
		func(x *exchange) float64 { return float64(x.strange) }, func(*Options) float64 { return strangeMin }}
	ruleBoth = &tunnelRule{"two_way", "new names, nearly each answered with new data", event.SeverityHigh, 0.9,
		func(x *exchange) float64 { return float64(x.down) }, func(o *Options) float64 { return o.at(limitBoth) }}
	ruleUp = &tunnelRule{"exfiltration", "long names that are all new, and answers that say nothing", event.SeverityMedium, 0.8,
		func(x *exchange) float64 { return float64(x.up) }, func(o *Options) float64 { return o.at(limitUp) }}
)

// judge returns the rule that the exchange meets, or nil. Names of addresses (reverse
// look-ups, block lists) and of digests (reputation services) are no data, however
// many there are.
func (x *exchange) judge(o *Options) *tunnelRule {
	names := x.names - min(x.names, uint32(x.reversed)+uint32(x.hashed))
	switch {
	case x.odd > 0 && float64(x.odd) >= o.at(limitOdd) && x.up+x.down >= oddInfo && float64(x.names) >= o.at(limitOdd):
		return ruleOdd
	case x.strange >= strangeMin && x.names >= strangeMin:
		return ruleStrange
	case 2*names < x.names:
		return nil
	case float64(x.down) >= o.at(limitBoth) && names >= bothNames && 2*x.answers >= names && (x.down >= 16*x.answers || names >= addressNames && x.answers >= names):
		return ruleBoth
	// Content delivery has long names too, but sends them to many addresses.
	case float64(x.up) >= o.at(limitUp) && x.up >= upMean*x.names && (8*x.answers <= x.names || x.answers <= 1):
		return ruleUp
	}
	return nil
}

func (t *tunnel) report(s *Seen, d *Desk, x *exchange, rule *tunnelRule, key uint64) {
	list := t.lists.get(key)
	if list == nil {
		list = t.lists.add(key)
		*list = samples{names: list.names[:0], data: list.data[:0], types: list.types[:0]}
	}
	if len(list.names) < 3 {
		list.names = sample(list.names, string(s.Name))
	}
	list.types = sample(list.types, string(s.Type.Append(nil)))
	if s.Response && len(list.data) < 3 && len(s.Msg.Answer()) > 0 {
		list.data = sample(list.data, string(s.Msg.AppendRData(nil, &s.Msg.Answer()[0])))
	}
	id := s.Client.String() + " " + string(s.Registered)
	value := rule.value(x)
	if !d.Due("dns_tunnel "+rule.kind+" "+id, rule.severity, value, s.Time) && x.told {
		if x.queries%8 != 0 { // the final figures need not be of the last message
			return
		}
	}
	x.told = true
	seconds := max(1, float64(s.Time-x.start)/1e9)
	d.Raise(s, id, value, &event.Alert{
		Threat: t.Threat(), Kind: rule.kind, Severity: rule.severity, Confidence: rule.confidence, Technique: "T1071.004",
		Rule: rule.text, Start: x.start, End: s.Time, Src: s.Client, Domain: string(s.Registered),
		Value: value, Threshold: rule.threshold(t.options), Window: tunnelWindow,
		Evidence: []event.Evidence{
			{Name: "different_transactions", Number: float64(x.queries)}, {Name: "unique_names", Number: float64(x.names)},
			{Name: "octets_up", Number: float64(x.up)}, {Name: "octets_down", Number: float64(x.down)},
			{Name: "octets_per_second", Number: float64(x.up+x.down) / seconds},
			{Name: "unique_answers", Number: float64(x.answers)}, {Name: "records", Number: float64(x.records)}, {Name: "nxdomain", Number: float64(x.nxdomain)},
			{Name: "odd_types", Number: float64(x.odd)}, {Name: "undelegated_targets", Number: float64(x.strange)},
			{Name: "types", Texts: append([]string{}, list.types...)}, {Name: "names", Texts: append([]string{}, list.names...)}, {Name: "data", Texts: append([]string{}, list.data...)},
		},
		Rejected: []string{
			"reverse look-ups and block lists: the names are no addresses", "reputation of files: the names are no digests",
			"content delivery: the names do not lead to servers that others have too",
		},
	})
}

// garbled notes messages on a DNS port that are none.
func (t *tunnel) garbled(s *Seen, d *Desk) {
	who := pair{s.Client, s.Server}
	if s.Server.Compare(s.Client) < 0 { // what is no DNS has no direction either
		who = pair{s.Server, s.Client}
	}
	g := t.garble.get(who)
	bad := s.Msg.Broken != dnswire.None && s.Missing == 0
	if g == nil {
		if !bad {
			return
		}
		g = t.garble.add(who)
		*g = garbled{start: s.Time}
	}
	if s.Time-g.end > garbledWindow {
		*g = garbled{start: s.Time}
	}
	g.end = s.Time
	if !bad {
		g.good++
		return
	}
	g.broken++
	g.octets += uint64(len(s.Msg.Raw))
	if float64(g.broken) < t.options.at(limitGarbled) || g.broken < 4*g.good {
		return
	}
	client, server := s.Meta.SrcIP, s.Meta.DstIP
	if s.Meta.SrcPort < s.Meta.DstPort {
		client, server = server, client
	}
	d.Raise(s, who.client.String()+" "+who.server.String(), float64(g.broken), &event.Alert{
		Threat: t.Threat(), Kind: "not_dns_on_port", Severity: event.SeverityMedium, Confidence: 0.8, Technique: "T1095",
		Rule: "packets on a DNS port that are no DNS", Start: g.start, End: g.end, Src: client, Server: server,
		Value: float64(g.broken), Threshold: t.options.at(limitGarbled), Window: garbledWindow,
		Evidence: []event.Evidence{{Name: "not_dns", Number: float64(g.broken)}, {Name: "dns", Number: float64(g.good)}, {Name: "octets", Number: float64(g.octets)}},
		Rejected: []string{"broken server: it would answer some questions well"},
	})
}

// isReversed reports whether labels begin with the four numbers of an IPv4 address, or
// with sixteen nibbles of an IPv6 one, as reverse look-ups and block lists do.
func isReversed(labels []byte) bool {
	numbers, nibbles := 0, 0
	for len(labels) > 0 {
		label, rest, _ := bytes.Cut(labels, []byte{'.'})
		labels = rest
		if n := numbers; n >= 0 {
			if numbers = -1; isOctet(label) {
				numbers = n + 1
			}
		}
		if n := nibbles; n >= 0 {
			if nibbles = -1; len(label) == 1 && isHex(label[0]) {
				nibbles = n + 1
			}
		}
		switch {
		case numbers == 4, nibbles == 16:
			return true
		case numbers < 0 && nibbles < 0:
			return false
		}
	}
	return false
}

// isOctet reports whether a label is a number that an octet of an address may have.
func isOctet(label []byte) bool {
	v := 0
	for _, c := range label {
		if c < '0' || c > '9' {
			return false
		}
		v = 10*v + int(c-'0')
	}
	return len(label) > 0 && len(label) <= 3 && v < 256
}

// isDigest reports whether the labels are a digest in hex (MD5, SHA-1) and words that
// say what is asked about it.
func isDigest(labels []byte) bool {
	label, rest, _ := bytes.Cut(labels, []byte{'.'})
	if len(label) != 32 && len(label) != 40 || len(rest) > 32 {
		return false
	}
	for _, c := range label {
		if !isHex(c) {
			return false
		}
	}
	return true
}

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' }
