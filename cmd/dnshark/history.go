package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/internal/line"
	"github.com/dnshark-io/dnshark/internal/output"
	"github.com/dnshark-io/dnshark/internal/store"
	"github.com/dnshark-io/dnshark/internal/store/clickhouse"
	"github.com/dnshark-io/dnshark/internal/store/eventlog"
)

// storeOptions say where the history is and how much of it is kept.
type storeOptions struct {
	dir        string
	age        string
	size       int64 // MiB
	eventsAge  string
	eventsSize int64 // MiB
	viewed     bool  // the store makes the history of events that an output sends
}

func (s *storeOptions) add(f *pflag.FlagSet) {
	f.StringVar(&s.dir, "store", "", "keep the history of answers that are shown in a `DIR`, or of many hosts in ClickHouse (clickhouse://USER@HOST/DATABASE), for dnshark history, top, new and serve")
	f.StringVar(&s.age, "store-age", "", "remove from the history what was not seen for this `TIME`, as 90d (default: never)")
	f.Int64Var(&s.size, "store-size", 4096, "remove the oldest of the history when it has more than about this many `MIB`")
	f.StringVar(&s.eventsAge, "events-age", "7d", "in --store also keep whole events, for this `TIME`")
	f.Int64Var(&s.eventsSize, "events-size", 1024, "of these at most about this many `MIB`; 0: none")
}

// remote reports whether the history is in ClickHouse, and so are the events.
func (s *storeOptions) remote() bool { return strings.Contains(s.dir, "://") }

// parseEvents returns how many whole events are kept.
func (s *storeOptions) parseEvents() (o eventlog.Options, err error) {
	if o.MaxAge, err = store.ParseAge(s.eventsAge); err != nil {
		return o, usagef("--events-age: %w", err)
	}
	if least := int64(eventlog.MinSize >> 20); s.eventsSize != 0 && (s.eventsSize < least || s.eventsSize > 1<<30) {
		return o, usagef("--events-size is 0 or %d to %d MiB", least, 1<<30)
	}
	o.MaxSize = s.eventsSize << 20
	return o, nil
}

func (s *storeOptions) parse() (o store.Options, err error) {
	if s.age != "" {
		if o.Age, err = store.ParseAge(s.age); err != nil {
			return o, usagef("--store-age: %w", err)
		}
	}
	if s.size < 1 || s.size > 1<<30 {
		return o, usagef("--store-size is 1 to %d MiB", 1<<30)
	}
	o.Octets = s.size << 20
	return o, nil
}

// openHistory opens the store for writing, or for look-ups alone.
func (o *options) openHistory(settings store.Options, write bool) (s store.Store, err error) {
	switch where := o.history.dir; {
	case o.history.remote() && settings.Age != 0:
		return nil, usagef("--store-age: ClickHouse removes what is old by the TTL of its tables (dnshark store ddl)")
	case o.history.remote():
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		s, err = clickhouse.Open(ctx, where)
	case write:
		s, err = store.Open(where, settings)
	default:
		s, err = store.OpenReader(where)
	}
	if err != nil {
		return nil, fmt.Errorf("--store: %w", err)
	}
	return s, nil
}

// openStore appends the stages that keep the history and whole events, when they are
// wanted. The returned function writes what waits; it may be called again.
func (o *options) openStore(r *reporter, live bool, stages *[]line.Stage) (finish func() error, err error) {
	nothing := func() error { return nil }
	settings, err := o.history.parse()
	if err != nil {
		return nothing, err
	}
	recent, err := o.history.parseEvents()
	if err != nil || o.history.dir == "" || o.history.viewed {
		return nothing, err
	}
	s, err := o.openHistory(settings, true)
	if err != nil {
		return nil, err
	}
	var events *eventlog.Log
	if recent.MaxSize > 0 && !o.history.remote() {
		events, err = eventlog.Open(filepath.Join(o.history.dir, eventlog.DirName), recent)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("--store: %w", err), s.Close())
		}
		r.events = eventlog.NewStage(events, output.NewJSON().Append)
		r.events.Wait = !live
		*stages = append(*stages, r.events)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50) // what a store holds is large: as much garbage beside it would be too much
	}
	r.history = store.NewStage(s, o.host)
	r.history.Wait = !live
	*stages = append(*stages, r.history)
	return func() error {
		if s == nil {
			return nil
		}
		err := errors.Join(r.history.Close(), s.Close())
		if events != nil {
			err = errors.Join(err, events.Close())
		}
		s = nil
		return err
	}, nil
}

// readStore opens the history for look-ups.
func (o *options) readStore() (store.Store, error) {
	if o.history.dir == "" {
		return nil, usagef("which history? --store DIR says where it is")
	}
	return o.openHistory(store.Options{}, false)
}

// span is the flags --since, --until and --limit.
type span struct {
	since, until string
	limit        int
}

func (s *span) add(cmd *cobra.Command, limit int) {
	cmd.Flags().StringVar(&s.since, "since", "", "not before a `TIME`: ago, as 24h or 7d, or 2026-01-31 or 2026-01-31T12:00:00Z")
	cmd.Flags().StringVar(&s.until, "until", "", "not after a `TIME`")
	cmd.Flags().IntVar(&s.limit, "limit", limit, "at most `N` lines")
}

