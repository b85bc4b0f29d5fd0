package event

// Batch is what travels down the line: the events of a few frames. It is
// reused, so events and whatever they borrow die with Reset.
type Batch struct {
	Events []Event
	Host   string // copied into every event
	Now    int64  // the newest packet time or, on a silent live lane, the clock; ns since the Unix epoch
	held   []byte
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
	msg := e.Msg
	*e = Event{Host: b.Host, Msg: msg}
	return e
}

// Drop takes back the event that Next returned last.
func (b *Batch) Drop() { b.Events = b.Events[:len(b.Events)-1] }

// Hold copies octets that their owner is about to reuse, such as a reassembled
// message. The copy lives until Reset.
func (b *Batch) Hold(p []byte) []byte {
	if cap(b.held)-len(b.held) < len(p) {
		// The old block stays alive through the events that borrow from it.
		b.held = make([]byte, 0, max(64<<10, 2*cap(b.held), len(p)))
	}
	at := len(b.held)
	b.held = append(b.held, p...)
	return b.held[at:len(b.held):len(b.held)]
}

// Reset ends the life of all events of the batch.
func (b *Batch) Reset() {
	b.Events = b.Events[:0]
	b.held = b.held[:0]
}
