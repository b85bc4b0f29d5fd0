package store

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/dnshark-io/dnshark/event"
)

// answers puts responses into a batch: a line is "name type rdata", and of what
// follows @ the process.
func answers(t *testing.T, b *event.Batch, at time.Time, lines ...string) {
	t.Helper()
	for _, line := range lines {
		line, comm, _ := strings.Cut(line, " @")
		rr, err := dns.NewRR(strings.Replace(line, " ", " 60 IN ", 1))
		if err != nil {
			t.Fatal(err)
		}
		var m dns.Msg
		m.SetQuestion(rr.Header().Name, rr.Header().Rrtype)
		m.Response, m.Answer = true, []dns.RR{rr}
		raw, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		respond(b, at, raw, comm)
	}
}

func respond(b *event.Batch, at time.Time, raw []byte, comm string) {
	e := b.Next()
	e.Msg.Unpack(b.Hold(raw))
	e.Kinds, e.Time, e.Txn.State = 1, at.UnixNano(), event.StateAnswered
	e.Meta.SrcIP, e.Meta.DstIP = netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("192.0.2.1")
	if comm != "" {
		e.Asker.ID = &event.Identity{TGID: 7}
		copy(e.Asker.ID.Comm[:], comm)
		e.Asker.Process = &event.Process{Exe: "/usr/bin/" + comm}
		e.Asker.Container = &event.Container{ID: "0123456789abcdef"}
	}
}

func write(t *testing.T, s Store, b *event.Batch) {
	t.Helper()
	g := NewStage(s, "sensor1")
	g.Wait = true
	g.Process(b)
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if kept, failed, waiting := g.Stats(); kept != g.Events || failed != 0 || waiting != 0 {
		t.Fatal(kept, failed, waiting)
	}
}

func open2(t *testing.T, dir string, o Options) Store {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func find(t *testing.T, s Store, q Query) string {
	t.Helper()
	var list []string
	more, err := s.Lookup(t.Context(), &q, func(u *Tuple) error {
		list = append(list, fmt.Sprintf("%s %v %s x%d", u.Name, u.Type, u.RData, u.Count))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if more {
		list = append(list, "more")
	}
	return strings.Join(list, "; ")
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestRetention(t *testing.T) {
	dir := t.TempDir()
	s := open2(t, dir, Options{Age: time.Hour})
	var b event.Batch
	answers(t, &b, time.Now().Add(-2*time.Hour), "old.test. A 192.0.2.1 @curl")
	answers(t, &b, time.Now(), "young.test. A 192.0.2.1")
	write(t, s, &b)
	if c, err := s.Counts(t.Context()); err != nil || c.Tuples != 1 || c.Names != 1 {
		t.Error(c, err)
	}
	s = open2(t, t.TempDir(), Options{Octets: 1})
	write(t, s, &b)
	if c, err := s.Counts(t.Context()); err != nil || c.Tuples != 0 {
		t.Error(c, err)
	}
}

func TestSchemaOfTomorrow(t *testing.T) {
	dir := t.TempDir()
	s := open2(t, dir, Options{})
	if _, err := s.(*sqlite).db.Exec("PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	for name, open := range map[string]func() (Store, error){
		"reader": func() (Store, error) { return OpenReader(dir) },
		"writer": func() (Store, error) { return Open(dir, Options{}) },
	} {
		if s, err := open(); err == nil || !strings.Contains(err.Error(), "newer dnshark") {
			t.Error(name, s, err)
		}
	}
}

// What a killed program said to be written is there.
func TestKilled(t *testing.T) {
	if dir := os.Getenv("STORE_KILL"); dir != "" {
		s := open2(t, dir, Options{})
		for i := 0; ; i++ {
			var b event.Batch
			answers(t, &b, noon, fmt.Sprintf("n%d.test. A 192.0.2.1", i))
			write(t, s, &b)
			fmt.Println("written", i)
		}
	}
	dir := t.TempDir()
	for round := range 3 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$", "-test.v")
		cmd.Env = append(os.Environ(), "STORE_KILL="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		last := -1
		for last < 20*(round+1) {
			var word string
			if _, err := fmt.Fscan(out, &word); err != nil {
				t.Fatal(err)
			}
			if word == "written" {
				fmt.Fscan(out, &last)
			}
		}
		cmd.Process.Kill()
		cmd.Wait()
		s, err := OpenReader(dir)
		if err != nil {
			t.Fatal(err)
		}
		for i := range last + 1 {
			if find(t, s, Query{Text: fmt.Sprintf("n%d.test", i)}) == "" {
				t.Errorf("round %d: n%d.test of %d is lost", round, i, last)
			}
		}
		s.Close()
	}
}

func TestStageIsBounded(t *testing.T) {
	s := &stuck{enter: make(chan bool)}
	g := NewStage(s, "")
	var b event.Batch
	long := strings.Repeat("a", 63) + "." + strings.Repeat("b", 63) + "."
	for i := 0; g.Dropped == 0; i++ {
		if i > 1_000_000 {
			t.Fatal("nothing is ever dropped")
		}
		b.Reset()
		answers(t, &b, noon, fmt.Sprintf("%d.%s A 192.0.2.1", i, long))
		g.Process(&b)
	}
	if _, _, waiting := g.Stats(); waiting != g.Events-g.Dropped {
		t.Error(waiting, g.Events, g.Dropped)
	}
	close(s.enter)
	if err := g.Close(); err == nil {
		t.Error("no error")
	}
	if kept, failed, waiting := g.Stats(); kept != 0 || waiting != 0 || failed != g.Events-g.Dropped {
		t.Error(kept, failed, waiting)
	}
}

func TestAddAllocatesNothing(t *testing.T) {
	var b event.Batch
	answers(t, &b, noon, "www.example.test. A 192.0.2.80 @curl")
	a, d := NewAggregate(""), adder{}
	d.add(a, &b.Events[0])
	if n := testing.AllocsPerRun(100, func() { d.add(a, &b.Events[0]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// stuck is a store that takes its time and fails.
type stuck struct {
	Store
	enter chan bool
}

func (s *stuck) Write(context.Context, *Aggregate) error {
	<-s.enter
	return errors.New("the disk is full")
}
