package output

import (
	"bytes"
	stdcsv "encoding/csv"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/kind"
)

func readCSV(t testing.TB, out []byte) [][]string {
	t.Helper()
	rows, err := stdcsv.NewReader(bytes.NewReader(out)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func TestCSV(t *testing.T) {
	rows := readCSV(t, whole(encoder(t, "csv"), sample(t)))
	if len(rows) != 33 {
		t.Fatalf("%d rows", len(rows))
	}
	cell := func(row int, name string) string { return rows[row][slices.Index(rows[0], name)] }
	for name, want := range map[string]string{
		"event": "net_packet_dns_response", "qname": "www.Example.com", "answers": "CNAME web.example.com; A 192.0.2.80; A 192.0.2.81",
		"flags": "qr rd ra", "latency_us": "1234", "pid": "31337", "comm": "dig", "rcode": "NOERROR",
	} {
		if got := cell(1, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	// No cell is a formula, and every cell gives back what it was.
	hostile := 0
	for _, row := range rows[1:] {
		for i, c := range row {
			if c != "" && strings.ContainsRune("=+-@", rune(c[0])) {
				t.Errorf("%s: %q is a formula", rows[0][i], c)
			}
			if strings.HasPrefix(c, "'") {
				hostile++
			}
		}
	}
	if hostile < 4 {
		t.Errorf("%d hostile cells, want more", hostile)
	}
}

// Every row of the hostile corpus has as many cells as names.
func TestCSVHostile(t *testing.T) {
	enc, b, template := encoder(t, "csv"), &event.Batch{}, sample(t).Events[8].Observation
	for _, h := range corpus(t) {
		b.Reset()
		e := b.Next()
		e.Observation, e.Kinds = template, 0
		e.Msg.Unpack(h.raw)
		kind.NewMarker(kindDNS).Process(b)
		if rows := readCSV(t, whole(enc, b)); len(rows) != 2 {
			t.Fatalf("%s: %d rows", h.ID, len(rows))
		}
	}
}

func TestEscapeCSV(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "a b": "a b", "=1+1": "'=1+1", "'x": "''x", "a,b": `"a,b"`, `say "x"`: `"say ""x"""`, `-",`: `"'-"","`, `"`: `""""`, "@": "'@",
	} {
		if got := string(escapeCSV([]byte("x"+text), 1)); got != "x"+want {
			t.Errorf("%s is %s, want x%s", text, got, want)
		}
	}
}

var rfc8427Keys = map[string]map[string]string{
	"": {
		"dateString": "!string", "dateSeconds": "!number", "ID": "!number", "QR": "!number", "Opcode": "!number", "AA": "!number",
		"TC": "!number", "RD": "!number", "RA": "!number", "AD": "!number", "CD": "!number", "RCODE": "!number", "QDCOUNT": "!number",
		"ANCOUNT": "!number", "NSCOUNT": "!number", "ARCOUNT": "!number", "QNAME": "string", "QTYPE": "number", "QTYPEname": "string",
		"QCLASS": "number", "QCLASSname": "string", "questionRRs": "!list of object", "answerRRs": "!list of object",
		"authorityRRs": "!list of object", "additionalRRs": "!list of object", "metadata": "!object", "dnshark": "!object",
	},
	"questionRRs": {"NAME": "!string", "TYPE": "!number", "TYPEname": "!string", "CLASS": "!number", "CLASSname": "!string"},
	"answerRRs": {
		"NAME": "!string", "TYPE": "!number", "TYPEname": "!string", "CLASS": "!number", "CLASSname": "!string", "TTL": "!number",
		"RDATAHEX": "!string", "RDLENGTH": "!number",
	},
}

// A program that reads nothing but the JSON finds the records of the message.
func TestRFC8427(t *testing.T) {
	b := sample(t)
	lines := jsonLines(t, whole(encoder(t, "rfc8427"), b))
	read := 0
	for i, line := range lines {
		tables(t, line, rfc8427Keys)
		m := new(dns.Msg)
		if err := m.Unpack(b.Events[i].Msg.Raw); err != nil {
			continue // the sample's broken messages
		}
		for j, v := range line["answerRRs"].([]any) {
			r := v.(map[string]any)
			rdata, err := hex.DecodeString(r["RDATAHEX"].(string))
			if err != nil || float64(len(rdata)) != r["RDLENGTH"] {
				t.Fatalf("%v: %v", r, err)
			}
			name, err := dnswire.AppendWireName(nil, r["NAME"].(string))
			if err != nil {
				t.Fatal(err)
			}
			owner, _, err := dns.UnpackDomainName(name, 0)
			if err != nil {
				t.Fatal(err)
			}
			h := dns.RR_Header{
				Name: owner, Rrtype: uint16(r["TYPE"].(float64)), Class: uint16(r["CLASS"].(float64)), Ttl: uint32(r["TTL"].(float64)),
				Rdlength: uint16(len(rdata)),
			}
			rr, _, err := dns.UnpackRRWithHeader(h, rdata, 0)
			if err != nil || rr.String() != m.Answer[j].String() {
				t.Errorf("%v, %v, want %v", rr, err, m.Answer[j])
			}
			read++
		}
	}
	if read < 20 {
		t.Errorf("%d records", read)
	}
}
