package proc

import (
	"bytes"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/event"
)

// read asks /proc about a process that was not seen to be born. The answer is
// believed only if process id, start time and file were those of the identity
// after reading.
func (t *Table) read(id *event.Identity) *entry {
	e := &entry{comm: id.Comm}
	e.StartTime = t.startTime(id)
	e.Ancestors = t.ancestors(id)
	dir := procDir(id.TGID)
	exe, err := os.Readlink(dir + "/exe")
	if err != nil {
		return e
	}
	cwd, _ := os.Readlink(dir + "/cwd")
	args := t.args(dir)
	// Only the inode's number: overlayfs and btrfs show another device than
	// the kernel uses itself.
	if ino, ok := inodeOf(dir + "/exe"); !ok || ino != id.ExeIno {
		return e
	}
	if s, ok := readStat(dir); ok && s.start == id.Start/nsPerTick {
		e.Exe, e.Cwd, e.Args, e.comm = exe, cwd, args, s.comm
	}
	return e
}

func procDir(pid uint32) string { return "/proc/" + strconv.FormatUint(uint64(pid), 10) }

// Alive reports whether a process still has its id.
func Alive(id *event.Identity) bool {
	s, ok := readStat(procDir(id.TGID))
	return ok && s.start == id.Start/nsPerTick
}

// inodeOf asks no file server, which may be dead.
func inodeOf(path string) (uint64, bool) {
	var x unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_STATX_DONT_SYNC, unix.STATX_INO, &x)
	return x.Ino, err == nil
}

const (
	// maxArgs is as much as comes with a birth.
	maxArgs = 256
	// A command line lies in the memory of its process, which may be on a dead
	// file server, or be locked, or wait for a debugger. The line does not wait
	// with it: for no longer than patience, and for at most maxStuck at a time.
	patience = 20 * time.Millisecond
	maxStuck = 4
)

// args returns a command line, or "" when it does not come in time.
func (t *Table) args(dir string) string {
	if t.stuck.Add(1) > maxStuck {
		t.stuck.Add(-1)
		return ""
	}
	got := make(chan string, 1)
	go func() {
		args := readArgs(dir)
		t.stuck.Add(-1)
		got <- args
	}()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case args := <-got:
		return args
	case <-limit.C:
		return ""
	}
}

func readArgs(dir string) string {
	f, err := os.Open(dir + "/cmdline")
	if err != nil {
		return ""
	}
	defer f.Close()
	var args [maxArgs]byte
	n, _ := io.ReadFull(f, args[:])
	return string(args[:n])
}

// readAncestors asks /proc who a process descends from. A parent cannot have
// ended, nor its id been reused, while its child still names it afterwards.
func (t *Table) readAncestors(id *event.Identity) (list []event.Ancestor) {
	dir := procDir(id.TGID)
	child, ok := readStat(dir)
	if !ok || child.start != id.Start/nsPerTick {
		return nil
	}
	for len(list) < event.MaxAncestors && child.ppid != 0 {
		above := procDir(child.ppid)
		parent, ok := readStat(above)
		exe, _ := os.Readlink(above + "/exe")
		again, still := readStat(dir)
		if !ok || !still || again.ppid != child.ppid || again.start != child.start {
			break
		}
		list = append(list, event.Ancestor{
			PID: child.ppid, Comm: parent.comm, Exe: exe, StartTime: t.bootTime() + int64(parent.start)*nsPerTick,
		})
		child, dir = parent, above
	}
	return list
}

// nsPerTick is the unit of times in /proc: USER_HZ is 100 on every platform
// that Go knows.
const nsPerTick = 10_000_000

// stat is what is wanted of /proc/PID/stat.
type stat struct {
	comm  [16]byte
	ppid  uint32
	start uint64 // ticks since boot
}

func readStat(dir string) (s stat, ok bool) {
	text, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return s, false
	}
	// The name in field 2 may hold spaces and parentheses of its own.
	begin, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if begin < 0 || end < begin {
		return s, false
	}
	copy(s.comm[:len(s.comm)-1], text[begin+1:end])
	fields := bytes.Fields(text[end+1:])
	const ppid, startTime = 4 - 3, 22 - 3 // proc(5) counts from 1, and field 3 comes first here
	if len(fields) <= startTime {
		return s, false
	}
	parent, err := strconv.ParseUint(string(fields[ppid]), 10, 32)
	if err != nil {
		return s, false
	}
	s.ppid = uint32(parent)
	s.start, err = strconv.ParseUint(string(fields[startTime]), 10, 64)
	return s, err == nil
}

func bootTime() int64 {
	var boot unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil {
		return 0
	}
	return time.Now().UnixNano() - boot.Nano()
}
