package dnswire

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// tokens splits presentation format at blanks outside quotes.
func tokens(text string) (list []string) {
	quoted, token := false, -1
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == ' ' && !quoted:
			if token >= 0 {
				list = append(list, text[token:i])
			}
			token = -1
			continue
		case c == '\\':
			if token < 0 {
				token = i
			}
			i++
			continue
		case c == '"':
			quoted = !quoted
		}
		if token < 0 {
			token = i
		}
	}
	if token >= 0 {
		list = append(list, text[token:])
	}
	return list
}

// sameToken compares two tokens by what they stand for: the same octets in
// quotes, or the same name with or without its final dot.
func sameToken(a, b string) bool {
	if a == b {
		return true
	}
	ka, va, quotedA := cutQuoted(a)
	kb, vb, quotedB := cutQuoted(b)
	if quotedA && quotedB {
		ua, errA := AppendUnescaped(nil, va)
		ub, errB := AppendUnescaped(nil, vb)
		return ka == kb && errA == nil && errB == nil && bytes.Equal(ua, ub)
	}
	na, errA := AppendWireName(nil, a)
	nb, errB := AppendWireName(nil, b)
	return errA == nil && errB == nil && bytes.Equal(na, nb)
}

// cutQuoted takes "value" or key="value" apart.
func cutQuoted(token string) (key, value string, ok bool) {
	if !strings.HasSuffix(token, `"`) || !strings.HasPrefix(token, `"`) && !strings.Contains(token, `="`) {
		return "", "", false
	}
	key, value, _ = strings.Cut(token, `"`)
	return key, strings.TrimSuffix(value, `"`), true
}

func sameText(a, b string) bool {
	ta, tb := tokens(a), tokens(b)
	if len(ta) != len(tb) {
		return false
	}
	for i := range ta {
		if !sameToken(ta[i], tb[i]) {
			return false
		}
	}
	return true
}

// differences lists where this package and miekg/dns v1.1.73 write a type
// differently on purpose. expect turns miekg's text into ours. Two differences
// stand in sameToken: names have no final dot here, and escapes that mean the
// same octet are the same ("\032" here, "\ " there, RFC 1035 section 5.1).
var differences = map[Type]struct {
	why    string
	expect func(miekg string, rdata []byte) string
}{
	TypeNULL: {"RFC 3597 section 5: data without a format is \\# and hex, not raw octets",
		func(_ string, rdata []byte) string { return fmt.Sprintf(`\# %d %x`, len(rdata), rdata) }},
	19: {"RFC 1035 section 5.1: a character-string that may hold blanks stands in quotes (X25)",
		func(s string, rdata []byte) string { return string(appendQuoted(nil, rdata[1:])) }},
	27:        {"RFC 1035 section 5.1: the same for the three of GPOS", expectGPOS},
	TypeLOC:   {"RFC 1876 section 3: sizes are decimal numbers, so nothing is 0m, not 0000000m; appendix A: zero is north and east", expectLOC},
	37:        {"RFC 4398 section 2.2: mnemonics of algorithms, of which IANA has 17 and 23 too", expectCERT},
	TypeNSEC:  {"RFC 4034 section 4.2: types by their mnemonics, of which IANA has NSAP, WKS, A6... too", expectTypes},
	TypeNSEC3: {"RFC 5155 section 3.3: the same", expectTypes},
	62:        {"RFC 7477 section 2.1.2: the same (CSYNC)", expectTypes},
	TypeRRSIG: {"RFC 4034 section 3.2: the same", expectTypes},
	24:        {"RFC 4034 section 3.2: the same (SIG)", expectTypes},
}

// refused are types whose good RDATA miekg/dns cannot read, or not always.
var refused = map[Type]string{
	30:  "NXT is read as NSEC, but its bitmap has no windows (RFC 2535 section 5.2)",
	260: "AMTRELAY with the discovery bit is read as an unknown relay type (RFC 8777 section 4.2.2)",
}

func expectLOC(s string, _ []byte) string {
	s = regexp.MustCompile(` 0+m`).ReplaceAllString(s, " 0m")
	return strings.NewReplacer("00 00 0.000 S", "00 00 0.000 N", " 00 00 0.000 W", " 00 00 0.000 E").Replace(s)
}

func expectGPOS(_ string, rdata []byte) string {
	var dst []byte
	for len(rdata) > 0 {
		n := 1 + int(rdata[0])
		dst = append(appendQuoted(dst, rdata[1:n]), ' ')
		rdata = rdata[n:]
	}
	return string(dst)
}

func expectCERT(s string, rdata []byte) string {
	list := tokens(s)
	if name := algorithmName(rdata[4]); name != "" {
		list[2] = name
	}
	return strings.Join(list, " ")
}

func expectTypes(s string, _ []byte) string {
	list := tokens(s)
	for i, token := range list {
		switch t, ok := ParseType(token); {
		case ok:
			list[i] = t.String()
		case token == "None":
			list[i] = "TYPE0"
		case token == "Reserved":
			list[i] = "TYPE65535"
		}
	}
	return strings.Join(list, " ")
}

// TestMiekg: for each type that miekg/dns knows, random records which miekg has
// read and packed again, compressed, have the same text here as there, but for
// the differences listed.
func TestMiekg(t *testing.T) {
	count := 10000
	if testing.Short() {
		count = 500
	}
	var types []int
	for code := range dns.TypeToRR {
		types = append(types, int(code))
	}
	slices.Sort(types)
	var m Message
	m.Limits.Types = 1 << 16
	for _, code := range types {
		typ := Type(code)
		if typ == 30 || typ == TypeOPT || typ == TypeANY || typ == 128 { // read as something else, no format
			continue
		}
		rng := rand.New(rand.NewPCG(uint64(code), 3))
		rejected, bad := 0, 0
		for range count {
			rdata := randomRData(rng, typ)
			var msg dns.Msg
			if err := msg.Unpack(oneRecord(typ, rdata)); err != nil {
				if rejected++; rejected == 1 {
					t.Logf("%s: miekg rejects %x: %v", typ, rdata, err)
				}
				continue
			}
			msg.Compress = true
			raw, err := msg.Pack()
			if err != nil {
				if rejected++; rejected == 1 {
					t.Logf("%s: miekg packs %x: %v", typ, rdata, err)
				}
				continue
			}
			if m.Unpack(raw) != None || len(m.Records) != 1 || m.Records[0].Fault != None {
				t.Fatalf("%s: Broken %s, %v, RDATA %x", typ, m.Broken, anomalyList(&m), rdata)
			}
			_, want, _ := strings.Cut(msg.Answer[0].String(), msg.Answer[0].Header().String())
			if d, ok := differences[typ]; ok {
				want = d.expect(want, rdata)
			}
			got := string(m.AppendRData(nil, &m.Records[0]))
			if !sameText(got, want) {
				if bad++; bad <= 2 {
					t.Errorf("%s %x:\n got %s\nwant %s", typ, rdata, got, want)
				}
			}
		}
		if rejected > 0 && refused[typ] == "" || bad > 0 {
			t.Errorf("%s: %d of %d rejected by miekg, %d different", typ, rejected, count, bad)
		}
	}
}
