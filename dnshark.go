// Package dnshark lets programs see DNS messages as the command dnshark shows
// them: read from capture files, or live on this host with the process that asked.
//
//	for e, err := range dnshark.Read(ctx, file, dnshark.Options{}) {
//		if err != nil {
//			return err
//		}
//		fmt.Println(e.Time, e.Msg.RCode())
//	}
//
// An event is good until the next iteration; Clone keeps it.
package dnshark

import (
	"context"
	"errors"
	"io"
	"iter"
	"os"
	"time"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/decode"
	"github.com/dnshark-io/dnshark/internal/detect"
	"github.com/dnshark-io/dnshark/internal/filter"
	"github.com/dnshark-io/dnshark/internal/kind"
	"github.com/dnshark-io/dnshark/internal/line"
	"github.com/dnshark-io/dnshark/internal/pair"
	"github.com/dnshark-io/dnshark/internal/source"
	"github.com/dnshark-io/dnshark/internal/source/pcap"
)

// Options say which events are wanted. The zero value means what the command
// shows without options.
type Options struct {
	Events  []string      // names of events and sets; default: the set "default"
	Filter  string        // an expression; `dnshark fields` tells of the language
	Ports   []uint16      // of DNS; default 53
	AnyPort bool          // messages on other ports too, told by their structure
	Timeout time.Duration // after which a query is unanswered; default 5 s
	Host    string        // name of this host in events; default: the host's own

	NoShippedAllowLists bool // detectors use no lists of domains that are no threats
}

// Errors of captures, for errors.Is.
var (
	ErrNotCapture = pcap.ErrNotCapture // neither pcap nor pcapng
	ErrCut        = pcap.ErrCut        // it breaks off; all packets before that were read
)

// Read yields the events of a capture: pcap or pcapng, plain or compressed with
// gzip, zstd, lz4 or xz. An error ends it and comes last, with a nil event. ctx is
// looked at before every read from r, which it cannot interrupt.
func Read(ctx context.Context, r io.Reader, o Options) iter.Seq2[*event.Event, error] {
	return func(yield func(*event.Event, error) bool) {
		lanes, err := pcap.New([]string{"-"}, pcap.Options{Reader: r}).Open(1)
		if err != nil {
			yield(nil, err)
			return
		}
		l, err := o.assemble(lanes[0], yield)
		if err == nil {
			l.worker.Stages = append(l.worker.Stages, l.table, l.detect, l.marker, l.wanted)
			err = l.run(ctx)
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

// assembly is a line that ends in a loop.
type assembly struct {
	worker line.Worker
	table  *pair.Table
	detect line.Stage
	wanted line.Stage // the filter
	marker *kind.Marker
	needs  kind.Needs
	yield  func(*event.Event, error) bool
}

// nothing is the stage that changes nothing.
type nothing struct{}

func (nothing) Process(*event.Batch) {}

// assemble makes a line without its stages, and without a lane where that is live
// and comes later.
func (o *Options) assemble(lane source.Lane, yield func(*event.Event, error) bool) (*assembly, error) {
	if o.Events == nil {
		o.Events = []string{kind.SetDefault}
	}
	kinds, err := kind.Parse(o.Events)
	if err != nil {
		return nil, err
	}
	l := &assembly{table: pair.NewTable(int64(o.Timeout), 0), detect: nothing{}, wanted: nothing{}, marker: kind.NewMarker(kinds), needs: kinds.Needs(), yield: yield}
	if l.needs&kind.NeedDetection != 0 {
		l.detect = detect.NewStage(&detect.Options{Threats: kinds.HasName, NoShipped: o.NoShippedAllowLists})
	}
	if o.Filter != "" {
		if l.wanted, err = filter.Parse(o.Filter); err != nil {
			return nil, err
		}
	}
	if o.Host == "" {
		if o.Host, err = os.Hostname(); err != nil {
			return nil, err
		}
	}
	l.worker = line.Worker{
		Lane: lane, Writer: l, Host: o.Host,
		Decoder: decode.New(decode.Options{
			Ports: o.Ports, AnyPort: o.AnyPort,
			Packets: l.needs&kind.NeedPackets != 0, Messages: l.needs&kind.NeedMessages != 0,
			Live: lane == nil,
		}),
	}
	return l, nil
}

// errEnough ends a line whose loop was left.
var errEnough = errors.New("enough")

// Write implements line.Writer.
func (l *assembly) Write(b *event.Batch) (*event.Batch, error) {
	for i := range b.Events {
		if e := &b.Events[i]; e.Kinds != 0 && !l.yield(e, nil) {
			return b, errEnough
		}
	}
	b.Reset()
	return b, nil
}

// run returns what is to be told: nothing when the loop was left.
func (l *assembly) run(ctx context.Context) error {
	err := l.worker.Run(ctx)
	switch {
	case errors.Is(err, errEnough):
		return nil
	case err == nil:
		return ctx.Err()
	}
	return err
}
