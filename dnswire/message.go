// Package dnswire reads DNS messages in place. Nothing is copied and nothing
// is allocated once a [Message] has grown to its working size: names and RDATA
// stay where they are in the packet, and text is appended to the caller's
// buffer when somebody asks for it.
//
// A message is an attacker's until proven otherwise. Work is linear in the
// length of the message, every bound of RFC 1035 and RFC 9267 is checked, and a
// fault is a value ([Anomaly]), never an error that hides what could be read.
//
// # Shapes
//
// [Message.Unpack] walks the whole message. It keeps the questions and the
// records as offsets into the octets given to it, which the Message borrows
// until the next Unpack; a [Name], a [Record] and an [Option] mean nothing
// without their Message. Records come in wire order, by section
// ([Message.Answer], [Message.Authority], [Message.Additional]) or all of them
// ([Message.All]); OPT is a record like others, and [Message.EDNS] and
// [Message.Options] say what it says. [Limits] bounds what is kept; the counts
// in Seen go on.
//
// # Faults
//
// There are three kinds, and none is silent:
//
//   - A fault of structure (a name, a count, RDLENGTH) ends the reading.
//     Message.Broken names the first one and what stands before it is kept. A
//     pointer that goes forward is followed if it leads somewhere, and flagged
//     all the same.
//   - A fault inside one RDATA is that record's (Record.Fault). Its text is then
//     the hex of RFC 3597, and the reading goes on with the next record.
//   - What is odd but readable (trailing octets, two OPT records, text that
//     Limits cut) is in Message.Anomalies, as are all faults.
//
// # Text
//
// Append functions write presentation format: names by RFC 1035 section 5.1,
// without the final dot, RDATA by the record's own RFC, types and classes
// without a name by RFC 3597. It is printable ASCII whatever the octets were,
// and [AppendWireName] and [AppendUnescaped] get them back. It is not escaped
// for JSON, HTML or a shell.
//
// # Units
//
// TTLs are in seconds, lengths and offsets in octets, times in RRSIG, TSIG and
// TKEY are written as YYYYMMDDHHmmSS in UTC.
package dnswire

import (
	"encoding/binary"
	"iter"
)

// HeaderLen is the length of the fixed header (RFC 1035 section 4.1.1).
const HeaderLen = 12

// MaxRecords is how many records a Message keeps by default. The rest is
// walked, checked and counted.
const MaxRecords = 256

// MaxQuestions is how many questions a Message keeps.
const MaxQuestions = 16

// Section tells where in the message a record stands (RFC 1035 section 4.1).
type Section uint8

// The sections in wire order.
const (
	SectionQuestion Section = iota
	SectionAnswer
	SectionAuthority
	SectionAdditional
	numSections
)

// Name returns what the section is called in messages of opcode o (RFC 1035
// section 4.1, RFC 2136 section 2).
func (s Section) Name(o Opcode) string {
	if s >= numSections {
		return "unknown"
	}
	if o == OpcodeUpdate {
		return [...]string{"zone", "prerequisite", "update", "additional"}[s]
	}
	return [...]string{"question", "answer", "authority", "additional"}[s]
}

// Name locates a domain name inside its message. Two names with the same Off
// are the same name.
type Name struct {
	Off uint16 // of the first label, leading compression pointers followed
	Len uint8  // octets in wire form without compression, 1 (the root) to 255
}

// Question is an entry of the question section (RFC 1035 section 4.1.2).
type Question struct {
	Name  Name
	Type  Type
	Class Class
}

// Record is a resource record (RFC 1035 section 4.1.3). Its RDATA is
// Message.Raw[Off:Off+Len].
type Record struct {
	Name    Name
	Type    Type
	Class   Class
	TTL     uint32 // as on the wire; see EffectiveTTL
	Off     uint16
	Len     uint16
	Section Section
	Fault   Anomaly // what is wrong with the RDATA, or None
}

// EffectiveTTL returns the TTL as a cache understands it: one with the top bit
// set means 0 (RFC 2181 section 8).
func (r *Record) EffectiveTTL() uint32 {
	if r.TTL >= 1<<31 {
		return 0
	}
	return r.TTL
}

