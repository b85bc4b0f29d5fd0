package output

import (
	"bytes"
	"encoding/json"
	"flag"
	"math/bits"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/kind"
)

var update = flag.Bool("update", false, "write the golden files anew")

// textFormats are those whose output is lines of printable ASCII.
func textFormats(t testing.TB) map[string]Encoder {
	t.Helper()
	list := map[string]Encoder{}
	for _, f := range Formats {
		if f.Binary || f.Name == "none" {
			continue
		}
		list[f.Name] = encoder(t, f.Name)
	}
	return list
}

func encoder(t testing.TB, name string) Encoder {
	t.Helper()
	f, err := FindFormat(name)
	if err != nil {
		t.Fatal(err)
	}
	e, err := f.New(Settings{Template: `{{.time}} {{.event}} {{.dns.rcode}}{{range .dns.answer}} {{.data}}{{end}}`})
	if err != nil {
		t.Fatal(err)
	}
	if z, ok := e.(*zeekLog); ok {
		z.now = func() time.Time { return time.Unix(1_795_000_000, 0).UTC() }
	}
	return e
}

// whole returns a format's output for a batch, with its beginning and end.
func whole(e Encoder, b *event.Batch) []byte {
	return trailer(e, e.Append(header(e, nil), b))
}

// jsonLines parses a line each.
func jsonLines(t testing.TB, out []byte) (list []map[string]any) {
	t.Helper()
	for line := range bytes.Lines(out) {
		var v map[string]any
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		list = append(list, v)
	}
	return list
}

