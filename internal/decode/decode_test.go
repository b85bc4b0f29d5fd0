package decode

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/source"
)

func TestLinkLayers(t *testing.T) {
	ip4, ip6 := answer4(), packet6(server6, client6, protoUDP, datagramOf(53, 40000, message(0x1234, true, 0)))
	snap := join(0xaa, 0xaa, 3, 0, 0, 0)
	for _, test := range []struct {
		name string
		link source.LinkType
		data []byte
	}{
		{"ethernet", source.LinkEthernet, ether(etherIPv4, ip4)},
		{"ethernet, padded", source.LinkEthernet, ether(etherIPv4, join(ip4, make([]byte, 9)))},
		{"ethernet, IPv6", source.LinkEthernet, ether(etherIPv6, ip6)},
		{"802.1Q", source.LinkEthernet, ether(etherVLAN, join(0, 5, u16(etherIPv4), ip4))},
		{"802.1ad", source.LinkEthernet, ether(etherQinQ, join(0, 5, u16(etherVLAN), 0, 6, u16(etherIPv6), ip6))},
		{"MPLS", source.LinkEthernet, ether(etherMPLS, join(0, 1, 0, 64, 0, 2, 1, 64, ip4))},
		{"MPLS pseudowire", source.LinkEthernet, ether(etherMPLS, join(0, 1, 1, 64, 0, 0, 0, 0, ether(etherIPv4, ip4)))},
		{"PPPoE", source.LinkEthernet, ether(etherPPPoE, join(0x11, 0, 0, 1, u16(len(ip4)+2), 0, 0x21, ip4))},
		{"PPPoE, IPv6", source.LinkEthernet, ether(etherPPPoE, join(0x11, 0, 0, 1, u16(len(ip6)+2), 0, 0x57, ip6))},
		{"802.3 SNAP", source.LinkEthernet, ether(len(ip4)+8, join(snap, u16(etherIPv4), ip4))},
		{"802.2 IP SAP", source.LinkEthernet, ether(len(ip4)+3, join(6, 6, 3, ip4))},
		{"FDDI", source.LinkFDDI, join(make([]byte, 13), snap, u16(etherIPv4), ip4)},
		{"802.11", source.LinkWiFi, join(8, 1, make([]byte, 22), snap, u16(etherIPv4), ip4)},
		{"802.11 QoS, four addresses", source.LinkWiFi, join(0x88, 3, make([]byte, 30), snap, u16(etherIPv4), ip4)},
		{"radiotap", source.LinkRadiotap, join(0, 0, 9, 0, make([]byte, 5), 8, 1, make([]byte, 22), snap, u16(etherIPv4), ip4)},
		{"PPP, HDLC", source.LinkPPP, join(0xff, 3, 0, 0x21, ip4)},
		{"PPP, compressed protocol", source.LinkPPP, join(0x21, ip4)},
		{"PPP, IPv6", source.LinkPPP, join(0, 0x57, ip6)},
		{"SLL", source.LinkSLL, join(make([]byte, 14), u16(etherIPv4), ip4)},
		{"802.1Q in LLC in 802.1Q", source.LinkEthernet, ether(etherVLAN, join(0, 5, u16(60), snap, u16(etherVLAN), 0, 6, u16(etherIPv4), ip4))},
		{"SLL, VLAN", source.LinkSLL, join(make([]byte, 14), u16(etherVLAN), 0, 7, u16(etherIPv4), ip4)},
		{"SLL2", source.LinkSLL2, join(u16(etherIPv6), make([]byte, 18), ip6)},
		{"NULL, little endian", source.LinkNull, join(2, 0, 0, 0, ip4)},
		{"NULL, big endian", source.LinkNull, join(0, 0, 0, 2, ip4)},
		{"NULL, Linux", source.LinkNull, join(10, 0, 0, 0, ip6)},
		{"NULL, NetBSD", source.LinkNull, join(24, 0, 0, 0, ip6)},
		{"NULL, FreeBSD", source.LinkNull, join(28, 0, 0, 0, ip6)},
		{"LOOP, macOS", source.LinkLoop, join(0, 0, 0, 30, ip6)},
		{"raw 4", source.LinkRaw, ip4},
		{"raw 6", source.LinkRaw, ip6},
		{"IPv4", source.LinkIPv4, ip4},
		{"IPv6", source.LinkIPv6, ip6},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := New(onlyMessages)
			var b event.Batch
			frame := &source.Frame{Time: 5, Data: test.data, WireLen: len(test.data), Link: test.link, Iface: "if0"}
			d.Frame(frame, &b)
			if len(b.Events) != 1 || b.Events[0].Msg.Broken != 0 || b.Events[0].Msg.Trailing != 0 {
				t.Fatalf("%d events: %v", len(b.Events), d.Stats())
			}
			e := &b.Events[0]
			want := event.PktMeta{
				SrcIP: server4, DstIP: client4, SrcPort: 53, DstPort: 40000, Protocol: 17,
				PacketLen: uint32(len(ip4)), Iface: "if0",
			}
			if e.Meta.SrcIP.Is6() {
				want.SrcIP, want.DstIP, want.PacketLen = server6, client6, uint32(len(ip6))
			}
			if e.Meta != want || e.Time != 5 || b.Now != 5 {
				t.Errorf("%+v at %d", e.Meta, e.Time)
			}
			// Whatever is missing at the end, nothing breaks.
			for n := range test.data {
				b.Reset()
				d.Frame(&source.Frame{Data: test.data[:n:n], WireLen: len(test.data), Link: test.link}, &b)
				if len(b.Events) == 1 && b.Events[0].Msg.Broken == 0 && n < len(test.data)-9 {
					t.Errorf("whole of %d of %d octets", n, len(test.data))
				}
			}
		})
	}
}

