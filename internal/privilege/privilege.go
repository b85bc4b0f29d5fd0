//go:build linux

// Package privilege says which capabilities a process has, what live capture
// needs each for, and gives up those that it does not need any more.
package privilege

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

// Set is a set of capabilities, a bit each (capabilities(7)).
type Set uint64

// Of returns a set of capabilities, given by their unix.CAP_ numbers.
func Of(caps ...int) Set {
	var s Set
	for _, c := range caps {
		s |= 1 << c
	}
	return s
}

// Has reports whether all capabilities of other are in the set.
func (s Set) Has(other Set) bool { return s&other == other }

// Use is what a capability is of use for.
type Use struct {
	Cap  Set
	Name string
	For  string // what works with it
}

// Uses lists the capabilities of which dnshark can make use.
var Uses = []Use{
	{Of(unix.CAP_BPF), "CAP_BPF", "loading eBPF programs"},
	{Of(unix.CAP_NET_ADMIN), "CAP_NET_ADMIN", "attaching them to the sockets of the host"},
	{Of(unix.CAP_PERFMON), "CAP_PERFMON", "reading, in these programs, which task sends"},
	{Of(unix.CAP_SYS_PTRACE), "CAP_SYS_PTRACE", "executables of processes of other users that are older than dnshark"},
	{Of(unix.CAP_DAC_READ_SEARCH), "CAP_DAC_READ_SEARCH", "hashes of executables that only their owners may read (--exe-hash)"},
	{Of(unix.CAP_NET_RAW), "CAP_NET_RAW", "reading packets from interfaces, with -i or instead of eBPF"},
}

// Sockets are the capabilities that eBPF programs at sockets need.
var Sockets = Of(unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_PERFMON)

// String names the capabilities, those that Uses does not know by number.
func (s Set) String() string {
	var names []string
	for _, u := range Uses {
		if s.Has(u.Cap) {
			names = append(names, u.Name)
			s &^= u.Cap
		}
	}
	if s != 0 {
		names = append(names, fmt.Sprintf("%#x", uint64(s)))
	}
	return strings.Join(names, ", ")
}

// Effective returns the capabilities that the kernel grants to this thread.
// CAP_SYS_ADMIN implies those of Sockets.
func Effective() (Set, error) {
	c, err := get()
	if c.effective.Has(Of(unix.CAP_SYS_ADMIN)) {
		c.effective |= Sockets
	}
	return c.effective, err
}

// Unaided runs do on a thread that is granted no capability meanwhile, and
// returns its error. So it tells whether a capability can be given up.
func Unaided(do func() error) error {
	runtime.LockOSThread()
	before, err := get()
	if err != nil {
		return err
	}
	bare := before
	bare.effective = 0
	if err := set(bare); err != nil {
		return err
	}
	err = do()
	if failed := set(before); failed != nil {
		return failed // the thread stays locked, and ends with its goroutine
	}
	runtime.UnlockOSThread()
	return err
}

// Drop makes the process give up, on all its threads and for good, every
// capability that is not in keep, and every way to gain one: the bounding set
// (which takes CAP_SETPCAP), ambient and inheritable capabilities, and programs
// whose execution raises privileges.
func Drop(keep Set) error {
	c, err := get()
	if err != nil {
		return err
	}
	keep &= c.permitted
	if c.effective.Has(Of(unix.CAP_SETPCAP)) {
		for bit := range 64 {
			if keep.Has(Of(bit)) {
				continue
			}
			if err := prctl(unix.PR_CAPBSET_DROP, uintptr(bit)); errors.Is(err, unix.EINVAL) {
				break // the kernel knows no more
			} else if err != nil {
				return fmt.Errorf("privilege: leaving the bounding set: %w", err)
			}
		}
	}
	if err := prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL); err != nil {
		return fmt.Errorf("privilege: clearing ambient capabilities: %w", err)
	}
	head, data := pack(sets{effective: keep, permitted: keep})
	_, _, errno := psx.Syscall3(unix.SYS_CAPSET, uintptr(unsafe.Pointer(head)), uintptr(unsafe.Pointer(data)), 0)
	if errno != 0 {
		return fmt.Errorf("privilege: giving up capabilities: %w", errno)
	}
	if err := prctl(unix.PR_SET_NO_NEW_PRIVS, 1); err != nil {
		return fmt.Errorf("privilege: refusing new ones: %w", err)
	}
	return nil
}

// prctl does it on every thread.
func prctl(option int, arg uintptr) error {
	if _, _, errno := psx.Syscall6(unix.SYS_PRCTL, uintptr(option), arg, 0, 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// sets are a thread's.
type sets struct{ effective, permitted, inheritable Set }

func pack(s sets) (*unix.CapUserHeader, *[2]unix.CapUserData) {
	var data [2]unix.CapUserData
	for i := range data {
		shift := 32 * i
		data[i] = unix.CapUserData{Effective: uint32(s.effective >> shift), Permitted: uint32(s.permitted >> shift), Inheritable: uint32(s.inheritable >> shift)}
	}
	return &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data
}

func get() (sets, error) {
	head, data := pack(sets{})
	if err := unix.Capget(head, &data[0]); err != nil {
		return sets{}, fmt.Errorf("privilege: capget: %w", err)
	}
	whole := func(low, high uint32) Set { return Set(low) | Set(high)<<32 }
	return sets{
		effective:   whole(data[0].Effective, data[1].Effective),
		permitted:   whole(data[0].Permitted, data[1].Permitted),
		inheritable: whole(data[0].Inheritable, data[1].Inheritable),
	}, nil
}

func set(s sets) error {
	head, data := pack(s)
	if err := unix.Capset(head, &data[0]); err != nil {
		return fmt.Errorf("privilege: capset: %w", err)
	}
	return nil
}
