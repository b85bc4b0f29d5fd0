//go:build linux

// Package afpacket reads packets from network interfaces through AF_PACKET: one
// ring of memory shared with the kernel (TPACKET_V3), a filter in the kernel,
// and frames handed on where they lie.
package afpacket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/internal/source"
)

// What may keep interfaces from being read.
var (
	ErrNotPermitted = errors.New("not permitted")
	ErrNoInterface  = errors.New("no such interface")
)

// Options say what to capture.
type Options struct {
	Iface      string   // one interface, "" for all of the network namespace
	Ports      []uint16 // DNS ports
	AllPackets bool     // every IP packet instead
}

// Source is an interface, or all of them.
type Source struct{ o Options }

// New returns a source; nothing is opened yet.
func New(o Options) *Source { return &Source{o} }

const (
	blockBytes = 1 << 20
	blocks     = 16
	// retire is after how many ms a block is handed over although it has room:
	// the latency of a quiet network.
	retire = 5
	// silence is how long take is not called when nothing comes, in ms.
	silence = 100
)

// Open returns one lane: fanning out would not keep a query and its answer, which
// hash to different sockets on some links, in one lane.
func (s *Source) Open(int) ([]source.Lane, error) {
	index, cooked := 0, true
	if s.o.Iface != "" {
		iface, err := net.InterfaceByName(s.o.Iface)
		if err != nil {
			return nil, fmt.Errorf("%w: %s; this network namespace has %s", ErrNoInterface, s.o.Iface, interfaces())
		}
		index = iface.Index
		cooked = len(iface.HardwareAddr) != 6 && iface.Flags&net.FlagLoopback == 0
	}
	l := &Lane{names: map[int32]string{}, link: source.LinkEthernet}
	kind := unix.SOCK_RAW
	if cooked {
		kind, l.link = unix.SOCK_DGRAM, source.LinkRaw
	}
	// Protocol 0: nothing comes before the filter is in place and bind says what.
	fd, err := unix.Socket(unix.AF_PACKET, kind|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EPERM) {
		return nil, fmt.Errorf("%w: reading network interfaces needs CAP_NET_RAW; run as root (sudo dnshark), or: setcap cap_net_raw+ep DNSHARK", ErrNotPermitted)
	}
	if err != nil {
		return nil, fmt.Errorf("opening a packet socket: %w", err)
	}
	l.fd = fd
	if err := l.setUp(index, cooked, s.o); err != nil {
		l.Close()
		return nil, err
	}
	return []source.Lane{l}, nil
}

func interfaces() string {
	var names []string
	list, _ := net.Interfaces()
	for _, i := range list {
		names = append(names, i.Name)
	}
	return strings.Join(names, ", ")
}

func (l *Lane) setUp(index int, cooked bool, o Options) error {
	if o.AllPackets {
		o.Ports = nil
	}
	program, err := filter(cooked, o.Ports)
	if err != nil {
		return fmt.Errorf("assembling the packet filter: %w", err)
	}
	raw := make([]unix.SockFilter, len(program))
	for i, ins := range program {
		raw[i] = unix.SockFilter{Code: ins.Op, Jt: ins.Jt, Jf: ins.Jf, K: ins.K}
	}
	if err := unix.SetsockoptSockFprog(l.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(raw)), Filter: &raw[0]}); err != nil {
		return fmt.Errorf("attaching the packet filter: %w", err)
	}
	if err := unix.SetsockoptInt(l.fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return fmt.Errorf("asking for TPACKET_V3: %w", err)
	}
	const frameBytes = 2048 // only a unit of account in version 3
	if err := unix.SetsockoptTpacketReq3(l.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq3{
		Block_size: blockBytes, Block_nr: blocks, Frame_size: frameBytes, Frame_nr: blocks * blockBytes / frameBytes,
		Retire_blk_tov: retire,
	}); err != nil {
		return fmt.Errorf("asking for a ring of %d MiB: %w", blocks*blockBytes>>20, err)
	}
	if l.ring, err = unix.Mmap(l.fd, 0, blocks*blockBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return fmt.Errorf("mapping the ring: %w", err)
	}
	if index != 0 {
		// A sensor sees traffic that is not its own; refused where promiscuity
		// is not a thing, which is no failure.
		_ = unix.SetsockoptPacketMreq(l.fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP,
			&unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_PROMISC})
	}
	if err := unix.Bind(l.fd, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ALL), Ifindex: index}); err != nil {
		return fmt.Errorf("binding to the interface: %w", err)
	}
	return nil
}

