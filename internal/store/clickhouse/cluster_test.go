package clickhouse

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/store"
	"github.com/dnshark-io/dnshark/internal/store/storetest"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

// Two shards, of which one is away for a while: what is written goes to the other,
// look-ups say that something is missing, and all is there in the end.
func TestShards(t *testing.T) {
	shards := testkit.ClickHouseShards(t, 2)
	shards[0].Run(statements(t, DDL{Plain: true, Cluster: "fleet"}))
	user := "clickhouse://agent:" + url.PathEscape(testkit.ClickHousePassword) + "@"
	both := connect(t, user+shards[0].Address+","+shards[1].Address+"/default")
	second := connect(t, user+shards[1].Address+"/default")
	partial := connect(t, user+shards[1].Address+"/default?partial=yes")
	put := func(name string) {
		var b event.Batch
		storetest.Answers(t, &b, storetest.Noon, name+" A 192.0.2.80")
		storetest.Write(t, both, &b)
	}
	one := store.Query{Text: "one.test"}
	put("one.test.")
	if got := storetest.Find(t, second, one); got != "one.test A 192.0.2.80 x1" {
		t.Fatal(got)
	}
	shards[0].Stop()
	put("one.test.")
	put("two.test.")
	if _, err := second.Lookup(t.Context(), &one, func(*store.Tuple) error { return nil }); err == nil || !strings.Contains(err.Error(), "shards") && !strings.Contains(err.Error(), "refused") {
		t.Error("nothing says that a shard is away:", err)
	}
	if got := storetest.Find(t, partial, one); got != "one.test A 192.0.2.80 x1" {
		t.Error(got)
	}
	shards[0].Start()
	var got string
	for end := time.Now().Add(time.Minute); got != "one.test A 192.0.2.80 x2" && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		q := one
		if _, err := second.Lookup(t.Context(), &q, func(*store.Tuple) error { return nil }); err == nil {
			got = storetest.Find(t, second, one)
		}
	}
	if got != "one.test A 192.0.2.80 x2" {
		t.Error(got)
	}
	list, err := both.Top(t.Context(), store.Names, store.Range{}, 9)
	if err != nil || len(list) != 2 || list[0] != (store.Ranked{Value: "one.test", Count: 2}) {
		t.Error(list, err)
	}
	if list, err = both.New(t.Context(), store.Range{}, 9); err != nil || len(list) != 2 || list[0].Count+list[1].Count != 3 {
		t.Error(list, err)
	}
	checkTwice(t, shards[1], both)
}

// checkTwice sends a batch again, as after an answer that got lost.
func checkTwice(t *testing.T, server *testkit.ClickHouse, s store.Store) {
	t.Helper()
	h := s.(*history)
	if !h.again {
		t.Fatal("the store does not know that its table drops what comes twice")
	}
	var body []byte
	var b event.Batch
	storetest.Answers(t, &b, storetest.Noon, "twice.test. A 192.0.2.81", "twice.test. A 192.0.2.82")
	g := store.NewStage(keep{rows: &body}, "sensor1")
	g.Process(&b)
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := h.client.insert(t.Context(), h.into, "host-boot-7", body); err != nil {
			t.Fatal(err)
		}
	}
	if got := storetest.Find(t, s, store.Query{Text: "twice.test"}); got != "twice.test A 192.0.2.81 x1; twice.test A 192.0.2.82 x1" {
		t.Error(got)
	}
}

// keep is a store that keeps the rows.
type keep struct {
	store.Store
	rows *[]byte
}

func (k keep) Write(_ context.Context, a *store.Aggregate) error {
	*k.rows = appendAggregate(nil, a)
	return nil
}
