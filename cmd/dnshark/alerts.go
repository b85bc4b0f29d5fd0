package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/asn"
	"github.com/dnshark-io/dnshark/internal/detect"
)

// alertOptions say which alerts are wanted, beside what policy files say of it.
type alertOptions struct {
	lists     []*ruleList
	minimum   string
	noShipped bool
	asnTable  string
}

func (o *alertOptions) add(f *pflag.FlagSet) {
	o.lists = nil
	list := func(name, usage string, whole bool, rule func(*detect.Rules, string) error) {
		l := &ruleList{rule: rule, whole: whole}
		o.lists = append(o.lists, l)
		f.Var(l, name, usage)
	}
	list("alert-allow", "`DOMAINS` that are no evidence of threats, nor is what is below them; THREAT:DOMAIN for one threat", false, addAllowed)
	list("alert-secondary", "addresses or `PREFIXES` of servers that may transfer zones", false, (*detect.Rules).AddSecondary)
	list("alert-severity", "severity that alerts have, as `THREAT=LEVEL` or THREAT/KIND=LEVEL", false, named((*detect.Rules).SetSeverity))
	list("alert-threshold", "what makes an alert, as `NAME=VALUE`; names, defaults and bounds: docs/alerts.md", false, named((*detect.Rules).SetThreshold))
	list("alert-suppress", "tell no alerts for which `CONDITIONS` hold, as 'threat=dns_dga client=192.0.2.0/24'; keys: "+strings.Join(detect.SuppressionKeys, ", ")+"; may be given several times", true, func(r *detect.Rules, text string) error {
		s, err := detect.ParseSuppression(text)
		r.Suppress = append(r.Suppress, s)
		return err
	})
	f.StringVar(&o.minimum, "alert-min-severity", "info", "tell no alerts below this `LEVEL`: "+strings.Join(event.SeverityNames, ", "))
	f.BoolVar(&o.noShipped, "no-shipped-allow-lists", false, "use no lists of domains but --alert-allow and those of policies")
	f.StringVar(&o.asnTable, "asn-table", "", "`FILE` that tells autonomous systems, as GeoLite2-ASN.mmdb: fast flux is judged by these instead of /16 networks")
}

// systems returns what tells the autonomous system of an address, nil without a table.
func (o *alertOptions) systems() (func(netip.Addr) uint32, error) {
	if o.asnTable == "" {
		return nil, nil
	}
	table, err := asn.Open(o.asnTable)
	if err != nil {
		return nil, withExit(exitUsage, fmt.Errorf("--asn-table: %w", err))
	}
	return table.Number, nil
}

// rules returns what the flags say.
func (o *alertOptions) rules() (*detect.Rules, error) {
	r := &detect.Rules{}
	for _, l := range o.lists {
		for _, text := range l.values {
			if err := l.rule(r, text); err != nil {
				return nil, err
			}
		}
	}
	if o.minimum != "" { // commands without the flag
		if err := r.SetMinimum(o.minimum); err != nil {
			return nil, usagef("--alert-min-severity: %w", err)
		}
	}
	if err := r.Check(); err != nil {
		return nil, withExit(exitUsage, err)
	}
	return r, nil
}

func addAllowed(r *detect.Rules, text string) error {
	threat, domain, ok := strings.Cut(text, ":")
	if !ok {
		return r.AddAllowed(text, nil)
	}
	return r.AddAllowed(domain, []string{threat})
}

// named is for rules as NAME=VALUE.
func named(set func(r *detect.Rules, name, value string) error) func(*detect.Rules, string) error {
	return func(r *detect.Rules, text string) error {
		name, value, ok := strings.Cut(text, "=")
		if !ok {
			return fmt.Errorf("%q is no NAME=VALUE", text)
		}
		return set(r, name, value)
	}
}

// ruleList is a flag of several rules, which are checked when they are set: so the error
// names the place in the configuration.
type ruleList struct {
	values  []string
	changed bool
	whole   bool // commas do not divide
	rule    func(*detect.Rules, string) error
}

// Type implements pflag.Value.
func (l *ruleList) Type() string {
	if l.whole {
		return "stringArray"
	}
	return "stringSlice"
}

// String implements pflag.Value.
func (l *ruleList) String() string {
	var b strings.Builder
	w := csv.NewWriter(&b)
	if len(l.values) > 0 && w.Write(l.values) == nil {
		w.Flush()
	}
	return "[" + strings.TrimSuffix(b.String(), "\n") + "]"
}

// Set implements pflag.Value.
func (l *ruleList) Set(text string) error {
	values := []string{text}
	if !l.whole {
		values = strings.Split(text, ",")
	}
	if !l.changed {
		l.values, l.changed = nil, true
	}
	for _, v := range values {
		if err := l.Append(v); err != nil {
			return err
		}
	}
	return nil
}

// Append implements pflag.SliceValue.
func (l *ruleList) Append(text string) error {
	l.values = append(slices.Clip(l.values), text)
	return l.rule(&detect.Rules{}, text)
}

// Replace implements pflag.SliceValue.
func (l *ruleList) Replace(values []string) error {
	l.values, l.changed = nil, true
	for _, v := range values {
		if err := l.Append(v); err != nil {
			return err
		}
	}
	return nil
}

// GetSlice implements pflag.SliceValue.
func (l *ruleList) GetSlice() []string { return l.values }

// conditionsOf returns a suppression of a configuration, which is a map, as the flag
// takes it.
func conditionsOf(keys map[string]any) (string, error) {
	var list []string
	for _, key := range detect.SuppressionKeys {
		value, ok := keys[key]
		if !ok {
			continue
		}
		values, several := value.([]any)
		if !several {
			values = []any{value}
		}
		var texts []string
		for _, v := range values {
			text := fmt.Sprint(v)
			if key == "reason" {
				text = "given"
			}
			if strings.ContainsAny(text, " ,\t\n") {
				return "", fmt.Errorf("%s: %q has a blank or a comma: write the rule into a policy file", key, text)
			}
			texts = append(texts, text)
		}
		list = append(list, key+"="+strings.Join(texts, ","))
	}
	for key := range keys {
		if !slices.Contains(detect.SuppressionKeys, key) {
			return "", fmt.Errorf("unknown key %q; keys are %s", key, strings.Join(detect.SuppressionKeys, ", "))
		}
	}
	if len(list) == 0 {
		return "", errors.New("a suppression needs a condition")
	}
	return strings.Join(list, " "), nil
}
