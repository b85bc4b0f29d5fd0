package output

import (
	"time"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/kind"
)

// zeek and zeek-tsv are Zeek's dns.log: a line per transaction, which is a
// response with what is known of its query, or a query without an answer. Behind
// Zeek's columns stand those of the process. Names are in lower case and, as all
// text, in presentation format.
var (
	zeek = Format{
		Name:  "zeek",
		Doc:   "Zeek's dns.log as JSON, a line per transaction; alerts as in notice.log",
		Kinds: kindResponse | kindUnanswered | kindAlerts,
		New:   (&perEvent{kinds: kindResponse | kindUnanswered | kindAlerts, append: appendZeek}).new,
	}
	zeekTSV = Format{
		Name:  "zeek-tsv",
		Doc:   "Zeek's dns.log, tab-separated",
		Kinds: kindResponse | kindUnanswered,
		New:   func(Settings) (Encoder, error) { return &zeekLog{time.Now}, nil },
	}
)

// zeekColumn is a column of dns.log. A value that is not set appends nothing; of
// a list, append takes the elements one by one.
type zeekColumn struct {
	name, typ string
	append    func(dst []byte, e *event.Event) []byte
	element   func(dst []byte, e *event.Event, r *dnswire.Record) []byte
}

// quoted reports whether the value is a string in JSON.
func (c *zeekColumn) quoted() bool {
	return c.typ == "string" || c.typ == "addr" || c.typ == "enum" || c.typ == "vector[string]"
}

var zeekColumns = []zeekColumn{
	{name: "ts", typ: "time", append: func(dst []byte, e *event.Event) []byte { return event.AppendSeconds(dst, queryTime(e)) }},
	{name: "uid", typ: "string", append: zeekUID},
	{name: "id.orig_h", typ: "addr", append: func(dst []byte, e *event.Event) []byte {
		client, _ := e.Ends()
		return event.AppendAddr(dst, client.Addr())
	}},
	{name: "id.orig_p", typ: "port", append: func(dst []byte, e *event.Event) []byte {
		client, _ := e.Ends()
		return event.AppendUint(dst, uint64(client.Port()))
	}},
	{name: "id.resp_h", typ: "addr", append: func(dst []byte, e *event.Event) []byte {
		_, server := e.Ends()
		return event.AppendAddr(dst, server.Addr())
	}},
	{name: "id.resp_p", typ: "port", append: func(dst []byte, e *event.Event) []byte {
		_, server := e.Ends()
		return event.AppendUint(dst, uint64(server.Port()))
	}},
	{name: "proto", typ: "enum", append: func(dst []byte, e *event.Event) []byte { return append(dst, transport(e, "udp", "tcp")...) }},
	{name: "trans_id", typ: "count", append: func(dst []byte, e *event.Event) []byte { return event.AppendUint(dst, uint64(e.Msg.ID)) }},
	{name: "rtt", typ: "interval", append: func(dst []byte, e *event.Event) []byte {
		if e.Txn.State == event.StateNone || e.Txn.Latency < 0 || !e.Msg.Flags.Response() {
			return dst
		}
		return event.AppendSeconds(dst, e.Txn.Latency)
	}},
	{name: "query", typ: "string", append: ofQuestion(func(dst []byte, m *dnswire.Message, q dnswire.Question) []byte {
		return m.AppendNameLower(dst, q.Name)
	})},
	{name: "qclass", typ: "count", append: ofQuestion(func(dst []byte, _ *dnswire.Message, q dnswire.Question) []byte {
		return event.AppendUint(dst, uint64(q.Class))
	})},
	{name: "qclass_name", typ: "string", append: ofQuestion(func(dst []byte, _ *dnswire.Message, q dnswire.Question) []byte {
		return zeekClass(dst, q.Class)
	})},
	{name: "qtype", typ: "count", append: ofQuestion(func(dst []byte, _ *dnswire.Message, q dnswire.Question) []byte {
		return event.AppendUint(dst, uint64(q.Type))
	})},
	{name: "qtype_name", typ: "string", append: ofQuestion(func(dst []byte, _ *dnswire.Message, q dnswire.Question) []byte {
		return zeekType(dst, q.Type)
	})},
	{name: "rcode", typ: "count", append: func(dst []byte, e *event.Event) []byte {
		if !e.Msg.Flags.Response() {
			return dst
		}
		return event.AppendUint(dst, uint64(e.Msg.RCode()))
	}},
	{name: "rcode_name", typ: "string", append: func(dst []byte, e *event.Event) []byte {
		if !e.Msg.Flags.Response() {
			return dst
		}
		return zeekRCode(dst, e.Msg.RCode())
	}},
	{name: "AA", typ: "bool", append: zeekFlag(dnswire.FlagAA)},
	{name: "TC", typ: "bool", append: zeekFlag(dnswire.FlagTC)},
	{name: "RD", typ: "bool", append: zeekFlag(dnswire.FlagRD)},
	{name: "RA", typ: "bool", append: zeekFlag(dnswire.FlagRA)},
	{name: "Z", typ: "count", append: func(dst []byte, e *event.Event) []byte {
		return event.AppendUint(dst, uint64(e.Msg.Flags>>4&7)) // with AD and CD, as ever
	}},
	{name: "answers", typ: "vector[string]", element: zeekAnswer},
	{name: "TTLs", typ: "vector[interval]", element: func(dst []byte, _ *event.Event, r *dnswire.Record) []byte {
		return append(event.AppendUint(dst, uint64(r.TTL)), ".000000"...)
	}},
	{name: "rejected", typ: "bool", append: func(dst []byte, e *event.Event) []byte {
		// A response without any record, or an error without a question.
		c := &e.Msg.Count
		bare := c[dnswire.SectionAnswer] == 0 && c[dnswire.SectionAuthority] == 0 && c[dnswire.SectionAdditional] == 0
		return zeekBool(dst, e.Msg.Flags.Response() && (bare || c[dnswire.SectionQuestion] == 0 && e.Msg.RCode() != 0))
	}},
	{name: "opcode", typ: "count", append: func(dst []byte, e *event.Event) []byte {
		return event.AppendUint(dst, uint64(e.Msg.Flags.Opcode()))
	}},
	{name: "opcode_name", typ: "string", append: zeekOpcode},
	{name: "process.pid", typ: "count", append: ofProcess(func(dst []byte, who *event.Party) []byte {
		return event.AppendUint(dst, uint64(who.ID.TGID))
	})},
	{name: "process.name", typ: "string", append: ofProcess(func(dst []byte, who *event.Party) []byte { return who.ID.AppendComm(dst) })},
	{name: "process.executable", typ: "string", append: ofProcess(appendExe)},
}

