package policy

import (
	"errors"

	"go.yaml.in/yaml/v3"

	"github.com/dnshark-io/dnshark/internal/detect"
)

// alerts reads what a file says of alerts. It stands in a policy or by itself, and holds
// for all alerts either way:
//
//	alerts:
//	  minimum-severity: low
//	  severity: {dns_zone_transfer/guesses: high}
//	  thresholds: {dns_tunnel.octets-up: 5000}
//	  secondaries: [192.0.2.53, 2001:db8::/64]
//	  allow:
//	    - corp.example
//	    - {domain: telemetry.example, threat: [dns_tunnel], reason: reports of crashes}
//	  suppress:
//	    - {name: scanner, threat: dns_dga, client: 192.0.2.66, reason: tries names}
func (d *document) alerts(n *yaml.Node) {
	r := &detect.Rules{}
	d.mapping(n, map[string]func(*yaml.Node){
		"minimum-severity": func(n *yaml.Node) { d.must(n, r.SetMinimum(d.text(n))) },
		"severity": func(n *yaml.Node) {
			d.pairs(n, func(key, value *yaml.Node) {
				level := d.text(value)
				d.must(value, (&detect.Rules{}).SetMinimum(level))
				d.must(key, r.SetSeverity(key.Value, level))
			})
		},
		"thresholds": func(n *yaml.Node) {
			d.pairs(n, func(key, value *yaml.Node) {
				err := r.SetThreshold(key.Value, d.text(value))
				if errors.Is(err, detect.ErrNoThreshold) {
					value = key
				}
				d.must(value, err)
			})
		},
		"secondaries": func(n *yaml.Node) {
			d.list(n, func(n *yaml.Node) { d.must(n, r.AddSecondary(d.text(n))) })
		},
		"allow": func(n *yaml.Node) { d.list(n, func(n *yaml.Node) { d.allow(n, r) }) },
		"suppress": func(n *yaml.Node) {
			d.list(n, func(n *yaml.Node) {
				var s detect.Suppression
				keys := map[string]func(*yaml.Node){}
				for _, key := range detect.SuppressionKeys {
					keys[key] = func(n *yaml.Node) {
						d.oneOrMore(n, func(n *yaml.Node) { d.must(n, s.Set(key, d.text(n))) })
					}
				}
				d.mapping(n, keys)
				d.must(n, s.Check())
				r.Suppress = append(r.Suppress, s)
			})
		},
	})
	if d.told == nil {
		d.told = &detect.Rules{}
	}
	d.told.Merge(r)
	d.must(n, d.told.Check())
}

// allow reads a domain, or an object of one and the threats that it is allowed for.
func (d *document) allow(n *yaml.Node, r *detect.Rules) {
	if n.Kind == yaml.ScalarNode {
		d.must(n, r.AddAllowed(n.Value, nil))
		return
	}
	domain := n
	var threats []string
	d.mapping(n, map[string]func(*yaml.Node){
		"domain": func(n *yaml.Node) { domain = n },
		"threat": func(n *yaml.Node) {
			d.oneOrMore(n, func(n *yaml.Node) {
				threats = append(threats, d.text(n))
				d.must(n, (&detect.Rules{}).AddAllowed("example", threats))
			})
		},
		"reason": func(n *yaml.Node) { d.text(n) },
	})
	if domain == n {
		d.fail(n, "which domain?")
		return
	}
	d.must(domain, r.AddAllowed(d.text(domain), threats))
}

// must fails at n when there is an error.
func (d *document) must(n *yaml.Node, err error) {
	if err != nil {
		d.fail(n, "%v", err)
	}
}

// oneOrMore calls a function for a value, or for each of a list.
func (d *document) oneOrMore(n *yaml.Node, each func(*yaml.Node)) {
	if n.Kind == yaml.ScalarNode {
		each(n)
		return
	}
	d.list(n, each)
}

// pairs calls a function for each key and its value.
func (d *document) pairs(n *yaml.Node, each func(key, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		d.fail(n, "want keys and values")
		return
	}
	for i := 0; i+1 < len(n.Content) && d.err == nil; i += 2 {
		each(n.Content[i], n.Content[i+1])
	}
}
