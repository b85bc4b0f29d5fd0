//go:build linux

package main

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// The queue of netfilter, as in linux/netfilter/nfnetlink_queue.h.
const (
	subsysQueue = 3 << 8
	msgPacket   = subsysQueue
	msgVerdict  = subsysQueue + 1
	msgConfig   = subsysQueue + 2

	attrPacketHdr  = 1 // of a packet
	attrVerdictHdr = 2 // of a verdict
	attrCommand    = 1 // of a configuration
	attrParams     = 2

	commandBind = 1
	copyMeta    = 1
	accept      = 1
)

// queue lets every packet pass that netfilter gives to queue 0, from now on.
func queue() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	kernel := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	if err := unix.Bind(fd, kernel); err != nil {
		return err
	}
	for _, c := range []struct {
		attr uint16
		data []byte
	}{{attrCommand, []byte{commandBind, 0, 0, 0}}, {attrParams, []byte{0, 0, 0, 64, copyMeta}}} {
		if err := unix.Sendto(fd, message(msgConfig, c.attr, c.data), 0, kernel); err != nil {
			return err
		}
	}
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, _, err := unix.Recvfrom(fd, buf, 0)
			if err != nil {
				continue
			}
			if id, ok := packetID(buf[:n]); ok {
				unix.Sendto(fd, message(msgVerdict, attrVerdictHdr, append([]byte{0, 0, 0, accept}, id...)), 0, kernel)
			}
		}
	}()
	return nil
}

// message returns a netlink message with one attribute.
func message(typ, attr uint16, data []byte) []byte {
	ne := binary.NativeEndian
	m := make([]byte, unix.NLMSG_HDRLEN+4+4, 64) // and nfgenmsg, and nlattr
	m = append(m, data...)
	ne.PutUint32(m, uint32(len(m)))
	ne.PutUint16(m[4:], typ)
	ne.PutUint16(m[6:], unix.NLM_F_REQUEST)
	ne.PutUint16(m[20:], uint16(4+len(data)))
	ne.PutUint16(m[22:], attr)
	for len(m)%4 != 0 {
		m = append(m, 0)
	}
	return m
}

// packetID returns the id of a queued packet, as it is on the wire.
func packetID(m []byte) ([]byte, bool) {
	ne := binary.NativeEndian
	if len(m) < 20 || ne.Uint16(m[4:]) != msgPacket {
		return nil, false
	}
	for attrs := m[20:]; len(attrs) >= 8; {
		n := int(ne.Uint16(attrs))
		if ne.Uint16(attrs[2:]) == attrPacketHdr {
			return attrs[4:8], true
		}
		if n = (n + 3) &^ 3; n < 4 || n > len(attrs) {
			break
		}
		attrs = attrs[n:]
	}
	return nil, false
}
