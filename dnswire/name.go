package dnswire

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// MaxNameLen is the length of the longest name in wire form (RFC 1035
// section 2.3.4).
const MaxNameLen = 255

// MaxHops is how many compression pointers of one name pass without notice. A
// name has at most 127 labels, so more pointers than that serve nobody.
const MaxHops = 126

// walk checks the name at off and follows its pointers. The part of the name
// before the first pointer must end at or before limit. It returns the offset
// behind that part, or 0 when it has no end. A name of length 0 could not be
// read.
func (m *Message) walk(off, limit int) (n Name, next int, fault Anomaly) {
	raw := m.Raw
	start := off // of the current run of labels
	first := 0   // offset of the first label
	total := 1   // octets without compression, the root included
	hops := 0
	for {
		if off >= limit {
			return Name{}, next, NameRange
		}
		c := int(raw[off])
		if c >= 0xc0 {
			if off+2 > limit {
				return Name{}, next, PtrRange
			}
			if next == 0 {
				next, limit = off+2, len(raw)
			}
			to, fault := m.pointer(off, start)
			if fault != None {
				if fault == PtrForward {
					n, fault = m.chase(Name{Off: uint16(first), Len: uint8(total)}, off)
				}
				return n, next, fault
			}
			if first == 0 && to == int(m.last.Off) {
				return m.last, next, None
			}
			if m.overworked() {
				t := m.tailAt(to)
				if total += int(t.len) - 1; t.fault == None && total > MaxNameLen {
					t.fault = NameLong
				}
				if t.fault != None {
					return Name{}, next, t.fault
				}
				if first == 0 {
					first = int(t.first)
				}
				return Name{Off: uint16(first), Len: uint8(total)}, next, None
			}
			if hops++; hops == MaxHops+1 {
				m.Anomalies.Add(PtrLimit)
			}
			m.work++
			off, start = to, to
			continue
		}
		if first == 0 {
			first = off
		}
		if c == 0 {
			if next == 0 {
				next = off + 1
			}
			return Name{Off: uint16(first), Len: uint8(total)}, next, None
		}
		if c >= 0x40 {
			return Name{}, next, LabelType
		}
		off += 1 + c
		total += 1 + c
		if off > limit {
			return Name{}, next, LabelRange
		}
		if total > MaxNameLen {
			return Name{}, next, NameLong
		}
		if next != 0 {
			m.work++
		}
	}
}

// target returns where the pointer at off leads, past further pointers if that
// is known. The name has been walked.
func (m *Message) target(off int) int {
	to := int(m.Raw[off]&0x3f)<<8 | int(m.Raw[off+1])
	if to < len(m.tails) && m.tails[to].len != 0 && m.tails[to].fault == None {
		return int(m.tails[to].first)
	}
	return to
}

// AppendName appends n in presentation format (RFC 1035 section 5.1) without
// the final dot; the root is ".". Octets other than printable ASCII become
// \DDD, and the characters special in zone files are escaped, so the text is
// printable ASCII from which [AppendWireName] recovers the octets. n must be of
// this message.
func (m *Message) AppendName(dst []byte, n Name) []byte {
	if n.Len == 0 {
		return dst
	}
	dst, _ = m.appendNameAt(dst, int(n.Off))
	return dst
}

// AppendNameLower is AppendName with the letters A to Z in lower case, which
// makes it a key (RFC 4343).
func (m *Message) AppendNameLower(dst []byte, n Name) []byte {
	at := len(dst)
	dst = m.AppendName(dst, n)
	for i, c := range dst[at:] {
		dst[at+i] = lower[c]
	}
	return dst
}

// appendNameAt appends the name at off, which has been walked, and returns the
// offset behind it.
func (m *Message) appendNameAt(dst []byte, off int) (out []byte, next int) {
	raw, at := m.Raw, len(dst)
	for {
		c := int(raw[off])
		if c >= 0xc0 {
			if next == 0 {
				next = off + 2
			}
			off = m.target(off)
			continue
		}
		if c == 0 {
			if next == 0 {
				next = off + 1
			}
			if len(dst) == at {
				return append(dst, '.'), next
			}
			return dst[:len(dst)-1], next
		}
		dst = appendLabel(dst, raw[off+1:off+1+c])
		off += 1 + c
	}
}

// appendLabel appends a label and a dot. It copies and judges the octets in one
// pass, which for labels of a few octets is faster than a copy and a search.
func appendLabel(dst, label []byte) []byte {
	at := len(dst)
	if cap(dst)-at <= len(label) {
		dst = slices.Grow(dst, MaxNameLen)
	}
	text := dst[at : at+len(label)+1]
	special := uint8(0)
	for i, c := range label {
		text[i] = c
		special |= escapeLabel[c]
	}
	if special != escapeNone {
		return append(appendEscaped(dst, label, &escapeLabel), '.')
	}
	text[len(label)] = '.'
	return dst[:at+len(label)+1]
}

