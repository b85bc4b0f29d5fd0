package dnswire

// MaxNameLen is the length of the longest name in wire form (RFC 1035
// section 2.3.4).
const MaxNameLen = 255

// MaxHops is how many compression pointers one name may follow. A name has at
// most 127 labels, so more pointers than that serve nobody.
const MaxHops = 126

// walk checks the name at off and follows its pointers. The part of the name
// before the first pointer must end at or before limit. It returns the offset
// behind the name.
//
// A pointer must go back behind the start of the run of labels that it ends
// (RFC 1035 section 4.1.4: "a prior occurrence"), so there are no loops.
func (m *Message) walk(off, limit int) (n Name, next int, fault Anomaly) {
	raw := m.Raw
	start := off // of the current run of labels
	first := -1  // offset of the first label
	total := 1   // octets without compression, the root included
	hops := 0
	for {
		if off >= len(raw) {
			return n, 0, NameRange
		}
		c := int(raw[off])
		switch {
		case c == 0:
			if first < 0 {
				first = off
			}
			if next == 0 {
				next = off + 1
			}
			n = Name{Off: uint16(first), Len: uint8(total)}
			m.remember(n)
			if next > limit {
				return n, next, RDataNameRange
			}
			return n, next, None
		case c < 0x40:
			if off+1+c > len(raw) {
				return n, 0, LabelRange
			}
			if first < 0 {
				first = off
			}
			total += 1 + c
			if total > MaxNameLen {
				return n, 0, NameLong
			}
			off += 1 + c
		case c >= 0xc0:
			if off+2 > len(raw) {
				return n, 0, PtrRange
			}
			to := (c&0x3f)<<8 | int(raw[off+1])
			if next == 0 {
				next = off + 2
			}
			if fault := m.checkPointer(off, start, to); fault != None {
				return n, next, fault
			}
			if first < 0 {
				if e := &m.memo[to%memoSize]; int(e.off) == to {
					if next > limit {
						return e.name, next, RDataNameRange
					}
					return e.name, next, None
				}
			}
			hops++
			m.hops++
			if hops > MaxHops || m.hops > 4*len(raw) {
				return n, next, PtrLimit
			}
			off, start = to, to
		default:
			return n, 0, LabelType
		}
	}
}

// checkPointer judges a pointer at off to the offset to, in a run of labels
// that began at start.
func (m *Message) checkPointer(off, start, to int) Anomaly {
	switch {
	case to < HeaderLen:
		return PtrHeader
	case to >= len(m.Raw):
		return PtrRange
	case to < start:
		return None
	case to <= off:
		return PtrLoop
	default:
		return PtrForward
	}
}

func (m *Message) remember(n Name) {
	m.memo[n.Off%memoSize] = memoEntry{off: n.Off, name: n}
}

// AppendName appends n in presentation format (RFC 1035 section 5.1) without
// the final dot; the root is ".". Octets other than printable ASCII become
// \DDD, and the characters special in zone files are escaped, so the text is
// printable ASCII from which the octets can be recovered. n must be of this
// message.
func (m *Message) AppendName(dst []byte, n Name) []byte {
	raw := m.Raw
	off := int(n.Off)
	if n.Len <= 1 {
		return append(dst, '.')
	}
	for {
		c := int(raw[off])
		switch {
		case c == 0:
			return dst[:len(dst)-1]
		case c >= 0xc0:
			off = (c&0x3f)<<8 | int(raw[off+1])
		default:
			dst = appendLabel(dst, raw[off+1:off+1+c])
			dst = append(dst, '.')
			off += 1 + c
		}
	}
}

func appendLabel(dst, label []byte) []byte {
	at := len(dst)
	dst = append(dst, label...)
	for i, c := range label {
		if escapeNeeded[c] != 0 {
			return appendEscaped(dst[:at+i], label[i:], &escapeNeeded)
		}
	}
	return dst
}

const (
	escapeNone  = 0
	escapeSlash = 1 // \X
	escapeDDD   = 2 // \DDD
)

// escapeNeeded says how an octet of a label is written.
var escapeNeeded = escapeTable(`."\;@$()`)

func escapeTable(special string) (t [256]uint8) {
	for c := range t {
		if c <= 0x20 || c >= 0x7f {
			t[c] = escapeDDD
		}
	}
	for _, c := range []byte(special) {
		t[c] = escapeSlash
	}
	return t
}

func appendEscaped(dst, octets []byte, table *[256]uint8) []byte {
	for _, c := range octets {
		switch table[c] {
		case escapeNone:
			dst = append(dst, c)
		case escapeSlash:
			dst = append(dst, '\\', c)
		default:
			dst = append(dst, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
		}
	}
	return dst
}
