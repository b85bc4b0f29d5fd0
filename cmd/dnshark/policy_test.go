package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/internal/kind"
	"github.com/dnshark-io/dnshark/internal/policy"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

// Policies are read again when their files change; bad ones leave the old ones in
// place.
func TestLivePolicyReload(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.NeedPrograms(t, "dig", "dnsmasq", "ip")
	host := testkit.NewHost(t)
	host.Dnsmasq("127.0.0.1")
	dir := filepath.Join(t.TempDir(), "policies")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for d := filepath.Dir(dir); d != os.TempDir(); d = filepath.Dir(d) { // dnshark runs as another user
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write := func(filter string) {
		text := "name: p\nrules:\n  - event: net_packet_dns_response\n    filter: " + filter + "\n"
		// As editors do it: a new file takes the place of the old one.
		path := filepath.Join(dir, "p.yaml")
		if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	dig := func(name string) {
		if out, err := host.Command("dig", "@127.0.0.1", name).CombinedOutput(); err != nil {
			t.Fatalf("dig: %v: %s", err, out)
		}
	}
	write(`qname.under("one.example.test")`)
	a := startAgent(t, "--policy", dir)
	dig("a.two.example.test")
	dig("a.one.example.test")
	a.one("a.one.example.test")
	if list := a.named("a.two.example.test"); len(list) != 0 {
		t.Errorf("%d events that no policy wants", len(list))
	}
	said := func(what string) {
		t.Helper()
		testkit.Eventually(t, 5*time.Second, what, func() bool { return strings.Contains(a.Output.String(), what) })
	}

	write(`qname.below("x")`)
	said("policies stay as they were: " + filepath.Join(dir, "p.yaml") + ":4:13: column 1: there is no method below")
	dig("b.one.example.test")
	a.one("b.one.example.test")

	write(`qname.under("two.example.test")`)
	said("policies read again: 1")
	dig("c.one.example.test")
	dig("c.two.example.test")
	a.one("c.two.example.test")
	if list := a.named("c.one.example.test"); len(list) != 0 {
		t.Errorf("%d events that no policy wants any more", len(list))
	}

	before := strings.Count(a.Output.String(), "policies read again")
	if err := a.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 5*time.Second, "the policies to be read after SIGHUP", func() bool {
		return strings.Count(a.Output.String(), "policies read again") > before
	})
}

// What is written beside a policy file neither puts its change off nor is taken
// for one.
func TestPolicyReloadBesideOutput(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "p.yaml")
	write := func(event string) {
		if err := os.WriteFile(path, []byte("name: p\nrules:\n  - event: "+event+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("net_packet_dns_response")
	log := filepath.Join(t.TempDir(), "log")
	said, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	reloads := func() int {
		text, _ := os.ReadFile(log)
		return strings.Count(string(text), "policies read again")
	}
	o := &options{policyPaths: []string{path}, events: []string{kind.SetDefault}}
	o.std.err = said
	if err := o.loadPolicies(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := o.watchPolicies(ctx, policy.NewStage(o.policies), o.policies.Kinds().Needs()); err != nil {
		t.Fatal(err)
	}
	output, err := os.Create(filepath.Join(dir, "events.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	busy := func(d time.Duration) {
		for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(settle / 10) {
			fmt.Fprintln(output, "{}")
		}
	}
	busy(2 * settle)
	write("net_packet_dns_response\n    filter: qname.under(\"x\")")
	busy(5 * settle)
	if n := reloads(); n != 1 {
		t.Errorf("read again %d times while the output was written", n)
	}
	time.Sleep(3 * settle)
	if n := reloads(); n != 1 {
		t.Errorf("read again %d times", n)
	}
}
