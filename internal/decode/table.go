package decode

// budget bounds the memory of tables, in octets.
type budget struct{ used, max int }

func (b *budget) take(n int) bool {
	if b.used+n > b.max {
		return false
	}
	b.used += n
	return true
}

const (
	slabShift = 8
	slabSize  = 1 << slabShift // values that a slab grows by
)

// slab holds values of one type at addresses that do not change. Memory is
// taken when it is first needed and used again ever after. Slot 0 is never
// handed out.
type slab[T any] struct {
	chunks [][]T
	free   []uint32
	n      uint32 // slots handed out at least once, slot 0 included
}

func (s *slab[T]) at(i uint32) *T { return &s.chunks[i>>slabShift][i%slabSize] }

// alloc returns a free slot with whatever its last user left there, or 0 when
// the budget, of which a value takes size octets, is spent.
func (s *slab[T]) alloc(b *budget, size int) uint32 {
	if n := len(s.free); n > 0 {
		i := s.free[n-1]
		s.free = s.free[:n-1]
		return i
	}
	if int(s.n) == len(s.chunks)*slabSize {
		// With every slot go four octets of the free list.
		if !b.take(slabSize * (size + 4)) {
			return 0
		}
		s.chunks = append(s.chunks, make([]T, slabSize))
		if s.n == 0 {
			s.n = 1
		}
	}
	s.n++
	return s.n - 1
}

func (s *slab[T]) release(i uint32) { s.free = append(s.free, i) }

// index finds slots by 64-bit hashes with open addressing (linear probing).
// The hash is the key: its seed is secret, so that two flows meet in one slot
// by an accident of 1 in 2^64 only.
type index struct {
	hash []uint64
	slot []uint32 // 0 marks a free cell
	n    int
}

const cellSize = 12

func (x *index) find(h uint64) uint32 {
	if x.n == 0 {
		return 0
	}
	mask := uint64(len(x.slot) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		if slot := x.slot[i]; slot == 0 || x.hash[i] == h {
			return slot
		}
	}
}

// add adds a hash that is not there; false means that the budget is spent.
func (x *index) add(h uint64, slot uint32, b *budget) bool {
	if 4*(x.n+1) > 3*len(x.slot) && !x.grow(b) {
		return false
	}
	x.insert(h, slot)
	x.n++
	return true
}

func (x *index) insert(h uint64, slot uint32) {
	mask := uint64(len(x.slot) - 1)
	i := h & mask
	for x.slot[i] != 0 {
		i = (i + 1) & mask
	}
	x.hash[i], x.slot[i] = h, slot
}

func (x *index) grow(b *budget) bool {
	old := *x
	size := max(2*len(old.slot), slabSize)
	if !b.take((size - len(old.slot)) * cellSize) {
		return false
	}
	x.hash, x.slot = make([]uint64, size), make([]uint32, size)
	for i, slot := range old.slot {
		if slot != 0 {
			x.insert(old.hash[i], slot)
		}
	}
	return true
}

// remove closes the gap that it leaves, so that there are no tombstones.
func (x *index) remove(h uint64) {
	mask := uint64(len(x.slot) - 1)
	i := h & mask
	for x.hash[i] != h || x.slot[i] == 0 {
		if x.slot[i] == 0 {
			return
		}
		i = (i + 1) & mask
	}
	x.n--
	for j := (i + 1) & mask; x.slot[j] != 0; j = (j + 1) & mask {
		// A cell may move to i unless its home lies cyclically in (i, j].
		if home := x.hash[j] & mask; (j-home)&mask >= (j-i)&mask {
			x.hash[i], x.slot[i] = x.hash[j], x.slot[j]
			i = j
		}
	}
	x.slot[i] = 0
}

// entry is a value in a table, and a link of one of its lists.
type entry[T any] struct {
	hash         uint64
	newer, older uint32
	list         uint8
	v            T
}

type list struct{ newest, oldest uint32 }

// table finds values by hash and keeps them in lists, each in the order of last
// use.
type table[T any] struct {
	index   index
	entries slab[entry[T]]
	lists   [numLists]list
	budget  budget
	size    int // octets of an entry
}

const numLists = 5

func (t *table[T]) find(h uint64) uint32     { return t.index.find(h) }
func (t *table[T]) at(i uint32) *T           { return &t.entries.at(i).v }
func (t *table[T]) oldest(list uint8) uint32 { return t.lists[list].oldest }

// add makes a zero value in a list, or returns 0 when the budget is spent.
func (t *table[T]) add(h uint64, list uint8) uint32 {
	i := t.entries.alloc(&t.budget, t.size)
	if i == 0 {
		return 0
	}
	if !t.index.add(h, i, &t.budget) {
		t.entries.release(i)
		return 0
	}
	e := t.entries.at(i)
	*e = entry[T]{hash: h}
	t.link(i, e, list)
	return i
}

func (t *table[T]) remove(i uint32) {
	e := t.entries.at(i)
	t.unlink(e)
	t.index.remove(e.hash)
	t.entries.release(i)
}

// touch makes a value the newest of a list.
func (t *table[T]) touch(i uint32, list uint8) {
	e := t.entries.at(i)
	if e.list == list && e.newer == 0 {
		return
	}
	t.unlink(e)
	t.link(i, e, list)
}

func (t *table[T]) link(i uint32, e *entry[T], list uint8) {
	l := &t.lists[list]
	e.list, e.newer, e.older = list, 0, l.newest
	if l.newest != 0 {
		t.entries.at(l.newest).newer = i
	} else {
		l.oldest = i
	}
	l.newest = i
}

func (t *table[T]) unlink(e *entry[T]) {
	l := &t.lists[e.list]
	if e.newer != 0 {
		t.entries.at(e.newer).older = e.older
	} else {
		l.newest = e.older
	}
	if e.older != 0 {
		t.entries.at(e.older).newer = e.newer
	} else {
		l.oldest = e.newer
	}
}
