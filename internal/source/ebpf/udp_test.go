//go:build linux

package ebpf

import (
	"bytes"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/internal/source"
)

func TestUDP(t *testing.T) {
	for _, o := range []Options{{}, {helpers: true}} {
		for _, addr := range []string{"127.0.0.1", "::1"} {
			t.Run(fmt.Sprintf("%s,helpers=%v", addr, o.helpers), func(t *testing.T) {
				inNewNetNS(t, func() { testUDP(t, o, addr) })
			})
		}
	}
}

func testUDP(t *testing.T, o Options, addr string) {
	before := time.Now().UnixNano()
	c := start(t, o)
	server, client := udpPair(t, "udp", addr)
	defer server.Close()
	defer client.Close()
	query, answer := []byte("a question"), []byte("an answer")
	client.Write(query)
	buf := make([]byte, 100)
	if _, from, err := server.ReadFromUDP(buf); err != nil {
		t.Fatal(err)
	} else if _, err := server.WriteToUDP(answer, from); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Read(buf); err != nil {
		t.Fatal(err)
	}
	c.stop()
	after := time.Now().UnixNano()
	ns := netnsInode(t)

	f := c.find("query at its sender", source.DirEgress, query)
	checkSelf(t, "sender of the query", f.Sender, ns)
	if f.Owner != nil {
		t.Error("a packet with a sender has an owner too")
	}
	f = c.find("answer at its sender", source.DirEgress, answer)
	checkSelf(t, "sender of the answer", f.Sender, ns)
	f = c.find("answer at its receiver", source.DirIngress, answer)
	if f.Sender != nil {
		t.Error("a packet that came in has a sender")
	}
	checkSelf(t, "owner of the answer's socket", f.Owner, ns)
	var last int64
	for _, f := range c.frames {
		if f.Iface != "lo" || f.Cookie == 0 || f.WireLen != len(f.Data) || f.Link != source.LinkRaw {
			t.Errorf("%+v", f)
		}
		if f.Time < max(before, last) || f.Time > after {
			t.Errorf("time %d, not between %d and %d", f.Time, max(before, last), after)
		}
		last = f.Time
	}
	if len(c.frames) != 4 {
		t.Errorf("%d frames, want each packet twice", len(c.frames))
	}
}

