package output

import (
	"math/bits"
	"strconv"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/kind"
)

// csv is comma-separated values (RFC 4180, but lines end with LF), with a line of
// names before all others. A cell without a value is empty.
//
// Spreadsheets take a cell that begins with = + - or @ for a formula, and names
// and processes are chosen by strangers. Such a cell begins with an apostrophe,
// and so does one that begins with an apostrophe: who takes away the first
// apostrophe of a cell has what it was. Cells of numbers, times and addresses
// are never so.
var csv = Format{
	Name:  "csv",
	Doc:   "comma-separated values, a line per event",
	Kinds: csvKinds,
	New:   func(Settings) (Encoder, error) { return csvEncoder{}, nil },
}

// csvKinds are all but those of which no column tells anything.
var csvKinds = kindMessages | kindUnanswered | kindPackets | kindAlerts

type csvEncoder struct{}

func (c csvEncoder) worker() Encoder { return c }

// csvColumn is a column. A value of text is escaped; others cannot need it.
type csvColumn struct {
	name   string
	text   bool
	append func(dst []byte, e *event.Event) []byte
}

// ofMessage is for columns that packets and alerts do not have.
func ofMessage(f func(dst []byte, e *event.Event) []byte) func([]byte, *event.Event) []byte {
	return func(dst []byte, e *event.Event) []byte {
		if !e.HasMessage() {
			return dst
		}
		return f(dst, e)
	}
}

// csvColumns stand behind the column "event".
var csvColumns = []csvColumn{
	{"time", false, func(dst []byte, e *event.Event) []byte { return event.AppendTime(dst, e.Time) }},
	{"host", true, func(dst []byte, e *event.Event) []byte { return event.AppendSafeUpTo(dst, e.Host, maxPath) }},
	{"observer", false, func(dst []byte, e *event.Event) []byte { return append(dst, e.Observer.String()...) }},
	{"src_ip", false, func(dst []byte, e *event.Event) []byte { return event.AppendAddr(dst, e.Meta.SrcIP) }},
	{"src_port", false, func(dst []byte, e *event.Event) []byte { return event.AppendUint(dst, uint64(e.Meta.SrcPort)) }},
	{"dst_ip", false, func(dst []byte, e *event.Event) []byte { return event.AppendAddr(dst, e.Meta.DstIP) }},
	{"dst_port", false, func(dst []byte, e *event.Event) []byte { return event.AppendUint(dst, uint64(e.Meta.DstPort)) }},
	{"protocol", false, func(dst []byte, e *event.Event) []byte { return event.AppendUint(dst, uint64(e.Meta.Protocol)) }},
	{"packet_len", false, func(dst []byte, e *event.Event) []byte { return event.AppendUint(dst, uint64(e.Meta.PacketLen)) }},
	{"iface", true, func(dst []byte, e *event.Event) []byte { return event.AppendSafeUpTo(dst, e.Meta.Iface, maxPath) }},
	{"id", false, ofMessage(func(dst []byte, e *event.Event) []byte { return event.AppendUint(dst, uint64(e.Msg.ID)) })},
	{"opcode", false, ofMessage(func(dst []byte, e *event.Event) []byte { return e.Msg.Flags.Opcode().Append(dst) })},
	{"rcode", false, ofMessage(func(dst []byte, e *event.Event) []byte {
		if !e.Msg.Flags.Response() {
			return dst
		}
		return e.Msg.RCode().Append(dst)
	})},
	{"flags", false, ofMessage(csvFlags)},
	{"qname", true, ofMessage(ofQuestion(func(dst []byte, m *dnswire.Message, q dnswire.Question) []byte { return m.AppendName(dst, q.Name) }))},
	{"qtype", false, ofMessage(ofQuestion(func(dst []byte, _ *dnswire.Message, q dnswire.Question) []byte { return q.Type.Append(dst) }))},
	{"qclass", false, ofMessage(ofQuestion(func(dst []byte, _ *dnswire.Message, q dnswire.Question) []byte { return q.Class.Append(dst) }))},
	{"answers", true, ofMessage(csvAnswers)},
	{"an", false, ofMessage(count(dnswire.SectionAnswer))},
	{"ns", false, ofMessage(count(dnswire.SectionAuthority))},
	{"ar", false, ofMessage(count(dnswire.SectionAdditional))},
	{"size", false, ofMessage(func(dst []byte, e *event.Event) []byte {
		return event.AppendUint(dst, uint64(len(e.Msg.Raw)+e.Missing))
	})},
	{"anomalies", false, ofMessage(csvAnomalies)},
	{"state", false, func(dst []byte, e *event.Event) []byte { return append(dst, e.Txn.State.String()...) }},
	{"latency_us", false, func(dst []byte, e *event.Event) []byte {
		if e.Txn.State == event.StateNone || e.Txn.Latency < 0 {
			return dst
		}
		return strconv.AppendInt(dst, e.Txn.Latency/1000, 10)
	}},
	{"pid", false, ofProcess(func(dst []byte, who *event.Party) []byte { return event.AppendUint(dst, uint64(who.ID.TGID)) })},
	{"ppid", false, ofProcess(func(dst []byte, who *event.Party) []byte { return event.AppendUint(dst, uint64(who.ID.PPID)) })},
	{"uid", false, ofProcess(func(dst []byte, who *event.Party) []byte { return event.AppendUint(dst, uint64(who.ID.UID)) })},
	{"user", true, ofProcess(func(dst []byte, who *event.Party) []byte { return event.AppendSafeUpTo(dst, who.User, maxPath) })},
	{"comm", true, ofProcess(func(dst []byte, who *event.Party) []byte { return who.ID.AppendComm(dst) })},
	{"exe", true, ofProcess(appendExe)},
	{"container", true, func(dst []byte, e *event.Event) []byte {
		if e.Asker.Container == nil {
			return dst
		}
		return event.AppendSafeUpTo(dst, e.Asker.Container.ID, maxShort)
	}},
	{"alert", true, event.FieldAlert.Append}, // as JSON
}

