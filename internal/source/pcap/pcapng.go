package pcap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/dnshark-io/dnshark/internal/source"
)

// pcapng reads blocks (draft-ietf-opsawg-pcapng section 3). The zero value is
// ready for the first section.
type pcapng struct {
	order  binary.ByteOrder
	ifaces []iface
	skip   uint32 // octets of an uninteresting block that are still to come

	surplus uint64 // interfaces of the section beyond the bound
	unread  uint64 // packets of a link type that the decoder does not know
	strange source.LinkType
}

// iface is an interface of the current section.
type iface struct {
	link    source.LinkType
	name    string
	snaplen uint32
	resol   uint8 // as if_tsresol: 10^-n, or 2^-n with the top bit set
	offset  int64 // seconds to add to times
}

var pcapngMagic = [4]byte{0x0a, 0x0d, 0x0d, 0x0a}

const (
	blockSection    = 0x0a0d0d0a
	blockInterface  = 1
	blockPacket     = 2 // obsolete
	blockSimple     = 3
	blockEnhanced   = 6
	byteOrderMagic  = 0x1a2b3c4d
	blockFrame      = 12 // type and both lengths
	microseconds    = 6
	maxInterfaces   = 1 << 14
	maxName         = 256
	optEnd          = 0
	optIfName       = 2
	optIfTSResol    = 9
	optIfTSOffset   = 14
	maxKnownBlock   = MaxFrame + 128<<10 // a packet with options
	maxTime         = 1<<62 - 1          // ns, in the year 2116: later than any pcap file can say
	enhancedHeader  = 20
	simpleHeader    = 4
	interfaceHeader = 8
)

func (p *pcapng) next(r *reader, f *source.Frame) error {
	for {
		if err := p.skipOn(r); err != nil {
			return err
		}
		h, err := r.window(8)
		if errors.Is(err, io.EOF) && p.unread > 0 {
			return fmt.Errorf("%w: %d packets have link type %d; all others were read", ErrUnsupported, p.unread, p.strange)
		}
		if err != nil {
			return err
		}
		if [4]byte(h[:4]) == pcapngMagic {
			if h, err = r.window(blockFrame); err != nil {
				return cutAtEnd(err)
			}
			// A section may have its own byte order.
			switch {
			case binary.LittleEndian.Uint32(h[8:]) == byteOrderMagic:
				p.order = binary.LittleEndian
			case binary.BigEndian.Uint32(h[8:]) == byteOrderMagic:
				p.order = binary.BigEndian
			default:
				return fmt.Errorf("%w: a pcapng section without byte order", ErrNotCapture)
			}
			p.ifaces, p.surplus = p.ifaces[:0], 0
		}
		typ, length := p.order.Uint32(h), p.order.Uint32(h[4:])
		if length < blockFrame || length%4 != 0 {
			return fmt.Errorf("%w: a block of %d octets is impossible", ErrCut, length)
		}
		switch typ {
		case blockInterface, blockPacket, blockSimple, blockEnhanced:
		default:
			p.skip = length
			continue
		}
		if length > maxKnownBlock {
			return fmt.Errorf("%w: a block of %d octets is impossible", ErrCut, length)
		}
		w, err := r.window(int(length))
		if err != nil {
			return cutAtEnd(err)
		}
		if p.order.Uint32(w[length-4:]) != length {
			return fmt.Errorf("%w: a block's lengths disagree", ErrCut)
		}
		body := w[8 : length-4]
		if typ == blockInterface {
			err = p.addInterface(body)
		} else {
			err = p.frame(typ, body, f)
		}
		if err != nil {
			return err
		}
		r.from += int(length)
		if typ == blockInterface {
			continue
		}
		if known(f.Link) {
			return nil
		}
		p.unread++
		p.strange = f.Link
	}
}

// skipOn consumes what the block holds of an uninteresting block.
func (p *pcapng) skipOn(r *reader) error {
	if p.skip == 0 {
		return nil
	}
	n := min(uint32(r.to-r.from), p.skip)
	r.from += int(n)
	p.skip -= n
	if p.skip > 0 {
		_, err := r.window(1)
		return cutAtEnd(err)
	}
	return nil
}

