package event

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/dnshark-io/dnshark/dnswire"
)

// Kind is the type of what a Path leads to.
type Kind uint8

// The kinds.
const (
	KindText   Kind = iota // printable ASCII, as in the JSON
	KindName               // a domain name: text in lower case
	KindNumber             // an unsigned integer
	KindBool
	KindAddr
	KindTime // ns since the Unix epoch
)

// String returns what users call the kind.
func (k Kind) String() string {
	return [...]string{"text", "name", "number", "bool", "address", "time"}[k]
}

// Path leads to values of an event, for filters and queries. It has as many as
// Count says, and the function of its kind returns the i-th of them. Nothing is
// allocated.
type Path struct {
	Name  string // as in the JSON, or a short name for what stands deep in there
	Kind  Kind
	List  bool // may have more than one value
	Doc   string
	Count func(e *Event) int // 0 when the event has none; nil means always one
	// Text appends a value of KindText or KindName to dst.
	Text   func(dst []byte, e *Event, i int) []byte
	Number func(e *Event, i int) uint64 // of KindNumber and KindTime
	Bool   func(e *Event, i int) bool
	Addr   func(e *Event, i int) netip.Addr // IPv4 is not mapped
	// Wire returns a value of KindName where it stands in the message.
	Wire func(e *Event, i int) dnswire.Name
	// Code returns the number of a value's name, where names stand for numbers:
	// Text and Number are then both set, and the kind is KindText.
	Code func(name string) (uint64, bool)
	// Ordered says that these names compare as their numbers do.
	Ordered bool
}

// Values returns how many values the event has.
func (p *Path) Values(e *Event) int {
	if p.Count == nil {
		return 1
	}
	return p.Count(e)
}

// FindPath returns the path of that name.
func FindPath(name string) (*Path, bool) {
	i := slices.IndexFunc(Paths, func(p *Path) bool { return p.Name == name })
	if i < 0 {
		return nil, false
	}
	return Paths[i], true
}

// Paths lists every path. What is new in the JSON comes here too.
var Paths = slices.Concat(
	[]*Path{
		{Name: "time", Kind: KindTime, Doc: FieldTime.Doc, Number: func(e *Event, _ int) uint64 { return uint64(e.Time) }},
		{Name: "host", Kind: KindText, Doc: FieldHost.Doc, Text: func(dst []byte, e *Event, _ int) []byte { return AppendSafe(dst, e.Host) }},
		{Name: "observer", Kind: KindText, Doc: FieldObserver.Doc, Text: func(dst []byte, e *Event, _ int) []byte { return append(dst, e.Observer.String()...) }},
	},
	[]*Path{
		{Name: "policies", Kind: KindText, List: true, Doc: FieldPolicies.Doc, Count: func(e *Event) int { return len(e.Policies) },
			Text: func(dst []byte, e *Event, i int) []byte { return AppendSafe(dst, e.Policies[i]) }},
	},
	metadataPaths, messagePaths, questionPaths,
	recordPaths("dns.answer", "answer", (*dnswire.Message).Answer),
	recordPaths("dns.authority", "authority", (*dnswire.Message).Authority),
	recordPaths("dns.additional", "additional", (*dnswire.Message).Additional),
	transactionPaths,
	partyPaths("process", func(e *Event) *Party { return &e.Asker }),
	partyPaths("server_process", func(e *Event) *Party { return &e.Server }),
	receiverPaths,
	packetPaths,
	alertPaths,
	lossPaths,
)

