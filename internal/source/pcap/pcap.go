package pcap

import (
	"encoding/binary"
	"fmt"

	"github.com/dnshark-io/dnshark/internal/source"
)

// classic reads records of a pcap file (draft-ietf-opsawg-pcap section 5).
type classic struct {
	swap bool  // the file's byte order is big endian
	unit int64 // ns per unit of the fraction of a second
	link source.LinkType
}

const (
	magicMicro    = 0xa1b2c3d4
	magicNano     = 0xa1b23c4d
	magicModified = 0xa1b2cd34 // records with more fields, of a patched libpcap of 1998

	fileHeader   = 24
	recordHeader = 16
)

// newPcap reads the file header.
func newPcap(r *reader) (*classic, error) {
	h, err := r.peek(fileHeader)
	c := &classic{swap: h[0] == magicMicro>>24}
	switch c.uint32(h) {
	case magicMicro:
		c.unit = 1000
	case magicNano:
		c.unit = 1
	case magicModified:
		return nil, fmt.Errorf("%w: modified pcap; convert it: editcap FILE NEWFILE", ErrUnsupported)
	default:
		return nil, fmt.Errorf("%w: it is neither pcap nor pcapng", ErrNotCapture)
	}
	if len(h) < fileHeader {
		if err != nil && !isEnd(err) {
			return nil, err
		}
		return nil, fmt.Errorf("%w within its header", ErrCut)
	}
	// The upper half of the field tells of frame check sequences.
	network := uint16(c.uint32(h[20:]))
	if c.link = linkType(network); !known(c.link) {
		return nil, fmt.Errorf("%w: link type %d", ErrUnsupported, network)
	}
	r.from += fileHeader
	return c, nil
}

func (c *classic) uint32(b []byte) uint32 {
	if c.swap {
		return binary.BigEndian.Uint32(b)
	}
	return binary.LittleEndian.Uint32(b)
}

func (c *classic) next(r *reader, f *source.Frame) error {
	h, err := r.window(recordHeader)
	if err != nil {
		return err
	}
	captured, wire := c.uint32(h[8:]), c.uint32(h[12:])
	if captured > MaxFrame {
		return fmt.Errorf("%w: a packet of %d octets is impossible", ErrCut, captured)
	}
	n := recordHeader + int(captured)
	w, err := r.window(n)
	if err != nil {
		return cutAtEnd(err)
	}
	f.Time = int64(c.uint32(h))*1e9 + int64(c.uint32(h[4:]))*c.unit
	f.Data = w[recordHeader:n:n]
	f.WireLen = max(int(wire), int(captured))
	f.Link = c.link
	r.from += n
	return nil
}

// linkType returns the registry's value for a capture's, which may be a DLT_
// value that some systems wrote instead.
func linkType(n uint16) source.LinkType {
	switch n {
	case 12, 14: // DLT_RAW
		return source.LinkRaw
	case 50: // LINKTYPE_PPP_HDLC
		return source.LinkPPP
	}
	return source.LinkType(n)
}

func known(l source.LinkType) bool {
	switch l {
	case source.LinkNull, source.LinkEthernet, source.LinkPPP, source.LinkFDDI, source.LinkRaw, source.LinkLoop, source.LinkSLL,
		source.LinkIPv4, source.LinkIPv6, source.LinkSLL2, source.LinkWiFi, source.LinkRadiotap:
		return true
	}
	return false
}
