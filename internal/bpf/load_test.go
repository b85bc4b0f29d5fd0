//go:build linux

package bpf

import (
	"github.com/dnshark-io/dnshark/internal/testkit"
	"net/netip"
	"os"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// The programs write records and the reader casts them.
func TestLayout(t *testing.T) {
	spec, err := LoadDnshark()
	if err != nil {
		t.Fatal(err)
	}
	var r Record
	var b Birth
	var c Counters
	// The compiler describes only types of maps. record.h asserts these.
	if unsafe.Offsetof(r.Iface) != 32 || unsafe.Offsetof(r.Dir) != 48 ||
		unsafe.Offsetof(r.ID) != 56 || unsafe.Offsetof(r.OtherTGID) != 52 ||
		unsafe.Offsetof(r.OtherComm) != 144 || unsafe.Sizeof(r) != 160 {
		t.Error("Record is not struct record of record.h")
	}
	if unsafe.Offsetof(b.ParentTGID) != 16 || unsafe.Offsetof(b.ArgsLen) != 24 ||
		unsafe.Offsetof(b.Kind) != 48 || unsafe.Offsetof(b.ID) != 56 || unsafe.Sizeof(b) != 160 {
		t.Error("Birth is not struct birth of record.h")
	}
	for _, want := range []struct {
		name    string
		size    uintptr
		members map[string]uintptr
	}{
		{"identity", unsafe.Sizeof(r.ID), map[string]uintptr{
			"start": unsafe.Offsetof(r.ID.Start), "cgroup": unsafe.Offsetof(r.ID.Cgroup),
			"tgid": unsafe.Offsetof(r.ID.TGID), "tid": unsafe.Offsetof(r.ID.TID),
			"ppid": unsafe.Offsetof(r.ID.PPID), "uid": unsafe.Offsetof(r.ID.UID),
			"gid": unsafe.Offsetof(r.ID.GID), "netns": unsafe.Offsetof(r.ID.NetNS),
			"pidns": unsafe.Offsetof(r.ID.PidNS), "ns_tgid": unsafe.Offsetof(r.ID.NsTGID),
			"comm": unsafe.Offsetof(r.ID.Comm), "exe_dev": unsafe.Offsetof(r.ID.ExeDev),
			"exe_gen": unsafe.Offsetof(r.ID.ExeGen), "exe_ino": unsafe.Offsetof(r.ID.ExeIno),
			"refused": unsafe.Offsetof(r.ID.Refused),
		}},
		{"counters", unsafe.Sizeof(c), map[string]uintptr{
			"seen": unsafe.Offsetof(c.Seen), "submitted": unsafe.Offsetof(c.Submitted),
			"ring_full": unsafe.Offsetof(c.RingFull), "copy_error": unsafe.Offsetof(c.CopyError),
			"fragments": unsafe.Offsetof(c.Fragments), "truncated": unsafe.Offsetof(c.Truncated),
			"births_lost": unsafe.Offsetof(c.BirthsLost), "receipts_lost": unsafe.Offsetof(c.ReceiptsLost),
			"follow_lost": unsafe.Offsetof(c.FollowLost), "filtered": unsafe.Offsetof(c.Filtered),
		}},
	} {
		var s *btf.Struct
		if err := spec.Types.TypeByName(want.name, &s); err != nil {
			t.Errorf("%s: %v", want.name, err)
			continue
		}
		if uintptr(s.Size) != want.size {
			t.Errorf("%s: %d octets in C, %d in Go", want.name, s.Size, want.size)
		}
		seen := 0
		for _, m := range s.Members {
			off, ok := want.members[m.Name]
			if !ok {
				continue
			}
			seen++
			if uintptr(m.Offset.Bytes()) != off {
				t.Errorf("%s.%s: at %d in C, at %d in Go", want.name, m.Name, m.Offset.Bytes(), off)
			}
		}
		if seen != len(want.members) {
			t.Errorf("%s: %d members in common, want %d", want.name, seen, len(want.members))
		}
	}
}

var everyCondition = Filter{
	OnlyResponses: true, Servers: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/33")},
	NetNS: make([]uint32, MaxValues), UIDs: make([]uint32, MaxValues), Comms: make([]string, MaxValues),
	ByPID: true, Follow: true, Cgroups: 3,
}

// kernelHas reports whether the running kernel has a type: the tracepoint of
// system calls at sockets came with 6.3.
func kernelHas(t *testing.T, typedef string) bool {
	t.Helper()
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	var d *btf.Typedef
	return kernel.TypeByName(typedef, &d) == nil
}

// The verifier sees other code with each setting.
func TestVerifier(t *testing.T) {
	for _, c := range []Config{
		{Ports: []uint16{53}, RingBytes: 1 << 20},
		{Ports: []uint16{53}, RingBytes: 1 << 20, AllPackets: true},
		{Ports: []uint16{53}, RingBytes: 1 << 20, Helpers: true},
		{Ports: []uint16{53}, RingBytes: 1 << 20, Helpers: true, AllPackets: true},
		{Ports: []uint16{53}, RingBytes: 1 << 20, Filter: everyCondition},
		{Ports: []uint16{53}, RingBytes: 1 << 20, Filter: everyCondition, Helpers: true, AllPackets: true},
	} {
		objs, err := Load(c)
		if err != nil {
			if os.Geteuid() != 0 {
				testkit.Unable(t, "%v", err)
			}
			t.Fatalf("%+v: %+v", c, err)
		}
		if objs.NoBirths != nil || objs.NoSockets != nil && kernelHas(t, "btf_trace_sock_send_length") || objs.NoSeed != nil {
			t.Errorf("%+v: %+v, %+v, %+v", c, objs.NoBirths, objs.NoSockets, objs.NoSeed)
		}
		for _, p := range []*ebpf.Program{objs.Egress, objs.Exec, objs.Fork, objs.Cgroup, objs.Sent, objs.Received, objs.Seed} {
			if p == nil {
				continue
			}
			info, err := p.Info()
			if err != nil {
				t.Fatal(err)
			}
			n, _ := info.VerifiedInstructions()
			jit, _ := info.JitedSize()
			t.Logf("%+v: %s: %d verified instructions, %d octets of machine code", c, info.Name, n, jit)
		}
		objs.Close()
	}
}

// A kernel without one of the tracepoints still lets packets be captured.
func TestNoBirths(t *testing.T) {
	spec, err := LoadDnshark()
	if err != nil {
		t.Fatal(err)
	}
	spec.Programs[DnsharkProgDnsharkExec].AttachTo = "no_such_tracepoint"
	objs, err := load(spec, Config{Ports: []uint16{53}, RingBytes: 1 << 20})
	if err != nil {
		if os.Geteuid() != 0 {
			testkit.Unable(t, "%v", err)
		}
		t.Fatalf("%+v", err)
	}
	defer objs.Close()
	if objs.NoBirths == nil || objs.Exec != nil || objs.Fork != nil || objs.Egress == nil {
		t.Errorf("%+v", objs)
	}
	t.Log(objs.NoBirths)
}

// Doctor says what every program is good for.
func TestPurposes(t *testing.T) {
	spec, err := LoadDnshark()
	if err != nil {
		t.Fatal(err)
	}
	for name := range spec.Programs {
		if purposes[name].good == "" {
			t.Errorf("%s has no purpose", name)
		}
	}
}