var metadataPaths = []*Path{
	{Name: "metadata.src_ip", Kind: KindAddr, Doc: "source IP address", Count: onePacket, Addr: func(e *Event, _ int) netip.Addr { return e.Meta.SrcIP }},
	{Name: "metadata.dst_ip", Kind: KindAddr, Doc: "destination IP address", Count: onePacket, Addr: func(e *Event, _ int) netip.Addr { return e.Meta.DstIP }},
	{Name: "metadata.src_port", Kind: KindNumber, Doc: "source port", Count: onePacket, Number: func(e *Event, _ int) uint64 { return uint64(e.Meta.SrcPort) }},
	{Name: "metadata.dst_port", Kind: KindNumber, Doc: "destination port", Count: onePacket, Number: func(e *Event, _ int) uint64 { return uint64(e.Meta.DstPort) }},
	{Name: "metadata.protocol", Kind: KindNumber, Doc: "IP protocol: 17 is UDP, 6 is TCP", Count: onePacket, Number: func(e *Event, _ int) uint64 { return uint64(e.Meta.Protocol) }},
	{Name: "metadata.packet_len", Kind: KindNumber, Doc: "IP total length in octets", Count: onePacket, Number: func(e *Event, _ int) uint64 { return uint64(e.Meta.PacketLen) }},
	{Name: "metadata.iface", Kind: KindText, Doc: "network interface", Count: onePacket, Text: func(dst []byte, e *Event, _ int) []byte { return AppendSafe(dst, e.Meta.Iface) }},
	{Name: "client.ip", Kind: KindAddr, Doc: "address of the end that asks", Count: oneMessage, Addr: func(e *Event, _ int) netip.Addr { return e.end(true) }},
	{Name: "server.ip", Kind: KindAddr, Doc: "address of the end that answers", Count: oneMessage, Addr: func(e *Event, _ int) netip.Addr { return e.end(false) }},
}

// onePacket counts the packets behind an event.
func onePacket(e *Event) int {
	if e.Class == ClassLoss {
		return 0
	}
	return 1
}

// end returns the address of the client or of the server.
func (e *Event) end(client bool) netip.Addr {
	if client == e.Msg.Flags.Response() {
		return e.Meta.DstIP
	}
	return e.Meta.SrcIP
}

// oneMessage counts the messages of an event.
func oneMessage(e *Event) int {
	if !e.HasMessage() {
		return 0
	}
	return 1
}

var messagePaths = []*Path{
	{Name: "dns.id", Kind: KindNumber, Doc: "message id", Count: oneMessage, Number: func(e *Event, _ int) uint64 { return uint64(e.Msg.ID) }},
	{Name: "dns.opcode", Kind: KindText, Doc: "opcode", Count: oneMessage,
		Text:   func(dst []byte, e *Event, _ int) []byte { return e.Msg.Flags.Opcode().Append(dst) },
		Number: func(e *Event, _ int) uint64 { return uint64(e.Msg.Flags.Opcode()) }, Code: code(dnswire.ParseOpcode)},
	{Name: "dns.rcode", Kind: KindText, Doc: "response code", Count: oneMessage,
		Text:   func(dst []byte, e *Event, _ int) []byte { return e.Msg.RCode().Append(dst) },
		Number: func(e *Event, _ int) uint64 { return uint64(e.Msg.RCode()) }, Code: code(dnswire.ParseRCode)},
	flagPath("response", "qr: the message is a response", dnswire.FlagQR),
	flagPath("aa", "authoritative answer", dnswire.FlagAA),
	flagPath("tc", "truncated", dnswire.FlagTC),
	flagPath("rd", "recursion desired", dnswire.FlagRD),
	flagPath("ra", "recursion available", dnswire.FlagRA),
	flagPath("z", "the bit that must be zero", dnswire.FlagZ),
	flagPath("ad", "authentic data", dnswire.FlagAD),
	flagPath("cd", "checking disabled", dnswire.FlagCD),
	{Name: "dns.size", Kind: KindNumber, Doc: "length of the message in octets", Count: oneMessage, Number: func(e *Event, _ int) uint64 { return uint64(len(e.Msg.Raw) + e.Missing) }},
	{Name: "dns.incomplete", Kind: KindBool, Doc: "the message could not be read to its end", Count: oneMessage, Bool: func(e *Event, _ int) bool { return e.Msg.Broken != dnswire.None }},
	{Name: "dns.anomalies", Kind: KindText, List: true, Doc: "names of what is odd or broken in the message",
		Count: func(e *Event) int {
			if oneMessage(e) == 0 {
				return 0
			}
			return e.Msg.Anomalies.Len()
		},
		Text: func(dst []byte, e *Event, i int) []byte { return append(dst, e.Msg.Anomalies.At(i).String()...) }},
	countPath("qd", dnswire.SectionQuestion), countPath("an", dnswire.SectionAnswer),
	countPath("ns", dnswire.SectionAuthority), countPath("ar", dnswire.SectionAdditional),
	ednsPath("dns.edns.version", "EDNS version", func(o *dnswire.EDNS) uint64 { return uint64(o.Version) }),
	ednsPath("dns.edns.udp_size", "the sender's UDP payload size", func(o *dnswire.EDNS) uint64 { return uint64(o.UDPSize) }),
	{Name: "dns.edns.do", Kind: KindBool, Doc: "DNSSEC answer OK", Count: oneOPT,
		Bool: func(e *Event, _ int) bool { o, _ := e.Msg.EDNS(); return o.DO }},
}

