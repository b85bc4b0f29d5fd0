package clickhouse

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/dnshark-io/dnshark/internal/store"
	"github.com/dnshark-io/dnshark/internal/store/storetest"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

// statements returns what dnshark store ddl prints.
func statements(t testing.TB, d DDL) string {
	t.Helper()
	if d.EventDays == 0 {
		d.EventDays, d.HistoryDays = 7300, 7300 // what tests write is old
	}
	var b bytes.Buffer
	if err := d.Print(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// What the documentation shows is what is printed.
func TestDocumentedTables(t *testing.T) {
	for file, d := range map[string]DDL{
		"docs/clickhouse.sql": {EventDays: 30, HistoryDays: 400},
		"packaging/fleet.sql": {EventDays: 30, HistoryDays: 400, Kafka: "broker:19092", Topic: "dnshark.events"},
	} {
		shown, err := os.ReadFile(filepath.Join("../../..", file))
		if err != nil {
			t.Fatal(err)
		}
		if string(shown) != statements(t, d) {
			t.Errorf("%s is old; make generate", file)
		}
	}
	for _, d := range []DDL{{Kafka: "k:9092", NATS: "n:4222"}, {Plain: true, Kafka: "k:9092"}} {
		if err := d.Print(io.Discard); err == nil {
			t.Error(d)
		}
	}
	hostile := DDL{Cluster: `c'`, Kafka: `k\'; DROP`, Topic: `'`, EventDays: 1, HistoryDays: 1}
	if text := statements(t, hostile); !strings.Contains(text, `ON CLUSTER 'c\''`) || !strings.Contains(text, `'k\\\'; DROP'`) {
		t.Error(text)
	}
}

// What is wrong with a URL is said, without its password.
func TestURL(t *testing.T) {
	t.Setenv("CLICKHOUSE_TEST", "p/?#@:%")
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("first\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := newClient("clickhouse://u:${CLICKHOUSE_TEST}@h1,h2:99,[2001:db8::1]/d?partial=yes")
	if err != nil || fmt.Sprint(c.hosts) != "[h1:8123 h2:99 [2001:db8::1]:8123]" || c.password != "p/?#@:%" || c.settings.Encode() != "database=d&skip_unavailable_shards=1" {
		t.Error(c, err)
	}
	if c, err = newClient("clickhouses://u@h?password-file=" + file); err != nil || c.hosts[0] != "h:8443" || c.scheme != "https" {
		t.Fatal(c, err)
	}
	for _, want := range []string{"first", "second"} {
		if got, err := c.secret(); got != want {
			t.Error(got, err)
		}
		os.WriteFile(file, []byte("second"), 0o600)
	}
	for url, want := range map[string]string{
		"clickhouse:///d": "HOST", "clickhouse://h:x/d": "HOST", "mysql://h": "want clickhouse", "clickhouse://u:secret%ZZ@h": "not a URL",
		"clickhouse://h?tls=no": "tls=: want", "clickhouse://h?ca=/x": "ca=: want", "clickhouse://${CLICKHOUSE_NONE}@h": "no CLICKHOUSE_NONE",
		"clickhouse://:secret@h": "needs a user", "clickhouse://u@h?password-file=/nonexistent": "password-file",
	} {
		if _, err := newClient(url); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %s", url, err, want)
		}
	}
}

// A server is nobody to trust: what it answers is bounded, and an answer that ends too
// early is an error.
func TestHostileServer(t *testing.T) {
	answer := ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		statement, _ := io.ReadAll(r.Body)
		switch {
		case strings.Contains(string(statement), "version()"):
			io.WriteString(w, "\x0426.7")
		case strings.Contains(string(statement), "create_table_query"):
			w.Write([]byte{1})
		case strings.Contains(string(statement), "system.tables"):
			io.WriteString(w, "\x0fdnshark_history\x09MergeTree")
		default:
			io.WriteString(w, answer)
		}
	}))
	defer server.Close()
	s := connect(t, "clickhouse://"+server.Listener.Addr().String())
	numbers := strings.Repeat("\x00", 24)
	for text, want := range map[string]string{
		"\x03a\x1b\xff\x01A\x00\x00\x00" + numbers:     `a\027\255`,
		"\x01a\x01A\x00\x00\x00" + numbers[1:]:         "unexpected EOF",
		"\xff\xff\xff\xff\x7f":                         "more than 1 MiB",
		"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff": "overflow",
		"\x05a": "unexpected EOF",
	} {
		answer = text
		got := ""
		_, err := s.Lookup(t.Context(), &store.Query{Text: "a"}, func(u *store.Tuple) error { got = u.Name; return nil })
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func connect(t testing.TB, url string) store.Store {
	t.Helper()
	s, err := Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func runSuite(t *testing.T, server *testkit.ClickHouse, d DDL) {
	t.Setenv("CLICKHOUSE_PASSWORD", testkit.ClickHousePassword)
	storetest.Run(t, func(t *testing.T) (write, read store.Store) {
		for _, table := range []string{"dnshark_history_tuples", "dnshark_history_counts", "dnshark_history", "dnshark"} {
			server.Ask("DROP TABLE IF EXISTS " + table)
		}
		server.Run(statements(t, d))
		url := "clickhouse://agent:${CLICKHOUSE_PASSWORD}@" + server.Address + "/default"
		return connect(t, url), connect(t, url)
	})
}

func TestDebian(t *testing.T) { runSuite(t, testkit.StartClickHouse(t), DDL{Plain: true}) }

func TestToday(t *testing.T) { runSuite(t, testkit.StartClickHouseToday(t), DDL{}) }

// The views make of events what a program writes itself, whether events come from the
// output or from a broker; and an event that comes twice is one.
func TestViews(t *testing.T) {
	server := testkit.StartClickHouseToday(t)
	for _, database := range []string{"written", "inserted", "arrived"} {
		server.Ask("CREATE DATABASE " + database)
	}
	server.RunIn("written", statements(t, DDL{}))
	server.RunIn("inserted", statements(t, DDL{}))
	// What the engine of the broker would hand on.
	arrived := statements(t, DDL{Kafka: "127.0.0.1:9"})
	begin, end := strings.Index(arrived, "ENGINE = Kafka"), strings.Index(arrived, "CREATE MATERIALIZED VIEW dnshark_arrivals")
	server.RunIn("arrived", arrived[:begin]+"ENGINE = Null;\n"+arrived[end:])
	lines, capture := filepath.Join(t.TempDir(), "lines"), writeCapture(t)
	read := func(args ...string) {
		c := exec.Command(testkit.Dnshark(t), append([]string{"read", capture, "-q"}, args...)...)
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatal(err, string(out))
		}
	}
	to := "clickhouse://" + server.Address
	read("-o", "none", "--store", to+"/written")
	embedded := t.TempDir()
	read("-o", "none", "--store", embedded)
	for _, args := range [][]string{
		{"history", "*.test"}, {"history", "192.0.2.0/24", "-o", "cof"}, {"history", "www.*", "--type", "A"}, {"top", "names"}, {"top", "clients"}, {"top", "rcodes", "-o", "json"},
		{"new", "--since", "2026-03-03T19:00:00Z"},
	} {
		command := func(store string) string {
			out, err := exec.Command(testkit.Dnshark(t), append(args, "--store", store)...).CombinedOutput()
			if err != nil {
				t.Fatal(args, err, string(out))
			}
			return string(out)
		}
		if here, there := command(embedded), command(to+"/written"); here != there || strings.Count(here, "\n") < 2 && args[1] != "clients" && args[1] != "rcodes" {
			t.Errorf("%v: embedded\n%s\nClickHouse\n%s", args, here, there)
		}
	}
	read("-o", to+"?database=inserted", "-o", "json:"+lines)
	text, err := os.ReadFile(lines)
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, processEvent...)
	server.Ask("INSERT INTO arrived.dnshark_queue FORMAT JSONAsString\n" + string(text))
	server.Ask("INSERT INTO inserted.dnshark SELECT * FROM arrived.dnshark WHERE comm = 'dig'")

	dump := func(table, columns string) string {
		return server.Ask("SELECT " + columns + " FROM " + table + " ORDER BY ALL")
	}
	const events = "* EXCEPT (event_id, json)"
	if inserted, arrived := dump("inserted.dnshark", events), dump("arrived.dnshark", events); inserted != arrived || strings.Count(inserted, "\n") < 13 {
		t.Errorf("inserted\n%s\narrived\n%s", inserted, arrived)
	}
	const rows = "by, hex(key), name, type, rdata, bailiwick, sensor, min(first), max(last), sum(count)"
	history := func(database, where string) string {
		return dump(database+".dnshark_history WHERE "+where+" GROUP BY by, key, name, type, rdata, bailiwick, sensor", rows)
	}
	// The event of a process did not come by the program.
	const others = "last != 1795394473101632310"
	written, inserted := history("written", others), history("inserted", others)
	if written != inserted || strings.Count(written, "\n") < 90 {
		t.Errorf("written\n%s\ninserted\n%s", written, inserted)
	}
	if inserted, arrived := history("inserted", "1"), history("arrived", "1"); inserted != arrived {
		t.Errorf("inserted\n%s\narrived\n%s", inserted, arrived)
	}
	s := connect(t, to+"/inserted")
	for want, q := range map[string]store.Query{
		`process.test A 192.0.2.80 x1`:   {By: store.ByProcess, Text: "dig"},
		`process.test A 192.0.2.80 x1 `:  {By: store.ByProcess, Text: "/usr/bin/dig", Bailiwick: "test"},
		`process.test A 192.0.2.80 x1  `: {By: store.ByContainer, Text: "0123456789abcdef"},
	} {
		if got := storetest.Find(t, s, q); got != strings.TrimSpace(want) {
			t.Errorf("%+v: %q, want %q", q, got, want)
		}
	}
	checkTwice(t, server, s)
}

