package dnswire

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func TestCodes(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{TypeA.String(), "A"}, {TypeHTTPS.String(), "HTTPS"}, {TypeANY.String(), "ANY"}, {Type(0).String(), "TYPE0"},
		{Type(54).String(), "TYPE54"}, {TypeDLV.String(), "DLV"}, {Type(65535).String(), "TYPE65535"},
		{ClassIN.String(), "IN"}, {ClassNONE.String(), "NONE"}, {Class(0x8001).String(), "CLASS32769"},
		{RCodeNXDomain.String(), "NXDOMAIN"}, {RCodeBadCookie.String(), "BADCOOKIE"}, {RCode(12).String(), "RCODE12"}, {RCode(4095).String(), "RCODE4095"},
		{OpcodeUpdate.String(), "UPDATE"}, {Opcode(3).String(), "OPCODE3"}, {Opcode(15).String(), "OPCODE15"},
		{OptionEDE.String(), "EDE"}, {OptionCode(4).String(), "OPT4"}, {OptionCode(65001).String(), "OPT65001"},
		{SectionAnswer.Name(OpcodeUpdate), "prerequisite"}, {SectionAnswer.Name(OpcodeNotify), "answer"},
		{Anomaly(255).String(), "unknown"}, {EDEText(18), "Prohibited"}, {EDEText(999), ""},
	} {
		if c.got != c.want {
			t.Errorf("%s, want %s", c.got, c.want)
		}
	}
	for code := range 1 << 16 {
		typ, ok := ParseType(strings.ToLower(Type(code).String()))
		class, okClass := ParseClass(strings.ToLower(Class(code).String()))
		if !ok || !okClass || int(typ) != code || int(class) != code {
			t.Fatalf("%d: %d %v, %d %v", code, typ, ok, class, okClass)
		}
	}
	for code := range 1 << 12 {
		if rc, ok := ParseRCode(strings.ToLower(RCode(code).String())); !ok || int(rc) != code {
			t.Fatalf("%d: %d %v", code, rc, ok)
		}
	}
	for code := range 16 {
		if o, ok := ParseOpcode(Opcode(code).String()); !ok || int(o) != code {
			t.Fatalf("%d: %d %v", code, o, ok)
		}
	}
	for _, bad := range []string{"", "TYPE", "TYPE65536", "TYPE-1", "TYPEx", "NOPE"} {
		if typ, ok := ParseType(bad); ok {
			t.Errorf("%q is %s", bad, typ)
		}
	}
	for _, bad := range []string{"", "RCODE4096", "OPCODE16", "CLASS65536"} {
		_, rc := ParseRCode(bad)
		_, o := ParseOpcode(bad)
		_, c := ParseClass(bad)
		if rc || o || c {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// TestAnomalyNames: every anomaly has a name of its own, fit for a label.
func TestAnomalyNames(t *testing.T) {
	seen := map[string]bool{}
	for a := range NumAnomalies {
		name := Anomaly(a).String()
		if name == "" || seen[name] || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
			t.Errorf("anomaly %d is %q", a, name)
		}
		seen[name] = true
	}
	var s Set
	if s.Add(DNSKEYProto); !s.Has(DNSKEYProto) || s.Has(None) || s.Empty() {
		t.Error("set")
	}
}

// TestText: types that miekg/dns does not know, and caps.
func TestText(t *testing.T) {
	long := strings.Repeat("\xffx", 127) + "\xff"
	for _, c := range []struct {
		typ   Type
		rdata string
		want  string
	}{
		{11, "\xc0\xa8\x00\x01\x06\x00\x00\x00\x40\x00\x00\x00\x00\x00\x00\x80", "192.168.0.1 6 25 80"},
		{38, "\x40\x20\x01\x0d\xb8\x00\x00\x00\x01\x01a\x00", "64 ::2001:db8:0:1 a"},
		{38, "\x80\x01a\x00", "128 :: a"},
		{22, "\x47\x00\x05", "0x470005"},
		{30, "\x01a\x00\x62\x01", "a A NS SOA MX"}, // bits 1, 2, 6 and 15
		{66, "\x00\x3b\x01\x14\xe7\x01a\x00", "CDS NOTIFY 5351 a"},
		{66, "\x00\x3b\x02\x14\xe7\x00", "CDS 2 5351 ."},
		{259, "\x00\x00\x00\x01\x00\x00\x00\x02\x03\x01a\x00", `1 2 3 "a" AA==`},
		{259, "\x00\x00\x00\x01\x00\x00\x00\x02\x03\x00", `1 2 3 "" -`},
		{260, "\x0a\x83\x01r\x00", "10 1 3 r"},
		{264, "\x00\x00\x00\x00\x00\x00\x00\x2a", "42"},
		{262, "\x03BTC\x01a", `"BTC" "a"`},
		{TypeSRV, "\x00\x01\x00\x02\x00\x03\x01a\xc0\x0c", "1 2 3 a.example.org"},
		{TypeMX, "\x00\x00\x00", "0 ."},
		{TypeTXT, "\x05\"\\;\x00a\x00", `"\"\\;\000a" ""`},
		{TypeAAAA, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x01\x02\x03\x04", "::ffff:1.2.3.4"},
		{TypeHTTPS, "\x00\x01\x00\x00\x01\x00\x06\x02h2\x02,\\\x00\x02\x00\x00\x00\x09\x00\x04\x00\x1d\x00\x17\xff\x00\x00\x01\"",
			`1 . alpn="h2,\\\044\\\092" no-default-alpn="" tls-supported-groups="29,23" key65280="\""`},
		{TypeHTTPS, "\x00\x01\x00\x00\x00\x00\x02\x00\x03\x00\x03\x00\x02\x01\xbb", `1 . mandatory="port" port="443"`},
		{TypeHTTPS, "\x00\x01\x00\x00\x00\x00\x02\x00\x03\x00\x04\x00\x04\x01\x02\x03\x04", `\# 17 000100000000020003000400040102 0304`},
		{TypeLOC, "\x00\x12\x16\x13\x80\x00\x00\x00\x80\x00\x00\x00\x00\x98\x96\x80", "00 00 0.000 N 00 00 0.000 E 0m 1m 10000m 10m"},
		{TypeTSIG, "\x00\x00\x00\x65\x53\xf1\x00\x01\x2c\x00\x00\x12\x34\x00\x00\x00\x00", ". 20231114221320 300 0 4660 0 0"},
		{TypeNULL, "", `\# 0`},
		{Type(999), "\x00\xff", `\# 2 00ff`},
		{TypeTXT, strings.Repeat("\xff"+long, 6), ""},
		{TypeDNSKEY, "\x01\x00\x03\x08" + strings.Repeat("k", 5000), ""},
	} {
		var m Message
		m.Unpack(oneRecord(c.typ, []byte(c.rdata)))
		got := string(m.AppendRData(nil, &m.Records[0]))
		if c.want == "" {
			if !m.Anomalies.Has(TextCapped) || !strings.Contains(got, " ; +") || !strings.HasSuffix(got, " octets") {
				t.Errorf("%s: %v, not cut: %.80s", c.typ, anomalyList(&m), got)
			}
			continue
		}
		if got != strings.ReplaceAll(c.want, "102 0304", "1020304") {
			t.Errorf("%s %x:\n got %s\nwant %s", c.typ, c.rdata, got, c.want)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, c := range []struct{ data, want string }{
		{"\x00\x03\x00\x04n\x1b\"1", `NSID: 6e1b2231 ("n\027\"1")`},
		{"\x00\x08\x00\x07\x00\x01\x18\x00\xc0\x00\x02", "ECS: 192.0.2.0/24/0"},
		{"\x00\x08\x00\x08\x00\x02\x20\x10\x20\x01\x0d\xb8", "ECS: 2001:db8::/32/16"},
		{"\x00\x08\x00\x04\x00\x00\x00\x00", "ECS: 0/0/0"},
		{"\x00\x0a\x00\x08abcdefgh", "COOKIE: 6162636465666768"},
		{"\x00\x0f\x00\x05\x00\x12a;b", `EDE: 18 (Prohibited): a\;b`},
		{"\x00\x0f\x00\x02\x00\xff", "EDE: 255"},
		{"\x00\x0c\x00\x04\x00\x00\x00\x00", "PADDING: 4"},
		{"\x00\x0b\x00\x02\x01\x2d", "KEEPALIVE: 30.1s"},
		{"\x00\x0b\x00\x00", "KEEPALIVE"},
		{"\x00\x09\x00\x04\x00\x00\x0e\x10", "EXPIRE: 3600"},
		{"\x00\x12\x00\x05\x03com\x00", "REPORT-CHANNEL: com"},
		{"\x00\x0d\x00\x05\x03com\x00", "CHAIN: com"},
		{"\x00\x05\x00\x02\x08\x0d\x00\x06\x00\x01\x02\x00\x07\x00\x01\x01", "DAU: 8 13; DHU: 2; N3U: 1"},
		{"\x00\x0e\x00\x04\x4a\x5c\x4f\x66", "KEY-TAG: 19036 20326"},
		{"\x00\x01\x00\x12\x00\x01\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00\x3c", "LLQ: 1 2 0 7 60"},
		{"\x00\x02\x00\x08\x00\x00\x00\x3c\x00\x00\x00\x78", "UL: 60 120"},
		{"\x00\x13\x00\x06\x02\x00\x00\x00\x00\x01", "ZONEVERSION: 2 0 00000001"},
		{"\xff\xee\x00\x02\x00\x01", "OPT65518: 0001"},
		{"\x00\x0a\x00\x01\x00", "COOKIE: 00"},                // a fault is hex
		{"\x00\x03\x00\x00\x00\x03\xff", `NSID; \# 3 0003ff`}, // and what runs over the end
	} {
		var m Message
		m.Unpack(oneRecord(TypeOPT, []byte(c.data)))
		if got := string(m.AppendRData(nil, &m.Records[0])); got != c.want {
			t.Errorf("%x:\n got %s\nwant %s", c.data, got, c.want)
		}
	}
}

// TestPointerWork: thousands of records that point into a chain of thousands of
// pointers, each from behind a label of its own, cost what their octets cost.
func TestPointerWork(t *testing.T) {
	raw := pointerChain(8000, 3000)
	var m Message
	if broken := m.Unpack(raw); broken != None || m.Seen[SectionAnswer] != 3000 || !m.Anomalies.Has(PtrLimit) {
		t.Fatalf("%s, %d records, %v", broken, m.Seen[SectionAnswer], anomalyList(&m))
	}
	if got := string(m.AppendName(nil, m.Records[255].Name)); got != "u" {
		t.Errorf("the last name is %q", got)
	}
	least := time.Hour
	var dst []byte
	for range 5 {
		start := time.Now()
		m.Unpack(raw)
		dst = appendAll(dst[:0], &m)
		least = min(least, time.Since(start))
	}
	cost := float64(least.Nanoseconds()) / float64(len(raw))
	t.Logf("%d octets, %.1f ns per octet", len(raw), cost)
	if cost > 50 && !testing.Short() {
		t.Errorf("%.1f ns per octet, more than 50", cost)
	}
}

func TestRings(t *testing.T) {
	header := "\x12\x34\x81\x80\x00\x01\x00\x00\x00\x00\x00\x00"
	for i, c := range []struct {
		name string
		want Anomaly
		text string
	}{
		{"\xc0\x0c\x00\x01\x00\x01", PtrLoop, ""},
		{"\x03abc\xc0\x0c\x00\x01\x00\x01", PtrLoop, ""},
		{"\xc0\x0e\xc0\x10\xc0\x0c", PtrLoop, ""},
		{"\xc0\x12\x00\x01\x00\x01\x01a\x00", PtrForward, "a"},
		{"\x01b\xc0\x14\x00\x01\x00\x01\x01a\x00", PtrForward, "b.a"},
		{"\xc0\x12\x00\x01\x00\x01\xc0\x14\x40", LabelType, ""},
		{"\xc0\x12\x00\x01\x00\x01\x01a", NameRange, ""},
		{"\xc0\xff\x00\x01\x00\x01", PtrRange, ""},
	} {
		var m Message
		if got := m.Unpack([]byte(header + c.name)); got != c.want {
			t.Errorf("%d: %s, want %s", i, got, c.want)
		}
		if c.text != "" {
			if got := string(m.AppendName(nil, m.Questions[0].Name)); got != c.text {
				t.Errorf("%d: name %s, want %s", i, got, c.text)
			}
		}
	}
}

func TestLimits(t *testing.T) {
	m := Message{Limits: Limits{Records: 1, Text: 4, Types: 1, Options: 1, Data: 2}}
	m.Unpack(oneRecord(TypeTXT, []byte("\x06abcdef")))
	if got := string(m.AppendRData(nil, &m.Records[0])); got != `"abc" ; +3 octets` {
		t.Error(got)
	}
	m.Unpack(oneRecord(TypeNSEC, []byte("\x00\x00\x01\x60")))
	if got := string(m.AppendRData(nil, &m.Records[0])); got != ". A ; +1 types" || !m.Anomalies.Has(TypesCapped) {
		t.Error(got)
	}
	m.Unpack(oneRecord(TypeOPT, []byte("\x00\x03\x00\x00\x00\x0c\x00\x00")))
	if got := string(m.AppendRData(nil, &m.Records[0])); got != "NSID ; +1 options" || !m.Anomalies.Has(OptionsCapped) {
		t.Error(got)
	}
	m.Unpack(oneRecord(999, []byte("abc")))
	if got := string(m.AppendRData(nil, &m.Records[0])); got != `\# 3 6162 ; +1 octets` || !m.Anomalies.Has(TextCapped) {
		t.Error(got)
	}
}

// TestLateOPT: an OPT record behind more records than are kept still counts.
func TestLateOPT(t *testing.T) {
	raw := []byte("\x12\x34\x81\x80\x00\x00\x01\x2c\x00\x00\x00\x01")
	for range 300 {
		raw = append(raw, "\x00\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x7f\x00\x00\x01"...)
	}
	raw = append(raw, "\x00\x00\x29\x04\xd0\x01\x00\x80\x00\x00\x07\x00\x03\x00\x03ns1"...)
	var m Message
	m.Unpack(raw)
	e, ok := m.EDNS()
	if !ok || e.UDPSize != 1232 || e.Options != 1 || m.RCode() != RCodeBadVers || len(m.Records) != MaxRecords || m.Seen[SectionAnswer] != 300 {
		t.Errorf("%+v %v %s, %d records", e, ok, m.RCode(), len(m.Records))
	}
	for o := range m.Options() {
		if got := string(m.AppendOption(nil, o)); got != `6e7331 ("ns1")` {
			t.Error(got)
		}
	}
}

func TestNames(t *testing.T) {
	var a, b Message
	a.Unpack([]byte("\x00\x01\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x03WwW\x07eXample\x00\x00\x01\x00\x01\x01x\xc0\x10\x00\x01\x00\x01"))
	b.Unpack([]byte("\x00\x01\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x0bwww.example\x00\x00\x01\x00\x01\x03www\x07Example\x00\x00\x01\x00\x01"))
	www, dotted, same := a.Questions[0].Name, b.Questions[0].Name, b.Questions[1].Name
	if EqualNames(&a, www, &b, dotted) || !EqualNames(&a, www, &b, same) || EqualNames(&a, www, &a, a.Questions[1].Name) {
		t.Error("EqualNames")
	}
	for above, want := range map[string][3]bool{
		"\x00": {true, true, true}, "\x07example\x00": {true, false, true}, "\x03www\x07example\x00": {true, false, true},
		"\x0bwww.example\x00": {false, true, false}, "\x06xample\x00": {}, "\x01x\x03www\x07example\x00": {}, "\x02ww\x07example\x00": {},
	} {
		got := [3]bool{a.NameUnder(www, []byte(above)), b.NameUnder(dotted, []byte(above)), b.NameUnder(same, []byte(above))}
		if got != want {
			t.Errorf("under %q: %v, want %v", above, got, want)
		}
	}
	if a.HashName(www, 1) != b.HashName(same, 1) || a.HashName(www, 1) == b.HashName(dotted, 1) || a.HashName(www, 1) == a.HashName(www, 2) {
		t.Error("HashName")
	}
	if got := fmt.Sprintf("%s %s %s", a.AppendName(nil, www), a.AppendNameLower(nil, www), b.AppendName(nil, dotted)); got != `WwW.eXample www.example www\.example` {
		t.Error(got)
	}
}

// TestBounds: the text of the largest record of each kind stays small.
func TestBounds(t *testing.T) {
	long := strings.Repeat("\x3f"+strings.Repeat("\xff", 63), 3) + "\x3d" + strings.Repeat("\xff", 61) + "\x00"
	for _, c := range []struct {
		typ   Type
		rdata string
	}{
		{55, "\x00\x00\x00\x00" + long + strings.Repeat("\xc0\x2d", 30000)},
		{TypeTXT, strings.Repeat("\x00", 65000)},
		{TypeTXT, strings.Repeat("\x03\xff\xff\xff", 16000)},
		{TypeHTTPS, "\x00\x01\x00" + "\x00\x07\xf0\x00" + strings.Repeat("\xff", 0xf000)},
		{TypeOPT, strings.Repeat("\x00\x03\x03\xfc"+strings.Repeat("\xff", 1020), 63)},
		{TypeAPL, strings.Repeat("\x00\x02\x80\x90"+strings.Repeat("\xff", 16), 3200)},
		{11, "\x01\x02\x03\x04\x06" + strings.Repeat("\xff", 8192)},
		{TypeURI, "\x00\x00\x00\x00" + strings.Repeat("\xff", 65000)},
		{TypeCAA, "\x00\x01a" + strings.Repeat("\xff", 65000)},
		{TypeTSIG, "\x00\x00\x00\x00\x00\x00\x00\x01\x2c\xf0\x00" + strings.Repeat("k", 0xf000) + "\x00\x00\x00\x00\x00\x00"},
		{Type(999), strings.Repeat("\xff", 65000)},
	} {
		var m Message
		if broken := m.Unpack(oneRecord(c.typ, []byte(c.rdata))); broken != None || m.Records[0].Fault != None {
			t.Errorf("%s: %s, fault %s", c.typ, broken, m.Records[0].Fault)
		}
		text := m.AppendRData(nil, &m.Records[0])
		if len(text) > 32<<10 || !strings.Contains(string(text), " ; +") {
			t.Errorf("%s: %d octets of text", c.typ, len(text))
		}
	}
}

// strictWire is the wire form of the name at off, read the simple way.
func strictWire(b []byte, off int) (wire []byte) {
	for b[off] != 0 {
		if b[off] >= 0xc0 {
			off = int(b[off]&63)<<8 | int(b[off+1])
			continue
		}
		wire = append(wire, b[off:off+1+int(b[off])]...)
		off += 1 + int(b[off])
	}
	return append(wire, 0)
}

// TestPointerTable: messages so full of pointers that the table of hops.go is
// made say the same as a simple reading.
func TestPointerTable(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var m Message
	tables, whole := 0, 0
	for range 3000 {
		b := []byte{0, 1, 0x81, 0x80, 0, 0, 0, 81, 0, 0, 0, 0, 0, 0, 10, 0, 1, 0, 0, 0, 0, 0, 0}
		starts := []int{12}
		pointer := func() {
			to := starts[max(0, len(starts)-2-rng.IntN(3))]
			b = append(b, 0xc0|byte(to>>8), byte(to))
		}
		for range 150 { // places to point at, in the RDATA of the first record
			starts = append(starts, len(b))
			for range rng.IntN(2) {
				b = append(b, 1, byte('a'+rng.IntN(26)))
			}
			if rng.IntN(30) == 0 {
				b = append(b, 0)
			} else {
				pointer()
			}
		}
		b[21], b[22] = byte((len(b)-23)>>8), byte(len(b)-23)
		var owners []int
		for range 80 {
			owners = append(owners, len(b))
			for range rng.IntN(3) {
				b = append(b, 1, byte('A'+rng.IntN(26)))
			}
			to := starts[len(starts)-1-rng.IntN(20)]
			b = append(b, 0xc0|byte(to>>8), byte(to), 0, 10, 0, 1, 0, 0, 0, 0, 0, 0)
		}
		if rng.IntN(3) == 0 { // something is bad
			b[23+rng.IntN(200)] = byte(rng.Uint32())
		}
		broken := m.Unpack(b)
		if strictWalk(b) != (broken == None) {
			t.Fatalf("%s, a strict reading says otherwise: %x", broken, b)
		}
		if m.Anomalies.Has(PtrLimit) {
			tables++
		}
		if broken != None {
			continue
		}
		whole++
		for i, off := range owners {
			n := m.Records[i+1].Name
			want := strictWire(b, off)
			if got := m.AppendWire(nil, n); !bytes.Equal(got, want) || int(n.Len) != len(want) {
				t.Fatalf("%x of %d octets, want %x", got, n.Len, want)
			}
			back, err := AppendWireName(nil, string(m.AppendName(nil, n)))
			if err != nil || !bytes.Equal(back, want) {
				t.Fatalf("%x reads back as %x: %v", want, back, err)
			}
		}
	}
	if tables < 100 || whole < 100 {
		t.Errorf("%d messages with a table, %d whole", tables, whole)
	}
	t.Logf("%d messages with a table, %d whole", tables, whole)
}
