package sink

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
)

// otlp exports log records to an OpenTelemetry Collector, or to what speaks its
// protocol.
var otlp = Kind{
	Scheme: "otlp",
	Also:   []string{"otlps", "otlp+http", "otlp+https"},
	Form:   "otlp://HOST[:PORT], otlps://HOST[:PORT], otlp+http://HOST[:PORT][/PREFIX], otlp+https://HOST[:PORT][/PREFIX]",
	Doc:    "OpenTelemetry over gRPC or HTTP, a log record per event, with attributes by its conventions",
	Delivery: `A record counts as delivered when the receiver has answered. Its body is the event as JSON.
Attributes have the names of OpenTelemetry's conventions (dns.question.name, dns.answers,
client.address, process.pid, container.id, k8s.pod.name...), ECS's where it has none
(dns.response_code), and event_id. Records that the receiver rejects (partial success) count as
refused and do not come again. A request whose answer was lost comes again, with the same event_ids.`,
	Example: "-o 'otlps://otel.example?token=${OTLP_TOKEN}'",
	Format:  "json",
	Options: options([]Option{
		{"linger", "time", "1s", "for how long events are gathered"},
	}, httpOptions("gzip")),
	Open: openOTLP,
}

// otlpMethod is what gRPC calls.
const otlpMethod = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"

type otlpSink struct {
	target *Target
	client *httpClient // of gRPC, only its options
	ours   bool        // format json
	grpc   bool
	dial   []grpc.DialOption
	conn   *grpc.ClientConn // nil: to be made

	pieces  pieces
	facts   facts
	warning string // what the receiver said last of records that it took
	// A request, from the outside to the inside: record is a resource or a record, to
	// which attributes are added as fields of that number.
	body, scope, record, value, list []byte
	attributes                       protowire.Number
	id                               []byte
}

func openOTLP(t *Target) (Sink, error) {
	if err := t.refuseBinary(); err != nil {
		return nil, err
	}
	s := &otlpSink{target: t, ours: t.Format == "json", grpc: !strings.Contains(t.URL.Scheme, "+")}
	var err error
	if s.client, err = t.httpClient(); err != nil {
		return nil, err
	}
	if !s.grpc {
		s.client.defaultPort("4318", "4318")
		return s, nil
	}
	s.client.defaultPort("4317", "4317")
	if strings.Trim(t.URL.Path, "/") != "" {
		return nil, errors.New("a path is for otlp+http and otlp+https")
	}
	config, err := t.tlsConfig()
	if err != nil {
		return nil, err
	}
	call := []grpc.CallOption{grpc.ForceCodecV2(octets{}), grpc.MaxCallRecvMsgSize(maxAnswer)}
	switch t.Text("compression") {
	case "gzip":
		call = append(call, grpc.UseCompressor(gzip.Name))
	case "zstd":
		return nil, errors.New("compression=zstd is for otlp+http and otlp+https")
	}
	transport := insecure.NewCredentials()
	if config != nil {
		transport = credentials.NewTLS(config)
	}
	s.dial = []grpc.DialOption{
		grpc.WithTransportCredentials(transport), grpc.WithDefaultCallOptions(call...),
		grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(), grpc.WithMaxHeaderListSize(maxAnswer), grpc.WithUserAgent("dnshark"),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", address)
		}),
	}
	return s, nil
}

// Deliver implements Sink.
func (s *otlpSink) Deliver(ctx context.Context, b *Block) error {
	return s.pieces.deliver(b, func(lines [][]byte, from int) error {
		s.request(b, lines, from)
		var answer []byte
		var err error
		if s.grpc {
			answer, err = s.call(ctx)
		} else {
			answer, err = s.client.post(ctx, "/v1/logs", nil, http.Header{"Content-Type": {"application/x-protobuf"}}, s.body, 0)
		}
		if err != nil {
			return explained(err, answer)
		}
		rejected, why, err := readExportAnswer(answer)
		if err != nil {
			return err
		}
		// Rejected records must not come again, whichever they are.
		if rejected > 0 {
			s.pieces.refused += min(rejected, len(lines))
			s.pieces.why = fmt.Errorf("the receiver rejected records: %s", why)
		} else if why != "" && why != s.warning {
			s.warning = why
			s.target.Log("the receiver took the records, but says: %s", why)
		}
		return nil
	})
}

// explained puts into an error over HTTP what the answer, a google.rpc.Status, says.
func explained(err error, answer []byte) error {
	var failed *httpError
	if !errors.As(err, &failed) {
		return err
	}
	var message []byte
	if protobufFields(answer, func(number protowire.Number, inside []byte, _ uint64) error {
		if number == 2 {
			message = inside
		}
		return nil
	}) == nil {
		failed.Text = printable(message)
	}
	return err
}

