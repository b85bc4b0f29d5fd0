package filter

import (
	"database/sql"
	"database/sql/driver"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"modernc.org/sqlite"

	"github.com/dnshark-io/dnshark/event"
)

func init() {
	patterns := map[string]*regexp.Regexp{}
	sqlite.MustRegisterDeterministicScalarFunction("regexp", 2, func(_ *sqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
		pattern, text, ok := args[0].(string), "", false
		if text, ok = args[1].(string); !ok {
			return nil, nil
		}
		if patterns[pattern] == nil {
			patterns[pattern] = regexp.MustCompile(pattern)
		}
		return patterns[pattern].MatchString(text), nil
	})
}

// everything is a store with a column for every form of every path.
type everything struct{}

func (everything) Column(p *event.Path, f Form) (string, bool) {
	for i, known := range event.Paths {
		if p == known {
			return fmt.Sprintf("c%d_%d", i, f), true
		}
	}
	return "", false
}

// forms are the forms that a path has.
func forms(p *event.Path) (list []Form) {
	list = append(list, FormValue)
	if p.Code != nil {
		list = append(list, FormCode)
	}
	if p.Kind == event.KindName {
		list = append(list, FormDomain)
	}
	return list
}

// stored returns what a column holds of an event; nil in lists is null.
func stored(e *event.Event, p *event.Path, f Form) (list []any) {
	var w work
	for i := range p.Values(e) {
		switch {
		case f == FormDomain:
			list = append(list, string(w.suffixes.Registered(p.Text(nil, e, i))))
		case f == FormCode, p.Kind == event.KindNumber, p.Kind == event.KindTime:
			list = append(list, int64(p.Number(e, i)))
		case p.Kind == event.KindBool:
			list = append(list, map[bool]int64{true: 1}[p.Bool(e, i)])
		case p.Kind == event.KindAddr:
			if a := p.Addr(e, i); a.IsValid() {
				octets := a.As16()
				list = append(list, hex.EncodeToString(octets[:]))
			} else {
				list = append(list, nil)
			}
		default:
			list = append(list, string(p.Text(nil, e, i)))
		}
	}
	return list
}

func column(list []any, isList bool) any {
	switch {
	case isList:
		text, _ := json.Marshal(append([]any{}, list...))
		return string(text)
	case len(list) == 0:
		return nil
	}
	return list[0]
}

// edges are expressions that chance does not make.
var edges = []string{
	`dns.id < 18446744073709551615`, `!(dns.id <= 18446744073709551615)`, `dns.id >= 18446744073709551615`, `dns.id in (1, 18446744073709551615)`,
	`answer.ttl not in (18446744073709551615)`, `!(count(answer.ttl) < 18446744073709551615)`, `answer.ttl > 18446744073709551614`,
	`process.exe.ends("")`, `process.exe.contains("")`, `process.exe.begins("\x00")`, `process.exe.contains("é")`, `process.exe in ("é", "/usr/bin/Curl")`,
	`qname.under(".")`, `answer.name.under("b.example.com")`, `answer.name.under("co.uk", ".")`, `labels(answer.name) == 4`,
	`metadata.src_ip in ::/0`, `metadata.src_ip not in 0.0.0.0/0`, `answer.ip in ::ffff:0:0/90`, `answer.ip in {::/0, 0.0.0.0/0}`,
	`host == "o'hare\\\\"`, `host.contains("'")`, `count(answer.ip) > 0 && !(answer.ip in {::/0, 0.0.0.0/0})`, `dns.rcode =~ "^(NX|SERV)"`,
}

