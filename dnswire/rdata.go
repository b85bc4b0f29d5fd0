package dnswire

import (
	"encoding/binary"
	"strconv"
)

// AppendRData appends the RDATA of r in presentation format: that of the
// record's own RFC, or RFC 3597's \# form for types without one and for RDATA
// with a fault. Names have no final dot. The text is printable ASCII, and its
// length is bounded by Message.Limits: what is left out is told by a comment as
// in zone files, such as
//
//	"v=spf1 ..." ; +3072 octets
//
// r must be of this message.
func (m *Message) AppendRData(dst []byte, r *Record) []byte {
	off, end := int(r.Off), int(r.Off)+int(r.Len)
	if r.Fault != None && r.Type != TypeOPT {
		return m.appendRaw(dst, off, end)
	}
	switch {
	case r.Type == TypeA && r.Len == 4:
		return appendIPv4(dst, m.Raw[off:end])
	case r.Type == TypeAAAA && r.Len == 16:
		return appendIPv6(dst, m.Raw[off:end])
	case (r.Type == TypeCNAME || r.Type == TypeNS || r.Type == TypePTR) && r.Len > 0:
		dst, _ = m.appendNameAt(dst, off)
		return dst
	}
	l := r.Type.layout()
	if r.Len == 0 && (l.fields[0] != fRaw || m.emptyAllowed(r)) {
		return dst
	}
	for i, f := range &l.fields {
		if f == fEnd {
			break
		}
		at := len(dst)
		if i > 0 && f < fBitmap {
			dst = append(dst, ' ')
		}
		before := len(dst)
		dst, off = m.appendField(dst, f, off, end)
		if len(dst) == before {
			dst = dst[:at]
		}
	}
	return dst
}

// appendField appends a field that check has found good.
func (m *Message) appendField(dst []byte, f field, off, end int) (out []byte, next int) {
	b := m.Raw[off:end]
	switch f {
	case fU8:
		return strconv.AppendUint(dst, uint64(b[0]), 10), off + 1
	case fU16:
		return strconv.AppendUint(dst, uint64(binary.BigEndian.Uint16(b)), 10), off + 2
	case fU32:
		return strconv.AppendUint(dst, uint64(binary.BigEndian.Uint32(b)), 10), off + 4
	case fU64:
		return strconv.AppendUint(dst, binary.BigEndian.Uint64(b), 10), off + 8
	case fIPv4:
		return appendIPv4(dst, b), off + 4
	case fIPv6:
		return appendIPv6(dst, b), off + 16
	case fTime:
		return appendTime(dst, uint64(binary.BigEndian.Uint32(b))), off + 4
	case fTime48:
		return appendTime(dst, uint64(binary.BigEndian.Uint16(b))<<32|uint64(binary.BigEndian.Uint32(b[2:]))), off + 6
	case fType:
		return Type(binary.BigEndian.Uint16(b)).Append(dst), off + 2
	case fName:
		return m.appendNameAt(dst, off)
	case fString, fStringOr:
		if len(b) == 0 {
			return dst, off
		}
		n := 1 + int(b[0])
		return appendQuoted(dst, b[1:n]), off + n
	case fStrings:
		return m.appendStrings(dst, b), end
	case fQuoted:
		cut := min(len(b), m.Limits.text())
		return appendCut(appendQuoted(dst, b[:cut]), len(b)-cut, "octets"), end
	case fTag:
		n := 1 + int(b[0])
		return append(dst, b[1:n]...), off + n
	case fHex, fHex0:
		return m.appendHex(dst, b, hexLower), end
	case fHEX:
		return m.appendHex(dst, b, hexUpper), end
	case fNSAP:
		return m.appendHex(append(dst, "0x"...), b, hexUpper), end
	case fBase64, fBase640, fKey:
		return m.appendBase64(dst, b), end
	case fRaw:
		return m.appendRaw(dst, off, end), end
	}
	return m.appendOdd(dst, f, off, end)
}

func (m *Message) appendOdd(dst []byte, f field, off, end int) (out []byte, next int) {
	b := m.Raw[off:end]
	switch f {
	case fCertType:
		v := binary.BigEndian.Uint16(b)
		return appendCode(dst, certTypeName(v), "", uint64(v)), off + 2
	case fAlg:
		return appendCode(dst, algorithmName(b[0]), "", uint64(b[0])), off + 1
	case fScheme:
		if b[0] == 1 {
			return append(dst, "NOTIFY"...), off + 1
		}
		return strconv.AppendUint(dst, uint64(b[0]), 10), off + 1
	case fNodeID:
		return appendGroups(dst, b[:8], 2, ':', hexLower), off + 8
	case fLocator:
		return appendGroups(dst, b[:8], 2, ':', hexUpper), off + 8
	case fEUI48:
		return appendGroups(dst, b[:6], 1, '-', hexLower), off + 6
	case fEUI64:
		return appendGroups(dst, b[:8], 1, '-', hexLower), off + 8
	case fDOAData:
		if len(b) == 0 {
			return append(dst, '-'), end
		}
		return m.appendBase64(dst, b), end
	case fSalt:
		n := 1 + int(b[0])
		if n == 1 {
			return append(dst, '-'), off + n
		}
		return appendHex(dst, b[1:n], hexUpper), off + n
	case fHash:
		n := 1 + int(b[0])
		return appendBase32Hex(dst, b[1:n]), off + n
	case fSizedHex, fSizedHEX:
		n := int(binary.BigEndian.Uint16(b))
		dst = strconv.AppendUint(dst, uint64(n), 10)
		if n == 0 {
			return dst, off + 2
		}
		digits := hexLower
		if f == fSizedHEX {
			digits = hexUpper
		}
		return m.appendHex(append(dst, ' '), b[2:2+n], digits), off + 2 + n
	case fBitmap:
		return m.appendBitmap(dst, b), end
	case fNXT:
		return m.appendNXT(dst, b), end
	case fParams:
		return m.appendParams(dst, b), end
	case fLOC:
		return appendLOC(dst, b), end
	case fAPL:
		return m.appendAPL(dst, b), end
	case fHIP:
		return m.appendHIP(dst, off, end), end
	case fIPSEC, fRelay:
		return m.appendGateway(dst, f, off, end)
	case fA6:
		return m.appendA6(dst, off, end), end
	case fWKS:
		return m.appendWKS(dst, b), end
	case fOPT:
		return m.appendOPT(dst, off, end), end
	}
	return dst, end
}

// appendRaw appends RDATA as RFC 3597 section 5 says.
func (m *Message) appendRaw(dst []byte, off, end int) []byte {
	dst = strconv.AppendUint(append(dst, `\# `...), uint64(end-off), 10)
	if off == end {
		return dst
	}
	return m.appendHex(append(dst, ' '), m.Raw[off:end], hexLower)
}

// appendStrings appends character-strings, as many octets of RDATA as
// Limits.Text allows.
func (m *Message) appendStrings(dst, b []byte) []byte {
	limit := m.Limits.text()
	for i := 0; i < len(b); {
		if i > 0 {
			dst = append(dst, ' ')
		}
		n := int(b[i])
		i++
		if i+n > limit {
			n = max(limit-i, 0)
			dst = appendQuoted(dst, b[i:i+n])
			return appendCut(dst, len(b)-i-n, "octets")
		}
		dst = appendQuoted(dst, b[i:i+n])
		i += n
	}
	return dst
}
