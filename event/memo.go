package event

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"

	"github.com/dnshark-io/dnshark/dnswire"
)

// Memo remembers the JSON of messages. DNS repeats itself: the same answer to the
// same question goes to one client after the other with another id and, from a
// cache, with other TTLs. What differs so is written anew, all else is copied.
//
// The text is that of the function that Append is given, octet for octet: the
// whole message is compared, never a hash alone. Memory is fixed. A message comes
// in when it is seen for the second time, and leaves as the oldest unless it was
// used in the meantime. The hash is seeded, so that nobody can aim at a place.
// Where little repeats, the memo rests and tries again later.
//
// A Memo serves one goroutine.
type Memo struct {
	Known uint64 // messages whose text was copied

	seed   maphash.Seed
	limits dnswire.Limits // of all messages in here
	ring   []byte         // entries, the newest overwrites the oldest
	head   uint64         // octets of the ring that were ever used
	slots  []memoSlots
	door   []uint32   // hashes of messages that were seen once
	marks  []memoMark // of the text that is rendered now

	// Of the last window of messages.
	seen, hits int
	rest       int // messages until the memo tries again
}

// memoSlots are the entries of one bucket. The upper 16 bits are those of the
// hash, the others the entry's place, as head counts.
type memoSlots [8]uint64

// memoMark says where in the text the digits of a number stand.
type memoMark struct {
	at     int    // octet of the text
	width  int    // digits
	number uint16 // offset of the number in the message: a TTL's, or memoID
}

// memoID is where a message's id stands.
const memoID = 0

// An entry is a header, its marks, the message behind its id, and the text
// without the id's digits.
const (
	memoHeader = 16
	memoMarked = 6 // octets of a mark

	memoPlace = 1<<48 - 1

	// Longer ones are rare, and their text may be cut by bounds that more digits
	// of a TTL would move.
	maxMemoMessage = 4 << 10
	maxMemoText    = 8 << 10
	maxMemoMarks   = 64

	// A memo rests when less than one of memoLeast messages was known.
	memoWindow = 8 << 10
	memoLeast  = 16
	memoRest   = 8 * memoWindow
)

// NewMemo returns a memo that keeps messages in ring, at least 256 KiB, and needs
// an eighth of that beside.
func NewMemo(ring []byte) *Memo {
	n := len(ring)
	return &Memo{
		seed: maphash.MakeSeed(), ring: ring, head: 2 * uint64(n),
		slots: make([]memoSlots, n>>12), door: make([]uint32, n>>7), marks: make([]memoMark, 0, maxMemoMarks),
	}
}

// Append appends what render appends of a message. That must depend on nothing
// but the message, its limits and variant, and write the id with appendID, TTLs
// with appendTTL.
func (m *Memo) Append(dst []byte, e *Event, variant uint8, render func([]byte, *Event) []byte) []byte {
	raw := e.Msg.Raw
	n := questionEnd(raw)
	if n == 0 || len(raw) > maxMemoMessage || e.Missing != 0 || m.rests() {
		e.Begin()
		return render(dst, e)
	}
	if m.limits != e.Msg.Limits {
		m.limits = e.Msg.Limits
		clear(m.slots)
	}
	// Where the TTLs are is not known yet, so it is flags, counts, the question
	// and the length that are hashed.
	hash := maphash.Bytes(m.seed, raw[2:n]) + uint64(len(raw)<<8|int(variant))*0x9e3779b97f4a7c15
	bucket, tag := &m.slots[hash%uint64(len(m.slots))], hash&^memoPlace
	for i, s := range bucket {
		place := s & memoPlace
		if s&^memoPlace != tag || m.head-place > uint64(len(m.ring)) {
			continue
		}
		at := place % uint64(len(m.ring))
		if out, ok := appendEntry(dst, m.ring[at:], raw, variant); ok {
			m.hits++
			m.Known++
			if m.head-place > uint64(len(m.ring)/4*3) { // it is used, so it becomes new
				bucket[i] = tag | m.renew(at)
			}
			return out
		}
	}
	if door := &m.door[hash>>16%uint64(len(m.door))]; *door != uint32(hash) {
		*door = uint32(hash)
		e.Begin()
		return render(dst, e)
	}
	start := len(dst)
	e.Begin()
	m.marks, e.text.memo = m.marks[:0], m
	dst = render(dst, e)
	e.text.memo = nil
	if place, ok := m.insert(e, variant, dst[start:], start); ok {
		*m.oldest(bucket) = tag | place
	}
	return dst
}

