package policy

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/filter"
)

// Tracee's filters: "comm=bash,curl", "uid>=1000", "data.dst_port=53",
// "exec=/usr/*", "!container", "global" (docs/policies/scopes.md and rules.md of
// github.com/aquasecurity/tracee). They become expressions.

// scopes are what the scope of a policy may name, and the fields that say so. What
// dnshark does not see has none.
var scopes = map[string]string{
	"uid": "process.uid", "pid": "process.pid", "p": "process.pid", "comm": "process.comm", "c": "process.container.id",
	"exec": "process.exe", "executable": "process.exe", "bin": "process.exe", "pidns": "process.pidns",
	"u": "process.uid", "binary": "process.exe", "tid": "process.tid", "ppid": "process.ppid",
	"hostPid": "process.pid", "hostTid": "process.tid",
	"uts": "host", "hostname": "host", "container": "process.container.id", "tree": "process.ancestors.pid",
	"processName": "process.comm", "processId": "process.ns_pid", "hostProcessId": "process.pid",
	"userId": "process.uid", "containerId": "process.container.id", "containerName": "process.container.name",
	"containerImage": "process.container.image", "podName": "process.container.pod.name",
	"podNamespace": "process.container.pod.namespace", "podUid": "process.container.pod.uid",
	"cgroupId": "process.cgroup_id", "hostName": "host", "threadId": "process.tid", "hostThreadId": "process.tid",
	"parentProcessId": "process.ppid", "hostParentProcessId": "process.ppid", "pidNamespace": "process.pidns",
}

// ancestors are the fields of those who forked a process, beside its own.
var ancestors = map[string]string{
	"process.pid": "process.ancestors.pid", "process.comm": "process.ancestors.comm", "process.exe": "process.ancestors.exe",
}

const (
	noMountNS    = "the mount namespace of a process is not known here"
	noNewness    = "when a container was made is not known here; pid=new is"
	newProcesses = "new"
)

// untold are scopes that nothing here tells, and why.
var untold = map[string]string{"mntns": noMountNS, "mountNamespace": noMountNS}

// elsewhere is the path of an executable with its mount namespace.
var elsewhere = regexp.MustCompile(`^(host|[0-9]+):`)

// began is when processes are new that started later.
var began = time.Now()

// data are the arguments of events by Tracee's names, beside those that are
// fields here under their own names.
var data = map[string]string{
	"src": "metadata.src_ip", "dst": "metadata.dst_ip", "src_ip": "metadata.src_ip", "dst_ip": "metadata.dst_ip",
	"src_port": "metadata.src_port", "dst_port": "metadata.dst_port",
	"dns_response.query_data.query": "qname", "dns_response.query_data.query_type": "qtype",
	"dns_response.query_data.query_class": "qclass",
	"dns_response.dns_answer.answer_type": "answer.type",
	"dns_response.dns_answer.ttl":         "answer.ttl",
	"dns_response.dns_answer.answer":      "answer.data",
	"dns_questions.query":                 "qname",
	"dns_questions.query_type":            "qtype",
	"dns_questions.query_class":           "qclass",
	"proto_dns.ID":                        "dns.id",
	"proto_dns.responseCode":              "dns.rcode",
	"proto_ipv4.TTL":                      "ip.ttl",
	"proto_ipv6.hopLimit":                 "ip.ttl",
	"proto_tcp.seq":                       "tcp.seq",
	"query":                               "qname", "query_type": "qtype", "answer": "answer.data",
}

