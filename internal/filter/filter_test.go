package filter

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/dnshark-io/dnshark/event"
)

// sample is an answered query of curl's, seen at its socket.
func sample(t testing.TB) *event.Event {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion("WWW.Shop.example.co.uk.", dns.TypeA)
	m.Id, m.Response, m.RecursionAvailable = 4660, true, true
	for _, text := range []string{
		"www.shop.example.co.uk. 300 IN CNAME edge.cdn.example.net.",
		"edge.cdn.example.net. 60 IN A 10.1.2.3",
		"edge.cdn.example.net. 60 IN A 192.0.2.9",
	} {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	m.SetEdns0(1232, true)
	raw, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	e := &event.Event{}
	e.Time = 1_795_000_000_000_000_000 // 2026-11-18T11:06:40Z
	e.Host, e.Observer, e.Class = "web1", event.Client, event.ClassMessage
	e.Meta = event.PktMeta{
		SrcIP: netip.MustParseAddr("198.51.100.53"), DstIP: netip.MustParseAddr("2001:db8::7"), SrcPort: 53, DstPort: 40000,
		Protocol: 17, PacketLen: 140, Iface: "eth0",
	}
	e.Txn = event.Transaction{State: event.StateAnswered, Latency: 12_345_678}
	e.Asker = event.Party{
		ID:          &event.Identity{TGID: 4711, UID: 1000, Comm: [16]byte{'c', 'u', 'r', 'l'}},
		Attribution: event.AttributionQueryEgress,
		Process:     &event.Process{Exe: "/usr/bin/curl", Args: "curl\x00-s\x00http://x\x00"},
	}
	e.Server = event.Party{ID: &event.Identity{TGID: 53}, Process: &event.Process{Args: "dnsmasq\x00--conf-fi"}}
	if broken := e.Msg.Unpack(raw); broken != 0 {
		t.Fatal(broken)
	}
	return e
}

func TestMatch(t *testing.T) {
	names := filepath.Join(t.TempDir(), "names.txt")
	if err := os.WriteFile(names, []byte("# bad names\nexample.net\n\nExample.co.UK. # ours\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	e := sample(t)
	for text, want := range map[string]bool{
		`dns.rcode == "NOERROR"`:                          true,
		`dns.rcode == NOERROR`:                            true,
		`dns.rcode != "NXDOMAIN"`:                         true,
		`dns.rcode in ("NXDOMAIN", "SERVFAIL")`:           false,
		`dns.rcode not in {NXDOMAIN, SERVFAIL}`:           true,
		`dns.id == 4660`:                                  true,
		`dns.id == 0x1234`:                                true,
		`dns.id > 4660`:                                   false,
		`dns.id >= 4660 && dns.id <= 4660`:                true,
		`dns.id in [1, 4660, 2]`:                          true,
		`dns.id in [1, 2]`:                                false,
		`dns.response`:                                    true,
		`dns.response == false`:                           false,
		`!dns.aa and dns.ra`:                              true,
		`dns.tc or not dns.tc`:                            true,
		`dns.edns.do && dns.edns.udp_size == 1232`:        true,
		`dns.counts.an == 3`:                              true,
		`count(answer.name) == 3`:                         true,
		`count(answer.name) > 3`:                          false,
		`qname == "www.shop.example.co.uk"`:               true,
		`qname == "WWW.shop.EXAMPLE.co.uk."`:              true,
		`qname.under("example.co.uk")`:                    true,
		`qname.under("EXAMPLE.co.uk.")`:                   true,
		`qname.under("ample.co.uk")`:                      false,
		`qname.under(".")`:                                true,
		`qname.under("example.com", "co.uk")`:             true,
		`qname.under("example.com", "ample.co.uk")`:       false,
		`qname.under(file("` + names + `"))`:              true,
		`answer.name.under(file("` + names + `"))`:        true,
		`qname in file("` + names + `")`:                  false,
		`domain(qname) == "example.co.uk"`:                true,
		`domain(qname) in {"example.com", "co.uk"}`:       false,
		`labels(qname) == 5`:                              true,
		`len(qname) == 22`:                                true,
		`qname.begins("www.")`:                            true,
		`qname.ends(".UK")`:                               true,
		`qname.contains("SHOP")`:                          true,
		`qname =~ "^www\.[a-z]+\."`:                       true,
		`qname !~ "^www"`:                                 false,
		`qname.matches("shop")`:                           true,
		`qtype == A && qclass == "IN"`:                    true,
		`qtype == TYPE1`:                                  true,
		`qtype in (AAAA, HTTPS)`:                          false,
		`answer.type == CNAME`:                            true,
		`answer.type != CNAME`:                            false,
		`answer.data.contains("192.0.2.")`:                true,
		`answer.ttl < 100`:                                true,
		`answer.ttl > 1000`:                               false,
		`answer.ttl >= 300`:                               true,
		`answer.ttl >= 301`:                               false,
		`answer.ttl <= 60`:                                true,
		`answer.ttl <= 59`:                                false,
		`receiver.pid >= 0`:                               false, // there is none
		`receiver.pid <= 4000000`:                         false,
		`answer.ip in ::ffff:10.0.0.0/104`:                true,
		`answer.ip == ::ffff:192.0.2.9`:                   true,
		`qname == "\119ww.shop.example.co.uk"`:            true,
		`answer.ip in cidr("10.0.0.0/8")`:                 true,
		`answer.ip in 10.0.0.0/8`:                         true,
		`answer.ip in {172.16.0.0/12, 192.168.0.0/16}`:    false,
		`answer.ip == 192.0.2.9`:                          true,
		`answer.ip in 0.0.0.0/0`:                          true,
		`answer.ip in ::/0`:                               false,
		`metadata.dst_ip == 2001:db8::7`:                  true,
		`metadata.dst_ip in {10.0.0.0/8, 2001:db8::/32}`:  true,
		`client.ip == 2001:db8::7`:                        true,
		`server.ip == 198.51.100.53`:                      true,
		`metadata.protocol == 17`:                         true,
		`metadata.iface == "eth0"`:                        true,
		`process.comm == "curl" && process.uid == 1000`:   true,
		`process.exe.begins("/usr/")`:                     true,
		`process.args == "-s"`:                            true,
		`process.args == "-x"`:                            false,
		`process.cwd.exists()`:                            false,
		`process.cwd == "/"`:                              false,
		`process.cwd != "/"`:                              true,
		`process.exe.exists()`:                            true,
		`server_process.args == "--conf-fi"`:              true,
		`transaction.state == "answered"`:                 true,
		`transaction.latency_us > 10ms`:                   true,
		`transaction.latency_us > 12345`:                  false,
		`transaction.latency_us >= 12345`:                 true,
		`time > "2026-01-01T00:00:00Z"`:                   true,
		`time < 2026-01-01T00:00:00Z`:                     false,
		`host == 'web1'`:                                  true,
		"host == `web1`":                                  true,
		`lower(host) == "web1"`:                           true,
		`dns.anomalies.exists()`:                          false,
		`(dns.id == 1 || dns.id == 4660) && !(dns.aa)`:    true,
		`dns.id == 1 || dns.id == 4660 && dns.aa == true`: false,
	} {
		f, err := Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := f.Match(e); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

func TestOrdered(t *testing.T) {
	e := &event.Event{Observation: event.Observation{Class: event.ClassAlert, Alert: &event.Alert{Severity: event.SeverityMedium}}}
	for text, want := range map[string]bool{
		`alert.severity > "low"`: true, `alert.severity >= medium`: true, `alert.severity < "high"`: true, `alert.severity <= low`: false,
		`alert.severity > "critical"`: false, `alert.severity == "medium"`: true,
	} {
		f, err := Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := f.Match(e); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

// Errors say where, what, and what was meant.
func TestErrors(t *testing.T) {
	for text, want := range map[string]string{
		``:                                      `column 1: want a field, not the end`,
		`dns.rcod == "NXDOMAIN"`:                `column 1: there is no field "dns.rcod"; did you mean dns.rcode?`,
		`dns.rcode == "NXDOMIAN"`:               `column 14: dns.rcode has no value "NXDOMIAN"`,
		`dns.rcode = "NXDOMAIN"`:                `column 11: '=' means nothing here`,
		`dns.id == "x"`:                         `column 11: dns.id is a number, and "x" is none`,
		`dns.id == -1`:                          `column 11: '-' means nothing here`,
		`dns.id == 1 dns.aa`:                    `column 13: dns.aa does not belong here`,
		`(dns.id == 1`:                          `column 13: want ), not the end`,
		`dns.id in (1, 2]`:                      `column 16: want ), not ]`,
		`process.comm == curl`:                  `column 17: want a value, not curl; did you mean "curl"?`,
		`dns.rcode > "NOERROR"`:                 `column 11: > compares numbers, and dns.rcode is of type text`,
		`alert.severity > "bad"`:                `column 18: alert.severity has no value "bad"`,
		`process.comm > "a"`:                    `column 14: > compares numbers, and process.comm is of type text`,
		`answer.ip == "somewhere"`:              `column 14: answer.ip is an address, and "somewhere" is neither that nor a prefix`,
		`qname =~ "("`:                          "column 10: error parsing regexp: missing closing ): `(`",
		`dns.id =~ "1"`:                         `column 8: =~ is for texts and names, and dns.id is of type number`,
		`process.comm.under("x")`:               `column 1: under() is for texts and names, and process.comm is of type text`,
		`qname.below("x")`:                      `column 1: there is no method below; methods are exists, under, contains, begins, ends, matches`,
		`domian(qname) == "x"`:                  `column 1: there is no function domian; functions are len, count, labels, domain, lower; did you mean domain?`,
		`len(dns.id) == 1`:                      `column 5: len() is for texts and names, and dns.id is of type number`,
		`qname in file("/nonexistent")`:         `column 15: open /nonexistent: no such file or directory`,
		`qname == "open`:                        `column 10: this quote is never closed`,
		`qname`:                                 `column 6: want a comparison after qname, as == or in, not the end; did you mean qname == ...?`,
		`dns.aa == maybe`:                       `column 11: dns.aa is true or false, not "maybe"`,
		`time > "1960-01-01T00:00:00Z"`:         `column 8: time is a time as 2026-01-02T03:04:05Z, and "1960-01-01T00:00:00Z" is none`,
		`dns.tc in (true, false)`:               `column 18: dns.tc is compared with one value`,
		`qname == "a..b"`:                       `column 10: qname is a domain name, and "a..b" is none`,
		`time > "yesterday"`:                    `column 8: time is a time as 2026-01-02T03:04:05Z, and "yesterday" is none`,
		`"x" == qname`:                          `column 1: want a field, not "x"`,
		strings.Repeat("(", 100) + "dns.aa":     `column 65: more than 64 parentheses and negations inside each other`,
		"dns.id == 1\n&& dns.rcode == \"\x1b\"": `column 29: dns.rcode has no value "\x1b"`,
	} {
		_, err := Parse(text)
		var wrong *Error
		if !errors.As(err, &wrong) {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if err.Error() != want {
			t.Errorf("%s:\n got %s\nwant %s", text, err, want)
		}
		if point := wrong.Point(); strings.Count(point, "\n") != 1 || !strings.HasSuffix(point, "^") {
			t.Errorf("%s: %q", text, point)
		}
	}
}

// Every path can be asked for, and reads events of every class without harm.
func TestEveryPath(t *testing.T) {
	events := []*event.Event{sample(t), {}, {Observation: event.Observation{Class: event.ClassPacket}}}
	events[1].Msg.Unpack(nil)
	for _, p := range event.Paths {
		comparison := map[event.Kind]string{
			event.KindText: `=~ "."`, event.KindName: `=~ "."`, event.KindNumber: "> 0", event.KindBool: "== true",
			event.KindAddr: "in ::/0", event.KindTime: "> 2026-01-01T00:00:00Z",
		}[p.Kind]
		f, err := Parse(p.Name + " " + comparison)
		if err != nil {
			t.Errorf("%s: %v", p.Name, err)
			continue
		}
		for _, e := range events {
			f.Match(e)
		}
		if p.Doc == "" {
			t.Errorf("%s: no doc", p.Name)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	e := sample(t)
	for _, text := range append(simple,
		`dns.rcode == "NXDOMAIN" && process.comm == "curl"`,
		`qname.under("example.com", "example.net") || domain(qname) == "example.co.uk"`,
		`answer.ip in {10.0.0.0/8, 192.168.0.0/16} and answer.data =~ "^10\\." and process.args == "-s"`,
	) {
		f, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		f.Match(e)
		if n := testing.AllocsPerRun(100, func() { f.Match(e) }); n != 0 {
			t.Errorf("%s: %v allocations", text, n)
		}
	}
}

// simple are predicates as they stand in most filters.
var simple = []string{
	`dns.rcode == "NXDOMAIN"`, `process.comm == "wget"`, `dns.rcode == "NOERROR" && process.uid == 0`, `qname == "example.com"`,
	`qname.under("example.com")`, `answer.ip in 172.16.0.0/12`, `metadata.src_port in {53, 5353}`,
}

// A simple predicate takes less than 60 ns. What disturbs makes it longer, so the
// fastest of some tries counts.
func TestMatchTime(t *testing.T) {
	e := sample(t)
	for _, text := range simple {
		f, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		best := time.Hour
		for range 20 {
			const times = 10_000
			begin := time.Now()
			for range times {
				f.Match(e)
			}
			best = min(best, time.Since(begin)/times)
		}
		t.Logf("%s: %v", text, best)
		if best >= 60*time.Nanosecond {
			t.Errorf("%s takes %v, want less than 60ns", text, best)
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	e := sample(b)
	for _, text := range append(simple, `domain(qname) == "example.com"`) {
		b.Run(text, func(b *testing.B) {
			f, err := Parse(text)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				f.Match(e)
			}
		})
	}
}

// Whatever is given is an expression or an error that points into it.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		`dns.rcode == "NXDOMAIN" && process.comm == "curl"`, `answer.ip in {10.0.0.0/8, ::1}`, `!qname.under("a\\.b")`,
		`len(qname) > 50 or labels(qname) >= 7`, `time < 2026-01-01T00:00:00Z`, `transaction.latency_us > 5ms`, `((((`, `"`,
	} {
		f.Add(text)
	}
	e := sample(f)
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "file") {
			return // which may be any, also one without end
		}
		x, err := Parse(text)
		if err == nil {
			x.Match(e)
			return
		}
		var wrong *Error
		if !errors.As(err, &wrong) || wrong.Column < 0 || wrong.Column > len(wrong.Text) {
			t.Fatalf("%q: %v", text, err)
		}
		wrong.Point()
	})
}
