package pair

import (
	"net/netip"
	"testing"

	"github.com/dnshark-io/dnshark/event"
	"github.com/miekg/dns"
)

const second = int64(1e9)

var (
	client = netip.MustParseAddr("192.0.2.1")
	server = netip.MustParseAddr("192.0.2.53")
)

// lane feeds messages to a table, one batch per message.
type lane struct {
	t     *testing.T
	table *Table
	batch event.Batch
}

func newLane(t *testing.T, maxPending int) *lane {
	return &lane{t: t, table: NewTable(0, maxPending)}
}

func message(t testing.TB, id uint16, name string, response bool) []byte {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, dns.TypeA)
	m.Id, m.Response = id, response
	raw, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// put adds a message to the batch.
func put(b *event.Batch, time int64, raw []byte, change func(*event.Event)) {
	e := b.Next()
	e.Time, b.Now = time, max(b.Now, time)
	e.Meta = event.PktMeta{SrcIP: client, DstIP: server, SrcPort: 40000, DstPort: 53, Protocol: 17, Iface: "eth0"}
	e.Msg.Unpack(raw)
	if e.Msg.Flags.Response() {
		e.Meta.SrcIP, e.Meta.DstIP, e.Meta.SrcPort, e.Meta.DstPort = server, client, 53, 40000
	}
	if change != nil {
		change(e)
	}
}

// see runs one message and returns the batch as the table left it.
func (l *lane) see(time int64, raw []byte, change func(*event.Event)) []event.Event {
	l.batch.Reset()
	put(&l.batch, time, raw, change)
	l.table.Process(&l.batch)
	return l.batch.Events
}

func (l *lane) want(got []event.Event, state event.State, latency int64, retransmits uint32) {
	l.t.Helper()
	want := event.Transaction{State: state, Latency: latency, Retransmits: retransmits}
	if got[0].Txn != want {
		l.t.Errorf("transaction %+v, want %+v", got[0].Txn, want)
	}
}

func TestAnswered(t *testing.T) {
	l := newLane(t, 0)
	l.want(l.see(1000, message(t, 7, "a.test.", false), nil), event.StatePending, -1, 0)
	l.want(l.see(3500, message(t, 7, "A.TEST.", true), nil), event.StateAnswered, 2500, 0)
	l.want(l.see(4500, message(t, 7, "a.test.", true), nil), event.StateDuplicate, 3500, 0)
	if s := l.table.Stats; s.Pending != 0 || s.Answered != 1 || s.Duplicate != 1 {
		t.Errorf("stats %+v", s)
	}
}

func TestRetransmit(t *testing.T) {
	l := newLane(t, 0)
	q := message(t, 7, "a.test.", false)
	l.see(0, q, nil)
	l.want(l.see(second, q, nil), event.StatePending, -1, 1)
	l.want(l.see(2*second, q, nil), event.StatePending, -1, 2)
	l.want(l.see(3*second, message(t, 7, "a.test.", true), nil), event.StateAnswered, 3*second, 2)
}

func TestUnsolicitedAndMismatched(t *testing.T) {
	l := newLane(t, 0)
	l.want(l.see(0, message(t, 7, "a.test.", true), nil), event.StateUnsolicited, -1, 0)
	l.see(1, message(t, 8, "a.test.", false), nil)
	l.want(l.see(2, message(t, 9, "a.test.", true), nil), event.StateUnsolicited, -1, 0)
	l.want(l.see(3, message(t, 8, "b.test.", true), nil), event.StateMismatched, -1, 0)
	l.want(l.see(4, message(t, 8, "a.test.", true), func(e *event.Event) { e.Meta.SrcIP = client.Next() }),
		event.StateUnsolicited, -1, 0)
	l.want(l.see(5, message(t, 8, "a.test.", true), func(e *event.Event) { e.Flow.Cookie = 5 }),
		event.StateUnsolicited, -1, 0)
	// The forgeries did not use up the query.
	l.want(l.see(6, message(t, 8, "a.test.", true), nil), event.StateAnswered, 5, 0)
}

