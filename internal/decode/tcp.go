package decode

import "encoding/binary"

const tcpHeader = 20

type streams struct{}

func (s *streams) init(int)                {}
func (d *Decoder) expireStreams(now int64) {}

// tcp decodes a segment, of which rest octets were on the wire.
func (d *Decoder) tcp(b []byte, rest int) {
	if len(b) < tcpHeader {
		return
	}
	p := &d.p
	p.sport, p.dport = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	if !d.isDNS(p.sport) && !d.isDNS(p.dport) {
		return
	}
	d.stats.TCP++
	header := int(b[12]>>4) * 4
	if header < tcpHeader || header > len(b) {
		d.stats.TCPHeader++
		return
	}
	b = b[header:]
	for len(b) >= 2 {
		n := 2 + int(binary.BigEndian.Uint16(b))
		if n > len(b) {
			return
		}
		if n > 2 {
			d.message(b[2:n], d.f.Sender, d.f.Owner)
		}
		b = b[n:]
	}
}
