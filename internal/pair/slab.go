package pair

// slab hands out slots by number and takes them back. Slots never move, so
// growth copies nothing, and an idle table keeps only the chunks that its peak
// needed.
type slab[T any] struct {
	chunks []*[chunkSlots]T
	free   []uint32
	next   uint32
}

const chunkSlots = 1024

func (s *slab[T]) get() uint32 {
	if n := len(s.free); n > 0 {
		i := s.free[n-1]
		s.free = s.free[:n-1]
		return i
	}
	if int(s.next) == len(s.chunks)*chunkSlots {
		s.chunks = append(s.chunks, new([chunkSlots]T))
	}
	s.next++
	return s.next - 1
}

func (s *slab[T]) at(i uint32) *T { return &s.chunks[i/chunkSlots][i%chunkSlots] }

// inUse returns how many slots are handed out.
func (s *slab[T]) inUse() int { return int(s.next) - len(s.free) }

func (s *slab[T]) put(i uint32) { s.free = append(s.free, i) }
