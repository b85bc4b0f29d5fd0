package clickhouse

import (
	"context"
	"testing"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/store"
	"github.com/dnshark-io/dnshark/internal/store/storetest"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

// checkTwice sends a batch again, as after an answer that got lost.
func checkTwice(t *testing.T, server *testkit.ClickHouse, s store.Store) {
	t.Helper()
	h := s.(*history)
	if !h.again {
		t.Fatal("the store does not know that its table drops what comes twice")
	}
	a := store.NewAggregate("sensor1")
	var b event.Batch
	storetest.Answers(t, &b, storetest.Noon, "twice.test. A 192.0.2.81", "twice.test. A 192.0.2.82")
	g := store.NewStage(keep{a: &a}, "sensor1")
	g.Process(&b)
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	body := appendAggregate(nil, a)
	for range 3 {
		if err := h.client.insert(t.Context(), h.into, "host-boot-7", body); err != nil {
			t.Fatal(err)
		}
	}
	if got := storetest.Find(t, s, store.Query{Text: "twice.test"}); got != "twice.test A 192.0.2.81 x1; twice.test A 192.0.2.82 x1" {
		t.Error(got)
	}
}

// keep is a store that keeps the aggregate.
type keep struct {
	store.Store
	a **store.Aggregate
}

func (k keep) Write(_ context.Context, a *store.Aggregate) error {
	*k.a = a
	return nil
}
