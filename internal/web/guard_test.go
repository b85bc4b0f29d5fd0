package web

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// request is sent to a server, and answered with a status.
type request struct {
	method, path, host string
	headers            map[string]string
	body               io.Reader
	length             int64 // what the header says
}

func (q *request) send(t testing.TB, client *http.Client, base string) (*http.Response, string) {
	t.Helper()
	if q.method == "" {
		q.method = "GET"
	}
	r, err := http.NewRequest(q.method, base+q.path, q.body)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = q.host
	for name, value := range q.headers {
		r.Header.Set(name, value)
	}
	response, err := client.Do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", q.method, q.path, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

// lines is where an audit log goes.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// everyPath is a path of every route, and some of none.
var everyPath = []string{
	"/", "/assets/app.js", "/live", "/nothing", "/login", "/logout", "/healthz", "/readyz", "/metrics",
	"/api/v1/status", "/api/v1/events", "/api/v1/alerts", "/api/v1/top/names", "/api/v1/new", "/api/v1/history?q=a.test", "/api/v1/stream", "/api/v1/nothing",
	"/dnsdb/v2/ping", "/dnsdb/v2/rate_limit", "/dnsdb/v2/lookup/rrset/name/a.test", "/query/a.test", "/debug/pprof/",
}

// A name that somebody lets point here reaches nothing, whatever the path and method.
func TestGuardHost(t *testing.T) {
	h := newHub(t)
	access := &Access{Names: []string{"Sensor1.Example.TEST."}}
	l := serveWith(t, "127.0.0.1:0", func(s *Server) { s.Access, s.Hub = access, h })
	base := "http://" + l.Addr().String()
	if err := access.load(); err != nil {
		t.Fatal(err)
	}
	// The browser of a victim: its resolver says that evil.test is here.
	rebound := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", l.Addr().String())
	}}}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	refused := 0
	for _, path := range everyPath {
		for _, method := range []string{"GET", "HEAD", "POST", "DELETE", "OPTIONS"} {
			q := request{method: method, path: path}
			if response, _ := q.send(t, rebound, "http://evil.test:"+port); response.StatusCode != http.StatusMisdirectedRequest {
				t.Errorf("%s %s: %s", method, path, response.Status)
			} else {
				refused++
			}
		}
	}
	for host, want := range map[string]int{
		"localhost": 200, "LOCALHOST:8053": 200, "localhost.": 200, "127.0.0.1": 200, "127.0.0.1:1": 200, "127.0.0.2": 200, "[::1]:8053": 200,
		"sensor1.example.test": 200, "sensor1.example.test.:8053": 200, "SENSOR1.example.test": 200,
		"evil.test": 421, "localhost.evil.test": 421, "127.0.0.1.evil.test": 421, "192.0.2.1": 421, "[2001:db8::1]": 421, "0.0.0.0": 421,
		"xsensor1.example.test": 421, "example.test": 421, "a@localhost": 421, "127.1": 421, "2130706433": 421, "::1": 200, "[::ffff:127.0.0.1]": 200,
	} {
		q := request{path: "/api/v1/status", host: host}
		if response, body := q.send(t, http.DefaultClient, base); response.StatusCode != want {
			t.Errorf("host %s: %s, want %d %s", host, response.Status, want, body)
		}
	}
	t.Logf("%d requests by a foreign name, to every path by every method, were refused with 421", refused)
}

