package testkit

import (
	"encoding/binary"
	"io"
	"net/netip"
)

// Capture writes a pcap file (little endian, nanoseconds) of UDP packets over
// Ethernet.
type Capture struct {
	w      io.Writer
	packet []byte
}

const (
	recordHeader = 16
	etherHeader  = 14
	udpHeader    = 8
)

// NewCapture writes the file header.
func NewCapture(w io.Writer) (*Capture, error) {
	header := make([]byte, 24)
	le := binary.LittleEndian
	le.PutUint32(header, 0xa1b23c4d)
	le.PutUint16(header[4:], 2)
	le.PutUint16(header[6:], 4)
	le.PutUint32(header[16:], 65535)
	le.PutUint32(header[20:], 1)
	_, err := w.Write(header)
	return &Capture{w: w}, err
}

// UDP writes a packet with the payload, seen at time ns since the Unix epoch.
func (c *Capture) UDP(time int64, src, dst netip.AddrPort, payload []byte) error {
	ipHeader := 20
	if src.Addr().Is6() {
		ipHeader = 40
	}
	frame := etherHeader + ipHeader + udpHeader + len(payload)
	if cap(c.packet) < recordHeader+frame {
		c.packet = make([]byte, recordHeader+65536)
	}
	p := c.packet[:recordHeader+frame]
	clear(p[:recordHeader+etherHeader+ipHeader+udpHeader])
	le, be := binary.LittleEndian, binary.BigEndian
	le.PutUint32(p, uint32(time/1e9))
	le.PutUint32(p[4:], uint32(time%1e9))
	le.PutUint32(p[8:], uint32(frame))
	le.PutUint32(p[12:], uint32(frame))
	ip := p[recordHeader+etherHeader:]
	if ipHeader == 20 {
		be.PutUint16(p[recordHeader+12:], 0x0800)
		ip[0], ip[8], ip[9] = 0x45, 64, 17
		be.PutUint16(ip[2:], uint16(ipHeader+udpHeader+len(payload)))
		copy(ip[12:], src.Addr().AsSlice())
		copy(ip[16:], dst.Addr().AsSlice())
	} else {
		be.PutUint16(p[recordHeader+12:], 0x86dd)
		ip[0], ip[6], ip[7] = 0x60, 17, 64
		be.PutUint16(ip[4:], uint16(udpHeader+len(payload)))
		copy(ip[8:], src.Addr().AsSlice())
		copy(ip[24:], dst.Addr().AsSlice())
	}
	udp := ip[ipHeader:]
	be.PutUint16(udp, src.Port())
	be.PutUint16(udp[2:], dst.Port())
	be.PutUint16(udp[4:], uint16(udpHeader+len(payload)))
	copy(udp[udpHeader:], payload)
	_, err := c.w.Write(p)
	return err
}
