package sink

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// kafka writes to a topic of Kafka, or of what speaks its protocol.
var kafka = Kind{
	Scheme: "kafka",
	Also:   []string{"kafka+tls"},
	Form:   "kafka://[USER:PASSWORD@]HOST[:PORT], kafka+tls://HOST[:PORT]",
	Doc:    "Kafka, a record per event with the header event_id",
	Delivery: `A record counts as delivered when all replicas in sync have it. The producer is idempotent, and a
delivery that takes too long goes on, so a record is written once as long as dnshark runs. The id is
the header event_id, the event's time the record's. Without record-key records are spread over
partitions batch by batch, which compresses best; with it events of the same key stay in order (a
qname is in lower case then). The topic must be there. A record that is too large for the broker is
refused, alone.`,
	Example: "-o 'kafka+tls://agent:${KAFKA_PASSWORD}@k1.example?servers=k2.example:9092&sasl=scram-sha-512&topic=dns'",
	Format:  "json",
	Options: options([]Option{
		{"servers", "text", "", "more brokers to ask for the cluster: HOST:PORT, several with commas"},
		{"topic", "text", "dnshark.events", "topic"},
		{"record-key", "one of none, host, qname, client, process", "none", "what is the same for events that are to stay in order"},
		{"compression", "one of none, gzip, snappy, lz4, zstd", "zstd", "of batches"},
		{"sasl", "one of plain, scram-sha-256, scram-sha-512", "plain", "how the user's password is shown"},
		timeoutOption,
	}, secretOptions, tlsOptions),
	Open: openKafka,
}

// kafkaMaxAnswer bounds what a broker may answer.
const kafkaMaxAnswer = 16 << 20

type kafkaSink struct {
	target  *Target
	options []kgo.Opt
	key     string       // part, or none
	client  *kgo.Client  // nil before the first delivery
	trouble atomic.Value // kafkaTrouble: why brokers were not reached, the last time

	each  each
	facts facts
	// The client keeps a record until the broker's answer is known, beyond a delivery
	// that took too long: only so is no record written twice.
	flying  int            // records
	alone   []bool         // lines that were too large together with others
	answers chan kafkaDone // room for all lines
}

type kafkaTrouble struct{ error }

type kafkaDone struct {
	line int
	err  error
}

func openKafka(t *Target) (Sink, error) {
	if err := t.refuseBinary(); err != nil {
		return nil, err
	}
	s := &kafkaSink{target: t, key: t.Text("record-key")}
	if s.key != "none" && t.Format != "json" {
		return nil, errors.New("record-key needs format json")
	}
	servers, err := t.servers("9092")
	if err != nil {
		return nil, err
	}
	config, err := t.clusterTLS()
	if err != nil {
		return nil, err
	}
	mechanism, err := t.sasl()
	if err != nil {
		return nil, err
	}
	codec := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}[t.Text("compression")]
	s.options = []kgo.Opt{
		kgo.SeedBrokers(servers...), kgo.ClientID("dnshark"), kgo.DefaultProduceTopic(t.Text("topic")),
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerBatchCompression(codec, kgo.NoCompression()),
		kgo.ProducerLinger(0), // blocks have waited
		// A block is the bound.
		kgo.MaxBufferedRecords(math.MaxInt32),
		kgo.DialTimeout(t.timeout()), kgo.ProduceRequestTimeout(t.timeout()), kgo.RequestTimeoutOverhead(t.timeout()),
		kgo.RetryTimeout(t.timeout()), kgo.BrokerMaxReadBytes(kafkaMaxAnswer), kgo.FetchMaxBytes(kafkaMaxAnswer),
		// Who leads, and whether the topic is there at last, is asked soon again.
		kgo.MetadataMinAge(500 * time.Millisecond),
		kgo.DisableClientMetrics(), kgo.WithHooks(s),
	}
	if config != nil {
		s.options = append(s.options, kgo.DialTLSConfig(config))
	}
	if mechanism != nil {
		s.options = append(s.options, kgo.SASL(mechanism))
	}
	return s, kgo.ValidateOpts(s.options...)
}

