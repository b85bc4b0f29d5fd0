//go:build linux

package afpacket

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/internal/source"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

const testPort = 5399

// on runs fn in the network namespace of a host. Sockets that it opens stay
// there.
func on(t *testing.T, h *testkit.Host, fn func()) {
	t.Helper()
	name := strings.TrimSpace(h.Run("ip", "netns", "identify"))
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with the goroutine.
		runtime.LockOSThread()
		err := errors.New("the test ended")
		defer func() { done <- err }()
		f, openErr := os.Open("/run/netns/" + name)
		if err = openErr; err != nil {
			return
		}
		defer f.Close()
		if err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err == nil {
			fn()
		}
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// capture is running lanes and copies of their frames.
type capture struct {
	t      *testing.T
	lanes  []source.Lane
	mu     sync.Mutex
	frames [][]source.Frame // by lane
	empty  int
	cancel context.CancelFunc
	done   chan error
}

func start(t *testing.T, h *testkit.Host, lanes int, o Options) *capture {
	t.Helper()
	if o.Ports == nil {
		o.Ports = []uint16{testPort}
	}
	c := &capture{t: t, frames: make([][]source.Frame, lanes), done: make(chan error, lanes)}
	on(t, h, func() {
		var err error
		if c.lanes, err = New(o).Open(lanes); err != nil {
			t.Error(err)
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	var ctx context.Context
	ctx, c.cancel = context.WithCancel(context.Background())
	for i, l := range c.lanes {
		go func() {
			c.done <- l.Run(ctx, func(frames []source.Frame) error {
				c.mu.Lock()
				defer c.mu.Unlock()
				if len(frames) == 0 {
					c.empty++
				}
				for _, f := range frames {
					f.Data = bytes.Clone(f.Data)
					c.frames[i] = append(c.frames[i], f)
				}
				return nil
			})
		}()
	}
	t.Cleanup(func() {
		c.cancel()
		for _, l := range c.lanes {
			l.Close()
		}
	})
	return c
}

// stop ends the capture and returns the frames by lane, and the sum of counters.
func (c *capture) stop() ([][]source.Frame, source.Stats) {
	c.t.Helper()
	c.cancel()
	var sum source.Stats
	for _, l := range c.lanes {
		if err := <-c.done; err != nil {
			c.t.Error(err)
		}
		sum = sum.Add(l.Stats())
		if err := l.Close(); err != nil {
			c.t.Error(err)
		}
	}
	return c.frames, sum
}

// udp is a socket on a host.
func udp(t *testing.T, h *testkit.Host, addr string) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	on(t, h, func() {
		var err error
		if conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr))); err != nil {
			t.Error(err)
		}
	})
	if conn == nil {
		t.FailNow()
	}
	conn.SetReadBuffer(8 << 20)
	t.Cleanup(func() { conn.Close() })
	return conn
}

