// Package storetest is what every store must pass.
package storetest

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/store"
)

// Noon is when answers of the tests come.
var Noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// Answers puts responses into a batch: a line is "name type rdata", and of what
// follows @ the process.
func Answers(t testing.TB, b *event.Batch, at time.Time, lines ...string) {
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
		Respond(t, b, at, &m, comm)
	}
}

// Respond puts a response into a batch that comm was told, if it is not "".
func Respond(t testing.TB, b *event.Batch, at time.Time, m *dns.Msg, comm string) {
	t.Helper()
	raw, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
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

// Write puts a batch into a store.
func Write(t testing.TB, s store.Store, b *event.Batch) {
	t.Helper()
	g := store.NewStage(s, "sensor1")
	g.Wait = true
	g.Process(b)
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if kept, failed, waiting := g.Stats(); kept != g.Events || failed != 0 || waiting != 0 {
		t.Fatal(kept, failed, waiting)
	}
}

// Find returns what a look-up finds, as text.
func Find(t testing.TB, s store.Store, q store.Query) string {
	t.Helper()
	var list []string
	more, err := s.Lookup(t.Context(), &q, func(u *store.Tuple) error {
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

// Stores opens an empty store for writing, and the same for reading alone.
type Stores func(t *testing.T) (write, read store.Store)

// Run runs all tests.
func Run(t *testing.T, open Stores) {
	t.Run("lookup", func(t *testing.T) { testLookup(t, open) })
	t.Run("top and new", func(t *testing.T) { testTopAndNew(t, open) })
	t.Run("tuple", func(t *testing.T) { testTuple(t, open) })
	t.Run("text", func(t *testing.T) { testText(t, open) })
}

func testLookup(t *testing.T, open Stores) {
	s, r := open(t)
	var b event.Batch
	Answers(t, &b, Noon, "www.example.test. A 192.0.2.80 @curl", "WWW.example.test. A 192.0.2.80", `xn\.example.test. A 192.0.2.7`, "notexample.test. AAAA 2001:db8::1")
	Answers(t, &b, Noon.Add(time.Hour), "mail.example.test. MX 10 mx.example.net.", `www.example\000x.org. CNAME %_.test.`)
	Write(t, s, &b)
	www, mx := "www.example.test A 192.0.2.80 x2", "mail.example.test MX 10 mx.example.net x1"
	for text, want := range map[string]string{
		"www.EXAMPLE.test.": www, "*.example.test": mx + "; " + www, "example.test": "", "www.example.*": www,
		"*.net": "", "%.example.test": "", "*.%": "", `www.example\000x.org`: `www.example\000x.org CNAME %_.test x1`,
		`xn\.example.test`: `xn\.example.test A 192.0.2.7 x1`, "xn.*": "",
	} {
		var q store.Query
		if err := q.ParseName(text); err != nil {
			t.Fatal(text, err)
		}
		if got := Find(t, r, q); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"192.0.2.80": www, "192.0.2.64/26": www, "2001:db8::/32": "notexample.test AAAA 2001:db8::1 x1",
		"::/0": "notexample.test AAAA 2001:db8::1 x1", "192.0.2.81": "",
	} {
		var q store.Query
		if err := q.ParseNet(text); err != nil {
			t.Fatal(text, err)
		}
		if got := Find(t, r, q); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	later := store.Range{Since: Noon.Add(time.Minute).UnixNano()}
	for want, q := range map[string]store.Query{
		mx:                                   {By: store.ByTarget, Text: "mx.example.net"},
		mx + " ":                             {By: store.ByTarget, Text: "example.net", Wild: store.Left},
		"www.example.test A 192.0.2.80 x1":   {By: store.ByProcess, Text: "curl"},
		"www.example.test A 192.0.2.80 x1 ":  {By: store.ByProcess, Text: "/usr/bin/curl"},
		"www.example.test A 192.0.2.80 x1  ": {By: store.ByContainer, Text: "0123456789ab"},
		mx + "  ":                            {Text: "example.test", Wild: store.Left, Range: later},
		www:                                  {Text: "example.test", Wild: store.Left, Type: 1},
		mx + "; more":                        {Text: "example.test", Wild: store.Left, Limit: 1},
		www + " ":                            {Text: "example.test", Wild: store.Left, Limit: 1, Offset: 1},
		"":                                   {By: store.ByProcess, Text: "curl", Range: later},
	} {
		if got := Find(t, r, q); got != strings.TrimRight(want, " ") {
			t.Errorf("%+v: %q, want %q", q, got, want)
		}
	}
}

func testTopAndNew(t *testing.T, open Stores) {
	s, r := open(t)
	var b event.Batch
	for i := range 72 { // three days, an hour each
		Answers(t, &b, Noon.Add(time.Duration(i)*time.Hour), "often.test. A 192.0.2.1")
	}
	Answers(t, &b, Noon.Add(time.Hour), "once.test. A 192.0.2.2 @curl")
	Write(t, s, &b)
	for _, test := range []struct {
		r    store.Range
		want int64
	}{
		{store.Range{}, 72}, {store.Range{Since: Noon.Add(time.Hour).UnixNano()}, 71},
		{store.Range{Since: Noon.Add(10 * time.Hour).UnixNano(), Until: Noon.Add(60 * time.Hour).UnixNano()}, 51},
		{store.Range{Since: Noon.Add(2 * time.Hour).UnixNano(), Until: Noon.Add(3 * time.Hour).UnixNano()}, 2},
	} {
		list, err := r.Top(t.Context(), store.Names, test.r, 1)
		if err != nil || len(list) != 1 || list[0] != (store.Ranked{Value: "often.test", Count: test.want}) {
			t.Errorf("%v: %v %v", test, list, err)
		}
	}
	for w, want := range map[store.What]string{store.Clients: "192.0.2.1", store.Servers: "192.0.2.53", store.RCodes: "NOERROR", store.Processes: "/usr/bin/curl"} {
		if list, err := r.Top(t.Context(), w, store.Range{}, 9); err != nil || len(list) != 1 || list[0].Value != want {
			t.Errorf("%v %v, want %s", list, err, want)
		}
	}
	list, err := r.New(t.Context(), store.Range{Since: Noon.Add(time.Minute).UnixNano()}, 9)
	if err != nil || len(list) != 1 || list[0].Value != "once.test" {
		t.Error(list, err)
	}
}

// What is written in parts, by several, is one tuple.
func testTuple(t *testing.T, open Stores) {
	s, r := open(t)
	rr := func(text string) dns.RR {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		return rr
	}
	for i, comm := range []string{"curl", "", "wget"} {
		var m dns.Msg
		m.SetQuestion("a.example.test.", dns.TypeA)
		m.Response = true
		m.Answer = []dns.RR{rr("a.example.test. 60 IN A 192.0.2.80"), rr("a.example.test. 60 CH A 192.0.2.81"), rr("a.example.test. 60 IN TYPE65280 \\# 1 00")}
		m.Ns = []dns.RR{rr("Example.test. 60 IN NS ns.example.test.")}
		var b event.Batch
		Respond(t, &b, Noon.Add(time.Duration(i)*time.Minute+7), &m, comm)
		Write(t, s, &b)
	}
	want := store.Tuple{Name: "a.example.test", Type: 1, RData: "192.0.2.80", Bailiwick: "example.test", Sensor: "sensor1",
		First: Noon.UnixNano() + 7, Last: Noon.Add(2*time.Minute).UnixNano() + 7, Count: 3}
	for _, q := range []store.Query{
		{Text: "a.example.test", Type: 1},
		{Text: "a.example.test", Type: 1, Bailiwick: "example.test"},
		{Text: "a.example.test", Type: 1, First: store.Range{Since: want.First, Until: want.First}, Last: store.Range{Since: want.Last, Until: want.Last}},
	} {
		var got []store.Tuple
		if _, err := r.Lookup(t.Context(), &q, func(u *store.Tuple) error { got = append(got, *u); return nil }); err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("%+v: %+v %v, want %+v", q, got, err, want)
		}
	}
	for want, q := range map[string]store.Query{
		"a.example.test TYPE65280 \\# 1 00 x3": {Text: "a.example.test", Type: 65280},
		"a.example.test A 192.0.2.80 x1":       {By: store.ByProcess, Text: "wget", Type: 1},
		"a.example.test A 192.0.2.80 x2":       {By: store.ByContainer, Text: "0123456789abcdef", Type: 1},
		"":                                     {Text: "a.example.test", Bailiwick: "test"},
		" ":                                    {Text: "a.example.test", Last: store.Range{Until: want.Last - 1}},
		"  ":                                   {Text: "a.example.test", First: store.Range{Since: want.First + 1}},
		"   ":                                  {Text: "a.example.test", Range: store.Range{Until: want.First - 1}},
	} {
		if got := Find(t, r, q); got != strings.TrimSpace(want) {
			t.Errorf("%+v: %q, want %q", q, got, want)
		}
	}
	if c, err := r.Counts(t.Context()); err != nil || c.Tuples < 2 || c.Names < 1 || c.Octets < 1 {
		t.Error(c, err)
	}
	if _, err := r.Lookup(t.Context(), &store.Query{Text: "test", Wild: store.Left}, func(*store.Tuple) error { return errors.New("stopped") }); err == nil || err.Error() != "stopped" {
		t.Error(err)
	}
}

// Names and data are whatever somebody sends.
func testText(t *testing.T, open Stores) {
	s, r := open(t)
	var b event.Batch
	names := []string{`a'\)\;drop.test`, `{x:String}.test`, `%s\\n\000\255.test`, `\009x.test`, strings.Repeat("a", 63) + ".test", "."}
	for _, name := range names {
		var m dns.Msg
		m.SetQuestion(dns.Fqdn(name), dns.TypeTXT)
		m.Response = true
		m.Answer = []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: dns.Fqdn(name), Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{`'; "\000` + name[:min(len(name), 9)]}}}
		Respond(t, &b, Noon, &m, `c'\x`)
	}
	Write(t, s, &b)
	for _, name := range names {
		for _, text := range []string{name, "*." + name} {
			var q store.Query
			if err := q.ParseName(text); err != nil {
				t.Fatal(text, err)
			}
			q.Type = dnswire.Type(dns.TypeTXT)
			n := 0
			_, err := r.Lookup(t.Context(), &q, func(u *store.Tuple) error {
				if n++; u.Name != q.Text && name != "." {
					t.Errorf("%s: %s", text, u.Name)
				}
				return nil
			})
			if want := map[bool]int{true: len(names), false: 1}[text == "*.."]; err != nil || n != want {
				t.Errorf("%s: %d of %d %v", text, n, want, err)
			}
		}
	}
	q := store.Query{By: store.ByProcess, Text: `c'\\x`}
	n := 0
	if _, err := r.Lookup(t.Context(), &q, func(*store.Tuple) error { n++; return nil }); err != nil || n != len(names) {
		t.Error(n, err)
	}
	list, err := r.Top(t.Context(), store.Names, store.Range{}, 99)
	if err != nil || len(list) != len(names) {
		t.Error(list, err)
	}
}