// An answer to a port of several sockets comes to any of them.
func TestReusedPort(t *testing.T) {
	at := func(cookie uint64, who uint32) func(*event.Event) {
		return func(e *event.Event) {
			e.Observer, e.Flow.Cookie, e.Flow.NetNS = event.Client, cookie, 1
			id := &event.Identity{TGID: who}
			if e.Msg.Flags.Response() {
				e.Owner = id
			} else {
				e.Sender = id
			}
		}
	}
	l := newLane(t, 0)
	asker := func(got []event.Event) uint32 {
		t.Helper()
		if len(got) != 1 || got[0].Txn.State != event.StateAnswered {
			t.Fatalf("%+v", got)
		}
		if got[0].Asker.ID == nil {
			return 0
		}
		return got[0].Asker.ID.TGID
	}
	q, a := message(t, 7, "a.test.", false), message(t, 7, "a.test.", true)
	l.see(1, q, at(1, 10))
	if id := asker(l.see(2, a, at(2, 20))); id != 10 {
		t.Errorf("asked by %d, want 10", id)
	}
	// Its own socket first.
	l.see(3, q, at(1, 10))
	l.see(4, q, at(2, 20))
	if id := asker(l.see(5, a, at(2, 20))); id != 20 {
		t.Errorf("asked by %d, want 20", id)
	}
	if id := asker(l.see(6, a, at(2, 20))); id != 10 {
		t.Errorf("asked by %d, want 10", id)
	}
	// Two that ask the same: nobody can tell whose answer comes first.
	l.see(7, q, at(1, 10))
	l.see(8, q, at(2, 20))
	for i := range int64(2) {
		if id := asker(l.see(9+i, a, at(3, 30))); id != 0 {
			t.Errorf("asked by %d, want nobody", id)
		}
	}
	// Another namespace.
	l.see(11, q, at(1, 10))
	if got := l.see(12, a, func(e *event.Event) { at(2, 20)(e); e.Flow.NetNS = 2 }); got[0].Txn.State != event.StateUnsolicited {
		t.Errorf("%+v", got[0].Txn)
	}
}

func TestDoubt(t *testing.T) {
	id := func(n uint32) *event.Identity { return &event.Identity{TGID: n} }
	want := func(what string, got []event.Event, who uint32, by event.Attribution, other uint32, method event.Attribution) {
		t.Helper()
		p := got[0].Asker
		var pid, doubt uint32
		if p.ID != nil {
			pid = p.ID.TGID
		}
		if p.Doubt.ID != nil {
			doubt = p.Doubt.ID.TGID
		}
		if pid != who || p.Attribution != by || doubt != other || p.Doubt.Method != method {
			t.Errorf("%s: %d by %v, %d by %v", what, pid, p.Attribution, doubt, p.Doubt.Method)
		}
	}
	const egress, sender, nobody = event.AttributionQueryEgress, event.AttributionSocketSender, event.AttributionNone
	l := newLane(t, 0)
	see := func(n uint16, response bool, set func(*event.Event)) []event.Event {
		return l.see(int64(n), message(t, n, "a.test.", response), func(e *event.Event) { e.Observer = event.Client; set(e) })
	}
	// TCP octets of a finished system call: certain, at query and answer.
	want("flushed", see(1, false, func(e *event.Event) { e.Owner, e.Flow.Egress = id(10), true }), 10, sender, 0, nobody)
	want("flushed", see(1, true, func(e *event.Event) {}), 10, sender, 0, nobody)
	// Nobody is believed, and who ran is named to the end.
	want("nobody", see(2, false, func(e *event.Event) { e.Other = id(30) }), 0, nobody, 30, egress)
	want("nobody", see(2, true, func(e *event.Event) { e.Owner, e.Flow.Shared = id(10), true }), 0, nobody, 30, egress)
	// No transaction on a shared socket.
	want("shared", see(3, true, func(e *event.Event) { e.Owner, e.Flow.Shared = id(10), true }), 0, nobody, 10, sender)
	want("alone", see(3, true, func(e *event.Event) { e.Owner = id(10) }), 10, sender, 0, nobody)
	// Processes that take turns on a socket are no doubt.
	see(4, false, func(e *event.Event) { e.Sender = id(10) })
	want("turns", see(4, true, func(e *event.Event) { e.Owner, e.Flow.Shared = id(20), true }), 10, egress, 0, nobody)
	// A daemon sent what was queued (NFQUEUE), which was not known at the query.
	see(5, false, func(e *event.Event) { e.Sender = id(30) })
	want("deferred", see(5, true, func(e *event.Event) { e.Owner, e.Flow.Deferred = id(10), true }), 10, sender, 30, egress)
}

