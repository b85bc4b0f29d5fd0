package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dnshark-io/dnshark/internal/metrics"
)

// patience is for how long a request for metrics waits for the worker, which
// looks up at least every 100 ms.
const patience = time.Second

// snapshot asks the worker for its counters. Any goroutine may call it.
func (r *reporter) snapshot(ctx context.Context) (*metrics.Snapshot, error) {
	reply := make(chan *metrics.Snapshot, 1)
	select {
	case r.asked <- reply:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(patience):
		return nil, errors.New("the worker is stuck")
	}
	select {
	case s := <-reply:
		return s, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(patience):
		return nil, errors.New("the worker is stuck")
	}
}

// answer answers a request, when there is one. Only the worker calls it.
func (r *reporter) answer() {
	select {
	case reply := <-r.asked:
		reply <- r.count()
	default:
	}
}

// answerUntil answers in the place of a worker that has ended.
func (r *reporter) answerUntil(ctx context.Context) {
	for {
		select {
		case reply := <-r.asked:
			reply <- r.count()
		case <-ctx.Done():
			return
		}
	}
}

func (r *reporter) count() *metrics.Snapshot {
	s := &metrics.Snapshot{Recorder: r.recorder, Most: r.recorder.Top.Counts()}
	add := func(account, side string, counts []count) {
		for _, c := range counts {
			s.Counts = append(s.Counts, metrics.Count{Account: account, Side: side, What: c.name, N: c.n})
		}
	}
	for _, a := range r.accounts() {
		// Of frames some wait in the ring until the end; outputs have metrics of their own.
		if a.name != "frames" && !strings.HasPrefix(a.name, "output ") {
			add(a.name, "in", a.in)
			add(a.name, "out", a.out)
		}
	}
	add("", "also", r.also())
	if r.detect != nil {
		for did, list := range map[string][]count{"suppressed": counts(r.detect.SuppressedBy()), "allowed": counts(r.detect.AllowedBy())} {
			for _, c := range list {
				s.Rules = append(s.Rules, metrics.Count{Side: did, What: c.name, N: c.n})
			}
		}
	}
	for _, o := range r.outputs {
		n := o.Queue.Stats()
		s.Outputs = append(s.Outputs, metrics.Output{
			Name: o.Target.Name, Target: o.Target.String(), Format: o.Target.Format,
			Events: n.Events + n.Recovered, Waiting: n.Waiting + n.Spooled, Queued: n.Queued, Octets: n.Octets, Retries: n.Retries, Up: o.Queue.Err() == nil,
			Outcomes: []metrics.Count{
				{What: "delivered", N: n.Delivered}, {What: "overflow", N: n.Overflow},
				{What: "refused", N: n.Refused}, {What: "abandoned", N: n.Abandoned},
				{What: "dropped_oldest", N: n.Dropped}, {What: "damaged", N: n.Damaged},
			},
		})
	}
	return s
}

// counted reports whether somebody wants metrics.
func (o *options) counted() bool { return o.metrics != "" || o.serve != nil }

// serveMetrics serves the report's counters until the returned function is
// called.
func (o *options) serveMetrics(r *reporter) (stop func(), err error) {
	if o.counted() {
		r.asked = make(chan chan *metrics.Snapshot)
	}
	if o.serve != nil {
		o.serve.report.Store(r)
	}
	if o.metrics == "" {
		return func() {}, nil
	}
	listener, err := metrics.Listen(o.metrics)
	if err != nil {
		return nil, withExit(exitUsage, fmt.Errorf("--metrics: %w", err))
	}
	server := &metrics.Server{Snapshot: r.snapshot, Version: versionText()}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(ctx, listener); err != nil {
			fmt.Fprintf(o.std.err, "dnshark: metrics: %s\n", oneLine(err))
		}
	}()
	return func() { cancel(); <-done }, nil
}
