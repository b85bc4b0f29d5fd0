// Package ends is the step that joins both ends of a conversation when both are
// on this host. It must run while the events of both are there.
//
// A message that one socket of the host sends to another is seen twice: as it
// leaves, when the running task is its sender, and as it comes in. What is known
// of the sender is told of both. A message that was changed on its way, as by
// address translation, is another message: then nothing is told.
//
// Memory is fixed, nothing is allocated for an event. One Table per lane.
package ends

import (
	"encoding/binary"
	"hash/maphash"

	"github.com/dnshark-io/dnshark/event"
)

// Table joins the messages of one lane.
type Table struct {
	timeout int64
	seed    maphash.Seed
	sets    [sentSets]set
	senders [sentSets][ways]sender
	servers [serverSlots]server
	asked   [askedSets][ways]asked
	pending int // of asked, some of which may have expired
}

const (
	// passing is for how many ns a message may be on its way from socket to
	// socket: some microseconds, or as long as a full queue takes.
	passing = 1e9
	// At most sentSets*ways messages are on their way: twice as many as the
	// kernel lets wait for a processor (net.core.netdev_max_backlog).
	sentSets = 512
	ways     = 4
	// maxHashed is how much of a message is looked at to tell it from others
	// between the same sockets with the same id.
	maxHashed = 1232
)

// set is what left and has not come in, of the messages whose keys end alike.
type set struct {
	key  [ways]uint64 // 0: free
	time [ways]int64
}

// sender is who sent a message; unknown when two tasks sent the same.
type sender struct {
	id          event.Identity
	attribution event.Attribution
}

// NewTable returns a table that calls a query unanswered after timeout ns.
func NewTable(timeout int64) *Table { return &Table{timeout: timeout, seed: maphash.MakeSeed()} }

// Process fills in the end that is known from the other one, Server in events of
// the client and Asker in those of the server, and what caused a query.
func (t *Table) Process(b *event.Batch) {
	for i := range b.Events {
		e := &b.Events[i]
		switch {
		case e.Class != event.ClassMessage || e.Observer == event.Passive:
		case e.Flow.Egress:
			t.egress(b, e)
		case e.Flow.Ingress:
			t.ingress(b, e)
		}
	}
}

func (t *Table) egress(b *event.Batch, e *event.Event) {
	response := e.Msg.Flags.Response()
	who := event.Party{ID: e.Sender, Attribution: event.AttributionQueryEgress}
	switch {
	case e.Sender == nil && e.Owner == nil:
		return
	case e.Sender == nil:
		who = event.Party{ID: e.Owner, Attribution: event.AttributionSocketSender}
	case response:
		who.Attribution = event.AttributionAnswerEgress
	}
	t.remember(t.messageKey(e), e.Time, &who)
	if response {
		e.Server = who
		t.answered(e, who.ID)
	} else if e.Sender != nil {
		t.cause(b, e)
	}
}

func (t *Table) ingress(b *event.Batch, e *event.Event) {
	who := t.arrived(b, e)
	if e.Msg.Flags.Response() {
		e.Server = who
		return
	}
	e.Asker = who
	e.Server = e.AtSocket()
	t.question(e)
}

// remember notes who sent a message. If two tasks sent the same, nobody knows
// which of them is meant.
func (t *Table) remember(key uint64, now int64, who *event.Party) {
	s, senders := &t.sets[key%sentSets], &t.senders[key%sentSets]
	way := 0
	for i := range ways {
		if s.key[i] == key && !expired(now, s.time[i], passing) {
			if id := &senders[i].id; id.TGID != who.ID.TGID || id.Start != who.ID.Start {
				id.TGID = 0
			}
			s.time[i] = now
			return
		}
		if s.time[i] < s.time[way] { // 0 when free
			way = i
		}
	}
	s.key[way], s.time[way] = key, now
	senders[way] = sender{*who.ID, who.Attribution}
}

// arrived returns who sent the message of an event.
func (t *Table) arrived(b *event.Batch, e *event.Event) event.Party {
	key := t.messageKey(e)
	s := &t.sets[key%sentSets]
	for i := range ways {
		if s.key[i] != key || expired(e.Time, s.time[i], passing) {
			continue
		}
		if !e.Meta.DstIP.IsMulticast() { // which comes in at several sockets
			s.key[i], s.time[i] = 0, 0
		}
		if from := &t.senders[key%sentSets][i]; from.id.Known() {
			return event.Party{ID: b.HoldIdentity(&from.id), Attribution: from.attribution}
		}
		break
	}
	return event.Party{}
}

// loopback is the interface whose addresses every network namespace has, and
// whose packets never leave theirs.
const loopback = "lo"

// messageKey is the same for a message where it leaves and where it comes in,
// and never 0. It is hashed with a secret, so nobody can make messages whose
// keys collide.
func (t *Table) messageKey(e *event.Event) uint64 {
	var buf [16 + 16 + 2 + 2 + 4 + 4 + 8 + 1]byte
	le, m, raw := binary.LittleEndian, &e.Meta, e.Msg.Raw
	src, dst := m.SrcIP.As16(), m.DstIP.As16()
	copy(buf[0:], src[:])
	copy(buf[16:], dst[:])
	le.PutUint16(buf[32:], m.SrcPort)
	le.PutUint16(buf[34:], m.DstPort)
	if m.Iface == loopback {
		le.PutUint32(buf[36:], e.Flow.NetNS)
	}
	le.PutUint32(buf[40:], uint32(len(raw)))
	le.PutUint64(buf[44:], maphash.Bytes(t.seed, raw[:min(len(raw), maxHashed)]))
	buf[52] = m.Protocol
	return maphash.Bytes(t.seed, buf[:]) | 1
}

// expired reports whether an entry made at then has waited for limit ns. The
// clock may be stepped, so any distance counts.
func expired(now, then, limit int64) bool { return now-then > limit || then-now > limit }
