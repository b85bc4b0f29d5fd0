// Package detect finds threats in messages, as they pass on the line. Each
// detector is one file, listed below. It keeps bounded memory, works with the
// packets' time, and says of every alert what it counted and what else it is not.
package detect

import (
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"

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
type asker interface{ wantsQuery(dnswire.Type) bool }

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
	// Rules may be replaced while the stage runs; see Stage.Use. nil: none.
	Rules *Rules
	// NoShipped leaves out the lists of domains in allow/.
	NoShipped bool
	// Systems tells the autonomous system of an address, 0 where it does not know. nil: the
	// /16 stands for it.
	Systems func(netip.Addr) uint32
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
	Allowed    bool   // the name is no evidence of the detector's threat; only known when it is no Repeat
	// Hashes of the above, seeded, so that nobody can choose names that collide.
	ClientHash, ServerHash, PairHash, NameHash, DomainHash uint64
	// Repeat says that the client had the same answer about the same name not long ago:
	// most messages are such, and most detectors learn nothing of them.
	Repeat bool
	// Common says that somebody had the same answer about the same name within the last
	// minute. Now and then such a one is not known: who counts answers must not rely on it.
	Common  bool
	fresh   *filterSet
	key     *hashKey // of Fresh
	content uint64   // hash of the question and the answer
	allowed uint32   // threats for which the name is no evidence, by place in Stage.slots
	at      int      // in the batch
}

// hash returns a hash of octets for Fresh.
func (s *Seen) hash(b []byte) uint64 { return s.key.hash(b) }

// Fresh reports whether nobody asked about a hash within the last hours. The salt keeps
// the questions of detectors apart.
func (s *Seen) Fresh(hash, salt uint64) bool { return s.fresh.add(salted(hash, salt), s.Time) }

// known is Fresh without remembering, the other way round.
func (s *Seen) known(hash, salt uint64) bool { return s.fresh.has(salted(hash, salt)) }

func salted(hash, salt uint64) uint64 { return hash ^ salt*0x9e3779b97f4a7c15 }

// Salts of Fresh.
const (
	saltLabels = iota
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
	Failed     []string // threats whose detectors panicked; they are off
	Told       uint64   // alerts and updates that became events
	Suppressed uint64   // those that rules suppress
	Below      uint64   // those below the minimum severity

	options *Options
	newer   atomic.Pointer[Rules] // rules to begin with at the next batch
	allow   allowList
	byRule  []RuleCount // as Rules.Suppress
	slots   []slot
	suffix  suffix.Table
	names   []byte // of seen
	seen    []Seen // the messages of the batch
	fresh   filterSet
	recent  []uint64  // contents with who asked, each at its own place
	common  []content // without, the same way
	key     hashKey
}

type content struct {
	hash uint64
	time int64 // when it was learned from
}

// commonTime is how long the same answer says nothing else.
const commonTime = 60e9

type slot struct {
	Detector
	asks asker // or nil
	off  bool
}

// NewStage returns the stage with the detectors of the threats that are wanted.
func NewStage(o *Options) *Stage {
	own := *o
	s := &Stage{options: &own, key: newHashKey(), recent: make([]uint64, 1<<16), common: make([]content, 1<<14)}
	s.Desk.incidents, s.Desk.options = newTable[string, incident](maxIncidents), &own
	for _, make := range detectors {
		if d := make(&own); o.Threats == nil || o.Threats(d.Threat()) {
			asks, _ := d.(asker)
			s.slots = append(s.slots, slot{Detector: d, asks: asks})
		}
	}
	if own.Rules == nil {
		own.Rules = &Rules{}
	}
	s.use(own.Rules)
	return s
}

// Use replaces the rules. It may be called from any goroutine.
func (s *Stage) Use(r *Rules) { s.newer.Store(r) }

