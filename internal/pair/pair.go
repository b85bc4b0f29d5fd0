// Package pair is the step where a question meets its answer. It tells latency,
// retransmissions and what became of the transaction, carries the identity of
// the task that asked to the answer, and finds queries that nobody answers.
//
// Time is the packets'. Memory is bounded by the number of queries that wait;
// a query's slot is free again once it is answered. One Table per lane.
package pair

import (
	"encoding/binary"
	"math"
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

// waiting is a query without an answer yet. A million may wait, so what few have
// stands elsewhere.
type waiting struct {
	ends        ends
	time        int64
	hash        uint32 // the lower half
	chain       uint32 // next slot with the same bucket
	newer       uint32 // neighbours in order of arrival, which is that of expiry
	older       uint32
	packetLen   uint32
	live        uint32 // slot in Table.live, or none
	retransmits uint16 // and more
	iface       uint16 // index in Table.ifaces
	size        uint16 // octets of the query that are kept
	missing     uint16 // octets of it that are not
	name        uint8  // octets of the name in its first question, 0 when that is not whole; see question
	query       [inlineQuery]byte
}

// Of a longer query there is only its slot, in Table.medium or Table.long.

func (w *waiting) setSlot(i uint32) { binary.LittleEndian.PutUint32(w.query[:], i) }

func (w *waiting) slot() uint32 { return binary.LittleEndian.Uint32(w.query[:]) }

// live is what is known of a query whose socket or process is.
type live struct {
	cookie      uint64
	netns       uint32
	identity    uint32 // slot in Table.identities, or none
	doubt       uint32 // the same for the other candidate, found at egress
	cause       uint32 // slot in Table.causes, or none
	attribution event.Attribution
}

// notLive is live of a query that was read from a file.
var notLive = live{identity: none, doubt: none, cause: none}

// Queries of up to inlineQuery octets, as most are without cookies, lie in their
// slots. One in mediumShare of those that may wait can have up to mediumQuery, one
// in longShare be longer; of these maxQuery octets are kept.
const (
	inlineQuery = 55
	mediumQuery = 124
	maxQuery    = 1232 // the usual EDNS size

	mediumShare = 2
	longShare   = 32
)

// kept is what is kept of a query that is not inline.
type kept[T any] struct {
	owner uint32 // slot
	octet T
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
	medium     slab[kept[[mediumQuery]byte]]
	long       slab[kept[[maxQuery]byte]]
	live       slab[live]
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
	hash := uint32(key.hash(t.seed))
	q := question(&e.Msg)
	for i := t.buckets[hash&t.mask()]; i != none; i = t.slots.at(i).chain {
		if w := t.slots.at(i); w.hash == hash && w.ends.equal(&key.ends) && t.sockets(w, &key) == same && sameQuestion(t.question(w), q) {
			if e.Time-w.time >= t.timeout {
				t.timeOut(b, i)
				e = &b.Events[at]
				break
			}
			w.retransmits += uint16(min(1, math.MaxUint16-w.retransmits))
			t.Stats.Retransmits++
			e.Txn.Retransmits = uint32(w.retransmits)
			return
		}
	}
	t.Stats.Queries++
	if t.Stats.Pending >= uint64(t.maxPending) {
		t.Stats.Evicted++
		t.remove(t.oldest)
	}
	// Any of the others as long, so that nobody chooses whose.
	switch n := len(e.Msg.Raw); {
	case n <= inlineQuery:
	case n <= mediumQuery:
		if t.medium.inUse() >= max(t.maxPending/mediumShare, 1) {
			t.Stats.Evicted++
			t.remove(t.medium.at(rand.Uint32N(t.medium.next)).owner)
		}
	case t.long.inUse() >= max(t.maxPending/longShare, 1):
		t.Stats.Evicted++
		t.remove(t.long.at(rand.Uint32N(t.long.next)).owner)
	}
	t.insert(e, &key, hash)
}

func (t *Table) insert(e *event.Event, key *tuple, hash uint32) {
	if t.Stats.Pending >= uint64(len(t.buckets)) {
		t.rehash(2 * len(t.buckets))
	}
	i := t.slots.get()
	w := t.slots.at(i)
	bucket := &t.buckets[hash&t.mask()]
	w.ends, w.hash, w.time, w.retransmits = key.ends, hash, e.Time, 0
	w.chain = *bucket
	w.packetLen, w.iface = e.Meta.PacketLen, t.iface(e.Meta.Iface)
	raw := e.Msg.Raw[:min(len(e.Msg.Raw), maxQuery)]
	w.name = 0
	if q := question(&e.Msg); q != nil && len(q) <= len(raw)-dnswire.HeaderLen {
		w.name = uint8(len(q) - typeAndClass)
	}
	w.size, w.missing = uint16(len(raw)), uint16(e.Missing+len(e.Msg.Raw)-len(raw))
	switch {
	case len(raw) > mediumQuery:
		w.setSlot(t.long.get())
		t.long.at(w.slot()).owner = i
	case len(raw) > inlineQuery:
		w.setSlot(t.medium.get())
		t.medium.at(w.slot()).owner = i
	}
	copy(t.stored(w), raw)
	w.live = t.alive(e, key)
	*bucket = i
	t.link(i, w)
	t.Stats.Pending++
}

// alive keeps what is known of the socket and the process.
func (t *Table) alive(e *event.Event, key *tuple) uint32 {
	if key.cookie == 0 && key.netns == 0 && e.Asker.ID == nil && e.Asker.Doubt.ID == nil && e.Txn.Cause == nil {
		return none
	}
	i := t.live.get()
	l := t.live.at(i)
	*l = live{
		cookie: key.cookie, netns: key.netns,
		identity: t.keep(e.Asker.ID), doubt: t.keep(e.Asker.Doubt.ID), cause: none, attribution: e.Asker.Attribution,
	}
	if e.Txn.Cause != nil {
		l.cause = t.causes.get()
		*t.causes.at(l.cause) = *e.Txn.Cause
	}
	return i
}

// liveOf returns what is known of a query's socket and process.
func (t *Table) liveOf(w *waiting) *live {
	if w.live == none {
		return &notLive
	}
	return t.live.at(w.live)
}

// What a query and a message at hand have in common beside their ends.
const (
	foreign = iota // nothing: addresses mean something in their own network namespace only
	near           // the network namespace
	same           // the socket too
)

func (t *Table) sockets(w *waiting, key *tuple) int {
	l := t.liveOf(w)
	switch {
	case l.netns != key.netns:
		return foreign
	case l.cookie != key.cookie:
		return near
	}
	return same
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
	switch {
	case w.size > mediumQuery:
		return t.long.at(w.slot()).octet[:w.size]
	case w.size > inlineQuery:
		return t.medium.at(w.slot()).octet[:w.size]
	}
	return w.query[:w.size]
}

// question returns the first question of a stored query, or nil.
func (t *Table) question(w *waiting) []byte {
	if w.name == 0 {
		return nil
	}
	return t.stored(w)[dnswire.HeaderLen:][:int(w.name)+typeAndClass]
}

func (t *Table) answer(b *event.Batch, at int) {
	e := &b.Events[at]
	e.Txn = event.Transaction{State: event.StateUnsolicited, Latency: -1}
	if e.Observer == event.Client {
		t.atSocket(b, e)
	}
	var key tuple
	key.of(e)
	hash := uint32(key.hash(t.seed))
	q := question(&e.Msg)
	match, elsewhere := none, none
	for i := t.buckets[hash&t.mask()]; i != none; i = t.slots.at(i).chain {
		w := t.slots.at(i)
		if w.hash != hash || !w.ends.equal(&key.ends) {
			continue
		}
		switch t.sockets(w, &key) {
		case foreign:
			continue
		case near:
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
	if t.liveOf(t.slots.at(a)).cookie != t.liveOf(t.slots.at(b)).cookie {
		for _, i := range [...]uint32{a, b} {
			if l := t.liveOf(t.slots.at(i)); l.identity != none {
				t.drop(l.identity)
				l.identity, l.attribution = none, event.AttributionNone
			}
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
		State: event.StateAnswered, Latency: max(0, e.Time-w.time), Retransmits: uint32(w.retransmits),
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
	e.Class, e.Time, e.Observer = event.ClassUnanswered, w.time+t.timeout, w.ends.observer
	e.Meta = event.PktMeta{
		SrcIP: addr(w.ends.client), DstIP: addr(w.ends.server),
		SrcPort: w.ends.clientPort, DstPort: w.ends.serverPort,
		Protocol: w.ends.protocol, PacketLen: w.packetLen, Iface: t.ifaces[w.iface],
	}
	e.Txn = event.Transaction{State: event.StateUnanswered, Latency: -1, Retransmits: uint32(w.retransmits), Asked: w.time}
	t.recall(b, e, w)
	e.Msg.Unpack(b.Hold(t.stored(w)))
	e.Missing = int(w.missing)
}

// recall tells an event what was known of its query: who asked, and why.
func (t *Table) recall(b *event.Batch, e *event.Event, w *waiting) {
	l := t.liveOf(w)
	if l.identity != none {
		e.Asker = event.Party{ID: b.HoldIdentity(t.identities.at(l.identity)), Attribution: l.attribution}
	}
	if l.doubt != none {
		e.Asker.Doubt = event.Candidate{ID: b.HoldIdentity(t.identities.at(l.doubt)), Method: event.AttributionQueryEgress}
	}
	if l.cause != none {
		e.Txn.Cause = b.HoldCause(t.causes.at(l.cause))
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
	switch {
	case w.size > mediumQuery:
		t.long.put(w.slot())
	case w.size > inlineQuery:
		t.medium.put(w.slot())
	}
	if w.live != none {
		l := t.live.at(w.live)
		t.drop(l.identity)
		t.drop(l.doubt)
		if l.cause != none {
			t.causes.put(l.cause)
		}
		t.live.put(w.live)
	}
	t.slots.put(i)
	t.Stats.Pending--
}

func (t *Table) mask() uint32 { return uint32(len(t.buckets) - 1) }

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

func (t *Table) pastHash(hash uint32, question []byte) uint64 {
	return questionHash(question, t.seed[0]^uint64(hash)) | 1
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
