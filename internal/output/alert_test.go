package output

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/kind"
)

// alertLines are what a format makes of the sample's alerts.
func alertLines(t *testing.T, format string) []map[string]any {
	t.Helper()
	b := sample(t)
	for i := range b.Events {
		b.Events[i].Kinds &= uint32(kindAlerts)
	}
	lines := jsonLines(t, whole(encoder(t, format), b))
	if len(lines) != 6 {
		t.Fatalf("%s: %d lines", format, len(lines))
	}
	return lines
}

// at returns the value at a path of keys.
func at(v any, path ...string) any {
	for _, key := range path {
		switch list := v.(type) {
		case []any:
			v = list[0]
		}
		m, _ := v.(map[string]any)
		v = m[key]
	}
	return v
}

// Suricata's EVE: what its schema has for alerts.
func TestEVEAlerts(t *testing.T) {
	top := maps.Clone(eveTop)
	delete(top, "dns")
	top["alert"], top["app_proto"] = "!object", "!string"
	list := "list of string"
	for i, line := range alertLines(t, "eve") {
		fields(t, "event", line, top)
		fields(t, "alert", at(line, "alert").(map[string]any), map[string]string{
			"action": "!string", "gid": "!number", "signature_id": "!number", "rev": "!number", "signature": "!string", "category": "!string",
			"severity": "!number", "metadata": "!object",
		})
		fields(t, "metadata", at(line, "alert", "metadata").(map[string]any), map[string]string{
			"confidence": "!" + list, "signature_severity": "!" + list, "mitre_tactic_id": list, "mitre_tactic_name": list,
			"mitre_technique_id": list, "mitre_technique_name": list,
		})
		if line["event_type"] != "alert" || line["src_ip"] != "192.0.2.10" || line["dest_port"] != 53.0 || at(line, "dnshark", "alert", "id") != "0123456789abcdef" {
			t.Errorf("%v", line)
		}
		if want := []float64{1, 1, 4, 1, 1, 1}[i]; at(line, "alert", "severity") != want {
			t.Errorf("%d: severity %v", i, at(line, "alert", "severity"))
		}
	}
	// An alert and the messages of its conversation have one flow.
	if messages := jsonLines(t, whole(encoder(t, "eve"), sample(t))); alertLines(t, "eve")[0]["flow_id"] != messages[0]["flow_id"] {
		t.Error("flows differ")
	}
}

func TestECSAlerts(t *testing.T) {
	keys := maps.Clone(ecsKeys)
	keys[""] = maps.Clone(keys[""])
	for key, typ := range map[string]string{"dns": "object", "message": "!string", "rule": "!object", "threat": "object"} {
		keys[""][key] = typ
	}
	keys["event"] = map[string]string{
		"kind": "!string", "category": "!list of string", "type": "!list of string", "dataset": "!string", "provider": "!string", "action": "!string",
		"code": "!string", "id": "!string", "sequence": "!number", "severity": "!number", "risk_score": "!number", "start": "!string", "end": "!string",
	}
	keys["rule"] = map[string]string{"id": "!string", "name": "!string", "category": "!string", "description": "!string", "ruleset": "!string"}
	keys["threat"] = map[string]string{"framework": "!string", "tactic": "!object", "technique": "!object"}
	named := map[string]string{"id": "!list of string", "name": "!list of string", "reference": "!list of string"}
	keys["threat.tactic"], keys["threat.technique.subtechnique"] = named, named
	keys["threat.technique"] = maps.Clone(named)
	keys["threat.technique"]["subtechnique"] = "object"
	keys["dns"], keys["dns.question"] = map[string]string{"question": "!object"}, map[string]string{"name": "!string"}
	lines := alertLines(t, "ecs")
	for _, line := range lines {
		tables(t, line, keys)
		if at(line, "event", "kind") != "alert" || at(line, "source", "ip") != "192.0.2.10" || at(line, "server", "port") != 53.0 {
			t.Errorf("%v", line)
		}
	}
	if ref := at(lines[0], "threat", "technique", "subtechnique", "reference"); ref.([]any)[0] != "https://attack.mitre.org/techniques/T1071/004/" {
		t.Error(ref)
	}
	if lines[3]["threat"] != nil {
		t.Errorf("a technique that nobody knows: %v", lines[3]["threat"])
	}
}

