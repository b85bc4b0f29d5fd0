package store

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/dnshark-io/dnshark/dnswire"
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

// A file of schema 1, as the first release wrote it, tells the same after it was
// brought up to date, and goes on.
func TestSchemaOfYesterday(t *testing.T) {
	dir := t.TempDir()
	db, err := open(filepath.Join(dir, FileName), "rwc", "auto_vacuum(incremental)", "journal_mode(wal)")
	if err != nil {
		t.Fatal(err)
	}
	ns := noon.UnixNano()
	if _, err := db.Exec(migrations[0].text + "PRAGMA user_version = 1"); err != nil {
		t.Fatal(err)
	}
	for _, r := range []struct {
		id                           int
		name, rdata, bailiwick, addr string
		typ                          int
		target                       any
	}{
		{7, "www.example.test", "192.0.2.80", "example.test", "192.0.2.80", 1, nil},
		{8, "www.example.test", "2001:db8::80", "", "2001:db8::80", 28, nil},
		{9, "alias.example.test", "www.example.test", "", "", 5, "www.example.test"},
	} {
		var ip, target, targetKey any
		if r.addr != "" {
			octets := netip.MustParseAddr(r.addr).As16()
			ip = octets[:]
		}
		if text, ok := r.target.(string); ok {
			target, targetKey = []byte(text), appendKey(nil, text)
		}
		if _, err := db.Exec(`INSERT INTO tuple VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, r.id, appendKey([]byte{}, r.name), []byte(r.name), r.typ, []byte(r.rdata), []byte(r.bailiwick), []byte("sensor1"), ip, target, targetKey, ns, ns+int64(r.id)*1e9, 3); err != nil {
			t.Fatal(err)
		}
	}
	for _, q := range []struct {
		text string
		args []any
	}{
		{`INSERT INTO who VALUES (7, ?, ?, ?, ?, ?, 2)`, []any{[]byte("curl"), []byte("/usr/bin/curl"), []byte("0123456789abcdef"), ns, ns}},
		{`INSERT INTO name VALUES (?, ?, ?, 5)`, []any{[]byte("www.example.test"), ns, ns}},
		{`INSERT INTO name VALUES (?, ?, ?, 1)`, []any{[]byte("nx.test"), ns + 1e9, ns + 1e9}},
		{`INSERT INTO ranked VALUES (0, 0, ?, ?, 5), (1, 0, ?, ?, 5)`, []any{ns, []byte("www.example.test"), ns / (24 * hour) * (24 * hour), []byte("www.example.test")}},
		{`INSERT INTO ranked VALUES (0, 1, ?, ?, 5), (1, 1, ?, ?, 5)`, []any{ns, []byte("192.0.2.1"), ns / (24 * hour) * (24 * hour), []byte("192.0.2.1")}},
	} {
		if _, err := db.Exec(q.text, q.args...); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err := OpenReader(dir); err == nil || !strings.Contains(err.Error(), "brings it up to date") {
		t.Fatal(s, err)
	}
	s := open2(t, dir, Options{})
	var b event.Batch
	answers(t, &b, noon.Add(time.Hour), "www.example.test. A 192.0.2.80 @curl")
	write(t, s, &b)
	v4, v6, alias := "www.example.test A 192.0.2.80", "www.example.test AAAA 2001:db8::80 x3", "alias.example.test CNAME www.example.test x3"
	for want, q := range map[string]Query{
		// The new one had no authority section.
		v4 + " x1; " + v6 + "; " + v4 + " x3":                {Text: "www.example.test"},
		v4 + " x1; " + alias + "; " + v6 + "; " + v4 + " x3": {Text: "example.test", Wild: Left},
		alias:                     {By: ByTarget, Text: "www.example.test"},
		alias + " ":               {By: ByTarget, Text: "test", Wild: Left},
		v4 + " x1; " + v4 + " x3": {By: ByNet, Net: netip.MustParsePrefix("192.0.2.80/32")},
		v6:                        {By: ByNet, Net: netip.MustParsePrefix("2001:db8::/64")},
		v4 + " x1; " + v4 + " x2": {By: ByProcess, Text: "/usr/bin/curl"},
		v4 + " x3":                {Text: "www.example.test", Bailiwick: "example.test"},
		v4 + " x3 ":               {Text: "www.example.test", Type: 1, Range: Range{Until: ns}},
	} {
		if got := find(t, s, q); got != strings.TrimRight(want, " ") {
			t.Errorf("%+v: %q, want %q", q, got, want)
		}
	}
	for w, want := range map[What]Ranked{Names: {Value: "www.example.test", Count: 6}, Clients: {Value: "192.0.2.1", Count: 6}} {
		if list, err := s.Top(t.Context(), w, Range{}, 9); err != nil || len(list) != 1 || list[0] != want {
			t.Error(list, err)
		}
	}
	if list, err := s.New(t.Context(), Range{}, 9); err != nil || len(list) != 2 || list[0] != (Ranked{"nx.test", 1, ns + 1e9}) || list[1] != (Ranked{"www.example.test", 6, ns}) {
		t.Error(list, err)
	}
	if c, err := s.Counts(t.Context()); err != nil || c.Tuples != 4 || c.Names != 2 {
		t.Error(c, err)
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
	dir, checked := t.TempDir(), 0
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
			checked++
		}
		s.Close()
	}
	t.Logf("3 kills: %d names that were written before them are there", checked)
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

// No record is lost where an aggregate goes beyond its bound.
func TestFullAggregate(t *testing.T) {
	var m dns.Msg
	name := strings.Repeat(strings.Repeat(`\001`, 60)+".", 4)
	m.SetQuestion(name, dns.TypeA)
	m.Response, m.Compress = true, true
	for i := range 2000 {
		m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: []byte{10, 0, byte(i >> 8), byte(i)}})
	}
	raw, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	b := event.Batch{Limits: dnswire.Limits{Records: 4096}}
	respond(&b, noon, raw, "")
	a, d := NewAggregate(""), adder{}
	a.ranked.text = make([]byte, maxOctets-a.tuples.octets()-a.ranked.octets()-1)
	if a.full() {
		t.Fatal("full")
	}
	d.add(a, &b.Events[0])
	if n := a.tuples.octets() + a.ranked.octets(); len(a.tuples.entries) != 2000 || !a.full() || n > 2*maxOctets {
		t.Error(len(a.tuples.entries), n)
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
