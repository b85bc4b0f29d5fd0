package sink

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/output"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

// hostileLines returns what a format makes of the hostile corpus, as one block.
func hostileLines(t testing.TB, format string) *Block {
	t.Helper()
	dir := testkit.Corpus(t, "hostile")
	var messages [][]byte
	binaries, _ := filepath.Glob(filepath.Join(dir, "synthetic", "msg", "*.bin"))
	for _, file := range binaries {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, raw)
	}
	lists, _ := filepath.Glob(filepath.Join(dir, "*", "*", "expected.jsonl"))
	for _, file := range lists {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		scan := bufio.NewScanner(f)
		scan.Buffer(nil, 16<<20)
		for scan.Scan() {
			var row struct{ Hex string }
			if json.Unmarshal(scan.Bytes(), &row) == nil {
				raw, _ := hex.DecodeString(row.Hex)
				messages = append(messages, raw)
			}
		}
		f.Close()
	}
	f, err := output.FindFormat(format)
	if err != nil {
		t.Fatal(err)
	}
	encoder, err := f.New(output.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	b, batch := &Block{First: 1, source: "h-"}, &event.Batch{Host: "evil\r\nhost\x1b"}
	for _, raw := range messages {
		if len(raw) < 12 || len(b.Text) > 4<<20 {
			continue
		}
		batch.Reset()
		e := batch.Next()
		e.Kinds = 1 << 2 // net_packet_dns
		e.Msg.Unpack(raw)
		b.Text = encoder.Append(b.Text, batch)
	}
	if b.Events = bytes.Count(b.Text, []byte{'\n'}); b.Events < 300 {
		t.Fatalf("%d events of a corpus that has more", b.Events)
	}
	return b
}

// standIns are servers for each kind of sink of messages: they return the URL and what
// came, a message each.
var standIns = map[string]func(t *testing.T) (url string, came func() []string){
	"tcp": func(t *testing.T) (string, func() []string) {
		var got lines
		return "tcp://" + listen(t, "tcp", nil, func(c net.Conn) { got.read(c) }).address, got.get
	},
	"syslog": func(t *testing.T) (string, func() []string) {
		var got lines
		r := listen(t, "tcp", nil, func(c net.Conn) {
			octetCounted(t, c, func(message string) {
				header, text, _ := strings.Cut(message, `"] `)
				if strings.Count(header, " ") != 7 || !strings.HasPrefix(header, "<30>1 ") {
					t.Errorf("header %q", header)
				}
				got.add(text)
			})
		})
		return "syslog+tcp://" + r.address + "?max=1MB", got.get
	},
	"https": func(t *testing.T) (string, func() []string) {
		var got lines
		return serve(t, "http", nil, func(_ http.ResponseWriter, r *http.Request) { got.read(r.Body) }), got.get
	},
	"https, array": func(t *testing.T) (string, func() []string) {
		var got lines
		return serve(t, "http", nil, func(_ http.ResponseWriter, r *http.Request) {
			text, _ := io.ReadAll(r.Body)
			var list []json.RawMessage
			if err := json.Unmarshal(text, &list); err != nil {
				t.Error(err)
			}
			for _, e := range list {
				var plain string
				if json.Unmarshal(e, &plain) == nil {
					e = []byte(plain)
				}
				got.add(string(e))
			}
		}) + "/?form=array", got.get
	},
	"fluent": func(t *testing.T) (string, func() []string) {
		f := &forwarder{t: t, anyTime: true}
		return "fluent://" + listen(t, "tcp", nil, f.serve).address, func() (list []string) {
			f.mu.Lock()
			defer f.mu.Unlock()
			for _, records := range f.events {
				for _, r := range records {
					record := r.(map[string]any)
					if message, ok := record["message"].(string); ok {
						list = append(list, message)
						continue
					}
					text, err := json.Marshal(record)
					if err != nil {
						t.Error(err)
					}
					list = append(list, string(text))
				}
			}
			return list
		}
	},
	"redis": func(t *testing.T) (string, func() []string) {
		var got lines
		r := listen(t, "tcp", nil, func(c net.Conn) {
			in := bufio.NewReader(c)
			for {
				arguments, err := respArray(in)
				if err != nil {
					return
				}
				if len(arguments) != 10 || arguments[0] != "XADD" || arguments[8] != "event" {
					t.Errorf("%q", arguments)
				}
				got.add(arguments[9])
				_, _ = io.WriteString(c, "$3\r\n1-1\r\n")
			}
		})
		return "redis://" + r.address, got.get
	},
	"nats":        natsStandIn(""),
	"nats, parts": natsStandIn("&subject=dns.{host}.{qname}.{process}"),
	"kafka":       kafkaStandIn,
	"clickhouse":  clickhouseStandIn,
	"loki":        lokiStandIn,
	"elastic":     elasticStandIn,
	"otlp":        otlpStandIn,
}

