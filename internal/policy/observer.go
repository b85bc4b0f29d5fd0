// Package policy decides which observations are kept.
package policy

import "github.com/dnshark-io/dnshark/event"

// Observer is the stage that keeps observations by where they were made. A
// conversation between two sockets of one host is seen at both; without this
// stage every answer would come twice.
type Observer struct {
	Client, Server bool
}

// Process drops messages seen at the ends that are not wanted. Those of a
// passive observer always stay.
func (o Observer) Process(b *event.Batch) {
	b.Keep(func(e *event.Event) bool {
		switch e.Observer {
		case event.Client:
			return o.Client
		case event.Server:
			return o.Server
		default:
			return true
		}
	})
}
