package detect

// cache is a map from hashes that holds a bounded number of values: four places for
// each hash, of which the one that was not used for longest gives way. It grows with
// what comes, needs no memory for links, and touches few cache lines.
type cache[V any] struct {
	tags   []uint64 // 0: free
	used   []uint32 // seconds
	values []V
	n      int
	limit  int
}

const ways = 4

func newCache[V any](limit int) *cache[V] {
	c := &cache[V]{limit: limit}
	c.make(min(limit, 256))
	return c
}

func (c *cache[V]) make(size int) {
	c.tags, c.used, c.values, c.n = make([]uint64, size), make([]uint32, size), make([]V, size), 0
}

// get returns the value of a hash, which is used now, or nil. The pointer is good until
// the next add.
func (c *cache[V]) get(hash uint64, now int64) *V {
	hash = mixed(hash) | 1
	set := c.set(hash)
	for i, tag := range c.tags[set : set+ways] {
		if tag == hash {
			c.used[set+i] = uint32(now / 1e9)
			return &c.values[set+i]
		}
	}
	return nil
}

func (c *cache[V]) set(hash uint64) int { return int(hash>>20) & (len(c.tags)/ways - 1) * ways }

// add returns the value of a hash that is not there yet, as it was left by the one that
// gave way.
func (c *cache[V]) add(hash uint64, now int64) *V { return c.insert(mixed(hash)|1, uint32(now/1e9)) }

func (c *cache[V]) insert(hash uint64, used uint32) *V {
	if 4*c.n > 3*len(c.tags) && len(c.tags) < c.limit {
		old := *c
		c.make(2 * len(old.tags))
		for i, tag := range old.tags {
			if tag != 0 {
				at := c.place(tag)
				c.tags[at], c.used[at], c.values[at] = tag, old.used[i], old.values[i]
			}
		}
	}
	at := c.place(hash)
	c.tags[at], c.used[at] = hash, used
	return &c.values[at]
}

// place returns the place that a new hash takes.
func (c *cache[V]) place(hash uint64) int {
	set := c.set(hash)
	oldest := set
	for i := set; i < set+ways; i++ {
		if c.tags[i] == 0 {
			c.n++
			return i
		}
		if c.used[i] < c.used[oldest] {
			oldest = i
		}
	}
	return oldest
}

// filterSet remembers what it was shown, with few mistakes (it then says old of what
// is new), for one to two hours: two Bloom filters take turns.
type filterSet struct {
	bits  [2][]uint64
	count int
	turn  int64 // when the younger filter began
}

const (
	filterBits   = 1 << 24
	filterHashes = 4
	// filterFull is how many entries keep mistakes under 2 %.
	filterFull = filterBits / 8
	filterTime = 3600e9
)

// add reports whether a hash is new.
func (f *filterSet) add(hash uint64, now int64) bool {
	if f.bits[0] == nil {
		f.bits = [2][]uint64{make([]uint64, filterBits/64), make([]uint64, filterBits/64)}
		f.turn = now
	}
	if f.count >= filterFull || now-f.turn >= filterTime {
		f.bits[0], f.bits[1] = f.bits[1], f.bits[0]
		clear(f.bits[0])
		f.count, f.turn = 0, now
	}
	inNew, inOld := true, true
	step := hash>>32 | 1
	for i := range uint64(filterHashes) {
		bit := (hash + i*step) % filterBits
		inNew = inNew && f.bits[0][bit/64]>>(bit%64)&1 == 1
		inOld = inOld && f.bits[1][bit/64]>>(bit%64)&1 == 1
		f.bits[0][bit/64] |= 1 << (bit % 64)
	}
	if !inNew {
		f.count++
	}
	return !inNew && !inOld
}

// has reports whether a hash was added.
func (f *filterSet) has(hash uint64) bool {
	if f.bits[0] == nil {
		return false
	}
	inNew, inOld := true, true
	step := hash>>32 | 1
	for i := range uint64(filterHashes) {
		bit := (hash + i*step) % filterBits
		inNew = inNew && f.bits[0][bit/64]>>(bit%64)&1 == 1
		inOld = inOld && f.bits[1][bit/64]>>(bit%64)&1 == 1
	}
	return inNew || inOld
}
