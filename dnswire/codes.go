package dnswire

import "strconv"

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

// The types that code refers to by name.
const (
	TypeA     Type = 1
	TypeNS    Type = 2
	TypeCNAME Type = 5
	TypeSOA   Type = 6
	TypePTR   Type = 12
	TypeMX    Type = 15
	TypeTXT   Type = 16
	TypeAAAA  Type = 28
	TypeSRV   Type = 33
	TypeDNAME Type = 39
	TypeOPT   Type = 41
)

// Append appends the IANA name of t, or TYPEnnn (RFC 3597 section 5).
func (t Type) Append(dst []byte) []byte {
	switch t {
	case TypeA:
		return append(dst, 'A')
	case TypeAAAA:
		return append(dst, "AAAA"...)
	}
	return strconv.AppendUint(append(dst, "TYPE"...), uint64(t), 10)
}

// Append appends the IANA mnemonic of c, or CLASSnnn (RFC 3597 section 5).
func (c Class) Append(dst []byte) []byte {
	if c == 1 {
		return append(dst, "IN"...)
	}
	return strconv.AppendUint(append(dst, "CLASS"...), uint64(c), 10)
}

// Append appends the IANA name of rc, or RCODEnnn.
func (rc RCode) Append(dst []byte) []byte {
	return strconv.AppendUint(append(dst, "RCODE"...), uint64(rc), 10)
}

// Append appends the IANA name of o, or OPCODEnn.
func (o Opcode) Append(dst []byte) []byte {
	return strconv.AppendUint(append(dst, "OPCODE"...), uint64(o), 10)
}

func (t Type) String() string   { return string(t.Append(nil)) }
func (c Class) String() string  { return string(c.Append(nil)) }
func (rc RCode) String() string { return string(rc.Append(nil)) }
func (o Opcode) String() string { return string(o.Append(nil)) }
