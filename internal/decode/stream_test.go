package decode

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"testing"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/source"
)

// answer is a segment of the server.
func answer(seq uint32, flags int, payload []byte) []byte {
	return packet4(server4, client4, protoTCP, segmentOf(53, 40000, seq, flags, payload))
}

// ack is a segment of the client without payload.
func ack(n uint32) []byte {
	s := segmentOf(40000, 53, 1, tcpACK, nil)
	binary.BigEndian.PutUint32(s[8:], n)
	return packet4(client4, server4, protoTCP, s)
}

// pipeline is a stream of messages with the ids 1 to n.
func pipeline(n, pad int) (b []byte) {
	for i := range n {
		b = append(b, framed(message(i+1, true, pad))...)
	}
	return b
}

func TestStream(t *testing.T) {
	type counts = map[string]uint64
	one, two := framed(message(1, true, 0)), pipeline(2, 0)
	n := uint32(len(one))
	strange := framed(message(7, true, 0))
	strange[4] |= 7 << 3 // an opcode that nobody assigned
	http := []byte("HTTP/1.1 200 OK\r\nServer: x\r\n\r\n")
	tls := join(0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, make([]byte, 40))
	for _, test := range []struct {
		name    string
		packets [][]byte
		ids     []int
		want    counts
	}{
		{"whole messages", [][]byte{answer(9, tcpSYN, nil), answer(10, 0, two)}, []int{1, 2}, nil},
		{"one and a half", [][]byte{answer(9, tcpSYN, nil), answer(10, 0, two[:40]), answer(50, 0, two[40:])}, []int{1, 2}, nil},
		{"second first", [][]byte{answer(9, tcpSYN, nil), answer(10+n, 0, two[n:]), answer(10, 0, one)}, []int{1, 2},
			counts{"tcp_out_of_order": 1}},
		{"wrap-around", [][]byte{answer(0xfffffff0, tcpSYN, nil), answer(0xfffffff1, 0, two[:30]), answer(15, 0, two[30:])}, []int{1, 2}, nil},
		{"data on SYN, repeated after it", [][]byte{answer(9, tcpSYN, one), answer(10, 0, two)}, []int{1, 2}, nil},
		{"SYN repeated", [][]byte{answer(9, tcpSYN, nil), answer(10, 0, one), answer(9, tcpSYN, nil), answer(10+n, 0, two[n:])}, []int{1, 2}, nil},
		{"all repeated", [][]byte{answer(9, tcpSYN, nil), answer(10, 0, two), answer(10, 0, two), answer(10, tcpFIN, two), answer(10, 0, one)},
			[]int{1, 2}, counts{"tcp_retransmitted": 3}},
		{"new connection", [][]byte{answer(9, tcpSYN, nil), answer(10, tcpFIN, one), answer(900_000_000, tcpSYN, nil), answer(900_000_001, 0, one)},
			[]int{1, 1}, nil},
		{"new connection, SYN close below", [][]byte{answer(9, tcpSYN, nil), answer(10, tcpFIN, one), answer(5, tcpSYN, nil), answer(6, 0, two)},
			[]int{1, 1, 2}, nil},
		{"new connection, SYN the same", [][]byte{answer(9, tcpSYN, nil), answer(10, tcpFIN, one), answer(9, tcpSYN, nil), answer(10, 0, two)},
			[]int{1, 1, 2}, nil},
		{"new connection, SYN missed", [][]byte{answer(9, tcpSYN, nil), answer(10, tcpFIN, one), answer(900_000_000, 0, one)},
			[]int{1, 1}, counts{"tcp_gap": 1, "tcp_resync": 1}},
		{"no SYN", [][]byte{answer(10, 0, two)}, []int{1, 2}, counts{"tcp_midstream": 1, "tcp_resync": 1}},
		{"no SYN, amid a message", [][]byte{answer(10, 0, two[9:])}, []int{2}, counts{"tcp_midstream": 1, "tcp_resync": 1}},
		{"no SYN, length alone", [][]byte{answer(10, 0, two[:2]), answer(12, 0, two[2:7]), answer(17, 0, two[7:])}, []int{1, 2},
			counts{"tcp_midstream": 1}},
		{"RST amid a message", [][]byte{answer(9, tcpSYN, nil), answer(10, 0, one[:20]), answer(30, tcpRST, nil)}, nil,
			counts{"tcp_incomplete": 1}},
		{"RST out of the window", [][]byte{answer(9, tcpSYN, nil), answer(10, 0, one[:20]), answer(3_000_000_000, tcpRST, nil), answer(30, 0, one[20:])},
			[]int{1}, counts{"tcp_out_of_window": 1}},
		{"spoofed data out of the window", [][]byte{answer(9, tcpSYN, nil), answer(10, 0, one[:20]), answer(3_000_000_000, 0, one), answer(30, 0, one[20:])},
			[]int{1}, counts{"tcp_out_of_window": 1}},
		{"FIN amid a message", [][]byte{answer(9, tcpSYN, nil), answer(10, tcpFIN, one[:20])}, nil, counts{"tcp_incomplete": 1}},
		{"strange message before a good one", [][]byte{answer(9, tcpSYN, nil), answer(10, 0, join(strange, one))}, []int{7, 1}, nil},
		{"strange message before a good one, split", [][]byte{answer(9, tcpSYN, nil), answer(10, 0, strange[:5]), answer(15, 0, join(strange[5:], one))}, []int{7, 1}, nil},
		{"HTTP", [][]byte{answer(9, tcpSYN, nil), answer(10, 0, http), answer(10+uint32(len(http)), 0, http)}, nil, counts{"not_dns": 1}},
		{"TLS", [][]byte{answer(9, tcpSYN, nil), answer(10, 0, tls)}, nil, counts{"not_dns": 1}},
		{"TLS, split", [][]byte{answer(9, tcpSYN, nil), answer(10, 0, tls[:5]), answer(15, 0, tls[5:])}, nil, counts{"not_dns": 1}},
		{"HTTP to hide behind", [][]byte{answer(9, tcpSYN, nil), answer(10, 0, http), answer(10+uint32(len(http)), 0, one)}, []int{1},
			counts{"not_dns": 1, "tcp_resync": 1}},
		{"length 0", [][]byte{answer(9, tcpSYN, nil), answer(10, 0, join(0, 0, one, 0)), answer(13+n, 0, join(0, one))}, []int{1, 1},
			counts{"tcp_zero_length": 2}},
		{"length 5", [][]byte{answer(9, tcpSYN, nil), answer(10, 0, join(0, 5, 1, 2, 3, 4, 5, one))}, []int{1}, counts{"short_header": 1}},
		{"other octets repeated", [][]byte{answer(9, tcpSYN, nil), answer(10, 0, one[:30]), answer(30, 0, join("conflict..", one[30:]))}, []int{1},
			counts{"tcp_overlap_conflict": 1}},
		{"other octets repeated behind a hole", [][]byte{answer(9, tcpSYN, nil), answer(30, 0, one[20:]), answer(30, 0, []byte("other")), answer(10, 0, one[:20])},
			[]int{1}, counts{"tcp_out_of_order": 2, "tcp_overlap_conflict": 1}},
		{"hole at the end of the source", [][]byte{answer(9, tcpSYN, nil), answer(10, 0, one[:20]), answer(10+n, 0, two[n:])}, []int{2},
			counts{"tcp_out_of_order": 1, "tcp_gap": 1, "tcp_resync": 1, "tcp_incomplete": 1}},
		{"hole that was acknowledged", [][]byte{answer(9, tcpSYN, nil), answer(10+n, 0, two[n:]), ack(10 + n), answer(10, 0, one)}, []int{2},
			counts{"tcp_out_of_order": 1, "tcp_gap": 1, "tcp_resync": 1, "tcp_retransmitted": 1}},
		{"hole that is acknowledged in part", [][]byte{answer(9, tcpSYN, nil), answer(10+n, 0, two[n:]), ack(10), answer(10, 0, one)}, []int{1, 2},
			counts{"tcp_out_of_order": 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			k := newBench(t, onlyMessages)
			k.raw(test.packets...)
			k.Flush(&k.batch)
			k.want(test.ids...)
			counters(t, k.Stats(), test.want)
			k.empty()
		})
	}
}

