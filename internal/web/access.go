package web

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/netutil"
)

// Access says who may ask.
type Access struct {
	CertFile, KeyFile string   // TLS; both or none
	ClientCA          string   // whose certificates clients must show, "": none
	TokenFile         string   // "": whoever reaches us may read, and nobody may change
	Names             []string // under which we are known, beside addresses and those of the certificate

	tls    *tls.Config
	cert   *certificate
	tokens []token // nil without TokenFile

	mu       sync.Mutex
	sessions map[[sha256.Size]byte]session // by the hash of their cookies
}

// Role is what somebody may do.
type Role uint8

// Roles.
const (
	NoRole Role = iota
	CanRead
	Admin // may change and delete, too
)

func (r Role) String() string { return [...]string{"none", "read", "admin"}[r] }

type token struct {
	hash [sha256.Size]byte
	role Role
}

type session struct {
	role  Role
	until time.Time
}

// Bounds of what is kept of clients.
const (
	maxConnections = 256
	maxSessions    = 1000
	sessionTime    = 12 * time.Hour
	maxTokenFile   = 64 << 10
	minToken       = 20 // characters
)

// Listen opens an address: a host and port of this machine, or unix: and a path. An
// address that other hosts reach is refused without TLS and tokens. Where there is no
// file of tokens yet, it makes one.
func (a *Access) Listen(address string) (net.Listener, error) {
	path, isUnix := strings.CutPrefix(address, "unix:")
	if !isUnix {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, fmt.Errorf("%s is no address; want one as 127.0.0.1:8053, or unix:/run/dnshark/web.sock", address)
		}
		ip, err := netip.ParseAddr(host)
		if local := host == "localhost" || err == nil && ip.IsLoopback(); !local && (a.CertFile == "" || a.TokenFile == "") {
			return nil, fmt.Errorf("%s is not on loopback: other hosts may ask only with --tls-cert, --tls-key and --token-file", address)
		}
	}
	if err := a.load(); err != nil {
		return nil, err
	}
	if isUnix {
		return listenUnix(path)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	return a.secured(netutil.LimitListener(l, maxConnections)), nil
}

// listenUnix takes the place of a socket that nobody listens at any more. Only its
// owner may connect.
func listenUnix(path string) (net.Listener, error) {
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
	} else if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
		os.Remove(path)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return netutil.LimitListener(l, maxConnections), nil
}

// load reads the files.
func (a *Access) load() error {
	a.sessions = map[[sha256.Size]byte]session{}
	for i, name := range a.Names {
		a.Names[i] = strings.ToLower(strings.TrimSuffix(name, "."))
	}
	switch {
	case (a.CertFile == "") != (a.KeyFile == ""):
		return errors.New("--tls-cert and --tls-key belong together")
	case a.ClientCA != "" && a.CertFile == "":
		return errors.New("--client-ca needs --tls-cert and --tls-key")
	}
	if a.TokenFile != "" {
		if err := a.loadTokens(); err != nil {
			return fmt.Errorf("--token-file: %w", err)
		}
	}
	if a.CertFile == "" {
		return nil
	}
	a.cert = &certificate{certFile: a.CertFile, keyFile: a.KeyFile}
	if err := a.cert.load(); err != nil {
		return fmt.Errorf("--tls-cert: %w", err)
	}
	a.tls = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: a.cert.get, NextProtos: []string{"http/1.1"}}
	if a.ClientCA == "" {
		return nil
	}
	text, err := os.ReadFile(a.ClientCA)
	if err != nil {
		return fmt.Errorf("--client-ca: %w", err)
	}
	a.tls.ClientCAs, a.tls.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
	if !a.tls.ClientCAs.AppendCertsFromPEM(text) {
		return fmt.Errorf("--client-ca: %s holds no certificate", a.ClientCA)
	}
	return nil
}

// certificate is read again when its file changes.
type certificate struct {
	certFile, keyFile string

	mu      sync.Mutex
	looked  time.Time
	changed time.Time // of the file
	now     *tls.Certificate
}

const lookEvery = 10 * time.Second

func (c *certificate) load() error {
	info, err := os.Stat(c.certFile)
	if err != nil {
		return err
	}
	c.looked = time.Now()
	if c.now != nil && info.ModTime().Equal(c.changed) {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err == nil {
		c.now, c.changed = &pair, info.ModTime()
	}
	return err
}

// get returns the newest certificate that could be read.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) >= lookEvery {
		_ = c.load() // its two files may be changed one after the other
	}
	return c.now, nil
}

