package privacy

import (
	"bytes"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
)

// sampleSecret is the key of the sample trace that Crypto-PAn's authors published.
var sampleSecret = Secret{
	21, 34, 23, 141, 51, 164, 207, 128, 19, 10, 91, 22, 73, 144, 125, 16,
	216, 152, 143, 131, 121, 121, 101, 39, 98, 87, 76, 45, 42, 132, 34, 2,
}

func TestPseudonyms(t *testing.T) {
	p := newPseudonyms(&sampleSecret)
	for from, to := range map[string]string{
		"128.11.68.132":   "135.242.180.132",
		"129.118.74.4":    "134.136.186.123",
		"130.132.252.244": "133.68.164.234",
		"141.223.7.43":    "141.167.8.160",
		"141.233.145.108": "141.129.237.235",
		"152.163.225.39":  "151.140.114.167",
		"24.0.250.221":    "100.15.198.226",
	} {
		for range 2 { // computed, and remembered
			if got := p.of(netip.MustParseAddr(from)); got.String() != to {
				t.Errorf("%s: %v, want %s", from, got, to)
			}
		}
	}
}

// Addresses share as long a prefix as their pseudonyms do.
func TestPrefixes(t *testing.T) {
	p := newPseudonyms(&sampleSecret)
	random := rand.New(rand.NewPCG(1, 2))
	common := func(a, b []byte) (n int) {
		for n < 8*len(a) && (a[n/8]^b[n/8])&(0x80>>(n%8)) == 0 {
			n++
		}
		return n
	}
	for i := range 2000 {
		a := make([]byte, []int{4, 16}[i%2])
		for j := range a {
			a[j] = byte(random.Uint32())
		}
		b := bytes.Clone(a)
		at := random.IntN(8 * len(a))
		b[at/8] ^= 0x80 >> (at % 8)
		from, _ := netip.AddrFromSlice(a)
		with, _ := netip.AddrFromSlice(b)
		if got := common(p.of(from).AsSlice(), p.of(with).AsSlice()); got != at {
			t.Fatalf("%v and %v share %d bits, their pseudonyms %d", from, with, at, got)
		}
	}
}

// zone has every type of record that a stage knows, and some that it does not.
// Whatever must not be seen has "secret" in it, or is 203.0.113.0/24 or 2001:db8:5ec::/48.
const zone = `
www.secret.example.com. 60 IN A 203.0.113.7
www.secret.example.com. 60 IN AAAA 2001:db8:5ec::7
www.secret.example.com. 60 IN CNAME alias.secret.example.com.
secret.example.com. 60 IN NS ns.secret.example.com.
secret.example.com. 60 IN MX 10 mx.secret.example.com.
_sip._udp.secret.example.com. 60 IN SRV 1 2 3 sip.secret.example.com.
secret.example.com. 60 IN SOA ns.secret.example.com. root.secret.example.com. 1 2 3 4 5
secret.example.com. 60 IN TXT "secret" "more secret"
secret.example.com. 60 IN HTTPS 1 svc.secret.example.com. alpn=h2 port=443 ipv4hint=203.0.113.8,203.0.113.9 ipv6hint=2001:db8:5ec::8 ech=c2VjcmV0
secret.example.com. 60 IN NSEC next.secret.example.com. A TXT
secret.example.com. 60 IN RRSIG A 8 3 60 20300101000000 20290101000000 1 secret.example.com. c2lnbmF0dXJl
secret.example.com. 60 IN CAA 0 iodef "mailto:secret@example.com"
secret.example.com. 60 IN HINFO "secret" "secret"
secret.example.com. 60 IN RP root.secret.example.com. txt.secret.example.com.
secret.example.com. 60 IN NAPTR 1 2 "u" "secret" "!^.*$!secret!" .
secret.example.com. 60 IN URI 1 2 "https://secret.example.com/"
secret.example.com. 60 IN LOC 52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m
7.113.0.203.in-addr.arpa. 60 IN PTR host.secret.example.com.
secret.example.com. 60 IN DS 1 8 2 0000000000000000000000000000000000000000000000000000000000000000
`

