package decode

import (
	"bytes"
	"net/netip"
	"slices"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/source"
)

// streamKey is one direction of a connection. The cookie keeps apart the two
// ends of a conversation inside the host.
type streamKey struct {
	src, dst         netip.Addr
	cookie           uint64
	srcPort, dstPort uint16
}

// stream is what must be remembered of one direction. One whose segments begin
// and end with messages holds no buffer.
type stream struct {
	key          streamKey
	next         uint32 // sequence number of the octet that comes next
	synced       bool   // the octet at next begins a message, or continues buf
	yielded      bool   // it has given a message
	muted        bool   // it is not DNS
	last         int64  // time of the last segment
	buf          []byte // start of a message whose end is still to come
	sender       event.Identity
	later        []segment // behind a gap, ascending
	laterBytes   int
	newer, older *stream // neighbours in its list
}

// segment waits behind a gap.
type segment struct {
	seq    uint32
	data   []byte
	sender event.Identity
	meta   event.PktMeta
	time   int64
}

const (
	// streamBytes is what a stream costs beside its buffers, map entry included.
	streamBytes = 512
	// maxLater bounds what waits behind a gap: more than one message of the
	// greatest length need not wait.
	maxLater = 64<<10 + prefix
	// maxSegments bounds the work of sorting them in.
	maxSegments = 512
	// patience is for how long a gap may fill, in ns. Retransmissions come
	// within a second or so (RFC 6298).
	patience = 3_000_000_000
	// idle is after how long a silent stream is forgotten, in ns.
	idle = 60_000_000_000
)

// streams is the table of a lane's streams. Its memory is bounded: streams that
// never gave a message go first, so a flood of half-open connections does not
// push out the genuine ones.
type streams struct {
	limit   int
	used    int
	table   map[streamKey]*stream
	fresh   streamList // never gave a message
	useful  streamList
	spare   []*stream
	buffers [][]byte
}

// streamList is in order of the last segment.
type streamList struct{ oldest, newest *stream }

func (l *streamList) remove(s *stream) {
	if s.older == nil {
		l.oldest = s.newer
	} else {
		s.older.newer = s.newer
	}
	if s.newer == nil {
		l.newest = s.older
	} else {
		s.newer.older = s.older
	}
	s.newer, s.older = nil, nil
}

func (l *streamList) add(s *stream) {
	if s.older = l.newest; s.older == nil {
		l.oldest = s
	} else {
		s.older.newer = s
	}
	l.newest = s
}

func (t *streams) init(limit int) {
	t.limit = limit
	t.table = map[streamKey]*stream{}
}

func (t *streams) list(s *stream) *streamList {
	if s.yielded {
		return &t.useful
	}
	return &t.fresh
}

func (t *streams) get(key streamKey, st *Stats) *stream {
	for t.used+streamBytes > t.limit {
		victim := t.fresh.oldest
		if victim == nil {
			victim = t.useful.oldest
		}
		if victim == nil {
			break
		}
		st.TCPEvicted++
		t.drop(victim)
	}
	var s *stream
	if n := len(t.spare); n > 0 {
		s, t.spare = t.spare[n-1], t.spare[:n-1]
	} else {
		s = &stream{}
	}
	later := s.later
	*s = stream{key: key, later: later[:0]}
	t.table[key] = s
	t.fresh.add(s)
	t.used += streamBytes
	return s
}

func (t *streams) drop(s *stream) {
	t.list(s).remove(s)
	delete(t.table, s.key)
	t.release(s)
	t.used -= streamBytes
	if len(t.spare) < 1024 {
		t.spare = append(t.spare, s)
	}
}

// release gives back the buffers of a stream.
func (t *streams) release(s *stream) {
	t.keep(s, nil)
	for i := range s.later {
		t.used -= cap(s.later[i].data)
		s.later[i].data = nil
	}
	s.later, s.laterBytes = s.later[:0], 0
}

// keep makes rest the start of the message that is to come.
func (t *streams) keep(s *stream, rest []byte) {
	if len(rest) == 0 {
		if s.buf != nil {
			t.used -= cap(s.buf)
			if cap(s.buf) <= 4096 && len(t.buffers) < 64 {
				t.buffers = append(t.buffers, s.buf[:0])
			}
			s.buf = nil
		}
		return
	}
	if s.buf == nil {
		if n := len(t.buffers); n > 0 {
			s.buf, t.buffers = t.buffers[n-1], t.buffers[:n-1]
			t.used += cap(s.buf)
		}
	}
	before := cap(s.buf)
	s.buf = append(s.buf[:0], rest...)
	t.used += cap(s.buf) - before
}

