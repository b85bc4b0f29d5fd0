package sink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// peer is a connection of one output. It is opened when it is needed, and again
// after an error.
type peer struct {
	timeout          time.Duration
	network, address string
	tls              *tls.Config // nil: without
	// hello says what each connection begins with; nil: nothing.
	hello func(net.Conn) error
	// greets says that the peer speaks first.
	greets bool

	conn net.Conn
	raw  net.Conn // conn, or what carries its TLS
}

// peerOptions are the options of sinks with a connection that may speak TLS.
var peerOptions = options([]Option{timeoutOption}, tlsOptions)

// newPeer returns the peer that the URL names: with TLS, at a Unix socket, or else
// over TCP. Without a port in the URL it is port, if that is not "".
func (t *Target) newPeer(port string) (*peer, error) {
	p := &peer{timeout: t.timeout(), network: "tcp", address: t.URL.Host}
	var err error
	if p.tls, err = t.tlsConfig(); err != nil {
		return nil, err
	}
	if strings.HasSuffix(t.URL.Scheme, "unix") {
		p.network, p.address = "unix", t.URL.Path
		if t.URL.Host != "" || len(t.URL.Path) < 2 {
			return nil, fmt.Errorf("write the path of the socket as %s:///run/some.socket", t.URL.Scheme)
		}
		return p, nil
	}
	if t.URL.Hostname() == "" {
		return nil, errors.New("the URL needs a host")
	}
	if t.URL.Port() == "" {
		if port == "" {
			return nil, errors.New("the URL needs a port")
		}
		p.address = net.JoinHostPort(t.URL.Hostname(), port)
	}
	return p, nil
}

// do lets exchange talk to the peer, with a new connection where there is none. It
// is over when ctx ends or the timeout is. After an error the connection is closed.
func (p *peer) do(ctx context.Context, exchange func(net.Conn) error) error {
	deadline := time.Now().Add(p.timeout)
	if p.conn != nil && p.look(time.Millisecond) != nil {
		p.drop()
	}
	fresh := p.conn == nil
	if fresh {
		if err := p.connect(ctx); err != nil {
			return err
		}
	}
	// Closing ends every call that waits, also one that begins a moment later.
	stop := context.AfterFunc(ctx, func() { p.raw.Close() })
	defer stop()
	err := p.conn.SetDeadline(deadline)
	if err == nil && fresh && p.hello != nil {
		err = p.hello(p.conn)
	}
	if err == nil {
		err = exchange(p.conn)
	}
	if err == nil {
		return nil
	}
	p.drop()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("the receiver took longer than %v", p.timeout)
	}
	return err
}

func (p *peer) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, p.network, p.address)
	if err != nil {
		return err
	}
	p.raw, p.conn = raw, raw
	if p.tls == nil {
		return nil
	}
	conn, begin := tls.Client(raw, p.tls), time.Now()
	p.conn = conn
	if err = conn.HandshakeContext(ctx); err == nil && !p.greets {
		// A TLS 1.3 server says only afterwards that it does not want our certificate, or none.
		err = p.look(min(10*time.Millisecond+time.Since(begin), time.Second))
	}
	if err != nil {
		p.drop()
		return fmt.Errorf("TLS: %w", err)
	}
	return nil
}

// look returns nil while the connection stands, as far as the kernel knows or gets to
// know meanwhile, io.EOF when the peer has closed it, and another error when it broke.
// What the peer says unasked is thrown away, as much of it as fits one look.
func (p *peer) look(wait time.Duration) error {
	if err := p.conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return err
	}
	var unasked [4096]byte
	for range 16 {
		if _, err := p.conn.Read(unasked[:]); errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}

// received waits until the peer's kernel has acknowledged all that was written; over
// a Unix socket, until the peer has read it.
func (p *peer) received() error {
	deadline := time.Now().Add(p.timeout)
	for pause := 20 * time.Microsecond; ; pause = min(2*pause, 5*time.Millisecond) {
		left, err := p.unacknowledged()
		if err != nil {
			return err
		}
		// A peer that goes without having read everything breaks the connection; one that
		// read everything closes it.
		if left == 0 {
			if err := p.look(time.Millisecond); err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			return nil
		}
		if pause > time.Millisecond {
			if err := p.look(time.Millisecond); err != nil {
				return fmt.Errorf("the receiver closed the connection: %w", err)
			}
		}
		if time.Now().After(deadline) {
			return os.ErrDeadlineExceeded
		}
		time.Sleep(pause)
	}
}

// unacknowledged returns how much of what was written is still in our kernel.
func (p *peer) unacknowledged() (left int, err error) {
	s, ok := p.raw.(syscall.Conn)
	if !ok {
		return 0, nil
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return 0, err
	}
	if closed := raw.Control(func(fd uintptr) { left, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }); closed != nil {
		return 0, closed
	}
	return left, err
}

func (p *peer) drop() {
	if p.conn != nil {
		p.conn.Close()
	}
	if p.raw != nil {
		p.raw.Close()
	}
	p.conn, p.raw = nil, nil
}

// close lets goodbye talk to the peer, if there is a connection, and closes it.
func (p *peer) close(goodbye func(net.Conn) error) error {
	if p.conn == nil {
		return nil
	}
	defer p.drop()
	if goodbye == nil {
		return nil
	}
	if err := p.conn.SetDeadline(time.Now().Add(p.timeout)); err != nil {
		return err
	}
	return goodbye(p.conn)
}
