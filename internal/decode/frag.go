package decode

import (
	"encoding/binary"
	"hash/maphash"
	"unsafe"
)

const (
	maxDatagram     = 65535
	maxFragments    = 512  // of one datagram; 64 KiB over the smallest IPv4 MTU need 120
	fragmentTimeout = 30e9 // ns after the last fragment
)

// fragments puts datagrams together (RFC 791 section 3.2, RFC 8200 section
// 4.5). Nothing is emitted of a datagram that stays incomplete.
type fragments struct {
	table[datagram]
	octets octets
}

// datagram is what came of one so far.
type datagram struct {
	last  int64  // time of the newest fragment, ns
	spans uint32 // list
	have  uint32 // octets in spans
	end   uint32 // octets of the whole payload, 0 while unknown
	max   uint32 // where the last span ends
	// header is the length of the headers before the payload.
	header uint32
	count  uint16 // of spans
	proto  uint8  // of the payload: that of the first fragment
	state  uint8
}

// States of a datagram.
const (
	fragGathering = iota
	fragRefused   // what still comes of it is dropped (RFC 5722 section 4)
	fragNotDNS    // its ports are no DNS or tunnel ports: octets are counted, not kept
)

// fragmentInfo is what the headers of a fragment say.
type fragmentInfo struct {
	id     uint32
	offset uint32 // octets
	header uint32 // octets of the packet before the payload
	more   bool
	v6     bool
	proto  uint8
}

func (f *fragments) init(bytes int) {
	f.size = int(unsafe.Sizeof(entry[datagram]{}))
	f.budget.max = bytes / 4
	f.octets.init(bytes - bytes/4)
}

// fragment takes the payload of a fragment, of which rest octets were on the
// wire, and decodes the datagram when that is whole.
func (d *Decoder) fragment(info fragmentInfo, body []byte, rest int) {
	end := info.offset + uint32(rest)
	switch {
	case !d.messages:
		d.stats.Other++
		return
	case !carriesDNS(info.proto) && !info.v6:
		d.stats.Other++
		return // of an IPv6 datagram only the first fragment tells the protocol
	case d.wholeAt == d.tunnels+1:
		// A fragment inside a reassembled datagram, without a tunnel between.
		d.drop(&d.stats.FragLength)
		return
	case rest == 0, info.more && rest%8 != 0:
		d.drop(&d.stats.FragLength)
		return
	case rest > len(body) && d.missing > 0:
		d.drop(&d.stats.SnapTruncated)
		return
	case rest > len(body):
		d.stats.Dropped++ // counted as IPLength
		return
	}
	d.stats.Fragments++
	f := &d.frags
	h := d.fragmentHash(&info)
	i := f.find(h)
	if i != 0 && expired(d.f.Time, f.at(i).last, fragmentTimeout) {
		d.forget(i, &d.stats.FragTimeout)
		i = 0
	}
	if i == 0 {
		for i = f.add(h, 0); i == 0; i = f.add(h, 0) {
			if !d.evictFragment(0) {
				return
			}
		}
	}
	g := f.at(i)
	g.last = d.f.Time
	f.touch(i, 0)
	// Octet 0 is believed once: a second one must not hide what the first began.
	begun := g.spans != 0 && f.octets.spans.at(g.spans).off == 0
	if info.offset == 0 && !begun && g.state != fragRefused {
		g.header, g.proto = info.header, info.proto
		switch {
		case !d.wanted(info.proto, body):
			f.octets.drop(&g.spans)
			g.state = fragNotDNS
		case g.state == fragNotDNS:
			// The identification is in use again.
			*g = datagram{last: d.f.Time, header: info.header, proto: info.proto}
		}
	}
	if g.state == fragRefused {
		return
	}
	if end+info.header > maxDatagram && !info.v6 || end > maxDatagram {
		d.stats.FragTooBig++
		d.refuse(g)
		return
	}
	if !info.more {
		if g.end == 0 && g.max <= end {
			g.end = end
		}
	}
	if g.end != 0 && (end > g.end || !info.more && end != g.end) || !info.more && g.max > end {
		// Two ends, or octets behind the end.
		d.stats.FragOverlap++
		if info.v6 {
			d.refuse(g)
		}
		return
	}
	g.max = max(g.max, end)
	if g.state == fragNotDNS {
		if g.have += uint32(rest); g.end != 0 && g.have >= g.end {
			f.remove(i)
		}
		return
	}
	if !d.insertFragment(i, g, &info, body) {
		return
	}
	if g.end == 0 || g.have < g.end {
		return
	}
	d.reassembled(i, g, info.v6)
}