func TestAnswerWithoutQuestion(t *testing.T) {
	l := newLane(t, 0)
	l.see(0, message(t, 7, "a.test.", false), nil)
	formerr := []byte{0, 7, 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0}
	l.want(l.see(10, formerr, nil), event.StateAnswered, 10, 0)
}

func TestUnanswered(t *testing.T) {
	l := newLane(t, 0)
	asker := &event.Identity{TGID: 77, TID: 78}
	q := message(t, 7, "lost.test.", false)
	l.see(second, q, func(e *event.Event) { e.Sender = asker })
	l.see(2*second, q, nil)
	asker.TGID = 1 // the source reuses its memory
	got := l.see(7*second, message(t, 1, "x.test.", false), nil)
	if len(got) != 2 {
		t.Fatalf("%d events, want the query and one unanswered", len(got))
	}
	e := &got[1]
	if e.Class != event.ClassUnanswered || e.Time != 6*second || e.Txn.Asked != second || e.Txn.Retransmits != 1 || e.Txn.State != event.StateUnanswered {
		t.Errorf("got %+v at %d", e.Txn, e.Time)
	}
	if e.Meta.SrcIP != client || e.Meta.DstPort != 53 || e.Meta.Iface != "eth0" {
		t.Errorf("metadata %+v", e.Meta)
	}
	if name := string(e.Msg.AppendName(nil, e.Msg.Questions[0].Name)); name != "lost.test" {
		t.Errorf("question %q", name)
	}
	if e.Asker.ID == nil || e.Asker.ID.TGID != 77 || e.Asker.Attribution != event.AttributionQueryEgress {
		t.Errorf("asker %+v by %v", e.Asker.ID, e.Asker.Attribution)
	}
	l.want(l.see(8*second, message(t, 7, "lost.test.", true), nil), event.StateLate, 7*second, 0)
	l.want(l.see(9*second, message(t, 7, "lost.test.", true), nil), event.StateDuplicate, 8*second, 0)
}

// A silent network must not hold back a query's fate.
func TestUnansweredOnSilence(t *testing.T) {
	l := newLane(t, 0)
	l.see(second, message(t, 7, "lost.test.", false), nil)
	l.batch.Reset()
	l.batch.Now = 6 * second
	l.table.Process(&l.batch)
	if len(l.batch.Events) != 1 {
		t.Fatalf("%d events, want one", len(l.batch.Events))
	}
}

func TestIdentity(t *testing.T) {
	l := newLane(t, 0)
	sender, owner := &event.Identity{TGID: 10}, &event.Identity{TGID: 20}
	l.see(0, message(t, 7, "a.test.", false), func(e *event.Event) { e.Observer, e.Sender = event.Client, sender })
	got := l.see(1, message(t, 7, "a.test.", true), func(e *event.Event) { e.Observer, e.Owner = event.Client, owner })
	if got[0].Asker.ID.TGID != 10 || got[0].Asker.Attribution != event.AttributionQueryEgress {
		t.Errorf("asker %d by %v, want the sender of the query", got[0].Asker.ID.TGID, got[0].Asker.Attribution)
	}
	got = l.see(2, message(t, 9, "a.test.", true), func(e *event.Event) { e.Observer, e.Owner = event.Client, owner })
	if got[0].Asker.ID.TGID != 20 || got[0].Asker.Attribution != event.AttributionSocketSender {
		t.Errorf("asker %d by %v, want the owner of the socket", got[0].Asker.ID.TGID, got[0].Asker.Attribution)
	}
	// At the server's socket the owner is the server: no answer to "who asked".
	got = l.see(3, message(t, 11, "a.test.", true), func(e *event.Event) { e.Observer, e.Owner = event.Server, owner })
	if got[0].Asker.ID != nil || got[0].Asker.Attribution != event.AttributionNone {
		t.Errorf("asker %+v by %v, want none", got[0].Asker.ID, got[0].Asker.Attribution)
	}
}

func TestBounded(t *testing.T) {
	const limit = 2000
	l := newLane(t, limit)
	for i := range 10 * limit {
		l.see(int64(i), message(t, uint16(i), "a.test.", false), func(e *event.Event) { e.Flow.Cookie = uint64(i) })
	}
	s := l.table.Stats
	if s.Pending != limit || s.Evicted != 9*limit {
		t.Errorf("pending %d, evicted %d", s.Pending, s.Evicted)
	}
	if n := len(l.table.slots.chunks); n > limit/chunkSlots+1 {
		t.Errorf("%d chunks for %d queries", n, limit)
	}
	// The newest are still there, each with its own answer.
	l.want(l.see(10*limit, message(t, 10*limit-1, "a.test.", true), func(e *event.Event) { e.Flow.Cookie = 10*limit - 1 }),
		event.StateAnswered, 1, 0)
}

