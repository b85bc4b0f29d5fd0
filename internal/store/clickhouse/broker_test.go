package clickhouse

import (
	"os/exec"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/dnshark-io/dnshark/internal/store"
	"github.com/dnshark-io/dnshark/internal/store/storetest"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

// From an agent to Kafka, from there to ClickHouse by its own engine, and to a look-up.
func TestKafka(t *testing.T) {
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "dnshark.events"))
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	server := testkit.StartClickHouseToday(t)
	server.Run(statements(t, DDL{Kafka: broker.ListenAddrs()[0], Topic: "dnshark.events"}))
	defer server.Ask("DROP TABLE dnshark_queue")
	out, err := exec.Command(testkit.Dnshark(t), "read", writeCapture(t), "-q", "-o", "kafka://"+broker.ListenAddrs()[0]).CombinedOutput()
	if err != nil {
		t.Fatal(err, string(out))
	}
	s := connect(t, "clickhouse://"+server.Address)
	const want = "www.example.test A 192.0.2.80 x2; www.example.test A 192.0.2.0 x1"
	got := ""
	for end := time.Now().Add(3 * time.Minute); got != want && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		got = storetest.Find(t, s, store.Query{Text: "www.example.test"})
	}
	if got != want {
		t.Errorf("%q, want %q; %s", got, want, server.Ask("SELECT * FROM system.kafka_consumers FORMAT Vertical"))
	}
	if n := server.Ask("SELECT count() FROM dnshark WHERE event = 'net_packet_dns_response'"); n != "15" {
		t.Error(n)
	}
}