// code adapts a parser of names to Path.Code.
func code[T ~uint8 | ~uint16](parse func(string) (T, bool)) func(string) (uint64, bool) {
	return func(name string) (uint64, bool) {
		v, ok := parse(name)
		return uint64(v), ok
	}
}

func flagPath(name, doc string, bit dnswire.Flags) *Path {
	return &Path{Name: "dns." + name, Kind: KindBool, Doc: doc, Count: oneMessage,
		Bool: func(e *Event, _ int) bool { return e.Msg.Flags&bit != 0 }}
}

func countPath(name string, s dnswire.Section) *Path {
	return &Path{Name: "dns.counts." + name, Kind: KindNumber, Doc: "records in the section, or questions", Count: oneMessage,
		Number: func(e *Event, _ int) uint64 { return uint64(e.Msg.Seen[s]) }}
}

func oneOPT(e *Event) int {
	if oneMessage(e) == 0 {
		return 0
	}
	if _, ok := e.Msg.EDNS(); !ok {
		return 0
	}
	return 1
}

func ednsPath(name, doc string, of func(*dnswire.EDNS) uint64) *Path {
	return &Path{Name: name, Kind: KindNumber, Doc: doc, Count: oneOPT,
		Number: func(e *Event, _ int) uint64 { o, _ := e.Msg.EDNS(); return of(&o) }}
}

func countQuestions(e *Event) int {
	if oneMessage(e) == 0 {
		return 0
	}
	return len(e.Msg.Questions)
}

var questionPaths = slices.Concat(questionPathsAt("dns.questions.name", "dns.questions.type", "dns.questions.class"),
	questionPathsAt("qname", "qtype", "qclass"))

func questionPathsAt(name, typ, class string) []*Path {
	return []*Path{
		{Name: name, Kind: KindName, List: true, Doc: "name that is asked for", Count: countQuestions,
			Text: func(dst []byte, e *Event, i int) []byte { return e.Msg.AppendNameLower(dst, e.Msg.Questions[i].Name) },
			Wire: func(e *Event, i int) dnswire.Name { return e.Msg.Questions[i].Name }},
		{Name: typ, Kind: KindText, List: true, Doc: "type that is asked for", Count: countQuestions,
			Text:   func(dst []byte, e *Event, i int) []byte { return e.Msg.Questions[i].Type.Append(dst) },
			Number: func(e *Event, i int) uint64 { return uint64(e.Msg.Questions[i].Type) }, Code: code(dnswire.ParseType)},
		{Name: class, Kind: KindText, List: true, Doc: "class that is asked for", Count: countQuestions,
			Text:   func(dst []byte, e *Event, i int) []byte { return e.Msg.Questions[i].Class.Append(dst) },
			Number: func(e *Event, i int) uint64 { return uint64(e.Msg.Questions[i].Class) }, Code: code(dnswire.ParseClass)},
	}
}

