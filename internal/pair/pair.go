// Package pair is the step where a question meets its answer. It tells latency,
// retransmissions and what became of the transaction, carries the identity of
// the task that asked to the answer, and finds queries that nobody answers.
//
// Time is the packets'. Memory is bounded by the number of queries that wait;
// a query's slot is free again once it is answered. One Table per lane.
package pair

import (
	"math/rand/v2"
	"slices"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
)

// DefaultTimeout is after how many ns a query counts as unanswered.
const DefaultTimeout = 5_000_000_000

// Stats counts what a Table met.
type Stats struct {
	Queries     uint64 // first transmissions
	Retransmits uint64
	Answered    uint64
	Duplicate   uint64
	Late        uint64
	Mismatched  uint64
	Unsolicited uint64
	Unanswered  uint64
	Evicted     uint64 // waiting queries that were forgotten because the table was full
	Pending     uint64 // queries that wait now
}

// Add returns the sums of both counters.
func (s Stats) Add(o Stats) Stats {
	return Stats{
		s.Queries + o.Queries, s.Retransmits + o.Retransmits, s.Answered + o.Answered, s.Duplicate + o.Duplicate,
		s.Late + o.Late, s.Mismatched + o.Mismatched, s.Unsolicited + o.Unsolicited, s.Unanswered + o.Unanswered,
		s.Evicted + o.Evicted, s.Pending + o.Pending,
	}
}

const none = ^uint32(0)

// waiting is a query without an answer yet.
type waiting struct {
	tuple       tuple
	hash        uint64
	time        int64
	chain       uint32 // next slot with the same bucket
	newer       uint32 // neighbours in order of arrival, which is that of expiry
	older       uint32
	retransmits uint32
	packetLen   uint32
	long        uint32 // slot in Table.long when the query does not fit here, or none
	identity    uint32 // slot in Table.identities, or none
	cause       uint32 // slot in Table.causes, or none
	doubt       uint32 // the same for the other candidate, found at egress
	attribution event.Attribution
	iface       uint16 // index in Table.ifaces
	size        uint16 // octets of the query that are kept
	missing     uint16 // octets of it that are not
	question    uint16 // octets of its first question, 0 when that is not whole; see question
	query       [inlineQuery]byte
}

// Most queries fit inlineQuery octets. Of longer ones maxQuery octets are kept,
// and only one in longShare of those that may wait can be so long.
const (
	inlineQuery = 80
	maxQuery    = 1232 // the usual EDNS size
	longShare   = 32
)

// longQuery is what is kept of a long query.
type longQuery struct {
	owner uint32 // slot
	octet [maxQuery]byte
}

// maxExpired bounds the unanswered queries that a batch takes. After a pause all
// that wait may be overdue at once; what is left comes with further batches.
const maxExpired = 4096

// Table pairs the messages of one lane.
type Table struct {
	Stats Stats
	// UpToEnd says that a query which still waits at the end of the lane found
	// no answer; otherwise nothing is said about it.
	UpToEnd bool

	more bool // see More

	timeout    int64
	maxPending int
	seed       [2]uint64
	slots      slab[waiting]
	long       slab[longQuery]
	identities slab[event.Identity]
	causes     slab[event.Cause]
	buckets    []uint32
	oldest     uint32
	newest     uint32
	ifaces     []string // the first is ""
	lastIface  uint16
	past       [pastSlots]past
}

// past remembers a transaction that ended, so that one more answer is known for
// what it is. The memory is fixed: newer transactions overwrite older ones.
type past struct {
	hash     uint64 // of tuple and question, 0 when empty
	time     int64  // of the query
	timedOut bool
}

const pastSlots = 1 << 14

// NewTable returns a table that calls a query unanswered after timeout ns and
// holds at most maxPending waiting queries. Zero values mean DefaultTimeout and
// 2^20.
func NewTable(timeout int64, maxPending int) *Table {
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	if maxPending <= 0 {
		maxPending = 1 << 20
	}
	t := &Table{timeout: timeout, maxPending: maxPending, seed: [2]uint64{rand.Uint64(), rand.Uint64()}, oldest: none, newest: none, ifaces: []string{""}}
	t.rehash(1 << 10)
	return t
}

// Process pairs the messages of the batch and appends unanswered queries to it.
func (t *Table) Process(b *event.Batch) {
	messages := len(b.Events)
	for i := range messages {
		e := &b.Events[i]
		if e.Class != event.ClassMessage {
			continue
		}
		response := e.Msg.Flags.Response()
		t.expire(b, min(e.Time, b.Now), messages)
		if response {
			t.answer(b, i)
		} else {
			t.query(b, i)
		}
	}
	t.expire(b, b.Now, messages)
	if b.Last && t.UpToEnd {
		t.end(b, messages)
	}
	t.more = t.oldest != none && len(b.Events) >= messages+maxExpired
}

