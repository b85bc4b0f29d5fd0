package main

import (
	"context"
	"errors"
	"os"
	"runtime"
	"time"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/internal/decode"
	"github.com/dnshark-io/dnshark/internal/kind"
	"github.com/dnshark-io/dnshark/internal/line"
	"github.com/dnshark-io/dnshark/internal/output"
	"github.com/dnshark-io/dnshark/internal/pair"
	"github.com/dnshark-io/dnshark/internal/proc"
	"github.com/dnshark-io/dnshark/internal/source"
)

// run is all the wiring: it carries what the source yields down the line until
// the source ends, ctx ends, or as many events were written as were asked for.
func (o *options) run(ctx context.Context, src source.Source, live bool) error {
	kinds, err := o.kinds()
	if err != nil {
		return err
	}
	ports, anyPort, err := o.dnsPorts()
	if err != nil {
		return err
	}
	observers, err := o.observers()
	if err != nil {
		return err
	}
	out := o.std.out
	if o.file != "" {
		if out, err = os.Create(o.file); err != nil {
			return err
		}
		defer out.Close()
	}
	encoder, err := o.encoder(out)
	if err != nil {
		return err
	}
	lanes, err := src.Open(1)
	if err != nil {
		return err
	}
	lane := lanes[0]
	defer lane.Close()

	writer, parallel := o.writer(encoder, out, live)
	needs := kinds.Needs()
	decoder := decode.New(decode.Options{
		Ports:    ports,
		AnyPort:  anyPort,
		Packets:  needs&kind.NeedPackets != 0,
		Messages: needs&kind.NeedMessages != 0,
		Copy:     parallel,

		StreamBytes:   o.streamMemory << 20,
		FragmentBytes: o.fragmentMemory << 20,
	})
	table := pair.NewTable(int64(o.timeout), 0)
	marker := kind.NewMarker(kinds)
	report := &reporter{lane: lane, decoder: decoder, table: table, marker: marker, out: o.std.err}
	stages := []line.Stage{observers}
	if needs&kind.NeedPairing != 0 {
		stages = append(stages, table)
	}
	processes := &proc.Table{}
	if live {
		stages = append(stages, processes)
	}
	stages = append(stages, marker, report)

	worker := line.Worker{Lane: lane, Decoder: decoder, Stages: stages, Writer: writer, Host: o.host, Limits: dnswire.Limits{Records: o.maxRecords}}
	if o.count > 0 {
		worker.Writer = &output.Limit{N: o.count, Next: writer}
	}
	if live {
		worker.Births = processes
		worker.Clock = func() int64 { return time.Now().UnixNano() }
	}
	defer report.every(o.stats)()

	err = worker.Run(ctx)
	if errors.Is(err, output.ErrLimit) || ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = nil
	}
	if closing := writer.Close(); !errors.Is(err, closing) {
		err = errors.Join(err, closing)
	}
	// Where nothing could be read, the error is all there is to say.
	if !o.quiet && (err == nil || lane.Stats().Seen > 0) {
		report.print()
	}
	return err
}

// closer is a writer that must be closed, so that it has written everything.
type closer interface {
	line.Writer
	Close() error
}

// writer returns where events go. Files are encoded on all processors; live
// events are few, and whoever watches wants them at once.
func (o *options) writer(e output.Encoder, out *os.File, live bool) (_ closer, parallel bool) {
	if _, stateless := e.(*output.JSON); stateless && !live {
		return output.NewParallel(e, out, runtime.GOMAXPROCS(0)), true
	}
	return output.NewWriter(e, out, live), false
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return name
}
