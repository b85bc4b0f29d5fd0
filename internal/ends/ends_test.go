package ends

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/dnshark-io/dnshark/event"
)

const second = int64(1e9)

// host is a table with messages that pass it, each at both ends.
type host struct {
	t     testing.TB
	table *Table
	batch event.Batch
	now   int64
}

func newHost(t testing.TB) *host { return &host{t: t, table: NewTable(5 * second), now: 1000 * second} }

// message is what passes, as its sender sees it.
type message struct {
	from, to string
	id       uint16
	name     string
	response bool
	tcp      bool
	netns    uint32
	iface    string
}

func (m message) back() message {
	m.from, m.to, m.response = m.to, m.from, true
	return m
}

// end adds the event of one end and returns it.
func (h *host) end(m message, egress bool, change func(*event.Event)) *event.Event {
	h.t.Helper()
	q := new(dns.Msg)
	q.SetQuestion(m.name, dns.TypeA)
	q.Id, q.Response = m.id, m.response
	raw, err := q.Pack()
	if err != nil {
		h.t.Fatal(err)
	}
	h.batch.Reset()
	h.now += 1000
	e := h.batch.Next()
	src, dst := netip.MustParseAddrPort(m.from), netip.MustParseAddrPort(m.to)
	e.Time, h.batch.Now = h.now, h.now
	e.Meta = event.PktMeta{SrcIP: src.Addr(), DstIP: dst.Addr(), SrcPort: src.Port(), DstPort: dst.Port(), Protocol: 17, Iface: m.iface}
	if m.tcp {
		e.Meta.Protocol = 6
	}
	e.Flow = event.Flow{Cookie: 1, NetNS: m.netns, Egress: egress, Ingress: !egress}
	e.Observer = event.Client
	if egress == m.response {
		e.Observer = event.Server
	}
	e.Msg.Unpack(raw)
	if change != nil {
		change(e)
	}
	h.table.Process(&h.batch)
	return &h.batch.Events[0]
}

func (h *host) leaves(m message, sender *event.Identity) *event.Event {
	h.t.Helper()
	return h.end(m, true, func(e *event.Event) { e.Sender = sender })
}

func (h *host) arrives(m message) *event.Event {
	h.t.Helper()
	return h.end(m, false, nil)
}

func task(tgid uint32) *event.Identity {
	return &event.Identity{TGID: tgid, TID: tgid, Start: uint64(tgid) * 100, PPID: 1, Comm: [16]byte{byte(tgid)}}
}

func wantParty(t *testing.T, what string, got event.Party, tgid uint32, by event.Attribution) {
	t.Helper()
	var pid uint32
	if got.ID != nil {
		pid = got.ID.TGID
	}
	if pid != tgid || got.Attribution != by {
		t.Errorf("%s: process %d by %v, want %d by %v", what, pid, got.Attribution, tgid, by)
	}
}

var query = message{from: "127.0.0.1:40000", to: "127.0.0.53:53", id: 7, name: "a.example.", netns: 1, iface: "lo"}

func TestBothEnds(t *testing.T) {
	for _, change := range []func(*message){
		func(*message) {},
		func(m *message) { m.tcp = true },
		func(m *message) { m.from, m.to = "[::1]:40000", "[::1]:53" },
		func(m *message) { m.from, m.to, m.iface = "198.51.100.1:40000", "198.51.100.2:53", "eth0" },
	} {
		h, q := newHost(t), query
		change(&q)
		app, server := task(10), task(20)
		wantParty(t, "the query leaves", h.leaves(q, app).Server, 0, event.AttributionNone)
		e := h.arrives(q)
		wantParty(t, "the query comes in", e.Asker, 10, event.AttributionQueryEgress)
		wantParty(t, "the query comes in", e.Server, 0, event.AttributionNone)
		wantParty(t, "the answer leaves", h.leaves(q.back(), server).Server, 20, event.AttributionAnswerEgress)
		wantParty(t, "the answer comes in", h.arrives(q.back()).Server, 20, event.AttributionAnswerEgress)
		wantParty(t, "the answer comes in again", h.arrives(q.back()).Server, 0, event.AttributionNone)
	}
}