// What dnshark lost is an event of its host.
func TestECSLoss(t *testing.T) {
	b := sample(t)
	for i := range b.Events {
		b.Events[i].Kinds &= uint32(kindLoss)
	}
	lines := jsonLines(t, whole(encoder(t, "ecs"), b))
	if len(lines) != 2 {
		t.Fatalf("%d lines", len(lines))
	}
	keys := map[string]map[string]string{
		"":        {"@timestamp": "!string", "ecs": "!object", "event": "!object", "message": "!string", "host": "!object", "dnshark": "!object"},
		"ecs":     {"version": "!string"},
		"host":    {"name": "!string"},
		"dnshark": {"loss": "!object"},
		"event": {"kind": "!string", "category": "!list of string", "type": "!list of string", "dataset": "!string", "provider": "!string",
			"action": "!string", "start": "!string", "end": "string", "duration": "number"},
	}
	for i, line := range lines {
		tables(t, line, keys)
		if want := []string{"loss_start", "loss_end"}[i]; at(line, "event", "action") != want || at(line, "dnshark", "loss", "count") != 8.0 {
			t.Errorf("%v", line)
		}
	}
	if at(lines[0], "event", "end") != nil || at(lines[1], "event", "duration") != 2e9 || lines[1]["message"] != "output a: lost 7 overflow, 1 damaged in 2s" {
		t.Errorf("%v", lines)
	}
}

// OCSF 1.8, Detection Finding: what is required, and of what type the rest is.
func TestOCSFAlerts(t *testing.T) {
	named := map[string]string{"uid": "!string", "name": "!string"}
	keys := map[string]map[string]string{
		"": {
			"activity_id": "!number", "activity_name": "string", "category_uid": "!number", "category_name": "string", "class_uid": "!number",
			"class_name": "string", "type_uid": "!number", "type_name": "string", "severity_id": "!number", "severity": "string", "time": "!number",
			"start_time": "number", "end_time": "number", "is_alert": "bool", "metadata": "!object", "message": "string", "confidence_id": "number",
			"confidence": "string", "confidence_score": "number", "finding_info": "!object", "evidences": "list of object", "unmapped": "object",
		},
		"metadata":         {"version": "!string", "product": "!object", "log_name": "string"},
		"metadata.product": {"name": "!string", "vendor_name": "!string"},
		"finding_info": {
			"uid": "!string", "title": "!string", "desc": "string", "types": "list of string", "first_seen_time": "number", "last_seen_time": "number",
			"analytic": "object", "attacks": "list of object",
		},
		"finding_info.analytic": {"type_id": "!number", "type": "string", "uid": "string", "name": "string"},
		"finding_info.attacks":  {"tactic": "object", "technique": "object", "sub_technique": "object"},
		"evidences":             {"src_endpoint": "!object", "dst_endpoint": "!object", "query": "object", "process": "object", "container": "object", "data": "!object"},
	}
	lines := alertLines(t, "ocsf")
	for i, line := range lines {
		tables(t, line, keys)
		activity := float64(1 + i%2)
		if line["activity_id"] != activity || line["type_uid"] != 200400+activity || line["class_uid"] != 2004.0 || line["category_uid"] != 2.0 || line["is_alert"] != true {
			t.Errorf("%v", line)
		}
		if want := []float64{4, 4, 1, 5, 4, 4}[i]; line["severity_id"] != want {
			t.Errorf("%d: severity %v", i, line["severity_id"])
		}
	}
	attack := at(lines[0], "finding_info", "attacks").([]any)[0].(map[string]any)
	for _, key := range []string{"tactic", "technique", "sub_technique"} {
		fields(t, key, attack[key].(map[string]any), named)
	}
	if lines[3]["confidence_id"] != 1.0 || at(lines[3], "finding_info", "attacks") != nil || at(lines[0], "evidences", "data", "kind") != "two_way" {
		t.Errorf("%v", lines[3])
	}
}

