package sink

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

// brokers starts a cluster that tests talk to. It takes the events of real clients, but
// it is a stand-in.
func brokers(t testing.TB, options ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(3, "dnshark.events")}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// records reads the n records of the topic, and what comes after them at once.
func records(t testing.TB, c *kfake.Cluster, n int, options ...kgo.Opt) (list []*kgo.Record) {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics("dnshark.events"), kgo.FetchMaxWait(100 * time.Millisecond)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for wait := testGrace; ; {
		if len(list) >= n {
			wait = 300 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		fetched := client.PollFetches(ctx)
		done := ctx.Err() != nil
		cancel()
		list = append(list, fetched.Records()...)
		if done {
			return list
		}
	}
}

// The broker goes away while events come, and comes back with what it had.
func TestKafkaRestart(t *testing.T) {
	ports, dir := testkit.FreePorts(t, 1), t.TempDir()
	start := func() *kfake.Cluster {
		return brokers(t, kfake.Ports(ports...), kfake.DataDir(dir), kfake.SyncWrites())
	}
	cluster := start()
	s, _ := open(t, fmt.Sprintf("kafka://127.0.0.1:%d?timeout=2s&record-key=qname", ports[0]))
	q := newRestartSpool(t, s)
	const blocks, each = 300, 100
	for i := range blocks {
		q.Put(block(1+each*i, each))
		time.Sleep(time.Millisecond)
		if i%100 == 50 {
			eventually(t, "something delivered", func() bool { return q.Stats().Delivered > 1000 })
			cluster.Close()
			time.Sleep(50 * time.Millisecond)
			cluster = start()
		}
	}
	q.settle()
	if err := q.Close(30 * time.Second); err != nil {
		t.Error(err)
	}
	if stats := q.Stats(); stats.Delivered != blocks*each || stats.Events != blocks*each {
		t.Errorf("%+v", stats)
	}
	seen := map[string]int{}
	for _, r := range records(t, cluster, blocks*each) {
		id := string(r.Headers[0].Value)
		if seen[id]++; r.Headers[0].Key != "event_id" || !strings.HasPrefix(string(r.Value), `{"event_id":"`+id+`",`) {
			t.Fatalf("%s %s", r.Headers, r.Value)
		}
	}
	twice := 0
	for i := range blocks * each {
		n := seen[fmt.Sprintf("host-0123abcd-t-%d", 1+i)]
		if n == 0 {
			t.Errorf("event %d is lost", 1+i)
		}
		if n > 1 {
			twice++
		}
	}
	if len(seen) != blocks*each {
		t.Errorf("%d ids", len(seen))
	}
	t.Logf("%d came twice, %d retries", twice, q.Stats().Retries)
}

func TestKafkaRights(t *testing.T) {
	ca := newAuthority(t)
	t.Setenv("KAFKA_SECRET", "p a+s:s/@%")
	for _, test := range []struct {
		method, scheme, options string
		cluster                 []kfake.Opt
	}{
		{"PLAIN", "kafka", "&sasl=plain", nil},
		{"SCRAM-SHA-256", "kafka", "&sasl=scram-sha-256&compression=gzip", nil},
		{"SCRAM-SHA-512", "kafka+tls", "&sasl=scram-sha-512&compression=none&ca=" + ca.path, []kfake.Opt{kfake.TLS(ca.server)}},
	} {
		t.Run(test.method, func(t *testing.T) {
			c := brokers(t, append(test.cluster, kfake.EnableSASL(), kfake.Superuser(test.method, "u", "p a+s:s/@%"))...)
			address := c.ListenAddrs()[0]
			s, _ := open(t, test.scheme+"://u:${KAFKA_SECRET}@"+address+"?timeout=30s"+test.options)
			if err := errors.Join(deliver(t, s, block(1, 3)), s.Close()); err != nil {
				t.Fatal(err)
			}
			wrong, _ := open(t, test.scheme+"://u:wr0ng@"+address+"?timeout=300ms"+test.options)
			begin := time.Now()
			err := deliver(t, wrong, block(1, 1))
			if err == nil || isPermanent(err) || strings.Contains(err.Error(), "wr0ng") || time.Since(begin) > testGrace {
				t.Error(err, time.Since(begin))
			}
			t.Log(err)
			wrong.Close()
		})
	}
	c := brokers(t, kfake.TLS(ca.server))
	s, _ := open(t, "kafka+tls://"+c.ListenAddrs()[0]+"?timeout=10s")
	if err := deliver(t, s, block(1, 1)); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Error(err)
	}
	s.Close()
}

