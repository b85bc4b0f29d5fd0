package proc

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/event"
)

// The hash comes with a later event, and the earlier one stays as it is.
func TestHash(t *testing.T) {
	var table Table
	table.HashExes()
	defer table.Close()
	exe, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(exe)
	want := hex.EncodeToString(sum[:])
	id := self(t)
	var first *event.Process
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		b := event.Batch{}
		b.Next().Asker.ID = id
		table.Process(&b)
		p := b.Events[0].Asker.Process
		if first == nil {
			first = p
		}
		if p.ExeSHA256 == want {
			break
		}
		if time.Now().After(end) || p.ExeSHA256 != "" {
			t.Fatalf("hash %q, want %q", p.ExeSHA256, want)
		}
	}
	if first.ExeSHA256 != "" {
		t.Error("the first event was changed afterwards")
	}
	child := *id
	child.TGID, child.Start = 1<<30, id.Start+1
	table.Birth(&event.Birth{ID: child, ParentTGID: id.TGID, ParentStart: id.Start})
	if p := table.find(&child); p.ExeSHA256 != want {
		t.Errorf("a child that runs the same file: %q", p.ExeSHA256)
	}
}

// The file of a process that is gone is the one that stands at its path only if
// it is the same file and nobody touched it.
func TestHashOfGone(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "program")
	if err := os.WriteFile(path, []byte("program"), 0o755); err != nil {
		t.Fatal(err)
	}
	var s unix.Stat_t
	if err := unix.Stat(path, &s); err != nil {
		t.Fatal(err)
	}
	id := event.Identity{TGID: 1 << 30, Start: 5, ExeIno: s.Ino, ExeDev: kernelDev(s.Dev)}
	good := job{id, path, s.Ctim.Nano()}
	other, earlier, device := good, good, good
	other.id.ExeIno++
	earlier.start--
	device.id.ExeDev++
	fifo, link := good, good
	fifo.path, link.path = filepath.Join(dir, "fifo"), filepath.Join(dir, "link")
	if err := unix.Mkfifo(fifo.path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, link.path); err != nil {
		t.Fatal(err)
	}
	h := newHasher()
	h.pace = func(time.Duration) {}
	sum := sha256.Sum256([]byte("program"))
	for what, test := range map[string]struct {
		job  job
		want string
	}{
		"the same": {good, hex.EncodeToString(sum[:])}, "another file": {other, ""}, "another device": {device, ""},
		"changed since": {earlier, ""}, "a pipe": {fifo, ""}, "a link": {link, ""},
	} {
		if got := h.sum(&test.job, map[content]string{}); got != test.want {
			t.Errorf("%s: %q, want %q", what, got, test.want)
		}
	}
}

// Sums are remembered by content, and so many of them.
func TestHashCache(t *testing.T) {
	path := filepath.Join(t.TempDir(), "program")
	h, sums, reads := newHasher(), map[content]string{}, 0
	h.pace = func(time.Duration) { reads++ }
	sum := func(text string) string {
		t.Helper()
		if text != "" {
			if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		var s unix.Stat_t
		if err := unix.Stat(path, &s); err != nil {
			t.Fatal(err)
		}
		return h.sum(&job{event.Identity{TGID: 1 << 30, ExeIno: s.Ino, ExeDev: kernelDev(s.Dev)}, path, s.Ctim.Nano()}, sums)
	}
	one := sum("one")
	if one == "" || sum("") != one || reads != 1 {
		t.Errorf("%d reads of one content", reads)
	}
	time.Sleep(20 * time.Millisecond) // the kernel's clock for files is coarse
	if two := sum("two"); two == one || two == "" || reads != 2 {
		t.Errorf("%d reads of two contents", reads)
	}
	for i := range uint64(2 * maxSums) {
		sums[content{ino: i}] = "x"
		if len(sums) == maxSums {
			break
		}
	}
	sum("three, which is longer")
	if len(sums) > maxSums {
		t.Errorf("%d sums", len(sums))
	}
}
