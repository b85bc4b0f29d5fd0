package store

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/dnswire"
)

// Whatever comes in whatever order, in parts or not: the tables tell what a map of
// everything tells, also after some of it was removed.
func TestRecords(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	dir := t.TempDir()
	s := open2(t, dir, Options{}).(*sqlite)
	type told struct {
		name, rdata, bailiwick, comm string
		typ                          dnswire.Type
	}
	all := map[told]seen{}
	texts := []string{"192.0.2.1", "::1", "a.test", "\x00", "\x00\xff", "", strings.Repeat("long ", 100)}
	for round := range 40 {
		a := NewAggregate("sensor1")
		for range 500 {
			w := told{fmt.Sprintf("n%d.test", r.IntN(3)), texts[r.IntN(len(texts))], []string{"", "test"}[r.IntN(2)], "", dnswire.TypeTXT}
			switch w.rdata {
			case "192.0.2.1":
				w.typ = dnswire.TypeA
				w.rdata = fmt.Sprintf("192.0.%d.%d", r.IntN(4), r.IntN(256))
			case "::1":
				w.typ, w.rdata = dnswire.TypeAAAA, fmt.Sprintf("2001:db8::%x", 1+r.IntN(1000))
			case "a.test":
				w.typ, w.rdata = dnswire.TypeCNAME, fmt.Sprintf("a%d.test", r.IntN(20))
			default:
				w.rdata += fmt.Sprint(r.IntN(20))
			}
			if w.name == "n0.test" { // one that thousands ask for
				w.comm, w.rdata = fmt.Sprintf("c%d", r.IntN(5000)), w.rdata[:min(9, len(w.rdata))]
				w.typ = dnswire.TypeTXT
			}
			at := noon.Add(time.Duration(round)*time.Hour + time.Duration(r.Int64N(int64(time.Hour)))).UnixNano()
			// The keys of an aggregate part their texts with NUL, of which presentation format has none.
			key := fmt.Sprintf("%s%s\x00%s\x00%s\x00%s\x00\x00", string([]byte{byte(w.typ >> 8), byte(w.typ)}), w.name, strings.ReplaceAll(w.rdata, "\x00", "\x01"), w.bailiwick, w.comm)
			w.rdata = strings.ReplaceAll(w.rdata, "\x00", "\x01")
			a.tuples.note([]byte(key), at)
			n, ok := all[w]
			if !ok {
				n = seen{at, at, 0}
			}
			n.add(&seen{at, at, 1})
			all[w] = n
		}
		if err := s.Write(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	check := func(when string) {
		t.Helper()
		tuples := map[told]seen{}
		for w, n := range all {
			w.comm = ""
			if sum, ok := tuples[w]; ok {
				n.add(&sum)
			}
			tuples[w] = n
		}
		for _, q := range []Query{{Text: "test", Wild: Left}, {Text: "n1", Wild: Right}, {By: ByNet}, {By: ByTarget, Text: "a7.test"}, {By: ByProcess, Text: "c42"}, {Text: "n2.test", Bailiwick: "test", Type: dnswire.TypeTXT}} {
			want := map[told]seen{}
			from := tuples
			if q.By == ByProcess {
				from = map[told]seen{}
				for w, n := range all {
					if w.comm == q.Text {
						w.comm = ""
						from[w] = n
					}
				}
			}
			if q.By == ByNet {
				if err := q.ParseNet("192.0.1.0/25"); err != nil {
					t.Fatal(err)
				}
			}
			for w, n := range from {
				ok := q.By == ByProcess || q.By == ByName && q.Wild == Left || q.Wild == Right && w.name == "n1.test" || q.By == ByTarget && w.typ == dnswire.TypeCNAME && w.rdata == q.Text ||
					q.Bailiwick != "" && w.name == q.Text && w.bailiwick == "test" && w.typ == q.Type
				if q.By == ByNet && w.typ == dnswire.TypeA {
					var last int
					k, _ := fmt.Sscanf(w.rdata, "192.0.1.%d", &last)
					ok = k == 1 && last < 128
				}
				if ok {
					want[w] = n
				}
			}
			if len(want) == 0 && q.By != ByProcess {
				t.Fatalf("%s: %+v asks for nothing", when, q)
			}
			q.Limit = MaxLimit
			got, last := map[told]seen{}, int64(1<<62)
			if _, err := s.Lookup(t.Context(), &q, func(u *Tuple) error {
				if u.Last > last {
					t.Errorf("%s: %+v is not in order", when, u)
				}
				last = u.Last
				got[told{u.Name, u.RData, u.Bailiwick, "", u.Type}] = seen{u.First, u.Last, u.Count}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(got, want) {
				t.Errorf("%s: %+v: %d tuples, want %d", when, q, len(got), len(want))
			}
		}
		if c, err := s.Counts(t.Context()); err != nil || int(c.Tuples) != len(tuples) {
			t.Errorf("%s: %d tuples are counted, want %d %v", when, c.Tuples, len(tuples), err)
		}
		if err := Verify(t.Context(), dir); err != nil {
			t.Error(when, err)
		}
	}
	check("written")
	var parts, largest int
	if err := s.db.QueryRow(`SELECT max(n), max(large) FROM (SELECT count(*) AS n, max(length(data)) AS large FROM records GROUP BY name)`).Scan(&parts, &largest); err != nil || parts < 5 || parts > 99 || largest > maxPart {
		t.Fatalf("%d parts, the largest of %d octets, %v", parts, largest, err)
	}

	// What is old goes; of a tuple that is not, who asked then.
	before := noon.Add(30 * time.Hour).UnixNano()
	tx, err := s.db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if err := removeRecords(t.Context(), tx, before, 0, 1<<40); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	young := map[told]bool{}
	for w, n := range all {
		if w.comm = ""; n.last >= before {
			young[w] = true
		}
	}
	for w, n := range maps.Clone(all) {
		if n.last >= before {
			continue
		}
		delete(all, w)
		if w.comm = ""; young[w] {
			if sum, ok := all[w]; ok {
				n.add(&sum)
			}
			all[w] = n
		}
	}
	check("old removed")

	subject, err := ParsePurgeSubject("a7.test")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Purge(t.Context(), dir, subject); err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(all, func(w told, _ seen) bool { return strings.Contains(w.rdata, "a7.test") })
	if got := find(t, s, Query{By: ByTarget, Text: "a7.test"}); got != "" {
		t.Error(got)
	}
	if err := Verify(t.Context(), dir); err != nil {
		t.Error(err)
	}
}

// The octets of appendLow are in the order of compare.
func TestLow(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	text := func() string {
		b := make([]byte, r.IntN(3))
		for i := range b {
			b[i] = []byte{0, 1, 0xff}[r.IntN(3)]
		}
		return string(b)
	}
	make1 := func() record {
		return record{dnswire.Type(r.IntN(2)), text(), int64(r.IntN(2)), int64(r.IntN(2)), int64(r.IntN(2)), seen{}}
	}
	for range 100_000 {
		a, b := make1(), make1()
		if x, y := a.compare(&b), slices.Compare(a.appendLow(nil), b.appendLow(nil)); cmp.Compare(x, 0) != cmp.Compare(y, 0) {
			t.Fatalf("%+v %+v: %d, octets %d", a, b, x, y)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(pack([]record{{1, "abcd", 7, 1, 0, seen{noon.UnixNano(), noon.UnixNano() + 5, 3}}, {1, "abcd", 7, 1, 9, seen{1, 2, 3}}}, nil)[0].data)
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := unpack(nil, string(data))
		if len(list) > len(data) {
			t.Fatal(len(list))
		}
		if err != nil || len(list) == 0 {
			return
		}
		var again []byte
		for i := range list {
			var before *record
			if i > 0 {
				before = &list[i-1]
			}
			again = appendRecord(again, &list[i], before)
		}
		if other, err := unpack(nil, string(again)); err != nil || !slices.Equal(list, other) {
			t.Fatal(err, list, other)
		}
	})
}

// No look-up sorts what it finds, which may be much.
func TestPlans(t *testing.T) {
	s := open2(t, t.TempDir(), Options{}).(*sqlite)
	for _, q := range []Query{
		{Text: "a.test"}, {Text: "test", Wild: Left}, {Text: "", Wild: Left}, {Text: "a", Wild: Right}, {By: ByTarget, Text: "a.test"}, {By: ByTarget, Text: "test", Wild: Left},
		{By: ByNet, Net: netip.MustParsePrefix("192.0.2.0/24")}, {By: ByProcess, Text: "curl"}, {By: ByProcess, Text: "/usr/bin/curl"}, {By: ByContainer, Text: "0123456789ab"},
	} {
		tx, err := s.db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		l := &lookup{ctx: t.Context(), tx: tx, q: &q}
		if err := l.prepare(); err != nil {
			t.Fatal(err)
		}
		rows, err := tx.Query(`EXPLAIN QUERY PLAN `+l.query(), l.args...)
		if err != nil {
			t.Fatal(err)
		}
		for steps := 0; rows.Next(); steps++ {
			var ignored int
			var step string
			if err := rows.Scan(&ignored, &ignored, &ignored, &step); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(step, "ORDER BY") || steps == 0 && !strings.HasPrefix(step, "SEARCH records USING PRIMARY KEY") {
				t.Errorf("%+v: %s", q, step)
			}
		}
		rows.Close()
		tx.Rollback()
	}
}
