package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/internal/filter"
	"github.com/dnshark-io/dnshark/internal/kind"
	"github.com/dnshark-io/dnshark/internal/privilege"
	"github.com/dnshark-io/dnshark/internal/sink"
	"github.com/dnshark-io/dnshark/internal/source"
	"github.com/dnshark-io/dnshark/internal/source/afpacket"
	"github.com/dnshark-io/dnshark/internal/source/ebpf"
)

func newLive(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "live [-- COMMAND ARG...]",
		Short: "Capture on this host (what dnshark does without a command)",
		Long: `live captures on this host until it is interrupted. It watches the sockets of all
network namespaces with eBPF, which tells the process that asked. Where the
kernel refuses that, or with -i, it reads packets from network interfaces.

What is asked for with --pid, --uid, --comm, --cgroup, --netns, --server and
--responses-only is chosen in the kernel; the rest is not even copied. Different
conditions must all be met; of several values of one condition any will do. What an
expression of --filter demands of ports, addresses and of the process's pid, uid, comm or
cgroup_id, whatever else it says, is chosen in the kernel too, unless alerts, policies or
metrics need the rest. Who answers, and what caused a query, is then known only if its
packets are among those chosen.

With a COMMAND, live runs it and shows what it asks, and what its children ask,
from their first query on. The command has the standard input and output to
itself: events go to standard error, or to a file with -w. A summary comes only
with --stats, or when something was lost. live ends when the command ends, and
as it does: with its exit code, or by its signal. Queries without an answer
until then are shown as unanswered. Signals are passed on. The command runs with the
rights of whoever started dnshark: as root under sudo, but without capabilities
that were given to dnshark alone.

Output formats (-o):` + formats(),
		Example: `  sudo dnshark live --comm firefox
  sudo dnshark live --pid 4711 --follow
  sudo dnshark live --cgroup system.slice/nginx.service --server 192.0.2.53
  sudo dnshark live -w apt.json -- apt-get update`,
		Args: orCommand(o, atMost(0)),
		RunE: func(cmd *cobra.Command, _ []string) error { return runLive(cmd.Context(), o) },
	}
	o.addLive(cmd.Flags())
	return cmd
}

// maxMetricsTop bounds the labels that metrics have.
const maxMetricsTop = 1000

// maxRingMemory is what the kernel's ring buffers allow (MiB).
const maxRingMemory = 1 << 10

// checkLive refuses values before anything is opened.
func (o *options) checkLive() error {
	if err := o.check(); err != nil {
		return err
	}
	if o.ringMemory < 1 || o.ringMemory > maxRingMemory {
		return usagef("--ring-memory is 1 to %d MiB", maxRingMemory)
	}
	if o.metricsTop > 0 && len(o.privacy) > 0 {
		return usagef("--metrics-top tells names and addresses as they are, which --privacy is to hide; leave one out")
	}
	if o.metricsTop < 0 || o.metricsTop > maxMetricsTop {
		return usagef("--metrics-top is 0 to %d", maxMetricsTop)
	}
	if _, err := o.observers(); err != nil {
		return err
	}
	if _, err := o.match(); err != nil {
		return err
	}
	if _, err := o.processes(); err != nil {
		return err
	}
	if _, err := o.containerRuntimes(); err != nil {
		return err
	}
	if _, _, err := o.dnsPorts(); err != nil {
		return err
	}
	_, _, err := o.choice.parse()
	return err
}

func runLive(ctx context.Context, o *options) error {
	if err := o.checkLive(); err != nil {
		return err
	}
	live, err := o.liveSource()
	if err != nil {
		return err
	}
	if len(o.command) > 0 {
		if len(o.choice.pids) > 0 {
			return usagef("--pid and a command to run exclude each other")
		}
		return runCommand(ctx, o, live)
	}
	return o.live(ctx, live)
}

