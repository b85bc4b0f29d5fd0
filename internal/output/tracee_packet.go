package output

import (
	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
)

// The args proto_dns, proto_ipv4, proto_ipv6, proto_tcp and proto_udp of the
// format tracee.

func traceeOpcode(o dnswire.Opcode) string {
	switch o {
	case dnswire.OpcodeQuery:
		return "query"
	case dnswire.OpcodeIQuery:
		return "inverse query"
	case dnswire.OpcodeStatus:
		return "status"
	case dnswire.OpcodeNotify:
		return "notify"
	case dnswire.OpcodeUpdate:
		return "update"
	}
	return "unknown"
}

// traceeRCode names the header's four bits: it does not look into the OPT record.
func traceeRCode(rc dnswire.RCode) string {
	names := [...]string{
		"no error", "format error", "server failure", "non-existent domain", "not implemented", "query refused",
		"name exists when it should not", "rr set exists when it should not", "rr set that should exist does not",
		"server not authoritative for zone", "name not contained in zone",
	}
	if int(rc) < len(names) {
		return names[rc]
	}
	return "unknown"
}

func appendTraceeDNS(dst []byte, e *event.Event) []byte {
	m := &e.Msg
	dst = append(traceeEnds(dst, e, true), `{"name":"proto_dns","type":"trace.ProtoDNS","value":`...)
	dst = jsonNumber(dst, `{"ID":`, m.ID)
	dst = jsonBit(dst, `,"QR":`, m.Flags.Response())
	dst = append(dst, `,"opCode":"`...)
	dst = append(dst, traceeOpcode(m.Flags.Opcode())...)
	dst = jsonBit(dst, `","AA":`, m.Flags&dnswire.FlagAA != 0)
	dst = jsonBit(dst, `,"TC":`, m.Flags&dnswire.FlagTC != 0)
	dst = jsonBit(dst, `,"RD":`, m.Flags&dnswire.FlagRD != 0)
	dst = jsonBit(dst, `,"RA":`, m.Flags&dnswire.FlagRA != 0)
	dst = jsonNumber(dst, `,"Z":`, m.Flags>>4&7) // with AD and CD, of which it knows nothing
	dst = append(dst, `,"responseCode":"`...)
	dst = append(dst, traceeRCode(m.Flags.RCode())...)
	dst = jsonNumber(dst, `","QDCount":`, m.Count[dnswire.SectionQuestion])
	dst = jsonNumber(dst, `,"ANCount":`, m.Count[dnswire.SectionAnswer])
	dst = jsonNumber(dst, `,"NSCount":`, m.Count[dnswire.SectionAuthority])
	dst = jsonNumber(dst, `,"ARCount":`, m.Count[dnswire.SectionAdditional])
	dst = append(dst, `,"questions":[`...)
	start := len(dst)
	for i := range m.Questions {
		q := &m.Questions[i]
		dst = traceeName(append(dst, `{"name":"`...), m, q.Name)
		dst = q.Type.Append(append(dst, `","type":"`...))
		dst = append(traceeClass(append(dst, `","class":"`...), q.Class), `"},`...)
	}
	dst = traceeRecords(append(closeJSON(dst, ']'), `,"answers":[`...), start, e, m.Answer())
	dst = traceeRecords(append(dst, `,"authorities":[`...), start, e, m.Authority())
	dst = traceeRecords(append(dst, `,"additionals":[`...), start, e, m.Additional())
	return append(dst, `}},`...)
}

func traceeRecords(dst []byte, start int, e *event.Event, rs []dnswire.Record) []byte {
	for i := range rs {
		before := len(dst)
		dst = append(traceeRecord(dst, &e.Msg, &rs[i]), ',')
		if len(dst)-start > maxList {
			dst, e.Capped = dst[:before], true
			break
		}
	}
	return closeJSON(dst, ']')
}

