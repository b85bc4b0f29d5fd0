package store

import (
	"bytes"
	"hash/maphash"
	"unsafe"
)

// table counts keys. All of them stand in one piece of memory, so that hundreds of
// thousands cost neither an allocation each nor the garbage collector's time.
type table struct {
	seed    maphash.Seed // a secret: nobody can make names that collide
	index   []uint32     // by hash: number of an entry and 1, or 0; its length is a power of 2
	entries []entry
	text    []byte
}

type entry struct {
	begin, end uint32 // of the key in text
	seen
}

type seen struct{ first, last, count int64 }

func (s *seen) add(o *seen) {
	s.first, s.last, s.count = min(s.first, o.first), max(s.last, o.last), s.count+o.count
}

func newTable() table { return table{seed: maphash.MakeSeed(), index: make([]uint32, 64)} }

// note counts a key once more.
func (t *table) note(key []byte, at int64) {
	i := t.slot(key)
	if t.index[i] == 0 {
		begin := uint32(len(t.text))
		t.text = append(t.text, key...)
		t.entries = append(t.entries, entry{begin, uint32(len(t.text)), seen{at, at, 1}})
		t.index[i] = uint32(len(t.entries))
		if len(t.entries) > len(t.index)/4*3 {
			t.grow()
		}
		return
	}
	e := &t.entries[t.index[i]-1]
	e.first, e.last, e.count = min(e.first, at), max(e.last, at), e.count+1
}

// slot returns where in the index a key stands or would.
func (t *table) slot(key []byte) int {
	mask := len(t.index) - 1
	i := int(maphash.Bytes(t.seed, key)) & mask
	for t.index[i] != 0 {
		if e := &t.entries[t.index[i]-1]; bytes.Equal(t.text[e.begin:e.end], key) {
			break
		}
		i = (i + 1) & mask
	}
	return i
}

func (t *table) grow() {
	t.index = make([]uint32, 2*len(t.index))
	mask := len(t.index) - 1
	for n, e := range t.entries {
		i := int(maphash.Bytes(t.seed, t.text[e.begin:e.end])) & mask
		for t.index[i] != 0 {
			i = (i + 1) & mask
		}
		t.index[i] = uint32(n + 1)
	}
}

// octets is what the table holds in memory.
func (t *table) octets() int {
	return len(t.text) + len(t.entries)*int(unsafe.Sizeof(entry{})) + len(t.index)*4
}

// all yields the keys, which are valid until the table is reset.
func (t *table) all(yield func(string, *seen) bool) {
	text := unsafe.String(unsafe.SliceData(t.text), len(t.text))
	for i := range t.entries {
		e := &t.entries[i]
		if !yield(text[e.begin:e.end], &e.seen) {
			return
		}
	}
}

// reset empties the table. What it needed is kept for the next keys, but after a
// crowd most of it is given back.
func (t *table) reset() {
	if len(t.entries) < cap(t.entries)/4 {
		*t = table{seed: t.seed, index: make([]uint32, 64)}
		return
	}
	clear(t.index)
	t.entries, t.text = t.entries[:0], t.text[:0]
}