// liveSource returns what to capture.
func (o *options) liveSource() (*liveSource, error) {
	kinds, err := o.kinds()
	if err != nil {
		return nil, err
	}
	ports, anyPort, err := o.dnsPorts()
	if err != nil {
		return nil, err
	}
	filter, bySocket, err := o.choice.parse()
	if err != nil {
		return nil, err
	}
	bySocket = bySocket || len(o.command) > 0
	if o.iface != "" && bySocket {
		return nil, usagef("-i sees packets, not the sockets and processes that --pid, --uid, --comm, --cgroup, --netns or a command are about; leave it out")
	}
	live := &liveSource{o: o, ports: ports, anyPort: anyPort, filter: filter, bySocket: bySocket, socketPorts: ports}
	live.allPackets = kinds.Needs()&kind.NeedPackets != 0
	return live, live.pushDown()
}

// runCommand watches one command until it ends.
func runCommand(ctx context.Context, o *options, live *liveSource) error {
	c, err := newCommand(o.command, o.std)
	if err != nil {
		return err
	}
	live.filter.Follow, live.start = true, c.start
	// Interrupts are the command's to act upon, and its standard output is not ours.
	ctx, cancel := c.until(context.WithoutCancel(ctx))
	defer cancel()
	o.std.out = o.std.err
	if err = o.live(ctx, live); err != nil && !errors.Is(err, syscall.EPIPE) {
		// The command may go on for hours.
		tell(o.std.err, err)
		err = alreadyTold{err}
	}
	if end := c.wait(); err == nil {
		err = end
	}
	return err
}

func (o *options) live(ctx context.Context, live *liveSource) error {
	if o.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.duration)
		defer cancel()
	}
	err := o.run(ctx, live, true)
	switch {
	case errors.Is(err, ebpf.ErrNotPermitted), errors.Is(err, afpacket.ErrNotPermitted):
		return withExit(exitNotPermitted, err)
	case errors.Is(err, afpacket.ErrNoInterface):
		return withExit(exitUsage, err)
	}
	return err
}

// liveSource is eBPF where the kernel lets us, and AF_PACKET where not or when
// an interface is named.
type liveSource struct {
	o          *options
	ports      []uint16
	anyPort    bool
	allPackets bool
	filter     ebpf.Filter
	bySocket   bool         // the filter depends on sockets and processes
	start      func() error // what to follow, or nil
	sockets    bool         // eBPF it is, since Open

	socketPorts []uint16 // the ports that the expression of --filter leaves
	pushed      []string // what it leaves to the kernel
}

func (s *liveSource) Open(n int) ([]source.Lane, error) {
	packet := afpacket.New(afpacket.Options{Iface: s.o.iface, Ports: s.ports, AnyPort: s.anyPort, AllPackets: s.allPackets})
	if s.o.iface != "" {
		lanes, err := packet.Open(n)
		if err != nil {
			return nil, err
		}
		return s.watch(lanes, 0, "watching interface %s", s.o.iface)
	}
	sockets, err := ebpf.New(ebpf.Options{Ports: s.socketPorts, AnyPort: s.anyPort, AllPackets: s.allPackets, Filter: s.filter, RingBytes: s.o.ringMemory << 20})
	if err == nil {
		lanes, err := sockets.Open(n)
		if err != nil {
			return nil, errors.Join(err, sockets.Close())
		}
		if s.start != nil {
			// Before privileges are dropped, which the command may need.
			if err := sockets.Follow(s.start); err != nil {
				return nil, errors.Join(err, sockets.Close())
			}
		}
		keep := privilege.Of(unix.CAP_SYS_PTRACE)
		if s.o.exeHash {
			keep |= privilege.Of(unix.CAP_DAC_READ_SEARCH)
		}
		if privilege.Unaided(sockets.Check) != nil {
			keep |= privilege.Of(unix.CAP_BPF)
		}
		s.sockets = true
		what := "watching every socket of this host"
		if len(s.pushed) > 0 {
			what += "; the kernel applies --filter by " + strings.Join(s.pushed, ", ")
		}
		return s.watch(lanes, keep, "%s", what)
	}
	if s.bySocket || !errors.Is(err, ebpf.ErrNotPermitted) && !errors.Is(err, ebpf.ErrNotSupported) {
		return nil, err
	}
	lanes, packetErr := packet.Open(n)
	if packetErr != nil {
		return nil, fmt.Errorf("%w; and without eBPF: %w", err, packetErr)
	}
	return s.watch(lanes, 0, "watching all interfaces of this network namespace, without the processes that ask: %s", oneLine(err))
}

