package decode

import (
	"bytes"

	"github.com/dnshark-io/dnshark/dnswire"
)

const (
	tcpHeader = 20
	tcpFIN    = 1
	tcpSYN    = 2
	tcpRST    = 4
)

func (d *Decoder) tcp(p *packet, b []byte) {
	if len(b) < tcpHeader {
		d.stats.TCPHeader++
		return
	}
	src, dst := be.Uint16(b), be.Uint16(b[2:])
	dns := d.isDNS(src) || d.isDNS(dst)
	if !d.o.Messages || !dns && !d.o.AnyPort {
		return
	}
	header := int(b[12]>>4) * 4
	if header < tcpHeader || header > len(b) {
		d.stats.TCPHeader++
		return
	}
	p.meta.SrcPort, p.meta.DstPort = src, dst
	if p.cut {
		d.stats.SnapTruncated++
	}
	d.segment(p, be.Uint32(b[4:]), b[13], b[header:], dns)
}

const prefix = 2 // octets of the length before a message (RFC 1035 section 4.2.2)

// plausible reports whether b seems to begin with a length and a DNS message.
// It is asked where the position in a stream is a guess: one question, whose
// name can be read as far as it goes, is what every query and nearly every
// answer has.
func plausible(b []byte) bool {
	if len(b) < prefix+dnswire.HeaderLen {
		return false
	}
	length, h := int(be.Uint16(b)), b[prefix:]
	if length < dnswire.HeaderLen || !headerFits(h, length) || be.Uint16(h[4:]) != 1 {
		return false
	}
	end := min(length, len(h))
	for at := dnswire.HeaderLen; at < end; {
		c := int(h[at])
		if at++; c == 0 {
			return at+4 > len(h) || at+4 <= length && knownClass(be.Uint16(h[at+2:]))
		}
		if c > 63 || at+c-dnswire.HeaderLen > dnswire.MaxNameLen {
			return false
		}
		at += c
	}
	return end == len(h) && end < length
}

// recognised reports whether a datagram of any port is a DNS message with a
// question, whole as far as its header and the question can tell. What else is
// in the message is for dnswire to judge.
func recognised(b []byte) bool {
	if len(b) < dnswire.HeaderLen+5 || !headerFits(b, len(b)) || be.Uint16(b[4:]) != 1 {
		return false
	}
	for at := dnswire.HeaderLen; at < len(b); {
		c := int(b[at])
		if at++; c == 0 {
			return at+4 <= len(b) && at-dnswire.HeaderLen <= dnswire.MaxNameLen && knownClass(be.Uint16(b[at+2:]))
		}
		if c > 63 {
			return false
		}
		at += c
	}
	return false
}

// knownClass: IN, CH, HS, NONE, ANY (IANA "DNS CLASSes").
func knownClass(c uint16) bool { return c == 1 || c == 3 || c == 4 || c == 254 || c == 255 }

// headerFits reports whether a message of the length can have the header's
// opcode and counts.
func headerFits(h []byte, length int) bool {
	if opcode := h[2] >> 3 & 15; opcode > 6 || opcode == 3 {
		return false
	}
	const question, record = 5, 11 // the shortest of each
	need := dnswire.HeaderLen + question*int(be.Uint16(h[4:])) +
		record*(int(be.Uint16(h[6:]))+int(be.Uint16(h[8:]))+int(be.Uint16(h[10:])))
	return need <= length
}

// otherProtocol reports whether a stream that begins with b carries something
// else than DNS: HTTP, TLS, or anything whose first header cannot be.
func otherProtocol(b []byte) bool {
	if len(b) < prefix+dnswire.HeaderLen {
		return false
	}
	if b[0] == 0x16 && b[1] == 3 && b[2] <= 4 && (b[5] == 1 || b[5] == 2) { // a TLS handshake (RFC 8446 section 5.1)
		return true
	}
	for _, method := range [...]string{"GET ", "POST", "HEAD", "PUT ", "HTTP", "PRI ", "CONN", "OPTI", "SSH-"} {
		if bytes.HasPrefix(b, []byte(method)) {
			return true
		}
	}
	return false
}
