// Package container is the step that says in which container, or in which
// systemd unit, the task that asked runs.
//
// The kernel tells a task's cgroup with its packets. The cgroup's path holds the
// container's id, and the runtime that made the container knows the rest:
//
//	path.go     path -> id, runtime, pod, unit
//	cgroups.go  cgroup id -> path
//	table.go    both for the line, one Table per lane
//	runtimes.go the runtimes' answers, asked for beside the line
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
)

// Table knows where tasks run. One per lane, so it needs no lock.
type Table struct {
	cgroups  *Cgroups
	runtimes *Runtimes
	places   recent[uint64, *place]
	// processes are those whose container is in hierarchies of cgroup v1 only.
	processes recent[process, *place]
	v1        bool // this host has such hierarchies
	now       int64
	file      [maxProc]byte // of /proc, the one that is being read
}

type process struct {
	tgid  uint32
	start uint64
}

// place is a cgroup. Many lanes and the runtimes may share it.
type place struct {
	Place
	path      string
	asked     int64                           // when the runtimes were, by the time of packets
	container atomic.Pointer[event.Container] // what is known so far, nil outside of containers
}

// NewTable returns a table for one lane. runtimes may be nil: then no more is
// known of a container than its cgroup's path tells.
func NewTable(c *Cgroups, r *Runtimes) *Table {
	return &Table{cgroups: c, runtimes: r, v1: hasV1()}
}

// Cgroup learns the path of a new cgroup. So it is known of a container that is
// gone before its first query arrives here, and its runtime is asked in time.
func (t *Table) Cgroup(c *event.Cgroup) {
	if c.Path != "" {
		t.places.put(t.now, c.ID, t.newPlace(ParsePath([]byte(c.Path)), c.Path))
	}
}

// Birth looks where a new process runs, while it does.
func (t *Table) Birth(b *event.Birth) {
	at := t.place(b.ID.Cgroup)
	if !t.v1 || at.container.Load() != nil {
		return
	}
	if b.ParentTGID == 0 {
		t.read(&b.ID)
	} else if p, ok := t.processes.get(t.now, process{b.ParentTGID, b.ParentStart}); ok {
		t.processes.put(t.now, process{b.ID.TGID, b.ID.Start}, p)
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
	who.Container, who.Unit = at.container.Load(), at.Unit
	if t.v1 && who.Container == nil && who.ID.Known() {
		at = t.process(who.ID)
		who.Container = at.container.Load()
		who.Unit = cmp.Or(who.Unit, at.Unit)
	}
	if who.Container != nil {
		who.Unit = ""
	}
}

// place returns the cgroup of an id, from the memory or from the kernel.
func (t *Table) place(id uint64) *place {
	if p, ok := t.places.get(t.now, id); ok {
		return t.fresh(p)
	}
	path, ok := t.cgroups.path(id)
	if !ok {
		return nowhere // perhaps it is known next time
	}
	p := t.newPlace(ParsePath([]byte(path)), path)
	t.places.put(t.now, id, p)
	return p
}

var nowhere = &place{}

// process returns where a process runs by all hierarchies.
func (t *Table) process(id *event.Identity) *place {
	if p, ok := t.processes.get(t.now, process{id.TGID, id.Start}); ok {
		return t.fresh(p)
	}
	return t.read(id)
}

// fresh asks about a place that is in use again now and then.
func (t *Table) fresh(p *place) *place {
	if t.now-p.asked >= int64(askAgain) && p != nowhere {
		p.asked = t.now
		t.runtimes.ask(p)
	}
	return p
}

// maxProc is as much as is read of /proc/PID/cgroup: a line for each of a dozen
// hierarchies.
const maxProc = 16 << 10

// read asks /proc. The answer is believed only if the process still has its id
// after reading.
func (t *Table) read(id *event.Identity) *place {
	p := nowhere
	file := readFile("/proc/"+strconv.FormatUint(uint64(id.TGID), 10)+"/cgroup", t.file[:])
	if len(file) > 0 && proc.Alive(id) {
		if parsed, path := ParseProc(file); path != "" {
			p = t.newPlace(parsed, path)
		}
	}
	t.processes.put(t.now, process{id.TGID, id.Start}, p)
	return p
}

func (t *Table) newPlace(parsed Place, path string) *place {
	p := &place{Place: parsed, path: path, asked: t.now}
	if p.ID != "" {
		p.container.Store(p.known())
	}
	t.runtimes.ask(p)
	return p
}

// known is what the path alone tells of a container.
func (p *place) known() *event.Container {
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

func unixNow() int64 { return time.Now().UnixNano() }

const (
	// keep is how long a place is of use after its cgroup is gone: until the
	// last query from there met its answer or the time limit.
	keep = 30 * time.Second
	// enough entries make a generation, unless it is younger than keep.
	enough = 4096
	// maxCached bounds a generation whatever its age.
	maxCached = 16384
)

// recent is a map that forgets what was not used between one and two
// generations.
type recent[K comparable, V any] struct {
	young, old map[K]V
	since      int64 // Unix time of the first entry of young, ns
}

func (r *recent[K, V]) get(now int64, k K) (V, bool) {
	v, ok := r.young[k]
	if !ok {
		if v, ok = r.old[k]; ok {
			r.put(now, k, v)
		}
	}
	return v, ok
}

func (r *recent[K, V]) put(now int64, k K, v V) {
	n := len(r.young)
	if n == 0 || n >= maxCached || n >= enough && now-r.since >= int64(keep) {
		r.young, r.old = make(map[K]V), r.young
		r.since = now
	}
	r.young[k] = v
}
