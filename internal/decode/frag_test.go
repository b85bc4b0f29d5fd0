package decode

import (
	"math/rand/v2"
	"testing"
)

func TestFragments(t *testing.T) {
	type counts = map[string]uint64
	p4 := packet4(server4, client4, protoUDP, datagramOf(53, 40000, message(1, true, 1500)))
	p6 := packet6(server6, client6, protoUDP, datagramOf(53, 40000, message(1, true, 1500)))
	n := len(p4) - 20
	other := packet4(server4, client4, protoUDP, datagramOf(53, 40000, message(2, true, 1500)))
	elsewhere := packet4(client4, server4, protoUDP, datagramOf(53, 40000, message(3, true, 1500)))
	web := packet4(server4, client4, protoUDP, datagramOf(443, 40000, make([]byte, 900)))
	decoy := packet4(server4, client4, protoUDP, datagramOf(443, 40000, make([]byte, 1500)))
	tcp := packet4(server4, client4, protoTCP, segmentOf(53, 40000, 1, 0, framed(message(4, true, 900))))
	options := packet6(server6, client6, protoDestOpts, join(protoUDP, 0, 1, 4, 0, 0, 0, 0, datagramOf(53, 40000, message(5, true, 900))))
	atomic := packet6(server6, client6, protoFragment, join(protoUDP, 0, 0, 0, 0, 0, 0, 9, datagramOf(53, 40000, message(6, true, 0))))
	tunnel := packet4(client4, server4, protoIPv4, fragment4(p4, 9, 0, 800))
	for _, test := range []struct {
		name    string
		packets [][]byte
		ids     []int
		want    counts
	}{
		{"in order", [][]byte{fragment4(p4, 1, 0, 800), fragment4(p4, 1, 800, 800)}, []int{1}, nil},
		{"reversed", [][]byte{fragment4(p4, 1, 1200, 800), fragment4(p4, 1, 600, 600), fragment4(p4, 1, 0, 600)}, []int{1}, nil},
		{"repeated", [][]byte{fragment4(p4, 1, 0, 800), fragment4(p4, 1, 0, 800), fragment4(p4, 1, 800, 800)}, []int{1}, nil},
		{"overlap", [][]byte{fragment4(p4, 1, 0, 800), fragment4(other, 1, 0, 808), fragment4(p4, 1, 800, 800)}, []int{1},
			counts{"ip_frag_overlap": 2}},
		{"another first part", [][]byte{fragment4(p4, 1, 0, 800), fragment4(decoy, 1, 0, 800), fragment4(p4, 1, 800, 800)}, []int{1},
			counts{"ip_frag_overlap": 1}},
		{"another first part, first", [][]byte{fragment4(decoy, 1, 0, 800), fragment4(p4, 1, 0, 800), fragment4(p4, 1, 800, 800)}, []int{1}, nil},
		{"two ends", [][]byte{fragment4(p4, 1, 800, 800), fragment4(p4[:1000], 1, 800, 800), fragment4(p4, 1, 0, 800)}, []int{1},
			counts{"ip_frag_overlap": 1}},
		{"behind the end", [][]byte{fragment4(p4[:820], 1, 400, 800), fragment4(p4, 1, 800, 800), fragment4(p4, 1, 0, 400)}, []int{1},
			counts{"ip_frag_overlap": 1, "udp_len": 1}},
		{"ids", [][]byte{fragment4(p4, 1, 0, 800), fragment4(other, 2, 0, 800), fragment4(other, 2, 800, 800), fragment4(p4, 1, 800, 800)}, []int{2, 1}, nil},
		{"hosts", [][]byte{fragment4(p4, 1, 0, 800), fragment4(elsewhere, 1, 0, 800), fragment4(elsewhere, 1, 800, 800), fragment4(p4, 1, 800, 800)}, []int{3, 1}, nil},
		{"first alone", [][]byte{fragment4(p4, 1, 0, 800)}, nil, counts{"ip_frag_timeout": 1}},
		{"odd length", [][]byte{fragment4(p4, 1, 0, 801)}, nil, counts{"ip_frag_len": 1}},
		{"another protocol", [][]byte{fragment4(web, 1, 0, 800), fragment4(web, 1, 800, 800)}, nil, nil},
		{"TCP", [][]byte{fragment4(tcp, 1, 0, 400), fragment4(tcp, 1, 400, 800)}, []int{4}, counts{"tcp_midstream": 1, "tcp_resync": 1}},
		{"IPv6", [][]byte{fragment6(p6, 1, 0, 800), fragment6(p6, 1, 800, 800)}, []int{1}, nil},
		{"IPv6, reversed", [][]byte{fragment6(p6, 1, 800, 800), fragment6(p6, 1, 0, 800)}, []int{1}, nil},
		{"IPv6, repeated", [][]byte{fragment6(p6, 1, 0, 800), fragment6(p6, 1, 0, 800), fragment6(p6, 1, 800, 800)}, []int{1}, nil},
		{"IPv6, overlap", [][]byte{fragment6(p6, 1, 0, 800), fragment6(p6, 1, 792, 16), fragment6(p6, 1, 800, 800)}, nil,
			counts{"ip_frag_overlap": 1}},
		{"IPv6, options in the fragments", [][]byte{fragment6(options, 1, 0, 400), fragment6(options, 1, 400, 800)}, []int{5}, nil},
		{"IPv6, atomic", [][]byte{atomic}, []int{6}, nil},
		{"in a tunnel", [][]byte{tunnel, packet4(client4, server4, protoIPv4, fragment4(p4, 9, 800, 800))}, []int{1}, nil},
		{"of a tunnel, in a tunnel", [][]byte{fragment4(tunnel, 3, 0, 400), fragment4(tunnel, 3, 400, 800),
			packet4(client4, server4, protoIPv4, fragment4(p4, 9, 800, 800))}, []int{1}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			k := newBench(t, onlyMessages)
			k.raw(test.packets...)
			k.Flush(&k.batch)
			k.want(test.ids...)
			counters(t, k.Stats(), test.want)
			k.empty()
			for i := range k.batch.Events {
				if e := &k.batch.Events[i]; e.Msg.ID == 1 && test.want["udp_len"] == 0 {
					want := uint32(20 + n)
					if e.Meta.SrcIP.Is6() {
						want += 20
					}
					if e.Meta.PacketLen != want || e.Msg.Broken != 0 {
						t.Errorf("packet of %d octets, want %d", e.Meta.PacketLen, want)
					}
				}
			}
		})
	}
}

