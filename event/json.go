package event

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/dnshark-io/dnshark/dnswire"
)

// The values of fields as JSON. Text from the wire reaches a string through
// appendQuoted or through dnswire's presentation format, which is printable
// ASCII, and escapeTail; there is no third way.

// An event is at most 64 KiB, whatever the message: lists end before the element
// that would break the bounds. Counts of the sections tell what is left out.
const (
	maxQuestionList = 8 << 10
	maxResponseList = 16 << 10
	maxMessage      = 24 << 10
	maxPolicies     = 1 << 10
)

// keep drops the element of a list that was appended last, at before, if the
// octets since start are more than limit. It reports whether the list goes on.
func (e *Event) keep(dst []byte, start, before, limit int) ([]byte, bool) {
	if len(dst)-start <= limit {
		return dst, true
	}
	e.Capped = true
	e.forget() // what was written behind before is gone
	return dst[:before], false
}

func appendHost(dst []byte, e *Event) []byte {
	dst, _ = appendCut(dst, e.Host, maxHostText)
	return dst
}

func appendMetadata(dst []byte, e *Event) []byte {
	m := &e.Meta
	dst = AppendAddr(append(dst, `{"src_ip":"`...), m.SrcIP)
	dst = AppendAddr(append(dst, `","dst_ip":"`...), m.DstIP)
	dst = AppendUint(append(dst, `","src_port":`...), uint64(m.SrcPort))
	dst = AppendUint(append(dst, `,"dst_port":`...), uint64(m.DstPort))
	dst = AppendUint(append(dst, `,"protocol":`...), uint64(m.Protocol))
	dst = AppendUint(append(dst, `,"packet_len":`...), uint64(m.PacketLen))
	dst = appendQuoted(append(dst, `,"iface":`...), m.Iface)
	return append(dst, '}')
}

// written remembers where in an event's own text a name or RDATA stands, so that
// it is copied where it comes again: a question's name comes at least thrice.
// Off is its place in the message; 0, the header, is no such place.
type written struct {
	off uint16
	at  uint32
	n   uint32
}

// text is what is known of an event's own text while it is written. The events
// of a batch have it in common: they are written one after the other.
type text struct {
	names [8]written
	data  [16]written
	memo  *Memo // that wants to know where numbers stand

	second int64 // that clock is the text of
	clock  [30]byte
}

// Begin readies the event for an encoder, which calls it before it writes the
// first field.
func (e *Event) Begin() {
	if e.text == nil {
		e.text = &text{}
	}
	e.Capped = false
	e.forget()
}

// forget forgets what was written of the event.
func (e *Event) forget() {
	t := e.text
	t.names, t.data = [len(t.names)]written{}, [len(t.data)]written{}
}

func (e *Event) appendName(dst []byte, n dnswire.Name) []byte {
	w := &e.text.names[n.Off/2%uint16(len(e.text.names))]
	if w.off == n.Off && n.Off != 0 {
		return append(dst, dst[w.at:w.at+w.n]...)
	}
	at := len(dst)
	dst = e.Msg.AppendName(dst, n)
	// Text as long as the labels and the dots between them has no escapes.
	if len(dst)-at != int(n.Len)-2 {
		dst = escapeTail(dst, at)
	}
	*w = written{n.Off, uint32(at), uint32(len(dst) - at)}
	return dst
}

func (e *Event) appendData(dst []byte, r *dnswire.Record) []byte {
	w := &e.text.data[r.Off/4%uint16(len(e.text.data))]
	if w.off == r.Off {
		return append(dst, dst[w.at:w.at+w.n]...)
	}
	at := len(dst)
	dst = e.Msg.AppendRData(dst, r)
	if r.Type != dnswire.TypeA && r.Type != dnswire.TypeAAAA || r.Fault != dnswire.None {
		dst = escapeTail(dst, at)
	}
	*w = written{r.Off, uint32(at), uint32(len(dst) - at)}
	return dst
}

// typed is a place of the text where a type stands and what is around it there.
type typed uint8

const (
	typedQuery typed = iota
	typedAnswer
	typedQuestion
	typedRecord
)

var typedText = [...]struct{ before, class, after string }{
	typedQuery:    {`","query_type":"`, `","query_class":"`, `"}`},
	typedAnswer:   {`{"answer_type":"`, "", `","ttl":`},
	typedQuestion: {`","type":"`, `","class":"`, `"},`},
	typedRecord:   {`","type":"`, `","class":"`, `","ttl":`},
}

