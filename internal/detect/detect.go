// Package detect finds threats in messages, as they pass on the line. Each
// detector is one file, listed below. It keeps bounded memory, works with the
// packets' time, and says of every alert what it counted and what else it is not.
package detect

import (
	"fmt"
	"net/netip"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/suffix"
)

// Detector looks at messages in the order in which they were seen, and raises
// alerts at the desk. It allocates nothing for a message that raises none.
type Detector interface {
	// Threat is the name of its events.
	Threat() string
	// See looks at one message. It keeps nothing of it.
	See(s *Seen, d *Desk)
}

// detectors makes one of each.
var detectors = []func(*Options) Detector{
	newC2,
	newDGA,
	newHijack,
	newPoison,
	newTransfer,
	newTunnel,
}

// Options are what users say of detection.
type Options struct {
	// Threats says which events are wanted; nil means all.
	Threats func(name string) bool
	// Secondaries are the addresses of servers that may transfer zones.
	Secondaries []netip.Prefix
	// Allow are registered domains that are nobody's tunnel, controller or forgery.
	Allow map[string]bool
}

// Seen is a message as detectors look at it. It belongs to the stage and dies with
// the call.
type Seen struct {
	*event.Event
	Response       bool
	Client, Server netip.Addr // who asks and who answers
	ClientPort     uint16
	// Of the first question; all are empty without one. Names are in presentation
	// format, in lower case, without final dot.
	Type       dnswire.Type
	Name       []byte
	Registered []byte // the end of Name that somebody registered; empty for public suffixes
	Labels     []byte // of Name, what stands before Registered, without the dot between them
	Allowed    bool   // Registered is one of Options.Allow
}

// Stage is the step of the line that shows messages to detectors, and adds their
// alerts to the batch.
type Stage struct {
	Desk
	Failed  []string // threats whose detectors panicked; they are off
	options *Options
	slots   []slot
	suffix  suffix.Table
	name    []byte
	seen    Seen
}

type slot struct {
	Detector
	off bool
}

// NewStage returns the stage with the detectors of the threats that are wanted.
func NewStage(o *Options) *Stage {
	s := &Stage{options: o}
	s.Desk.incidents = newTable[string, incident](maxIncidents)
	for _, make := range detectors {
		if d := make(o); o.Threats == nil || o.Threats(d.Threat()) {
			s.slots = append(s.slots, slot{Detector: d})
		}
	}
	return s
}

// Process is the stage's step.
func (s *Stage) Process(b *event.Batch) {
	n := len(b.Events)
	for i := range n {
		e := &b.Events[i]
		if !e.HasMessage() {
			continue
		}
		s.look(e)
		for j := range s.slots {
			if !s.slots[j].off {
				s.show(&s.slots[j])
			}
		}
		s.deliver(b, i)
	}
	if b.Last {
		s.end()
		s.deliver(b, -1)
	}
}

// show guards the line: whatever is wrong in a detector, only that one ends.
func (s *Stage) show(d *slot) {
	defer func() {
		if v := recover(); v != nil {
			d.off = true
			s.Failed = append(s.Failed, fmt.Sprintf("%s: %v", d.Threat(), v))
		}
	}()
	d.See(&s.seen, &s.Desk)
}

// look fills seen.
func (s *Stage) look(e *event.Event) {
	v := &s.seen
	*v = Seen{Event: e, Response: e.Msg.Flags.Response(), Client: e.Meta.SrcIP, Server: e.Meta.DstIP, ClientPort: e.Meta.SrcPort}
	if v.Response {
		v.Client, v.Server, v.ClientPort = e.Meta.DstIP, e.Meta.SrcIP, e.Meta.DstPort
	}
	if len(e.Msg.Questions) == 0 {
		return
	}
	q := &e.Msg.Questions[0]
	v.Type = q.Type
	s.name = e.Msg.AppendNameLower(s.name[:0], q.Name)
	v.Name = s.name
	v.Registered = s.suffix.Registered(v.Name)
	if before := len(v.Name) - len(v.Registered) - 1; before > 0 && len(v.Registered) > 0 {
		v.Labels = v.Name[:before]
	}
	v.Allowed = len(s.options.Allow) > 0 && s.options.Allow[string(v.Registered)]
}

// deliver adds the alerts that were raised as events, with what is known of the
// message at trigger, or of none.
func (s *Stage) deliver(b *event.Batch, trigger int) {
	for i, a := range s.raised {
		e := b.Next()
		if trigger >= 0 {
			e.Observation = b.Events[trigger].Observation
		} else {
			e.Observation = *s.last(a)
		}
		e.Class, e.Kinds, e.Txn, e.Alert = event.ClassAlert, 0, event.Transaction{}, a
		s.raised[i] = nil
	}
	s.raised = s.raised[:0]
}
