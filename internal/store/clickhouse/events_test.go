package clickhouse

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/dnshark-io/dnshark/internal/sink"
	"github.com/dnshark-io/dnshark/internal/store"
	"github.com/dnshark-io/dnshark/internal/store/eventlog"
	"github.com/dnshark-io/dnshark/internal/store/storetest"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

// What the embedded log finds of events, both servers find.
func TestEvents(t *testing.T) {
	captures := []string{writeCapture(t), writeForgeries(t)}
	dir := t.TempDir()
	read := func(t *testing.T, args ...string) {
		t.Helper()
		c := exec.Command(testkit.Dnshark(t), append(append([]string{"read", "-q", "-e", "net_packet_dns_response,net_packet_dns_request,alerts"}, args...), captures...)...)
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatal(err, string(out))
		}
	}
	read(t, "-o", "none", "--store", dir)
	log, err := eventlog.OpenReader(filepath.Join(dir, eventlog.DirName))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	queries := []*eventlog.Query{{}, {Newest: true}}
	for _, name := range []string{"www.example.test", "*.example.test", "forged.test", "*.test", ".", `a\.b.x\000\255y.test`, `*.x\000\255y.test`, "t.arget.test"} {
		queries = append(queries, &eventlog.Query{Name: name})
	}
	for _, addr := range []string{"192.0.2.80/32", "192.0.2.1/32", "192.0.2.0/24", "2001:db8::/128", "198.51.100.0/24", "198.51.100.7/32"} {
		queries = append(queries, &eventlog.Query{Addr: netip.MustParsePrefix(addr)})
	}
	queries = append(queries, &eventlog.Query{Kind: "dns_cache_poisoning"}, &eventlog.Query{RCode: "NXDOMAIN"},
		&eventlog.Query{Process: "dig"}, &eventlog.Query{Process: "/usr/bin/dig"}, &eventlog.Query{Container: "0123456789ab"},
		&eventlog.Query{Range: store.Range{Since: storetest.Noon.Add(20 * time.Hour).UnixNano()}}, &eventlog.Query{Range: store.Range{Until: storetest.Noon.Add(20 * time.Hour).UnixNano()}, Newest: true},
		&eventlog.Query{Range: store.Range{Since: storetest.Noon.UnixNano() + 1001, Until: storetest.Noon.UnixNano() + 1001}})
	for name, server := range map[string]*testkit.ClickHouse{"Debian's": testkit.StartClickHouse(t), "today's": testkit.StartClickHouseToday(t)} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("CLICKHOUSE_PASSWORD", testkit.ClickHousePassword)
			url := "clickhouse://agent:${CLICKHOUSE_PASSWORD}@" + server.Address + "/default"
			if none, err := OpenEvents(t.Context(), url); err != nil || none != nil {
				t.Fatal("events of no table", err)
			}
			plain := name == "Debian's"
			server.Run(statements(t, DDL{Plain: plain}))
			output := "clickhouse://agent:${CLICKHOUSE_PASSWORD}@" + server.Address
			if plain {
				output += "?deduplicate=no"
			}
			read(t, "-o", output)
			// Somebody else's row.
			server.Ask("INSERT INTO dnshark (event, json) VALUES ('x', '{\"time\":\"2026-03-01T12:00:00Z\",')")
			events, err := OpenEvents(t.Context(), url)
			if err != nil || events == nil {
				t.Fatal(events, err)
			}
			defer events.Close()
			for _, q := range queries {
				want, wantMore := findEvents(t, log, q)
				got, more := findEvents(t, events, q)
				slices.Sort(got) // here they come in the order of time, there as they arrived
				slices.Sort(want)
				if !slices.Equal(got, want) || more != wantMore {
					t.Errorf("%+v: %v\n%s\nwant %v\n%s", q, more, strings.Join(got, "\n"), wantMore, strings.Join(want, "\n"))
				}
				if len(want) == 0 && q.Process+q.Container == "" && q.Name != "t.arget.test" && q.RCode != "NXDOMAIN" && q.Name != "." {
					t.Errorf("%+v finds nothing", q)
				}
			}
			pageRows = 2
			defer func() { pageRows = 5000 }()
			for _, newest := range []bool{false, true} {
				q := &eventlog.Query{Kind: "net_packet_dns_response", Name: "*.example.test", Newest: newest, Limit: 3}
				want, _ := findEvents(t, log, q)
				if got, more := findEvents(t, events, q); !slices.Equal(got, want) || !more || len(got) != 3 {
					t.Errorf("newest %v: %v\n%s\nwant\n%s", newest, more, strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
			}
		})
	}
}

