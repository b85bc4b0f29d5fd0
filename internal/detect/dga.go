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
	words   []uint64
}

// guesser is a client's last domains that do not exist.
type guesser struct {
	names [lastNames]madeUp
	n     uint64 // ever; names[n%lastNames] is the next to go
	since int64  // of the alert's first name, 0 without one
	found string // the domain that resolved
}

type madeUp struct {
	time  int64
	score float32
	words [3]uint32 // hashes of its words, 0 for none
	whole bool      // words cover it
	name  [48]byte
	size  uint8
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

// meanAtLeast are the mean scores that one in a thousand windows of domains that people
// had and gave up reaches, by number of names.
var meanAtLeast = []struct {
	names int
	mean  float32
}{{6, 3}, {8, 2.1}, {10, 1.5}, {20, 0.4}, {40, -0.1}}

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
		if len(s.Msg.Answer()) > 0 {
			if s.Fresh(s.DomainHash, saltExists) {
				g.resolved(s, d)
			}
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
	*m = madeUp{time: s.Time, score: max(-6, min(8, g.scorer.Score(s.Registered)))}
	m.size = uint8(copy(m.name[:], s.Registered))
	words, uncovered := g.scorer.Segment(g.words[:0], s.Registered)
	g.words = words
	m.whole = uncovered <= 1 && len(words) >= 2 && len(words) <= 4
	for i := range words[:min(len(words), len(m.words))] {
		m.words[i] = uint32(words[i]) | 1
	}
	least := int(g.options.at(limitMadeUp))
	for _, at := range meanAtLeast {
		if at.names < least && c.within(least, s.Time) < least {
			continue
		}
		if n, mean := c.mean(at.names, s.Time); n == at.names && mean >= at.mean {
			g.report(s, d, c, n, mean, at.mean, "made_up_names", "domains that do not exist, and look as if a program made them up")
			return
		}
	}
	if n, mean := c.mean(lastNames, s.Time); n >= max(least, wordNames) && mean >= wordMean {
		if share := c.shared(n); share >= wordShare {
			g.report(s, d, c, n, share, wordShare, "word_lists", "domains that do not exist, made of the same words again and again")
		}
	}
}

// mean returns the mean score of the last names, at most n of them and those of the
// window only.
func (c *guesser) mean(n int, now int64) (int, float32) {
	var sum float32
	k := 0
	for k < n && uint64(k) < min(c.n, lastNames) {
		m := c.last(k)
		if now-m.time > dgaWindow {
			break
		}
		sum += m.score
		k++
	}
	return k, sum / float32(max(1, k))
}

// within returns how many names, at most n, are of the window.
func (c *guesser) within(n int, now int64) int {
	k, _ := c.mean(n, now)
	return k
}

// last returns the name before k others.
func (c *guesser) last(k int) *madeUp { return &c.names[(c.n-1-uint64(k))%lastNames] }

// shared returns how many words of the last n names come again, per name, times the
// share of names that words cover.
func (c *guesser) shared(n int) float32 {
	again, whole := 0, 0
	for k := range n {
		m := c.last(k)
		if m.whole {
			whole++
		}
		for _, w := range m.words {
			if w != 0 && c.hasWord(w, k) {
				again++
			}
		}
	}
	return float32(again) / float32(n) * float32(whole) / float32(n)
}

// hasWord reports whether one of the k last names has the word.
func (c *guesser) hasWord(w uint32, k int) bool {
	for i := range k {
		if words := &c.last(i).words; words[0] == w || words[1] == w || words[2] == w {
			return true
		}
	}
	return false
}

func (g *dga) report(s *Seen, d *Desk, c *guesser, n int, value, threshold float32, kind, rule string) {
	first := c.last(n - 1)
	if c.since == 0 || s.Time-c.since > dgaWindow {
		c.since, c.found = first.time, ""
	}
	var names []string
	lengths := [2]int{64, 0}
	for k := range n {
		m := c.last(k)
		names = sample(names, string(m.name[:m.size]))
		lengths[0], lengths[1] = min(lengths[0], int(m.size)), max(lengths[1], int(m.size))
	}
	share := c.shared(n)
	a := &event.Alert{
		Threat: g.Threat(), Kind: kind, Severity: event.SeverityHigh, Confidence: 0.9, Technique: "T1568.002", Rule: rule,
		Start: c.since, End: s.Time, Src: s.Client, Server: s.Server, Value: float64(value), Threshold: float64(threshold), Window: dgaWindow,
		Evidence: []event.Evidence{
			{Name: "domains_without_answer", Number: float64(n)}, {Name: "mean_score", Number: float64(value)},
			{Name: "shortest", Number: float64(lengths[0])}, {Name: "longest", Number: float64(lengths[1])},
			{Name: "shared_words", Number: float64(share)}, {Name: "seconds", Number: float64(s.Time-first.time) / 1e9},
			{Name: "names", Texts: names},
		},
		Rejected: []string{
			"browser probes: they have no dot", "search lists: the domains are different", "dead links and block lists: such names look chosen",
			"one dead name asked for again: each counts once",
		},
	}
	if kind == "word_lists" {
		a.Confidence, a.Evidence[1].Number = 0.7, 0
		_, mean := c.mean(n, s.Time)
		a.Evidence[1].Number = float64(mean)
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
	n, mean := c.mean(10, s.Time)
	_, suffix := namescore.Split(s.Registered)
	if score < max(0, min(namescore.Likely, mean-1.5)) || !c.like(s.Registered, suffix, n) {
		return
	}
	c.found = string(s.Registered)
	d.Raise(s, s.Client.String(), 1, &event.Alert{
		Threat: g.Threat(), Kind: "rendezvous", Severity: event.SeverityCritical, Confidence: 0.8, Technique: "T1568.002",
		Rule:  "after many made-up domains that do not exist, one has an answer",
		Start: c.since, End: s.Time, Src: s.Client, Server: s.Server, Domain: c.found, Value: float64(score), Threshold: namescore.Likely, Window: dgaWindow,
		Evidence: []event.Evidence{
			{Name: "score", Number: float64(score)}, {Name: "mean_score_of_the_last", Number: float64(mean)}, {Name: "the_last", Number: float64(n)},
			{Name: "suffix", Texts: []string{string(suffix)}},
		},
		Rejected: []string{"chosen name: it looks like those that do not exist, and has length and suffix of some"},
	})
}

// like reports whether a domain has the suffix of one of the last n names, and a length
// as theirs.
func (c *guesser) like(registered, suffix []byte, n int) bool {
	same, shortest, longest := false, 255, 0
	for k := range n {
		m := c.last(k)
		name := m.name[:m.size]
		_, other := namescore.Split(name)
		same = same || bytes.Equal(other, suffix)
		shortest, longest = min(shortest, len(name)), max(longest, len(name))
	}
	return same && len(registered) >= shortest-2 && len(registered) <= longest+2
}