// empty checks that nothing leaked: what is not held by a stream is free.
func (k *bench) empty() {
	k.t.Helper()
	s := &k.streams
	blocks, spans, origins := 0, 0, 0
	for l := range s.lists {
		for i := s.lists[l].oldest; i != 0; i = s.entries.at(i).newer {
			g := s.at(i)
			if int(s.entries.at(i).list) != l || g.list() != uint8(l) {
				k.t.Errorf("a stream of list %d is in list %d", g.list(), l)
			}
			blocks += int(g.msg.n+blockSize-1) / blockSize
			for j := g.later; j != 0; j = s.octets.spans.at(j).next {
				spans++
				blocks += int(s.octets.spans.at(j).n+blockSize-1) / blockSize
			}
		}
	}
	if in := used(&s.octets.blocks); in != blocks {
		k.t.Errorf("%d blocks in use, %d known", in, blocks)
	}
	if in := used(&s.octets.spans); in != spans {
		k.t.Errorf("%d spans in use, %d known", in, spans)
	}
	if blocks == 0 && used(&s.origins) != origins {
		k.t.Errorf("%d origins in use", used(&s.origins))
	}
	f := &k.frags
	if f.index.n == 0 && used(&f.octets.blocks)+used(&f.octets.spans) != 0 {
		k.t.Errorf("fragments: %d blocks in use", used(&f.octets.blocks))
	}
}

