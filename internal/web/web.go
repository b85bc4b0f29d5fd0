// Package web is what dnshark serve answers over HTTP: live events, recent events and
// the history under /api/v1/, look-ups as DNSDB version 2 and in the passive DNS
// Common Output Format, and pages for people.
package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/dnshark-io/dnshark/internal/store"
)

// Bounds of requests, which may come from anybody who reaches us.
const (
	maxHeader = 16 << 10
	maxAtOnce = 8 // questions to a store; streams have places of their own
	queryTime = 20 * time.Second
	writeTime = 10 * time.Second // for what an answer still has to write then
	maxRows   = 100_000          // of one answer
)

// Server answers.
type Server struct {
	Store  store.Store
	Hub    *Hub   // nil when nothing is captured here
	Events Events // nil when none are kept
	// Status tells how capture is. Any goroutine calls it.
	Status func(context.Context) Status
	// Metrics answers /metrics, /healthz and /readyz, or is nil.
	Metrics http.Handler

	busy chan struct{}
	done context.Context // when streams end
}

// Listen opens an address: a host and port of this machine, or unix: and a path.
// Who may ask whom processes asked is not decided here, so other hosts may not.
func Listen(address string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return net.Listen("unix", path)
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("%s is no address; want one as 127.0.0.1:8053, or unix:/run/dnshark/history.sock", address)
	}
	if a, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !a.IsLoopback()) {
		return nil, fmt.Errorf("%s is not on loopback: the history is for this host; put a proxy with TLS and a password before it", address)
	}
	return net.Listen("tcp", address)
}

// Serve answers until ctx ends.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	s.busy, s.done = make(chan struct{}, maxAtOnce), ctx
	mux := http.NewServeMux()
	for _, r := range s.routes() {
		mux.Handle(r.pattern, r.handler)
	}
	server := http.Server{
		Handler: s.guard(mux), MaxHeaderBytes: maxHeader,
		// Not before an answer is there: reading too late ends the request.
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: queryTime + writeTime, WriteTimeout: queryTime + writeTime, IdleTimeout: time.Minute,
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

type route struct {
	pattern string
	handler http.Handler
}

func (s *Server) routes() []route {
	api := func(path string, h handler) route {
		return route{"GET /api/v1/" + path, s.asking(problems(h))}
	}
	list := []route{
		api("status", s.status),
		api("events", s.events),
		api("alerts", s.alerts),
		api("top/{what}", s.top),
		api("new", s.new),
		api("history", s.history),
		{"GET /api/v1/stream", problems(s.stream)},
		{"GET /dnsdb/v2/ping", http.HandlerFunc(ping)},
		{"GET /dnsdb/v2/rate_limit", http.HandlerFunc(rateLimit)},
	}
	for _, more := range []string{"", "/{type}", "/{type}/{bailiwick}"} {
		list = append(list, route{"GET /dnsdb/v2/lookup/{what}/{by}/{value}" + more, s.asking(http.HandlerFunc(s.lookup))})
	}
	list = append(list, route{"GET /query/{value...}", s.asking(http.HandlerFunc(s.query))})
	if s.Metrics != nil {
		for _, path := range []string{"metrics", "healthz", "readyz"} {
			list = append(list, route{"GET /" + path, s.Metrics})
		}
	}
	return list
}

// asking bounds how many questions there are at once, and how long each takes.
func (s *Server) asking(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case s.busy <- struct{}{}:
			defer func() { <-s.busy }()
		default:
			w.Header().Set("Retry-After", "1")
			fail(w, &problem{status: http.StatusServiceUnavailable, detail: "too many questions at once"})
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), queryTime)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// guard refuses requests for another name: a web page must not reach us under a
// name of its own that it lets point here (DNS rebinding).
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		a, err := netip.ParseAddr(strings.Trim(host, "[]"))
		if host != "localhost" && (err != nil || !a.IsLoopback()) && r.Context().Value(http.LocalAddrContextKey).(net.Addr).Network() != "unix" {
			http.Error(w, "another host", http.StatusMisdirectedRequest)
			return
		}
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}