// sasl returns how the user shows who they are, nil without a user.
func (t *Target) sasl() (sasl.Mechanism, error) {
	user, password, err := t.credentials()
	if err != nil {
		return nil, err
	}
	if user == "" {
		if t.Given("sasl") {
			return nil, errors.New("sasl needs a user")
		}
		return nil, nil
	}
	sign := func(context.Context) (scram.Auth, error) { return scram.Auth{User: user, Pass: password.text()}, nil }
	switch t.Text("sasl") {
	case "scram-sha-256":
		return scram.Sha256(sign), nil
	case "scram-sha-512":
		return scram.Sha512(sign), nil
	}
	return plain.Plain(func(context.Context) (plain.Auth, error) { return plain.Auth{User: user, Pass: password.text()}, nil }), nil
}

// OnBrokerConnect implements kgo.HookBrokerConnect: the client tries on and on, so
// this is where it says why.
func (s *kafkaSink) OnBrokerConnect(_ kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	s.trouble.Store(kafkaTrouble{err})
}

var _ kgo.HookBrokerConnect = (*kafkaSink)(nil)

// Deliver implements Sink.
func (s *kafkaSink) Deliver(ctx context.Context, b *Block) (err error) {
	if s.client == nil {
		if s.client, err = kgo.NewClient(s.options...); err != nil {
			return err
		}
	}
	if s.each.begin(b) {
		n := len(s.each.lines)
		s.flying, s.answers = 0, make(chan kafkaDone, n)
		s.alone = make([]bool, n)
	}
	late := time.NewTimer(s.target.timeout())
	defer late.Stop()
	// Whatever goes wrong, the other records' answers come too.
	for s.each.left > 0 && (s.flying > 0 || err == nil) {
		if s.flying == 0 {
			s.send(b)
		}
		select {
		case done := <-s.answers:
			if failed := s.settle(done); failed != nil {
				err = failed
			}
		case <-late.C:
			return s.each.end(s.late())
		case <-ctx.Done():
			return s.each.end(ctx.Err())
		}
	}
	return s.each.end(err)
}

// send hands over all lines that are not settled, but those that were too large
// together with others one by one, last.
func (s *kafkaSink) send(b *Block) {
	last := -1
	for i := range s.each.lines {
		switch {
		case s.each.settled[i]:
		case s.alone[i]:
			last = i
		default:
			s.produce(b, i)
		}
	}
	if s.flying == 0 && last >= 0 {
		s.produce(b, last)
	}
}

func (s *kafkaSink) produce(b *Block, i int) {
	line := s.each.lines[i]
	r := &kgo.Record{
		Value: b.AppendJSON(make([]byte, 0, len(line)+128), i, line), Timestamp: timeOf(line),
		Headers: []kgo.RecordHeader{{Key: "event_id", Value: b.AppendID(nil, i)}},
	}
	if s.key != "none" {
		s.facts.read(line)
		// Names are the same in upper and lower case.
		r.Key = []byte(strings.ToLower(s.facts.part(s.key)))
	}
	s.flying++
	answers := s.answers
	s.client.Produce(context.Background(), r, func(_ *kgo.Record, err error) { answers <- kafkaDone{i, err} })
}

// settle takes an answer about a line. An error is one about all lines.
func (s *kafkaSink) settle(done kafkaDone) error {
	s.flying--
	switch {
	case done.err == nil:
		s.each.taken(done.line)
	case errors.Is(done.err, kerr.MessageTooLarge) || errors.Is(done.err, kerr.RecordListTooLarge) || errors.Is(done.err, kerr.InvalidRecord):
		if s.alone[done.line] {
			s.each.refuse(done.line, done.err)
		}
		s.alone[done.line] = true
	default:
		return done.err
	}
	return nil
}

func (s *kafkaSink) late() error {
	err := fmt.Errorf("no answer within %v", s.target.timeout())
	if trouble, _ := s.trouble.Load().(kafkaTrouble); trouble.error != nil {
		err = fmt.Errorf("%w: %w", err, trouble.error)
	}
	return err
}

// Close implements Sink.
func (s *kafkaSink) Close() error {
	if s.client != nil {
		s.client.Close()
	}
	return nil
}
