package output

import (
	"slices"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/kind"
)

// traceeV1beta1 is the form of Tracee's events that comes after trace.Event: its
// protobuf messages as JSON. As there, what is 0 or empty is left out. What it has
// no place for stands in more data behind its own, as in the format tracee:
// objects as "struct", text as "str".
var traceeV1beta1 = Format{
	Name:  "tracee-v1beta1",
	Doc:   "JSON of Tracee's API v1beta1, with more data",
	Kinds: kindMessages | kindPackets,
	New:   (&perKind{kindMessages | kindPackets, appendTraceeV1}).new,
}

func appendTraceeV1(dst []byte, e *event.Event, k int) []byte {
	t := traceeKindOf(e, k)
	who := &e.Asker
	if e.Observer == event.Server {
		who = &e.Server
	}
	dst = v1Time(append(dst, `{"timestamp":`...), e.Time)
	dst = append(append(append(dst, `"id":`...), t.id...), `,"name":"`...)
	dst = append(append(dst, t.name...), `","policies":{"matched":`...)
	policies := len(dst)
	if dst = event.FieldPolicies.Append(dst, e); len(dst) == policies {
		dst = append(dst, `[""]`...)
	}
	dst = append(dst, `},`...)
	known := who.ID != nil && who.ID.Known()
	if known || who.Container != nil {
		dst = append(dst, `"workload":{`...)
		if known {
			dst = append(v1Process(append(dst, `"process":`...), who), ',')
		}
		dst = append(closeJSON(v1Container(dst, who.Container), '}'), ',')
	}
	dst = append(dst, `"data":[`...)
	switch t {
	case &traceeResponse:
		dst = v1Response(v1Metadata(dst, e), e)
	case &traceeRequest:
		dst = append(v1Metadata(dst, e), `{"name":"dns_questions","dns_questions":{"questions":[`...)
		for i := range e.Msg.Questions {
			dst = append(v1Query(dst, &e.Msg, &e.Msg.Questions[i]), ',')
		}
		dst = append(closeJSON(dst, ']'), `}},`...)
	case &traceeDNS:
		dst = v1DNS(v1Ends(dst, e, true), e)
	case &traceeIPv4, &traceeIPv6:
		dst = v1IP(v1Ends(dst, e, false), e)
	default:
		dst = v1Transport(v1Ends(dst, e, true), e, t == &traceeTCP)
	}
	for _, f := range kind.Catalogue[k].Fields {
		if slices.Contains(inEnvelope, f) || slices.Contains(t.told, f) {
			continue
		}
		before := len(dst)
		dst = append(append(append(dst, `{"name":"`...), f.Name...), `","struct":`...)
		value := len(dst)
		dst = f.Append(dst, e)
		switch {
		case len(dst) == value:
			dst = dst[:before]
			continue
		case dst[value] == '"':
			text := len(`"struct":`) - len(`"str":`)
			copy(dst[value-len(`"struct":`):], `"str":`)
			dst = slices.Delete(dst, value-text, value)
		}
		dst = append(dst, `},`...)
	}
	return append(closeJSON(dst, ']'), '}', '\n')
}

// v1Number appends a key, such as `"id":`, a number and a comma, unless it is 0.
func v1Number[T ~uint8 | ~uint16 | ~uint32 | ~uint64](dst []byte, key string, v T) []byte {
	if v == 0 {
		return dst
	}
	return append(jsonNumber(dst, key, v), ',')
}

// v1Bit is v1Number for a flag.
func v1Bit(dst []byte, key string, set bool) []byte {
	if !set {
		return dst
	}
	return append(append(dst, key...), '1', ',')
}

// v1Text appends a key and the text that f appends, unless that is empty.
func v1Text(dst []byte, key string, text []byte) []byte {
	if len(text) == 0 {
		return dst
	}
	dst = append(append(dst, key...), '"')
	return append(jsonTarget(dst, text), '"', ',')
}

// v1Name is v1Text for a name of the message.
func v1Name(dst []byte, key string, m *dnswire.Message, n dnswire.Name) []byte {
	if n.Len <= 1 {
		return dst
	}
	return append(jsonName(append(append(dst, key...), '"'), m, n), '"', ',')
}

