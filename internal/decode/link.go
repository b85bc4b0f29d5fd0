package decode

import (
	"encoding/binary"

	"github.com/dnshark-io/dnshark/internal/source"
)

// EtherTypes (IEEE 802 Numbers).
const (
	etherIPv4      = 0x0800
	etherVLAN      = 0x8100 // 802.1Q
	etherQinQ      = 0x88a8 // 802.1ad
	etherQinQOld1  = 0x9100 // used before 802.1ad
	etherQinQOld2  = 0x9200
	etherIPv6      = 0x86dd
	etherPPP       = 0x880b
	etherMPLS      = 0x8847
	etherMPLSMulti = 0x8848
	etherPPPoE     = 0x8864 // session stage, RFC 2516
	etherBridge    = 0x6558 // transparent Ethernet bridging: a whole frame follows
)

const (
	etherHeader  = 14
	ethertypeMin = 0x0600 // lower values are the length of an 802.3 frame

	// Two tags are what 802.1ad knows. More are counted but followed, up to
	// a number that no network uses.
	usualTags = 4
	maxTags   = 16

	maxLabels = 16 // of an MPLS stack
)

func (d *Decoder) link(l source.LinkType, b []byte) {
	switch l {
	case source.LinkEthernet:
		d.ethernet(b)
	case source.LinkRaw, source.LinkIPv4, source.LinkIPv6:
		d.ip(b)
	case source.LinkSLL:
		// Packet type, ARPHRD type, address length, address (8), protocol.
		if len(b) < 16 {
			d.drop(&d.stats.LinkShort)
			return
		}
		d.etherType(binary.BigEndian.Uint16(b[14:]), b[16:])
	case source.LinkSLL2:
		// Protocol, reserved (2), interface index (4), ARPHRD type, packet
		// type, address length, address (8).
		if len(b) < 20 {
			d.drop(&d.stats.LinkShort)
			return
		}
		d.etherType(binary.BigEndian.Uint16(b), b[20:])
	case source.LinkNull, source.LinkLoop:
		d.null(b)
	case source.LinkPPP:
		d.ppp(b)
	case source.LinkFDDI:
		// Frame control, destination (6), source (6), LLC.
		if len(b) < 13 {
			d.drop(&d.stats.LinkShort)
			return
		}
		d.llc(b[13:])
	case source.LinkRadiotap:
		// Version, pad, length in little endian.
		if len(b) < 4 || int(binary.LittleEndian.Uint16(b[2:])) > len(b) {
			d.drop(&d.stats.LinkShort)
			return
		}
		d.wifi(b[binary.LittleEndian.Uint16(b[2:]):])
	case source.LinkWiFi:
		d.wifi(b)
	default:
		d.drop(&d.stats.LinkUnknown)
	}
}

func (d *Decoder) ethernet(b []byte) {
	if len(b) < etherHeader {
		d.drop(&d.stats.LinkShort)
		return
	}
	d.etherType(binary.BigEndian.Uint16(b[12:]), b[etherHeader:])
}

// etherType decodes what follows an EtherType.
func (d *Decoder) etherType(t uint16, b []byte) {
	for {
		switch t {
		case etherIPv4, etherIPv6:
			d.ip(b)
			return
		case etherVLAN, etherQinQ, etherQinQOld1, etherQinQOld2:
			if d.tags++; d.tags == usualTags+1 {
				d.stats.VLANDepth++
			}
			if len(b) < 4 || d.tags > maxTags {
				d.drop(&d.stats.LinkShort)
				return
			}
			t, b = binary.BigEndian.Uint16(b[2:]), b[4:]
		case etherMPLS, etherMPLSMulti:
			d.mpls(b)
			return
		case etherPPPoE:
			// Version and type, code, session, length.
			if len(b) < 6 {
				d.drop(&d.stats.LinkShort)
				return
			}
			d.pppProtocol(b[6:])
			return
		default:
			if t < ethertypeMin {
				d.llc(b)
				return
			}
			d.drop(&d.stats.NotIP)
			return
		}
	}
}