func (s *Stage) use(r *Rules) {
	all := *r
	if !s.options.NoShipped {
		all.Allow = slices.Concat(r.Allow, shipped())
	}
	s.options.Rules = r
	s.allow = all.compile(s.slots, func(domain string) (uint64, bool) {
		registered := s.suffix.RegisteredOf([]byte(domain), s.key.hash([]byte(domain)))
		return s.key.hash(registered), len(registered) > 0
	}, &s.allow)
	before := s.byRule
	s.byRule = nil
	for i := range r.Suppress {
		count := RuleCount{Rule: r.Suppress[i].String()}
		if j := slices.IndexFunc(before, func(c RuleCount) bool { return c.Rule == count.Rule }); j >= 0 {
			count.N, before[j].N = before[j].N, 0
		}
		s.byRule = append(s.byRule, count)
	}
}

// RuleCount is how often a rule held.
type RuleCount struct {
	Rule string
	N    uint64
}

// SuppressedBy counts the alerts that each suppression of the rules held back.
func (s *Stage) SuppressedBy() []RuleCount { return s.byRule }

// AllowedBy counts, by list, the messages that were no evidence because their names are
// allowed. Repeated ones are not looked at.
func (s *Stage) AllowedBy() (list []RuleCount) {
	for i, name := range s.allow.lists {
		list = append(list, RuleCount{name, s.allow.counts[i]})
	}
	return list
}

// Process is the stage's step.
func (s *Stage) Process(b *event.Batch) {
	if r := s.newer.Swap(nil); r != nil {
		s.use(r)
	}
	s.seen, s.names = s.seen[:0], s.names[:0]
	// Pairing appends queries that found no answer behind the messages of their batch. Counts
	// are of messages in order of time, however they come in batches.
	messages := len(b.Events)
	for messages > 0 && b.Events[messages-1].Class == event.ClassUnanswered {
		messages--
	}
	late := messages
	for i := range messages {
		e := &b.Events[i]
		for ; late < len(b.Events) && b.Events[late].Time <= e.Time; late++ {
			s.look(&b.Events[late], late)
		}
		s.look(e, i)
	}
	for ; late < len(b.Events); late++ {
		s.look(&b.Events[late], late)
	}
	for j := range s.slots {
		if d := &s.slots[j]; !d.off {
			s.show(d, 1<<j)
		}
	}
	if len(s.raised) > 0 {
		s.deliver(b)
	}
	if b.Last {
		s.end()
		s.deliver(b)
	}
}

// show shows a detector the batch. Whatever is wrong in there, only that one ends.
func (s *Stage) show(d *slot, bit uint32) {
	defer func() {
		if v := recover(); v != nil {
			d.off = true
			s.Failed = append(s.Failed, fmt.Sprintf("%s: %v", d.Threat(), v))
		}
	}()
	for i := range s.seen {
		v := &s.seen[i]
		if v.question() && v.Msg.Broken == dnswire.None && (d.asks == nil || !d.asks.wantsQuery(v.Type)) {
			continue
		}
		v.Allowed = v.allowed&bit != 0
		d.See(v, &s.Desk)
	}
}

// look adds a message to seen, if anybody wants it.
func (s *Stage) look(e *event.Event, at int) {
	if !e.HasMessage() || !e.Msg.Flags.Response() && e.Class == event.ClassMessage && !s.wanted(e) {
		return
	}
	v := s.next()
	*v = Seen{at: at, Event: e, Response: e.Msg.Flags.Response(), Client: e.Meta.SrcIP, Server: e.Meta.DstIP, ClientPort: e.Meta.SrcPort, fresh: &s.fresh, key: &s.key}
	if v.Response {
		v.Client, v.Server, v.ClientPort = e.Meta.DstIP, e.Meta.SrcIP, e.Meta.DstPort
	}
	if len(e.Msg.Questions) == 0 {
		return
	}
	q := &e.Msg.Questions[0]
	v.Type = q.Type
	from := len(s.names)
	s.names = e.Msg.AppendNameLower(s.names, q.Name)
	v.Name = s.names[from:len(s.names):len(s.names)]
	v.ClientHash = s.hashAddr(v.Client)
	v.ServerHash = s.hashAddr(v.Server)
	v.PairHash = v.ClientHash*3 + v.ServerHash
	v.NameHash = s.key.hash(v.Name)
	v.Registered = s.suffix.RegisteredOf(v.Name, v.NameHash)
	if before := len(v.Name) - len(v.Registered) - 1; before > 0 && len(v.Registered) > 0 {
		v.Labels = v.Name[:before]
	}
	v.DomainHash = v.NameHash
	if len(v.Registered) < len(v.Name) {
		v.DomainHash = s.key.hash(v.Registered)
	}
	if v.Response {
		s.compare(v)
	}
	if v.Repeat || len(v.Registered) == 0 || !s.allow.may(v.DomainHash) {
		return
	}
	var list int
	if v.allowed, list = s.allow.find(v.Name); v.allowed != 0 {
		s.allow.counts[list]++
	}
}

