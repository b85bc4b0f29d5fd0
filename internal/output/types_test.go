package output

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/kind"
)

// everyType returns an answer with each record of the zone that has one of every
// type, over UDP and TCP, IPv4 and IPv6.
func everyType(t testing.TB) *event.Batch {
	t.Helper()
	zone, err := os.ReadFile("../../testdata/zone/all.test.zone")
	if err != nil {
		t.Fatal(err)
	}
	b, types, template := &event.Batch{}, map[uint16]bool{}, sample(t).Events[0].Observation
	for line := range strings.Lines(string(zone)) {
		rr, err := dns.NewRR("$ORIGIN all.test.\n$TTL 300\n" + line)
		if err != nil || rr == nil {
			continue // a type that the parser does not know, or no record
		}
		m := new(dns.Msg)
		m.SetQuestion(rr.Header().Name, rr.Header().Rrtype)
		m.Id, m.Response, m.Answer = uint16(len(b.Events)), true, []dns.RR{rr}
		raw, err := m.Pack()
		if err != nil {
			continue
		}
		e := b.Next()
		e.Observation, e.Kinds = template, uint32(kindResponse)
		if len(types)%2 == 0 {
			e.Meta.Protocol = 6
			e.Meta.SrcIP, e.Meta.DstIP = netip.MustParseAddr("2001:db8::53"), netip.MustParseAddr("2001:db8::7")
		}
		if e.Msg.Unpack(raw); e.Msg.Answer()[0].Fault != dnswire.None {
			b.Drop() // the packer knows the type's format and not this form of it
			continue
		}
		types[rr.Header().Rrtype] = true
	}
	if len(types) < 50 || len(b.Events) < 100 {
		t.Fatalf("%d types in %d records", len(types), len(b.Events))
	}
	return b
}

