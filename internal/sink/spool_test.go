package sink

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dnshark-io/dnshark/internal/spool"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

var errDown = errors.New("down")

// server is a sink that takes lines by their ids, while it is up.
type server struct {
	mu      sync.Mutex
	down    bool
	hangs   bool // while it is down
	lines   map[string]string
	again   int // lines that came again
	differs int // of which the text was another
}

func (s *server) set(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

func (s *server) Deliver(ctx context.Context, b *Block) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down && s.hangs {
		s.mu.Unlock()
		<-ctx.Done()
		s.mu.Lock()
	}
	if s.down {
		return errDown
	}
	if s.lines == nil {
		s.lines = map[string]string{}
	}
	for i, line := range b.Lines() {
		id := string(b.AppendID(nil, i))
		if old, ok := s.lines[id]; ok {
			s.again++
			if old != string(line) {
				s.differs++
			}
		}
		s.lines[id] = string(line)
	}
	return nil
}

func (s *server) Close() error { return nil }

func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.lines)
}

func newTestSpool(t testing.TB, s Sink, bound int64, patient bool, dir string, limit int64) *Queue {
	t.Helper()
	q, err := newSpooled(s, bound, patient, t.Logf, dir, limit)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// restartSpool is a queue with a spool on its way to a server that ends and comes back.
type restartSpool struct {
	*Queue
	t   testing.TB
	dir string
}

const restartLimit = 64 << 20

func newRestartSpool(t testing.TB, s Sink) *restartSpool {
	t.Helper()
	dir := t.TempDir()
	return &restartSpool{newTestSpool(t, s, 64<<20, false, dir, restartLimit), t, dir}
}

// settle waits until the server has everything, and looks at the disk.
func (r *restartSpool) settle() {
	r.t.Helper()
	if n := diskUse(r.t, r.dir); n > restartLimit {
		r.t.Errorf("%d octets on disk, want at most %d", n, restartLimit)
	}
	testkit.Eventually(r.t, 60*time.Second, "the spool to be empty", func() bool { s := r.Stats(); return s.Waiting+s.Spooled == 0 })
	if s := r.Stats(); s.Dropped+s.Damaged+s.Overflow > 0 {
		r.t.Errorf("%+v", s)
	}
}

// closes wants the account of a closed queue to close.
func closes(t testing.TB, s Stats) {
	t.Helper()
	if out := s.Delivered + s.Waiting + s.Spooled + s.Overflow + s.Refused + s.Abandoned + s.Dropped + s.Damaged; s.Events+s.Recovered != out || s.Waiting != 0 {
		t.Errorf("the account does not close: %+v", s)
	}
}

// TestSpoolWhileSinkIsAway fills a spool beyond its limit, restarts, and catches up.
func TestSpoolWhileSinkIsAway(t *testing.T) {
	for _, hangs := range []bool{false, true} {
		dir, s := t.TempDir(), &server{down: true, hangs: hangs}
		const limit, per, blocks = 8 << 20, 100, 1200 // of 25 KB each
		q := newTestSpool(t, s, 16<<20, false, dir, limit)
		var slowest time.Duration
		begin := time.Now()
		for i := range blocks {
			b := incompressible(per*i, per)
			before := time.Now()
			q.Put(b)
			slowest = max(slowest, time.Since(before))
			time.Sleep(2 * time.Millisecond)
		}
		testkit.Eventually(t, time.Minute, "everything to be on disk", func() bool { return q.Stats().Waiting == 0 })
		filled := time.Since(begin)
		begin = time.Now()
		if err := q.Close(testGrace); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took > testGrace/2 {
			t.Errorf("Close waited %v for a dead sink", took)
		}
		a := q.Stats()
		closes(t, a)
		if a.Delivered != 0 || a.Dropped == 0 || a.Dropped+a.Spooled != per*blocks {
			t.Errorf("%+v", a)
		}
		if slowest > time.Second {
			t.Errorf("Put took %v", slowest)
		}

		kept := filepath.Join(t.TempDir(), "kept")
		if err := os.CopyFS(kept, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		s.set(false)
		begin = time.Now()
		if n := diskUse(t, dir); n > limit+64 {
			t.Errorf("%d octets on disk", n)
		}
		q = newTestSpool(t, s, 16<<20, false, dir, limit)
		testkit.Eventually(t, time.Minute, "all to be delivered", func() bool { return q.Stats().Spooled == 0 })
		caught := time.Since(begin)
		q.Put(numbered(per*blocks, per))
		if err := q.Close(testGrace); err != nil {
			t.Error(err)
		}
		b := q.Stats()
		closes(t, b)
		if b.Recovered != a.Spooled || b.Delivered != a.Spooled+per || s.count() != int(b.Delivered) || s.again != 0 {
			t.Errorf("%d lines, %d again; %+v", s.count(), s.again, b)
		}
		fill, catch := per*blocks/filled.Seconds(), float64(b.Recovered)/caught.Seconds()
		// Others may have the machine meanwhile: the best of some counts.
		for range 9 {
			if catch >= 5*fill {
				break
			}
			again, s := filepath.Join(t.TempDir(), "again"), &server{}
			if err := os.CopyFS(again, os.DirFS(kept)); err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			q := newTestSpool(t, s, 16<<20, false, again, limit)
			testkit.Eventually(t, time.Minute, "all to be delivered", func() bool { return q.Stats().Spooled == 0 })
			catch = max(catch, float64(b.Recovered)/time.Since(begin).Seconds())
			if err := q.Close(testGrace); err != nil || s.count() != int(b.Recovered) {
				t.Errorf("%d events, %v", s.count(), err)
			}
		}
		if catch < 5*fill {
			t.Error("that is slow")
		}
		t.Logf("filled with %.0f events/s, slowest Put %v; caught up with %.0f events/s, %.1f times that", fill, slowest, catch, catch/fill)
	}
}

func diskUse(t testing.TB, dir string) (n int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			n += info.Size()
		}
	}
	return n
}

