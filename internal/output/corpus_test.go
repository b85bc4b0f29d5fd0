package output

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/kind"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

// hostile is a message of the corpus, and how an independent strict walker
// judged it.
type hostile struct {
	ID     string
	Hex    string
	Header *struct{ ID, Flags, QD, AN, NS, AR uint16 }
	Walker *struct {
		OK             bool
		QD, AN, NS, AR uint16
	}
	raw []byte
}

// UnmarshalJSON knows the corpus's names of the counts.
func (h *hostile) UnmarshalJSON(line []byte) error {
	var row struct {
		ID, Hex string
		Header  *struct{ ID, Flags, QD, AN, NS, AR uint16 }
		Walker  *struct {
			OK bool
			QD uint16 `json:"qd_seen"`
			AN uint16 `json:"an_seen"`
			NS uint16 `json:"ns_seen"`
			AR uint16 `json:"ar_seen"`
		}
	}
	if err := json.Unmarshal(line, &row); err != nil {
		return err
	}
	h.ID, h.Hex, h.Header = row.ID, row.Hex, row.Header
	if row.Walker != nil {
		h.Walker = &struct {
			OK             bool
			QD, AN, NS, AR uint16
		}{row.Walker.OK, row.Walker.QD, row.Walker.AN, row.Walker.NS, row.Walker.AR}
	}
	return nil
}