func used[T any](s *slab[T]) int { return max(int(s.n)-1, 0) - len(s.free) }

// A hole delays what is behind it for three seconds, not for ever, even when the
// stream itself is silent.
func TestHoleTimeout(t *testing.T) {
	two := pipeline(2, 0)
	k := newBench(t, onlyMessages)
	k.raw(answer(9, tcpSYN, nil), answer(60, 0, two[len(two)/2:]))
	k.Tick(k.now)
	k.raw(answer4())
	k.want(0x1234)
	k.now += 4e9
	k.raw(answer4())
	k.Tick(k.now)
	k.raw(answer4())
	k.want(0x1234, 0x1234, 2, 0x1234)
	e := &k.batch.Events[2]
	if e.Meta.Protocol != protoTCP || e.Meta.SrcPort != 53 || e.Meta.SrcIP != server4 || e.Time > k.now-4e9 {
		t.Errorf("%+v", e.Meta)
	}
	k.empty()
}

// No more than a message of the greatest length waits behind a hole.
func TestHoleBound(t *testing.T) {
	k := newBench(t, onlyMessages)
	k.raw(answer(9, tcpSYN, nil))
	seq := uint32(10 + 1000)
	for i := range 200 {
		m := framed(message(i+1, true, 1000))
		k.raw(answer(seq, 0, m))
		seq += uint32(len(m))
		i := k.streams.oldest(listGapped)
		if i != 0 && k.streams.at(i).laterN > maxLater {
			t.Fatal("too much is held")
		}
	}
	if ids := k.ids(); len(ids) != 200 || ids[0] != 1 || ids[199] != 200 {
		t.Error(ids)
	}
}

// The task that sent the first octets of a message sent the message.
func TestStreamSender(t *testing.T) {
	a, b := &event.Identity{TGID: 1}, &event.Identity{TGID: 2}
	two := pipeline(3, 0)
	n := len(two) / 3
	k := newBench(t, onlyMessages)
	send := func(seq uint32, who *event.Identity, payload []byte) {
		p := answer(seq, 0, payload)
		k.Frame(&source.Frame{Time: k.now, Data: p, WireLen: len(p), Link: source.LinkRaw, Sender: who, Owner: who, Cookie: 5, Dir: source.DirEgress}, &k.batch)
	}
	k.raw(answer(9, tcpSYN, nil))
	send(10, a, two[:n+5])
	a = &event.Identity{TGID: 1}
	send(10+uint32(n)+5, b, two[n+5:2*n+3])
	send(10+2*uint32(n)+3, nil, two[2*n+3:])
	k.want(1, 2, 3)
	for i, want := range []uint32{1, 1, 2} {
		if e := &k.batch.Events[i]; e.Sender == nil || e.Sender.TGID != want || e.Owner.TGID != want {
			t.Errorf("message %d: sender %+v", i+1, e.Sender)
		}
	}
	// A message whose first octets nobody is known to have sent.
	send(10+3*uint32(n), nil, two[:5])
	send(15+3*uint32(n), b, two[5:n])
	if e := &k.batch.Events[3]; e.Sender != nil || e.Owner != nil {
		t.Errorf("sender %+v", e.Sender)
	}
	k.empty()
}