// queryTime returns when the query was sent, or the event's time when that is
// not known.
func queryTime(e *event.Event) int64 {
	switch {
	case e.Txn.Asked != 0:
		return e.Txn.Asked
	case e.Txn.State == event.StateNone || e.Txn.Latency < 0 || !e.Msg.Flags.Response():
		return e.Time
	}
	return e.Time - e.Txn.Latency
}

func ofQuestion(f func([]byte, *dnswire.Message, dnswire.Question) []byte) func([]byte, *event.Event) []byte {
	return func(dst []byte, e *event.Event) []byte {
		if q, ok := question(&e.Msg); ok {
			return f(dst, &e.Msg, q)
		}
		return dst
	}
}

// zeekUID appends the same text for all transactions between two ports.
func zeekUID(dst []byte, e *event.Event) []byte { return zeekUIDOf(dst, flowID(e)) }

func zeekUIDOf(dst []byte, id uint64) []byte {
	const digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	dst = append(dst, 'C')
	for ; id > 0; id /= uint64(len(digits)) {
		dst = append(dst, digits[id%uint64(len(digits))])
	}
	return dst
}

func zeekBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 'T')
	}
	return append(dst, 'F')
}

func zeekFlag(bit dnswire.Flags) func([]byte, *event.Event) []byte {
	return func(dst []byte, e *event.Event) []byte { return zeekBool(dst, e.Msg.Flags&bit != 0) }
}

func zeekClass(dst []byte, c dnswire.Class) []byte {
	switch c {
	case dnswire.ClassIN:
		return append(dst, "C_INTERNET"...)
	case dnswire.ClassCS:
		return append(dst, "C_CSNET"...)
	case dnswire.ClassCH:
		return append(dst, "C_CHAOS"...)
	case dnswire.ClassHS:
		return append(dst, "C_HESIOD"...)
	case dnswire.ClassNONE:
		return append(dst, "C_NONE"...)
	case dnswire.ClassANY:
		return append(dst, "C_ANY"...)
	}
	return event.AppendUint(append(dst, "qclass-"...), uint64(c))
}

func zeekType(dst []byte, t dnswire.Type) []byte {
	if t == dnswire.TypeANY {
		return append(dst, '*')
	}
	at := len(dst)
	if dst = t.Append(dst); t != 0 && !unnamed(dst[at:], "TYPE") {
		return dst
	}
	return event.AppendUint(append(dst[:at], "query-"...), uint64(t))
}

// unnamed reports whether text is a prefix and a number.
func unnamed(text []byte, prefix string) bool {
	return len(text) > len(prefix) && string(text[:len(prefix)]) == prefix && text[len(prefix)] >= '0' && text[len(prefix)] <= '9'
}

