package dnswire

import "math/bits"

// checkBitmap judges a type bitmap (RFC 4034 section 4.1.2): windows in
// ascending order, each of 1 to 32 octets (CVE-2017-15908, a length of 0 read
// for ever).
func (m *Message) checkBitmap(off, end int) Anomaly {
	raw, types, last := m.Raw, 0, -1
	for off < end {
		if end-off < 2 {
			return NSECRange
		}
		window, n := int(raw[off]), int(raw[off+1])
		switch {
		case n == 0:
			return NSECWindow0
		case n > 35:
			return NSECLen36
		case n > 32:
			return NSECLen33
		case window == last:
			return NSECDup
		case window < last:
			return NSECOrder
		case end-off-2 < n:
			return NSECRange
		}
		off += 2 + n
		if raw[off-1] == 0 {
			m.Anomalies.Add(NSECZeros)
		}
		types += countBits(raw[off-n : off])
		last = window
	}
	if types > m.Limits.types() {
		m.Anomalies.Add(TypesCapped)
	}
	return None
}

// appendBitmap appends the names of the types, each behind a space, Limits.Types
// of them at most: a full bitmap of 8.7 kB would be half a megabyte of text.
func (m *Message) appendBitmap(dst, b []byte) []byte {
	left := m.Limits.types()
	for i := 0; i < len(b); {
		window, n := int(b[i])<<8, int(b[i+1])
		i += 2
		for j, c := range b[i : i+n] {
			if c == 0 {
				continue
			}
			if dst, left = appendTypes(dst, c, window+j*8, left); left < 0 {
				return appendCut(dst, bitmapRest(b)-m.Limits.types(), "types")
			}
		}
		i += n
	}
	return dst
}

// appendTypes appends the types whose bits are set in c, the first of which is
// first. left below zero says that not all found room.
func appendTypes(dst []byte, c byte, first, left int) ([]byte, int) {
	for c != 0 {
		if left == 0 {
			return dst, -1
		}
		high := bits.LeadingZeros8(c)
		c &^= 0x80 >> high
		dst = Type(first + high).Append(append(dst, ' '))
		left--
	}
	return dst, left
}

// bitmapRest counts all types of a bitmap.
func bitmapRest(b []byte) (n int) {
	for len(b) >= 2 {
		n += countBits(b[2 : 2+b[1]])
		b = b[2+b[1]:]
	}
	return n
}

// checkNXT judges the bitmap of NXT, which has no windows: bit 0 is zero and
// the last octet is not (RFC 2535 section 5.2).
func (m *Message) checkNXT(off, end int) Anomaly {
	b := m.Raw[off:end]
	switch {
	case len(b) == 0:
		return RDataLen
	case len(b) > 16, b[0]&0x80 != 0:
		return NSECRange
	}
	if countBits(b) > m.Limits.types() {
		m.Anomalies.Add(TypesCapped)
	}
	return None
}

func (m *Message) appendNXT(dst, b []byte) []byte {
	left := m.Limits.types()
	for i, c := range b {
		if dst, left = appendTypes(dst, c, i*8, left); left < 0 {
			return appendCut(dst, countBits(b)-m.Limits.types(), "types")
		}
	}
	return dst
}
