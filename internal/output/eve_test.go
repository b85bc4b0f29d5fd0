package output

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// fields checks an object against a table of keys: their type (a string, a
// number, ...) and whether they must be there ("!").
func fields(t *testing.T, where string, v map[string]any, table map[string]string) {
	t.Helper()
	for key, want := range table {
		value, ok := v[key]
		if must := want[0] == '!'; !ok {
			if must {
				t.Errorf("%s: no %s among %v", where, key, slices.Sorted(maps.Keys(v)))
			}
			continue
		}
		if want[0] == '!' {
			want = want[1:]
		}
		if got := typeOf(value); got != want && (got != "list" || !strings.HasPrefix(want, "list")) {
			t.Errorf("%s: %s is %s, want %s", where, key, got, want)
		}
	}
	for key := range v {
		if _, ok := table[key]; !ok {
			t.Errorf("%s: %s is no key of the format", where, key)
		}
	}
}

func typeOf(v any) string {
	switch v := v.(type) {
	case string:
		return "string"
	case float64:
		return "number"
	case bool:
		return "bool"
	case map[string]any:
		return "object"
	case []any:
		if len(v) == 0 {
			return "list"
		}
		return "list of " + typeOf(v[0])
	}
	return "null"
}

var (
	eveTop = map[string]string{
		"timestamp": "!string", "flow_id": "!number", "in_iface": "string", "event_type": "!string", "src_ip": "!string",
		"src_port": "!number", "dest_ip": "!string", "dest_port": "!number", "proto": "!string", "dns": "!object",
		"host": "!string", "dnshark": "!object",
	}
	eveDNS = map[string]string{
		"version": "!number", "type": "!string", "tx_id": "!number", "id": "!number", "flags": "!string", "qr": "bool", "aa": "bool",
		"tc": "bool", "rd": "bool", "ra": "bool", "z": "bool", "opcode": "!number", "rcode": "string", "queries": "list of object",
		"answers": "list of object", "grouped": "object", "authorities": "list of object", "additionals": "list of object",
	}
	eveAnswer = map[string]string{
		"rrname": "!string", "rrtype": "!string", "ttl": "!number", "rdata": "string", "soa": "object", "srv": "object",
		"sshfp": "object", "opt": "list of object",
	}
	eveParts = map[string]map[string]string{
		"soa":   {"mname": "!string", "rname": "!string", "serial": "!number", "refresh": "!number", "retry": "!number", "expire": "!number", "minimum": "!number"},
		"srv":   {"priority": "!number", "weight": "!number", "port": "!number", "name": "!string"},
		"sshfp": {"fingerprint": "!string", "algo": "!number", "type": "!number"},
	}
)

func TestEVE(t *testing.T) {
	lines := jsonLines(t, whole(encoder(t, "eve"), sample(t)))
	lines = lines[:len(lines)-6] // without alerts
	if len(lines) != 10 {
		t.Fatalf("%d lines", len(lines))
	}
	seen := map[string]bool{}
	for _, line := range lines {
		fields(t, "event", line, eveTop)
		d := line["dns"].(map[string]any)
		fields(t, "dns", d, eveDNS)
		response := d["type"] == "response"
		if _, ok := d["rcode"]; ok != response || d["qr"] == true != response || d["version"] != 3.0 {
			t.Errorf("%v", d)
		}
		for _, list := range []string{"answers", "authorities", "additionals"} {
			records, _ := d[list].([]any)
			for _, r := range records {
				r := r.(map[string]any)
				fields(t, list, r, eveAnswer)
				for key, table := range eveParts {
					if part, ok := r[key].(map[string]any); ok {
						seen[key] = true
						fields(t, key, part, table)
					}
				}
			}
		}
	}
	for key := range eveParts {
		if !seen[key] {
			t.Errorf("no %s in the sample", key)
		}
	}
	first := lines[0]
	if first["src_ip"] != "192.0.2.53" || first["timestamp"] != "2026-11-18T11:06:40.124456+0000" || first["dns"].(map[string]any)["flags"] != "8180" {
		t.Errorf("%v", first)
	}
	// A query and its answer are of one flow.
	if first["flow_id"] != lines[9]["flow_id"] || lines[9]["dns"].(map[string]any)["type"] != "request" {
		t.Errorf("flows %v and %v", first["flow_id"], lines[9]["flow_id"])
	}
}
