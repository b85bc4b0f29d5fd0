//go:build linux

package ebpf

import (
	"context"
	"github.com/dnshark-io/dnshark/internal/testkit"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/source"
)

// The path that the program finds by itself is the one in /proc.
func TestBirths(t *testing.T) {
	c := start(t, Options{})
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	sleep, err = filepath.EvalSymlinks(sleep)
	if err != nil {
		t.Fatal(err)
	}
	program := sleep
	place := func(path string) string {
		path = filepath.Join(dir, path)
		data, err := os.ReadFile(program)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain := place("plain")
	if err := os.Symlink(plain, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	os.Mkdir(filepath.Join(dir, "mounted"), 0o755)
	mounted := place("away/sleep")
	program = "/bin/sh"
	script := "#!" + place("shell") + "\nkill -STOP $$\n"
	program = sleep
	if err := os.WriteFile(filepath.Join(dir, "script"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		what    string
		args    []string
		unknown bool
	}{
		{"absolute", []string{plain, "10"}, false},
		{"symbolic link", []string{filepath.Join(dir, "link"), "10"}, false},
		{"relative", []string{"./plain", "10"}, false},
		{"a name as long as any", []string{place(strings.Repeat("n", 255)), "10"}, false},
		{"odd octets", []string{place("a b\n\xff\\"), "10"}, false},
		{"deep", []string{place(strings.Repeat("d/", 40) + "sleep"), "10"}, false},
		{"too deep", []string{place(strings.Repeat("d/", 80) + "sleep"), "10"}, true},
		{"too long", []string{place(strings.Repeat(strings.Repeat("l", 200)+"/", 4) + "sleep"), "10"}, true},
		{"bind mount in a namespace", []string{"unshare", "-m", "sh", "-c",
			"mount --bind " + filepath.Dir(mounted) + " " + dir + "/mounted && exec " + dir + "/mounted/sleep 10"}, false},
		{"script", []string{filepath.Join(dir, "script")}, false},
		{"from the root directory", []string{"sh", "-c", "cd / && exec " + plain + " 10"}, false},
	} {
		cmd := exec.Command(test.args[0], test.args[1:]...)
		cmd.Dir = dir
		if err := cmd.Start(); err != nil {
			t.Fatalf("%s: %v", test.what, err)
		}
		pid := cmd.Process.Pid
		proc := "/proc/" + strconv.Itoa(pid)
		// The last of its execves, once it sleeps.
		var want string
		for range 500 {
			args, _ := os.ReadFile(proc + "/cmdline")
			if want, _ = os.Readlink(proc + "/exe"); strings.HasPrefix(want, dir) && len(args) > 0 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		args, _ := os.ReadFile(proc + "/cmdline")
		var last *event.Birth
		for range 100 {
			time.Sleep(10 * time.Millisecond)
			c.mu.Lock()
			for _, b := range c.births {
				if b.ID.TGID == uint32(pid) && b.ParentTGID == 0 {
					last = b
				}
			}
			c.mu.Unlock()
			if last != nil && last.ID.ExeIno != 0 && strings.HasPrefix(string(args), last.Args) {
				break
			}
		}
		if last == nil {
			t.Fatalf("%s: no birth", test.what)
		}
		checkProcess(t, test.what, &last.ID, pid)
		if exe := last.Exe; exe != want && !(test.unknown && exe == "") || test.unknown && exe != "" {
			t.Errorf("%s: %q, want %q", test.what, exe, want)
		}
		if wantCwd, _ := os.Readlink(proc + "/cwd"); last.Cwd != wantCwd {
			t.Errorf("%s: cwd %q, want %q", test.what, last.Cwd, wantCwd)
		}
		if whole := string(args); last.Args != whole[:min(len(whole), 256)] {
			t.Errorf("%s: args %q, want %q", test.what, last.Args, whole)
		}
		cmd.Process.Kill()
		cmd.Wait()
	}
	forks := 0
	for _, b := range c.births {
		if b.ParentTGID == uint32(os.Getpid()) {
			forks++
			if b.ID.PPID != b.ParentTGID || b.ID.ExeIno == 0 || b.ParentStart >= b.ID.Start {
				t.Errorf("fork: %+v", *b)
			}
		}
	}
	if forks < 10 {
		t.Errorf("%d forks of this process, want at least 10", forks)
	}
}

// A new cgroup is told with the path that it has in /proc/PID/cgroup and with
// the inode of its directory, long ones too, and those of cgroup v1 are not.
func TestCgroups(t *testing.T) {
	root, err := openCgroup("")
	if err != nil {
		testkit.Unable(t, "%v", err)
	}
	defer root.Close()
	if !filepath.IsAbs(root.Name()) {
		testkit.Unable(t, "cgroup v2 is not mounted")
	}
	c := start(t, Options{})
	name := "dnshark-" + strconv.Itoa(os.Getpid())
	want := map[string]uint64{}
	for _, path := range []string{"", "/docker-x.scope", "/a", "/a/b c\xff", "/" + strings.Repeat("n", 255)} {
		path = name + path
		dir := filepath.Join(root.Name(), path)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(dir) // in reverse order
		var st unix.Stat_t
		if err := unix.Stat(dir, &st); err != nil {
			t.Fatal(err)
		}
		want["/"+path] = st.Ino
	}
	if v1 := "/sys/fs/cgroup/pids/" + name; os.Mkdir(v1, 0o755) == nil {
		defer os.Remove(v1)
	}
	got := map[string]uint64{}
	testkit.Eventually(t, 5*time.Second, "news of cgroups", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		clear(got)
		for _, g := range c.cgroups {
			if strings.HasPrefix(g.Path, "/"+name) {
				got[g.Path] = g.ID
			}
		}
		return len(got) >= len(want)
	})
	time.Sleep(200 * time.Millisecond)
	if !maps.Equal(got, want) || len(c.cgroups) < len(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	n := 0
	for _, g := range c.cgroups {
		if strings.HasPrefix(g.Path, "/"+name) {
			n++
		}
	}
	if n != len(want) {
		t.Errorf("%d cgroups told, want %d", n, len(want))
	}
}

// What the programs cost, by the kernel's own clock.
func BenchmarkBirths(b *testing.B) {
	testkit.NeedRoot(b)
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		b.Fatal(err)
	}
	defer stats.Close()
	src, err := New(Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer src.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go src.lane.Run(ctx, func([]source.Frame) error { return nil })
	for b.Loop() {
		exec.Command("/bin/true").Run()
	}
	for name, prog := range map[string]*ebpf.Program{"exec": src.lane.objs.Exec, "fork": src.lane.objs.Fork} {
		s, err := prog.Stats()
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(s.Runtime.Nanoseconds())/float64(max(s.RunCount, 1)), name+"-ns/run")
		b.ReportMetric(float64(s.RunCount)/float64(b.N), name+"-runs/op")
	}
}
