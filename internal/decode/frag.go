package decode

import (
	"net/netip"
	"slices"
)

// fragment is a part of a datagram.
type fragment struct {
	id      uint32
	offset  int
	more    bool
	data    []byte
	missing bool // the capture holds only the start of it
	v6      bool
}

// fragmentKey: RFC 791 section 3.2 and RFC 8200 section 4.5. The cookie keeps
// apart the two ends of a conversation inside the host.
type fragmentKey struct {
	src, dst netip.Addr
	cookie   uint64
	id       uint32
	proto    uint8
	v6       bool
}

// datagram is what has come of one so far.
type datagram struct {
	key    fragmentKey
	first  int64  // time of the first part
	data   []byte // up to the highest octet seen
	parts  []part // filled ranges, ascending, disjoint
	length int    // of the whole, -1 before its last fragment came
	dead   bool   // its parts overlap: RFC 5722 wants it dropped, later parts too
}

type part struct{ from, to int }

const (
	maxDatagram     = 65535
	maxParts        = 64 // a datagram in more pieces is an attack
	fragmentSeconds = 30 // RFC 8200 section 4.5 says 60, RFC 791 15 or more
	datagramBytes   = 256
)

// fragments puts datagrams together. Fragmented DNS is rare, so this path may
// allocate; memory is bounded by limit.
type fragments struct {
	limit     int
	used      int
	datagrams map[fragmentKey]*datagram
	order     []*datagram // oldest first
}

// add takes a fragment and returns the payload of its datagram when that is
// whole. The payload is good until the next call.
func (t *fragments) add(p *packet, f fragment, s *Stats) (whole []byte, ok bool) {
	s.FragmentParts++
	end := f.offset + len(f.data)
	switch {
	case end > maxDatagram:
		s.FragmentTooBig++
		return nil, false
	case f.missing, len(f.data) == 0, f.more && len(f.data)%8 != 0:
		s.SnapTruncated++
		return nil, false
	}
	key := fragmentKey{p.meta.SrcIP, p.meta.DstIP, p.frame.Cookie, f.id, p.meta.Protocol, f.v6}
	if f.v6 {
		key.proto = 0 // RFC 8200: only source, destination and identification
	}
	d := t.datagrams[key]
	if d == nil {
		d = &datagram{key: key, first: p.frame.Time, length: -1}
		if t.datagrams == nil {
			t.datagrams = map[fragmentKey]*datagram{}
		}
		t.datagrams[key] = d
		t.order = append(t.order, d)
		t.used += datagramBytes
	}
	if d.dead {
		return nil, false
	}
	if !f.more {
		if d.length >= 0 && d.length != end {
			s.FragmentOverlap++
		} else {
			d.length = end
		}
	}
	if !d.fill(f, end, t) {
		s.FragmentOverlap++
		if f.v6 {
			t.used -= cap(d.data)
			d.dead, d.data, d.parts = true, nil, nil
			return nil, false
		}
	}
	for t.used > t.limit && len(t.order) > 1 {
		s.FragmentEvicted++
		t.drop(t.order[0])
	}
	if d.length < 0 || len(d.parts) != 1 || d.parts[0] != (part{0, d.length}) {
		return nil, false
	}
	whole = d.data[:d.length]
	t.drop(d)
	return whole, true
}

// fill copies the octets that are new: what came first wins. It reports false
// when some were there already.
func (d *datagram) fill(f fragment, end int, t *fragments) bool {
	if end > len(d.data) {
		before := cap(d.data)
		d.data = slices.Grow(d.data, end-len(d.data))[:end]
		t.used += cap(d.data) - before
	}
	clean := true
	at := f.offset
	i := 0
	for ; i < len(d.parts) && d.parts[i].from < end; i++ {
		q := d.parts[i]
		if q.to <= f.offset {
			continue
		}
		clean = false
		if at < q.from {
			copy(d.data[at:q.from], f.data[at-f.offset:])
		}
		at = max(at, q.to)
	}
	if at < end {
		copy(d.data[at:end], f.data[at-f.offset:])
	}
	d.merge(part{f.offset, end})
	if len(d.parts) > maxParts {
		d.dead = true
	}
	return clean
}

// merge adds a range to the filled ones.
func (d *datagram) merge(n part) {
	kept := d.parts[:0]
	at := -1
	for _, q := range d.parts {
		switch {
		case q.to < n.from:
			kept = append(kept, q)
		case q.from > n.to:
			if at < 0 {
				at = len(kept)
			}
			kept = append(kept, q)
		default:
			n.from, n.to = min(n.from, q.from), max(n.to, q.to)
		}
	}
	if at < 0 {
		at = len(kept)
	}
	d.parts = slices.Insert(kept, at, n)
}

func (t *fragments) drop(d *datagram) {
	delete(t.datagrams, d.key)
	if i := slices.Index(t.order, d); i >= 0 {
		t.order = slices.Delete(t.order, i, i+1)
	}
	t.used -= datagramBytes + cap(d.data)
}

// expire drops datagrams whose parts do not come any more.
func (t *fragments) expire(now int64, s *Stats) {
	for len(t.order) > 0 && t.order[0].first <= now-fragmentSeconds*1e9 {
		s.FragmentTimeout++
		t.drop(t.order[0])
	}
}
