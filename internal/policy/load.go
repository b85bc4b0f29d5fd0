package policy

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/dnshark-io/dnshark/internal/detect"
	"github.com/dnshark-io/dnshark/internal/filter"
	"github.com/dnshark-io/dnshark/internal/kind"
)

// Bounds of policy files, in octets.
const (
	maxFile = 1 << 20
	maxName = 64
)

// Load reads policies from files, and from the .yaml and .yml files of
// directories. A file holds one policy or several, divided by ---, each in one of
// two forms:
//
//	name: lookups-by-curl
//	description: what curl asks for
//	where: process.comm == "curl"              # optional, for all rules
//	rules:
//	  - event: net_packet_dns_response
//	    filter: dns.rcode == "NXDOMAIN"        # optional
//	alerts: ...                                # optional, and may stand alone; see alerts.go
//
// or that of Tracee (see tracee.go), plain or as a Kubernetes object. Whatever is
// wrong is told with file, line and column, and then nothing is loaded.
func Load(paths []string) (*Set, error) {
	set := &Set{}
	files, err := expand(paths)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, file := range files {
		policies, alerts, err := loadFile(file)
		if err != nil {
			errs = append(errs, err)
		}
		set.Policies = append(set.Policies, policies...)
		if alerts != nil {
			if set.Alerts == nil {
				set.Alerts = &detect.Rules{}
			}
			set.Alerts.Merge(alerts)
		}
	}
	seen := map[string]bool{}
	for _, p := range set.Policies {
		if seen[p.Name] {
			errs = append(errs, fmt.Errorf("there are two policies called %s", p.Name))
		}
		seen[p.Name] = true
	}
	if len(set.Policies) > MaxPolicies {
		errs = append(errs, fmt.Errorf("%d policies: at most %d hold at once", len(set.Policies), MaxPolicies))
	}
	if set.Alerts != nil {
		errs = append(errs, set.Alerts.Check())
	}
	if len(set.Policies) == 0 && set.Alerts == nil && len(errs) == 0 {
		errs = append(errs, fmt.Errorf("%s: no policy in there", strings.Join(paths, ", ")))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return set, nil
}

// Fingerprint tells what Load would read now from what it read before.
func Fingerprint(paths []string) (sum [sha256.Size]byte) {
	all := sha256.New()
	files, err := expand(paths)
	fmt.Fprintln(all, err)
	for _, name := range files {
		f, err := os.Open(name)
		if err == nil {
			_, err = io.Copy(all, io.LimitReader(f, maxFile+1))
			f.Close()
		}
		fmt.Fprintf(all, "%q %v\n", name, err)
	}
	all.Sum(sum[:0])
	return sum
}

// expand replaces directories by the policy files in them.
func expand(paths []string) (files []string, err error) {
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			files = append(files, path)
			continue
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if ext := filepath.Ext(e.Name()); !e.IsDir() && (ext == ".yaml" || ext == ".yml") {
				files = append(files, filepath.Join(path, e.Name()))
			}
		}
	}
	return files, nil
}

func loadFile(name string) ([]*Policy, *detect.Rules, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	return read(name, f)
}

func read(name string, r io.Reader) (policies []*Policy, alerts *detect.Rules, err error) {
	text, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(text) > maxFile {
		return nil, nil, fmt.Errorf("%s: longer than %d octets", name, maxFile)
	}
	documents := yaml.NewDecoder(strings.NewReader(string(text)))
	for {
		var doc yaml.Node
		if err := documents.Decode(&doc); errors.Is(err, io.EOF) {
			return policies, alerts, nil
		} else if err != nil {
			return nil, nil, fmt.Errorf("%s: %s", name, strings.TrimPrefix(err.Error(), "yaml: "))
		}
		if len(doc.Content) == 0 || doc.Content[0].Tag == "!!null" {
			continue
		}
		d := &document{file: name, told: alerts}
		p := d.policy(doc.Content[0])
		if d.err != nil {
			return nil, nil, d.err
		}
		if alerts = d.told; p != nil {
			policies = append(policies, p)
		}
	}
}

