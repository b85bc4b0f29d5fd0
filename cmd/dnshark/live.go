package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/internal/kind"
	"github.com/dnshark-io/dnshark/internal/privilege"
	"github.com/dnshark-io/dnshark/internal/source"
	"github.com/dnshark-io/dnshark/internal/source/afpacket"
	"github.com/dnshark-io/dnshark/internal/source/ebpf"
)

func newLive(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "live",
		Short: "Capture on this host (what dnshark does without a command)",
		Long: `live captures on this host until it is interrupted. It watches the sockets of all
network namespaces with eBPF, which tells the process that asked. Where the
kernel refuses that, or with -i, it reads packets from network interfaces.`,
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return runLive(cmd.Context(), o) },
	}
	o.addLive(cmd.Flags())
	return cmd
}

func runLive(ctx context.Context, o *options) error {
	if err := o.check(); err != nil {
		return err
	}
	kinds, err := o.kinds()
	if err != nil {
		return err
	}
	ports, anyPort, err := o.dnsPorts()
	if err != nil {
		return err
	}
	if o.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.duration)
		defer cancel()
	}
	all := kinds.Needs()&kind.NeedPackets != 0
	err = o.run(ctx, &liveSource{o: o, ports: ports, anyPort: anyPort, allPackets: all}, true)
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
	sockets, err := ebpf.New(ebpf.Options{Ports: s.ports, AnyPort: s.anyPort, AllPackets: s.allPackets})
	if err == nil {
		lanes, err := sockets.Open(n)
		if err != nil {
			return nil, errors.Join(err, sockets.Close())
		}
		keep := privilege.Of(unix.CAP_SYS_PTRACE)
		if privilege.Unaided(sockets.Check) != nil {
			keep |= privilege.Of(unix.CAP_BPF)
		}
		return s.watch(lanes, keep, "watching every socket of this host")
	}
	if !errors.Is(err, ebpf.ErrNotPermitted) && !errors.Is(err, ebpf.ErrNotSupported) {
		return nil, err
	}
	lanes, packetErr := packet.Open(n)
	if packetErr != nil {
		return nil, fmt.Errorf("%w; and without eBPF: %w", err, packetErr)
	}
	return s.watch(lanes, 0, "watching all interfaces of this network namespace, without the processes that ask: %s", oneLine(err))
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
	if !s.o.quiet {
		fmt.Fprintf(s.o.std.err, "dnshark: "+format+"; Ctrl-C ends\n", args...)
	}
}
