package sink

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

// stream writes events to a connection, as they would stand in a file.
var stream = Kind{
	Scheme: "tcp",
	Also:   []string{"tls", "unix"},
	Form:   "tcp://HOST:PORT, tls://HOST:PORT, unix:///PATH",
	Doc:    "a stream, every format as in a file; dnstap with its handshake",
	Delivery: `A block counts as delivered when the receiver's kernel has acknowledged it; over a Unix socket, when
the receiver has read it. So a receiver that dies loses what it had not read, and a block that was cut
off comes again as a whole on the next connection. With confirm=close a block counts when the receiver
has read it and closed the connection. With confirm=notify, over TLS, it must say goodbye as well, which
one that was killed cannot: nothing is lost then. dnstap (Frame Streams) is acknowledged at the end only.`,
	Example: "-o 'unix:///run/dnstap.sock?format=dnstap'",
	Format:  "json",
	Options: options(peerOptions, []Option{confirmOption}),
	Open: func(t *Target) (Sink, error) {
		p, err := t.newPeer("")
		if err != nil {
			return nil, err
		}
		s := &streamSink{target: t, peer: p}
		if err := p.readConfirm(t, !s.dnstap()); err != nil {
			return nil, err
		}
		p.hello = s.hello
		return s, nil
	},
}

type streamSink struct {
	target *Target
	peer   *peer
}

func (s *streamSink) dnstap() bool { return s.target.Format == "dnstap" }

func (s *streamSink) hello(conn net.Conn) error {
	if s.dnstap() {
		if err := frameStreamsReady(conn); err != nil {
			return fmt.Errorf("handshake of Frame Streams: %w", err)
		}
	}
	_, err := conn.Write(s.target.Header(nil))
	return err
}

// Deliver implements Sink. A stream has no acknowledgements but those of the
// kernel.
func (s *streamSink) Deliver(ctx context.Context, b *Block) error {
	return s.peer.do(ctx, func(conn net.Conn) error {
		if _, err := conn.Write(b.Text); err != nil {
			return err
		}
		return s.peer.received()
	})
}

// Close implements Sink.
func (s *streamSink) Close() error {
	return s.peer.close(func(conn net.Conn) error {
		if _, err := conn.Write(s.target.Trailer(nil)); err != nil {
			return err
		}
		if s.dnstap() {
			return frameStreamsFinish(conn)
		}
		return nil
	})
}

// Control frames of Frame Streams: an escape (a length of 0), the length of the
// rest, the type, and fields. The format's Header is START, its Trailer STOP.
const (
	fsAccept = 1
	fsReady  = 4
	fsFinish = 5

	fsContentType = 1 // a field

	// fsMaxControl bounds a control frame, as libfstrm does.
	fsMaxControl = 512

	dnstapContent = "protobuf:dnstap.Dnstap"
)

// frameStreamsReady says READY and waits for ACCEPT.
func frameStreamsReady(conn net.Conn) error {
	ready := binary.BigEndian.AppendUint32(nil, 0)
	for _, v := range []uint32{uint32(3*4 + len(dnstapContent)), fsReady, fsContentType, uint32(len(dnstapContent))} {
		ready = binary.BigEndian.AppendUint32(ready, v)
	}
	if _, err := conn.Write(append(ready, dnstapContent...)); err != nil {
		return err
	}
	fields, err := readControl(conn, fsAccept)
	if err != nil {
		return err
	}
	for len(fields) >= 8 {
		kind, n := binary.BigEndian.Uint32(fields), binary.BigEndian.Uint32(fields[4:])
		if fields = fields[8:]; uint64(n) > uint64(len(fields)) {
			break
		}
		if kind == fsContentType && bytes.Equal(fields[:n], []byte(dnstapContent)) {
			return nil
		}
		fields = fields[n:]
	}
	return errors.New("the receiver does not accept " + dnstapContent)
}

// frameStreamsFinish waits for FINISH, which tells that the receiver has
// everything.
func frameStreamsFinish(conn net.Conn) error {
	if _, err := readControl(conn, fsFinish); err != nil {
		return fmt.Errorf("the receiver did not say that it has everything: %w", err)
	}
	return nil
}

// readControl reads a control frame of that type and returns its fields.
func readControl(conn net.Conn, want uint32) ([]byte, error) {
	var head [12]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return nil, err
	}
	escape, n, typ := binary.BigEndian.Uint32(head[:]), binary.BigEndian.Uint32(head[4:]), binary.BigEndian.Uint32(head[8:])
	if escape != 0 || n < 4 || n > fsMaxControl || typ != want {
		return nil, errors.New("the receiver does not speak bidirectional Frame Streams")
	}
	fields := make([]byte, n-4)
	_, err := io.ReadFull(conn, fields)
	return fields, err
}
