package web

import (
	"context"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/store"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

// serve serves a store with answers of 2026-03-01, an hour from one to the next.
func serve(t *testing.T, address string, records ...string) net.Listener {
	t.Helper()
	return serveWith(t, address, func(*Server) {}, records...)
}

func serveWith(t *testing.T, address string, change func(*Server), records ...string) net.Listener {
	t.Helper()
	dir := t.TempDir()
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	g := store.NewStage(s, "sensor1")
	g.Wait = true
	var b event.Batch
	for i, text := range records {
		rr, err := dns.NewRR(strings.Replace(text, " ", " 60 IN ", 1))
		if err != nil {
			t.Fatal(err)
		}
		var m dns.Msg
		m.SetQuestion(rr.Header().Name, rr.Header().Rrtype)
		m.Response, m.Answer = true, []dns.RR{rr}
		zone, _ := dns.NewRR("test. 60 IN NS ns.test.")
		m.Ns = []dns.RR{zone}
		raw, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		e := b.Next()
		e.Msg.Unpack(b.Hold(raw))
		e.Kinds, e.Txn.State = 1, event.StateAnswered
		e.Time = time.Date(2026, 3, 1, i, 0, 0, 5e8, time.UTC).UnixNano()
	}
	g.Process(&b)
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if s, err = store.OpenReader(dir); err != nil {
		t.Fatal(err)
	}
	access := &Access{}
	l, err := access.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	server := &Server{Store: s, Access: access, Status: func(context.Context) Status { return Status{Version: "v1", Host: "h"} }}
	change(server)
	go func() { done <- server.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		s.Close()
	})
	return l
}

var records = []string{
	"www.example.test. A 192.0.2.80", "www.example.test. A 192.0.2.81", "mail.example.test. MX 10 mx.example.net.",
	"v6.example.test. AAAA 2001:db8::1", "example.test. NS ns1.example.net.", `q\"x.example.test. TXT "a\"b"`,
}

