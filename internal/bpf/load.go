//go:build linux

package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/rlimit"
)

// Config is fixed when the programs are loaded.
type Config struct {
	Ports      []uint16 // the ports of DNS
	AllPackets bool     // copy the headers of all other IP packets too
	RingBytes  uint32   // a power of two and a multiple of the page size
	Filter     Filter
	// Helpers makes the programs read the kernel's structures by helper calls,
	// as they must on old kernels. For tests.
	Helpers bool
}

// Objects are the maps and programs in the kernel.
type Objects struct {
	DnsharkMaps
	packetPrograms
	birthPrograms
	socketPrograms
	seedPrograms
	// NoSeed says why Seed is nil. Then nobody owns a socket that is older than
	// the programs, before it sends.
	NoSeed error
	// NoSockets says why the socketPrograms are nil: the kernel is older than 6.3.
	// Then a TCP socket on which several processes send has no known sender, and
	// nobody is known to have received an answer.
	NoSockets error
	// NoBirths says why Exec, Fork, Exit and Cgroup are nil, where the kernel does not have
	// these tracepoints or refuses them. Packets are captured all the same.
	NoBirths error
}

type packetPrograms struct {
	Egress  *ebpf.Program `ebpf:"dnshark_egress"`
	Ingress *ebpf.Program `ebpf:"dnshark_ingress"`
}

type birthPrograms struct {
	Exec *ebpf.Program `ebpf:"dnshark_exec"`
	Fork *ebpf.Program `ebpf:"dnshark_fork"`
	Exit *ebpf.Program `ebpf:"dnshark_exit"`
	// Cgroup tells of new cgroups.
	Cgroup *ebpf.Program `ebpf:"dnshark_cgroup"`
}

// socketPrograms are told what system calls did on sockets.
type socketPrograms struct {
	Sent     *ebpf.Program `ebpf:"dnshark_sent"`
	Received *ebpf.Program `ebpf:"dnshark_received"`
	Sendmsg4 *ebpf.Program `ebpf:"dnshark_sendmsg4"`
	Sendmsg6 *ebpf.Program `ebpf:"dnshark_sendmsg6"`
}

type seedPrograms struct {
	Seed *ebpf.Program `ebpf:"dnshark_seed"` // an iterator
}

// Close frees everything.
func (o *Objects) Close() error {
	err := o.DnsharkMaps.Close()
	for _, p := range []*ebpf.Program{o.Egress, o.Ingress, o.Exec, o.Fork, o.Exit, o.Cgroup, o.Sent, o.Received, o.Sendmsg4, o.Sendmsg6, o.Seed} {
		err = errors.Join(err, p.Close())
	}
	return err
}

// Load puts maps and programs into the kernel. Nothing is attached yet.
func Load(c Config) (*Objects, error) {
	spec, err := LoadDnshark()
	if err != nil {
		return nil, err
	}
	return load(spec, c)
}

func load(spec *ebpf.CollectionSpec, c Config) (*Objects, error) {
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("locked memory limit: %w", err)
	}
	var v DnsharkVariableSpecs
	if err := spec.Assign(&v); err != nil {
		return nil, err
	}
	followTask := !c.Helpers && features.HaveProgramHelper(ebpf.CGroupSKB, asm.FnGetCurrentTaskBtf) == nil
	if err := setAll([]setting{
		{v.DnsPorts, portBits(c.Ports)},
		{v.AllPackets, c.AllPackets},
		{v.FollowTask, followTask},
		{v.FollowSkb, !c.Helpers},
		{v.SkbCgroup, features.HaveProgramHelper(ebpf.CGroupSKB, asm.FnSkbCgroupId) == nil},
	}); err != nil {
		return nil, err
	}
	if err := c.Filter.set(spec, &v); err != nil {
		return nil, err
	}
	spec.Maps[DnsharkMapPackets].MaxEntries = c.RingBytes
	var packets struct {
		DnsharkMaps
		packetPrograms
	}
	if err := spec.LoadAndAssign(&packets, nil); err != nil {
		return nil, err
	}
	o := &Objects{DnsharkMaps: packets.DnsharkMaps, packetPrograms: packets.packetPrograms}
	shared := &ebpf.CollectionOptions{MapReplacements: map[string]*ebpf.Map{
		DnsharkMapPackets: o.Packets, DnsharkMapCounters: o.Counters, DnsharkMapReader: o.Reader, DnsharkMapOwners: o.Owners,
		DnsharkMapTraced: o.Traced, DnsharkMapCgroups: o.DnsharkMaps.Cgroups, DnsharkMapVerdicts: o.Verdicts,
	}}
	o.NoBirths = spec.LoadAndAssign(&o.birthPrograms, shared)
	o.NoSeed = spec.LoadAndAssign(&o.seedPrograms, shared)
	o.NoSockets = spec.LoadAndAssign(&o.socketPrograms, shared)
	return o, nil
}

// portBits sets the bit of each port at the place where the programs find it:
// they read the port's two octets from the wire as a little endian number.
func portBits(ports []uint16) *[1024]uint64 {
	bits := new([1024]uint64)
	for _, p := range ports {
		wire := p<<8 | p>>8
		bits[wire>>6] |= 1 << (wire & 63)
	}
	return bits
}
