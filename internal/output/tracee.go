package output

import (
	"slices"
	"strconv"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/kind"
)

// tracee is the trace.Event form of Tracee 0.24, for tools that are made for it:
// the same keys in the same order, numbers and strings where it has them. What
// it has no place for stands in more args behind its own, which are those of
// dnshark's JSON: observer, dns, transaction, process, ...
//
// A value that Tracee tells stays as it tells it: MX by name, the root as "". A
// value that it does not tell ("not implemented", "Unknown") is there, in
// presentation format. What an event does not know is 0 or "".
var tracee = Format{
	Name:  "tracee",
	Doc:   "JSON of Tracee 0.24 (trace.Event), with more args",
	Kinds: kindMessages | kindPackets,
	New:   (&perKind{kindMessages | kindPackets, appendTracee}).new,
}

// traceeKind is what Tracee calls a kind, and its args.
type traceeKind struct {
	name, id string
	args     func(dst []byte, e *event.Event) []byte
	n        int            // how many args these are
	told     []*event.Field // what they tell already
}

var (
	traceeResponse = traceeKind{"net_packet_dns_response", "2008", appendTraceeResponse, 2,
		[]*event.Field{&event.FieldMetadata, &event.FieldResponse}}
	traceeRequest = traceeKind{"net_packet_dns_request", "2007", appendTraceeRequest, 2,
		[]*event.Field{&event.FieldMetadata, &event.FieldQuestions}}
	traceeDNS  = traceeKind{"net_packet_dns", "2006", appendTraceeDNS, 6, []*event.Field{&event.FieldMetadata}}
	traceeIPv4 = traceeKind{"net_packet_ipv4", "2000", appendTraceeIPv4, 4, []*event.Field{&event.FieldMetadata}}
	traceeIPv6 = traceeKind{"net_packet_ipv6", "2001", appendTraceeIPv6, 4, []*event.Field{&event.FieldMetadata}}
	traceeTCP  = traceeKind{"net_packet_tcp", "2002", appendTraceeTCP, 6, []*event.Field{&event.FieldMetadata}}
	traceeUDP  = traceeKind{"net_packet_udp", "2003", appendTraceeUDP, 6, []*event.Field{&event.FieldMetadata}}
)

func traceeKindOf(e *event.Event, k int) *traceeKind {
	switch kind.Set(1 << k) {
	case kindResponse:
		return &traceeResponse
	case kindRequest:
		return &traceeRequest
	case kindDNS:
		return &traceeDNS
	case kindTCP:
		return &traceeTCP
	case kindUDP:
		return &traceeUDP
	}
	if e.Packet.Version == 6 {
		return &traceeIPv6
	}
	return &traceeIPv4
}

// inEnvelope are fields that stand outside of the args.
var inEnvelope = []*event.Field{&event.FieldTime, &event.FieldHost, &event.FieldPolicies}

func appendTracee(dst []byte, e *event.Event, k int) []byte {
	t := traceeKindOf(e, k)
	who := &e.Asker
	if e.Observer == event.Server {
		who = &e.Server
	}
	dst = strconv.AppendInt(append(dst, `{"timestamp":`...), e.Time, 10)
	dst = traceeProcess(dst, who)
	dst = event.FieldHost.Append(append(dst, `,"hostName":`...), e)
	dst = append(append(traceeContainer(dst, who.Container), `,"eventId":"`...), t.id...)
	dst = append(append(append(dst, `","eventName":"`...), t.name...), `","matchedPolicies":`...)
	policies := len(dst)
	if dst = event.FieldPolicies.Append(dst, e); len(dst) == policies {
		dst = append(dst, `[""]`...)
	}
	dst = append(dst, `,"argsNum":`...)
	count := len(dst)
	dst = append(dst, `0,"returnValue":0,"syscall":"","stackAddresses":[0],"contextFlags":{"containerStarted":`...)
	dst = append(appendTrue(dst, who.Container != nil), `,"isCompat":false}`...)
	dst = append(traceeEntities(dst, who), `,"args":[`...)
	dst, n := t.args(dst, e), t.n
	for _, f := range kind.Catalogue[k].Fields {
		if slices.Contains(inEnvelope, f) || slices.Contains(t.told, f) {
			continue
		}
		before := len(dst)
		dst = append(append(append(dst, `{"name":"`...), f.Name...), `","type":"`...)
		dst = append(append(dst, f.Type...), `","value":`...)
		value := len(dst)
		if dst = f.Append(dst, e); len(dst) == value {
			dst = dst[:before]
			continue
		}
		dst = append(dst, `},`...)
		n++
	}
	dst[count] = byte('0' + n%10)
	if n >= 10 {
		dst = slices.Insert(dst, count, byte('0'+n/10))
	}
	return append(closeJSON(dst, ']'), '}', '\n')
}

