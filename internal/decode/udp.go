package decode

const udpHeader = 8

func (d *Decoder) udp(p *packet, b []byte) {
	if len(b) < udpHeader {
		d.stats.UDPLength++
		return
	}
	src, dst, length := be.Uint16(b), be.Uint16(b[2:]), int(be.Uint16(b[4:]))
	dns := d.isDNS(src) || d.isDNS(dst)
	if !dns && !isTunnel(dst) && !d.o.AnyPort {
		return
	}
	if length < udpHeader {
		d.stats.UDPLength++
		return
	}
	payload := b[udpHeader:min(length, len(b))]
	if length > len(b) {
		if p.cut {
			d.stats.SnapTruncated++
		} else {
			d.stats.UDPLength++
		}
	}
	p.meta.SrcPort, p.meta.DstPort = src, dst
	switch {
	case !dns && isTunnel(dst): // a client may use a tunnel's port as its source port
		d.tunnel(p, dst, payload)
	case d.o.Messages && (dns || recognised(payload)):
		d.message(p, payload, p.frame.Sender)
	}
}
