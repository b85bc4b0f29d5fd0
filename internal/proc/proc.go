// Package proc is the step that says more about the task that asked than the
// kernel recorded with the packet. What it reads from /proc is checked against
// the task's start time, so that a reused process id never gives a wrong name.
package proc

import (
	"bytes"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/event"
)

// maxCached bounds the table: a host that starts processes faster than they
// are forgotten must not make it grow.
const maxCached = 4096

// Table knows processes. One per lane, so it needs no lock. The zero value is
// ready for use.
type Table struct {
	young, old map[key]*event.Process
	boot       int64 // Unix time of the boot, ns
}

// key never meets two processes: a process id is not reused within the
// nanosecond in which its last owner started.
type key struct {
	tgid  uint32
	start uint64
}

// Process fills Process of every event whose asker is known.
func (t *Table) Process(b *event.Batch) {
	for i := range b.Events {
		e := &b.Events[i]
		if e.Asker != nil && e.Asker.Known() {
			e.Process = t.find(e.Asker)
		}
	}
}

func (t *Table) find(id *event.Identity) *event.Process {
	k := key{id.TGID, id.Start}
	if p, ok := t.young[k]; ok {
		return p
	}
	p, ok := t.old[k]
	if !ok {
		p = t.read(id)
	}
	if t.young == nil || len(t.young) >= maxCached {
		t.young, t.old = make(map[key]*event.Process, maxCached/8), t.young
	}
	t.young[k] = p
	return p
}

func (t *Table) read(id *event.Identity) *event.Process {
	if t.boot == 0 {
		t.boot = bootTime()
	}
	p := &event.Process{StartTime: t.boot + int64(id.Start)}
	dir := "/proc/" + strconv.FormatUint(uint64(id.TGID), 10)
	exe, err := os.Readlink(dir + "/exe")
	// Check the start time after reading: the process may have ended, and its
	// id may have been given away, in between.
	if err == nil && startTicks(dir) == id.Start/nsPerTick {
		p.Exe = exe
	}
	return p
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
