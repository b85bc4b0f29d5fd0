package sink

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/tinylib/msgp/msgp"
)

// fluent speaks Fluentd's Forward protocol, version 1, in mode PackedForward
// (github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1): every message
// has a chunk id, which the receiver acknowledges.
var fluent = Kind{
	Scheme: "fluent",
	Also:   []string{"fluent+tls", "fluent+unix"},
	Form:   "fluent://HOST[:24224], fluent+tls://HOST[:24224], fluent+unix:///PATH",
	Doc:    "Fluentd, Fluent Bit and others that speak the Forward protocol, with acknowledgements",
	Delivery: `A chunk counts as delivered when the receiver has acknowledged it. Without that it is sent again under
the same chunk id, by which receivers can tell it; its events have the same event_id.`,
	Example: "-o 'fluent+tls://logs.example?ca=/etc/ssl/logs.pem&shared-key-file=/etc/dnshark/key&tag=dns'",
	Format:  "json",
	Options: options(peerOptions, []Option{
		{"tag", "text", "dnshark", "tag of the events"},
		{"compression", "one of none, gzip", "none", "of what is sent"},
		{"shared-key", "text", "", "key that both sides know, best as ${NAME}"},
		{"shared-key-file", "path", "", "file with the key"},
	}, secretOptions),
	Open: openFluent,
}

type fluentSink struct {
	peer     *peer
	tag      string
	host     string
	gzip     *gzip.Writer
	key      *secret
	user     string
	password *secret

	entries, packed, message []byte
}

func openFluent(t *Target) (Sink, error) {
	if t.Binary {
		return nil, fmt.Errorf("records are made of text, and %s is none", t.Format)
	}
	p, err := t.newPeer("24224")
	if err != nil {
		return nil, err
	}
	f := &fluentSink{peer: p, tag: t.Text("tag"), host: t.Host}
	if f.key, err = t.secret("shared-key"); err != nil {
		return nil, err
	}
	if f.user, f.password, err = t.credentials(); err != nil {
		return nil, err
	}
	if f.user == "" && f.password.given() {
		return nil, errNoUser
	}
	if f.user != "" && !f.key.given() {
		return nil, errors.New("a user needs a shared-key")
	}
	if t.Text("compression") == "gzip" {
		f.gzip = gzip.NewWriter(nil)
	}
	p.hello, p.greets = f.hello, f.key.given()
	return f, nil
}

// Deliver implements Sink.
func (f *fluentSink) Deliver(ctx context.Context, b *Block) error {
	n := 0
	f.entries = f.entries[:0]
	for i, line := range b.Lines() {
		f.entries = append(f.entries, 0x92) // an entry: time and record
		f.entries = appendEventTime(f.entries, timeOf(line))
		f.entries = appendRecord(f.entries, b, i, line)
		n++
	}
	entries, options := f.entries, uint32(2)
	if f.gzip != nil {
		packed := bytes.NewBuffer(f.packed[:0])
		f.gzip.Reset(packed)
		_, err := f.gzip.Write(entries)
		if err = errors.Join(err, f.gzip.Close()); err != nil {
			return err
		}
		f.packed, options = packed.Bytes(), 3
		entries = f.packed
	}
	// The same chunk has the same id, whenever it is sent.
	chunk := string(strconv.AppendInt(append(b.AppendID(nil, 0), '-'), int64(n), 10))
	m := msgp.AppendArrayHeader(f.message[:0], 3)
	m = msgp.AppendString(m, f.tag)
	m = msgp.AppendBytes(m, entries)
	m = msgp.AppendMapHeader(m, options)
	m = msgp.AppendString(msgp.AppendString(m, "chunk"), chunk)
	m = msgp.AppendInt(msgp.AppendString(m, "size"), n)
	if f.gzip != nil {
		m = msgp.AppendString(msgp.AppendString(m, "compressed"), "gzip")
	}
	f.message = m
	return f.peer.do(ctx, func(conn net.Conn) error {
		if _, err := conn.Write(f.message); err != nil {
			return err
		}
		return f.acknowledged(conn, chunk)
	})
}

// acknowledged waits for {"ack": chunk}.
func (f *fluentSink) acknowledged(conn net.Conn, chunk string) error {
	r := msgp.NewReader(bound(conn))
	n, err := r.ReadMapHeader()
	for ; err == nil && n > 0; n-- {
		var key string
		if key, err = readText(r); err != nil {
			break
		}
		if key != "ack" {
			err = r.Skip()
			continue
		}
		var ack string
		if ack, err = readText(r); err == nil && ack != chunk {
			return errors.New("the receiver acknowledged another chunk")
		} else if err == nil {
			return nil
		}
	}
	if err == nil {
		err = errors.New("no ack in it")
	}
	return fmt.Errorf("no acknowledgement: %w", err)
}

// maxReply bounds what is read of an answer.
const maxReply = 4096

// bound is what one answer is read from: a peer must not make us read or keep more.
func bound(conn net.Conn) io.Reader { return io.LimitReader(conn, maxReply) }

// readText reads a string or octets.
func readText(r *msgp.Reader) (string, error) {
	typ, err := r.NextType()
	if err != nil {
		return "", err
	}
	var n uint32
	if typ == msgp.BinType {
		n, err = r.ReadBytesHeader()
	} else {
		n, err = r.ReadStringHeader()
	}
	if err != nil {
		return "", err
	}
	if n > maxReply {
		return "", errors.New("too long")
	}
	text := make([]byte, n)
	_, err = r.ReadFull(text)
	return string(text), err
}