func address(c *net.UDPConn) netip.AddrPort {
	a := c.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// talk sends a payload from one socket to another and waits for it there.
func talk(t *testing.T, from, to *net.UDPConn, payload []byte) {
	t.Helper()
	if _, err := from.WriteToUDPAddrPort(payload, address(to)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 65536)
	to.SetReadDeadline(time.Now().Add(5 * time.Second))
	if n, _, err := to.ReadFromUDPAddrPort(got); err != nil || !bytes.Equal(got[:n], payload) {
		t.Fatalf("%d of %d octets arrived: %v", n, len(payload), err)
	}
}

func cable(t *testing.T) (a, b *testkit.Host) {
	t.Helper()
	a, b = testkit.NewHost(t), testkit.NewHost(t)
	a.Connect("a0", []string{"192.0.2.1/24", "2001:db8::1/64"}, b, "b0", []string{"192.0.2.2/24", "2001:db8::2/64"})
	return a, b
}

// On loopback, named or not, every packet comes once, whole and with its
// interface; packets of other ports do not come.
func TestLoopback(t *testing.T) {
	testkit.NeedRoot(t)
	for _, iface := range []string{"lo", ""} {
		h := testkit.NewHost(t)
		c := start(t, h, 1, Options{Iface: iface})
		server, odd, client := udp(t, h, "127.0.0.1:5399"), udp(t, h, "127.0.0.1:5398"), udp(t, h, "127.0.0.1:0")
		const packets = 20_000
		before := time.Now().UnixNano()
		for i := range packets {
			payload := binary.BigEndian.AppendUint64(nil, uint64(i))
			client.WriteToUDPAddrPort(payload, address(server))
			client.WriteToUDPAddrPort(payload, address(odd))
		}
		after := time.Now().UnixNano()
		lanes, stats := c.stop()
		if len(lanes[0]) != packets || stats != (source.Stats{Seen: packets, Submitted: packets}) {
			t.Fatalf("%q: %d frames of %d, %+v", iface, len(lanes[0]), packets, stats)
		}
		want, overhead := source.LinkEthernet, 14+20+8
		if iface == "" {
			want, overhead = source.LinkRaw, 20+8
		}
		for i, f := range lanes[0] {
			// Loopback keeps the order of what one task sends.
			if f.Link != want || f.Iface != "lo" || f.Dir != source.DirUnknown || f.WireLen != overhead+8 || len(f.Data) != f.WireLen ||
				binary.BigEndian.Uint64(f.Data[overhead:]) != uint64(i) || f.Time < before-1e9 || f.Time > after+1e9 {
				t.Fatalf("%q: frame %d: %+v", iface, i, f)
			}
		}
	}
}

// A TCP conversation on loopback: each segment once.
func TestLoopbackTCP(t *testing.T) {
	testkit.NeedRoot(t)
	h := testkit.NewHost(t)
	c := start(t, h, 1, Options{})
	on(t, h, func() {
		ln, err := net.Listen("tcp", "127.0.0.1:5399")
		if err != nil {
			t.Error(err)
			return
		}
		defer ln.Close()
		go func() {
			if conn, err := ln.Accept(); err == nil {
				io.Copy(conn, conn)
				conn.Close()
			}
		}()
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "question")
		if _, err := io.ReadFull(conn, make([]byte, 8)); err != nil {
			t.Error(err)
		}
	})
	lanes, _ := c.stop()
	syn, data := 0, 0
	for _, f := range lanes[0] {
		if f.Data[9] != unix.IPPROTO_TCP {
			t.Errorf("%+v", f)
		}
		if f.Data[20+13]&0x02 != 0 {
			syn++
		}
		if bytes.HasSuffix(f.Data, []byte("question")) {
			data++
		}
	}
	if syn != 2 || data != 2 { // one each way
		t.Errorf("%d with SYN, %d with data in %d segments", syn, data, len(lanes[0]))
	}
}

// On a cable both directions come, each with its direction, over IPv4 and IPv6,
// with one interface and with all, however many ports are watched.
func TestCable(t *testing.T) {
	testkit.NeedRoot(t)
	a, b := cable(t)
	manyPorts := []uint16{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, testPort}
	for _, o := range []Options{{Iface: "a0"}, {}, {Iface: "a0", Ports: manyPorts}} {
		c := start(t, a, 1, o)
		for _, ends := range [][2]string{{"192.0.2.1", "192.0.2.2:%d"}, {"[2001:db8::1]", "[2001:db8::2]:%d"}} {
			client := udp(t, a, ends[0]+":0")
			for _, port := range []int{testPort, testPort + 1} {
				server := udp(t, b, fmt.Sprintf(ends[1], port))
				for range 10 {
					talk(t, client, server, []byte("question"))
					talk(t, server, client, []byte("answer"))
				}
				server.Close()
			}
			client.Close()
		}
		lanes, stats := c.stop()
		count := map[string]int{}
		for _, f := range lanes[0] {
			for _, what := range []string{"question", "answer"} {
				if bytes.Contains(f.Data, []byte(what)) {
					count[fmt.Sprint(what, f.Dir, f.Iface, len(f.Data) == f.WireLen)]++
				}
			}
		}
		if len(lanes[0]) != 40 || count["question2a0true"] != 20 || count["answer1a0true"] != 20 || stats.Seen != 40 {
			t.Errorf("%+v: %d frames, %v, %+v", o, len(lanes[0]), count, stats)
		}
	}
}

// The heads of other packets come when they are asked for.
func TestAllPackets(t *testing.T) {
	testkit.NeedRoot(t)
	a, b := cable(t)
	for _, o := range []Options{{Iface: "a0", AllPackets: true}, {AllPackets: true}} {
		c := start(t, a, 1, o)
		client := udp(t, a, "192.0.2.1:0")
		long := bytes.Repeat([]byte("x"), 1000)
		for port, payload := range map[int][]byte{testPort: long, testPort + 1: long} {
			server := udp(t, b, fmt.Sprintf("192.0.2.2:%d", port))
			talk(t, client, server, payload)
			server.Close()
		}
		client.Close()
		lanes, stats := c.stop()
		link := 0
		if o.Iface != "" {
			link = etherHeader
		}
		whole, heads := 0, 0
		for _, f := range lanes[0] {
			switch {
			case f.WireLen != link+20+8+1000: // the neighbours' own talk
			case len(f.Data) == f.WireLen:
				whole++
			case len(f.Data) == link+head:
				heads++
			}
		}
		if whole != 1 || heads != 1 || stats.Truncated == 0 {
			t.Errorf("%+v: %d whole, %d heads, %+v", o, whole, heads, stats)
		}
	}
}

