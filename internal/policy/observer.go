// Package policy decides which observations are kept.
package policy

import "github.com/dnshark-io/dnshark/event"

// Observer is the stage that keeps observations by where they were made. A
// conversation between two sockets of one host is seen at both; without this
// stage every answer would come twice.
type Observer struct {
	Client, Server bool
	Dropped        uint64
}

// Process drops messages seen at the ends that are not wanted. Those of a
// passive observer always stay.
func (o *Observer) Process(b *event.Batch) {
	o.Dropped += drop(b, func(e *event.Event) bool {
		return e.Observer == event.Client && !o.Client || e.Observer == event.Server && !o.Server
	})
}