// What the snaplen cut off is told apart from what a header claims only.
func TestSnaplen(t *testing.T) {
	m := message(1, true, 300)
	p := packet4(server4, client4, protoUDP, datagramOf(53, 40000, m))
	for _, test := range []struct{ claimed, missing int }{{len(m), 100}, {len(m) + 50, 100}, {len(m) - 150, 0}} {
		binary.BigEndian.PutUint16(p[24:], uint16(udpHeader+test.claimed))
		d, b := New(onlyMessages), event.Batch{}
		d.Frame(&source.Frame{Data: p[:len(p)-100], WireLen: len(p), Link: source.LinkRaw}, &b)
		if len(b.Events) != 1 || b.Events[0].Missing != test.missing {
			t.Errorf("%d events, %d octets missing, want %d", len(b.Events), b.Events[0].Missing, test.missing)
		}
	}
}

// Tags that LLC headers keep apart are not counted anew: a frame of tags would be
// a call for each.
func TestTagsInLLC(t *testing.T) {
	nested := func(n int) *Decoder {
		data := join(make([]byte, 12))
		for range n {
			data = join(data, u16(etherVLAN), 0, 5, u16(60), 0xaa, 0xaa, 3, 0, 0, 0)
		}
		d, b := New(onlyMessages), event.Batch{}
		data = join(data, u16(etherIPv4), answer4())
		d.Frame(&source.Frame{Data: data, WireLen: len(data), Link: source.LinkEthernet}, &b)
		return d
	}
	counters(t, nested(maxTags).Stats(), map[string]uint64{"messages": 1, "vlan_depth": 1})
	counters(t, nested(maxTags+1).Stats(), map[string]uint64{"messages": 0, "vlan_depth": 1, "link_short": 1})
}

