package output

import "github.com/dnshark-io/dnshark/event"

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
		for bit := range t.Events {
			t.Events[bit] += uint64(kinds >> bit & 1)
		}
	}
	return t.Next.Write(b)
}
