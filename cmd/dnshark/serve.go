package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dnshark-io/dnshark/internal/metrics"
	"github.com/dnshark-io/dnshark/internal/source/pcap"
	"github.com/dnshark-io/dnshark/internal/store/clickhouse"
	"github.com/dnshark-io/dnshark/internal/store/eventlog"
	"github.com/dnshark-io/dnshark/internal/web"
)

// defaultStore is where serve keeps the history when nobody says where.
const defaultStore = "/var/lib/dnshark"

// serving is what dnshark serve has beside capture.
type serving struct {
	listen    string
	access    web.Access
	auditLog  string
	noCapture bool
	files     []string

	hub    *web.Hub
	report atomic.Pointer[reporter] // since capture began
	ended  atomic.Bool              // there is nothing more to capture
	log    func(format string, args ...any)
}

func (s *serving) add(f *pflag.FlagSet) {
	f.StringVar(&s.listen, "listen", "127.0.0.1:8053", "serve at an `ADDRESS` of this host, or unix:PATH; one that other hosts reach takes TLS and tokens")
	f.StringVar(&s.access.CertFile, "tls-cert", "", "`FILE` with the certificate to serve with, PEM; it is read again when it changes")
	f.StringVar(&s.access.KeyFile, "tls-key", "", "`FILE` with its key")
	f.StringVar(&s.access.ClientCA, "client-ca", "", "`FILE` with the authorities, PEM, of one of which clients must have a certificate")
	f.StringVar(&s.access.TokenFile, "token-file", "", "`FILE` with tokens, of which clients must have one: lines of read or admin, and a token; made when missing")
	f.StringSliceVar(&s.access.Names, "allow-host", nil, "`NAMES` under which clients may ask, beside addresses and the certificate's names")
	f.StringVar(&s.auditLog, "audit-log", "", "append requests that are refused, and those that change something, to a `FILE` instead of telling them on standard error")
}

func newServe(o *options) *cobra.Command {
	s := &serving{}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Capture, keep the history, and serve both on this host",
		Long: `serve captures as dnshark live does, with its flags, keeps the history of answers
(--store, default ` + defaultStore + `) and the newest events, and answers over HTTP:
  /api/v1/openapi.json                                 everything below /api/v1
  /api/v1/stream?filter=EXPRESSION                     live events (Server-Sent Events)
  /dnsdb/v2/lookup/{rrset,rdata}/{name,ip,raw}/VALUE   DNSDB version 2, for dnsdbq and others
  /query/NAME, /query/IP, /query/CIDR                  passive DNS Common Output Format
  /metrics, /healthz, /readyz                          for Prometheus and others

Events go to no other output unless -o says so. With --no-capture nothing is
captured: another dnshark writes the store. With -r a capture file is read instead.`,
		Example: `  sudo dnshark serve
  curl -N 'http://127.0.0.1:8053/api/v1/stream?filter=dns.rcode=="NXDOMAIN"'
  dnshark serve --no-capture --store /var/lib/dnshark --listen 127.0.0.1:8053
  DNSDB_SERVER=http://127.0.0.1:8053 DNSDB_API_KEY=none dnsdbq -r '*.example.test'`,
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if s.noCapture && len(s.files) > 0 {
				return usagef("--no-capture and -r exclude each other")
			}
			if o.history.dir == "" {
				o.history.dir = defaultStore
			}
			return runServe(cmd.Context(), o, s)
		},
	}
	s.add(cmd.Flags())
	cmd.Flags().BoolVar(&s.noCapture, "no-capture", false, "capture nothing: another dnshark writes the store")
	cmd.Flags().StringArrayVarP(&s.files, "read", "r", nil, "read a capture `FILE` instead of capturing")
	o.addLive(cmd.Flags())
	return cmd
}

func runServe(ctx context.Context, o *options, s *serving) error {
	var capture func(context.Context) error
	s.log = o.logger("serve")
	if !s.noCapture {
		o.serve = s
		err := o.eventsOutput(ctx)
		if err != nil {
			return err
		}
		if capture, err = o.serveSource(s.files); err != nil {
			return err
		}
	}
	l, err := s.access.Listen(s.listen)
	if err != nil {
		return withExit(exitUsage, fmt.Errorf("--listen: %w", err))
	}
	defer l.Close()
	server := &web.Server{Access: &s.access, Audit: o.std.err}
	if s.auditLog != "" {
		f, err := os.OpenFile(s.auditLog, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return fmt.Errorf("--audit-log: %w", err)
		}
		defer f.Close()
		server.Audit = f
	}
	if capture != nil {
		// Whoever asks needs a store before the first event is in.
		if err := o.createStore(); err != nil {
			return err
		}
		s.hub = web.NewHub(o.host, len(s.files) > 0, s.log)
		server.Hub = s.hub
		server.Metrics = (&metrics.Server{Snapshot: s.snapshot, Version: versionText()}).Handler()
	}
	history, err := o.readStore()
	if err != nil {
		return err
	}
	defer history.Close()
	server.Store, server.Status = history, s.statusFunc(o)
	events, closeEvents, err := o.readEvents(ctx)
	if err != nil {
		return fmt.Errorf("--store: %w", err)
	}
	defer closeEvents()
	server.Events = events
	if !o.quiet {
		fmt.Fprintf(o.std.err, "dnshark: serving at %s\n", l.Addr())
	}
	if capture == nil {
		if err := o.enter(s.confine(&sandbox{}, o)); err != nil {
			return err
		}
	}
	return s.both(ctx, server, l, capture)
}

