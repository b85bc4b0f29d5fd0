// Package proc is the step that says more about the task that asked than the
// kernel recorded with the packet.
//
// A process is known by its id, its start time and the file that it runs, so
// neither a reused id nor an execve after the query lends it a wrong name.
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

const (
	// keep is how long an entry is of use after its process ended: until the
	// last query of the process met its answer or the time limit.
	keep = 30 * time.Second
	// enough entries make a generation, unless it is younger than keep.
	enough = 4096
	// maxCached bounds a generation whatever its age: a host that starts
	// processes faster than they are forgotten must not make it grow.
	maxCached = 16384
)

// Table knows processes. One per lane, so it needs no lock. The zero value is
// ready for use.
type Table struct {
	young, old map[key]*event.Process
	now, since int64 // Unix time, and that of the first entry of young, ns
	boot       int64 // Unix time of the boot, ns
}

// key never meets two processes: a process id is not reused within the
// nanosecond in which its last owner started. The file tells what a process ran
// when it asked from what it runs since its last execve.
type key struct {
	tgid  uint32
	dev   uint32
	gen   uint32
	start uint64
	ino   uint64
}

func keyOf(id *event.Identity) key {
	return key{id.TGID, id.ExeDev, id.ExeGen, id.Start, id.ExeIno}
}

// Birth learns what a process runs. So it is known of a process that is gone
// before its first query arrives here.
func (t *Table) Birth(b *event.Birth) {
	p := &event.Process{Exe: b.Exe, Args: b.Args}
	if b.ParentTGID != 0 {
		// A forked process runs what its parent ran at that moment.
		parent := b.ID
		parent.TGID, parent.Start = b.ParentTGID, b.ParentStart
		*p = *t.find(&parent)
	}
	if p.Exe == "" {
		return // perhaps /proc knows, when somebody asks
	}
	p.StartTime = t.startTime(&b.ID)
	t.put(keyOf(&b.ID), p)
}

// Process fills Process of every event whose asker is known.
func (t *Table) Process(b *event.Batch) {
	t.now = b.Now
	for i := range b.Events {
		e := &b.Events[i]
		if id := e.Asker.ID; id != nil && id.Known() {
			e.Asker.Process = t.find(id)
		}
	}
}

func (t *Table) find(id *event.Identity) *event.Process {
	k := keyOf(id)
	if p, ok := t.young[k]; ok {
		return p
	}
	p, ok := t.old[k]
	if !ok {
		p = t.read(id)
	}
	t.put(k, p)
	return p
}

// put makes an entry. What was used since young became the current generation
// is in young, so an entry is dropped between one and two generations after its
// last use.
func (t *Table) put(k key, p *event.Process) {
	n := len(t.young)
	if n == 0 || n >= maxCached || n >= enough && t.now-t.since >= int64(keep) {
		t.young, t.old = make(map[key]*event.Process), t.young
		t.since = t.now
	}
	t.young[k] = p
}

func (t *Table) startTime(id *event.Identity) int64 {
	if t.boot == 0 {
		t.boot = bootTime()
	}
	return t.boot + int64(id.Start)
}

// read asks /proc about a process that was not seen to be born. The answer is
// believed only if process id, start time and file were those of the identity
// after reading.
func (t *Table) read(id *event.Identity) *event.Process {
	p := &event.Process{StartTime: t.startTime(id)}
	dir := "/proc/" + strconv.FormatUint(uint64(id.TGID), 10)
	exe, err := os.Readlink(dir + "/exe")
	if err != nil {
		return p
	}
	args := readArgs(dir)
	var file unix.Stat_t
	// Only the inode's number: overlayfs and btrfs show another device than
	// the kernel uses itself.
	if unix.Stat(dir+"/exe", &file) == nil && file.Ino == id.ExeIno && startTicks(dir) == id.Start/nsPerTick {
		p.Exe, p.Args = exe, args
	}
	return p
}

// maxArgs is as much as comes with a birth.
const maxArgs = 256

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

// nsPerTick is the unit of times in /proc: USER_HZ is 100 on every platform
// that Go knows.
const nsPerTick = 10_000_000

// startTicks returns when a process started, in ticks since boot, or 0.
func startTicks(dir string) uint64 {
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return 0
	}
	// The name in field 2 may hold spaces and parentheses of its own.
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return 0
	}
	fields := bytes.Fields(stat[end+1:])
	const startTime = 22 - 3 // proc(5) counts from 1, and field 3 comes first here
	if len(fields) <= startTime {
		return 0
	}
	ticks, err := strconv.ParseUint(string(fields[startTime]), 10, 64)
	if err != nil {
		return 0
	}
	return ticks
}

func bootTime() int64 {
	var boot unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil {
		return 0
	}
	return time.Now().UnixNano() - boot.Nano()
}
