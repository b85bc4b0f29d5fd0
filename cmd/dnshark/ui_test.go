package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

// A browser uses the pages of a dnshark that captures: ui/test/ui.mjs says what must be seen.
// DNSHARK_SCREENSHOTS=1 makes the pictures of docs/images anew.
func TestLivePages(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.NeedPrograms(t, "node", "chromium", "dig", "dnsmasq", "dnsperf", "named")
	const modules = "/usr/local/lib/dnshark-tests/playwright"
	if _, err := os.Stat(modules); err != nil {
		testkit.Unable(t, "Playwright is not installed (scripts/install-test-deps.sh does it)")
	}
	root, dir := testkit.Root(t), t.TempDir()
	yesterday := filepath.Join(dir, "yesterday.pcap")
	hostile := writeYesterday(t, yesterday)
	store := filepath.Join(dir, "store")
	if out, err := exec.Command(testkit.Dnshark(t), "read", "-q", "-o", "none", "--store", store, yesterday).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	const zone = "all.test"
	host, authority := testkit.NewHost(t), testkit.NewHost(t)
	host.Dnsmasq("127.0.0.1")
	authority.Named("127.0.0.1", zone, filepath.Join(root, "testdata", "zone", zone+".zone"))
	names := filepath.Join(dir, "names")
	if err := os.WriteFile(names, []byte("www.example.test A\napi.example.test A\napi.example.test AAAA\ncdn.example.test A\nregistry.example.test A\noauth.example.test A\nqueue.example.test A\nwww.example.test AAAA\nmissing.test A\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const listen = "127.0.0.1:28054"
	d := testkit.Start(t, exec.Command(testkit.Dnshark(t), "serve", "--listen", listen, "--server", "127.0.0.1", "--store", store))
	testkit.Eventually(t, 60*time.Second, "dnshark to serve", func() bool {
		return d.Ended() || strings.Contains(d.Output.String(), "serving")
	})
	if d.Ended() {
		t.Fatalf("dnshark ended: %s", d.Output)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	command := func(h *testkit.Host, name string, args ...string) string {
		return strings.Join(h.Command(name, args...).Args, " ")
	}
	browser := exec.CommandContext(ctx, "node", filepath.Join(root, "ui", "test", "ui.mjs"))
	browser.Env = append(os.Environ(), "BASE=http://"+listen, "MODULES="+modules, "PROFILE="+filepath.Join(dir, "profile"), "HOSTILE="+hostile,
		"DIG="+command(host, "dig", "+tries=2", "@127.0.0.1"), "TRANSFER="+command(authority, "dig", "@127.0.0.1", zone, "AXFR"),
		"LOAD="+command(host, "dnsperf", "-s", "127.0.0.1", "-d", names, "-l", "10", "-Q", "1000"))
	if os.Getenv("DNSHARK_SCREENSHOTS") != "" {
		browser.Env = append(browser.Env, "SCREENSHOTS="+filepath.Join(root, "docs", "images"))
	}
	out, err := browser.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Errorf("%v; dnshark said: %s", err, d.Output)
	}
}

// writeYesterday makes a capture of the day before, with names that want to be more than
// text. It returns where they are to be seen and as what, in JSON.
func writeYesterday(t *testing.T, path string) string {
	t.Helper()
	capture := newCapture(t, path)
	names := []string{`www.example.test.`, `<script>alert(1)<\047script>.hostile.test.`, `"onload="alert(1).hostile.test.`, `\226\128\174gpj.hostile.test.`, `\027[2J\000.hostile.test.`, `{{7*7}}.hostile.test.`}
	for i, name := range names {
		// As on the wire: what a master file has for these octets.
		q := new(dns.Msg)
		q.SetQuestion(name, dns.TypeA)
		q.Id = uint16(i)
		a := new(dns.Msg)
		a.SetReply(q)
		a.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: []byte{192, 0, 2, 7}}}
		at := time.Now().Add(-24 * time.Hour)
		for _, m := range []*dns.Msg{q, a} {
			capture.add(at, netip.MustParseAddrPort(fmt.Sprintf("192.0.2.10:%d", 4000+i)), m)
		}
	}
	out, err := json.Marshal([][2]string{
		{"/ip/192.0.2.7", `<script>alert\(1\)</script>.hostile.test`}, {"/ip/192.0.2.7", `\226\128\174gpj.hostile.test`}, {"/ip/192.0.2.7", `onload=`},
		{"/ip/192.0.2.7", `{{7*7}}.hostile.test`}, {"/search?q=*.hostile.test", `\027[2j\000.hostile.test`},
		{"/name/%3Cscript%3Ealert(1)%3C%2Fscript%3E", `<script>alert(1)</script>`},
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
