package dnswire

import (
	"encoding/binary"
	"math/bits"
	"strconv"
)

// LOC (RFC 1876).

const (
	locLen     = 16
	locEquator = 1 << 31
	locDegree  = 3600 * 1000 // thousandths of a second of arc
)

func checkLOC(b []byte) Anomaly {
	if len(b) > 0 && b[0] != 0 {
		return LOCVersion
	}
	if len(b) != locLen {
		return RDataLen
	}
	for _, c := range b[1:4] {
		if c>>4 > 9 || c&15 > 9 {
			return LOCRange
		}
	}
	if !within(b[4:], 90*locDegree) || !within(b[8:], 180*locDegree) {
		return LOCRange
	}
	return None
}

// within reports whether a coordinate is at most limit away from zero.
func within(b []byte, limit int64) bool {
	v := int64(binary.BigEndian.Uint32(b)) - locEquator
	return -limit <= v && v <= limit
}

func appendLOC(dst, b []byte) []byte {
	dst = append(appendCoordinate(dst, b[4:], 'N', 'S'), ' ')
	dst = append(appendCoordinate(dst, b[8:], 'E', 'W'), ' ')
	cm := int64(binary.BigEndian.Uint32(b[12:])) - 100000*100
	if cm < 0 {
		dst = append(dst, '-')
		cm = -cm
	}
	dst = strconv.AppendInt(dst, cm/100, 10)
	if cm%100 != 0 {
		dst = appendTwo(append(dst, '.'), int(cm%100))
	}
	for _, c := range []byte{b[1], b[2], b[3]} {
		dst = appendSize(append(dst, "m "...), c)
	}
	return append(dst, 'm')
}

func appendCoordinate(dst, b []byte, pos, neg byte) []byte {
	v := int64(binary.BigEndian.Uint32(b)) - locEquator
	side := pos // of zero too, as in the RFC's appendix A
	if v < 0 {
		v, side = -v, neg
	}
	dst = appendDegrees(dst, v/locDegree)
	dst = appendTwo(append(dst, ' '), int(v/60000%60))
	v %= 60000
	dst = strconv.AppendInt(append(dst, ' '), v/1000, 10)
	dst = append(dst, '.', '0'+byte(v/100%10), '0'+byte(v/10%10), '0'+byte(v%10))
	return append(dst, ' ', side)
}

func appendDegrees(dst []byte, v int64) []byte {
	if v < 100 {
		return appendTwo(dst, int(v))
	}
	return strconv.AppendInt(dst, v, 10)
}

// appendSize appends centimetres in mantissa and power of ten as metres.
func appendSize(dst []byte, c byte) []byte {
	mantissa, power := c>>4, c&15
	switch {
	case power == 0:
		return append(dst, '0', '.', '0', '0'+mantissa)
	case power == 1:
		return append(dst, '0', '.', '0'+mantissa, '0')
	}
	dst = append(dst, '0'+mantissa)
	if mantissa != 0 {
		for ; power > 2; power-- {
			dst = append(dst, '0')
		}
	}
	return dst
}

// APL (RFC 3123).

func (m *Message) checkAPL(off, end int) Anomaly {
	if end-off > m.Limits.data() {
		m.Anomalies.Add(TextCapped)
	}
	for off < end {
		if end-off < 4 {
			return APLInvalid
		}
		b := m.Raw[off:]
		size, ok := familySize(binary.BigEndian.Uint16(b))
		n := int(b[3] & 0x7f)
		if !ok || int(b[2]) > size*8 || n > size || n > end-off-4 {
			return APLInvalid
		}
		off += 4 + n
	}
	return None
}

// familySize returns the octets of an address (IANA "Address Family Numbers").
func familySize(family uint16) (size int, ok bool) {
	switch family {
	case 1:
		return 4, true
	case 2:
		return 16, true
	}
	return 0, false
}

func (m *Message) appendAPL(dst, b []byte) []byte {
	limit := m.Limits.data()
	for i := 0; i < len(b); {
		n := int(b[i+3] & 0x7f)
		if i+4+n > limit {
			return appendCut(dst, len(b)-i, "octets")
		}
		if i > 0 {
			dst = append(dst, ' ')
		}
		if b[i+3]&0x80 != 0 {
			dst = append(dst, '!')
		}
		dst = append(dst, '0'+b[i+1], ':')
		dst = appendPrefix(dst, b[i+1], b[i+4:i+4+n])
		dst = strconv.AppendUint(append(dst, '/'), uint64(b[i+2]), 10)
		i += 4 + n
	}
	return dst
}

// appendPrefix appends an address whose last octets are left out.
func appendPrefix(dst []byte, family byte, b []byte) []byte {
	var addr [16]byte
	copy(addr[:], b)
	if family == 1 {
		return appendIPv4(dst, addr[:])
	}
	return appendIPv6(dst, addr[:])
}

// HIP (RFC 8005 section 5).

