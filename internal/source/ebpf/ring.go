//go:build linux

package ebpf

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ring reads a BPF ring buffer (kernel/bpf/ringbuf.c). It differs from the
// reader of cilium/ebpf in that it never blocks, so that the lane decides when
// to sleep, and in that it lends samples out instead of copying whole classes.
type ring struct {
	consumer []byte // a page that only we write
	producer []byte // a page that only the kernel writes, then the data, twice in a row
	data     []byte
	mask     uint64
	pos      uint64 // of the next sample
}

const (
	sampleHeader = 8
	busyBit      = 1 << 31 // reserved, not yet submitted
	discardBit   = 1 << 30
)

// newRing maps a ring of size octets.
func newRing(fd, size int) (*ring, error) {
	page := os.Getpagesize()
	consumer, err := unix.Mmap(fd, 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mmap: %w", err)
	}
	producer, err := unix.Mmap(fd, int64(page), page+2*size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		unix.Munmap(consumer)
		return nil, fmt.Errorf("mmap: %w", err)
	}
	r := &ring{consumer: consumer, producer: producer, data: producer[page:], mask: uint64(size - 1)}
	r.pos = atomic.LoadUint64(word(consumer))
	return r, nil
}

func (r *ring) close() {
	unix.Munmap(r.consumer)
	unix.Munmap(r.producer)
}

// end returns the position behind the last sample, finished or not.
func (r *ring) end() uint64 { return atomic.LoadUint64(word(r.producer)) }

// next returns the sample at the head of the ring, nil when there is none before
// limit or it is not finished. The sample is the ring's until advance.
func (r *ring) next(limit uint64) []byte {
	for r.pos != limit {
		at := r.pos & r.mask
		n := atomic.LoadUint32((*uint32)(unsafe.Pointer(&r.data[at])))
		if n&busyBit != 0 {
			return nil
		}
		size := uint64(n &^ discardBit)
		if n&discardBit == 0 {
			return r.data[at+sampleHeader:][:size:size]
		}
		r.advance(size)
	}
	return nil
}

// advance gives a sample of n octets back to the kernel.
func (r *ring) advance(n uint64) {
	r.pos += (n + sampleHeader + 7) &^ 7
	atomic.StoreUint64(word(r.consumer), r.pos)
}

// word is the first word of a mapping, which the kernel accesses as well.
func word(b []byte) *uint64 { return (*uint64)(unsafe.Pointer(&b[0])) }