// call sends the request over gRPC.
func (s *otlpSink) call(ctx context.Context) (answer []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.target.timeout())
	defer cancel()
	if s.conn == nil {
		if s.conn, err = grpc.NewClient("passthrough:///"+s.client.base.Host, s.dial...); err != nil {
			return nil, err
		}
	}
	r, err := http.NewRequest(http.MethodPost, "http://x/", nil)
	if err != nil {
		return nil, err
	}
	s.client.setHeaders(r, nil, "")
	r.Header.Del("User-Agent")
	sent := metadata.MD{}
	for name, values := range r.Header {
		sent[strings.ToLower(name)] = values
	}
	// The transport may hold on to it for a while.
	body := append([]byte{}, s.body...)
	err = s.conn.Invoke(metadata.NewOutgoingContext(ctx, sent), otlpMethod, body, &answer)
	if err == nil {
		return answer, nil
	}
	failed := status.Convert(err)
	err = fmt.Errorf("%s: %s", failed.Code(), printable([]byte(failed.Message())))
	switch failed.Code() {
	case codes.InvalidArgument:
		return nil, Permanent(err)
	case codes.ResourceExhausted:
		if strings.Contains(failed.Message(), "larger than max") {
			return nil, Permanent(err)
		}
	}
	for _, detail := range failed.Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			return nil, After(err, info.GetRetryDelay().AsDuration())
		}
	}
	// It may be the connection's fault.
	s.drop()
	return nil, err
}

// octets is a codec of messages that are encoded already.
type octets struct{}

// Marshal implements encoding.CodecV2.
func (octets) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

// Unmarshal implements encoding.CodecV2.
func (octets) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// Name implements encoding.CodecV2.
func (octets) Name() string { return "proto" }

var _ encoding.CodecV2 = octets{}

// readExportAnswer reads an ExportLogsServiceResponse: how many records were rejected,
// and what is said about that or about the others.
func readExportAnswer(answer []byte) (rejected int, why string, err error) {
	err = protobufFields(answer, func(number protowire.Number, partial []byte, _ uint64) error {
		if number != 1 {
			return nil
		}
		return protobufFields(partial, func(number protowire.Number, text []byte, count uint64) error {
			switch number {
			case 1:
				rejected = int(min(count, math.MaxInt32))
			case 2:
				why = printable(text)
			}
			return nil
		})
	})
	return rejected, why, err
}

// protobufFields calls each with the fields of a message: what is in there, or the
// number that it is.
func protobufFields(message []byte, each func(number protowire.Number, inside []byte, value uint64) error) error {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return errNoExport
		}
		message = message[n:]
		var inside []byte
		var value uint64
		switch kind {
		case protowire.BytesType:
			inside, n = protowire.ConsumeBytes(message)
		case protowire.VarintType:
			value, n = protowire.ConsumeVarint(message)
		default:
			n = protowire.ConsumeFieldValue(number, kind, message)
		}
		if n < 0 {
			return errNoExport
		}
		message = message[n:]
		if err := each(number, inside, value); err != nil {
			return err
		}
	}
	return nil
}

var errNoExport = errors.New("the answer is none of OTLP: is that the right port?")

// request makes an ExportLogsServiceRequest (opentelemetry/proto/logs/v1/logs.proto) of
// one resource, this host. The tests read it with OpenTelemetry's own package.
func (s *otlpSink) request(b *Block, lines [][]byte, from int) {
	const (
		resourceLogs = 1 // of the request
		resource     = 1 // of ResourceLogs
		scopeLogs    = 2 // of ResourceLogs
		scope        = 1 // of ScopeLogs
		logRecords   = 2 // of ScopeLogs
	)
	now := uint64(time.Now().UnixNano())
	s.scope = appendField(s.scope[:0], scope, appendField(nil, 1, "dnshark"))
	for i, line := range lines {
		s.appendRecord(b, from+i, line, now)
		s.scope = appendField(s.scope, logRecords, s.record)
	}
	s.attributes = 1 // of Resource
	s.record = s.record[:0]
	s.text("service.name", "dnshark")
	s.text("host.name", s.target.Host)
	inside := protowire.SizeTag(resource) + protowire.SizeBytes(len(s.record)) + protowire.SizeTag(scopeLogs) + protowire.SizeBytes(len(s.scope))
	s.body = protowire.AppendTag(s.body[:0], resourceLogs, protowire.BytesType)
	s.body = protowire.AppendVarint(s.body, uint64(inside))
	s.body = appendField(s.body, resource, s.record)
	s.body = appendField(s.body, scopeLogs, s.scope)
}