// TestSpoolDiskTrouble: what the disk does not take goes on through memory, and to
// the disk again when that is well.
func TestSpoolDiskTrouble(t *testing.T) {
	remount := func(flags uintptr, options string) func(t testing.TB, dir string) {
		return func(t testing.TB, dir string) {
			testkit.Eventually(t, time.Minute, "a remount", func() bool { return unix.Mount("", dir, "", unix.MS_REMOUNT|flags, options) == nil })
		}
	}
	fill := func(t testing.TB, dir string) {
		f, err := os.Create(filepath.Join(dir, "ballast"))
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
		f.Close()
	}
	drop := func(t testing.TB, dir string) {
		if err := os.RemoveAll(filepath.Join(dir, "ballast")); err != nil {
			t.Error(err)
		}
	}
	inodes := func(t testing.TB, dir string) {
		err := os.Mkdir(filepath.Join(dir, "ballast"), 0o700)
		for i := 0; err == nil; i++ {
			err = os.WriteFile(filepath.Join(dir, "ballast", fmt.Sprint(i)), nil, 0o600)
		}
	}
	troubles, delivered, failed := 0, uint64(0), uint64(0)
	for _, c := range []struct {
		name, options string
		hurt, mend    func(t testing.TB, dir string)
	}{
		{"full", "size=2m", fill, drop},
		{"inodes", "size=4m,nr_inodes=20", inodes, drop},
		{"read-only", "size=4m", remount(unix.MS_RDONLY, ""), remount(0, "")},
	} {
		for _, early := range []bool{false, true} {
			if c.name == "read-only" && !early {
				continue // the kernel refuses it while files are open
			}
			t.Run(fmt.Sprintf("%s, at start %v", c.name, early), func(t *testing.T) {
				dir := tmpfs(t, c.options)
				s := &server{}
				if early {
					c.hurt(t, dir)
				}
				q := newTestSpool(t, s, 16<<20, false, filepath.Join(dir, "spool"), 1<<20)
				n := 0
				put := func(blocks int) {
					for range blocks {
						q.Put(numbered(n, 100))
						n += 100
					}
				}
				put(20)
				testkit.Eventually(t, time.Minute, "delivery", func() bool { return s.count() == n })
				s.set(true)
				put(20)
				if !early {
					time.Sleep(200 * time.Millisecond)
					c.hurt(t, dir)
				}
				big := n
				for range 60 { // more than what is left of a segment
					q.Put(incompressible(n, 100))
					n += 100
				}
				testkit.Eventually(t, time.Minute, "the disk to fail", func() bool { return q.Stats().SpoolFailed > 0 })
				if w := q.Stats().Waiting; w == 0 {
					t.Error("nothing waits in memory")
				}
				s.set(false)
				testkit.Eventually(t, time.Minute, "delivery without the disk", func() bool { return s.count() == n })
				s.set(true)
				put(20)
				c.mend(t, dir)
				testkit.Eventually(t, time.Minute, "the disk to be used again", func() bool { q := q.Stats(); return q.Waiting == 0 && q.Spooled > 0 })
				s.set(false)
				testkit.Eventually(t, time.Minute, "delivery", func() bool { return s.count() == n })
				if err := q.Close(testGrace); err != nil {
					t.Error(err)
				}
				a := q.Stats()
				closes(t, a)
				if int(a.Delivered) != n || s.differs > 0 || s.lines[fmt.Sprintf("host-0-t-%d", big)] == "" {
					t.Errorf("%d lines, %d differ; %+v", s.count(), s.differs, a)
				}
				troubles, delivered, failed = troubles+1, delivered+a.Delivered, failed+a.SpoolFailed
			})
		}
	}
	t.Logf("%d troubles, counted as %d failures of the disk: all %d events were delivered, and the disk was used again", troubles, failed, delivered)
}

