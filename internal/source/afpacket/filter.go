package afpacket

import "golang.org/x/net/bpf"

// Numbers of the IANA and IEEE registries, and of linux/if_packet.h.
const (
	etherIPv4       = 0x0800
	etherIPv6       = 0x86dd
	etherVLAN       = 0x8100
	etherQinQ       = 0x88a8
	protoTCP        = 6
	protoUDP        = 17
	protoHopByHop   = 0
	protoRouting    = 43
	protoFragment   = 44
	protoDstOptions = 60

	loopbackIndex  = 1 // in every network namespace
	packetOutgoing = 4

	acceptAll = 1 << 18
)

// asm gathers instructions. Jumps go forward to labels, which are known at the
// end.
type asm struct {
	code   []bpf.Instruction
	labels map[string]int
	jumps  []jump
}

type jump struct {
	at        int
	cond      bpf.JumpTest
	value     uint32
	then, els string // "" is the next instruction
}

func (a *asm) do(code ...bpf.Instruction) { a.code = append(a.code, code...) }

func (a *asm) label(name string) { a.labels[name] = len(a.code) }

func (a *asm) jump(cond bpf.JumpTest, value uint32, then, els string) {
	a.jumps = append(a.jumps, jump{len(a.code), cond, value, then, els})
	a.code = append(a.code, nil)
}

// resolve returns the instructions with every jump's distance filled in.
func (a *asm) resolve() []bpf.Instruction {
	distance := func(at int, label string) uint8 {
		if label == "" {
			return 0
		}
		return uint8(a.labels[label] - at - 1)
	}
	for _, j := range a.jumps {
		a.code[j.at] = bpf.JumpIf{Cond: j.cond, Val: j.value, SkipTrue: distance(j.at, j.then), SkipFalse: distance(j.at, j.els)}
	}
	return a.code
}

// filter returns the kernel's filter: packets with one of the ports, and those
// whose ports cannot be seen (later fragments, extension headers), which the
// decoder tells apart. Frames begin with an Ethernet header, or, when cooked,
// with the network layer. No ports means every IP packet.
//
// The loopback interface shows each packet twice, going out and coming in; the
// first is left out.
func filter(cooked bool, ports []uint16) ([]bpf.RawInstruction, error) {
	a := &asm{labels: map[string]int{}}
	a.do(bpf.LoadExtension{Num: bpf.ExtType})
	a.jump(bpf.JumpEqual, packetOutgoing, "", "wanted")
	a.do(bpf.LoadExtension{Num: bpf.ExtInterfaceIndex})
	a.jump(bpf.JumpEqual, loopbackIndex, "drop", "wanted")
	a.label("wanted")
	a.rules(cooked, ports)
	return bpf.Assemble(a.resolve())
}

// rules is the filter without regard to the interface.
func (a *asm) rules(cooked bool, ports []uint16) {
	// X is where the network layer begins.
	if cooked {
		a.do(bpf.LoadConstant{Dst: bpf.RegX, Val: 0}, bpf.LoadExtension{Num: bpf.ExtProto})
	} else {
		a.do(bpf.LoadConstant{Dst: bpf.RegX, Val: 14}, bpf.LoadAbsolute{Off: 12, Size: 2})
	}
	a.jump(bpf.JumpEqual, etherIPv4, "ipv4", "")
	a.jump(bpf.JumpEqual, etherIPv6, "ipv6", "")
	// Up to two tags that the kernel left in the frame.
	for _, last := range []bool{false, true} {
		a.jump(bpf.JumpEqual, etherVLAN, "tag"+name(last), "")
		a.jump(bpf.JumpEqual, etherQinQ, "tag"+name(last), "drop")
		a.label("tag" + name(last))
		a.do(bpf.LoadIndirect{Off: 2, Size: 2}, bpf.StoreScratch{Src: bpf.RegA, N: 0},
			bpf.TXA{}, bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: 4}, bpf.TAX{}, bpf.LoadScratch{Dst: bpf.RegA, N: 0})
		a.jump(bpf.JumpEqual, etherIPv4, "ipv4", "")
		if last {
			a.jump(bpf.JumpEqual, etherIPv6, "ipv6", "drop")
		} else {
			a.jump(bpf.JumpEqual, etherIPv6, "ipv6", "")
		}
	}

	a.label("ipv4")
	if len(ports) == 0 {
		a.do(bpf.RetConstant{Val: acceptAll})
	}
	a.do(bpf.LoadIndirect{Off: 9, Size: 1})
	a.jump(bpf.JumpEqual, protoUDP, "v4ports", "")
	a.jump(bpf.JumpEqual, protoTCP, "v4ports", "drop")
	a.label("v4ports")
	a.do(bpf.LoadIndirect{Off: 6, Size: 2})
	a.jump(bpf.JumpBitsSet, 0x1fff, "accept", "")
	a.do(bpf.LoadIndirect{Off: 0, Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 2}, bpf.ALUOpX{Op: bpf.ALUOpAdd}, bpf.TAX{})
	a.jump(bpf.JumpGreaterOrEqual, 0, "ports", "ports")

	a.label("ipv6")
	if len(ports) == 0 {
		a.do(bpf.RetConstant{Val: acceptAll})
	}
	a.do(bpf.LoadIndirect{Off: 6, Size: 1})
	for _, proto := range []uint32{protoFragment, protoHopByHop, protoRouting, protoDstOptions} {
		a.jump(bpf.JumpEqual, proto, "accept", "")
	}
	a.jump(bpf.JumpEqual, protoUDP, "v6ports", "")
	a.jump(bpf.JumpEqual, protoTCP, "v6ports", "drop")
	a.label("v6ports")
	a.do(bpf.TXA{}, bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: 40}, bpf.TAX{})

	a.label("ports")
	for _, off := range []uint32{0, 2} {
		a.do(bpf.LoadIndirect{Off: off, Size: 2})
		for _, p := range ports {
			a.jump(bpf.JumpEqual, uint32(p), "accept", "")
		}
	}
	a.label("drop")
	a.do(bpf.RetConstant{Val: 0})
	a.label("accept")
	a.do(bpf.RetConstant{Val: acceptAll})
}

func name(last bool) string {
	if last {
		return "2"
	}
	return "1"
}
