package decode

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/source"
)

var linkTypes = [...]source.LinkType{
	source.LinkNull, source.LinkEthernet, source.LinkPPP, source.LinkFDDI, source.LinkRaw, source.LinkWiFi, source.LinkLoop,
	source.LinkSLL, source.LinkRadiotap, source.LinkIPv4, source.LinkIPv6, source.LinkSLL2, 65000,
}

// FuzzFrame: octets of any link type, three frames of one decoder, cut or not,
// never break it; what comes out borrows from the frame or is held, and tables
// and lists stay in order.
func FuzzFrame(f *testing.F) {
	p6 := packet6(server6, client6, protoUDP, datagramOf(53, 40000, message(1, true, 100)))
	two := pipeline(2, 0)
	f.Add(uint8(1), uint16(0), ether(etherIPv4, answer4()), []byte{}, []byte{})
	f.Add(uint8(4), uint16(0), fragment6(p6, 1, 0, 80), fragment6(p6, 1, 80, 80), answer4())
	f.Add(uint8(4), uint16(9), answer(1, tcpSYN, nil), answer(42, 0, two[40:]), answer(2, 0, two[:40]))
	f.Add(uint8(4), uint16(0), packet4(server4, client4, protoGRE, join(0x10, 0, u16(0x88be), make([]byte, 12), ether(etherIPv4, answer4()))), p6, []byte{})
	f.Add(uint8(8), uint16(0), join(0, 0, 8, 0, 0, 0, 0, 0, 8, 1, make([]byte, 22), 0xaa, 0xaa, 3, 0, 0, 0, u16(etherIPv4), answer4()), []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, link uint8, missing uint16, a, b, c []byte) {
		k := newBench(t, Options{Messages: true, Packets: true})
		for _, data := range [][]byte{a, b, c, a} {
			k.now += 1e9
			k.Frame(&source.Frame{
				Time: k.now, Data: data, WireLen: len(data) + int(missing), Link: linkTypes[int(link)%len(linkTypes)],
			}, &k.batch)
		}
		k.Tick(k.now)
		k.Flush(&k.batch)
		messages := uint64(0)
		for i := range k.batch.Events {
			if e := &k.batch.Events[i]; e.Class == event.ClassMessage {
				messages++
				if len(e.Msg.Raw) < 12 {
					t.Fatal("a message without a header")
				}
			}
		}
		if messages != k.Stats().Messages {
			t.Fatal(k.Stats())
		}
		k.empty()
	})
}

// FuzzTCP: a stream of messages gives the same messages wherever it is split,
// in whatever order the segments come, and however often.
func FuzzTCP(f *testing.F) {
	f.Add(uint64(1), uint8(5), uint16(0), uint32(0xfffffff0))
	f.Add(uint64(2), uint8(40), uint16(300), uint32(7))
	f.Add(uint64(3), uint8(3), uint16(9000), uint32(1<<31-100))
	f.Fuzz(func(t *testing.T, seed uint64, n uint8, pad uint16, isn uint32) {
		rng := rand.New(rand.NewPCG(seed, 0))
		var stream []byte
		var want [][]byte
		for i := range int(n) {
			m := message(i, true, rng.IntN(int(pad)+1))
			rng.Shuffle(4, func(a, b int) { m[20+a], m[20+b] = m[20+b], m[20+a] })
			want = append(want, m)
			stream = append(stream, framed(m)...)
		}
		k := newBench(t, onlyMessages)
		k.raw(answer(isn, tcpSYN, nil))
		// Windows that the reassembly must hold: in each, segments in any
		// order, some twice or overlapping their neighbours.
		for at := 0; at < len(stream); {
			end := min(at+1+rng.IntN(maxLater/2), len(stream))
			var segments [][2]int
			for from := at; from < end && len(segments) < maxSpans/4; {
				size := 1 + rng.IntN(1500)
				if rng.IntN(4) == 0 {
					size = 1 + rng.IntN(4)
				}
				to := min(from+size, end)
				segments = append(segments, [2]int{from, to})
				if rng.IntN(8) == 0 {
					segments = append(segments, [2]int{max(from-rng.IntN(50), 0), min(to+rng.IntN(50), end)})
				}
				from = to
			}
			at = segments[len(segments)-1][1]
			for _, s := range segments {
				at = max(at, s[1])
			}
			if rng.IntN(3) > 0 {
				rng.Shuffle(len(segments), func(a, b int) { segments[a], segments[b] = segments[b], segments[a] })
			}
			for _, s := range segments {
				k.now -= 1e6 // all at once: no hole is to time out
				k.raw(answer(isn+1+uint32(s[0]), 0, stream[s[0]:s[1]]))
			}
		}
		var got [][]byte
		for i := range k.batch.Events {
			got = append(got, k.batch.Events[i].Msg.Raw)
		}
		if !slices.EqualFunc(got, want, bytes.Equal) {
			t.Fatalf("%d messages, want %d (%v)", len(got), len(want), k.Stats())
		}
		if s := k.Stats(); s.TCPOverlapConflict+s.TCPGap+s.TCPIncomplete+s.NotDNS != 0 {
			t.Fatal(s)
		}
		k.empty()
	})
}

