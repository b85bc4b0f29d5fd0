package detect

import (
	"bytes"
	"net/netip"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/namescore"
)

// dga finds clients that look for their controller under made-up domains. One name
// proves nothing: people choose odd names, and odd names die. So it looks at the last
// domains of a client that do not exist and that it never asked for before, how made up
// they look on average, and which words they share.
type dga struct {
	options *Options
	clients *table[netip.Addr, guesser]
	scorer  *namescore.Scorer
	names   []*namescore.Name // of the client at hand, the newest first
}

// guesser is a client's last domains that do not exist.
type guesser struct {
	names [lastNames]madeUp
	n     uint64 // ever; names[n%lastNames] is the next to go
	since int64  // of the alert's first name, 0 without one
	found string // the domain that resolved
}

type madeUp struct {
	namescore.Name
	time int64
}

const (
	lastNames = 64
	// dgaWindow is how long a name counts.
	dgaWindow = 6 * 3600e9
	// wordShare is how many words come again, per name, times the share of names that
	// are of words alone. Of domains that really died, one window in a thousand has more
	// than 0.13.
	wordShare = 0.15
	wordNames = 32
	wordMean  = -1.2
)

// togetherAtLeast is what one in a thousand windows of domains that people had and gave
// up reaches, by number of names, and one in a hundred windows of names that people chose
// and that are alike: of one suffix, one length. See namescore/train, which prints it.
var togetherAtLeast = []struct {
	names int
	score float32
}{{6, 2}, {8, 1.55}, {10, 0.85}, {20, 0.05}, {40, 0}}

func newDGA(o *Options) Detector {
	return &dga{options: o, clients: newTable[netip.Addr, guesser](4096), scorer: namescore.New()}
}

// Threat implements Detector.
func (*dga) Threat() string { return "dns_dga" }

// See implements Detector.
func (g *dga) See(s *Seen, d *Desk) {
	if s.Class != event.ClassMessage || !s.Response || s.Repeat || len(s.Registered) == 0 || s.Allowed || within(s.Name, []byte("arpa")) {
		return
	}
	switch {
	case s.Msg.RCode() == dnswire.RCodeNoError:
		if !s.Common && len(s.Msg.Answer()) > 0 && s.Fresh(s.DomainHash, saltExists) {
			g.resolved(s, d)
		}
	// Below a domain that exists anything may be missing.
	case s.Msg.RCode() == dnswire.RCodeNXDomain && (len(s.Labels) == 0 || bytes.Equal(s.Labels, []byte("www"))):
		if s.Fresh(s.DomainHash+s.ClientHash, saltMissing) && !s.known(s.DomainHash, saltExists) {
			g.missing(s, d)
		}
	}
}

func (g *dga) missing(s *Seen, d *Desk) {
	c := g.clients.get(s.Client)
	if c == nil {
		c = g.clients.add(s.Client)
		*c = guesser{}
	}
	m := &c.names[c.n%lastNames]
	c.n++
	m.time = s.Time
	g.scorer.Fill(&m.Name, s.Registered)
	least := int(g.options.at(limitMadeUp))
	names := c.window(g.names[:0], s.Time)
	g.names = names
	for _, at := range togetherAtLeast {
		if len(names) < max(least, at.names) {
			continue
		}
		if score := g.scorer.Together(names[:at.names]); score >= at.score {
			g.report(s, d, c, names[:at.names], score, at.score, "made_up_names", "domains that do not exist, and look as if one program made them up")
			return
		}
	}
	if len(names) >= max(least, wordNames) && mean(names) >= wordMean {
		if share := shared(names); share >= wordShare {
			g.report(s, d, c, names, share, wordShare, "word_lists", "domains that do not exist, made of the same words again and again")
		}
	}
}

// window appends the client's names that still count, the newest first.
func (c *guesser) window(dst []*namescore.Name, now int64) []*namescore.Name {
	for k := range min(c.n, lastNames) {
		m := c.last(int(k))
		if now-m.time > dgaWindow {
			break
		}
		dst = append(dst, &m.Name)
	}
	return dst
}

// mean returns the mean score of names.
func mean(names []*namescore.Name) (sum float32) {
	for _, n := range names {
		sum += n.Score
	}
	return sum / float32(max(1, len(names)))
}

