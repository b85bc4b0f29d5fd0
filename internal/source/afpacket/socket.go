//go:build linux

package afpacket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// socket is a packet socket of one interface or of all.
type socket struct {
	fd     int
	name   string // of the interface, "" for all
	index  int    // of the interface, 0 for all
	cooked bool   // packets start with their IP header
}

// openSocket opens a socket that takes no packets yet: with protocol 0 the
// kernel hooks it to nothing before bind (packet_create in af_packet.c).
func openSocket(iface string) (_ *socket, err error) {
	s := &socket{fd: -1, name: iface, cooked: true}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if err := s.open(unix.SOCK_DGRAM); err != nil {
		return nil, err
	}
	if iface == "" {
		return s, nil
	}
	if err := s.look(); err != nil || s.cooked {
		return s, err
	}
	s.close()
	return s, s.open(unix.SOCK_RAW)
}

func (s *socket) open(typ int) (err error) {
	s.fd, err = unix.Socket(unix.AF_PACKET, typ|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		s.fd = -1
		return explain("opening a packet socket", err)
	}
	return nil
}

// look asks for the interface. It asks the socket, not the thread's network
// namespace, which need not be the same.
func (s *socket) look() error {
	req, err := unix.NewIfreq(s.name)
	if err != nil { // longer than any name
		return noInterface(s.name)
	}
	if err := unix.IoctlIfreq(s.fd, unix.SIOCGIFINDEX, req); errors.Is(err, unix.ENODEV) {
		return noInterface(s.name)
	} else if err != nil {
		return explain("looking for interface "+quote(s.name), err)
	}
	s.index = int(req.Uint32())
	if err := unix.IoctlIfreq(s.fd, unix.SIOCGIFFLAGS, req); err != nil {
		return explain("looking at interface "+quote(s.name), err)
	}
	if req.Uint16()&unix.IFF_UP == 0 {
		return fmt.Errorf("%w: %s; start it: ip link set %s up", ErrDown, quote(s.name), quote(s.name))
	}
	if err := unix.IoctlIfreq(s.fd, unix.SIOCGIFHWADDR, req); err != nil {
		return explain("looking at interface "+quote(s.name), err)
	}
	switch hardware := req.Uint16(); hardware {
	case unix.ARPHRD_ETHER, unix.ARPHRD_LOOPBACK:
		s.cooked = false
	case unix.ARPHRD_NONE, unix.ARPHRD_VOID, unix.ARPHRD_RAWIP, unix.ARPHRD_PPP, unix.ARPHRD_SLIP,
		unix.ARPHRD_TUNNEL, unix.ARPHRD_TUNNEL6, unix.ARPHRD_SIT, unix.ARPHRD_IPGRE, unix.ARPHRD_IP6GRE,
		unix.ARPHRD_INFINIBAND:
		// Their headers differ, and some have none in what they send. The
		// kernel knows where the IP header is.
		s.cooked = true
	default:
		return fmt.Errorf("%w: %s has hardware type %d; capture on one that carries IP, or on all", ErrUnsupported, quote(s.name), hardware)
	}
	return nil
}

// ring makes the ring and maps it.
func (s *socket) ring(blockBytes, blocks int) ([]byte, error) {
	doing := fmt.Sprintf("making a ring of %d blocks of %d octets", blocks, blockBytes)
	if err := unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return nil, explain(doing, err)
	}
	const frame = 2048 // only checked by the kernel: frames of V3 are as long as they are
	if err := unix.SetsockoptTpacketReq3(s.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq3{
		Block_size: uint32(blockBytes), Block_nr: uint32(blocks),
		Frame_size: frame, Frame_nr: uint32(blockBytes / frame * blocks),
		Retire_blk_tov: retireMillis,
	}); err != nil {
		return nil, explain(doing, err)
	}
	mem, err := unix.Mmap(s.fd, 0, blockBytes*blocks, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, explain(doing, err)
	}
	return mem, nil
}

// bind connects the socket to its interface. What comes then has passed the
// filter that the socket had before.
func (s *socket) bind(promisc bool) error {
	var all [2]byte
	binary.BigEndian.PutUint16(all[:], unix.ETH_P_ALL)
	to := &unix.SockaddrLinklayer{Protocol: binary.NativeEndian.Uint16(all[:]), Ifindex: s.index}
	if err := unix.Bind(s.fd, to); err != nil {
		return explain("listening on "+s.where(), err)
	}
	if promisc && s.index != 0 {
		m := &unix.PacketMreq{Ifindex: int32(s.index), Type: unix.PACKET_MR_PROMISC}
		// Refused where promiscuity is not a thing, which is no failure.
		_ = unix.SetsockoptPacketMreq(s.fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, m)
	}
	return nil
}

const noGroup = -1 // the kernel's numbers start with 0

// join puts the socket into a group that shares packets out. noGroup makes one,
// with a number that no other program uses; the number is returned.
func (s *socket) join(group int) (int, error) {
	const doing = "sharing packets out to lanes"
	arg := unix.PACKET_FANOUT_CBPF << 16
	if group == noGroup {
		arg |= unix.PACKET_FANOUT_FLAG_UNIQUEID << 16
	} else {
		arg |= group
	}
	if err := unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_FANOUT, arg); err != nil {
		return 0, explain(doing, err)
	}
	if group != noGroup {
		return group, nil
	}
	if err := s.program(unix.SOL_PACKET, unix.PACKET_FANOUT_DATA, spread()); err != nil {
		return 0, explain(doing, err)
	}
	joined, err := unix.GetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_FANOUT)
	if err != nil {
		return 0, explain(doing, err)
	}
	return joined & 0xffff, nil
}

// filter replaces the socket's filter; the kernel does so between two packets.
func (s *socket) filter(p []bpf.Instruction) error {
	if err := s.program(unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, p); err != nil {
		return explain("attaching the packet filter", err)
	}
	return nil
}

func (s *socket) program(level, opt int, p []bpf.Instruction) error {
	raw, err := bpf.Assemble(p)
	if err != nil {
		return err
	}
	return unix.SetsockoptSockFprog(s.fd, level, opt, &unix.SockFprog{
		Len: uint16(len(raw)), Filter: (*unix.SockFilter)(unsafe.Pointer(&raw[0])),
	})
}

// gone reports whether the interface that was asked for does not exist anymore.
func (s *socket) gone() bool {
	return s.index != 0 && errors.Is(nameOf(s.fd, s.index, new(string)), unix.ENODEV)
}

func (s *socket) where() string {
	if s.index == 0 {
		return "all interfaces"
	}
	return "interface " + quote(s.name)
}

func (s *socket) close() {
	if s.fd >= 0 {
		unix.Close(s.fd)
		s.fd = -1
	}
}
