// Package detect finds threats in messages, as they pass on the line. Each
// detector is one file, listed below. It keeps bounded memory, works with the
// packets' time, and says of every alert what it counted and what else it is not.
package detect

import (
	"fmt"
	"hash/maphash"
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

// asker is a Detector that wants to see queries too. Most learn all from answers, and
// from queries that found none.
type asker interface{ wantsQuery(s *Seen) bool }

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
	// Hashes of the above, seeded, so that nobody can choose names that collide.
	ClientHash, PairHash, NameHash, DomainHash uint64
	// Repeat says that the client had the same answer about the same name before, within
	// the last hours: most messages are such, and most detectors learn nothing of them.
	Repeat bool
	fresh  *filterSet
}

// Fresh reports whether nobody asked about a hash within the last hours. The salt keeps
// the questions of detectors apart.
func (s *Seen) Fresh(hash, salt uint64) bool {
	return s.fresh.add(hash^salt*0x9e3779b97f4a7c15, s.Time)
}

// known is Fresh without remembering, the other way round.
func (s *Seen) known(hash, salt uint64) bool { return s.fresh.has(hash ^ salt*0x9e3779b97f4a7c15) }

// Salts of Fresh.
const (
	saltRepeat = iota
	saltLabels
	saltData
	saltMissing
	saltExists
	saltBeaconLabels
	saltBeaconData
)

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
	fresh   filterSet
	seed    maphash.Seed
}

type slot struct {
	Detector
	asks asker // or nil
	off  bool
}

// NewStage returns the stage with the detectors of the threats that are wanted.
func NewStage(o *Options) *Stage {
	s := &Stage{options: o, seed: maphash.MakeSeed()}
	s.Desk.incidents = newTable[string, incident](maxIncidents)
	for _, make := range detectors {
		if d := make(o); o.Threats == nil || o.Threats(d.Threat()) {
			asks, _ := d.(asker)
			s.slots = append(s.slots, slot{Detector: d, asks: asks})
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
			d := &s.slots[j]
			if d.off || s.seen.question() && (d.asks == nil || !d.asks.wantsQuery(&s.seen)) {
				continue
			}
			s.show(d)
		}
		if len(s.raised) > 0 {
			s.deliver(b, i)
		}
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
	*v = Seen{Event: e, Response: e.Msg.Flags.Response(), Client: e.Meta.SrcIP, Server: e.Meta.DstIP, ClientPort: e.Meta.SrcPort, fresh: &s.fresh}
	if v.Response {
		v.Client, v.Server, v.ClientPort = e.Meta.DstIP, e.Meta.SrcIP, e.Meta.DstPort
	}
	if len(e.Msg.Questions) == 0 {
		return
	}
	if v.question() { // few want it, and they want little
		v.Type = e.Msg.Questions[0].Type
		if !s.wanted(v) {
			return
		}
	}
	q := &e.Msg.Questions[0]
	v.Type = q.Type
	s.name = e.Msg.AppendNameLower(s.name[:0], q.Name)
	v.Name = s.name
	v.Registered = s.suffix.Registered(v.Name)
	if before := len(v.Name) - len(v.Registered) - 1; before > 0 && len(v.Registered) > 0 {
		v.Labels = v.Name[:before]
	}
	v.ClientHash = s.hashAddr(v.Client)
	v.PairHash = v.ClientHash*3 + s.hashAddr(v.Server)
	v.NameHash = maphash.Bytes(s.seed, v.Name)
	v.DomainHash = v.NameHash
	if len(v.Registered) < len(v.Name) {
		v.DomainHash = maphash.Bytes(s.seed, v.Registered)
	}
	v.Repeat = v.Response && !v.Fresh(s.content(v), saltRepeat)
	v.Allowed = len(s.options.Allow) > 0 && s.options.Allow[string(v.Registered)]
}

// question reports whether the message is a query that waits for its answer.
func (s *Seen) question() bool { return !s.Response && s.Class == event.ClassMessage }

func (s *Stage) wanted(v *Seen) bool {
	for i := range s.slots {
		if d := &s.slots[i]; !d.off && d.asks != nil && d.asks.wantsQuery(v) {
			return true
		}
	}
	return false
}

// hashAddr hashes an address.
func (s *Stage) hashAddr(a netip.Addr) uint64 {
	b := a.As16()
	return maphash.Bytes(s.seed, b[:])
}

// content hashes who asked what, and what the answer was.
func (s *Stage) content(v *Seen) uint64 {
	h := v.PairHash ^ v.NameHash + uint64(v.Type)<<8 + uint64(v.Msg.RCode()) + uint64(v.Txn.State)<<32
	records := v.Msg.Answer()
	for i := range records[:min(len(records), 16)] {
		h += maphash.Bytes(s.seed, v.Msg.RData(&records[i]))
	}
	return h
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