// AppendWire appends n in wire form without compression.
func (m *Message) AppendWire(dst []byte, n Name) []byte {
	if n.Len == 0 {
		return dst
	}
	raw, off := m.Raw, int(n.Off)
	for {
		c := int(raw[off])
		switch {
		case c == 0:
			return append(dst, 0)
		case c >= 0xc0:
			off = m.target(off)
		default:
			dst = append(dst, raw[off:off+1+c]...)
			off += 1 + c
		}
	}
}

var lower = lowerTable()

func lowerTable() (t [256]byte) {
	for c := range t {
		t[c] = byte(c)
	}
	for c := 'A'; c <= 'Z'; c++ {
		t[c] = byte(c) + 'a' - 'A'
	}
	return t
}

// EqualNames reports whether the name n of message a and the name k of message
// b are the same name: ASCII letters match in either case (RFC 4343), and a dot
// inside a label is not a dot between labels.
func EqualNames(a *Message, n Name, b *Message, k Name) bool {
	if n.Len != k.Len {
		return false
	}
	if n.Len == 0 || a == b && n.Off == k.Off {
		return true
	}
	i, j := int(n.Off), int(k.Off)
	for {
		for a.Raw[i] >= 0xc0 {
			i = a.target(i)
		}
		for b.Raw[j] >= 0xc0 {
			j = b.target(j)
		}
		c := int(a.Raw[i])
		if c != int(b.Raw[j]) {
			return false
		}
		if c == 0 {
			return true
		}
		x, y := a.Raw[i+1:i+1+c], b.Raw[j+1:j+1+c]
		for at, o := range x {
			if o != y[at] && lower[o] != lower[y[at]] {
				return false
			}
		}
		i, j = i+1+c, j+1+c
	}
}

// NameUnder reports whether n is the name above or below it. above is in wire
// form without compression, in lower case; n matches in either case. n must be
// of this message.
func (m *Message) NameUnder(n Name, above []byte) bool {
	rest := int(n.Len) - len(above) // octets of n's labels before those of above
	if rest < 0 {
		return false
	}
	raw, off := m.Raw, int(n.Off)
	for {
		for raw[off] >= 0xc0 {
			off = m.target(off)
		}
		c := int(raw[off])
		if rest > 0 {
			if rest -= 1 + c; rest < 0 {
				return false
			}
			off += 1 + c
			continue
		}
		if c != int(above[0]) {
			return false
		}
		if c == 0 {
			return true
		}
		for i, o := range raw[off+1 : off+1+c] {
			if lower[o] != above[1+i] {
				return false
			}
		}
		off, above = off+1+c, above[1+c:]
	}
}

// HashName returns a hash of n in which letters count in lower case, so that
// names which EqualNames calls equal have equal hashes. With a random seed an
// attacker cannot choose names that collide.
func (m *Message) HashName(n Name, seed uint64) uint64 {
	var buf [272]byte // MaxNameLen, rounded up to 16; zero behind the name
	size := 0
	for raw, off := m.Raw, int(n.Off); n.Len > 0; {
		c := int(raw[off])
		if c >= 0xc0 {
			off = m.target(off)
			continue
		}
		if c == 0 {
			break
		}
		buf[size] = byte(c)
		text := buf[size+1 : size+1+c]
		for i, o := range raw[off+1 : off+1+c] {
			text[i] = lower[o]
		}
		size += 1 + c
		off += 1 + c
	}
	const k0, k1 = 0xa0761d6478bd642f, 0xe7037ed1a0b428db
	h := mix(seed^k0, uint64(size)^k1)
	for i := 0; i < size; i += 16 {
		h = mix(binary.LittleEndian.Uint64(buf[i:])^h, binary.LittleEndian.Uint64(buf[i+8:])^seed^k1)
	}
	return mix(h^k1, seed^k0)
}

// mix folds the 128 bits of a product into 64.
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// NameAt returns the name that begins at offset off of Raw, as in RDATA, with at
// most limit-off octets before its first pointer, and the offset behind it. It is
// not ok where no name can be read.
func (m *Message) NameAt(off, limit int) (n Name, next int, ok bool) {
	if off < HeaderLen || off >= limit || limit > len(m.Raw) {
		return Name{}, 0, false
	}
	n, next, fault := m.walk(off, limit)
	return n, next, fault == None && n.Len > 0
}
