package decode

import (
	"encoding/binary"

	"github.com/dnshark-io/dnshark/event"
)

// Protocol numbers (IANA "Protocol Numbers").
const (
	protoHopByHop = 0
	protoIPv4     = 4
	protoTCP      = 6
	protoUDP      = 17
	protoIPv6     = 41
	protoRouting  = 43
	protoFragment = 44
	protoGRE      = 47
	protoESP      = 50
	protoAH       = 51
	protoNoNext   = 59
	protoDestOpts = 60
	protoMobility = 135
	protoHIP      = 139
	protoShim6    = 140
)

const (
	ip4Header = 20
	ip6Header = 40

	// RFC 8504 section 5.3 lets hosts drop packets with more headers than
	// they care for. Real packets have three at most.
	maxExtensions = 16
)

// ip decodes a packet of the family that its first nibble says.
func (d *Decoder) ip(b []byte) {
	if len(b) == 0 {
		d.drop(&d.stats.IPHeader)
		return
	}
	switch b[0] >> 4 {
	case 4:
		d.ip4(b)
	case 6:
		d.ip6(b)
	default:
		d.drop(&d.stats.IPHeader)
	}
}

func (d *Decoder) ip4(b []byte) {
	if len(b) < ip4Header {
		d.drop(&d.stats.IPHeader)
		return
	}
	header := int(b[0]&15) * 4
	if header < ip4Header || header > len(b) {
		d.drop(&d.stats.IPHeader)
		return
	}
	total := int(binary.BigEndian.Uint16(b[2:]))
	switch {
	case total == 0:
		// A segmentation offload packet too large for the field.
		total = len(b) + d.missing
	case total < header:
		d.drop(&d.stats.IPLength)
		return
	}
	d.stats.IPv4++
	p := &d.p
	p.src = address4(b[12:])
	p.dst = address4(b[16:])
	p.proto, p.hops = b[9], b[8]
	p.id = binary.BigEndian.Uint16(b[4:])
	p.total = uint32(total)
	p.sport, p.dport = 0, 0
	rest := total - header // as on the wire
	body := b[header:min(total, len(b))]
	d.checkLength(rest, body)

	fragment := binary.BigEndian.Uint16(b[6:]) & 0x3fff // more fragments, offset in units of 8
	if d.packets {
		d.packet(b[:header], body, fragment&0x1fff != 0)
	}
	if fragment != 0 {
		d.fragment(fragmentInfo{
			id:     uint32(binary.BigEndian.Uint16(b[4:])),
			offset: uint32(fragment&0x1fff) * 8,
			more:   fragment&0x2000 != 0,
			header: uint32(header),
			proto:  p.proto,
		}, body, rest)
		return
	}
	d.transport(p.proto, body, rest)
}

func (d *Decoder) ip6(b []byte) {
	if len(b) < ip6Header {
		d.drop(&d.stats.IPHeader)
		return
	}
	total := ip6Header + int(binary.BigEndian.Uint16(b[4:]))
	if total == ip6Header && b[6] != protoNoNext {
		// A jumbogram (RFC 2675) or segmentation offload.
		total = len(b) + d.missing
	}
	d.stats.IPv6++
	p := &d.p
	p.src = address6(b[8:])
	p.dst = address6(b[24:])
	p.hops = b[7]
	p.total = uint32(total)
	p.id, p.sport, p.dport = 0, 0, 0
	rest := total - ip6Header
	body := b[ip6Header:min(total, len(b))]
	d.checkLength(rest, body)
	d.extensions(b[:ip6Header], b[6], body, rest)
}

// checkLength counts packets that are longer than the frame which holds them.
func (d *Decoder) checkLength(rest int, body []byte) {
	if rest > len(body) && d.missing == 0 {
		d.stats.IPLength++
	}
}

