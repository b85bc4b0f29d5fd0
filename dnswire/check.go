package dnswire

import "encoding/binary"

// checkRData judges the RDATA of r, which lies inside the message. It returns
// the fault that keeps the RDATA from being read; what is odd but readable it
// adds to the message's anomalies.
func (m *Message) checkRData(r *Record) Anomaly {
	off, end := int(r.Off), int(r.Off)+int(r.Len)
	switch r.Type {
	case TypeA:
		if r.Len == 4 {
			return None
		}
	case TypeAAAA:
		if r.Len == 16 {
			return None
		}
	case TypeNS, TypeCNAME, TypePTR:
		if off < end {
			next, fault := m.checkName(off, end)
			if fault == None && next != end {
				return RDataTrailing
			}
			return fault
		}
	}
	if r.Len == 0 && m.emptyAllowed(r) {
		return None
	}
	return m.checkFields(r, r.Type.layout(), off, end)
}

// emptyAllowed tells the records of UPDATE that stand for a whole RRset and
// have no RDATA (RFC 2136 sections 2.4 and 2.5).
func (m *Message) emptyAllowed(r *Record) bool {
	return m.Flags.Opcode() == OpcodeUpdate && (r.Class == ClassANY || r.Class == ClassNONE)
}

func (m *Message) checkFields(r *Record, l *layout, off, end int) (fault Anomaly) {
	raw := m.Raw
	fixed := true
	for _, f := range &l.fields {
		if size := int(fieldSize[f]); size > 0 {
			if end-off < size {
				return RDataLen
			}
			off += size
			continue
		}
		if f == fEnd {
			break
		}
		fixed = false
		switch f {
		case fName:
			if off, fault = m.checkName(off, end); fault != None {
				return fault
			}
		case fString:
			if off, fault = checkString(raw, off, end); fault != None {
				return fault
			}
		case fStringOr:
			if off < end {
				if off, fault = checkString(raw, off, end); fault != None {
					return fault
				}
			}
		case fStrings:
			if end-off > m.Limits.text() {
				m.Anomalies.Add(TextCapped)
			}
			for more := true; more; more = off < end {
				if off, fault = checkString(raw, off, end); fault != None {
					return fault
				}
			}
		case fQuoted:
			if end-off > m.Limits.text() {
				m.Anomalies.Add(TextCapped)
			}
			off = end
		case fHex, fHEX, fBase64, fNSAP, fKey:
			if off >= end {
				if f == fKey {
					return DNSKEYLen
				}
				return RDataLen
			}
			m.checkData(r, off, end)
			off = end
		case fHex0, fBase640, fDOAData, fRaw:
			m.checkData(r, off, end)
			off = end
		default:
			if off, fault = m.checkOdd(r, f, off, end); fault != None {
				return fault
			}
		}
	}
	switch {
	case off == end:
		return None
	case fixed:
		return RDataLen
	}
	return RDataTrailing
}

// checkOdd judges the fields that few types have.
func (m *Message) checkOdd(r *Record, f field, off, end int) (next int, fault Anomaly) {
	switch f {
	case fTag:
		return m.checkTag(off, end)
	case fSalt, fHash:
		return m.checkSized8(f, off, end)
	case fSizedHex, fSizedHEX:
		if end-off < 2 {
			return 0, RDataLen
		}
		n := int(binary.BigEndian.Uint16(m.Raw[off:]))
		if off += 2; end-off < n {
			return 0, RDataRange
		}
		m.checkData(r, off, off+n)
		return off + n, None
	case fBitmap:
		return end, m.checkBitmap(off, end)
	case fNXT:
		return end, m.checkNXT(off, end)
	case fParams:
		return end, m.checkParams(r, off, end)
	case fLOC:
		return end, checkLOC(m.Raw[off:end])
	case fAPL:
		return end, m.checkAPL(off, end)
	case fHIP:
		return end, m.checkHIP(r, off, end)
	case fIPSEC, fRelay:
		return m.checkGateway(f, off, end)
	case fA6:
		return m.checkA6(off, end)
	case fWKS:
		if end-off > 8192 {
			return 0, RDataRange // 65,536 ports (RFC 1035 section 3.4.2)
		}
		if countBits(m.Raw[off:end]) > m.Limits.types() {
			m.Anomalies.Add(TypesCapped)
		}
		return end, None
	case fOPT:
		return end, m.checkOPT(r, off, end)
	}
	return end, None
}

// checkName judges the name at off of an RDATA that ends at end. Octets behind
// the end belong to the next record and are never taken for part of the name
// (RFC 9267 section 4).
func (m *Message) checkName(off, end int) (next int, fault Anomaly) {
	if off >= end {
		return 0, RDataLen
	}
	_, next, fault = m.walk(off, end)
	if next == 0 && (fault == NameRange || fault == LabelRange || fault == PtrRange) {
		fault = RDataNameRange
	}
	return next, fault
}

func checkString(raw []byte, off, end int) (next int, fault Anomaly) {
	if off >= end {
		return 0, RDataLen
	}
	next = off + 1 + int(raw[off])
	if next > end {
		return 0, TXTRange
	}
	return next, None
}

// checkData notes what is odd about octets that are written as hex or base64.
func (m *Message) checkData(r *Record, off, end int) {
	if end-off > m.Limits.data() {
		m.Anomalies.Add(TextCapped)
	}
	switch r.Type {
	case TypeDS, 59, TypeDLV, TypeTA:
		want := 0
		switch m.Raw[r.Off+3] { // IANA "Delegation Signer Digest Algorithms"
		case 1:
			want = 20
		case 2, 3:
			want = 32
		case 4:
			want = 48
		}
		// "0 0 0 00" asks a parent to delete its DS (RFC 8078 section 4).
		if want != 0 && end-off != want {
			m.Anomalies.Add(DigestLen)
		}
	case TypeDNSKEY, 60:
		if m.Raw[r.Off+2] != 3 {
			m.Anomalies.Add(DNSKEYProto)
		}
	}
}

// checkTag: a CAA tag is one or more ASCII letters and digits.
func (m *Message) checkTag(off, end int) (next int, fault Anomaly) {
	if off >= end {
		return 0, RDataLen
	}
	next = off + 1 + int(m.Raw[off])
	if next == off+1 || next > end {
		return 0, CAATag
	}
	for _, c := range m.Raw[off+1 : next] {
		if lower := c | 0x20; (lower < 'a' || lower > 'z') && (c < '0' || c > '9') {
			return 0, CAATag
		}
	}
	return next, None
}

func (m *Message) checkSized8(f field, off, end int) (next int, fault Anomaly) {
	if off >= end {
		return 0, RDataLen
	}
	n := int(m.Raw[off])
	if off++; end-off < n {
		return 0, RDataRange
	}
	if f == fHash && n == 0 {
		return 0, NSEC3Hash0
	}
	return off + n, None
}
