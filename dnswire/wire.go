package dnswire

// AppendWireRData appends the RDATA of r as it would stand in a message without
// compression, so that it means the same elsewhere. RDATA with a fault is
// appended as it is. r must be of this message.
func (m *Message) AppendWireRData(dst []byte, r *Record) []byte {
	off, end := int(r.Off), int(r.Off)+int(r.Len)
	if r.Fault != None {
		return append(dst, m.Raw[off:end]...)
	}
	for _, f := range &r.Type.layout().fields {
		switch size := int(fieldSize[f]); {
		case off >= end:
			return dst
		case size > 0:
			dst = append(dst, m.Raw[off:off+size]...)
			off += size
		case f == fString:
			n := 1 + int(m.Raw[off])
			dst = append(dst, m.Raw[off:off+n]...)
			off += n
		case f == fName:
			dst = m.AppendWire(dst, Name{Off: uint16(off), Len: 1})
			off = m.behindName(off)
		default:
			// What cannot hold a compressed name (RFC 3597 section 4).
			return append(dst, m.Raw[off:end]...)
		}
	}
	return dst
}

// behindName returns the offset behind the name at off, which has been walked.
func (m *Message) behindName(off int) int {
	for {
		switch c := int(m.Raw[off]); {
		case c >= 0xc0:
			return off + 2
		case c == 0:
			return off + 1
		default:
			off += 1 + c
		}
	}
}
