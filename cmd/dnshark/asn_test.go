package main

import (
	"errors"
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

// With a table, addresses in many networks of one autonomous system are no fast flux; those
// of many systems are, and the alert says what it counted.
func TestASNTable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flux.pcap")
	capture := newCapture(t, path)
	client := netip.MustParseAddrPort("192.0.2.7:40000")
	one, many := map[string]uint32{}, map[string]uint32{}
	for i := range 40 {
		network := fmt.Sprintf("45.%d.0.0/16", i)
		one[network], many[network] = 64496, uint32(64496+i)
		m := new(dns.Msg)
		m.SetQuestion("www.bank-login.example.", dns.TypeA)
		at := time.Date(2026, 1, 2, 3, 5*i, 0, 0, time.UTC)
		capture.add(at, client, m)
		m.Response = true
		rr, err := dns.NewRR(fmt.Sprintf("www.bank-login.example. 60 IN A 45.%d.7.9", i))
		if err != nil {
			t.Fatal(err)
		}
		m.Answer = []dns.RR{rr}
		capture.add(at.Add(time.Millisecond), client, m)
	}
	read := func(args ...string) (string, error) {
		out, err := exec.Command(testkit.Dnshark(t), append([]string{"read", "-q", "-e", "dns_c2", "-o", "json", path}, args...)...).CombinedOutput()
		return string(out), err
	}
	for _, test := range []struct {
		name, want string
		args       []string
	}{
		{"no table", `"networks_are":["/16"]`, nil},
		{"one system", "", []string{"--asn-table", testkit.ASNs(t, one)}},
		{"a system each", `"networks_are":["AS"]`, []string{"--asn-table", testkit.ASNs(t, many)}},
	} {
		out, err := read(test.args...)
		if err != nil || (out != "") != (test.want != "") || !strings.Contains(out, test.want) {
			t.Errorf("%s: %v: %s", test.name, err, out)
		}
	}
	text := filepath.Join(t.TempDir(), "text.mmdb")
	if err := os.WriteFile(text, []byte("no table"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{text, text + ".none", testkit.ASNs(t, nil)} {
		out, err := read("--asn-table", file)
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != exitUsage || !strings.Contains(out, "--asn-table: ") || !strings.Contains(out, filepath.Base(file)) {
			t.Errorf("%s: %v: %s", file, err, out)
		}
	}
}
