//go:build linux

package ebpf

import (
	"errors"
	"github.com/dnshark-io/dnshark/internal/testkit"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Another program at the same hook, and a second dnshark, are no obstacle.
func TestCoexistence(t *testing.T) {
	inNewNetNS(t, func() {
		a, b := start(t, Options{}), start(t, Options{})
		server, client := udpPair(t, "udp4", "127.0.0.1")
		defer server.Close()
		defer client.Close()
		client.Write([]byte("x"))
		if len(a.stop()) != 2 || len(b.stop()) != 2 {
			t.Errorf("%d and %d frames, want 2 each", len(a.frames), len(b.frames))
		}
	})
}

func TestNotPermitted(t *testing.T) {
	testkit.NeedRoot(t)
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread is spoilt
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		if err := unix.Capget(&hdr, &data[0]); err != nil {
			t.Error(err)
		}
		for _, c := range []uint{unix.CAP_SYS_ADMIN, unix.CAP_BPF, unix.CAP_NET_ADMIN} {
			data[c/32].Effective &^= 1 << (c % 32)
		}
		if err := unix.Capset(&hdr, &data[0]); err != nil {
			t.Error(err)
		}
		_, err := New(Options{})
		done <- err
	}()
	err := <-done
	if !errors.Is(err, ErrNotPermitted) || !strings.Contains(err.Error(), "missing CAP_BPF and CAP_NET_ADMIN (") {
		t.Errorf("%v", err)
	}
	t.Log(err)
}

// Only the tasks of the named cgroup are observed, of which there are none.
func TestCgroupPath(t *testing.T) {
	testkit.NeedRoot(t)
	root, err := openCgroup("")
	if err != nil {
		t.Fatal(err)
	}
	root.Close()
	dir, err := os.MkdirTemp(root.Name(), "dnshark-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(dir)
	inNewNetNS(t, func() {
		c := start(t, Options{CgroupPath: dir})
		server, client := udpPair(t, "udp4", "127.0.0.1")
		defer server.Close()
		defer client.Close()
		client.Write([]byte("x"))
		if frames := c.stop(); len(frames) != 0 {
			t.Errorf("%d frames of tasks outside", len(frames))
		}
	})
}

// A process id stands for who has it now, or for whoever has it, also later.
func TestAnyPID(t *testing.T) {
	testkit.NeedRoot(t)
	for _, any := range []bool{false, true} {
		cmd := exec.Command("sleep", "60")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		pid := uint32(cmd.Process.Pid)
		src, err := New(Options{Filter: Filter{PIDs: []uint32{pid}, AnyPID: any}})
		if err != nil {
			cmd.Process.Kill()
			cmd.Wait()
			testkit.Unable(t, "%v", err)
		}
		var yes uint8
		before := src.lane.objs.Traced.Lookup(pid, &yes)
		cmd.Process.Kill()
		cmd.Wait()
		after := src.lane.objs.Traced.Lookup(pid, &yes)
		if before != nil || (after == nil) != any {
			t.Errorf("AnyPID %v: %v, and when it had ended %v", any, before, after)
		}
		src.Close()
	}
}