// readEvents opens whole events for look-ups. They are nil where none are kept.
func (o *options) readEvents(ctx context.Context) (events web.Events, closeEvents func() error, err error) {
	nothing := func() error { return nil }
	if o.history.remote() {
		remote, err := clickhouse.OpenEvents(ctx, o.history.dir)
		if errors.Is(err, clickhouse.ErrOldTable) { // the history is another table
			o.logger("serve")("no events are shown: %v", err)
			return nil, nothing, nil
		}
		if err != nil || remote == nil {
			return nil, nothing, err
		}
		return remote, remote.Close, nil
	}
	if o.history.eventsSize == 0 {
		return nil, nothing, nil
	}
	reader, err := eventlog.OpenReader(filepath.Join(o.history.dir, eventlog.DirName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nothing, nil
	}
	if err != nil {
		return nil, nothing, err
	}
	return reader, reader.Close, nil
}

// confine adds to a sandbox what serving takes, and returns it.
func (s *serving) confine(b *sandbox, o *options) *sandbox {
	b.network = true
	b.store(o.history.dir)
	for _, path := range []string{s.access.CertFile, s.access.KeyFile, s.access.ClientCA, s.access.TokenFile} {
		if path != "" {
			b.files.Read = append(b.files.Read, filepath.Dir(path)) // they are replaced while we run
		}
	}
	if path, ok := strings.CutPrefix(s.listen, "unix:"); ok {
		b.files.Write = append(b.files.Write, filepath.Dir(path)) // the socket is removed at the end
	}
	return b
}

// both serves, and captures until there is nothing more to.
func (s *serving) both(ctx context.Context, server *web.Server, l net.Listener, capture func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served := make(chan error, 1)
	go func() {
		served <- server.Serve(ctx, l)
		cancel()
	}()
	var err error
	if capture != nil {
		err = capture(ctx)
		s.ended.Store(true)
	}
	switch {
	case errors.Is(err, pcap.ErrCut):
		// What was in the file before its end is there.
		s.log("%v", err)
		s.report.Load().answerUntil(ctx)
		err = withExit(exitCut, err)
	case err != nil, capture != nil && len(s.files) == 0:
		cancel()
	case capture != nil:
		s.report.Load().answerUntil(ctx)
	}
	return errors.Join(err, <-served)
}

// serveSource returns what captures, after a look at all flags.
func (o *options) serveSource(files []string) (func(context.Context) error, error) {
	if len(files) > 0 {
		o.observer, o.inputs = "both", files
		if _, err := o.match(); err != nil {
			return nil, err
		}
		return func(ctx context.Context) error {
			return o.run(ctx, pcap.New(files, pcap.Options{Stdin: o.std.in}), false)
		}, o.check()
	}
	if err := o.checkLive(); err != nil {
		return nil, err
	}
	live, err := o.liveSource()
	return func(ctx context.Context) error { return o.live(ctx, live) }, err
}

// eventsOutput adds the output that keeps whole events in ClickHouse, if there is a table
// for them and the user names no such output.
func (o *options) eventsOutput(ctx context.Context) error {
	if !o.history.remote() || o.history.eventsSize == 0 || slices.ContainsFunc(o.outputs, func(text string) bool { return strings.HasPrefix(text, "clickhouse") }) {
		return nil
	}
	events, err := clickhouse.OpenEvents(ctx, o.history.dir)
	if errors.Is(err, clickhouse.ErrOldTable) { // readEvents tells
		return nil
	}
	if err != nil {
		return fmt.Errorf("--store: %w", err)
	}
	if events == nil {
		return nil
	}
	o.outputs = append(o.outputs, events.Output(o.history.dir))
	o.history.viewed = events.Viewed
	return events.Close()
}

// createStore makes the store where there is none yet.
func (o *options) createStore() error {
	settings, err := o.history.parse()
	if err != nil {
		return err
	}
	s, err := o.openHistory(settings, true)
	if err != nil {
		return err
	}
	recent, err := o.history.parseEvents()
	if err != nil || recent.MaxSize == 0 || o.history.remote() {
		return errors.Join(err, s.Close())
	}
	events, err := eventlog.Open(filepath.Join(o.history.dir, eventlog.DirName), recent)
	if err != nil {
		return errors.Join(fmt.Errorf("--store: %w", err), s.Close())
	}
	return errors.Join(events.Close(), s.Close())
}

// snapshot asks capture for its counters.
func (s *serving) snapshot(ctx context.Context) (*metrics.Snapshot, error) {
	if r := s.report.Load(); r != nil {
		return r.snapshot(ctx)
	}
	return nil, errors.New("capture has not begun")
}

func (s *serving) statusFunc(o *options) func(context.Context) web.Status {
	started := time.Now().UTC()
	source := "what another dnshark captures"
	switch {
	case len(s.files) == 1:
		source = s.files[0]
	case len(s.files) > 1:
		source = fmt.Sprintf("%d capture files", len(s.files))
	case o.iface != "":
		source = "interface " + o.iface
	case !s.noCapture:
		source = "this host"
	}
	return func(ctx context.Context) web.Status {
		status := web.Status{Version: versionText(), Host: o.host, Started: started, Source: source}
		snap, err := s.snapshot(ctx)
		if s.noCapture || err != nil {
			return status
		}
		status.Capturing = !s.ended.Load()
		for _, c := range snap.Counts {
			if c.Account == "packets" && (c.What == "ring_full" || c.What == "copy_error") || c.Account == "event_log" && (c.What == "dropped" || c.What == "failed") {
				status.Lost += c.N
			}
		}
		for _, out := range snap.Outputs {
			if out.Name == web.OutputName {
				status.Events = out.Events
				for _, c := range out.Outcomes {
					if c.What != "delivered" {
						status.Lost += c.N
					}
				}
			}
		}
		return status
	}
}