// compare finds out whether there was the same answer before.
func (s *Stage) compare(v *Seen) {
	v.content = s.content(v)
	common := &s.common[v.content%uint64(len(s.common))]
	v.Common = common.hash == v.content && v.Time-common.time < commonTime && v.Time >= common.time
	if !v.Common {
		*common = content{v.content, v.Time}
	}
	own := mixed(v.content + v.PairHash)
	recent := &s.recent[own%uint64(len(s.recent))]
	v.Repeat = *recent == own
	*recent = own
}

// next returns room in seen.
func (s *Stage) next() *Seen {
	if len(s.seen) == cap(s.seen) {
		s.seen = append(s.seen, Seen{})
	} else {
		s.seen = s.seen[:len(s.seen)+1]
	}
	return &s.seen[len(s.seen)-1]
}

// question reports whether the message is a query that waits for its answer.
func (s *Seen) question() bool { return !s.Response && s.Class == event.ClassMessage }

// wanted reports whether a detector wants to see a query.
func (s *Stage) wanted(e *event.Event) bool {
	if e.Msg.Broken != dnswire.None {
		return true
	}
	for i := range s.slots {
		if d := &s.slots[i]; d.asks != nil && len(e.Msg.Questions) > 0 && d.asks.wantsQuery(e.Msg.Questions[0].Type) {
			return true
		}
	}
	return false
}

// hashAddr hashes an address.
func (s *Stage) hashAddr(a netip.Addr) uint64 {
	b := a.As16()
	return s.key.hash(b[:])
}

// content hashes what was asked, and what the answer was.
func (s *Stage) content(v *Seen) uint64 {
	h := v.NameHash*7 + uint64(v.Type)<<8 + uint64(v.Msg.RCode()) + uint64(v.Txn.State)<<32
	records := v.Msg.Answer()
	for i := range records[:min(len(records), 16)] {
		h += s.key.hash(v.Msg.RData(&records[i]))
	}
	return mixed(h)
}

// deliver adds the alerts that were raised and are wanted as events, with what is known
// of the messages that made them.
func (s *Stage) deliver(b *event.Batch) {
	for i := range s.raised {
		r := &s.raised[i]
		e := b.Next()
		if r.at >= 0 {
			e.Observation = b.Events[r.at].Observation
		} else {
			e.Observation = r.trigger
		}
		e.Class, e.Kinds, e.Txn, e.Alert = event.ClassAlert, 0, event.Transaction{}, r.alert
		if !s.tell(e) {
			b.Events = b.Events[:len(b.Events)-1]
		}
		*r = raised{}
	}
	s.raised = s.raised[:0]
}

// tell reports whether an alert is wanted, and counts it.
func (s *Stage) tell(e *event.Event) bool {
	for i := range s.options.Rules.Suppress {
		if s.options.Rules.Suppress[i].match(e) {
			s.Suppressed++
			s.byRule[i].N++
			return false
		}
	}
	if e.Alert.Severity < s.options.Rules.Minimum {
		s.Below++
		return false
	}
	s.Told++
	return true
}