func TestTunnels(t *testing.T) {
	inner := answer4()
	a, b := netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("203.0.113.2")
	frame := ether(etherIPv4, inner)
	udp := func(port int, payload []byte) []byte {
		return packet4(a, b, protoUDP, datagramOf(50000, port, payload))
	}
	gre := func(parts ...any) []byte { return packet4(a, b, protoGRE, join(parts...)) }
	vxlan := func(frame []byte) []byte { return udp(portVXLAN, join(8, 0, 0, 0, 0, 0, 9, 0, frame)) }
	four := inner
	for range 4 {
		four = packet4(a, b, protoIPv4, four)
	}
	for _, test := range []struct {
		name string
		data []byte
		want map[string]uint64
	}{
		{"IP in IP", packet4(a, b, protoIPv4, inner), nil},
		{"IPv4 in IPv6", packet6(client6, server6, protoIPv4, inner), nil},
		{"VXLAN", vxlan(frame), nil},
		{"VXLAN, old port", udp(portVXLANOld, join(8, 0, 0, 0, 0, 0, 9, 0, frame)), nil},
		{"Geneve, options", udp(portGeneve, join(2, 0, u16(etherBridge), 0, 0, 9, 0, make([]byte, 8), frame)), nil},
		{"Geneve, IP", udp(portGeneve, join(0, 0, u16(etherIPv4), 0, 0, 9, 0, inner)), nil},
		{"GTP-U", udp(portGTPU, join(0x30, 255, u16(len(inner)), 0, 0, 0, 1, inner)), nil},
		{"GTP-U, extension", udp(portGTPU, join(0x34, 255, u16(len(inner)+8), 0, 0, 0, 1, 0, 0, 0, 0x85, 1, 0, 0, 0, inner)), nil},
		{"GRE", gre(0, 0, u16(etherIPv4), inner), nil},
		{"GRE, all fields", gre(0xb0, 0, u16(etherIPv4), make([]byte, 12), inner), nil},
		{"GRE, bridged", gre(0, 0, u16(etherBridge), frame), nil},
		{"GRE, PPTP", gre(0x30, 0x81, u16(etherPPP), make([]byte, 12), 0xff, 3, 0, 0x21, inner), nil},
		{"GRE in UDP", udp(portGREUDP, join(0, 0, u16(etherIPv4), inner)), nil},
		{"ERSPAN I", gre(0, 0, u16(0x88be), frame), nil},
		{"ERSPAN II", gre(0x10, 0, u16(0x88be), make([]byte, 12), frame), nil},
		{"ERSPAN III", gre(0x10, 0, u16(0x22eb), make([]byte, 16), frame), nil},
		{"ERSPAN III, subheader", gre(0x10, 0, u16(0x22eb), make([]byte, 4), make([]byte, 11), 1, make([]byte, 8), frame), nil},
		{"four deep", four, nil},
		{"five deep", packet4(a, b, protoIPv4, four), map[string]uint64{"tunnel_depth": 1}},
		{"a client on VXLAN's port", packet4(server4, client4, protoUDP, datagramOf(53, portVXLAN, message(0x1234, true, 0))), nil},
		{"AH", packet4(server4, client4, protoAH, join(protoUDP, 4, make([]byte, 22), inner[20:])), nil},
		{"IPv6 with options", packet6(server6, client6, 0, join(43, 0, make([]byte, 6), 60, 0, make([]byte, 6), 17, 1, make([]byte, 14), inner[20:])), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			k := newBench(t, onlyMessages)
			k.raw(test.data)
			if test.want == nil {
				k.want(0x1234)
			} else {
				k.want()
			}
			counters(t, k.Stats(), test.want)
		})
	}
}

// A packet that passes wrapped and bare is one packet; a repetition is not.
func TestTunnelDuplicate(t *testing.T) {
	bare := answer4()
	wrapped := packet4(client4, server4, protoIPv4, bare)
	k := newBench(t, onlyMessages)
	k.raw(wrapped, bare, wrapped, bare)
	k.want(0x1234, 0x1234)
	k.now += 1e9
	k.raw(bare)
	k.want(0x1234, 0x1234, 0x1234)
	counters(t, k.Stats(), map[string]uint64{"tunnel_duplicate": 2})
}

