package detect

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/kind"
)

// Rules are what users say of alerts. The zero value says nothing.
type Rules struct {
	// Suppress are alerts that are not told.
	Suppress []Suppression
	// Allow are domains that are no evidence.
	Allow []Allowed
	// Secondaries are the addresses of servers that may transfer zones.
	Secondaries []netip.Prefix
	// Minimum is the severity below which no alert is told.
	Minimum event.Severity

	severities map[string]event.Severity // by threat or threat/kind
	limits     [numLimits]float64        // by place in Thresholds, 0: the default
}

// Bounds of rules.
const (
	maxSuppressions = 1000
	maxAllowed      = 100_000
)

// Suppression says which alerts are not told: those that meet all its conditions.
// Of several values of a condition any will do.
type Suppression struct {
	Name       string // for those who count; "": the conditions
	Threats    []string
	Domains    []string // those and all below them
	Clients    []netip.Prefix
	Servers    []netip.Prefix
	Processes  []string // name or path of the executable
	Containers []string // name, id, image or pod (NAMESPACE/NAME)
}

// SuppressionKeys are the keys of Suppression.Set.
var SuppressionKeys = []string{"name", "threat", "domain", "client", "server", "process", "container", "reason"}

// Set adds a value of a condition.
func (s *Suppression) Set(key, value string) (err error) {
	prefix := func(list *[]netip.Prefix) error {
		p, err := parsePrefix(value)
		*list = append(*list, p)
		return err
	}
	switch key {
	case "name":
		s.Name = value
		if len(value) == 0 || len(value) > maxRuleName {
			err = fmt.Errorf("a name has 1 to %d octets", maxRuleName)
		}
	case "threat":
		s.Threats = append(s.Threats, value)
		err = kind.CheckThreat(value)
	case "domain":
		value, err = parseDomain(value)
		s.Domains = append(s.Domains, value)
	case "client":
		err = prefix(&s.Clients)
	case "server":
		err = prefix(&s.Servers)
	case "process":
		s.Processes = append(s.Processes, value)
		err = checkPattern(value)
	case "container":
		s.Containers = append(s.Containers, value)
		err = checkPattern(value)
	case "reason": // for those who read the rules
	default:
		err = fmt.Errorf("unknown key %q; keys are %s", key, strings.Join(SuppressionKeys, ", "))
	}
	return err
}

const maxRuleName = 128

// Check reports what is missing.
func (s *Suppression) Check() error {
	if len(s.Threats)+len(s.Domains)+len(s.Clients)+len(s.Servers)+len(s.Processes)+len(s.Containers) == 0 {
		return errors.New("a suppression needs a condition, or it would be all alerts")
	}
	return nil
}

// ParseSuppression reads conditions as "threat=dns_dga client=192.0.2.0/24": blanks
// divide them, commas their values.
func ParseSuppression(text string) (Suppression, error) {
	var s Suppression
	for _, condition := range strings.Fields(text) {
		key, values, ok := strings.Cut(condition, "=")
		if !ok {
			return s, fmt.Errorf("%q is no KEY=VALUE; keys are %s", condition, strings.Join(SuppressionKeys, ", "))
		}
		for value := range strings.SplitSeq(values, ",") {
			if err := s.Set(key, value); err != nil {
				return s, err
			}
		}
	}
	return s, s.Check()
}

// String returns the name, or the conditions.
func (s *Suppression) String() string {
	if s.Name != "" {
		return s.Name
	}
	var parts []string
	add := func(key string, values []string) {
		if len(values) > 0 {
			parts = append(parts, key+"="+strings.Join(values, ","))
		}
	}
	add("threat", s.Threats)
	add("domain", s.Domains)
	add("client", prefixTexts(s.Clients))
	add("server", prefixTexts(s.Servers))
	add("process", s.Processes)
	add("container", s.Containers)
	text := strings.Join(parts, " ")
	return text[:min(len(text), maxRuleName)]
}

func prefixTexts(list []netip.Prefix) (texts []string) {
	for _, p := range list {
		if p.IsSingleIP() {
			texts = append(texts, p.Addr().String())
		} else {
			texts = append(texts, p.String())
		}
	}
	return texts
}