// More reports whether more queries may be overdue than the last batch took.
func (t *Table) More() bool { return t.more }

func (t *Table) query(b *event.Batch, at int) {
	e := &b.Events[at]
	e.Txn = event.Transaction{State: event.StatePending, Latency: -1, Cause: e.Txn.Cause}
	switch {
	case e.Sender != nil:
		e.Asker.ID, e.Asker.Attribution = e.Sender, event.AttributionQueryEgress
	case e.Owner != nil && e.Flow.Egress:
		e.Asker.ID, e.Asker.Attribution = e.Owner, event.AttributionSocketSender
	}
	if e.Other != nil {
		e.Asker.Doubt = event.Candidate{ID: e.Other, Method: event.AttributionQueryEgress}
	}
	var key tuple
	key.of(e)
	hash := key.hash(t.seed)
	q := question(&e.Msg)
	for i := t.buckets[hash&t.mask()]; i != none; i = t.slots.at(i).chain {
		if w := t.slots.at(i); w.hash == hash && w.tuple.cookie == key.cookie && w.tuple.alike(&key) && sameQuestion(t.question(w), q) {
			if e.Time-w.time >= t.timeout {
				t.timeOut(b, i)
				e = &b.Events[at]
				break
			}
			w.retransmits++
			t.Stats.Retransmits++
			e.Txn.Retransmits = w.retransmits
			return
		}
	}
	t.Stats.Queries++
	if t.Stats.Pending >= uint64(t.maxPending) {
		t.Stats.Evicted++
		t.remove(t.oldest)
	}
	if len(e.Msg.Raw) > inlineQuery && t.long.inUse() >= max(t.maxPending/longShare, 1) {
		// Any of them, so that nobody chooses whose.
		t.Stats.Evicted++
		t.remove(t.long.at(rand.Uint32N(t.long.next)).owner)
	}
	t.insert(e, &key, hash)
}

func (t *Table) insert(e *event.Event, key *tuple, hash uint64) {
	if t.Stats.Pending >= uint64(len(t.buckets)) {
		t.rehash(2 * len(t.buckets))
	}
	i := t.slots.get()
	w := t.slots.at(i)
	bucket := &t.buckets[hash&t.mask()]
	w.tuple, w.hash, w.time, w.retransmits = *key, hash, e.Time, 0
	w.chain = *bucket
	w.packetLen, w.iface = e.Meta.PacketLen, t.iface(e.Meta.Iface)
	w.long, w.cause = none, none
	raw := e.Msg.Raw[:min(len(e.Msg.Raw), maxQuery)]
	if q := question(&e.Msg); len(q) <= len(raw)-dnswire.HeaderLen {
		w.question = uint16(len(q))
	} else {
		w.question = 0
	}
	w.size, w.missing = uint16(len(raw)), uint16(e.Missing+len(e.Msg.Raw)-len(raw))
	if len(raw) > inlineQuery {
		w.long = t.long.get()
		t.long.at(w.long).owner = i
	}
	copy(t.stored(w), raw)
	w.identity, w.attribution = t.keep(e.Asker.ID), e.Asker.Attribution
	w.doubt = t.keep(e.Asker.Doubt.ID)
	if e.Txn.Cause != nil {
		w.cause = t.causes.get()
		*t.causes.at(w.cause) = *e.Txn.Cause
	}
	*bucket = i
	t.link(i, w)
	t.Stats.Pending++
}

// link makes slot i the newest in order of arrival.
func (t *Table) link(i uint32, w *waiting) {
	w.newer, w.older = none, t.newest
	if t.newest == none {
		t.oldest = i
	} else {
		t.slots.at(t.newest).newer = i
	}
	t.newest = i
}

// unlink takes a slot out of the order of arrival.
func (t *Table) unlink(w *waiting) {
	if w.older == none {
		t.oldest = w.newer
	} else {
		t.slots.at(w.older).newer = w.newer
	}
	if w.newer == none {
		t.newest = w.older
	} else {
		t.slots.at(w.newer).older = w.older
	}
}

// stored returns the octets of the query that are kept.
func (t *Table) stored(w *waiting) []byte {
	if w.long != none {
		return t.long.at(w.long).octet[:w.size]
	}
	return w.query[:w.size]
}

// question returns the first question of a stored query, or nil.
func (t *Table) question(w *waiting) []byte {
	if w.question == 0 {
		return nil
	}
	return t.stored(w)[dnswire.HeaderLen:][:w.question]
}