func zoneMessage(t *testing.T) []byte {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion("www.SECRET.example.com.", dns.TypeANY)
	m.Response, m.Compress = true, true
	for line := range strings.Lines(strings.TrimSpace(zone)) {
		rr, err := dns.NewRR(line)
		if err != nil {
			t.Fatal(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	m.SetEdns0(1232, false)
	opt := m.IsEdns0()
	opt.Option = append(opt.Option,
		&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: net.IPv4(203, 0, 113, 0).To4()},
		&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "7365637265742121"},
		&dns.EDNS0_NSID{Code: dns.EDNS0NSID, Nsid: "736563726574"},
		&dns.EDNS0_EDE{InfoCode: 22, ExtraText: "secret"},
	)
	raw, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func through(o Options, raw []byte) *event.Event {
	b := &event.Batch{}
	e := b.Next()
	e.Meta.SrcIP, e.Meta.DstIP = netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("2001:db8:5ec::1")
	e.Txn.Cause = &event.Cause{Client: netip.MustParseAddrPort("203.0.113.1:53")}
	e.Alert = &event.Alert{Src: e.Meta.SrcIP, Domain: "secret.example.com", Evidence: []event.Evidence{
		{Name: "names", Texts: []string{"www.secret.example.com", "203.0.113.1", "203.0.113.0/24", "any secret text"}}, {Name: "n", Number: 3},
	}}
	e.Msg.Unpack(raw)
	NewStage(o).Process(b)
	return e
}

func TestNothingLeft(t *testing.T) {
	raw := zoneMessage(t)
	var plain dnswire.Message
	if fault := plain.Unpack(raw); fault != dnswire.None || !bytes.Contains(raw, []byte("secret")) {
		t.Fatal(fault)
	}
	for _, what := range []string{"all", "ips,names=domain,text"} {
		o, err := Parse(strings.Split(what, ","))
		if err != nil {
			t.Fatal(err)
		}
		e := through(o, raw)
		m := &e.Msg
		text := strings.Join(e.Alert.Evidence[0].Texts, " ") + e.Alert.Domain + e.Alert.Src.String() + e.Meta.SrcIP.String() + e.Meta.DstIP.String() + e.Txn.Cause.Client.String()
		for _, octets := range [][]byte{[]byte("secret"), {203, 0, 113}, {0x20, 0x01, 0x0d, 0xb8, 0x05, 0xec}, []byte("203.0.113"), []byte("2001:db8:5ec"), []byte("113.0.203")} {
			hidden := octets
			if what != "all" && string(octets) == "secret" {
				hidden = []byte("www.secret") // names are cut to example.com: nothing of it may be left
				if bytes.Contains(bytes.ToLower(m.Raw), octets) {
					t.Errorf("%s: %q in %q", what, octets, m.Raw)
				}
			}
			if bytes.Contains(bytes.ToLower(m.Raw), octets) || strings.Contains(text, string(hidden)) {
				t.Errorf("%s: %q in %q or %q", what, octets, m.Raw, text)
			}
		}
		if m.Broken != dnswire.None || len(m.Records) != len(plain.Records) || m.Anomalies != plain.Anomalies || m.Count != plain.Count {
			t.Errorf("%s: %v, %d records", what, m.Broken, len(m.Records))
		}
		t.Logf("%s: %d octets became %d; an alert's evidence: %v", what, len(raw), len(m.Raw), e.Alert.Evidence)
	}
}

// What was not asked for stays.
func TestOnlyWhatWasAsked(t *testing.T) {
	raw := zoneMessage(t)
	o, _ := Parse([]string{"ips"})
	o.Secret = sampleSecret
	m := &through(o, raw).Msg
	for i := range m.Records {
		r, owner := &m.Records[i], string(m.AppendName(nil, m.Records[i].Name))
		switch r.Type {
		case dnswire.TypePTR:
			want := newPseudonyms(&sampleSecret).of(netip.MustParseAddr("203.0.113.7")).AsSlice()
			var name [4]string
			for j, o := range want {
				name[3-j] = netip.AddrFrom4([4]byte{0, 0, 0, o}).String()[len("0.0.0."):]
			}
			if owner != strings.Join(name[:], ".")+".in-addr.arpa" {
				t.Errorf("%s of %v", owner, want)
			}
		case dnswire.TypeTXT:
			if !bytes.Contains(m.RData(r), []byte("more secret")) || owner != "secret.example.com" {
				t.Errorf("%s %q", owner, m.RData(r))
			}
		}
	}
	o, _ = Parse([]string{"text"})
	if e := through(o, raw); e.Meta.SrcIP.String() != "203.0.113.1" || !bytes.Contains(e.Msg.Raw, []byte{203, 0, 113, 7}) {
		t.Errorf("%v", e.Meta.SrcIP)
	}
}

func TestReverse6(t *testing.T) {
	s := NewStage(Options{Addrs: true, Secret: sampleSecret})
	a := netip.MustParseAddr("2001:db8::1")
	name, err := dns.ReverseAddr(a.String())
	if err != nil {
		t.Fatal(err)
	}
	want, err := dns.ReverseAddr(newPseudonyms(&sampleSecret).of(a).String())
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := s.change([]byte(strings.TrimSuffix(name, "."))); !ok || string(got)+"." != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, _ := s.change([]byte("8.b.d.0.1.0.0.2.ip6.arpa")); string(got) != "ip6.arpa" {
		t.Errorf("part of an address: %s", got)
	}
}

// Whatever octets come, what goes on is a whole message.
func TestHostile(t *testing.T) {
	raw := zoneMessage(t)
	random := rand.New(rand.NewPCG(3, 4))
	o, _ := Parse([]string{"all"})
	s := NewStage(o)
	b := &event.Batch{}
	const messages = 20_000
	for range messages {
		b.Reset()
		hostile := bytes.Clone(raw[:random.IntN(len(raw)+1)])
		for range random.IntN(8) {
			if len(hostile) > 0 {
				hostile[random.IntN(len(hostile))] = byte(random.Uint32())
			}
		}
		e := b.Next()
		e.Msg.Unpack(hostile)
		s.Process(b)
		var again dnswire.Message
		if fault := again.Unpack(e.Msg.Raw); fault != dnswire.None {
			t.Fatalf("%v of % x from % x", fault, e.Msg.Raw, hostile)
		}
		if bytes.Contains(bytes.ToLower(e.Msg.Raw), []byte("secret")) {
			t.Fatalf("%q of %q", e.Msg.Raw, hostile)
		}
	}
	t.Logf("%d messages with octets cut off and changed: each can be read afterwards, none tells the secret", messages)
}

func TestParse(t *testing.T) {
	for _, wrong := range []string{"names", "ips,nothing", "names=hash,names=domain"} {
		if _, err := Parse(strings.Split(wrong, ",")); err == nil {
			t.Errorf("%s: no error", wrong)
		}
	}
}

func BenchmarkStage(b *testing.B) {
	m := new(dns.Msg)
	m.SetQuestion("www.example.com.", dns.TypeA)
	rr, _ := dns.NewRR("www.example.com. 60 IN A 192.0.2.1")
	m.Answer, m.Response = []dns.RR{rr}, true
	raw, _ := m.Pack()
	o, _ := Parse([]string{"all"})
	s, batch := NewStage(o), &event.Batch{}
	b.ReportAllocs()
	for b.Loop() {
		batch.Reset()
		e := batch.Next()
		e.Msg.Unpack(raw)
		s.Process(batch)
	}
}
