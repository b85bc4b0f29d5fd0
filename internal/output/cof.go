package output

import (
	"strconv"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
)

// cof is the Passive DNS Common Output Format (draft-dulaunoy-dnsop-passive-dns-cof):
// a line per RRset of an answer section, rdata being a list. Nothing is summed
// up: count is 1 and both times are the response's.
//
// Not every response is evidence of what the name server says. Left out are those
// that nobody asked for or that answer another question, records of other classes
// than IN, for which the format has no key, and messages of other opcodes: the
// answer section of an UPDATE holds conditions.
var cof = Format{
	Name:  "cof",
	Doc:   "passive DNS Common Output Format, a line per RRset of an answer",
	Kinds: kindResponse,
	New:   (&perEvent{kinds: kindResponse, append: appendCOF}).new,
}

func appendCOF(dst []byte, e *event.Event) []byte {
	m := &e.Msg
	if m.Flags.Opcode() != dnswire.OpcodeQuery || e.Txn.State == event.StateUnsolicited || e.Txn.State == event.StateMismatched {
		return dst
	}
	answers, start := m.Answer(), len(dst)
	for i := 0; i < len(answers); {
		r := &answers[i]
		n := i + 1
		for n < len(answers) && sameRRset(m, r, &answers[n]) {
			n++
		}
		set := answers[i:n]
		i = n
		if r.Class != dnswire.ClassIN {
			continue
		}
		before := len(dst)
		dst = jsonNameLower(append(dst, `{"rrname":"`...), m, r.Name)
		dst = append(dst, `","rrtype":`...)
		at := len(dst)
		if dst = append(r.Type.Append(append(dst, '"')), '"'); unnamed(dst[at+1:], "TYPE") {
			dst = event.AppendUint(dst[:at], uint64(r.Type))
		}
		dst = append(dst, `,"rdata":[`...)
		list := len(dst)
		for j := range set {
			if set[j].Fault != dnswire.None {
				continue
			}
			dst = append(jsonData(append(dst, '"'), m, &set[j]), `",`...)
			if len(dst)-list > maxList {
				break
			}
		}
		if len(dst) == list {
			dst = dst[:before]
			continue
		}
		dst = closeJSON(dst, ']')
		dst = strconv.AppendInt(append(dst, `,"time_first":`...), e.Time/1e9, 10)
		dst = strconv.AppendInt(append(dst, `,"time_last":`...), e.Time/1e9, 10)
		dst = strconv.AppendInt(append(dst, `,"time_first_ms":`...), e.Time/1e6, 10)
		dst = strconv.AppendInt(append(dst, `,"time_last_ms":`...), e.Time/1e6, 10)
		dst = event.FieldHost.Append(append(dst, `,"count":1,"sensor_id":`...), e)
		if dst = append(dst, '}', '\n'); len(dst)-start > maxLines {
			return dst[:before]
		}
	}
	return dst
}

// maxLines bounds the lines of one event.
const maxLines = 64 << 10

func sameRRset(m *dnswire.Message, a, b *dnswire.Record) bool {
	return a.Type == b.Type && a.Class == b.Class && dnswire.EqualNames(m, a.Name, m, b.Name)
}
