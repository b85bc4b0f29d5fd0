//go:build linux

// Package ebpf sees the DNS packets of every socket of the host, in all
// network namespaces, each with the task that sent it. The programs are in
// internal/bpf; this room attaches them and reads their ring buffer.
package ebpf

import (
	"fmt"
	"io"
	"math"
	"math/bits"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/dnshark-io/dnshark/internal/bpf"
	"github.com/dnshark-io/dnshark/internal/source"
)

// Options say what to capture. The zero value means DNS on port 53.
type Options struct {
	Ports      []uint16 // a packet with one of these ports is DNS; default 53
	AnyPort    bool     // every UDP and TCP packet is handed over whole
	AllPackets bool     // hand over the first 128 octets of all other IP packets too
	RingBytes  int      // buffer between kernel and reader; default 16 MiB, rounded up to a power of two
	Filter     Filter
	// CgroupPath is the directory of the cgroup v2 whose tasks are observed.
	// Default: the root, wherever it is mounted.
	CgroupPath string

	helpers bool // tests: use the programs as an old kernel would
}

const (
	defaultRing = 16 << 20
	minRing     = 512 << 10 // room for a few of the longest packets
	maxRing     = 1 << 30   // ringbuf_map_alloc and record positions are 32 bits wide
)

// Source is one attachment of the programs. It has a single lane, because one
// ring keeps a query before its answer whichever CPUs they pass.
//
// Where the kernel lets it, the lane also tells of every process that is forked
// or calls execve: Frame.Birth.
type Source struct {
	lane *Lane
}

var _ source.Source = (*Source)(nil)

// New loads and attaches the programs; from here on packets are captured. Its
// errors are ErrNotPermitted or ErrNotSupported when another source may do
// better.
func New(o Options) (*Source, error) {
	if len(o.Ports) == 0 {
		o.Ports = []uint16{53}
	}
	if o.AnyPort {
		o.Ports = nil
		for p := range uint16(math.MaxUint16) {
			o.Ports = append(o.Ports, p+1)
		}
	}
	size, err := ringSize(o.RingBytes)
	if err != nil {
		return nil, err
	}
	objs, err := bpf.Load(bpf.Config{
		Ports: o.Ports, AllPackets: o.AllPackets, RingBytes: size, Helpers: o.helpers, Filter: o.Filter.config(),
	})
	if err != nil {
		return nil, explain("loading programs", err)
	}
	lane, err := newLane(objs)
	if err != nil {
		objs.Close()
		return nil, explain("mapping the ring buffer", err)
	}
	if err := attach(lane, objs, o); err != nil {
		lane.Close()
		return nil, err
	}
	return &Source{lane}, nil
}

func attach(l *Lane, objs *bpf.Objects, o Options) error {
	cgroup, err := openCgroup(o.CgroupPath)
	if err != nil {
		return err
	}
	defer cgroup.Close()
	if err := seed(objs); err != nil {
		objs.NoSeed = err
	}
	// Births first: then every process and cgroup younger than the packet hooks
	// is known.
	// They are worth having, but not worth failing.
	if objs.NoBirths == nil {
		programs := []*ebpf.Program{objs.Cgroup, objs.Fork, objs.Exec}
		if o.Filter.byPID() && !o.Filter.AnyPID {
			programs = append(programs, objs.Exit)
		}
		for _, prog := range programs {
			if ln, err := link.AttachTracing(link.TracingOptions{Program: prog}); err != nil {
				objs.NoBirths = err
			} else {
				l.links = append(l.links, ln)
			}
		}
	}
	if err := o.Filter.fill(objs); err != nil {
		return err
	}
	for _, hook := range []struct {
		prog *ebpf.Program
		at   ebpf.AttachType
	}{
		{objs.Ingress, ebpf.AttachCGroupInetIngress},
		{objs.Egress, ebpf.AttachCGroupInetEgress},
	} {
		// A link dies with the process, however that dies, and leaves the
		// programs of others in place.
		ln, err := link.AttachRawLink(link.RawLinkOptions{
			Target: int(cgroup.Fd()), Program: hook.prog, Attach: hook.at,
		})
		if err != nil {
			return explain("attaching to cgroup "+cgroup.Name(), err)
		}
		l.links = append(l.links, ln)
	}
	// Once more, for what was opened meanwhile.
	if err := seed(objs); err != nil {
		objs.NoSeed = err
	}
	// After the packet hooks, so that no packet seems to have left without a
	// system call.
	if objs.NoSockets == nil {
		objs.NoSockets = attachSockets(l, objs, cgroup)
	}
	return nil
}

func attachSockets(l *Lane, objs *bpf.Objects, cgroup *os.File) error {
	for prog, at := range map[*ebpf.Program]ebpf.AttachType{
		objs.Sendmsg4: ebpf.AttachCGroupUDP4Sendmsg, objs.Sendmsg6: ebpf.AttachCGroupUDP6Sendmsg,
	} {
		ln, err := link.AttachRawLink(link.RawLinkOptions{Target: int(cgroup.Fd()), Program: prog, Attach: at})
		if err != nil {
			return err
		}
		l.links = append(l.links, ln)
	}
	for _, prog := range []*ebpf.Program{objs.Sent, objs.Received} {
		ln, err := link.AttachTracing(link.TracingOptions{Program: prog})
		if err != nil {
			return err
		}
		l.links = append(l.links, ln)
	}
	return nil
}

// seed finds the owners of sockets that exist already.
func seed(objs *bpf.Objects) error {
	if objs.Seed == nil {
		return objs.NoSeed
	}
	iter, err := link.AttachIter(link.IterOptions{Program: objs.Seed})
	if err != nil {
		return err
	}
	defer iter.Close()
	run, err := iter.Open()
	if err != nil {
		return err
	}
	defer run.Close()
	_, err = io.Copy(io.Discard, run)
	return err
}

// Open returns the one lane. It can be run once at a time.
func (s *Source) Open(n int) ([]source.Lane, error) {
	if n < 1 {
		return nil, fmt.Errorf("ebpf: %d lanes asked for, need at least 1", n)
	}
	return []source.Lane{s.lane}, nil
}

// Check reads the counters, once. Stats does so later on, which kernels before
// 5.19 may refuse to whoever has no CAP_BPF any more.
func (s *Source) Check() error {
	var perCPU []bpf.Counters
	return s.lane.objs.Counters.Lookup(uint32(0), &perCPU)
}

// Close detaches the programs and frees everything; it closes the lane too.
func (s *Source) Close() error { return s.lane.Close() }

func ringSize(n int) (uint32, error) {
	if n == 0 {
		n = defaultRing
	}
	if n < 0 || n > maxRing {
		return 0, fmt.Errorf("ebpf: a ring buffer of %d octets: must be at most %d", n, maxRing)
	}
	n = max(n, minRing, os.Getpagesize())
	return 1 << bits.Len(uint(n-1)), nil
}