// The observer is an end only where packets are seen at a socket.
func TestObserver(t *testing.T) {
	query := packet4(client4, server4, protoUDP, datagramOf(40000, 53, message(1, false, 0)))
	for _, test := range []struct {
		data   []byte
		dir    source.Direction
		cookie uint64
		want   event.Observer
	}{
		{query, source.DirEgress, 1, event.Client},
		{query, source.DirIngress, 1, event.Server},
		{answer4(), source.DirIngress, 1, event.Client},
		{answer4(), source.DirEgress, 1, event.Server},
		{answer4(), source.DirIngress, 0, event.Passive},
		{query, source.DirUnknown, 0, event.Passive},
	} {
		var b event.Batch
		who := &event.Identity{TGID: 7}
		New(onlyMessages).Frame(&source.Frame{
			Data: test.data, WireLen: len(test.data), Link: source.LinkRaw, Dir: test.dir, Cookie: test.cookie, Sender: who,
		}, &b)
		e := &b.Events[0]
		if e.Observer != test.want || e.Sender != who || e.Flow.Cookie != test.cookie ||
			e.Flow.Ingress != (test.dir == source.DirIngress) || e.Flow.Egress != (test.dir == source.DirEgress) {
			t.Errorf("%+v: %v %+v", test, e.Observer, e.Flow)
		}
	}
}

func TestPackets(t *testing.T) {
	k := newBench(t, Options{Packets: true})
	p := packet4(client4, server4, protoTCP, segmentOf(40000, 443, 77, tcpSYN, nil))
	p[1], p[6], p[10], p[11] = 0x10, 0x40, 0xbc, 0x99
	p[20+12] |= 1                   // AE
	p[20+18], p[20+19] = 0x01, 0x02 // urgent pointer
	k.raw(p, packet6(server6, client6, protoUDP, datagramOf(53, 40000, nil)), fragment4(answer4(), 9, 16, 8))
	if len(k.batch.Events) != 3 {
		t.Fatal(k.Stats())
	}
	want := event.Packet{Version: 4, HeaderLen: 20, TOS: 0x10, TTL: 64, ID: 7, DontFrag: true, TCPSeq: 77, TCPWindow: 65535, TCPFlags: 0x100 | tcpSYN,
		IPChecksum: 0xbc99, TCPOffset: 5, TCPUrgent: 0x0102}
	// As another reader has it.
	theirs := gopacket.NewPacket(p, layers.LayerTypeIPv4, gopacket.Default)
	ip, tcp := theirs.Layer(layers.LayerTypeIPv4).(*layers.IPv4), theirs.Layer(layers.LayerTypeTCP).(*layers.TCP)
	if ip.Checksum != want.IPChecksum || tcp.DataOffset != want.TCPOffset || tcp.Urgent != want.TCPUrgent || !tcp.NS || !tcp.SYN || tcp.CWR || tcp.Seq != want.TCPSeq {
		t.Errorf("%+v %+v", ip, tcp)
	}
	if e := &k.batch.Events[0]; e.Class != event.ClassPacket || e.Packet != want || e.Meta.DstPort != 443 || e.Meta.PacketLen != 40 {
		t.Errorf("%+v %+v", e.Packet, e.Meta)
	}
	want = event.Packet{Version: 6, HeaderLen: 40, TTL: 64, UDPLen: 8}
	if e := &k.batch.Events[1]; e.Packet != want || e.Meta.SrcPort != 53 || e.Meta.PacketLen != 48 {
		t.Errorf("%+v %+v", e.Packet, e.Meta)
	}
	want = event.Packet{Version: 4, HeaderLen: 20, TTL: 64, ID: 9, FragOffset: 16, MoreFrags: true}
	if e := &k.batch.Events[2]; e.Packet != want || e.Meta.SrcPort != 0 {
		t.Errorf("%+v %+v", e.Packet, e.Meta)
	}
}

func TestPorts(t *testing.T) {
	k := newBench(t, Options{Messages: true, Ports: []uint16{5353, 65535}})
	k.raw(answer4(), packet4(client4, server4, protoUDP, datagramOf(5353, 9, message(1, false, 0))),
		packet4(client4, server4, protoUDP, datagramOf(9, 65535, message(2, false, 0))))
	k.want(1, 2)
}

