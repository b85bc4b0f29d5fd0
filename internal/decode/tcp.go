package decode

import (
	"encoding/binary"

	"github.com/dnshark-io/dnshark/dnswire"
)

const (
	tcpHeader = 20

	tcpFIN = 1
	tcpSYN = 2
	tcpRST = 4
	tcpACK = 16
)

// tcp decodes a segment, of which rest octets were on the wire.
func (d *Decoder) tcp(b []byte, rest int) {
	if len(b) < tcpHeader {
		d.drop(&d.stats.TCPHeader)
		return
	}
	p := &d.p
	p.sport, p.dport = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	dns := d.isDNS(p.sport) || d.isDNS(p.dport)
	if !d.messages || !dns && !d.anyPort {
		d.stats.Other++
		return
	}
	header := int(b[12]>>4) * 4
	if header < tcpHeader || header > len(b) {
		d.drop(&d.stats.TCPHeader)
		return
	}
	d.stats.TCP++
	if d.streams.oldest(listGapped) != 0 && b[13]&tcpACK != 0 {
		d.acknowledged(binary.BigEndian.Uint32(b[8:]))
	}
	flags := b[13] & (tcpFIN | tcpSYN | tcpRST)
	if len(b) == header && flags == 0 && rest == header {
		return // nothing but an acknowledgment
	}
	seq := binary.BigEndian.Uint32(b[4:])
	d.segment(seq, flags, b[header:], rest-header, dns)
}

// prefix is the length field before a message (RFC 1035 section 4.2.2), judge
// the octets after which one can tell a message from something else.
const (
	prefix = 2
	judge  = prefix + dnswire.HeaderLen
)

// headerFits reports whether h, at least a header, can begin a message of n
// octets: its opcode is assigned and its counts fit. The first octets of HTTP, TLS
// and SSH, taken for a length and a header, do not.
func headerFits(h []byte, n int) bool {
	switch h[2] >> 3 & 15 {
	case 0, 1, 2, 4, 5, 6: // IANA "DNS OpCodes"
	default:
		return false
	}
	const question, record = 5, 11 // octets of the shortest ones
	need := dnswire.HeaderLen + question*int(binary.BigEndian.Uint16(h[4:])) +
		record*(int(binary.BigEndian.Uint16(h[6:]))+int(binary.BigEndian.Uint16(h[8:]))+int(binary.BigEndian.Uint16(h[10:])))
	return need <= n
}

// questionFits reports whether a question can follow the header of h. When h
// breaks off inside the question, whole is false.
func questionFits(h []byte) (fits, whole bool) {
	for at := dnswire.HeaderLen; at < len(h); {
		c := int(h[at])
		at++
		if c == 0 {
			if at+4 > len(h) {
				return true, false
			}
			switch binary.BigEndian.Uint16(h[at+2:]) {
			case 1, 3, 4, 254, 255: // IN, CH, HS, NONE, ANY
				return true, true
			}
			return false, true
		}
		if at += c; c > 63 || at-dnswire.HeaderLen > dnswire.MaxNameLen {
			return false, true
		}
	}
	return true, false
}

// plausible reports whether b seems to begin with a length and a DNS message,
// as far as b goes. It is asked where the position in a stream is a guess.
// anywhere says that the position is not even the start of a segment: then only
// a message with one question will do, as nearly all have.
func plausible(b []byte, anywhere bool) bool {
	if len(b) < judge {
		return false
	}
	n := int(binary.BigEndian.Uint16(b))
	h := b[prefix:]
	if !headerFits(h, n) {
		return false
	}
	switch binary.BigEndian.Uint16(h[4:]) {
	case 0:
		// A later message of a zone transfer (RFC 5936 section 2.2), or a
		// DNS stateful operation (RFC 8490 section 5.4).
		return !anywhere && (h[2]&0x80 != 0 && binary.BigEndian.Uint16(h[6:]) > 0 || h[2]>>3&15 == 6)
	case 1:
	default:
		return false
	}
	h = h[:min(n, len(h))]
	fits, whole := questionFits(h)
	return fits && (whole || len(h) < n && !anywhere)
}

// recognised reports whether a datagram of any port is a DNS message: its header
// fits and it has one question. What else is in it is for dnswire to judge.
func recognised(b []byte) bool {
	if len(b) < dnswire.HeaderLen || !headerFits(b, len(b)) || binary.BigEndian.Uint16(b[4:]) != 1 {
		return false
	}
	fits, whole := questionFits(b)
	return fits && whole
}