// llc decodes 802.2: SNAP with an EtherType (RFC 1042), or the IP SAP.
func (d *Decoder) llc(b []byte) {
	switch {
	case len(b) < 3:
		d.drop(&d.stats.LinkShort)
	case b[0] == 0xaa && b[1] == 0xaa && b[2] == 0x03 && len(b) >= 8:
		t := binary.BigEndian.Uint16(b[6:])
		if t < ethertypeMin {
			// A length inside a SNAP header would be LLC in LLC without end.
			d.drop(&d.stats.NotIP)
			return
		}
		d.etherType(t, b[8:])
	case b[0] == 0x06 && b[1] == 0x06 && b[2] == 0x03:
		d.ip(b[3:])
	default:
		d.drop(&d.stats.NotIP)
	}
}

// wifi decodes a data frame that is not encrypted (IEEE 802.11 section 9.3.2).
func (d *Decoder) wifi(b []byte) {
	const (
		data      = 2    // type
		noData    = 0x40 // bits of the subtype
		qos       = 0x80
		protected = 0x40 // bits of the flags
		order     = 0x80
		fourAddrs = 3
	)
	n := 24
	if len(b) < n {
		d.drop(&d.stats.LinkShort)
		return
	}
	if b[0]>>2&3 != data || b[0]&noData != 0 || b[1]&protected != 0 {
		d.drop(&d.stats.NotIP)
		return
	}
	if b[1]&fourAddrs == fourAddrs {
		n += 6
	}
	if b[0]&qos != 0 {
		if n += 2; b[1]&order != 0 {
			n += 4 // HT control
		}
	}
	if len(b) < n {
		d.drop(&d.stats.LinkShort)
		return
	}
	d.llc(b[n:])
}

// null decodes BSD loopback: an address family in the byte order of the host
// that captured. The numbers of IPv6 are NetBSD's and Linux's 10 and 24,
// FreeBSD's 28 and Darwin's 30.
func (d *Decoder) null(b []byte) {
	if len(b) < 4 {
		d.drop(&d.stats.LinkShort)
		return
	}
	af := binary.LittleEndian.Uint32(b)
	if af > 0xffff {
		af = binary.BigEndian.Uint32(b)
	}
	switch af {
	case 2, 10, 24, 28, 30:
		d.ip(b[4:])
	default:
		d.drop(&d.stats.NotIP)
	}
}

// ppp decodes PPP, with or without HDLC address and control (RFC 1662).
func (d *Decoder) ppp(b []byte) {
	if len(b) >= 2 && b[0] == 0xff && b[1] == 0x03 {
		b = b[2:]
	}
	d.pppProtocol(b)
}

// pppProtocol decodes what follows a PPP protocol field, of one octet when
// compressed (RFC 1661 section 6.5).
func (d *Decoder) pppProtocol(b []byte) {
	if len(b) < 2 {
		d.drop(&d.stats.LinkShort)
		return
	}
	t, n := uint16(b[0]), 1
	if t&1 == 0 {
		t, n = binary.BigEndian.Uint16(b), 2
	}
	switch t {
	case 0x0021, 0x0057:
		d.ip(b[n:])
	case 0x0281, 0x0283:
		d.mpls(b[n:])
	default:
		d.drop(&d.stats.NotIP)
	}
}

// mpls decodes a label stack (RFC 3032). What follows is told by its first
// nibble: IP, or the control word of an Ethernet pseudowire (RFC 4448).
func (d *Decoder) mpls(b []byte) {
	for range maxLabels {
		if len(b) < 5 {
			d.drop(&d.stats.LinkShort)
			return
		}
		bottom := b[2]&1 != 0
		b = b[4:]
		if !bottom {
			continue
		}
		switch b[0] >> 4 {
		case 4, 6:
			d.ip(b)
		case 0:
			if len(b) < 4 {
				d.drop(&d.stats.LinkShort)
			} else if d.enterTunnel() {
				d.ethernet(b[4:])
			}
		default:
			d.drop(&d.stats.NotIP)
		}
		return
	}
	d.drop(&d.stats.MPLSDepth)
}
