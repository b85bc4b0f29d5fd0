package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

// What dig asks is on the stream at once, and then among the events, in the history
// and in the counters.
func TestLiveServe(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.NeedPrograms(t, "dig", "dnsmasq", "ip")
	host := testkit.NewHost(t)
	host.Dnsmasq("127.0.0.1")
	dir := t.TempDir()
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	const base = "http://127.0.0.1:28053"
	a := startAgent(t, "serve", "--listen", "127.0.0.1:28053", "--store", filepath.Join(dir, "store"))
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
	asked := time.Now()
	in := bufio.NewScanner(response.Body)
	for in.Scan() && !strings.HasPrefix(in.Text(), "data: ") {
	}
	var events []seen
	if err := json.Unmarshal([]byte(strings.TrimPrefix(in.Text(), "data: ")), &events); err != nil {
		t.Fatal(err, in.Text())
	}
	t.Logf("on the stream %v after dig ended", time.Since(asked).Round(time.Millisecond))
	if e := events[0]; len(events) != 1 || e.DNSResponse[0].QueryData.Query != name || e.Process == nil || e.Process.Comm != "dig" {
		t.Errorf("%+v", events)
	}
	api := func(path string, to any) {
		t.Helper()
		response, err := http.Get(base + "/api/v1/" + path)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil || json.Unmarshal(text, to) != nil {
			t.Fatal(err, string(text))
		}
	}
	var list struct{ Events []seen }
	testkit.Eventually(t, 30*time.Second, "the event to be kept", func() bool {
		api("events?process=dig&name="+name, &list)
		return len(list.Events) == 1
	})
	var history struct {
		Tuples []struct{ RRName, RData string }
	}
	testkit.Eventually(t, 30*time.Second, "the history", func() bool {
		api("history?q="+name, &history)
		return len(history.Tuples) == 1
	})
	if r := history.Tuples[0]; r.RRName != name || r.RData != "192.0.2.80" {
		t.Errorf("%+v", r)
	}
	var status struct {
		Capturing           bool
		Events, Subscribers int
	}
	api("status", &status)
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
