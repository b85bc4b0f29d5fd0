package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/internal/container"
	"github.com/dnshark-io/dnshark/internal/decode"
	"github.com/dnshark-io/dnshark/internal/detect"
	"github.com/dnshark-io/dnshark/internal/ends"
	"github.com/dnshark-io/dnshark/internal/kind"
	"github.com/dnshark-io/dnshark/internal/line"
	"github.com/dnshark-io/dnshark/internal/output"
	"github.com/dnshark-io/dnshark/internal/pair"
	"github.com/dnshark-io/dnshark/internal/policy"
	"github.com/dnshark-io/dnshark/internal/proc"
	"github.com/dnshark-io/dnshark/internal/source"
)

// run is all the wiring: it carries what the source yields down the line until
// the source ends, ctx ends, or as many events were written as were asked for.
func (o *options) run(ctx context.Context, src source.Source, live bool) (err error) {
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
	wanted, err := o.match()
	if err != nil {
		return err
	}
	choice, _, err := o.choice.parse()
	if err != nil {
		return err
	}
	processes := &proc.Table{}
	if live {
		if processes, err = o.processes(); err != nil {
			return err
		}
		defer processes.Close()
	}
	runtimes, err := o.containerRuntimes()
	if err != nil {
		return err
	}
	writer, err := o.openWriter(live)
	if err != nil {
		return err
	}
	defer func() { err = writer.close(err) }()
	defer context.AfterFunc(ctx, writer.hurry)()
	needs := kinds.Needs()
	// Before packets come: making detectors takes a while, in which rings fill.
	var detection *detect.Stage
	var keeper *keeper
	if needs&kind.NeedDetection != 0 && (wanted == nil || !wanted.OnlyMessages()) {
		systems, err := o.alerts.systems()
		if err != nil {
			return err
		}
		fresh := func() *detect.Stage {
			return detect.NewStage(&detect.Options{Threats: kinds.HasName, Rules: o.rules, NoShipped: o.alerts.noShipped, Systems: systems})
		}
		if !live { // names of a capture are another network's, or another time's
			detection = fresh()
		} else if detection, keeper, err = o.keepState(fresh); err != nil {
			return err
		}
	}
	lanes, err := src.Open(1)
	if err != nil {
		return err
	}
	lane := lanes[0]
	defer lane.Close()
	if o.screen != nil {
		o.screen.Lost = func() uint64 { s := lane.Stats(); return s.RingFull + s.CopyError }
	}

	decoder := decode.New(decode.Options{
		Ports:    ports,
		AnyPort:  anyPort,
		Packets:  needs&kind.NeedPackets != 0,
		Messages: needs&kind.NeedMessages != 0,
		Copy:     writer.copies,
		Live:     live,

		StreamBytes:   o.streamMemory << 20,
		FragmentBytes: o.fragmentMemory << 20,
	})
	table := pair.NewTable(int64(o.timeout), 0)
	if o.policies != nil {
		kinds = o.carried(kind.Within(needs)) // policies may change while we run
	}
	marker := kind.NewMarker(kinds)
	tally := &output.Tally{Next: writer}
	report := &reporter{lane: lane, decoder: decoder, table: table, marker: marker, tally: tally, next: tally, runtimes: runtimes, out: o.std.err}
	report.outputs = writer.outputs
	report.observer, report.json = observers, o.statsFormat == "json"
	table.UpToEnd = len(o.command) > 0
	var stages []line.Stage
	if live && needs&kind.NeedMessages != 0 {
		stages = append(stages, ends.NewTable(int64(o.timeout)))
	}
	stages = append(stages, observers)
	if choice.OnlyResponses {
		stages = append(stages, &report.responses)
	}
	if len(choice.Servers) > 0 {
		report.servers.Prefixes = choice.Servers
		stages = append(stages, &report.servers)
	}
	if needs&kind.NeedPairing != 0 {
		stages = append(stages, table)
	}
	stopMetrics, err := o.serveMetrics(report)
	if err != nil {
		return err
	}
	defer stopMetrics()
	if o.counted() {
		report.recorder.Top.N = o.metricsTop
		stages = append(stages, &report.recorder)
	}
	if byProcess(&choice) || len(o.command) > 0 {
		stages = append(stages, &report.processes)
	}
	var births []line.Births
	var containers *container.Table
	if live {
		runtimes.Run()
		defer runtimes.Close()
		containers = container.NewTable(container.OpenCgroups(), runtimes)
		stages = append(stages, processes, containers)
		births = []line.Births{processes, containers}
	}
	if detection != nil {
		report.detect, report.keeper = detection, keeper
		stages = append(stages, detection)
	}
	if live {
		report.loss = watchLosses(report)
		stages = append(stages, report.loss)
	}
	stages = append(stages, marker)
	if wanted != nil {
		report.filter = wanted
		stages = append(stages, wanted)
	}
	if o.policies != nil {
		report.policies = policy.NewStage(o.policies)
		stages = append(stages, report.policies)
	}
	if live && len(o.policyPaths) > 0 {
		if err := o.watchPolicies(ctx, o.usePolicies(report.policies, detection, needs)); err != nil {
			return err
		}
	}
	private, err := o.anonymiser()
	if err != nil {
		return err
	}
	if private != nil {
		stages = append(stages, private)
	}
	finishStore, err := o.openStore(report, live, &stages)
	if err != nil {
		return err
	}
	defer finishStore() // what it returns is of interest only where the line ran

	worker := &line.Worker{Lane: lane, Decoder: decoder, Stages: stages, Writer: report, Host: o.host, Limits: dnswire.Limits{Records: o.maxRecords}}
	if o.count > 0 {
		report.limit = output.Limit{N: o.count, Once: writer.once, Next: tally}
		report.next = &report.limit
	}
	report.worker = worker
	if live {
		worker.Births, worker.Cgroups = births, containers
		worker.Clock = func() int64 { return time.Now().UnixNano() }
	}
	defer report.every(o.stats)()

	if keeper != nil {
		defer keeper.every(stateEvery)()
	}
	confined := o.sandbox(live)
	if l, ok := src.(*liveSource); ok {
		confined.dropped, confined.processes, confined.maps = true, l.sockets, l.sockets
	}
	if err := o.enter(confined); err != nil {
		return err
	}
	err = writer.run(func() error { return worker.Run(ctx) })
	if keeper != nil {
		keeper.save(true)
	}
	err = without(err, output.ErrLimit)
	if ctx.Err() != nil {
		err = without(err, ctx.Err())
	}
	err = errors.Join(writer.close(err), finishStore())
	// Where nothing could be read, the error is all there is to say.
	s := lane.Stats()
	worth := len(o.command) == 0 || o.stats > 0 || s.RingFull+s.CopyError > 0 || !report.closes()
	if !o.quiet && worth && (err == nil || s.Seen > 0) {
		report.print(true)
	}
	return err
}

// without takes an end that was asked for out of what went wrong beside it.
func without(err, end error) error {
	if !errors.Is(err, end) {
		return err
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil
	}
	var rest []error
	for _, e := range joined.Unwrap() {
		rest = append(rest, without(e, end))
	}
	return errors.Join(rest...)
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return name
}