// sample returns the events that all formats are shown: one of each sort.
func sample(t testing.TB) *event.Batch {
	t.Helper()
	b := &event.Batch{Host: "host.example"}
	process := &event.Process{
		Exe: "/usr/bin/dig", Cwd: "/root", Args: "dig\x00www.example.com\x00", StartTime: 1_700_000_000_123_456_789,
		ExeSHA256: strings.Repeat("0a", 32),
		Ancestors: []event.Ancestor{{PID: 900, Comm: [16]byte{'s', 'h'}, Exe: "/bin/sh", StartTime: 1_600_000_000_000_000_000}},
	}
	process.Render()
	dig := event.Party{
		ID: &event.Identity{
			TGID: 31337, TID: 31337, PPID: 900, UID: 1000, GID: 100, NsTGID: 37, NetNS: 4026531840, PidNS: 4026531836, Cgroup: 2626,
			Comm: [16]byte{'d', 'i', 'g'},
		},
		Attribution: event.AttributionQueryEgress, Process: process, User: "ann",
		Container: &event.Container{
			ID: "c0ffee", Runtime: "containerd", Name: "web", Image: "nginx:1", Labels: []event.Label{{Key: "app", Value: "web"}},
			Pod: &event.Pod{UID: "u1", Name: "web-0", Namespace: "prod"},
		},
	}
	at := int64(1_795_000_000_123_456_789)
	add := func(m *dns.Msg) *event.Event {
		raw, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		e := b.Next()
		at += 1_000_000
		e.Time = at
		e.Meta = event.PktMeta{
			SrcIP: netip.MustParseAddr("192.0.2.53"), DstIP: netip.MustParseAddr("192.0.2.10"), SrcPort: 53, DstPort: 40000,
			Protocol: 17, PacketLen: uint32(28 + len(raw)), Iface: "eth0",
		}
		if !m.Response {
			e.Meta.SrcIP, e.Meta.DstIP = e.Meta.DstIP, e.Meta.SrcIP
			e.Meta.SrcPort, e.Meta.DstPort = e.Meta.DstPort, e.Meta.SrcPort
		}
		e.Observer, e.Asker = event.Client, dig
		e.Flow.Ingress = m.Response
		e.Flow.Egress = !m.Response
		e.Txn = event.Transaction{State: event.StateAnswered, Latency: 1_234_567}
		e.Msg.Unpack(raw)
		return e
	}
	reply := func(name string, qtype uint16, answers ...string) *dns.Msg {
		m := new(dns.Msg)
		m.SetQuestion(name, qtype)
		m.Id, m.Response, m.RecursionAvailable, m.Compress = uint16(4711+len(b.Events)), true, true, true
		for _, text := range answers {
			rr, err := dns.NewRR(text)
			if err != nil {
				t.Fatal(err)
			}
			m.Answer = append(m.Answer, rr)
		}
		return m
	}

	// 0: what is usual, with EDNS, in mixed case.
	m := reply("www.Example.com.", dns.TypeA, "www.Example.com. 300 IN CNAME web.example.com.", "web.example.com. 60 IN A 192.0.2.80", "web.example.com. 60 IN A 192.0.2.81")
	m.SetEdns0(1232, true)
	m.IsEdns0().Option = []dns.EDNS0{
		&dns.EDNS0_NSID{Code: dns.EDNS0NSID, Nsid: "6e7331"},
		&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: []byte{198, 51, 100, 0}},
	}
	add(m)
	// 1: every usual type.
	add(reply("example.com.", dns.TypeANY,
		"example.com. 1 IN A 192.0.2.1", "example.com. 2 IN AAAA 2001:db8::1", "example.com. 3 IN NS ns.example.com.",
		"example.com. 4 IN SOA ns.example.com. hostmaster.example.com. 2026112200 7200 900 1209600 300",
		"example.com. 5 IN MX 10 mx.example.com.", `example.com. 6 IN TXT "v=spf1 -all" "second \"quoted\" \\ ;\009"`,
		"example.com. 7 IN SRV 1 2 443 srv.example.com.", "1.2.0.192.in-addr.arpa. 8 IN PTR example.com.",
		`example.com. 9 IN CAA 0 issue "ca.example"`, "example.com. 10 IN HTTPS 1 . alpn=h2,h3 ipv4hint=192.0.2.1",
		"example.com. 11 IN SSHFP 4 2 123456789abcdef67890123456789abcdef67890123456789abcdef123456789",
		"example.com. 12 IN DS 60485 8 2 D4B7D520E7BB5F0F67674A0CCEB1E3E0614B93C4F9E99B8383F6A1E4469DA50A",
		"example.com. 13 IN DNSKEY 257 3 8 AwEAAag=", "example.com. 14 IN NSEC a.example.com. A RRSIG",
		"example.com. 15 IN RRSIG A 8 2 300 20261231000000 20261101000000 12345 example.com. AAAA",
		`example.com. 16 IN NAPTR 100 50 "s" "z3950+N2L" "" _z3950._tcp.example.com.`, `example.com. 17 IN URI 10 1 "ftp://example.com/"`,
		`example.com. 18 IN TYPE65400 \# 3 0a0b0c`, `example.com. 19 IN HINFO "cpu" "os"`, "example.com. 20 IN LOC 52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m",
	))
	// 2: no such name, with its SOA.
	m = reply("nope.example.com.", dns.TypeAAAA)
	m.Rcode = dns.RcodeNameError
	soa, err := dns.NewRR("example.com. 300 IN SOA ns.example.com. hostmaster.example.com. 1 2 3 4 5")
	if err != nil {
		t.Fatal(err)
	}
	m.Ns = []dns.RR{soa}
	add(m)
	// 3: truncated, at the server.
	m = reply("big.example.com.", dns.TypeTXT)
	m.Truncated, m.Authoritative, m.RecursionDesired, m.RecursionAvailable = true, true, false, false
	e := add(m)
	e.Observer, e.Server, e.Asker = event.Server, dig, event.Party{}
	// 4: broken in the middle of a record, where the capture was cut.
	e = add(reply("cut.example.com.", dns.TypeA, "cut.example.com. 1 IN A 192.0.2.1", "cut.example.com. 1 IN A 192.0.2.2"))
	e.Missing = 3
	e.Msg.Unpack(e.Msg.Raw[:len(e.Msg.Raw)-e.Missing])
	// 5: over TCP and IPv6, seen on the wire, unsolicited.
	e = add(reply("six.example.com.", dns.TypeAAAA, "six.example.com. 5 IN AAAA 2001:db8::6"))
	e.Meta.SrcIP, e.Meta.DstIP = netip.MustParseAddr("2001:db8::53"), netip.MustParseAddr("2001:db8::7")
	e.Meta.Protocol, e.Meta.Iface = 6, ""
	e.Observer, e.Asker, e.Txn = event.Passive, event.Party{}, event.Transaction{State: event.StateUnsolicited, Latency: -1}
	// 6: the answer to an UPDATE.
	m = new(dns.Msg)
	m.SetUpdate("example.com.")
	m.Id, m.Response, m.Rcode = 7, true, dns.RcodeRefused
	m.Answer = []dns.RR{&dns.RFC3597{Hdr: dns.RR_Header{Name: "a.example.com.", Rrtype: dns.TypeA, Class: dns.ClassINET}, Rdata: "01"}}
	add(m)
	// 7: no question; 8: hostile text in every place.
	m = reply(".", dns.TypeNS)
	m.Question = nil
	add(m)
	m = reply(`=cmd|'\ /c\ calc'!A0\.\000\009\010\013"\,\255\\.example.com.`, dns.TypeTXT, `\@sum\(1\).example.com. 1 IN TXT "=1+1\010\013" "\"};\009" "<script>"`, "-2.example.com. 1 IN CNAME +3.example.com.")
	e = add(m)
	e.Meta.Iface = "=a\tb,\"\n"
	e.Asker.ID = &event.Identity{TGID: 1, TID: 2, Comm: [16]byte{'=', '\n', '"', ',', '\t', 0xff}}
	e.Asker.Process = &event.Process{Exe: "@/bin/\x1b[2J\r\n", Args: "-x\x00\"\n\x00"}
	e.Asker.User = "+u\t"
	// 9: a query; 10: one that found no answer.
	for _, class := range []event.Class{event.ClassMessage, event.ClassUnanswered} {
		m = new(dns.Msg)
		m.SetQuestion("www.example.com.", dns.TypeHTTPS)
		m.Id = 99
		m.SetEdns0(4096, false)
		e = add(m)
		e.Class = class
		e.Txn = event.Transaction{State: event.StatePending, Latency: -1}
		if class == event.ClassUnanswered {
			e.Txn = event.Transaction{State: event.StateUnanswered, Latency: -1, Retransmits: 2, Asked: at - 5e9}
		}
	}
	// 11 to 13: packets.
	for _, protocol := range []uint8{6, 17, 58} {
		e = add(m)
		e.Class, e.Txn, e.Asker = event.ClassPacket, event.Transaction{}, event.Party{}
		e.Meta.Protocol = protocol
		e.Packet = event.Packet{
			Version: 4, HeaderLen: 20, TOS: 16, TTL: 64, ID: 21515, DontFrag: true, TCPSeq: 4173220235, TCPAck: 2867625954,
			TCPOffset: 8, TCPWindow: 2766, TCPFlags: 0x118, TCPUrgent: 9, UDPLen: 84, Checksum: 6218, IPChecksum: 48281,
		}
		if protocol == 58 {
			e.Packet = event.Packet{Version: 6, HeaderLen: 40, TTL: 64, FlowLabel: 917134}
			e.Meta.SrcIP, e.Meta.DstIP = netip.MustParseAddr("fd12::1"), netip.MustParseAddr("fd12::2")
			e.Meta.SrcPort, e.Meta.DstPort = 0, 0
		}
	}
	// 14 to 19: alerts, the second of an answer, the last of a kind that is not listed.
	for i, threat := range []string{"dns_tunnel/two_way", "dns_dga/made_up_names", "dns_c2/dns_fast_flux", "dns_cache_poisoning/two_answers", "dns_hijacking/rebinding", "dns_zone_transfer/sample"} {
		e = add(m)
		if i == 1 {
			e.Meta.SrcIP, e.Meta.DstIP, e.Meta.SrcPort, e.Meta.DstPort = e.Meta.DstIP, e.Meta.SrcIP, e.Meta.DstPort, e.Meta.SrcPort
		}
		e.Msg = dnswire.Message{}
		e.Class, e.Txn = event.ClassAlert, event.Transaction{}
		threat, what, _ := strings.Cut(threat, "/")
		e.Alert = &event.Alert{
			ID: "0123456789abcdef", Update: i % 2, Threat: threat, Kind: what, Severity: event.SeverityHigh, Confidence: 0.9,
			Rule: "more than is usual", Technique: "T1071.004", Start: at - 5e9, End: at,
			Src: netip.MustParseAddr("192.0.2.10"), Domain: `=x\000.example`, Value: 12.5, Threshold: 8, Window: 60e9,
			Evidence: []event.Evidence{{Name: "queries", Number: 93}, {Name: "names", Texts: []string{"a\"\x1b.example", ""}}, {Name: "none", Texts: []string{}}},
			Rejected: []string{"content delivery: answers differ"},
		}
		switch i {
		case 2: // of several clients
			e.Alert.Src, e.Alert.Domain, e.Alert.Severity = netip.Addr{}, "", event.SeverityInfo
		case 3: // with a server and hostile text
			e.Alert.Server, e.Alert.Severity, e.Alert.Confidence = netip.MustParseAddr("2001:db8::53"), event.SeverityCritical, 0.3
			e.Alert.Rule, e.Alert.Domain, e.Alert.Technique = "\"};\n\x1b[2J=1", "=\\\"\n,\t\xff.example", "T\"\n"
			e.Host, e.Meta.Iface = "h\"\n", "\"\\"
		}
	}
	// 20 and 21: what dnshark lost.
	for _, ends := range []bool{false, true} {
		e = b.Next()
		at += 1_000_000
		e.Time, e.Class = at, event.ClassLoss
		e.Loss = &event.Loss{Ends: ends, Unfinished: ends, Where: "output", Name: "a", Start: at - 3e9, End: at - 1e9, Duration: 2e9,
			Reason: []event.LossReason{{Name: "overflow", N: 7}, {Name: "refused"}, {Name: "damaged", N: 1}}}
	}
	all, err := kind.Parse([]string{kind.SetNetworkEvents, kind.SetAlerts, kind.SetLoss})
	if err != nil {
		t.Fatal(err)
	}
	kind.NewMarker(all).Process(b)
	return b
}

