package proc

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

func self(t *testing.T) *event.Identity {
	t.Helper()
	stat, ok := readStat("/proc/self")
	if !ok {
		t.Fatal("the start time of this process is not readable")
	}
	var exe unix.Stat_t
	if err := unix.Stat("/proc/self/exe", &exe); err != nil {
		t.Fatal(err)
	}
	return &event.Identity{TGID: uint32(os.Getpid()), Start: stat.start*nsPerTick + 1234, PPID: uint32(os.Getppid()), ExeIno: exe.Ino}
}

func TestFindSelf(t *testing.T) {
	var table Table
	p := table.find(self(t))
	want, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if p.Exe != want {
		t.Errorf("exe = %q, want %q", p.Exe, want)
	}
	if first, _, _ := strings.Cut(p.Args, "\x00"); first != os.Args[0] || len(p.Args) > maxArgs {
		t.Errorf("args = %q, want %q first", p.Args, os.Args[0])
	}
	if cwd, _ := os.Getwd(); p.Cwd != cwd {
		t.Errorf("cwd = %q, want %q", p.Cwd, cwd)
	}
	parent := p.Ancestors[0]
	exe, _ := os.Readlink("/proc/" + strconv.Itoa(os.Getppid()) + "/exe")
	if parent.PID != uint32(os.Getppid()) || parent.Exe != exe || parent.Comm[0] == 0 || parent.StartTime > p.StartTime {
		t.Errorf("parent = %+v, want %s", parent, exe)
	}
	if last := p.Ancestors[len(p.Ancestors)-1]; last.PID != 1 && len(p.Ancestors) != event.MaxAncestors {
		t.Errorf("the ancestors end with process %d", last.PID)
	}
	if age := time.Since(time.Unix(0, p.StartTime)); age < 0 || age > time.Hour {
		t.Errorf("the process seems to have started %v ago", age)
	}
}

// A process id that was given away must not lend its new owner's name.
func TestReusedPID(t *testing.T) {
	var table Table
	id := self(t)
	id.Start -= 5 * nsPerTick
	if p := table.find(id); p.Exe != "" {
		t.Errorf("exe = %q for a process that started at another time", p.Exe)
	}
}

// A process that runs something else by the time that /proc is read.
func TestOtherFile(t *testing.T) {
	var table Table
	id := self(t)
	id.ExeIno++
	if p := table.find(id); p.Exe != "" || p.Args != "" {
		t.Errorf("%+v for a process that ran another file", p)
	}
}

// gone is a process that is in no /proc.
func gone(start uint64) event.Identity {
	return event.Identity{TGID: 1 << 30, Start: start, ExeDev: 1, ExeGen: 2, ExeIno: 3}
}

func TestExec(t *testing.T) {
	var table Table
	before, after, reused := gone(5), gone(5), gone(6)
	after.ExeIno = 4
	table.Birth(&event.Birth{ID: before, Exe: "/bin/sh", Args: "sh\x00--token\x00s\x00", Cwd: "/root"})
	table.Birth(&event.Birth{ID: after, Exe: "/usr/bin/dig"})
	b := event.Batch{}
	for _, id := range []*event.Identity{&after, &before, &reused, nil} {
		b.Next().Asker.ID = id
	}
	table.Process(&b)
	for i, want := range []string{"/usr/bin/dig", "/bin/sh", ""} {
		if p := b.Events[i].Asker.Process; p.Exe != want || p.StartTime == 0 {
			t.Errorf("process %d: %+v, want exe %q", i, *p, want)
		}
	}
	if b.Events[3].Asker.Process != nil {
		t.Error("a process for nobody")
	}
	if p := b.Events[1].Asker.Process; p.Args != "sh\x00--token\x00[redacted]\x00" || p.Cwd != "/root" {
		t.Errorf("%+v", *p)
	}
}