// recordPaths returns the paths of a section's records, under its name in the
// JSON and a short one.
func recordPaths(long, short string, of func(*dnswire.Message) []dnswire.Record) (paths []*Path) {
	count := func(e *Event) int {
		if oneMessage(e) == 0 {
			return 0
		}
		return len(of(&e.Msg))
	}
	for _, prefix := range []string{long, short} {
		paths = append(paths,
			&Path{Name: prefix + ".name", Kind: KindName, List: true, Doc: "owner names of records", Count: count,
				Text: func(dst []byte, e *Event, i int) []byte { return e.Msg.AppendNameLower(dst, of(&e.Msg)[i].Name) },
				Wire: func(e *Event, i int) dnswire.Name { return of(&e.Msg)[i].Name }},
			&Path{Name: prefix + ".type", Kind: KindText, List: true, Doc: "types of records", Count: count,
				Text:   func(dst []byte, e *Event, i int) []byte { return of(&e.Msg)[i].Type.Append(dst) },
				Number: func(e *Event, i int) uint64 { return uint64(of(&e.Msg)[i].Type) }, Code: code(dnswire.ParseType)},
			&Path{Name: prefix + ".class", Kind: KindText, List: true, Doc: "classes of records", Count: count,
				Text:   func(dst []byte, e *Event, i int) []byte { return of(&e.Msg)[i].Class.Append(dst) },
				Number: func(e *Event, i int) uint64 { return uint64(of(&e.Msg)[i].Class) }, Code: code(dnswire.ParseClass)},
			&Path{Name: prefix + ".ttl", Kind: KindNumber, List: true, Doc: "TTLs in seconds", Count: count,
				Number: func(e *Event, i int) uint64 { return uint64(of(&e.Msg)[i].TTL) }},
			&Path{Name: prefix + ".data", Kind: KindText, List: true, Doc: "RDATA in presentation format", Count: count,
				Text: func(dst []byte, e *Event, i int) []byte { return e.Msg.AppendRData(dst, &of(&e.Msg)[i]) }},
			&Path{Name: prefix + ".ip", Kind: KindAddr, List: true, Doc: "addresses in A and AAAA records", Count: count,
				Addr: func(e *Event, i int) netip.Addr { return recordAddr(&e.Msg, &of(&e.Msg)[i]) }},
		)
	}
	return paths
}

// recordAddr returns the address of an A or AAAA record, or the zero Addr.
func recordAddr(m *dnswire.Message, r *dnswire.Record) netip.Addr {
	if r.Fault != dnswire.None || r.Class != dnswire.ClassIN {
		return netip.Addr{}
	}
	switch {
	case r.Type == dnswire.TypeA && r.Len == 4, r.Type == dnswire.TypeAAAA && r.Len == 16:
		a, _ := netip.AddrFromSlice(m.RData(r))
		return a.Unmap()
	}
	return netip.Addr{}
}

func countTransaction(e *Event) int {
	if e.Txn.State == StateNone {
		return 0
	}
	return 1
}

var transactionPaths = []*Path{
	{Name: "transaction.state", Kind: KindText, Doc: "pending, answered, duplicate, late, mismatched_question, unsolicited or unanswered", Count: countTransaction,
		Text: func(dst []byte, e *Event, _ int) []byte { return append(dst, e.Txn.State.String()...) }},
	{Name: "transaction.latency_us", Kind: KindNumber, Doc: "microseconds from the query to this answer",
		Count: func(e *Event) int {
			if countTransaction(e) == 0 || e.Txn.Latency < 0 {
				return 0
			}
			return 1
		},
		Number: func(e *Event, _ int) uint64 { return uint64(e.Txn.Latency) / 1000 }},
	{Name: "transaction.retransmits", Kind: KindNumber, Doc: "how often the query had been sent again", Count: countTransaction,
		Number: func(e *Event, _ int) uint64 { return uint64(e.Txn.Retransmits) }},
	{Name: "transaction.asked", Kind: KindTime, Doc: "when an unanswered query was seen first",
		Count: func(e *Event) int {
			if e.Txn.Asked == 0 {
				return 0
			}
			return 1
		},
		Number: func(e *Event, _ int) uint64 { return uint64(e.Txn.Asked) }},
	{Name: "transaction.caused_by.time", Kind: KindTime, Doc: "when the query came in for which a resolver on this host asks", Count: countCause,
		Number: func(e *Event, _ int) uint64 { return uint64(e.Txn.Cause.Time) }},
	{Name: "transaction.caused_by.src_ip", Kind: KindAddr, Doc: "who sent it: address", Count: countCause,
		Addr: func(e *Event, _ int) netip.Addr { return e.Txn.Cause.Client.Addr() }},
	{Name: "transaction.caused_by.src_port", Kind: KindNumber, Doc: "who sent it: port", Count: countCause,
		Number: func(e *Event, _ int) uint64 { return uint64(e.Txn.Cause.Client.Port()) }},
	{Name: "transaction.caused_by.id", Kind: KindNumber, Doc: "its message id", Count: countCause,
		Number: func(e *Event, _ int) uint64 { return uint64(e.Txn.Cause.ID) }},
	{Name: "transaction.caused_by.pid", Kind: KindNumber, Doc: "process that sent it, 0 when unknown", Count: countCause,
		Number: func(e *Event, _ int) uint64 { return uint64(e.Txn.Cause.PID) }},
	{Name: "transaction.caused_by.comm", Kind: KindText, Doc: "name of that process", Count: countCause,
		Text: func(dst []byte, e *Event, _ int) []byte { return appendSafeComm(dst, &e.Txn.Cause.Comm) }},
}