// rests counts a message. It reports whether the memo is not worth its cost now.
func (m *Memo) rests() bool {
	if m.rest > 0 {
		m.rest--
		return true
	}
	if m.seen++; m.seen == memoWindow {
		if m.hits < memoWindow/memoLeast {
			m.rest = memoRest
		}
		m.seen, m.hits = 0, 0
	}
	return false
}

// questionEnd returns the offset behind the only question, or 0 when there is
// none, there are several or it cannot be read.
func questionEnd(raw []byte) int {
	if len(raw) < dnswire.HeaderLen || binary.BigEndian.Uint16(raw[4:]) != 1 {
		return 0
	}
	off := dnswire.HeaderLen
	for off < len(raw) && raw[off] != 0 {
		if raw[off] >= 0x40 {
			return 0
		}
		off += 1 + int(raw[off])
	}
	if off += 5; off > len(raw) {
		return 0
	}
	return off
}

// appendEntry appends the text of an entry if that is for raw.
func appendEntry(dst, entry, raw []byte, variant uint8) (out []byte, ok bool) {
	h := entry[:memoHeader]
	size, length := int(binary.LittleEndian.Uint16(h[4:])), int(binary.LittleEndian.Uint16(h[6:]))
	marked, first := int(h[8]), int(h[9]) // marks, and which of them is the id's
	if size != len(raw)-2 || h[10] != variant {
		return dst, false
	}
	marks := entry[memoHeader:][:marked*memoMarked]
	key := entry[memoHeader+len(marks):][:size]
	text := entry[memoHeader+len(marks)+size:][:length]
	id := uint64(binary.BigEndian.Uint16(raw))
	if bytes.Equal(key, raw[2:]) {
		at := int(binary.LittleEndian.Uint16(marks[first*memoMarked:]))
		dst = AppendUint(append(dst, text[:at]...), id)
		return append(dst, text[at:]...), true
	}
	// The marks behind the id's have every TTL once, in the order of the wire.
	at := 2
	for i := (first + 1) * memoMarked; i < len(marks); i += memoMarked {
		number := int(binary.LittleEndian.Uint16(marks[i+4:]))
		if !bytes.Equal(key[at-2:number-2], raw[at:number]) {
			return dst, false
		}
		at = number + 4
	}
	if !bytes.Equal(key[at-2:], raw[at:]) {
		return dst, false
	}
	at = 0
	for i := 0; i < len(marks); i += memoMarked {
		to := int(binary.LittleEndian.Uint16(marks[i:]))
		dst = append(dst, text[at:to]...)
		if number := binary.LittleEndian.Uint16(marks[i+4:]); number == memoID {
			dst = AppendUint(dst, id)
		} else {
			dst = AppendUint(dst, uint64(binary.BigEndian.Uint32(raw[number:])))
		}
		at = to + int(binary.LittleEndian.Uint16(marks[i+2:]))
	}
	return append(dst, text[at:]...), true
}

