package decode

import "hash/maphash"

// UDP ports of tunnels (IANA "Service Name and Transport Protocol Port Number
// Registry"; 8472 is Linux's default for VXLAN).
const (
	portGTPU      = 2152
	portGREinUDP  = 4754
	portVXLAN     = 4789
	portGeneve    = 6081
	portVXLANOld  = 8472
	vxlanHeader   = 8
	geneveHeader  = 8
	gtpHeader     = 8
	gtpData       = 255 // G-PDU
	erspan2Header = 8
	erspan3Header = 12
)

func isTunnel(port uint16) bool {
	switch port {
	case portGTPU, portGREinUDP, portVXLAN, portGeneve, portVXLANOld:
		return true
	}
	return false
}

// tunnel goes on inside a UDP tunnel.
func (d *Decoder) tunnel(p *packet, port uint16, b []byte) {
	switch port {
	case portVXLAN, portVXLANOld: // RFC 7348 section 5
		if len(b) > vxlanHeader && b[0]&0x08 != 0 {
			d.ethernet(p, b[vxlanHeader:])
		}
	case portGeneve: // RFC 8926 section 3.4
		if len(b) > geneveHeader && b[0]>>6 == 0 {
			if size := geneveHeader + int(b[0]&0x3f)*4; len(b) > size {
				d.ether(p, be.Uint16(b[2:]), b[size:])
			}
		}
	case portGREinUDP: // RFC 8086
		d.gre(p, b)
	case portGTPU: // 3GPP TS 29.281 section 5
		d.gtp(p, b)
	}
}

func (d *Decoder) gtp(p *packet, b []byte) {
	if len(b) < gtpHeader || b[0]>>5 != 1 || b[1] != gtpData {
		return
	}
	size := gtpHeader
	if b[0]&7 != 0 {
		size += 4
		// A chain of extension headers, if the last of these octets says so.
		for next := size - 1; b[0]&4 != 0; next = size - 1 {
			if next >= len(b) || b[next] == 0 {
				break
			}
			if size >= len(b) || b[size] == 0 {
				return
			}
			size += int(b[size]) * 4
		}
	}
	if size < len(b) {
		d.ip(p, b[size:])
	}
}

// gre: RFC 2784, with key and sequence number of RFC 2890.
func (d *Decoder) gre(p *packet, b []byte) {
	if len(b) < 4 {
		return
	}
	flags, typ := b[0], be.Uint16(b[2:])
	switch b[1] & 7 {
	case 0:
	case 1:
		d.pptp(p, b)
		return
	default:
		return
	}
	size := 4
	for _, flag := range [...]byte{0x80, 0x20, 0x10} { // checksum, key, sequence number
		if flags&flag != 0 {
			size += 4
		}
	}
	switch typ {
	case etherERSPAN2:
		if flags&0x10 != 0 { // type I has neither sequence number nor header
			size += erspan2Header
		}
		typ = etherTEB
	case etherERSPAN3:
		if len(b) >= size+erspan3Header && b[size+11]&1 != 0 {
			size += 8 // platform specific subheader
		}
		size += erspan3Header
		typ = etherTEB
	}
	if size < len(b) {
		d.ether(p, typ, b[size:])
	}
}

// pptp: GRE version 1 (RFC 2637 section 4.1), which carries PPP.
func (d *Decoder) pptp(p *packet, b []byte) {
	size := 8
	if b[0]&0x10 != 0 { // sequence number
		size += 4
	}
	if b[1]&0x80 != 0 { // acknowledgment number
		size += 4
	}
	if be.Uint16(b[2:]) == etherPPP && size < len(b) {
		d.ppp(p, b[size:])
	}
}

// A host that ends a tunnel shows its packets twice: wrapped on one interface,
// bare on another. passing remembers packets for the time that takes, so that
// each is read once. Copies at one depth are none of its business: they are
// retransmissions, or the two ends of a conversation inside the host.
type passing struct {
	hash  uint64
	time  int64
	depth int
}

const (
	passingSlots = 1 << 10
	passingTime  = 100_000_000 // ns
)

func (d *Decoder) seenElsewhere(p *packet, b []byte) bool {
	if len(b) < 4 || !d.isDNS(be.Uint16(b)) && !d.isDNS(be.Uint16(b[2:])) {
		return false
	}
	var h maphash.Hash
	h.SetSeed(d.seed)
	var key [36]byte
	src, dst := p.meta.SrcIP.As16(), p.meta.DstIP.As16()
	copy(key[:], src[:])
	copy(key[16:], dst[:])
	be.PutUint16(key[32:], p.info.ID)
	be.PutUint16(key[34:], p.info.FragOffset)
	h.Write(key[:])
	h.Write(b)
	sum := h.Sum64()
	slot := &d.passing[sum%passingSlots]
	if age := p.frame.Time - slot.time; slot.hash == sum && slot.depth != p.depth && age >= 0 && age < passingTime {
		return true
	}
	*slot = passing{sum, p.frame.Time, p.depth}
	return false
}