// typedIN are those texts of the low types in class IN, which nearly all are of.
var typedIN = func() (texts [len(typedText)][258]string) {
	for at := range texts {
		for t := range texts[at] {
			texts[at][t] = string(appendAnyTyped(nil, typed(at), dnswire.Type(t), dnswire.ClassIN))
		}
	}
	return texts
}()

func appendTyped(dst []byte, at typed, t dnswire.Type, c dnswire.Class) []byte {
	if int(t) < len(typedIN[at]) && c == dnswire.ClassIN {
		return append(dst, typedIN[at][t]...)
	}
	return appendAnyTyped(dst, at, t, c)
}

func appendAnyTyped(dst []byte, at typed, t dnswire.Type, c dnswire.Class) []byte {
	text := &typedText[at]
	dst = t.Append(append(dst, text.before...))
	if text.class != "" {
		dst = c.Append(append(dst, text.class...))
	}
	return append(dst, text.after...)
}

func (e *Event) appendQueryData(dst []byte, q *dnswire.Question) []byte {
	dst = e.appendName(append(dst, `{"query":"`...), q.Name)
	return appendTyped(dst, typedQuery, q.Type, q.Class)
}

func appendQuestions(dst []byte, e *Event) []byte {
	m, start, more := &e.Msg, len(dst), true
	dst = append(dst, '[')
	for i := 0; i < len(m.Questions) && more; i++ {
		before := len(dst)
		dst = append(e.appendQueryData(dst, &m.Questions[i]), ',')
		dst, more = e.keep(dst, start, before, maxQuestionList)
	}
	return closeList(dst)
}

// appendResponse writes one element per question. With several questions an
// answer belongs to the question whose name its owner has; an answer whose
// owner is none of them follows the answer before it, as the links of a CNAME
// chain do.
func appendResponse(dst []byte, e *Event) []byte {
	m, start, more := &e.Msg, len(dst), true
	answers := m.Answer()
	dst = append(dst, '[')
	for i := 0; i < len(m.Questions) && more; i++ {
		before := len(dst)
		dst = e.appendQueryData(append(dst, `{"query_data":`...), &m.Questions[i])
		if dst, more = e.keep(dst, start, before, maxResponseList); !more {
			break
		}
		dst = append(dst, `,"dns_answer":[`...)
		owner := 0
		for j := 0; j < len(answers) && more; j++ {
			r := &answers[j]
			if len(m.Questions) > 1 {
				if owner = questionOf(m, r.Name, owner); owner != i {
					continue
				}
			}
			before := len(dst)
			dst = e.appendTTL(appendTyped(dst, typedAnswer, r.Type, r.Class), r)
			dst = e.appendData(append(dst, `,"answer":"`...), r)
			dst, more = e.keep(append(dst, `"},`...), start, before, maxResponseList)
		}
		dst = append(closeList(dst), `},`...)
	}
	return closeList(dst)
}

// questionOf returns the index of the question named n, or otherwise.
func questionOf(m *dnswire.Message, n dnswire.Name, otherwise int) int {
	for i := range m.Questions {
		if dnswire.EqualNames(m, n, m, m.Questions[i].Name) {
			return i
		}
	}
	return otherwise
}

// flagLists are the elements of the list of flags, in wire order, for all
// combinations.
var flagLists = func() (lists [256]string) {
	for i := range lists {
		var names []string
		for bit, name := range [...]string{`"cd"`, `"ad"`, `"z"`, `"ra"`, `"rd"`, `"tc"`, `"aa"`, `"qr"`} {
			if i>>bit&1 != 0 {
				names = append([]string{name}, names...)
			}
		}
		lists[i] = strings.Join(names, ",")
	}
	return lists
}()

// flagIndex returns the flags without opcode and response code: QR and the seven
// in a row from AA to CD.
func flagIndex(f dnswire.Flags) uint8 { return uint8(f>>15<<7 | f>>4&0x7f) }

// countKeys are the header's names of the sections (RFC 1035 section 4.1.1).
var countKeys = [...]string{`,"counts":{"qd":`, `,"an":`, `,"ns":`, `,"ar":`}

// fewRecords are the counts of a usual message, to be written over.
const fewRecords = `,"counts":{"qd":0,"an":0,"ns":0,"ar":0`

// closeList replaces the comma behind the last element, if any, by a bracket.
func closeList(dst []byte) []byte {
	if n := len(dst) - 1; dst[n] == ',' {
		dst[n] = ']'
		return dst
	}
	return append(dst, ']')
}

