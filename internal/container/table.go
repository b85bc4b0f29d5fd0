// Package container is the step that says in which container, or in which
// systemd unit, the task that asked runs.
//
// The kernel tells a task's cgroup with its packets. The cgroup's path holds the
// container's id, and the runtime that made the container knows the rest:
//
//	path.go     path -> id, runtime, pod, unit
//	cgroups.go  cgroup id -> path
//	table.go    both for the line, one Table per lane
//
// Package runtimes asks the runtimes.
package container

import (
	"cmp"
	"io"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/proc"
	"github.com/dnshark-io/dnshark/internal/recent"
)

// Table knows where tasks run. One per lane, so it needs no lock.
type Table struct {
	cgroups  *Cgroups
	runtimes Runtimes
	places   recent.Map[uint64, *Cgroup]
	// processes are those whose container is in hierarchies of cgroup v1 only.
	processes recent.Map[process, *Cgroup]
	v1        bool // this host has such hierarchies
	now       int64
	file      [maxProc]byte // of /proc, the one that is being read
}

type process struct {
	tgid  uint32
	start uint64
}

// Cgroup is where tasks run. Many lanes and the runtimes may share it.
type Cgroup struct {
	Place
	Path      string
	Container atomic.Pointer[event.Container] // what is known so far, nil outside of containers
	asked     int64                           // when the runtimes were, by the time of packets
}

// Runtimes know more of a container than its cgroup's path tells.
type Runtimes interface {
	// Ask asks about a cgroup, and returns at once. Answers go to its Container.
	Ask(*Cgroup)
}

// AskAgain is how long an answer holds for a cgroup that is still in use: a
// container may get another name, and a runtime may come to know one late.
var AskAgain = time.Minute

// NewTable returns a table for one lane. runtimes may be nil.
func NewTable(c *Cgroups, r Runtimes) *Table {
	if r == nil {
		r = nobody{}
	}
	return &Table{cgroups: c, runtimes: r, v1: hasV1()}
}

// Cgroup learns the path of a new cgroup. So it is known of a container that is
// gone before its first query arrives here, and its runtime is asked in time.
func (t *Table) Cgroup(c *event.Cgroup) {
	if c.Path != "" {
		t.places.Put(t.now, c.ID, t.newPlace(ParsePath([]byte(c.Path)), c.Path))
	}
}

// Birth looks where a new process runs, while it does.
func (t *Table) Birth(b *event.Birth) {
	at := t.place(b.ID.Cgroup)
	if !t.v1 || at.Container.Load() != nil {
		return
	}
	if b.ParentTGID == 0 {
		t.read(&b.ID)
	} else if p, ok := t.processes.Get(t.now, process{b.ParentTGID, b.ParentStart}); ok {
		t.processes.Put(t.now, process{b.ID.TGID, b.ID.Start}, p)
	}
}

// Process fills in the container or the unit of whoever is known.
func (t *Table) Process(b *event.Batch) {
	t.now = b.Now
	for i := range b.Events {
		e := &b.Events[i]
		t.fill(&e.Asker)
		t.fill(&e.Server)
	}
}

func (t *Table) fill(who *event.Party) {
	if who.ID == nil || who.ID.Cgroup == 0 {
		return
	}
	at := t.place(who.ID.Cgroup)
	who.Container, who.Unit = at.Container.Load(), at.Unit
	if t.v1 && who.Container == nil && who.ID.Known() {
		at = t.process(who.ID)
		who.Container = at.Container.Load()
		who.Unit = cmp.Or(who.Unit, at.Unit)
	}
	if who.Container != nil {
		who.Unit = ""
	}
}

// place returns the cgroup of an id, from the memory or from the kernel.
func (t *Table) place(id uint64) *Cgroup {
	if p, ok := t.places.Get(t.now, id); ok {
		return t.fresh(p)
	}
	path, ok := t.cgroups.path(id)
	if !ok {
		return nowhere // perhaps it is known next time
	}
	p := t.newPlace(ParsePath([]byte(path)), path)
	t.places.Put(t.now, id, p)
	return p
}

var nowhere = &Cgroup{}

// nobody is Runtimes where none are.
type nobody struct{}

func (nobody) Ask(*Cgroup) {}

// process returns where a process runs by all hierarchies.
func (t *Table) process(id *event.Identity) *Cgroup {
	if p, ok := t.processes.Get(t.now, process{id.TGID, id.Start}); ok {
		return t.fresh(p)
	}
	return t.read(id)
}

// fresh asks about a place that is in use again now and then.
func (t *Table) fresh(p *Cgroup) *Cgroup {
	if t.now-p.asked >= int64(AskAgain) && p != nowhere {
		p.asked = t.now
		t.runtimes.Ask(p)
	}
	return p
}

// maxProc is as much as is read of /proc/PID/cgroup: a line for each of a dozen
// hierarchies.
const maxProc = 16 << 10

// read asks /proc. The answer is believed only if the process still has its id
// after reading.
func (t *Table) read(id *event.Identity) *Cgroup {
	p := nowhere
	file := readFile("/proc/"+strconv.FormatUint(uint64(id.TGID), 10)+"/cgroup", t.file[:])
	if len(file) > 0 && proc.Alive(id) {
		if parsed, path := ParseProc(file); path != "" {
			p = t.newPlace(parsed, path)
		}
	}
	t.processes.Put(t.now, process{id.TGID, id.Start}, p)
	return p
}

func (t *Table) newPlace(parsed Place, path string) *Cgroup {
	p := &Cgroup{Place: parsed, Path: path, asked: t.now}
	if p.ID != "" {
		p.Container.Store(p.known())
	}
	t.runtimes.Ask(p)
	return p
}

// known is what the path alone tells of a container.
func (p *Cgroup) known() *event.Container {
	c := &event.Container{ID: p.ID, Runtime: p.Runtime}
	if p.Pod != "" {
		c.Pod = &event.Pod{UID: p.Pod}
	}
	return c
}

// hasV1 reports whether tasks are in hierarchies of cgroup v1: lines of
// /proc/PID/cgroup with another number than 0 (cgroups(7)).
func hasV1() bool {
	file := readFile("/proc/self/cgroup", make([]byte, maxProc))
	for i, c := range file {
		if (i == 0 || file[i-1] == '\n') && c != '0' {
			return true
		}
	}
	return false
}

// readFile reads as much of a file as buf takes, or nothing.
func readFile(name string, buf []byte) []byte {
	f, err := os.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	n, _ := io.ReadFull(f, buf)
	return buf[:n]
}