// incompressible is numbered with longer lines that hardly compress.
func incompressible(first, n int) *Block {
	b := &Block{First: uint64(first), Events: n, source: "host-0-t-"}
	x := uint64(first) + 1
	for range n {
		for range 16 {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			b.Text = fmt.Appendf(b.Text, "%016x", x)
		}
		b.Text = append(b.Text, '\n')
	}
	return b
}

// TestSpoolPatience: who reads files waits for the sink rather than to lose events.
func TestSpoolPatience(t *testing.T) {
	s := &server{down: true}
	q := newTestSpool(t, s, 1<<16, true, t.TempDir(), 1<<20)
	time.AfterFunc(500*time.Millisecond, func() { s.set(false) })
	const n = 40000
	for i := 0; i < n; i += 100 {
		q.Put(incompressible(i, 100))
	}
	if err := q.Close(testGrace); err != nil {
		t.Error(err)
	}
	a := q.Stats()
	closes(t, a)
	if s.count() != n || a.Delivered != n || a.Retries == 0 {
		t.Errorf("%d lines; %+v", s.count(), a)
	}
}

func TestSpoolDir(t *testing.T) {
	for text, want := range map[string]string{
		"file:///x?spool=1GB&name=out.1":              spoolRoot + "/out.1/json",
		"file:///x?spool=1GB&name=out.1&format=ecs":   spoolRoot + "/out.1/ecs",
		"file:///x?spool=1GB&spool-dir=/s&format=ecs": "/s/ecs",
	} {
		target, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := target.spoolDir(); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	unnamed := map[string]bool{}
	for _, text := range []string{"json:x,spool=1GB", "json:y,spool=1GB", "json:x,spool=1GB,filter=qname == \"a\""} {
		target, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		target.Name = "1"
		dir := target.spoolDir()
		if unnamed[dir] {
			t.Errorf("%s: another's %s", text, dir)
		}
		unnamed[dir] = true
	}
	for text, want := range map[string]string{
		"json:x,spool=1KB":           "at least 1MB",
		"json:x,spool=8MB,batch=4MB": "four times",
		"json:x,spool=8MB,name=..":   "no name",
		"json:x,spool-dir=/s":        "needs spool=",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	dir := t.TempDir()
	q := newTestSpool(t, &server{}, 1<<20, false, dir, 1<<20)
	if _, err := newSpooled(&server{}, 1<<20, false, t.Logf, dir, 1<<20); !errors.Is(err, spool.ErrInUse) {
		t.Errorf("a second output on the same spool: %v", err)
	}
	if err := q.Close(time.Second); err != nil {
		t.Error(err)
	}
}
