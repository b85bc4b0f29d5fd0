package output

import (
	"strings"
	"testing"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/kind"
)

var zeekKeys = map[string]string{
	"ts": "!number", "uid": "!string", "id.orig_h": "!string", "id.orig_p": "!number", "id.resp_h": "!string", "id.resp_p": "!number",
	"proto": "!string", "trans_id": "!number", "rtt": "number", "query": "string", "qclass": "number", "qclass_name": "string",
	"qtype": "number", "qtype_name": "string", "rcode": "number", "rcode_name": "string", "AA": "!bool", "TC": "!bool", "RD": "!bool",
	"RA": "!bool", "Z": "!number", "answers": "list of string", "TTLs": "list of number", "rejected": "!bool", "opcode": "!number",
	"opcode_name": "!string", "process.pid": "number", "process.name": "string", "process.executable": "string",
}

func TestZeek(t *testing.T) {
	lines := jsonLines(t, whole(encoder(t, "zeek"), sample(t)))
	lines = lines[:len(lines)-6] // without alerts
	if len(lines) != 10 {
		t.Fatalf("%d lines", len(lines))
	}
	for _, line := range lines {
		fields(t, "line", line, zeekKeys)
	}
	list := func(v any) (s string) {
		for _, e := range v.([]any) {
			s += e.(string) + "|"
		}
		return s
	}
	if got, want := list(lines[1]["answers"]), "192.0.2.1|2001:db8::1|ns.example.com|ns.example.com|mx.example.com|"+
		`TXT 11 v=spf1 -all TXT 20 second "quoted" \\ ;\009|srv.example.com|example.com|CAA 0 issue "ca.example"|`+
		`HTTPS 1 . alpn="h2,h3" ipv4hint="192.0.2.1"|SSHFP: 123456789abcdef67890123456789abcdef67890123456789abcdef123456789|DS 8 2|DNSKEY 8|`+
		`NSEC example.com a.example.com|RRSIG 1 example.com|`; !strings.HasPrefix(got, want) {
		t.Errorf("answers are\n%s, want\n%s", got, want)
	}
	if first := lines[0]; first["query"] != "www.example.com" || first["rtt"] != 0.001234 || first["ts"] != 1795000000.123222 || first["id.orig_p"] != 40000.0 ||
		first["qclass_name"] != "C_INTERNET" || lines[1]["qtype_name"] != "*" || first["rejected"] != false || lines[3]["rejected"] != true {
		t.Errorf("%v", first)
	}
	if last := lines[9]; last["rcode"] != nil || last["rtt"] != nil || last["uid"] != lines[0]["uid"] {
		t.Errorf("a query without an answer is %v", last)
	}
}

// zeekRead is a reader of Zeek's logs, after their header lines.
func zeekRead(t testing.TB, out []byte) (rows []map[string]string) {
	t.Helper()
	var names []string
	closed := false
	for line := range strings.Lines(string(out)) {
		cells := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		switch {
		case closed:
			t.Fatalf("a line after #close: %s", line)
		case cells[0] == "#fields":
			names = cells[1:]
		case cells[0] == "#types" && len(cells)-1 != len(names):
			t.Fatalf("%d types of %d fields", len(cells)-1, len(names))
		case strings.HasPrefix(line, "#"):
			closed = cells[0] == "#close"
		default:
			if len(cells) != len(names) {
				t.Fatalf("%d cells under %d names: %s", len(cells), len(names), line)
			}
			row := map[string]string{}
			for i, name := range names {
				row[name] = cells[i]
			}
			rows = append(rows, row)
		}
	}
	return rows
}

func TestZeekTSV(t *testing.T) {
	rows := zeekRead(t, whole(encoder(t, "zeek-tsv"), sample(t)))
	if len(rows) != 10 {
		t.Fatalf("%d rows", len(rows))
	}
	objects := jsonLines(t, whole(encoder(t, "zeek"), sample(t)))
	for i, row := range rows {
		for name, cell := range row {
			if _, set := objects[i][name]; set == (cell == "-") {
				t.Errorf("row %d: %s is %q, in JSON %v", i, name, cell, objects[i][name])
			}
		}
		answers, _ := objects[i]["answers"].([]any)
		cells := strings.Split(row["answers"], ",")
		if len(answers) > 0 && len(cells) != len(answers) || len(strings.Split(row["TTLs"], ",")) != len(cells) {
			t.Errorf("row %d: %d answers, want %d", i, len(cells), len(answers))
		}
		for j := range answers {
			if text := strings.NewReplacer(`\\`, `\`, `\x2c`, ",").Replace(cells[j]); text != answers[j] {
				t.Errorf("row %d: answer %q, in JSON %q", i, text, answers[j])
			}
		}
	}
}

// Every row of the hostile corpus has as many cells as names.
func TestZeekTSVHostile(t *testing.T) {
	enc, b := encoder(t, "zeek-tsv"), &event.Batch{}
	for _, h := range corpus(t) {
		b.Reset()
		e := b.Next()
		e.Msg.Unpack(h.raw)
		kind.NewMarker(kindResponse).Process(b)
		want := int(e.Kinds) & 1
		if rows := zeekRead(t, whole(enc, b)); len(rows) != want {
			t.Fatalf("%s: %d rows, want %d", h.ID, len(rows), want)
		}
	}
}

func TestEscapeTSV(t *testing.T) {
	for text, want := range map[string]string{"": "", "-": `\x2d`, "(empty)": `\x28empty)`, `a\b,c\`: `a\\b\x2cc\\`, "--": "--", ",,": `\x2c\x2c`} {
		if got := string(escapeTSV([]byte("x"+text), 1, true)); got != "x"+want {
			t.Errorf("%s is %s, want x%s", text, got, want)
		}
	}
	if got := string(escapeTSV([]byte(`a,b\`), 0, false)); got != `a,b\\` {
		t.Errorf("got %s", got)
	}
}