func appendDNS(dst []byte, e *Event) []byte {
	m, start := &e.Msg, len(dst)
	dst = e.appendID(append(dst, `{"id":`...))
	dst = m.Flags.Opcode().Append(append(dst, `,"opcode":"`...))
	dst = m.RCode().Append(append(dst, `","rcode":"`...))
	dst = append(append(dst, `","flags":[`...), flagLists[flagIndex(m.Flags)]...)
	dst = append(dst, `],"questions":[`...)
	for i, more := 0, true; i < len(m.Questions) && more; i++ {
		before := len(dst)
		q := &m.Questions[i]
		dst = e.appendName(append(dst, `{"name":"`...), q.Name)
		dst = appendTyped(dst, typedQuestion, q.Type, q.Class)
		dst, more = e.keep(dst, start, before, maxQuestionList)
	}
	opt, hasOPT := m.EDNS()
	dst = e.appendRecords(append(closeList(dst), `,"answer":[`...), start, m.Answer(), opt.Record)
	dst = e.appendRecords(append(dst, `,"authority":[`...), start, m.Authority(), opt.Record)
	dst = e.appendRecords(append(dst, `,"additional":[`...), start, m.Additional(), opt.Record)
	if hasOPT {
		dst = e.appendEDNS(dst, start, &opt)
	}
	if m.Seen[0] < 10 && m.Seen[1] < 10 && m.Seen[2] < 10 && m.Seen[3] < 10 {
		dst = append(dst, fewRecords...)
		text := dst[len(dst)-len(fewRecords):]
		for i := range m.Seen {
			text[len(fewRecords)-1-len(`,"an":0`)*(len(m.Seen)-1-i)] += byte(m.Seen[i])
		}
	} else {
		for i, key := range countKeys {
			dst = AppendUint(append(dst, key...), uint64(m.Seen[i]))
		}
	}
	dst = AppendUint(append(dst, `},"size":`...), uint64(len(m.Raw)+e.Missing))
	if e.Missing == 0 && (e.Capped || capped(m)) {
		dst = appendDigest(dst, m.Raw)
	}
	if m.Flags.Opcode() == dnswire.OpcodeUpdate {
		dst = append(dst, `,"sections":["zone","prerequisite","update","additional"]`...)
	}
	dst = appendBool(append(dst, `,"incomplete":`...), m.Broken != dnswire.None)
	dst = append(dst, `,"anomalies":[`...)
	if !m.Anomalies.Empty() {
		for a := dnswire.Anomaly(1); int(a) < dnswire.NumAnomalies; a++ {
			if m.Anomalies.Has(a) {
				dst = append(append(append(dst, '"'), a.String()...), `",`...)
			}
		}
	}
	if e.Missing != 0 {
		dst = append(dst, `"message_cut",`...)
	}
	if e.Capped {
		dst = append(dst, `"event_capped",`...)
	}
	return append(closeList(dst), '}')
}

// appendRecords leaves out the record skip, which stands elsewhere. start is
// where the message begins.
func (e *Event) appendRecords(dst []byte, start int, rs []dnswire.Record, skip *dnswire.Record) []byte {
	m := &e.Msg
	for i, more := 0, true; i < len(rs) && more; i++ {
		r := &rs[i]
		if r == skip {
			continue
		}
		before := len(dst)
		dst = e.appendName(append(dst, `{"name":"`...), r.Name)
		dst = e.appendTTL(appendTyped(dst, typedRecord, r.Type, r.Class), r)
		dst = append(e.appendData(append(dst, `,"data":"`...), r), '"')
		if r.Fault != dnswire.None {
			dst = append(append(append(dst, `,"fault":"`...), r.Fault.String()...), '"')
		}
		if r.Len > longData && capped(m) {
			dst = AppendUint(append(dst, `,"size":`...), uint64(r.Len))
			dst = appendDigest(dst, m.RData(r))
		}
		dst, more = e.keep(append(dst, `},`...), start, before, maxMessage)
	}
	return closeList(dst)
}

// longData is the length of RDATA from which on its text may be cut.
const longData = 256

// capped reports whether dnswire left something out of a message's text.
func capped(m *dnswire.Message) bool {
	a := &m.Anomalies
	return a.Has(dnswire.TextCapped) || a.Has(dnswire.TypesCapped) || a.Has(dnswire.OptionsCapped) ||
		a.Has(dnswire.RecordsCapped) || a.Has(dnswire.QuestionsCapped)
}