// Every type of record, in every format, as a reader of the format finds it.
func TestEveryType(t *testing.T) {
	b := everyType(t)
	n := len(b.Events)
	checked := map[string]bool{"table": true, "template": true, "none": true} // for people, or whatever they ask for
	check := func(format string, f func(t *testing.T, out []byte)) {
		checked[format] = true
		t.Run(format, func(t *testing.T) { f(t, whole(encoder(t, format), b)) })
	}
	perLine := func(f func(t *testing.T, line map[string]any)) func(*testing.T, []byte) {
		return func(t *testing.T, out []byte) {
			lines := jsonLines(t, out)
			if len(lines) != n {
				t.Fatalf("%d lines, want %d", len(lines), n)
			}
			for _, line := range lines {
				f(t, line)
			}
		}
	}
	answers := func(line map[string]any, path ...string) []any {
		for _, key := range path[:len(path)-1] {
			line = line[key].(map[string]any)
		}
		list, _ := line[path[len(path)-1]].([]any)
		return list
	}
	one := func(t *testing.T, list []any) map[string]any {
		if len(list) != 1 {
			t.Fatalf("answers are %v", list)
		}
		return list[0].(map[string]any)
	}

	at := 0
	check("json", perLine(func(t *testing.T, line map[string]any) {
		m := &b.Events[at].Msg
		got, want := one(t, answers(line, "dns", "answer")), string(m.AppendRData(nil, &m.Answer()[0]))
		if at++; got["type"] != m.Answer()[0].Type.String() || got["data"] != want && got["sha256"] == nil {
			t.Errorf("%v, want %s", got, want)
		}
	}))
	check("eve", perLine(func(t *testing.T, line map[string]any) {
		fields(t, "event", line, eveTop)
		d := line["dns"].(map[string]any)
		fields(t, "dns", d, eveDNS)
		for _, r := range answers(d, "answers") { // a text of several strings is several answers
			fields(t, "answers", r.(map[string]any), eveAnswer)
			for key, table := range eveParts {
				if part, ok := r.(map[string]any)[key].(map[string]any); ok {
					fields(t, key, part, table)
				}
			}
		}
		if len(answers(d, "answers")) == 0 {
			t.Errorf("no answer in %v", d)
		}
	}))
	check("zeek", perLine(func(t *testing.T, line map[string]any) { fields(t, "line", line, zeekKeys) }))
	check("ecs", perLine(func(t *testing.T, line map[string]any) {
		tables(t, line, ecsKeys)
		one(t, answers(line, "dns", "answers"))
	}))
	check("ocsf", perLine(func(t *testing.T, line map[string]any) {
		tables(t, line, ocsfKeys)
		one(t, answers(line, "answers"))
	}))
	check("rfc8427", perLine(func(t *testing.T, line map[string]any) {
		tables(t, line, rfc8427Keys)
		one(t, answers(line, "answerRRs"))
	}))
	check("cof", func(t *testing.T, out []byte) {
		lines := jsonLines(t, out)
		if len(lines) != n {
			t.Errorf("%d lines, want %d", len(lines), n)
		}
		for _, line := range lines {
			if delete(line, "rrtype"); len(line["rdata"].([]any)) != 1 {
				t.Errorf("%v", line)
			}
			fields(t, "line", line, cofKeys)
		}
	})
	check("tracee", perLine(checkTraceeArgs))
	check("tracee-v1beta1", perLine(func(t *testing.T, line map[string]any) {
		for _, d := range answers(line, "data") {
			if d := d.(map[string]any); d["name"] == "dns_response" {
				responses := d["dns_responses"].(map[string]any)["responses"].([]any)
				one(t, one(t, responses)["dns_answer"].([]any))
			}
		}
	}))
	check("zeek-tsv", func(t *testing.T, out []byte) {
		if rows := zeekRead(t, out); len(rows) != n {
			t.Errorf("%d rows, want %d", len(rows), n)
		}
	})
	check("csv", func(t *testing.T, out []byte) {
		if rows := readCSV(t, out); len(rows) != n+1 {
			t.Errorf("%d rows, want %d and the names", len(rows), n)
		}
	})
	check("dnstap", func(t *testing.T, out []byte) {
		for i, d := range readDnstap(t, out) {
			if !bytes.Equal(d.GetMessage().GetResponseMessage(), b.Events[i].Msg.Raw) {
				t.Errorf("message %d is another one", i)
			}
		}
	})
	check("pcapng", func(t *testing.T, out []byte) {
		read := strings.Split(strings.TrimSpace(tshark(t, out, "-T", "fields", "-e", "dns.id", "-e", "dns.count.answers")), "\n")
		if len(read) != n {
			t.Errorf("%d messages, want %d", len(read), n)
		}
		for _, line := range read {
			if !strings.HasSuffix(line, "\t1") {
				t.Errorf("%q is no message with an answer", line)
			}
		}
	})
	check("parquet", func(t *testing.T, out []byte) {
		var events []*event.Event
		for i := range b.Events {
			events = append(events, &b.Events[i])
		}
		checkRows(t, duckdb(t, out, "SELECT * FROM file"), events, slices.Repeat([]string{"net_packet_dns_response"}, n))
	})
	for _, f := range Formats {
		if !checked[f.Name] {
			t.Errorf("nobody reads what %s makes of every type", f.Name)
		}
	}
}

// The types of Tracee's args, whose keys all come and no others.
var traceeTypes = map[string]func() any{
	"trace.PktMeta":           func() any { return &event.PktMeta{} },
	"[]trace.DnsResponseData": func() any { return &[]event.DnsResponseData{} },
	"[]trace.DnsQueryData":    func() any { return &[]event.DnsQueryData{} },
	"trace.PacketMetadata":    func() any { return &struct{ Direction int }{} },
	"trace.ProtoIPv4": func() any {
		return &struct {
			Version, IHL, TOS uint8
			Length, ID        uint16
			Flags             uint8
			FragOffset        uint16
			TTL               uint8
			Protocol          string
			Checksum          uint16
			SrcIP, DstIP      netip.Addr
		}{}
	},
	"trace.ProtoIPv6": func() any {
		return &struct {
			Version, TrafficClass uint8
			FlowLabel             uint32
			Length                uint16
			NextHeader            string
			HopLimit              uint8
			SrcIP, DstIP          netip.Addr
		}{}
	},
	"trace.ProtoTCP": func() any {
		return &struct {
			SrcPort, DstPort                           uint16
			Seq, Ack                                   uint32
			DataOffset                                 uint8
			FIN, SYN, RST, PSH, ACK, URG, ECE, CWR, NS uint8
			Window, Checksum, Urgent                   uint16
		}{}
	},
	"trace.ProtoUDP": func() any { return &struct{ SrcPort, DstPort, Length, Checksum uint16 }{} },
}