// comparison is a filter with a value. The longer signs come first.
var comparison = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_.]*)(!=|<=|>=|=|<|>)(.*)$`)

// scope translates an entry of a policy's scope.
func (d *document) scope(n *yaml.Node) string {
	text := d.text(n)
	expr, why := Scope(text, d.follow)
	if why != "" {
		d.fail(n, "%s", why)
	}
	return expr
}

// Follow is the scope that adds descendants to the processes that others name.
const Follow = "follow"

// Scope translates a scope of Tracee's to an expression, or says why it cannot. Where
// descendants are followed, a process is also within it if one of its ancestors is.
func Scope(text string, follow bool) (expr, why string) {
	text = strings.TrimSpace(text)
	switch text {
	case "global", Follow:
		return "", ""
	case "container", "c", "!container", "not-container":
		known, ok := event.FindPath("process.container.id")
		if !ok {
			return "", "containers are not known here"
		}
		if text == "container" || text == "c" {
			return known.Name + ".exists()", ""
		}
		return "!" + known.Name + ".exists()", ""
	}
	m := comparison.FindStringSubmatch(text)
	if m == nil {
		return "", "unknown scope " + strconv.Quote(text) + "; scopes are global, container, and comparisons as comm=curl"
	}
	if why := untold[m[1]]; why != "" {
		return "", why
	}
	name, ok := scopes[m[1]]
	if !ok {
		return "", "unknown scope " + strconv.Quote(m[1])
	}
	switch {
	case name == "process.pid" && m[3] == newProcesses:
		sign, ok := map[string]string{"=": ">=", "!=": "<"}[m[2]]
		if !ok {
			return "", "pid=new, or pid!=new"
		}
		return "process.start_time " + sign + " " + filter.Quote(began.UTC().Format(time.RFC3339Nano)), ""
	case name == "process.container.id" && m[3] == newProcesses:
		return "", noNewness
	case name == "process.exe" && elsewhere.MatchString(m[3]):
		return "", noMountNS + "; write the path alone"
	case m[1] == "container" || m[1] == "c":
		// Ids are often shortened.
		m[3] = strings.ReplaceAll(strings.TrimSuffix(m[3], "*")+",", ",", "*,")
		m[3] = strings.TrimSuffix(strings.ReplaceAll(m[3], "**", "*"), ",")
	case follow && m[2] == "=" && ancestors[name] != "" && m[1] != "tree":
		self, why := translate(name, m[2], m[3])
		above, _ := translate(ancestors[name], m[2], m[3])
		return "(" + self + " || " + above + ")", why
	}
	if m[1] == "tree" {
		tree, why := translate(name, m[2], m[3])
		self, _ := translate("process.pid", m[2], m[3])
		join := " || "
		if m[2] == "!=" {
			join = " && "
		}
		return "(" + self + join + tree + ")", why
	}
	return translate(name, m[2], m[3])
}

// filter translates a filter of a rule.
func (d *document) filter(n *yaml.Node) string {
	expr, why := Data(d.text(n))
	if why != "" {
		d.fail(n, "%s", why)
	}
	return expr
}

// Data translates a filter of Tracee's on an event to an expression, or says why
// it cannot.
func Data(text string) (expr, why string) {
	m := comparison.FindStringSubmatch(strings.TrimSpace(text))
	if m == nil {
		if scope, ok := strings.CutPrefix(strings.TrimSpace(text), "scope."); ok {
			return Scope(scope, false)
		}
		return "", "want a filter as data.dst_port=53, not " + strconv.Quote(text)
	}
	name := m[1]
	if name == "retval" {
		return returned(m[2], m[3])
	}
	for _, prefix := range []string{"data.", "args.", "scope."} {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			if prefix == "scope." {
				return Scope(rest+m[2]+m[3], false)
			}
			if known, ok := data[rest]; ok {
				rest = known
			}
			return translate(rest, m[2], m[3])
		}
	}
	if scopes[name] != "" || untold[name] != "" {
		return Scope(text, false)
	}
	if known, ok := data[name]; ok {
		name = known
	}
	return translate(name, m[2], m[3])
}

// returned translates a comparison with the value that an event returns: of packets
// that is 0.
func returned(sign, values string) (expr, why string) {
	expr = never
	if sign == "!=" {
		expr = ""
	}
	for value := range strings.SplitSeq(values, ",") {
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return "", "retval is a number, and " + strconv.Quote(value) + " is none"
		}
		switch {
		case sign == "=" && n == 0, sign == "<" && 0 < n, sign == ">" && 0 > n, sign == "<=" && 0 <= n, sign == ">=" && 0 >= n:
			expr = ""
		case sign == "!=" && n == 0:
			expr = never
		}
	}
	return expr, ""
}

// translate makes an expression of a field, a sign and values with commas.
// Between values stands "or", which != turns into "and".
func translate(name, sign, values string) (expr, why string) {
	path, ok := event.FindPath(name)
	if !ok {
		return "", "there is no field " + strconv.Quote(name) + "; `dnshark fields` lists them"
	}
	if sign == "=" {
		sign = "=="
	}
	join := " || "
	if sign == "!=" {
		join = " && "
	}
	var parts []string
	for value := range strings.SplitSeq(values, ",") {
		value = strings.TrimSpace(value)
		if value == "" {
			return "", "a value is missing after " + name + sign
		}
		if strings.Trim(value, "*") == "" {
			return "", "a star alone is no value: leave the filter out"
		}
		parts = append(parts, one(path, sign, value))
	}
	expr = strings.Join(parts, join)
	if len(parts) > 1 {
		expr = "(" + expr + ")"
	}
	if _, err := filter.Parse(expr); err != nil {
		return "", err.Error() + " in " + expr
	}
	return expr, ""
}

// one is a comparison with one value, at whose ends a star may stand for anything.
func one(path *event.Path, sign, value string) string {
	quoted := filter.Quote(value)
	if path.Kind != event.KindText && path.Kind != event.KindName {
		if path.Kind == event.KindAddr && strings.Contains(value, "/") {
			if sign == "!=" {
				return path.Name + " not in " + quoted
			}
			return path.Name + " in " + quoted
		}
		return path.Name + " " + sign + " " + quoted
	}
	not := ""
	if sign == "!=" {
		not = "!"
	}
	middle := strings.Trim(value, "*")
	begins, ends := strings.HasSuffix(value, "*"), strings.HasPrefix(value, "*")
	switch {
	case !begins && !ends:
		return path.Name + " " + sign + " " + quoted
	case begins && ends:
		return not + path.Name + ".contains(" + filter.Quote(middle) + ")"
	case begins:
		return not + path.Name + ".begins(" + filter.Quote(middle) + ")"
	}
	return not + path.Name + ".ends(" + filter.Quote(middle) + ")"
}
