package policy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is said of alerts may stand in a policy of any form, or alone, in several files.
func TestAlerts(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.yaml": `alerts:
  minimum-severity: low
  severity: {dns_tunnel: high, dns_zone_transfer/guesses: info}
  thresholds: {dns_tunnel.octets-up: 5000}
  secondaries: [192.0.2.53, 2001:db8::/64]
  allow:
    - corp.example
    - {domain: telemetry.example, threat: [dns_tunnel, dns_c2], reason: reports of crashes}
  suppress:
    - {name: scanner, threat: dns_dga, client: [192.0.2.66, 198.51.100.0/24], reason: tries names}
---
alerts: {allow: [more.example]}
`,
		"b.yaml": "apiVersion: tracee.aquasec.com/v1beta1\nkind: Policy\nmetadata: {name: b}\nspec:\n  rules: [{event: net_packet_dns_response}]\n  alerts: {suppress: [{process: nmap}]}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set, err := Load([]string{dir})
	if err != nil {
		t.Fatal(err)
	}
	r := set.Alerts
	if len(set.Policies) != 1 || r == nil || len(r.Allow) != 3 || len(r.Suppress) != 2 || len(r.Secondaries) != 2 || r.Suppress[0].Name != "scanner" {
		t.Errorf("%d policies, %+v", len(set.Policies), r)
	}
	if set, err = Load([]string{filepath.Join(dir, "a.yaml")}); err != nil || len(set.Policies) != 0 || set.Kinds() != 0 {
		t.Errorf("%+v, %v", set, err)
	}
}

func TestWrongAlerts(t *testing.T) {
	for text, want := range map[string]string{
		"alerts:\n  surpress: []":                                            `2:3: unknown key "surpress"`,
		"alerts:\n  suppress:\n    - {}":                                     "3:7: a suppression needs a condition",
		"alerts:\n  suppress:\n    - threat: dns_tunel":                      `3:15: unknown threat "dns_tunel"; did you mean dns_tunnel?`,
		"alerts:\n  suppress:\n    - client:\n        - 192.0.2.0/33":        `4:11: "192.0.2.0/33" is no address`,
		"alerts:\n  suppress:\n    - pid: 7":                                 `3:7: unknown key "pid"; keys are client, container, domain, `,
		"alerts:\n  allow: [a..b]":                                           `2:11: "a..b" is no domain`,
		"alerts:\n  allow:\n    - {domain: a.b, threat: dns_tunnel/two_way}": "3:29: \"dns_tunnel/two_way\": a domain is allowed for a whole threat",
		"alerts:\n  allow:\n    - {reason: none}":                            "3:7: which domain?",
		"alerts:\n  severity:\n    dns_c2: urgent":                           `3:13: "urgent" is no severity; there are info, low,`,
		"alerts:\n  severity:\n    dns_c3: high":                             `3:5: unknown threat "dns_c3"; did you mean dns_c2?`,
		"alerts:\n  thresholds:\n    dns_c2.beacon-intervals: 1":             "3:30: dns_c2.beacon-intervals is a whole number from 8 to 1000000 (default 20), not \"1\"",
		"alerts:\n  thresholds:\n    dns_c2.beacons: 10":                     `3:5: there is no threshold "dns_c2.beacons"; there are dns_c2.beacon-intervals,`,
		"alerts:\n  secondaries: [ns1]":                                      `2:17: "ns1" is no address`,
		"alerts:\n  minimum-severity: [low]":                                 "2:21: want text",
		"alerts: [x]":                                                        "1:9: want keys and values",
		"name: x\nalerts: {}\nwhere: dns.rcode == \"NXDOMAIN\"":              "1:1: policy x has no rules",
	} {
		_, _, err := read("p.yaml", strings.NewReader(text))
		if err == nil || !strings.HasPrefix(err.Error(), "p.yaml:"+want) {
			t.Errorf("%s\n got %v\nwant p.yaml:%s", text, err, want)
		}
	}
}
