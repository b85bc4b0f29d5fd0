package dnswire

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// strictWalk is a second reading of RFC 1035 and RFC 9267, written for clarity
// and without the package's help: it reports whether a message is whole.
func strictWalk(b []byte) bool {
	if len(b) < 12 {
		return false
	}
	off, ok := 12, true
	for range int(b[4])<<8 | int(b[5]) {
		if off, ok = strictName(b, off); !ok || off+4 > len(b) {
			return false
		}
		off += 4
	}
	records := 0
	for i := 6; i < 12; i += 2 {
		records += int(b[i])<<8 | int(b[i+1])
	}
	for range records {
		if off, ok = strictName(b, off); !ok || off+10 > len(b) {
			return false
		}
		if off += 10 + int(b[off+8])<<8 + int(b[off+9]); off > len(b) {
			return false
		}
	}
	return true
}

func strictName(b []byte, off int) (next int, ok bool) {
	size, start := 1, off
	for size <= 255 && off < len(b) {
		switch c := int(b[off]); {
		case c == 0:
			if next == 0 {
				next = off + 1
			}
			return next, true
		case c < 64:
			off += 1 + c
			size += 1 + c
		case c < 192 || off+1 >= len(b):
			return 0, false
		default:
			if next == 0 {
				next = off + 2
			}
			off = c&63<<8 | int(b[off+1])
			if off < 12 || off >= start {
				return 0, false
			}
			start = off
		}
	}
	return 0, false
}

// checkMessage holds what must be true of every message.
func checkMessage(t *testing.T, m *Message, raw []byte) {
	t.Helper()
	if whole, broken := strictWalk(raw), m.Unpack(raw); whole != (broken == None) {
		t.Fatalf("Broken %s, a strict reading says whole: %v", broken, whole)
	}
	if (m.Broken != None) != m.Anomalies.Has(m.Broken) && m.Broken != None {
		t.Fatalf("%s is not among the anomalies", m.Broken)
	}
	seen := len(m.Answer()) + len(m.Authority()) + len(m.Additional())
	if seen != len(m.Records) {
		t.Fatalf("%d records in the sections, %d in all", seen, len(m.Records))
	}
	for r := range m.All() {
		if r.Fault != None && !m.Anomalies.Has(r.Fault) {
			t.Fatalf("fault %s is not among the anomalies", r.Fault)
		}
		if text := m.AppendRData(nil, r); len(text) > 40000 {
			t.Fatalf("%s: %d octets of text", r.Type, len(text))
		}
		name := m.AppendName(nil, r.Name)
		wire, err := AppendWireName(nil, string(name))
		if want := m.AppendWire(nil, r.Name); err != nil || !bytes.Equal(wire, want) || len(wire) != int(r.Name.Len) {
			t.Fatalf("%s is %x, of %d octets; read back %x: %v", name, want, r.Name.Len, wire, err)
		}
	}
	for i, c := range appendAll(nil, m) {
		if c < 0x20 || c > 0x7e {
			t.Fatalf("octet %#x at %d", c, i)
		}
	}
	for i := 1; i < len(m.Records); i++ {
		n, k := m.Records[i-1].Name, m.Records[i].Name
		equal := EqualNames(m, n, m, k)
		if want := bytes.EqualFold(m.AppendNameLower(nil, n), m.AppendNameLower(nil, k)); equal != want {
			t.Fatalf("%s and %s equal: %v", m.AppendName(nil, n), m.AppendName(nil, k), equal)
		}
		name, above := lowerWire(m, n), lowerWire(m, k)
		if want := strictUnder(name, above); m.NameUnder(n, above) != want {
			t.Fatalf("%s under %s: %v", m.AppendName(nil, n), m.AppendName(nil, k), !want)
		}
		if equal && m.HashName(n, 7) != m.HashName(k, 7) {
			t.Fatalf("%s: two hashes", m.AppendName(nil, n))
		}
	}
}

func lowerWire(m *Message, n Name) []byte {
	wire := m.AppendWire(nil, n)
	for i, c := range wire {
		wire[i] = lower[c] // lengths are below 64
	}
	return wire
}

// strictUnder is a second reading of RFC 1034 section 3.1.
func strictUnder(name, above []byte) bool {
	for len(name) > 0 {
		if bytes.Equal(name, above) {
			return true
		}
		name = name[1+int(name[0]):]
	}
	return false
}

func FuzzMessage(f *testing.F) {
	for _, seed := range messageSeeds() {
		f.Add(seed)
	}
	var m Message
	f.Fuzz(func(t *testing.T, raw []byte) {
		checkMessage(t, &m, raw)
	})
}

// FuzzName: a name at the end of a message whose first name it may point into.
func FuzzName(f *testing.F) {
	for _, seed := range []string{
		"\x03www\x07example\x03com\x00", "\xc0\x0c", "\x01a\xc0\x10", "\x00", "\xc0\x00", "\xc0\x2b", "\x40a", "\x3fa",
		"\xc0", "\x05a.b\x00c\x00", "\x02\xe2\x80\xc0\x0c", "\xc0\x1e", "\x01a\xc0\x1d",
	} {
		f.Add([]byte(seed))
	}
	var m Message
	f.Fuzz(func(t *testing.T, name []byte) {
		raw := []byte("\x12\x34\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x07example\x03org\x00\x00\x02\x00\x01")
		raw = append(append(raw, name...), "\x00\x02\x00\x01\x00\x00\x00\x3c\x00\x02\xc0\x1d"...)
		checkMessage(t, &m, raw)
	})
}

