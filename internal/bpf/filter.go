//go:build linux

package bpf

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
)

// MaxValues is how many values a condition may have.
const MaxValues = 16

// MaxTraced bounds the processes that are wanted by their ids at one time.
const MaxTraced = 1 << 16

// Filter says which packets are wanted: those that meet every condition that
// has values, of which any will do. The zero value wants all. PIDs and Cgroups
// are the maps Traced and Cgroups of Objects, which are filled later.
type Filter struct {
	OnlyResponses bool
	Servers       []netip.Prefix // addresses of the server's end
	AnyEnd        bool           // Servers are addresses of either end
	NetNS         []uint32       // inodes, of the socket's network namespace
	UIDs          []uint32       // real user ids
	Comms         []string       // prefixes of the name of a thread group leader
	ByPID         bool           // only processes in Traced
	Follow        bool           // children join Traced
	Cgroups       int            // only processes in Cgroups or below, which has room for so many
}

func (f *Filter) byProcess() bool {
	return f.ByPID || f.Cgroups > 0 || len(f.UIDs)+len(f.Comms) > 0
}

// prefix is struct prefix of filter.h.
type prefix struct {
	Addr, Mask [4]uint32
	Version    uint32
}

// commPrefix is struct comm_prefix of filter.h.
type commPrefix struct{ Comm, Mask [2]uint64 }

// set fixes the filter in the programs.
func (f *Filter) set(spec *ebpf.CollectionSpec, v *DnsharkVariableSpecs) error {
	for _, n := range []int{len(f.Servers), len(f.NetNS), len(f.UIDs), len(f.Comms)} {
		if n > MaxValues {
			return fmt.Errorf("a condition has %d values, at most %d are possible", n, MaxValues)
		}
	}
	var servers [MaxValues]prefix
	for i, p := range f.Servers {
		servers[i] = prefixOf(p)
	}
	var netns, uids [MaxValues]uint32
	copy(netns[:], f.NetNS)
	copy(uids[:], f.UIDs)
	var comms [MaxValues]commPrefix
	for i, c := range f.Comms {
		var text, mask [16]byte
		for j := range copy(text[:], c) {
			mask[j] = 0xff
		}
		for j := range 2 {
			comms[i].Comm[j] = binary.NativeEndian.Uint64(text[8*j:])
			comms[i].Mask[j] = binary.NativeEndian.Uint64(mask[8*j:])
		}
	}
	if f.ByPID {
		spec.Maps[DnsharkMapTraced].MaxEntries = MaxTraced
	}
	spec.Maps[DnsharkMapCgroups].MaxEntries = uint32(max(f.Cgroups, 1))
	return setAll([]setting{
		{v.OnlyResponses, f.OnlyResponses},
		{v.ServerCount, uint32(len(f.Servers))}, {v.Servers, &servers}, {v.ServersAnyEnd, f.AnyEnd},
		{v.NetnsCount, uint32(len(f.NetNS))}, {v.NetnsInodes, &netns},
		{v.ByProcess, f.byProcess()}, {v.ByPid, f.ByPID}, {v.FollowForks, f.ByPID && f.Follow},
		{v.UidCount, uint32(len(f.UIDs))}, {v.Uids, &uids},
		{v.CommCount, uint32(len(f.Comms))}, {v.Comms, &comms},
		{v.ByCgroup, f.Cgroups > 0},
	})
}

func prefixOf(p netip.Prefix) (w prefix) {
	var mask [16]byte
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	addr := p.Masked().Addr().AsSlice()
	w.Version = 4
	if len(addr) == 16 {
		w.Version = 6
	}
	for i := range len(addr) / 4 {
		w.Addr[i] = binary.NativeEndian.Uint32(addr[4*i:])
		w.Mask[i] = binary.NativeEndian.Uint32(mask[4*i:])
	}
	return w
}

// setting is a constant of the programs and its value.
type setting struct {
	v *ebpf.VariableSpec
	x any
}

func setAll(list []setting) error {
	for _, s := range list {
		if err := s.v.Set(s.x); err != nil {
			return err
		}
	}
	return nil
}