// document is a policy being read. The first error ends it.
type document struct {
	file   string
	told   *detect.Rules // of alerts, of the file so far, or nil
	follow bool          // the policy's scope has descendants too
	err    error
}

func (d *document) fail(n *yaml.Node, format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%s:%d:%d: %s", d.file, n.Line, n.Column, fmt.Sprintf(format, args...))
	}
}

// mapping calls the function of every key. Others are errors.
func (d *document) mapping(n *yaml.Node, keys map[string]func(value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		d.fail(n, "want keys and values")
		return
	}
	for i := 0; i < len(n.Content) && d.err == nil; i += 2 {
		key := n.Content[i]
		f, ok := keys[key.Value]
		if !ok {
			known := make([]string, 0, len(keys))
			for k := range keys {
				known = append(known, k)
			}
			slices.Sort(known)
			d.fail(key, "unknown key %q; keys are %s", key.Value, strings.Join(known, ", "))
			return
		}
		f(n.Content[i+1])
	}
}

func (d *document) text(n *yaml.Node) string {
	if n.Kind != yaml.ScalarNode {
		d.fail(n, "want text")
	}
	return n.Value
}

func (d *document) list(n *yaml.Node, each func(*yaml.Node)) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.SequenceNode {
		d.fail(n, "want a list")
		return
	}
	for _, item := range n.Content {
		if d.err != nil {
			return
		}
		each(item)
	}
}

// expression checks an expression where it stands.
func (d *document) expression(n *yaml.Node) string {
	text := d.text(n)
	_, err := filter.Parse(text)
	if wrong := (*filter.Error)(nil); errors.As(err, &wrong) {
		at := *n
		if n.Style == 0 && !strings.Contains(text, "\n") { // as it stands in the file
			at.Column += wrong.Column
		}
		d.fail(&at, "%v in %s", wrong, text)
	}
	return text
}

// together checks what was made of expressions that were good by themselves.
func (d *document) together(n *yaml.Node, text string) {
	if text == "" {
		return
	}
	if _, err := filter.Parse(text); err != nil {
		d.fail(n, "all conditions together: %v", err)
	}
}

func ignore(*yaml.Node) {}

// policy reads a policy of any form. It returns nil for one that only speaks of alerts.
func (d *document) policy(n *yaml.Node) *Policy {
	p, scope, spoke := &Policy{}, &Conditions{}, false
	spec := map[string]func(*yaml.Node){
		"name":        func(n *yaml.Node) { p.Name = d.text(n) },
		"description": func(n *yaml.Node) { p.Description = d.text(n) },
		"where":       func(n *yaml.Node) { scope.Add(d.expression(n)) },
		"scope": func(n *yaml.Node) {
			d.follow = slices.ContainsFunc(n.Content, func(n *yaml.Node) bool { return n.Value == Follow })
			d.list(n, func(n *yaml.Node) { scope.AddTracee(n.Value, d.scope(n)) })
		},
		"defaultActions": d.actions,
		"alerts":         func(n *yaml.Node) { spoke = true; d.alerts(n) },
		"rules": func(n *yaml.Node) {
			d.list(n, func(n *yaml.Node) { p.Rules = append(p.Rules, d.rules(n)...) })
		},
	}
	kubernetes := slices.ContainsFunc(n.Content, func(n *yaml.Node) bool { return n.Value == "apiVersion" })
	if !kubernetes {
		d.mapping(n, spec)
	} else {
		d.mapping(n, map[string]func(*yaml.Node){
			"apiVersion": func(n *yaml.Node) {
				group, _, _ := strings.Cut(n.Value, "/")
				if !slices.Contains([]string{"tracee.aquasec.com", "aquasecurity.github.io", "dnshark.io"}, group) {
					d.fail(n, "unknown apiVersion %q; it is tracee.aquasec.com/v1beta1 or dnshark.io/v1", n.Value)
				}
			},
			"kind": func(n *yaml.Node) {
				if n.Value != "Policy" && n.Value != "TraceePolicy" {
					d.fail(n, "kind is Policy, not %q", n.Value)
				}
			},
			"metadata": func(n *yaml.Node) {
				d.mapping(n, map[string]func(*yaml.Node){
					"name": func(n *yaml.Node) { p.Name = d.text(n) },
					"annotations": func(n *yaml.Node) {
						for i := 0; i+1 < len(n.Content); i += 2 {
							if n.Content[i].Value == "description" {
								p.Description = n.Content[i+1].Value
							}
						}
					},
					"labels": ignore, "namespace": ignore, "creationTimestamp": ignore, "generation": ignore,
					"resourceVersion": ignore, "uid": ignore, "managedFields": ignore,
				})
			},
			"spec":   func(n *yaml.Node) { d.mapping(n, spec) },
			"status": ignore,
		})
	}
	p.Scope = scope.String()
	d.together(n, p.Scope)
	switch {
	case spoke && len(p.Rules) == 0 && p.Scope == "":
		return nil
	case p.Name == "":
		d.fail(n, "a policy needs a name")
	case len(p.Name) > maxName:
		d.fail(n, "the name of a policy has at most %d octets", maxName)
	case len(p.Rules) == 0:
		d.fail(n, "policy %s has no rules", p.Name)
	}
	return p
}

