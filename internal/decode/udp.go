package decode

import "encoding/binary"

const udpHeader = 8

// udp decodes a datagram, of which rest octets were on the wire.
func (d *Decoder) udp(b []byte, rest int) {
	if len(b) < udpHeader {
		if rest < udpHeader {
			d.drop(&d.stats.IPLength)
		} else {
			d.drop(&d.stats.SnapTruncated)
		}
		return
	}
	p := &d.p
	p.sport, p.dport = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	dns := d.isDNS(p.sport) || d.isDNS(p.dport)
	tunnel := !dns && isTunnelPort(p.dport) // a client may have a tunnel's port as its source port
	if !tunnel && !(d.messages && (dns || d.anyPort)) {
		d.stats.Other++
		return
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	if length < udpHeader {
		d.drop(&d.stats.UDPLength)
		return
	}
	payload := b[udpHeader:min(length, len(b))]
	switch {
	case tunnel:
		d.udpTunnel(p.dport, payload)
		return
	case !dns && !recognised(payload):
		d.stats.Other++
		return
	}
	d.stats.UDP++
	missing := 0
	if length > rest {
		d.stats.UDPLength++ // what is there is decoded all the same
		length = rest
	}
	if length > len(b) {
		d.stats.SnapTruncated++
		missing = length - len(b)
	}
	d.message(payload, missing, d.f.Sender, d.f.Owner)
}
