//go:build linux

package bpf

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
)

// Probe is what one of the kernel's powers is good for, and why it is not
// there.
type Probe struct {
	Name string
	Good string // what it means when there is no error
	Err  error  // as the kernel said it
	Need bool   // without it nothing is captured
	Free bool   // it takes no capability
}

// powers are what the programs use where it is there. Versions tell nothing
// about a kernel that somebody else has changed, so each is tried.
var powers = []struct {
	name, good string
	try        func() error
	need, free bool
}{
	{"ring buffer", "carries packets to dnshark", func() error { return features.HaveMapType(ebpf.RingBuf) }, true, false},
	{"socket storage", "remembers who sent on a socket", func() error { return features.HaveMapType(ebpf.SkStorage) }, true, false},
	{"current task", "programs at sockets see who sends", func() error {
		return features.HaveProgramHelper(ebpf.CGroupSKB, asm.FnGetCurrentTask)
	}, true, false},
	{"typed task", "and read it without calls, which is faster", func() error {
		return features.HaveProgramHelper(ebpf.CGroupSKB, asm.FnGetCurrentTaskBtf)
	}, false, false},
	{"typed packet", "likewise the packet", func() error { return haveKfunc("bpf_cast_to_kern_ctx") }, false, true},
}

func haveKfunc(name string) error {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return err
	}
	var f *btf.Func
	if err := kernel.TypeByName(name, &f); err != nil {
		return fmt.Errorf("%w: %s", ebpf.ErrNotSupported, name)
	}
	return nil
}

// purposes of the programs. Those of packets are needed.
var purposes = map[string]struct {
	good string
	need bool
}{
	"dnshark_egress":   {"what sockets send, and who", true},
	"dnshark_ingress":  {"what sockets receive", true},
	"dnshark_exec":     {"processes are known before they ask", false},
	"dnshark_fork":     {"and their children", false},
	"dnshark_exit":     {"and when they end", false},
	"dnshark_sendmsg4": {"who sends a socket's first datagram", false},
	"dnshark_sendmsg6": {"and over IPv6", false},
	"dnshark_cgroup":   {"containers are known when they are made", false},
	"dnshark_sent":     {"who has queued what TCP sends later", false},
	"dnshark_received": {"who receives answers", false},
	"dnshark_seed":     {"owners of sockets that are older than dnshark", false},
}

// Probes tries every power that the programs use, and every program by itself:
// it is loaded and given to attach. Nothing stays in the kernel.
func Probes(attach func(*ebpf.Program, *ebpf.ProgramSpec) error) []Probe {
	list := []Probe{{"type information", btfFile, typeInformation(), true, true}}
	for _, p := range powers {
		list = append(list, Probe{p.name, p.good, p.try(), p.need, p.free})
	}
	spec, err := LoadDnshark()
	if err != nil {
		return append(list, Probe{Name: "programs", Err: err, Need: true})
	}
	spec.Maps[DnsharkMapPackets].MaxEntries = 1 << 20
	var programs []Probe
	for name, prog := range spec.Programs {
		p := purposes[name]
		programs = append(programs, Probe{prog.SectionName, p.good, try(spec, name, attach), p.need, false})
	}
	slices.SortFunc(programs, func(a, b Probe) int { return strings.Compare(a.Name, b.Name) })
	return append(list, programs...)
}

const btfFile = "/sys/kernel/btf/vmlinux"

func typeInformation() error {
	f, err := os.Open(btfFile)
	if err != nil {
		return err
	}
	return f.Close()
}

// try loads one program. The constants say that it has no powers.
func try(spec *ebpf.CollectionSpec, name string, attach func(*ebpf.Program, *ebpf.ProgramSpec) error) (err error) {
	one := spec.Copy()
	one.Programs = map[string]*ebpf.ProgramSpec{name: one.Programs[name]}
	loaded, err := ebpf.NewCollection(one)
	if err != nil {
		return err
	}
	defer loaded.Close()
	return attach(loaded.Programs[name], spec.Programs[name])
}
