package dnshark

import (
	"context"
	"iter"
	"time"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/container"
	"github.com/dnshark-io/dnshark/internal/ends"
	"github.com/dnshark-io/dnshark/internal/kind"
	"github.com/dnshark-io/dnshark/internal/line"
	"github.com/dnshark-io/dnshark/internal/pair"
	"github.com/dnshark-io/dnshark/internal/policy"
	"github.com/dnshark-io/dnshark/internal/proc"
	"github.com/dnshark-io/dnshark/internal/source"
	"github.com/dnshark-io/dnshark/internal/source/afpacket"
	"github.com/dnshark-io/dnshark/internal/source/ebpf"
)

// LiveOptions say what to watch.
type LiveOptions struct {
	Options
	// Interface is watched instead of all sockets of the host, and then nobody
	// knows which processes ask.
	Interface string
	// Which ends of conversations inside this host are wanted; default: the
	// client's.
	Client, Server bool
}

// ErrNotPermitted says that a capability is missing; its text says which one.
var ErrNotPermitted = ebpf.ErrNotPermitted

// Live yields the events of this host until ctx ends, whose error comes last. It
// needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, or CAP_NET_RAW for an interface;
// it gives none of them up.
func Live(ctx context.Context, o LiveOptions) iter.Seq2[*event.Event, error] {
	return func(yield func(*event.Event, error) bool) {
		if err := o.live(ctx, yield); err != nil {
			yield(nil, err)
		}
	}
}

func (o *LiveOptions) live(ctx context.Context, yield func(*event.Event, error) bool) error {
	// Options are looked at before the kernel is asked for anything.
	l, err := o.assemble(nil, yield)
	if err != nil {
		return err
	}
	var from source.Source
	packets := l.needs&kind.NeedPackets != 0
	if o.Interface != "" {
		from = afpacket.New(afpacket.Options{Iface: o.Interface, Ports: o.Ports, AnyPort: o.AnyPort, AllPackets: packets})
	} else if from, err = ebpf.New(ebpf.Options{Ports: o.Ports, AnyPort: o.AnyPort, AllPackets: packets}); err != nil {
		return err
	}
	lanes, err := from.Open(1)
	if err != nil {
		return err
	}
	defer lanes[0].Close()
	if !o.Client && !o.Server {
		o.Client = true
	}
	timeout := int64(o.Timeout)
	if timeout <= 0 {
		timeout = pair.DefaultTimeout
	}
	processes := &proc.Table{}
	defer processes.Close()
	// A library connects to no runtime unasked.
	containers := container.NewTable(container.OpenCgroups(), nil)
	w := &l.worker
	w.Lane, w.Births, w.Cgroups = lanes[0], []line.Births{processes, containers}, containers
	w.Clock = func() int64 { return time.Now().UnixNano() }
	w.Stages = append(w.Stages, ends.NewTable(timeout), &policy.Observer{Client: o.Client, Server: o.Server}, l.table, processes, containers, l.detect, l.marker, l.wanted)
	return l.run(ctx)
}