// Both ends of a conversation inside a host are seen, each with its cookie.
func TestStreamCookies(t *testing.T) {
	one := framed(message(1, true, 0))
	k := newBench(t, onlyMessages)
	for _, part := range [][2]int{{0, 20}, {20, len(one)}} {
		for cookie := range uint64(2) {
			p := answer(uint32(10+part[0]), 0, one[part[0]:part[1]])
			k.Frame(&source.Frame{Time: k.now, Data: p, WireLen: len(p), Link: source.LinkRaw, Cookie: cookie + 1}, &k.batch)
		}
	}
	k.want(1, 1)
}

func TestStreamSnaplen(t *testing.T) {
	two := pipeline(2, 600)
	k := newBench(t, onlyMessages)
	k.raw(answer(9, tcpSYN, nil))
	p := answer(10, 0, two)
	k.Frame(&source.Frame{Time: k.now, Data: p[:900], WireLen: len(p), Link: source.LinkRaw}, &k.batch)
	k.raw(answer(10+uint32(len(two)), 0, framed(message(3, true, 0))))
	k.want(1, 2, 3)
	if e := &k.batch.Events[1]; e.Msg.Broken == 0 || e.Missing == 0 || len(e.Msg.Raw)+e.Missing != len(two)/2-prefix {
		t.Errorf("%d octets, %d missing, want %d", len(e.Msg.Raw), e.Missing, len(two)/2-prefix)
	}
	counters(t, k.Stats(), map[string]uint64{"snap_truncated": 1, "tcp_resync": 1})
}

// Streams that are silent are forgotten, with what they hold.
func TestStreamTimeout(t *testing.T) {
	k := newBench(t, onlyMessages)
	k.raw(answer(9, tcpSYN, nil), answer(10, 0, framed(message(1, true, 0))[:20]))
	k.now += idle + 1e9
	k.Tick(k.now)
	if k.Stats().TCPIncomplete != 0 {
		t.Error("the packets' clock has not moved")
	}
	k.Tick(k.now)
	if s := k.Stats(); s.TCPIncomplete != 1 || k.streams.index.n != 0 {
		t.Error(s)
	}
	k.empty()
}