// match reports whether an event's alert is to be suppressed.
func (s *Suppression) match(e *event.Event) bool {
	a := e.Alert
	return (len(s.Threats) == 0 || slices.Contains(s.Threats, a.Threat) || slices.Contains(s.Threats, a.Threat+"/"+a.Kind)) &&
		(len(s.Domains) == 0 || slices.ContainsFunc(s.Domains, func(d string) bool { return a.Domain != "" && below(a.Domain, d) })) &&
		(len(s.Clients) == 0 || contains(s.Clients, a.Src)) &&
		(len(s.Servers) == 0 || contains(s.Servers, a.Server)) &&
		(len(s.Processes) == 0 || slices.ContainsFunc(s.Processes, func(p string) bool { return isProcess(p, &e.Asker) })) &&
		(len(s.Containers) == 0 || slices.ContainsFunc(s.Containers, func(p string) bool { return isContainer(p, e.Asker.Container) }))
}

func contains(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// alike reports whether text is the pattern, or begins with it where that ends with *.
func alike(pattern, text string) bool {
	if begin, ok := strings.CutSuffix(pattern, "*"); ok {
		return text != "" && strings.HasPrefix(text, begin)
	}
	return text == pattern
}

func isProcess(pattern string, who *event.Party) bool {
	if who.ID == nil || !who.ID.Known() {
		return false
	}
	if strings.Contains(pattern, "/") {
		return who.Process != nil && alike(pattern, who.Process.Exe)
	}
	return alike(pattern, string(who.ID.AppendComm(nil)))
}

func isContainer(pattern string, c *event.Container) bool {
	if c == nil {
		return false
	}
	return alike(pattern, c.Name) || alike(pattern, c.ID) || alike(pattern, c.Image) || c.Pod != nil && alike(pattern, c.Pod.Namespace+"/"+c.Pod.Name)
}

func checkPattern(text string) error {
	if at := strings.IndexByte(text, '*'); text == "" || text == "*" || len(text) > 4096 || at >= 0 && at < len(text)-1 {
		return fmt.Errorf("%q is no name; it may end with *", text)
	}
	return nil
}

// Allowed is a domain that is no evidence of some threats, nor is what is below it.
type Allowed struct {
	Domain  string
	Threats []string // none: all
	List    string   // that it stands in, for those who count
}

// AddAllowed adds a domain of users.
func (r *Rules) AddAllowed(domain string, threats []string) error {
	domain, err := parseDomain(domain)
	for _, t := range threats {
		if strings.Contains(t, "/") {
			return fmt.Errorf("%q: a domain is allowed for a whole threat", t)
		}
		err = errors.Join(err, kind.CheckThreat(t))
	}
	r.Allow = append(r.Allow, Allowed{Domain: domain, Threats: threats, List: "configured"})
	return err
}

// AddSecondary adds an address or a prefix of authorised secondaries.
func (r *Rules) AddSecondary(text string) error {
	p, err := parsePrefix(text)
	r.Secondaries = append(r.Secondaries, p)
	return err
}

// SetMinimum sets the severity below which no alert is told.
func (r *Rules) SetMinimum(level string) (err error) {
	r.Minimum, err = parseSeverity(level)
	return err
}

// SetSeverity sets the severity of a threat, or of one of its kinds as
// dns_tunnel/two_way.
func (r *Rules) SetSeverity(threat, level string) error {
	s, err := parseSeverity(level)
	if r.severities == nil {
		r.severities = map[string]event.Severity{}
	}
	r.severities[threat] = s
	return errors.Join(kind.CheckThreat(threat), err)
}

func parseSeverity(level string) (event.Severity, error) {
	s, ok := event.ParseSeverity(level)
	if !ok {
		return 0, fmt.Errorf("%q is no severity; there are %s", level, strings.Join(event.SeverityNames, ", "))
	}
	return s, nil
}

// severity returns what users want an alert to have, and s without them.
func (r *Rules) severity(threat, what string, s event.Severity) event.Severity {
	if len(r.severities) == 0 {
		return s
	}
	if v, ok := r.severities[threat+"/"+what]; ok {
		return v
	}
	if v, ok := r.severities[threat]; ok {
		return v
	}
	return s
}

// Check reports whether there are more rules than are kept.
func (r *Rules) Check() error {
	switch {
	case len(r.Suppress) > maxSuppressions:
		return fmt.Errorf("%d suppressions; at most %d", len(r.Suppress), maxSuppressions)
	case len(r.Allow) > maxAllowed:
		return fmt.Errorf("%d allowed domains; at most %d", len(r.Allow), maxAllowed)
	case len(r.Secondaries) > maxSuppressions:
		return fmt.Errorf("%d secondaries; at most %d", len(r.Secondaries), maxSuppressions)
	}
	return nil
}

// Merge adds the rules of another. Where both set one value, the other's holds.
func (r *Rules) Merge(other *Rules) {
	r.Suppress = append(slices.Clip(r.Suppress), other.Suppress...)
	r.Allow = append(slices.Clip(r.Allow), other.Allow...)
	r.Secondaries = append(slices.Clip(r.Secondaries), other.Secondaries...)
	r.Minimum = max(r.Minimum, other.Minimum)
	severities := map[string]event.Severity{}
	for _, m := range []map[string]event.Severity{r.severities, other.severities} {
		for k, v := range m {
			severities[k] = v
		}
	}
	r.severities = severities
	for i, v := range other.limits {
		if v != 0 {
			r.limits[i] = v
		}
	}
}

func parsePrefix(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, fmt.Errorf("%q is no address, and no prefix such as 192.0.2.0/24", text)
	}
	return p.Masked(), nil
}

