package dnswire

import (
	"encoding/binary"
	"iter"
	"strconv"
)

// OptionCode is the kind of an EDNS option (IANA "DNS EDNS0 Option Codes").
type OptionCode uint16

// The option codes.
const (
	OptionLLQ           OptionCode = 1  // RFC 8764
	OptionUL            OptionCode = 2  // RFC 9664
	OptionNSID          OptionCode = 3  // RFC 5001
	OptionDAU           OptionCode = 5  // RFC 6975
	OptionDHU           OptionCode = 6  // RFC 6975
	OptionN3U           OptionCode = 7  // RFC 6975
	OptionECS           OptionCode = 8  // RFC 7871
	OptionExpire        OptionCode = 9  // RFC 7314
	OptionCookie        OptionCode = 10 // RFC 7873
	OptionKeepalive     OptionCode = 11 // RFC 7828
	OptionPadding       OptionCode = 12 // RFC 7830
	OptionChain         OptionCode = 13 // RFC 7901
	OptionKeyTag        OptionCode = 14 // RFC 8145
	OptionEDE           OptionCode = 15 // RFC 8914
	OptionClientTag     OptionCode = 16
	OptionServerTag     OptionCode = 17
	OptionReportChannel OptionCode = 18 // RFC 9567
	OptionZoneVersion   OptionCode = 19 // RFC 9660
	OptionUmbrella      OptionCode = 20292
	OptionDeviceID      OptionCode = 26946
)

// One word for each option, so that it can be a key.
var optionNames = [...]string{
	OptionLLQ:           "LLQ",
	OptionUL:            "UL",
	OptionNSID:          "NSID",
	OptionDAU:           "DAU",
	OptionDHU:           "DHU",
	OptionN3U:           "N3U",
	OptionECS:           "ECS",
	OptionExpire:        "EXPIRE",
	OptionCookie:        "COOKIE",
	OptionKeepalive:     "KEEPALIVE",
	OptionPadding:       "PADDING",
	OptionChain:         "CHAIN",
	OptionKeyTag:        "KEY-TAG",
	OptionEDE:           "EDE",
	OptionClientTag:     "CLIENT-TAG",
	OptionServerTag:     "SERVER-TAG",
	OptionReportChannel: "REPORT-CHANNEL",
	OptionZoneVersion:   "ZONEVERSION",
}

// Append appends the name of c in one upper-case word, or OPTnnn.
func (c OptionCode) Append(dst []byte) []byte {
	name := ""
	switch {
	case int(c) < len(optionNames):
		name = optionNames[c]
	case c == OptionUmbrella:
		name = "UMBRELLA-IDENT"
	case c == OptionDeviceID:
		name = "DEVICEID"
	}
	return appendCode(dst, name, "OPT", uint64(c))
}

// String returns what Append appends.
func (c OptionCode) String() string { return string(c.Append(nil)) }

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
	r := &m.optCopy
	if m.opt >= 0 {
		r = &m.Records[m.opt]
	}
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
			r := &m.optCopy
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

// AppendOption appends the data of o as text of printable ASCII: what the
// option's RFC lets it say, or hex for unknown options and for data with a
// fault.
//
//	NSID            6e7331 ("ns1")
//	ECS             192.0.2.0/24/0
//	EDE             18 (Prohibited): blocked by policy
//	KEEPALIVE       30.0s
//	PADDING         its length in octets
func (m *Message) AppendOption(dst []byte, o Option) []byte {
	b := m.OptionData(o)
	if o.Fault != None {
		return m.appendHex(dst, b, hexLower)
	}
	switch o.Code {
	case OptionNSID:
		dst = append(m.appendHex(dst, b, hexLower), ` ("`...)
		return append(appendEscaped(dst, b[:min(len(b), m.Limits.text())], &escapeText), `")`...)
	case OptionECS:
		return appendECS(dst, b)
	case OptionEDE:
		return m.appendEDE(dst, b)
	case OptionPadding:
		return strconv.AppendUint(dst, uint64(len(b)), 10)
	case OptionKeepalive:
		if len(b) == 0 {
			return dst
		}
		v := binary.BigEndian.Uint16(b) // units of 100 ms
		return append(strconv.AppendUint(dst, uint64(v/10), 10), '.', '0'+byte(v%10), 's')
	case OptionExpire:
		if len(b) == 0 {
			return dst
		}
		return strconv.AppendUint(dst, uint64(binary.BigEndian.Uint32(b)), 10)
	case OptionDAU, OptionDHU, OptionN3U:
		return m.appendNumbers(dst, b, 1)
	case OptionKeyTag, OptionClientTag, OptionServerTag:
		return m.appendNumbers(dst, b, 2)
	case OptionUL:
		return m.appendNumbers(dst, b, 4)
	case OptionLLQ:
		dst = m.appendNumbers(dst, b[:6], 2)
		dst = strconv.AppendUint(append(dst, ' '), binary.BigEndian.Uint64(b[6:]), 10)
		return strconv.AppendUint(append(dst, ' '), uint64(binary.BigEndian.Uint32(b[14:])), 10)
	case OptionChain, OptionReportChannel:
		if len(b) == 0 {
			return dst
		}
		dst, _ = m.appendNameAt(dst, int(o.Off))
		return dst
	case OptionZoneVersion:
		if len(b) == 0 {
			return dst
		}
		dst = m.appendNumbers(dst, b[:2], 1)
		return m.appendHex(append(dst, ' '), b[2:], hexLower)
	}
	return m.appendHex(dst, b, hexLower)
}

