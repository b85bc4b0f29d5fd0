package clickhouse

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dnshark-io/dnshark/event"
)

// client speaks ClickHouse's HTTP interface with the servers of a URL.
type client struct {
	http         *http.Client
	scheme       string
	hosts        []string     // HOST:PORT
	at           atomic.Int32 // of hosts: which answered last
	user         string
	password     string
	passwordFile string // "": password
	settings     url.Values
	literals     bool // the server is too old for parameters
}

const (
	maxAnswer   = 64 << 10 // of an answer that is read whole
	maxQuoted   = 300
	dialTimeout = 5 * time.Second
	// queryTime bounds a look-up that has no deadline of its own.
	queryTime = 20 * time.Second
)

// newClient reads clickhouse://[USER[:PASSWORD]@]HOST[:PORT][,HOST...]/[DATABASE][?OPTION=VALUE].
// ${NAME} is the environment's.
func newClient(text string) (*client, error) {
	missing := ""
	text = os.Expand(text, func(name string) string {
		value, ok := os.LookupEnv(name)
		if !ok {
			missing = name
		}
		return strings.ReplaceAll(url.QueryEscape(value), "+", "%20")
	})
	if missing != "" {
		return nil, fmt.Errorf("the environment has no %s", missing)
	}
	// net/url takes one host.
	scheme, rest, _ := strings.Cut(text, "://")
	end := len(rest)
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		end = i
	}
	hosts := rest[:end]
	user := ""
	if i := strings.LastIndexByte(hosts, '@'); i >= 0 {
		user, hosts = hosts[:i+1], hosts[i+1:]
	}
	u, err := url.Parse(scheme + "://" + user + "host" + rest[end:])
	if err != nil {
		return nil, errors.New("not a URL; in a password, write what is not a letter or digit as %XX") // err quotes it
	}
	c := &client{scheme: "http", user: u.User.Username(), settings: url.Values{}}
	port := "8123"
	var config *tls.Config
	switch u.Scheme {
	case "clickhouse":
	case "clickhouses":
		c.scheme, port, config = "https", "8443", &tls.Config{MinVersion: tls.VersionTLS12}
	default:
		return nil, errors.New("want clickhouse://HOST/DATABASE, or clickhouses:// with TLS")
	}
	for host := range strings.SplitSeq(hosts, ",") {
		if _, _, err := net.SplitHostPort(host); err != nil {
			host = net.JoinHostPort(strings.Trim(host, "[]"), port)
		}
		if name, port, err := net.SplitHostPort(host); err != nil || name == "" || strings.Trim(port, "0123456789") != "" {
			return nil, fmt.Errorf("%q is no HOST or HOST:PORT", host)
		}
		c.hosts = append(c.hosts, host)
	}
	c.password, _ = u.User.Password()
	if database := strings.Trim(u.Path, "/"); database != "" {
		c.settings.Set("database", database)
	}
	options, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("options: %w", err)
	}
	for name, values := range options {
		value := values[len(values)-1]
		switch {
		case name == "password-file" && c.password == "":
			c.passwordFile = value
		case name == "ca" && config != nil:
			pem, err := os.ReadFile(value)
			if err != nil {
				return nil, fmt.Errorf("ca: %w", err)
			}
			if config.RootCAs = x509.NewCertPool(); !config.RootCAs.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("ca: %s has no certificate in PEM", value)
			}
		case name == "partial" && (value == "yes" || value == "no"):
			if value == "yes" {
				c.settings.Set("skip_unavailable_shards", "1")
			}
		default:
			return nil, fmt.Errorf("%s=: want password-file=PATH in place of a password, ca=PATH with TLS, partial=yes or no", name)
		}
	}
	if c.user == "" && (c.password != "" || c.passwordFile != "") {
		return nil, errors.New("a password needs a user")
	}
	if _, err := c.secret(); err != nil {
		return nil, err
	}
	c.http = &http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
			TLSClientConfig:        config,
			TLSHandshakeTimeout:    dialTimeout,
			MaxIdleConnsPerHost:    4,
			IdleConnTimeout:        2 * time.Second, // servers close idle connections after 3 to 10, and a POST on one fails
			MaxResponseHeaderBytes: maxAnswer,
			DisableCompression:     true, // so nothing small becomes large here
		},
		// A redirection would carry the password to whom the user did not name.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// secret returns the password. Its file is read each time, so it may change.
func (c *client) secret() (string, error) {
	if c.passwordFile == "" {
		return c.password, nil
	}
	text, err := os.ReadFile(c.passwordFile)
	if err != nil {
		return "", fmt.Errorf("password-file: %w", err)
	}
	return strings.TrimRight(string(text), "\r\n"), nil
}

// args are the parameters of a statement: int64, or the octets of a string.
type args map[string]any

var placeholder = regexp.MustCompile(`\{(\w+):(String|Int64|UInt64)\}`)

