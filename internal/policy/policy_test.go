package policy

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/filter"
	"github.com/dnshark-io/dnshark/internal/kind"
)

// response is an answer to a question of comm's.
func response(b *event.Batch, comm string, rcode dnswire.RCode) {
	raw := []byte{0, 7, 0x81, 0x80 | byte(rcode), 0, 1, 0, 0, 0, 0, 0, 0, 7, 'e', 'x', 'a', 'm', 'p', 'l', 'e', 0, 0, 1, 0, 1}
	e := b.Next()
	e.Observer = event.Client
	e.Asker.ID = &event.Identity{TGID: 1, UID: 1000}
	copy(e.Asker.ID.Comm[:], comm)
	e.Meta.SrcPort = 53
	e.Msg.Unpack(b.Hold(raw))
}

func parse(t *testing.T, text string) *Set {
	t.Helper()
	policies, _, err := read("p.yaml", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return &Set{Policies: policies}
}

const two = `
name: curl
where: process.comm == "curl"
rules:
  - event: net_packet_dns_response
    filter: dns.rcode == "NXDOMAIN"
  - event: net_packet_dns
---
name: failures
rules:
  - event: net_packet_dns_response
    filter: dns.rcode != "NOERROR"
    actions: [log]
`

func TestStage(t *testing.T) {
	set := parse(t, two)
	marker := kind.NewMarker(kind.Within(set.Kinds().Needs()))
	stage := NewStage(set)
	run := func() []event.Event {
		b := &event.Batch{}
		response(b, "curl", dnswire.RCodeNXDomain)
		response(b, "curl", dnswire.RCodeNoError)
		response(b, "dig", dnswire.RCodeServFail)
		response(b, "dig", dnswire.RCodeNoError)
		marker.Process(b)
		stage.Process(b)
		return b.Events
	}
	names := func(s kind.Set) (names []string) {
		for i, k := range kind.Catalogue {
			if s.Has(i) {
				names = append(names, k.Name)
			}
		}
		return names
	}
	for i, want := range []struct{ kinds, policies string }{
		{"net_packet_dns_response net_packet_dns", "curl failures"},
		{"net_packet_dns", "curl"},
		{"net_packet_dns_response", "failures"},
		{"", ""},
	} {
		e := run()[i]
		if got := strings.Join(names(kind.Set(e.Kinds)), " "); got != want.kinds || strings.Join(e.Policies, " ") != want.policies {
			t.Errorf("event %d: %s by %v, want %s by %s", i, got, e.Policies, want.kinds, want.policies)
		}
	}
	if stage.Dropped != 4 {
		t.Errorf("%d observations that nobody wants, want one in each of 4 runs", stage.Dropped)
	}
	// New policies hold from the next batch on.
	stage.Use(parse(t, "name: all\nrules: [{event: net_packet_dns_response}]\n"))
	for i, e := range run() {
		if e.Kinds != 1 || len(e.Policies) != 1 || e.Policies[0] != "all" {
			t.Errorf("event %d: %v by %v", i, names(kind.Set(e.Kinds)), e.Policies)
		}
	}
	b := &event.Batch{}
	response(b, "curl", dnswire.RCodeNXDomain)
	if n := testing.AllocsPerRun(100, func() { marker.Process(b); stage.Process(b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Policies of Tracee's that name our events load as they are.
func TestTracee(t *testing.T) {
	for name, text := range map[string]string{
		"kubernetes": `
apiVersion: tracee.aquasec.com/v1beta1
kind: Policy
metadata:
  name: dns-by-shells
  annotations:
    description: what shells ask for
spec:
  scope:
    - comm=bash,sh
    - uid!=0
  defaultActions:
    - log
  rules:
    - event: net_packet_dns_response
      filters:
        - data.src_port=53
        - scope.pid>1
        - data.dns_response.query_data.query=*.example.com,example*
`,
		"plain": `
name: dns-by-shells
description: what shells ask for
scope:
  - comm=bash,sh
  - uid!=0
defaultActions:
  - log
rules:
  - event: net_packet_dns_response
    filters:
      - args.src_port=53
      - pid>1
      - data.dns_response.query_data.query=*.example.com,example*
`,
	} {
		set := parse(t, text)
		p := set.Policies[0]
		if p.Name != "dns-by-shells" || p.Description != "what shells ask for" || len(p.Rules) != 1 {
			t.Errorf("%s: %+v", name, p)
		}
		if want := `((process.comm == "bash" || process.comm == "sh")) && (process.uid != "0")`; p.Scope != want {
			t.Errorf("%s: scope %s, want %s", name, p.Scope, want)
		}
		marker := kind.NewMarker(set.Kinds())
		stage := NewStage(set)
		b := &event.Batch{}
		response(b, "bash", 0)
		response(b, "curl", 0)
		b.Events[0].Asker.ID.TGID = 2
		marker.Process(b)
		stage.Process(b)
		if b.Events[0].Kinds == 0 || b.Events[1].Kinds != 0 {
			t.Errorf("%s: kinds %b and %b", name, b.Events[0].Kinds, b.Events[1].Kinds)
		}
	}
}

// Policies as Tracee's documentation has them, of all its times.
func TestTraceePolicies(t *testing.T) {
	for _, head := range []string{
		"apiVersion: tracee.aquasec.com/v1beta1\nkind: Policy", "apiVersion: aquasecurity.github.io/v1beta1\nkind: TraceePolicy",
	} {
		set := parse(t, head+`
metadata:
  name: dns-by-bash
  annotations:
    description: what bash and its children ask for
spec:
  scope:
    - comm=bash
    - follow
  defaultActions:
    - log
  rules:
    - event: net_packet_dns*
      filters:
        - scope.processName!=dig
        - retval=0
        - data.src_port=53
    - event: net_packet_dns_response
`)
		p := set.Policies[0]
		if want := `(process.comm == "bash" || process.ancestors.comm == "bash")`; p.Name != "dns-by-bash" || p.Scope != want {
			t.Errorf("%+v", p)
		}
		if want := `(process.comm != "dig") && (metadata.src_port == "53")`; len(p.Rules) < 4 || p.Rules[0].When != want {
			t.Errorf("%+v", p.Rules)
		}
	}
}

func TestTranslate(t *testing.T) {
	for text, want := range map[string]string{
		"global": "", "comm=curl": `process.comm == "curl"`, "comm!=curl,wget": `(process.comm != "curl" && process.comm != "wget")`,
		"uid>=1000": `process.uid >= "1000"`, "exec=/usr/*": `process.exe.begins("/usr/")`, "exec!=*curl": `!process.exe.ends("curl")`,
		"exec=*bin*": `process.exe.contains("bin")`, "tree=1": `(process.pid == "1" || process.ancestors.pid == "1")`,
		`comm=a"b`: `process.comm == "a\"b"`, "uts=web1": `host == "web1"`,
		"c": `process.container.id.exists()`, "not-container": `!process.container.id.exists()`, "u=1": `process.uid == "1"`,
		"container=ab,cd": `(process.container.id.begins("ab") || process.container.id.begins("cd"))`,
		"container!=ab*":  `!process.container.id.begins("ab")`, "containerId=ab": `process.container.id == "ab"`,
		"binary=/usr/bin/ls": `process.exe == "/usr/bin/ls"`, "follow": "",
		"pid=new": `process.start_time >= "` + began.UTC().Format(time.RFC3339Nano) + `"`,
	} {
		got, why := Scope(text, false)
		if got != want || why != "" {
			t.Errorf("%s: %s, want %s (%s)", text, got, want, why)
		}
	}
	for text, want := range map[string]string{
		"comm=a,b": `((process.comm == "a" || process.comm == "b") || (process.ancestors.comm == "a" || process.ancestors.comm == "b"))`,
		"pid=7":    `(process.pid == "7" || process.ancestors.pid == "7")`, "uid=7": `process.uid == "7"`, "comm!=a": `process.comm != "a"`,
		"exec=/bin/*": `(process.exe.begins("/bin/") || process.ancestors.exe.begins("/bin/"))`,
	} {
		got, why := Scope(text, true)
		if got != want || why != "" {
			t.Errorf("follow, %s: %s, want %s (%s)", text, got, want, why)
		}
	}
	for text, want := range map[string]string{
		"scope.container": `process.container.id.exists()`, "scope.processName=ls": `process.comm == "ls"`,
		"retval=0": "", "retval!=0": never, "retval<0": never, "retval>=-1": "", "retval=1,0": "", "retval!=1,2": "",
		"data.dst_port=53,5353":         `(metadata.dst_port == "53" || metadata.dst_port == "5353")`,
		"data.metadata.src_ip!=1.1.1.1": `metadata.src_ip != "1.1.1.1"`,
		"data.src=10.0.0.0/8":           `metadata.src_ip in "10.0.0.0/8"`,
		"dns.rcode=NXDOMAIN":            `dns.rcode == "NXDOMAIN"`,
	} {
		got, why := Data(text)
		if got != want || why != "" {
			t.Errorf("%s: %s, want %s (%s)", text, got, want, why)
		}
	}
	for text, want := range map[string]string{
		"nonsense": `unknown scope "nonsense"`, "colour=red": `unknown scope "colour"`, "uid=x": `process.uid is a number`, "comm=": `a value is missing`, "comm=*": `a star alone`,
		"container=new": "when a container was made", "mntns=1": "the mount namespace", "exec=host:/bin/ls": "write the path alone", "pid>new": "pid=new, or",
	} {
		if _, why := Scope(text, false); !strings.HasPrefix(why, want) && !strings.Contains(why, want) {
			t.Errorf("%s: %q, want %q", text, why, want)
		}
	}
}

// Many conditions hold together, and = on one field means any of them.
func TestConditions(t *testing.T) {
	text := "name: x\nscope: [comm=curl, uid=1000, comm=bash]\nrules:\n  - event: net_packet_dns_response\n    filters:\n"
	for i := range 200 {
		text += fmt.Sprintf("      - data.dst_port!=%d\n", i+1)
	}
	set := parse(t, text)
	if want := `(process.comm == "curl" || process.comm == "bash") && (process.uid == "1000")`; set.Policies[0].Scope != want {
		t.Errorf("scope %s, want %s", set.Policies[0].Scope, want)
	}
	marker := kind.NewMarker(set.Kinds())
	stage := NewStage(set)
	b := &event.Batch{}
	response(b, "bash", 0)
	response(b, "dig", 0)
	b.Events[0].Meta.DstPort, b.Events[1].Meta.DstPort = 40000, 40000
	marker.Process(b)
	stage.Process(b)
	if b.Events[0].Kinds == 0 || b.Events[1].Kinds != 0 {
		t.Errorf("kinds %b and %b", b.Events[0].Kinds, b.Events[1].Kinds)
	}
	long := "name: x\nrules:\n  - event: default\n    filters:\n" + strings.Repeat("      - data.dst_port!=1\n", 4000)
	if _, _, err := read("p.yaml", strings.NewReader(long)); err == nil || !strings.Contains(err.Error(), "all conditions together") {
		t.Error(err)
	}
}

// Whatever is wrong is told with line and column.
func TestWrong(t *testing.T) {
	for text, want := range map[string]string{
		"name: x\nrules:\n  - event: net_packet_dns_respons\n":                                    `p.yaml:3:12: unknown event or set "net_packet_dns_respons"; did you mean`,
		"name: x\nrules:\n  - event: default\n    filter: dns.rcod == 1\n":                        `p.yaml:4:13: column 1: there is no field "dns.rcod"; did you mean dns.rcode? in dns.rcod == 1`,
		"name: x\nrules:\n  - event: default\n    filter: dns.id == 1 && dns.rcode == \"NOPE\"\n": `p.yaml:4:41: column 29: dns.rcode has no value "NOPE"`,
		"name: x\nrule: []\n":                                       `p.yaml:2:1: unknown key "rule"; keys are alerts, defaultActions, description, name, rules, scope, where`,
		"name: x\nrules: [{event: -default}]\n":                     `p.yaml:2:17: a rule names the event`,
		"rules: [{event: default}]\n":                               `p.yaml:1:1: a policy needs a name`,
		"name: x\n":                                                 `p.yaml:1:1: policy x has no rules`,
		"name: x\nrules: [{filter: dns.aa}]\n":                      `p.yaml:2:9: a rule needs an event`,
		"name: x\nrules: [{event: default, actions: [kill]}]\n":     `p.yaml:2:36: unknown action "kill"`,
		"name: x\nscope: [colour=red]\nrules: [{event: default}]\n": `p.yaml:2:9: unknown scope "colour"`,
		"name: [x\n":                     `p.yaml: line 1: did not find expected`,
		"- a\n":                          `p.yaml:1:1: want keys and values`,
		"apiVersion: v1\nkind: Policy\n": `p.yaml:1:13: unknown apiVersion "v1"`,
		"name: " + strings.Repeat("x", 70) + "\nrules: [{event: default}]\n": `p.yaml:1:1: the name of a policy has at most 64 octets`,
	} {
		_, _, err := read("p.yaml", strings.NewReader(text))
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s\n got %v\nwant %s", text, err, want)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if _, err := Load([]string{dir}); err == nil || !strings.HasSuffix(err.Error(), "no policy in there") {
		t.Error(err)
	}
	a := write("a.yaml", two)
	write("notes.txt", "no policy")
	if set, err := Load([]string{dir}); err != nil || len(set.Policies) != 2 {
		t.Error(set, err)
	}
	if _, err := Load([]string{dir, a}); err == nil || !strings.Contains(err.Error(), "two policies called curl") {
		t.Error(err)
	}
	write("b.yml", "name: [\n")
	if _, err := Load([]string{dir}); err == nil || !strings.Contains(err.Error(), "b.yml") {
		t.Error(err)
	}
}

// Nothing matches what never holds.
func TestNever(t *testing.T) {
	f, err := filter.Parse(never)
	if err != nil {
		t.Fatal(err)
	}
	b := &event.Batch{}
	response(b, "x", 0)
	if f.Match(&b.Events[0]) || f.Match(&event.Event{}) {
		t.Error("it holds")
	}
}

func FuzzPolicy(f *testing.F) {
	f.Add(two)
	f.Add("apiVersion: tracee.aquasec.com/v1beta1\nkind: Policy\nmetadata: {name: x}\nspec: {scope: [global], rules: [{event: net_packet_dns_response, filters: [data.src=1.1.1.1]}]}\n")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "file") {
			return
		}
		policies, _, err := read("p", strings.NewReader(text))
		if err == nil {
			(&Set{Policies: policies}).compile()
		}
	})
}
