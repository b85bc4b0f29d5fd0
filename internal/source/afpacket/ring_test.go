//go:build linux

package afpacket

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/internal/source"
)

// fakeLane has a ring in memory of our own, with packets of 80 octets.
func fakeLane(blocks, packets int) *Lane {
	const blockBytes, each = 1 << 18, 160
	// Words, because the kernel's structures are aligned.
	words := make([]uint64, blocks*blockBytes/8)
	mem := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), blocks*blockBytes)
	l := &Lane{sock: &socket{fd: -1, name: "test0", index: 3}, event: -1}
	l.ring = ring{mem: mem, blockBytes: blockBytes, frames: make([]source.Frame, maxBatch)}
	for range blocks {
		h := l.ring.header()
		h.Offset_to_first_pkt, h.Num_pkts = uint32(blockMin), uint32(packets)
		for i := range packets {
			p := (*unix.Tpacket3Hdr)(unsafe.Pointer(&mem[l.ring.at+blockMin+i*each]))
			*p = unix.Tpacket3Hdr{Next_offset: each, Sec: uint32(i), Nsec: 5, Snaplen: 80, Len: 90, Mac: 80}
			a := (*unix.RawSockaddrLinklayer)(unsafe.Pointer(&mem[l.ring.at+blockMin+i*each+addressAt]))
			a.Hatype, a.Pkttype = unix.ARPHRD_ETHER, unix.PACKET_OUTGOING
			mem[l.ring.at+blockMin+i*each+80] = byte(i)
		}
		l.ring.release()
	}
	return l
}

func TestBlock(t *testing.T) {
	const packets = 1500 // more than a batch
	l := fakeLane(2, packets)
	n, calls := 0, 0
	err := l.block(func(frames []source.Frame) error {
		for _, f := range frames {
			if f.Time != int64(n)*1e9+5 || len(f.Data) != 80 || cap(f.Data) != 80 || f.Data[0] != byte(n) || f.WireLen != 90 ||
				f.Link != source.LinkEthernet || f.Dir != source.DirEgress || f.Iface != "test0" {
				t.Fatalf("frame %d: %+v", n, f)
			}
			n++
		}
		calls++
		return nil
	})
	if err != nil || n != packets || calls != 2 || l.submitted.Load() != packets || l.truncated.Load() != packets {
		t.Errorf("%d frames in %d calls, %d cut, %v", n, calls, l.truncated.Load(), err)
	}
	if l.ring.at != l.ring.blockBytes || l.ring.ready() {
		t.Error("the block was not released")
	}
}

// Memory that says nonsense is an error, never a read beyond the block.
func TestBrokenBlock(t *testing.T) {
	for name, spoil := range map[string]func(l *Lane, p *unix.Tpacket3Hdr){
		"first packet beyond the block":  func(l *Lane, _ *unix.Tpacket3Hdr) { l.ring.header().Offset_to_first_pkt = 1 << 18 },
		"first packet in the header":     func(l *Lane, _ *unix.Tpacket3Hdr) { l.ring.header().Offset_to_first_pkt = 0 },
		"packet longer than the block":   func(_ *Lane, p *unix.Tpacket3Hdr) { p.Snaplen = 1 << 18 },
		"length that overflows":          func(_ *Lane, p *unix.Tpacket3Hdr) { p.Snaplen = 1<<32 - 1 },
		"next packet beyond the block":   func(_ *Lane, p *unix.Tpacket3Hdr) { p.Next_offset = 1 << 30 },
		"more packets than there can be": func(l *Lane, _ *unix.Tpacket3Hdr) { l.ring.header().Num_pkts = 1 << 31 },
	} {
		l := fakeLane(1, 3)
		spoil(l, (*unix.Tpacket3Hdr)(unsafe.Pointer(&l.ring.mem[blockMin])))
		if err := l.block(func([]source.Frame) error { return nil }); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestAllocations(t *testing.T) {
	l := fakeLane(2, 1500)
	take := func([]source.Frame) error { return nil }
	if n := testing.AllocsPerRun(100, func() { l.block(take) }); n != 0 {
		t.Errorf("%v allocations for 1500 frames", n)
	}
}

func BenchmarkBlock(b *testing.B) {
	const packets = 1500
	l := fakeLane(16, packets)
	take := func([]source.Frame) error { return nil }
	b.ReportAllocs()
	for b.Loop() {
		l.block(take)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*packets), "ns/packet")
}