// parseDomain returns a domain as Seen.Name is written.
func parseDomain(text string) (string, error) {
	name := string(lower([]byte(text)))
	ok := name != "" && len(name) <= 253 && name[0] != '.' && !strings.Contains(name, "..")
	for _, c := range []byte(name) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.')
	}
	if !ok {
		return "", fmt.Errorf("%q is no domain such as example.com (others than ASCII in their form xn--)", text)
	}
	return name, nil
}

// below reports whether a name is the domain or below it. What stands in a label as \.
// is no dot.
func below(name, domain string) bool {
	if !strings.HasSuffix(name, domain) {
		return false
	}
	rest := name[:len(name)-len(domain)]
	return rest == "" || rest[len(rest)-1] == '.' && !strings.HasSuffix(rest, `\.`)
}

// allowList finds allowed domains.
type allowList struct {
	domains map[string]allowance
	deepest int      // labels
	near    []uint64 // bits of hashes of the domains' registered domains: of most names no bit is set
	all     bool     // near does not tell, for one of the domains is a public suffix
	lists   []string // names of lists
	counts  []uint64 // messages, by list
}

type allowance struct {
	threats uint32 // bits: places in Stage.slots
	list    int
}

// may reports whether a name may be allowed, by the hash of its registered domain. A few
// that are not pass.
func (l *allowList) may(hash uint64) bool {
	if l.all || len(l.near) == 0 {
		return l.all
	}
	bit := hash % uint64(64*len(l.near))
	return l.near[bit/64]>>(bit%64)&1 == 1
}

// find returns the threats for which a name is allowed, and by which list.
func (l *allowList) find(name []byte) (threats uint32, list int) {
	if len(l.domains) == 0 {
		return 0, 0
	}
	for labels, end := 0, len(name); labels < l.deepest && end > 0; labels++ {
		at := bytes.LastIndexByte(name[:end], '.')
		if a, ok := l.domains[string(name[at+1:])]; ok && (at < 1 || name[at-1] != '\\') {
			if threats == 0 {
				list = a.list
			}
			threats |= a.threats
		}
		end = max(at, 0)
	}
	return threats, list
}

// compile makes a list of the rules', for threats in the order of slots. hash is that of
// the registered domain of a domain, false for a public suffix. Counts of lists that were
// there before go on.
func (r *Rules) compile(slots []slot, hash func(domain string) (uint64, bool), before *allowList) allowList {
	l := allowList{domains: make(map[string]allowance, len(r.Allow)), near: make([]uint64, (len(r.Allow)+3)/4)}
	for i := range r.Allow {
		a := &r.Allow[i]
		var threats uint32
		for j := range slots {
			if len(a.Threats) == 0 || slices.Contains(a.Threats, slots[j].Threat()) {
				threats |= 1 << j
			}
		}
		h, ok := hash(a.Domain)
		l.all = l.all || !ok
		bit := h % uint64(64*len(l.near))
		l.near[bit/64] |= 1 << (bit % 64)
		list := slices.Index(l.lists, a.List)
		if list < 0 {
			list = len(l.lists)
			l.lists = append(l.lists, a.List)
			l.counts = append(l.counts, 0)
			if k := slices.Index(before.lists, a.List); k >= 0 {
				l.counts[list] = before.counts[k]
			}
		}
		old, known := l.domains[a.Domain]
		if known {
			list = old.list
		}
		l.domains[a.Domain] = allowance{old.threats | threats, list}
		l.deepest = max(l.deepest, 1+strings.Count(a.Domain, "."))
	}
	return l
}
