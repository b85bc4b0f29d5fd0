package web

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dnshark-io/dnshark/event"
)

// guard stands before every route, also before those that do not exist.
type guard struct {
	access *Access
	audit  *audit
	mux    *http.ServeMux
	open   []string // patterns that need no token: they tell nothing of what was seen
}

// maxBody bounds what a request may bring. Nothing that comes is ever decompressed.
const maxBody = 4 << 10

// policy lets a page load from here alone, and run nothing that stands in it.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

var headers = map[string]string{
	"Content-Security-Policy":      policy,
	"X-Content-Type-Options":       "nosniff",
	"X-Frame-Options":              "DENY",
	"Referrer-Policy":              "no-referrer",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cache-Control":                "no-store",
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for name, value := range headers {
		w.Header().Set(name, value)
	}
	role, refused := g.check(r)
	if refused != nil {
		if refused.status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		if refused.status == http.StatusRequestEntityTooLarge {
			w.Header().Set("Connection", "close")
		}
		g.audit.note(r, refused.status, role, refused.detail)
		fail(w, refused)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if !isReading(r) {
		seen := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		g.mux.ServeHTTP(seen, r)
		g.audit.note(r, seen.status, role, "")
		return
	}
	g.mux.ServeHTTP(w, r)
}

// check says why a request is refused, or nil.
func (g *guard) check(r *http.Request) (Role, *problem) {
	_, pattern := g.mux.Handler(r)
	open := slices.Contains(g.open, pattern)
	switch {
	case !g.access.isHost(r):
		// A web page must not reach us under a name of its own that it lets point
		// here (DNS rebinding).
		return NoRole, &problem{status: http.StatusMisdirectedRequest, detail: "this is another host; --allow-host names more"}
	case foreign(r, open):
		return NoRole, &problem{status: http.StatusForbidden, detail: "a page of another site asks"}
	case r.ContentLength > maxBody:
		return NoRole, errTooLarge
	case r.Header.Get("Content-Encoding") != "":
		return NoRole, &problem{status: http.StatusUnsupportedMediaType, detail: "bodies are not compressed"}
	case slices.Contains(strings.Split(r.URL.Path, "/"), ".."):
		return NoRole, errNoSuchPath
	case open:
		return NoRole, nil
	}
	role := g.access.role(r)
	switch {
	case role == NoRole:
		return role, &problem{status: http.StatusUnauthorized, detail: "a token is needed: in the header Authorization: Bearer TOKEN"}
	case !isReading(r) && role != Admin:
		return role, &problem{status: http.StatusForbidden, detail: "this takes an admin's token"}
	}
	return role, nil
}

var errNoSuchPath = &problem{status: http.StatusNotFound, detail: "no such path"}

var errTooLarge = &problem{status: http.StatusRequestEntityTooLarge, detail: fmt.Sprintf("a body has at most %d octets", maxBody)}

func isReading(r *http.Request) bool {
	return r.Method == http.MethodGet || r.Method == http.MethodHead
}

// isHost reports whether we are who a request asks for.
func (a *Access) isHost(r *http.Request) bool {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	tcp, ok := local.(*net.TCPAddr)
	if !ok {
		return local != nil && local.Network() == "unix" // which no web page reaches
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	here := tcp.AddrPort().Addr().Unmap()
	if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return ip.Unmap() == here || ip.IsLoopback() && here.IsLoopback()
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" && here.IsLoopback() || host != "" && (slices.Contains(a.Names, host) || a.certified(host))
}

// foreign reports whether a browser sends a request for a page of another site. To
// follow a link to a page of ours is nobody's harm.
func foreign(r *http.Request, open bool) bool {
	if origin := r.Header.Get("Origin"); origin != "" {
		u, err := url.Parse(origin)
		if err != nil || u.Host == "" || u.Host != r.Host || r.TLS != nil && u.Scheme != "https" {
			return true
		}
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
		return false
	}
	return !open || r.Method != http.MethodGet || r.Header.Get("Sec-Fetch-Mode") != "navigate" || r.Header.Get("Sec-Fetch-Dest") != "document"
}

// statusWriter remembers how a request went.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// record is a line of the audit log: a request that was refused, or one that is not
// for reading. It has no query, in which somebody may have put a token.
type record struct {
	Time       time.Time `json:"time"`
	Remote     string    `json:"remote"`
	Method     string    `json:"method"`
	Host       string    `json:"host"`
	Path       string    `json:"path"`
	Status     int       `json:"status"`
	Role       string    `json:"role"`
	Reason     string    `json:"reason,omitempty"`
	Suppressed int       `json:"suppressed,omitempty"` // records before this one
}

// Bounds of the audit log: who is refused must not fill the disk.
const (
	auditBurst = 20 // records in a second
	auditText  = 200
)

type audit struct {
	to io.Writer

	mu         sync.Mutex
	since      time.Time
	n          int // records since then
	suppressed int
}

func (a *audit) note(r *http.Request, status int, role Role, reason string) {
	if a.to == nil {
		return
	}
	short := func(s string) string { return string(event.AppendSafeUpTo(nil, s, auditText)) }
	n := record{
		Time: time.Now().UTC(), Remote: short(r.RemoteAddr), Method: short(r.Method), Host: short(r.Host), Path: short(r.URL.Path),
		Status: status, Role: role.String(), Reason: reason,
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if n.Time.Sub(a.since) >= time.Second {
		a.since, a.n = n.Time, 0
	}
	// What changes something is always told.
	if a.n++; a.n > auditBurst && role != Admin {
		a.suppressed++
		return
	}
	n.Suppressed, a.suppressed = a.suppressed, 0
	if line, err := json.Marshal(&n); err == nil {
		a.to.Write(append(line, '\n'))
	}
}

// secured returns what a listener's connections become.
func (a *Access) secured(l net.Listener) net.Listener {
	if a.tls == nil {
		return l
	}
	return tls.NewListener(l, a.tls)
}