// carriesDNS reports whether a protocol can hold DNS at some depth.
func carriesDNS(proto uint8) bool {
	switch proto {
	case protoUDP, protoTCP, protoIPv4, protoIPv6, protoGRE, protoAH, protoHopByHop, protoRouting, protoDestOpts:
		return true
	}
	return false
}

// wanted reports whether the first fragment's payload may lead to DNS.
func (d *Decoder) wanted(proto uint8, body []byte) bool {
	if proto != protoUDP && proto != protoTCP || len(body) < 4 {
		return carriesDNS(proto)
	}
	sport, dport := binary.BigEndian.Uint16(body), binary.BigEndian.Uint16(body[2:])
	return d.anyPort || d.isDNS(sport) || d.isDNS(dport) || proto == protoUDP && isTunnelPort(dport)
}

// fragmentHash: the protocol belongs to the key of IPv4 only. The cookie keeps
// apart the two ends of a conversation inside one host.
func (d *Decoder) fragmentHash(info *fragmentInfo) uint64 {
	var k [48]byte
	d.p.src.put(k[:])
	d.p.dst.put(k[16:])
	binary.LittleEndian.PutUint32(k[32:], info.id)
	binary.LittleEndian.PutUint64(k[36:], d.f.Cookie)
	if k[44] = info.proto; info.v6 {
		k[44] = 0
	}
	k[45] = uint8(d.tunnels)
	return maphash.Bytes(d.seed, k[:])
}

// insertFragment reports whether the fragment was taken.
func (d *Decoder) insertFragment(i uint32, g *datagram, info *fragmentInfo, body []byte) bool {
	f := &d.frags
	if g.count >= maxFragments {
		d.stats.FragTooBig++
		d.refuse(g)
		return false
	}
	for {
		r := f.octets.insert(&g.spans, info.offset, body, 0)
		g.have += uint32(r.added)
		g.count += uint16(r.pieces)
		if r.added < len(body) && !r.full {
			if r.conflict || r.added > 0 {
				d.stats.FragOverlap++
				if info.v6 {
					d.refuse(g)
					return false
				}
			}
			// Otherwise a repetition.
		}
		if !r.full {
			return true
		}
		// Some of the body is in place; inserting again adds what is missing.
		if !d.evictFragment(i) {
			d.forget(i, &d.stats.FragEvicted)
			return false
		}
	}
}

// reassembled decodes the whole datagram g.
func (d *Decoder) reassembled(i uint32, g *datagram, v6 bool) {
	f := &d.frags
	d.scratch = d.scratch[:0]
	for g.spans != 0 {
		s := f.octets.pop(&g.spans)
		d.scratch = f.octets.appendTo(d.scratch, &s.run)
		f.octets.release(&s.run)
	}
	header, proto := g.header, g.proto
	f.remove(i)
	d.stats.FragReassembled++
	whole := d.b.Hold(d.scratch)
	d.p.proto = proto
	d.p.total = header + uint32(len(whole))
	before, missing := d.wholeAt, d.missing
	d.wholeAt, d.missing = d.tunnels+1, 0
	if v6 {
		d.extensions(nil, proto, whole, len(whole))
	} else {
		d.transport(proto, whole, len(whole))
	}
	d.wholeAt, d.missing = before, missing
}

// refuse drops a datagram, and what still comes of it.
func (d *Decoder) refuse(g *datagram) {
	d.frags.octets.drop(&g.spans)
	g.state = fragRefused
}

// forget drops a datagram and counts it, unless it was counted before.
func (d *Decoder) forget(i uint32, counter *uint64) {
	g := d.frags.at(i)
	if g.state == fragGathering {
		*counter++
	}
	d.frags.octets.drop(&g.spans)
	d.frags.remove(i)
}

// evictFragment drops the oldest datagram, but not the one in slot keep.
func (d *Decoder) evictFragment(keep uint32) bool {
	f := &d.frags
	i := f.oldest(0)
	if i == keep && i != 0 {
		i = f.entries.at(i).newer
	}
	if i == 0 {
		return false
	}
	d.forget(i, &d.stats.FragEvicted)
	return true
}

func (d *Decoder) expireFragments(now int64) {
	f := &d.frags
	for i := f.oldest(0); i != 0 && expired(now, f.at(i).last, fragmentTimeout); i = f.oldest(0) {
		d.forget(i, &d.stats.FragTimeout)
	}
}
