//go:build linux

package afpacket

import "golang.org/x/net/bpf"

// assembler gives classic BPF programs labels. All jumps go forward.
type assembler struct {
	code   []bpf.Instruction
	jumps  []jump
	labels map[string]int
}

type jump struct {
	at int // index in code
	to string
}

func (a *assembler) add(code ...bpf.Instruction) { a.code = append(a.code, code...) }

// jump goes to a label, at most 255 instructions away, when the test holds.
func (a *assembler) jump(test bpf.JumpTest, val uint32, to string) {
	a.jumps = append(a.jumps, jump{len(a.code), to})
	a.add(bpf.JumpIf{Cond: test, Val: val})
}

// far goes to a label anywhere.
func (a *assembler) far(to string) {
	a.jumps = append(a.jumps, jump{len(a.code), to})
	a.add(bpf.Jump{})
}

func (a *assembler) label(name string) {
	if a.labels == nil {
		a.labels = make(map[string]int)
	}
	a.labels[name] = len(a.code)
}

// assemble fills in the jumps. Programs are ours, and every length of theirs is
// tested, so what cannot be assembled is a bug.
func (a *assembler) assemble() []bpf.Instruction {
	for _, j := range a.jumps {
		to, ok := a.labels[j.to]
		skip := to - j.at - 1
		if !ok || skip < 0 {
			panic("afpacket: no way to label " + j.to)
		}
		switch code := a.code[j.at].(type) {
		case bpf.Jump:
			code.Skip = uint32(skip)
			a.code[j.at] = code
		case bpf.JumpIf:
			if skip > 255 {
				panic("afpacket: label too far: " + j.to)
			}
			code.SkipTrue = uint8(skip)
			a.code[j.at] = code
		}
	}
	return a.code
}
