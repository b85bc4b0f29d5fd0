package decode

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/source"
)

// Builders of packets, from the inside out.

var (
	client4 = netip.MustParseAddr("192.0.2.10")
	server4 = netip.MustParseAddr("192.0.2.53")
	client6 = netip.MustParseAddr("2001:db8::10")
	server6 = netip.MustParseAddr("2001:db8::53")
)

// join returns its arguments, octets or numbers of one octet, in a row.
func join(parts ...any) (b []byte) {
	for _, p := range parts {
		switch p := p.(type) {
		case []byte:
			b = append(b, p...)
		case string:
			b = append(b, p...)
		case int:
			b = append(b, byte(p))
		}
	}
	return b
}

func u16(v int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(v)) }

// message has one question and, when pad is not 0, a record of pad octets.
func message(id int, response bool, pad int) []byte {
	flags := 0x0100
	if response {
		flags = 0x8180
	}
	b := join(u16(id), u16(flags), u16(1), u16(0), u16(0), u16(0), 7, "example", 4, "test", 0, u16(1), u16(1))
	if pad > 0 {
		b[7] = 1
		b = join(b, u16(0xc00c), u16(10), u16(1), u16(0), u16(60), u16(pad), make([]byte, pad))
	}
	return b
}

func framed(m []byte) []byte { return join(u16(len(m)), m) }

func datagramOf(sport, dport int, payload []byte) []byte {
	return join(u16(sport), u16(dport), u16(8+len(payload)), u16(0), payload)
}

func segmentOf(sport, dport int, seq uint32, flags int, payload []byte) []byte {
	b := join(u16(sport), u16(dport), make([]byte, 8), 0x50, flags, u16(65535), u16(0), u16(0), payload)
	binary.BigEndian.PutUint32(b[4:], seq)
	return b
}

func packet4(src, dst netip.Addr, proto int, payload []byte) []byte {
	b := join(0x45, 0, u16(20+len(payload)), u16(7), u16(0), 64, proto, u16(0), src.AsSlice(), dst.AsSlice())
	return append(b, payload...)
}

// fragment4 returns a part of a packet's payload; offset is in octets.
func fragment4(p []byte, id, offset, n int) []byte {
	payload := p[20:]
	end := min(offset+n, len(payload))
	f := join(p[:20], payload[offset:end])
	binary.BigEndian.PutUint16(f[2:], uint16(len(f)))
	binary.BigEndian.PutUint16(f[4:], uint16(id))
	frag := offset / 8
	if end < len(payload) {
		frag |= 0x2000
	}
	binary.BigEndian.PutUint16(f[6:], uint16(frag))
	return f
}

func packet6(src, dst netip.Addr, next int, payload []byte) []byte {
	return join(0x60, 0, 0, 0, u16(len(payload)), next, 64, src.AsSlice(), dst.AsSlice(), payload)
}

func fragment6(p []byte, id, offset, n int) []byte {
	payload := p[40:]
	end := min(offset+n, len(payload))
	field := offset
	if end < len(payload) {
		field |= 1
	}
	header := join(int(p[6]), 0, u16(field), u16(0), u16(id))
	f := join(p[:40], header, payload[offset:end])
	f[6] = protoFragment
	binary.BigEndian.PutUint16(f[4:], uint16(len(f)-40))
	return f
}

func ether(t int, payload []byte) []byte { return join(make([]byte, 12), u16(t), payload) }

// answer4 is the packet that most tests wrap.
func answer4() []byte {
	return packet4(server4, client4, protoUDP, datagramOf(53, 40000, message(0x1234, true, 0)))
}

// bench is a decoder with its batch, which holds all events since the start.
type bench struct {
	t testing.TB
	*Decoder
	batch event.Batch
	now   int64
}

func newBench(t testing.TB, o Options) *bench {
	return &bench{t: t, Decoder: New(o), now: 1_700_000_000e9}
}

var onlyMessages = Options{Messages: true}

// raw hands in an IP packet, a millisecond after the last one.
func (k *bench) raw(packets ...[]byte) {
	for _, p := range packets {
		k.now += 1e6
		k.Frame(&source.Frame{Time: k.now, Data: slices.Clone(p), WireLen: len(p), Link: source.LinkRaw}, &k.batch)
	}
}

// ids returns the ids of the messages so far.
func (k *bench) ids() (ids []int) {
	for i := range k.batch.Events {
		if e := &k.batch.Events[i]; e.Class == event.ClassMessage {
			ids = append(ids, int(e.Msg.ID))
		}
	}
	return ids
}

func (k *bench) want(ids ...int) {
	k.t.Helper()
	if got := k.ids(); !slices.Equal(got, ids) {
		k.t.Errorf("messages %v, want %v (%v)", got, ids, k.Stats())
	}
}

// counters checks that these counters have these values, and that all others
// but those of what was seen are 0.
func counters(t testing.TB, s Stats, want map[string]uint64) {
	t.Helper()
	s.Each(func(name string, n uint64) {
		switch name {
		case "frames", "ipv4", "ipv6", "udp", "tcp", "messages", "ip_frag_reassembled",
			"packets", "fragments", "other", "dropped", "whole", "flagged", "partial", "malformed":
			if _, given := want[name]; !given {
				return
			}
		}
		if n != want[name] {
			t.Errorf("%s = %d, want %d (%v)", name, n, want[name], s)
		}
	})
}