func (s *span) parse() (store.Range, error) {
	r, err := store.ParseRange(s.since, s.until, time.Now())
	if err != nil {
		return r, usagef("%w", err)
	}
	if s.limit < 1 || s.limit > store.MaxLimit {
		return r, usagef("--limit is 1 to %d", store.MaxLimit)
	}
	return r, nil
}

// listFormat returns which of the formats of lists was asked for.
func (o *options) listFormat(formats ...string) (string, error) {
	switch {
	case len(o.outputs) == 0:
		return formats[0], nil
	case len(o.outputs) == 1:
		for _, f := range formats {
			if f == o.outputs[0] {
				return f, nil
			}
		}
	}
	return "", usagef("-o is %s here, not %q", strings.Join(formats, " or "), strings.Join(o.outputs, ", "))
}

func newHistory(o *options) *cobra.Command {
	var s span
	var typ string
	cmd := &cobra.Command{
		Use:   "history NAME | *.NAME | NAME.* | IP | CIDR | process:NAME | container:ID",
		Short: "Show which records a name, an address or a process has had",
		Long: `history shows records of answers that dnshark --store DIR has seen: when first, when
last and how often. Of a process, named by its comm or its path, and of a container
they are what it was told.

A name may begin or end with a wildcard: *.example.test has all names below
example.test and itself. Quote it for the shell.`,
		Example: `  dnshark history --store /var/lib/dnshark '*.example.test' --type A --since 7d
  dnshark history --store /var/lib/dnshark 192.0.2.0/24 -o cof
  dnshark history --store /var/lib/dnshark process:curl`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("history needs one name, address, process or container")
			}
			return nil
		},
		ValidArgsFunction: cobra.FixedCompletions([]string{"process:\tby comm or path", "container:\tby id"}, cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveNoSpace),
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := o.listFormat("table", "json", "cof")
			if err != nil {
				return err
			}
			q, err := store.ParseSubject(args[0])
			if err != nil {
				return usagef("%w", err)
			}
			if typ != "" {
				var ok bool
				if q.Type, ok = dnswire.ParseType(strings.ToUpper(typ)); !ok {
					return usagef("--type: %q is no type of records", typ)
				}
			}
			if q.Range, err = s.parse(); err != nil {
				return err
			}
			q.Limit = s.limit
			h, err := o.readStore()
			if err != nil {
				return err
			}
			defer h.Close()
			w := bufio.NewWriter(o.std.out)
			n := 0
			more, err := h.Lookup(cmd.Context(), q, func(t *store.Tuple) error {
				if format == "table" && n == 0 {
					fmt.Fprintf(w, "%-20s %-20s %8s  %s\n", "FIRST", "LAST", "COUNT", "RECORD")
				}
				n++
				if format == "table" {
					_, err := fmt.Fprintf(w, "%-20s %-20s %8d  %s %v %s\n", clock(t.First), clock(t.Last), t.Count, t.Name, t.Type, t.RData)
					return err
				}
				_, err := w.Write(append(t.AppendCOF(nil), '\n'))
				return err
			})
			if err = errors.Join(err, w.Flush()); err == nil && !o.quiet {
				switch {
				case more:
					fmt.Fprintf(o.std.err, "dnshark: there are more than %d; --limit shows them\n", n)
				case n == 0:
					fmt.Fprintf(o.std.err, "dnshark: no record of %s\n", oneLine(errors.New(args[0])))
				}
			}
			return err
		},
	}
	s.add(cmd, 100)
	cmd.Flags().StringVar(&typ, "type", "", "only records of a `TYPE`, as A or TYPE65280")
	return cmd
}

func clock(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339) }

func newNew(o *options) *cobra.Command {
	var s span
	cmd := &cobra.Command{
		Use:     "new",
		Short:   "Show names that were never asked for before",
		Long:    "new shows names that dnshark --store DIR first saw an answer for since a time, the newest\nfirst.",
		Example: "  dnshark new --store /var/lib/dnshark --since 1h",
		Args:    atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.list(&s, func(h store.Store, r store.Range) ([]store.Ranked, error) {
				return h.New(cmd.Context(), r, s.limit)
			}, func(w io.Writer, r *store.Ranked) {
				fmt.Fprintf(w, "%-20s %8d  %s\n", clock(r.First), r.Count, r.Value)
			})
		},
	}
	s.add(cmd, 100)
	cmd.Flags().Lookup("since").DefValue, s.since = "24h", "24h"
	return cmd
}

// list prints ranked values.
func (o *options) list(s *span, ask func(store.Store, store.Range) ([]store.Ranked, error), row func(io.Writer, *store.Ranked)) error {
	format, err := o.listFormat("table", "json")
	if err != nil {
		return err
	}
	r, err := s.parse()
	if err != nil {
		return err
	}
	h, err := o.readStore()
	if err != nil {
		return err
	}
	defer h.Close()
	list, err := ask(h, r)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(o.std.out)
	for i := range list {
		if format == "table" {
			row(w, &list[i])
			continue
		}
		w.Write(append(list[i].AppendJSON(nil), '\n'))
	}
	return w.Flush()
}
