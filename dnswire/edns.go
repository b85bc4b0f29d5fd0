package dnswire

import (
	"encoding/binary"
	"iter"
)

// EDNS is what the fixed part of an OPT record says (RFC 6891 section 6.1.2).
type EDNS struct {
	UDPSize  uint16
	ExtRCode uint8 // the upper eight bits of the response code
	Version  uint8
	DO       bool    // DNSSEC answer OK (RFC 3225)
	CO       bool    // compact answers OK (RFC 9824)
	Z        uint16  // the other 14 bits, which ought to be zero
	Options  int     // how many there are; Message.Options yields Limits.Options of them at most
	Record   *Record // among Message.Records, unless that has reached its limit
}

// EDNS returns the message's first OPT record; ok is false without one.
func (m *Message) EDNS() (e EDNS, ok bool) {
	if m.opts == 0 {
		return EDNS{}, false
	}
	r := m.firstOPT()
	return EDNS{
		UDPSize:  uint16(r.Class),
		ExtRCode: uint8(r.TTL >> 24),
		Version:  uint8(r.TTL >> 16),
		DO:       r.TTL&0x8000 != 0,
		CO:       r.TTL&0x4000 != 0,
		Z:        uint16(r.TTL & 0x3fff),
		Options:  m.options,
		Record:   r,
	}, true
}

// firstOPT returns the first OPT record. There must be one.
func (m *Message) firstOPT() *Record {
	if m.opt >= 0 {
		return &m.Records[m.opt]
	}
	return &m.optCopy
}

// Option is one EDNS option (RFC 6891 section 6.1.2). Its data is
// Message.Raw[Off:Off+Len].
type Option struct {
	Code  OptionCode
	Off   uint16
	Len   uint16
	Fault Anomaly // what is wrong with its data, or None
}

// Options yields the options of the first OPT record, Limits.Options of them at
// most. It ends before an option that runs over the end of the record, whose
// Fault is then EDNSOptRange.
func (m *Message) Options() iter.Seq[Option] {
	return func(yield func(Option) bool) {
		if m.opts > 0 {
			r := m.firstOPT()
			m.eachOption(int(r.Off), int(r.Off)+int(r.Len), m.Limits.options(), yield)
		}
	}
}

// eachOption calls yield for the options at off, limit of them at most. It
// returns where it stopped.
func (m *Message) eachOption(off, end, limit int, yield func(Option) bool) int {
	for ; limit > 0 && end-off >= 4; limit-- {
		code := OptionCode(binary.BigEndian.Uint16(m.Raw[off:]))
		n := int(binary.BigEndian.Uint16(m.Raw[off+2:]))
		if n > end-off-4 {
			break
		}
		off += 4
		o := Option{Code: code, Off: uint16(off), Len: uint16(n), Fault: checkOption(code, m.Raw[off:off+n])}
		off += n
		if !yield(o) {
			break
		}
	}
	return off
}

// OptionData returns the data of o.
func (m *Message) OptionData(o Option) []byte { return m.Raw[o.Off : int(o.Off)+int(o.Len)] }

// checkOPT judges the options of an OPT record and counts them.
func (m *Message) checkOPT(r *Record, off, end int) (fault Anomaly) {
	raw, count, seen := m.Raw, 0, uint64(0)
	for off < end {
		if end-off < 4 {
			fault = EDNSOptRange
			break
		}
		code := OptionCode(binary.BigEndian.Uint16(raw[off:]))
		n := int(binary.BigEndian.Uint16(raw[off+2:]))
		if n > end-off-4 {
			fault = EDNSOptRange
			break
		}
		data := raw[off+4 : off+4+n]
		if bad := checkOption(code, data); bad != None {
			m.Anomalies.Add(bad)
			if fault == None {
				fault = bad
			}
		}
		// Only EDE may stand more than once (RFC 8914 section 2).
		if code < 64 && code != OptionEDE {
			if seen&(1<<code) != 0 {
				m.Anomalies.Add(EDNSRepeat)
			}
			seen |= 1 << code
		}
		if code == OptionPadding && !allZero(data) {
			m.Anomalies.Add(PaddingData)
		}
		count++
		off += 4 + n
	}
	if m.opts == 0 {
		m.options = count
	}
	if count > m.Limits.options() {
		m.Anomalies.Add(OptionsCapped)
	}
	return fault
}

func allZero(b []byte) bool {
	for len(b) >= 8 {
		if binary.NativeEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func checkOption(code OptionCode, b []byte) Anomaly {
	n := len(b)
	switch code {
	case OptionECS:
		if !ecsValid(b) {
			return ECSInvalid
		}
	case OptionCookie:
		// 8 octets of the client's and none or 8 to 32 of the server's.
		if n != 8 && (n < 16 || n > 40) {
			return CookieLen
		}
	case OptionEDE:
		if n < 2 {
			return EDELen
		}
	case OptionKeepalive:
		if n != 0 && n != 2 {
			return KeepaliveLen
		}
	case OptionExpire:
		if n != 0 && n != 4 {
			return ExpireLen
		}
	case OptionKeyTag:
		if n == 0 || n%2 != 0 {
			return KeyTagLen
		}
	case OptionChain, OptionReportChannel:
		if n != 0 && !wireNameValid(b) {
			return EDNSOptName
		}
	case OptionZoneVersion:
		if n == 1 {
			return EDNSOptLen
		}
	case OptionUL:
		if n != 4 && n != 8 {
			return EDNSOptLen
		}
	case OptionLLQ:
		if n != 18 {
			return EDNSOptLen
		}
	case OptionClientTag, OptionServerTag:
		if n != 2 {
			return EDNSOptLen
		}
	}
	return None
}

// ecsValid: as many octets of address as the source prefix needs, and the bits
// behind it zero (RFC 7871 section 6). Family 0 is the form without an address
// that some clients send to opt out.
func ecsValid(b []byte) bool {
	if len(b) < 4 {
		return false
	}
	family, source, scope := binary.BigEndian.Uint16(b), int(b[2]), int(b[3])
	size, ok := familySize(family)
	if !ok {
		return family == 0 && source == 0 && scope == 0 && len(b) == 4
	}
	if source > size*8 || scope > size*8 || len(b)-4 != (source+7)/8 {
		return false
	}
	return source%8 == 0 || b[len(b)-1]<<(source%8) == 0
}

// wireNameValid reports whether b is one name without compression.
func wireNameValid(b []byte) bool {
	if len(b) > MaxNameLen {
		return false
	}
	for off := 0; off < len(b); off += 1 + int(b[off]) {
		switch {
		case b[off] == 0:
			return off == len(b)-1
		case b[off] > 63:
			return false
		}
	}
	return false
}
