package output

import (
	"math/bits"

	"github.com/dnshark-io/dnshark/event"
)

// Tally counts what is passed on.
type Tally struct {
	Observations uint64     // shown as at least one event
	Events       [32]uint64 // per kind of the catalogue
	Next         interface {
		Write(*event.Batch) (*event.Batch, error)
	}
}

// Write counts the batch and passes it on.
func (t *Tally) Write(b *event.Batch) (*event.Batch, error) {
	for i := range b.Events {
		kinds := b.Events[i].Kinds
		if kinds == 0 {
			continue
		}
		t.Observations++
		for ; kinds != 0; kinds &= kinds - 1 {
			t.Events[bits.TrailingZeros32(kinds)]++
		}
	}
	return t.Next.Write(b)
}