// Conditions are expressions that must hold together, in the order given. Of
// Tracee's comparisons with = those on one field are alternatives.
type Conditions struct {
	parts  []string
	equals map[string]int // place in parts of the alternatives on a field
}

// Add adds an expression; "" always holds.
func (c *Conditions) Add(expr string) {
	if expr != "" {
		c.parts = append(c.parts, expr)
	}
}

// AddTracee adds what a comparison of Tracee's was translated to.
func (c *Conditions) AddTracee(text, expr string) {
	m := comparison.FindStringSubmatch(strings.TrimSpace(text))
	if m == nil || m[2] != "=" || expr == "" {
		c.Add(expr)
		return
	}
	if i, ok := c.equals[m[1]]; ok {
		c.parts[i] += " || " + expr
		return
	}
	if c.equals == nil {
		c.equals = map[string]int{}
	}
	c.equals[m[1]] = len(c.parts)
	c.parts = append(c.parts, expr)
}

// String returns one expression, "" when there is none.
func (c *Conditions) String() string {
	if len(c.parts) < 2 {
		return strings.Join(c.parts, "")
	}
	return "(" + strings.Join(c.parts, ") && (") + ")"
}

// rules reads a rule, which a set of events makes several of.
func (d *document) rules(n *yaml.Node) (rules []Rule) {
	var kinds kind.Set
	when := &Conditions{}
	d.mapping(n, map[string]func(*yaml.Node){
		"event": func(n *yaml.Node) {
			var err error
			if strings.HasPrefix(n.Value, "-") {
				d.fail(n, "a rule names the event that it is about, not one to leave out")
			} else if kinds, err = kind.Parse([]string{d.text(n)}); err != nil {
				d.fail(n, "%v", err)
			}
		},
		"filter": func(n *yaml.Node) { when.Add(d.expression(n)) },
		"filters": func(n *yaml.Node) {
			d.list(n, func(n *yaml.Node) { when.AddTracee(n.Value, d.filter(n)) })
		},
		"actions": d.actions,
	})
	if kinds == 0 && d.err == nil {
		d.fail(n, "a rule needs an event")
	}
	d.together(n, when.String())
	for i := range kind.Catalogue {
		if kinds.Has(i) {
			rules = append(rules, Rule{i, when.String()})
		}
	}
	return rules
}

// actions reads what is to be done with an event: it goes to the outputs.
func (d *document) actions(n *yaml.Node) {
	d.list(n, func(n *yaml.Node) {
		switch n.Value {
		case "log", "print", "emit":
		default:
			d.fail(n, "unknown action %q; actions are log, print and emit, which all mean the outputs", n.Value)
		}
	})
}
