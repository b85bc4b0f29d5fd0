package sink

import (
	"bytes"
	"encoding/json"
	"iter"
	"slices"
)

// facts are what keys, columns, labels and attributes are made of: values of a line
// of dnshark's own JSON (format json), as they stand there. What is not there is nil.
type facts struct {
	time, event, host, observer                []byte
	client, clientPort, server, serverPort     []byte
	protocol                                   []byte
	id, opcode, rcode                          []byte
	qname, qtype                               []byte
	answers, authority                         []byte // arrays of records
	state, latency                             []byte
	attribution, pid, uid, user, comm, exe     []byte
	unit, container, containerName, image      []byte
	pod, namespace                             []byte
	serverComm, serverExe, serverContainer     []byte
	incident, severity, domain                 []byte // of an alert
	sourceIP, sourcePort, targetIP, targetPort []byte
}

// read takes the facts of a line.
func (f *facts) read(line []byte) {
	*f = facts{}
	for key, value := range members(line) {
		switch string(key) {
		case "time":
			f.time = value
		case "event":
			f.event = value
		case "host":
			f.host = value
		case "observer":
			f.observer = value
		case "metadata":
			f.readMetadata(value)
		case "dns":
			f.readDNS(value)
		case "transaction":
			f.state, f.latency = get(value, "state"), known(get(value, "latency_us"))
		case "process":
			f.readProcess(value)
		case "server_process":
			f.serverComm, f.serverExe = known(get(value, "comm")), known(get(value, "exe"))
			f.serverContainer = get(get(value, "container"), "id")
		case "alert":
			f.readAlert(value)
		}
	}
}

func (f *facts) readAlert(object []byte) {
	for key, value := range members(object) {
		switch string(key) {
		case "id":
			f.incident = value
		case "severity":
			f.severity = value
		case "domain":
			f.domain = value
		case "src":
			f.client = value
		case "server":
			f.server = value
		}
	}
}

func (f *facts) readMetadata(object []byte) {
	for key, value := range members(object) {
		switch string(key) {
		case "src_ip":
			f.sourceIP, f.server = value, value
		case "src_port":
			f.sourcePort, f.serverPort = value, value
		case "dst_ip":
			f.targetIP, f.client = value, value
		case "dst_port":
			f.targetPort, f.clientPort = value, value
		case "protocol":
			f.protocol = value
		}
	}
}

func (f *facts) readDNS(object []byte) {
	response := false
	for key, value := range members(object) {
		switch string(key) {
		case "id":
			f.id = value
		case "opcode":
			f.opcode = value
		case "rcode":
			f.rcode = value
		case "flags":
			response = bytes.HasPrefix(value, []byte(`["qr"`))
		case "questions":
			for question := range elements(value) {
				f.qname, f.qtype = get(question, "name"), get(question, "type")
				break
			}
		case "answer":
			f.answers = value
		case "authority":
			f.authority = value
		}
	}
	if !response {
		f.client, f.clientPort, f.server, f.serverPort = f.sourceIP, f.sourcePort, f.targetIP, f.targetPort
	}
}

func (f *facts) readProcess(object []byte) {
	for key, value := range members(object) {
		switch string(key) {
		case "attribution":
			f.attribution = value
		case "pid":
			f.pid = known(value)
		case "uid":
			f.uid = known(value)
		case "user":
			f.user = known(value)
		case "comm":
			f.comm = known(value)
		case "exe":
			f.exe = known(value)
		case "unit":
			f.unit = known(value)
		case "container":
			f.container, f.containerName, f.image = get(value, "id"), get(value, "name"), get(value, "image")
			pod := get(value, "pod")
			f.pod, f.namespace = get(pod, "name"), get(pod, "namespace")
		}
	}
}

// known returns a value, or nil for null.
func known(value []byte) []byte {
	if string(value) == "null" {
		return nil
	}
	return value
}

// Parts are the facts that users can name.
var partNames = []string{"host", "event", "qname", "qtype", "rcode", "client", "server", "process"}

// part returns one of partNames as text, "" where it is not known.
func (f *facts) part(name string) string {
	return text([][]byte{f.host, f.event, f.qname, f.qtype, f.rcode, f.client, f.server, f.comm}[slices.Index(partNames, name)])
}

// members yields keys and values of a JSON object as dnshark writes it: without
// spaces. It ends where that is not so.
func members(object []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		for rest := inside(object, '{'); len(rest) > 2 && rest[0] == '"'; {
			n := extent(rest)
			if n < 2 || n+1 >= len(rest) || rest[n] != ':' {
				return
			}
			key := rest[1 : n-1]
			rest = rest[n+1:]
			n = extent(rest)
			if n == 0 || !yield(key, rest[:n]) {
				return
			}
			if rest = rest[n:]; len(rest) > 0 && rest[0] == ',' {
				rest = rest[1:]
			}
		}
	}
}

// elements yields the values of a JSON array.
func elements(array []byte) iter.Seq[[]byte] {
	return func(yield func(value []byte) bool) {
		for rest := inside(array, '['); len(rest) > 0; {
			n := extent(rest)
			if n == 0 || !yield(rest[:n]) {
				return
			}
			if rest = rest[n:]; len(rest) > 0 && rest[0] == ',' {
				rest = rest[1:]
			}
		}
	}
}

// get returns the value of a key of a JSON object, or nil.
func get(object []byte, name string) []byte {
	for key, value := range members(object) {
		if string(key) == name {
			return value
		}
	}
	return nil
}

// inside returns what stands between the brackets, of which open is the first.
func inside(value []byte, open byte) []byte {
	if len(value) < 2 || value[0] != open {
		return nil
	}
	return value[1 : len(value)-1]
}

// extent returns how long the JSON value is with which in begins, 0 if it has no end.
func extent(in []byte) int {
	depth, quoted := 0, false
	for i := 0; i < len(in); i++ {
		switch c := in[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			if quoted = !quoted; !quoted && depth == 0 {
				return i + 1
			}
		case quoted:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			if depth == 0 { // of what the value is in
				return i
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case c == ',' && depth == 0:
			return i
		}
	}
	if depth > 0 || quoted {
		return 0
	}
	return len(in)
}

// text returns the text of a JSON string, or another value as it is written.
func text(value []byte) string {
	if len(value) < 2 || value[0] != '"' {
		return string(value)
	}
	if bytes.IndexByte(value, '\\') < 0 {
		return string(value[1 : len(value)-1])
	}
	var s string
	if json.Unmarshal(value, &s) != nil {
		return ""
	}
	return s
}