// findEvents returns the events without what the output adds.
func findEvents(t *testing.T, s interface {
	Find(context.Context, *eventlog.Query, func([]byte) error) (bool, error)
}, q *eventlog.Query) (list []string, more bool) {
	t.Helper()
	more, err := s.Find(t.Context(), q, func(line []byte) error {
		var e map[string]any
		if err := json.Unmarshal(line, &e); err != nil || line[len(line)-1] != '\n' {
			return fmt.Errorf("%q: %v", line, err)
		}
		delete(e, "event_id")
		text, err := json.Marshal(e)
		list = append(list, string(text))
		return err
	})
	if err != nil {
		t.Fatalf("%+v: %v", q, err)
	}
	return list, more
}

// writeForgeries writes a capture in which somebody guesses ids.
func writeForgeries(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "forgeries.pcap")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c, err := testkit.NewCapture(f)
	if err != nil {
		t.Fatal(err)
	}
	client, server := netip.MustParseAddrPort("198.51.100.7:40000"), netip.MustParseAddrPort("198.51.100.53:53")
	at := storetest.Noon.Add(200 * time.Hour).UnixNano()
	var m dns.Msg
	m.SetQuestion("forged.test.", dns.TypeA)
	add := func(from, to netip.AddrPort) {
		raw, err := m.Pack()
		if err == nil {
			err = c.UDP(at, from, to, raw)
		}
		if err != nil {
			t.Fatal(err)
		}
		at += int64(time.Millisecond)
	}
	add(client, server)
	m.Response = true
	m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: "forged.test.", Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: []byte{192, 0, 2, 66}}}
	for range 50 {
		m.Id++
		add(server, client)
	}
	return path
}

// insertEvents sends lines as -o clickhouse:// does.
func insertEvents(t *testing.T, server *testkit.ClickHouse, options string, lines ...string) {
	t.Helper()
	target, err := sink.Parse("clickhouse://agent:${CLICKHOUSE_PASSWORD}@" + server.Address + options)
	if err != nil {
		t.Fatal(err)
	}
	s, err := target.Kind.Open(target)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i, line := range lines {
		if err := s.Deliver(t.Context(), &sink.Block{Text: []byte(line), First: uint64(i), Events: 1}); err != nil {
			t.Fatal(err)
		}
	}
}

