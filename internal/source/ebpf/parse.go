//go:build linux

package ebpf

import (
	"bytes"
	"unsafe"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/bpf"
	"github.com/dnshark-io/dnshark/internal/source"
)

const (
	batchFrames  = 256
	headerSize   = int(unsafe.Sizeof(bpf.Record{}))
	identitySize = int(unsafe.Sizeof(event.Identity{}))
	slotMax      = (headerSize+bpf.MaxBytes+7)&^7 + identitySize
	arenaBytes   = 8 * slotMax
)

// batch turns samples into frames. Whatever the frames point to lies in its
// arena, which is reused when the batch is reset.
type batch struct {
	frames  [batchFrames]source.Frame
	awaited [batchFrames]uint64 // the frame's socket cookie where a receipt may follow, or 0
	n       int
	arena   []uint64 // words, because records are cast to structs with such
	used    int      // octets, a multiple of 8
	offset  int64    // what makes Unix time of the kernel's clock
	names   names
}

func newBatch() *batch { return &batch{arena: make([]uint64, arenaBytes/8)} }

func (b *batch) reset() { b.n, b.used = 0, 0 }

func (b *batch) full() bool { return b.n == batchFrames || b.used+slotMax > arenaBytes }

// isPacket tells packets from births.
func isPacket(sample []byte) bool {
	return len(sample) >= headerSize && (*bpf.Record)(unsafe.Pointer(&sample[0])).Dir < bpf.BirthFork
}

// add copies one sample and appends its frame. It returns false when the
// sample is not what the programs write.
func (b *batch) add(sample []byte) bool {
	if len(sample) < headerSize {
		return false
	}
	head := (*bpf.Record)(unsafe.Pointer(&sample[0]))
	switch {
	case head.Dir == bpf.Receipt:
		b.receive(head)
		return true
	case head.Dir >= bpf.BirthFork:
		return b.addBirth(sample)
	}
	captured := int(head.CapLen)
	if captured > bpf.MaxBytes || headerSize+captured > len(sample) {
		return false
	}
	size := headerSize + captured
	at := unsafe.Pointer(&b.arena[b.used/8])
	slot := unsafe.Slice((*byte)(at), size)
	copy(slot, sample)
	b.used += (size + 7) &^ 7

	r := (*bpf.Record)(at)
	f := &b.frames[b.n]
	b.awaited[b.n] = 0
	if r.Flags&bpf.RecordAwaited != 0 {
		b.awaited[b.n] = r.Cookie
	}
	b.n++
	*f = source.Frame{
		Time:    int64(r.Time) + b.offset,
		Data:    slot[headerSize:size:size],
		WireLen: max(int(r.WireLen), captured),
		Link:    source.LinkRaw,
		Dir:     source.Direction(r.Dir),
		Iface:   b.names.of(&r.Iface),
		Cookie:  r.Cookie,
		NetNS:   r.NetNS,

		Shared:   r.Flags&bpf.RecordShared != 0,
		Deferred: r.Flags&bpf.RecordDeferred != 0,
		Held:     r.Flags&bpf.RecordHeld != 0,
	}
	switch r.Who {
	case bpf.WhoSender:
		f.Sender = &r.ID
	case bpf.WhoOwner:
		f.Owner = &r.ID
	case bpf.WhoCgroup:
		f.Cgroup = r.ID.Cgroup
	}
	if r.Flags&bpf.RecordDoubt != 0 {
		f.Other = b.hold(event.Identity{TGID: r.OtherTGID, Comm: r.OtherComm})
	}
	return true
}

// awaited reports whether a sample is a packet younger than a time of the
// programs' clock, of which a receipt may follow.
func awaited(sample []byte, young uint64) bool {
	if len(sample) < headerSize {
		return false
	}
	r := (*bpf.Record)(unsafe.Pointer(&sample[0]))
	return r.Dir == uint8(source.DirIngress) && r.Flags&bpf.RecordAwaited != 0 && r.Time > young
}

// receive finds the packets that a task took from its socket. Those that were
// handed over before have no known receiver.
func (b *batch) receive(r *bpf.Record) {
	id := b.hold(r.ID)
	for i, nth := b.n-1, r.CapLen; i >= 0; i-- {
		if b.awaited[i] != r.Cookie || r.Cookie == 0 {
			continue
		}
		switch nth {
		case 0: // all of them, up to those that an earlier receipt was about
			if b.frames[i].Receiver != nil {
				return
			}
			b.frames[i].Receiver = id
		case 1:
			b.frames[i].Receiver = id
			return
		default:
			nth--
		}
	}
}

// hold copies an identity into the arena.
func (b *batch) hold(id event.Identity) *event.Identity {
	at := (*event.Identity)(unsafe.Pointer(&b.arena[b.used/8]))
	*at = id
	b.used += identitySize
	return at
}

func (b *batch) addBirth(sample []byte) bool {
	r, data := (*bpf.Birth)(unsafe.Pointer(&sample[0])), sample[headerSize:]
	frame := source.Frame{Time: int64(r.Time) + b.offset}
	switch {
	case r.Kind == bpf.BirthFork:
		frame.Birth = &event.Birth{ID: r.ID, ParentTGID: r.ParentTGID, ParentStart: r.ParentStart}
	case r.Kind == bpf.BirthExec && len(data) >= 2*bpf.PathBytes+bpf.ArgsBytes &&
		r.PathLen <= bpf.PathBytes+1 && r.ArgsLen <= bpf.ArgsBytes && r.CwdLen <= bpf.PathBytes+1:
		frame.Birth = &event.Birth{
			ID: r.ID, Exe: absolute(data, r.PathLen), Args: string(data[bpf.PathBytes:][:r.ArgsLen]),
			Cwd: absolute(data[bpf.PathBytes+bpf.ArgsBytes:], r.CwdLen),
		}
	case r.Kind == bpf.BirthCgroup && len(data) >= bpf.CgroupBytes && r.PathLen <= bpf.CgroupBytes:
		frame.NewCgroup = &event.Cgroup{ID: r.ID.Cgroup, Path: string(data[:r.PathLen])}
	default:
		return false
	}
	b.frames[b.n] = frame
	b.awaited[b.n] = 0
	b.n++
	return true
}

// absolute turns names from the file up to the root, each with a NUL, into a
// path. length is one more than they have; when it is 0, so is the path's.
func absolute(names []byte, length uint32) string {
	switch length {
	case 0:
		return ""
	case 1:
		return "/"
	}
	names = names[:length-1]
	path := make([]byte, 0, len(names))
	for len(names) > 0 {
		names = names[:len(names)-1]
		last := bytes.LastIndexByte(names, 0) + 1
		path = append(append(path, '/'), names[last:]...)
		names = names[:last]
	}
	return string(path)
}

// names keeps one string for each interface name. Containers come and go with
// ever new names, hence a bound.
type names struct {
	last    [16]byte
	lastStr string
	known   map[[16]byte]string
}

const maxNames = 1024

func (n *names) of(raw *[16]byte) string {
	if *raw == n.last {
		return n.lastStr
	}
	s, ok := n.known[*raw]
	if !ok {
		if n.known == nil || len(n.known) == maxNames {
			n.known = make(map[[16]byte]string)
		}
		s = cString(raw[:])
		n.known[*raw] = s
	}
	n.last, n.lastStr = *raw, s
	return s
}

func cString(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}
