package eventlog_test

import (
	"strings"
	"testing"

	"github.com/dnshark-io/dnshark/internal/store/eventlog"
	"github.com/dnshark-io/dnshark/internal/store/storetest"
)

// What holds for events in ClickHouse holds here.
func TestEvents(t *testing.T) {
	storetest.RunEvents(t, func(t *testing.T, lines ...string) storetest.Finder {
		l, err := eventlog.Open(t.TempDir(), eventlog.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		if err := l.AppendWait([]byte(strings.Join(lines, "")), len(lines)); err != nil {
			t.Fatal(err)
		}
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
		return l
	})
}