// appendRecord makes record the LogRecord of line i. Names of attributes are those of
// OpenTelemetry's conventions, then of ECS, then our own.
func (s *otlpSink) appendRecord(b *Block, i int, line []byte, now uint64) {
	const (
		timeUnixNano, severity, body = 1, 2, 5
		attributes, observed, name   = 6, 11, 12
		info                         = 9
	)
	s.record = protowire.AppendTag(s.record[:0], timeUnixNano, protowire.Fixed64Type)
	s.record = protowire.AppendFixed64(s.record, uint64(timeOf(line).UnixNano()))
	s.record = protowire.AppendTag(s.record, observed, protowire.Fixed64Type)
	s.record = protowire.AppendFixed64(s.record, now)
	s.record = protowire.AppendTag(s.record, severity, protowire.VarintType)
	s.record = protowire.AppendVarint(s.record, info)
	s.value = appendField(s.value[:0], 1, line)
	s.record = appendField(s.record, body, s.value)
	s.attributes = attributes
	s.id = b.AppendID(s.id[:0], i)
	s.attribute("event_id", appendField(s.value[:0], 1, s.id))
	if !s.ours {
		return
	}
	f := &s.facts
	f.read(line)
	s.record = appendField(s.record, name, text(f.event))
	s.fact("dns.question.name", f.qname)
	s.fact("dns.question.type", f.qtype)
	s.fact("dns.response_code", f.rcode)
	s.fact("dns.op_code", f.opcode)
	s.number("dns.id", f.id)
	s.answers()
	if rcode := text(f.rcode); rcode != "" && rcode != "NOERROR" {
		s.text("error.type", rcode)
	}
	s.text("network.protocol.name", "dns")
	switch string(f.protocol) {
	case "6":
		s.text("network.transport", "tcp")
	case "17":
		s.text("network.transport", "udp")
	}
	switch {
	case strings.Contains(string(f.client), ":"):
		s.text("network.type", "ipv6")
	case len(f.client) > 0:
		s.text("network.type", "ipv4")
	}
	s.fact("client.address", f.client)
	s.number("client.port", f.clientPort)
	s.fact("server.address", f.server)
	s.number("server.port", f.serverPort)
	s.number("process.pid", f.pid)
	s.fact("process.executable.name", f.comm)
	s.fact("process.executable.path", f.exe)
	s.fact("process.owner", f.user)
	s.fact("container.id", f.container)
	s.fact("container.name", f.containerName)
	s.fact("container.image.name", f.image)
	s.fact("k8s.pod.name", f.pod)
	s.fact("k8s.namespace.name", f.namespace)
	s.fact("dnshark.unit", f.unit)
	s.fact("dnshark.observer", f.observer)
	s.fact("dnshark.attribution", f.attribution)
	s.fact("dnshark.state", f.state)
	s.number("dnshark.latency_us", f.latency)
}

// fact, text, number and answers add an attribute, if its value is known.
func (s *otlpSink) fact(key string, value []byte) {
	if value != nil {
		s.text(key, text(value))
	}
}

func (s *otlpSink) text(key, value string) {
	s.attribute(key, appendField(s.value[:0], 1, value))
}

func (s *otlpSink) number(key string, value []byte) {
	if n, err := strconv.ParseInt(string(value), 10, 64); err == nil {
		s.attribute(key, protowire.AppendVarint(protowire.AppendTag(s.value[:0], 3, protowire.VarintType), uint64(n)))
	}
}

// answers adds the data of the records of the answer section, an array.
func (s *otlpSink) answers() {
	list := s.list[:0]
	for record := range elements(s.facts.answers) {
		if data := get(record, "data"); data != nil {
			s.value = appendField(s.value[:0], 1, text(data))
			list = appendField(list, 1, s.value)
		}
	}
	if s.list = list; len(list) > 0 {
		s.attribute("dns.answers", appendField(s.value[:0], 5, list))
	}
}

// attribute adds a KeyValue whose value is an AnyValue.
func (s *otlpSink) attribute(key string, value []byte) {
	s.value = value
	s.record = protowire.AppendTag(s.record, s.attributes, protowire.BytesType)
	s.record = protowire.AppendVarint(s.record, uint64(protowire.SizeTag(1)+protowire.SizeBytes(len(key))+protowire.SizeTag(2)+protowire.SizeBytes(len(value))))
	s.record = appendField(s.record, 1, key)
	s.record = appendField(s.record, 2, value)
}

// appendField appends a field of octets, text or a message.
func appendField[T string | []byte](dst []byte, number protowire.Number, inside T) []byte {
	dst = protowire.AppendTag(dst, number, protowire.BytesType)
	return append(protowire.AppendVarint(dst, uint64(len(inside))), inside...)
}

func (s *otlpSink) drop() {
	if s.conn != nil {
		s.conn.Close()
	}
	s.conn = nil
}

// Close implements Sink.
func (s *otlpSink) Close() error {
	s.drop()
	s.client.close()
	return nil
}
