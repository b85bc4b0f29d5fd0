package output

import (
	"strings"
	"testing"
)

// ECS 9.5 and, behind the blank line, what Packetbeat adds.
var ecsKeys = map[string]map[string]string{
	"": {
		"@timestamp": "!string", "ecs": "!object", "event": "!object", "host": "!object", "source": "!object", "destination": "!object",
		"client": "!object", "server": "!object", "network": "!object", "observer": "object", "dns": "!object", "process": "object",
		"user": "object", "container": "object", "orchestrator": "object", "dnshark": "!object",
	},
	"container":    {"id": "!string", "name": "string", "runtime": "string", "image": "object"},
	"orchestrator": {"type": "!string", "namespace": "string", "resource": "!object"},
	"event": {
		"kind": "!string", "category": "!list of string", "type": "!list of string", "dataset": "!string", "action": "!string",
		"outcome": "!string", "duration": "number",
	},
	"network": {"protocol": "!string", "transport": "!string", "iana_number": "!string", "type": "!string"},
	"source":  {"ip": "!string", "port": "!number"},
	"process": {
		"pid": "!number", "name": "!string", "thread": "!object", "parent": "!object", "executable": "string",
		"working_directory": "string", "hash": "object", "start": "string",
	},
	"user": {"id": "!string", "name": "string"},
	"dns": {
		"type": "!string", "id": "!string", "op_code": "!string", "header_flags": "!list of string", "response_code": "string",
		"question": "object", "answers": "list of object", "resolved_ip": "list of string",

		"flags": "!object", "answers_count": "!number", "authorities_count": "!number", "additionals_count": "!number",
		"authorities": "list of object", "additionals": "list of object", "opt": "object",
	},
	"dns.question": {
		"name": "!string", "type": "!string", "class": "!string", "registered_domain": "string", "top_level_domain": "string",
		"subdomain": "string", "etld_plus_one": "string",
	},
	"dns.answers": {"name": "!string", "type": "!string", "class": "!string", "ttl": "!number", "data": "!string"},
	"dns.opt":     {"version": "!string", "do": "!bool", "udp_size": "!number", "ext_rcode": "!string"},
	"dns.flags": {
		"authoritative": "!bool", "truncated_response": "!bool", "recursion_desired": "!bool", "recursion_available": "!bool",
		"authentic_data": "!bool", "checking_disabled": "!bool",
	},
}

// tables checks an object and those inside it.
func tables(t *testing.T, line map[string]any, all map[string]map[string]string) {
	t.Helper()
	for path, table := range all {
		nodes := []any{line}
		for _, key := range strings.Split(path, ".") {
			if path == "" {
				break
			}
			var inner []any
			for _, n := range nodes {
				if v, ok := n.(map[string]any)[key]; ok {
					inner = append(inner, v)
				}
			}
			nodes = inner
		}
		for _, n := range nodes {
			list, ok := n.([]any)
			if !ok {
				list = []any{n}
			}
			for _, v := range list {
				fields(t, path, v.(map[string]any), table)
			}
		}
	}
}

func TestECS(t *testing.T) {
	lines := jsonLines(t, whole(encoder(t, "ecs"), sample(t)))
	lines = lines[:len(lines)-8] // without alerts and losses
	if len(lines) != 21 {
		t.Fatalf("%d lines", len(lines))
	}
	for _, line := range lines {
		tables(t, line, ecsKeys)
	}
	d := lines[0]["dns"].(map[string]any)
	q := d["question"].(map[string]any)
	if d["id"] != "4711" || d["type"] != "answer" || q["name"] != "www.example.com" || q["registered_domain"] != "example.com" || q["subdomain"] != "www" ||
		q["top_level_domain"] != "com" || len(d["resolved_ip"].([]any)) != 2 || lines[0]["event"].(map[string]any)["duration"] != 1234567.0 {
		t.Errorf("%v", lines[0])
	}
}