// appendNumbers appends numbers of size octets.
func (m *Message) appendNumbers(dst, b []byte, size int) []byte {
	for i := 0; i < len(b); i += size {
		if i/size == m.Limits.types() {
			return appendCut(dst, (len(b)-i)/size, "numbers")
		}
		if i > 0 {
			dst = append(dst, ' ')
		}
		v := uint64(0)
		for _, c := range b[i : i+size] {
			v = v<<8 | uint64(c)
		}
		dst = strconv.AppendUint(dst, v, 10)
	}
	return dst
}

func appendECS(dst, b []byte) []byte {
	switch b[1] {
	case 0:
		dst = append(dst, '0')
	default:
		dst = appendPrefix(dst, b[1], b[4:])
	}
	dst = strconv.AppendUint(append(dst, '/'), uint64(b[2]), 10)
	return strconv.AppendUint(append(dst, '/'), uint64(b[3]), 10)
}

func (m *Message) appendEDE(dst, b []byte) []byte {
	code, extra := binary.BigEndian.Uint16(b), b[2:]
	dst = strconv.AppendUint(dst, uint64(code), 10)
	if int(code) < len(edeTexts) {
		dst = append(append(append(dst, " ("...), edeTexts[code]...), ')')
	}
	if len(extra) == 0 {
		return dst
	}
	cut := min(len(extra), m.Limits.text())
	dst = appendEscaped(append(dst, ": "...), extra[:cut], &escapeText)
	return appendCut(dst, len(extra)-cut, "octets")
}

// EDEText returns what an extended error says (IANA "Extended DNS Error
// Codes"), or "" for an unassigned code.
func EDEText(code uint16) string {
	if int(code) < len(edeTexts) {
		return edeTexts[code]
	}
	return ""
}

var edeTexts = [...]string{
	0:  "Other Error",
	1:  "Unsupported DNSKEY Algorithm",
	2:  "Unsupported DS Digest Type",
	3:  "Stale Answer",
	4:  "Forged Answer",
	5:  "DNSSEC Indeterminate",
	6:  "DNSSEC Bogus",
	7:  "Signature Expired",
	8:  "Signature Not Yet Valid",
	9:  "DNSKEY Missing",
	10: "RRSIGs Missing",
	11: "No Zone Key Bit Set",
	12: "NSEC Missing",
	13: "Cached Error",
	14: "Not Ready",
	15: "Blocked",
	16: "Censored",
	17: "Filtered",
	18: "Prohibited",
	19: "Stale NXDOMAIN Answer",
	20: "Not Authoritative",
	21: "Not Supported",
	22: "No Reachable Authority",
	23: "Network Error",
	24: "Invalid Data",
	25: "Signature Expired before Valid",
	26: "Too Early",
	27: "Unsupported NSEC3 Iterations Value",
	28: "Unable to conform to policy",
	29: "Synthesized",
	30: "Invalid Query Type",
}

// appendOPT appends the options as "NAME: data", separated by semicolons, and
// what cannot be read as RFC 3597 writes it.
func (m *Message) appendOPT(dst []byte, off, end int) []byte {
	at := len(dst)
	off = m.eachOption(off, end, m.Limits.options(), func(o Option) bool {
		if len(dst) > at {
			dst = append(dst, "; "...)
		}
		dst = o.Code.Append(dst)
		if o.Len > 0 {
			dst = m.AppendOption(append(dst, ": "...), o)
		}
		return true
	})
	if off == end {
		return dst
	}
	if n := m.countOptions(off, end); n > 0 {
		return appendCut(dst, n, "options")
	}
	if len(dst) > at {
		dst = append(dst, "; "...)
	}
	return m.appendRaw(dst, off, end)
}

// countOptions counts the options at off that are whole.
func (m *Message) countOptions(off, end int) (n int) {
	for end-off >= 4 {
		off += 4 + int(binary.BigEndian.Uint16(m.Raw[off+2:]))
		if off > end {
			break
		}
		n++
	}
	return n
}
