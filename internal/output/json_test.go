package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/kind"
)

// batch returns a batch of answers of several kinds, ready for output.
func batch(t testing.TB) *event.Batch {
	t.Helper()
	b := &event.Batch{Host: "host.example"}
	process := &event.Process{
		Exe: "/usr/bin/dig", Cwd: "/root", Args: "dig\x00" + strings.Repeat("\x01", 400), ExeSHA256: strings.Repeat("0a", 32),
		Ancestors: []event.Ancestor{{PID: 9, Comm: [16]byte{'s', 'h'}, Exe: "/bin/sh"}},
	}
	process.Render()
	for i, text := range []string{
		"a.example. 300 IN A 192.0.2.1", "a.example. 300 IN CNAME b.example.", "a.example. 60 IN AAAA 2001:db8::1",
		"a.example. 5 IN MX 10 mx.example.", `a.example. 5 IN TXT "quote \" slash \\ \001"`,
		"a.example. 5 IN SRV 1 2 443 srv.example.", "a.example. 5 IN SOA ns.example. h.example. 1 2 3 4 5",
	} {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		m := new(dns.Msg)
		m.SetQuestion("a.example.", rr.Header().Rrtype)
		m.Id, m.Response, m.Compress = uint16(i), true, true
		m.Answer = []dns.RR{rr, rr}
		m.SetEdns0(1232, true)
		m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_NSID{Code: dns.EDNS0NSID, Nsid: "6e7331"}}
		raw, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		e := b.Next()
		e.Time = 1_795_000_000_123_456_789
		e.Meta = event.PktMeta{
			SrcIP: netip.MustParseAddr("192.0.2.53"), DstIP: netip.MustParseAddr("2001:db8::7"), SrcPort: 53, DstPort: 40000,
			Protocol: 17, PacketLen: 99, Iface: "eth0",
		}
		e.Observer = event.Client
		e.Policies = []string{"lookups"}
		e.Asker = event.Party{
			ID:          &event.Identity{TGID: 10, TID: 11, Comm: [16]byte{'d', 'i', 'g'}},
			Attribution: event.AttributionQueryEgress,
			Process:     process,
			User:        "root",
			Doubt:       event.Candidate{ID: &event.Identity{TGID: 12}, Method: event.AttributionSocketSender},
		}
		e.Server = e.Asker
		e.Receiver = e.Asker.ID
		e.Txn = event.Transaction{
			State: event.StateAnswered, Latency: 1_234_567, Asked: 1_600_000_000_000_000_000,
			Cause: &event.Cause{Client: netip.MustParseAddrPort("127.0.0.1:40001"), PID: 12},
		}
		e.Msg.Unpack(raw)
	}
	b.Events[0].Asker.Unit = "cron.service"
	b.Events[1].Asker.Container = crowded("label", 60)
	b.Events[0].Server.Unit, b.Events[1].Server.Container = "dns.service", crowded("label", 60)
	// One with everything that is rare: an UPDATE with a fault and a long text.
	update := new(dns.Msg)
	update.SetUpdate("a.example.")
	update.Response = true
	update.Answer = []dns.RR{
		&dns.RFC3597{Hdr: dns.RR_Header{Name: "a.example.", Rrtype: dns.TypeA, Class: dns.ClassINET}, Rdata: "01"},
		&dns.RFC3597{Hdr: dns.RR_Header{Name: "a.example.", Rrtype: 65400, Class: dns.ClassINET}, Rdata: strings.Repeat("ab", 5000)},
	}
	raw, err := update.Pack()
	if err != nil {
		t.Fatal(err)
	}
	b.Next().Msg.Unpack(raw)
	response, err := kind.Parse([]string{"net_packet_dns_response"})
	if err != nil {
		t.Fatal(err)
	}
	kind.NewMarker(response).Process(b)
	return b
}

// crowded returns a container with n labels of some length.
func crowded(text string, n int) *event.Container {
	var labels []event.Label
	for i := range n {
		labels = append(labels, event.Label{Key: fmt.Sprint(text, i), Value: strings.Repeat(text, 8)})
	}
	return &event.Container{
		ID: text, Runtime: text, Name: text, Image: text, Labels: labels,
		Pod: &event.Pod{UID: text, Name: text, Namespace: text, Labels: labels},
	}
}

