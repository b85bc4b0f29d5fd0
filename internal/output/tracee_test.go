package output

import (
	"encoding/json"
	"strings"
	"testing"
)

// traceeEnvelope are the keys of Tracee's events, 0.18 to 0.24, in their order.
var traceeEnvelope = []string{
	"timestamp", "threadStartTime", "processorId", "processId", "cgroupId", "threadId", "parentProcessId", "hostProcessId",
	"hostThreadId", "hostParentProcessId", "userId", "mountNamespace", "pidNamespace", "processName", "executable", "hostName",
	"containerId", "container", "kubernetes", "eventId", "eventName", "matchedPolicies", "argsNum", "returnValue", "syscall",
	"stackAddresses", "contextFlags", "threadEntityId", "processEntityId", "parentEntityId", "args",
}

// The types of a program that reads Tracee's events.
type traceeEvent struct {
	Timestamp       int64  `json:"timestamp"`
	ThreadStartTime int64  `json:"threadStartTime"`
	ProcessID       int    `json:"processId"`
	HostProcessID   int    `json:"hostProcessId"`
	ProcessName     string `json:"processName"`
	EventID         int    `json:"eventId,string"`
	EventName       string `json:"eventName"`
	ArgsNum         int    `json:"argsNum"`
	Args            []struct {
		Name  string          `json:"name"`
		Type  string          `json:"type"`
		Value json.RawMessage `json:"value"`
	}
}

func keysOf(t *testing.T, line string) (keys []string) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(line))
	depth := 0
	isKey := false
	for {
		token, err := d.Token()
		if err != nil {
			return keys
		}
		switch v := token.(type) {
		case json.Delim:
			if v == '{' || v == '[' {
				depth++
			} else {
				depth--
			}
			isKey = depth == 1
			continue
		case string:
			if depth == 1 && isKey {
				keys = append(keys, v)
				isKey = false
				continue
			}
		}
		isKey = depth == 1
	}
}

func TestTracee(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(string(whole(encoder(t, "tracee"), sample(t)))), "\n")
	want := map[string]struct {
		id   int
		args string
	}{
		"net_packet_dns_response": {2008, "metadata trace.PktMeta, dns_response []trace.DnsResponseData"},
		"net_packet_dns_request":  {2007, "metadata trace.PktMeta, dns_questions []trace.DnsQueryData"},
		"net_packet_dns":          {2006, "src string, dst string, src_port uint16, dst_port uint16, metadata trace.PacketMetadata, proto_dns trace.ProtoDNS"},
		"net_packet_ipv4":         {2000, "src string, dst string, metadata trace.PacketMetadata, proto_ipv4 trace.ProtoIPv4"},
		"net_packet_ipv6":         {2001, "src string, dst string, metadata trace.PacketMetadata, proto_ipv6 trace.ProtoIPv6"},
		"net_packet_tcp":          {2002, "src string, dst string, src_port uint16, dst_port uint16, metadata trace.PacketMetadata, proto_tcp trace.ProtoTCP"},
		"net_packet_udp":          {2003, "src string, dst string, src_port uint16, dst_port uint16, metadata trace.PacketMetadata, proto_udp trace.ProtoUDP"},
	}
	seen := map[string]bool{}
	for _, line := range lines {
		if keys := keysOf(t, line); strings.Join(keys, " ") != strings.Join(traceeEnvelope, " ") {
			t.Fatalf("keys %v", keys)
		}
		var e traceeEvent
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		seen[e.EventName] = true
		var args []string
		names := map[string]bool{}
		for _, a := range e.Args {
			args = append(args, a.Name+" "+a.Type)
			if names[a.Name] {
				t.Errorf("%s: arg %s twice", e.EventName, a.Name)
			}
			names[a.Name] = true
		}
		w, ok := want[e.EventName]
		if !ok || e.EventID != w.id || e.ArgsNum != len(e.Args) || !strings.HasPrefix(strings.Join(args, ", "), w.args+", ") {
			t.Errorf("%s %d, %d args: %v", e.EventName, e.EventID, e.ArgsNum, args)
		}
	}
	if len(seen) != len(want) {
		t.Errorf("events %v", seen)
	}
	// As a line that Tracee 0.20 published, with the values of the sample.
	const start = `{"timestamp":1795000000124456789,"threadStartTime":1700000000123456789,"processorId":0,"processId":37,"cgroupId":2626,` +
		`"threadId":37,"parentProcessId":0,"hostProcessId":31337,"hostThreadId":31337,"hostParentProcessId":900,"userId":1000,` +
		`"mountNamespace":0,"pidNamespace":4026531836,"processName":"dig","executable":{"path":"/usr/bin/dig"},"hostName":"host.example",` +
		`"containerId":"c0ffee","container":{"id":"c0ffee","name":"web","image":"nginx:1"},"kubernetes":{"podName":"web-0","podNamespace":"prod","podUID":"u1"},"eventId":"2008","eventName":"net_packet_dns_response","matchedPolicies":[""],` +
		`"argsNum":6,"returnValue":0,"syscall":"","stackAddresses":[0],"contextFlags":{"containerStarted":true,"isCompat":false},`
	const args = `"args":[{"name":"metadata","type":"trace.PktMeta","value":{"src_ip":"192.0.2.53","dst_ip":"192.0.2.10","src_port":53,` +
		`"dst_port":40000,"protocol":17,"packet_len":148,"iface":"eth0"}},{"name":"dns_response","type":"[]trace.DnsResponseData",` +
		`"value":[{"query_data":{"query":"www.Example.com","query_type":"A","query_class":"IN"},"dns_answer":[` +
		`{"answer_type":"CNAME","ttl":300,"answer":"web.example.com"},{"answer_type":"A","ttl":60,"answer":"192.0.2.80"},` +
		`{"answer_type":"A","ttl":60,"answer":"192.0.2.81"}]}]},`
	if !strings.HasPrefix(lines[0], start) || !strings.Contains(lines[0], args) {
		t.Errorf("the first line is\n%s\nand not\n%s...%s", lines[0], start, args)
	}
}