func openEvents(t *testing.T, url string) *Events {
	t.Helper()
	e, err := OpenEvents(t.Context(), url)
	if err != nil || e == nil {
		t.Fatal(e, err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func runEvents(t *testing.T, server *testkit.ClickHouse, d DDL, options string) {
	t.Setenv("CLICKHOUSE_PASSWORD", testkit.ClickHousePassword)
	server.Run(statements(t, d))
	storetest.RunEvents(t, func(t *testing.T, lines ...string) storetest.Finder {
		insertEvents(t, server, options, lines...)
		e := openEvents(t, "clickhouse://agent:${CLICKHOUSE_PASSWORD}@"+server.Address+"/default")
		if e.Viewed == d.Plain {
			t.Error(e.Viewed)
		}
		return e
	})
}

func TestEventsDebian(t *testing.T) {
	runEvents(t, testkit.StartClickHouse(t), DDL{Plain: true}, "?deduplicate=no")
}

// More than a page, lines that come twice and lines that are no events; and what is
// asked most reads a few granules only.
func TestEventsToday(t *testing.T) {
	server := testkit.StartClickHouseToday(t)
	runEvents(t, server, DDL{}, "")
	server.Ask("TRUNCATE TABLE dnshark")
	s := openEvents(t, "clickhouse://"+server.Address+"/default")
	all := 2*pageRows + 700
	for range 2 { // as a broker does
		server.Ask(fmt.Sprintf(`INSERT INTO dnshark (event_id, time, event, qname, comm, json)
			SELECT toString(number), fromUnixTimestamp64Nano(%d + intDiv(number, 3) * 1000000000, 'UTC') AS t, 'e', concat('n', toString(number %% 500), '.test'), 'c',
			format('{{"time":"{}Z","event":"e","process":{{"comm":"c"}},"dns":{{"questions":[{{"name":"{}"}}]}}}}', replaceOne(toString(t), ' ', 'T'), concat('n', toString(number %% 500), '.test')) FROM numbers(%d)`, storetest.Noon.UnixNano(), all))
	}
	server.Ask(`INSERT INTO dnshark (event_id, time, event, json) VALUES ('x', now64(9), 'e', 'none'), ('y', now64(9), 'e', '{"event":"e"'), ('z', now64(9), 'e', '')`)
	for _, newest := range []bool{false, true} {
		n, before := 0, ""
		more, err := s.Find(t.Context(), &eventlog.Query{Newest: newest, Kind: "e", Process: "c"}, func(line []byte) error {
			n++
			if at := string(line[:40]); before != "" && at != before && at < before != newest {
				t.Fatal(at, before)
			} else {
				before = at
			}
			return nil
		})
		if err != nil || more || n != all {
			t.Errorf("newest %v: %d of %d events, more %v, %v", newest, n, all, more, err)
		}
	}
	n := 0
	more, err := s.Find(t.Context(), &eventlog.Query{Newest: true, Name: "n7.test", Limit: 10}, func([]byte) error { n++; return nil })
	if err != nil || !more || n != 10 {
		t.Error(n, more, err)
	}
	// A name within an hour is in a few granules of a day's.
	server.Ask(fmt.Sprintf(`INSERT INTO dnshark (event_id, time, event, qname, json) SELECT toString(number), fromUnixTimestamp64Nano(%d + number * 200000000, 'UTC'), 'f', concat('n', toString(number %% 5000), '.test'), '{}' FROM numbers(432000)`, storetest.Noon.UnixNano()))
	page := eventPage{query: &eventlog.Query{Newest: true, Name: "n7.test"}, span: store.Range{Since: storetest.Noon.UnixNano(), Until: storetest.Noon.Add(time.Hour).UnixNano()}, size: 10}
	text, a := page.statement()
	if read, all, parts := s.client.granules(t, text, a); read > 10 || all < 50 {
		t.Errorf("%d of %d granules in %d parts", read, all, parts)
	} else {
		t.Logf("%d of %d granules in %d parts", read, all, parts)
	}
}

func TestOutput(t *testing.T) {
	for url, want := range map[string]string{
		"clickhouse://h":                                         "clickhouse://h?name=events",
		"clickhouse://u:${P}@h1:1,h2:2/d/":                       "clickhouse://u:${P}@h1:1?name=events&database=d",
		"clickhouses://u@h/d?partial=yes&password-file=/p&ca=/c": "clickhouses://u@h?name=events&database=d&password-file=/p&ca=/c",
	} {
		h := Events{client: &client{}}
		if got := h.Output(url); got != want {
			t.Errorf("%s: %s, want %s", url, got, want)
		}
	}
}

// A table that lacks columns is not looked into, and that is said.
func TestOldTable(t *testing.T) {
	server := testkit.StartClickHouseToday(t)
	server.Ask("CREATE TABLE dnshark (time DateTime64(9, 'UTC'), json String) ENGINE = MergeTree ORDER BY time")
	if e, err := OpenEvents(t.Context(), "clickhouse://"+server.Address); e != nil || !errors.Is(err, ErrOldTable) {
		t.Error(e, err)
	}
}
