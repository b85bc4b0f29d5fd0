package sink

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// natsStream publishes to NATS JetStream.
var natsStream = Kind{
	Scheme: "nats",
	Also:   []string{"nats+tls"},
	Form:   "nats://[USER:PASSWORD@]HOST[:PORT], nats+tls://HOST[:PORT]",
	Doc:    "NATS JetStream, a message per event; event_id is the message's id",
	Delivery: `A message counts as delivered when the stream has stored it. It has the event's id as Nats-Msg-Id,
so a stream that sees it again within its window of duplicates drops it. Parts in the subject, as
dnshark.{host}.{event}, are escaped: what is not a letter, a digit, - or _ becomes %XX, and what is
not known is _. With stream= messages go into that stream and no other; where there is none it is
made (file storage), and one that exists is left as it is. Without it some stream must take the
subject. What a server tells of other servers is not followed: name those that may be tried.`,
	Example: "-o 'nats+tls://agent:${NATS_PASSWORD}@n1.example?servers=n2.example:4222,n3.example:4222&stream=DNS&replicas=3'",
	Format:  "json",
	Options: options([]Option{
		{"servers", "text", "", "more servers of the cluster: HOST:PORT, several with commas"},
		{"subject", "text", "dnshark.events", "subject of messages; {" + strings.Join(partNames, "}, {") + "} are the event's"},
		{"stream", "text", "", "stream that must take the subject; made where there is none"},
		{"replicas", "number", "1", "of a stream that is made"},
		{"max-age", "time", "168h", "how long a stream that is made keeps messages"},
		{"max-size", "size", "", "how much a stream that is made keeps"},
		{"duplicates", "time", "10m", "for how long a stream that is made knows a message again"},
		{"creds", "path", "", "credentials file (JWT and key)"},
		timeoutOption,
	}, secretOptions, tokenOptions, tlsOptions),
	Open: openNATS,
}

const (
	// natsWindow is how many messages may be without an acknowledgement.
	natsWindow = 1024
	// natsRequest bounds a request to a stream's leader, which is not answered at all
	// while there is none.
	natsRequest = 2 * time.Second
	// natsPart bounds what a name adds to a subject: servers bound the whole.
	natsPart = 255
)

type natsSink struct {
	target  *Target
	options []nats.Option
	servers []string
	subject subject
	stream  *jetstream.StreamConfig // nil: whichever takes the subject

	user                   string
	password, token, creds *secret

	conn   *nats.Conn
	js     jetstream.JetStream
	closed chan struct{} // of conn
	each   each
	facts  facts
}

func openNATS(t *Target) (Sink, error) {
	if err := t.refuseBinary(); err != nil {
		return nil, err
	}
	s := &natsSink{target: t}
	var err error
	if s.servers, err = t.servers("4222"); err != nil {
		return nil, err
	}
	if s.subject, err = parseSubject(t.Text("subject")); err != nil {
		return nil, err
	}
	if s.subject.parts() && t.Format != "json" {
		return nil, errors.New("subjects with parts of the event need format json")
	}
	if s.user, s.password, err = t.credentials(); err != nil {
		return nil, err
	}
	if s.token, err = t.secret("token"); err != nil {
		return nil, err
	}
	if path := t.Text("creds"); path != "" {
		s.creds = &secret{path: path}
		if err := s.creds.load(); err != nil {
			return nil, fmt.Errorf("creds: %w", err)
		}
	}
	if name := t.Text("stream"); name != "" {
		s.stream = &jetstream.StreamConfig{
			Name: name, Subjects: []string{s.subject.wildcard()}, Storage: jetstream.FileStorage,
			Replicas: max(1, t.Number("replicas")), Compression: jetstream.S2Compression,
			MaxAge: t.Time("max-age"), MaxBytes: t.Size("max-size"), Duplicates: t.Time("duplicates"),
		}
		if s.stream.MaxAge > 0 {
			s.stream.Duplicates = min(s.stream.Duplicates, s.stream.MaxAge)
		}
	} else if i := slices.IndexFunc([]string{"replicas", "max-age", "max-size", "duplicates"}, t.Given); i >= 0 {
		return nil, errors.New("replicas, max-age, max-size and duplicates are for a stream that is made: name it with stream=")
	}
	s.options = []nats.Option{
		nats.Name("dnshark " + t.Name), nats.Timeout(t.timeout()), nats.SkipHostLookup(),
		// Whoever delivers tries again anyway, and says why.
		nats.NoReconnect(),
		// The client would write to standard error what the server says.
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}
	config, err := t.clusterTLS()
	if err != nil {
		return nil, err
	}
	if config != nil {
		s.options = append(s.options, nats.Secure(config))
	}
	return s, nil
}

