package decode

import (
	"encoding/binary"
	"hash/maphash"
	"strings"
	"unsafe"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/source"
)

const (
	// maxLater is how many octets of a stream may wait behind a hole: one
	// message of the greatest length.
	maxLater = prefix + 65535
	// maxSpans bounds the work of sorting them in.
	maxSpans = 128
	// window is how far from the octet that comes next a segment may lie.
	// Streams of DNS do not have more in flight.
	window = 1 << 20
	// patience is for how long a hole may fill, in ns. A sender repeats what
	// was lost within a second or so (RFC 6298).
	patience = 3e9
	// idle is after how long a silent stream is forgotten, in ns. It goes on
	// as one without a SYN.
	idle = 120e9
)

// Lists of streams. What is evicted first are streams that gave no message.
const (
	listFresh         = iota // gave no message, holds nothing
	listUseful               // gave a message, holds nothing
	listFreshPartial         // gave no message, holds the start of one
	listUsefulPartial        // gave a message, holds the start of another
	listGapped               // holds octets behind a hole
)

// streams is the table of TCP streams, one for each direction of a connection.
type streams struct {
	table[stream]
	octets     octets
	origins    slab[origin]
	forOrigins budget
	overdue    bool // a hole has waited for too long
	replay     origin
}

// stream is what must be remembered of a direction of a connection. One whose
// segments end where messages do holds no octets.
type stream struct {
	last   int64  // time of the last segment, ns
	first  uint32 // sequence number of the octet behind the SYN
	next   uint32 // sequence number of the octet that comes next
	msg    run    // the start of a message, its prefix included
	origin uint32 // of msg, 0 when there is nothing to tell
	later  uint32 // list of spans behind a hole
	laterN uint32 // octets in them
	spans  uint16 // how many they are
	flags  uint8
}

// Flags of a stream.
const (
	synced  = 1 << iota // the octet at next begins a message or continues msg
	guessed             // that is a guess, not counted from a SYN
	yielded             // it gave a message
	muted               // it is not DNS
	ended               // a FIN or RST was seen
)

// origin is the frame that octets came from.
type origin struct {
	refs          int
	frame         source.Frame // without Data; its Iface is the decoder's
	p             packet
	sender, owner event.Identity
}

func (s *streams) init(bytes int) {
	s.size = int(unsafe.Sizeof(entry[stream]{}))
	s.budget.max = bytes / 2
	s.octets.init(bytes / 4)
	s.forOrigins.max = bytes / 4
}

// segment takes a segment, of whose payload rest octets were on the wire. On a
// port that is not one of DNS, a stream must begin with a message.
func (d *Decoder) segment(seq uint32, flags uint8, data []byte, rest int, dns bool) {
	s := &d.streams
	p := &d.p
	h := d.streamHash(&p.src, &p.dst, p.sport, p.dport)
	i := s.find(h)
	if i == 0 && !dns && !plausible(data, false) {
		return
	}
	switch {
	case flags&tcpRST != 0:
		if i != 0 {
			d.reset(i, seq)
		}
		return
	case flags&tcpSYN != 0:
		seq++ // SYN takes a sequence number; data may follow (RFC 7413)
		if i != 0 && !s.at(i).repeats(seq) {
			d.finish(i)
			s.remove(i)
			i = 0
		}
	case i == 0 && rest == 0:
		return
	}
	if i == 0 {
		if i = d.addStream(h); i == 0 {
			d.stats.TCPMemory++
			return
		}
		g := s.at(i)
		g.next = seq
		if flags&tcpSYN != 0 {
			g.first, g.flags = seq, synced
		} else {
			d.stats.TCPMidstream++
		}
	}
	g := s.at(i)
	if g.later != 0 && expired(d.f.Time, s.origins.at(s.octets.spans.at(g.later).origin).frame.Time, patience) {
		d.skip(i, g)
	}
	g.last = d.f.Time
	if rest > 0 {
		d.arrive(i, g, seq, data, rest)
	}
	if flags&tcpFIN != 0 && g.next == seq+uint32(rest) {
		// Its place in the table stays for a while, so that a repeated segment
		// is known as such.
		d.finish(i)
	}
	s.touch(i, g.list())
}

// repeats reports whether a SYN, after which seq comes, is that of the stream.
func (g *stream) repeats(seq uint32) bool {
	return seq == g.first && g.flags&ended == 0
}

