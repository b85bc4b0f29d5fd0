package sink

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// redis adds events to a stream of a Redis server (XADD), or of one that speaks its
// protocol, RESP2.
var redis = Kind{
	Scheme: "redis",
	Also:   []string{"rediss", "redis+unix"},
	Form:   "redis://[USER:PASSWORD@]HOST[:6379][/DATABASE], rediss://..., redis+unix:///PATH",
	Doc:    "a stream of a Redis server, with fields event_id and event",
	Delivery: `An entry counts as delivered when the server has answered with its id; whether it outlives the server's end
is the server's setting (appendfsync). Entries whose answer was lost come again, with the same event_id.
Of a cluster, name the node that has the key.`,
	Example: "-o 'rediss://dnshark:${REDIS_PASSWORD}@redis.example/2?stream=dns&maxlen=5000000'",
	Format:  "json",
	Options: options(peerOptions, []Option{
		{"stream", "text", "dnshark", "key of the stream"},
		{"maxlen", "number", "1000000", "about how many entries the stream keeps; 0: all"},
		{"database", "number", "0", "number of the database"},
	}, secretOptions),
	Open: openRedis,
}

type redisSink struct {
	user     string
	password *secret
	database int
	add      []string // command and arguments before the fields
	peer     *peer

	answers *bufio.Reader
	// What of the block with that first line is in the stream already.
	first uint64
	done  int

	commands, event []byte
}

func openRedis(t *Target) (Sink, error) {
	if t.Binary {
		return nil, fmt.Errorf("entries are text, and %s is none", t.Format)
	}
	p, err := t.newPeer("6379")
	if err != nil {
		return nil, err
	}
	r := &redisSink{peer: p, database: t.Number("database")}
	if path := strings.TrimPrefix(t.URL.Path, "/"); path != "" && p.network != "unix" {
		if r.database, err = strconv.Atoi(path); err != nil || r.database < 0 {
			return nil, fmt.Errorf("%q is no number of a database", path)
		}
	}
	if r.user, r.password, err = t.credentials(); err != nil {
		return nil, err
	}
	r.add = []string{"XADD", t.Text("stream")}
	if n := t.Number("maxlen"); n > 0 {
		r.add = append(r.add, "MAXLEN", "~", strconv.Itoa(n))
	}
	r.add = append(r.add, "*")
	p.hello = r.hello
	return r, nil
}

// hello says who we are and which database it is.
func (r *redisSink) hello(conn net.Conn) error {
	r.answers = bufio.NewReaderSize(conn, 4096)
	command := func(name string, arguments ...string) error {
		text := appendArguments(nil, append([]string{name}, arguments...))
		if _, err := conn.Write(text); err != nil {
			return err
		}
		if err := r.answer(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	}
	if r.password.given() {
		arguments := []string{r.password.text()}
		if r.user != "" {
			arguments = []string{r.user, arguments[0]}
		}
		if err := command("AUTH", arguments...); err != nil {
			return err
		}
	}
	if r.database == 0 {
		return nil
	}
	return command("SELECT", strconv.Itoa(r.database))
}

// Deliver implements Sink. All entries are sent at once, and their answers counted.
func (r *redisSink) Deliver(ctx context.Context, b *Block) error {
	if r.first != b.First {
		r.first, r.done = b.First, 0
	}
	return r.peer.do(ctx, func(conn net.Conn) error {
		r.commands = r.commands[:0]
		sent := 0
		for i, line := range b.Lines() {
			if i < r.done {
				continue
			}
			r.commands = appendHeader(r.commands, '*', len(r.add)+4)
			r.commands = appendStrings(r.commands, r.add)
			r.event = b.AppendID(r.event[:0], i)
			r.commands = appendStrings(r.commands, []string{"event_id", string(r.event), "event"})
			r.event = b.AppendJSON(r.event[:0], i, line)
			r.commands = appendBulk(r.commands, r.event)
			sent++
		}
		if _, err := conn.Write(r.commands); err != nil {
			return err
		}
		for range sent {
			if err := r.answer(); err != nil {
				return err
			}
			r.done++
		}
		return nil
	})
}

// answer reads one reply: OK, or an entry's id.
func (r *redisSink) answer() error {
	line, err := r.line()
	if err != nil {
		return err
	}
	switch line[0] {
	case '+':
		return nil
	case '-':
		return errors.New(line[1:min(len(line), maxQuoted)])
	case '$':
		if n, err := strconv.Atoi(line[1:]); err == nil && n > 0 && n <= 64 {
			_, err := r.answers.Discard(n + 2)
			return err
		}
	}
	return errNotRedis
}

var errNotRedis = errors.New("the receiver does not speak Redis's protocol")

// line reads a line of at most what the buffer holds.
func (r *redisSink) line() (string, error) {
	line, err := r.answers.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) || err == nil && len(line) < 3 {
		return "", errNotRedis
	}
	return strings.TrimSuffix(string(line), "\r\n"), err
}

// Close implements Sink.
func (r *redisSink) Close() error { return r.peer.close(nil) }

// appendArguments appends a command as RESP has it: an array of strings.
func appendArguments(dst []byte, arguments []string) []byte {
	return appendStrings(appendHeader(dst, '*', len(arguments)), arguments)
}

func appendStrings(dst []byte, list []string) []byte {
	for _, s := range list {
		dst = appendBulk(dst, s)
	}
	return dst
}

func appendBulk[T string | []byte](dst []byte, s T) []byte {
	dst = appendHeader(dst, '$', len(s))
	return append(append(dst, s...), "\r\n"...)
}

func appendHeader(dst []byte, typ byte, n int) []byte {
	return append(strconv.AppendInt(append(dst, typ), int64(n), 10), "\r\n"...)
}
