package dnswire

// An attacker can make 4,000 records point at one chain of thousands of
// pointers (CVE-2024-55628, CVE-2023-4408). Names are walked octet by octet
// until the walks together have cost more than a few steps per octet of the
// message; from then on the message has a table of what is known of the name at
// each offset, and a pointer costs one look.

// tail is what is known of the name that begins at an offset.
type tail struct {
	first uint16  // offset of its first label, or of the root
	len   uint8   // octets in wire form without compression; 0: nothing is known
	fault Anomaly // why it cannot be read; len is then 1
}

const (
	// A pointer has 14 bits (RFC 1035 section 4.1.4).
	maxPointer = 1 << 14
	// workPerOctet is how many labels and pointers are walked for each octet
	// of the message before the table is made. Messages of real servers need
	// less than one.
	workPerOctet = 2
)

func (m *Message) overworked() bool { return m.work > workPerOctet*len(m.Raw) }

// tailAt returns what is known of the name at off, a place that a pointer leads
// to. For all names together each run of labels is scanned twice at most, and
// each pointer followed once.
func (m *Message) tailAt(off int) tail {
	if len(m.tails) == 0 {
		n := min(len(m.Raw), maxPointer)
		if cap(m.tails) < n {
			m.tails = make([]tail, n)
		}
		m.tails = m.tails[:n]
		clear(m.tails)
		m.Anomalies.Add(PtrLimit)
	}
	if t := m.tails[off]; t.len != 0 {
		return t
	}
	// Down the chain, leaving the way back in first, until something is known.
	at, end := off, tail{len: 1}
	for {
		_, stop, fault := m.run(at)
		if end.fault = fault; fault != None {
			break
		}
		if m.Raw[stop] == 0 {
			end.first = uint16(stop)
			break
		}
		to, fault := m.pointer(stop, at)
		if end.fault = fault; fault != None {
			break
		}
		if t := m.tails[to]; t.len != 0 {
			end = t
			break
		}
		m.tails[to].first = uint16(at)
		at = to
	}
	for {
		length, _, _ := m.run(at)
		if n := length + int(end.len); end.fault == None && n > MaxNameLen {
			end.fault = NameLong
		} else if end.fault == None {
			end.len = uint8(n)
		}
		if end.fault != None {
			end.len = 1
		}
		if length > 0 {
			end.first = uint16(at)
		}
		back := int(m.tails[at].first)
		m.tails[at] = end
		if at == off {
			return end
		}
		at = back
	}
}

// run measures the labels from at to the root or a pointer, which stands at
// stop.
func (m *Message) run(at int) (length, stop int, fault Anomaly) {
	for stop = at; ; {
		if stop >= len(m.Raw) {
			return length, stop, NameRange
		}
		c := int(m.Raw[stop])
		switch {
		case c == 0, c >= 0xc0:
			return length, stop, None
		case c >= 0x40:
			return length, stop, LabelType
		}
		length += 1 + c
		if stop += 1 + c; stop > len(m.Raw) {
			return length, stop, LabelRange
		}
		if length >= MaxNameLen {
			return length, stop, NameLong
		}
	}
}

// pointer reads the pointer at off, in a name or run of labels that began at
// start. It must go back behind that start (RFC 1035 section 4.1.4, "a prior
// occurrence"), so that there are no loops.
func (m *Message) pointer(off, start int) (to int, fault Anomaly) {
	if off+2 > len(m.Raw) {
		return 0, PtrRange
	}
	to = int(m.Raw[off]&0x3f)<<8 | int(m.Raw[off+1])
	switch {
	case to < HeaderLen:
		return to, PtrHeader
	case to >= len(m.Raw):
		return to, PtrRange
	case to >= start:
		return to, PtrForward
	}
	return to, None
}

// maxChases is how many names per message are followed over pointers that do
// not go back; each costs up to MaxHops pointers.
const maxChases = 64

// chase goes on with the name n, whose octets so far are n.Len, at a pointer
// that does not go back. Some readers follow such pointers, so the name is what
// they would show; but it is flagged, and a ring of pointers ends here
// (CVE-2017-12995). A name of length 0 could not be read.
func (m *Message) chase(n Name, off int) (Name, Anomaly) {
	raw := m.Raw
	total, hops, started := int(n.Len), 0, n.Off != 0
	// Brent: a mark is set at hops 1, 2, 4, 8... and met again in a ring.
	mark, power := -1, 1
	if m.chases++; m.chases > maxChases {
		return Name{}, PtrForward
	}
	for {
		if off >= len(raw) {
			return Name{}, NameRange
		}
		c := int(raw[off])
		switch {
		case c >= 0xc0:
			to, fault := m.pointer(off, len(raw))
			if fault != None {
				return Name{}, fault
			}
			if off == mark {
				return Name{}, PtrLoop
			}
			if hops++; hops == power {
				mark, power = off, power*2
			}
			if hops > MaxHops {
				return Name{}, PtrLimit
			}
			off = to
			continue
		case c >= 0x40:
			return Name{}, LabelType
		}
		if !started {
			n.Off, started = uint16(off), true
		}
		if c == 0 {
			n.Len = uint8(total)
			return n, PtrForward
		}
		off += 1 + c
		if total += 1 + c; total > MaxNameLen {
			return Name{}, NameLong
		}
		if off > len(raw) {
			return Name{}, LabelRange
		}
	}
}