// A page of another site gets nothing, and is told of nobody who may.
func TestGuardOtherSites(t *testing.T) {
	h := newHub(t)
	l := serveWith(t, "127.0.0.1:0", func(s *Server) { s.Hub = h })
	host := l.Addr().String()
	base := "http://" + host
	type headers = map[string]string
	refused := 0
	for _, c := range []struct {
		method string
		path   string
		headers
		want int
	}{
		{"GET", "/api/v1/status", headers{}, 200},
		{"GET", "/api/v1/status", headers{"Origin": base, "Sec-Fetch-Site": "same-origin"}, 200},
		{"GET", "/api/v1/status", headers{"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}, 200},
		{"GET", "/api/v1/status", headers{"Origin": "http://evil.test"}, 403},
		{"GET", "/api/v1/status", headers{"Origin": "null"}, 403},
		{"GET", "/api/v1/status", headers{"Origin": "http://127.0.0.1:1"}, 403},
		{"GET", "/api/v1/status", headers{"Origin": "file://"}, 403},
		{"GET", "/api/v1/status", headers{"Sec-Fetch-Site": "cross-site"}, 403},
		{"GET", "/api/v1/status", headers{"Sec-Fetch-Site": "same-site"}, 403},
		{"GET", "/api/v1/status", headers{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 403},
		{"GET", "/api/v1/stream", headers{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}, 403},
		{"GET", "/api/v1/stream", headers{"Origin": "http://evil.test", "Upgrade": "websocket", "Connection": "Upgrade"}, 403},
		{"GET", "/query/a.test", headers{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}, 403},
		{"GET", "/healthz", headers{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200},
		{"GET", "/healthz", headers{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, 403},
		{"POST", "/login", headers{"Origin": "http://evil.test", "Content-Type": "text/plain"}, 403},
		{"POST", "/login", headers{"Sec-Fetch-Site": "cross-site"}, 403},
		{"POST", "/logout", headers{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 403},
		{"OPTIONS", "/api/v1/status", headers{"Origin": "http://evil.test", "Access-Control-Request-Method": "GET"}, 403},
		{"POST", "/api/v1/status", headers{}, 403},
		{"DELETE", "/api/v1/events", headers{}, 403},
	} {
		q := request{method: c.method, path: c.path, headers: c.headers}
		response, _ := q.send(t, http.DefaultClient, base)
		if response.StatusCode != c.want {
			t.Errorf("%s %s %v: %s, want %d", c.method, c.path, c.headers, response.Status, c.want)
		}
		if response.StatusCode == http.StatusForbidden {
			refused++
		}
		for name := range response.Header {
			if strings.HasPrefix(name, "Access-Control") {
				t.Errorf("%s %s: header %s", c.method, c.path, name)
			}
		}
	}
	// Nothing of an answer runs, and no other page shows it.
	for _, path := range everyPath {
		if path == "/api/v1/stream" {
			continue
		}
		q := request{path: path}
		response, _ := q.send(t, http.DefaultClient, base)
		h := response.Header
		if csp := h.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'; script-src 'self'; style-src 'self'; ") ||
			!strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") ||
			h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: %v", path, h)
		}
	}
	t.Logf("%d kinds of requests by other sites were refused; none of %d paths lets a page run inline scripts or be framed", refused, len(everyPath))
}

// What is too large, too slow to read or not a path is refused before it costs memory.
func TestGuardLimits(t *testing.T) {
	l := serve(t, "127.0.0.1:0", records...)
	base := "http://" + l.Addr().String()
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	io.CopyN(z, zeros{}, 1<<20)
	z.Close()
	refused := 0
	for _, c := range []struct {
		request
		want int
	}{
		{request{path: "/api/v1/status", body: io.LimitReader(zeros{}, 1<<30), length: 1 << 30}, 413},
		{request{method: "POST", path: "/login", body: io.LimitReader(zeros{}, 1<<30), length: 1 << 30}, 413},
		{request{method: "POST", path: "/login", body: bytes.NewReader(zipped.Bytes()), headers: map[string]string{"Content-Encoding": "gzip"}}, 415},
		{request{method: "POST", path: "/login", body: strings.NewReader(`{"token":"` + strings.Repeat("x", maxBody) + `"`)}, 413},
		{request{method: "POST", path: "/login", body: io.MultiReader(strings.NewReader(`{"token":"`), letters{})}, 413}, // chunks that never end
		{request{method: "POST", path: "/login", body: strings.NewReader("no JSON")}, 400},
		{request{path: "/api/v1/status", headers: map[string]string{"X": strings.Repeat("x", 1<<20)}}, 431},
		{request{path: "/query/" + strings.Repeat("x", 1<<20)}, 431},
		{request{path: "/..%2fetc/passwd"}, 404}, {request{path: "/%2e%2e/%2e%2e/etc"}, 404},
		{request{path: "/debug/pprof/heap"}, 404}, {request{path: "/debug/vars"}, 404}, {request{path: "/pprof"}, 404}, {request{path: "/api/v1/nothing"}, 404},
		{request{path: "/api/v1/events?limit=1001"}, 400}, {request{path: "/api/v1/events?limit=0"}, 400}, {request{path: "/api/v1/top/names?limit=1000000"}, 400},
		{request{path: "/api/v1/history?q=*.test&limit=100000"}, 400}, {request{path: "/api/v1/history?q=*.test&limit=10"}, 200},
		{request{path: "/api/v1/status?x=1"}, 400}, {request{path: "/api/v1/new?since=1h&since=2h"}, 400}, {request{path: "/api/v1/new?since=%zz"}, 400},
		{request{path: "/api/v1/top/nothing"}, 404}, {request{path: "/api/v1/history"}, 400}, {request{path: "/api/v1/history?q=a..b"}, 400},
		{request{path: "/api/v1/history?q=a.test&type=NONSENSE"}, 400}, {request{path: "/api/v1/new?since=yesterday"}, 400},
		{request{path: "/api/v1/stream"}, 503}, {request{path: "/api/v1/events"}, 503},
	} {
		r, err := http.NewRequest(c.method, base+c.path, c.body)
		if err != nil {
			// As a client may write it that is none.
			r, _ = http.NewRequest(c.method, base, c.body)
			r.URL = &url.URL{Scheme: "http", Host: l.Addr().String(), Opaque: c.path}
		}
		for name, value := range c.headers {
			r.Header.Set(name, value)
		}
		if c.length > 0 {
			r.ContentLength = c.length
		}
		response, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Errorf("%s: %v", c.path[:min(len(c.path), 60)], err)
			continue
		}
		if response.StatusCode != c.want {
			t.Errorf("%s: %s, want %d", c.path[:min(len(c.path), 60)], response.Status, c.want)
		}
		if strings.HasPrefix(c.path, "/api/") && c.want >= 400 && c.want != 431 && response.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %v", c.path, response.Header)
		}
		if response.StatusCode >= 400 {
			refused++
		}
		response.Body.Close()
	}
	t.Logf("%d requests that are too large, malformed or ask for too much were refused", refused)
}

type letters struct{}

func (letters) Read(p []byte) (int, error) { return copy(p, bytes.Repeat([]byte{'x'}, len(p))), nil }

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// Tokens are taken from a header, or once for a cookie, and never from a URL.
func TestGuardTokens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens")
	access := &Access{TokenFile: path}
	if err := access.load(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	info, _ := os.Stat(path)
	f := strings.Fields(string(text[bytes.IndexByte(text, '\n'):]))
	if err != nil || info.Mode().Perm() != 0o600 || len(f) != 4 || f[0] != "read" || f[2] != "admin" || len(f[1]) < 40 || f[1] == f[3] {
		t.Fatal(err, info.Mode(), string(text))
	}
	reads, admin := f[1], f[3]
	again := &Access{TokenFile: path}
	if err := again.load(); err != nil || again.roleOf(reads) != CanRead || again.roleOf(admin) != Admin {
		t.Error(err, "another run has other tokens")
	}
	var log lines
	l := serveWith(t, "127.0.0.1:0", func(s *Server) { s.Access, s.Audit = access, &log })
	base := "http://" + l.Addr().String()
	status := func(q request) (int, *http.Response) {
		response, _ := q.send(t, http.DefaultClient, base)
		return response.StatusCode, response
	}
	type headers = map[string]string
	refused := 0
	for _, c := range []struct {
		request
		want int
	}{
		{request{}, 401},
		{request{headers: headers{"Authorization": "Bearer " + reads}}, 200},
		{request{headers: headers{"Authorization": "Bearer " + admin}}, 200},
		{request{headers: headers{"X-API-Key": reads}}, 200},
		{request{headers: headers{"Authorization": reads}}, 401},
		{request{headers: headers{"Authorization": "Basic " + reads}}, 401},
		{request{headers: headers{"Authorization": "Bearer " + reads[1:]}}, 401},
		{request{headers: headers{"Authorization": "Bearer " + reads + "x"}}, 401},
		{request{headers: headers{"Authorization": "Bearer "}}, 401},
		{request{headers: headers{"X-API-Key": "read"}}, 401},
		{request{headers: headers{"Cookie": "dnshark=" + reads}}, 401},
		{request{path: "?token=" + reads}, 401}, {request{path: "?access_token=" + admin}, 401},
		{request{method: "DELETE", headers: headers{"Authorization": "Bearer " + reads}}, 403},
		{request{method: "DELETE", headers: headers{"Authorization": "Bearer " + admin}}, 405},
	} {
		c.path = "/api/v1/status" + c.path
		if got, response := status(c.request); got != c.want || (got == 401) != (response.Header.Get("WWW-Authenticate") == "Bearer") {
			t.Errorf("%s %s %v: %d, want %d", c.method, c.path, c.headers, got, c.want)
		} else if got >= 400 {
			refused++
		}
	}
	for _, path := range everyPath {
		// Pages tell nothing: what they show comes from the API.
		want := http.StatusUnauthorized
		switch path {
		case "/", "/live", "/healthz", "/readyz":
			want = 200
		case "/assets/app.js":
			want = 404
		}
		if got, _ := status(request{path: path}); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}

	login := func(body string) (int, *http.Cookie) {
		got, response := status(request{method: "POST", path: "/login", body: strings.NewReader(body)})
		for _, c := range response.Cookies() {
			return got, c
		}
		return got, nil
	}
	if got, c := login(`{"token":"` + reads[1:] + `"}`); got != 401 || c != nil {
		t.Error(got, c)
	}
	got, c := login(`{"token":"` + reads + `"}`)
	if got != 204 || c == nil || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || strings.Contains(c.Value, reads) {
		t.Fatal(got, c)
	}
	session := headers{"Cookie": c.Name + "=" + c.Value}
	if got, _ := status(request{path: "/api/v1/status", headers: session}); got != 200 {
		t.Error(got)
	}
	if got, _ := status(request{method: "DELETE", path: "/api/v1/status", headers: session}); got != 403 {
		t.Error(got)
	}
	if got, _ := status(request{method: "POST", path: "/logout", headers: session}); got != 204 {
		t.Error(got)
	}
	if got, _ := status(request{path: "/api/v1/status", headers: session}); got != 401 {
		t.Error(got)
	}
	for range 2 * maxSessions {
		access.login(discard{}, loginRequest(reads))
	}
	if n := len(access.sessions); n > maxSessions {
		t.Errorf("%d sessions", n)
	}
	for key, s := range access.sessions {
		s.until = time.Now().Add(-time.Second)
		access.sessions[key] = s
	}
	if r := loginRequest(""); access.role(r) != NoRole {
		t.Error("a session that is over")
	}
	if text := log.String(); strings.Contains(text, reads) || strings.Contains(text, reads[1:]) || strings.Contains(text, admin) {
		t.Error("a token is in the log")
	}
	t.Logf("%d ways to ask without a token or without the right, in URLs and cookies too, were refused; %d sessions at most", refused, len(access.sessions))
}

type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}

func loginRequest(token string) *http.Request {
	r, _ := http.NewRequest("POST", "/login", strings.NewReader(`{"token":"`+token+`"}`))
	return r
}

// Files of tokens that are of no use, or that others may read, are refused; what
// stands in them is not repeated.
func TestTokenFile(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]string{
		"read secret\n": ":1: a token has at least 20 characters",
		"write " + strings.Repeat("secret", 8) + "\n":       ":1: want a role",
		"# a\n\n" + strings.Repeat("secret", 8) + "\n":      ":3: want a role",
		"read " + strings.Repeat("secret", 20_000) + "\n":   "longer than",
		"read " + strings.Repeat("secret", 8) + " secret\n": ":1: want a role",
	} {
		path := filepath.Join(dir, "tokens")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		err := (&Access{TokenFile: path}).load()
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%.40q: %v, want %s", text, err, want)
		}
	}
	path := filepath.Join(dir, "open")
	if err := os.WriteFile(path, []byte("read "+strings.Repeat("x", 40)), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := (&Access{TokenFile: path}).load(); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Error(err)
	}
	if err := (&Access{TokenFile: dir}).load(); err == nil {
		t.Error("a directory was taken")
	}
}

