package sink

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// tlsOptions are the options of sinks that speak TLS.
var tlsOptions = []Option{
	{"ca", "path", "", "certificates (PEM) to trust in place of the system's"},
	{"cert", "path", "", "own certificate (PEM)"},
	{"key", "path", "", "the certificate's key (PEM)"},
	{"server-name", "text", "", "name in the server's certificate; default: the URL's host"},
}

// timeoutOption is that of every sink with a peer.
var timeoutOption = Option{"timeout", "time", "10s", "how long the receiver may take"}

// timeout returns for how long one exchange with the peer may last.
func (t *Target) timeout() time.Duration { return max(t.Time("timeout"), time.Millisecond) }

// tlsConfig returns what the TLS options say, or nil where the URL asks for none. The peer's certificate is always
// verified. A new certificate of ours is used from the next connection on.
func (t *Target) tlsConfig() (*tls.Config, error) {
	if !t.secure() {
		for _, o := range tlsOptions {
			if t.Given(o.Name) {
				return nil, fmt.Errorf("%s is for TLS, and %s:// is without", o.Name, t.URL.Scheme)
			}
		}
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.Text("server-name")}
	if c.ServerName == "" {
		c.ServerName = t.URL.Hostname()
	}
	if path := t.Text("ca"); path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		if c.RootCAs = x509.NewCertPool(); !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("ca: %s has no certificate in PEM", path)
		}
	}
	cert, key := t.Text("cert"), t.Text("key")
	if (cert == "") != (key == "") {
		return nil, errors.New("cert and key go together")
	}
	if cert == "" {
		return c, nil
	}
	own, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("cert, key: %w", err)
	}
	var mu sync.Mutex
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		mu.Lock()
		defer mu.Unlock()
		// Without the right to read it again, the old one has to do.
		if renewed, err := tls.LoadX509KeyPair(cert, key); err == nil {
			own = renewed
		}
		return &own, nil
	}
	return c, nil
}

// secretOptions are the options of sinks with a user and a password.
var secretOptions = []Option{
	{"user", "text", "", "name of the user; also USER:PASSWORD@ before the host"},
	{"password", "text", "", "the user's password, best as ${NAME}"},
	{"password-file", "path", "", "file with the password"},
}

// tokenOptions are the options of sinks with a token.
var tokenOptions = []Option{
	{"token", "text", "", "token (bearer), best as ${NAME}"},
	{"token-file", "path", "", "file with the token"},
}

// credentials returns the user's name and password, "" where there are none.
func (t *Target) credentials() (user string, password *secret, err error) {
	if user = t.Text("user"); user == "" {
		user = t.URL.User.Username()
	}
	if password, err = t.secret("password"); err != nil {
		return "", nil, err
	}
	if inURL, ok := t.URL.User.Password(); ok {
		if password.given() {
			return "", nil, errors.New("two passwords: in the URL and as an option")
		}
		password = &secret{value: inURL}
	}
	return user, password, nil
}

var errNoUser = errors.New("a password needs a user")

// secure reports whether the URL asks for TLS: the scheme ends in tls or https, or it
// is the kind's with an s.
func (t *Target) secure() bool {
	return strings.HasSuffix(t.URL.Scheme, "tls") || strings.HasSuffix(t.URL.Scheme, "https") || t.URL.Scheme == t.Kind.Scheme+"s"
}

// secret is a password or token. Its file may change at any time.
type secret struct {
	path string // "" when it was given as it is

	mu    sync.Mutex
	value string
	read  time.Time
}

// secretAge is for how long a file is believed to be as it was.
const secretAge = 10 * time.Second

// secret returns what the option name or name-file says.
func (t *Target) secret(name string) (*secret, error) {
	s := &secret{path: t.Text(name + "-file"), value: t.Text(name)}
	if s.path == "" {
		return s, nil
	}
	if s.value != "" {
		return nil, fmt.Errorf("%s and %s-file are one too many", name, name)
	}
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("%s-file: %w", name, err)
	}
	if s.value == "" {
		return nil, fmt.Errorf("%s-file: %s is empty", name, s.path)
	}
	return s, nil
}

func (s *secret) given() bool { return s.path != "" || s.value != "" }

func (s *secret) load() error {
	s.read = time.Now()
	text, err := os.ReadFile(s.path)
	if err != nil {
		return err
	}
	s.value = strings.TrimRight(string(text), "\r\n")
	return nil
}

// text returns the secret as it is now.
func (s *secret) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.path != "" && time.Since(s.read) > secretAge {
		// dnshark may have given up the right to read it: then the old one has to do.
		_ = s.load()
	}
	return s.value
}

// options joins lists of options.
func options(lists ...[]Option) []Option { return slices.Concat(lists...) }