func (g *stream) list() uint8 {
	switch {
	case g.later != 0:
		return listGapped
	case g.msg.n != 0 && g.flags&yielded != 0:
		return listUsefulPartial
	case g.msg.n != 0:
		return listFreshPartial
	case g.flags&yielded != 0:
		return listUseful
	default:
		return listFresh
	}
}

// streamHash: the cookie keeps apart the two ends of a conversation inside one
// host, which are seen one after the other.
func (d *Decoder) streamHash(src, dst *address, sport, dport uint16) uint64 {
	var k [45]byte
	src.put(k[:])
	dst.put(k[16:])
	binary.LittleEndian.PutUint16(k[32:], sport)
	binary.LittleEndian.PutUint16(k[34:], dport)
	binary.LittleEndian.PutUint64(k[36:], d.f.Cookie)
	k[44] = uint8(d.tunnels)
	return maphash.Bytes(d.seed, k[:])
}

// arrive puts a segment with payload in its place.
func (d *Decoder) arrive(i uint32, g *stream, seq uint32, data []byte, rest int) {
	for {
		ahead := int32(seq - g.next)
		switch {
		case ahead > window || ahead < -window:
			if g.msg.n != 0 || g.later != 0 || g.flags&synced != 0 && !plausible(data, false) {
				d.stats.TCPOutOfWindow++
				return
			}
			// The SYN of a new connection was missed, or much was lost.
			d.restart(g, seq)
			continue
		case ahead < 0:
			old := min(int(-ahead), len(data))
			d.compare(g, int(-ahead), data[:old])
			if int(-ahead) >= rest {
				d.stats.TCPRetransmitted++
				return
			}
			seq, data, rest = g.next, data[old:], rest+int(ahead)
			continue
		case ahead > 0 && g.flags&synced == 0 && g.later == 0:
			// Nothing is known that the hole could complete.
			d.dropMessage(g)
			g.next = seq
			continue
		case ahead > 0:
			if !d.wait(g, seq, data) {
				d.skip(i, g)
				continue
			}
			return
		}
		d.feed(i, g, data, 0)
		if rest > len(data) {
			d.cut(g, rest-len(data))
		}
		d.catchUp(i, g)
		return
	}
}

// compare counts octets that were seen before with other values, as far as they
// are still known. data begins back octets before next.
func (d *Decoder) compare(g *stream, back int, data []byte) {
	n := int(g.msg.n)
	if back > n {
		data = data[min(back-n, len(data)):]
		back = n
	}
	if len(data) > 0 && !d.streams.octets.equal(&g.msg, uint32(n-back), data) {
		d.stats.TCPOverlapConflict++
	}
}

// wait keeps a segment behind a hole. It returns false when the hole must be
// given up first.
func (d *Decoder) wait(g *stream, seq uint32, data []byte) bool {
	s := &d.streams
	if int(g.laterN)+len(data) > maxLater || g.spans >= maxSpans {
		if g.later == 0 { // a segment that exceeds the bound by itself
			d.restart(g, seq)
		}
		return false
	}
	d.stats.TCPOutOfOrder++
	o := d.newOrigin(g)
	for o != 0 {
		r := s.octets.insert(&g.later, seq, data, o)
		g.laterN += uint32(r.added)
		g.spans += uint16(r.pieces)
		s.origins.at(o).refs += r.pieces
		if r.conflict {
			d.stats.TCPOverlapConflict++
		}
		if !r.full {
			break
		}
		if !d.evictOctets(g) {
			d.stats.TCPMemory++
			break
		}
	}
	d.releaseOrigin(o)
	if g.later == 0 { // no memory for any of it
		d.restart(g, seq)
		return false
	}
	return true
}

// restart gives up what lies before seq.
func (d *Decoder) restart(g *stream, seq uint32) {
	d.stats.TCPGap++
	d.dropMessage(g)
	g.next = seq
	g.flags &^= synced
}

// catchUp takes what waited and now follows.
func (d *Decoder) catchUp(i uint32, g *stream) {
	s := &d.streams
	for g.later != 0 {
		if p := s.octets.spans.at(g.later); int32(p.off-g.next) > 0 {
			return
		}
		p := s.octets.pop(&g.later)
		g.laterN -= p.n
		g.spans--
		d.scratch = s.octets.appendTo(d.scratch[:0], &p.run)
		s.octets.release(&p.run)
		data := d.b.Hold(d.scratch)
		if old := int(g.next - p.off); old < len(data) {
			d.compare(g, old, data[:old])
			d.feed(i, g, data[old:], p.origin)
		} else {
			d.compare(g, old, data)
		}
		d.releaseOrigin(p.origin)
	}
}

