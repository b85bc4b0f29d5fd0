package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

// socketCaps are the capabilities that README.md names for the sockets of the
// whole host.
var socketCaps = []uintptr{unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_PERFMON, unix.CAP_SYS_PTRACE}

const nobody = 65534

// asNobody is a user without any right, but with these capabilities.
func asNobody(caps ...uintptr) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: nobody, Gid: nobody},
		AmbientCaps: caps,
	}
}

// dnsharkAs returns a command that runs dnshark on the machine with these
// rights.
func dnsharkAs(t *testing.T, rights *syscall.SysProcAttr, args ...string) *exec.Cmd {
	t.Helper()
	testkit.NeedRoot(t)
	cmd := exec.Command(shareable(t), args...)
	cmd.SysProcAttr = rights
	return cmd
}

// shareable returns the program where everybody may run it.
func shareable(t *testing.T) string {
	t.Helper()
	bin := testkit.Dnshark(t)
	if err := os.Chmod(filepath.Dir(bin), 0o755); err != nil {
		t.Fatal(err)
	}
	return bin
}

// status returns the lines of /proc/PID/task/TID/status of a process, which are
// the same for all threads, that begin with these names.
func status(t *testing.T, pid int, names ...string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("%v: %v", files, err)
	}
	values := map[string]string{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ":\t")
			if !slices.Contains(names, name) {
				continue
			}
			if before, ok := values[name]; ok && before != value {
				t.Errorf("%s: %s is %s, elsewhere %s", file, name, value, before)
			}
			values[name] = value
		}
	}
	return values
}

// giveFile does what setcap CAPABILITIES+ep does to the program, for the time of
// the test: struct vfs_cap_data of linux/capability.h, revision 2.
func giveFile(t *testing.T, caps ...uintptr) {
	t.Helper()
	const name, effective = "security.capability", 1
	var set uint64
	for _, c := range caps {
		set |= 1 << c
	}
	data := binary.LittleEndian.AppendUint32(nil, 0x02000000|effective)
	for _, permitted := range []uint32{uint32(set), uint32(set >> 32)} {
		const inheritable = 0
		data = binary.LittleEndian.AppendUint32(data, permitted)
		data = binary.LittleEndian.AppendUint32(data, inheritable)
	}
	bin := shareable(t)
	if err := unix.Setxattr(bin, name, data, 0); err != nil {
		testkit.Unable(t, "%s cannot have capabilities: %v", bin, err)
	}
	t.Cleanup(func() { unix.Removexattr(bin, name) })
}