// csvFlags appends the flags that are set, with a blank between them.
func csvFlags(dst []byte, e *event.Event) []byte {
	at := len(dst)
	for _, f := range csvFlagNames {
		if e.Msg.Flags&f.bit != 0 {
			dst = append(append(dst, f.name...), ' ')
		}
	}
	return trimBlank(dst, at)
}

var csvFlagNames = [...]struct {
	bit  dnswire.Flags
	name string
}{
	{dnswire.FlagQR, "qr"}, {dnswire.FlagAA, "aa"}, {dnswire.FlagTC, "tc"}, {dnswire.FlagRD, "rd"},
	{dnswire.FlagRA, "ra"}, {dnswire.FlagZ, "z"}, {dnswire.FlagAD, "ad"}, {dnswire.FlagCD, "cd"},
}

func trimBlank(dst []byte, at int) []byte {
	if len(dst) > at {
		return dst[:len(dst)-1]
	}
	return dst
}

// csvAnswers appends the answers as `TYPE data`, with "; " between them. In data
// a semicolon that is no part of a quoted string is always escaped or a comment.
func csvAnswers(dst []byte, e *event.Event) []byte {
	m, start := &e.Msg, len(dst)
	for i := range m.Answer() {
		r, before := &m.Answer()[i], len(dst)
		if i > 0 {
			dst = append(dst, "; "...)
		}
		dst = m.AppendRData(append(r.Type.Append(dst), ' '), r)
		if len(dst)-start > maxList {
			e.Capped = true
			return dst[:before]
		}
	}
	return dst
}

func count(s dnswire.Section) func([]byte, *event.Event) []byte {
	return func(dst []byte, e *event.Event) []byte { return event.AppendUint(dst, uint64(e.Msg.Seen[s])) }
}

func csvAnomalies(dst []byte, e *event.Event) []byte {
	at := len(dst)
	for i := range e.Msg.Anomalies.Len() {
		dst = append(append(dst, e.Msg.Anomalies.At(i).String()...), ' ')
	}
	if e.Missing > 0 {
		dst = append(dst, "message_cut "...)
	}
	if e.Capped {
		dst = append(dst, "event_capped "...)
	}
	return trimBlank(dst, at)
}

// Header implements Framed.
func (csvEncoder) Header(dst []byte) []byte {
	dst = append(dst, "event"...)
	for i := range csvColumns {
		dst = append(append(dst, ','), csvColumns[i].name...)
	}
	return append(dst, '\n')
}

// Trailer implements Framed.
func (csvEncoder) Trailer(dst []byte) []byte { return dst }

// Append implements Encoder.
func (csvEncoder) Append(dst []byte, b *event.Batch) []byte {
	for i := range b.Events {
		e := &b.Events[i]
		for kinds := e.Kinds & uint32(csvKinds); kinds != 0; kinds &= kinds - 1 {
			e.Begin()
			dst = append(dst, kind.Catalogue[bits.TrailingZeros32(kinds)].Name...)
			for j := range csvColumns {
				dst = append(dst, ',')
				at := len(dst)
				if dst = csvColumns[j].append(dst, e); csvColumns[j].text {
					dst = escapeCSV(dst, at)
				}
			}
			dst = append(dst, '\n')
		}
	}
	return dst
}

// escapeCSV makes dst[at:], which is printable ASCII, a cell.
func escapeCSV(dst []byte, at int) []byte {
	if len(dst) == at {
		return dst
	}
	before, quotes, quote := 0, 0, false
	switch dst[at] {
	case '=', '+', '-', '@', '\'':
		before = 1
	}
	for _, c := range dst[at:] {
		if c == '"' {
			quotes++
		}
		quote = quote || c == '"' || c == ','
	}
	if before == 0 && !quote {
		return dst
	}
	from, extra := len(dst), before+quotes
	if quote {
		extra += 2
	}
	for range extra {
		dst = append(dst, 0)
	}
	to := len(dst)
	if quote {
		to--
		dst[to] = '"'
	}
	for from > at {
		from--
		to--
		if dst[to] = dst[from]; dst[to] == '"' {
			to--
			dst[to] = '"'
		}
	}
	if before > 0 {
		to--
		dst[to] = '\''
	}
	if quote {
		dst[at] = '"'
	}
	return dst
}
