//go:build linux

package ebpf

import (
	"bytes"
	"encoding/binary"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/internal/source"
)

// Headers between IP and UDP, as the sender's socket options make them.
func TestExtraHeaders(t *testing.T) {
	padding := []byte{0, 0, 1, 4, 0, 0, 0, 0}                   // next and length, then PadN
	long := append([]byte{0, 2, 0x1e, 20}, make([]byte, 20)...) // an option to skip (RFC 4727)
	for _, test := range []struct {
		name, network, addr string
		set                 func(fd int) error
	}{
		{"IPv4 options", "udp4", "127.0.0.1", func(fd int) error {
			return unix.SetsockoptString(fd, unix.IPPROTO_IP, unix.IP_OPTIONS, "\x01\x01\x01\x01\x01\x01\x01\x00")
		}},
		{"destination options", "udp6", "::1", func(fd int) error {
			return unix.SetsockoptString(fd, unix.IPPROTO_IPV6, unix.IPV6_DSTOPTS, string(padding))
		}},
		{"hop-by-hop and destination options", "udp6", "::1", func(fd int) error {
			if err := unix.SetsockoptString(fd, unix.IPPROTO_IPV6, unix.IPV6_HOPOPTS, string(long)); err != nil {
				return err
			}
			return unix.SetsockoptString(fd, unix.IPPROTO_IPV6, unix.IPV6_DSTOPTS, string(padding))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inNewNetNS(t, func() {
				c := start(t, Options{})
				server, client := udpPair(t, test.network, test.addr)
				defer server.Close()
				defer client.Close()
				raw, _ := client.SyscallConn()
				var err error
				raw.Control(func(fd uintptr) { err = test.set(int(fd)) })
				if err != nil {
					t.Fatal(err)
				}
				client.Write([]byte("a question"))
				frames := c.stop()
				if len(frames) != 2 {
					t.Fatalf("%d frames, want 2", len(frames))
				}
				for _, f := range frames {
					if !bytes.HasSuffix(f.Data, []byte("a question")) || f.Data[0] == 0x45 || f.Data[6] == unix.IPPROTO_UDP {
						t.Errorf("%x", f.Data)
					}
				}
				checkSelf(t, "sender", frames[0].Sender, netnsInode(t))
			})
		})
	}
}

// Fragments made by a raw socket: at egress they are what they are, at ingress
// the kernel has put them together before it finds the socket.
func TestFragments(t *testing.T) {
	inNewNetNS(t, func() {
		c := start(t, Options{})
		server, client := udpPair(t, "udp4", "127.0.0.1")
		defer server.Close()
		defer client.Close()
		payload := bytes.Repeat([]byte("fragment"), 300)
		udp := make([]byte, 8, 8+len(payload))
		binary.BigEndian.PutUint16(udp, 40000)
		binary.BigEndian.PutUint16(udp[2:], testPort)
		binary.BigEndian.PutUint16(udp[4:], uint16(8+len(payload)))
		udp = append(udp, payload...)

		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		const step = 800
		for off := 0; off < len(udp); off += step {
			part := udp[off:min(off+step, len(udp))]
			ip := make([]byte, 20, 20+len(part))
			ip[0], ip[8], ip[9] = 0x45, 64, unix.IPPROTO_UDP
			binary.BigEndian.PutUint16(ip[2:], uint16(20+len(part)))
			binary.BigEndian.PutUint16(ip[4:], 0x1234)
			field := uint16(off / 8)
			if off+len(part) < len(udp) {
				field |= 0x2000
			}
			binary.BigEndian.PutUint16(ip[6:], field)
			copy(ip[12:], net.IPv4(127, 0, 0, 1).To4())
			copy(ip[16:], net.IPv4(127, 0, 0, 1).To4())
			if err := syscall.Sendto(fd, append(ip, part...), 0, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
				t.Fatal(err)
			}
		}
		buf := make([]byte, 4096)
		server.SetReadDeadline(time.Now().Add(5 * time.Second))
		if n, _, err := server.ReadFromUDP(buf); err != nil || !bytes.Equal(buf[:n], payload) {
			t.Fatal(n, err)
		}
		whole := c.find("put together", source.DirIngress, payload)
		if whole.WireLen != 20+len(udp) {
			t.Errorf("total length %d", whole.WireLen)
		}
		lane := c.lane.(*Lane)
		if n := lane.Fragments(); n != uint64(len(udp)/step) {
			t.Errorf("%d fragments passed over, want %d", n, len(udp)/step)
		}
		if len(c.frames) != 2 || c.frames[0].Sender == nil || c.frames[0].Sender.TGID != uint32(os.Getpid()) {
			t.Errorf("%d frames, want the first fragment and the whole", len(c.frames))
		}
	})
}
