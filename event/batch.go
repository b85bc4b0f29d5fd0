package event

import "github.com/dnshark-io/dnshark/dnswire"

// Batch is what travels down the line: the events of a few frames. It is
// reused, so events and whatever they borrow die with Reset.
type Batch struct {
	Events []Event
	Host   string         // copied into every event
	Limits dnswire.Limits // what is kept of every message
	// Now is the time of the packets or, on a silent live lane, of the clock, in
	// ns since the Unix epoch. A single packet of another year does not move it.
	Now  int64
	Last bool   // nothing comes after this batch
	held []byte // the block that Hold fills
	full int    // octets in the blocks before it
	ids  []Identity

	causes []Cause
	text   text // of the event that an encoder is at
}

// Next adds an event and returns it cleared, its Msg ready for Unpack. The
// pointer is good until the next call.
func (b *Batch) Next() *Event {
	n := len(b.Events)
	if n < cap(b.Events) {
		b.Events = b.Events[:n+1]
	} else {
		b.Events = append(b.Events, Event{})
	}
	e := &b.Events[n]
	// Msg is left alone: Unpack begins anew and uses its memory again.
	e.Observation = Observation{Host: b.Host}
	e.text = &b.text
	e.Msg.Limits = b.Limits
	return e
}

// Drop takes back the event that Next returned last.
func (b *Batch) Drop() { b.Events = b.Events[:len(b.Events)-1] }

// Keep drops the events for which f is false. The others stay in order.
func (b *Batch) Keep(f func(*Event) bool) {
	n := 0
	for i := range b.Events {
		if !f(&b.Events[i]) {
			continue
		}
		if n != i {
			// Swapped, not overwritten: the memory of a dropped event's
			// message is used again by Next.
			b.Events[n], b.Events[i] = b.Events[i], b.Events[n]
		}
		n++
	}
	b.Events = b.Events[:n]
}

// Hold copies octets that their owner is about to reuse, such as a reassembled
// message. The copy lives until Reset.
func (b *Batch) Hold(p []byte) []byte {
	if cap(b.held)-len(b.held) < len(p) {
		// The old block stays alive through the events that borrow from it.
		b.full += len(b.held)
		b.held = make([]byte, 0, max(64<<10, 2*cap(b.held), len(p)))
	}
	at := len(b.held)
	b.held = append(b.held, p...)
	return b.held[at:len(b.held):len(b.held)]
}

// Held returns how many octets Hold has copied.
func (b *Batch) Held() int { return b.full + len(b.held) }

// HoldIdentity copies an identity that its owner is about to reuse. The copy
// lives until Reset.
func (b *Batch) HoldIdentity(id *Identity) *Identity {
	if len(b.ids) == cap(b.ids) {
		// The old block stays alive through the events that borrow from it.
		b.ids = make([]Identity, 0, max(256, 2*cap(b.ids)))
	}
	b.ids = append(b.ids, *id)
	return &b.ids[len(b.ids)-1]
}

// HoldCause is HoldIdentity for a cause.
func (b *Batch) HoldCause(c *Cause) *Cause {
	if len(b.causes) == cap(b.causes) {
		b.causes = make([]Cause, 0, max(64, 2*cap(b.causes)))
	}
	b.causes = append(b.causes, *c)
	return &b.causes[len(b.causes)-1]
}

// Reset ends the life of all events of the batch.
func (b *Batch) Reset() {
	b.Events = b.Events[:0]
	b.held, b.full = b.held[:0], 0
	b.ids = b.ids[:0]
	b.causes = b.causes[:0]
}