// v1Time appends a time without the zeros at its end, and a comma.
func v1Time(dst []byte, t int64) []byte {
	dst = event.AppendTime(append(dst, '"'), t)
	dst = dst[:len(dst)-1]
	for dst[len(dst)-1] == '0' {
		dst = dst[:len(dst)-1]
	}
	if dst[len(dst)-1] == '.' {
		dst = dst[:len(dst)-1]
	}
	return append(dst, `Z",`...)
}

func v1Process(dst []byte, who *event.Party) []byte {
	id, p := who.ID, who.Process
	dst = append(dst, '{')
	process, thread, parent := entities(who)
	if p != nil && p.Exe != "" {
		dst = append(dst, `"executable":{"path":"`...)
		at := len(dst)
		dst = append(event.EscapeJSON(event.AppendSafeUpTo(dst, p.Exe, maxPath), at), `"},`...)
	}
	dst = v1Number(dst, `"unique_id":`, process)
	dst = v1Number(dst, `"host_pid":`, id.TGID)
	dst = v1Number(dst, `"pid":`, id.NsTGID)
	dst = jsonNumber(dst, `"real_user":{"id":`, id.UID)
	dst = append(dst, `},"thread":{`...)
	if p != nil && p.StartTime != 0 && id.TID == id.TGID {
		dst = v1Time(append(dst, `"start_time":`...), p.StartTime)
	}
	dst = append(dst, `"name":"`...)
	at := len(dst)
	dst = append(event.EscapeJSON(id.AppendComm(dst), at), `",`...)
	dst = v1Number(dst, `"unique_id":`, thread)
	dst = v1Number(dst, `"host_tid":`, id.TID)
	dst = v1Number(dst, `"tid":`, nsTID(id))
	dst = append(closeJSON(dst, '}'), `,"ancestors":[{`...)
	dst = v1Number(dst, `"unique_id":`, parent)
	dst = v1Number(dst, `"host_pid":`, id.PPID)
	dst = v1Number(dst, `"pid":`, nsPPID(id))
	return append(closeJSON(dst, '}'), `]}`...)
}

// v1Container appends the container and its pod, each with a comma.
func v1Container(dst []byte, c *event.Container) []byte {
	if c == nil {
		return dst
	}
	dst = jsonSet(append(dst, `"container":{`...), `"id":`, c.ID)
	dst = jsonSet(dst, `"name":`, c.Name)
	if c.Image != "" {
		dst = append(jsonShort(append(dst, `"image":{"name":`...), c.Image), `},`...)
	}
	dst = append(dst, `"started":true},`...)
	if pod := c.Pod; pod != nil {
		dst = jsonSet(append(dst, `"k8s":{"pod":{`...), `"name":`, pod.Name)
		dst = jsonSet(dst, `"uid":`, pod.UID)
		dst = append(closeJSON(dst, '}'), `,"namespace":{`...)
		dst = append(closeJSON(jsonSet(dst, `"name":`, pod.Namespace), '}'), `},`...)
	}
	return dst
}

func v1Metadata(dst []byte, e *event.Event) []byte {
	meta := &e.Meta
	dst = event.AppendAddr(append(dst, `{"name":"metadata","packet_metadata":{"src_ip":"`...), meta.SrcIP)
	dst = append(event.AppendAddr(append(dst, `","dst_ip":"`...), meta.DstIP), `",`...)
	dst = v1Number(dst, `"src_port":`, meta.SrcPort)
	dst = v1Number(dst, `"dst_port":`, meta.DstPort)
	dst = v1Number(dst, `"protocol":`, meta.Protocol)
	dst = v1Number(dst, `"packet_len":`, meta.PacketLen)
	if meta.Iface != "" {
		dst = append(event.AppendJSON(append(dst, `"iface":`...), meta.Iface), ',')
	}
	return append(closeJSON(dst, '}'), `},`...)
}

func v1Query(dst []byte, m *dnswire.Message, q *dnswire.Question) []byte {
	dst = v1Name(append(dst, '{'), `"query":`, m, q.Name)
	dst = q.Type.Append(append(dst, `"query_type":"`...))
	dst = traceeClass(append(dst, `","query_class":"`...), q.Class)
	return append(dst, `"}`...)
}

