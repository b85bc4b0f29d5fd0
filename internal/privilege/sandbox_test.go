//go:build linux

package privilege

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

const confinedDir = "DNSHARK_TEST_CONFINED"

// TestMain runs this program a second time, confined.
func TestMain(m *testing.M) {
	if dir := os.Getenv(confinedDir); dir != "" {
		confined(dir, os.Args[1] == "network")
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// confined tells of each deed whether it could be done.
func confined(dir string, network bool) {
	fail := func(err error) {
		if err != nil {
			fmt.Println("set-up", err)
			os.Exit(1)
		}
	}
	fail(Drop(0))
	fail(LockFiles(Files{Read: []string{filepath.Join(dir, "in"), filepath.Join(dir, "missing")}, Write: []string{filepath.Join(dir, "out")}}))
	fail(FilterCalls(Calls{Network: network}))
	in, out := filepath.Join(dir, "in", "file"), filepath.Join(dir, "out", "file")
	tell := func(what string, err error) {
		switch {
		case err == nil:
			fmt.Println(what, "done")
		case errors.Is(err, os.ErrPermission):
			fmt.Println(what, "refused")
		default:
			fmt.Println(what, err)
		}
	}
	read := func(path string) error { _, err := os.ReadFile(path); return err }
	write := func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) }
	tell("read-in", read(in))
	tell("write-in", write(in))
	tell("write-out", write(out))
	tell("rename-out", os.Rename(out, out+"2"))
	tell("read-out", read(out+"2"))
	tell("remove-out", os.Remove(out+"2"))
	tell("read-shadow", read("/etc/shadow"))
	tell("write-elsewhere", write(filepath.Join(dir, "elsewhere")))
	tell("link-out", os.Symlink("/etc/shadow", out))
	tell("exec", syscall.Exec("/bin/true", []string{"true"}, nil))
	_, _, errno := syscall.RawSyscall(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0)
	if errno == 0 {
		tell("fork", nil)
	} else {
		tell("fork", errno)
	}
	tell("ptrace", unix.PtraceAttach(os.Getppid()))
	tell("mount", unix.Mount("none", dir, "tmpfs", 0, ""))
	tell("namespace", unix.Unshare(unix.CLONE_NEWUSER))
	_, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_ANON|unix.MAP_PRIVATE)
	tell("code", err)
	_, _, errno = unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, 0, 0)
	tell("bpf", errno)
	_, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	tell("packets", err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	tell("listen", err)
	if err == nil {
		_, err = net.Dial("tcp", l.Addr().String())
		tell("connect", err)
	}
	// Threads come and go as ever.
	done := make(chan error)
	for range 20 {
		go func() { done <- read(in) }()
	}
	for range 20 {
		err = errors.Join(err, <-done)
	}
	status, _ := os.ReadFile("/proc/self/task/" + fmt.Sprint(unix.Gettid()) + "/status")
	for line := range strings.Lines(string(status)) {
		if name, _, _ := strings.Cut(line, ":"); slices.Contains([]string{"CapEff", "CapPrm", "CapBnd", "NoNewPrivs", "Seccomp"}, name) {
			fmt.Print(strings.ReplaceAll(line, "\t", " "))
		}
	}
}

// What a confined process can do is what it was left, and nothing else, root's or not.
func TestConfined(t *testing.T) {
	testkit.NeedRoot(t)
	if _, err := Landlock(); err != nil {
		testkit.Unable(t, "%v", err)
	}
	if err := Seccomp(); err != nil {
		testkit.Unable(t, "%v", err)
	}
	refused := 0
	for _, network := range []string{"none", "network"} {
		dir := t.TempDir()
		err := errors.Join(os.Mkdir(filepath.Join(dir, "in"), 0o700), os.Mkdir(filepath.Join(dir, "out"), 0o700),
			os.WriteFile(filepath.Join(dir, "in", "file"), []byte("y"), 0o600))
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0], network)
		cmd.Env = append(os.Environ(), confinedDir+"="+dir)
		var stdout bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, io.MultiWriter(&stdout, os.Stderr)
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v: %s", err, stdout.String())
		}
		want := `read-in done
write-in refused
write-out done
rename-out done
read-out done
remove-out done
read-shadow refused
write-elsewhere refused
link-out refused
exec refused
fork refused
ptrace refused
mount refused
namespace refused
code refused
bpf refused
packets refused
listen refused
`
		if network == "network" {
			want = strings.Replace(want, "listen refused", "listen done\nconnect done", 1)
		}
		const none = "0000000000000000"
		want += "CapPrm: " + none + "\nCapEff: " + none + "\nCapBnd: " + none + "\nNoNewPrivs: 1\nSeccomp: 2\n"
		if got := stdout.String(); got != want {
			t.Errorf("%s: %s\nwant %s", network, got, want)
		}
		refused += strings.Count(want, " refused")
	}
	t.Logf("%d attempts to leave were refused, with files alone and with the network", refused)
}
