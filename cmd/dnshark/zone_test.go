package main

import (
	"encoding/hex"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

// zoneTypes are the types that issue 3 names and that can stand in a zone. The
// zone of this test holds them all, and more.
const zoneTypes = "A AAAA NS CNAME DNAME PTR MX SOA TXT SPF SRV NAPTR CAA DS CDS DNSKEY CDNSKEY RRSIG NSEC NSEC3 " +
	"NSEC3PARAM TLSA SMIMEA SSHFP OPENPGPKEY URI SVCB HTTPS LOC HINFO RP AFSDB CERT KX APL HIP IPSECKEY EUI48 EUI64 " +
	"NID L32 L64 LP CSYNC ZONEMD AMTRELAY DSYNC RESINFO WALLET NULL KEY SIG TYPE65400"

// zoneDifference is how dig's text of a type becomes dnshark's, and why both say
// the same, or dnshark's alone is right.
type zoneDifference struct {
	why  string
	ours func(dig string) string
}

// zoneDifferences are the types that dnshark and dig 9.18 write differently.
// Final dots are not among them, see digRows.
var zoneDifferences = map[string]zoneDifference{
	"AAAA": {"RFC 5952 section 5: dotted quads are for prefixes known to embed IPv4; ::/96 is none any more (RFC 4291 section 2.5.5.1)",
		func(s string) string { return strings.Replace(s, "::192.0.2.5", "::c000:205", 1) }},
	"LOC": {"RFC 1876 section 3: a number, with or without leading zeros; a fraction only where there is one", oursLOC},
	"NID": {"RFC 6742 section 2.1: four groups, and its examples keep their zeros", oursGroups},
	"L64": {"RFC 6742 section 2.3: the same; digits in the case of its examples",
		func(s string) string { return strings.ToUpper(oursGroups(s)) }},
	"TLSA":   {"RFC 6698 section 2.2: hexadecimal, whose case says nothing", lowerField(3)},
	"SMIMEA": {"RFC 8162 section 2: as TLSA", lowerField(3)},
	"ZONEMD": {"RFC 8976 section 2.3: case-insensitive hexadecimal", lowerField(3)},
	"HIP":    {"RFC 8005 section 6, RFC 4648 section 8: Base16 is case-insensitive", lowerField(1)},
	"NSAP": {"RFC 1706 section 5: hexadecimal, whose case says nothing",
		func(s string) string { return "0x" + strings.ToUpper(strings.TrimPrefix(s, "0x")) }},
	"SVCB":  {"RFC 9460 section 2.1, appendix A: values may stand in quotes, \\DDD is any octet; keys by name, RFC 9461, 9540, tls-supported-groups", oursParams},
	"HTTPS": {"RFC 9460 section 2.1: the same", oursParams},
	"NSEC": {"RFC 4034 section 4.2: types by their mnemonics; IANA has names for these three",
		strings.NewReplacer(" TYPE128", " NXNAME", " TYPE263", " CLA", " TYPE264", " IPN").Replace},
	"ATMA": {"no RFC has a format, so RFC 3597 section 5",
		func(string) string { return `\# 5 0031323334` }},
	"SINK": {"the same: the draft that had one never became an RFC",
		func(string) string { return `\# 4 01020304` }},

	// dig knows no format for these: it shows the octets, which tell. No RFC has
	// one either. UINFO, UID and GID read as in miekg/dns, the others as in their draft.
	"UINFO": {"dig does not know its one character-string", oursString},
	"CLA":   {"dig does not know its character-strings", oursString},
	"UID":   {"dig does not know its number of 32 bits", oursNumber},
	"GID":   {"dig does not know its number of 32 bits", oursNumber},
	"IPN":   {"dig does not know its number of 64 bits", oursNumber},
}

// zoneOpaque is for the types that neither has a format for.
var zoneOpaque = zoneDifference{"RFC 3597 section 5: hexadecimal, whose case says nothing", strings.ToLower}

// oursLOC writes degrees and minutes with two digits, and no fraction of an
// altitude in whole metres.
func oursLOC(s string) string {
	list := strings.Fields(s)
	for _, i := range []int{0, 1, 4, 5} {
		if len(list[i]) == 1 {
			list[i] = "0" + list[i]
		}
	}
	list[8] = strings.Replace(list[8], ".00m", "m", 1)
	return strings.Join(list, " ")
}

func oursGroups(s string) string {
	preference, value, _ := strings.Cut(s, " ")
	groups := strings.Split(value, ":")
	for i, g := range groups {
		groups[i] = strings.Repeat("0", 4-len(g)) + g
	}
	return preference + " " + strings.Join(groups, ":")
}

func lowerField(n int) func(string) string {
	return func(s string) string {
		list := strings.Split(s, " ")
		list[n] = strings.ToLower(list[n])
		return strings.Join(list, " ")
	}
}

var svcParam = regexp.MustCompile(` ([a-z0-9-]+)(=("(?:[^"\\]|\\.)*"|[^" ]+))?`)

// oursParams puts every value in quotes and names the keys that dig numbers.
func oursParams(s string) string {
	priority, rest, _ := strings.Cut(s, " ")
	target, params, some := strings.Cut(rest, " ")
	if !some {
		return s
	}
	names := map[string]string{"key7": "dohpath", "key8": "ohttp", "key9": "tls-supported-groups"}
	params = svcParam.ReplaceAllStringFunc(" "+params, func(param string) string {
		m := svcParam.FindStringSubmatch(param)
		key, value := m[1], m[3]
		if strings.HasPrefix(value, `"`) {
			value = value[1 : len(value)-1]
		}
		if name, ok := names[key]; ok {
			key = name
		}
		switch key {
		case "alpn":
			value = strings.NewReplacer(`\\\\`, `\\\092`, `\\,`, `\\\044`).Replace(value)
		case "tls-supported-groups":
			value = strings.NewReplacer(`\000\029`, "29", `\000\023`, ",23").Replace(value)
		}
		return " " + key + `="` + value + `"`
	})
	return priority + " " + target + params
}

// opaque returns the octets of a text in RFC 3597's form.
func opaque(s string) []byte {
	list := strings.Fields(s)
	if len(list) != 3 || list[0] != `\#` {
		return nil
	}
	b, err := hex.DecodeString(list[2])
	if err != nil || strconv.Itoa(len(b)) != list[1] {
		return nil
	}
	return b
}

func oursString(s string) string {
	b := opaque(s)
	if len(b) == 0 || int(b[0]) != len(b)-1 {
		return "not one character-string: " + s
	}
	return strconv.Quote(string(b[1:]))
}

func oursNumber(s string) string {
	return new(big.Int).SetBytes(opaque(s)).String()
}

// zoneRow is a record as text.
type zoneRow struct {
	owner string
	ttl   uint32
	class string
	typ   string
	data  string
}

var digRow = regexp.MustCompile(`^(\S+)\s+(\d+)\s+(\S+)\s+(\S+)[ \t]*(.*)$`)

// digRows reads the answers that dig printed. Names lose their final dot:
// dnshark writes none, since all its names are absolute. Types that dig only has
// a number for get their name.
func digRows(t *testing.T, text string) (rows []zoneRow) {
	t.Helper()
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || line[0] == ';' {
			continue
		}
		m := digRow.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("dig printed %q", line)
		}
		ttl, err := strconv.ParseUint(m[2], 10, 32)
		if err != nil {
			t.Fatalf("dig printed %q", line)
		}
		typ, ok := dnswire.ParseType(m[4])
		if !ok {
			t.Fatalf("dig printed %q, a type that dnshark does not know", line)
		}
		rows = append(rows, zoneRow{withoutDots(m[1]), uint32(ttl), m[3], typ.String(), withoutDots(m[5])})
	}
	return rows
}