// skip gives up the hole before the first span.
func (d *Decoder) skip(i uint32, g *stream) {
	if g.later == 0 {
		return
	}
	d.stats.TCPGap++
	d.dropMessage(g)
	g.flags &^= synced
	g.next = d.streams.octets.spans.at(g.later).off
	d.catchUp(i, g)
}

// dropMessage gives up the message that was begun.
func (d *Decoder) dropMessage(g *stream) {
	if g.msg.n == 0 {
		return
	}
	d.stats.TCPIncomplete++
	d.clear(g)
}

// clear forgets the octets of the message that was begun.
func (d *Decoder) clear(g *stream) {
	d.streams.octets.release(&g.msg)
	d.releaseOrigin(g.origin)
	g.origin = 0
}

// cut is called when the snaplen hid n octets after those that were fed.
func (d *Decoder) cut(g *stream, n int) {
	d.stats.SnapTruncated++
	if g.msg.n > prefix && g.flags&synced != 0 {
		d.scratch = d.streams.octets.appendTo(d.scratch[:0], &g.msg)
		sender, owner := d.sentBy(g.origin)
		missing := prefix + int(binary.BigEndian.Uint16(d.scratch)) - len(d.scratch)
		d.deliver(g, d.b.Hold(d.scratch[prefix:]), missing, sender, owner)
	}
	d.clear(g)
	g.next += uint32(n)
	g.flags &^= synced
}

// feed takes the octets at next, which live as long as the batch. They came
// from the frame at hand, or from origin o when that is not 0.
func (d *Decoder) feed(i uint32, g *stream, data []byte, o uint32) {
	s := &d.streams
	g.next += uint32(len(data))
	for len(data) > 0 {
		if g.flags&synced == 0 && g.msg.n == 0 {
			if data = d.resync(g, data); len(data) == 0 {
				return
			}
		}
		if g.msg.n == 0 && len(data) >= prefix {
			n := prefix + int(binary.BigEndian.Uint16(data))
			if len(data) >= judge && !g.credible(data, endsMessage(data, n)) {
				d.lose(g)
				continue
			}
			if n <= len(data) && g.flags&synced != 0 {
				if n == prefix {
					d.stats.TCPZeroLength++
				} else {
					sender, owner := d.f.Sender, d.f.Owner
					if o != 0 {
						sender, owner = d.sentBy(o)
					}
					d.deliver(g, data[prefix:n:n], 0, sender, owner)
				}
				data = data[n:]
				continue
			}
		}
		if g.msg.n < prefix {
			if g.msg.n == 0 {
				d.begin(g, o)
			}
			take := min(prefix-int(g.msg.n), len(data))
			if !d.keep(g, data[:take]) {
				return
			}
			data = data[take:]
			if g.msg.n == prefix && binary.BigEndian.Uint16(s.octets.blocks.at(g.msg.first).b[:]) == 0 {
				d.stats.TCPZeroLength++
				d.clear(g)
			}
			continue
		}
		before := int(g.msg.n)
		n := prefix + int(binary.BigEndian.Uint16(s.octets.blocks.at(g.msg.first).b[:]))
		if before < judge && before+len(data) >= judge && n >= judge {
			// Now one can tell. The head fits into the first block.
			var head [judge]byte
			copy(head[:], s.octets.blocks.at(g.msg.first).b[:before])
			copy(head[before:], data)
			if g.flags&synced == 0 {
				if !plausible(head[:], false) {
					d.clear(g)
					continue
				}
				g.flags |= synced | guessed
			} else if !g.credible(head[:], endsMessage(data, n-before)) {
				d.clear(g)
				d.lose(g)
				continue
			}
		}
		if n > before+len(data) {
			d.keep(g, data)
			return
		}
		d.scratch = s.octets.appendTo(d.scratch[:0], &g.msg)
		d.scratch = append(d.scratch, data[:n-before]...)
		data = data[n-before:]
		if g.flags&synced != 0 {
			sender, owner := d.sentBy(g.origin)
			d.deliver(g, d.b.Hold(d.scratch[prefix:]), 0, sender, owner)
		}
		d.clear(g)
	}
}