// A veth device is in another namespace, and has another name, at each end.
func TestOtherNamespace(t *testing.T) {
	h, q := newHost(t), query
	q.from, q.to, q.iface = "198.51.100.1:40000", "198.51.100.2:53", "veth0"
	h.leaves(q, task(10))
	q.netns, q.iface = 2, "eth0"
	wantParty(t, "the query", h.arrives(q).Asker, 10, event.AttributionQueryEgress)
}

// Whatever does not fit in every respect is not the same message.
func TestNotTheSame(t *testing.T) {
	for what, change := range map[string]func(h *host, m *message){
		"id":              func(_ *host, m *message) { m.id++ },
		"question":        func(_ *host, m *message) { m.name = "b.example." },
		"server":          func(_ *host, m *message) { m.from = "127.0.0.54:53" },
		"server's port":   func(_ *host, m *message) { m.from = "127.0.0.53:54" },
		"client's port":   func(_ *host, m *message) { m.to = "127.0.0.1:40001" },
		"protocol":        func(_ *host, m *message) { m.tcp = true },
		"other loopback":  func(_ *host, m *message) { m.netns = 2 },
		"other interface": func(_ *host, m *message) { m.iface = "eth0" },
		"late":            func(h *host, _ *message) { h.now += 2 * second },
		"stepped clock":   func(h *host, _ *message) { h.now -= 2 * second },
		"two senders":     func(h *host, m *message) { h.leaves(*m, task(30)) },
	} {
		h, answer := newHost(t), query.back()
		h.leaves(answer, task(20))
		change(h, &answer)
		wantParty(t, what, h.arrives(answer).Server, 0, event.AttributionNone)
	}
}

// An event whose sender the kernel did not tell has the socket's.
func TestSocketSender(t *testing.T) {
	h := newHost(t)
	owner := task(20)
	e := h.end(query.back(), true, func(e *event.Event) { e.Owner = owner })
	wantParty(t, "the answer leaves", e.Server, 20, event.AttributionSocketSender)
	wantParty(t, "the answer comes in", h.arrives(query.back()).Server, 20, event.AttributionSocketSender)
	e = h.end(query, false, func(e *event.Event) { e.Owner = owner })
	wantParty(t, "the query comes in", e.Server, 20, event.AttributionSocketSender)
}

func TestMulticast(t *testing.T) {
	h, q := newHost(t), query
	q.from, q.to, q.iface = "198.51.100.1:5353", "224.0.0.251:5353", "eth0"
	h.leaves(q, task(10))
	for range 3 {
		wantParty(t, "the query", h.arrives(q).Asker, 10, event.AttributionQueryEgress)
	}
}

// upstream is what the server asks when it is asked query.
var upstream = message{from: "192.0.2.1:50000", to: "192.0.2.53:53", id: 99, name: "A.EXAMPLE.", netns: 1, iface: "eth0"}

// known makes the server's process known to the table, as its first answer does.
func known(h *host, server *event.Identity) {
	first := query
	first.name = "first.example."
	h.leaves(first, task(9))
	h.arrives(first)
	h.leaves(first.back(), server)
}

func TestCause(t *testing.T) {
	h, app, server := newHost(t), task(10), task(20)
	known(h, server)
	h.leaves(query, app)
	asked := h.arrives(query).Time
	second := query
	second.from, second.id = "127.0.0.1:40001", 8
	h.leaves(second, task(11))
	h.arrives(second)

	c := h.leaves(upstream, server).Txn.Cause
	if c == nil || c.PID != 10 || c.Comm != app.Comm || c.ID != 7 || c.Client.String() != query.from || c.Time != asked {
		t.Fatalf("%+v", c)
	}
	child := task(21)
	child.PPID = server.TGID
	if c := h.leaves(upstream, child).Txn.Cause; c == nil || c.PID != 10 {
		t.Errorf("a child of the server: %+v", c)
	}
	for what, who := range map[string]*event.Identity{"the application": app, "another process": task(30)} {
		if c := h.leaves(upstream, who).Txn.Cause; c != nil {
			t.Errorf("%s: %+v", what, *c)
		}
	}
	other := upstream
	other.name = "b.example."
	if c := h.leaves(other, server).Txn.Cause; c != nil {
		t.Errorf("another question: %+v", *c)
	}
	// The first query is answered, the second still waits.
	h.leaves(query.back(), server)
	if c := h.leaves(upstream, server).Txn.Cause; c == nil || c.PID != 11 {
		t.Errorf("after the answer: %+v", c)
	}
	h.leaves(second.back(), server)
	if c := h.leaves(upstream, server).Txn.Cause; c != nil || h.table.pending != 0 {
		t.Errorf("after both answers: %+v, %d pending", c, h.table.pending)
	}
}