// What Tracee's API v1beta1 declares, and of which type a value is.
func TestTraceeV1beta1(t *testing.T) {
	lines := jsonLines(t, whole(encoder(t, "tracee-v1beta1"), sample(t)))
	values := map[string]string{
		"metadata": "packet_metadata", "dns_response": "dns_responses", "dns_questions": "dns_questions", "src": "str", "dst": "str",
		"src_port": "u_int32", "dst_port": "u_int32", "proto_dns": "dns", "proto_ipv4": "ipv4", "proto_ipv6": "ipv6", "proto_tcp": "tcp",
		"proto_udp": "udp", "observer": "str", "dns": "struct", "transaction": "struct", "process": "struct", "server_process": "struct",
		"ip": "struct", "tcp": "struct", "udp": "struct",
	}
	seen := map[string]int{}
	for _, line := range lines {
		tables(t, line, map[string]map[string]string{
			"":         {"timestamp": "!string", "id": "!number", "name": "!string", "policies": "!object", "workload": "object", "data": "!list of object"},
			"workload": {"process": "!object", "container": "object", "k8s": "object"},
			"workload.process": {
				"executable": "object", "unique_id": "number", "host_pid": "!number", "pid": "number", "real_user": "!object",
				"thread": "!object", "ancestors": "!list of object",
			},
			"workload.process.thread": {"start_time": "string", "name": "!string", "unique_id": "number", "host_tid": "!number", "tid": "number"},
		})
		for _, d := range line["data"].([]any) {
			d := d.(map[string]any)
			name := d["name"].(string)
			seen[name]++
			value := values[name]
			if name == "metadata" && d["str"] != nil {
				value = "str"
			}
			if len(d) != 2 || d[value] == nil {
				t.Errorf("%s: %v", line["name"], d)
			}
		}
	}
	for name := range values {
		if seen[name] == 0 {
			t.Errorf("no %s in the sample", name)
		}
	}
	first := whole(encoder(t, "tracee-v1beta1"), sample(t))
	const start = `{"timestamp":"2026-11-18T11:06:40.124456789Z","id":2008,"name":"net_packet_dns_response","policies":{"matched":[""]},` +
		`"workload":{"process":{"executable":{"path":"/usr/bin/dig"},"unique_id":381385030,"host_pid":31337,"pid":37,"real_user":{"id":1000},` +
		`"thread":{"start_time":"2023-11-14T22:13:20.123456789Z","name":"dig","unique_id":381385030,"host_tid":31337,"tid":37},` +
		`"ancestors":[{"unique_id":2706616808,"host_pid":900}]},"container":{"id":"c0ffee","name":"web","image":{"name":"nginx:1"},"started":true},` +
		`"k8s":{"pod":{"name":"web-0","uid":"u1"},"namespace":{"name":"prod"}}},"data":[{"name":"metadata","packet_metadata":{"src_ip":"192.0.2.53",` +
		`"dst_ip":"192.0.2.10","src_port":53,"dst_port":40000,"protocol":17,"packet_len":148,"iface":"eth0"}},{"name":"dns_response",` +
		`"dns_responses":{"responses":[{"dns_query_data":{"query":"www.Example.com","query_type":"A","query_class":"IN"},"dns_answer":[` +
		`{"type":"CNAME","ttl":300,"answer":"web.example.com"},{"type":"A","ttl":60,"answer":"192.0.2.80"},`
	if !strings.HasPrefix(string(first), start) {
		t.Errorf("the first line is\n%s\nand not\n%s", first[:len(start)], start)
	}
}
