// Package kind is the catalogue of the events that users can name. Each kind is
// one file; Catalogue lists them. A kind says which observations it is made of,
// which fields it carries and what the line must do for it, so that an event
// that nobody asked for costs nothing.
package kind

import "github.com/dnshark-io/dnshark/event"

// Needs says what the line must do for a kind.
type Needs uint8

// Needs of kinds.
const (
	NeedMessages  Needs = 1 << iota // decode DNS
	NeedPairing                     // queries must meet their answers
	NeedPackets                     // every IP packet, not only those of DNS ports
	NeedDetection                   // detectors must see the messages
)

// Kind is an event that users can name.
type Kind struct {
	Name        string
	Aliases     []string
	Summary     string // a line
	Description string
	Internal    bool     // a building block: listed, but not to be asked for
	Sets        []string // the sets that it belongs to
	Fields      []*event.Field
	DependsOn   []string
	UseCases    []Item
	Sections    []Section // what else the contract tells of the event
	Related     []string
	Needs       Needs
	Match       func(*event.Event) bool // nil for internal kinds
}

// Item is a term and what it means.
type Item struct{ Term, Doc string }

// Section is a titled list.
type Section struct {
	Title, Intro string
	Items        []Item
}

// The sets of events.
const (
	SetDefault       = "default"
	SetNetworkEvents = "network_events"
	SetAlerts        = "alerts"
	SetLoss          = "loss"
)

// Catalogue lists every kind. A kind's index is its bit in a Set and in
// event.Event.Kinds.
var Catalogue = []*Kind{
	&dnsResponse,
	&dnsRequest,
	&dns,
	&dnsUnanswered,
	&dnsBase,
	&ip,
	&tcp,
	&udp,
	&dnsTunnel,
	&dnsDGA,
	&dnsC2,
	&dnsCachePoisoning,
	&dnsHijacking,
	&dnsZoneTransfer,
	&lossStart,
	&lossEnd,
}

// Set is a set of kinds: bit i stands for Catalogue[i].
type Set uint32

// Has reports whether Catalogue[i] is in the set.
func (s Set) Has(i int) bool { return s&(1<<i) != 0 }

// HasName reports whether the set has the kind of that name.
func (s Set) HasName(name string) bool {
	for i, k := range Catalogue {
		if k.Name == name {
			return s.Has(i)
		}
	}
	return false
}

// Needs returns what the line must do for the kinds of the set.
func (s Set) Needs() (n Needs) {
	for i, k := range Catalogue {
		if s.Has(i) {
			n |= k.Needs
		}
	}
	return n
}

// Within returns all kinds for which the line does no more than n.
func Within(n Needs) (s Set) {
	for i, k := range Catalogue {
		if !k.Internal && k.Needs&^n == 0 {
			s |= 1 << i
		}
	}
	return s
}

// Find returns the kind with the name or alias.
func Find(name string) (*Kind, bool) {
	for _, k := range Catalogue {
		if k.is(name) {
			return k, true
		}
	}
	return nil, false
}

func (k *Kind) is(name string) bool {
	if k.Name == name {
		return true
	}
	for _, a := range k.Aliases {
		if a == name {
			return true
		}
	}
	return false
}

// Marker is the stage that says which kinds an event is emitted as.
type Marker struct {
	kinds []marked
	None  uint64 // observations that are no event of the set
}

type marked struct {
	bit   int
	match func(*event.Event) bool
}

// NewMarker returns the stage for the kinds of s.
func NewMarker(s Set) *Marker {
	m := &Marker{}
	for i, k := range Catalogue {
		if s.Has(i) {
			m.kinds = append(m.kinds, marked{i, k.Match})
		}
	}
	return m
}

// Process sets Kinds in every event of the batch.
func (m *Marker) Process(b *event.Batch) {
	for i := range b.Events {
		e := &b.Events[i]
		for _, k := range m.kinds {
			if k.match(e) {
				e.Kinds |= 1 << k.bit
			}
		}
		if e.Kinds == 0 {
			m.None++
		}
	}
}