func corpus(t testing.TB) (list []hostile) {
	t.Helper()
	dir := testkit.Corpus(t, "hostile")
	files, err := filepath.Glob(filepath.Join(dir, "*", "*", "*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if base := filepath.Base(file); base != "expected.jsonl" {
			continue
		}
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		scan := bufio.NewScanner(f)
		scan.Buffer(nil, 16<<20)
		for scan.Scan() {
			var h hostile
			if err := json.Unmarshal(scan.Bytes(), &h); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if h.raw, err = hex.DecodeString(h.Hex); err != nil {
				t.Fatal(err)
			}
			if h.Hex == "" {
				if h.raw, err = os.ReadFile(filepath.Join(filepath.Dir(file), h.ID)); err != nil {
					t.Fatal(err)
				}
			}
			list = append(list, h)
		}
		f.Close()
	}
	synthetic, err := filepath.Glob(filepath.Join(dir, "synthetic", "msg", "*.bin"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range synthetic {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, hostile{ID: filepath.Base(file), raw: raw})
	}
	return list
}

// line returns what a message looks like as net_packet_dns.
func line(t testing.TB, j *JSON, b *event.Batch, dst, raw []byte) []byte {
	b.Reset()
	e := b.Next()
	e.Kinds = 1 << 2
	if kind.Catalogue[2].Name != "net_packet_dns" {
		t.Fatal("the catalogue's order changed")
	}
	e.Msg.Unpack(raw)
	return j.Append(dst[:0], b)
}

// maxEvent is the length of the longest event.
const maxEvent = 64 << 10

// Whatever the message: one line of valid JSON, printable ASCII, of bounded
// length. A whole message is shown whole, with its counts (hidden = 0); a
// broken one says that it is and why (silent = 0).
func TestHostileMessages(t *testing.T) {
	j, b, buf := NewJSON(), &event.Batch{}, make([]byte, 0, 1<<20)
	table, rows := NewTable(0, false), []byte(nil)
	whole, broken, hidden, silent := 0, 0, 0, 0
	messages := corpus(t)
	for _, h := range messages {
		if len(h.raw) < dnswire.HeaderLen {
			continue // no event; the decoder counts it
		}
		buf = line(t, j, b, buf, h.raw)
		if len(buf) > maxEvent {
			t.Errorf("%s: an event of %d octets", h.ID, len(buf))
		}
		if i := bytes.IndexFunc(buf[:len(buf)-1], func(r rune) bool { return r < 0x20 || r > 0x7e }); i >= 0 {
			t.Errorf("%s: octet %#x in the output", h.ID, buf[i])
		}
		// A terminal shows the same octets: no control character reaches it.
		rows = table.Append(rows[:0], b)
		if i := bytes.IndexFunc(rows, func(r rune) bool { return r != '\n' && (r < 0x20 || r > 0x7e) }); i >= 0 {
			t.Errorf("%s: octet %#x in the table", h.ID, rows[i])
		}
		var e struct {
			DNS struct {
				ID         uint16
				RCode      string
				Questions  []json.RawMessage
				Counts     struct{ QD, AN, NS, AR uint16 }
				Incomplete bool
				Anomalies  []string
			}
		}
		if err := json.Unmarshal(buf, &e); err != nil {
			t.Errorf("%s: %v", h.ID, err)
			continue
		}
		if h.Walker == nil {
			continue
		}
		if !h.Walker.OK {
			broken++
			if !e.DNS.Incomplete || len(e.DNS.Anomalies) == 0 {
				silent++
				t.Errorf("%s: broken, and looks whole", h.ID)
			}
			continue
		}
		whole++
		got, want := e.DNS.Counts, h.Walker
		if e.DNS.Incomplete || e.DNS.ID != h.Header.ID || got.QD != want.QD || got.AN != want.AN || got.NS != want.NS || got.AR != want.AR {
			hidden++
			t.Errorf("%s: id %d, counts %v, incomplete %v; want %d, %v", h.ID, e.DNS.ID, got, e.DNS.Incomplete, h.Header.ID, *want)
		}
	}
	t.Logf("%d messages: %d whole, %d hidden; %d broken, %d silent", len(messages), whole, hidden, broken, silent)
	if whole < 2000 || broken < 200 {
		t.Error("the corpus has more")
	}
}

// Nor do processes and hosts that are made to be long break the bounds.
func TestHostileProcesses(t *testing.T) {
	process := &event.Process{
		Exe: strings.Repeat("\x01", 4096), Cwd: strings.Repeat("\\", 4096), Args: strings.Repeat("\"\xff\x00", 100),
		ExeSHA256: strings.Repeat("0a", 32),
	}
	for range event.MaxAncestors {
		process.Ancestors = append(process.Ancestors, event.Ancestor{Comm: [16]byte{1, 1, 1, 1}, Exe: strings.Repeat("\n", 60)})
	}
	process.Render()
	who := event.Party{ID: &event.Identity{TGID: 1 << 31, Cgroup: 1 << 63}, Process: process, User: strings.Repeat("\x7f", 500),
		Container: crowded(strings.Repeat("\xff", 500), 60), Unit: strings.Repeat("\x01", 500)}
	who.Container.Labels = append(who.Container.Labels, crowded("\x01", 60).Labels...)
	for i := range who.ID.Comm {
		who.ID.Comm[i] = 0x80
	}
	j, b, buf, longest := NewJSON(), &event.Batch{Host: strings.Repeat("\r", 5000)}, make([]byte, 0, 1<<20), 0
	for _, h := range corpus(t) {
		for kinds := uint32(1); kinds < 1<<4; kinds <<= 1 {
			b.Reset()
			e := b.Next()
			e.Kinds, e.Observer, e.Asker, e.Server = kinds, event.Client, who, who
			e.Txn.State = event.StateAnswered
			e.Msg.Unpack(h.raw)
			buf = j.Append(buf[:0], b)
			longest = max(longest, len(buf))
			if len(buf) > maxEvent || !json.Valid(buf) {
				t.Errorf("%s: %d octets, JSON: %v", h.ID, len(buf), json.Valid(buf))
			}
			if i := bytes.IndexFunc(buf[:len(buf)-1], func(r rune) bool { return r < 0x20 || r > 0x7e }); i >= 0 {
				t.Errorf("%s: octet %#x in the output", h.ID, buf[i])
			}
		}
	}
	t.Logf("the longest event has %d octets", longest)
}

// What the worst message costs, from octets to JSON.
func TestHostileCost(t *testing.T) {
	j, b, buf := NewJSON(), &event.Batch{}, make([]byte, 0, 1<<20)
	worst, worstID := 0.0, ""
	for _, h := range corpus(t) {
		if len(h.raw) < dnswire.HeaderLen {
			continue
		}
		best := time.Duration(1 << 62)
		for range 5 {
			begin := time.Now()
			buf = line(t, j, b, buf, h.raw)
			best = min(best, time.Since(begin))
		}
		// Short messages pay what every event pays: the fixed keys.
		const fixed = 20 * time.Microsecond
		if perOctet := float64(max(0, best-fixed).Nanoseconds()) / float64(len(h.raw)); perOctet > worst {
			worst, worstID = perOctet, h.ID
		}
		if h.ID == "C17x_nsec_full.bin" && best > 2*time.Millisecond {
			t.Errorf("%s takes %v, want at most 2 ms", h.ID, best)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		buf = line(t, j, b, buf, h.raw)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > uint64(8*len(h.raw)+4096) {
			t.Errorf("%s: %d octets allocated for a message of %d", h.ID, n, len(h.raw))
		}
	}
	t.Logf("worst: %.1f ns per octet (%s)", worst, worstID)
	if worst > 50 {
		t.Errorf("%s costs %.1f ns per octet, want at most 50", worstID, worst)
	}
}

func BenchmarkHostile(b *testing.B) {
	j, batch, buf := NewJSON(), &event.Batch{}, make([]byte, 0, 1<<20)
	messages := corpus(b)
	octets := 0
	for _, h := range messages {
		octets += len(h.raw)
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, h := range messages {
			buf = line(b, j, batch, buf, h.raw)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*octets), "ns/octet")
}