// hello proves that both sides know the shared key: HELO, PING, PONG.
func (f *fluentSink) hello(conn net.Conn) error {
	if !f.key.given() {
		return nil
	}
	nonce, auth, err := readHelo(conn)
	if err != nil {
		return fmt.Errorf("HELO: %w", err)
	}
	salt, key := rand.Text(), f.key.text()
	m := msgp.AppendArrayHeader(nil, 6)
	m = msgp.AppendString(m, "PING")
	m = msgp.AppendString(m, f.host)
	m = msgp.AppendString(m, salt)
	m = msgp.AppendString(m, digest(salt, f.host, nonce, key))
	if len(auth) > 0 && f.user != "" {
		m = msgp.AppendString(m, f.user)
		m = msgp.AppendString(m, digest(auth, f.user, f.password.text()))
	} else {
		m = msgp.AppendString(msgp.AppendString(m, ""), "")
	}
	if _, err := conn.Write(m); err != nil {
		return err
	}
	if err := readPong(conn, salt, nonce, key); err != nil {
		return fmt.Errorf("PONG: %w", err)
	}
	return nil
}

func digest(parts ...string) string {
	sum := sha512.Sum512([]byte(strings.Join(parts, "")))
	return hex.EncodeToString(sum[:])
}

// readHelo reads ["HELO", {"nonce": ..., "auth": ..., "keepalive": ...}].
func readHelo(conn net.Conn) (nonce, auth string, err error) {
	r := msgp.NewReader(bound(conn))
	if err := expect(r, 2, "HELO"); err != nil {
		return "", "", err
	}
	n, err := r.ReadMapHeader()
	for ; err == nil && n > 0; n-- {
		var key string
		if key, err = readText(r); err != nil {
			break
		}
		switch key {
		case "nonce":
			nonce, err = readText(r)
		case "auth":
			auth, err = readText(r)
		default:
			err = r.Skip()
		}
	}
	return nonce, auth, err
}

// readPong reads ["PONG", whether we are believed, why not, its name, its proof].
func readPong(conn net.Conn, salt, nonce, key string) error {
	r := msgp.NewReader(bound(conn))
	if err := expect(r, 5, "PONG"); err != nil {
		return err
	}
	believed, err := r.ReadBool()
	if err != nil {
		return err
	}
	var text [3]string
	for i := range text {
		if text[i], err = readText(r); err != nil {
			return err
		}
	}
	if !believed {
		return fmt.Errorf("refused: %s", text[0])
	}
	if text[2] != digest(salt, text[1], nonce, key) {
		return errors.New("the receiver does not know the shared key")
	}
	return nil
}

func expect(r *msgp.Reader, size uint32, name string) error {
	n, err := r.ReadArrayHeader()
	if err != nil {
		return err
	}
	if text, err := readText(r); err != nil || n != size || text != name {
		return errors.Join(err, errors.New("the receiver does not speak the Forward protocol"))
	}
	return nil
}

// Close implements Sink.
func (f *fluentSink) Close() error { return f.peer.close(nil) }

// appendEventTime appends Fluentd's EventTime, an extension of type 0.
func appendEventTime(dst []byte, t time.Time) []byte {
	dst = append(dst, 0xd7, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(t.Unix()))
	return binary.BigEndian.AppendUint32(dst, uint32(t.Nanosecond()))
}

// appendRecord appends line i as a map: the JSON object with its id, or, of what is no
// JSON, {"event_id": id, "message": line}.
func appendRecord(dst []byte, b *Block, i int, line []byte) []byte {
	if at := len(dst); len(line) > 0 && line[0] == '{' {
		d := json.NewDecoder(bytes.NewReader(b.AppendJSON(nil, i, line)))
		d.UseNumber()
		if dst, err := appendValue(dst, d); err == nil {
			return dst
		}
		dst = dst[:at]
	}
	dst = msgp.AppendMapHeader(dst, 2)
	dst = msgp.AppendStringFromBytes(msgp.AppendString(dst, "event_id"), b.AppendID(nil, i))
	return msgp.AppendStringFromBytes(msgp.AppendString(dst, "message"), line)
}

// appendValue appends the next JSON value.
func appendValue(dst []byte, d *json.Decoder) ([]byte, error) {
	token, err := d.Token()
	if err != nil {
		return dst, err
	}
	switch v := token.(type) {
	case json.Delim:
		return appendContainer(dst, d, v)
	case string:
		return msgp.AppendString(dst, v), nil
	case bool:
		return msgp.AppendBool(dst, v), nil
	case json.Number:
		if n, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return msgp.AppendInt64(dst, n), nil
		}
		if n, err := strconv.ParseUint(v.String(), 10, 64); err == nil {
			return msgp.AppendUint64(dst, n), nil
		}
		n, err := v.Float64()
		return msgp.AppendFloat64(dst, n), err
	}
	return msgp.AppendNil(dst), nil
}

// appendContainer appends the object or array that open begins. How long it is, is
// known at its end.
func appendContainer(dst []byte, d *json.Decoder, open json.Delim) ([]byte, error) {
	typ := byte(0xdd) // array 32
	if open == '{' {
		typ = 0xdf // map 32
	}
	dst = append(dst, typ, 0, 0, 0, 0)
	at, n := len(dst)-4, uint32(0)
	for ; d.More(); n++ {
		var err error
		if open == '{' {
			if dst, err = appendValue(dst, d); err != nil { // the key
				return dst, err
			}
		}
		if dst, err = appendValue(dst, d); err != nil {
			return dst, err
		}
	}
	binary.BigEndian.PutUint32(dst[at:], n)
	_, err := d.Token() // its end
	return dst, err
}