// credible judges the first judge octets of what should be a message, where
// there is doubt: at the start of a stream, and where its place was guessed.
// whole is what endsMessage says, which is evidence of its own.
func (g *stream) credible(head []byte, whole bool) bool {
	if g.flags&guessed == 0 && binary.BigEndian.Uint16(head) < dnswire.HeaderLen {
		return true // a message without a header, which no other protocol begins like
	}
	return g.flags&(yielded|guessed) == yielded || whole ||
		headerFits(head[prefix:], int(binary.BigEndian.Uint16(head)))
}

// endsMessage reports whether octet n of data, where a message is said to end, is
// such a place: the end, or the start of the next message.
func endsMessage(data []byte, n int) bool {
	return n == len(data) || n+judge <= len(data) && plausible(data[n:], false)
}

// lose is called when a stream at its supposed start of a message is not DNS.
func (d *Decoder) lose(g *stream) {
	if g.flags&(yielded|guessed) == 0 {
		d.stats.NotDNS++
		g.flags |= muted
	}
	g.flags &^= synced
}

// resync finds the first message in octets whose place in the stream is not
// known. It returns nil, or octets that begin with a message or might.
func (d *Decoder) resync(g *stream, data []byte) []byte {
	if g.flags&muted != 0 {
		// Muted for good would be a way to hide.
		if !plausible(data, false) {
			return nil
		}
		g.flags &^= muted
	}
	if len(data) < judge {
		if g.flags&muted == 0 && (len(data) < prefix || binary.BigEndian.Uint16(data) >= dnswire.HeaderLen) {
			return data // too short to tell
		}
		return nil
	}
	for at := 0; at+judge <= len(data); at++ {
		if plausible(data[at:], at > 0) {
			d.stats.TCPResync++
			g.flags |= synced | guessed
			return data[at:]
		}
	}
	return nil
}

// begin notes where the first octets of a message come from.
func (d *Decoder) begin(g *stream, o uint32) {
	switch {
	case o != 0:
		d.streams.origins.at(o).refs++
		g.origin = o
	case d.f.Sender != nil || d.f.Owner != nil:
		g.origin = d.newOrigin(g)
	}
}

// keep appends to the message that was begun. When no memory is left for it, it
// is given up.
func (d *Decoder) keep(g *stream, p []byte) bool {
	for !d.streams.octets.extend(&g.msg, p) {
		if !d.evictOctets(g) {
			d.stats.TCPMemory++
			d.dropMessage(g)
			g.flags &^= synced
			return false
		}
	}
	return true
}

// deliver emits a message; see message.
func (d *Decoder) deliver(g *stream, raw []byte, missing int, sender, owner *event.Identity) {
	d.message(raw, missing, sender, owner)
	g.flags |= yielded
}

// sentBy returns the identities of an origin, held by the batch.
func (d *Decoder) sentBy(o uint32) (sender, owner *event.Identity) {
	if o == 0 {
		return nil, nil
	}
	f := &d.streams.origins.at(o).frame
	return d.hold(f.Sender), d.hold(f.Owner)
}

// newOrigin remembers the frame at hand for g, or returns 0 when memory is
// spent.
func (d *Decoder) newOrigin(g *stream) uint32 {
	s := &d.streams
	i := s.origins.alloc(&s.forOrigins, int(unsafe.Sizeof(origin{})))
	for i == 0 {
		if !d.evictOctets(g) {
			d.stats.TCPMemory++
			return 0
		}
		i = s.origins.alloc(&s.forOrigins, int(unsafe.Sizeof(origin{})))
	}
	o := s.origins.at(i)
	o.refs, o.frame, o.p = 1, *d.f, d.p
	o.frame.Data, o.frame.Iface = nil, d.iface(o.frame.Iface)
	o.frame.Other, o.frame.Receiver = nil, nil // not worth their memory
	if o.frame.Sender != nil {
		o.sender = *o.frame.Sender
		o.frame.Sender = &o.sender
	}
	if o.frame.Owner != nil {
		o.owner = *o.frame.Owner
		o.frame.Owner = &o.owner
	}
	return i
}

// maxIfaces is how many names of interfaces are remembered. Frames of others
// lose theirs when they have to wait.
const maxIfaces = 64

// iface returns a copy of a name that outlives the frame.
func (d *Decoder) iface(name string) string {
	for _, known := range d.ifaces {
		if known == name {
			return known
		}
	}
	if name == "" || len(d.ifaces) == maxIfaces {
		return ""
	}
	name = strings.Clone(name)
	d.ifaces = append(d.ifaces, name)
	return name
}