func TestLongQuery(t *testing.T) {
	l := newLane(t, 0)
	name := ""
	for range 4 {
		name += "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz012345678."
	}
	l.see(0, message(t, 7, name, false), nil)
	l.want(l.see(5, message(t, 7, name, true), nil), event.StateAnswered, 5, 0)
}

// traffic is a batch of queries and their answers.
func traffic(b *event.Batch, raw [][2][]byte, base int64) {
	b.Reset()
	for i := range raw {
		put(b, base+int64(i)*10, raw[i][0], nil)
		put(b, base+int64(i)*10+5, raw[i][1], nil)
	}
}

func pairs(t testing.TB) (raw [][2][]byte) {
	for i := range 64 {
		raw = append(raw, [2][]byte{message(t, uint16(i), "www.example.test.", false), message(t, uint16(i), "www.example.test.", true)})
	}
	return raw
}

func TestAllocations(t *testing.T) {
	raw, table, b := pairs(t), NewTable(0, 0), &event.Batch{}
	base := int64(0)
	run := func() {
		traffic(b, raw, base)
		base += second
		table.Process(b)
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations per batch, want none", n)
	}
}

func BenchmarkPair(b *testing.B) {
	raw, table, batch := pairs(b), NewTable(0, 0), &event.Batch{}
	traffic(batch, raw, 0)
	b.ReportAllocs()
	for range b.N {
		batch.Now = 0
		table.Process(batch)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(batch.Events)), "ns/message")
}

// One packet of the year 2106 ends no transaction, and is none itself for long.
func TestOddTime(t *testing.T) {
	l := newLane(t, 0)
	l.see(10*second, message(t, 1, "a.test.", false), nil)
	l.batch.Reset()
	put(&l.batch, 4_000_000_000*second, message(t, 2, "odd.test.", false), nil)
	l.batch.Now = 10 * second // what the decoder makes of it
	l.table.Process(&l.batch)
	if len(l.batch.Events) != 1 {
		t.Errorf("%d events, want the odd query alone", len(l.batch.Events))
	}
	l.batch.Now = 0
	l.want(l.see(11*second, message(t, 1, "a.test.", true), nil), event.StateAnswered, second, 0)
	// A packet of 1970 forgets nobody, and the odd query holds up nobody.
	l.see(12*second, message(t, 3, "b.test.", false), nil)
	l.batch.Reset()
	put(&l.batch, 0, message(t, 4, "past.test.", true), nil)
	l.table.Process(&l.batch)
	l.want(l.see(13*second, message(t, 3, "b.test.", true), nil), event.StateAnswered, second, 0)
	l.see(14*second, message(t, 5, "lost.test.", false), nil)
	if got := l.see(20*second, message(t, 6, "x.test.", true), nil); len(got) != 2 || got[1].Class != event.ClassUnanswered {
		t.Errorf("%d events, want the lost query too", len(got))
	}
	if s := l.table.Stats; s.Unanswered != 1 || s.Pending != 1 || s.Evicted != 0 {
		t.Errorf("%+v", s)
	}
}

// The clock lags behind the first packets after a pause: their queries wait for
// their answers all the same.
func TestPause(t *testing.T) {
	l := newLane(t, 0)
	l.see(10*second, message(t, 1, "a.test.", true), nil)
	l.batch.Reset()
	put(&l.batch, 500*second, message(t, 2, "b.test.", false), nil)
	l.batch.Now = 10 * second // the decoder waits for a second packet that agrees
	l.table.Process(&l.batch)
	l.want(l.see(501*second, message(t, 2, "b.test.", true), nil), event.StateAnswered, second, 0)
}

