package decode

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"testing"
)

// stream is a connection's octets in one direction: n messages.
func messages(t testing.TB, n int) (octets []byte, names []string) {
	for i := range n {
		name := fmt.Sprintf("n%d.example.test", i)
		octets = append(octets, prefixed(response(t, uint16(i), name+"."))...)
		names = append(names, name)
	}
	return octets, names
}

// However a stream is cut into segments, and in whatever order they come, twice
// or once: the same messages.
func FuzzTCP(f *testing.F) {
	f.Add(uint64(1), uint8(3), uint32(0))
	f.Add(uint64(2), uint8(20), uint32(0xffffff00))
	f.Add(uint64(3), uint8(1), uint32(7))
	f.Fuzz(func(t *testing.T, seed uint64, n uint8, isn uint32) {
		octets, want := messages(t, int(n%32)+1)
		r := rand.New(rand.NewPCG(seed, 1))
		type piece struct {
			seq  uint32
			data []byte
		}
		var pieces []piece
		for at := 0; at < len(octets); {
			size := min(1+r.IntN(1+r.IntN(120)), len(octets)-at)
			p := piece{isn + 1 + uint32(at), octets[at : at+size]}
			pieces = append(pieces, p)
			if r.IntN(4) == 0 {
				pieces = append(pieces, p)
			}
			at += size
		}
		// A neighbourhood is shuffled, as networks do it.
		for i := range pieces {
			j := min(i+r.IntN(8), len(pieces)-1)
			pieces[i], pieces[j] = pieces[j], pieces[i]
		}
		l := newLane(Options{})
		l.see(0, tcpSegment(server, client, isn, tcpSYN, nil))
		for i, p := range pieces {
			l.see(int64(i), tcpSegment(server, client, p.seq, 0, p.data))
		}
		if got := l.finish(); !slices.Equal(got, want) {
			t.Errorf("%d messages, want %d: %v", len(got), len(want), got)
		}
		if used := l.d.streams.used; used != 0 {
			t.Errorf("%d octets of memory unaccounted for", used)
		}
	})
}

// Octets that are no DNS, in any order, break nothing.
func FuzzTCPOctets(f *testing.F) {
	f.Add([]byte{0, 12, 1, 2, 3, 4, 5})
	f.Fuzz(func(t *testing.T, octets []byte) {
		l := newLane(Options{StreamBytes: 1 << 20})
		for len(octets) >= 4 {
			seq, flags := uint32(octets[0])<<4, octets[1]
			size := min(int(octets[2]), len(octets)-4)
			l.see(int64(octets[3])*1e8, tcpSegment(server, client, seq, flags, octets[4:4+size]))
			octets = octets[4+size:]
			if l.d.streams.used > 1<<20 {
				t.Fatalf("%d octets used", l.d.streams.used)
			}
		}
		l.finish()
		if l.d.streams.used != 0 {
			t.Errorf("%d octets of memory unaccounted for", l.d.streams.used)
		}
	})
}

// After a gap the next message is found again, also in the middle of a segment.
func TestGap(t *testing.T) {
	octets, names := messages(t, 40)
	l := newLane(Options{})
	l.see(0, tcpSegment(server, client, 0, tcpSYN, nil))
	const size = 100
	lost := 0
	for at := 0; at < len(octets); at += size {
		if at/size%5 == 2 {
			lost++
			continue
		}
		l.see(int64(at), tcpSegment(server, client, 1+uint32(at), 0, octets[at:min(at+size, len(octets))]))
	}
	got := l.finish()
	for _, name := range got {
		if !slices.Contains(names, name) {
			t.Errorf("%s was never sent", name)
		}
	}
	// A lost segment costs the messages that it touches, and the one whose
	// start the next segment does not hold.
	if l.d.stats.TCPGap == 0 || len(got) < len(names)-5*lost {
		t.Errorf("%d of %d messages after %d lost segments, %d gaps", len(got), len(names), lost, l.d.stats.TCPGap)
	}
}