func TestJSONLines(t *testing.T) {
	out := NewJSON().Append(nil, batch(t))
	lines := bytes.Split(bytes.TrimSuffix(out, []byte("\n")), []byte("\n"))
	if len(lines) != 8 {
		t.Fatalf("%d lines, want 8", len(lines))
	}
	for _, line := range lines {
		var v map[string]any
		if err := json.Unmarshal(line, &v); err != nil {
			t.Errorf("%v: %s", err, line)
		}
	}
}

// An event of a part of a message says so, and has no digest of the part.
func TestCutMessage(t *testing.T) {
	b := batch(t)
	e := &b.Events[len(b.Events)-1]
	e.Missing = 7
	b.Events = b.Events[len(b.Events)-1:]
	out := NewJSON().Append(nil, b)
	for text, want := range map[string]bool{
		fmt.Sprintf(`"size":%d,`, len(e.Msg.Raw)+7): true, `"message_cut"`: true, `"sha256":"`: true,
		`"incomplete":false,"anomalies"`: true, `"incomplete":false,"sha256"`: false, fmt.Sprintf(`"size":%d,"sha256"`, len(e.Msg.Raw)+7): false,
	} {
		if bytes.Contains(out, []byte(text)) != want {
			t.Errorf("%s: want %v in %s", text, want, out[:2000])
		}
	}
}

// Every key of the output is in the table of fields, and the other way round,
// so that the documentation is true.
func TestFieldsAreDocumented(t *testing.T) {
	documented := map[string]bool{"event": true}
	for i := range kind.Catalogue[0].Fields {
		f := kind.Catalogue[0].Fields[i]
		documented[f.Name] = true
		sub := f.Sub
		if f.Name == event.FieldServerProcess.Name {
			sub = event.FieldProcess.Sub
		}
		for _, s := range sub {
			documented[f.Name+"."+trimList(s.Name)] = true
		}
	}
	seen := map[string]bool{}
	for _, line := range bytes.Split(bytes.TrimSpace(NewJSON().Append(nil, batch(t))), []byte("\n")) {
		var v map[string]any
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatal(err)
		}
		paths(v, "", seen)
	}
	for p := range seen {
		if !documented[p] {
			t.Errorf("%s is in the output and not in the table of fields", p)
		}
	}
	for p := range documented {
		if !seen[p] {
			t.Errorf("%s is in the table of fields and not in the output", p)
		}
	}
}

func trimList(name string) string { return string(bytes.TrimSuffix([]byte(name), []byte("[]"))) }

func paths(v any, path string, seen map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			p := key
			if path != "" {
				p = path + "." + key
			}
			seen[p] = true
			if key != "labels" { // whose keys are the user's
				paths(value, p, seen)
			}
		}
	case []any:
		for _, value := range v {
			paths(value, path, seen)
		}
	}
}

func TestAllocations(t *testing.T) {
	b := batch(t)
	buf := make([]byte, 0, 1<<20)
	for name, e := range map[string]Encoder{"json": NewJSON(), "table": NewTable(120, true)} {
		e.Append(buf, b)
		if n := testing.AllocsPerRun(100, func() { e.Append(buf, b) }); n != 0 {
			t.Errorf("%s: %v allocations per batch, want none", name, n)
		}
	}
}

func BenchmarkJSON(b *testing.B) { benchmark(b, NewJSON(), batch(b)) }

func BenchmarkTable(b *testing.B) { benchmark(b, NewTable(120, true), batch(b)) }

func benchmark(b *testing.B, e Encoder, events *event.Batch) {
	buf := make([]byte, 0, 1<<20)
	b.ReportAllocs()
	for b.Loop() {
		buf = e.Append(buf[:0], events)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(events.Events)), "ns/event")
}

// A record that did not fit one list is not copied into the next from where it
// no longer stands.
func TestCappedListsStayJSON(t *testing.T) {
	for size := 100; size < 255; size++ {
		m := new(dns.Msg)
		m.SetQuestion("a.example.", dns.TypeTXT)
		m.Response, m.Compress = true, true
		for range 60 {
			m.Answer = append(m.Answer, &dns.TXT{
				Hdr: dns.RR_Header{Name: "a.example.", Rrtype: dns.TypeTXT, Class: dns.ClassINET},
				Txt: []string{strings.Repeat(`\"`, size)},
			})
		}
		raw, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		b := &event.Batch{}
		e := b.Next()
		e.Kinds = 1
		e.Msg.Unpack(raw)
		line := NewJSON().Append(nil, b)
		if !json.Valid(line) || !bytes.Contains(line, []byte("event_capped")) {
			t.Errorf("texts of %d octets: no JSON, or not capped", size)
		}
	}
}