// insert makes an entry of what was rendered at start. It returns its place.
func (m *Memo) insert(e *Event, variant uint8, text []byte, start int) (place uint64, ok bool) {
	msg, marks := &e.Msg, m.marks
	if e.Capped || capped(msg) || len(text) > maxMemoText || len(marks) == maxMemoMarks {
		return 0, false
	}
	first := 0
	for first < len(marks) && marks[first].number != memoID {
		first++
	}
	if first == len(marks) {
		return 0, false
	}
	if m.namesReach(msg.Raw) {
		marks, first = marks[first:first+1], 0
	}
	digits := marks[first].width
	id := marks[first].at - start
	size := (memoHeader + len(marks)*memoMarked + len(msg.Raw) - 2 + len(text) - digits + 15) &^ 15
	place = m.room(size)
	b := m.ring[place%uint64(len(m.ring)):][:0]
	b = binary.LittleEndian.AppendUint32(b, uint32(size))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(msg.Raw)-2))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(text)-digits))
	b = append(b, byte(len(marks)), byte(first), variant, 0, 0, 0, 0, 0)
	for i, mark := range marks {
		at, width := mark.at-start, mark.width
		if i == first {
			width = 0
		} else if i > first {
			at -= digits
		}
		b = binary.LittleEndian.AppendUint16(b, uint16(at))
		b = binary.LittleEndian.AppendUint16(b, uint16(width))
		b = binary.LittleEndian.AppendUint16(b, mark.number)
	}
	b = append(append(b, msg.Raw[2:]...), text[:id]...)
	copy(b[len(b):cap(b)], text[id+digits:])
	return place, true
}

// room makes room for an entry and returns its place. Entries lie in one piece.
func (m *Memo) room(size int) uint64 {
	if at := m.head % uint64(len(m.ring)); at+uint64(size) > uint64(len(m.ring)) {
		m.head += uint64(len(m.ring)) - at
	}
	m.head += uint64(size)
	return m.head - uint64(size)
}

// renew copies the entry at an offset of the ring to where the newest ones are.
func (m *Memo) renew(at uint64) uint64 {
	size := binary.LittleEndian.Uint32(m.ring[at:])
	place := m.room(int(size))
	copy(m.ring[place%uint64(len(m.ring)):], m.ring[at:][:size])
	return place
}

// oldest returns the slot of a bucket that is used again first.
func (m *Memo) oldest(bucket *memoSlots) *uint64 {
	old := &bucket[0]
	for i := range bucket {
		if s := &bucket[i]; *s&memoPlace < *old&memoPlace {
			old = s
		}
	}
	return old
}

// namesReach reports whether a compression pointer may lead into a TTL, whose
// octets are then part of a name. It takes every pair of octets for a pointer
// that could be one.
func (m *Memo) namesReach(raw []byte) bool {
	steps := 4 * len(raw)
	for i := dnswire.HeaderLen; i+1 < len(raw); i++ {
		if raw[i] < 0xc0 {
			continue
		}
		to := int(raw[i]&0x3f)<<8 | int(raw[i+1])
		if to >= len(raw) {
			continue
		}
		end := to
		for ; end < len(raw) && raw[end]-1 < 0x3f; end += 1 + int(raw[end]) {
			if steps--; steps < 0 {
				return true
			}
		}
		end += 2 // the root, or a further pointer
		for _, mark := range m.marks {
			if steps--; mark.number != memoID && to < int(mark.number)+4 && int(mark.number) < end {
				return true
			}
		}
	}
	return false
}

// appendID and appendTTL append numbers that may differ where a message repeats
// itself.

func (e *Event) appendID(dst []byte) []byte {
	out := AppendUint(dst, uint64(e.Msg.ID))
	if e.text.memo != nil {
		e.text.memo.mark(len(dst), len(out), memoID)
	}
	return out
}

func (e *Event) appendTTL(dst []byte, r *dnswire.Record) []byte {
	out := AppendUint(dst, uint64(r.TTL))
	// The TTL of an OPT record is none (RFC 6891 section 6.1.3).
	if e.text.memo != nil && r.Type != dnswire.TypeOPT {
		e.text.memo.mark(len(dst), len(out), r.Off-6)
	}
	return out
}

// mark notes where a number stands. A text with too many is not remembered.
func (m *Memo) mark(from, to int, number uint16) {
	if len(m.marks) < cap(m.marks) {
		m.marks = append(m.marks, memoMark{from, to - from, number})
	}
}