func countCause(e *Event) int {
	if e.Txn.Cause == nil {
		return 0
	}
	return 1
}

// partyPaths returns the paths of a process at an end of the conversation.
func partyPaths(prefix string, of func(*Event) *Party) []*Path {
	known := func(e *Event) int {
		if id := of(e).ID; id == nil || !id.Known() {
			return 0
		}
		return 1
	}
	started := func(e *Event) int {
		if p := of(e).Process; p == nil || p.StartTime == 0 {
			return 0
		}
		return 1
	}
	ancestors := func(e *Event) int {
		if p := of(e).Process; p != nil {
			return len(p.Ancestors)
		}
		return 0
	}
	number := func(name, doc string, get func(*Identity) uint64) *Path {
		return &Path{Name: prefix + "." + name, Kind: KindNumber, Doc: doc, Count: known,
			Number: func(e *Event, _ int) uint64 { return get(of(e).ID) }}
	}
	process := func(name, doc string, get func(*Process) string) *Path {
		return &Path{Name: prefix + "." + name, Kind: KindText, Doc: doc,
			Count: func(e *Event) int {
				if p := of(e).Process; p == nil || get(p) == "" {
					return 0
				}
				return 1
			},
			Text: func(dst []byte, e *Event, _ int) []byte { return AppendSafe(dst, get(of(e).Process)) }}
	}
	return append([]*Path{
		{Name: prefix + ".attribution", Kind: KindText, Doc: "method that found the process",
			Count: func(e *Event) int {
				if e.Observer == Passive || of(e) == &e.Server && e.Server.ID == nil {
					return 0
				}
				return 1
			},
			Text: func(dst []byte, e *Event, _ int) []byte { return append(dst, of(e).Attribution.String()...) }},
		number("pid", "process id", func(id *Identity) uint64 { return uint64(id.TGID) }),
		number("tid", "thread id", func(id *Identity) uint64 { return uint64(id.TID) }),
		number("ppid", "parent's process id", func(id *Identity) uint64 { return uint64(id.PPID) }),
		number("ns_pid", "process id inside its pid namespace", func(id *Identity) uint64 { return uint64(id.NsTGID) }),
		number("uid", "user id", func(id *Identity) uint64 { return uint64(id.UID) }),
		number("gid", "group id", func(id *Identity) uint64 { return uint64(id.GID) }),
		{Name: prefix + ".cgroup_id", Kind: KindNumber, Doc: "cgroup v2 id",
			Count:  func(e *Event) int { return present(of(e).ID) },
			Number: func(e *Event, _ int) uint64 { return of(e).ID.Cgroup }},
		number("netns", "inode of the network namespace", func(id *Identity) uint64 { return uint64(id.NetNS) }),
		number("pidns", "inode of the pid namespace", func(id *Identity) uint64 { return uint64(id.PidNS) }),
		{Name: prefix + ".comm", Kind: KindText, Doc: "name of the thread group leader", Count: known,
			Text: func(dst []byte, e *Event, _ int) []byte { return of(e).ID.AppendComm(dst) }},
		{Name: prefix + ".start_time", Kind: KindTime, Doc: "when the process started", Count: started,
			Number: func(e *Event, _ int) uint64 { return uint64(of(e).Process.StartTime) }},
		{Name: prefix + ".user", Kind: KindText, Doc: "name of the user id",
			Count: func(e *Event) int {
				if of(e).User == "" {
					return 0
				}
				return 1
			},
			Text: func(dst []byte, e *Event, _ int) []byte { return AppendSafe(dst, of(e).User) }},
		process("exe", "path of the executable", func(p *Process) string { return p.Exe }),
		process("cwd", "working directory", func(p *Process) string { return p.Cwd }),
		{Name: prefix + ".args", Kind: KindText, List: true, Doc: "command line, an argument each, secrets taken out",
			Count: func(e *Event) int {
				p := of(e).Process
				if p == nil || p.Args == "" {
					return 0
				}
				// The last one has no NUL when it is cut.
				return strings.Count(p.Args[:len(p.Args)-1], "\x00") + 1
			},
			Text: func(dst []byte, e *Event, i int) []byte { return AppendSafe(dst, argument(of(e).Process.Args, i)) }},
		process("exe_sha256", "SHA-256 of the executable", func(p *Process) string { return p.ExeSHA256 }),
		{Name: prefix + ".ancestors.pid", Kind: KindNumber, List: true, Doc: "process ids of who forked it, who forked that one and so on", Count: ancestors,
			Number: func(e *Event, i int) uint64 { return uint64(of(e).Process.Ancestors[i].PID) }},
		{Name: prefix + ".ancestors.comm", Kind: KindText, List: true, Doc: "their names", Count: ancestors,
			Text: func(dst []byte, e *Event, i int) []byte { return appendSafeComm(dst, &of(e).Process.Ancestors[i].Comm) }},
		{Name: prefix + ".ancestors.exe", Kind: KindText, List: true, Doc: "their executables", Count: ancestors,
			Text: func(dst []byte, e *Event, i int) []byte { return AppendSafe(dst, of(e).Process.Ancestors[i].Exe) }},
		{Name: prefix + ".ancestors.start_time", Kind: KindTime, List: true, Doc: "when they started", Count: ancestors,
			Number: func(e *Event, i int) uint64 { return uint64(of(e).Process.Ancestors[i].StartTime) }},
		{Name: prefix + ".disagreement.method", Kind: KindText, Doc: "method that found another process, which is not believed",
			Count: func(e *Event) int { return present(of(e).Doubt.ID) },
			Text:  func(dst []byte, e *Event, _ int) []byte { return append(dst, of(e).Doubt.Method.String()...) }},
		{Name: prefix + ".disagreement.pid", Kind: KindNumber, Doc: "id of that process",
			Count:  func(e *Event) int { return present(of(e).Doubt.ID) },
			Number: func(e *Event, _ int) uint64 { return uint64(of(e).Doubt.ID.TGID) }},
		{Name: prefix + ".disagreement.comm", Kind: KindText, Doc: "name of that process",
			Count: func(e *Event) int { return present(of(e).Doubt.ID) },
			Text:  func(dst []byte, e *Event, _ int) []byte { return of(e).Doubt.ID.AppendComm(dst) }},
	}, containerPaths(prefix, of)...)
}