// After a pause all queries are overdue at once: a batch takes so many of them,
// and none is taken for one that still waits.
func TestManyOverdue(t *testing.T) {
	const queries = 3 * maxExpired
	l := newLane(t, 0)
	for i := range queries {
		l.see(second, message(t, uint16(i), "lost.test.", false), nil)
	}
	last := message(t, queries-1, "lost.test.", true)
	got := l.see(60*second, last, nil)
	if len(got) != 1+maxExpired+1 {
		t.Errorf("%d events, want the answer, %d that are overdue, and its query", len(got), maxExpired)
	}
	l.want(got, event.StateLate, 59*second, 0)
	unanswered := len(got) - 1
	if got := l.see(60*second, message(t, queries-2, "lost.test.", false), nil); len(got) > 1 {
		l.want(got, event.StatePending, -1, 0)
		unanswered += len(got) - 1
	}
	for range 2 {
		l.batch.Reset()
		l.table.Process(&l.batch)
		unanswered += len(l.batch.Events)
	}
	if s := l.table.Stats; unanswered != queries || s.Unanswered != queries || s.Pending != 1 || s.Retransmits != 0 {
		t.Errorf("%d unanswered: %+v", unanswered, s)
	}
}

// Longer queries take a share of the memory, and an event says what is not kept.
func TestLongQueries(t *testing.T) {
	const most = 128
	for _, c := range []struct{ extra, share int }{{60, mediumShare}, {2000, longShare}} {
		l := newLane(t, most)
		long := append(message(t, 0, "long.test.", false), make([]byte, c.extra)...)
		for i := range 100 {
			long[1] = byte(i)
			l.see(second, long, func(e *event.Event) { e.Missing = 5 })
		}
		kept := most / c.share
		if s := l.table.Stats; s.Pending != uint64(kept) || s.Evicted != uint64(100-kept) || l.table.medium.inUse()+l.table.long.inUse() != kept {
			t.Errorf("%d more octets: %+v", c.extra, s)
		}
		got := l.see(60*second, message(t, 7, "a.test.", false), nil)
		if len(got) != 1+kept {
			t.Fatal(len(got))
		}
		octets := min(len(long), maxQuery)
		if e := &got[1]; len(e.Msg.Raw) != octets || e.Missing != len(long)+5-octets {
			t.Errorf("%d octets, %d missing, of %d", len(e.Msg.Raw), e.Missing, len(long)+5)
		}
	}
}

// The server's end of a TCP connection may be two sockets: see socket.
func TestAcceptedSocket(t *testing.T) {
	for _, c := range []struct {
		observer event.Observer
		protocol uint8
		netns    uint32 // of the answer's socket; the query's is 5
		want     event.State
	}{
		{event.Server, 6, 5, event.StateAnswered},
		{event.Server, 6, 6, event.StateUnsolicited},
		{event.Server, 17, 5, event.StateUnsolicited},
		{event.Client, 6, 5, event.StateUnsolicited},
	} {
		l := newLane(t, 0)
		at := func(cookie uint64, netns uint32) func(*event.Event) {
			return func(e *event.Event) {
				e.Observer, e.Meta.Protocol = c.observer, c.protocol
				e.Flow = event.Flow{Cookie: cookie, NetNS: netns}
			}
		}
		l.see(second, message(t, 7, "a.example.", false), at(1, 5))
		if got := l.see(second+1, message(t, 7, "a.example.", true), at(2, c.netns))[0].Txn.State; got != c.want {
			t.Errorf("%v, protocol %d: %v, want %v", c.observer, c.protocol, got, c.want)
		}
	}
}

// Who asked and why, and how that is known, comes with the answer, and with the
// event that there is none.
func TestRecall(t *testing.T) {
	l := newLane(t, 0)
	who, cause := event.Identity{TGID: 42}, event.Cause{PID: 43, ID: 44}
	for _, id := range []uint16{7, 8} {
		l.see(second, message(t, id, "a.example.", false), func(e *event.Event) {
			e.Asker = event.Party{ID: &who, Attribution: event.AttributionSocketSender}
			e.Txn.Cause = &cause
		})
	}
	who, cause = event.Identity{}, event.Cause{}
	check := func(e *event.Event, state event.State) {
		t.Helper()
		if e.Txn.State != state || e.Asker.ID == nil || e.Asker.ID.TGID != 42 || e.Asker.Attribution != event.AttributionSocketSender ||
			e.Txn.Cause == nil || e.Txn.Cause.PID != 43 {
			t.Errorf("%+v, %+v", e.Txn, e.Asker)
		}
	}
	check(&l.see(second, message(t, 7, "a.example.", true), nil)[0], event.StateAnswered)
	events := l.see(20*second, message(t, 9, "a.example.", false), nil)
	check(&events[len(events)-1], event.StateUnanswered)
	if n := l.table.causes.inUse(); n != 0 {
		t.Errorf("%d causes kept", n)
	}
}