func traceeRecord(dst []byte, m *dnswire.Message, r *dnswire.Record) []byte {
	dst = traceeName(append(dst, `{"name":"`...), m, r.Name)
	dst = r.Type.Append(append(dst, `","type":"`...))
	dst = append(dst, `","class":"`...)
	if r.Type == dnswire.TypeOPT {
		dst = append(dst, "Unknown"...) // its class is a size, which the arg dns tells
	} else {
		dst = traceeClass(dst, r.Class)
	}
	var p parts
	var a, b, c, d, f, g, h []byte // what stands in a record of several parts
	typ := r.Type
	if r.Fault != dnswire.None {
		typ = 0
	}
	switch typ {
	case dnswire.TypeA, dnswire.TypeAAAA, dnswire.TypeNS, dnswire.TypeCNAME, dnswire.TypePTR:
		a = p.of(m, r)
	case dnswire.TypeSOA, dnswire.TypeSRV, dnswire.TypeMX:
		rest := p.of(m, r)
		a, rest = next(rest)
		b, rest = next(rest)
		c, rest = next(rest)
		d, rest = next(rest)
		f, rest = next(rest)
		g, h = next(rest)
	}
	text := func(key string, of dnswire.Type, value []byte) {
		if dst = append(dst, key...); typ == of {
			dst = jsonTarget(dst, value)
		}
	}
	number := func(key string, of dnswire.Type, value []byte) {
		if dst = append(dst, key...); typ == of && len(value) > 0 {
			dst = append(dst, value...)
		} else {
			dst = append(dst, '0')
		}
	}
	dst = jsonNumber(dst, `","TTL":`, r.TTL)
	dst = append(dst, `,"IP":"`...)
	if typ == dnswire.TypeA || typ == dnswire.TypeAAAA {
		dst = append(dst, a...)
	}
	text(`","NS":"`, dnswire.TypeNS, a)
	text(`","CNAME":"`, dnswire.TypeCNAME, a)
	text(`","PTR":"`, dnswire.TypePTR, a)
	dst = append(dst, `","TXTs":[`...)
	if typ == dnswire.TypeTXT {
		dst = traceeStrings(dst, m.RData(r), `"`, `",`)
	}
	dst = closeJSON(dst, ']')
	text(`,"SOA":{"MName":"`, dnswire.TypeSOA, a)
	text(`","RName":"`, dnswire.TypeSOA, b)
	number(`","serial":`, dnswire.TypeSOA, c)
	number(`,"refresh":`, dnswire.TypeSOA, d)
	number(`,"retry":`, dnswire.TypeSOA, f)
	number(`,"expire":`, dnswire.TypeSOA, g)
	number(`,"minimum":`, dnswire.TypeSOA, h)
	number(`},"SRV":{"priority":`, dnswire.TypeSRV, a)
	number(`,"weight":`, dnswire.TypeSRV, b)
	number(`,"port":`, dnswire.TypeSRV, c)
	text(`,"name":"`, dnswire.TypeSRV, d)
	number(`"},"MX":{"preference":`, dnswire.TypeMX, a)
	text(`,"name":"`, dnswire.TypeMX, b)
	dst = append(dst, `"},"OPT":[`...)
	if r.Type == dnswire.TypeOPT {
		dst = traceeOptions(dst, m, r)
	}
	dst = append(closeJSON(dst, ']'), `,"URI":{`...)
	if uri := m.RData(r); r.Type == dnswire.TypeURI && r.Fault == dnswire.None && len(uri) >= 4 {
		dst = jsonNumber(dst, `"priority":`, uint16(uri[0])<<8|uint16(uri[1]))
		dst = jsonNumber(dst, `,"weight":`, uint16(uri[2])<<8|uint16(uri[3]))
		dst = append(dst, `,"target":"`...)
		at := len(dst)
		dst = event.EscapeJSON(event.AppendSafeBytes(dst, uri[4:min(len(uri), maxPath)]), at)
	} else {
		dst = append(dst, `"priority":0,"weight":0,"target":"`...)
	}
	dst = append(dst, `"},"TXT":"`...)
	if typ == dnswire.TypeTXT {
		dst = traceeTXT(dst, m, r)
	}
	return append(dst, `"}`...)
}

// traceeStrings appends character-strings, each between begin and end.
func traceeStrings(dst, rdata []byte, begin, end string) []byte {
	start := len(dst)
	for len(rdata) > 0 && len(dst)-start < maxList {
		n := 1 + int(rdata[0])
		dst = append(dst, begin...)
		at := len(dst)
		dst = event.EscapeJSON(event.AppendSafeBytes(dst, rdata[1:n]), at)
		dst = append(dst, end...)
		rdata = rdata[n:]
	}
	return dst
}

// traceeTXT appends character-strings with a blank between them.
func traceeTXT(dst []byte, m *dnswire.Message, r *dnswire.Record) []byte {
	at := len(dst)
	return trimBlank(traceeStrings(dst, m.RData(r), "", " "), at)
}

// traceeOptions appends the options of the first OPT record.
func traceeOptions(dst []byte, m *dnswire.Message, r *dnswire.Record) []byte {
	if first, _ := m.EDNS(); first.Record != r {
		return dst
	}
	for o := range m.Options() {
		dst = o.Code.Append(append(dst, `{"code":"`...))
		dst = append(dst, `","data":"`...)
		at := len(dst)
		dst = event.EscapeJSON(m.AppendOption(dst, o), at)
		dst = append(dst, `"},`...)
	}
	return dst
}