func (p *pcapng) addInterface(body []byte) error {
	if len(body) < interfaceHeader {
		return fmt.Errorf("%w: an interface of %d octets is impossible", ErrCut, len(body))
	}
	i := iface{link: linkType(p.order.Uint16(body)), snaplen: p.order.Uint32(body[4:]), resol: microseconds}
	for o := body[interfaceHeader:]; len(o) >= 4; {
		code, n := p.order.Uint16(o), int(p.order.Uint16(o[2:]))
		if code == optEnd || 4+n > len(o) {
			break
		}
		value := o[4 : 4+n]
		switch {
		case code == optIfName:
			i.name = string(value[:min(n, maxName)])
		case code == optIfTSResol && n == 1:
			i.resol = value[0]
		case code == optIfTSOffset && n == 8:
			i.offset = int64(p.order.Uint64(value))
		}
		o = o[min(len(o), 4+(n+3)&^3):]
	}
	// A file may claim any number of interfaces. Packets of those beyond the
	// bound are refused, not given to another interface.
	if len(p.ifaces) == maxInterfaces {
		p.surplus++
		return nil
	}
	p.ifaces = append(p.ifaces, i)
	return nil
}

func (p *pcapng) frame(typ uint32, body []byte, f *source.Frame) error {
	header, number := enhancedHeader, uint32(0)
	if typ == blockSimple {
		header = simpleHeader
	}
	if len(body) < header {
		return fmt.Errorf("%w: a packet block of %d octets is impossible", ErrCut, len(body))
	}
	switch typ {
	case blockEnhanced:
		number = p.order.Uint32(body)
	case blockPacket:
		number = uint32(p.order.Uint16(body))
	}
	if int64(number) >= int64(len(p.ifaces)) {
		if all := uint64(len(p.ifaces)) + p.surplus; uint64(number) < all {
			return fmt.Errorf("%w: a packet of interface %d of %d; the first %d are read", ErrUnsupported, number, all, maxInterfaces)
		}
		return fmt.Errorf("%w: a packet of interface %d, which is not described", ErrCut, number)
	}
	i := &p.ifaces[number]
	var captured, wire uint32
	if typ == blockSimple {
		wire = p.order.Uint32(body)
		captured = min(wire, uint32(len(body)-header))
		if i.snaplen > 0 {
			captured = min(captured, i.snaplen)
		}
		f.Time = 0 // the block has none
	} else {
		captured, wire = p.order.Uint32(body[12:]), p.order.Uint32(body[16:])
		f.Time = min(max(0, i.time(uint64(p.order.Uint32(body[4:]))<<32|uint64(p.order.Uint32(body[8:])))), maxTime)
	}
	if captured > MaxFrame {
		return fmt.Errorf("%w: a packet of %d octets is impossible", ErrCut, captured)
	}
	if int64(captured) > int64(len(body)-header) {
		return fmt.Errorf("%w: a packet is longer than its block", ErrCut)
	}
	end := header + int(captured)
	f.Data = body[header:end:end]
	f.WireLen = max(int(wire), int(captured))
	f.Link, f.Iface = i.link, i.name
	return nil
}

// time turns units of the interface's resolution into ns since the Unix epoch.
func (i *iface) time(t uint64) int64 {
	n := i.resol & 0x7f
	if i.resol&0x80 != 0 {
		if n > 63 {
			return i.offset * 1e9
		}
		fraction := t & (1<<n - 1)
		hi, lo := bits.Mul64(fraction, 1e9)
		ns := hi<<(64-n) | lo>>n
		if n == 0 {
			ns = 0
		}
		return (int64(t>>n)+i.offset)*1e9 + int64(ns)
	}
	for ; n < 9; n++ {
		t *= 10
	}
	for ; n > 9 && t > 0; n-- {
		t /= 10
	}
	return int64(t) + i.offset*1e9
}
