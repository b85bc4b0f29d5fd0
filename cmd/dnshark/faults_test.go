package main

import (
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/internal/store"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

// talk asks and answers about n0.t.test and so on at an address, 200 times a second, until
// the test ends. The number tells how often.
func talk(t *testing.T, addr string) *atomic.Int64 {
	t.Helper()
	server, err := net.ListenPacket("udp", addr+":53")
	if err != nil {
		t.Fatal(err)
	}
	client, err := net.Dial("udp", addr+":53")
	if err != nil {
		t.Fatal(err)
	}
	var n atomic.Int64
	stop, done := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(stop); <-done; client.Close(); server.Close() })
	go func() {
		defer close(done)
		pace := time.NewTicker(5 * time.Millisecond)
		defer pace.Stop()
		q, packet := new(dns.Msg), make([]byte, 512)
		for {
			select {
			case <-stop:
				return
			case <-pace.C:
			}
			q.SetQuestion(fmt.Sprintf("n%d.t.test.", n.Load()), dns.TypeA)
			raw, err := q.Pack()
			if err == nil {
				_, err = client.Write(raw)
			}
			if err != nil {
				t.Error(err)
				return
			}
			m, from, err := server.ReadFrom(packet)
			if err != nil {
				t.Error(err)
				return
			}
			answer := append([]byte{}, packet[:m]...)
			answer[2] |= 0x84 // a response, with authority: evidence for the history
			rr, err := dns.NewRR(fmt.Sprintf("n%d.t.test. 60 IN A 192.0.2.1", n.Load()))
			if err != nil {
				t.Error(err)
				return
			}
			reply := new(dns.Msg)
			if reply.Unpack(answer) == nil {
				reply.Answer = []dns.RR{rr}
				answer, _ = reply.Pack()
			}
			if _, err := server.WriteTo(answer, from); err != nil {
				t.Error(err)
				return
			}
			if _, err := client.Read(packet); err != nil {
				t.Error(err)
				return
			}
			n.Add(1)
		}
	}()
	return &n
}

