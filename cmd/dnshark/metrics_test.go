package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

func scrape(t *testing.T, url string) string {
	t.Helper()
	client := &http.Client{Timeout: 5 * time.Second}
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatal(err, response.Status, string(body))
	}
	return string(body)
}

// Metrics tell what was asked and answered, that nothing is missing, and what became
// of the events of each output.
func TestLiveMetrics(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.NeedPrograms(t, "dig", "dnsmasq", "ip")
	host := testkit.NewHost(t)
	host.Dnsmasq("127.0.0.1")
	const address = "127.0.0.1:29553"
	var received atomic.Int64
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		for in := json.NewDecoder(r.Body); ; received.Add(1) {
			var e struct {
				ID string `json:"event_id"`
			}
			if err := in.Decode(&e); err != nil {
				return
			}
			if !strings.Contains(e.ID, "-hook-") {
				t.Errorf("event_id %q", e.ID)
			}
		}
	}))
	defer hook.Close()
	a := startAgent(t, "--metrics", address, "-o", hook.URL+"/?name=hook")
	for range 3 {
		if out, err := host.Command("dig", "@127.0.0.1", "metrics.example.test", "MX").CombinedOutput(); err != nil {
			t.Fatalf("dig: %v: %s", err, out)
		}
	}
	var text string
	testkit.Eventually(t, 5*time.Second, "the queries to be counted", func() bool {
		text = scrape(t, "http://"+address+"/metrics")
		return strings.Contains(text, `dnshark_queries_total{type="MX"} 3`)
	})
	for _, want := range []string{`dnshark_responses_total{rcode=`, `dnshark_unaccounted{step="packets"} 0`, `dnshark_unaccounted{step="events"} 0`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	testkit.Eventually(t, 5*time.Second, "the events to be delivered", func() bool {
		text = scrape(t, "http://"+address+"/metrics")
		return received.Load() >= 3 && strings.Contains(text, fmt.Sprintf(`dnshark_output_events_total{outcome="delivered",output="hook"} %d`, received.Load()))
	})
	for _, want := range []string{`dnshark_output_up{output="hook"} 1`, `dnshark_unaccounted{step="output hook"} 0`, `dnshark_output_info{format="json",output="1",target="standard output"} 1`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	scrape(t, "http://"+address+"/healthz")
	if a.Ended() {
		t.Error(a.Output)
	}
}

// The dashboard asks only for metrics that there are.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(testkit.Root(t), "docs", "grafana.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil || len(dashboard.Panels) == 0 {
		t.Fatal(err)
	}
	known, err := os.ReadFile(filepath.Join(testkit.Root(t), "internal", "metrics", "server.go"))
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`dnshark_[a-z_]+`)
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			for _, metric := range name.FindAllString(target.Expr, -1) {
				if metric = strings.TrimSuffix(metric, "_bucket"); !strings.Contains(string(known), `"`+metric+`"`) {
					t.Errorf("%s: there is no %s", p.Title, metric)
				}
			}
		}
	}
}
