package event

// Field is a top-level key of an event. One table of fields feeds the JSON
// output and the generated documentation.
type Field struct {
	Name string
	Type string // the contract's type where it gives one
	Doc  string
	Sub  []SubField
	// Append appends the value as JSON, or nothing when the event has none:
	// the key is then left out.
	Append func(dst []byte, e *Event) []byte
	// OfMessage says that the value depends on the message alone.
	OfMessage bool
}

// SubField documents a key inside a field. A trailing [] in Name marks a list,
// and keys of its elements follow with the list's name before a dot.
type SubField struct {
	Name, Type, Doc string
}

// The fields that every event begins with. The key "event" comes between Time
// and Host; it is the kind's to write.
var (
	FieldTime = Field{
		Name: "time", Type: "string",
		Doc:    "when the packet was seen: RFC 3339, UTC, nanoseconds",
		Append: func(dst []byte, e *Event) []byte { return append(e.appendTime(append(dst, '"')), '"') },
	}
	FieldHost = Field{
		Name: "host", Type: "string",
		Doc:    "name of the observing host",
		Append: appendHost,
	}
	FieldObserver = Field{
		Name: "observer", Type: "string",
		Doc: "where the packet was seen: client (at the socket that asks), server (at the socket that answers) or passive (on the wire, or in a file)",
		Append: func(dst []byte, e *Event) []byte {
			return append(append(append(dst, '"'), e.Observer.String()...), '"')
		},
	}
	FieldMetadata = Field{
		Name: "metadata", Type: "trace.PktMeta", Doc: "network packet metadata",
		Sub: []SubField{
			{"src_ip", "string", "source IP address"},
			{"dst_ip", "string", "destination IP address"},
			{"src_port", "uint16", "source port number"},
			{"dst_port", "uint16", "destination port number"},
			{"protocol", "uint8", "IP protocol number: 17 is UDP, 6 is TCP"},
			{"packet_len", "uint32", "packet length: the IP total length in octets, header included, for IPv4 and IPv6"},
			{"iface", "string", "network interface; empty when a capture file does not tell"},
		},
		Append: appendMetadata,
	}
	FieldResponse = Field{
		Name: "dns_response", Type: "[]trace.DnsResponseData",
		Doc: "DNS response data, one element per question",
		Sub: []SubField{
			{"query_data", "trace.DnsQueryData", "original query information"},
			{"query_data.query", "string", "queried domain name, in presentation format without the final dot; . is the root"},
			{"query_data.query_type", "string", "query type (A, AAAA, MX, ...)"},
			{"query_data.query_class", "string", "query class (usually IN)"},
			{"dns_answer[]", "[]trace.DnsAnswer", "answers, in the order of the answer section"},
			{"dns_answer.answer_type", "string", "type of answer (A, CNAME, ...)"},
			{"dns_answer.ttl", "uint32", "time to live in seconds, as on the wire"},
			{"dns_answer.answer", "string", "answer data in presentation format"},
		},
		Append: appendResponse, OfMessage: true,
	}
	FieldQuestions = Field{
		Name: "dns_questions", Type: "[]trace.DnsQueryData",
		Doc: "the questions, in the order of the question section",
		Sub: []SubField{
			{"query", "string", "queried domain name, in presentation format without the final dot; . is the root"},
			{"query_type", "string", "query type (A, AAAA, MX, ...)"},
			{"query_class", "string", "query class (usually IN)"},
		},
		Append: appendQuestions, OfMessage: true,
	}
	FieldDNS = Field{
		Name: "dns", Type: "object", Doc: "the whole DNS message",
		Sub: []SubField{
			{"id", "uint16", "message id"},
			{"opcode", "string", "IANA name of the opcode"},
			{"rcode", "string", "IANA name of the response code, 12 bits with EDNS"},
			{"flags[]", "[]string", "the flags that are set, of qr aa tc rd ra z ad cd"},
			{"questions[]", "[]object", "question section"},
			{"questions.name", "string", "domain name"},
			{"questions.type", "string", "type"},
			{"questions.class", "string", "class"},
			{"answer[]", "[]object", "answer section: the resource records"},
			{"authority[]", "[]object", "authority section: authoritative name servers, with the keys of answer"},
			{"additional[]", "[]object", "additional section: extra information, with the keys of answer; the first OPT record is in edns instead"},
			{"answer.name", "string", "owner name"},
			{"answer.type", "string", "type"},
			{"answer.class", "string", "class"},
			{"answer.ttl", "uint32", "time to live in seconds: how long a cache may keep the record"},
			{"answer.data", "string", "RDATA in presentation format"},
			{"answer.fault", "string", "what is wrong with the RDATA, which is then shown in hex; left out when nothing is"},
			{"answer.size", "uint16", "octets of RDATA; only where the text is cut"},
			{"answer.sha256", "string", "SHA-256 of the RDATA; only where the text is cut"},
			{"edns", "object", "the OPT record; left out when there is none"},
			{"edns.version", "uint8", "EDNS version"},
			{"edns.udp_size", "uint16", "the sender's UDP payload size"},
			{"edns.do", "bool", "DNSSEC answer OK"},
			{"edns.ext_rcode", "uint8", "upper eight bits of the response code"},
			{"edns.options[]", "[]object", "EDNS options"},
			{"edns.options.code", "uint16", "option code"},
			{"edns.options.name", "string", "IANA name of the option, or OPTnnn"},
			{"edns.options.data", "string", "option data as text"},
			{"counts", "object", "records that were found whole, also beyond the first 256, which are shown"},
			{"counts.qd", "uint16", "questions"},
			{"counts.an", "uint16", "records in the answer section"},
			{"counts.ns", "uint16", "records in the authority section"},
			{"counts.ar", "uint16", "records in the additional section, OPT included"},
			{"size", "uint16", "length of the message in octets"},
			{"sha256", "string", "SHA-256 of the message; only where records, options or text were left out of a whole message"},
			{"sections[]", "[]string", "what an UPDATE calls the four sections (RFC 2136); only in an UPDATE"},
			{"incomplete", "bool", "true when the message could not be read to its end"},
			{"anomalies[]", "[]string", "names of everything odd or broken in the message; message_cut: it was longer than what was captured, or kept of it; event_capped: the event would be longer than 64 KiB and lacks records or options, see counts"},
		},
		Append: appendDNS, OfMessage: true,
	}
	FieldTransaction = Field{
		Name: "transaction", Type: "object", Doc: "the query and its answer",
		Sub: []SubField{
			{"state", "string", "pending, answered, duplicate, late, mismatched_question, unsolicited or unanswered"},
			{"latency_us", "uint64", "microseconds from the first query to this answer; null when unknown"},
			{"retransmits", "uint32", "how often the query had been sent again"},
			{"asked", "string", "when an unanswered query was seen first: RFC 3339, UTC; left out in any other state"},
			{"caused_by", "object", "the query for which a resolver on this host asks: a hint, left out when there is none"},
			{"caused_by.rule", "string", "what the hint rests on; same_question_pending: the same name, type and class came in at a socket of the process that asks (or of its parent), before it asked, and had no answer then; the oldest one if there were several"},
			{"caused_by.time", "string", "when that query came in: RFC 3339, UTC; its event (--observer server) has the same time"},
			{"caused_by.src_ip", "string", "who sent it: address"},
			{"caused_by.src_port", "uint16", "port"},
			{"caused_by.id", "uint16", "its message id"},
			{"caused_by.pid", "uint32", "process that sent it; left out when that is not known to be on this host"},
			{"caused_by.comm", "string", "name of that process"},
		},
		Append: appendTransaction,
	}
	FieldProcess = Field{
		Name: "process", Type: "object",
		Doc: "the process that asked; left out when the observer is passive",
		Sub: []SubField{
			{"attribution", "string", "method that found the process: query_egress or answer_egress (the task that ran when the query or the answer left its socket), socket_sender (the task that last sent on the socket, or whose octets TCP sent later), socket_seed (the only process that had the socket open when dnshark started), cgroup (the process is unknown, its cgroup_id is that of the socket) or none"},
			{"pid", "uint32", "process id"},
			{"tid", "uint32", "thread id"},
			{"ppid", "uint32", "parent's process id; that of another process once the parent ended"},
			{"ns_pid", "uint32", "process id inside its own pid namespace"},
			{"uid", "uint32", "user id"},
			{"gid", "uint32", "group id"},
			{"user", "string", "name of the user id in this host's /etc/passwd; left out when there is none"},
			{"comm", "string", "name of the thread group leader"},
			{"exe", "string", "path of the executable; empty when the process was gone before it could be read"},
			{"exe_sha256", "string", "SHA-256 of the executable (--exe-hash); left out until it is known, and of files that are longer than 512 MiB or cannot be read"},
			{"cwd", "string", "working directory when the program was executed or, if it is older than dnshark, first seen; left out when unknown"},
			{"args[]", "[]string", "first 256 octets of the command line, argument by argument, secrets replaced by [redacted] (--args)"},
			{"start_time", "string", "when the process started: RFC 3339, UTC"},
			{"ancestors[]", "[]object", "who forked the process, who forked that one and so on, at most five, each as it was at that time; of a process that is older than dnshark: its parent when it was first seen, and so on"},
			{"ancestors.pid", "uint32", "process id"},
			{"ancestors.comm", "string", "name"},
			{"ancestors.exe", "string", "path of the executable; empty when unknown"},
			{"ancestors.start_time", "string", "when it started"},
			{"truncated", "bool", "true when exe, cwd, args or ancestors are longer than shown; left out otherwise"},
			{"cgroup_id", "uint64", "cgroup v2 id"},
			{"unit", "string", "innermost systemd unit: service, scope or slice; left out in containers"},
			{"container", "object", "the innermost container; left out where there is none. Keys that are unknown are left out too"},
			{"container.id", "string", "the runtime's id of the container"},
			{"container.runtime", "string", "docker, containerd, cri-o, podman, lxc, systemd-nspawn or garden"},
			{"container.name", "string", "its name; of a container of a pod, the name there"},
			{"container.image", "string", "the image, as the runtime names it"},
			{"container.labels", "object", "the runtime's labels: strings, as many as fit 1 KiB"},
			{"container.labels_omitted", "uint32", "how many labels did not fit; left out when all did"},
			{"container.pod", "object", "the Kubernetes pod; left out where there is none"},
			{"container.pod.uid", "string", "UID of the pod"},
			{"container.pod.name", "string", "name of the pod"},
			{"container.pod.namespace", "string", "namespace of the pod"},
			{"container.pod.labels", "object", "labels of the pod: strings, as many as fit 512 octets"},
			{"container.pod.labels_omitted", "uint32", "how many labels did not fit; left out when all did"},
			{"netns", "uint32", "inode of the network namespace"},
			{"pidns", "uint32", "inode of the pid namespace"},
			{"disagreement", "object", "another process, found by another method, that is not believed but is evidence of doubt; left out when there is none"},
			{"disagreement.method", "string", "the other method, one of those of attribution"},
			{"disagreement.pid", "uint32", "process id"},
			{"disagreement.comm", "string", "name"},
		},
		Append: appendProcess,
	}
	FieldReceiver = Field{
		Name: "receiver", Type: "object",
		Doc: "the process that took the answer from the client's socket, which need not be the one that asked; left out when that was not known " +
			"within a few milliseconds, or not for certain",
		Sub: []SubField{
			{"pid", "uint32", "process id"},
			{"tid", "uint32", "thread id"},
			{"ns_pid", "uint32", "process id inside its own pid namespace"},
			{"uid", "uint32", "user id"},
			{"comm", "string", "name of the thread group leader"},
			{"cgroup_id", "uint64", "cgroup v2 id"},
		},
		Append: appendReceiver,
	}
	FieldServerProcess = Field{
		Name: "server_process", Type: "object",
		Doc:    "the process that answers, with the keys of process; left out unless it is known to run on this host",
		Append: appendServerProcess,
	}
	FieldPolicies = Field{
		Name: "policies", Type: "[]string",
		Doc:    "names of the policies that want the event, as many as fit 1 KiB; left out without policies",
		Append: appendPolicies,
	}
	FieldIP = Field{
		Name: "ip", Type: "object", Doc: "the IP header",
		Sub: []SubField{
			{"version", "uint8", "4 or 6"},
			{"tos", "uint8", "type of service or traffic class"},
			{"ttl", "uint8", "time to live or hop limit"},
			{"id", "uint16", "identification (IPv4)"},
			{"frag_offset", "uint16", "fragment offset in octets (IPv4)"},
			{"flags[]", "[]string", "DF, MF"},
			{"flow_label", "uint32", "flow label (IPv6)"},
			{"checksum", "uint16", "checksum of the header as on the wire (IPv4)"},
		},
		Append: appendIP,
	}
	FieldTCP = Field{
		Name: "tcp", Type: "object", Doc: "the TCP header",
		Sub: []SubField{
			{"seq", "uint32", "sequence number"},
			{"ack", "uint32", "acknowledgment number"},
			{"data_offset", "uint8", "length of the header in words of 32 bits"},
			{"flags[]", "[]string", "the control bits that are set"},
			{"window", "uint16", "window, not scaled"},
			{"checksum", "uint16", "checksum as on the wire"},
			{"urgent", "uint16", "urgent pointer"},
		},
		Append: appendTCP,
	}
	FieldUDP = Field{
		Name: "udp", Type: "object", Doc: "the UDP header",
		Sub: []SubField{
			{"length", "uint16", "length field in octets, header included"},
			{"checksum", "uint16", "checksum as on the wire"},
		},
		Append: appendUDP,
	}
)