// A million connections that are opened, begin a message and go silent: memory
// stays bounded, and the answers of genuine connections among them are seen.
func TestHalfOpenFlood(t *testing.T) {
	const flood, genuine = 1_000_000, 10_000
	l := newLane(Options{})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	peak, sent := uint64(0), 0
	type open struct {
		addr   netip.AddrPort
		octets []byte
		at     int
	}
	var waiting []open
	for i := range flood {
		now := int64(i) * 10_000
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), uint16(1024+i%50000))
		l.see(now, tcpSegment(addr, server, 1000, tcpSYN, nil))
		l.see(now, tcpSegment(addr, server, 1001, 0, []byte{0, 60, 1}))
		if i%(flood/genuine) == 0 {
			// A genuine answer comes in three segments, the later ones
			// thousands of hostile connections after the first.
			addr := netip.AddrPortFrom(netip.MustParseAddr("198.51.100.7"), uint16(1024+i/(flood/genuine)))
			waiting = append(waiting, open{addr, prefixed(response(t, uint16(i), "genuine.example.test.")), 0})
			sent++
			l.see(now, tcpSegment(server, addr, 7, tcpSYN, nil))
		}
		if i%50 == 0 && len(waiting) > 20 {
			o := &waiting[0]
			size := min(20, len(o.octets)-o.at)
			l.see(now, tcpSegment(server, o.addr, 8+uint32(o.at), 0, o.octets[o.at:o.at+size]))
			if o.at += size; o.at == len(o.octets) {
				waiting = waiting[1:]
			}
		}
		if i%100_000 == 99_999 {
			runtime.ReadMemStats(&after)
			peak = max(peak, after.HeapAlloc-min(before.HeapAlloc, after.HeapAlloc))
		}
	}
	for _, o := range waiting {
		l.see(flood*10_000, tcpSegment(server, o.addr, 8+uint32(o.at), 0, o.octets[o.at:]))
	}
	seen := 0
	for _, name := range l.names {
		if name == "genuine.example.test" {
			seen++
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	live := after.HeapAlloc - min(before.HeapAlloc, after.HeapAlloc)
	t.Logf("%d half-open connections: %d of %d genuine answers, %d MiB live, %d MiB with garbage, %d evicted",
		flood, seen, sent, live>>20, peak>>20, l.d.stats.TCPEvicted)
	if live > 40<<20 {
		t.Errorf("%d MiB, want at most 40", live>>20)
	}
	if seen*100 < sent*99 {
		t.Errorf("%d of %d genuine answers, want 99 %%", seen, sent)
	}
}

func TestAllocations(t *testing.T) {
	octets, _ := messages(t, 10)
	packets := [][]byte{ipPacket(server.Addr(), client.Addr(), protoUDP, udpDatagram(server, client, octets[2:40]))}
	// Whole messages, then ones that span segments.
	for at := 0; at < len(octets); at += 50 {
		packets = append(packets, tcpSegment(server, client, uint32(at), 0, octets[at:min(at+50, len(octets))]))
	}
	l := newLane(Options{})
	l.quiet = true
	time := int64(0)
	rst := tcpSegment(server, client, 0, tcpRST, nil)
	run := func() {
		for _, p := range packets {
			l.see(time, p)
			time += 1000
		}
		// The same sequence numbers again.
		l.see(time, rst)
	}
	for range 10 {
		run()
	}
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations per run, want none", n)
	}
}

func BenchmarkUDP(b *testing.B) {
	raw := response(b, 1, "www.example.test.")
	benchmark(b, [][]byte{ipPacket(server.Addr(), client.Addr(), protoUDP, udpDatagram(server, client, raw))})
}

func BenchmarkTCP(b *testing.B) {
	octets := prefixed(response(b, 1, "www.example.test."))
	var packets [][]byte
	for i := range 1000 {
		packets = append(packets, tcpSegment(server, client, uint32(i*len(octets)), 0, octets))
	}
	benchmark(b, packets)
}

func BenchmarkTCPSplit(b *testing.B) {
	octets, _ := messages(b, 200)
	var packets [][]byte
	for at := 0; at < len(octets); at += 90 {
		packets = append(packets, tcpSegment(server, client, uint32(at), 0, octets[at:min(at+90, len(octets))]))
	}
	benchmark(b, packets)
}

func benchmark(b *testing.B, packets [][]byte) {
	l := newLane(Options{})
	l.quiet = true
	rst := tcpSegment(server, client, 0, tcpRST, nil)
	b.ReportAllocs()
	for b.Loop() {
		for _, p := range packets {
			l.see(0, p)
		}
		l.see(0, rst)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(packets)), "ns/packet")
}

// A plausible start is what real messages have, and random octets nearly never.
func TestPlausible(t *testing.T) {
	if !plausible(prefixed(response(t, 1, "www.example.test."))) {
		t.Error("a response is not plausible")
	}
	r := rand.New(rand.NewPCG(1, 2))
	hits := 0
	const tries = 1_000_000
	for range tries {
		var octets [64]byte
		for i := 0; i < len(octets); i += 8 {
			binary.LittleEndian.PutUint64(octets[i:], r.Uint64())
		}
		if plausible(octets[:]) {
			hits++
		}
	}
	if hits > tries/100_000 {
		t.Errorf("%d of %d random octets are plausible", hits, tries)
	}
}

// With --ports any: messages of any port over UDP and TCP are found, and random
// datagrams are nearly never taken for one.
func TestAnyPort(t *testing.T) {
	from, to := netip.MustParseAddrPort("192.0.2.53:5301"), netip.MustParseAddrPort("192.0.2.1:40000")
	raw := response(t, 7, "any.example.test.")
	l := newLane(Options{AnyPort: true})
	l.see(0, ipPacket(from.Addr(), to.Addr(), protoUDP, udpDatagram(from, to, raw)))
	l.see(0, tcpSegment(from, to, 1, tcpSYN, nil))
	l.see(0, tcpSegment(from, to, 2, 0, prefixed(raw)[:20]))
	l.see(0, tcpSegment(from, to, 22, 0, prefixed(raw)[20:]))
	if got := l.finish(); !slices.Equal(got, []string{"any.example.test", "any.example.test"}) {
		t.Errorf("%v", got)
	}

	const tries = 1_000_000
	r := rand.New(rand.NewPCG(1, 2))
	var octets [512]byte
	hits := 0
	for range tries {
		n := 12 + r.IntN(len(octets)-12)
		for i := 0; i < n; i += 8 {
			binary.LittleEndian.PutUint64(octets[i&^7:], r.Uint64())
		}
		if recognised(octets[:n]) {
			hits++
		}
	}
	t.Logf("%d of %d random datagrams recognised", hits, tries)
	if hits >= tries/100_000 {
		t.Errorf("%d of %d random datagrams are taken for DNS", hits, tries)
	}
}