func present(id *Identity) int {
	if id == nil {
		return 0
	}
	return 1
}

var receiverPaths = []*Path{
	receiverPath("pid", "process id of who received the answer", func(id *Identity) uint64 { return uint64(id.TGID) }),
	receiverPath("tid", "thread id", func(id *Identity) uint64 { return uint64(id.TID) }),
	receiverPath("ns_pid", "process id inside its pid namespace", func(id *Identity) uint64 { return uint64(id.NsTGID) }),
	receiverPath("uid", "user id", func(id *Identity) uint64 { return uint64(id.UID) }),
	receiverPath("cgroup_id", "cgroup v2 id", func(id *Identity) uint64 { return id.Cgroup }),
	{Name: "receiver.comm", Kind: KindText, Doc: "name of the thread group leader",
		Count: func(e *Event) int { return present(e.Receiver) },
		Text:  func(dst []byte, e *Event, _ int) []byte { return e.Receiver.AppendComm(dst) }},
}

func receiverPath(name, doc string, get func(*Identity) uint64) *Path {
	return &Path{Name: "receiver." + name, Kind: KindNumber, Doc: doc,
		Count:  func(e *Event) int { return present(e.Receiver) },
		Number: func(e *Event, _ int) uint64 { return get(e.Receiver) }}
}