func (t *Table) answer(b *event.Batch, at int) {
	e := &b.Events[at]
	e.Txn = event.Transaction{State: event.StateUnsolicited, Latency: -1}
	if e.Observer == event.Client {
		t.atSocket(b, e)
	}
	var key tuple
	key.of(e)
	hash := key.hash(t.seed)
	q := question(&e.Msg)
	match, elsewhere := none, none
	for i := t.buckets[hash&t.mask()]; i != none; i = t.slots.at(i).chain {
		w := t.slots.at(i)
		if w.hash != hash || !w.tuple.alike(&key) {
			continue
		}
		if w.tuple.cookie != key.cookie {
			// Addresses mean something in their own namespace only.
			if e.Observer == event.Client && key.protocol == protoUDP && key.netns != 0 && sameQuestion(t.question(w), q) {
				elsewhere = t.older(elsewhere, i)
			}
			continue
		}
		e.Txn.State = event.StateMismatched
		// Errors may come without the question (RFC 1035 section 4.1.1 has no
		// rule; FORMERR and REFUSED of real servers do).
		if len(e.Msg.Questions) == 0 || sameQuestion(t.question(w), q) {
			match = i // the chain is newest first: keep the oldest
		}
	}
	if match == none && e.Txn.State == event.StateUnsolicited && elsewhere != none {
		// Several sockets on one port (SO_REUSEPORT): the kernel gives the
		// answer to any of them, whose owner need not have asked.
		match, e.Asker = elsewhere, event.Party{}
	}
	switch {
	case match == none:
	case e.Time-t.slots.at(match).time >= t.timeout:
		t.timeOut(b, match)
		e = &b.Events[at]
		e.Txn.State = event.StateUnsolicited
	default:
		t.answered(b, e, match)
		return
	}
	if p := t.pastOf(t.pastHash(hash, q)); p != nil {
		e.Txn.Latency = e.Time - p.time
		e.Txn.State = event.StateDuplicate
		if p.timedOut {
			e.Txn.State = event.StateLate
			p.timedOut = false
		}
	}
	switch e.Txn.State {
	case event.StateDuplicate:
		t.Stats.Duplicate++
	case event.StateLate:
		t.Stats.Late++
	case event.StateMismatched:
		t.Stats.Mismatched++
	default:
		t.Stats.Unsolicited++
	}
}

// atSocket makes who stands at the client's socket the asker, for want of a
// transaction, or at least its cgroup.
func (t *Table) atSocket(b *event.Batch, e *event.Event) {
	e.Asker = e.AtSocket()
	if e.Owner == nil && e.Flow.Cgroup != 0 {
		e.Asker.ID = b.HoldIdentity(&event.Identity{Cgroup: e.Flow.Cgroup})
		e.Asker.Attribution = event.AttributionCgroup
	}
}

// older returns which of two queries from sockets on one port is the answer's:
// the older one. Who of the two asked is then unknown.
func (t *Table) older(a, b uint32) uint32 {
	if a == none {
		return b
	}
	if t.slots.at(a).tuple.cookie != t.slots.at(b).tuple.cookie {
		for _, i := range [...]uint32{a, b} {
			w := t.slots.at(i)
			t.drop(w.identity)
			w.identity, w.attribution = none, event.AttributionNone
		}
	}
	return b // the chain is newest first
}

// keep copies an identity until drop.
func (t *Table) keep(id *event.Identity) uint32 {
	if id == nil {
		return none
	}
	i := t.identities.get()
	*t.identities.at(i) = *id
	return i
}

func (t *Table) drop(i uint32) {
	if i != none {
		t.identities.put(i)
	}
}

// sameProcess compares identities, of which the second may be nil.
func sameProcess(a, b *event.Identity) bool {
	return b != nil && a.TGID == b.TGID && a.Start == b.Start
}

func (t *Table) answered(b *event.Batch, e *event.Event, i uint32) {
	w := t.slots.at(i)
	// Capture files hold packets whose clocks disagree: no negative latency.
	e.Txn = event.Transaction{
		State: event.StateAnswered, Latency: max(0, e.Time-w.time), Retransmits: w.retransmits,
	}
	owner := e.Asker
	t.recall(b, e, w)
	if e.Flow.Deferred && owner.ID != nil && e.Asker.ID != owner.ID && !sameProcess(owner.ID, e.Asker.ID) {
		// Who ran when the query left is not who sends on the socket.
		owner.Doubt = event.Candidate{ID: e.Asker.ID, Method: e.Asker.Attribution}
		e.Asker = owner
	}
	t.remember(w, false)
	t.Stats.Answered++
	t.remove(i)
}