// Memory is bounded; the newest datagrams survive a flood.
func TestFragmentFlood(t *testing.T) {
	k := newBench(t, Options{Messages: true, FragmentBytes: 1 << 20})
	p := packet4(server4, client4, protoUDP, datagramOf(53, 40000, message(1, true, 1500)))
	for i := range 20_000 {
		k.raw(fragment4(p, i, 0, 800))
		if i%100 == 0 {
			k.raw(fragment4(p, i, 800, 800))
		}
	}
	f := &k.frags
	if bytes := f.budget.used + f.octets.forBlocks.used + f.octets.forSpans.used; bytes > 1<<20 {
		t.Errorf("%d octets", bytes)
	}
	if s := k.Stats(); s.FragReassembled != 200 || s.FragEvicted < 15_000 {
		t.Error(s)
	}
}

// Nothing is refused that comes in pieces of eight octets, up to 512 of them.
func TestFragmentCount(t *testing.T) {
	for pad, ids := range map[int][]int{3900: {1}, 4200: nil} {
		p := packet4(server4, client4, protoUDP, datagramOf(53, 40000, message(1, true, pad)))
		k := newBench(t, onlyMessages)
		for _, i := range rand.New(rand.NewPCG(1, 2)).Perm((len(p) - 20 + 7) / 8) {
			k.raw(fragment4(p, 1, 8*i, 8))
		}
		k.want(ids...)
		if s := k.Stats(); s.FragTooBig != uint64(1-len(ids)) {
			t.Error(s)
		}
	}
}