// argument returns the i-th of arguments with a NUL between them.
func argument(args string, i int) string {
	for ; i > 0; i-- {
		args = args[strings.IndexByte(args, 0)+1:]
	}
	arg, _, _ := strings.Cut(args, "\x00")
	return arg
}

// packetPaths lead to the headers of packets, for events without a message.
var packetPaths = []*Path{
	packetPath("ip.version", "4 or 6", 0, func(p *Packet) uint64 { return uint64(p.Version) }),
	packetPath("ip.tos", "type of service or traffic class", 0, func(p *Packet) uint64 { return uint64(p.TOS) }),
	packetPath("ip.ttl", "time to live or hop limit", 0, func(p *Packet) uint64 { return uint64(p.TTL) }),
	packetPath("ip.id", "identification (IPv4)", 0, func(p *Packet) uint64 { return uint64(p.ID) }),
	packetPath("ip.frag_offset", "fragment offset in octets (IPv4)", 0, func(p *Packet) uint64 { return uint64(p.FragOffset) }),
	packetPath("ip.flow_label", "flow label (IPv6)", 0, func(p *Packet) uint64 { return uint64(p.FlowLabel) }),
	{Name: "ip.checksum", Kind: KindNumber, Doc: "checksum of the header as on the wire (IPv4)",
		Count: func(e *Event) int {
			if e.Class != ClassPacket || e.Packet.Version != 4 {
				return 0
			}
			return 1
		},
		Number: func(e *Event, _ int) uint64 { return uint64(e.Packet.IPChecksum) }},
	packetPath("tcp.seq", "sequence number", protocolTCP, func(p *Packet) uint64 { return uint64(p.TCPSeq) }),
	packetPath("tcp.ack", "acknowledgment number", protocolTCP, func(p *Packet) uint64 { return uint64(p.TCPAck) }),
	packetPath("tcp.data_offset", "length of the header in words of 32 bits", protocolTCP, func(p *Packet) uint64 { return uint64(p.TCPOffset) }),
	packetPath("tcp.urgent", "urgent pointer", protocolTCP, func(p *Packet) uint64 { return uint64(p.TCPUrgent) }),
	packetPath("tcp.window", "window, not scaled", protocolTCP, func(p *Packet) uint64 { return uint64(p.TCPWindow) }),
	packetPath("tcp.checksum", "checksum as on the wire", protocolTCP, func(p *Packet) uint64 { return uint64(p.Checksum) }),
	packetPath("udp.length", "length field in octets, header included", protocolUDP, func(p *Packet) uint64 { return uint64(p.UDPLen) }),
	packetPath("udp.checksum", "checksum as on the wire", protocolUDP, func(p *Packet) uint64 { return uint64(p.Checksum) }),
}

// IANA protocol numbers.
const (
	protocolTCP = 6
	protocolUDP = 17
)

// packetPath returns a path of packets of a protocol, or of any when that is 0.
func packetPath(name, doc string, protocol uint8, get func(*Packet) uint64) *Path {
	return &Path{Name: name, Kind: KindNumber, Doc: doc,
		Count: func(e *Event) int {
			if e.Class != ClassPacket || protocol != 0 && e.Meta.Protocol != protocol {
				return 0
			}
			return 1
		},
		Number: func(e *Event, _ int) uint64 { return get(&e.Packet) }}
}
