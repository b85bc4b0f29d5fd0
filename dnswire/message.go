// Package dnswire reads DNS messages in place. Nothing is copied and nothing
// is allocated once a Message has grown to its working size: names and RDATA
// stay where they are in the packet, and text is appended to the caller's
// buffer when somebody asks for it.
//
// A message is an attacker's until proven otherwise. Work is linear in the
// length of the message, every bound of RFC 1035 and RFC 9267 is checked, and a
// fault is a value ([Anomaly]), never an error that hides what could be read.
package dnswire

import "encoding/binary"

// HeaderLen is the length of the fixed header (RFC 1035 section 4.1.1).
const HeaderLen = 12

// MaxRecords is how many records a Message keeps. The rest is walked, checked
// and counted, so that one packet cannot make a large event.
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
	TTL     uint32 // as on the wire; a set top bit means 0 (RFC 2181 section 8)
	Off     uint16
	Len     uint16
	Section Section
	Fault   Anomaly // what is wrong with the RDATA, or None
}

// Message is one DNS message, read in place. The zero value is ready for use;
// reuse it to avoid allocation. It borrows the octets given to Unpack.
type Message struct {
	Raw       []byte
	ID        uint16
	Flags     Flags
	Count     [numSections]uint16 // entries that the header claims
	Seen      [numSections]uint16 // entries that were found whole
	Questions []Question          // at most MaxQuestions
	Records   []Record            // at most MaxRecords, in wire order
	Broken    Anomaly             // why the message is incomplete, or None
	Anomalies Set                 // everything odd about it, Broken included
	Trailing  int                 // octets after the last record

	opt  int // index in Records of the first OPT, or -1
	ends [numSections]uint16
	hops int
	memo [memoSize]memoEntry
}

// memoEntry remembers a name that was walked, so that thousands of records
// which point at one long chain of pointers cost one walk (CVE-2024-55628).
type memoEntry struct {
	off  uint16
	name Name
}

const memoSize = 16

// Unpack reads raw, which the message borrows until the next Unpack. It returns
// Broken: None for a message whose structure is whole, otherwise the fault at
// which reading had to stop. What stands before the fault is kept either way.
func (m *Message) Unpack(raw []byte) Anomaly {
	m.Raw = raw
	m.ID, m.Flags = 0, 0
	m.Count, m.Seen = [numSections]uint16{}, [numSections]uint16{}
	m.Questions, m.Records = m.Questions[:0], m.Records[:0]
	m.Broken, m.Anomalies, m.Trailing = None, Set{}, 0
	m.opt, m.ends, m.hops = -1, [numSections]uint16{}, 0
	m.memo = [memoSize]memoEntry{}

	if len(raw) < HeaderLen {
		return m.broken(ShortHeader)
	}
	m.ID = binary.BigEndian.Uint16(raw)
	m.Flags = Flags(binary.BigEndian.Uint16(raw[2:]))
	for i := range m.Count {
		m.Count[i] = binary.BigEndian.Uint16(raw[4+2*i:])
	}
	off := HeaderLen
	for range m.Count[SectionQuestion] {
		next, fault := m.question(off)
		if fault != None {
			return m.broken(fault)
		}
		off = next
	}
	for s := SectionAnswer; s < numSections; s++ {
		for range m.Count[s] {
			next, fault := m.record(off, s)
			if fault != None {
				m.closeSections(s)
				return m.broken(fault)
			}
			off = next
		}
		m.ends[s] = uint16(len(m.Records))
	}
	if off < len(raw) {
		m.Trailing = len(raw) - off
		m.Anomalies.Add(TrailingBytes)
	}
	return None
}

func (m *Message) broken(a Anomaly) Anomaly {
	m.Broken = a
	m.Anomalies.Add(a)
	return a
}

// closeSections marks where the sections from s on end, when reading stops.
func (m *Message) closeSections(s Section) {
	for ; s < numSections; s++ {
		m.ends[s] = uint16(len(m.Records))
	}
}

func (m *Message) question(off int) (next int, fault Anomaly) {
	if off >= len(m.Raw) {
		return 0, CountRange
	}
	name, off, fault := m.walk(off, len(m.Raw))
	if fault != None {
		return 0, fault
	}
	if off+4 > len(m.Raw) {
		return 0, CountRange
	}
	if len(m.Questions) < MaxQuestions {
		m.Questions = append(m.Questions, Question{
			Name:  name,
			Type:  Type(binary.BigEndian.Uint16(m.Raw[off:])),
			Class: Class(binary.BigEndian.Uint16(m.Raw[off+2:])),
		})
	}
	m.Seen[SectionQuestion]++
	return off + 4, None
}

func (m *Message) record(off int, s Section) (next int, fault Anomaly) {
	if off >= len(m.Raw) {
		return 0, CountRange
	}
	name, off, fault := m.walk(off, len(m.Raw))
	if fault != None {
		return 0, fault
	}
	if off+10 > len(m.Raw) {
		return 0, CountRange
	}
	fixed := m.Raw[off : off+10]
	r := Record{
		Name:    name,
		Type:    Type(binary.BigEndian.Uint16(fixed)),
		Class:   Class(binary.BigEndian.Uint16(fixed[2:])),
		TTL:     binary.BigEndian.Uint32(fixed[4:]),
		Off:     uint16(off + 10),
		Len:     binary.BigEndian.Uint16(fixed[8:]),
		Section: s,
	}
	next = off + 10 + int(r.Len)
	if next > len(m.Raw) {
		return 0, RDataRange
	}
	r.Fault = m.checkRData(&r)
	if r.Fault != None {
		m.Anomalies.Add(r.Fault)
	}
	m.Seen[s]++
	if r.Type == TypeOPT && m.opt < 0 && len(m.Records) < MaxRecords {
		m.opt = len(m.Records)
	}
	if len(m.Records) < MaxRecords {
		m.Records = append(m.Records, r)
	} else {
		m.Anomalies.Add(RecordsCapped)
	}
	return next, None
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
	if m.opt >= 0 {
		rc |= RCode(m.Records[m.opt].TTL>>24) << 4
	}
	return rc
}

// EDNS is what the fixed part of an OPT record says (RFC 6891 section 6.1.2).
type EDNS struct {
	UDPSize  uint16
	ExtRCode uint8 // the upper eight bits of the response code
	Version  uint8
	DO       bool // DNSSEC answer OK
	Record   *Record
}

// EDNS returns the message's first OPT record; ok is false without one.
func (m *Message) EDNS() (e EDNS, ok bool) {
	if m.opt < 0 {
		return EDNS{}, false
	}
	r := &m.Records[m.opt]
	return EDNS{
		UDPSize:  uint16(r.Class),
		ExtRCode: uint8(r.TTL >> 24),
		Version:  uint8(r.TTL >> 16),
		DO:       r.TTL&0x8000 != 0,
		Record:   r,
	}, true
}