func v1Response(dst []byte, e *event.Event) []byte {
	m := &e.Msg
	dst = append(dst, `{"name":"dns_response","dns_responses":{"responses":[`...)
	start, more := len(dst), true
	for i := 0; i < len(m.Questions) && more; i++ {
		before := len(dst)
		dst = v1Query(append(dst, `{"dns_query_data":`...), m, &m.Questions[i])
		if dst = append(dst, `,"dns_answer":[`...); len(dst)-start > maxList {
			dst, e.Capped = dst[:before], true
			break
		}
		list, owner := len(dst), 0
		for j := range m.Answer() {
			r := &m.Answer()[j]
			if owner = event.QuestionOf(m, r.Name, owner); owner != i {
				continue
			}
			before := len(dst)
			dst = append(r.Type.Append(append(dst, `{"type":"`...)), `",`...)
			dst = v1Number(dst, `"ttl":`, r.TTL)
			dst = append(traceeAnswer(append(dst, `"answer":"`...), m, r), `"},`...)
			if len(dst)-start > maxList {
				dst, more, e.Capped = dst[:before], false, true
				break
			}
		}
		if len(dst) == list {
			dst = dst[:list-len(`,"dns_answer":[`)]
		} else {
			dst = closeJSON(dst, ']')
		}
		dst = append(dst, `},`...)
	}
	return append(closeJSON(dst, ']'), `}},`...)
}

func v1Ends(dst []byte, e *event.Event, ports bool) []byte {
	dst = event.AppendAddr(append(dst, `{"name":"src","str":"`...), e.Meta.SrcIP)
	dst = event.AppendAddr(append(dst, `"},{"name":"dst","str":"`...), e.Meta.DstIP)
	dst = append(dst, `"},`...)
	if ports {
		dst = jsonNumber(dst, `{"name":"src_port","u_int32":`, e.Meta.SrcPort)
		dst = jsonNumber(dst, `},{"name":"dst_port","u_int32":`, e.Meta.DstPort)
		dst = append(dst, `},`...)
	}
	direction := ""
	switch {
	case e.Flow.Ingress:
		direction = "ingress"
	case e.Flow.Egress:
		direction = "egress"
	}
	dst = append(append(dst, `{"name":"metadata","str":"`...), direction...)
	return append(dst, `"},`...)
}

func v1DNS(dst []byte, e *event.Event) []byte {
	m := &e.Msg
	dst = v1Number(append(dst, `{"name":"proto_dns","dns":{`...), `"id":`, m.ID)
	dst = v1Bit(dst, `"qr":`, m.Flags.Response())
	dst = append(append(append(dst, `"op_code":"`...), traceeOpcode(m.Flags.Opcode())...), `",`...)
	dst = v1Bit(dst, `"aa":`, m.Flags&dnswire.FlagAA != 0)
	dst = v1Bit(dst, `"tc":`, m.Flags&dnswire.FlagTC != 0)
	dst = v1Bit(dst, `"rd":`, m.Flags&dnswire.FlagRD != 0)
	dst = v1Bit(dst, `"ra":`, m.Flags&dnswire.FlagRA != 0)
	dst = v1Number(dst, `"z":`, m.Flags>>4&7)
	dst = append(append(append(dst, `"response_code":"`...), traceeRCode(m.Flags.RCode())...), `",`...)
	dst = v1Number(dst, `"qd_count":`, m.Count[dnswire.SectionQuestion])
	dst = v1Number(dst, `"an_count":`, m.Count[dnswire.SectionAnswer])
	dst = v1Number(dst, `"ns_count":`, m.Count[dnswire.SectionAuthority])
	dst = v1Number(dst, `"ar_count":`, m.Count[dnswire.SectionAdditional])
	start := len(dst)
	if len(m.Questions) > 0 {
		dst = append(dst, `"questions":[`...)
		for i := range m.Questions {
			q := &m.Questions[i]
			dst = v1Name(append(dst, '{'), `"name":`, m, q.Name)
			dst = q.Type.Append(append(dst, `"type":"`...))
			dst = append(traceeClass(append(dst, `","class":"`...), q.Class), `"},`...)
		}
		dst = append(closeJSON(dst, ']'), ',')
	}
	dst = v1Records(dst, `"answers":[`, start, e, m.Answer())
	dst = v1Records(dst, `"authorities":[`, start, e, m.Authority())
	dst = v1Records(dst, `"additionals":[`, start, e, m.Additional())
	return append(closeJSON(dst, '}'), `},`...)
}

