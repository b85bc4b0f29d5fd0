package dnswire

import (
	"strconv"
	"strings"
)

// Type is a record or query type (IANA "Resource Record (RR) TYPEs").
type Type uint16

// Class is a record or query class (IANA "DNS CLASSes").
type Class uint16

// RCode is a response code of 4 bits, or 12 with EDNS (IANA "DNS RCODEs").
type RCode uint16

// Opcode is the kind of a message (IANA "DNS OpCodes").
type Opcode uint8

// Flags is the second 16-bit word of the header.
type Flags uint16

// The bits of the header's second word (RFC 1035 section 4.1.1, RFC 4035
// section 3.1.6 for AD and CD).
const (
	FlagQR Flags = 1 << 15
	FlagAA Flags = 1 << 10
	FlagTC Flags = 1 << 9
	FlagRD Flags = 1 << 8
	FlagRA Flags = 1 << 7
	FlagZ  Flags = 1 << 6
	FlagAD Flags = 1 << 5
	FlagCD Flags = 1 << 4
)

// Response reports whether the message is a response (QR).
func (f Flags) Response() bool { return f&FlagQR != 0 }

// Opcode returns the four bits of the opcode.
func (f Flags) Opcode() Opcode { return Opcode(f >> 11 & 0xf) }

// RCode returns the four bits of the response code; Message.RCode adds the
// eight of EDNS.
func (f Flags) RCode() RCode { return RCode(f & 0xf) }

// The classes.
const (
	ClassIN   Class = 1
	ClassCS   Class = 2
	ClassCH   Class = 3
	ClassHS   Class = 4
	ClassNONE Class = 254
	ClassANY  Class = 255
)

// The opcodes.
const (
	OpcodeQuery  Opcode = 0
	OpcodeIQuery Opcode = 1
	OpcodeStatus Opcode = 2
	OpcodeNotify Opcode = 4
	OpcodeUpdate Opcode = 5
	OpcodeDSO    Opcode = 6
)

// The response codes. 16 is BADVERS in a message and BADSIG in a TSIG record.
const (
	RCodeNoError   RCode = 0
	RCodeFormErr   RCode = 1
	RCodeServFail  RCode = 2
	RCodeNXDomain  RCode = 3
	RCodeNotImp    RCode = 4
	RCodeRefused   RCode = 5
	RCodeYXDomain  RCode = 6
	RCodeYXRRSet   RCode = 7
	RCodeNXRRSet   RCode = 8
	RCodeNotAuth   RCode = 9
	RCodeNotZone   RCode = 10
	RCodeDSOTypeNI RCode = 11
	RCodeBadVers   RCode = 16
	RCodeBadKey    RCode = 17
	RCodeBadTime   RCode = 18
	RCodeBadMode   RCode = 19
	RCodeBadName   RCode = 20
	RCodeBadAlg    RCode = 21
	RCodeBadTrunc  RCode = 22
	RCodeBadCookie RCode = 23
)

var opcodeNames = [...]string{
	OpcodeQuery:  "QUERY",
	OpcodeIQuery: "IQUERY",
	OpcodeStatus: "STATUS",
	OpcodeNotify: "NOTIFY",
	OpcodeUpdate: "UPDATE",
	OpcodeDSO:    "DSO",
}

var rcodeNames = [...]string{
	RCodeNoError:   "NOERROR",
	RCodeFormErr:   "FORMERR",
	RCodeServFail:  "SERVFAIL",
	RCodeNXDomain:  "NXDOMAIN",
	RCodeNotImp:    "NOTIMP",
	RCodeRefused:   "REFUSED",
	RCodeYXDomain:  "YXDOMAIN",
	RCodeYXRRSet:   "YXRRSET",
	RCodeNXRRSet:   "NXRRSET",
	RCodeNotAuth:   "NOTAUTH",
	RCodeNotZone:   "NOTZONE",
	RCodeDSOTypeNI: "DSOTYPENI",
	RCodeBadVers:   "BADVERS",
	RCodeBadKey:    "BADKEY",
	RCodeBadTime:   "BADTIME",
	RCodeBadMode:   "BADMODE",
	RCodeBadName:   "BADNAME",
	RCodeBadAlg:    "BADALG",
	RCodeBadTrunc:  "BADTRUNC",
	RCodeBadCookie: "BADCOOKIE",
}