// checkTraceeArgs reads a line as a program with Tracee's types does.
func checkTraceeArgs(t *testing.T, line map[string]any) {
	t.Helper()
	for _, a := range line["args"].([]any) {
		arg := a.(map[string]any)
		of := traceeTypes[arg["type"].(string)]
		if of == nil {
			continue // one of dnshark's own
		}
		text, err := json.Marshal(arg["value"])
		if err != nil {
			t.Fatal(err)
		}
		value := of()
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(value); err != nil {
			t.Errorf("%s: %v: %s", arg["name"], err, text)
		}
		// What it did not have would be missing here, or more.
		again, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(string(again), `":`) != strings.Count(string(text), `":`) {
			t.Errorf("%s is %s, want the keys of %s", arg["name"], text, again)
		}
	}
}

// The headers of packets are told whole.
func TestTraceePackets(t *testing.T) {
	b := sample(t)
	for i := range b.Events {
		b.Events[i].Kinds &= uint32(kindPackets)
	}
	lines := jsonLines(t, whole(encoder(t, "tracee"), b))
	var tcp, ip map[string]any
	for _, line := range lines {
		checkTraceeArgs(t, line)
		for _, a := range line["args"].([]any) {
			switch arg := a.(map[string]any); arg["name"] {
			case "proto_tcp":
				tcp = arg["value"].(map[string]any)
			case "proto_ipv4":
				ip = arg["value"].(map[string]any)
			}
		}
	}
	if len(lines) == 0 || ip["checksum"] != 48281.0 || tcp["dataOffset"] != 8.0 || tcp["NS"] != 1.0 || tcp["CWR"] != 0.0 || tcp["urgent"] != 9.0 || tcp["PSH"] != 1.0 {
		t.Errorf("%v, %v", ip, tcp)
	}
}

// What all formats are shown has an event of every sort.
func TestSampleIsWhole(t *testing.T) {
	b := sample(t)
	for what, is := range map[string]func(e *event.Event) bool{
		"NXDOMAIN":      func(e *event.Event) bool { return e.HasMessage() && e.Msg.RCode() == 3 },
		"truncated":     func(e *event.Event) bool { return e.HasMessage() && e.Msg.Flags&0x200 != 0 },
		"malformed":     func(e *event.Event) bool { return e.HasMessage() && e.Msg.Broken != 0 },
		"TCP":           func(e *event.Event) bool { return e.HasMessage() && e.Meta.Protocol == 6 },
		"IPv6":          func(e *event.Event) bool { return e.HasMessage() && e.Meta.SrcIP.Is6() },
		"a process":     func(e *event.Event) bool { return e.Asker.Process != nil },
		"a server":      func(e *event.Event) bool { return e.Server.Process != nil },
		"a container":   func(e *event.Event) bool { return e.Asker.Container != nil && e.Asker.Container.Pod != nil },
		"an UPDATE":     func(e *event.Event) bool { return e.HasMessage() && e.Msg.Flags.Opcode() == 5 },
		"no question":   func(e *event.Event) bool { return e.HasMessage() && len(e.Msg.Questions) == 0 },
		"many types":    func(e *event.Event) bool { return len(e.Msg.Answer()) >= 20 },
		"unanswered":    func(e *event.Event) bool { return e.Txn.Asked != 0 && e.Txn.Asked < e.Time },
		"a cut message": func(e *event.Event) bool { return e.HasMessage() && e.Missing > 0 },
	} {
		found := false
		for i := range b.Events {
			found = found || is(&b.Events[i])
		}
		if !found {
			t.Errorf("%s is not in the sample", what)
		}
	}
	seen := uint32(0)
	for i := range b.Events {
		seen |= b.Events[i].Kinds
	}
	for i, k := range kind.Catalogue {
		if !k.Internal && seen>>i&1 == 0 {
			t.Errorf("%s is not in the sample", k.Name)
		}
	}
}