// certified reports whether the certificate has the name.
func (a *Access) certified(name string) bool {
	if a.cert == nil {
		return false
	}
	pair, _ := a.cert.get(nil)
	return pair.Leaf.VerifyHostname(name) == nil
}

// loadTokens reads lines of a role and a token, and makes a file with a token of each
// role where there is none.
func (a *Access) loadTokens() error {
	text, err := readPrivate(a.TokenFile)
	if errors.Is(err, fs.ErrNotExist) {
		text = []byte("# Who may ask dnshark serve: a role, read or admin, and a token.\nread " + newToken() + "\nadmin " + newToken() + "\n")
		err = writePrivate(a.TokenFile, text)
	}
	if err != nil {
		return err
	}
	a.tokens = []token{}
	n := 0
	for line := range bytes.Lines(text) {
		n++
		f := strings.Fields(string(line))
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		role := map[string]Role{"read": CanRead, "admin": Admin}[f[0]]
		switch {
		case len(f) != 2 || role == NoRole:
			return fmt.Errorf("%s:%d: want a role, read or admin, and a token", a.TokenFile, n) // and never what stands there
		case len(f[1]) < minToken:
			return fmt.Errorf("%s:%d: a token has at least %d characters", a.TokenFile, n, minToken)
		}
		a.tokens = append(a.tokens, token{sha256.Sum256([]byte(f[1])), role})
	}
	return nil
}

func newToken() string {
	octets := make([]byte, 32)
	rand.Read(octets) // never fails
	return base64.RawURLEncoding.EncodeToString(octets)
}

func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s: others may read it; chmod 600 it", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxTokenFile+1))
	if err == nil && len(text) > maxTokenFile {
		err = fmt.Errorf("%s: longer than %d octets", path, maxTokenFile)
	}
	return text, err
}

func writePrivate(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}

// role tells who asks, by a header or by the cookie of a session, and by
// nothing else: a token in a URL would end in logs.
func (a *Access) role(r *http.Request) Role {
	if a.tokens == nil {
		return CanRead
	}
	if text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return a.roleOf(text)
	}
	if text := r.Header.Get("X-API-Key"); text != "" { // of DNSDB's clients
		return a.roleOf(text)
	}
	c, err := r.Cookie(cookieName(r))
	if err != nil {
		return NoRole
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.sessions[sha256.Sum256([]byte(c.Value))]
	if time.Now().After(s.until) {
		return NoRole
	}
	return s.role
}

// roleOf takes as long whatever the text is.
func (a *Access) roleOf(text string) Role {
	hash, role := sha256.Sum256([]byte(text)), 0
	for i := range a.tokens {
		t := &a.tokens[i]
		role = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(hash[:], t.hash[:]), int(t.role), role)
	}
	return Role(role)
}

// cookieName is one that, with TLS, only this host can have set.
func cookieName(r *http.Request) string {
	if r.TLS != nil {
		return "__Host-dnshark"
	}
	return "dnshark"
}

// login makes a session of a token: {"token": "..."}.
func (a *Access) login(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Token string `json:"token"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return errTooLarge
		}
		return badRequest(`want {"token": "..."}`)
	}
	role := a.roleOf(body.Token)
	if role == NoRole {
		return &problem{status: http.StatusUnauthorized, detail: "not a token"}
	}
	value := newToken()
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	for key, s := range a.sessions {
		if len(a.sessions) >= maxSessions || now.After(s.until) {
			delete(a.sessions, key)
		}
	}
	a.sessions[sha256.Sum256([]byte(value))] = session{role, now.Add(sessionTime)}
	setCookie(w, r, value, int(sessionTime/time.Second))
	return nil
}

func (a *Access) logout(w http.ResponseWriter, r *http.Request) error {
	if c, err := r.Cookie(cookieName(r)); err == nil {
		a.mu.Lock()
		delete(a.sessions, sha256.Sum256([]byte(c.Value)))
		a.mu.Unlock()
	}
	setCookie(w, r, "", -1)
	return nil
}

func setCookie(w http.ResponseWriter, r *http.Request, value string, age int) {
	http.SetCookie(w, &http.Cookie{
		Name: cookieName(r), Value: value, Path: "/", MaxAge: age,
		HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode,
	})
	w.WriteHeader(http.StatusNoContent)
}
