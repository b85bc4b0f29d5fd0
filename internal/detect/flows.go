package detect

// flowTable holds exchanges by hash: four places each, of which the one that was
// silent for longest gives way. It grows with what comes, up to a limit.
type flowTable struct {
	slots []exchange
	used  int
	limit int
}

const ways = 4

func newFlowTable(limit int) *flowTable {
	return &flowTable{slots: make([]exchange, 1<<10), limit: limit}
}

// get returns the exchange with that hash, new or old. The pointer is good until the
// next call.
func (t *flowTable) get(hash uint64, now uint32) *exchange {
	hash |= 1
	if 4*t.used > 3*len(t.slots) && len(t.slots) < t.limit {
		t.grow()
	}
	x := t.place(hash)
	if x.hash != hash {
		if x.hash == 0 {
			t.used++
		}
		*x = exchange{hash: hash, start: now}
	}
	return x
}

// place returns where a hash is, or should be.
func (t *flowTable) place(hash uint64) *exchange {
	set := t.slots[int(hash>>8)%(len(t.slots)/ways)*ways:][:ways]
	oldest := 0
	for i := range set {
		if set[i].hash == hash {
			return &set[i]
		}
		if set[i].hash == 0 || set[oldest].hash != 0 && set[i].end < set[oldest].end {
			oldest = i
		}
	}
	return &set[oldest]
}

func (t *flowTable) grow() {
	old := t.slots
	t.slots, t.used = make([]exchange, 2*len(old)), 0
	for i := range old {
		if old[i].hash == 0 {
			continue
		}
		x := t.place(old[i].hash)
		if x.hash == 0 {
			t.used++
		}
		*x = old[i]
	}
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
