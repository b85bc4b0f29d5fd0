// Package web is what dnshark serve answers over HTTP: live events, recent events and
// the history under /api/v1/, look-ups as DNSDB version 2 and in the passive DNS
// Common Output Format, and pages for people.
package web

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
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

	// Access says who may ask; its Listen was called. nil: whoever reaches us.
	Access *Access
	// Audit gets a line of JSON for every request that is refused or changes
	// something, or is nil.
	Audit io.Writer

	busy chan struct{}
	done context.Context // when streams end
}

// Serve answers until ctx ends.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	s.busy, s.done = make(chan struct{}, maxAtOnce), ctx
	server := http.Server{
		Handler: s.handler(), MaxHeaderBytes: maxHeader, ErrorLog: log.New(io.Discard, "", 0),
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

// handler answers every request.
func (s *Server) handler() http.Handler {
	g := &guard{access: s.Access, audit: &audit{to: s.Audit}, mux: http.NewServeMux()}
	if g.access == nil {
		g.access = &Access{}
	}
	for _, r := range s.routes() {
		g.mux.Handle(r.pattern, r.handler)
	}
	for _, r := range s.openRoutes(g.access) {
		g.mux.Handle(r.pattern, r.handler)
		g.open = append(g.open, r.pattern)
	}
	return g
}

type route struct {
	pattern string
	handler http.Handler
}

// openRoutes need no token: they tell nothing of what was seen.
func (s *Server) openRoutes(a *Access) []route {
	list := []route{
		{"POST /login", problems(a.login)},
		{"POST /logout", problems(a.logout)},
	}
	list = append(list, uiRoutes()...)
	for _, path := range []string{"GET /healthz", "GET /readyz"} {
		if s.Metrics != nil {
			list = append(list, route{path, s.Metrics})
		} else {
			list = append(list, route{path, problems(s.healthy)})
		}
	}
	return list
}

func noSuchPath(http.ResponseWriter, *http.Request) error { return errNoSuchPath }

func (s *Server) healthy(w http.ResponseWriter, _ *http.Request) error {
	_, err := io.WriteString(w, "ok\n")
	return err
}

// routes need a token, where there are tokens.
func (s *Server) routes() []route {
	list := []route{
		// What is no page of ours: pages begin at /.
		{"GET /api/", problems(noSuchPath)},
		{"GET /debug/", problems(noSuchPath)},
		{"GET /dnsdb/v2/ping", http.HandlerFunc(ping)},
		{"GET /dnsdb/v2/rate_limit", http.HandlerFunc(rateLimit)},
	}
	for _, more := range []string{"", "/{type}", "/{type}/{bailiwick}"} {
		list = append(list, route{"GET /dnsdb/v2/lookup/{what}/{by}/{value}" + more, s.asking(http.HandlerFunc(s.lookup))})
	}
	for _, e := range s.endpoints() {
		h := problems(func(w http.ResponseWriter, r *http.Request) error {
			p := read(r, e.params)
			if p.err != nil {
				return p.err
			}
			return e.handler(w, r, p)
		})
		if !e.free {
			h = s.asking(h)
		}
		list = append(list, route{"GET /api/v1/" + e.path, h})
	}
	list = append(list, route{"GET /query/{value...}", s.asking(http.HandlerFunc(s.query))})
	if s.Metrics != nil {
		list = append(list, route{"GET /metrics", s.Metrics})
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