// appendDigest tells what was left out from what was never there: whoever has
// the octets can compare.
func appendDigest(dst, octets []byte) []byte {
	sum := sha256.Sum256(octets)
	return append(hex.AppendEncode(append(dst, `,"sha256":"`...), sum[:]), '"')
}

func (e *Event) appendEDNS(dst []byte, start int, o *dnswire.EDNS) []byte {
	m := &e.Msg
	dst = AppendUint(append(dst, `,"edns":{"version":`...), uint64(o.Version))
	dst = AppendUint(append(dst, `,"udp_size":`...), uint64(o.UDPSize))
	dst = appendBool(append(dst, `,"do":`...), o.DO)
	dst = AppendUint(append(dst, `,"ext_rcode":`...), uint64(o.ExtRCode))
	dst = append(dst, `,"options":[`...)
	for option := range m.Options() {
		before := len(dst)
		dst = AppendUint(append(dst, `{"code":`...), uint64(option.Code))
		dst = option.Code.Append(append(dst, `,"name":"`...))
		dst = append(dst, `","data":"`...)
		at := len(dst)
		dst = escapeTail(m.AppendOption(dst, option), at)
		more := false
		if dst, more = e.keep(append(dst, `"},`...), start, before, maxMessage); !more {
			break
		}
	}
	return append(closeList(dst), '}')
}

func appendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, "true"...)
	}
	return append(dst, "false"...)
}

func appendTransaction(dst []byte, e *Event) []byte {
	t := &e.Txn
	if t.State == StateNone {
		return dst
	}
	dst = append(append(dst, `{"state":"`...), t.State.String()...)
	dst = append(dst, `","latency_us":`...)
	if t.Latency < 0 {
		dst = append(dst, "null"...)
	} else {
		dst = AppendUint(dst, uint64(t.Latency)/1000)
	}
	dst = AppendUint(append(dst, `,"retransmits":`...), uint64(t.Retransmits))
	if t.Asked != 0 {
		dst = append(AppendTime(append(dst, `,"asked":"`...), t.Asked), '"')
	}
	if t.Cause != nil {
		dst = appendCause(append(dst, `,"caused_by":`...), t.Cause)
	}
	return append(dst, '}')
}

func appendCause(dst []byte, c *Cause) []byte {
	dst = append(dst, `{"rule":"same_question_pending"`...)
	dst = append(AppendTime(append(dst, `,"time":"`...), c.Time), '"')
	dst = append(AppendAddr(append(dst, `,"src_ip":"`...), c.Client.Addr()), '"')
	dst = AppendUint(append(dst, `,"src_port":`...), uint64(c.Client.Port()))
	dst = AppendUint(append(dst, `,"id":`...), uint64(c.ID))
	if c.PID != 0 {
		dst = AppendUint(append(dst, `,"pid":`...), uint64(c.PID))
		dst = append(appendComm(append(dst, `,"comm":"`...), &c.Comm), '"')
	}
	return append(dst, '}')
}

func appendProcess(dst []byte, e *Event) []byte {
	if e.Observer == Passive {
		return dst
	}
	return appendParty(dst, &e.Asker)
}

func appendServerProcess(dst []byte, e *Event) []byte {
	if e.Server.ID == nil {
		return dst
	}
	return appendParty(dst, &e.Server)
}

func appendReceiver(dst []byte, e *Event) []byte {
	id := e.Receiver
	if id == nil {
		return dst
	}
	dst = AppendUint(append(dst, `{"pid":`...), uint64(id.TGID))
	dst = AppendUint(append(dst, `,"tid":`...), uint64(id.TID))
	dst = AppendUint(append(dst, `,"ns_pid":`...), uint64(id.NsTGID))
	dst = AppendUint(append(dst, `,"uid":`...), uint64(id.UID))
	dst = appendComm(append(dst, `,"comm":"`...), &id.Comm)
	dst = AppendUint(append(dst, `","cgroup_id":`...), id.Cgroup)
	return append(dst, '}')
}

// appendPlace appends where a task runs, which is known of a socket's maker even
// if nothing else is.
func appendPlace(dst []byte, who *Party) []byte {
	dst = AppendUint(append(dst, `,"cgroup_id":`...), who.ID.Cgroup)
	if who.Unit != "" {
		dst, _ = appendCut(append(dst, `,"unit":`...), who.Unit, maxContainerText)
	}
	if who.Container != nil {
		dst = appendContainer(append(dst, `,"container":`...), who.Container)
	}
	return dst
}

