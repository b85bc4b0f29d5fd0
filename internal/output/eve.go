package output

import (
	"net/netip"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
)

// eve is Suricata's EVE JSON, DNS version 3: a line per message, requests and
// responses, src_ip being the sender. What it has no place for stands in an
// object of its own, "dnshark".
var eve = Format{
	Name:  "eve",
	Doc:   "Suricata's EVE JSON, DNS version 3, and alerts",
	Kinds: kindMessages | kindAlerts,
	New:   (&perEvent{kinds: kindMessages | kindAlerts, append: appendEVE}).new,
}

func appendEVE(dst []byte, e *event.Event) []byte {
	if e.Class == event.ClassAlert {
		return appendEVEAlert(dst, e)
	}
	m := &e.Msg
	dst = eveTime(append(dst, `{"timestamp":"`...), e.Time)
	dst = jsonNumber(dst, `","flow_id":`, flowID(e))
	if e.Meta.Iface != "" {
		dst = event.AppendJSON(append(dst, `,"in_iface":`...), e.Meta.Iface)
	}
	dst = eveAddr(append(dst, `,"event_type":"dns","src_ip":"`...), e.Meta.SrcIP)
	dst = jsonNumber(dst, `","src_port":`, e.Meta.SrcPort)
	dst = eveAddr(append(dst, `,"dest_ip":"`...), e.Meta.DstIP)
	dst = jsonNumber(dst, `","dest_port":`, e.Meta.DstPort)
	dst = append(append(append(dst, `,"proto":"`...), transport(e, "UDP", "TCP")...), `","dns":{"version":3,"type":"`...)
	if m.Flags.Response() {
		dst = append(dst, "response"...)
	} else {
		dst = append(dst, "request"...)
	}
	dst = jsonNumber(dst, `","tx_id":0,"id":`, m.ID)
	dst = append(dst, `,"flags":"`...)
	dst = append(appendHex16(dst, uint16(m.Flags)), '"')
	for _, f := range eveFlags {
		if m.Flags&f.bit != 0 {
			dst = append(dst, f.text...)
		}
	}
	dst = jsonNumber(dst, `,"opcode":`, m.Flags.Opcode())
	if m.Flags.Response() {
		dst = append(m.RCode().Append(append(dst, `,"rcode":"`...)), '"')
	}
	dst = append(dst, `,"queries":[`...)
	start := len(dst)
	for i := range m.Questions {
		q := &m.Questions[i]
		dst = eveName(append(dst, `{"rrname":"`...), m, q.Name)
		dst = append(q.Type.Append(append(dst, `","rrtype":"`...)), `"},`...)
	}
	dst = closeJSON(dst, ']')
	if m.Flags.Response() {
		if len(m.Answer()) > 0 {
			dst = eveRecords(append(dst, `,"answers":[`...), start, e, m.Answer())
			dst = eveGrouped(dst, start, e)
		}
		if len(m.Authority()) > 0 {
			dst = eveRecords(append(dst, `,"authorities":[`...), start, e, m.Authority())
		}
	}
	if len(m.Additional()) > 0 {
		dst = eveRecords(append(dst, `,"additionals":[`...), start, e, m.Additional())
	}
	dst = append(dst, `},"host":`...)
	dst = event.FieldHost.Append(dst, e)
	return append(appendRest(append(dst, `,"dnshark":`...), e), '}', '\n')
}

var eveFlags = [...]struct {
	bit  dnswire.Flags
	text string
}{
	{dnswire.FlagQR, `,"qr":true`}, {dnswire.FlagAA, `,"aa":true`}, {dnswire.FlagTC, `,"tc":true`},
	{dnswire.FlagRD, `,"rd":true`}, {dnswire.FlagRA, `,"ra":true`}, {dnswire.FlagZ, `,"z":true`},
}

// eveName appends a name; the root is empty.
func eveName(dst []byte, m *dnswire.Message, n dnswire.Name) []byte { return traceeName(dst, m, n) }

func eveRecords(dst []byte, start int, e *event.Event, rs []dnswire.Record) []byte {
	for i := range rs {
		before := len(dst)
		dst = eveRecord(dst, &e.Msg, &rs[i])
		if len(dst)-start > maxList {
			dst, e.Capped = dst[:before], true
			break
		}
	}
	return closeJSON(dst, ']')
}

// eveRecord appends a record, and a comma. A record of several texts becomes as
// many.
func eveRecord(dst []byte, m *dnswire.Message, r *dnswire.Record) []byte {
	begin := len(dst)
	dst = eveName(append(dst, `{"rrname":"`...), m, r.Name)
	dst = append(r.Type.Append(append(dst, `","rrtype":"`...)), '"')
	dst = jsonNumber(dst, `,"ttl":`, r.TTL)
	if first, ok := m.EDNS(); ok && first.Record == r {
		return append(closeJSON(eveOptions(append(dst, `,"opt":[`...), m), ']'), `},`...)
	}
	head := len(dst)
	if r.Type != dnswire.TypeTXT || r.Fault != dnswire.None || r.Len == 0 {
		return append(eveData(append(dst, ','), m, r, false), `},`...)
	}
	for text := m.RData(r); len(text) > 0; {
		if len(dst) != head {
			if len(dst)-begin > maxList {
				break
			}
			dst = append(dst, dst[begin:head]...)
		}
		n := 1 + int(text[0])
		dst = append(dst, `,"rdata":`...)
		dst = append(eveText(dst, text[1:n]), `},`...)
		text = text[n:]
	}
	return dst
}

func eveText(dst, text []byte) []byte {
	dst = append(dst, '"')
	at := len(dst)
	return append(event.EscapeJSON(event.AppendSafeBytes(dst, text), at), '"')
}

