package dnswire

import (
	"encoding/binary"
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
		// Hex and text of many large options would be half a megabyte.
		return len(dst)-at < 4*m.Limits.data()
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