// FuzzDefrag: a datagram gives the same message however it is cut into
// fragments, in whatever order they come, and however often; overlaps never
// change what an IPv4 datagram says and always end one of IPv6.
func FuzzDefrag(f *testing.F) {
	f.Add(uint64(1), uint16(1500), false, false)
	f.Add(uint64(2), uint16(60000), true, false)
	f.Add(uint64(3), uint16(900), false, true)
	f.Add(uint64(4), uint16(900), true, true)
	f.Fuzz(func(t *testing.T, seed uint64, pad uint16, v6, overlap bool) {
		rng := rand.New(rand.NewPCG(seed, 0))
		m := message(1, true, 100+int(pad)%65000)
		header := 20
		p := packet4(server4, client4, protoUDP, datagramOf(53, 40000, m))
		cut := fragment4
		if v6 {
			header = 40
			p = packet6(server6, client6, protoUDP, datagramOf(53, 40000, m))
			cut = fragment6
		}
		size := len(p) - header
		var fragments [][]byte
		for at := 0; at < size; {
			n := 8 * (1 + rng.IntN(size/64+1))
			fragments = append(fragments, cut(p, 1, at, n))
			if rng.IntN(8) == 0 {
				fragments = append(fragments, cut(p, 1, at, n))
			}
			at += n
		}
		rng.Shuffle(len(fragments), func(a, b int) { fragments[a], fragments[b] = fragments[b], fragments[a] })
		k := newBench(t, onlyMessages)
		if !overlap {
			k.raw(fragments...)
			// Fragments that come twice may begin a second datagram.
			if len(k.batch.Events) != 1 || !bytes.Equal(k.batch.Events[0].Msg.Raw, m) {
				t.Fatalf("%d messages (%v)", len(k.batch.Events), k.Stats())
			}
			k.Flush(&k.batch)
			k.empty()
			return
		}
		if len(fragments) < 3 {
			return
		}
		// Before the last one comes, one that overlaps and says otherwise. It
		// spans the first two that came.
		bad := slices.Clone(fragments[0])
		at := header
		if v6 {
			at += 8
		}
		for i := at; i < len(bad); i++ {
			bad[i] ^= 0xff
		}
		if first := binary.BigEndian.Uint16(fragments[0][6:]) & 0x1fff; !v6 && first == 0 {
			return // other ports: the datagram is not ours
		}
		if v6 && binary.BigEndian.Uint16(fragments[0][42:])&^7 == 0 {
			return
		}
		last := len(fragments) - 1
		k.raw(fragments[:last]...)
		done := len(k.batch.Events)
		if done != 0 {
			return // it came twice
		}
		k.raw(bad)
		k.raw(fragments[last])
		switch {
		case v6 && len(k.batch.Events) != 0:
			t.Fatal("a datagram whose fragments overlap (RFC 5722)")
		case !v6 && (len(k.batch.Events) != 1 || !bytes.Equal(k.batch.Events[0].Msg.Raw, m)):
			t.Fatalf("%d messages (%v)", len(k.batch.Events), k.Stats())
		}
		k.Flush(&k.batch)
		k.empty()
	})
}
