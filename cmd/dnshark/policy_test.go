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

	"github.com/spf13/pflag"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/detect"
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

	begin := time.Now()
	write(`qname.under("two.example.test")`)
	said("policies read again: 1")
	used := time.Since(begin)
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
	t.Logf("a policy with a mistake was refused by line and column and the old one went on; a good one was used after %v", used.Round(time.Millisecond))
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
	if err := o.watchPolicies(ctx, o.usePolicies(policy.NewStage(o.policies), nil, o.policies.Kinds().Needs())); err != nil {
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

// Rules of alerts are read again with the policies, on top of what the flags say. A file that
// begins to name events is refused, and so is a wrong one: then everything stays.
func TestReloadAlertRules(t *testing.T) {
	path := filepath.Join(t.TempDir(), "alerts.yaml")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	said, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	o := &options{policyPaths: []string{path}, events: []string{kind.SetAlerts}}
	o.std.err = said
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	o.alerts.add(f)
	if err := f.Parse([]string{"--alert-suppress", "client=192.0.2.66"}); err != nil {
		t.Fatal(err)
	}
	rule := func(text string) string { return "alerts: {suppress: [{" + text + "}]}\n" }
	write(rule("client: 192.0.2.67"))
	if err := o.loadPolicies(); err != nil {
		t.Fatal(err)
	}
	detection := detect.NewStage(&detect.Options{Rules: o.rules})
	rules := func() (names []string) {
		detection.Process(&event.Batch{})
		for _, c := range detection.SuppressedBy() {
			names = append(names, c.Rule)
		}
		return names
	}
	use := o.usePolicies(nil, detection, kind.NeedMessages|kind.NeedPairing|kind.NeedDetection)
	for _, step := range []struct{ text, want, says string }{
		{rule("client: 192.0.2.68"), "client=192.0.2.66 client=192.0.2.68", "read again"},
		{rule("client: nowhere"), "client=192.0.2.66 client=192.0.2.68", ":1:30: \"nowhere\" is no address"},
		{rule("client: 192.0.2.69") + "---\nname: x\nrules: [{event: net_packet_dns}]\n", "client=192.0.2.66 client=192.0.2.68", "they name events, which none did before"},
		{rule("domain: x.example"), "client=192.0.2.66 domain=x.example", "read again"},
	} {
		before, err := os.ReadFile(said.Name())
		if err != nil {
			t.Fatal(err)
		}
		write(step.text)
		o.reloadPolicies(use)
		log, err := os.ReadFile(said.Name())
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(rules(), " "); got != step.want || !strings.Contains(string(log[len(before):]), step.says) {
			t.Errorf("%s: rules %s, want %s; said %s", step.text, got, step.want, log[len(before):])
		}
	}
}
