package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
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

// Metrics tell what was asked and answered, and that nothing is missing.
func TestLiveMetrics(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.NeedPrograms(t, "dig", "dnsmasq", "ip")
	host := testkit.NewHost(t)
	host.Dnsmasq("127.0.0.1")
	const address = "127.0.0.1:29553"
	a := startAgent(t, "--metrics", address)
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