// Limits bounds what is kept of a message and how long its text can be, so that
// one packet cannot make a large event. A zero means the default.
type Limits struct {
	Records int // records kept; default MaxRecords
	Text    int // octets of a text datum (TXT, URI, EDE) that are written; default 1024
	Data    int // octets of a binary datum or of a list that are written; default 4096
	Types   int // types of a bitmap, ports of WKS, numbers of an EDNS option; default 64
	Options int // EDNS options; default 64
}

func (l *Limits) records() int { return orDefault(l.Records, MaxRecords) }
func (l *Limits) text() int    { return orDefault(l.Text, 1024) }
func (l *Limits) data() int    { return orDefault(l.Data, 4096) }
func (l *Limits) types() int   { return orDefault(l.Types, 64) }
func (l *Limits) options() int { return orDefault(l.Options, 64) }

func orDefault(v, otherwise int) int {
	if v > 0 {
		return v
	}
	return otherwise
}

// Message is one DNS message, read in place. The zero value is ready for use;
// reuse it to avoid allocation. It borrows the octets given to Unpack.
type Message struct {
	Limits    Limits // kept by Unpack
	Raw       []byte
	ID        uint16
	Flags     Flags
	Count     [numSections]uint16 // entries that the header claims
	Seen      [numSections]uint16 // entries that were found whole
	Questions []Question          // at most MaxQuestions
	Records   []Record            // at most Limits.Records, in wire order
	Broken    Anomaly             // why the message is incomplete, or None
	Anomalies Set                 // everything odd about it, Broken included
	Trailing  int                 // octets after the last record

	opt     int    // index in Records of the first OPT, or -1
	optCopy Record // the first OPT, when that comes after more records than are kept
	options int    // of the first OPT
	opts    int    // OPT records
	chain   int    // CNAME and DNAME records among the answers
	signed  bool
	ends    [numSections]int
	work    int // labels and pointers walked behind pointers
	chases  int
	tails   []tail // see hops.go; empty unless the message is an attack
	spare   Record // for records that are not kept
	last    Name   // the owner name read last, at which the next one often points
}

// MaxLen is the length of the longest message (RFC 1035 section 4.2.2).
const MaxLen = 65535

// Unpack reads raw, which the message borrows until the next Unpack. It returns
// Broken: None for a message whose structure is whole, otherwise its first
// fault. What stands before the fault is kept either way.
func (m *Message) Unpack(raw []byte) Anomaly {
	extra := 0
	if len(raw) > MaxLen {
		raw, extra = raw[:MaxLen], len(raw)-MaxLen
	}
	m.Raw = raw
	m.ID, m.Flags = 0, 0
	m.Count, m.Seen = [numSections]uint16{}, [numSections]uint16{}
	m.Questions, m.Records = m.Questions[:0], m.Records[:0]
	m.Broken, m.Anomalies, m.Trailing = None, Set{}, 0
	m.opt, m.options, m.opts, m.chain, m.signed = -1, 0, 0, 0, false
	m.ends, m.work, m.chases, m.tails = [numSections]int{}, 0, 0, m.tails[:0]
	m.last = Name{}

	if len(raw) < HeaderLen {
		if len(raw) >= 2 {
			m.ID = binary.BigEndian.Uint16(raw)
		}
		if len(raw) >= 4 {
			m.Flags = Flags(binary.BigEndian.Uint16(raw[2:]))
		}
		m.broken(ShortHeader)
		return m.Broken
	}
	m.ID = binary.BigEndian.Uint16(raw)
	m.Flags = Flags(binary.BigEndian.Uint16(raw[2:]))
	for i := range m.Count {
		m.Count[i] = binary.BigEndian.Uint16(raw[4+2*i:])
	}
	off := HeaderLen
	for i := m.Count[SectionQuestion]; i > 0 && off > 0; i-- {
		off = m.question(off)
	}
	for s := SectionAnswer; s < numSections; s++ {
		for i := m.Count[s]; i > 0 && off > 0; i-- {
			off = m.record(off, s)
		}
		m.ends[s] = len(m.Records)
	}
	if off > 0 && off < len(raw)+extra {
		m.Trailing = len(raw) - off + extra
		if m.Flags.Opcode() != OpcodeDSO { // whose data stands there (RFC 8490 section 5.4)
			m.Anomalies.Add(TrailingBytes)
		}
	}
	m.judge()
	return m.Broken
}

// broken notes a fault of structure; the first one is why the message is
// incomplete.
func (m *Message) broken(a Anomaly) {
	if m.Broken == None {
		m.Broken = a
	}
	m.Anomalies.Add(a)
}