// OCSF 1.8: what DNS Activity requires, and the types of what else is told.
var ocsfKeys = map[string]map[string]string{
	"": {
		"activity_id": "!number", "activity_name": "string", "category_uid": "!number", "category_name": "string", "class_uid": "!number",
		"class_name": "string", "type_uid": "!number", "type_name": "string", "severity_id": "!number", "severity": "string",
		"time": "!number", "metadata": "!object", "status_id": "number", "status": "string", "status_detail": "string", "query": "object",
		"answers": "list of object", "rcode_id": "number", "rcode": "string", "query_time": "number", "response_time": "number",
		"src_endpoint": "!object", "dst_endpoint": "!object", "connection_info": "!object", "unmapped": "!object",
	},
	"metadata":         {"version": "!string", "product": "!object", "log_name": "string"},
	"metadata.product": {"name": "!string", "vendor_name": "!string"},
	"query":            {"hostname": "!string", "type": "string", "class": "string", "opcode_id": "number", "opcode": "string", "packet_uid": "number"},
	"answers": {
		"rdata": "!string", "type": "string", "class": "string", "ttl": "number", "flag_ids": "list of number", "flags": "list of string",
		"packet_uid": "number",
	},
	"src_endpoint": {"ip": "!string", "port": "!number", "interface_name": "string"},
	"connection_info": {
		"protocol_num": "!number", "protocol_name": "!string", "protocol_ver": "string", "protocol_ver_id": "number",
		"direction": "string", "direction_id": "!number",
	},
}

func TestOCSF(t *testing.T) {
	lines := jsonLines(t, whole(encoder(t, "ocsf"), sample(t)))
	lines = lines[:len(lines)-6] // without alerts
	if len(lines) != 11 {
		t.Fatalf("%d lines", len(lines))
	}
	for i, line := range lines {
		tables(t, line, ocsfKeys)
		activity := 2.0
		if i >= 9 {
			activity = 1
		}
		if line["activity_id"] != activity || line["type_uid"] != 400300+activity || line["class_uid"] != 4003.0 || line["category_uid"] != 4.0 || line["severity_id"] != 1.0 {
			t.Errorf("%v", line)
		}
	}
	first := lines[0]
	if first["time"] != 1795000000124.0 || first["query_time"] != 1795000000123.0 || lines[2]["rcode_id"] != 3.0 || lines[10]["status_detail"] != "unanswered" {
		t.Errorf("%v", first)
	}
	if answer := first["answers"].([]any)[1].(map[string]any); answer["rdata"] != "192.0.2.80" {
		t.Errorf("%v", answer)
	}
}

// The draft's keys, the mandatory ones and those that may be, but for rrtype,
// which is a string or a number.
var cofKeys = map[string]string{
	"rrname": "!string", "rdata": "!list of string", "time_first": "!number", "time_last": "!number",
	"count": "!number", "sensor_id": "string", "time_first_ms": "number", "time_last_ms": "number",
}

func TestCOF(t *testing.T) {
	lines := jsonLines(t, whole(encoder(t, "cof"), sample(t)))
	seen := map[string]any{}
	for _, line := range lines {
		rrtype := line["rrtype"]
		delete(line, "rrtype")
		fields(t, "line", line, cofKeys)
		switch rrtype.(type) {
		case string, float64:
		default:
			t.Errorf("rrtype is %v", rrtype)
		}
		if line["rdata"].([]any)[0] != nil {
			seen[line["rrname"].(string)] = rrtype
		}
		if line["time_first"].(float64) > line["time_last"].(float64) {
			t.Errorf("%v", line)
		}
	}
	if seen["www.example.com"] != "CNAME" || seen["web.example.com"] != "A" {
		t.Errorf("%v", seen)
	}
	for _, name := range []string{"a.example.com", "six.example.com"} {
		if seen[name] != nil {
			t.Errorf("%s is no evidence", name)
		}
	}
	if lines[1]["rdata"].([]any)[1] != "192.0.2.81" {
		t.Errorf("%v is no RRset", lines[1])
	}
}