// withoutDots takes the final dots off the names in a text: nothing else ends in
// a dot outside quotes. The root's name is its dot.
func withoutDots(text string) string {
	var b strings.Builder
	quoted := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text):
			b.WriteByte(c)
			i++
		case c == '"':
			quoted = !quoted
		case c == '.' && !quoted && i > 0 && text[i-1] != ' ' && (i+1 == len(text) || text[i+1] == ' '):
			continue
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

// zoneRows returns the answers of an event.
func zoneRows(e seen) (rows []zoneRow) {
	for _, r := range e.DNS.Answer {
		rows = append(rows, zoneRow{r.Name, r.TTL, r.Class, r.Type, r.Data})
	}
	return rows
}

// zoneKey says what was asked, and how.
type zoneKey struct {
	name, typ string
	protocol  uint8
}

// TestLiveZoneEqualsDig: BIND serves a zone with records of every type, dig asks
// for each over UDP and TCP, and for all at once by AXFR. What dnshark shows of
// an answer is what dig prints of it: the same records in the same order, and
// the same text.
func TestLiveZoneEqualsDig(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.NeedPrograms(t, "dig", "named", "ip")
	const zone, server = "all.test", "@127.0.0.1"
	const tcp, udp = 6, 17
	file := filepath.Join(testkit.Root(t), "testdata", "zone", zone+".zone")
	host := testkit.NewHost(t)
	host.Named("127.0.0.1", zone, file)
	a := startAgent(t)
	options := []string{"+noall", "+answer", "+nosplit", "+onesoa", "+norec", "+noidnout"}

	// A transfer ends with the SOA record with which it began.
	whole := digRows(t, host.Run("dig", append([]string{server, zone, "AXFR"}, options...)...))
	holds := zoneFileRecords(t, file)
	if len(whole) != holds {
		t.Fatalf("dig printed %d records of a zone of %d", len(whole), holds)
	}
	types := map[string]int{}
	asked := map[zoneKey]int{} // how many records the zone has for it
	for _, r := range whole {
		types[r.typ]++
		// NSEC3 records have no name to ask for (RFC 5155 section 7.2.8), and a
		// question for a delegation's NS gets no answer but a referral.
		if r.typ == "NSEC3" || r.typ == "NS" && r.owner != zone {
			continue
		}
		asked[zoneKey{r.owner, r.typ, tcp}]++
		asked[zoneKey{r.owner, r.typ, udp}]++
	}
	for typ := range strings.FieldsSeq(zoneTypes) {
		if types[typ] == 0 {
			t.Errorf("the zone has no %s record", typ)
		}
	}

	// One dig process for all questions; its questions in a file of its own form.
	answers := map[zoneKey][]zoneRow{}
	for _, protocol := range []uint8{tcp, udp} {
		how := []string{"+notcp", "+bufsize=4096", "+ignore"}
		if protocol == tcp {
			how = []string{"+tcp"}
		}
		var questions strings.Builder
		for key := range asked {
			if key.protocol == protocol {
				typ, _ := dnswire.ParseType(key.typ)
				fmt.Fprintf(&questions, "%s. TYPE%d\n", key.name, typ)
			}
		}
		batch := filepath.Join(t.TempDir(), "questions")
		if err := os.WriteFile(batch, []byte(questions.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		args := append(append([]string{server}, options...), how...)
		for _, r := range digRows(t, host.Run("dig", append(args, "-f", batch)...)) {
			key := zoneKey{r.owner, r.typ, protocol}
			answers[key] = append(answers[key], r)
		}
	}

	events := map[zoneKey][]seen{}
	gather := func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		clear(events)
		for _, e := range a.events {
			if e.Event == "net_packet_dns_response" && len(e.DNSResponse) == 1 {
				q := e.DNSResponse[0].QueryData
				key := zoneKey{q.Query, q.QueryType, e.Metadata.Protocol}
				events[key] = append(events[key], e)
			}
		}
		for key := range asked {
			if len(events[key]) == 0 {
				return false
			}
		}
		return true
	}
	for end := time.Now().Add(5 * time.Second); !gather() && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}

	c := zoneComparison{t: t, used: map[string]int{}}
	var transfer []zoneRow
	for _, e := range events[zoneKey{zone, "AXFR", tcp}] {
		transfer = append(transfer, zoneRows(e)...)
	}
	if n := len(transfer); n > 1 && transfer[n-1] == transfer[0] {
		transfer = transfer[:n-1] // dig was told to print it once
	}
	c.compare("AXFR", transfer, whole)
	transferred := c.records
	for key, n := range asked {
		if len(events[key]) != 1 || len(answers[key]) != n {
			t.Errorf("%+v: %d events, want one; dig printed %d records, want %d", key, len(events[key]), len(answers[key]), n)
			continue
		}
		c.compare(key.name+" "+key.typ, zoneRows(events[key][0]), answers[key])
	}
	t.Logf("%d types, %d records: %d compared by AXFR, %d by questions over UDP and TCP; %d comparisons equal but for a reason",
		len(types), holds, transferred, c.records-transferred, c.differ)
	if transferred < holds {
		t.Errorf("%d records compared of %d", transferred, holds)
	}
	for typ := range zoneDifferences {
		if c.used[typ] == 0 {
			t.Errorf("%s no longer differs; take it off the list", typ)
		}
	}
}

// zoneFileRecords counts the records of a zone file, one a line.
func zoneFileRecords(t *testing.T, file string) (n int) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if !slices.Contains([]byte(";$\n"), line[0]) {
			n++
		}
	}
	return n
}

// zoneComparison compares answers and counts.
type zoneComparison struct {
	t       *testing.T
	records int
	differ  int            // records whose texts differ for a reason
	used    map[string]int // the same by type
}

func (c *zoneComparison) compare(what string, got, want []zoneRow) {
	if len(got) != len(want) {
		c.t.Errorf("%s: dnshark shows %d records, dig %d", what, len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		c.records++
		if got[i] == want[i] {
			continue
		}
		w := want[i]
		d, ok := zoneDifferences[w.typ]
		if !ok && strings.HasPrefix(w.data, `\# `) {
			d, ok = zoneOpaque, true
		}
		if ok {
			w.data = d.ours(w.data)
		}
		if got[i] != w {
			c.t.Errorf("%s:\n dnshark shows %+v\n dig prints    %+v\n expected      %+v", what, got[i], want[i], w)
			continue
		}
		c.differ++
		if c.used[w.typ]++; c.used[w.typ] == 1 {
			c.t.Logf("%s differs: %s", w.typ, d.why)
		}
	}
}