func (d *Decoder) releaseOrigin(i uint32) {
	if i == 0 {
		return
	}
	o := d.streams.origins.at(i)
	if o.refs--; o.refs == 0 {
		d.streams.origins.release(i)
	}
}

// addStream makes a stream, at the cost of another one when memory is spent.
func (d *Decoder) addStream(h uint64) uint32 {
	s := &d.streams
	for {
		if i := s.add(h, listFresh); i != 0 {
			return i
		}
		victim := uint32(0)
		for _, l := range [...]uint8{listFresh, listFreshPartial, listGapped, listUseful, listUsefulPartial} {
			if victim = s.oldest(l); victim != 0 {
				break
			}
		}
		if victim == 0 {
			return 0
		}
		d.evict(victim)
	}
}

// evictOctets drops the stream that deserves its octets least, but not g.
func (d *Decoder) evictOctets(g *stream) bool {
	s := &d.streams
	for _, l := range [...]uint8{listFreshPartial, listGapped, listUsefulPartial} {
		victim := s.oldest(l)
		if victim != 0 && s.at(victim) == g {
			victim = s.entries.at(victim).newer
		}
		if victim != 0 {
			d.evict(victim)
			return true
		}
	}
	return false
}

func (d *Decoder) evict(i uint32) {
	d.stats.TCPEvicted++
	d.forgetStream(i)
}

// forgetStream drops a stream with all it holds.
func (d *Decoder) forgetStream(i uint32) {
	s := &d.streams
	g := s.at(i)
	d.dropMessage(g)
	for g.later != 0 {
		p := s.octets.pop(&g.later)
		s.octets.release(&p.run)
		d.releaseOrigin(p.origin)
	}
	s.remove(i)
}

// reset takes a RST, when it is in the window (RFC 5961 section 3.2 is
// stricter, but we may have missed segments).
func (d *Decoder) reset(i uint32, seq uint32) {
	s := &d.streams
	g := s.at(i)
	if ahead := int32(seq - g.next); ahead < -1 || ahead > maxLater {
		d.stats.TCPOutOfWindow++
		return
	}
	d.finish(i)
	s.touch(i, g.list())
}

// finish takes what can still be had of a stream.
func (d *Decoder) finish(i uint32) {
	g := d.streams.at(i)
	for g.later != 0 {
		d.skip(i, g)
	}
	d.dropMessage(g)
	g.flags = g.flags&^yielded | ended
}

// expireStreams drops streams that nothing came for in a while.
func (d *Decoder) expireStreams(now int64) {
	s := &d.streams
	for l := uint8(0); l < listGapped; l++ {
		for i := s.oldest(l); i != 0 && expired(now, s.at(i).last, idle); i = s.oldest(l) {
			d.forgetStream(i)
		}
	}
	if i := s.oldest(listGapped); i != 0 && expired(now, s.at(i).last, patience) {
		s.overdue = true // there is a batch for the events at the next frame
	}
}

// acknowledged gives up holes of the stream that the packet at hand answers, when
// they lie before ack: the receiver has what we missed, so it will not come again.
func (d *Decoder) acknowledged(ack uint32) {
	s, p := &d.streams, &d.p
	i := s.find(d.streamHash(&p.dst, &p.src, p.dport, p.sport))
	if i == 0 {
		return
	}
	g := s.at(i)
	if g.later == 0 || int32(ack-s.octets.spans.at(g.later).off) < 0 {
		return
	}
	f, at := d.f, d.p
	for g.later != 0 && int32(ack-s.octets.spans.at(g.later).off) >= 0 {
		d.abandon(i, g)
	}
	d.f, d.p = f, at
	s.touch(i, g.list())
}

// giveUp skips the holes of streams that nothing came for since patience ran
// out, or of all streams.
func (d *Decoder) giveUp(b *event.Batch, all bool) {
	s := &d.streams
	s.overdue = false
	d.b = b
	for i := s.oldest(listGapped); i != 0; i = s.oldest(listGapped) {
		g := s.at(i)
		if !all && !expired(d.clock.now, g.last, patience) {
			break
		}
		for g.later != 0 {
			d.abandon(i, g)
		}
		s.touch(i, g.list())
	}
}

// abandon skips the first hole of a stream that no packet at hand belongs to.
// The events are those of the packet that waited behind it.
func (d *Decoder) abandon(i uint32, g *stream) {
	s := &d.streams
	s.replay = *s.origins.at(s.octets.spans.at(g.later).origin)
	d.f, d.p = &s.replay.frame, s.replay.p
	d.skip(i, g)
}