func traceeProtocol(dst []byte, protocol uint8) []byte {
	switch protocol {
	case 1:
		return append(dst, "ICMPv4"...)
	case 6:
		return append(dst, "TCP"...)
	case 17:
		return append(dst, "UDP"...)
	case 58:
		return append(dst, "ICMPv6"...)
	}
	return event.AppendUint(dst, uint64(protocol))
}

func appendTraceeIPv4(dst []byte, e *event.Event) []byte {
	p := &e.Packet
	dst = append(traceeEnds(dst, e, false), `{"name":"proto_ipv4","type":"trace.ProtoIPv4","value":`...)
	dst = jsonNumber(dst, `{"version":4,"IHL":`, p.HeaderLen/4)
	dst = jsonNumber(dst, `,"TOS":`, p.TOS)
	dst = jsonNumber(dst, `,"length":`, e.Meta.PacketLen)
	dst = jsonNumber(dst, `,"id":`, p.ID)
	dst = jsonNumber(dst, `,"flags":`, ipFlags(p))
	dst = jsonNumber(dst, `,"fragOffset":`, p.FragOffset/8)
	dst = jsonNumber(dst, `,"TTL":`, p.TTL)
	dst = traceeProtocol(append(dst, `,"protocol":"`...), e.Meta.Protocol)
	return traceeAddrs(jsonNumber(dst, `","checksum":`, p.IPChecksum), e)
}

// ipFlags returns DF as 2 and MF as 1, as they stand in the header.
func ipFlags(p *event.Packet) (flags uint8) {
	if p.DontFrag {
		flags |= 2
	}
	if p.MoreFrags {
		flags |= 1
	}
	return flags
}

func appendTraceeIPv6(dst []byte, e *event.Event) []byte {
	p := &e.Packet
	dst = append(traceeEnds(dst, e, false), `{"name":"proto_ipv6","type":"trace.ProtoIPv6","value":`...)
	dst = jsonNumber(dst, `{"version":6,"trafficClass":`, p.TOS)
	dst = jsonNumber(dst, `,"flowLabel":`, p.FlowLabel)
	// The header's length counts what follows it.
	dst = jsonNumber(dst, `,"length":`, max(e.Meta.PacketLen, 40)-40)
	dst = traceeProtocol(append(dst, `,"nextHeader":"`...), e.Meta.Protocol)
	return traceeAddrs(jsonNumber(dst, `","hopLimit":`, p.TTL), e)
}

func traceeAddrs(dst []byte, e *event.Event) []byte {
	dst = event.AppendAddr(append(dst, `,"srcIP":"`...), e.Meta.SrcIP)
	dst = event.AppendAddr(append(dst, `","dstIP":"`...), e.Meta.DstIP)
	return append(dst, `"}},`...)
}

func appendTraceeTCP(dst []byte, e *event.Event) []byte {
	p := &e.Packet
	dst = append(traceeEnds(dst, e, true), `{"name":"proto_tcp","type":"trace.ProtoTCP","value":`...)
	dst = jsonNumber(dst, `{"srcPort":`, e.Meta.SrcPort)
	dst = jsonNumber(dst, `,"dstPort":`, e.Meta.DstPort)
	dst = jsonNumber(dst, `,"seq":`, p.TCPSeq)
	dst = jsonNumber(dst, `,"ack":`, p.TCPAck)
	dst = jsonNumber(dst, `,"dataOffset":`, p.TCPOffset)
	for bit, key := range [...]string{`,"FIN":`, `,"SYN":`, `,"RST":`, `,"PSH":`, `,"ACK":`, `,"URG":`, `,"ECE":`, `,"CWR":`, `,"NS":`} {
		dst = jsonBit(dst, key, p.TCPFlags>>bit&1 != 0)
	}
	dst = jsonNumber(dst, `,"window":`, p.TCPWindow)
	dst = jsonNumber(dst, `,"checksum":`, p.Checksum)
	return append(jsonNumber(dst, `,"urgent":`, p.TCPUrgent), `}},`...)
}

func appendTraceeUDP(dst []byte, e *event.Event) []byte {
	p := &e.Packet
	dst = append(traceeEnds(dst, e, true), `{"name":"proto_udp","type":"trace.ProtoUDP","value":`...)
	dst = jsonNumber(dst, `{"srcPort":`, e.Meta.SrcPort)
	dst = jsonNumber(dst, `,"dstPort":`, e.Meta.DstPort)
	dst = jsonNumber(dst, `,"length":`, p.UDPLen)
	dst = jsonNumber(dst, `,"checksum":`, p.Checksum)
	return append(dst, `}},`...)
}