func get(t *testing.T, url, host string) (int, string) {
	t.Helper()
	r, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestServer(t *testing.T) {
	url := "http://" + serve(t, "127.0.0.1:0", records...).Addr().String()
	begin, end := "{\"cond\":\"begin\"}\n", "{\"cond\":\"succeeded\"}\n"
	mail := `"count":1,"time_first":1772330400,"time_last":1772330400,"rrname":"mail.example.test.","rrtype":"MX",`
	for path, want := range map[string]string{
		"/dnsdb/v2/lookup/rrset/name/mail.example.test":                       begin + `{"obj":{` + mail + `"bailiwick":"test.","rdata":["10 mx.example.net."]}}` + "\n" + end,
		"/dnsdb/v2/lookup/rdata/name/mx.example.net/MX":                       begin + `{"obj":{` + mail + `"rdata":"10 mx.example.net."}}` + "\n" + end,
		"/dnsdb/v2/lookup/rdata/name/mx.example.net/A":                        begin + end,
		"/dnsdb/v2/lookup/rrset/name/mail.example.test/ANY/org":               begin + end,
		"/dnsdb/v2/lookup/rdata/ip/2001%3Adb8%3A%3A,32?humantime=t":           begin + `{"obj":{"count":1,"time_first":"2026-03-01T03:00:00Z","time_last":"2026-03-01T03:00:00Z","rrname":"v6.example.test.","rrtype":"AAAA","rdata":"2001:db8::1"}}` + "\n" + end,
		"/dnsdb/v2/lookup/rdata/raw/20010db8000000000000000000000001?limit=0": begin + `{"obj":{"count":1,"time_first":1772334000,"time_last":1772334000,"rrname":"v6.example.test.","rrtype":"AAAA","rdata":"2001:db8::1"}}` + "\n" + end,
		"/dnsdb/v2/lookup/rrset/name/*.test?time_last_before=1772323200":      begin + `{"obj":{"count":1,"time_first":1772323200,"time_last":1772323200,"rrname":"www.example.test.","rrtype":"A","bailiwick":"test.","rdata":["192.0.2.80"]}}` + "\n" + end,
		"/dnsdb/v2/lookup/rrset/name/*.test?time_first_after=-3600":           begin + end,
		"/dnsdb/v2/lookup/rrset/name/*.test/TXT":                              begin + `{"obj":{"count":1,"time_first":1772341200,"time_last":1772341200,"rrname":"q\\\"x.example.test.","rrtype":"TXT","bailiwick":"test.","rdata":["\"a\\\"b\""]}}` + "\n" + end,
		"/query/mail.example.test":                                            `{"rrname":"mail.example.test","rrtype":"MX","rdata":["10 mx.example.net"],"time_first":1772330400,"time_last":1772330400,"time_first_ms":1772330400500,"time_last_ms":1772330400500,"count":1,"bailiwick":"test","sensor_id":"sensor1"}` + "\n",
		"/dnsdb/v2/ping":                                                      "{\"ping\":\"ok\"}\n",
	} {
		if code, body := get(t, url+path, ""); code != 200 || body != want {
			t.Errorf("%s: %d\n%swant\n%s", path, code, body, want)
		}
	}
	if _, body := get(t, url+"/query/192.0.2.80/31", ""); strings.Count(body, "\n") != 2 {
		t.Error(body)
	}
	if _, body := get(t, url+"/dnsdb/v2/lookup/rrset/name/*.test?limit=2&offset=1", ""); strings.Count(body, `"obj"`) != 2 || !strings.Contains(body, `"limited"`) {
		t.Error(body)
	}
	for path, want := range map[string]int{
		"/dnsdb/v2/lookup/rrset/name/a..b": 400, "/dnsdb/v2/lookup/rdata/ip/x": 400, "/dnsdb/v2/lookup/rrset/ip/192.0.2.1": 400,
		"/dnsdb/v2/lookup/rrset/name/x/NONSENSE": 400, "/dnsdb/v2/lookup/rrset/name/x?limit=-1": 400, "/dnsdb/v2/lookup/rrset/raw/zz": 400,
		"/dnsdb/v2/lookup/rrset/name/x?time_first_after=now": 400, "/dnsdb/v2/summarize/rrset/name/x": 404, "/nothing": 404,
	} {
		if code, body := get(t, url+path, ""); code != want {
			t.Errorf("%s: %d, want %d: %s", path, code, want, body)
		}
	}
	// A page that lets its own name point here learns nothing.
	for host, want := range map[string]int{"evil.example": 421, "localhost:1": 200, "192.0.2.1": 421} {
		if code, _ := get(t, url+"/dnsdb/v2/ping", host); code != want {
			t.Errorf("host %s: %d, want %d", host, code, want)
		}
	}
}

// Debian's client of DNSDB.
func TestDnsdbq(t *testing.T) {
	testkit.NeedPrograms(t, "dnsdbq")
	url := "http://" + serve(t, "127.0.0.1:0", records...).Addr().String()
	for arguments, want := range map[string]string{
		"-r www.example.test/A":                         "www.example.test.  A  192.0.2.81; www.example.test.  A  192.0.2.80",
		"-r *.example.test/MX":                          "mail.example.test.  MX  10 mx.example.net.",
		"-r www.example.*/A/test":                       "www.example.test.  A  192.0.2.81; www.example.test.  A  192.0.2.80",
		"-n ns1.example.net":                            "example.test.  NS  ns1.example.net.",
		"-n *.example.net/NS":                           "example.test.  NS  ns1.example.net.",
		"-i 192.0.2.80":                                 "www.example.test.  A  192.0.2.80",
		"-i 192.0.2.80/31 -O 1":                         "www.example.test.  A  192.0.2.80",
		"-i 2001:db8::/32":                              "v6.example.test.  AAAA  2001:db8::1",
		"-R 047465737400":                               "",
		"-r *.example.test -l 1":                        `q\"x.example.test.  TXT  "a\"b"`,
		"-r www.example.test/A -A 2026-03-01_00:30:00":  "www.example.test.  A  192.0.2.81",
		"-r www.example.test/A -B 2026-03-01_00:30:00":  "www.example.test.  A  192.0.2.80",
		"-r www.example.test/A -cB 2026-02-28_00:30:00": "",
	} {
		list := strings.Fields(arguments)
		for i := range list {
			list[i] = strings.ReplaceAll(list[i], "_", " ")
		}
		cmd := exec.CommandContext(t.Context(), "dnsdbq", append(list, "-p", "dns")...)
		cmd.Env = []string{"DNSDB_SERVER=" + url, "DNSDB_API_KEY=none", "HOME=" + t.TempDir()}
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("%s: %v %s", arguments, err, stderr.String())
			continue
		}
		var got []string
		for line := range strings.Lines(string(out)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, ";") {
				got = append(got, line)
			}
		}
		if text := strings.Join(got, "; "); text != want {
			t.Errorf("%s: %q, want %q; %s", arguments, text, want, stderr.String())
		}
	}
	cmd := exec.CommandContext(t.Context(), "dnsdbq", "-I")
	cmd.Env = []string{"DNSDB_SERVER=" + url, "DNSDB_API_KEY=none"}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "unlimited") {
		t.Errorf("%s %v", out, err)
	}
}
