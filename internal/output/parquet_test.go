package output

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/kind"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

// duckdb returns what DuckDB says to queries about a Parquet file, called file
// there.
func duckdb(t testing.TB, file []byte, query string) []map[string]any {
	t.Helper()
	path := filepath.Join(t.TempDir(), "events.parquet")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	return testkit.DuckDB(t, path, query)
}

// duckValue is a path's value as DuckDB tells it.
func duckValue(p *event.Path, e *event.Event, i int) any {
	switch p.Kind {
	case event.KindNumber:
		return strconv.FormatUint(p.Number(e, i), 10)
	case event.KindTime:
		return time.UnixMicro(int64(p.Number(e, i)) / 1000).UTC().Format("2006-01-02 15:04:05.999999+00")
	case event.KindBool:
		return p.Bool(e, i)
	case event.KindAddr:
		if a := p.Addr(e, i); a.IsValid() {
			return a.String()
		}
		return nil
	}
	return string(p.Text(nil, e, i))
}

// checkRows compares what DuckDB read with what the paths say, value by value.
func checkRows(t *testing.T, rows []map[string]any, events []*event.Event, names []string) {
	t.Helper()
	if len(rows) != len(events) {
		t.Fatalf("%d rows, want %d", len(rows), len(events))
	}
	values := 0
	for at, e := range events {
		row := rows[at]
		if row["event"] != names[at] || row["time_ns"] != strconv.FormatInt(e.Time, 10) {
			t.Fatalf("row %d is %v at %v", at, row["event"], row["time_ns"])
		}
		for _, p := range event.Paths {
			if parquetTwice(p.Name) {
				continue
			}
			column, part := strings.ReplaceAll(p.Name, ".", "_"), ""
			if _, ok := row[column]; !ok {
				column, part = strings.ReplaceAll(above(p.Name), ".", "_"), p.Name[len(above(p.Name))+1:]
			}
			got, ok := row[column]
			n := p.Values(e)
			list, isList := got.([]any)
			if !ok || isList != p.List || isList && len(list) != n {
				t.Fatalf("row %d: %s is %v, of %d values", at, p.Name, got, n)
			}
			if !isList {
				if list = []any{got}; n == 0 {
					if n = 1; got != nil {
						t.Fatalf("row %d: %s is %v", at, p.Name, got)
					}
					continue
				}
			}
			for i := range n {
				value := list[i]
				if part != "" {
					value = value.(map[string]any)[part]
				}
				if want := duckValue(p, e, i); value != want {
					t.Fatalf("row %d: %s is %#v, want %#v", at, p.Name, value, want)
				}
				values++
			}
		}
	}
	t.Logf("%d rows, %d values", len(rows), values)
}

// Another program reads every value of every event.
func TestParquet(t *testing.T) {
	b := sample(t)
	var events []*event.Event
	var names []string
	for i := range b.Events {
		for j, k := range kind.Catalogue {
			if e := &b.Events[i]; e.Kinds>>j&1 != 0 {
				events, names = append(events, e), append(names, k.Name)
			}
		}
	}
	file := whole(encoder(t, "parquet"), b)
	checkRows(t, duckdb(t, file, "SELECT * FROM file"), events, names)

	// What people ask.
	got := fmt.Sprint(duckdb(t, file, `SELECT dns_rcode, count(*)::INT AS n, max(time)::VARCHAR AS last FROM file, unnest(dns_questions) q(q)
		WHERE event = 'net_packet_dns_response' AND q.name LIKE '%example.com' AND dns_opcode = 'QUERY' GROUP BY ALL ORDER BY n`))
	if want := "[map[dns_rcode:NXDOMAIN last:2026-11-18 11:06:40.126456+00 n:1] map[dns_rcode:NOERROR last:2026-11-18 11:06:40.132456+00 n:6]]"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

// Every hostile message, with a hostile process, and nothing is lost.
func TestParquetHostile(t *testing.T) {
	template, b := sample(t).Events[8].Observation, &event.Batch{}
	var events []*event.Event
	var names []string
	for _, h := range corpus(t) {
		if len(h.raw) < 12 {
			continue // no event; the decoder counts it
		}
		e := b.Next()
		e.Observation, e.Kinds = template, uint32(kindDNS)
		e.Msg.Unpack(h.raw)
	}
	for i := range b.Events {
		events, names = append(events, &b.Events[i]), append(names, "net_packet_dns")
	}
	checkRows(t, duckdb(t, whole(encoder(t, "parquet"), b), "SELECT * FROM file"), events, names)
}

// A file is whole whether or not there were events, and when the run ended early.
func TestParquetEnds(t *testing.T) {
	for what, run := range map[string]func(*Writer){
		"0": func(w *Writer) { w.Begin() },
		"21": func(w *Writer) {
			if _, err := w.Write(sample(t)); err != nil { // and nobody calls Begin
				t.Fatal(err)
			}
		},
	} {
		var file bytes.Buffer
		w := NewWriter(encoder(t, "parquet"), &file, true)
		run(w)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(duckdb(t, file.Bytes(), "SELECT count(*)::VARCHAR AS n FROM file WHERE event LIKE 'net_packet_%' AND event NOT LIKE '%p'")[0]["n"]); got != what {
			t.Errorf("%s events, want %s", got, what)
		}
	}
}

// Whatever the messages, memory is bounded: row groups end before they are long.
func TestParquetMemory(t *testing.T) {
	// A name as long as any, and as many records as are kept that point to it.
	raw := []byte("\x00\x01\x81\x80\x00\x01\x01\x00\x00\x00\x00\x00")
	for range 3 {
		raw = append(append(raw, 63), strings.Repeat("\x01", 63)...)
	}
	raw = append(append(append(raw, 61), strings.Repeat("\x02", 61)...), "\x00\x00\x05\x00\x01"...)
	for range 256 {
		raw = append(raw, "\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x00\x00\x02\xc0\x0c"...)
	}
	enc, b := encoder(t, "parquet"), &event.Batch{}
	for range 256 {
		e := b.Next()
		e.Observation, e.Kinds = sample(t).Events[8].Observation, uint32(kindDNS)
		e.Msg.Unpack(raw)
	}
	if n := len(b.Events[0].Msg.Answer()); n != 256 {
		t.Fatalf("%d records", n)
	}
	var most uint64
	var dst []byte
	for range 12 {
		dst = enc.Append(dst[:0], b)
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		most = max(most, m.HeapAlloc)
	}
	t.Logf("%d MiB at most", most>>20)
	if most > 256<<20 {
		t.Errorf("%d MiB", most>>20)
	}
}