// bind puts values beside a statement, which is constant text with {name:Type}.
// Strings are sent as hexadecimal digits, whatever they hold, and statements say
// unhex({name:String}): so they are nothing but digits also where a server before
// 20.1 needs them inside the statement, as it has no parameters.
func (c *client) bind(statement string, a args, query url.Values) string {
	value := func(name string) string {
		switch v := a[name].(type) {
		case int64:
			return strconv.FormatInt(v, 10)
		case []byte:
			return hex.EncodeToString(v)
		case string:
			return hex.EncodeToString([]byte(v))
		}
		panic("no argument " + name)
	}
	if c.literals {
		return placeholder.ReplaceAllStringFunc(statement, func(p string) string {
			f := placeholder.FindStringSubmatch(p)
			if f[2] == "String" {
				return "'" + value(f[1]) + "'"
			}
			return value(f[1])
		})
	}
	for _, f := range placeholder.FindAllStringSubmatch(statement, -1) {
		query.Set("param_"+f[1], value(f[1]))
	}
	return statement
}

// look finds out how old the server is.
func (c *client) look(ctx context.Context) error {
	return c.query(ctx, `SELECT version()`, nil, func(r *rows) error {
		version := r.text()
		major, err := strconv.Atoi(version[:max(strings.IndexByte(version, '.'), 0)])
		if r.err == nil && err != nil {
			return fmt.Errorf("ClickHouse has a version that is none: %q", version)
		}
		c.literals = major < 20
		return r.err
	})
}

// serverError is an answer other than success.
type serverError struct {
	status int
	text   string // its beginning, printable
}

func (e *serverError) Error() string { return fmt.Sprintf("ClickHouse says %d: %s", e.status, e.text) }

// unreachable is the error of a request that no server has got.
type unreachable struct{ error }

// send posts body to one server and returns the answer's body. The caller closes it.
func (c *client) send(ctx context.Context, host string, query url.Values, body []byte) (io.ReadCloser, error) {
	address := url.URL{Scheme: c.scheme, Host: host, Path: "/", RawQuery: query.Encode()}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("User-Agent", "dnshark")
	if c.user != "" {
		password, err := c.secret()
		if err != nil {
			return nil, err
		}
		r.SetBasicAuth(c.user, password)
	}
	answer, err := c.http.Do(r)
	if err != nil {
		var inside *url.Error
		if errors.As(err, &inside) { // it quotes the URL
			err = inside.Err
		}
		err = fmt.Errorf("%s: %w", host, err)
		var dial *net.OpError
		if errors.As(err, &dial) && dial.Op == "dial" {
			err = unreachable{err}
		}
		return nil, err
	}
	if answer.StatusCode == http.StatusOK {
		return answer.Body, nil
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	text = bytes.TrimSpace(text)
	return nil, &serverError{answer.StatusCode, string(event.AppendSafeBytes(nil, text[:min(len(text), maxQuoted)]))}
}

// each tries servers, the one that answered last before the others, until one is reached.
func (c *client) each(try func(host string) error) (err error) {
	at := int(c.at.Load())
	for i := range c.hosts {
		n := (at + i) % len(c.hosts)
		err = try(c.hosts[n])
		var none unreachable
		if !errors.As(err, &none) {
			c.at.Store(int32(n))
			return err
		}
	}
	return err
}

// query asks, and calls f with the answer in format RowBinary. The server makes all
// of it before it sends the first octet, so an error is an error and no short answer.
func (c *client) query(ctx context.Context, statement string, a args, f func(*rows) error) error {
	ctx, cancel := context.WithTimeout(ctx, queryTime)
	defer cancel()
	query := url.Values{}
	for name, values := range c.settings {
		query[name] = values
	}
	query.Set("readonly", "2") // 2: settings may be made
	query.Set("max_execution_time", strconv.Itoa(int(queryTime/time.Second)))
	query.Set("wait_end_of_query", "1")
	query.Set("default_format", "RowBinary")
	statement = c.bind(statement, a, query)
	return c.each(func(host string) error {
		body, err := c.send(ctx, host, query, []byte(statement))
		if err != nil {
			return err
		}
		defer body.Close()
		return f(&rows{in: bufio.NewReaderSize(body, 64<<10)})
	})
}

// insert sends rows in format RowBinary to one server, which takes all or none.
// token is the same when they are sent again.
func (c *client) insert(ctx context.Context, into, token string, body []byte) error {
	query := url.Values{}
	for name, values := range c.settings {
		query[name] = values
	}
	query.Set("query", "INSERT INTO "+into+" FORMAT RowBinary")
	if !c.literals {
		query.Set("insert_deduplication_token", token)
		query.Set("async_insert", "0")
	}
	return c.each(func(host string) error {
		answer, err := c.send(ctx, host, query, body)
		if err != nil {
			return err
		}
		defer answer.Close()
		_, err = io.Copy(io.Discard, io.LimitReader(answer, maxAnswer))
		return err
	})
}
