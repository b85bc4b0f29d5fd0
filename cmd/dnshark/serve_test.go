package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/dnshark-io/dnshark/internal/store/clickhouse"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

// startServe runs dnshark serve as nobody, with a new store, and returns where it
// answers.
func startServe(t *testing.T, args ...string) (a *agent, base string) {
	t.Helper()
	testkit.NeedRoot(t)
	dir := t.TempDir()
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	a = startAgent(t, append([]string{"serve", "--listen", "127.0.0.1:0", "--store", filepath.Join(dir, "store")}, args...)...)
	_, address, ok := strings.Cut(a.Output.String(), "serving at ")
	if !ok {
		t.Fatal(a.Output)
	}
	address, _, _ = strings.Cut(address, "\n")
	return a, "http://" + address
}

// ask reads an answer of the API.
func ask(t *testing.T, url string, to any) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || json.Unmarshal(text, to) != nil {
		t.Fatal(err, string(text))
	}
}

// What dig asks is on the stream at once, and then among the events, in the history
// and in the counters.
func TestLiveServe(t *testing.T) { checkServe(t) }

// The same, and who asked, in the tables of a fleet, whether views make the history of
// events or the server is too old for them.
func TestLiveServeClickHouse(t *testing.T) {
	t.Setenv("CLICKHOUSE_PASSWORD", testkit.ClickHousePassword)
	for name, d := range map[string]clickhouse.DDL{"old": {Plain: true}, "today": {EventDays: 30, HistoryDays: 30}} {
		t.Run(name, func(t *testing.T) {
			testkit.NeedRoot(t)
			start := testkit.StartClickHouseToday
			if d.Plain {
				start = testkit.StartClickHouse
			}
			server := start(t)
			var ddl strings.Builder
			if err := d.Print(&ddl); err != nil {
				t.Fatal(err)
			}
			server.Run(ddl.String())
			checkServe(t, "--store", "clickhouse://agent:${CLICKHOUSE_PASSWORD}@"+server.Address+"/default")
		})
	}
}

func checkServe(t *testing.T, args ...string) {
	testkit.NeedRoot(t)
	testkit.NeedPrograms(t, "dig", "dnsmasq", "ip")
	host := testkit.NewHost(t)
	host.Dnsmasq("127.0.0.1")
	a, base := startServe(t, args...)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", base+"/api/v1/stream?filter="+`qname.under("live.example.test")`, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	const name = "dig.live.example.test"
	for _, q := range []string{"other.example.test", name} {
		if out, err := host.Command("dig", "@127.0.0.1", q).CombinedOutput(); err != nil {
			t.Fatalf("dig: %v: %s", err, out)
		}
	}
	digged := time.Now()
	in := bufio.NewScanner(response.Body)
	for in.Scan() && !strings.HasPrefix(in.Text(), "data: ") {
	}
	var events []seen
	if err := json.Unmarshal([]byte(strings.TrimPrefix(in.Text(), "data: ")), &events); err != nil {
		t.Fatal(err, in.Text())
	}
	t.Logf("on the stream %v after dig ended", time.Since(digged).Round(time.Millisecond))
	if e := events[0]; len(events) != 1 || e.DNSResponse[0].QueryData.Query != name || e.Process == nil || e.Process.Comm != "dig" {
		t.Errorf("%+v", events)
	}
	var list struct{ Events []seen }
	testkit.Eventually(t, 30*time.Second, "the event to be kept", func() bool {
		ask(t, base+"/api/v1/events?process=dig&name="+name, &list)
		return len(list.Events) == 1
	})
	var asked struct {
		Rows []struct {
			Process string
			Count   int
		}
	}
	ask(t, base+"/api/v1/asked?name="+name, &asked)
	if len(asked.Rows) != 1 || asked.Rows[0].Process != "dig" || asked.Rows[0].Count != 1 {
		t.Errorf("%+v", asked)
	}
	var alerts struct{ Events []seen }
	if ask(t, base+"/api/v1/alerts", &alerts); alerts.Events == nil || len(alerts.Events) > 0 {
		t.Errorf("%+v", alerts)
	}
	var history struct {
		Tuples []struct {
			RRName, RData string
			Count         int
		}
	}
	testkit.Eventually(t, 30*time.Second, "the history", func() bool {
		ask(t, base+"/api/v1/history?q="+name, &history)
		return len(history.Tuples) == 1
	})
	if r := history.Tuples[0]; r.RRName != name || r.RData != "192.0.2.80" || r.Count != 1 {
		t.Errorf("%+v", r)
	}
	var status struct {
		Capturing           bool
		Events, Subscribers int
	}
	ask(t, base+"/api/v1/status", &status)
	if !status.Capturing || status.Events < 2 || status.Subscribers != 1 {
		t.Errorf("%+v", status)
	}
	if text := scrape(t, base+"/metrics"); !strings.Contains(text, `dnshark_queries_total{type="A"}`) {
		t.Error(text)
	}
	if err := a.Stop(t); err != nil {
		t.Error(err, a.Output)
	}
}