func TestWholePackets(t *testing.T) {
	inNewNetNS(t, func() {
		c := start(t, Options{})
		server, client := udpPair(t, "udp4", "127.0.0.1")
		defer server.Close()
		defer client.Close()
		sizes := []int{1, 99, 100, 101, 227, 228, 229, 484, 485, 996, 997, 2020, 2021, 4068, 4069, 16356, 16357, 60000, 65507}
		var sent [][]byte
		for _, n := range sizes {
			p := bytes.Repeat([]byte{byte(n), byte(n >> 8), 7}, n/3+1)[:n]
			sent = append(sent, p)
			if _, err := client.Write(p); err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range sent {
			for _, dir := range []source.Direction{source.DirEgress, source.DirIngress} {
				if f := c.find(fmt.Sprintf("%d octets", len(p)), dir, p); f.WireLen != len(p)+28 {
					t.Errorf("%d octets: total length %d", len(p), f.WireLen)
				}
			}
		}
		if s := c.lane.Stats(); s.Truncated != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// A socket that two processes share: who sends is the sender, whoever made it.
func TestSharedUDPSocket(t *testing.T) {
	inNewNetNS(t, func() {
		c := start(t, Options{})
		server, client := udpPair(t, "udp4", "127.0.0.1")
		defer server.Close()
		defer client.Close()
		file, err := client.File()
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		h := newHelper(t, "from the child", file, 0)
		client.Write([]byte("from the parent"))
		h.run(t)
		buf := make([]byte, 100)
		var from *net.UDPAddr
		for range 2 {
			if _, from, err = server.ReadFromUDP(buf); err != nil {
				t.Fatal(err)
			}
		}
		server.WriteToUDP([]byte("to the child"), from)
		c.stop()
		checkSelf(t, "parent", c.find("parent", source.DirEgress, []byte("from the parent")).Sender, netnsInode(t))
		checkProcess(t, "child", c.find("child", source.DirEgress, []byte("from the child")).Sender, h.cmd.Process.Pid)
		checkProcess(t, "owner", c.find("answer", source.DirIngress, []byte("to the child")).Owner, h.cmd.Process.Pid)
	})
}

// Names of interfaces mean something in their own namespace only.
func TestInterfaceNames(t *testing.T) {
	inNewNetNS(t, func() {
		c := start(t, Options{})
		// An index that in another namespace belongs to another device.
		for _, args := range []string{
			"link add dnsharkA type veth peer name dnsharkB",
			"addr add 192.0.2.1/24 dev dnsharkA",
			"link set dnsharkA up",
			"link set dnsharkB up",
			"neigh add 192.0.2.2 lladdr 02:00:00:00:00:01 dev dnsharkA",
		} {
			if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
				t.Fatalf("ip %s: %s", args, out)
			}
		}
		conn, err := net.Dial("udp4", "192.0.2.2:"+strconv.Itoa(testPort))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.Write([]byte("over veth"))
		if f := c.find("query", source.DirEgress, []byte("over veth")); f.Iface != "dnsharkA" {
			t.Errorf("interface %q", f.Iface)
		}
	})
}

func TestAllPackets(t *testing.T) {
	inNewNetNS(t, func() {
		c := start(t, Options{AllPackets: true})
		server, client := udpPair(t, "udp4", "127.0.0.1")
		defer server.Close()
		defer client.Close()
		other, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		from, _ := net.DialUDP("udp4", nil, other.LocalAddr().(*net.UDPAddr))
		defer from.Close()
		client.Write(make([]byte, 1000))
		from.Write(make([]byte, 1000))
		exec.Command("ping", "-c1", "-W1", "127.0.0.1").Run()
		ns := netnsInode(t)
		whole, heads, icmp := 0, 0, 0
		for _, f := range c.stop() {
			proto, _, dst, _ := ports(f)
			switch {
			case proto == unix.IPPROTO_UDP && dst == testPort && len(f.Data) == 1028:
				whole++
			case proto == unix.IPPROTO_UDP && len(f.Data) == 128 && f.WireLen == 1028:
				heads++
				if f.Dir == source.DirEgress && f.Sender != nil && f.Sender.NetNS == ns {
					checkSelf(t, "sender", f.Sender, ns)
				}
			case proto == unix.IPPROTO_ICMP:
				icmp++
			}
		}
		if whole != 2 || heads != 2 {
			t.Errorf("%d whole DNS packets and %d heads of others, want 2 of both (%d ICMP)", whole, heads, icmp)
		}
	})
}

// A sender in a container: its ids are the host's, and its own are there too.
func TestPidNamespace(t *testing.T) {
	for _, helpers := range []bool{false, true} {
		inNewNetNS(t, func() {
			c := start(t, Options{helpers: helpers})
			server, client := udpPair(t, "udp4", "127.0.0.1")
			defer server.Close()
			defer client.Close()
			file, err := client.File()
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			h := newHelper(t, "contained", file, unix.CLONE_NEWPID)
			h.run(t)
			id := c.find("query", source.DirEgress, []byte("contained")).Sender
			checkProcess(t, "sender", id, h.cmd.Process.Pid)
			if id.NsTGID != 1 || id.PidNS == initPidNS {
				t.Errorf("helpers=%v: %+v", helpers, *id)
			}
		})
	}
}

// Who reads the errors of a socket, such as the times at which packets left, has
// not received what waits there.
func TestErrorQueueIsNoReceipt(t *testing.T) {
	inNewNetNS(t, func() {
		c := start(t, Options{})
		server, client := udpPair(t, "udp4", "127.0.0.1")
		defer server.Close()
		defer client.Close()
		raw, err := client.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		control := func(f func(fd int) error) {
			t.Helper()
			var failed error
			if err := raw.Control(func(fd uintptr) { failed = f(int(fd)) }); err != nil || failed != nil {
				t.Fatal(err, failed)
			}
		}
		control(func(fd int) error {
			return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPING, unix.SOF_TIMESTAMPING_TX_SOFTWARE|unix.SOF_TIMESTAMPING_SOFTWARE)
		})
		client.Write([]byte("question"))
		buf := make([]byte, 100)
		_, from, err := server.ReadFromUDP(buf)
		if err != nil {
			t.Fatal(err)
		}
		server.WriteToUDP([]byte("answer"), from)
		control(func(fd int) error {
			n, _, _, _, err := unix.Recvmsg(fd, buf, make([]byte, 512), unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
			if err == nil && n <= 0 {
				t.Error("there is no error to read")
			}
			return err
		})
		if r := c.find("answer", source.DirIngress, []byte("answer")).Receiver; r != nil {
			t.Errorf("received by %d, which only read errors", r.TGID)
		}
	})
}

// Of a socket that also gets datagrams from other ports, nobody knows which of
// them a process took.
func TestForeignDatagramIsNoReceipt(t *testing.T) {
	inNewNetNS(t, func() {
		c := start(t, Options{})
		server, other := udpPair(t, "udp4", "127.0.0.1")
		defer server.Close()
		defer other.Close()
		client, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		plain, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		defer plain.Close()
		client.WriteToUDP([]byte("question"), server.LocalAddr().(*net.UDPAddr))
		plain.WriteToUDP([]byte("from another port"), client.LocalAddr().(*net.UDPAddr))
		server.WriteToUDP([]byte("answer"), client.LocalAddr().(*net.UDPAddr))
		buf := make([]byte, 100)
		if n, _, err := client.ReadFromUDP(buf); err != nil || string(buf[:n]) != "from another port" {
			t.Fatal(string(buf[:n]), err)
		}
		if r := c.find("answer", source.DirIngress, []byte("answer")).Receiver; r != nil {
			t.Errorf("received by %d, which took something else", r.TGID)
		}
	})
}
