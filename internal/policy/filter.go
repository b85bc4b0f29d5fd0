package policy

import (
	"net/netip"

	"github.com/dnshark-io/dnshark/event"
)

// drop drops the events for which f is true and returns how many.
func drop(b *event.Batch, f func(*event.Event) bool) uint64 {
	before := len(b.Events)
	b.Keep(func(e *event.Event) bool { return !f(e) })
	return uint64(before - len(b.Events))
}

// Responses is the stage that drops queries.
type Responses struct{ Dropped uint64 }

// Process drops every message that is no response.
func (r *Responses) Process(b *event.Batch) {
	r.Dropped += drop(b, func(e *event.Event) bool {
		return e.Class == event.ClassMessage && !e.Msg.Flags.Response()
	})
}

// Servers is the stage that keeps what was sent to or by some servers.
type Servers struct {
	Prefixes []netip.Prefix
	Dropped  uint64
}

// Process drops messages of other servers, and packets between others.
func (s *Servers) Process(b *event.Batch) {
	s.Dropped += drop(b, func(e *event.Event) bool {
		m := &e.Meta
		switch {
		case e.Class == event.ClassPacket:
			return !s.has(m.SrcIP) && !s.has(m.DstIP)
		case e.Msg.Flags.Response():
			return !s.has(m.SrcIP)
		default:
			return !s.has(m.DstIP)
		}
	})
}

func (s *Servers) has(a netip.Addr) bool {
	for _, p := range s.Prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// Processes is the stage that keeps what belongs to the processes that are
// wanted: those that the programs in the kernel did not refuse. They let more
// pass, because who asks is known only when a question met its answer. So this
// stage follows the pairing.
type Processes struct {
	Dropped uint64 // of processes that are not wanted
	Unknown uint64 // of processes that nobody knows
}

// Process drops what belongs to another process or to an unknown one.
func (p *Processes) Process(b *event.Batch) {
	unknown := uint64(0)
	n := drop(b, func(e *event.Event) bool {
		id := owner(e)
		known := id != nil && id.Known()
		if !known {
			unknown++
		}
		return !known || id.Refused != 0
	})
	p.Unknown += unknown
	p.Dropped += n - unknown
}

// owner returns who stands at the end at which the event was seen, or nil.
func owner(e *event.Event) *event.Identity {
	switch {
	case e.Class != event.ClassPacket && e.Observer == event.Client:
		return e.Asker.ID
	case e.Class != event.ClassPacket && e.Server.ID != nil:
		return e.Server.ID
	case e.Sender != nil:
		return e.Sender
	default:
		return e.Owner
	}
}