func appendParty(dst []byte, who *Party) []byte {
	dst = append(append(append(dst, `{"attribution":"`...), who.Attribution.String()...), '"')
	if id := who.ID; id != nil && !id.Known() {
		dst = appendPlace(dst, who)
	} else if id != nil {
		dst = AppendUint(append(dst, `,"pid":`...), uint64(id.TGID))
		dst = AppendUint(append(dst, `,"tid":`...), uint64(id.TID))
		dst = AppendUint(append(dst, `,"ppid":`...), uint64(id.PPID))
		dst = AppendUint(append(dst, `,"ns_pid":`...), uint64(id.NsTGID))
		dst = AppendUint(append(dst, `,"uid":`...), uint64(id.UID))
		dst = AppendUint(append(dst, `,"gid":`...), uint64(id.GID))
		if who.User != "" {
			dst, _ = appendCut(append(dst, `,"user":`...), who.User, maxUserText)
		}
		dst = append(appendComm(append(dst, `,"comm":"`...), &id.Comm), '"')
		if p := who.Process; p != nil {
			dst = p.appendTo(dst)
		}
		dst = appendPlace(dst, who)
		dst = AppendUint(append(dst, `,"netns":`...), uint64(id.NetNS))
		dst = AppendUint(append(dst, `,"pidns":`...), uint64(id.PidNS))
	}
	if d := &who.Doubt; d.ID != nil {
		dst = append(append(append(dst, `,"disagreement":{"method":"`...), d.Method.String()...), '"')
		dst = AppendUint(append(dst, `,"pid":`...), uint64(d.ID.TGID))
		dst = append(appendComm(append(dst, `,"comm":"`...), &d.ID.Comm), `"}`...)
	}
	return append(dst, '}')
}

func appendPolicies(dst []byte, e *Event) []byte {
	if len(e.Policies) == 0 {
		return dst
	}
	start := len(dst)
	dst = append(dst, '[')
	for _, name := range e.Policies {
		before := len(dst)
		if dst = append(appendQuoted(dst, name), ','); len(dst)-start > maxPolicies {
			dst = dst[:before]
			break
		}
	}
	return closeList(dst)
}

func appendIP(dst []byte, e *Event) []byte {
	p := &e.Packet
	dst = AppendUint(append(dst, `{"version":`...), uint64(p.Version))
	dst = AppendUint(append(dst, `,"tos":`...), uint64(p.TOS))
	dst = AppendUint(append(dst, `,"ttl":`...), uint64(p.TTL))
	dst = AppendUint(append(dst, `,"id":`...), uint64(p.ID))
	dst = AppendUint(append(dst, `,"frag_offset":`...), uint64(p.FragOffset))
	dst = append(dst, `,"flags":[`...)
	if p.DontFrag {
		dst = append(dst, `"DF",`...)
	}
	if p.MoreFrags {
		dst = append(dst, `"MF",`...)
	}
	dst = AppendUint(append(closeList(dst), `,"flow_label":`...), uint64(p.FlowLabel))
	dst = AppendUint(append(dst, `,"checksum":`...), uint64(p.IPChecksum))
	return append(dst, '}')
}

var tcpFlagNames = [9]string{`"FIN",`, `"SYN",`, `"RST",`, `"PSH",`, `"ACK",`, `"URG",`, `"ECE",`, `"CWR",`, `"AE",`}

func appendTCP(dst []byte, e *Event) []byte {
	p := &e.Packet
	dst = AppendUint(append(dst, `{"seq":`...), uint64(p.TCPSeq))
	dst = AppendUint(append(dst, `,"ack":`...), uint64(p.TCPAck))
	dst = AppendUint(append(dst, `,"data_offset":`...), uint64(p.TCPOffset))
	dst = append(dst, `,"flags":[`...)
	for i, name := range tcpFlagNames {
		if p.TCPFlags&(1<<i) != 0 {
			dst = append(dst, name...)
		}
	}
	dst = AppendUint(append(closeList(dst), `,"window":`...), uint64(p.TCPWindow))
	dst = AppendUint(append(dst, `,"checksum":`...), uint64(p.Checksum))
	dst = AppendUint(append(dst, `,"urgent":`...), uint64(p.TCPUrgent))
	return append(dst, '}')
}

func appendUDP(dst []byte, e *Event) []byte {
	p := &e.Packet
	dst = AppendUint(append(dst, `{"length":`...), uint64(p.UDPLen))
	dst = AppendUint(append(dst, `,"checksum":`...), uint64(p.Checksum))
	return append(dst, '}')
}