// pushDown leaves to the kernel what it can decide of the expression of --filter.
// The expression stays on the line. A condition that has a flag of its own, and
// was given, stays as it is. The kernel is told nothing where somebody needs what
// the expression refuses.
func (s *liveSource) pushDown() error {
	wanted, err := s.o.match()
	if err != nil || wanted == nil || s.allPackets || s.o.needsAll(wanted) {
		return err
	}
	c, f := wanted.Conditions(), &s.filter
	add := func(what string, values int, set func()) {
		if values > 0 && values <= ebpf.MaxValues {
			set()
			s.pushed = append(s.pushed, what)
		}
	}
	// The end of the server belongs to another process.
	if s.o.observer == "client" {
		if len(f.PIDs) == 0 && len(s.o.command) == 0 {
			add("pid", len(c.PIDs), func() { f.PIDs, f.AnyPID = c.PIDs, true })
		}
		if len(f.UIDs) == 0 {
			add("uid", len(c.UIDs), func() { f.UIDs = c.UIDs })
		}
		if len(f.Comms) == 0 {
			add("comm", len(c.Comms), func() { f.Comms = c.Comms })
		}
		if len(f.Cgroups) == 0 {
			add("cgroup", len(c.Cgroups), func() { f.Cgroups = c.Cgroups })
		}
	}
	// On any port a message may be in a tunnel, between other ends.
	if s.anyPort || len(f.Servers) > 0 {
		return nil
	}
	add("address", len(c.Addrs), func() { f.Servers, f.AnyEnd = c.Addrs, true })
	// Who asks is told by all ports of DNS.
	others := func(p uint16) bool { return !slices.Contains(s.ports, p) }
	if len(c.Ports) < len(s.ports) && !slices.ContainsFunc(c.Ports, others) && !f.OnlyResponses {
		add("port", len(c.Ports), func() { s.socketPorts = c.Ports })
	}
	return nil
}

// needsAll reports whether what an expression refuses is needed all the same:
// metrics count it, detectors compare with it, and policies and the filters of
// outputs may ask for what it tells of other events.
func (o *options) needsAll(wanted *filter.Filter) bool {
	kinds, err := o.kinds()
	if err != nil || o.counted() || o.policies != nil || kinds.Needs()&kind.NeedDetection != 0 && !wanted.OnlyMessages() {
		return true
	}
	return slices.ContainsFunc(o.targets, func(t *sink.Target) bool {
		f, err := filter.Parse(t.Filter)
		return t.Filter != "" && (err != nil || f.AsksOthers())
	})
}

// watch gives up the capabilities that were for opening the lanes, and says
// that capture began.
func (s *liveSource) watch(lanes []source.Lane, keep privilege.Set, format string, args ...any) ([]source.Lane, error) {
	if err := privilege.Drop(keep); err != nil {
		for _, l := range lanes {
			err = errors.Join(err, l.Close())
		}
		return nil, err
	}
	s.say(format, args...)
	return lanes, nil
}

// say tells on standard error what goes on, so that standard output is the
// events' alone.
func (s *liveSource) say(format string, args ...any) {
	if !s.o.quiet && s.start == nil {
		fmt.Fprintf(s.o.std.err, "dnshark: "+format+"; Ctrl-C ends\n", args...)
	}
}