// FuzzRData: RDATA of any type. A record after it must be read whatever it is.
func FuzzRData(f *testing.F) {
	for t := range layouts {
		for _, rdata := range seedRData(Type(t)) {
			f.Add(uint16(t), rdata)
		}
	}
	f.Fuzz(func(t *testing.T, typ uint16, rdata []byte) { fuzzRData(t, Type(typ), rdata) })
}

func fuzzRData(t *testing.T, typ Type, rdata []byte) {
	if len(rdata) > 60000 {
		return
	}
	raw := oneRecord(typ, rdata)
	raw[7] = 2
	raw = append(raw, "\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x7f\x00\x00\x01"...)
	var m Message
	checkMessage(t, &m, raw)
	last := &m.Records[1]
	if text := string(m.AppendRData(nil, last)); last.Fault != None || text != "127.0.0.1" {
		t.Fatalf("the record after it: %s, %s", last.Fault, text)
	}
	r := &m.Records[0]
	text := m.AppendRData(nil, r)
	if r.Fault != None && typ != TypeOPT && !bytes.HasPrefix(text, []byte(`\# `)) {
		t.Fatalf("fault %s, text %s", r.Fault, text)
	}
	if typ == TypeTXT && r.Fault == None && !m.Anomalies.Has(TextCapped) {
		checkTXT(t, rdata, string(text))
	}
}

// checkTXT reads the text of TXT back.
func checkTXT(t *testing.T, rdata []byte, text string) {
	var back []byte
	for _, token := range tokens(text) {
		at := len(back)
		back = append(back, 0)
		_, value, _ := cutQuoted(token)
		var err error
		if back, err = AppendUnescaped(back, value); err != nil {
			t.Fatal(err)
		}
		back[at] = byte(len(back) - at - 1)
	}
	if !bytes.Equal(back, rdata) {
		t.Fatalf("%s reads back as %x, was %x", text, back, rdata)
	}
}

func FuzzOPT(f *testing.F) {
	for _, rdata := range seedRData(TypeOPT) {
		f.Add(rdata)
	}
	f.Fuzz(func(t *testing.T, rdata []byte) {
		if len(rdata) > 60000 {
			return
		}
		fuzzRData(t, TypeOPT, rdata)
		var m Message
		m.Unpack(oneRecord(TypeOPT, rdata))
		e, _ := m.EDNS()
		whole, off := 0, 0
		for off+4 <= len(rdata) && off+4+int(binary.BigEndian.Uint16(rdata[off+2:])) <= len(rdata) {
			off += 4 + int(binary.BigEndian.Uint16(rdata[off+2:]))
			whole++
		}
		if e.Options != whole || (off < len(rdata)) != m.Anomalies.Has(EDNSOptRange) {
			t.Fatalf("%d options, want %d; %v", e.Options, whole, anomalyList(&m))
		}
		yielded := 0
		for o := range m.Options() {
			yielded++
			if o.Fault != None && !m.Anomalies.Has(o.Fault) {
				t.Fatalf("fault %s is not among the anomalies", o.Fault)
			}
		}
		if yielded != min(whole, 64) {
			t.Fatalf("%d options yielded of %d", yielded, whole)
		}
	})
}

func FuzzSVCB(f *testing.F) {
	for _, rdata := range seedRData(TypeHTTPS) {
		f.Add(rdata)
	}
	f.Fuzz(func(t *testing.T, rdata []byte) { fuzzRData(t, TypeHTTPS, rdata) })
}

func FuzzNSEC(f *testing.F) {
	for _, rdata := range append(seedRData(TypeNSEC), seedRData(TypeNSEC3)...) {
		f.Add(rdata)
	}
	f.Fuzz(func(t *testing.T, rdata []byte) {
		fuzzRData(t, TypeNSEC, rdata)
		fuzzRData(t, TypeNSEC3, rdata)
		fuzzRData(t, 62, rdata)
	})
}

// FuzzEscape: unescape(escape(x)) == x, for labels and for quoted text; and
// what is not escaped text is refused, not misread.
func FuzzEscape(f *testing.F) {
	for _, seed := range []string{"", "a.b", `\`, `"`, "\x00\xff\u202e", "a\nb", `\0`, `\256`, `\12`, "..", ".", "a..b", `\.`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, octets []byte) {
		for _, table := range []*[256]uint8{&escapeLabel, &escapeQuoted, &escapeText} {
			text := appendEscaped(nil, octets, table)
			if back, err := AppendUnescaped(nil, string(text)); err != nil || !bytes.Equal(back, octets) {
				t.Fatalf("%x is %s is %x: %v", octets, text, back, err)
			}
		}
		if quoted := appendQuoted(nil, octets); !bytes.Equal(quoted[1:len(quoted)-1], appendEscaped(nil, octets, &escapeQuoted)) {
			t.Fatalf("%x in quotes is %s", octets, quoted)
		}
		if wire, err := AppendWireName([]byte{9}, string(octets)); err == nil {
			if wire = wire[1:]; !wireNameValid(wire) {
				t.Fatalf("%q is the name %x", octets, wire)
			}
		} else if len(wire) != 1 {
			t.Fatalf("%q: %x is left behind", octets, wire)
		}
	})
}