// What was needed to begin is gone once dnshark watches, from every thread: all
// that remains is leave to look at other users' processes.
func TestLiveDrop(t *testing.T) {
	testkit.NeedRoot(t)
	ptrace := fmt.Sprintf("%016x", 1<<unix.CAP_SYS_PTRACE)
	ptraceAndRead := fmt.Sprintf("%016x", 1<<unix.CAP_SYS_PTRACE|1<<unix.CAP_DAC_READ_SEARCH)
	none := fmt.Sprintf("%016x", 0)
	own := status(t, os.Getpid(), "CapBnd")["CapBnd"]
	ways := []struct {
		who            string
		rights         *syscall.SysProcAttr
		args           []string
		uid            string
		kept, bounding string
	}{
		{"root", nil, nil, "0", ptrace, ptrace},
		{"root, hashing", nil, []string{"--exe-hash"}, "0", ptraceAndRead, ptraceAndRead},
		{"nobody", asNobody(socketCaps...), nil, "65534", ptrace, own},
		{"nobody, and no CAP_SYS_PTRACE", asNobody(socketCaps[:3]...), nil, "65534", none, own},
		{"root, of an interface", nil, []string{"-i", "lo"}, "0", none, none},
		{"nobody, of an interface", asNobody(unix.CAP_NET_RAW), []string{"-i", "lo"}, "65534", none, own},
		{"nobody, with a file that has capabilities", asNobody(), nil, "65534", ptrace, own},
	}
	for _, test := range ways {
		t.Run(test.who, func(t *testing.T) {
			if strings.Contains(test.who, "file") {
				giveFile(t, socketCaps...)
			}
			a := startAgentWith(t, test.rights, test.args...)
			// More threads come with work, from those that are there.
			host := testkit.NewHost(t)
			host.Dnsmasq("127.0.0.1")
			host.Run("dig", "@127.0.0.1", "drop.example.test")
			got := status(t, a.Process.Pid, "Uid", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
			want := map[string]string{
				"Uid":    strings.Join([]string{test.uid, test.uid, test.uid, test.uid}, "\t"),
				"CapInh": none, "CapPrm": test.kept, "CapEff": test.kept, "CapBnd": test.bounding, "CapAmb": none,
				"NoNewPrivs": "1", "Seccomp": "2",
			}
			if !maps.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
			if len(test.args) == 0 {
				a.one("drop.example.test")
			}
			if err := a.Stop(t); err != nil || strings.Contains(a.Output.String(), "packets: 0 seen;") && len(test.args) == 0 {
				t.Errorf("%v: %s", err, a.Output)
			}
		})
	}
	t.Logf("started in %d ways, of which it keeps at most CAP_SYS_PTRACE, and CAP_DAC_READ_SEARCH to hash", len(ways))
}

// A process that is older than dnshark is named by /proc, which takes
// CAP_SYS_PTRACE when it is another user's. Without, only the name is missing.
func TestLiveOlderProcess(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.NeedPrograms(t, "bash")
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		rights *syscall.SysProcAttr
		exe    string
	}{
		{"older-by-root", nil, realPath(t, bash)},
		{"older-named", asNobody(socketCaps...), realPath(t, bash)},
		{"older-nameless", asNobody(socketCaps[:3]...), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			host := testkit.NewHost(t)
			host.Dnsmasq("127.0.0.1")
			older := host.Command("bash", "-c", `read
printf '\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x`+fmt.Sprintf("%02x%s", len(test.name), test.name)+`\x07example\x04test\x00\x00\x01\x00\x01' > /dev/udp/127.0.0.1/53
read`)
			in, err := older.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			testkit.Start(t, older)
			testkit.Eventually(t, 5*time.Second, "bash", func() bool {
				comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", older.Process.Pid))
				return string(comm) == "bash\n"
			})
			a := startAgentWith(t, test.rights, "--timeout", "1s")
			fmt.Fprintln(in)
			testkit.Eventually(t, 5*time.Second, "an event", func() bool { return len(a.named(test.name+".example.test")) > 0 })
			p := a.named(test.name + ".example.test")[0].Process
			if p == nil || p.PID != older.Process.Pid || p.Comm != "bash" || p.Exe != test.exe {
				t.Errorf("%+v, want process %d with executable %q", p, older.Process.Pid, test.exe)
			}
		})
	}
}

// kernelIDs returns what a process holds of the kernel's eBPF objects: kind
// (link, prog, map) and number of each.
func kernelIDs(t *testing.T, pid int) (ids map[string][]uint32) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	ids = map[string][]uint32{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			// A link tells of its program too.
			name, value, _ := strings.Cut(strings.TrimSpace(line), ":\t")
			if kind, ok := strings.CutSuffix(name, "_id"); ok && (kind == "link" || kind == "prog" || kind == "map") {
				id, err := strconv.ParseUint(value, 10, 32)
				if err != nil {
					t.Fatalf("%s: %s", file, line)
				}
				ids[kind] = append(ids[kind], uint32(id))
			}
		}
	}
	return ids
}

// alive returns those of the objects that the kernel still has.
func alive(t *testing.T, ids map[string][]uint32) (left []string) {
	t.Helper()
	for kind, list := range ids {
		for _, id := range list {
			var object io.Closer
			var err error
			switch kind {
			case "link":
				object, err = link.NewFromID(link.ID(id))
			case "prog":
				object, err = ebpf.NewProgramFromID(ebpf.ProgramID(id))
			case "map":
				object, err = ebpf.NewMapFromID(ebpf.MapID(id))
			}
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				t.Fatalf("%s %d: %v", kind, id, err)
			}
			object.Close()
			left = append(left, fmt.Sprintf("%s %d", kind, id))
		}
	}
	return left
}

// However dnshark ends, nothing of it stays in the kernel, and the next one
// captures as if nothing had been.
func TestLiveKilled(t *testing.T) {
	host := testkit.NewHost(t)
	host.Dnsmasq("127.0.0.1")
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSEGV, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			a := startAgent(t)
			ids := kernelIDs(t, a.Process.Pid)
			if len(ids["link"]) < 2 || len(ids["prog"]) < 2 || len(ids["map"]) < 4 || len(alive(t, ids)) < 8 {
				t.Fatalf("dnshark holds %v", ids)
			}
			if err := a.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			a.Wait(t, 5*time.Second)
			testkit.Eventually(t, time.Second, "end of what it had in the kernel", func() bool { return len(alive(t, ids)) == 0 })
		})
	}
	a := startAgent(t)
	host.Run("dig", "@127.0.0.1", "after.example.test")
	if e := a.one("after.example.test"); e.Process == nil || e.Process.Comm != "dig" {
		t.Errorf("%+v", e)
	}
}