// takes are the formats of those that do not take all.
var takes = map[string][]string{"nats, parts": {"json"}, "clickhouse": {"json"}, "elastic": {"json", "ecs"}}

// Whatever names and texts the network says, each message holds one event and all of
// it, in every sink, in JSON and in formats of text.
func TestHostileMessages(t *testing.T) {
	for _, format := range []string{"json", "csv", "table", "ecs"} {
		b := hostileLines(t, format)
		for name, standIn := range standIns {
			if takes[name] != nil && !slices.Contains(takes[name], format) {
				continue
			}
			t.Run(format+"/"+name, func(t *testing.T) {
				url, came := standIn(t)
				separator := map[bool]string{true: "&", false: "?"}[strings.Contains(url, "?")]
				s, _ := open(t, url+separator+"timeout=30s&format="+format)
				if err := deliver(t, s, b); err != nil {
					t.Fatal(err)
				}
				eventually(t, "all events", func() bool { return len(came()) >= b.Events })
				var want []string
				for i, line := range b.Lines() {
					if name != "tcp" {
						line = b.AppendJSON(nil, i, line)
					}
					want = append(want, string(line))
				}
				compare(t, came(), want)
			})
		}
	}
}

// elsewhere are kinds whose own tests show that messages stay whole, with servers of
// their own.
var elsewhere = []string{"file"}

// Every kind of sink has its stand-in.
func TestStandIns(t *testing.T) {
	for _, k := range Kinds {
		if standIns[k.Scheme] == nil && !slices.ContainsFunc(k.Schemes(), func(s string) bool { return slices.Contains(elsewhere, s) }) {
			t.Errorf("%s has none: do hostile names stay inside its messages?", k.Scheme)
		}
	}
}

// insist delivers blocks, as often as it takes, and returns how many events were
// refused.
func insist(t *testing.T, s Sink, blocks ...*Block) (refused int) {
	t.Helper()
	for _, b := range blocks {
		for n := 0; ; n++ {
			err := deliver(t, s, b)
			if gone, final := refusal(b, err); final {
				refused += gone
				break
			}
			if n > 100 {
				t.Fatal(err)
			}
		}
	}
	return refused
}

// withID puts the id of a message into its text, where that is JSON.
func withID(id, text string) string {
	if strings.HasPrefix(text, "{") {
		return `{"event_id":"` + id + `",` + text[1:]
	}
	return text
}

// compare fails the test unless both hold the same messages; JSON may be written
// another way.
func compare(t *testing.T, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d messages, want %d", len(got), len(want))
	}
	normal := func(list []string) []string {
		for i, text := range list {
			var v any
			if strings.HasPrefix(text, "{") {
				if err := json.Unmarshal([]byte(text), &v); err != nil {
					t.Errorf("%v: %.200q", err, text)
				}
				again, _ := json.Marshal(v)
				list[i] = string(again)
			}
			if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
				t.Errorf("control characters: %.200q", text)
			}
		}
		slices.Sort(list)
		return list
	}
	got, want = normal(got), normal(want)
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("got\n%.300q, want\n%.300q", got[i], want[i])
		}
	}
}

// respArray reads one command.
func respArray(in *bufio.Reader) (list []string, err error) {
	number := func(typ string) int {
		line, readErr := in.ReadString('\n')
		if err = readErr; err != nil || !strings.HasPrefix(line, typ) {
			return 0
		}
		n := 0
		for _, d := range strings.TrimSpace(line[1:]) {
			n = 10*n + int(d-'0')
		}
		return n
	}
	for range number("*") {
		text := make([]byte, number("$")+2)
		if err == nil {
			_, err = io.ReadFull(in, text)
		}
		if err != nil {
			return nil, err
		}
		list = append(list, string(text[:len(text)-2]))
	}
	return list, err
}