// nobody stands for a process that is not known.
var nobody event.Identity

// nsTID returns the thread's id inside its pid namespace, 0 when that is not
// known: the kernel's part tells it of the process alone.
func nsTID(id *event.Identity) uint32 {
	switch {
	case id.TID == id.TGID:
		return id.NsTGID
	case id.NsTGID == id.TGID:
		return id.TID
	}
	return 0
}

// nsPPID is nsTID for the parent.
func nsPPID(id *event.Identity) uint32 {
	if id.NsTGID == id.TGID {
		return id.PPID
	}
	return 0
}

func traceeProcess(dst []byte, who *event.Party) []byte {
	id, start, exe := &nobody, int64(0), ""
	if who.ID != nil {
		id = who.ID
	}
	if who.Process != nil {
		start, exe = who.Process.StartTime, who.Process.Exe
	}
	dst = strconv.AppendInt(append(dst, `,"threadStartTime":`...), start, 10)
	dst = jsonNumber(dst, `,"processorId":0,"processId":`, id.NsTGID)
	dst = jsonNumber(dst, `,"cgroupId":`, id.Cgroup)
	dst = jsonNumber(dst, `,"threadId":`, nsTID(id))
	dst = jsonNumber(dst, `,"parentProcessId":`, nsPPID(id))
	dst = jsonNumber(dst, `,"hostProcessId":`, id.TGID)
	dst = jsonNumber(dst, `,"hostThreadId":`, id.TID)
	dst = jsonNumber(dst, `,"hostParentProcessId":`, id.PPID)
	dst = jsonNumber(dst, `,"userId":`, id.UID)
	dst = jsonNumber(dst, `,"mountNamespace":0,"pidNamespace":`, id.PidNS)
	dst = append(dst, `,"processName":"`...)
	at := len(dst)
	dst = event.EscapeJSON(id.AppendComm(dst), at)
	dst = append(dst, `","executable":{"path":"`...)
	at = len(dst)
	dst = event.EscapeJSON(event.AppendSafeUpTo(dst, exe, maxPath), at)
	return append(dst, `"}`...)
}

func traceeContainer(dst []byte, c *event.Container) []byte {
	if c == nil {
		return append(dst, `,"containerId":"","container":{},"kubernetes":{}`...)
	}
	dst = jsonShort(append(dst, `,"containerId":`...), c.ID)
	dst = jsonSet(append(dst, `,"container":{`...), `"id":`, c.ID)
	dst = jsonSet(dst, `"name":`, c.Name)
	dst = jsonSet(dst, `"image":`, c.Image)
	dst = append(closeJSON(dst, '}'), `,"kubernetes":{`...)
	if pod := c.Pod; pod != nil {
		dst = jsonSet(dst, `"podName":`, pod.Name)
		dst = jsonSet(dst, `"podNamespace":`, pod.Namespace)
		dst = jsonSet(dst, `"podUID":`, pod.UID)
	}
	return closeJSON(dst, '}')
}

func traceeEntities(dst []byte, who *event.Party) []byte {
	process, thread, parent := entities(who)
	dst = jsonNumber(dst, `,"threadEntityId":`, thread)
	dst = jsonNumber(dst, `,"processEntityId":`, process)
	return jsonNumber(dst, `,"parentEntityId":`, parent)
}

// entities returns ids that tell processes of one host apart although their
// numbers come again, 0 for those that are not known.
func entities(who *event.Party) (process, thread, parent uint32) {
	id, p := who.ID, who.Process
	if id == nil || !id.Known() || p == nil {
		return 0, 0, 0
	}
	process = entity(id.TGID, p.StartTime)
	if id.TID == id.TGID {
		thread = process
	}
	if len(p.Ancestors) > 0 {
		parent = entity(p.Ancestors[0].PID, p.Ancestors[0].StartTime)
	}
	return process, thread, parent
}

// entity returns 32 bits of a hash (FNV-1a) of a process's id and start, 0 when
// the start is not known.
func entity(pid uint32, start int64) uint32 {
	if start == 0 {
		return 0
	}
	h := uint64(14695981039346656037)
	for _, v := range [...]uint64{uint64(pid), uint64(start)} {
		for range 8 {
			h = (h ^ v&0xff) * 1099511628211
			v >>= 8
		}
	}
	return uint32(h>>32) ^ uint32(h)
}