// maxServers is how many rendezvous servers of a HIP record are written: each
// is two octets of pointer that can be a thousand of text.
const maxServers = 16

func (m *Message) checkHIP(r *Record, off, end int) (fault Anomaly) {
	if end-off < 4 {
		return RDataLen
	}
	b := m.Raw[off:]
	hit, key := int(b[0]), int(binary.BigEndian.Uint16(b[2:]))
	off += 4
	if end-off < hit+key {
		return RDataRange
	}
	m.checkData(r, off+hit, off+hit+key)
	off += hit + key
	for n := 0; off < end; n++ {
		if off, fault = m.checkName(off, end); fault != None {
			return fault
		}
		if n == maxServers {
			m.Anomalies.Add(TextCapped)
		}
	}
	return None
}

func (m *Message) appendHIP(dst []byte, off, end int) []byte {
	b := m.Raw[off:end]
	hit, key := int(b[0]), int(binary.BigEndian.Uint16(b[2:]))
	dst = strconv.AppendUint(dst, uint64(b[1]), 10)
	dst = appendHex(append(dst, ' '), b[4:4+hit], hexLower)
	dst = m.appendBase64(append(dst, ' '), b[4+hit:4+hit+key])
	off += 4 + hit + key
	for n := 0; off < end; n++ {
		if n == maxServers {
			return appendCut(dst, end-off, "octets")
		}
		dst, off = m.appendNameAt(append(dst, ' '), off)
	}
	return dst
}

// IPSECKEY (RFC 4025 section 2) and AMTRELAY (RFC 8777 section 4): a gateway
// whose form is told by an octet before it.

const (
	gatewayNone = iota
	gatewayIPv4
	gatewayIPv6
	gatewayName
)

func (m *Message) checkGateway(f field, off, end int) (next int, fault Anomaly) {
	head := 2 // IPSECKEY: gateway type, algorithm
	if f == fRelay {
		head = 1
	}
	if end-off < head {
		return 0, RDataLen
	}
	size := 0
	switch m.Raw[off] & 0x7f {
	case gatewayNone:
	case gatewayIPv4:
		size = 4
	case gatewayIPv6:
		size = 16
	case gatewayName:
		return m.checkName(off+head, end)
	default:
		return 0, GatewayType
	}
	if f == fIPSEC && m.Raw[off]&0x80 != 0 {
		return 0, GatewayType
	}
	if off += head; end-off < size {
		return 0, RDataLen
	}
	return off + size, None
}

func (m *Message) appendGateway(dst []byte, f field, off, end int) (out []byte, next int) {
	b := m.Raw[off:end]
	kind := b[0] & 0x7f
	if f == fRelay {
		dst = append(dst, '0'+b[0]>>7, ' ', '0'+kind)
		b, off = b[1:], off+1
	} else {
		dst = strconv.AppendUint(append(dst, '0'+kind, ' '), uint64(b[1]), 10)
		b, off = b[2:], off+2
	}
	dst = append(dst, ' ')
	switch kind {
	case gatewayIPv4:
		return appendIPv4(dst, b), off + 4
	case gatewayIPv6:
		return appendIPv6(dst, b), off + 16
	case gatewayName:
		return m.appendNameAt(dst, off)
	}
	return append(dst, '.'), off
}

// A6 (RFC 2874 section 3.1).

func (m *Message) checkA6(off, end int) (next int, fault Anomaly) {
	if off >= end {
		return 0, RDataLen
	}
	prefix := int(m.Raw[off])
	if prefix > 128 {
		return 0, RDataValue
	}
	off++
	if suffix := (128 - prefix + 7) / 8; end-off < suffix {
		return 0, RDataLen
	} else {
		off += suffix
	}
	if prefix == 0 {
		return off, None
	}
	return m.checkName(off, end)
}

func (m *Message) appendA6(dst []byte, off, end int) []byte {
	prefix := int(m.Raw[off])
	suffix := (128 - prefix + 7) / 8
	var addr [16]byte
	copy(addr[16-suffix:], m.Raw[off+1:])
	dst = strconv.AppendUint(dst, uint64(prefix), 10)
	dst = appendIPv6(append(dst, ' '), addr[:])
	if prefix > 0 {
		dst, _ = m.appendNameAt(append(dst, ' '), off+1+suffix)
	}
	return dst
}

// WKS (RFC 1035 section 3.4.2): a bit for each port.

func (m *Message) appendWKS(dst, b []byte) []byte {
	left := m.Limits.types()
	for i, c := range b {
		for c != 0 {
			if left == 0 {
				return appendCut(dst, countBits(b)-m.Limits.types(), "ports")
			}
			high := bits.LeadingZeros8(c)
			c &^= 0x80 >> high
			dst = strconv.AppendUint(append(dst, ' '), uint64(i*8+high), 10)
			left--
		}
	}
	return dst
}

func countBits(b []byte) (n int) {
	for _, c := range b {
		n += bits.OnesCount8(c)
	}
	return n
}