// Other hosts are served with TLS and tokens alone.
func TestListen(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, dir)
	cert, key := ca.issue(t, "server", "sensor.example.test")
	tokens := filepath.Join(dir, "tokens")
	refused := 0
	for _, c := range []struct {
		address string
		access  *Access
		want    string // of the error, "": none
	}{
		{"127.0.0.1:0", &Access{}, ""}, {"localhost:0", &Access{}, ""}, {"[::1]:0", &Access{}, ""},
		{"0.0.0.0:0", &Access{}, "not on loopback"}, {":0", &Access{}, "not on loopback"}, {"192.0.2.1:1", &Access{}, "not on loopback"},
		{"example.com:80", &Access{}, "not on loopback"}, {"[::]:1", &Access{}, "not on loopback"}, {"localhost", &Access{}, "no address"}, {"8053", &Access{}, "no address"},
		{"0.0.0.0:0", &Access{TokenFile: tokens}, "not on loopback"},
		{"0.0.0.0:0", &Access{CertFile: cert, KeyFile: key}, "not on loopback"},
		{"0.0.0.0:0", &Access{ClientCA: ca.file, CertFile: cert, KeyFile: key}, "not on loopback"},
		{"0.0.0.0:0", &Access{CertFile: cert, KeyFile: key, TokenFile: tokens}, ""},
		{"127.0.0.1:0", &Access{CertFile: cert}, "belong together"},
		{"127.0.0.1:0", &Access{CertFile: cert, KeyFile: cert}, "--tls-cert"},
		{"127.0.0.1:0", &Access{CertFile: cert, KeyFile: key, ClientCA: key}, "no certificate"},
		{"127.0.0.1:0", &Access{ClientCA: ca.file}, "needs --tls-cert"},
		{"127.0.0.1:0", &Access{TokenFile: filepath.Join(dir, "no", "tokens")}, "--token-file"},
	} {
		l, err := c.access.Listen(c.address)
		if err == nil {
			l.Close()
		}
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.address, err, c.want)
		}
		if err != nil {
			refused++
		}
	}

	path := filepath.Join(dir, "s")
	stale, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	stale.Close()
	serve(t, "unix:"+path)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
	if l, err := (&Access{}).Listen("unix:" + path); err == nil {
		l.Close()
		t.Error("the place of a socket in use was taken")
	}
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	response, err := client.Get("http://any/dnsdb/v2/ping")
	if err != nil || response.StatusCode != 200 {
		t.Fatal(response, err)
	}
	response.Body.Close()
	t.Logf("%d ways to listen were refused, such as another host's address without TLS and tokens", refused)
}