// Whatever the expression and the event, the database says what the functions say.
func TestSQL(t *testing.T) {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1) // each would have a memory of its own
	r := rand.New(rand.NewPCG(3, 4))
	columns, places := []string{"id INTEGER"}, []string{"?"}
	for _, p := range event.Paths {
		for _, f := range forms(p) {
			name, _ := everything{}.Column(p, f)
			columns, places = append(columns, name), append(places, "?")
		}
	}
	if _, err := db.Exec("CREATE TABLE events (" + strings.Join(columns, ", ") + ")"); err != nil {
		t.Fatal(err)
	}
	var events []*event.Event
	for id := range 100 {
		e := randomEvent(t, r)
		row := []any{id}
		for _, p := range event.Paths {
			for _, f := range forms(p) {
				row = append(row, column(stored(e, p, f), p.List))
			}
		}
		if _, err := db.Exec("INSERT INTO events VALUES ("+strings.Join(places, ", ")+")", row...); err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	asked, held := 0, 0
	for i := range 12_000 {
		f, ok := parseRandom(r, events[r.IntN(len(events))], event.Paths, 3)
		if i < len(edges) {
			if f, err = Parse(edges[i]); err != nil {
				t.Fatal(err)
			}
		} else if !ok {
			continue
		}
		asked++
		where, args, err := f.SQL(SQLite, everything{})
		if err != nil {
			t.Fatal(err)
		}
		rows, err := db.Query("SELECT id, "+where+" FROM events ORDER BY id", args...)
		if err != nil {
			t.Fatalf("%s: %v: %s", f, err, where)
		}
		for rows.Next() {
			var id int
			var got sql.NullBool
			if err := rows.Scan(&id, &got); err != nil {
				t.Fatal(err)
			}
			want := f.Match(events[id])
			if got.Bool != want || !got.Valid {
				t.Fatalf("%s of event %d: the database says %v, want %v: %s %v", f, id, got, want, where, args)
			}
			if want {
				held++
			}
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d expressions held %d times for %d events", asked, held, len(events))
	if asked < 10_000 || held < 100_000 {
		t.Error("too few to prove anything")
	}
}

// Both dialects. Nothing that a user wrote stands in the text.
func TestSQLText(t *testing.T) {
	for _, c := range []struct{ text, sqlite, clickhouse, args string }{
		{`dns.rcode == NXDOMAIN && process.comm == "cu'rl"`,
			`(coalesce(dns.rcode#1 IN (?), 0) AND coalesce(process.comm IN (?), 0))`, `(coalesce(dns.rcode#1 IN (?), 0) AND coalesce(process.comm IN (?), 0))`,
			`[3 cu'rl]`},
		{`answer.data.contains("x?y")`,
			`EXISTS (SELECT 1 FROM json_each(answer.data) WHERE instr(value, ?) > 0)`, `arrayExists(x -> coalesce(position(x, ?) > 0, 0), answer.data)`,
			`[x?y]`},
		{`process.exe !~ "^/usr"`, `(NOT coalesce(regexp(?, process.exe), 0))`, `(NOT coalesce(match(process.exe, ?), 0))`, `[^/usr]`},
		{`metadata.src_port in {53, 5353} || !dns.aa`,
			`(coalesce(metadata.src_port IN (?, ?), 0) OR (NOT coalesce(dns.aa = 1, 0)))`, `(coalesce(metadata.src_port IN (?, ?), 0) OR (NOT coalesce(dns.aa = 1, 0)))`,
			`[53 5353]`},
		{`domain(qname) == "example.com"`, `EXISTS (SELECT 1 FROM json_each(qname#2) WHERE value IN (?))`, `arrayExists(x -> coalesce(x IN (?), 0), qname#2)`, `[example.com]`},
		{`process.exe.exists() and count(qname) > 1`, `((process.exe IS NOT NULL) AND json_array_length(qname) > ?)`, `((process.exe IS NOT NULL) AND length(qname) > ?)`, `[1]`},
	} {
		f, err := Parse(c.text)
		if err != nil {
			t.Fatal(err)
		}
		for dialect, want := range map[Dialect]string{SQLite: c.sqlite, ClickHouse: c.clickhouse} {
			got, args, err := f.SQL(dialect, byName{})
			if got != want || fmt.Sprint(args) != c.args || err != nil {
				t.Errorf("%s:\n got %s %v %v\nwant %s %s", c.text, got, args, err, want, c.args)
			}
		}
	}
	f, err := Parse(`dns.aa && host == "h"`)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.SQL(SQLite, byName{}); !errors.Is(err, ErrNoSQL) || !strings.HasPrefix(err.Error(), "host: ") {
		t.Errorf("%v", err)
	}
}

// byName is a store whose columns have the names of paths; it knows no host.
type byName struct{}

func (byName) Column(p *event.Path, f Form) (string, bool) {
	if f != FormValue {
		return fmt.Sprintf("%s#%d", p.Name, f), true
	}
	return p.Name, p.Name != "host"
}