// Two lanes share packets out: each comes once, and all between two addresses in
// the same lane, fragments too.
func TestLanes(t *testing.T) {
	testkit.NeedRoot(t)
	a, b := cable(t)
	var clients []*net.UDPConn
	for i := range 20 {
		four, six := fmt.Sprintf("192.0.2.%d", 10+i), fmt.Sprintf("2001:db8::%x", 0x10+i)
		a.Run("ip", "addr", "add", four+"/24", "dev", "a0")
		a.Run("ip", "addr", "add", six+"/64", "dev", "a0", "nodad")
		clients = append(clients, udp(t, a, four+":0"), udp(t, a, "["+six+"]:0"))
	}
	servers := []*net.UDPConn{udp(t, b, "192.0.2.2:5399"), udp(t, b, "[2001:db8::2]:5399")}
	for _, iface := range []string{"a0", ""} {
		c := start(t, a, 2, Options{Iface: iface})
		const rounds = 25
		answer := bytes.Repeat([]byte("answer"), 600) // three fragments
		for range rounds {
			for i, client := range clients {
				talk(t, client, servers[i%2], []byte("question"))
				talk(t, servers[i%2], client, answer)
			}
		}
		lanes, stats := c.stop()
		if want := uint64(rounds * len(clients) * 4); stats != (source.Stats{Seen: want, Submitted: want}) {
			t.Errorf("%q: %+v, want %d", iface, stats, want)
		}
		where, count := map[string]int{}, map[string]int{}
		for lane, frames := range lanes {
			for _, f := range frames {
				ip := f.Data
				if f.Link == source.LinkEthernet {
					ip = ip[etherHeader:]
				}
				src, dst := string(ip[8:24]), string(ip[24:40])
				if ip[0]>>4 == 4 {
					src, dst = string(ip[12:16]), string(ip[16:20])
				}
				pair := min(src, dst) + max(src, dst)
				if other, known := where[pair]; known && other != lane {
					t.Fatalf("%q: packets of %x came by both lanes", iface, pair)
				}
				where[pair] = lane
				count[pair]++
			}
		}
		if len(count) != len(clients) {
			t.Errorf("%q: %d pairs of addresses, want %d", iface, len(count), len(clients))
		}
		for pair, n := range count {
			if n != rounds*4 {
				t.Errorf("%q: %d packets of %x, want %d", iface, n, pair, rounds*4)
			}
		}
		// Both address families are shared out, not all to one lane.
		if few := min(len(lanes[0]), len(lanes[1])); few < int(stats.Seen)/8 {
			t.Errorf("%q: %d and %d frames", iface, len(lanes[0]), len(lanes[1]))
		}
	}
}

// A tunnel has no link header.
func TestTunnel(t *testing.T) {
	testkit.NeedRoot(t)
	h := testkit.NewHost(t)
	var fd int
	var err error
	on(t, h, func() {
		if fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0); err == nil {
			req, _ := unix.NewIfreq("tun7")
			req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
		}
	})
	if err != nil {
		testkit.Unable(t, "no tunnel: %v", err)
	}
	defer unix.Close(fd)
	h.Run("ip", "addr", "add", "198.51.100.1/24", "dev", "tun7")
	h.Run("ip", "link", "set", "tun7", "up")
	c := start(t, h, 1, Options{Iface: "tun7"})
	client := udp(t, h, "198.51.100.1:0")
	client.WriteToUDPAddrPort([]byte("question"), netip.MustParseAddrPort("198.51.100.2:5399"))
	lanes, _ := c.stop()
	if len(lanes[0]) != 1 {
		t.Fatalf("%d frames", len(lanes[0]))
	}
	if f := lanes[0][0]; f.Link != source.LinkRaw || f.Iface != "tun7" || f.Dir != source.DirEgress || f.Data[0] != 0x45 || !bytes.HasSuffix(f.Data, []byte("question")) {
		t.Errorf("%+v", f)
	}
}