// extensions walks the extension headers of RFC 8200 section 4 before body, of
// which rest octets were on the wire. fixed is nil for a reassembled packet,
// which was emitted fragment by fragment.
func (d *Decoder) extensions(fixed []byte, proto uint8, body []byte, rest int) {
	p := &d.p
	for range maxExtensions {
		n := 0
		switch proto {
		case protoHopByHop, protoRouting, protoDestOpts, protoMobility, protoHIP, protoShim6:
			if len(body) >= 2 {
				n = 8 * (1 + int(body[1]))
			}
		case protoAH:
			if len(body) >= 2 {
				n = 4 * (2 + int(body[1]))
			}
		case protoFragment:
			n = 8
			if len(body) < n {
				break
			}
			offset := binary.BigEndian.Uint16(body[2:])
			if offset&^6 == 0 {
				break // an atomic fragment (RFC 6946) is no fragment
			}
			p.proto = body[0]
			if d.packets && fixed != nil {
				d.packet(fixed, body[n:], offset&^7 != 0)
			}
			d.fragment(fragmentInfo{
				id:     binary.BigEndian.Uint32(body[4:]),
				offset: uint32(offset &^ 7),
				more:   offset&1 != 0,
				header: p.total - uint32(rest), // what stands before the fragment header
				proto:  body[0],
				v6:     true,
			}, body[n:], rest-n)
			return
		default:
			p.proto = proto
			if d.packets && fixed != nil {
				d.packet(fixed, body, false)
			}
			d.transport(proto, body, rest)
			return
		}
		if n == 0 || n > len(body) {
			d.drop(&d.stats.ExtensionHeader)
			return
		}
		proto, body, rest = body[0], body[n:], rest-n
	}
	d.drop(&d.stats.ExtensionLimit)
}

// transport decodes the payload of a whole IP packet, of which rest octets were
// on the wire.
func (d *Decoder) transport(proto uint8, b []byte, rest int) {
	if d.anyTunnel && d.passedBefore(proto, b) {
		d.drop(&d.stats.TunnelDuplicate)
		return
	}
	switch proto {
	case protoUDP:
		d.udp(b, rest)
	case protoTCP:
		d.tcp(b, rest)
	case protoIPv4, protoIPv6:
		if d.enterTunnel() {
			d.ip(b)
		}
	case protoGRE:
		d.gre(b)
	case protoAH:
		d.ah(b, rest)
	default:
		d.stats.Other++
	}
}

// ah skips an authentication header (RFC 4302) of IPv4.
func (d *Decoder) ah(b []byte, rest int) {
	if len(b) < 2 {
		d.drop(&d.stats.ExtensionHeader)
		return
	}
	n := 4 * (2 + int(b[1]))
	if n > len(b) || b[0] == protoAH {
		d.drop(&d.stats.ExtensionHeader)
		return
	}
	d.p.proto = b[0]
	d.transport(b[0], b[n:], rest-n)
}

// packet emits the IP packet at hand. header is its IPv4 or fixed IPv6 header,
// body what follows all IP headers; later says that no transport header does.
func (d *Decoder) packet(header, body []byte, later bool) {
	d.stats.Packets++
	e := d.next(event.ClassPacket)
	e.Sender, e.Owner = d.f.Sender, d.f.Owner
	if d.copies {
		e.Sender, e.Owner = d.hold(e.Sender), d.hold(e.Owner)
	}
	k := &e.Packet
	k.HeaderLen = uint8(len(header))
	if k.Version = header[0] >> 4; k.Version == 4 {
		fragment := binary.BigEndian.Uint16(header[6:])
		k.TOS, k.TTL = header[1], header[8]
		k.ID = binary.BigEndian.Uint16(header[4:])
		k.FragOffset = fragment << 3
		k.MoreFrags = fragment&0x2000 != 0
		k.DontFrag = fragment&0x4000 != 0
		k.IPChecksum = binary.BigEndian.Uint16(header[10:])
	} else {
		word := binary.BigEndian.Uint32(header)
		k.TOS, k.FlowLabel = uint8(word>>20), word&0xfffff
		k.TTL = header[7]
	}
	if later {
		return
	}
	switch {
	case d.p.proto == protoUDP && len(body) >= udpHeader:
		e.Meta.SrcPort, e.Meta.DstPort = binary.BigEndian.Uint16(body), binary.BigEndian.Uint16(body[2:])
		k.UDPLen = binary.BigEndian.Uint16(body[4:])
		k.Checksum = binary.BigEndian.Uint16(body[6:])
	case d.p.proto == protoTCP && len(body) >= tcpHeader:
		e.Meta.SrcPort, e.Meta.DstPort = binary.BigEndian.Uint16(body), binary.BigEndian.Uint16(body[2:])
		k.TCPSeq = binary.BigEndian.Uint32(body[4:])
		k.TCPAck = binary.BigEndian.Uint32(body[8:])
		k.TCPOffset = body[12] >> 4
		k.TCPFlags = binary.BigEndian.Uint16(body[12:]) & 0x1ff
		k.TCPWindow = binary.BigEndian.Uint16(body[14:])
		k.Checksum = binary.BigEndian.Uint16(body[16:])
		k.TCPUrgent = binary.BigEndian.Uint16(body[18:])
	}
}