// Questions and readers of the web, however many and however slow, cost no packet and
// no event.
func TestLiveServeUnderLoad(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.NeedPrograms(t, "dnsmasq", "ip")
	const server = "127.53.0.53"
	testkit.Machine(t).Dnsmasq(server)
	a, base := startServe(t)
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 0}, Timeout: time.Minute}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer func() { cancel(); wg.Wait(); client.CloseIdleConnections() }()
	var streams, asked, refused atomic.Int64
	get := func(path string) *http.Response {
		r, err := http.NewRequestWithContext(ctx, "GET", base+path, nil)
		if err != nil {
			t.Error(err)
			return nil
		}
		response, err := client.Do(r)
		if err != nil && ctx.Err() == nil {
			t.Error(err)
		}
		return response
	}
	for range 100 {
		// Each has a stream that it does not read, and asks for much.
		wg.Go(func() {
			if r := get("/api/v1/stream"); r != nil {
				defer r.Body.Close()
				if r.StatusCode == http.StatusOK {
					streams.Add(1)
				}
			}
			for i := 0; ctx.Err() == nil; i++ {
				path := []string{"/api/v1/history?q=*.test&limit=10000", "/query/0.0.0.0/0", "/api/v1/events?name=*.test&limit=1000", "/api/v1/top/names?since=1970-01-01&limit=10000"}[i%4]
				r := get(path)
				if r == nil {
					return
				}
				io.Copy(io.Discard, r.Body)
				r.Body.Close()
				switch r.StatusCode {
				case http.StatusOK:
					asked.Add(1)
				case http.StatusServiceUnavailable:
					refused.Add(1)
					time.Sleep(10 * time.Millisecond)
				default:
					t.Errorf("%s: %s", path, r.Status)
				}
			}
		})
	}
	testkit.Eventually(t, 30*time.Second, "streams and questions", func() bool { return streams.Load() >= 64 && asked.Load() > 8 })
	const n = 2000
	for i := range n {
		m := new(dns.Msg)
		m.SetQuestion(fmt.Sprintf("load-%d.example.test.", i), dns.TypeA)
		// On a busy machine an answer may take long, but some comes.
		err := errors.New("never asked")
		for try := 0; err != nil && try < 10; try++ {
			_, _, err = (&dns.Client{Timeout: 3 * time.Second}).Exchange(m, server+":53")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	wg.Wait()
	var status struct {
		Events, Lost int
		Subscribers  int
	}
	testkit.Eventually(t, 30*time.Second, "all events", func() bool {
		ask(t, base+"/api/v1/status", &status)
		return status.Events >= n && status.Subscribers == 0
	})
	t.Logf("%d streams, %d questions answered and %d refused beside %d events, %d lost", streams.Load(), asked.Load(), refused.Load(), status.Events, status.Lost)
	if status.Lost > 0 {
		t.Errorf("%+v", status)
	}
	if err := a.Stop(t); err != nil {
		t.Error(err, a.Output)
	}
	for _, want := range []string{"events: ", "history: ", "output serve: "} {
		_, text, ok := strings.Cut(a.Output.String(), "dnshark: "+want)
		if text, _, _ = strings.Cut(text, "\n"); !ok || !strings.HasSuffix(text, "; 0 unaccounted") || strings.Contains(text, "overflow") || strings.Contains(text, "dropped") {
			t.Errorf("%s%s", want, text)
		}
	}
}
