package decode

import "github.com/dnshark-io/dnshark/event"

// Protocol numbers (IANA "Protocol Numbers").
const (
	protoHopByHop   = 0
	protoIPv4       = 4
	protoTCP        = 6
	protoUDP        = 17
	protoIPv6       = 41
	protoRouting    = 43
	protoFragment   = 44
	protoGRE        = 47
	protoAH         = 51
	protoDstOptions = 60
	protoMobility   = 135
)

// maxExtensions bounds the chain of IPv6 extension headers.
const maxExtensions = 8

// ip reads an IP header and goes on with what it carries.
func (d *Decoder) ip(p *packet, b []byte) {
	if p.depth++; p.depth > d.o.MaxTunnels+1 {
		d.stats.TunnelDepth++
		return
	}
	if len(b) < 20 {
		d.stats.IPLength++
		return
	}
	switch b[0] >> 4 {
	case 4:
		d.ipv4(p, b)
	case 6:
		d.ipv6(p, b)
	default:
		d.stats.LinkUnknown++
	}
}

func (d *Decoder) ipv4(p *packet, b []byte) {
	header, total := int(b[0]&15)*4, int(be.Uint16(b[2:]))
	if total == 0 {
		total = len(b) // segmentation offload writes no length
	}
	if header < 20 || total < header || len(b) < header {
		d.stats.IPLength++
		return
	}
	id, frag := be.Uint16(b[4:]), be.Uint16(b[6:])
	p.meta = event.PktMeta{
		SrcIP: addr4(b[12:16]), DstIP: addr4(b[16:20]), Protocol: b[9], PacketLen: uint32(total), Iface: p.frame.Iface,
	}
	p.info = event.Packet{
		Version: 4, HeaderLen: uint8(header), TOS: b[1], TTL: b[8], ID: id,
		FragOffset: frag & 0x1fff * 8, DontFrag: frag&0x4000 != 0, MoreFrags: frag&0x2000 != 0,
	}
	// What lies behind the total length is padding of the link.
	payload := b[header:min(total, len(b))]
	if frag&0x3fff == 0 {
		d.transport(p, payload)
		return
	}
	d.packetEvent(p, nil)
	whole, ok := d.fragments.add(p, fragment{
		id: uint32(id), offset: int(frag&0x1fff) * 8, more: frag&0x2000 != 0, data: payload,
		missing: total > len(b),
	}, &d.stats)
	if ok {
		p.meta.PacketLen = uint32(header + len(whole))
		d.payload(p, p.batch.Hold(whole))
	}
}

func (d *Decoder) ipv6(p *packet, b []byte) {
	if len(b) < 40 {
		d.stats.IPLength++
		return
	}
	total := 40 + int(be.Uint16(b[4:]))
	if total == 40 {
		total = len(b) // a jumbogram (RFC 2675) or segmentation offload
	}
	p.meta = event.PktMeta{
		SrcIP: addr6(b[8:24]), DstIP: addr6(b[24:40]), PacketLen: uint32(total), Iface: p.frame.Iface,
	}
	p.info = event.Packet{
		Version: 6, HeaderLen: 40, TOS: b[0]<<4 | b[1]>>4, TTL: b[7], FlowLabel: be.Uint32(b) & 0xfffff,
	}
	next, rest := b[6], b[40:min(total, len(b))]
	for range maxExtensions {
		size := 0
		switch next {
		case protoHopByHop, protoRouting, protoDstOptions, protoMobility:
			if len(rest) >= 2 {
				size = (int(rest[1]) + 1) * 8
			}
		case protoAH:
			if len(rest) >= 2 {
				size = (int(rest[1]) + 2) * 4
			}
		case protoFragment:
			if len(rest) >= 8 && be.Uint16(rest[2:])&0xfff9 != 0 {
				p.meta.Protocol = rest[0]
				d.packetEvent(p, nil)
				d.fragment6(p, rest, total > len(b))
				return
			}
			size = 8 // an atomic fragment is whole (RFC 6946)
		default:
			p.meta.Protocol = next
			d.transport(p, rest)
			return
		}
		if size == 0 || size > len(rest) {
			d.stats.IPLength++
			return
		}
		next, rest = rest[0], rest[size:]
	}
	d.stats.ExtensionLimit++
}

func (d *Decoder) fragment6(p *packet, b []byte, missing bool) {
	at := be.Uint16(b[2:])
	whole, ok := d.fragments.add(p, fragment{
		id: be.Uint32(b[4:]), offset: int(at &^ 7), more: at&1 != 0, data: b[8:], missing: missing, v6: true,
	}, &d.stats)
	if ok {
		p.meta.PacketLen = uint32(40 + len(whole))
		d.payload(p, p.batch.Hold(whole))
	}
}

// transport goes on with the payload of a packet that came whole.
func (d *Decoder) transport(p *packet, b []byte) {
	d.packetEvent(p, b)
	d.payload(p, b)
}

func (d *Decoder) payload(p *packet, b []byte) {
	d.tunnels = d.tunnels || p.depth > 1
	switch p.meta.Protocol {
	case protoUDP, protoTCP:
		switch {
		case d.tunnels && d.seenElsewhere(p, b):
			d.stats.TunnelDuplicate++
		case p.meta.Protocol == protoUDP:
			d.udp(p, b)
		default:
			d.tcp(p, b)
		}
	case protoIPv4, protoIPv6:
		d.ip(p, b)
	case protoGRE:
		d.gre(p, b)
	}
}

// transportInfo fills what a packet's event says of the transport header.
func transportInfo(e *event.Event, b []byte) {
	switch {
	case e.Meta.Protocol == protoUDP && len(b) >= 8:
		e.Meta.SrcPort, e.Meta.DstPort = be.Uint16(b), be.Uint16(b[2:])
		e.Packet.UDPLen, e.Packet.Checksum = be.Uint16(b[4:]), be.Uint16(b[6:])
	case e.Meta.Protocol == protoTCP && len(b) >= 20:
		e.Meta.SrcPort, e.Meta.DstPort = be.Uint16(b), be.Uint16(b[2:])
		e.Packet.TCPSeq, e.Packet.TCPAck = be.Uint32(b[4:]), be.Uint32(b[8:])
		e.Packet.TCPFlags, e.Packet.TCPWindow = b[13], be.Uint16(b[14:])
		e.Packet.Checksum = be.Uint16(b[16:])
	}
}