// Keys are facts of the event, and one record that is too large costs that event alone.
func TestKafkaRecords(t *testing.T) {
	c := brokers(t)
	for key, want := range map[string]string{"none": "", "qname": `www.exa\000mple`, "client": "192.0.2.1", "process": "dig", "host": "h"} {
		s, _ := open(t, "kafka://"+c.ListenAddrs()[0]+"?record-key="+key)
		b := &Block{First: 7, Events: 4, source: "s-"}
		line := `{"time":"2026-11-23T00:41:13.101632310Z","host":"h","metadata":{"src_ip":"192.0.2.53","dst_ip":"192.0.2.1"},"dns":{"flags":["qr"],"questions":[{"name":"WWW.exa\\000mple"}]},"process":{"comm":"dig"}}` + "\n"
		b.Text = append(b.Text, line+line...)
		b.Text = fmt.Appendf(b.Text, "{\"x\":%q}\n", bytes.Repeat([]byte("0123456789"), 150_000))
		b.Text = append(b.Text, line...)
		var p *partly
		if err := deliver(t, s, b); !errors.As(err, &p) || p.refused != 1 {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		var found int
		for _, r := range records(t, c, 3) {
			if string(r.Key) == want && r.Timestamp.UTC().Format(time.RFC3339Nano) == "2026-11-23T00:41:13.101Z" {
				found++
			}
		}
		if found != 3 {
			t.Errorf("%s: %d of 3", key, found)
		}
	}
	for url, want := range map[string]string{
		"kafka://h?format=dnstap":               "is a stream",
		"kafka://h?record-key=qname&format=eve": "needs format json",
		"kafka://h?sasl=plain":                  "needs a user",
		"kafka://h?sasl=oauth":                  "one of plain",
		"kafka://h?ca=/x":                       "ca is for TLS",
		"kafka://":                              "needs a host",
	} {
		if why := refusedBy(url); !strings.Contains(why, want) {
			t.Errorf("%s: %q, want %q", url, why, want)
		}
	}
}

// A topic that is made later gets all; a record that is too large for the topic is
// refused, and none that was with it in a batch.
func TestKafkaTopics(t *testing.T) {
	c := brokers(t)
	s, _ := open(t, "kafka://"+c.ListenAddrs()[0]+"?topic=dns")
	defer s.Close()
	b := block(1, 200)
	b.Text = fmt.Appendf(b.Text, "{\"x\":%q}\n", noise(20_000))
	b.Text, b.Events = append(b.Text, block(202, 100).Text...), 301
	if err := deliver(t, s, b); err == nil || isPermanent(err) || !strings.Contains(err.Error(), "UNKNOWN_TOPIC") {
		t.Error(err)
	}
	if err := c.CreateTopic("dns", 1, map[string]string{"max.message.bytes": "10000"}); err != nil {
		t.Fatal(err)
	}
	if refused := insist(t, s, b); refused != 1 {
		t.Errorf("%d refused", refused)
	}
	seen := map[string]int{}
	for _, r := range records(t, c, 300, kgo.ConsumeTopics("dns")) {
		seen[string(r.Headers[0].Value)]++
	}
	if len(seen) != 300 || seen["host-0123abcd-t-201"] != 0 || seen["host-0123abcd-t-301"] != 1 {
		t.Errorf("%d records", len(seen))
	}
}

// noise is text that cannot be compressed much.
func noise(n int) string {
	octets := make([]byte, n/2)
	_, _ = rand.Read(octets)
	return hex.EncodeToString(octets)
}

// Whatever a broker does or is not there to do, a delivery ends and says why.
func TestKafkaSilence(t *testing.T) {
	hold := make(chan struct{})
	r := listen(t, "tcp", nil, func(net.Conn) { <-hold })
	defer close(hold)
	noise := listen(t, "tcp", nil, func(c net.Conn) {
		for _, err := c.Write([]byte("HTTP/1.1 400\r\n")); err == nil; _, err = c.Write(bytes.Repeat([]byte{0x7f}, 4096)) {
		}
	})
	empty := brokers(t)
	for url, want := range map[string]string{
		r.address + "?timeout=300ms":         "no answer within",
		noise.address + "?timeout=300ms":     "",
		"127.0.0.1:1?timeout=300ms":          "connection refused",
		empty.ListenAddrs()[0] + "?topic=no": "UNKNOWN_TOPIC",
	} {
		s, _ := open(t, "kafka://"+url)
		begin := time.Now()
		err := deliver(t, s, block(1, 1))
		if err == nil || isPermanent(err) || !strings.Contains(err.Error(), want) || time.Since(begin) > testGrace {
			t.Errorf("%s: %v after %v", url, err, time.Since(begin))
		}
		t.Logf("%s: %v", url, err)
		begin = time.Now()
		if err := s.Close(); err != nil || time.Since(begin) > testGrace {
			t.Error(err, time.Since(begin))
		}
	}
}

func kafkaStandIn(t *testing.T) (string, func() []string) {
	c := brokers(t)
	return "kafka://" + c.ListenAddrs()[0] + "?topic=dnshark.events", func() (list []string) {
		for _, r := range records(t, c, 0) {
			list = append(list, string(r.Value))
		}
		return list
	}
}
