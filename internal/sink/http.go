package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip" // twice as fast as the standard library's
	"github.com/klauspost/compress/zstd"

	"github.com/dnshark-io/dnshark/event"
)

// httpOptions are the options of sinks that speak HTTP.
func httpOptions(compression string) []Option {
	return options(
		[]Option{
			timeoutOption,
			{"compression", "one of none, gzip, zstd", compression, "of what is sent"},
			{"headers", "text", "", "more headers: NAME:VALUE, several with | between them"},
		},
		secretOptions, tokenOptions, tlsOptions,
	)
}

// httpClient sends requests of one output to one server.
type httpClient struct {
	target  *Target
	client  *http.Client
	base    *url.URL // without user and query
	headers http.Header

	user            string
	password, token *secret

	gzip *gzip.Writer
	zstd *zstd.Encoder
	sent []byte // compressed
}

const (
	// maxAnswer bounds what is read of an answer, if not told otherwise.
	maxAnswer = 64 << 10
	// maxQuoted bounds how much of it stands in an error.
	maxQuoted = 300
)

// httpClient returns the client that the target's options ask for.
func (t *Target) httpClient() (*httpClient, error) {
	c := &httpClient{target: t, headers: http.Header{"User-Agent": {"dnshark"}}}
	scheme := "http"
	if t.secure() {
		scheme = "https"
	}
	if t.URL.Host == "" {
		return nil, errors.New("the URL needs a host")
	}
	c.base = &url.URL{Scheme: scheme, Host: t.URL.Host, Path: t.URL.Path, RawPath: t.URL.RawPath}
	config, err := t.tlsConfig()
	if err != nil {
		return nil, err
	}
	if c.user, c.password, err = t.credentials(); err != nil {
		return nil, err
	}
	if c.user == "" && c.password.given() {
		return nil, errNoUser
	}
	if c.token, err = t.secret("token"); err != nil {
		return nil, err
	}
	if c.user != "" && c.token.given() {
		return nil, errors.New("a user and a token are one too many")
	}
	if err := c.addHeaders(t.Text("headers")); err != nil {
		return nil, err
	}
	switch t.Text("compression") {
	case "gzip":
		c.gzip = gzip.NewWriter(nil)
	case "zstd":
		if c.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1)); err != nil {
			return nil, err
		}
	}
	c.client = &http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: t.timeout()}).DialContext,
			TLSClientConfig:        config,
			TLSHandshakeTimeout:    t.timeout(),
			ForceAttemptHTTP2:      true,
			MaxIdleConnsPerHost:    1,
			IdleConnTimeout:        time.Minute,
			MaxResponseHeaderBytes: maxAnswer,
			// Nobody but us decides how much of an answer is unpacked.
			DisableCompression: true,
		},
		// A redirection would carry events and secrets to whom the user did not name.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// defaultPort sets the port where the URL has none.
func (c *httpClient) defaultPort(plain, secure string) {
	if c.base.Port() != "" {
		return
	}
	port := plain
	if c.base.Scheme == "https" {
		port = secure
	}
	c.base.Host = net.JoinHostPort(c.base.Hostname(), port)
}

// addHeaders reads NAME:VALUE|NAME:VALUE.
func (c *httpClient) addHeaders(list string) error {
	for _, header := range strings.Split(list, "|") {
		if header == "" {
			continue
		}
		name, value, ok := strings.Cut(header, ":")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !ok || strings.Trim(name, idOctets+"-") != "" || name == "" || strings.ContainsFunc(value, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
			return fmt.Errorf("headers: %q is no NAME:VALUE", name)
		}
		c.headers.Add(name, value)
	}
	return nil
}

// httpError is an answer other than success. That of 400, 413 and 422 is about what
// was sent, so it is Permanent; all others may be different next time.
type httpError struct {
	Status int
	Text   string // beginning of the answer, printable
}

func (e *httpError) Error() string {
	text := strconv.Itoa(e.Status) + " " + http.StatusText(e.Status)
	if e.Text != "" {
		text += ": " + e.Text
	}
	return text
}