// shared returns how many words come again, per name, times the share of names that
// words cover.
func shared(names []*namescore.Name) float32 {
	again, whole := namescore.Shared(names)
	return float32(again * whole)
}

// last returns the name before k others.
func (c *guesser) last(k int) *madeUp { return &c.names[(c.n-1-uint64(k))%lastNames] }

func (g *dga) report(s *Seen, d *Desk, c *guesser, list []*namescore.Name, value, threshold float32, kind, rule string) {
	first := c.last(len(list) - 1)
	if c.since == 0 || s.Time-c.since > dgaWindow {
		c.since, c.found = first.time, ""
	}
	var names []string
	lengths := [2]int{namescore.MaxName, 0}
	for _, n := range list {
		names = sample(names, string(n.Text()))
		lengths[0], lengths[1] = min(lengths[0], len(n.Text())), max(lengths[1], len(n.Text()))
	}
	a := &event.Alert{
		Threat: g.Threat(), Kind: kind, Severity: event.SeverityHigh, Confidence: 0.9, Technique: "T1568.002", Rule: rule,
		Start: c.since, End: s.Time, Src: s.Client, Server: s.Server, Value: float64(value), Threshold: float64(threshold), Window: dgaWindow,
		Evidence: []event.Evidence{
			{Name: "domains_without_answer", Number: float64(len(list))}, {Name: "mean_score", Number: float64(mean(list))},
			{Name: "shortest", Number: float64(lengths[0])}, {Name: "longest", Number: float64(lengths[1])},
			{Name: "shared_words", Number: float64(shared(list))}, {Name: "seconds", Number: float64(s.Time-first.time) / 1e9},
			{Name: "names", Texts: names},
		},
		Rejected: []string{
			"browser probes: they have no dot", "search lists: the domains are different", "dead links and block lists: such names look chosen",
			"one dead name asked for again: each counts once",
		},
	}
	if kind == "word_lists" {
		a.Confidence = 0.7
	}
	if c.found != "" {
		a.Severity, a.Domain = event.SeverityCritical, c.found
	}
	d.Raise(s, s.Client.String(), float64(c.n), a)
}

// resolved looks at a domain that nobody had an answer for before: after many that do
// not exist it may be the one that does.
func (g *dga) resolved(s *Seen, d *Desk) {
	c := g.clients.peek(s.Client)
	if c == nil || c.since == 0 || c.found != "" || s.Time-c.last(0).time > 600e9 {
		return
	}
	score := g.scorer.Score(s.Registered)
	names := c.window(g.names[:0], s.Time)
	g.names = names
	names = names[:min(len(names), 10)]
	least := max(0, min(namescore.Likely, mean(names)-1.5))
	if score < least || !like(names, s.Registered) {
		return
	}
	c.found = string(s.Registered)
	d.Raise(s, s.Client.String(), 1, &event.Alert{
		Threat: g.Threat(), Kind: "rendezvous", Severity: event.SeverityCritical, Confidence: 0.8, Technique: "T1568.002",
		Rule:  "after many made-up domains that do not exist, one has an answer",
		Start: c.since, End: s.Time, Src: s.Client, Server: s.Server, Domain: c.found, Value: float64(score), Threshold: float64(least), Window: dgaWindow,
		Evidence: []event.Evidence{
			{Name: "score", Number: float64(score)}, {Name: "mean_score_of_the_last", Number: float64(mean(names))}, {Name: "the_last", Number: float64(len(names))},
			{Name: "suffix", Texts: []string{suffixOf(s.Registered)}},
		},
		Rejected: []string{"chosen name: it looks like those that do not exist, and has length and suffix of some"},
	})
}

// like reports whether a domain has the suffix of one of the names, and a length as
// theirs.
func like(names []*namescore.Name, registered []byte) bool {
	same, shortest, longest := false, 255, 0
	for _, n := range names {
		same = same || suffixOf(n.Text()) == suffixOf(registered)
		shortest, longest = min(shortest, len(n.Text())), max(longest, len(n.Text()))
	}
	return same && len(registered) >= shortest-2 && len(registered) <= longest+2
}

func suffixOf(registered []byte) string {
	_, suffix := namescore.Split(registered)
	return string(suffix)
}
