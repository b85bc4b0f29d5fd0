//go:build linux

package afpacket

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/internal/source"
)

const (
	maxBatch = 1024

	// A block starts with tpacket_block_desc: version, offset to private data,
	// then tpacket_hdr_v1 (linux/if_packet.h).
	blockHeader = 8
	blockMin    = blockHeader + int(unsafe.Sizeof(unix.TpacketHdrV1{}))
	// sockaddr_ll follows the aligned packet header.
	addressAt = unix.SizeofTpacket3Hdr
	frameMin  = addressAt + unix.SizeofSockaddrLinklayer
)

// ring walks the blocks that the kernel fills one after the other.
type ring struct {
	mem        []byte
	blockBytes int
	at         int // offset of the block whose turn it is
	frames     []source.Frame
}

func (r *ring) blocks() int { return len(r.mem) / r.blockBytes }

func (r *ring) header() *unix.TpacketHdrV1 {
	return (*unix.TpacketHdrV1)(unsafe.Pointer(&r.mem[r.at+blockHeader]))
}

// ready reports whether the block is ours. Loading the status orders what is
// read of the block behind it.
func (r *ring) ready() bool {
	return atomic.LoadUint32(&r.header().Block_status)&unix.TP_STATUS_USER != 0
}

// first returns the offset of the block's first packet and their number.
func (r *ring) first() (at, packets int) {
	h := r.header()
	return r.at + int(h.Offset_to_first_pkt), int(h.Num_pkts)
}

// release gives the block back to the kernel and goes to the next one.
func (r *ring) release() {
	atomic.StoreUint32(&r.header().Block_status, unix.TP_STATUS_KERNEL)
	if r.at += r.blockBytes; r.at == len(r.mem) {
		r.at = 0
	}
}

// frame reads the packet at an offset into f and returns the offset of the next
// one, for the last one its own. It returns no address if the packet is not within its block, which the
// kernel does not do: but what is wrong with memory should not become a crash.
func (r *ring) frame(at int, f *source.Frame) (int, *unix.RawSockaddrLinklayer) {
	end := r.at + r.blockBytes
	if at < r.at+blockMin || at > end-frameMin {
		return 0, nil
	}
	h := (*unix.Tpacket3Hdr)(unsafe.Pointer(&r.mem[at]))
	from := at + int(h.Mac)
	n := int(h.Snaplen)
	if n > end-from {
		return 0, nil
	}
	f.Time = int64(h.Sec)*1e9 + int64(h.Nsec)
	f.Data = r.mem[from : from+n : from+n]
	f.WireLen = max(int(h.Len), n)
	return at + int(h.Next_offset), (*unix.RawSockaddrLinklayer)(unsafe.Pointer(&r.mem[at+addressAt]))
}

func (r *ring) unmap() error {
	if r.mem == nil {
		return nil
	}
	mem := r.mem
	r.mem = nil
	return unix.Munmap(mem)
}
