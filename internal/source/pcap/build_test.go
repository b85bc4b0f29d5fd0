package pcap

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/dnshark-io/dnshark/internal/source"
)

// builder writes blocks of a pcapng file.
type builder struct {
	order binary.AppendByteOrder
	file  []byte
}

func (b *builder) u16(to []byte, v uint16) []byte { return b.order.AppendUint16(to, v) }
func (b *builder) u32(to []byte, v uint32) []byte { return b.order.AppendUint32(to, v) }

func (b *builder) block(typ uint32, body []byte) *builder {
	for len(body)%4 != 0 {
		body = append(body, 0)
	}
	n := uint32(len(body) + blockFrame)
	b.file = b.u32(b.u32(b.file, typ), n)
	b.file = b.u32(append(b.file, body...), n)
	return b
}

func (b *builder) section(order binary.AppendByteOrder) *builder {
	b.order = order
	body := b.u16(b.u16(b.u32(nil, byteOrderMagic), 1), 0)
	return b.block(blockSection, order.AppendUint64(body, 1<<64-1))
}

func (b *builder) option(to []byte, code uint16, value []byte) []byte {
	to = append(b.u16(b.u16(to, code), uint16(len(value))), value...)
	for len(to)%4 != 0 {
		to = append(to, 0)
	}
	return to
}

func (b *builder) iface(link uint16, snaplen uint32, options ...[]byte) *builder {
	return b.block(blockInterface, append(b.u32(b.u16(b.u16(nil, link), 0), snaplen), bytes.Join(options, nil)...))
}

func (b *builder) enhanced(iface uint32, ticks uint64, wire int, data string, options ...[]byte) *builder {
	body := b.u32(b.u32(b.u32(nil, iface), uint32(ticks>>32)), uint32(ticks))
	return b.packet(blockEnhanced, body, wire, data, options...)
}

func (b *builder) old(iface uint16, ticks uint64, wire int, data string) *builder {
	body := b.u32(b.u32(b.u16(b.u16(nil, iface), 7), uint32(ticks>>32)), uint32(ticks))
	return b.packet(blockPacket, body, wire, data)
}

func (b *builder) packet(typ uint32, body []byte, wire int, data string, options ...[]byte) *builder {
	body = append(b.u32(b.u32(body, uint32(len(data))), uint32(wire)), data...)
	for len(body)%4 != 0 {
		body = append(body, 0)
	}
	return b.block(typ, append(body, bytes.Join(options, nil)...))
}

func (b *builder) simple(wire int, data string) *builder {
	return b.block(blockSimple, append(b.u32(nil, uint32(wire)), data...))
}

// classicFile returns a pcap file of packets given as data and length.
func classicFile(order binary.AppendByteOrder, magic, link uint32, packets ...any) []byte {
	f := order.AppendUint32(nil, magic)
	f = order.AppendUint16(order.AppendUint16(f, 2), 4)
	f = append(f, make([]byte, 12)...)
	f = order.AppendUint32(f, link)
	for i := 0; i < len(packets); i += 2 {
		data := packets[i].(string)
		f = order.AppendUint32(order.AppendUint32(f, 1_700_000_000+uint32(i)), 123_456)
		f = order.AppendUint32(order.AppendUint32(f, uint32(len(data))), uint32(packets[i+1].(int)))
		f = append(f, data...)
	}
	return f
}

// memory is used again and again: tests do not run side by side, and fuzzing
// would spend its time on clearing new blocks.
var memory = make([]byte, blockBytes)

// show reads a file and returns its frames, a line each.
func show(r io.Reader) (lines []string, err error) {
	var l Lane
	err = l.read(context.Background(), &reader{src: r, buf: memory}, func(frames []source.Frame) error {
		for _, f := range frames {
			lines = append(lines, fmt.Sprintf("%d %d/%d link %d %q %.20q", f.Time, len(f.Data), f.WireLen, f.Link, f.Iface, f.Data))
		}
		return nil
	})
	return lines, err
}