// What each format makes of the sample. Look at the difference before you accept
// it: go test ./internal/output -update.
func TestGolden(t *testing.T) {
	b := sample(t)
	for _, f := range Formats {
		if f.Name == "none" || f.Name == "parquet" {
			continue
		}
		got, file := whole(encoder(t, f.Name), b), filepath.Join("testdata", f.Name+".golden")
		if *update {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s has changed; `git diff` after `go test ./internal/output -update` shows how", f.Name)
		}
	}
}

// jsonFormats write an object per line.
var jsonFormats = []string{"json", "tracee", "tracee-v1beta1", "eve", "zeek", "ecs", "ocsf", "cof", "rfc8427"}

// Every hostile message, in every format: printable ASCII, lines that nobody
// injected, valid JSON, within bounds.
func TestHostileFormats(t *testing.T) {
	messages := corpus(t)
	b, template := &event.Batch{}, sample(t).Events[8].Observation
	for name, enc := range textFormats(t) {
		isJSON := slices.Contains(jsonFormats, name)
		f, err := FindFormat(name)
		if err != nil {
			t.Fatal(err)
		}
		longest, out := 0, make([]byte, 0, 1<<20)
		for _, h := range messages {
			b.Reset()
			e := b.Next()
			e.Observation, e.Kinds = template, 0
			e.Msg.Unpack(h.raw)
			if len(h.raw) < 12 {
				continue // no event; the decoder counts it
			}
			kind.NewMarker(f.Carries(kindResponse | kindRequest)).Process(b)
			if e.Kinds == 0 {
				continue
			}
			head := len(header(enc, nil))
			out = enc.Append(header(enc, out[:0]), b)
			longest = max(longest, len(out)-head)
			for _, c := range out {
				if c != '\n' && c != '\t' && (c < 0x20 || c > 0x7e) || c == '\t' && !strings.HasSuffix(name, "tsv") {
					t.Fatalf("%s: %s: octet %#x", name, h.ID, c)
				}
			}
			if !isJSON {
				continue
			}
			for line := range bytes.Lines(out) {
				if !json.Valid(line) {
					t.Fatalf("%s: %s: no JSON: %s", name, h.ID, line)
				}
			}
		}
		if longest > 96<<10 {
			t.Errorf("%s: an event of %d octets", name, longest)
		}
		t.Logf("%s: the longest event has %d octets", name, longest)
	}
}