// post sends body to base with path and query, and returns the beginning of the
// answer, at most limit octets or, with limit 0, maxAnswer. Sent are header, those
// of the options, and body, compressed as the options say. It is for one goroutine.
func (c *httpClient) post(ctx context.Context, path string, query url.Values, header http.Header, body []byte, limit int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.target.timeout())
	defer cancel()
	address := *c.base
	if path != "" {
		address.Path = strings.TrimSuffix(address.Path, "/") + path
		address.RawPath = ""
	}
	address.RawQuery = query.Encode()
	body, encoding, err := c.compress(body)
	if err != nil {
		return nil, err
	}
	loan := &loan{octets: body}
	defer loan.end()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address.String(), loan.reader())
	if err != nil {
		return nil, err
	}
	r.ContentLength = int64(len(body))
	r.GetBody = func() (io.ReadCloser, error) { return loan.reader(), nil }
	c.setHeaders(r, header, encoding)
	answer, err := c.client.Do(r)
	if err != nil {
		// A connection on which nothing came must not be taken again.
		c.client.CloseIdleConnections()
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, fmt.Errorf("the receiver took longer than %v", c.target.timeout())
		}
		var inside *url.Error
		if errors.As(err, &inside) { // it quotes the URL
			err = inside.Err
		}
		return nil, err
	}
	defer answer.Body.Close()
	if limit == 0 {
		limit = maxAnswer
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, limit))
	if err != nil {
		c.client.CloseIdleConnections()
	}
	if answer.StatusCode >= 200 && answer.StatusCode < 300 {
		return text, err
	}
	return text, c.failure(answer, text)
}

func (c *httpClient) setHeaders(r *http.Request, header http.Header, encoding string) {
	for name, values := range header {
		r.Header[name] = values
	}
	for name, values := range c.headers {
		r.Header[name] = values
	}
	if host := r.Header.Get("Host"); host != "" {
		r.Host = host
	}
	if encoding != "" {
		r.Header.Set("Content-Encoding", encoding)
	}
	switch {
	case c.user != "":
		r.SetBasicAuth(c.user, c.password.text())
	case c.token.given():
		r.Header.Set("Authorization", "Bearer "+c.token.text())
	}
}

// compress returns body as it is sent, and the name of the compression or "".
func (c *httpClient) compress(body []byte) ([]byte, string, error) {
	switch {
	case c.gzip != nil:
		to := bytes.NewBuffer(c.sent[:0])
		c.gzip.Reset(to)
		_, err := c.gzip.Write(body)
		if err = errors.Join(err, c.gzip.Close()); err != nil {
			return nil, "", err
		}
		c.sent = to.Bytes()
		return c.sent, "gzip", nil
	case c.zstd != nil:
		c.sent = c.zstd.EncodeAll(body, c.sent[:0])
		return c.sent, "zstd", nil
	}
	return body, "", nil
}

// printable returns the beginning of what a server said.
func printable(text []byte) string {
	return string(event.AppendSafe(nil, strings.TrimSpace(string(text[:min(len(text), maxQuoted)]))))
}

// failure makes an error of an answer.
func (c *httpClient) failure(answer *http.Response, text []byte) error {
	what := printable(text)
	if location := answer.Header.Get("Location"); answer.StatusCode/100 == 3 && location != "" {
		what = "it points to " + printable([]byte(location)) + "; redirections are not followed"
	}
	err := error(&httpError{answer.StatusCode, what})
	switch answer.StatusCode {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return Permanent(err)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return After(err, retryAfter(answer.Header.Get("Retry-After")))
	}
	return err
}

// retryAfter reads seconds or a date; what is neither counts as none.
func retryAfter(text string) time.Duration {
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return time.Until(at)
	}
	return 0
}

// loan is a body that belongs to others again when its request is over. net/http may
// read on for a while when the answer comes early.
type loan struct {
	mu     sync.Mutex
	octets []byte
	over   bool
}

func (l *loan) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
}

func (l *loan) reader() io.ReadCloser { return &loanReader{loan: l} }

type loanReader struct {
	loan *loan
	at   int
}

// Read implements io.Reader.
func (r *loanReader) Read(to []byte) (int, error) {
	r.loan.mu.Lock()
	defer r.loan.mu.Unlock()
	switch {
	case r.loan.over:
		return 0, io.ErrClosedPipe
	case r.at == len(r.loan.octets):
		return 0, io.EOF
	}
	n := copy(to, r.loan.octets[r.at:])
	r.at += n
	return n, nil
}

// Close implements io.Closer.
func (r *loanReader) Close() error { return nil }

// close closes connections that wait to be used again.
func (c *httpClient) close() { c.client.CloseIdleConnections() }