// eveData appends RDATA: an object of its parts, with its key unless bare, or a
// string. MX is told by name.
func eveData(dst []byte, m *dnswire.Message, r *dnswire.Record, bare bool) []byte {
	key := func(k string) {
		if !bare {
			dst = append(dst, k...)
		}
	}
	if r.Fault == dnswire.None && r.Len > 0 {
		var p parts
		switch r.Type {
		case dnswire.TypeAAAA:
			key(`"rdata":`)
			return append(eveIPv6(append(dst, '"'), m.RData(r)), '"')
		case dnswire.TypeSOA:
			key(`"soa":`)
			return appendParts(dst, p.of(m, r), soaParts)
		case dnswire.TypeSRV:
			key(`"srv":`)
			return appendParts(dst, p.of(m, r), srvParts)
		case dnswire.TypeSSHFP:
			key(`"sshfp":`)
			return eveSSHFP(dst, m.RData(r))
		case dnswire.TypeMX:
			key(`"rdata":`)
			_, name := next(p.of(m, r))
			return append(jsonTarget(append(dst, '"'), name), '"')
		case dnswire.TypeNS, dnswire.TypeCNAME, dnswire.TypePTR:
			key(`"rdata":`)
			return append(jsonTarget(append(dst, '"'), p.of(m, r)), '"')
		}
	}
	key(`"rdata":`)
	return append(jsonData(append(dst, '"'), m, r), '"')
}

// part is a key and how its value is written.
type part struct {
	key    string // `{"mname":`
	number bool
}

var (
	soaParts = []part{{`{"mname":`, false}, {`,"rname":`, false}, {`,"serial":`, true}, {`,"refresh":`, true},
		{`,"retry":`, true}, {`,"expire":`, true}, {`,"minimum":`, true}}
	srvParts = []part{{`{"priority":`, true}, {`,"weight":`, true}, {`,"port":`, true}, {`,"name":`, false}}
)

// appendParts appends the parts of an RDATA's text as an object.
func appendParts(dst, text []byte, list []part) []byte {
	for _, p := range list {
		var value []byte
		value, text = next(text)
		dst = append(dst, p.key...)
		if p.number {
			dst = append(dst, value...)
		} else {
			dst = append(jsonTarget(append(dst, '"'), value), '"')
		}
	}
	return append(dst, '}')
}

// eveSSHFP appends the fingerprint with a colon between octets.
func eveSSHFP(dst, rdata []byte) []byte {
	dst = append(dst, `{"fingerprint":"`...)
	for i, c := range rdata[2:min(len(rdata), maxPath)] {
		if i > 0 {
			dst = append(dst, ':')
		}
		dst = append(dst, hexDigits[c>>4], hexDigits[c&15])
	}
	dst = jsonNumber(dst, `","algo":`, rdata[0])
	return append(jsonNumber(dst, `,"type":`, rdata[1]), '}')
}

func eveOptions(dst []byte, m *dnswire.Message) []byte {
	for o := range m.Options() {
		dst = jsonNumber(dst, `{"code":`, o.Code)
		dst = append(dst, `,"data":`...)
		data := m.OptionData(o)
		dst = append(eveText(dst, data[:min(len(data), maxPath)]), `},`...)
	}
	return dst
}

// eveGrouped appends the answers by type.
func eveGrouped(dst []byte, start int, e *event.Event) []byte {
	m, answers := &e.Msg, e.Msg.Answer()
	dst = append(dst, `,"grouped":{`...)
	for i := range answers {
		typ := answers[i].Type
		if typeBefore(answers[:i], typ) {
			continue
		}
		if len(dst)-start > maxList {
			e.Capped = true
			break
		}
		dst = append(typ.Append(append(dst, '"')), `":[`...)
		for j := i; j < len(answers); j++ {
			r := &answers[j]
			if r.Type != typ {
				continue
			}
			before := len(dst)
			if typ == dnswire.TypeTXT && r.Fault == dnswire.None && r.Len > 0 {
				for text := m.RData(r); len(text) > 0 && len(dst)-before < maxList; text = text[1+int(text[0]):] {
					dst = append(eveText(dst, text[1:1+int(text[0])]), ',')
				}
			} else {
				dst = append(eveData(dst, m, r, true), ',')
			}
			if len(dst)-start > maxList {
				dst, e.Capped = dst[:before], true
				break
			}
		}
		dst = append(closeJSON(dst, ']'), ',')
	}
	return closeJSON(dst, '}')
}

func typeBefore(rs []dnswire.Record, typ dnswire.Type) bool {
	for i := range rs {
		if rs[i].Type == typ {
			return true
		}
	}
	return false
}

// eveTime appends a time as 2026-11-22T10:02:11.204113+0000.
func eveTime(dst []byte, t int64) []byte {
	at := len(dst)
	return append(event.AppendTime(dst, t)[:at+len("2026-11-22T10:02:11.204113")], "+0000"...)
}

func appendHex16(dst []byte, v uint16) []byte {
	for shift := 12; shift >= 0; shift -= 4 {
		if d := v >> shift; d > 0 || shift == 0 {
			dst = append(dst, hexDigits[d&15])
		}
	}
	return dst
}

// eveAddr appends an address as Suricata does: IPv6 with all its zeros.
func eveAddr(dst []byte, a netip.Addr) []byte {
	if !a.Is6() {
		return event.AppendAddr(dst, a)
	}
	octets := a.As16()
	return eveIPv6(dst, octets[:])
}

func eveIPv6(dst, octets []byte) []byte {
	for i, c := range octets {
		if i > 0 && i%2 == 0 {
			dst = append(dst, ':')
		}
		dst = append(dst, hexDigits[c>>4], hexDigits[c&15])
	}
	return dst
}
