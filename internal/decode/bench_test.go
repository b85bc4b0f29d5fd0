package decode

import (
	"encoding/binary"
	"testing"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/source"
)

// realAnswer has a CNAME, two addresses and an OPT record, as many do.
func realAnswer() []byte {
	m := join(u16(7), u16(0x8180), u16(1), u16(3), u16(0), u16(1), 3, "www", 7, "example", 4, "test", 0, u16(1), u16(1),
		u16(0xc00c), u16(5), u16(1), u16(0), u16(300), u16(6), 3, "web", u16(0xc010),
		u16(0xc02b), u16(1), u16(1), u16(0), u16(300), u16(4), 192, 0, 2, 1,
		u16(0xc02b), u16(1), u16(1), u16(0), u16(300), u16(4), 192, 0, 2, 2,
		0, u16(41), u16(1232), u16(0), u16(0), u16(0))
	return m
}

// feeder hands frames to a decoder in batches, as the line does.
type feeder struct {
	d      *Decoder
	b      event.Batch
	frames []source.Frame
	step   uint32 // octets of stream that the frames carry
	wanted int    // messages of a round
}

func newFeeder(packets ...[]byte) *feeder {
	r := &feeder{d: New(onlyMessages)}
	for i, p := range packets {
		r.frames = append(r.frames, source.Frame{
			Time: 1_700_000_000e9 + int64(i)*1000, Data: ether(etherIPv4, p), WireLen: 14 + len(p), Link: source.LinkEthernet,
		})
	}
	return r
}

// round feeds all frames once. Those of TCP go on where the last round ended.
func (r *feeder) round() int {
	for i := range r.frames {
		if f := &r.frames[i]; r.step > 0 {
			seq := f.Data[38:42]
			binary.BigEndian.PutUint32(seq, binary.BigEndian.Uint32(seq)+r.step)
		}
		r.d.Frame(&r.frames[i], &r.b)
	}
	r.d.Tick(r.b.Now)
	n := len(r.b.Events)
	r.b.Reset()
	return n
}

func udpFeeder() *feeder {
	var packets [][]byte
	for i := range 64 {
		p := packet4(server4, client4, protoUDP, datagramOf(53, 1024+i, realAnswer()))
		packets = append(packets, p)
	}
	r := newFeeder(packets...)
	r.wanted = 64
	return r
}

// tcpFeeder cuts 64 messages into segments of size octets, or one of each when
// size is 0; swap makes every second pair come in the wrong order.
func tcpFeeder(size int, swap bool) *feeder {
	m := framed(realAnswer())
	var stream []byte
	for range 64 {
		stream = append(stream, m...)
	}
	if size == 0 {
		size = len(m)
	}
	var packets [][]byte
	for at := 0; at < len(stream); at += size {
		packets = append(packets, answer(uint32(1000+at), 0, stream[at:min(at+size, len(stream))]))
	}
	if swap {
		for i := 0; i+1 < len(packets); i += 4 {
			packets[i], packets[i+1] = packets[i+1], packets[i]
		}
	}
	r := newFeeder(packets...)
	syn := newFeeder(answer(999+uint32(len(stream)), tcpSYN, nil))
	r.d.Frame(&syn.frames[0], &r.b)
	r.step, r.wanted = uint32(len(stream)), 64
	return r
}

func fragmentFeeder() *feeder {
	var packets [][]byte
	for i := range 32 {
		p := packet4(server4, client4, protoUDP, datagramOf(53, 1024+i, message(1, true, 1800)))
		packets = append(packets, fragment4(p, i, 0, 1480), fragment4(p, i, 1480, 1480))
	}
	r := newFeeder(packets...)
	r.wanted = 32
	return r
}

var feeders = []struct {
	name string
	make func() *feeder
}{
	{"UDP", udpFeeder},
	{"TCP/message-per-segment", func() *feeder { return tcpFeeder(0, false) }},
	{"TCP/split-1000", func() *feeder { return tcpFeeder(1000, false) }},
	{"TCP/split-53", func() *feeder { return tcpFeeder(53, false) }},
	{"TCP/out-of-order", func() *feeder { return tcpFeeder(200, true) }},
	{"Fragments", fragmentFeeder},
}

// Nothing is allocated once the tables have grown.
func TestNoAllocation(t *testing.T) {
	for _, f := range feeders {
		r := f.make()
		for range 20 {
			if n := r.round(); n != r.wanted {
				t.Fatalf("%s: %d messages, want %d (%v)", f.name, n, r.wanted, r.d.Stats())
			}
		}
		if n := testing.AllocsPerRun(100, func() { r.round() }); n != 0 {
			t.Errorf("%s: %v allocations for %d frames", f.name, n, len(r.frames))
		}
	}
}

func BenchmarkFrame(b *testing.B) {
	for _, f := range feeders {
		b.Run(f.name, func(b *testing.B) {
			r := f.make()
			r.round()
			b.ReportAllocs()
			messages := 0
			b.ResetTimer()
			for range b.N {
				messages += r.round()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(messages), "ns/msg")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(r.frames)), "ns/frame")
		})
	}
}

// BenchmarkUnpack is what dnswire takes of the above.
func BenchmarkUnpack(b *testing.B) {
	var batch event.Batch
	m := realAnswer()
	e := batch.Next()
	for range b.N {
		e.Msg.Unpack(m)
	}
}
