package proc

import (
	"os"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/event"
)

func self(t *testing.T) *event.Identity {
	t.Helper()
	ticks := startTicks("/proc/self")
	if ticks == 0 {
		t.Fatal("the start time of this process is not readable")
	}
	return &event.Identity{TGID: uint32(os.Getpid()), Start: ticks*nsPerTick + 1234}
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

func TestBounded(t *testing.T) {
	var table Table
	for i := range uint64(5 * maxCached) {
		table.find(&event.Identity{TGID: 1 << 30, Start: i})
	}
	if n := len(table.young) + len(table.old); n > 2*maxCached {
		t.Errorf("%d processes cached, want at most %d", n, 2*maxCached)
	}
}
