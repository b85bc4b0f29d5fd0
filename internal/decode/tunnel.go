package decode

import (
	"encoding/binary"
	"hash/maphash"
)

// UDP ports of tunnels. Only the destination counts: the source port of most is
// a hash of the flow inside (RFC 7348 section 5).
const (
	portGTPU     = 2152 // 3GPP TS 29.281
	portVXLAN    = 4789 // RFC 7348
	portVXLANOld = 8472 // Linux's default
	portGREUDP   = 4754 // RFC 8086
	portGeneve   = 6081 // RFC 8926
)

func isTunnelPort(p uint16) bool {
	switch p {
	case portGTPU, portVXLAN, portVXLANOld, portGREUDP, portGeneve:
		return true
	}
	return false
}

// enterTunnel counts one more tunnel around the packet at hand; false means
// that there are too many.
func (d *Decoder) enterTunnel() bool {
	if d.tunnels >= d.maxTunnels {
		d.drop(&d.stats.TunnelDepth)
		return false
	}
	d.tunnels++
	d.anyTunnel = true
	return true
}

// passing remembers a packet. A host that ends a tunnel shows its packets twice,
// wrapped on one interface and bare on another; each is to be read once. Copies
// at one depth are something else: retransmissions, or the two ends of a
// conversation inside the host.
type passing struct {
	hash  uint64
	time  int64 // ns
	depth int   // tunnels around it
}

const (
	passingSlots = 1 << 10
	passingTime  = 100e6 // ns that the other copy may take
)

// passedBefore reports whether a packet that may hold DNS was read at another depth
// just now.
func (d *Decoder) passedBefore(proto uint8, b []byte) bool {
	if proto != protoUDP && proto != protoTCP || len(b) < 4 ||
		!d.anyPort && !d.isDNS(binary.BigEndian.Uint16(b)) && !d.isDNS(binary.BigEndian.Uint16(b[2:])) {
		return false
	}
	p := &d.p
	var k [42]byte
	p.src.put(k[:])
	p.dst.put(k[16:])
	binary.LittleEndian.PutUint16(k[32:], p.id)
	binary.LittleEndian.PutUint64(k[34:], maphash.Bytes(d.seed, b))
	h := maphash.Bytes(d.seed, k[:])
	slot := &d.passing[h%passingSlots]
	age := d.f.Time - slot.time
	if slot.hash == h && slot.depth != d.tunnels && age >= 0 && age < passingTime {
		return true
	}
	*slot = passing{h, d.f.Time, d.tunnels}
	return false
}

func (d *Decoder) udpTunnel(port uint16, b []byte) {
	switch port {
	case portVXLAN, portVXLANOld:
		// Flags (I: the VNI is valid), reserved (3), VNI (3), reserved.
		if len(b) < 8 || b[0]&0x08 == 0 {
			d.drop(&d.stats.TunnelHeader)
			return
		}
		if d.enterTunnel() {
			d.ethernet(b[8:])
		}
	case portGeneve:
		d.geneve(b)
	case portGTPU:
		d.gtpu(b)
	case portGREUDP:
		d.gre(b)
	}
}

// geneve decodes RFC 8926 section 3.4: version and length of the options in
// words, flags, EtherType, VNI (3), reserved, options.
func (d *Decoder) geneve(b []byte) {
	if len(b) < 8 || b[0]>>6 != 0 {
		d.drop(&d.stats.TunnelHeader)
		return
	}
	n := 8 + 4*int(b[0]&0x3f)
	if n > len(b) {
		d.drop(&d.stats.TunnelHeader)
		return
	}
	d.inner(binary.BigEndian.Uint16(b[2:]), b[n:])
}

// gtpu decodes a G-PDU (3GPP TS 29.281 section 5): flags, message type, length,
// TEID, then four more octets and extension headers when a flag asks for them.
func (d *Decoder) gtpu(b []byte) {
	const gPDU = 255
	if len(b) < 8 || b[0]>>4 != 3 { // version 1, protocol type GTP
		d.drop(&d.stats.TunnelHeader)
		return
	}
	if b[1] != gPDU {
		d.stats.Other++
		return
	}
	n := 8
	if b[0]&7 != 0 {
		n = 12
		if len(b) < n {
			d.drop(&d.stats.TunnelHeader)
			return
		}
		next := b[11]
		if b[0]&4 == 0 {
			next = 0
		}
		// The length of an extension is in words of four octets, its last
		// octet is the type of the next one.
		for next != 0 {
			if n >= len(b) || b[n] == 0 || n+4*int(b[n]) > len(b) {
				d.drop(&d.stats.TunnelHeader)
				return
			}
			n += 4 * int(b[n])
			next = b[n-1]
		}
	}
	if d.enterTunnel() {
		d.ip(b[n:])
	}
}

// gre decodes RFC 2784 with the key and sequence number of RFC 2890, the source
// routes of RFC 1701, and version 1 of PPTP (RFC 2637).
func (d *Decoder) gre(b []byte) {
	const checksum, routing, key, sequence, acknowledgment = 0x8000, 0x4000, 0x2000, 0x1000, 0x0080
	if len(b) < 4 {
		d.drop(&d.stats.TunnelHeader)
		return
	}
	flags, t := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	n := 4
	if flags&(checksum|routing) != 0 {
		n += 4
	}
	if flags&key != 0 {
		n += 4
	}
	if flags&sequence != 0 {
		n += 4
	}
	switch flags & 7 {
	case 0:
	case 1:
		if flags&acknowledgment != 0 {
			n += 4
		}
		if flags&sequence == 0 {
			d.stats.Other++
			return // an acknowledgment without payload
		}
	default:
		d.drop(&d.stats.TunnelHeader)
		return
	}
	if flags&routing != 0 {
		// Address family, offset, length, routing data; ends with length 0.
		for {
			if n+4 > len(b) {
				d.drop(&d.stats.TunnelHeader)
				return
			}
			length := int(b[n+3])
			n += 4 + length
			if length == 0 {
				break
			}
		}
	}
	if n > len(b) {
		d.drop(&d.stats.TunnelHeader)
		return
	}
	b = b[n:]
	switch t {
	case 0x88be: // ERSPAN type I without, type II with a sequence number
		if flags&sequence == 0 {
			d.inner(etherBridge, b)
			return
		}
		d.erspan(8, b)
	case 0x22eb: // ERSPAN type III
		n := 12
		if len(b) >= n && b[11]&1 != 0 {
			n += 8 // the platform specific subheader
		}
		d.erspan(n, b)
	default:
		d.inner(t, b)
	}
}

// erspan skips the n octets of a mirrored frame's header
// (draft-foschiano-erspan).
func (d *Decoder) erspan(n int, b []byte) {
	if n > len(b) {
		d.drop(&d.stats.TunnelHeader)
		return
	}
	d.inner(etherBridge, b[n:])
}

// inner decodes what a tunnel with an EtherType holds.
func (d *Decoder) inner(t uint16, b []byte) {
	if !d.enterTunnel() {
		return
	}
	switch t {
	case etherBridge:
		d.ethernet(b)
	case etherPPP:
		d.ppp(b)
	default:
		if t < ethertypeMin {
			d.drop(&d.stats.NotIP)
			return
		}
		d.etherType(t, b)
	}
}