// Whatever happens to the disk below spool, history and log of events: dnshark lives, goes
// on capturing and delivering, counts what it drops and uses the disk again when that is well.
func TestLiveDiskFaults(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.NeedPrograms(t, "strace")
	mount := func(t *testing.T, options string) string {
		dir := t.TempDir()
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
			testkit.Unable(t, "mounting a tmpfs: %v", err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
		return dir
	}
	ballast := func(dir string) string { return filepath.Join(dir, "ballast") }
	remove := func(t *testing.T, dir string) {
		if err := os.RemoveAll(ballast(dir)); err != nil {
			t.Error(err)
		}
	}
	slowest, missed, faults := time.Duration(0), uint64(0), 0
	for i, c := range []struct {
		name, options string
		// hurt returns what makes it well again.
		hurt func(t *testing.T, dir string, a *testkit.Daemon) (mend func())
	}{
		{"full", "size=32m", func(t *testing.T, dir string, _ *testkit.Daemon) func() {
			f, err := os.Create(ballast(dir))
			for err == nil {
				_, err = f.Write(make([]byte, 4096))
			}
			f.Close()
			return func() { remove(t, dir) }
		}},
		{"no inodes", "size=64m,nr_inodes=40", func(t *testing.T, dir string, _ *testkit.Daemon) func() {
			err := os.Mkdir(ballast(dir), 0o700)
			for i := 0; err == nil; i++ {
				err = os.WriteFile(filepath.Join(ballast(dir), strconv.Itoa(i)), nil, 0o600)
			}
			return func() { remove(t, dir) }
		}},
		{"EIO on fsync", "size=64m", func(t *testing.T, _ string, a *testkit.Daemon) func() {
			return inject(t, a, "fsync,fdatasync:error=EIO")
		}},
		{"EIO on write", "size=64m", func(t *testing.T, _ string, a *testkit.Daemon) func() {
			return inject(t, a, "pwrite64,fsync,fdatasync,ftruncate:error=EIO")
		}},
		{"read-only", "size=64m", func(t *testing.T, _ string, a *testkit.Daemon) func() {
			return inject(t, a, "pwrite64,fdatasync,openat,mkdirat,unlinkat,renameat,ftruncate:error=EROFS")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			disk := mount(t, c.options)
			receiver := &collector{lines: map[string]string{}}
			server := httptest.NewServer(receiver)
			defer server.Close()
			addr := fmt.Sprintf("127.77.%d.1", i)
			cmd := exec.Command(testkit.Dnshark(t), "--server", addr, "--stats", "100ms", "--stats-format", "json",
				"-e", "net_packet_dns_response,loss", "--store", filepath.Join(disk, "history"), "--events-size", "16",
				"-o", server.URL+"/?name=k&linger=20ms&spool=8MB&spool-dir="+filepath.Join(disk, "spool"))
			// A call that strace makes fail has a number that no list allows.
			cmd.Env = slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "DNSHARK_SANDBOX_TRAP=") })
			r := &crowd{t: t, agent: testkit.Start(t, cmd)}
			(&agent{Daemon: r.agent, t: t}).waitUntilWatching()
			count := func(step, what string) uint64 {
				list := r.stats()
				if len(list) == 0 {
					return 0
				}
				return list[len(list)-1].Steps[step].Out[what]
			}
			delivered := func() int {
				receiver.mu.Lock()
				defer receiver.mu.Unlock()
				return len(receiver.lines)
			}
			asked := talk(t, addr)
			// grows wants all counters to become more.
			grows := func(what string, counters ...string) time.Duration {
				t.Helper()
				begin := time.Now()
				first := map[string]uint64{}
				for _, c := range counters {
					step, out, _ := strings.Cut(c, "/")
					first[c] = count(step, out)
				}
				testkit.Eventually(t, time.Minute, what, func() bool {
					if r.agent.Ended() {
						t.Fatalf("%s: dnshark ended: %s", what, r.agent.Output)
					}
					for _, c := range counters {
						step, out, _ := strings.Cut(c, "/")
						if count(step, out) <= first[c]+5 {
							return false
						}
					}
					return true
				})
				return time.Since(begin)
			}
			all := []string{"packets/submitted", "history/kept", "event_log/written", "output k/delivered"}
			grows("everything to work", all...)

			mend := c.hurt(t, disk, r.agent)
			time.Sleep(time.Second)
			before := delivered()
			grows("capture and delivery to go on", "packets/submitted", "output k/delivered")
			time.Sleep(time.Second)
			during := delivered() - before
			failed := count("history", "failed") + count("history", "dropped")
			begin := time.Now()
			mend()
			grows("everything to work again", all...)
			healed := time.Since(begin)
			if healed > 10*time.Second {
				t.Errorf("works again after %v, want at most 10s", healed)
			}
			if err := r.agent.Stop(t); err != nil && !strings.Contains(err.Error(), "exit status") {
				t.Errorf("%v: %s", err, r.agent.Output)
			}
			list := r.stats()
			end := list[len(list)-1]
			for name, step := range end.Steps {
				if step.Unaccounted != 0 {
					t.Errorf("%s: %d unaccounted", name, step.Unaccounted)
				}
			}
			out := end.Steps["output k"].Out
			if int(out["delivered"]) != delivered() {
				t.Errorf("%d events counted as delivered, %d came", out["delivered"], delivered())
			}
			if during == 0 {
				t.Error("nothing was delivered meanwhile")
			}
			if c.name != "no inodes" && !strings.Contains(r.agent.Output.String(), "events wait in memory") {
				t.Errorf("the spool felt nothing of it: %s", r.agent.Output)
			}
			for _, wrong := range receiver.wrongs {
				t.Error(wrong)
			}
			if err := store.Verify(t.Context(), filepath.Join(disk, "history")); err != nil {
				t.Errorf("the history: %v", err)
			}
			slowest, missed, faults = max(slowest, healed), missed+failed, faults+1
			t.Logf("%s: %d asked, %d delivered of it during the fault; history missed %d and counted them; works again after %v",
				c.name, asked.Load(), during, failed, healed.Round(time.Millisecond))
		})
	}
	t.Logf("%d faults: capture and delivery went on, history missed %d events and counted them, all worked again within %v", faults, missed, slowest.Round(time.Millisecond))
}

// inject makes system calls of a process fail until the returned function is called.
func inject(t *testing.T, a *testkit.Daemon, what string) (end func()) {
	t.Helper()
	calls, _, _ := strings.Cut(what, ":")
	strace := exec.Command("strace", "-f", "-o", os.DevNull, "-p", strconv.Itoa(a.Process.Pid), "-e", "trace="+calls, "-e", "inject="+what)
	said := &testkit.Buffer{}
	strace.Stderr = said
	if err := strace.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	end = func() {
		if !ended {
			ended = true
			_ = strace.Process.Signal(unix.SIGINT)
			_ = strace.Wait()
		}
	}
	t.Cleanup(end)
	testkit.Eventually(t, 20*time.Second, "strace to be attached", func() bool { return strings.Contains(said.String(), "attached") })
	return end
}