// owner reads the name at off, behind which fixed octets must follow. It returns
// their offset, or 0 when reading cannot go on.
func (m *Message) owner(off, fixed int) (name Name, next int) {
	if off >= len(m.Raw) {
		m.broken(CountRange)
		return name, 0
	}
	name, next, fault := m.walk(off, len(m.Raw))
	if fault == None {
		m.last = name
	} else if m.broken(fault); name.Len == 0 {
		return name, 0
	}
	if next+fixed > len(m.Raw) {
		m.broken(CountRange)
		return name, 0
	}
	return name, next
}

// question reads the question at off. It returns the offset behind it, or 0
// when reading cannot go on.
func (m *Message) question(off int) (next int) {
	name, off := m.owner(off, 4)
	if off == 0 {
		return 0
	}
	if len(m.Questions) < MaxQuestions {
		m.Questions = append(m.Questions, Question{
			Name:  name,
			Type:  Type(binary.BigEndian.Uint16(m.Raw[off:])),
			Class: Class(binary.BigEndian.Uint16(m.Raw[off+2:])),
		})
	} else {
		m.Anomalies.Add(QuestionsCapped)
	}
	m.Seen[SectionQuestion]++
	return off + 4
}

// record reads the record at off. It returns the offset behind it, or 0 when
// reading cannot go on.
func (m *Message) record(off int, s Section) (next int) {
	name, off := m.owner(off, 10)
	if off == 0 {
		return 0
	}
	fixed := m.Raw[off : off+10]
	size := binary.BigEndian.Uint16(fixed[8:])
	next = off + 10 + int(size)
	if next > len(m.Raw) {
		m.broken(RDataRange)
		return 0
	}
	// The record is filled where it stays: a copy of what was just written in
	// parts would wait for the writes.
	at, r := len(m.Records), &m.spare
	if at < m.Limits.records() {
		if at < cap(m.Records) {
			m.Records = m.Records[:at+1]
		} else {
			m.Records = append(m.Records, Record{})
		}
		r = &m.Records[at]
	} else {
		m.Anomalies.Add(RecordsCapped)
		at = -1
	}
	r.Name = name
	r.Type = Type(binary.BigEndian.Uint16(fixed))
	r.Class = Class(binary.BigEndian.Uint16(fixed[2:]))
	r.TTL = binary.BigEndian.Uint32(fixed[4:])
	r.Off, r.Len = uint16(off+10), size
	r.Section = s
	r.Fault = m.checkRData(r)
	if r.Fault != None {
		m.Anomalies.Add(r.Fault)
	}
	if m.signed {
		m.Anomalies.Add(TSIGOrder)
	}
	switch r.Type {
	case TypeOPT:
		m.noteOPT(r, at)
	case TypeTSIG:
		if m.signed = true; s != SectionAdditional {
			m.Anomalies.Add(TSIGOrder)
		}
	case TypeCNAME, TypeDNAME:
		if s == SectionAnswer {
			m.chain++
		}
	}
	m.Seen[s]++
	return next
}

// All yields the records kept, in wire order.
func (m *Message) All() iter.Seq[*Record] {
	return func(yield func(*Record) bool) {
		for i := range m.Records {
			if !yield(&m.Records[i]) {
				return
			}
		}
	}
}

// Answer returns the records of the answer section.
func (m *Message) Answer() []Record { return m.Records[:m.ends[SectionAnswer]] }

// Authority returns the records of the authority section.
func (m *Message) Authority() []Record {
	return m.Records[m.ends[SectionAnswer]:m.ends[SectionAuthority]]
}

// Additional returns the records of the additional section, OPT included.
func (m *Message) Additional() []Record {
	return m.Records[m.ends[SectionAuthority]:m.ends[SectionAdditional]]
}

// RData returns the RDATA of r, still compressed.
func (m *Message) RData(r *Record) []byte { return m.Raw[r.Off : int(r.Off)+int(r.Len)] }

// RCode returns the response code, with the upper eight bits of the OPT record
// when there is one (RFC 6891 section 6.1.3).
func (m *Message) RCode() RCode {
	rc := RCode(m.Flags & 0xf)
	if m.opts > 0 {
		rc |= RCode(m.firstOPT().TTL>>24) << 4
	}
	return rc
}
