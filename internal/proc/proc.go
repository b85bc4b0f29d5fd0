// Package proc is the step that says more about the tasks at the ends of a
// conversation than the kernel recorded with the packet.
//
// A process is known by its id, its start time and the file that it runs, so
// neither a reused id nor an execve after the query lends it a wrong name.
package proc

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/dnshark-io/dnshark/event"
)

const (
	// keep is how long an entry is of use after its process ended: until the
	// last query of the process met its answer or the time limit.
	keep = 30 * time.Second
	// enough entries make a generation, unless it is younger than keep. A process
	// that is forked and calls execve has three.
	enough = 4096
	// maxCached bounds a generation whatever its age: a host that starts
	// processes faster than they are forgotten must not make it grow.
	maxCached = 24576
	// maxOctets bounds the memory of a generation in the same way: paths and
	// arguments may be long.
	maxOctets = 32 << 20
)

// Table knows processes. One per lane, so it needs no lock. The zero value is
// ready for use.
type Table struct {
	// Args says what becomes of command lines.
	Args Args

	young, old map[key]*entry
	octets     int   // in young, at most
	now, since int64 // Unix time, and that of the first entry of young, ns
	boot       int64 // Unix time of the boot, ns
	users      users
	hasher     *hasher      // nil: no hashes
	stuck      atomic.Int32 // command lines that are being read
}

// Args says what events show of command lines.
type Args uint8

// What events show of command lines.
const (
	ArgsRedacted Args = iota // all but secrets
	ArgsNone
	ArgsAll
)

// ParseArgs returns the Args of that name: redacted, none or all.
func ParseArgs(name string) (Args, error) {
	for a, n := range ArgsNames {
		if n == name {
			return Args(a), nil
		}
	}
	return 0, fmt.Errorf("%q is none of %s", name, strings.Join(ArgsNames, ", "))
}

// ArgsNames are the names of Args.
var ArgsNames = []string{"redacted", "none", "all"}

// entry is a process as it is between two execves.
type entry struct {
	event.Process
	comm      [16]byte
	published bool // an event may have it: it changes no more
	hashed    bool // its hash was asked for
	// children are the Ancestors of whom it forks, nil before it forks.
	children []event.Ancestor
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

// lifeOf is the key of a process whatever it runs: of its latest entry.
func lifeOf(id *event.Identity) key { return key{tgid: id.TGID, dev: ^uint32(0), start: id.Start} }

// Birth learns what a process runs. So it is known of a process that is gone
// before its first query arrives here.
func (t *Table) Birth(b *event.Birth) {
	e := &entry{comm: b.ID.Comm}
	if b.ParentTGID != 0 {
		// A forked process runs what its parent ran at that moment.
		parent := b.ID
		parent.TGID, parent.Start = b.ParentTGID, b.ParentStart
		from := t.find(&parent)
		e.Exe, e.Cwd, e.Args, e.ExeSHA256 = from.Exe, from.Cwd, from.Args, from.ExeSHA256
		if from.children == nil {
			from.children = descend(&parent, from)
		}
		e.Ancestors = from.children
	} else {
		e.Exe, e.Cwd, e.Args = b.Exe, b.Cwd, b.Args
		e.Ancestors = t.ancestors(&b.ID)
	}
	e.StartTime = t.startTime(&b.ID)
	t.put(lifeOf(&b.ID), e)
	if e.Exe != "" { // else perhaps /proc knows, when somebody asks
		t.put(keyOf(&b.ID), e)
	}
}

// descend returns the ancestors of whom a process forks.
func descend(id *event.Identity, e *entry) []event.Ancestor {
	list := make([]event.Ancestor, 0, event.MaxAncestors)
	list = append(list, event.Ancestor{PID: id.TGID, Comm: e.comm, Exe: e.Exe, StartTime: e.StartTime})
	return append(list, e.Ancestors[:min(len(e.Ancestors), event.MaxAncestors-1)]...)
}

// ancestors returns those that a process was born with.
func (t *Table) ancestors(id *event.Identity) []event.Ancestor {
	if e := t.get(lifeOf(id)); e != nil {
		return e.Ancestors
	}
	return t.readAncestors(id)
}

// Process fills in what is known of both ends of every event.
func (t *Table) Process(b *event.Batch) {
	t.now = b.Now
	t.collect()
	for i := range b.Events {
		e := &b.Events[i]
		t.fill(&e.Asker)
		t.fill(&e.Server)
	}
}

func (t *Table) fill(who *event.Party) {
	id := who.ID
	if id == nil || !id.Known() {
		return
	}
	e := t.find(id)
	if !e.published {
		t.publish(e)
	}
	if t.hasher != nil && !e.hashed && e.Exe != "" {
		e.hashed = e.ExeSHA256 != "" || t.hasher.ask(job{*id, e.Exe, e.StartTime})
	}
	who.Process = &e.Process
	who.User = t.users.name(id.UID, t.now)
}

// publish makes an entry ready to be seen.
func (t *Table) publish(e *entry) {
	switch t.Args {
	case ArgsNone:
		e.Args = ""
	case ArgsRedacted:
		e.Args = Redact(e.Args)
	}
	t.octets += e.Render()
	e.published = true
}

// HashExes makes the table tell the SHA-256 of executables, from the moment on
// at which it is known. Close ends it.
func (t *Table) HashExes() {
	t.hasher = newHasher()
	go t.hasher.run()
}

// Close stops what runs beside the table.
func (t *Table) Close() {
	if t.hasher != nil {
		close(t.hasher.stop)
	}
}

// collect takes the hashes that are ready. Events have the old entry, so there
// is a new one.
func (t *Table) collect() {
	for t.hasher != nil {
		select {
		case h := <-t.hasher.done:
			old := t.get(keyOf(&h.id))
			if old == nil || h.sum == "" {
				continue
			}
			e := *old
			e.ExeSHA256 = h.sum
			e.Render()
			t.put(keyOf(&h.id), &e)
			if t.get(lifeOf(&h.id)) == old {
				t.put(lifeOf(&h.id), &e)
			}
		default:
			return
		}
	}
}

func (t *Table) find(id *event.Identity) *entry {
	k := keyOf(id)
	e := t.get(k)
	if e == nil {
		e = t.read(id)
		t.put(k, e)
	}
	return e
}

// get returns an entry or nil.
func (t *Table) get(k key) *entry {
	if e, ok := t.young[k]; ok {
		return e
	}
	e, ok := t.old[k]
	if ok {
		t.put(k, e)
	}
	return e
}

// put makes an entry. What was used since young became the current generation
// is in young, so an entry is dropped between one and two generations after its
// last use.
func (t *Table) put(k key, e *entry) {
	n := len(t.young)
	if n == 0 || n >= maxCached || t.octets >= maxOctets || n >= enough && t.now-t.since >= int64(keep) {
		t.young, t.old = make(map[key]*entry), t.young
		t.since, t.octets = t.now, 0
	}
	t.octets += int(unsafe.Sizeof(*e)) + len(e.Exe) + len(e.Cwd) + len(e.Args)
	t.young[k] = e
}

func (t *Table) startTime(id *event.Identity) int64 {
	return t.bootTime() + int64(id.Start)
}

func (t *Table) bootTime() int64 {
	if t.boot == 0 {
		t.boot = bootTime()
	}
	return t.boot
}