// segment takes a TCP segment. Of a port that is not of DNS, a stream must begin
// with a message.
func (d *Decoder) segment(p *packet, seq uint32, flags uint8, data []byte, dns bool) {
	t := &d.streams
	key := streamKey{p.meta.SrcIP, p.meta.DstIP, p.frame.Cookie, p.meta.SrcPort, p.meta.DstPort}
	s := t.table[key]
	if s == nil && !dns && !plausible(data) {
		return
	}
	if flags&tcpRST != 0 {
		if s != nil {
			d.end(p, s)
		}
		return
	}
	if flags&tcpSYN != 0 {
		seq++ // SYN takes a sequence number; data may follow (RFC 7413)
		if s != nil && s.next != seq {
			d.end(p, s)
			s = nil
		}
		if s == nil {
			s = t.get(key, &d.stats)
			s.next, s.synced = seq, true
		}
	}
	if s == nil {
		if len(data) == 0 {
			return
		}
		s = t.get(key, &d.stats)
		s.next = seq
		// The middle of a connection: it may begin with a message.
		s.synced = len(data) < prefix+2 || plausible(data)
	}
	s.last = p.frame.Time
	l := t.list(s)
	l.remove(s)
	l.add(s)
	if s.muted {
		d.stats.TCPMuted++
		data = nil
	}
	if len(s.later) > 0 && s.later[0].time+patience < p.frame.Time {
		d.skipGap(p, s)
	}
	if len(data) > 0 {
		d.arrive(p, s, seq, data)
	}
	if flags&tcpFIN != 0 {
		d.end(p, s)
	}
}

// arrive puts a segment in its place.
func (d *Decoder) arrive(p *packet, s *stream, seq uint32, data []byte) {
	ahead := int32(seq - s.next)
	if ahead < 0 {
		old := min(int(-ahead), len(data))
		d.compare(s, int(-ahead), data[:old])
		if data = data[old:]; len(data) == 0 {
			return
		}
		seq, ahead = s.next, 0
	}
	if ahead > 0 {
		d.later(p, s, seq, data)
		return
	}
	d.advance(p, s, data, p.frame.Sender, false)
	d.catchUp(p, s)
}

// compare counts retransmissions that say something else than before; what came
// first stays. back is how far before next the data begins.
func (d *Decoder) compare(s *stream, back int, data []byte) {
	from := len(s.buf) - back
	if from < 0 {
		skip := min(-from, len(data))
		data, from = data[skip:], 0
	}
	if n := min(len(data), len(s.buf)-from); n > 0 && !bytes.Equal(s.buf[from:from+n], data[:n]) {
		d.stats.TCPOverlap++
	}
}

// later keeps a segment that lies behind a gap.
func (d *Decoder) later(p *packet, s *stream, seq uint32, data []byte) {
	t := &d.streams
	if int64(seq-s.next)+int64(len(data)) > 1<<20 {
		d.stats.TCPOutOfWindow++
		return
	}
	i, found := slices.BinarySearchFunc(s.later, seq, func(g segment, seq uint32) int { return int(int32(g.seq - seq)) })
	if found && len(s.later[i].data) >= len(data) {
		if !bytes.Equal(s.later[i].data[:len(data)], data) {
			d.stats.TCPOverlap++
		}
		return
	}
	if s.laterBytes+len(data) > maxLater || len(s.later) == maxSegments {
		d.skipGap(p, s)
		d.arrive(p, s, seq, data)
		return
	}
	g := segment{seq: seq, data: bytes.Clone(data), meta: p.meta, time: p.frame.Time}
	if p.frame.Sender != nil {
		g.sender = *p.frame.Sender
	}
	t.used += cap(g.data)
	s.laterBytes += len(data)
	s.later = slices.Insert(s.later, i, g)
}

// catchUp takes segments that waited and now fit.
func (d *Decoder) catchUp(p *packet, s *stream) {
	for len(s.later) > 0 && int32(s.later[0].seq-s.next) <= 0 {
		g := s.pop()
		d.streams.used -= cap(g.data)
		if old := int(s.next - g.seq); old < len(g.data) {
			d.compare(s, old, g.data[:old])
			d.advance(p, s, g.data[old:], &g.sender, true)
		} else {
			d.compare(s, old, g.data)
		}
	}
}

