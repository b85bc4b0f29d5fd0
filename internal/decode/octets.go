package decode

import (
	"bytes"
	"unsafe"
)

const blockSize = 252

// block is a piece of a run of octets.
type block struct {
	next uint32
	b    [blockSize]byte
}

// run is a chain of blocks, all full but the last.
type run struct {
	first, last uint32
	n           uint32 // octets
}

// span is a run with a place in a stream or datagram, and a link of a list in
// the order of places, in which spans do not overlap.
type span struct {
	run
	off    uint32 // sequence number or offset of the first octet
	next   uint32
	origin uint32 // where a stream's octets came from
}

// octets is bounded memory for octets that wait for others. Slabs give nothing
// back, so each has a budget of its own: no input can make blocks take the place
// of spans for good.
type octets struct {
	blocks    slab[block]
	spans     slab[span]
	forBlocks budget
	forSpans  budget
}

func (o *octets) init(bytes int) {
	o.forSpans.max = bytes / 8
	o.forBlocks.max = bytes - bytes/8
}

// extend appends p to a run. It does nothing and returns false when memory is
// spent.
func (o *octets) extend(r *run, p []byte) bool {
	old := *r
	for len(p) > 0 {
		fill := r.n % blockSize
		if fill == 0 {
			i := o.blocks.alloc(&o.forBlocks, int(unsafe.Sizeof(block{})))
			if i == 0 {
				o.cut(r, old)
				return false
			}
			if o.blocks.at(i).next = 0; r.last != 0 {
				o.blocks.at(r.last).next = i
			} else {
				r.first = i
			}
			r.last = i
		}
		n := copy(o.blocks.at(r.last).b[fill:], p)
		r.n += uint32(n)
		p = p[n:]
	}
	return true
}

// cut takes r back to what it was.
func (o *octets) cut(r *run, old run) {
	if old.last == 0 {
		o.release(r)
		return
	}
	tail := run{first: o.blocks.at(old.last).next}
	o.blocks.at(old.last).next = 0
	o.release(&tail)
	*r = old
}

// release empties a run.
func (o *octets) release(r *run) {
	for i := r.first; i != 0; {
		next := o.blocks.at(i).next
		o.blocks.release(i)
		i = next
	}
	*r = run{}
}

// appendTo appends the octets of r to dst.
func (o *octets) appendTo(dst []byte, r *run) []byte {
	left := int(r.n)
	for i := r.first; left > 0; {
		b := o.blocks.at(i)
		n := min(left, blockSize)
		dst = append(dst, b.b[:n]...)
		left -= n
		i = b.next
	}
	return dst
}

// equal reports whether r holds p from its octet at on.
func (o *octets) equal(r *run, at uint32, p []byte) bool {
	i := r.first
	for ; at >= blockSize; at -= blockSize {
		i = o.blocks.at(i).next
	}
	for len(p) > 0 {
		b := o.blocks.at(i)
		n := min(len(p), blockSize-int(at))
		if !bytes.Equal(b.b[at:int(at)+n], p[:n]) {
			return false
		}
		p = p[n:]
		at, i = 0, b.next
	}
	return true
}

// inserted is what insert found.
type inserted struct {
	added    int  // octets that are new
	pieces   int  // spans that were made
	conflict bool // octets that were there already have other values
	full     bool // memory is spent; some octets may be missing
}

// insert adds p at off to a list of spans. What is there already stays.
func (o *octets) insert(head *uint32, off uint32, p []byte, origin uint32) (r inserted) {
	at := head
	for len(p) > 0 {
		n := len(p)
		if *at != 0 {
			s := o.spans.at(*at)
			if int32(s.off+s.n-off) <= 0 {
				at = &s.next
				continue
			}
			if ahead := int32(s.off - off); ahead > 0 {
				n = min(n, int(ahead))
			} else {
				n = min(n, int(s.off+s.n-off))
				if !o.equal(&s.run, off-s.off, p[:n]) {
					r.conflict = true
				}
				off, p = off+uint32(n), p[n:]
				continue
			}
		}
		i := o.spans.alloc(&o.forSpans, int(unsafe.Sizeof(span{})))
		if i == 0 {
			r.full = true
			return r
		}
		s := o.spans.at(i)
		*s = span{off: off, next: *at, origin: origin}
		if !o.extend(&s.run, p[:n]) {
			o.spans.release(i)
			r.full = true
			return r
		}
		*at = i
		at = &s.next
		r.added += n
		r.pieces++
		off, p = off+uint32(n), p[n:]
	}
	return r
}

// pop takes the first span out of a list. Its run is the caller's.
func (o *octets) pop(head *uint32) span {
	i := *head
	s := *o.spans.at(i)
	o.spans.release(i)
	*head = s.next
	return s
}

// drop empties a list.
func (o *octets) drop(head *uint32) {
	for *head != 0 {
		s := o.pop(head)
		o.release(&s.run)
	}
}
