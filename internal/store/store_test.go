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

func TestLookup(t *testing.T) {
	dir := t.TempDir()
	s := open2(t, dir, Options{})
	var b event.Batch
	answers(t, &b, noon, "www.example.test. A 192.0.2.80 @curl", "WWW.example.test. A 192.0.2.80", `xn\.example.test. A 192.0.2.7`, "notexample.test. AAAA 2001:db8::1")
	answers(t, &b, noon.Add(time.Hour), "mail.example.test. MX 10 mx.example.net.", `www.example\000x.org. CNAME %_.test.`)
	write(t, s, &b)
	r, err := OpenReader(dir) // while the other is open
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	www, mx := "www.example.test A 192.0.2.80 x2", "mail.example.test MX 10 mx.example.net x1"
	for text, want := range map[string]string{
		"www.EXAMPLE.test.": www, "*.example.test": mx + "; " + www, "example.test": "", "www.example.*": www,
		"*.net": "", "%.example.test": "", "*.%": "", `www.example\000x.org`: `www.example\000x.org CNAME %_.test x1`,
		`xn\.example.test`: `xn\.example.test A 192.0.2.7 x1`, "xn.*": "",
	} {
		var q Query
		if err := q.ParseName(text); err != nil {
			t.Fatal(text, err)
		}
		if got := find(t, r, q); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"192.0.2.80": www, "192.0.2.64/26": www, "2001:db8::/32": "notexample.test AAAA 2001:db8::1 x1",
		"::/0": "notexample.test AAAA 2001:db8::1 x1", "192.0.2.81": "",
	} {
		var q Query
		if err := q.ParseNet(text); err != nil {
			t.Fatal(text, err)
		}
		if got := find(t, r, q); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	later := Range{Since: noon.Add(time.Minute).UnixNano()}
	for want, q := range map[string]Query{
		mx:                                   {By: ByTarget, Text: "mx.example.net"},
		mx + " ":                             {By: ByTarget, Text: "example.net", Wild: Left},
		"www.example.test A 192.0.2.80 x1":   {By: ByProcess, Text: "curl"},
		"www.example.test A 192.0.2.80 x1 ":  {By: ByProcess, Text: "/usr/bin/curl"},
		"www.example.test A 192.0.2.80 x1  ": {By: ByContainer, Text: "0123456789ab"},
		mx + "  ":                            {Text: "example.test", Wild: Left, Range: later},
		www:                                  {Text: "example.test", Wild: Left, Type: 1},
		mx + "; more":                        {Text: "example.test", Wild: Left, Limit: 1},
		www + " ":                            {Text: "example.test", Wild: Left, Limit: 1, Offset: 1},
		"":                                   {By: ByProcess, Text: "curl", Range: later},
	} {
		if got := find(t, r, q); got != strings.TrimRight(want, " ") {
			t.Errorf("%+v: %q, want %q", q, got, want)
		}
	}
}

func TestTopAndNew(t *testing.T) {
	s := open2(t, t.TempDir(), Options{})
	var b event.Batch
	for i := range 72 { // three days, an hour each
		answers(t, &b, noon.Add(time.Duration(i)*time.Hour), "often.test. A 192.0.2.1")
	}
	answers(t, &b, noon.Add(time.Hour), "once.test. A 192.0.2.2 @curl")
	write(t, s, &b)
	for _, test := range []struct {
		r    Range
		want int64
	}{
		{Range{}, 72}, {Range{Since: noon.Add(time.Hour).UnixNano()}, 71},
		{Range{Since: noon.Add(10 * time.Hour).UnixNano(), Until: noon.Add(60 * time.Hour).UnixNano()}, 51},
		{Range{Since: noon.Add(2 * time.Hour).UnixNano(), Until: noon.Add(3 * time.Hour).UnixNano()}, 2},
	} {
		list, err := s.Top(t.Context(), Names, test.r, 1)
		if err != nil || len(list) != 1 || list[0] != (Ranked{Value: "often.test", Count: test.want}) {
			t.Errorf("%v: %v %v", test, list, err)
		}
	}
	for w, want := range map[What]string{Clients: "192.0.2.1", Servers: "192.0.2.53", RCodes: "NOERROR", Processes: "/usr/bin/curl"} {
		if list, err := s.Top(t.Context(), w, Range{}, 9); err != nil || len(list) != 1 || list[0].Value != want {
			t.Errorf("%v %v, want %s", list, err, want)
		}
	}
	list, err := s.New(t.Context(), Range{Since: noon.Add(time.Minute).UnixNano()}, 9)
	if err != nil || len(list) != 1 || list[0].Value != "once.test" {
		t.Error(list, err)
	}
}

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