func v1Records(dst []byte, key string, start int, e *event.Event, rs []dnswire.Record) []byte {
	if len(rs) == 0 {
		return dst
	}
	dst = append(dst, key...)
	for i := range rs {
		before := len(dst)
		dst = append(v1Record(dst, &e.Msg, &rs[i]), ',')
		if len(dst)-start > maxList {
			dst, e.Capped = dst[:before], true
			break
		}
	}
	return append(closeJSON(dst, ']'), ',')
}

// v1Parts are the parts of records that have several, in their order.
var v1Parts = [...]struct {
	of   dnswire.Type
	key  string
	list []part
}{
	{dnswire.TypeSOA, `"soa":{`, []part{{`"mname":`, false}, {`"rname":`, false}, {`"serial":`, true}, {`"refresh":`, true},
		{`"retry":`, true}, {`"expire":`, true}, {`"minimum":`, true}}},
	{dnswire.TypeSRV, `"srv":{`, []part{{`"priority":`, true}, {`"weight":`, true}, {`"port":`, true}, {`"name":`, false}}},
	{dnswire.TypeMX, `"mx":{`, []part{{`"Preference":`, true}, {`"name":`, false}}},
}

func v1Record(dst []byte, m *dnswire.Message, r *dnswire.Record) []byte {
	dst = v1Name(append(dst, '{'), `"name":`, m, r.Name)
	dst = append(r.Type.Append(append(dst, `"type":"`...)), `","class":"`...)
	if r.Type == dnswire.TypeOPT {
		dst = append(dst, "Unknown"...)
	} else {
		dst = traceeClass(dst, r.Class)
	}
	dst = append(dst, `",`...)
	// It has 0 for the TTL of an OPT record, which is none.
	if r.Type != dnswire.TypeOPT {
		dst = v1Number(dst, `"ttl":`, r.TTL)
	}
	var p parts
	var text []byte
	typ := r.Type
	if r.Fault != dnswire.None || r.Len == 0 {
		typ = 0
	}
	switch typ {
	case dnswire.TypeA, dnswire.TypeAAAA:
		dst = v1Text(dst, `"ip":`, p.of(m, r))
	case dnswire.TypeNS:
		dst = v1Text(dst, `"ns":`, p.of(m, r))
	case dnswire.TypeCNAME:
		dst = v1Text(dst, `"cname":`, p.of(m, r))
	case dnswire.TypePTR:
		dst = v1Text(dst, `"ptr":`, p.of(m, r))
	case dnswire.TypeTXT:
		dst = append(closeJSON(traceeStrings(append(dst, `"txts":[`...), m.RData(r), `"`, `",`), ']'), ',')
	case dnswire.TypeSOA, dnswire.TypeSRV, dnswire.TypeMX:
		text = p.of(m, r)
	}
	for i := range v1Parts {
		v := &v1Parts[i]
		dst = append(dst, v.key...)
		for j := 0; j < len(v.list) && typ == v.of; j++ {
			var value []byte
			value, text = next(text)
			switch {
			case v.list[j].number && (len(value) != 1 || value[0] != '0'):
				dst = append(append(append(dst, v.list[j].key...), value...), ',')
			case !v.list[j].number:
				dst = v1Text(dst, v.list[j].key, value)
			}
		}
		dst = append(closeJSON(dst, '}'), ',')
	}
	if r.Type == dnswire.TypeOPT {
		before := len(dst)
		dst = append(dst, `"opt":[`...)
		list := len(dst)
		if dst = traceeOptions(dst, m, r); len(dst) == list {
			dst = dst[:before]
		} else {
			dst = append(closeJSON(dst, ']'), ',')
		}
	}
	dst = append(dst, `"uri":{`...)
	if uri := m.RData(r); typ == dnswire.TypeURI && len(uri) > 4 {
		dst = v1Number(dst, `"priority":`, uint16(uri[0])<<8|uint16(uri[1]))
		dst = v1Number(dst, `"weight":`, uint16(uri[2])<<8|uint16(uri[3]))
		dst = append(dst, `"target":"`...)
		at := len(dst)
		dst = append(event.EscapeJSON(event.AppendSafeBytes(dst, uri[4:min(len(uri), maxPath)]), at), '"', ',')
	}
	dst = append(closeJSON(dst, '}'), ',')
	if typ == dnswire.TypeTXT {
		dst = traceeTXT(append(dst, `"txt":"`...), m, r)
		dst = append(dst, `",`...)
	}
	return closeJSON(dst, '}')
}