// With AnyPort messages of any port are found, and random datagrams nearly never
// taken for one.
func TestAnyPort(t *testing.T) {
	k := newBench(t, Options{Messages: true, AnyPort: true})
	one := framed(message(2, true, 50))
	k.raw(packet4(server4, client4, protoUDP, datagramOf(5301, 40000, message(1, true, 0))))
	for _, s := range [][]byte{
		segmentOf(5301, 40000, 1, tcpSYN, nil), segmentOf(5301, 40000, 2, 0, one[:20]), segmentOf(5301, 40000, 22, 0, one[20:]),
		segmentOf(5302, 40000, 1, tcpSYN, nil), segmentOf(5302, 40000, 2, 0, []byte("HTTP/1.1 200 OK\r\n\r\n")),
	} {
		k.raw(packet4(server4, client4, protoTCP, s))
	}
	k.want(1, 2)
	if k.streams.index.n != 1 {
		t.Errorf("%d streams", k.streams.index.n)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	const tries = 1_000_000
	hits := 0
	var b [520]byte
	for range tries {
		n := 12 + rng.IntN(500)
		for i := 0; i < n; i += 8 {
			binary.LittleEndian.PutUint64(b[i:], rng.Uint64())
		}
		if recognised(b[:n]) {
			hits++
		}
	}
	if hits >= tries/100_000 {
		t.Errorf("%d of %d random datagrams are taken for DNS", hits, tries)
	}
}

// With Copy, events outlive the frames.
func TestCopy(t *testing.T) {
	var b event.Batch
	p, who := answer4(), &event.Identity{TGID: 7}
	New(Options{Messages: true, Packets: true, Copy: true}).Frame(
		&source.Frame{Data: p, WireLen: len(p), Link: source.LinkRaw, Sender: who}, &b)
	clear(p)
	*who = event.Identity{}
	for i := range b.Events {
		e := &b.Events[i]
		if e.Sender.TGID != 7 || e.Class == event.ClassMessage && e.Msg.Raw[0] != 0x12 {
			t.Errorf("%+v %x", e.Sender, e.Msg.Raw)
		}
	}
}

// Lengths of segmentation offload packets, which the headers cannot hold.
func TestOffloadLength(t *testing.T) {
	p := answer4()
	p[2], p[3] = 0, 0
	q := packet6(server6, client6, protoUDP, p[20:])
	q[4], q[5] = 0, 0
	k := newBench(t, onlyMessages)
	k.raw(p, q)
	k.want(0x1234, 0x1234)
	if got := k.batch.Events[0].Meta.PacketLen; got != uint32(len(p)) {
		t.Error(got)
	}
	if got := k.batch.Events[1].Meta.PacketLen; got != uint32(len(q)) {
		t.Error(got)
	}
}

func TestShortMessage(t *testing.T) {
	k := newBench(t, onlyMessages)
	k.raw(packet4(client4, server4, protoUDP, datagramOf(9, 53, make([]byte, 11))))
	k.want()
	counters(t, k.Stats(), map[string]uint64{"short_header": 1})
}

// A packet with a time of the future does not end what waits; two that agree do.
func TestClock(t *testing.T) {
	k := newBench(t, onlyMessages)
	p := packet4(server4, client4, protoUDP, datagramOf(53, 40000, message(1, true, 900)))
	k.raw(fragment4(p, 1, 0, 480))
	odd := &source.Frame{Time: 4_294_967_295e9, Data: answer4(), WireLen: len(answer4()), Link: source.LinkRaw}
	k.Frame(odd, &k.batch)
	k.Tick(k.batch.Now)
	k.raw(fragment4(p, 1, 480, 480))
	k.want(0x1234, 1)
	k.raw(fragment4(p, 2, 0, 480))
	k.Frame(odd, &k.batch)
	k.Frame(odd, &k.batch)
	k.Tick(k.batch.Now)
	if s := k.Stats(); s.FragTimeout != 1 {
		t.Error(s)
	}
}

func TestStatsNames(t *testing.T) {
	var s Stats
	s.Frames, s.NotDNS = 3, 1
	s.Broken[3] = 2
	if got := s.String(); !strings.HasPrefix(got, "3 frames, 1 not_dns; broken: 2 ") {
		t.Error(got)
	}
	var names []string
	s.Each(func(name string, _ uint64) { names = append(names, name) })
	slices.Sort(names)
	if len(slices.Compact(names)) != len(statNames) {
		t.Error("a name stands twice")
	}
}
