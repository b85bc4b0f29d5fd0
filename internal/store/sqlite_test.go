package store_test

import (
	"testing"

	"github.com/dnshark-io/dnshark/internal/store"
	"github.com/dnshark-io/dnshark/internal/store/storetest"
)

func TestSQLite(t *testing.T) {
	storetest.Run(t, func(t *testing.T) (write, read store.Store) {
		dir := t.TempDir()
		write, err := store.Open(dir, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { write.Close() })
		if read, err = store.OpenReader(dir); err != nil { // while the other is open
			t.Fatal(err)
		}
		t.Cleanup(func() { read.Close() })
		return write, read
	})
}