func bigEndian(v uint16) uint16 { return v<<8 | v>>8 }

// Lane reads one ring.
type Lane struct {
	fd     int
	link   source.LinkType
	ring   []byte
	frames []source.Frame
	names  map[int32]string

	truncated atomic.Uint64
	mu        sync.Mutex // of stats, which the kernel forgets when it tells them
	stats     source.Stats
	closed    bool
}

// Run implements source.Lane. Frames lie in the ring.
func (l *Lane) Run(ctx context.Context, take func([]source.Frame) error) error {
	for block := 0; ctx.Err() == nil; {
		desc := (*unix.TpacketBlockDesc)(unsafe.Pointer(&l.ring[block*blockBytes]))
		header := (*unix.TpacketHdrV1)(unsafe.Pointer(&desc.Hdr))
		if atomic.LoadUint32(&header.Block_status)&unix.TP_STATUS_USER == 0 {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(l.fd), Events: unix.POLLIN | unix.POLLERR}}, silence)
			if err != nil && !errors.Is(err, unix.EINTR) {
				return fmt.Errorf("waiting for packets: %w", err)
			}
			if n <= 0 {
				if err := take(nil); err != nil {
					return err
				}
			}
			continue
		}
		l.gather(l.ring[block*blockBytes:(block+1)*blockBytes], header)
		err := take(l.frames)
		atomic.StoreUint32(&header.Block_status, unix.TP_STATUS_KERNEL)
		if err != nil {
			return err
		}
		block = (block + 1) % blocks
	}
	return nil
}

// gather lists the frames of a block.
func (l *Lane) gather(block []byte, header *unix.TpacketHdrV1) {
	const addressAt = (unix.SizeofTpacket3Hdr + 15) &^ 15 // TPACKET_ALIGN
	l.frames = l.frames[:0]
	at := header.Offset_to_first_pkt
	for range header.Num_pkts {
		h := (*unix.Tpacket3Hdr)(unsafe.Pointer(&block[at]))
		addr := (*unix.RawSockaddrLinklayer)(unsafe.Pointer(&block[at+addressAt]))
		start := at + uint32(h.Mac)
		if l.link == source.LinkRaw {
			start = at + uint32(h.Net)
		}
		end := start + h.Snaplen
		if h.Snaplen < h.Len {
			l.truncated.Add(1)
		}
		l.frames = append(l.frames, source.Frame{
			Time:    int64(h.Sec)*1e9 + int64(h.Nsec),
			Data:    block[start:end:end],
			WireLen: int(h.Len),
			Link:    l.link,
			Iface:   l.name(addr.Ifindex),
		})
		at += h.Next_offset
	}
}

// maxNames bounds the table of names: interfaces come and go.
const maxNames = 4096

func (l *Lane) name(index int32) string {
	name, known := l.names[index]
	if !known {
		if iface, err := net.InterfaceByIndex(int(index)); err == nil {
			name = iface.Name
		}
		if len(l.names) == maxNames {
			clear(l.names)
		}
		l.names[index] = name
	}
	return name
}

// Stats implements source.Lane.
func (l *Lane) Stats() source.Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		if s, err := unix.GetsockoptTpacketStatsV3(l.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			// The kernel counts lost packets among the packets.
			l.stats.Seen += uint64(s.Packets)
			l.stats.RingFull += uint64(s.Drops)
			l.stats.Submitted += uint64(s.Packets - s.Drops)
		}
	}
	l.stats.Truncated = l.truncated.Load()
	return l.stats
}

// Close implements source.Lane. Run must have returned.
func (l *Lane) Close() error {
	l.Stats()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	var err error
	if l.ring != nil {
		err = unix.Munmap(l.ring)
	}
	return errors.Join(err, unix.Close(l.fd))
}
