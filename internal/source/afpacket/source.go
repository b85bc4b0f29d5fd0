//go:build linux

// Package afpacket reads packets from network interfaces, through AF_PACKET
// sockets with rings in memory shared with the kernel (TPACKET_V3, see
// packet_mmap in the kernel's documentation). Frames are borrowed from the ring.
package afpacket

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/dnshark-io/dnshark/internal/source"
)

// Options say what to capture. The zero value means DNS on port 53, on all
// interfaces of the network namespace.
type Options struct {
	Iface string // name of an interface; "" means all
	// Ports are those of DNS, at most 64; default 53.
	Ports      []uint16
	AnyPort    bool // every UDP and TCP packet is handed over whole
	AllPackets bool // hand over the first 128 octets of all other IP packets too
	// NoPromisc leaves the interface as it is. Otherwise a named one is made
	// promiscuous: a sensor sees traffic that is not its own.
	NoPromisc bool
	// The ring of each lane. A block goes to the reader when it is full or
	// after 5 ms, so few blocks make a ring that little traffic can fill.
	BlockBytes int // default 128 KiB; a power of two, at least a page
	Blocks     int // default 128
}

const (
	maxPorts      = 64 // what the jumps of the filter span
	maxLanes      = 256
	defaultBlocks = 128
	// The longest frames, joined by the kernel's receive or send offload, have
	// a little more than 64 KiB. They must fit a block.
	defaultBlock = 128 << 10
	maxBlock     = 64 << 20
	maxRing      = 4 << 30
)

// Source is one interface, or all.
type Source struct{ o Options }

var _ source.Source = (*Source)(nil)

// New returns a source; nothing is opened yet.
func New(o Options) *Source {
	if len(o.Ports) == 0 {
		o.Ports = []uint16{53}
	}
	if o.BlockBytes == 0 {
		o.BlockBytes = defaultBlock
	}
	if o.Blocks == 0 {
		o.Blocks = defaultBlocks
	}
	return &Source{o}
}

// Open returns n lanes, which capture from here on. All packets between the
// same two addresses come by one lane: fragments and both directions of every
// flow. Errors are ErrNotPermitted, ErrNoInterface, ErrDown or ErrUnsupported
// where the user can do something.
func (s *Source) Open(n int) (_ []source.Lane, err error) {
	if err := s.o.check(n); err != nil {
		return nil, err
	}
	var lanes []*Lane
	defer func() {
		if err != nil {
			for _, l := range lanes {
				l.Close()
			}
		}
	}()
	// Until every lane is bound and in the group, none takes packets: a socket
	// that is bound, but not in the group yet, gets the others' packets too.
	group := noGroup
	for range n {
		sock, err := openSocket(s.o.Iface)
		if err != nil {
			return nil, err
		}
		l, err := newLane(sock, s.o)
		if err != nil {
			return nil, err
		}
		lanes = append(lanes, l)
		if err := sock.bind(!s.o.NoPromisc); err != nil {
			return nil, err
		}
		if n > 1 {
			if group, err = sock.join(group); err != nil {
				return nil, err
			}
		}
	}
	ports := s.o.Ports
	if s.o.AnyPort {
		ports = nil
	}
	program := filter(ports, lanes[0].sock.cooked, s.o.AllPackets)
	out := make([]source.Lane, n)
	for i, l := range lanes {
		if err := l.sock.filter(program); err != nil {
			return nil, err
		}
		out[i] = l
	}
	return out, nil
}

func (o *Options) check(lanes int) error {
	page := os.Getpagesize()
	switch {
	case lanes < 1 || lanes > maxLanes:
		return fmt.Errorf("afpacket: %d lanes asked for, must be 1 to %d", lanes, maxLanes)
	case len(o.Ports) > maxPorts:
		return fmt.Errorf("afpacket: %d ports given, at most %d are possible", len(o.Ports), maxPorts)
	case slices.Contains(o.Ports, 0):
		return errors.New("afpacket: port 0 is no port")
	case o.BlockBytes < page || o.BlockBytes > maxBlock || o.BlockBytes&(o.BlockBytes-1) != 0:
		return fmt.Errorf("afpacket: blocks of %d octets: must be a power of two from %d to %d", o.BlockBytes, page, maxBlock)
	case o.Blocks < 2 || o.Blocks > maxRing/o.BlockBytes:
		return fmt.Errorf("afpacket: %d blocks of %d octets: must be at least 2 and not more than 4 GiB", o.Blocks, o.BlockBytes)
	}
	return nil
}
