package sink

import (
	"context"
	"crypto/tls"
	"encoding/binary"
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
	// confirm is one of confirmOption. Unless it is "no", an exchange ends with the
	// connection: what the receiver closes after it was told that nothing follows, it has read.
	confirm string

	conn net.Conn
	raw  net.Conn // conn, or what carries its TLS

	records *tlsRecords // of raw, with TLS
}

// peerOptions are the options of sinks with a connection that may speak TLS.
var peerOptions = options([]Option{timeoutOption}, tlsOptions)

// confirmOption is of sinks that have no other acknowledgement than the kernel's.
var confirmOption = Option{"confirm", "one of no, close, notify", "no", "send each block over a connection of its own, which the receiver closes when it has read all; notify: with the goodbye of TLS"}

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
	if err == nil && !p.confirms() {
		return nil
	}
	if err == nil {
		err = p.confirmed()
	}
	p.drop()
	if err == nil {
		return nil
	}
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
	p.records = &tlsRecords{Conn: raw}
	conn, begin := tls.Client(p.records, p.tls), time.Now()
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

func (p *peer) confirms() bool { return p.confirm != "" && p.confirm != "no" }

// readConfirm reads confirmOption. stream says that there is something to close.
func (p *peer) readConfirm(t *Target, stream bool) error {
	p.confirm = t.Text("confirm")
	switch {
	case p.confirms() && !stream:
		return errors.New("confirm is for streams that do not end in a way of their own")
	case p.confirm == "notify" && p.tls == nil:
		return errors.New("confirm=notify is for TLS")
	}
	return nil
}

// confirmed tells the receiver that nothing follows, and waits until it closes its side. The
// kernel of one that was killed resets the connection when something was left to read, and
// never says close_notify (RFC 8446, section 6.1). Not every receiver does: rsyslog does not.
func (p *peer) confirmed() error {
	if err := p.conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		return err
	}
	if err := p.conn.SetReadDeadline(time.Now().Add(p.timeout)); err != nil {
		return err
	}
	const most = 64 << 10 // that it says in place of that
	n, err := io.Copy(io.Discard, io.LimitReader(p.conn, most))
	if err == nil && n == most {
		err = errors.New("it goes on talking")
	}
	if err == nil && p.confirm == "notify" && !p.records.alert() {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("the receiver did not say that it has everything: %w", err)
	}
	return nil
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

// tlsRecords is a connection with TLS records, of which it knows what the last one was:
// crypto/tls takes an end without close_notify for a good one.
type tlsRecords struct {
	net.Conn
	header [5]byte // of the last record: type, version, length
	got    int     // octets of the header
	left   int     // of the record
}

func (r *tlsRecords) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	for b := b[:n]; len(b) > 0; {
		if r.left > 0 {
			skip := min(r.left, len(b))
			b, r.left = b[skip:], r.left-skip
			continue
		}
		if r.got == len(r.header) {
			r.got = 0
		}
		k := copy(r.header[r.got:], b)
		b, r.got = b[k:], r.got+k
		if r.got == len(r.header) {
			r.left = int(binary.BigEndian.Uint16(r.header[3:]))
		}
	}
	return n, err
}

// alert reports whether the last record was an alert. TLS 1.3 hides the type: it is then by its
// length, two octets, one for the type and 16 for the tag (RFC 8446, section 5.2).
func (r *tlsRecords) alert() bool {
	const alert, applicationData = 21, 23
	length := binary.BigEndian.Uint16(r.header[3:])
	return r.got == len(r.header) && r.left == 0 && (r.header[0] == alert || r.header[0] == applicationData && length == 2+1+16)
}
