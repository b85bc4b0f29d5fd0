package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

// alert waits for the first alert of a threat at medium severity or above, and returns
// it and how many answers its client had before.
func (a *agent) alert(threat string) (alert seen, answers int) {
	a.t.Helper()
	testkit.Eventually(a.t, 20*time.Second, "an alert "+threat, func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		i := slices.IndexFunc(a.events, func(s seen) bool {
			return s.Event == threat && slices.Contains([]string{"medium", "high", "critical"}, s.Alert.Severity)
		})
		if i < 0 {
			return false
		}
		alert, answers = a.events[i], 0
		for _, s := range a.events[:i] {
			if s.Event == "net_packet_dns_response" && s.Metadata.DstIP.String() == alert.Alert.Src {
				answers++
			}
		}
		return true
	})
	return alert, answers
}

// expectAlert wants the alert within 100 queries, and by whom it was.
func (a *agent) expectAlert(threat, comm string) {
	a.t.Helper()
	s, answers := a.alert(threat)
	if s.Process == nil || s.Process.Comm != comm {
		a.t.Errorf("%s: process %+v, want %s", threat, s.Process, comm)
	}
	if answers > 100 {
		a.t.Errorf("%s: after %d answers, want at most 100", threat, answers)
	}
	a.t.Logf("%s/%s, %s, after %d answers, by %s", threat, s.Alert.Kind, s.Alert.Severity, answers, comm)
}

// Somebody who is no secondary copies a zone from a real server.
func TestLiveAlertTransfer(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.NeedPrograms(t, "dig", "named")
	const zone = "all.test"
	host := testkit.NewHost(t)
	host.Named("127.0.0.1", zone, filepath.Join(testkit.Root(t), "testdata", "zone", zone+".zone"))
	a := startAgent(t)
	host.Run("dig", "@127.0.0.1", zone, "AXFR")
	a.expectAlert("dns_zone_transfer", "dig")
}

// tunnelEnds are two hosts with a cable between them.
func tunnelEnds(t *testing.T) (client, server *testkit.Host) {
	client, server = testkit.NewHost(t), testkit.NewHost(t)
	client.Connect("c0", []string{"198.51.100.1/24"}, server, "s0", []string{"198.51.100.2/24"})
	return client, server
}

// A real tunnel carries packets in TXT records.
func TestLiveAlertIodine(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.NeedPrograms(t, "iodine", "iodined", "ping")
	for _, kind := range []string{"TXT", "NULL"} {
		client, server := tunnelEnds(t)
		iodined := testkit.Start(t, server.Command("iodined", "-f", "-c", "-P", "secret", "-l", "198.51.100.2", "10.99.0.1", "t.tunnel.example"))
		a := startAgent(t)
		iodine := testkit.Start(t, client.Command("iodine", "-f", "-P", "secret", "-r", "-T", kind, "198.51.100.2", "t.tunnel.example"))
		testkit.Eventually(t, 30*time.Second, "the tunnel", func() bool {
			return iodine.Ended() || client.Command("ping", "-c", "1", "-W", "1", "10.99.0.1").Run() == nil
		})
		if iodine.Ended() {
			t.Fatalf("iodine ended: %s; %s", iodine.Output, iodined.Output)
		}
		client.Run("ping", "-c", "20", "-i", "0.05", "-s", "900", "10.99.0.1")
		a.expectAlert("dns_tunnel", "iodine")
		for _, d := range []*testkit.Daemon{iodine, iodined, a.Daemon} {
			if err := d.Stop(t); err != nil && d == a.Daemon {
				t.Errorf("%v: %s", err, d.Output)
			}
		}
	}
}

// Another carries a TCP connection in KEY and TXT records.
func TestLiveAlertDNS2TCP(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.NeedPrograms(t, "dns2tcpc", "dns2tcpd", "python3", "curl")
	client, server := tunnelEnds(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), make([]byte, 20_000), 0o644); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "dns2tcpd.conf")
	text := "listen = 198.51.100.2\nport = 53\nuser = root\nchroot = /\ndomain = b.tunnel.example\nkey = secret\nresources = web:127.0.0.1:8080\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	web := server.Command("python3", "-m", "http.server", "--bind", "127.0.0.1", "8080")
	web.Dir = dir
	testkit.Start(t, web)
	testkit.Start(t, server.Command("dns2tcpd", "-F", "-f", conf))
	a := startAgent(t)
	for i, kind := range []string{"KEY", "TXT"} {
		port := fmt.Sprint(9990 + i)
		testkit.Start(t, client.Command("dns2tcpc", "-c", "-T", kind, "-z", "b.tunnel.example", "-k", "secret", "-r", "web", "-l", port, "198.51.100.2"))
		var out []byte
		testkit.Eventually(t, 20*time.Second, "a page through the tunnel", func() bool {
			get := client.Command("curl", "-s", "-m", "10", "-o", "/dev/null", "-w", "%{size_download}", "http://127.0.0.1:"+port+"/file")
			var err error
			out, err = get.Output()
			return err == nil && string(out) == "20000"
		})
	}
	a.expectAlert("dns_tunnel", "dns2tcpc")
}
