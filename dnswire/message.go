// Package dnswire reads DNS messages in place. Nothing is copied and nothing
// is allocated once a Message has grown to its working size: names and RDATA
// stay where they are in the packet, and text is appended to the caller's
// buffer when somebody asks for it.
//
// A message is an attacker's until proven otherwise. Work is linear in the
// length of the message, every bound of RFC 1035 and RFC 9267 is checked, and a
// fault is a value ([Anomaly]), never an error that hides what could be read.
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
	Types   int // types of a bitmap, ports of WKS, servers of HIP; default 64
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
	optCopy Record // the first OPT, which may come after more records than are kept
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
		m.Anomalies.Add(TrailingBytes)
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

// question reads the question at off. It returns the offset behind it, or 0
// when reading cannot go on.
func (m *Message) question(off int) (next int) {
	if off >= len(m.Raw) {
		m.broken(CountRange)
		return 0
	}
	name, off, fault := m.walk(off, len(m.Raw))
	if fault != None {
		if m.broken(fault); name.Len == 0 {
			return 0
		}
	} else {
		m.last = name
	}
	if off+4 > len(m.Raw) {
		m.broken(CountRange)
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
	if off >= len(m.Raw) {
		m.broken(CountRange)
		return 0
	}
	name, off, fault := m.walk(off, len(m.Raw))
	if fault != None {
		if m.broken(fault); name.Len == 0 {
			return 0
		}
	} else {
		m.last = name
	}
	if off+10 > len(m.Raw) {
		m.broken(CountRange)
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
		m.Records = append(m.Records, Record{})
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

// noteOPT judges the place of an OPT record (RFC 6891 section 6.1.1), which is
// kept at an index, or is not.
func (m *Message) noteOPT(r *Record, at int) {
	if m.opts++; m.opts > 1 {
		m.Anomalies.Add(DupOPT)
	}
	if r.Section != SectionAdditional {
		m.Anomalies.Add(OPTSection)
	}
	if r.Name.Len != 1 {
		m.Anomalies.Add(OPTOwner)
	}
	if r.TTL>>16&0xff != 0 {
		m.Anomalies.Add(OPTVersion)
	}
	if m.opts == 1 {
		m.opt, m.optCopy = at, *r
	}
}

// judge notes what is odd about the message as a whole.
func (m *Message) judge() {
	if m.Count[SectionQuestion] > 1 {
		m.Anomalies.Add(MultiQuestion)
	}
	if m.Flags&FlagZ != 0 {
		m.Anomalies.Add(ZBit)
	}
	if o := m.Flags.Opcode(); o != OpcodeQuery && (int(o) >= len(opcodeNames) || opcodeNames[o] == "") {
		m.Anomalies.Add(OpcodeUnknown)
	}
	if rc := m.RCode(); rc > RCodeDSOTypeNI && (int(rc) >= len(rcodeNames) || rcodeNames[rc] == "") {
		m.Anomalies.Add(RCodeUnknown)
	}
	if m.chain > 0 && m.chainLoops() {
		m.Anomalies.Add(ChainLoop)
	}
}

// chainLoops reports whether the CNAME and DNAME records of the answer lead back
// to one of themselves (CVE-2026-11331: a CNAME to itself).
func (m *Message) chainLoops() bool {
	if m.chain > 1 {
		return m.chainRing()
	}
	for i := range m.Answer() {
		if target, ok := m.chainTarget(&m.Records[i]); ok {
			return EqualNames(m, m.Records[i].Name, m, target)
		}
	}
	return false
}

// chainTarget returns the name that a CNAME or DNAME record leads to.
func (m *Message) chainTarget(r *Record) (target Name, ok bool) {
	if r.Type != TypeCNAME && r.Type != TypeDNAME || r.Fault != None || r.Len == 0 {
		return Name{}, false
	}
	target, _, fault := m.walk(int(r.Off), int(r.Off)+int(r.Len))
	return target, fault == None
}

// maxChain is how many CNAME and DNAME records of one answer are followed.
const maxChain = 16

// chainRing is chainLoops for several records.
func (m *Message) chainRing() bool {
	var owner, target [maxChain]Name
	n := 0
	for i := range m.Answer() {
		if name, ok := m.chainTarget(&m.Records[i]); ok {
			owner[n], target[n] = m.Records[i].Name, name
			if n++; n == maxChain {
				break
			}
		}
	}
	// Each record leads to the first one whose owner is its target. Following
	// n of them ends, unless there is a ring.
	var next [maxChain]int
	for i := range n {
		next[i] = -1
		for j := range n {
			if EqualNames(m, target[i], m, owner[j]) {
				next[i] = j
				break
			}
		}
	}
	for i := range n {
		at := i
		for range n {
			if at = next[at]; at < 0 {
				break
			}
		}
		if at >= 0 {
			return true
		}
	}
	return false
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
		rc |= RCode(m.optCopy.TTL>>24) << 4
	}
	return rc
}