func TestFork(t *testing.T) {
	var table Table
	parent, child, orphan := gone(5), gone(7), gone(9)
	child.TGID++
	table.Birth(&event.Birth{ID: parent, Exe: "/bin/sh"})
	table.Birth(&event.Birth{ID: child, ParentTGID: parent.TGID, ParentStart: parent.Start})
	table.Birth(&event.Birth{ID: orphan, ParentTGID: 1 << 29, ParentStart: 1})
	p := table.find(&child)
	if p.Exe != "/bin/sh" || p.StartTime-table.find(&parent).StartTime != 2 {
		t.Errorf("the child: %+v", *p)
	}
	if p := table.find(&orphan); p.Exe != "" {
		t.Errorf("the child of nobody known: %+v", *p)
	}
	// The parent is older than the table, and its child is gone.
	me, mine := self(t), *self(t)
	mine.TGID, mine.Start = 1<<30, me.Start+1
	table.Birth(&event.Birth{ID: mine, ParentTGID: me.TGID, ParentStart: me.Start})
	if exe, _ := os.Executable(); table.find(&mine).Exe != exe {
		t.Errorf("the child of this process: %+v", *table.find(&mine))
	}
}

// Ancestors are who they were when they forked, whatever became of them or of
// their ids.
func TestAncestors(t *testing.T) {
	var table Table
	id := gone(100)
	table.Birth(&event.Birth{ID: id, Exe: "/sbin/init"})
	for i := range uint64(7) {
		child := id
		child.TGID++
		child.Start++
		child.Comm = [16]byte{byte('a' + i)}
		table.Birth(&event.Birth{ID: child, ParentTGID: id.TGID, ParentStart: id.Start})
		child.ExeIno++
		table.Birth(&event.Birth{ID: child, Exe: "/bin/" + strconv.Itoa(int(i))})
		id = child
	}
	// The parent runs something else, ends, and its id is another's.
	parent := id
	parent.TGID, parent.Start, parent.ExeIno = id.TGID-1, id.Start-1, 77
	table.Birth(&event.Birth{ID: parent, Exe: "/bin/other"})
	parent.Start += 1000
	table.Birth(&event.Birth{ID: parent, Exe: "/bin/stranger"})
	p := table.find(&id)
	if p.Exe != "/bin/6" || len(p.Ancestors) != event.MaxAncestors {
		t.Fatalf("%s with %d ancestors, want %d", p.Exe, len(p.Ancestors), event.MaxAncestors)
	}
	for i, a := range p.Ancestors {
		n := 5 - i
		if a.PID != id.TGID-uint32(i)-1 || a.Exe != "/bin/"+strconv.Itoa(n) || a.Comm[0] != byte('a'+n) ||
			a.StartTime != p.StartTime-int64(i)-1 {
			t.Errorf("ancestor %d: %+v", i, a)
		}
	}
	// A child that never calls execve has its parent's parents too.
	child := id
	child.TGID++
	table.Birth(&event.Birth{ID: child, ParentTGID: id.TGID, ParentStart: id.Start})
	if p := table.find(&child); p.Exe != "/bin/6" || p.Ancestors[0].Exe != "/bin/6" || p.Ancestors[1].Exe != "/bin/5" {
		t.Errorf("the child that only was forked: %+v", p.Ancestors)
	}
}

// Once an event has a process, nothing is allocated for the next.
func TestProcessAllocations(t *testing.T) {
	var table Table
	id := gone(5)
	table.Birth(&event.Birth{ID: id, Exe: "/bin/sh", Args: "sh\x00"})
	b := event.Batch{}
	b.Next().Asker.ID = &id
	table.Process(&b)
	if n := testing.AllocsPerRun(100, func() { table.Process(&b) }); n != 0 {
		t.Errorf("%v allocations per event, want none", n)
	}
}

