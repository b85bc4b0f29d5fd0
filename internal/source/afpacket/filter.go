//go:build linux

package afpacket

import (
	"fmt"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const (
	whole = 1 << 20 // octets that the kernel copies at most: all
	head  = 128     // of packets that are not DNS
)

// nothing is the filter of a socket that must not take packets yet.
func nothing() []bpf.Instruction { return []bpf.Instruction{bpf.RetConstant{}} }

// filter returns the program by which the kernel chooses what it copies: UDP and
// TCP packets with one of the ports (of any, if there are none), and the fragments
// that have no ports but may belong to such a packet.
func filter(ports []uint16, cooked, all bool) []bpf.Instruction {
	return append(once(cooked), choose(ports, cooked, all)...)
}

// once drops what a packet socket gets but must not show: the packets that leave
// through a loopback interface, as they come in by the same at once
// (loopback_xmit in drivers/net/loopback.c).
func once(cooked bool) []bpf.Instruction {
	p := assembler{}
	p.add(bpf.LoadExtension{Num: bpf.ExtType})
	p.jump(bpf.JumpNotEqual, unix.PACKET_OUTGOING, "seen once")
	p.add(bpf.LoadExtension{Num: bpf.ExtLinkLayerType})
	p.jump(bpf.JumpNotEqual, unix.ARPHRD_LOOPBACK, "seen once")
	p.add(bpf.RetConstant{})
	p.label("seen once")
	if cooked {
		// Below an inner VLAN tag the data would not start with IP.
		p.add(bpf.LoadExtension{Num: bpf.ExtProto})
		p.jump(bpf.JumpEqual, unix.ETH_P_IP, "ip")
		p.jump(bpf.JumpEqual, unix.ETH_P_IPV6, "ip")
		p.add(bpf.RetConstant{})
		p.label("ip")
	}
	return p.assemble()
}

// Offsets in headers.
const (
	etherType   = 12
	etherHeader = 14
	vlanTag     = 4

	ip4Fragment = 6
	ip4Protocol = 9

	ip6Next     = 6
	ip6Header   = 40
	ip6Fragment = 44 // next header value
)

// choose is the part that a machine other than the kernel's can run. X is where
// the header under inspection starts; scratch 0 holds the protocol behind it.
func choose(ports []uint16, cooked, all bool) []bpf.Instruction {
	p := assembler{}
	if cooked {
		p.add(bpf.LoadConstant{Dst: bpf.RegX})
		p.add(bpf.LoadAbsolute{Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4})
		p.jump(bpf.JumpEqual, 4, "ip4")
		p.jump(bpf.JumpEqual, 6, "ip6")
	} else {
		// The kernel takes one tag out of what it receives, but not always out
		// of what it sends, and leaves inner tags.
		for tags := range uint32(3) {
			after := fmt.Sprint("tag ", tags)
			p.add(bpf.LoadConstant{Dst: bpf.RegX, Val: etherHeader + tags*vlanTag})
			p.add(bpf.LoadAbsolute{Off: etherType + tags*vlanTag, Size: 2})
			p.jump(bpf.JumpEqual, unix.ETH_P_IP, "ip4")
			p.jump(bpf.JumpEqual, unix.ETH_P_IPV6, "ip6")
			for _, tag := range []uint32{unix.ETH_P_8021Q, unix.ETH_P_8021AD, unix.ETH_P_QINQ1} {
				p.jump(bpf.JumpEqual, tag, after)
			}
			p.add(bpf.RetConstant{})
			p.label(after)
		}
	}
	p.add(bpf.RetConstant{})

	p.label("ip4")
	p.add(bpf.LoadIndirect{Off: ip4Protocol, Size: 1}, bpf.StoreScratch{Src: bpf.RegA})
	p.add(bpf.LoadIndirect{Off: ip4Fragment, Size: 2})
	p.jump(bpf.JumpBitsSet, 0x1fff, "fragment")
	p.add(bpf.LoadIndirect{Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0x0f}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 2})
	p.add(bpf.ALUOpX{Op: bpf.ALUOpAdd}, bpf.TAX{})
	p.far("transport")

	// RFC 8200: any number of extension headers may stand before the transport
	// header. Four are skipped; more are nobody's query.
	p.label("ip6")
	p.add(bpf.LoadIndirect{Off: ip6Next, Size: 1}, bpf.StoreScratch{Src: bpf.RegA})
	p.add(bpf.TXA{}, bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: ip6Header}, bpf.TAX{})
	for i := range 4 {
		skip, cut, next := fmt.Sprint("skip ", i), fmt.Sprint("cut ", i), fmt.Sprint("next ", i)
		p.add(bpf.LoadScratch{Dst: bpf.RegA})
		p.jump(bpf.JumpEqual, ip6Fragment, cut)
		for _, option := range []uint32{unix.IPPROTO_HOPOPTS, unix.IPPROTO_ROUTING, unix.IPPROTO_DSTOPTS} {
			p.jump(bpf.JumpEqual, option, skip)
		}
		p.far("transport")

		p.label(cut)
		p.add(bpf.LoadIndirect{Size: 1}, bpf.StoreScratch{Src: bpf.RegA})
		p.add(bpf.LoadIndirect{Off: 2, Size: 2})
		p.jump(bpf.JumpBitsSet, 0xfff8, "fragment")
		p.add(bpf.TXA{}, bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: 8})
		p.far(next)

		p.label(skip)
		p.add(bpf.LoadIndirect{Size: 1}, bpf.StoreScratch{Src: bpf.RegA})
		p.add(bpf.LoadIndirect{Off: 1, Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 3})
		p.add(bpf.ALUOpX{Op: bpf.ALUOpAdd})
		p.label(next)
		p.add(bpf.TAX{})
	}

	p.far("transport")

	p.label("fragment")
	p.add(bpf.LoadScratch{Dst: bpf.RegA})
	for _, protocol := range []uint32{unix.IPPROTO_UDP, unix.IPPROTO_TCP, unix.IPPROTO_DSTOPTS} {
		p.jump(bpf.JumpEqual, protocol, "dns")
	}
	p.far("other")

	p.label("transport")
	p.add(bpf.LoadScratch{Dst: bpf.RegA})
	p.jump(bpf.JumpEqual, unix.IPPROTO_UDP, "ports")
	p.jump(bpf.JumpNotEqual, unix.IPPROTO_TCP, "other")
	p.label("ports")
	if len(ports) == 0 {
		p.far("dns")
	}
	for _, end := range []uint32{0, 2} { // source, destination
		p.add(bpf.LoadIndirect{Off: end, Size: 2})
		for _, port := range ports {
			p.jump(bpf.JumpEqual, uint32(port), "dns")
		}
	}
	p.label("other")
	if all {
		length := uint32(head)
		if !cooked {
			length += etherHeader
		}
		p.add(bpf.RetConstant{Val: length})
	}
	p.add(bpf.RetConstant{})

	p.label("dns")
	p.add(bpf.RetConstant{Val: whole})
	return p.assemble()
}

