//go:build linux

package ebpf

import (
	"bytes"
	"io"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/internal/source"
)

func TestTCP(t *testing.T) {
	inNewNetNS(t, func() {
		c := start(t, Options{})
		ln, err := net.Listen("tcp4", "127.0.0.1:"+strconv.Itoa(testPort))
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		query := []byte("\x00\x0aa question")
		answer := bytes.Repeat([]byte("answer"), 20000)
		go func() {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			io.ReadFull(conn, make([]byte, len(query)))
			conn.Write(answer)
			conn.Close()
		}()
		conn, err := net.Dial("tcp4", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn.Write(query)
		got, err := io.ReadAll(conn)
		if err != nil || !bytes.Equal(got, answer) {
			t.Fatalf("%d octets, %v", len(got), err)
		}
		conn.Close()
		time.Sleep(20 * time.Millisecond)
		c.stop()
		ns := netnsInode(t)

		checkSelf(t, "sender of the query", c.find("query", source.DirEgress, query).Sender, ns)
		for _, dir := range []source.Direction{source.DirEgress, source.DirIngress} {
			var flags byte
			octets, sent := 0, 0
			for _, f := range c.frames {
				if _, _, _, p := ports(f); f.Dir == dir && len(p) == 0 {
					flags |= f.Data[int(f.Data[0]&15)*4+13]
					if f.Data[int(f.Data[0]&15)*4+13]&7 == 0 {
						t.Error("a pure acknowledgement")
					}
				} else if f.Dir == dir {
					octets += len(p)
					flags |= f.Data[int(f.Data[0]&15)*4+13]
					if f.Sender != nil {
						sent += len(p)
						checkProcess(t, "sender of a segment", f.Sender, os.Getpid())
					} else if dir == source.DirEgress {
						checkProcess(t, "owner of a segment", f.Owner, os.Getpid())
					}
				}
			}
			if octets != len(query)+len(answer) || flags&3 != 3 {
				t.Errorf("direction %d: %d octets of payload, flags %x", dir, octets, flags)
			}
			if dir == source.DirIngress && sent != 0 {
				t.Error("segments that came in have a sender")
			}
			t.Logf("direction %d: %d of %d octets have a sender", dir, sent, octets)
		}
	})
}

// A TCP socket that several processes use: each octet belongs to who sent it.
func TestSharedTCPSocket(t *testing.T) {
	inNewNetNS(t, func() {
		c := start(t, Options{})
		ln, err := net.Listen("tcp4", "127.0.0.1:"+strconv.Itoa(testPort))
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		conn, err := net.Dial("tcp4", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		file, err := conn.(*net.TCPConn).File()
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		h := newHelper(t, "from the child", file, 0)
		h.run(t)
		time.Sleep(10 * time.Millisecond)
		conn.Write([]byte("from the parent"))
		time.Sleep(10 * time.Millisecond)
		c.stop()
		checkProcess(t, "first", c.find("first", source.DirEgress, []byte("from the child")).Sender, h.cmd.Process.Pid)
		checkProcess(t, "second", c.find("second", source.DirEgress, []byte("from the parent")).Sender, os.Getpid())
	})
}

// A sender that is gone into other work while its data waits for the window:
// acknowledgements, processed in the reader's context on loopback, clock it out.
// The reader must never be taken for the sender.
func TestTCPSentFromSoftirq(t *testing.T) {
	for _, helpers := range []bool{false, true} {
		inNewNetNS(t, func() { testTCPSoftirq(t, Options{helpers: helpers}) })
	}
}

func testTCPSoftirq(t *testing.T, o Options) {
	c := start(t, o)
	ln, err := net.Listen("tcp4", "127.0.0.1:"+strconv.Itoa(testPort))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	reader, err := net.Dial("tcp4", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	reader.(*net.TCPConn).SetReadBuffer(128 << 10)
	file, err := reader.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unix.SetNonblock(int(file.Fd()), false)
	h := newHelper(t, readAll, file, 0)
	sender, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	sender.(*net.TCPConn).SetWriteBuffer(4 << 20)
	const size = 1 << 20
	if _, err := sender.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	sender.Close() // a system call of its own: what follows is nobody's
	h.run(t)
	time.Sleep(20 * time.Millisecond)
	sent, owned := 0, 0
	for _, f := range c.stop() {
		_, src, _, p := ports(f)
		if src != testPort || f.Dir != source.DirEgress || len(p) == 0 {
			continue
		}
		if f.Sender != nil {
			sent += len(p)
			checkProcess(t, "sender", f.Sender, os.Getpid())
		} else {
			owned += len(p)
			checkProcess(t, "owner", f.Owner, os.Getpid())
		}
	}
	t.Logf("%d octets left in the sender's system call, %d later", sent, owned)
	if sent == 0 || owned == 0 || sent+owned < size {
		t.Errorf("%d octets with a sender and %d with an owner, want both and %d", sent, owned, size)
	}
}