func TestArgs(t *testing.T) {
	for _, test := range []struct{ name, want string }{
		{"none", ""}, {"redacted", "x\x00-key\x00[redacted]\x00"}, {"all", "x\x00-key\x00k\x00"},
	} {
		args, err := ParseArgs(test.name)
		if err != nil {
			t.Fatal(err)
		}
		table, id := Table{Args: args}, gone(5)
		table.Birth(&event.Birth{ID: id, Exe: "/bin/x", Args: "x\x00-key\x00k\x00"})
		b := event.Batch{}
		b.Next().Asker.ID = &id
		table.Process(&b)
		if p := b.Events[0].Asker.Process; p.Args != test.want {
			t.Errorf("%s: %q, want %q", test.name, p.Args, test.want)
		}
	}
	if _, err := ParseArgs("some"); err == nil {
		t.Error("no error")
	}
}

// On a busy host entries are of use for a while after their processes ended.
func TestKept(t *testing.T) {
	var table Table
	id := gone(0)
	table.Birth(&event.Birth{ID: id, Exe: "/usr/bin/dig"})
	start := uint64(1)
	for ms := range int64(65_000) {
		table.Process(&event.Batch{Now: ms * int64(time.Millisecond)})
		if ms%4 == 0 {
			table.Birth(&event.Birth{ID: gone(start), Exe: "/bin/true"})
			start++
		}
		if ms == 20_000 {
			table.find(&id)
		}
		if _, ok := table.young[keyOf(&id)]; !ok && ms < 20_000+keep.Milliseconds() {
			if _, ok := table.old[keyOf(&id)]; !ok {
				t.Fatalf("forgotten after %d ms", ms)
			}
		}
	}
	if n := len(table.young) + len(table.old); n >= 2*int(start) { // each birth makes two
		t.Errorf("all %d entries are still there", n)
	}
}

func TestBounded(t *testing.T) {
	var table Table
	for i := range uint64(5 * maxCached) {
		table.Birth(&event.Birth{ID: gone(i), Exe: "/bin/true"})
	}
	if n := len(table.young) + len(table.old); n > 2*maxCached {
		t.Errorf("%d processes cached, want at most %d", n, 2*maxCached)
	}
}

func TestBoundedOctets(t *testing.T) {
	var table Table
	for i := range uint64(maxCached) {
		id := gone(i)
		table.Birth(&event.Birth{ID: id, Exe: strings.Repeat("\x01", 700), Cwd: strings.Repeat("\x01", 700)})
		b := event.Batch{}
		b.Next().Asker.ID = &id
		table.Process(&b)
		if table.octets > maxOctets+64<<10 {
			t.Fatalf("%d octets in a generation", table.octets)
		}
	}
	if n := len(table.young); n >= maxCached {
		t.Errorf("%d entries in a generation", n)
	}
}

// A fork and an execve, as on a host where programs come and go.
func BenchmarkBirth(b *testing.B) {
	var table Table
	shell := gone(0)
	table.Birth(&event.Birth{ID: shell, Exe: "/bin/sh"})
	b.ReportAllocs()
	for i := range uint64(b.N) {
		child := gone(i + 1)
		table.Birth(&event.Birth{ID: child, ParentTGID: shell.TGID, ParentStart: shell.Start})
		child.ExeIno++
		table.Birth(&event.Birth{ID: child, Exe: "/bin/true", Args: "true\x00"})
	}
}

// A process whose command line cannot be read, and many of them, hold nobody up.
func TestStuckArgs(t *testing.T) {
	stuck, good := t.TempDir(), t.TempDir()
	pipe := filepath.Join(stuck, "cmdline")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(good, "cmdline"), []byte("a\x00b\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	var table Table
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 100 {
			if args := table.args(stuck); args != "" {
				t.Errorf("%q", args)
			}
		}
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the table waits")
	}
	// Whoever writes lets the readers go.
	w, err := os.OpenFile(pipe, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	testkit.Eventually(t, 5*time.Second, "command lines to be read again", func() bool { return table.args(good) == "a\x00b\x00" })
}
