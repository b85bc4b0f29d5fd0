package ends

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
)

// A stub or forwarding resolver asks because somebody asked it. Which query made
// it ask is a hint by rule: the same name, type and class; it came in at a socket
// of the process that asks, or of that one's parent, and has no answer yet.

// server is the process that answers at an address.
type server struct {
	key  uint64
	tgid uint32
}

const serverSlots = 256

// asked is a query that waits for the answer of a server of this host.
type asked struct {
	key    uint64 // of the question and the server's process, 0: free
	client uint64 // hash of client and message id
	time   int64
	cause  event.Cause
}

const askedSets = 256

// question notes a query that came in at a server's socket, when it is known
// whose that is.
func (t *Table) question(e *event.Event) {
	tgid := t.serverOf(e)
	key := t.questionKey(&e.Msg, tgid)
	if tgid == 0 || key == 0 {
		return
	}
	client := t.addressKey(e.Meta.SrcIP, e.Meta.SrcPort, uint32(e.Msg.ID)<<8|uint32(e.Meta.Protocol))
	slots := &t.asked[key%askedSets]
	slot := &slots[0]
	for i := range slots {
		s := &slots[i]
		t.expire(s, e.Time)
		if s.key == key && s.client == client {
			return // sent again
		}
		if s.time < slot.time { // 0 when free
			slot = s
		}
	}
	if slot.key == 0 {
		t.pending++
	}
	*slot = asked{key, client, e.Time, event.Cause{
		Time: e.Time, Client: netip.AddrPortFrom(e.Meta.SrcIP, e.Meta.SrcPort), ID: e.Msg.ID,
	}}
	if id := e.Asker.ID; id != nil {
		slot.cause.PID, slot.cause.Comm = id.TGID, id.Comm
	}
}

// cause finds the oldest query that may be why a process sends this one: those
// that came later wait for the same answer.
func (t *Table) cause(b *event.Batch, e *event.Event) {
	var why *asked
	t.each(e, e.Sender, func(s *asked) {
		if s.time <= e.Time && (why == nil || s.time < why.time) {
			why = s
		}
	})
	if why != nil {
		e.Txn.Cause = b.HoldCause(&why.cause)
	}
}

// answered learns who answers at an address, and forgets the query.
func (t *Table) answered(e *event.Event, by *event.Identity) {
	key := t.addressKey(e.Meta.SrcIP, e.Meta.SrcPort, e.Flow.NetNS)
	t.servers[key%serverSlots] = server{key, by.TGID}
	client := t.addressKey(e.Meta.DstIP, e.Meta.DstPort, uint32(e.Msg.ID)<<8|uint32(e.Meta.Protocol))
	t.each(e, by, func(s *asked) {
		if s.client == client {
			t.free(s)
		}
	})
}

// each calls f with the queries that wait for a process or its parent and have
// the question of e.
func (t *Table) each(e *event.Event, by *event.Identity, f func(*asked)) {
	if t.pending == 0 {
		return
	}
	for _, tgid := range [...]uint32{by.TGID, by.PPID} {
		key := t.questionKey(&e.Msg, tgid)
		slots := &t.asked[key%askedSets]
		for i := range slots {
			t.expire(&slots[i], e.Time)
			if key != 0 && slots[i].key == key {
				f(&slots[i])
			}
		}
	}
}

// serverOf returns the process id of the server that a query came to, or 0.
func (t *Table) serverOf(e *event.Event) uint32 {
	if e.Owner != nil {
		return e.Owner.TGID
	}
	key := t.addressKey(e.Meta.DstIP, e.Meta.DstPort, e.Flow.NetNS)
	if s := &t.servers[key%serverSlots]; s.key == key {
		return s.tgid
	}
	return 0
}

func (t *Table) expire(s *asked, now int64) {
	if s.key != 0 && expired(now, s.time, t.timeout) {
		t.free(s)
	}
}

func (t *Table) free(s *asked) {
	*s = asked{}
	t.pending--
}

// questionKey is the same for equal first questions to the same process, in
// whatever case (RFC 4343). It is 0 where there is no question.
func (t *Table) questionKey(m *dnswire.Message, tgid uint32) uint64 {
	const maxName = 255 // RFC 1035 section 2.3.4
	if len(m.Questions) == 0 {
		return 0
	}
	n := m.Questions[0].Name
	end := int(n.Off) + int(n.Len) + 4
	// The first name of a message has nothing before it to point at.
	if n.Off != dnswire.HeaderLen || n.Len > maxName || end > len(m.Raw) {
		return 0
	}
	var buf [maxName + 4 + 4]byte
	size := copy(buf[:], m.Raw[n.Off:end])
	for i, c := range buf[:n.Len] {
		if c-'A' < 26 {
			buf[i] = c + 'a' - 'A'
		}
	}
	binary.LittleEndian.PutUint32(buf[size:], tgid)
	return maphash.Bytes(t.seed, buf[:size+4]) | 1
}

func (t *Table) addressKey(ip netip.Addr, port uint16, more uint32) uint64 {
	var buf [16 + 2 + 4]byte
	a := ip.As16()
	copy(buf[:], a[:])
	binary.LittleEndian.PutUint16(buf[16:], port)
	binary.LittleEndian.PutUint32(buf[18:], more)
	return maphash.Bytes(t.seed, buf[:]) | 1
}
