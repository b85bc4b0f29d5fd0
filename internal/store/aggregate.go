package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
)

// Aggregate is what was seen in a moment, each thing once.
type Aggregate struct {
	Sensor string
	tuples table // by type, name, RDATA, bailiwick, comm, executable, container: see adder.add
	ranked table // by What, hour, value
	events uint64
	begun  time.Time
}

// maxOctets bounds an aggregate; there are at most two, one filling and one on its
// way to the store.
const maxOctets = 16 << 20

// commitEvery is how long an event waits in memory, if the store has no Pace.
const commitEvery = 150 * time.Millisecond

const hour = int64(time.Hour)

// NewAggregate returns an empty one.
func NewAggregate(sensor string) *Aggregate {
	return &Aggregate{Sensor: sensor, tuples: newTable(), ranked: newTable(), begun: time.Now()}
}

func (a *Aggregate) reset() {
	a.tuples.reset()
	a.ranked.reset()
	a.events, a.begun = 0, time.Now()
}

// full reports whether no further event is taken. The last one may go beyond by
// what the records of a message can be, some 10 MiB.
func (a *Aggregate) full() bool { return a.tuples.octets()+a.ranked.octets() >= maxOctets }

// Evidence reports whether an event says what a name server says: responses that
// somebody asked for, as in COF.
func Evidence(e *event.Event) bool {
	return e.Class == event.ClassMessage && e.Msg.Flags.Response() && e.Msg.Flags.Opcode() == dnswire.OpcodeQuery &&
		e.Txn.State != event.StateUnsolicited && e.Txn.State != event.StateMismatched && len(e.Msg.Questions) > 0
}

// adder puts events into aggregates.
type adder struct {
	key, who []byte
}

// add puts an event in, which must be evidence. Names are the wire's: what stands
// in keys is printable text without NUL, so NUL parts it.
func (d *adder) add(a *Aggregate, e *event.Event) {
	m := &e.Msg
	a.events++
	d.who = appendWho(d.who[:0], &e.Asker)

	rank := func(w What) []byte {
		d.key = append(d.key[:0], byte(w))
		return binary.BigEndian.AppendUint64(d.key, uint64(e.Time/hour*hour))
	}
	rcode := m.RCode()
	q := &m.Questions[0]
	a.ranked.note(m.AppendNameLower(rank(Names), q.Name), e.Time)
	if rcode == dnswire.RCodeNXDomain {
		a.ranked.note(m.AppendNameLower(rank(NXDomain), q.Name), e.Time)
	}
	a.ranked.note(e.Meta.DstIP.AppendTo(rank(Clients)), e.Time)
	a.ranked.note(e.Meta.SrcIP.AppendTo(rank(Servers)), e.Time)
	a.ranked.note(rcode.Append(rank(RCodes)), e.Time)
	if e.Asker.ID != nil {
		comm, exe, _ := cutWho(d.who)
		if len(exe) == 0 {
			exe = comm
		}
		a.ranked.note(append(rank(Processes), exe...), e.Time)
	}

	answers := m.Answer()
	for i := range answers {
		r := &answers[i]
		if r.Class != dnswire.ClassIN || r.Fault != dnswire.None {
			continue
		}
		d.key = binary.BigEndian.AppendUint16(d.key[:0], uint16(r.Type))
		d.key = append(m.AppendNameLower(d.key, r.Name), 0)
		d.key = append(m.AppendRData(d.key, r), 0)
		if zone := zoneOf(m, r); zone != nil {
			d.key = m.AppendNameLower(d.key, zone.Name)
		}
		d.key = append(append(d.key, 0), d.who...)
		a.tuples.note(d.key, e.Time)
	}
}

// zoneOf returns the SOA or NS record of the authority section that stands at or
// above r, which names the zone, or nil.
func zoneOf(m *dnswire.Message, r *dnswire.Record) *dnswire.Record {
	list := m.Authority()
	for i := range list {
		if list[i].Type == dnswire.TypeNS || list[i].Type == dnswire.TypeSOA {
			var wire [256]byte // lengths of labels are no letters
			if m.NameUnder(r.Name, lower(m.AppendWire(wire[:0], list[i].Name))) {
				return &list[i]
			}
			return nil
		}
	}
	return nil
}