// authority issues certificates.
type authority struct {
	dir, file string
	cert      *x509.Certificate
	key       *ecdsa.PrivateKey
}

func newAuthority(t testing.TB, dir string) *authority {
	t.Helper()
	a := &authority{dir: dir}
	a.file, _ = a.issue(t, "ca", "")
	return a
}

// issue writes a certificate, of the authority itself when it has none yet.
func (a *authority) issue(t testing.TB, file, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: file},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
		a.cert, a.key, parent, signer = c, private, c, private
	} else {
		c.DNSNames, c.IPAddresses = []string{name}, []net.IP{net.IPv4(127, 0, 0, 1)}
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &private.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(a.dir, file+".pem"), filepath.Join(a.dir, file+".key")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// With an authority of clients, who has no certificate of it does not get as far as
// HTTP. The names of our own are ours, and a new one is taken without a restart.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, dir)
	cert, key := ca.issue(t, "server", "sensor.example.test")
	access := &Access{CertFile: cert, KeyFile: key, ClientCA: ca.file, TokenFile: filepath.Join(dir, "tokens")}
	l, err := access.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- (&Server{Access: access}).Serve(ctx, l) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	roots := x509.NewCertPool()
	roots.AddCert(must(x509.ParseCertificate(must(tls.LoadX509KeyPair(ca.file, filepath.Join(dir, "ca.key"))).Certificate[0])))
	client := func(certs ...tls.Certificate) *http.Client {
		c := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: certs, ServerName: "sensor.example.test"}}}
		t.Cleanup(c.CloseIdleConnections)
		return c
	}
	base := "https://" + l.Addr().String()
	mine, mineKey := ca.issue(t, "client", "client.test")
	other, refused := newAuthority(t, t.TempDir()), 0
	for name, c := range map[string]*http.Client{
		"without a certificate":      client(),
		"with another's certificate": client(must(tls.LoadX509KeyPair(other.issue(t, "client", "client.test")))),
	} {
		if _, err := c.Get(base + "/healthz"); err == nil {
			t.Error(name)
		} else {
			refused++
		}
	}
	if response, err := http.Get("http://" + l.Addr().String() + "/healthz"); err == nil && response.StatusCode != 400 {
		t.Error("without TLS", response.Status)
	}
	c := client(must(tls.LoadX509KeyPair(mine, mineKey)))
	for _, want := range []struct {
		request
		status int
	}{
		{request{path: "/healthz"}, 200}, {request{path: "/healthz", host: "sensor.example.test"}, 200}, {request{path: "/healthz", host: "evil.test"}, 421},
		{request{path: "/dnsdb/v2/ping"}, 401},
		{request{path: "/healthz", headers: map[string]string{"Origin": base}}, 200},
		{request{path: "/healthz", headers: map[string]string{"Origin": "http://" + l.Addr().String()}}, 403},
	} {
		if response, _ := want.send(t, c, base); response.StatusCode != want.status {
			t.Errorf("%+v: %s", want.request, response.Status)
		}
	}
	text, err := os.ReadFile(access.TokenFile)
	if err != nil {
		t.Fatal(err)
	}
	login := request{method: "POST", path: "/login", body: strings.NewReader(`{"token":"` + strings.Fields(string(text))[len(strings.Fields(string(text)))-1] + `"}`)}
	response, _ := login.send(t, c, base)
	if list := response.Cookies(); len(list) != 1 || !list[0].Secure || list[0].Name != "__Host-dnshark" {
		t.Error(response.Status, list)
	}

	ca.issue(t, "server", "renamed.example.test")
	if err := os.Chtimes(cert, time.Time{}, time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	access.cert.mu.Lock()
	access.cert.looked = time.Time{}
	access.cert.mu.Unlock()
	if !access.certified("renamed.example.test") || access.certified("sensor.example.test") {
		t.Error("the certificate is the old one")
	}
	if err := os.WriteFile(cert, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	access.cert.mu.Lock()
	access.cert.looked = time.Time{}
	access.cert.mu.Unlock()
	if !access.certified("renamed.example.test") {
		t.Error("a bad file took the certificate away")
	}
	t.Logf("%d clients, without a certificate and with another authority's, did not get as far as HTTP", refused)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Who is refused is told, in lines that nothing of a request can break, without the
// query, in which may be a token.
func TestAudit(t *testing.T) {
	var log lines
	l := serveWith(t, "127.0.0.1:0", func(s *Server) { s.Audit = &log })
	q := request{path: "/query/a%0a%22%1b[2J?token=secret", host: "evil.test"}
	q.send(t, http.DefaultClient, "http://"+l.Addr().String())
	var r record
	if err := json.Unmarshal([]byte(log.String()), &r); err != nil {
		t.Fatal(err, log.String())
	}
	if r.Status != 421 || r.Host != "evil.test" || r.Method != "GET" || r.Path != `/query/a\010"\027[2J` || r.Role != "none" || !strings.HasPrefix(r.Remote, "127.0.0.1:") {
		t.Errorf("%+v", r)
	}
}

// Who is refused cannot fill a disk. What an admin does is always told.
func TestAuditBounds(t *testing.T) {
	var log lines
	a := &audit{to: &log, since: time.Now().Add(time.Hour)} // a second that does not end
	r, err := http.NewRequest("DELETE", "/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		a.note(r, 401, NoRole, "why")
	}
	n := strings.Count(log.String(), "\n")
	if n != auditBurst {
		t.Errorf("%d lines", n)
	}
	a.note(r, 200, Admin, "")
	a.note(r, 200, Admin, "")
	if text := log.String(); !strings.HasSuffix(text, "}\n") || strings.Count(text, `"role":"admin"`) != 2 || strings.Count(text, `"suppressed":80}`) != 1 {
		t.Error(text)
	}
	t.Logf("100 refusals of a second are %d lines and a count; what an admin does is told each time", n)
}