// Zeek's notice.log: the columns that it logs.
func TestNotices(t *testing.T) {
	lines := alertLines(t, "zeek")
	for _, line := range lines {
		fields(t, "notice", line, map[string]string{
			"_path": "!string", "ts": "!number", "uid": "!string", "id.orig_h": "!string", "id.orig_p": "!number", "id.resp_h": "!string",
			"id.resp_p": "!number", "proto": "!string", "note": "!string", "msg": "!string", "sub": "!string", "src": "string", "dst": "string",
			"p": "!number", "n": "!number", "peer_descr": "!string", "actions": "!list of string", "email_dest": "!list of string", "suppress_for": "!number",
		})
		if line["id.orig_h"] != "192.0.2.10" || line["id.resp_p"] != 53.0 {
			t.Errorf("%v", line)
		}
	}
	notes := map[any]bool{}
	for _, k := range kind.Catalogue {
		if slices.Contains(k.Sets, kind.SetAlerts) {
			notes[zeekNote(k.Name)] = true
		}
	}
	if len(notes) != 6 || notes["Dnshark::Alert"] {
		t.Errorf("notes %v", notes)
	}
	if messages := jsonLines(t, whole(encoder(t, "zeek"), sample(t))); lines[0]["uid"] != messages[0]["uid"] {
		t.Error("connections differ")
	}
}

// Whatever an alert says, in each place and every text format: one line of printable ASCII, valid
// where it is JSON, and bounded.
func TestHostileAlerts(t *testing.T) {
	long := strings.Repeat("\xff\"\\\n", 4096)
	for _, text := range []string{"", "\"", "\\", "\n", "\x1b[2J", "\x00", "\xff\xfe", "</script>", "'; DROP TABLE x", "=1+1", "\u2028", "-", "(empty)", "#close", long} {
		a := &event.Alert{
			ID: text, Threat: "dns_tunnel", Kind: text, Rule: text, Technique: text, Domain: text, Severity: event.SeverityCritical,
			Evidence: []event.Evidence{{Name: text, Texts: slices.Repeat([]string{text}, 100)}}, Rejected: slices.Repeat([]string{text}, 100),
		}
		for name, enc := range textFormats(t) {
			for _, src := range []netip.Addr{{}, netip.MustParseAddr("2001:db8::1")} {
				a.Src, a.Server = src, src
				b := &event.Batch{Host: text}
				e := b.Next()
				e.Class, e.Alert, e.Meta.Iface = event.ClassAlert, a, text
				e.Meta.SrcIP, e.Meta.DstIP = netip.MustParseAddr("192.0.2.1"), src
				e.Asker.ID = &event.Identity{TGID: 1, Comm: [16]byte{'"', '\n', 0xff}}
				e.Asker.Container = &event.Container{ID: text, Name: text, Image: text}
				kind.NewMarker(kindAlerts).Process(b)
				enc.Append(nil, b) // with the table's head
				out := enc.Append(nil, b)
				lines := bytes.Count(out, []byte("\n"))
				if f, _ := FindFormat(name); f.Carries(kindAlerts) != 0 && lines != 1 || lines > 1 {
					t.Errorf("%s: %d lines of %.40q: %.200s", name, lines, text, out)
				}
				if slices.Contains(jsonFormats, name) && len(out) > 0 && !json.Valid(out) {
					t.Errorf("%s: no JSON of %.40q: %.400s", name, text, out)
				}
				if len(out) > 128<<10 {
					t.Errorf("%s: %d octets", name, len(out))
				}
				for _, c := range out {
					if c != '\n' && (c < 0x20 || c > 0x7e) {
						t.Fatalf("%s: octet %#x of %.40q", name, c, text)
					}
				}
			}
		}
	}
}