// Who asked may be on another host, or unknown.
func TestCauseFromElsewhere(t *testing.T) {
	h, server := newHost(t), task(20)
	known(h, server)
	h.arrives(query)
	if c := h.leaves(upstream, server).Txn.Cause; c == nil || c.PID != 0 || c.Client.String() != query.from {
		t.Errorf("%+v", c)
	}
}

func TestCauseEnds(t *testing.T) {
	h, server := newHost(t), task(20)
	known(h, server)
	h.arrives(query)
	h.now += 6 * second
	if c := h.leaves(upstream, server).Txn.Cause; c != nil || h.table.pending != 0 {
		t.Errorf("after the time limit: %+v, %d pending", c, h.table.pending)
	}
	// Nobody knows yet who answers there.
	h = newHost(t)
	h.arrives(query)
	if c := h.leaves(upstream, server).Txn.Cause; c != nil {
		t.Errorf("a server that never answered: %+v", *c)
	}
}

// However many queries come, memory stays and the count of waiting ones is true.
func TestBounded(t *testing.T) {
	h, server := newHost(t), task(20)
	known(h, server)
	q := query
	for i := range 5000 {
		q.id, q.name = uint16(i), strings.Repeat("x", i%60+1)+".example."
		h.leaves(q, task(10))
		h.arrives(q)
	}
	waiting := 0
	for _, set := range h.table.asked {
		for _, s := range set {
			if s.key != 0 {
				waiting++
			}
		}
	}
	if waiting != h.table.pending || waiting < 60 {
		t.Errorf("%d queries wait, counted as %d", waiting, h.table.pending)
	}
}

func TestAllocations(t *testing.T) {
	b := busy(t)
	table := NewTable(5 * second)
	if n := testing.AllocsPerRun(100, func() { again(b); table.Process(b) }); n != 0 {
		t.Errorf("%v allocations per batch, want none", n)
	}
}

func BenchmarkProcess(b *testing.B) {
	batch := busy(b)
	table := NewTable(5 * second)
	b.ReportAllocs()
	for b.Loop() {
		again(batch)
		table.Process(batch)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(batch.Events)), "ns/event")
}

// busy is a batch with both ends of conversations, and what a server asks.
func busy(t testing.TB) *event.Batch {
	h, b := newHost(t), &event.Batch{}
	q, u := query, upstream
	for i := range uint16(40) {
		q.id, u.id = i, i
		for _, m := range []struct {
			message
			egress bool
			sender *event.Identity
		}{
			{q, true, task(10)}, {q, false, nil}, {u, true, task(20)}, {u.back(), false, nil}, {q.back(), true, task(20)}, {q.back(), false, nil},
		} {
			e := h.end(m.message, m.egress, func(e *event.Event) { e.Sender = m.sender })
			o := b.Next()
			o.Observation = e.Observation
			o.Msg.Unpack(append([]byte(nil), e.Msg.Raw...))
		}
	}
	return b
}

// again makes the batch what it was, without ending its events.
func again(b *event.Batch) {
	n := len(b.Events)
	b.Reset()
	b.Events = b.Events[:n]
	for i := range b.Events {
		e := &b.Events[i]
		e.Asker, e.Server, e.Txn.Cause = event.Party{}, event.Party{}, nil
	}
}
