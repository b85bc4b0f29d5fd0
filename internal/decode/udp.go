package decode

import "encoding/binary"

const udpHeader = 8

// udp decodes a datagram, of which rest octets were on the wire.
func (d *Decoder) udp(b []byte, rest int) {
	if len(b) < udpHeader {
		if rest < udpHeader {
			d.stats.UDPLength++
		} else {
			d.stats.SnapTruncated++
		}
		return
	}
	p := &d.p
	p.sport, p.dport = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	dns := d.isDNS(p.sport) || d.isDNS(p.dport)
	if !dns && !isTunnelPort(p.dport) {
		return
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	if length < udpHeader {
		d.stats.UDPLength++
		return
	}
	payload := b[udpHeader:min(length, len(b))]
	if !dns {
		d.udpTunnel(p.dport, payload)
		return
	}
	d.stats.UDP++
	switch {
	case length > rest:
		d.stats.UDPLength++ // what is there is decoded all the same
	case length > len(b):
		d.stats.SnapTruncated++
	}
	d.message(payload, d.f.Sender, d.f.Owner)
}
