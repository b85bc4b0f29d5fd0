package clickhouse

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	natsd "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

// TestFleet lets a thousand agents send to JetStream what goes from there to
// ClickHouse, and is strict about the count: each event once, although some messages
// come twice. DNSHARK_BENCH_FLEET is how many events; then it writes the figures of
// docs/fleet.md. The engine in chdb has no NATS, so a puller hands messages to the
// view that would follow it.
func TestFleet(t *testing.T) {
	const agents = 1000
	events, _ := strconv.Atoi(os.Getenv("DNSHARK_BENCH_FLEET"))
	if events == 0 {
		events = 10_000
	}
	dir := t.TempDir()
	broker, err := natsd.NewServer(&natsd.Options{Host: "127.0.0.1", Port: natsd.RANDOM_PORT, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	go broker.Start()
	defer func() { broker.Shutdown(); broker.WaitForShutdown() }()
	if !broker.ReadyForConnections(30 * time.Second) {
		t.Fatal("no broker")
	}
	conn, err := nats.Connect(broker.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn, jetstream.WithPublishAsyncMaxPending(4096))
	if err != nil {
		t.Fatal(err)
	}
	// As -o nats://...?stream=DNS makes it.
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "DNS", Subjects: []string{"dnshark.events"}, Storage: jetstream.FileStorage, Compression: jetstream.S2Compression, Duplicates: 10 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "clickhouse", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 100_000})
	if err != nil {
		t.Fatal(err)
	}
	server := testkit.StartClickHouseToday(t)
	ddl := statements(t, DDL{NATS: "127.0.0.1:9", Topic: "dnshark.events", Stream: "DNS", Consumer: "clickhouse"})
	begin, end := strings.Index(ddl, "ENGINE = NATS"), strings.Index(ddl, "CREATE MATERIALIZED VIEW dnshark_arrivals")
	server.Run(ddl[:begin] + "ENGINE = Null;\n" + ddl[end:])

	at := time.Now()
	octets := 0
	random := rand.New(rand.NewPCG(1, 2))
	names := rand.NewZipf(random, 1.05, 50, 99_999)
	for i := range events {
		line := fleetEvent(i, i%agents, uint32(names.Uint64()))
		octets += len(line)
		m := &nats.Msg{Subject: "dnshark.events", Data: line, Header: nats.Header{jetstream.MsgIDHeader: {fmt.Sprintf("h%d-%d", i%agents, i)}}}
		for range 1 + i%100/99 { // an agent that did not hear the answer sends again
			if _, err := js.PublishMsgAsync(m); err != nil {
				t.Fatal(err)
			}
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(2 * time.Minute):
		t.Fatal("the broker does not answer")
	}
	published := time.Since(at)
	info, err := stream.Info(t.Context())
	if err != nil || info.State.Msgs != uint64(events) {
		t.Fatalf("%d messages of %d events: %v", info.State.Msgs, events, err)
	}

	at = time.Now()
	inserts := pull(t, consumer, server, events)
	inserted := time.Since(at)
	if n := server.Ask("SELECT count(), uniqExact(event_id), uniqExact(host) FROM dnshark"); n != fmt.Sprintf("%d\t%d\t%d", events, events, agents) {
		t.Errorf("%s, want %d events of %d agents", n, events, agents)
	}
	if n := server.Ask("SELECT sum(count) FROM dnshark_history WHERE by = 0"); n != strconv.Itoa(events) {
		t.Errorf("the history knows %s events of %d", n, events)
	}
	if os.Getenv("DNSHARK_BENCH_FLEET") == "" {
		return
	}
	server.Ask("OPTIMIZE TABLE dnshark FINAL")
	server.Ask("OPTIMIZE TABLE dnshark_history FINAL")
	size := func(table string) string {
		return server.Ask("SELECT concat(toString(sum(rows)), ' rows, ', toString(sum(bytes_on_disk)), ' octets') FROM system.parts WHERE active AND database = currentDatabase() AND table = '" + table + "'")
	}
	t.Logf("%s, %d processors; %d events of %d agents\nagents to broker: %.0f events/s, %d octets each as JSON, %d as a message, %d in the stream on disk\nbroker to ClickHouse: %.0f events/s in %d inserts, views included\nevents: %s; history: %s\njson alone: %s octets",
		runtime.Version(), runtime.NumCPU(), events, agents, float64(events)/published.Seconds(), octets/events, info.State.Bytes/uint64(events), onDisk(t, dir)/int64(events),
		float64(events)/inserted.Seconds(), inserts, size("dnshark"), size("dnshark_history"),
		server.Ask("SELECT sum(column_data_compressed_bytes) FROM system.parts_columns WHERE active AND table = 'dnshark' AND column = 'json'"))
}

// onDisk returns how many octets the files below dir have.
func onDisk(t *testing.T, dir string) (octets int64) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			octets += info.Size()
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return octets
}

// pull hands messages to ClickHouse as its engine would, and acknowledges them when
// they are in.
func pull(t *testing.T, consumer jetstream.Consumer, server *testkit.ClickHouse, events int) (inserts int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	for done := 0; done < events; {
		if ctx.Err() != nil {
			t.Fatalf("%d of %d events", done, events)
		}
		batch, err := consumer.Fetch(min(50_000, events-done), jetstream.FetchMaxWait(2*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		var body bytes.Buffer
		var taken []jetstream.Msg
		for m := range batch.Messages() {
			body.Write(append(m.Data(), '\n'))
			taken = append(taken, m)
		}
		if len(taken) == 0 {
			continue
		}
		answer, err := http.Post("http://"+server.Address+"/?query=INSERT+INTO+dnshark_queue+FORMAT+JSONAsString", "", &body)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Fatal(answer.Status)
		}
		inserts++
		for _, m := range taken {
			err = errors.Join(err, m.Ack())
		}
		if err != nil {
			t.Fatal(err)
		}
		done += len(taken)
	}
	return inserts
}

// fleetEvent is event i, of an agent that asked for a name by its number.
func fleetEvent(i, agent int, n uint32) []byte {
	h := fnv.New64a()
	h.Write(binary.BigEndian.AppendUint32(nil, n))
	x := h.Sum64()
	name := fmt.Sprintf("%s.%s.example", strconv.FormatUint(x>>40, 36), strconv.FormatUint(x&0xfff, 36))
	line := strings.NewReplacer(
		`{"time":"2026-11-23T00:41:13.101632310Z"`, fmt.Sprintf(`{"event_id":"h%d-%d","time":"%s"`, agent, i, time.Unix(1795394473+int64(i/2000), int64(i%2000)*499_979).UTC().Format(time.RFC3339Nano)),
		"Process.test", name, `"host":"h"`, fmt.Sprintf(`"host":"h%d"`, agent), "192.0.2.80", fmt.Sprintf("198.%d.%d.%d", 18+x&1, x>>8&255, x>>16&255),
		"2001:db8::1", fmt.Sprintf("10.0.%d.%d", agent>>8, agent&255), "40000", strconv.Itoa(32768+int(x>>3+uint64(i))%28000), `"id":1,`, fmt.Sprintf(`"id":%d,`, i*7919%65536),
		`"latency_us":7`, fmt.Sprintf(`"latency_us":%d`, 300+i*31%20000), "15588", strconv.Itoa(1000+i%500), `"name":"test"`, fmt.Sprintf(`"name":%q`, name[strings.IndexByte(name, '.')+1:]),
	).Replace(strings.TrimSpace(processEvent))
	return []byte(line)
}
