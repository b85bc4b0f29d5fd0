package policy

import (
	"github.com/dnshark-io/dnshark/internal/detect"
	"github.com/dnshark-io/dnshark/internal/filter"
	"github.com/dnshark-io/dnshark/internal/kind"
)

// Policy says which events are wanted, and when.
type Policy struct {
	Name        string
	Description string
	Scope       string // an expression that holds for all rules, "" for any event
	Rules       []Rule
}

// Rule is an event that a policy wants.
type Rule struct {
	Kind int    // index in kind.Catalogue
	When string // an expression, "" for always
}

// MaxPolicies is how many policies there may be at once: an event remembers which
// of them want it in a word of 64 bits.
const MaxPolicies = 64

// Set is the policies that hold together: an event is emitted when one of them
// wants it.
type Set struct {
	Policies []*Policy
	// Alerts is what the files say of alerts, for all policies, or nil.
	Alerts *detect.Rules
}

// Kinds returns the events that the policies name.
func (s *Set) Kinds() (kinds kind.Set) {
	for _, p := range s.Policies {
		for _, r := range p.Rules {
			kinds |= 1 << r.Kind
		}
	}
	return kinds
}

// matcher is a rule ready for one worker.
type matcher struct {
	policy int
	when   []*filter.Filter // all must hold
}

// compile makes the rules of every kind ready. What Load accepted compiles.
func (s *Set) compile() (rules [32][]matcher) {
	for i, p := range s.Policies {
		for _, r := range p.Rules {
			m := matcher{policy: i}
			for _, text := range []string{p.Scope, r.When} {
				if text == "" {
					continue
				}
				f, err := filter.Parse(text)
				if err != nil {
					// A file of values has gone since it was checked. Nothing
					// matches rather than everything.
					f, _ = filter.Parse(never)
				}
				m.when = append(m.when, f)
			}
			rules[r.Kind] = append(rules[r.Kind], m)
		}
	}
	return rules
}

// never is an expression that holds for no event.
const never = `observer == ""`
