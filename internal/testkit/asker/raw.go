//go:build linux

package main

import (
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls that x/sys has no functions for.

type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

func iovec(b []byte) *unix.Iovec {
	v := &unix.Iovec{Base: &b[0]}
	v.SetLen(len(b))
	return v
}

func (s *socket) sendmmsg(questions [][]byte) error {
	list := make([]mmsghdr, len(questions))
	for i, q := range questions {
		list[i].hdr.Iov = iovec(q)
		list[i].hdr.SetIovlen(1)
	}
	if to := s.unconnected(); to != nil {
		name, size := rawAddress(to)
		for i := range list {
			list[i].hdr.Name, list[i].hdr.Namelen = &name[0], size
		}
	}
	_, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&list[0])), uintptr(len(list)), 0, 0, 0)
	runtime.KeepAlive(questions)
	if errno != 0 {
		return errno
	}
	return nil
}

func (s *socket) recvmmsg(buf []byte) (int, error) {
	var one mmsghdr
	one.hdr.Iov = iovec(buf)
	one.hdr.SetIovlen(1)
	_, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&one)), 1, 0, 0, 0)
	runtime.KeepAlive(buf)
	if errno != 0 {
		return 0, errno
	}
	return int(one.n), nil
}

func rawAddress(a unix.Sockaddr) ([]byte, uint32) {
	buf := make([]byte, unix.SizeofSockaddrInet6)
	buf[2], buf[3] = port>>8, port&255
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		*(*uint16)(unsafe.Pointer(&buf[0])) = unix.AF_INET
		copy(buf[4:], a.Addr[:])
		return buf, unix.SizeofSockaddrInet4
	case *unix.SockaddrInet6:
		*(*uint16)(unsafe.Pointer(&buf[0])) = unix.AF_INET6
		copy(buf[8:], a.Addr[:])
	}
	return buf, unix.SizeofSockaddrInet6
}

// io_uring, as in io_uring(7) and linux/io_uring.h.

const (
	opSend = 26
	opRecv = 27

	offSQRing = 0
	offSQEs   = 0x10000000
	getEvents = 1
)

type params struct {
	sqEntries, cqEntries, flags, cpu, idle, features, wq uint32
	_                                                    [3]uint32
	sq                                                   struct {
		head, tail, mask, entries, flags, dropped, array, _ uint32
		_                                                   uint64
	}
	cq struct {
		head, tail, mask, entries, overflow, cqes, flags, _ uint32
		_                                                   uint64
	}
}

type entry struct {
	op, flags byte
	prio      uint16
	fd        int32
	off, addr uint64
	len       uint32
	rest      [36]byte
}

// uring does one operation in a ring of its own.
func uring(op byte, fd int, buf []byte) (int, error) {
	var p params
	r, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		return 0, errno
	}
	ring := int(r)
	defer unix.Close(ring)
	// Since Linux 5.4 one mapping holds both rings.
	size := max(p.sq.array+4*p.sqEntries, p.cq.cqes+16*p.cqEntries)
	rings, err := unix.Mmap(ring, offSQRing, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return 0, err
	}
	defer unix.Munmap(rings)
	entries, err := unix.Mmap(ring, offSQEs, int(p.sqEntries)*int(unsafe.Sizeof(entry{})), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return 0, err
	}
	defer unix.Munmap(entries)
	*(*entry)(unsafe.Pointer(&entries[0])) = entry{op: op, fd: int32(fd), addr: uint64(uintptr(unsafe.Pointer(&buf[0]))), len: uint32(len(buf))}
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&rings[p.sq.array])), 0)
	atomic.AddUint32((*uint32)(unsafe.Pointer(&rings[p.sq.tail])), 1)
	if _, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(ring), 1, 1, getEvents, 0, 0); errno != 0 {
		return 0, errno
	}
	runtime.KeepAlive(buf)
	result := *(*int32)(unsafe.Pointer(&rings[p.cq.cqes+8]))
	if result < 0 {
		return 0, unix.Errno(-result)
	}
	return int(result), nil
}
