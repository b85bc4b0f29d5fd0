package detect

import (
	"fmt"
	"hash/fnv"
	"strings"

	"github.com/dnshark-io/dnshark/event"
)

// Desk is where detectors raise alerts. It makes one alert of an incident, and
// updates when it grows worse.
type Desk struct {
	Raised    uint64 // alerts and updates
	options   *Options
	incidents *table[string, incident]
	raised    []raised
}

// raised is an alert that is to be told.
type raised struct {
	alert   *event.Alert
	at      int // of its message in the batch, -1: see trigger
	trigger event.Observation
}

const (
	// maxIncidents bounds the incidents that are remembered.
	maxIncidents = 4096
	// updateFactor is how much more there must be for an update.
	updateFactor = 4
	// idle ends an incident: what comes later is a new one.
	idle = 3600e9
)

type incident struct {
	id       string
	update   int
	start    int64
	end      int64
	told     float64 // size at the last alert
	severity event.Severity
	newest   *event.Alert // not told yet, or nil
	trigger  event.Observation
}

// Due reports whether an alert about this incident would be told now. A detector
// may ask before it gathers evidence; one that does not raise what is not due
// loses the figures at the end, so it is for floods only.
func (d *Desk) Due(key string, severity event.Severity, size float64, now int64) bool {
	in := d.incidents.peek(key)
	threat, rest, _ := strings.Cut(key, " ")
	kind, _, _ := strings.Cut(rest, " ")
	severity = d.options.Rules.severity(threat, kind, severity)
	return in == nil || now-in.end > idle || severity > in.severity || size >= updateFactor*in.told
}

// Raise tells of an incident, which key names with the alert's threat and kind: what it
// is about. An incident is told again when its size, of which there is only ever more,
// or its severity has grown. The alert's Start, End, Value, Severity and Evidence are those of the whole incident so
// far; ID and Update are the desk's. The desk keeps the alert.
func (d *Desk) Raise(s *Seen, key string, size float64, a *event.Alert) {
	key = a.Threat + " " + a.Kind + " " + key
	a.Severity = d.options.Rules.severity(a.Threat, a.Kind, a.Severity)
	in := d.incidents.get(key)
	if in != nil && a.End-in.end > idle {
		d.incidents.drop(key)
		in = nil
	}
	if in == nil {
		in = d.incidents.add(key)
		h := fnv.New64a()
		fmt.Fprint(h, key, a.Start, s.Host)
		*in = incident{id: fmt.Sprintf("%016x", h.Sum64()), start: a.Start}
	} else if a.Severity <= in.severity && size < updateFactor*in.told {
		in.newest, in.end = a, a.End
		in.note(s)
		return
	}
	a.Severity = max(a.Severity, in.severity)
	in.note(s)
	d.tell(in, a, s.at)
	in.told = size
}

// note keeps who it was about, without what dies with the batch.
func (in *incident) note(s *Seen) {
	in.trigger = s.Event.Observation
	in.trigger.Policies, in.trigger.Txn = nil, event.Transaction{}
	in.trigger.Host, in.trigger.Meta.Iface = strings.Clone(s.Host), strings.Clone(s.Meta.Iface)
	in.trigger.Sender, in.trigger.Owner, in.trigger.Other, in.trigger.Receiver = nil, nil, nil, nil
	for _, p := range []*event.Party{&in.trigger.Asker, &in.trigger.Server} {
		p.Doubt = event.Candidate{}
		if p.ID != nil {
			id := *p.ID
			p.ID = &id
		}
	}
}

func (d *Desk) tell(in *incident, a *event.Alert, at int) {
	a.ID, a.Update = in.id, in.update
	in.update++
	in.end, in.severity, in.newest = a.End, a.Severity, nil
	r := raised{alert: a, at: at}
	if at < 0 {
		r.trigger = in.trigger
		r.trigger.Time = a.End
	}
	d.raised = append(d.raised, r)
	d.Raised++
}

// end tells the final figures of incidents that went on since they were told.
func (d *Desk) end() {
	d.incidents.each(func(_ string, in *incident) {
		if in.newest != nil {
			in.newest.Severity = max(in.newest.Severity, in.severity)
			d.tell(in, in.newest, -1)
		}
	})
}
