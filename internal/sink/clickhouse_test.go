package sink

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	tables "github.com/dnshark-io/dnshark/internal/store/clickhouse"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

// createTable makes the documented tables, for ClickHouse 18.16.
func createTable(t testing.TB, server *testkit.ClickHouse) {
	t.Helper()
	var ddl strings.Builder
	if err := (&tables.DDL{Plain: true}).Print(&ddl); err != nil {
		t.Fatal(err)
	}
	server.Run(ddl.String())
}

const clickhouseUser = "agent:${CLICKHOUSE_PASSWORD}@"

// dnsEvent is a line of format json with that name.
func dnsEvent(name string) string {
	quoted, _ := json.Marshal(name)
	return `{"time":"2026-11-23T00:41:13.101632310Z","event":"net_packet_dns_response","host":"h","observer":"client",` +
		`"metadata":{"src_ip":"192.0.2.53","dst_ip":"2001:db8::1","src_port":53,"dst_port":40000,"protocol":17,"packet_len":78,"iface":""},` +
		`"dns":{"id":1,"opcode":"QUERY","rcode":"NXDOMAIN","flags":["qr","rd","ra"],"questions":[{"name":` + string(quoted) + `,"type":"A","class":"IN"}],` +
		`"answer":[{"name":"a","type":"A","class":"IN","ttl":300,"data":"192.0.2.80"},{"name":"a","type":"TXT","class":"IN","ttl":300,"data":"\"x\\\"y\""}],"authority":[]},` +
		`"transaction":{"state":"answered","latency_us":null,"retransmits":0},` +
		`"process":{"attribution":"query_egress","pid":15588,"uid":0,"user":"root","comm":"dig","exe":"/usr/bin/dig","unit":"dig.service",` +
		`"container":{"id":"c0ffee","name":"c","image":"i","labels":{"a}":"]\"{"},"pod":{"name":"p","namespace":"n"}}}}`
}

// events is a block of dnsEvents.
func events(names ...string) *Block {
	b := &Block{First: 1, Events: len(names), source: "host-0123abcd-t-"}
	for _, name := range names {
		b.Text = append(append(b.Text, dnsEvent(name)...), '\n')
	}
	return b
}

// hostileNames are of those that want to be more than a value.
var hostileNames = []string{
	`a","event":"x`, `a\`, `'); DROP TABLE dnshark; --`, `{"a":1}`, `a\010{}`, "x]", "`", `<b>`, `\"}` + "`", `${HOME}`,
	strings.Repeat(`\"`, 500),
}

// Every column has its fact, and names stay names.
func TestClickHouseColumns(t *testing.T) {
	server := testkit.StartClickHouse(t)
	t.Setenv("CLICKHOUSE_PASSWORD", testkit.ClickHousePassword)
	createTable(t, server)
	for _, compression := range []string{"gzip", "none"} {
		s, _ := open(t, "clickhouse://"+clickhouseUser+server.Address+"?deduplicate=no&compression="+compression)
		if err := errors.Join(deliver(t, s, events(hostileNames...)), s.Close()); err != nil {
			t.Fatal(err)
		}
		var row map[string]any
		if err := json.Unmarshal([]byte(server.Ask(`SELECT * FROM dnshark WHERE event_id = 'host-0123abcd-t-1' FORMAT JSONEachRow`)), &row); err != nil {
			t.Fatal(err)
		}
		want := `map[answer_names:[a a] answer_types:[A TXT] answers:[192.0.2.80 "x\"y"] attribution:query_egress client:2001:db8::1 client_port:40000 comm:dig container:c0ffee container_name:c domain: ` +
			`event:net_packet_dns_response event_id:host-0123abcd-t-1 exe:/usr/bin/dig host:h id:1 image:i incident: json:` + dnsEvent(hostileNames[0]) +
			` latency_us:<nil> namespace:n observer:client opcode:QUERY pid:15588 pod:p protocol:17 qname:a","event":"x qtype:A rcode:NXDOMAIN ` +
			`server:192.0.2.53 server_comm: server_container: server_exe: server_port:53 severity: state:answered time:2026-11-23 00:41:13 uid:0 unit:dig.service user:root zone:]`
		if got := fmt.Sprint(row); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
		for i, name := range hostileNames {
			id := fmt.Sprintf("host-0123abcd-t-%d", 1+i)
			if got := server.Ask("SELECT qname, json FROM dnshark WHERE event_id = '" + id + "' FORMAT TSVRaw"); got != name+"\t"+dnsEvent(name) {
				t.Errorf("%s: %q", id, got)
			}
		}
		if n := server.Ask("SELECT count() FROM dnshark"); n != fmt.Sprint(len(hostileNames)) {
			t.Error(n)
		}
		server.Ask("TRUNCATE TABLE dnshark")
	}
}

