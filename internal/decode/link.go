package decode

import (
	"encoding/binary"

	"github.com/dnshark-io/dnshark/internal/source"
)

var be = binary.BigEndian

// Ethertypes (IEEE 802 numbers).
const (
	etherIPv4    = 0x0800
	etherTEB     = 0x6558 // transparent Ethernet bridging
	etherVLAN    = 0x8100
	etherIPv6    = 0x86dd
	etherMPLS    = 0x8847
	etherPPP     = 0x880b
	etherMPLSMC  = 0x8848
	etherPPPoE   = 0x8864
	etherQinQ    = 0x88a8
	etherQinQOld = 0x9100
	etherERSPAN2 = 0x88be // types I and II
	etherERSPAN3 = 0x22eb
)

// maxTags bounds VLAN tags and MPLS labels. Two of each are in use.
const maxTags = 4

// link walks the link layer of b.
func (d *Decoder) link(p *packet, link source.LinkType, b []byte) {
	switch link {
	case source.LinkEthernet:
		d.ethernet(p, b)
	case source.LinkRaw, source.LinkIPv4, source.LinkIPv6:
		d.ip(p, b)
	case source.LinkSLL:
		if len(b) < 16 {
			d.stats.LinkShort++
			return
		}
		d.ether(p, be.Uint16(b[14:]), b[16:])
	case source.LinkSLL2:
		if len(b) < 20 {
			d.stats.LinkShort++
			return
		}
		d.ether(p, be.Uint16(b), b[20:])
	case source.LinkNull, source.LinkLoop:
		d.loopback(p, b)
	case source.LinkPPP:
		d.ppp(p, b)
	case source.LinkFDDI:
		if len(b) < 13 {
			d.stats.LinkShort++
			return
		}
		d.llc(p, b[13:])
	case source.LinkRadiotap:
		if len(b) < 4 || int(b[3])<<8|int(b[2]) > len(b) {
			d.stats.LinkShort++
			return
		}
		d.wifi(p, b[int(b[3])<<8|int(b[2]):])
	case source.LinkWiFi:
		d.wifi(p, b)
	default:
		d.stats.LinkUnknown++
	}
}

func (d *Decoder) ethernet(p *packet, b []byte) {
	if len(b) < 14 {
		d.stats.LinkShort++
		return
	}
	if typ := be.Uint16(b[12:]); typ >= 0x600 {
		d.ether(p, typ, b[14:])
	} else {
		d.llc(p, b[14:])
	}
}

// llc: only SNAP carries IP (RFC 1042).
func (d *Decoder) llc(p *packet, b []byte) {
	if len(b) < 8 || b[0] != 0xaa || b[1] != 0xaa {
		d.stats.LinkUnknown++
		return
	}
	d.ether(p, be.Uint16(b[6:]), b[8:])
}

// ether dispatches on an ethertype, behind any tags.
func (d *Decoder) ether(p *packet, typ uint16, b []byte) {
	for range maxTags + 1 {
		switch typ {
		case etherIPv4, etherIPv6:
			d.ip(p, b)
			return
		case etherVLAN, etherQinQ, etherQinQOld:
			if len(b) < 4 {
				d.stats.LinkShort++
				return
			}
			typ, b = be.Uint16(b[2:]), b[4:]
		case etherMPLS, etherMPLSMC:
			d.mpls(p, b)
			return
		case etherPPPoE:
			if len(b) < 8 {
				d.stats.LinkShort++
				return
			}
			d.ppp(p, b[6:])
			return
		case etherTEB:
			d.ethernet(p, b)
			return
		default:
			d.stats.LinkUnknown++
			return
		}
	}
	d.stats.TagDepth++
}

// mpls skips labels to the bottom of the stack. What lies under it has no type;
// IP is told by its version (RFC 4928 section 3).
func (d *Decoder) mpls(p *packet, b []byte) {
	for range maxTags {
		if len(b) < 5 {
			d.stats.LinkShort++
			return
		}
		bottom := b[2]&1 != 0
		b = b[4:]
		if !bottom {
			continue
		}
		if v := b[0] >> 4; v == 4 || v == 6 {
			d.ip(p, b)
		} else if len(b) > 4 && b[0] == 0 {
			d.ethernet(p, b[4:]) // a pseudowire's control word (RFC 4385)
		} else {
			d.stats.LinkUnknown++
		}
		return
	}
	d.stats.TagDepth++
}

func (d *Decoder) ppp(p *packet, b []byte) {
	if len(b) >= 4 && b[0] == 0xff && b[1] == 3 {
		b = b[2:] // address and control (RFC 1662 section 3.1)
	}
	switch {
	case len(b) < 2:
		d.stats.LinkShort++
	case b[0] == 0x00 && (b[1] == 0x21 || b[1] == 0x57):
		d.ip(p, b[2:])
	case b[0] == 0x21 || b[0] == 0x57: // compressed protocol field (RFC 1661 section 6.5)
		d.ip(p, b[1:])
	default:
		d.stats.LinkUnknown++
	}
}

// loopback headers hold an address family in the byte order of whichever host
// wrote them; families are small numbers, so either order is told apart.
func (d *Decoder) loopback(p *packet, b []byte) {
	if len(b) < 4 {
		d.stats.LinkShort++
		return
	}
	family := be.Uint32(b)
	if family > 0xffff {
		family = binary.LittleEndian.Uint32(b)
	}
	switch family {
	case 2, 10, 24, 28, 30: // AF_INET, and AF_INET6 of Linux, NetBSD, FreeBSD, macOS
		d.ip(p, b[4:])
	default:
		d.stats.LinkUnknown++
	}
}

// wifi reads a data frame that is not encrypted (IEEE 802.11 section 9.3.2).
func (d *Decoder) wifi(p *packet, b []byte) {
	size := 24
	if len(b) < size {
		d.stats.LinkShort++
		return
	}
	const data, qos, protected, toFromDS = 2, 0x80, 0x40, 3
	if b[0]>>2&3 != data || b[0]&0x40 != 0 || b[1]&protected != 0 {
		return // management, control, no data, or encrypted
	}
	if b[1]&toFromDS == toFromDS {
		size += 6
	}
	if b[0]&qos != 0 {
		size += 2
	}
	if len(b) < size {
		d.stats.LinkShort++
		return
	}
	d.llc(p, b[size:])
}
