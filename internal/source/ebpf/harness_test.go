//go:build linux

package ebpf

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/source"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

// Not 53, which the host itself may use meanwhile.
const testPort = 5399

// inNewNetNS runs fn in a fresh network namespace with lo up.
func inNewNetNS(t testing.TB, fn func()) {
	t.Helper()
	testkit.NeedRoot(t)
	done := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine, and the
		// namespace with its last socket.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput()
		if err != nil {
			done <- fmt.Errorf("%w: %s", err, out)
			return
		}
		defer close(done) // also when fn ends the test
		fn()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// capture is a running lane and copies of its frames.
type capture struct {
	t       testing.TB
	src     *Source
	lane    source.Lane
	mu      sync.Mutex
	frames  []source.Frame
	births  []*event.Birth // of the whole host
	cgroups []*event.Cgroup
	takes   int
	cancel  context.CancelFunc
	done    chan error
	once    sync.Once
}

func start(t testing.TB, o Options) *capture {
	t.Helper()
	testkit.NeedRoot(t)
	if o.Ports == nil {
		o.Ports = []uint16{testPort}
	}
	src, err := New(o)
	if err != nil {
		if errors.Is(err, ErrNotPermitted) || errors.Is(err, ErrNotSupported) {
			testkit.Unable(t, "%v", err)
		}
		t.Fatalf("%+v", err)
	}
	lanes, err := src.Open(4)
	if err != nil || len(lanes) != 1 {
		t.Fatal(lanes, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &capture{t: t, src: src, lane: lanes[0], cancel: cancel, done: make(chan error, 1)}
	go func() { c.done <- c.lane.Run(ctx, c.take) }()
	t.Cleanup(func() { c.stop() })
	return c
}

func (c *capture) take(frames []source.Frame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.takes++
	for _, f := range frames {
		if f.Birth != nil {
			c.births = append(c.births, f.Birth)
			continue
		}
		if f.NewCgroup != nil {
			c.cgroups = append(c.cgroups, f.NewCgroup)
			continue
		}
		f.Data = bytes.Clone(f.Data)
		for _, id := range []**event.Identity{&f.Sender, &f.Owner} {
			if *id != nil {
				own := **id
				*id = &own
			}
		}
		c.frames = append(c.frames, f)
	}
	return nil
}

// stop ends the lane, checks its numbers and returns all frames.
func (c *capture) stop() []source.Frame {
	c.once.Do(func() {
		c.cancel()
		if err := <-c.done; err != nil {
			c.t.Errorf("Run: %v", err)
		}
		if err := c.src.Close(); err != nil {
			c.t.Errorf("Close: %v", err)
		}
		s := c.lane.Stats()
		if s.Seen != s.Submitted+s.RingFull+s.CopyError {
			c.t.Errorf("seen is not the sum of the others: %+v", s)
		}
		if s.RingFull+s.CopyError != 0 || s.Submitted != uint64(len(c.frames)) {
			c.t.Errorf("%d frames, %+v", len(c.frames), s)
		}
	})
	return c.frames
}

// ports of a UDP or TCP packet without extension headers, and its payload.
func ports(f source.Frame) (proto byte, src, dst uint16, payload []byte) {
	off := 40
	if f.Data[0]>>4 == 4 {
		off, proto = int(f.Data[0]&15)*4, f.Data[9]
	} else {
		proto = f.Data[6]
	}
	l4 := f.Data[off:]
	src, dst = binary.BigEndian.Uint16(l4), binary.BigEndian.Uint16(l4[2:])
	if proto == unix.IPPROTO_UDP {
		return proto, src, dst, l4[8:]
	}
	return proto, src, dst, l4[int(l4[12]>>4)*4:]
}

func (c *capture) find(what string, dir source.Direction, payload []byte) source.Frame {
	c.t.Helper()
	for _, f := range c.stop() {
		if _, _, _, p := ports(f); f.Dir == dir && bytes.Equal(p, payload) {
			return f
		}
	}
	c.t.Fatalf("%s: not captured among %d frames", what, len(c.stop()))
	return source.Frame{}
}

func netnsInode(t testing.TB) uint32 {
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
		t.Fatal(err)
	}
	return uint32(st.Ino)
}

// checkSelf compares an identity with what /proc says about this process.
func checkSelf(t testing.TB, what string, id *event.Identity, netns uint32) {
	t.Helper()
	if id == nil {
		t.Fatalf("%s: nobody", what)
	}
	checkProcess(t, what, id, os.Getpid())
	if id.NetNS != netns {
		t.Errorf("%s: network namespace %d, want %d", what, id.NetNS, netns)
	}
	if _, err := os.Stat("/proc/self/task/" + strconv.Itoa(int(id.TID))); err != nil {
		t.Errorf("%s: thread %d is not ours", what, id.TID)
	}
}

func checkProcess(t testing.TB, what string, id *event.Identity, pid int) {
	t.Helper()
	if id == nil {
		t.Fatalf("%s: nobody", what)
	}
	proc := "/proc/" + strconv.Itoa(pid)
	stat, err := os.ReadFile(proc + "/stat")
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	ticks, _ := strconv.ParseUint(fields[19], 10, 64) // starttime, in 1/100 s
	ppid, _ := strconv.Atoi(fields[1])
	comm, _ := os.ReadFile(proc + "/comm")
	var exe, pidns unix.Stat_t
	unix.Stat(proc+"/exe", &exe)
	unix.Stat(proc+"/ns/pid", &pidns)
	if id.TGID != uint32(pid) || id.NsTGID != nsTGID(pid) || id.PPID != uint32(ppid) ||
		cString(id.Comm[:]) != strings.TrimSuffix(string(comm), "\n") || id.Start/1e7 != ticks ||
		id.UID != uint32(os.Getuid()) || id.GID != uint32(os.Getgid()) || id.Cgroup == 0 ||
		id.ExeIno != exe.Ino || id.PidNS != uint32(pidns.Ino) ||
		unix.Mkdev(id.ExeDev>>20, id.ExeDev&(1<<20-1)) != exe.Dev {
		t.Errorf("%s: %+v %s is not process %d: %s", what, *id, cString(id.Comm[:]), pid, stat)
	}
}

// nsTGID is what the process calls itself.
func nsTGID(pid int) uint32 {
	status, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	_, line, _ := strings.Cut(string(status), "NStgid:")
	line, _, _ = strings.Cut(line, "\n")
	ids := strings.Fields(line)
	n, _ := strconv.Atoi(ids[len(ids)-1])
	return uint32(n)
}

func udpPair(t testing.TB, network, addr string) (server *net.UDPConn, client *net.UDPConn) {
	t.Helper()
	at, err := net.ResolveUDPAddr(network, net.JoinHostPort(addr, strconv.Itoa(testPort)))
	if err != nil {
		t.Fatal(err)
	}
	if server, err = net.ListenUDP(network, at); err != nil {
		t.Fatal(err)
	}
	if client, err = net.DialUDP(network, nil, at); err != nil {
		t.Fatal(err)
	}
	client.SetReadDeadline(time.Now().Add(5 * time.Second))
	server.SetReadDeadline(time.Now().Add(5 * time.Second))
	return server, client
}

// The helper process writes to the socket that it inherits as descriptor 3, or
// reads it to its end, whenever it is told to, until its input ends.
func TestMain(m *testing.M) {
	msg := os.Getenv("DNSHARK_TEST_HELPER")
	if msg == "" {
		os.Exit(m.Run())
	}
	buf := make([]byte, 4096)
	for {
		if _, err := os.Stdin.Read(buf[:1]); err != nil {
			os.Exit(0)
		}
		if msg != readAll {
			unix.Write(3, []byte(msg))
		} else {
			n, err := 1, error(nil)
			for n > 0 || err == unix.EINTR {
				n, err = unix.Read(3, buf)
			}
			if err != nil {
				fmt.Println(err)
			}
		}
		fmt.Println("done")
	}
}

const readAll = "(read all)"

type helper struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out io.Reader
}

func newHelper(t *testing.T, msg string, sock *os.File, cloneflags uintptr) *helper {
	t.Helper()
	h := &helper{cmd: exec.Command("/proc/self/exe")}
	h.cmd.Env = append(os.Environ(), "DNSHARK_TEST_HELPER="+msg)
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: cloneflags}
	h.cmd.ExtraFiles = []*os.File{sock}
	h.in, _ = h.cmd.StdinPipe()
	h.out, _ = h.cmd.StdoutPipe()
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.in.Close(); h.cmd.Wait() })
	return h
}

func (h *helper) run(t *testing.T) {
	t.Helper()
	h.in.Write([]byte{'\n'})
	buf := make([]byte, 100)
	if n, err := h.out.Read(buf); err != nil || string(buf[:n]) != "done\n" {
		t.Fatalf("helper: %s %v", buf[:n], err)
	}
}