func zeekRCode(dst []byte, rc dnswire.RCode) []byte {
	switch {
	case rc == dnswire.RCodeNXRRSet:
		return append(dst, "NXRRSet"...)
	case rc >= 11 && rc <= 15:
		return event.AppendUint(append(dst, "unassigned-"...), uint64(rc))
	case rc > dnswire.RCodeBadCookie:
		return event.AppendUint(append(dst, "rcode-"...), uint64(rc))
	}
	return rc.Append(dst)
}

func zeekOpcode(dst []byte, e *event.Event) []byte {
	switch o := e.Msg.Flags.Opcode(); o {
	case dnswire.OpcodeQuery:
		return append(dst, "query"...)
	case dnswire.OpcodeIQuery:
		return append(dst, "iquery"...)
	case dnswire.OpcodeStatus:
		return append(dst, "server-status"...)
	case dnswire.OpcodeNotify:
		return append(dst, "notify"...)
	case dnswire.OpcodeUpdate:
		return append(dst, "dynamic-update"...)
	case dnswire.OpcodeDSO:
		return append(dst, "dso"...)
	default:
		return event.AppendUint(append(dst, "opcode-"...), uint64(o))
	}
}

// zeekAnswer appends what Zeek says of a record: a part of it. Records of which
// it says nothing are their type and data.
func zeekAnswer(dst []byte, e *event.Event, r *dnswire.Record) []byte {
	m := &e.Msg
	at := len(dst)
	dst = append(r.Type.Append(dst), ' ')
	if unnamed(dst[at:], "TYPE") {
		return append(event.AppendUint(append(dst[:at], "<unknown type="...), uint64(r.Type)), '>')
	}
	if r.Fault != dnswire.None || r.Len == 0 {
		return m.AppendRData(dst, r)
	}
	var p parts
	data := m.RData(r)
	switch r.Type {
	case dnswire.TypeA, dnswire.TypeAAAA, dnswire.TypeNS, dnswire.TypeCNAME, dnswire.TypePTR:
		return m.AppendRData(dst[:at], r)
	case dnswire.TypeMX:
		_, name := next(p.of(m, r))
		return append(dst[:at], name...)
	case dnswire.TypeSRV:
		rest := p.of(m, r)
		for range 3 {
			_, rest = next(rest)
		}
		return append(dst[:at], rest...)
	case dnswire.TypeSOA:
		mname, _ := next(p.of(m, r))
		return append(dst[:at], mname...)
	case dnswire.TypeTXT, dnswire.TypeSPF:
		dst = dst[:at]
		for len(data) > 0 && len(dst)-at < maxList {
			if len(dst) > at {
				dst = append(dst, ' ')
			}
			n := 1 + int(data[0])
			dst = event.AppendUint(append(r.Type.Append(dst), ' '), uint64(n-1))
			dst = event.AppendSafeBytes(append(dst, ' '), data[1:n])
			data = data[n:]
		}
		return dst
	case dnswire.TypeRRSIG:
		dst = append(event.AppendUint(dst, uint64(data[0])<<8|uint64(data[1])), ' ')
		return append(dst, signer(m.AppendRData(dst[len(dst):], r))...)
	case dnswire.TypeDNSKEY:
		return event.AppendUint(dst, uint64(data[3]))
	case dnswire.TypeDS:
		return event.AppendUint(append(event.AppendUint(dst, uint64(data[2])), ' '), uint64(data[3]))
	case dnswire.TypeNSEC:
		dst = append(m.AppendName(dst, r.Name), ' ')
		name, _ := next(m.AppendRData(dst[len(dst):], r))
		return append(dst, name...)
	case dnswire.TypeNSEC3, 51: // NSEC3PARAM
		return dst[:len(dst)-1]
	case dnswire.TypeSSHFP:
		dst = append(dst[:len(dst)-1], ": "...)
		for _, c := range data[2:min(len(data), maxPath)] {
			dst = append(dst, hexDigits[c>>4], hexDigits[c&15])
		}
		return dst
	}
	return m.AppendRData(dst, r)
}

// signer returns the eighth part of an RRSIG's text.
func signer(text []byte) []byte {
	for range 7 {
		_, text = next(text)
	}
	name, _ := next(text)
	if len(name) == 1 && name[0] == '.' {
		return append(name[:0], "<Root>"...)
	}
	return name
}

// list appends the elements of a list, each with a comma. Of answers it takes as
// many as fit, and returns how many these are; of what goes with them, n.
func (c *zeekColumn) list(dst []byte, e *event.Event, n int, json bool) ([]byte, int) {
	answers, start := e.Msg.Answer(), len(dst)
	if n >= 0 {
		answers = answers[:n]
	}
	for i := range answers {
		before := len(dst)
		if c.quoted() && json {
			dst = append(dst, '"')
		}
		at := len(dst)
		dst = c.element(dst, e, &answers[i])
		switch {
		case c.quoted() && json:
			dst = append(event.EscapeJSON(dst, at), '"')
		case c.quoted():
			dst = escapeTSV(dst, at, true)
		}
		if dst = append(dst, ','); n < 0 && len(dst)-start > maxList {
			e.Capped = true
			return dst[:before], i
		}
	}
	return dst, len(answers)
}