func (s *stream) pop() segment {
	g := s.later[0]
	s.later = slices.Delete(s.later, 0, 1)
	s.laterBytes -= len(g.data)
	return g
}

// skipGap gives up the octets before the first segment that waits.
func (d *Decoder) skipGap(p *packet, s *stream) {
	if len(s.later) == 0 {
		return
	}
	d.stats.TCPGap++
	if len(s.buf) > 0 {
		d.stats.TCPIncomplete++
		d.streams.keep(s, nil)
	}
	s.next = s.later[0].seq
	s.synced = false
	d.catchUp(p, s)
}

// advance takes the octets at s.next. transient says that they do not live as
// long as the batch.
func (d *Decoder) advance(p *packet, s *stream, data []byte, sender *event.Identity, transient bool) {
	s.next += uint32(len(data))
	if len(s.buf) > 0 {
		// The message began with an earlier segment, and so did its sender.
		before := cap(s.buf)
		s.buf = append(s.buf, data...)
		d.streams.used += cap(s.buf) - before
		data, transient = s.buf, true
		if s.sender.Known() {
			sender = &s.sender
		}
	}
	if !s.yielded && otherProtocol(data) {
		d.stats.NotDNS++
		s.muted = true
		d.streams.release(s)
		return
	}
	if !s.synced {
		data = resync(data)
		s.synced = len(data) > 0
	}
	for len(data) >= prefix {
		length := int(be.Uint16(data))
		if length == 0 {
			d.stats.TCPZeroLength++
			data = data[prefix:]
			continue
		}
		if len(data) < prefix+length {
			break
		}
		d.streamMessage(p, s, data[prefix:prefix+length], sender, transient)
		data = data[prefix+length:]
	}
	if len(data) > 0 && sender != &s.sender {
		s.sender = event.Identity{}
		if sender != nil {
			s.sender = *sender
		}
	}
	if len(data) > 0 && len(s.buf) > 0 && &data[0] == &s.buf[0] {
		return // nothing was taken from the buffer
	}
	d.streams.keep(s, data)
}

// resync finds the first message in octets whose place in the stream is not
// known.
func resync(data []byte) []byte {
	for i := range data {
		if plausible(data[i:]) {
			return data[i:]
		}
	}
	return nil
}

func (d *Decoder) streamMessage(p *packet, s *stream, raw []byte, sender *event.Identity, transient bool) {
	if transient {
		raw = p.batch.Hold(raw)
		if sender != nil && sender.Known() {
			sender = p.batch.HoldIdentity(sender)
		} else {
			sender = nil
		}
	}
	d.message(p, raw, sender)
	if !s.yielded {
		d.streams.fresh.remove(s)
		s.yielded = true
		d.streams.useful.add(s)
	}
}

// end takes what can still be had of a stream and forgets it.
func (d *Decoder) end(p *packet, s *stream) {
	for len(s.later) > 0 {
		d.skipGap(p, s)
	}
	if len(s.buf) > 0 {
		d.stats.TCPIncomplete++
	}
	d.streams.drop(s)
}

// expire gives up on gaps and streams that nothing comes for any more.
func (t *streams) expire(now int64, st *Stats) {
	for _, l := range [...]*streamList{&t.fresh, &t.useful} {
		for l.oldest != nil && l.oldest.last+idle <= now {
			if len(l.oldest.buf) > 0 || len(l.oldest.later) > 0 {
				st.TCPIncomplete++
			}
			t.drop(l.oldest)
		}
	}
}

// flush takes what can still be had of all streams.
func (t *streams) flush(d *Decoder, b *event.Batch) {
	for _, l := range [...]*streamList{&t.fresh, &t.useful} {
		for l.oldest != nil {
			s := l.oldest
			if len(s.later) == 0 {
				if len(s.buf) > 0 {
					d.stats.TCPIncomplete++
				}
				t.drop(s)
				continue
			}
			last := s.later[len(s.later)-1]
			d.end(&packet{frame: &source.Frame{Time: last.time, Cookie: s.key.cookie}, batch: b, meta: last.meta}, s)
		}
	}
}