func lower(wire []byte) []byte {
	for i, c := range wire {
		if c >= 'A' && c <= 'Z' {
			wire[i] = c | 0x20
		}
	}
	return wire
}

func appendWho(dst []byte, p *event.Party) []byte {
	if p.ID != nil {
		comm, _, _ := bytes.Cut(p.ID.Comm[:], []byte{0})
		dst = event.AppendSafe(dst, string(comm))
	}
	dst = append(dst, 0)
	if p.Process != nil {
		dst = event.AppendSafe(dst, p.Process.Exe)
	}
	dst = append(dst, 0)
	if p.Container != nil {
		dst = event.AppendSafe(dst, p.Container.ID)
	}
	return dst
}

func cutWho(who []byte) (comm, exe, container []byte) {
	comm, who, _ = bytes.Cut(who, []byte{0})
	exe, container, _ = bytes.Cut(who, []byte{0})
	return comm, exe, container
}

// Stage puts events into aggregates, which a goroutine of its own writes. Where
// the store is too slow, a live line drops events and counts them; Wait makes it
// wait instead.
type Stage struct {
	Wait bool

	every time.Duration
	adder adder
	now   *Aggregate
	next  chan *Aggregate
	spare chan *Aggregate // written, to be filled again
	done  chan struct{}

	// Counted by the line.
	Events, Other, Dropped uint64

	mu                   sync.Mutex
	kept, failed, passed uint64 // passed: on their way
	err                  error
}

// NewStage starts writing into s, which stays the caller's. A store may have a
// method Pace: how often it wants to be written to.
func NewStage(s Store, sensor string) *Stage {
	every := commitEvery
	if p, ok := s.(interface{ Pace() time.Duration }); ok {
		every = p.Pace()
	}
	g := &Stage{every: every, now: NewAggregate(sensor), next: make(chan *Aggregate), spare: make(chan *Aggregate, 1), done: make(chan struct{})}
	go func() {
		defer close(g.done)
		for a := range g.next {
			err := s.Write(context.Background(), a)
			g.mu.Lock()
			g.passed -= a.events
			if err == nil {
				g.kept += a.events
			} else {
				g.failed += a.events
				g.err = err
			}
			g.mu.Unlock()
			a.reset()
			g.spare <- a
		}
	}()
	g.spare <- NewAggregate(sensor)
	return g
}

// Process implements line.Stage.
func (g *Stage) Process(b *event.Batch) {
	for i := range b.Events {
		e := &b.Events[i]
		if e.Kinds == 0 { // not shown
			continue
		}
		g.Events++
		switch {
		case !Evidence(e):
			g.Other++
		case g.now.full() && !g.pass(g.Wait):
			g.Dropped++
		default:
			g.adder.add(g.now, e)
		}
	}
	if g.now.events > 0 && time.Since(g.now.begun) >= g.every {
		g.pass(false)
	}
}

// pass hands over what there is. Without wait it does nothing while the store is
// busy, and reports that.
func (g *Stage) pass(wait bool) bool {
	var empty *Aggregate
	select {
	case empty = <-g.spare:
	default:
		if !wait {
			return false
		}
		empty = <-g.spare
	}
	g.onTheirWay(g.now.events)
	g.next <- g.now
	g.now, empty.begun = empty, time.Now()
	return true
}

func (g *Stage) onTheirWay(n uint64) {
	g.mu.Lock()
	g.passed += n
	g.mu.Unlock()
}

// Stats returns how many events are in the store, failed to get there and wait.
// Only the line may call it, or anybody after Close.
func (g *Stage) Stats() (kept, failed, waiting uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	waiting = g.passed
	if g.now != nil {
		waiting += g.now.events
	}
	return g.kept, g.failed, waiting
}

// Close writes what waits. It returns why something was not written.
func (g *Stage) Close() error {
	if g.now != nil {
		g.pass(true)
		g.now = nil
		close(g.next)
		<-g.done
	}
	if g.err != nil {
		return errors.Join(errors.New("the store misses events"), g.err)
	}
	return nil
}
