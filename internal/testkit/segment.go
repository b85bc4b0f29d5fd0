package testkit

import (
	"encoding/binary"
	"net/netip"
)

// Flags of TCP segments (RFC 9293 section 3.1).
const (
	FIN = 1 << iota
	SYN
	RST
	PSH
	ACK
)

const tcpHeader = 20

// TCP writes an IPv4 segment with the payload, seen at time ns since the Unix
// epoch.
func (c *Capture) TCP(time int64, src, dst netip.AddrPort, flags uint8, seq, ack uint32, payload []byte) error {
	p := make([]byte, recordHeader+etherHeader+20+tcpHeader, recordHeader+etherHeader+20+tcpHeader+len(payload))
	p = append(p, payload...)
	le, be := binary.LittleEndian, binary.BigEndian
	frame := len(p) - recordHeader
	le.PutUint32(p, uint32(time/1e9))
	le.PutUint32(p[4:], uint32(time%1e9))
	le.PutUint32(p[8:], uint32(frame))
	le.PutUint32(p[12:], uint32(frame))
	be.PutUint16(p[recordHeader+12:], 0x0800)
	ip := p[recordHeader+etherHeader:]
	ip[0], ip[8], ip[9] = 0x45, 64, 6
	be.PutUint16(ip[2:], uint16(len(ip)))
	copy(ip[12:], src.Addr().AsSlice())
	copy(ip[16:], dst.Addr().AsSlice())
	tcp := ip[20:]
	be.PutUint16(tcp, src.Port())
	be.PutUint16(tcp[2:], dst.Port())
	be.PutUint32(tcp[4:], seq)
	be.PutUint32(tcp[8:], ack)
	tcp[12], tcp[13] = tcpHeader/4<<4, flags
	be.PutUint16(tcp[14:], 65535)
	_, err := c.w.Write(p)
	return err
}