// natsDialer ends what waits on its connection when ctx does.
type natsDialer struct {
	ctx  context.Context
	stop func() bool
	err  error // the last one; the client says no more than that no server was there
}

// Dial implements nats.CustomDialer.
func (d *natsDialer) Dial(network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(d.ctx, network, address)
	if d.err = err; err == nil {
		d.stop = context.AfterFunc(d.ctx, func() { conn.Close() })
	}
	return conn, err
}

// connect makes a connection, and the stream, where there is none.
func (s *natsSink) connect(ctx context.Context) error {
	if s.conn != nil {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, s.target.timeout())
	defer cancel()
	dialer, closed := &natsDialer{ctx: limited, stop: func() bool { return true }}, make(chan struct{})
	options := append(slices.Clone(s.options), nats.SetCustomDialer(dialer), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	switch {
	case s.creds != nil:
		options = append(options, nats.UserCredentialBytes([]byte(s.creds.text())))
	case s.user != "":
		options = append(options, nats.UserInfo(s.user, s.password.text()))
	case s.token.given():
		options = append(options, nats.Token(s.token.text()))
	}
	conn, err := nats.Connect(strings.Join(s.servers, ","), options...)
	if err != nil {
		return cmp.Or(dialer.err, err)
	}
	defer dialer.stop()
	js, err := jetstream.New(conn, jetstream.WithPublishAsyncMaxPending(2*natsWindow), jetstream.WithPublishAsyncTimeout(s.target.timeout()))
	if err == nil && s.stream != nil {
		err = s.makeStream(ctx, js)
	}
	if err != nil {
		conn.Close()
		return err
	}
	s.conn, s.js, s.closed = conn, js, closed
	return nil
}

func (s *natsSink) makeStream(ctx context.Context, js jetstream.JetStream) error {
	ctx, cancel := context.WithTimeout(ctx, min(natsRequest, s.target.timeout()))
	defer cancel()
	_, err := js.Stream(ctx, s.stream.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		_, err = js.CreateStream(ctx, *s.stream)
	}
	if err != nil {
		return fmt.Errorf("stream %s: %w", s.stream.Name, err)
	}
	return nil
}

// Deliver implements Sink.
func (s *natsSink) Deliver(ctx context.Context, b *Block) error {
	s.each.begin(b)
	err := s.connect(ctx)
	for next := 0; err == nil && next < len(s.each.lines); {
		next, err = s.publish(ctx, b, next)
	}
	if err != nil {
		s.drop()
	}
	return s.each.end(err)
}

// publish publishes lines from number next on, waits until they are stored and
// returns where it is to go on.
func (s *natsSink) publish(ctx context.Context, b *Block, next int) (int, error) {
	type published struct {
		line   int
		future jetstream.PubAckFuture
	}
	var (
		window []published
		failed error
		// The client keeps messages until they are stored.
		data = make([]byte, 0, min(len(b.Text), 1<<20))
	)
	for ; next < len(s.each.lines) && len(window) < natsWindow && failed == nil; next++ {
		if s.each.settled[next] {
			continue
		}
		begin := len(data)
		data = b.AppendJSON(data, next, s.each.lines[next])
		m := &nats.Msg{Subject: s.subjectOf(s.each.lines[next]), Data: data[begin:len(data):len(data)], Header: nats.Header{
			jetstream.MsgIDHeader: {string(b.AppendID(nil, next))},
		}}
		if s.stream != nil {
			m.Header[jetstream.ExpectedStreamHeader] = []string{s.stream.Name}
		}
		future, err := s.js.PublishMsgAsync(m)
		switch {
		case err == nil:
			window = append(window, published{next, future})
		case errors.Is(err, nats.ErrMaxPayload):
			s.each.refuse(next, err)
		default:
			failed = err
		}
	}
	for _, p := range window {
		select {
		case <-p.future.Ok():
			s.each.taken(p.line)
		case err := <-p.future.Err():
			var api *jetstream.APIError
			if errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamMessageExceedsMaximum {
				s.each.refuse(p.line, err)
				continue
			}
			if errors.Is(err, jetstream.ErrNoStreamResponse) {
				err = fmt.Errorf("no stream takes the subject %s, or it has no leader: %w", p.future.Msg().Subject, err)
			}
			failed = err
		case <-s.closed:
			return 0, errors.Join(errors.New("the server closed the connection"), s.conn.LastError())
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return next, failed
}

func (s *natsSink) subjectOf(line []byte) string {
	if s.subject.parts() {
		s.facts.read(line)
	}
	return s.subject.of(&s.facts)
}

func (s *natsSink) drop() {
	if s.conn != nil {
		s.conn.Close()
	}
	s.conn, s.js = nil, nil
}

// Close implements Sink.
func (s *natsSink) Close() error {
	s.drop()
	return nil
}

// subject is a subject with parts: text and names of parts by turns, text first.
type subject []string

func parseSubject(text string) (subject, error) {
	var s subject
	rest := text
	for {
		before, after, more := strings.Cut(rest, "{")
		s = append(s, before)
		if !more {
			break
		}
		name, after, closed := strings.Cut(after, "}")
		if !closed || !slices.Contains(partNames, name) {
			return nil, fmt.Errorf("subject=%s: %w", text, unknown("part", name, partNames))
		}
		s, rest = append(s, name), after
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' || r == '*' || r == '>' }) ||
		slices.Contains(strings.Split(text, "."), "") {
		return nil, fmt.Errorf("subject=%s: no subject to publish to", text)
	}
	return s, nil
}

func (s subject) parts() bool { return len(s) > 1 }

// of returns the subject of an event. Parts are escaped: no name makes a token more, or
// fewer.
func (s subject) of(f *facts) string {
	if !s.parts() {
		return s[0]
	}
	var to []byte
	for i, text := range s {
		if i%2 == 0 {
			to = append(to, text...)
		} else {
			to = appendToken(to, f.part(text))
		}
	}
	return string(to)
}

// wildcard returns the subject that takes those of all events.
func (s subject) wildcard() string {
	var tokens []string
	for i, text := range s {
		if i%2 == 1 {
			text = "*"
		}
		tokens = append(tokens, text)
	}
	tokens = strings.Split(strings.Join(tokens, ""), ".")
	for i, token := range tokens {
		if strings.Contains(token, "*") {
			tokens[i] = "*"
		}
	}
	return strings.Join(tokens, ".")
}

// appendToken appends text as a part of a subject: what is not a letter, digit, '-' or
// '_' as %XX, and nothing as "_".
func appendToken(dst []byte, text string) []byte {
	if text == "" {
		return append(dst, '_')
	}
	begin := len(dst)
	for i := 0; i < len(text) && len(dst)-begin < natsPart; i++ {
		c := text[i]
		if c != '.' && strings.IndexByte(idOctets, c) >= 0 || c == '-' {
			dst = append(dst, c)
		} else {
			dst = fmt.Appendf(dst, "%%%02X", c)
		}
	}
	return dst
}