// writeCapture writes a capture of all that the history reads.
func writeCapture(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "capture.pcap")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c, err := testkit.NewCapture(f)
	if err != nil {
		t.Fatal(err)
	}
	client, server := netip.MustParseAddrPort("192.0.2.1:40000"), netip.MustParseAddrPort("192.0.2.53:53")
	for i, text := range []string{
		"WWW.Example.test. 60 IN A 192.0.2.80|example.test. 60 IN SOA ns.example.test. h.example.test. 1 2 3 4 5",
		"www.example.test. 60 IN A 192.0.2.0|other.test. 60 IN NS ns.other.test.",
		"www.example.test. 60 IN A 192.0.2.80|example.test. 60 IN SOA ns.example.test. h.example.test. 1 2 3 4 5",
		"v6.example.test. 60 IN AAAA 2001:db8::|. 60 IN NS a.root.test.",
		`a\.b.x\000\255y.test. 60 IN CNAME T\.arget.Test.|b.x\000\255y.test. 60 IN NS ns.test.`,
		"example.test. 60 IN MX 10 Mail.example.test.|", "example.test. 60 IN MX 0 .|", ". 60 IN NS a.root.test.|",
		"_s._tcp.example.test. 60 IN SRV 1 2 3 srv.example.test.|", "h.example.test. 60 IN HTTPS 1 . alpn=h2|",
		`t.example.test. 60 IN TXT "';\\ x" "y"|`, "version.bind. 0 CH TXT \"9\"|", "raw.test. 60 IN TYPE65280 \\# 2 0001|",
		"d.test. 60 IN DNAME e.test.|", "example.test. 60 IN SOA ns.example.test. h.example.test. 1 2 3 4 5|",
	} {
		answer, zone, _ := strings.Cut(text, "|")
		rr, err := dns.NewRR(answer)
		if err != nil {
			t.Fatal(answer, err)
		}
		var m dns.Msg
		m.SetQuestion(rr.Header().Name, rr.Header().Rrtype)
		m.Question[0].Qclass = rr.Header().Class
		m.Id = uint16(i)
		query, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		m.Response, m.Answer = true, []dns.RR{rr}
		if zone != "" {
			rr, err := dns.NewRR(zone)
			if err != nil {
				t.Fatal(zone, err)
			}
			m.Ns = []dns.RR{rr}
		}
		response, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		at := storetest.Noon.Add(time.Duration(i) * 7 * time.Hour).UnixNano()
		if err := errors.Join(c.UDP(at+1, client, server, query), c.UDP(at+1001, server, client, response)); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

const processEvent = `{"time":"2026-11-23T00:41:13.101632310Z","event":"net_packet_dns_response","host":"h","observer":"client",` +
	`"metadata":{"src_ip":"192.0.2.53","dst_ip":"2001:db8::1","src_port":53,"dst_port":40000,"protocol":17,"packet_len":78,"iface":""},` +
	`"dns":{"id":1,"opcode":"QUERY","rcode":"NOERROR","flags":["qr","rd","ra"],"questions":[{"name":"Process.test","type":"A","class":"IN"}],` +
	`"answer":[{"name":"Process.test","type":"A","class":"IN","ttl":300,"data":"192.0.2.80"}],"authority":[{"name":"test","type":"NS","class":"IN","ttl":300,"data":"ns.test"}]},` +
	`"transaction":{"state":"answered","latency_us":7,"retransmits":0},` +
	`"process":{"attribution":"query_egress","pid":15588,"uid":0,"user":"root","comm":"dig","exe":"/usr/bin/dig","unit":"dig.service",` +
	`"container":{"id":"0123456789abcdef","name":"c","image":"i","pod":{"name":"p","namespace":"n"}}}}` + "\n"
