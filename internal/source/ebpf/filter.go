//go:build linux

package ebpf

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/internal/bpf"
)

// Filter says which packets the kernel hands over: those that meet every
// condition that has values, of which any will do. The zero value wants all.
//
// By processes it is a first filter, which never drops what is wanted: a packet
// may come that belongs to the wrong process or to an unknown one. Which it is
// stands in event.Identity.Refused.
type Filter struct {
	OnlyResponses bool           // no queries
	Servers       []netip.Prefix // addresses of the server's end
	AnyEnd        bool           // Servers are addresses of either end
	NetNS         []uint32       // inodes of the sockets' network namespaces
	UIDs          []uint32       // real user ids
	Comms         []string       // prefixes of process names
	PIDs          []uint32       // process ids in the kernel
	AnyPID        bool           // PIDs stand for whoever has them, later too; otherwise for who has them now
	Follow        bool           // also all descendants of these, and what Follow starts
	Cgroups       []uint64       // ids of cgroups, which stand for those below them too
}

// MaxValues is how many values a condition may have; process ids and cgroups
// have no such bound.
const MaxValues = bpf.MaxValues

func (f *Filter) byPID() bool { return len(f.PIDs) > 0 || f.Follow }

func (f *Filter) config() bpf.Filter {
	return bpf.Filter{
		OnlyResponses: f.OnlyResponses, Servers: f.Servers, AnyEnd: f.AnyEnd, NetNS: f.NetNS, UIDs: f.UIDs, Comms: f.Comms,
		ByPID: f.byPID(), Follow: f.Follow, Cgroups: len(f.Cgroups),
	}
}

// initPidNS is the inode of the first pid namespace (PROC_PID_INIT_INO).
const initPidNS = 0xEFFFFFFC

// fill tells the programs the ids. Forks are followed already.
func (f *Filter) fill(objs *bpf.Objects) error {
	for _, id := range f.Cgroups {
		if err := objs.DnsharkMaps.Cgroups.Put(id, uint8(1)); err != nil {
			return fmt.Errorf("ebpf: cgroup %d: %w", id, err)
		}
	}
	if !f.byPID() {
		return nil
	}
	var ns unix.Stat_t
	if err := unix.Stat("/proc/self/ns/pid", &ns); err == nil && ns.Ino != initPidNS && !f.AnyPID {
		return fmt.Errorf("ebpf: %w: in this pid namespace processes have other ids than in the kernel: share the host's (hostPID)", ErrNotSupported)
	}
	if objs.NoBirths != nil && f.Follow {
		return fmt.Errorf("ebpf: %w: it does not tell of forks, so nobody can be followed (%w)", ErrNotSupported, objs.NoBirths)
	}
	for _, pid := range f.PIDs {
		if err := objs.Traced.Put(pid, uint8(1)); err != nil {
			return fmt.Errorf("ebpf: process %d: %w", pid, err)
		}
	}
	if !f.Follow || len(f.PIDs) == 0 {
		return nil
	}
	// Whoever is born from now on to a traced process is traced by the programs.
	// Until nobody is found, because a child may be read before its parent is
	// known.
	for {
		found, err := adopt(objs)
		if err != nil || !found {
			return err
		}
	}
}

// adopt adds the children of traced processes.
func adopt(objs *bpf.Objects) (found bool, err error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return false, fmt.Errorf("ebpf: finding descendants: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(0)
	if err != nil {
		return false, fmt.Errorf("ebpf: finding descendants: %w", err)
	}
	var yes uint8
	for _, name := range names {
		pid, err := strconv.ParseUint(name, 10, 32)
		if err != nil || objs.Traced.Lookup(uint32(pid), &yes) == nil {
			continue
		}
		parent := parentOf(name)
		if parent == 0 || objs.Traced.Lookup(parent, &yes) != nil {
			continue
		}
		if err := objs.Traced.Put(uint32(pid), uint8(1)); err != nil {
			return false, fmt.Errorf("ebpf: process %d: %w", pid, err)
		}
		// It may have ended before it was added: then nobody takes it out.
		if parentOf(name) == 0 {
			objs.Traced.Delete(uint32(pid))
			continue
		}
		found = true
	}
	return found, nil
}

// parentOf returns the parent's process id, 0 when the process is gone or only
// waits to be collected.
func parentOf(pid string) uint32 {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return 0
	}
	// The name in field 2 may hold spaces and parentheses of its own.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 2 || fields[0][0] == 'Z' || fields[0][0] == 'X' {
		return 0
	}
	parent, _ := strconv.ParseUint(string(fields[1]), 10, 32)
	return uint32(parent)
}

// Follow calls start, and follows the processes that the calling process starts
// meanwhile, from their first instruction on. The filter must have Follow.
func (s *Source) Follow(start func() error) error {
	self := uint32(os.Getpid())
	traced := s.lane.objs.Traced
	if err := traced.Put(self, uint8(1)); err != nil {
		return fmt.Errorf("ebpf: following: %w", err)
	}
	return errors.Join(start(), traced.Delete(self))
}

// CgroupID returns the id of the cgroup v2 at path: a directory, or a path
// below the root of the hierarchy as in /proc/PID/cgroup.
func CgroupID(path string) (uint64, error) {
	dir, err := openCgroup2(path)
	if err != nil {
		root, rootErr := openCgroup("")
		if rootErr != nil {
			return 0, err
		}
		defer root.Close()
		if dir, rootErr = openCgroup2(root.Name() + "/" + path); rootErr != nil {
			return 0, err
		}
	}
	defer dir.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return 0, fmt.Errorf("ebpf: %s: %w", path, err)
	}
	return st.Ino, nil // what the kernel calls the id, on 64 bits
}