func traceeMetadata(dst []byte, e *event.Event) []byte {
	dst = append(dst, `{"name":"metadata","type":"trace.PktMeta","value":`...)
	return append(event.FieldMetadata.Append(dst, e), `},`...)
}

func appendTraceeResponse(dst []byte, e *event.Event) []byte {
	m := &e.Msg
	dst = append(traceeMetadata(dst, e), `{"name":"dns_response","type":"[]trace.DnsResponseData","value":[`...)
	start, more := len(dst), true
	for i := 0; i < len(m.Questions) && more; i++ {
		before := len(dst)
		dst = traceeQuestion(append(dst, `{"query_data":`...), m, &m.Questions[i])
		dst = append(dst, `,"dns_answer":[`...)
		if len(dst)-start > maxList {
			dst, e.Capped = dst[:before], true
			break
		}
		owner := 0
		for j := range m.Answer() {
			r := &m.Answer()[j]
			if owner = event.QuestionOf(m, r.Name, owner); owner != i {
				continue
			}
			before := len(dst)
			dst = r.Type.Append(append(dst, `{"answer_type":"`...))
			dst = jsonNumber(dst, `","ttl":`, r.TTL)
			dst = append(traceeAnswer(append(dst, `,"answer":"`...), m, r), `"},`...)
			if len(dst)-start > maxList {
				dst, more, e.Capped = dst[:before], false, true
				break
			}
		}
		dst = append(closeJSON(dst, ']'), `},`...)
	}
	return append(closeJSON(dst, ']'), `},`...)
}

func appendTraceeRequest(dst []byte, e *event.Event) []byte {
	m := &e.Msg
	dst = append(traceeMetadata(dst, e), `{"name":"dns_questions","type":"[]trace.DnsQueryData","value":[`...)
	for i := range m.Questions {
		dst = append(traceeQuestion(dst, m, &m.Questions[i]), ',')
	}
	return append(closeJSON(dst, ']'), `},`...)
}

func traceeQuestion(dst []byte, m *dnswire.Message, q *dnswire.Question) []byte {
	dst = traceeName(append(dst, `{"query":"`...), m, q.Name)
	dst = q.Type.Append(append(dst, `","query_type":"`...))
	dst = traceeClass(append(dst, `","query_class":"`...), q.Class)
	return append(dst, `"}`...)
}

// traceeName appends a name; the root is empty.
func traceeName(dst []byte, m *dnswire.Message, n dnswire.Name) []byte {
	if n.Len <= 1 {
		return dst
	}
	return jsonName(dst, m, n)
}

func traceeClass(dst []byte, c dnswire.Class) []byte {
	if c == dnswire.ClassANY {
		return append(dst, "Any"...)
	}
	return c.Append(dst)
}

// traceeAnswer appends RDATA: MX without the preference, the root as "".
func traceeAnswer(dst []byte, m *dnswire.Message, r *dnswire.Record) []byte {
	if r.Fault != dnswire.None {
		return jsonData(dst, m, r)
	}
	switch r.Type {
	case dnswire.TypeMX:
		var p parts
		_, name := next(p.of(m, r))
		return jsonTarget(dst, name)
	case dnswire.TypeNS, dnswire.TypeCNAME, dnswire.TypePTR:
		var p parts
		return jsonTarget(dst, p.of(m, r))
	}
	return jsonData(dst, m, r)
}

// jsonTarget appends a name in presentation format; the root is empty.
func jsonTarget(dst, name []byte) []byte {
	if len(name) == 1 && name[0] == '.' {
		return dst
	}
	return jsonText(dst, name)
}

func traceeEnds(dst []byte, e *event.Event, ports bool) []byte {
	dst = event.AppendAddr(append(dst, `{"name":"src","type":"string","value":"`...), e.Meta.SrcIP)
	dst = event.AppendAddr(append(dst, `"},{"name":"dst","type":"string","value":"`...), e.Meta.DstIP)
	dst = append(dst, `"},`...)
	if ports {
		dst = jsonNumber(dst, `{"name":"src_port","type":"uint16","value":`, e.Meta.SrcPort)
		dst = jsonNumber(dst, `},{"name":"dst_port","type":"uint16","value":`, e.Meta.DstPort)
		dst = append(dst, `},`...)
	}
	direction := byte('0')
	switch {
	case e.Flow.Ingress:
		direction = '1'
	case e.Flow.Egress:
		direction = '2'
	}
	dst = append(dst, `{"name":"metadata","type":"trace.PacketMetadata","value":{"direction":`...)
	return append(dst, direction, '}', '}', ',')
}
