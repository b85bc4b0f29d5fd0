package detect

import "slices"

// cache is a map from hashes that holds a bounded number of values: eight places for each
// hash, of which the one that was not used for longest gives way. That happens at full size
// only, else what detectors count would depend on chance. It grows with what comes, needs no
// memory for links, and touches few cache lines.
type cache[V any] struct {
	sets   []cacheSet
	values []V // ways to a set
	n      int
	limit  int
}

const ways = 8

type cacheSet struct {
	tags [ways]uint64 // 0: free
	used [ways]uint32 // seconds
}

func newCache[V any](limit int) *cache[V] {
	c := &cache[V]{limit: limit}
	c.make(min(limit, 256))
	return c
}

func (c *cache[V]) make(size int) {
	c.sets, c.values, c.n = make([]cacheSet, size/ways), make([]V, size), 0
}

// get returns the value of a hash, which is used now, or nil. The pointer is good until
// the next add.
func (c *cache[V]) get(hash uint64, now int64) *V {
	hash = mixed(hash) | 1
	at := c.set(hash)
	set := &c.sets[at]
	for i, tag := range &set.tags {
		if tag == hash {
			set.used[i] = uint32(now / 1e9)
			return &c.values[at*ways+i]
		}
	}
	return nil
}

func (c *cache[V]) set(hash uint64) int { return int(hash>>20) & (len(c.sets) - 1) }

// add returns the value of a hash that is not there yet, as it was left by the one that
// gave way.
func (c *cache[V]) add(hash uint64, now int64) *V { return c.insert(mixed(hash)|1, uint32(now/1e9)) }

func (c *cache[V]) insert(hash uint64, used uint32) *V {
	for len(c.values) < c.limit && (4*c.n > 3*len(c.values) || !slices.Contains(c.sets[c.set(hash)].tags[:], 0)) {
		old := *c
		c.make(2 * len(old.values))
		old.each(func(tag uint64, used uint32, v *V) { *c.place(tag, used) = *v })
	}
	return c.place(hash, used)
}

// each calls f for every value.
func (c *cache[V]) each(f func(tag uint64, used uint32, v *V)) {
	for at := range c.sets {
		for i, tag := range &c.sets[at].tags {
			if tag != 0 {
				f(tag, c.sets[at].used[i], &c.values[at*ways+i])
			}
		}
	}
}

// place takes a place for a new hash.
func (c *cache[V]) place(hash uint64, used uint32) *V {
	at := c.set(hash)
	set := &c.sets[at]
	taken := 0
	for i, tag := range &set.tags {
		if tag == 0 {
			c.n++
			taken = i
			break
		}
		if set.used[i] < set.used[taken] {
			taken = i
		}
	}
	set.tags[taken], set.used[taken] = hash, used
	return &c.values[at*ways+taken]
}

// filterSet remembers what it was shown, with few mistakes (it then says old of what
// is new), for one to two hours: two Bloom filters take turns. Both have what they know
// of a hash in one cache line: a bit in each of four words.
type filterSet struct {
	lines []filterLine
	young int   // which filter is the younger one
	count int   // of the hashes in it
	turn  int64 // when it began
}

type filterLine [2][filterHashes]uint64

const (
	filterHashes = 4
	filterLines  = 1 << 16
	filterBits   = filterLines * filterHashes * 64
	// filterFull is how many entries keep mistakes under 3 %, when both are full.
	filterFull = filterBits / 10
	filterTime = 3600e9
)

// add reports whether a hash is new.
func (f *filterSet) add(hash uint64, now int64) bool {
	if f.lines == nil {
		f.lines, f.turn = make([]filterLine, filterLines), now
	}
	if f.count >= filterFull || now-f.turn >= filterTime {
		f.young = 1 - f.young
		for i := range f.lines {
			f.lines[i][f.young] = [filterHashes]uint64{}
		}
		f.count, f.turn = 0, now
	}
	inYoung, inOld := f.bits(hash)
	if !inYoung {
		f.count++
		line, hash := f.line(hash)
		for i := range filterHashes {
			line[f.young][i] |= bitOf(hash, i)
		}
	}
	return !inYoung && !inOld
}

// line returns where a hash is looked for, and what bitOf takes.
func (f *filterSet) line(hash uint64) (*filterLine, uint64) {
	hash = mixed(hash)
	return &f.lines[hash>>48%filterLines], hash
}

func bitOf(hash uint64, word int) uint64 { return 1 << (hash >> (6 * word) % 64) }

// bits reports which filter has all bits of a hash.
func (f *filterSet) bits(hash uint64) (inYoung, inOld bool) {
	line, hash := f.line(hash)
	inYoung, inOld = true, true
	for i := range filterHashes {
		bit := bitOf(hash, i)
		inYoung, inOld = inYoung && line[f.young][i]&bit != 0, inOld && line[1-f.young][i]&bit != 0
	}
	return inYoung, inOld
}

// has reports whether a hash was added.
func (f *filterSet) has(hash uint64) bool {
	if f.lines == nil {
		return false
	}
	inYoung, inOld := f.bits(hash)
	return inYoung || inOld
}