func (c Class) name() string {
	switch c {
	case ClassIN:
		return "IN"
	case ClassCS:
		return "CS"
	case ClassCH:
		return "CH"
	case ClassHS:
		return "HS"
	case ClassNONE:
		return "NONE"
	case ClassANY:
		return "ANY"
	}
	return ""
}

// Append appends the IANA name of t, or TYPEnnn (RFC 3597 section 5).
func (t Type) Append(dst []byte) []byte {
	return appendCode(dst, t.layout().name, "TYPE", uint64(t))
}

// Append appends the IANA mnemonic of c, or CLASSnnn (RFC 3597 section 5).
func (c Class) Append(dst []byte) []byte {
	if c == ClassIN {
		return append(dst, "IN"...)
	}
	return appendCode(dst, c.name(), "CLASS", uint64(c))
}

// Append appends the IANA name of rc in upper case, or RCODEnnn.
func (rc RCode) Append(dst []byte) []byte {
	if int(rc) < len(rcodeNames) {
		return appendCode(dst, rcodeNames[rc], "RCODE", uint64(rc))
	}
	return appendCode(dst, "", "RCODE", uint64(rc))
}

// Append appends the IANA name of o in upper case, or OPCODEnn.
func (o Opcode) Append(dst []byte) []byte {
	if int(o) < len(opcodeNames) {
		return appendCode(dst, opcodeNames[o], "OPCODE", uint64(o))
	}
	return appendCode(dst, "", "OPCODE", uint64(o))
}

func appendCode(dst []byte, name, prefix string, code uint64) []byte {
	if name != "" {
		return append(dst, name...)
	}
	return strconv.AppendUint(append(dst, prefix...), code, 10)
}

// String returns what Append appends.
func (t Type) String() string { return string(t.Append(nil)) }

// String returns what Append appends.
func (c Class) String() string { return string(c.Append(nil)) }

// String returns what Append appends.
func (rc RCode) String() string { return string(rc.Append(nil)) }

// String returns what Append appends.
func (o Opcode) String() string { return string(o.Append(nil)) }

// ParseType is the inverse of Type.String, in any case; it accepts TYPEnnn for
// types with a name too (RFC 3597 section 5).
func ParseType(s string) (Type, bool) {
	if v, ok := parseNumbered(s, "TYPE", 0xffff); ok {
		return Type(v), true
	}
	for t := range layouts {
		if s != "" && strings.EqualFold(layouts[t].name, s) {
			return Type(t), true
		}
	}
	for _, t := range [...]Type{TypeTA, TypeDLV} {
		if strings.EqualFold(t.layout().name, s) {
			return t, true
		}
	}
	return 0, false
}

// ParseClass is the inverse of Class.String, in any case; it accepts CLASSnnn.
func ParseClass(s string) (Class, bool) {
	if v, ok := parseNumbered(s, "CLASS", 0xffff); ok {
		return Class(v), true
	}
	for _, c := range [...]Class{ClassIN, ClassCS, ClassCH, ClassHS, ClassNONE, ClassANY} {
		if strings.EqualFold(c.name(), s) {
			return c, true
		}
	}
	return 0, false
}

// ParseRCode is the inverse of RCode.String, in any case; it accepts RCODEnnn,
// and BADSIG as another name of 16.
func ParseRCode(s string) (RCode, bool) {
	if v, ok := parseNumbered(s, "RCODE", 0xfff); ok {
		return RCode(v), true
	}
	if strings.EqualFold(s, "BADSIG") {
		return RCodeBadVers, true
	}
	for rc, name := range rcodeNames {
		if s != "" && strings.EqualFold(name, s) {
			return RCode(rc), true
		}
	}
	return 0, false
}

// ParseOpcode is the inverse of Opcode.String, in any case; it accepts
// OPCODEnn.
func ParseOpcode(s string) (Opcode, bool) {
	if v, ok := parseNumbered(s, "OPCODE", 0xf); ok {
		return Opcode(v), true
	}
	for o, name := range opcodeNames {
		if s != "" && strings.EqualFold(name, s) {
			return Opcode(o), true
		}
	}
	return 0, false
}

func parseNumbered(s, prefix string, limit uint64) (uint64, bool) {
	if len(s) <= len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return 0, false
	}
	v, err := strconv.ParseUint(s[len(prefix):], 10, 16)
	return v, err == nil && v <= limit
}
