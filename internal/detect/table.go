package detect

// table is a map that holds at most a number of values: the one that was not used
// for longest goes when another comes. It allocates only while it grows.
type table[K comparable, V any] struct {
	index map[K]uint32
	slots []entry[K, V] // slots[0] is the ring's head: next is the newest, prev the oldest
	limit int
	free  []uint32
	// Evicted counts values that went to make room.
	Evicted uint64
}

type entry[K comparable, V any] struct {
	key        K
	value      V
	prev, next uint32
}

func newTable[K comparable, V any](limit int) *table[K, V] {
	return &table[K, V]{index: map[K]uint32{}, slots: make([]entry[K, V], 1), limit: limit}
}

// get returns the value, which is used now, or nil.
func (t *table[K, V]) get(key K) *V {
	i, ok := t.index[key]
	if !ok {
		return nil
	}
	if t.slots[0].next != i {
		t.unlink(i)
		t.front(i)
	}
	return &t.slots[i].value
}

// len returns how many values there are.
func (t *table[K, V]) len() int { return len(t.index) }

// peek returns the value or nil, and does not use it.
func (t *table[K, V]) peek(key K) *V {
	if i, ok := t.index[key]; ok {
		return &t.slots[i].value
	}
	return nil
}

// add returns the value of a key that is not there yet, as the last one left it
// whose place it takes. The pointer is good until the next add.
func (t *table[K, V]) add(key K) *V {
	var i uint32
	switch {
	case len(t.free) > 0:
		i = t.free[len(t.free)-1]
		t.free = t.free[:len(t.free)-1]
	case len(t.slots) <= t.limit:
		i = uint32(len(t.slots))
		t.slots = append(t.slots, entry[K, V]{})
	default:
		i = t.slots[0].prev
		delete(t.index, t.slots[i].key)
		t.unlink(i)
		t.Evicted++
	}
	t.slots[i].key = key
	t.index[key] = i
	t.front(i)
	return &t.slots[i].value
}

// drop removes a key.
func (t *table[K, V]) drop(key K) {
	if i, ok := t.index[key]; ok {
		delete(t.index, key)
		t.unlink(i)
		t.free = append(t.free, i)
	}
}

// each calls f for every value, the newest first.
func (t *table[K, V]) each(f func(K, *V)) {
	for i := t.slots[0].next; i != 0; {
		e := &t.slots[i]
		i = e.next
		f(e.key, &e.value)
	}
}

func (t *table[K, V]) unlink(i uint32) {
	e := &t.slots[i]
	t.slots[e.prev].next, t.slots[e.next].prev = e.next, e.prev
}

func (t *table[K, V]) front(i uint32) {
	first := t.slots[0].next
	t.slots[i].prev, t.slots[i].next = 0, first
	t.slots[0].next, t.slots[first].prev = i, i
}