// An interface that goes down and comes up again loses no more than what passed
// meanwhile; one that is removed ends the run.
func TestInterfaceGoes(t *testing.T) {
	testkit.NeedRoot(t)
	a, b := cable(t)
	c := start(t, a, 1, Options{Iface: "a0"})
	exchange := func() {
		client, server := udp(t, a, "192.0.2.1:0"), udp(t, b, "192.0.2.2:5399")
		defer client.Close()
		defer server.Close()
		testkit.Eventually(t, 5*time.Second, "packets over the cable", func() bool {
			client.WriteToUDPAddrPort([]byte("again"), address(server))
			server.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			_, _, err := server.ReadFromUDPAddrPort(make([]byte, 9))
			return err == nil
		})
	}
	exchange()
	a.Run("ip", "link", "set", "a0", "down")
	time.Sleep(50 * time.Millisecond)
	a.Run("ip", "link", "set", "a0", "up")
	frames := func() int { c.mu.Lock(); defer c.mu.Unlock(); return len(c.frames[0]) }
	was := frames()
	exchange()
	testkit.Eventually(t, 2*time.Second, "frames after the interface came up", func() bool { return frames() > was })
	a.Run("ip", "link", "del", "a0")
	select {
	case err := <-c.done:
		if !errors.Is(err, ErrNoInterface) || !strings.Contains(err.Error(), "a0 was removed") {
			t.Errorf("%v", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("the run goes on without an interface")
	}
}

// take runs on a silent interface, and a canceled run ends at once.
func TestSilence(t *testing.T) {
	testkit.NeedRoot(t)
	c := start(t, testkit.NewHost(t), 1, Options{Iface: "lo"})
	var cpu [2]unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &cpu[0])
	time.Sleep(time.Second)
	unix.Getrusage(unix.RUSAGE_SELF, &cpu[1])
	c.mu.Lock()
	empty := c.empty
	c.mu.Unlock()
	if empty < 9 || empty > 30 {
		t.Errorf("take ran %d times in a second", empty)
	}
	if used := time.Duration(cpu[1].Utime.Nano() - cpu[0].Utime.Nano()); used > 200*time.Millisecond {
		t.Errorf("%v of CPU in a silent second", used)
	}
	since := time.Now()
	c.cancel()
	c.done <- <-c.done // stop reads it too
	if took := time.Since(since); took > 80*time.Millisecond {
		t.Errorf("it ended after %v", took)
	}
	c.stop()
}

func TestCloseEndsRun(t *testing.T) {
	testkit.NeedRoot(t)
	c := start(t, testkit.NewHost(t), 1, Options{})
	time.Sleep(10 * time.Millisecond)
	if err := c.lanes[0].Close(); err != nil {
		t.Error(err)
	}
	select {
	case err := <-c.done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Second):
		t.Error("Run goes on")
	}
}

func TestTakeEndsRun(t *testing.T) {
	testkit.NeedRoot(t)
	h := testkit.NewHost(t)
	stop := errors.New("enough")
	on(t, h, func() {
		lanes, err := New(Options{Iface: "lo"}).Open(1)
		if err != nil {
			t.Error(err)
			return
		}
		if err := lanes[0].Run(context.Background(), func([]source.Frame) error { return stop }); err != stop {
			t.Errorf("%v", err)
		}
		lanes[0].Close()
	})
}

func TestErrors(t *testing.T) {
	testkit.NeedRoot(t)
	h := testkit.NewHost(t)
	h.Run("ip", "link", "add", "d0", "type", "veth", "peer", "name", "d1")
	for _, c := range []struct {
		o    Options
		want error
		text string
	}{
		{Options{Iface: "nonet0"}, ErrNoInterface, "nonet0; this host has: lo, "},
		{Options{Iface: "a name much longer than any"}, ErrNoInterface, `"a name much longer than any"; this host`},
		{Options{Iface: "\x1b[2J"}, ErrNoInterface, `"\x1b[2J"`},
		{Options{Iface: "d0"}, ErrDown, "ip link set d0 up"},
		{Options{BlockBytes: 5000}, nil, "power of two"},
		{Options{Blocks: 1}, nil, "at least 2"},
		{Options{Ports: make([]uint16, 65)}, nil, "at most 64"},
		{Options{Ports: []uint16{0}}, nil, "port 0"},
	} {
		on(t, h, func() {
			_, err := New(c.o).Open(1)
			if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) || strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("%+v: %v", c.o, err)
			}
		})
	}
	if _, err := New(Options{}).Open(0); err == nil {
		t.Error("no lanes, no error")
	}
}

// Without the capability the error names it.
func TestNotPermitted(t *testing.T) {
	testkit.NeedRoot(t)
	on(t, testkit.NewHost(t), func() {
		// Capabilities are a thread's, and this one ends with the test.
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		if err := unix.Capset(&header, &data[0]); err != nil {
			t.Error(err)
			return
		}
		_, err := New(Options{}).Open(1)
		if !errors.Is(err, ErrNotPermitted) || !strings.Contains(err.Error(), "cap_net_raw+ep") {
			t.Errorf("%v", err)
		}
	})
}