// spread returns the program that shares packets out to lanes: by both
// addresses, whichever comes first, and nothing else. The kernel's own hash
// (PACKET_FANOUT_HASH) mixes in the ports, but fragments have none, so a long
// answer would reach another lane than its question (in __skb_get_hash_symmetric
// the flow dissector stops at fragments). PACKET_FANOUT_FLAG_DEFRAG mends that
// for IPv4 only, and fills the host's own reassembly buffers.
//
// The program runs before the kernel makes room for the link header, so offsets
// are relative to the network header (SKF_NET_OFF in linux/filter.h).
func spread() []bpf.Instruction {
	const net = 0xfff00000
	p := assembler{}
	p.add(bpf.LoadExtension{Num: bpf.ExtProto})
	p.jump(bpf.JumpEqual, unix.ETH_P_IPV6, "ip6")
	p.jump(bpf.JumpEqual, unix.ETH_P_IP, "ip4")
	p.add(bpf.RetConstant{})

	p.label("ip4")
	p.add(bpf.LoadAbsolute{Off: net + 12, Size: 4}, bpf.TAX{})
	p.add(bpf.LoadAbsolute{Off: net + 16, Size: 4}, bpf.ALUOpX{Op: bpf.ALUOpXor})
	p.far("mix")

	p.label("ip6")
	p.add(bpf.LoadConstant{Dst: bpf.RegX})
	for word := range uint32(8) {
		p.add(bpf.LoadAbsolute{Off: net + 8 + 4*word, Size: 4}, bpf.ALUOpX{Op: bpf.ALUOpXor}, bpf.TAX{})
	}
	p.label("mix")
	// Neighbours differ in low bits only; the golden ratio carries them up.
	p.add(bpf.ALUOpConstant{Op: bpf.ALUOpMul, Val: 0x9e3779b1}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 16})
	p.add(bpf.RetA{})
	return p.assemble()
}
