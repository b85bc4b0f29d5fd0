package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
)

// syslog sends each event as one message of RFC 5424: over UDP (RFC 5426), TCP
// (RFC 6587), TLS (RFC 5425) or a Unix socket.
var syslog = Kind{
	Scheme: "syslog",
	Also:   []string{"syslog+tcp", "syslog+tls", "syslog+unix"},
	Form:   "syslog://HOST[:514], syslog+tcp://HOST[:601], syslog+tls://HOST[:6514], syslog+unix:///PATH",
	Doc:    "syslog messages (RFC 5424) over UDP, TCP, TLS or a Unix socket",
	Delivery: `Syslog has no acknowledgements. Over TCP, TLS and Unix sockets a block counts as delivered when the
receiver's kernel has it; what the receiver had not read when it died is lost. With confirm=close a
block counts when the receiver has read it and closed the connection. With confirm=notify, over TLS, it must
say goodbye as well, which one that was killed cannot, so nothing is lost; rsyslog never does. Over UDP,
whatever was sent counts, and a receiver with a small buffer loses bursts. The id stands in the structured data,
dnshark@32473, and in JSON too. Messages longer than max are refused, never cut: they would not be JSON any more.
Receivers have limits too; rsyslog's maxMessageSize is 8k if not told otherwise. Alerts have a severity of
their own, in the formats json, eve, ecs and ocsf: critical is crit, high err, medium warning, low notice, info info.`,
	Example: "-o 'syslog+tls://logs.example?ca=/etc/ssl/logs.pem&facility=local3'",
	Format:  "json",
	Options: options(peerOptions, []Option{
		{"facility", "one of " + strings.Join(facilities[:], ", "), "daemon", "facility of the messages"},
		{"severity", "one of " + strings.Join(severities[:], ", "), "info", "severity of the messages that are no alerts"},
		{"framing", "one of octets, lines", "octets", "of streams: each message begins with its length, or ends with a newline"},
		confirmOption,
		{"socket", "one of datagram, stream", "datagram", "kind of the Unix socket"},
		{"max", "size", "", "longer messages are refused; default: 8KB over UDP, 64KB elsewhere"},
	}),
	Open: openSyslog,
}

// The numerical code is the place.
var (
	facilities = [...]string{
		"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
		"ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
	}
	severities = [...]string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}
)

const (
	// maxDatagram is what a UDP datagram can carry.
	maxDatagram = 65507
	// syslogID names our structured data. 32473 is the number that RFC 5612 sets aside
	// for those that have none.
	syslogID = "dnshark@32473"
)

type syslogSink struct {
	peer     *peer
	datagram bool
	lines    bool // each message ends with a newline
	max      int

	facility int // times 8
	severity int
	after    string // behind the time stamp

	message []byte
	stream  []byte
}

func openSyslog(t *Target) (Sink, error) {
	if t.Binary {
		return nil, fmt.Errorf("syslog carries text, and %s is none", t.Format)
	}
	port := map[string]string{"syslog": "514", "syslog+tcp": "601", "syslog+tls": "6514"}[t.URL.Scheme]
	p, err := t.newPeer(port)
	if err != nil {
		return nil, err
	}
	s := &syslogSink{peer: p, lines: t.Text("framing") == "lines", max: 64 << 10}
	if t.Given("socket") && p.network != "unix" {
		return nil, errors.New("socket is for syslog+unix")
	}
	switch {
	case t.URL.Scheme == "syslog":
		p.network, s.datagram, s.max = "udp", true, 8<<10
	case p.network == "unix" && t.Text("socket") == "datagram":
		p.network, s.datagram = "unixgram", true
	}
	if t.Given("framing") && s.datagram {
		return nil, errors.New("framing is for streams")
	}
	if err := p.readConfirm(t, !s.datagram); err != nil {
		return nil, err
	}
	if t.Given("max") {
		s.max = int(min(t.Size("max"), 64<<20))
	}
	if p.network == "udp" {
		s.max = min(s.max, maxDatagram)
	}
	s.facility, s.severity = 8*slices.Index(facilities[:], t.Text("facility")), slices.Index(severities[:], t.Text("severity"))
	s.after = fmt.Sprintf(" %s dnshark %d %s [%s event_id=\"", syslogHost(t.Host), os.Getpid(), t.Format, syslogID)
	return s, nil
}

// syslogHost makes a HOSTNAME of host: up to 255 printable octets, "-" for none.
func syslogHost(host string) string {
	host = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '_'
		}
		return r
	}, host)
	if host == "" {
		return "-"
	}
	return host[:min(len(host), 255)]
}

// Deliver implements Sink.
func (s *syslogSink) Deliver(ctx context.Context, b *Block) error {
	refused := 0
	err := s.peer.do(ctx, func(conn net.Conn) error {
		s.stream, refused = s.stream[:0], 0
		for i, line := range b.Lines() {
			if s.append(b, i, line); len(s.message) > s.max {
				refused++
				continue
			}
			switch {
			case s.datagram:
				if _, err := conn.Write(s.message); err != nil {
					return err
				}
			case s.lines:
				s.stream = append(append(s.stream, s.message...), '\n')
			default:
				s.stream = append(strconv.AppendInt(s.stream, int64(len(s.message)), 10), ' ')
				s.stream = append(s.stream, s.message...)
			}
		}
		if len(s.stream) > 0 {
			if _, err := conn.Write(s.stream); err != nil {
				return err
			}
		}
		return s.peer.received()
	})
	if err == nil && refused > 0 {
		return Partly(refused, fmt.Errorf("messages of more than %d octets", s.max))
	}
	return err
}

// alertSeverity returns the severity of a line that is an alert, wherever its format has it.
func alertSeverity(line []byte) (int, bool) {
	name := ""
	// What stands in a string has a backslash before its quotes.
	if at := bytes.Index(line, []byte(`"alert":{"id":"`)); at >= 0 {
		object := line[at+len(`"alert":`):]
		name = text(get(object[:extent(object)], "severity"))
	} else if at := bytes.Index(line, []byte(`"class_uid":2004,`)); at >= 0 {
		name = strings.ToLower(text(get(line, "severity")))
	}
	switch name {
	case "critical":
		return 2, true
	case "high":
		return 3, true
	case "medium":
		return 4, true
	case "low":
		return 5, true
	case "info", "informational":
		return 6, true
	}
	return 0, false
}

// append makes s.message of line i.
func (s *syslogSink) append(b *Block, i int, line []byte) {
	severity := s.severity
	if of, ok := alertSeverity(line); ok {
		severity = of
	}
	m := strconv.AppendInt(append(s.message[:0], '<'), int64(s.facility+severity), 10)
	m = timeOf(line).AppendFormat(append(m, ">1 "...), "2006-01-02T15:04:05.000000Z")
	m = append(m, s.after...)
	m = append(b.AppendID(m, i), `"] `...)
	s.message = b.AppendJSON(m, i, line)
}

// Close implements Sink.
func (s *syslogSink) Close() error { return s.peer.close(nil) }