// A million connections that are only begun take at most 40 MiB, and the
// genuine answers among them are seen.
func TestHalfOpenFlood(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: it takes seconds, and -short was given")
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	d := New(Options{Messages: true})
	var b event.Batch
	rng := rand.New(rand.NewPCG(1, 2))
	frame := source.Frame{Time: 1_700_000_000e9, Link: source.LinkRaw}
	feed := func(p []byte) {
		frame.Data, frame.WireLen = p, len(p)
		frame.Time += 10_000
		d.Frame(&frame, &b)
	}
	const flood, every = 1_000_000, 100
	one := framed(message(1, true, 1200))
	type genuine struct {
		addr netip.Addr
		seq  uint32
	}
	var open []genuine
	syn := packet4(server4, client4, protoTCP, segmentOf(40000, 53, 1, tcpSYN, nil))
	part := packet4(server4, client4, protoTCP, segmentOf(40000, 53, 1, 0, one[:3]))
	begun, seen := 0, 0
	for i := range flood {
		// Half of the flood sends the start of a message as well.
		seq := rng.Uint32()
		for j, p := range [][]byte{syn, part} {
			binary.BigEndian.PutUint32(p[12:], uint32(i)+0x0a000000)
			binary.BigEndian.PutUint32(p[24:], seq+uint32(j))
			if feed(p); i%2 == 0 {
				break
			}
		}
		if i%every == 0 {
			g := genuine{netip.AddrFrom4([4]byte{198, 51, byte(i >> 16), byte(i / every)}), rng.Uint32()}
			begun++
			feed(packet4(server4, g.addr, protoTCP, segmentOf(53, 50000, g.seq, tcpSYN, nil)))
			feed(packet4(server4, g.addr, protoTCP, segmentOf(53, 50000, g.seq+1, 0, one[:500])))
			open = append(open, g)
		}
		if len(open) == 20 { // the second half comes some 2,000 connections later
			for _, g := range open {
				feed(packet4(server4, g.addr, protoTCP, segmentOf(53, 50000, g.seq+501, tcpFIN, one[500:])))
			}
			open = open[:0]
			d.Tick(b.Now)
			seen += len(b.Events)
			b.Reset()
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	added := int(after.HeapAlloc-before.HeapAlloc) >> 20
	t.Logf("%d connections: %d MiB, heap from %d to %d MiB, %d of %d answers; %v", flood, added,
		before.HeapSys>>20, after.HeapSys>>20, seen, begun, d.Stats())
	if added > 40 {
		t.Errorf("%d MiB more, want at most 40", added)
	}
	if 100*seen < 99*begun {
		t.Errorf("%d of %d answers were seen", seen, begun)
	}
	runtime.KeepAlive(d)
}

// Messages that many streams began take nothing that other streams need to put
// their segments in order, then or later.
func TestMemoryIsShared(t *testing.T) {
	k := newBench(t, Options{Messages: true, StreamBytes: minStreamBytes})
	half := framed(message(1, true, 2000))[:1000]
	for i := range 20_000 {
		from := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		k.raw(packet4(from, client4, protoTCP, segmentOf(53, 40000, 9, tcpSYN, nil)),
			packet4(from, client4, protoTCP, segmentOf(53, 40000, 10, 0, half)))
	}
	k.batch.Reset()
	who := &event.Identity{TGID: 7}
	one := framed(message(1, true, 600))
	for range 3 {
		k.raw(answer(9, tcpSYN, nil))
		for _, part := range [][2]int{{400, len(one)}, {0, 100}, {100, 400}} {
			p := answer(10+uint32(part[0]), 0, one[part[0]:part[1]])
			k.Frame(&source.Frame{Time: k.now, Data: p, WireLen: len(p), Link: source.LinkRaw, Sender: who}, &k.batch)
		}
		k.raw(answer(10+uint32(len(one)), tcpFIN, nil))
	}
	k.want(1, 1, 1)
	for i := range k.batch.Events {
		if s := k.batch.Events[i].Sender; s == nil || s.TGID != 7 {
			t.Errorf("message %d: sender %+v", i, s)
		}
	}
	if k.Stats().TCPMemory != 0 {
		t.Error(k.Stats())
	}
}

// Where there is no memory for what comes too early, it is read at once, and
// what is missing before it is given up.
func TestNoMemoryToWait(t *testing.T) {
	k := newBench(t, onlyMessages)
	k.streams.octets.forSpans.max = 0
	one := pipeline(1, 0)
	k.raw(answer(9, tcpSYN, nil), answer(50, 0, one), answer(50+uint32(len(one)), 0, one))
	k.want(1, 1)
	counters(t, k.Stats(), map[string]uint64{"tcp_out_of_order": 1, "tcp_memory": 1, "tcp_gap": 1, "tcp_resync": 1})
	k.empty()
}

// The table against a map.
func TestIndex(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	x, b, model := index{}, budget{max: 1 << 20}, map[uint64]uint32{}
	for i := range 200_000 {
		// Few different homes, so that runs are long and wrap around.
		h := uint64(rng.IntN(300))*0x1_0000_0001 + uint64(rng.IntN(3))<<60
		slot, ok := model[h]
		if got := x.find(h); got != slot {
			t.Fatalf("step %d: slot %d, want %d", i, got, slot)
		}
		if ok {
			x.remove(h)
			delete(model, h)
		} else if len(model) < 400 {
			x.add(h, uint32(i+1), &b)
			model[h] = uint32(i + 1)
		}
		if x.n != len(model) {
			t.Fatal(x.n, len(model))
		}
	}
}

// Spans hold what came first, whatever the order.
func TestSpans(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		o := octets{forBlocks: budget{max: 1 << 20}, forSpans: budget{max: 1 << 20}}
		var head uint32
		base := rng.Uint32()
		model := make([]int, 2000)
		for range 30 {
			at, n := rng.IntN(1000), 1+rng.IntN(700)
			p := make([]byte, n)
			for i := range p {
				p[i] = byte(rng.IntN(256))
			}
			added, conflict := 0, false
			for i, c := range p {
				if m := &model[at+i]; *m == 0 {
					*m, added = int(c)+1, added+1
				} else if *m != int(c)+1 {
					conflict = true
				}
			}
			if r := o.insert(&head, base+uint32(at), p, 0); r.added != added || r.conflict != conflict || r.full {
				t.Fatalf("%+v, want %d added, conflict %v", r, added, conflict)
			}
		}
		got := make([]int, len(model))
		for head != 0 {
			s := o.pop(&head)
			for i, c := range o.appendTo(nil, &s.run) {
				got[s.off-base+uint32(i)] = int(c) + 1
			}
			o.release(&s.run)
		}
		if !slices.Equal(got, model) {
			t.Fatal("other octets came out")
		}
		if used(&o.blocks)+used(&o.spans) != 0 {
			t.Fatal("blocks leak")
		}
	}
}