func appendZeek(dst []byte, e *event.Event) []byte {
	if e.Class == event.ClassAlert {
		return appendNotice(dst, e)
	}
	answers := -1
	dst = append(dst, '{')
	for i := range zeekColumns {
		c, before := &zeekColumns[i], len(dst)
		dst = append(append(append(dst, '"'), c.name...), `":`...)
		switch {
		case c.element != nil:
			dst = append(dst, '[')
		case c.quoted():
			dst = append(dst, '"')
		}
		value := len(dst)
		if c.element != nil {
			dst, answers = c.list(dst, e, answers, true)
		} else {
			dst = c.append(dst, e)
		}
		switch {
		case len(dst) == value:
			dst = dst[:before]
			continue
		case c.element != nil:
			dst = closeJSON(dst, ']')
		case c.quoted():
			dst = append(event.EscapeJSON(dst, value), '"')
		case c.typ == "bool" && dst[value] == 'T':
			dst = append(dst[:value], "true"...)
		case c.typ == "bool":
			dst = append(dst[:value], "false"...)
		}
		dst = append(dst, ',')
	}
	return append(closeJSON(dst, '}'), '\n')
}

// zeekLog is the encoder of zeek-tsv.
type zeekLog struct {
	now func() time.Time // the clock, for the lines that say when a file was opened and closed
}

func (z *zeekLog) worker() Encoder { return z }

// Header implements Framed.
func (z *zeekLog) Header(dst []byte) []byte {
	dst = append(dst, "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tdns\n#open\t"...)
	dst = append(z.now().AppendFormat(dst, zeekClock), "\n#fields"...)
	for i := range zeekColumns {
		dst = append(append(dst, '\t'), zeekColumns[i].name...)
	}
	dst = append(dst, "\n#types"...)
	for i := range zeekColumns {
		dst = append(append(dst, '\t'), zeekColumns[i].typ...)
	}
	return append(dst, '\n')
}

// Trailer implements Framed.
func (z *zeekLog) Trailer(dst []byte) []byte {
	return append(z.now().AppendFormat(append(dst, "#close\t"...), zeekClock), '\n')
}

const zeekClock = "2006-01-02-15-04-05"

func (*zeekLog) oncePerEvent() {}

// Append implements Encoder.
func (z *zeekLog) Append(dst []byte, b *event.Batch) []byte {
	for i := range b.Events {
		if e := &b.Events[i]; kind.Set(e.Kinds)&zeekTSV.Kinds != 0 {
			dst = z.row(dst, e)
		}
	}
	return dst
}

func (z *zeekLog) row(dst []byte, e *event.Event) []byte {
	answers := -1
	for i := range zeekColumns {
		c, value := &zeekColumns[i], len(dst)
		if c.element != nil {
			if dst, answers = c.list(dst, e, answers, false); len(dst) > value {
				dst = dst[:len(dst)-1]
			}
		} else if dst = c.append(dst, e); c.quoted() {
			dst = escapeTSV(dst, value, false)
		}
		if len(dst) == value {
			dst = append(dst, '-')
		}
		dst = append(dst, '\t')
	}
	dst[len(dst)-1] = '\n'
	return dst
}

// escapeTSV makes dst[at:], which is printable ASCII, fit for a cell: a backslash
// is doubled, the comma of a list's element and the first character of text that
// would mean "unset" or "empty" become \xHH. No tab and no line end can occur.
func escapeTSV(dst []byte, at int, element bool) []byte {
	if text := dst[at:]; string(text) == "-" || string(text) == "(empty)" {
		first := text[0]
		dst = append(dst, "..."...)
		copy(dst[at+4:], dst[at+1:])
		copy(dst[at:], `\x`)
		dst[at+2], dst[at+3] = hexDigits[first>>4], hexDigits[first&15]
		return dst
	}
	extra := 0
	for _, c := range dst[at:] {
		switch {
		case c == '\\':
			extra++
		case c == ',' && element:
			extra += len(`\x2c`) - 1
		}
	}
	if extra == 0 {
		return dst
	}
	from := len(dst)
	for range extra {
		dst = append(dst, 0)
	}
	for to := len(dst); from > at && from < to; {
		from--
		switch c := dst[from]; {
		case c == '\\':
			to -= 2
			copy(dst[to:], `\\`)
		case c == ',' && element:
			to -= 4
			copy(dst[to:], `\x2c`)
		default:
			to--
			dst[to] = c
		}
	}
	return dst
}
