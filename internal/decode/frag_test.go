package decode

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

var (
	client6 = netip.MustParseAddrPort("[2001:db8::1]:40000")
	server6 = netip.MustParseAddrPort("[2001:db8::53]:53")
)

// fragmentOf returns a part of a datagram.
func fragmentOf(v6 bool, id uint16, datagram []byte, from, to int) []byte {
	more := to < len(datagram)
	if v6 {
		h := []byte{protoUDP, 0, 0, 0, 0, 0, byte(id >> 8), byte(id)}
		be.PutUint16(h[2:], uint16(from))
		if more {
			h[3] |= 1
		}
		return ipPacket(server6.Addr(), client6.Addr(), protoFragment, append(h, datagram[from:to]...))
	}
	p := ipPacket(server.Addr(), client.Addr(), protoUDP, datagram[from:to])
	be.PutUint16(p[4:], id)
	be.PutUint16(p[6:], uint16(from/8))
	if more {
		p[6] |= 0x20
	}
	return p
}

// However a datagram is cut, and in whatever order its parts come: one message.
func FuzzDefrag(f *testing.F) {
	f.Add(uint64(1), uint16(100), false)
	f.Add(uint64(2), uint16(1400), true)
	f.Fuzz(func(t *testing.T, seed uint64, pad uint16, v6 bool) {
		raw := append(response(t, 7, "frag.example.test."), make([]byte, pad%8000)...)
		src, dst := server, client
		if v6 {
			src, dst = server6, client6
		}
		datagram := udpDatagram(src, dst, raw)
		r := rand.New(rand.NewPCG(seed, 1))
		var parts [][]byte
		for at := 0; at < len(datagram); {
			to := min(at+8*(1+r.IntN(200)), len(datagram))
			if len(parts) == maxParts-1 {
				to = len(datagram)
			}
			parts = append(parts, fragmentOf(v6, 9, datagram, at, to))
			at = to
		}
		r.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		l := newLane(Options{})
		for i, p := range parts {
			l.see(int64(i), p)
		}
		if got := l.finish(); !slices.Equal(got, []string{"frag.example.test"}) {
			t.Errorf("%d parts give %v", len(parts), got)
		}
		if used := l.d.fragments.used; used != 0 {
			t.Errorf("%d octets of memory unaccounted for", used)
		}
	})
}

func TestFragmentMemory(t *testing.T) {
	l := newLane(Options{FragmentBytes: 1 << 20})
	datagram := make([]byte, 3000)
	for i := range 20_000 {
		l.see(int64(i), fragmentOf(false, uint16(i), datagram, 0, 1480))
		if l.d.fragments.used > 1<<20 {
			t.Fatalf("%d octets used", l.d.fragments.used)
		}
	}
	if l.d.stats.FragmentEvicted == 0 {
		t.Error("nothing was evicted")
	}
}

// RFC 5722: a datagram with overlapping parts is dropped whole, parts that come
// later too.
func TestOverlapIPv6(t *testing.T) {
	datagram := udpDatagram(server6, client6, response(t, 7, "overlap.example.test."))
	l := newLane(Options{})
	l.see(0, fragmentOf(true, 9, datagram, 0, 24))
	l.see(1, fragmentOf(true, 9, datagram, 16, 40))
	l.see(2, fragmentOf(true, 9, datagram, 24, len(datagram)))
	if got := l.finish(); len(got) != 0 || l.d.stats.FragmentOverlap != 1 {
		t.Errorf("%v, %d overlaps", got, l.d.stats.FragmentOverlap)
	}
}

// Any octets behind any link header: no panic.
func FuzzFrame(f *testing.F) {
	f.Add(uint8(0), ipPacket(server.Addr(), client.Addr(), protoUDP, udpDatagram(server, client, []byte("0123456789ab"))))
	f.Fuzz(func(t *testing.T, link uint8, octets []byte) {
		l := newLane(Options{Packets: true})
		frame := links[int(link)%len(links)]
		l.frame(frame, octets)
		l.finish()
	})
}