// The server is killed while events come, twice. Nothing is lost.
func TestClickHouseRestart(t *testing.T) {
	server := testkit.StartClickHouse(t)
	t.Setenv("CLICKHOUSE_PASSWORD", testkit.ClickHousePassword)
	server.Ask("CREATE TABLE `a\\`b` (event_id String, n UInt64, name String) ENGINE = MergeTree ORDER BY n")
	s, _ := open(t, "clickhouse://"+clickhouseUser+server.Address+"?deduplicate=no&timeout=5s&format=eve&rows=format&table=a%60b&settings=max_threads=1,max_insert_threads=1")
	if err := deliver(t, s, block(1, 1)); err == nil || !strings.Contains(err.Error(), "max_insert_threads") || isPermanent(err) {
		t.Error(err) // 18.16 has no such setting
	}
	s, _ = open(t, "clickhouse://"+clickhouseUser+server.Address+"?deduplicate=no&timeout=5s&format=eve&rows=format&table=a%60b")
	q := newRestartSpool(t, s)
	const blocks, each = 300, 200
	for i := range blocks {
		q.Put(block(1+each*i, each))
		time.Sleep(2 * time.Millisecond)
		if i%100 == 50 {
			eventually(t, "something delivered", func() bool { return q.Stats().Delivered > 1000 })
			server.Stop()
			server.Start()
		}
	}
	q.settle()
	if err := q.Close(30 * time.Second); err != nil {
		t.Error(err)
	}
	if stats := q.Stats(); stats.Delivered != blocks*each || stats.Events != blocks*each {
		t.Errorf("%+v", stats)
	}
	if got := server.Ask("SELECT uniqExact(event_id), min(n), max(n), uniqExact(n) FROM `a\\`b`"); got != "60000\t1\t60000\t60000" {
		t.Error(got)
	}
	t.Logf("%s rows, %d retries", server.Ask("SELECT count() FROM `a\\`b`"), q.Stats().Retries)
}

// What is wrong with one row costs that row; what is wrong with the table costs none.
func TestClickHouseErrors(t *testing.T) {
	server := testkit.StartClickHouse(t)
	t.Setenv("CLICKHOUSE_PASSWORD", testkit.ClickHousePassword)
	server.Ask("CREATE TABLE t (event_id String, n UInt8) ENGINE = MergeTree ORDER BY n")
	b := &Block{First: 1, Events: 4, source: "s-", Text: []byte(`{"n":1}` + "\n" + `{"n":"no"}` + "\n" + `{"n":3}` + "\n" + `{"n":[4]}` + "\n")}
	url := "clickhouse://" + clickhouseUser + server.Address + "?format=eve&rows=format&table=t"
	s, _ := open(t, url+"&deduplicate=no")
	var p *partly
	if err := deliver(t, s, b); !errors.As(err, &p) || p.refused != 2 {
		t.Error(err)
	}
	if got := server.Ask("SELECT event_id, n FROM t ORDER BY n FORMAT CSV"); got != `"s-1",1`+"\n"+`"s-3",3` {
		t.Error(got)
	}
	for options, want := range map[string]string{
		url:                                "say deduplicate=no",
		url + "x&deduplicate=no":           "404 Not Found: Code: 60",
		url + "&database=x&deduplicate=no": "Code: 81",
		"clickhouse://u:s3cret@" + server.Address:                                              "401 Unauthorized: Code: 192",
		"clickhouse://" + clickhouseUser + server.Address + "?deduplicate=no&compression=zstd": "",
	} {
		s, _ := open(t, options)
		err := deliver(t, s, events("a"))
		if err == nil || isPermanent(err) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", options, err)
		}
		t.Log(err)
	}
	for url, want := range map[string]string{
		"clickhouse://h?format=csv":             "columns are made of format json",
		"clickhouse://h?format=csv&rows=format": "it takes JSON",
		"clickhouse://h/x":                      "no path",
		"clickhouse://h?settings=x":             "NAME=VALUE",
		"clickhouse://":                         "needs a host",
	} {
		if why := refusedBy(url); !strings.Contains(why, want) {
			t.Errorf("%s: %q, want %q", url, why, want)
		}
	}
}

// A block that is delivered again has the token that it had; newer servers drop it then.
func TestClickHouseToken(t *testing.T) {
	ca := newAuthority(t)
	var tokens lines
	address := serve(t, "https", ca, func(w http.ResponseWriter, r *http.Request) {
		tokens.add(r.URL.Query().Get("insert_deduplication_token") + " " + r.URL.Query().Get("query") + " " + r.URL.Query().Get("async_insert"))
		bodyOf(t, r)
		if len(tokens.get()) == 1 {
			w.WriteHeader(503)
		}
	})
	parsed, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	s, _ := open(t, "clickhouses://"+parsed.Host+"?compression=zstd&settings=async_insert=1,wait_for_async_insert=1&ca="+ca.path)
	var wait *after
	if err := deliver(t, s, events("a", "b")); !errors.As(err, &wait) {
		t.Error(err)
	}
	if err := deliver(t, s, events("a", "b")); err != nil {
		t.Error(err)
	}
	want := "host-0123abcd-t-1-2 INSERT INTO `default`.`dnshark` FORMAT JSONEachRow 1"
	if list := tokens.get(); len(list) != 2 || list[0] != want || list[1] != want {
		t.Errorf("%q", list)
	}
}

func clickhouseStandIn(t *testing.T) (string, func() []string) {
	server := testkit.StartClickHouse(t)
	t.Setenv("CLICKHOUSE_PASSWORD", testkit.ClickHousePassword)
	createTable(t, server)
	return "clickhouse://" + clickhouseUser + server.Address + "?deduplicate=no", func() (list []string) {
		for row := range strings.Lines(server.Ask("SELECT event_id, json FROM dnshark FORMAT TSVRaw") + "\n") {
			if id, line, ok := strings.Cut(strings.TrimSuffix(row, "\n"), "\t"); ok {
				list = append(list, withID(id, line))
			}
		}
		return list
	}
}
