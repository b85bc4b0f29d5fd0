package output

import (
	"strconv"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
)

// rfc8427 represents messages as RFC 8427 says, an object per line. Flags are 0
// or 1. RDATAHEX is the RDATA without compression, so that it means the same
// outside of its message, and RDLENGTH its length. What the format has no place
// for stands in objects of our own, "metadata" and "dnshark".
var rfc8427 = Format{
	Name:  "rfc8427",
	Doc:   "DNS messages as JSON of RFC 8427",
	Kinds: kindMessages,
	New:   (&perEvent{kinds: kindMessages, append: appendRFC8427}).new,
}

func appendRFC8427(dst []byte, e *event.Event) []byte {
	m := &e.Msg
	dst = event.AppendTime(append(dst, `{"dateString":"`...), e.Time)
	dst = strconv.AppendInt(append(dst, `","dateSeconds":`...), e.Time/1e9, 10)
	dst = jsonNumber(dst, `,"ID":`, m.ID)
	dst = jsonBit(dst, `,"QR":`, m.Flags.Response())
	dst = jsonNumber(dst, `,"Opcode":`, m.Flags.Opcode())
	dst = jsonBit(dst, `,"AA":`, m.Flags&dnswire.FlagAA != 0)
	dst = jsonBit(dst, `,"TC":`, m.Flags&dnswire.FlagTC != 0)
	dst = jsonBit(dst, `,"RD":`, m.Flags&dnswire.FlagRD != 0)
	dst = jsonBit(dst, `,"RA":`, m.Flags&dnswire.FlagRA != 0)
	dst = jsonBit(dst, `,"AD":`, m.Flags&dnswire.FlagAD != 0)
	dst = jsonBit(dst, `,"CD":`, m.Flags&dnswire.FlagCD != 0)
	dst = jsonNumber(dst, `,"RCODE":`, m.Flags.RCode())
	dst = jsonNumber(dst, `,"QDCOUNT":`, m.Count[dnswire.SectionQuestion])
	dst = jsonNumber(dst, `,"ANCOUNT":`, m.Count[dnswire.SectionAnswer])
	dst = jsonNumber(dst, `,"NSCOUNT":`, m.Count[dnswire.SectionAuthority])
	dst = jsonNumber(dst, `,"ARCOUNT":`, m.Count[dnswire.SectionAdditional])
	start := len(dst)
	if q, ok := question(m); ok {
		dst = jsonName(append(dst, `,"QNAME":"`...), m, q.Name)
		dst = jsonNumber(dst, `","QTYPE":`, q.Type)
		dst = q.Type.Append(append(dst, `,"QTYPEname":"`...))
		dst = jsonNumber(dst, `","QCLASS":`, q.Class)
		dst = append(q.Class.Append(append(dst, `,"QCLASSname":"`...)), '"')
	}
	dst = append(dst, `,"questionRRs":[`...)
	for i := range m.Questions {
		q := &m.Questions[i]
		dst = append(headRFC8427(dst, m, q.Name, q.Type, q.Class), `},`...)
	}
	dst = recordsRFC8427(append(closeJSON(dst, ']'), `,"answerRRs":[`...), start, e, m.Answer())
	dst = recordsRFC8427(append(dst, `,"authorityRRs":[`...), start, e, m.Authority())
	dst = recordsRFC8427(append(dst, `,"additionalRRs":[`...), start, e, m.Additional())
	dst = event.FieldMetadata.Append(append(dst, `,"metadata":`...), e)
	return append(appendRest(append(dst, `,"dnshark":`...), e), '}', '\n')
}

func headRFC8427(dst []byte, m *dnswire.Message, n dnswire.Name, t dnswire.Type, c dnswire.Class) []byte {
	dst = jsonName(append(dst, `{"NAME":"`...), m, n)
	dst = jsonNumber(dst, `","TYPE":`, t)
	dst = t.Append(append(dst, `,"TYPEname":"`...))
	dst = jsonNumber(dst, `","CLASS":`, c)
	return append(c.Append(append(dst, `,"CLASSname":"`...)), '"')
}

func recordsRFC8427(dst []byte, start int, e *event.Event, rs []dnswire.Record) []byte {
	for i := range rs {
		r, before := &rs[i], len(dst)
		dst = headRFC8427(dst, &e.Msg, r.Name, r.Type, r.Class)
		dst = jsonNumber(dst, `,"TTL":`, r.TTL)
		dst = append(dst, `,"RDATAHEX":"`...)
		at := len(dst)
		dst = e.Msg.AppendWireRData(dst, r)
		size := len(dst) - at
		dst = append(jsonNumber(hexTail(dst, at), `","RDLENGTH":`, size), `},`...)
		if len(dst)-start > maxList {
			dst, e.Capped = dst[:before], true
			break
		}
	}
	return closeJSON(dst, ']')
}

// hexTail turns the octets dst[at:] into hex digits.
func hexTail(dst []byte, at int) []byte {
	n := len(dst) - at
	for range n {
		dst = append(dst, 0)
	}
	for i := n - 1; i >= 0; i-- {
		c := dst[at+i]
		dst[at+2*i], dst[at+2*i+1] = hexDigits[c>>4], hexDigits[c&15]
	}
	return dst
}