// expire emits the queries whose time ran out before now. The batch had so many
// messages.
func (t *Table) expire(b *event.Batch, now int64, messages int) {
	moved := false
	for t.oldest != none && len(b.Events) < messages+maxExpired {
		w := t.slots.at(t.oldest)
		switch waited := now - w.time; {
		case waited < -t.timeout && !moved:
			// A query of another year, or the clock lags: it must neither
			// hold up the others nor be forgotten.
			i := t.oldest
			t.unlink(w)
			t.link(i, w)
			moved = true
			continue
		case waited < t.timeout:
			return
		}
		t.timeOut(b, t.oldest)
	}
}

// end emits the queries that still wait, as many as a batch takes.
func (t *Table) end(b *event.Batch, messages int) {
	for t.oldest != none && len(b.Events) < messages+maxExpired {
		at := t.slots.at(t.oldest).time
		t.timeOut(b, t.oldest)
		e := &b.Events[len(b.Events)-1]
		e.Time = min(e.Time, max(at, b.Now))
	}
}

// timeOut ends a query that found no answer in time.
func (t *Table) timeOut(b *event.Batch, i uint32) {
	w := t.slots.at(i)
	t.unanswered(b, w)
	t.remember(w, true)
	t.Stats.Unanswered++
	t.remove(i)
}

func (t *Table) unanswered(b *event.Batch, w *waiting) {
	e := b.Next()
	e.Class, e.Time, e.Observer = event.ClassUnanswered, w.time+t.timeout, w.tuple.observer
	e.Meta = event.PktMeta{
		SrcIP: addr(w.tuple.client), DstIP: addr(w.tuple.server),
		SrcPort: w.tuple.clientPort, DstPort: w.tuple.serverPort,
		Protocol: w.tuple.protocol, PacketLen: w.packetLen, Iface: t.ifaces[w.iface],
	}
	e.Txn = event.Transaction{State: event.StateUnanswered, Latency: -1, Retransmits: w.retransmits, Asked: w.time}
	t.recall(b, e, w)
	e.Msg.Unpack(b.Hold(t.stored(w)))
	e.Missing = int(w.missing)
}

// recall tells an event what was known of its query: who asked, and why.
func (t *Table) recall(b *event.Batch, e *event.Event, w *waiting) {
	if w.identity != none {
		e.Asker = event.Party{ID: b.HoldIdentity(t.identities.at(w.identity)), Attribution: w.attribution}
	}
	if w.doubt != none {
		e.Asker.Doubt = event.Candidate{ID: b.HoldIdentity(t.identities.at(w.doubt)), Method: event.AttributionQueryEgress}
	}
	if w.cause != none {
		e.Txn.Cause = b.HoldCause(t.causes.at(w.cause))
	}
}

func (t *Table) remove(i uint32) {
	w := t.slots.at(i)
	link := &t.buckets[w.hash&t.mask()]
	for *link != i {
		link = &t.slots.at(*link).chain
	}
	*link = w.chain
	t.unlink(w)
	if w.long != none {
		t.long.put(w.long)
	}
	t.drop(w.identity)
	t.drop(w.doubt)
	if w.cause != none {
		t.causes.put(w.cause)
	}
	t.slots.put(i)
	t.Stats.Pending--
}

func (t *Table) mask() uint64 { return uint64(len(t.buckets) - 1) }

// rehash makes n buckets, a power of two, and files the waiting queries again,
// the oldest first so that every chain is newest first.
func (t *Table) rehash(n int) {
	t.buckets = make([]uint32, n)
	for i := range t.buckets {
		t.buckets[i] = none
	}
	for i := t.oldest; i != none; {
		w := t.slots.at(i)
		bucket := &t.buckets[w.hash&t.mask()]
		w.chain = *bucket
		*bucket = i
		i = w.newer
	}
}

func (t *Table) pastHash(hash uint64, question []byte) uint64 {
	return questionHash(question, hash) | 1
}

func (t *Table) remember(w *waiting, timedOut bool) {
	h := t.pastHash(w.hash, t.question(w))
	t.past[h>>32%pastSlots] = past{hash: h, time: w.time, timedOut: timedOut}
}

func (t *Table) pastOf(h uint64) *past {
	if p := &t.past[h>>32%pastSlots]; p.hash == h {
		return p
	}
	return nil
}

// maxIfaces bounds the table of interface names, which a file may invent, and
// the work of looking one up.
const maxIfaces = 256

// iface returns the index of an interface's name. Names are few, and the last
// one is the likeliest. Where there are too many, unanswered queries tell none.
func (t *Table) iface(name string) uint16 {
	if t.ifaces[t.lastIface] == name {
		return t.lastIface
	}
	i := slices.Index(t.ifaces, name)
	switch {
	case i >= 0:
	case len(t.ifaces) == maxIfaces:
		return 0
	default:
		i = len(t.ifaces)
		t.ifaces = append(t.ifaces, name)
	}
	t.lastIface = uint16(i)
	return t.lastIface
}