// No format allocates for an event, but for those that say so.
func TestFormatAllocations(t *testing.T) {
	b, buf := sample(t), make([]byte, 0, 1<<20)
	for _, f := range Formats {
		if f.Name == "template" || f.Name == "parquet" {
			continue
		}
		enc := encoder(t, f.Name)
		enc.Append(buf, b)
		if n := testing.AllocsPerRun(100, func() { enc.Append(buf, b) }); n != 0 {
			t.Errorf("%s: %v allocations per batch, want none", f.Name, n)
		}
	}
}

// A format has no line for an event that it does not carry, and one for those
// that it carries.
func TestCarried(t *testing.T) {
	for _, f := range Formats {
		if f.Name == "none" || f.Name == "table" || f.Name == "parquet" {
			continue
		}
		for i, k := range kind.Catalogue {
			if k.Internal {
				continue
			}
			b := sample(t)
			n := 0
			for j := range b.Events {
				b.Events[j].Kinds &= 1 << i
				n += bits.OnesCount32(b.Events[j].Kinds)
			}
			out := encoder(t, f.Name).Append(nil, b)
			if carried := f.Carries(1<<i) != 0; carried != (len(out) > 0) || n == 0 {
				t.Errorf("%s: %s: carried %v, %d octets for %d events", f.Name, k.Name, carried, len(out), n)
			}
		}
	}
}

func BenchmarkFormats(b *testing.B) {
	events := sample(b)
	for i := range events.Events {
		events.Events[i].Kinds &= uint32(kindResponse) // what all formats carry
	}
	for _, f := range Formats {
		b.Run(f.Name, func(b *testing.B) { benchmark(b, encoder(b, f.Name), events) })
	}
}

// Whatever the octets, no format breaks on them.
func FuzzFormats(f *testing.F) {
	events := sample(f)
	for i := range events.Events {
		f.Add(events.Events[i].Msg.Raw)
	}
	template := events.Events[8].Observation
	var encoders []Encoder
	for _, format := range Formats {
		encoders = append(encoders, encoder(f, format.Name))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		b := &event.Batch{}
		e := b.Next()
		e.Observation, e.Kinds = template, uint32(kindResponse|kindRequest|kindDNS)
		e.Msg.Unpack(raw)
		for i, enc := range encoders {
			out := enc.Append(nil, b)
			for line := range bytes.Lines(out) {
				if slices.Contains(jsonFormats, Formats[i].Name) && !json.Valid(line) {
					t.Errorf("%s: no JSON: %s", Formats[i].Name, line)
				}
			}
		}
	})
}