func v1IP(dst []byte, e *event.Event) []byte {
	p := &e.Packet
	if p.Version == 6 {
		dst = append(dst, `{"name":"proto_ipv6","ipv6":{"version":6,`...)
		dst = v1Number(dst, `"traffic_class":`, p.TOS)
		dst = v1Number(dst, `"flow_label":`, p.FlowLabel)
		dst = v1Number(dst, `"length":`, max(e.Meta.PacketLen, 40)-40)
		dst = append(traceeProtocol(append(dst, `"next_header":"`...), e.Meta.Protocol), `",`...)
		dst = v1Number(dst, `"hop_limit":`, p.TTL)
	} else {
		dst = append(dst, `{"name":"proto_ipv4","ipv4":{"version":4,`...)
		dst = v1Number(dst, `"ihl":`, p.HeaderLen/4)
		dst = v1Number(dst, `"tos":`, p.TOS)
		dst = v1Number(dst, `"length":`, e.Meta.PacketLen)
		dst = v1Number(dst, `"id":`, p.ID)
		dst = v1Number(dst, `"flags":`, ipFlags(p))
		dst = v1Number(dst, `"frag_offset":`, p.FragOffset/8)
		dst = v1Number(dst, `"ttl":`, p.TTL)
		dst = append(traceeProtocol(append(dst, `"protocol":"`...), e.Meta.Protocol), `",`...)
		dst = v1Number(dst, `"checksum":`, p.IPChecksum)
	}
	dst = event.AppendAddr(append(dst, `"src_ip":"`...), e.Meta.SrcIP)
	dst = event.AppendAddr(append(dst, `","dst_ip":"`...), e.Meta.DstIP)
	return append(dst, `"}},`...)
}

func v1Transport(dst []byte, e *event.Event, tcp bool) []byte {
	p := &e.Packet
	key := `{"name":"proto_udp","udp":{`
	if tcp {
		key = `{"name":"proto_tcp","tcp":{`
	}
	dst = v1Number(append(dst, key...), `"src_port":`, e.Meta.SrcPort)
	dst = v1Number(dst, `"dst_port":`, e.Meta.DstPort)
	if !tcp {
		dst = v1Number(dst, `"length":`, p.UDPLen)
		dst = v1Number(dst, `"checksum":`, p.Checksum)
		return append(closeJSON(dst, '}'), `},`...)
	}
	dst = v1Number(dst, `"seq":`, p.TCPSeq)
	dst = v1Number(dst, `"ack":`, p.TCPAck)
	dst = v1Number(dst, `"data_offset":`, p.TCPOffset)
	for bit, key := range [...]string{
		`"fin_flag":`, `"syn_flag":`, `"rst_flag":`, `"psh_flag":`, `"ack_flag":`, `"urg_flag":`, `"ece_flag":`, `"cwr_flag":`, `"ns_flag":`,
	} {
		dst = v1Bit(dst, key, p.TCPFlags>>bit&1 != 0)
	}
	dst = v1Number(dst, `"window":`, p.TCPWindow)
	dst = v1Number(dst, `"checksum":`, p.Checksum)
	dst = v1Number(dst, `"urgent":`, p.TCPUrgent)
	return append(closeJSON(dst, '}'), `},`...)
}
