package main

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/kind"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

// block is a fenced block of a document.
type block struct {
	page string
	line int
	info string // what stands behind the fence
	text string
}

// blocks returns the fenced blocks of a document, in order. Commands stand in
// fences, so that none escapes the test: of an indented line that looks like one,
// it reports the number.
func blocks(t *testing.T, path string) (list []block, loose []int) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var open *block
	for i, line := range strings.Split(string(text), "\n") {
		switch {
		case strings.HasPrefix(line, "```") && open == nil:
			open = &block{page: filepath.Base(path), line: i + 1, info: strings.TrimSpace(line[3:])}
		case strings.HasPrefix(line, "```"):
			list, open = append(list, *open), nil
		case open != nil:
			open.text += line + "\n"
		case strings.HasPrefix(line, "    dnshark "), strings.HasPrefix(line, "    sudo "):
			loose = append(loose, i+1)
		}
	}
	if open != nil {
		t.Errorf("%s:%d: the fence is not closed", path, open.line)
	}
	return list, loose
}

// Every command of the documents runs: what stands in a fence of sh is run whole, by
// a shell that ends at the first failure, on a machine with a resolver.
// A fence of "sh install" changes the machine; make package-test runs those steps. A fence with
// a file name, as "yaml dnshark.yaml", makes that file. Live capture and servers are interrupted
// after a while, and must end well.
func TestDocuments(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.NeedPrograms(t, "dig", "dnsmasq", "ip", "jq", "timeout")
	root := testkit.Root(t)
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	host := testkit.NewHost(t)
	host.Dnsmasq("127.0.0.1")
	host.Nameserver("127.0.0.1")
	bin := t.TempDir()
	for name, text := range map[string]string{
		// sudo is for readers; the test is root.
		"sudo": `exec "$@"`,
		// Who asks is on that host; dnshark sees all hosts. Named in full: the shell would find this again.
		"dig":    "exec " + strings.Join(host.Command("/usr/bin/dig", `"$@"`).Args, " "),
		"getent": "exec " + strings.Join(host.Command("/usr/bin/getent", `"$@"`).Args, " "),
		// Most of what is shown here goes on until it is interrupted; a command ends by itself.
		"dnshark": `case " $* " in *" -- "*) ;; *) set -- timeout --preserve-status -s INT 2 ` + testkit.Dnshark(t) + ` "$@"; exec "$@" ;; esac
exec ` + testkit.Dnshark(t) + ` "$@"`,
	} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	ran := 0
	for _, page := range append(pages, filepath.Join(root, "README.md")) {
		name := filepath.Base(page)
		if generated(name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			writeSample(t, filepath.Join(dir, "capture.pcap"))
			list, loose := blocks(t, page)
			if len(loose) > 0 {
				t.Errorf("%s: lines %v look like commands and stand in no fence", name, loose)
			}
			for _, b := range list {
				kind, file, _ := strings.Cut(b.info, " ")
				switch {
				case kind == "sh" && file == "":
				case kind == "sh" && file == "install":
					continue
				case kind == "sh":
					t.Errorf("%s:%d: what is %q?", name, b.line, b.info)
					continue
				case file != "":
					if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), []byte(b.text), 0o600); err != nil {
						t.Fatal(err)
					}
					continue
				default:
					continue
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				cmd := exec.CommandContext(ctx, "sh", "-euc", b.text)
				cmd.Dir = dir
				cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+dir, "STATE_DIRECTORY="+dir)
				var out bytes.Buffer
				cmd.Stdout, cmd.Stderr = &out, &out
				if err := cmd.Run(); err != nil {
					said := out.Bytes()
					t.Errorf("%s:%d: %v\n%s\n%s", name, b.line, err, b.text, said[max(0, len(said)-2000):])
				}
				cancel()
				ran++
			}
		})
	}
	t.Logf("%d blocks ran", ran)
	if ran < 20 {
		t.Error("the blocks are not found")
	}
}

// generated reports whether a page is made from the code, by a test of its own.
func generated(page string) bool {
	return map[string]bool{"events.md": true, "fields.md": true, "outputs.md": true, "configuration.md": true, "alerts.md": true}[page]
}

// writeSample makes a capture of two hosts: names that exist and that do not, a query
// that found no answer, several types, TCP apart.
func writeSample(t *testing.T, path string) {
	t.Helper()
	capture := newCapture(t, path)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i, line := range strings.Split(strings.TrimSpace(`
www.example.com. 300 IN A 192.0.2.80
www.example.com. 300 IN AAAA 2001:db8::80
example.com. 3600 IN MX 10 mail.example.com.
example.com. 3600 IN TXT "v=spf1 -all"
shop.example.net. 60 IN CNAME www.example.com.
53.2.0.192.in-addr.arpa. 86400 IN PTR ns.example.com.
example.com. 86400 IN NS ns.example.com.
_sip._udp.example.com. 60 IN SRV 1 2 5060 sip.example.com.
nope.example.com. NXDOMAIN
broken.example.com. SERVFAIL
lost.example.com. -
www.example.com. 300 IN A 192.0.2.80`), "\n") {
		name, rest, _ := strings.Cut(line, " ")
		query := new(dns.Msg)
		query.SetQuestion(name, dns.TypeA)
		answer := new(dns.Msg)
		record, err := dns.NewRR(line)
		if err == nil {
			query.Question[0].Qtype = record.Header().Rrtype
			answer.Answer = []dns.RR{record}
		}
		query.SetEdns0(1232, false)
		answer.SetRcode(query, dns.StringToRcode[rest])
		client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + i%2)}), uint16(40000+i))
		capture.add(at, client, query)
		if at = at.Add(3 * time.Millisecond); rest != "-" {
			capture.add(at, client, answer)
		}
		at = at.Add(time.Second)
	}
}

// The pages of events and fields are made from the tables that the program uses. UPDATE=1
// makes them anew.
func TestReferencePages(t *testing.T) {
	cell := strings.NewReplacer("|", "\\|", "\n", " ")
	var b bytes.Buffer
	b.WriteString("# Events\n\nMade from the catalogue; do not edit. `dnshark events` tells the same. `-e` takes names of events\nand of sets.\n\n| set | events |\n|---|---|\n")
	for _, s := range kind.Sets() {
		fmt.Fprintf(&b, "| `%s` | %s |\n", s.Term, cell.Replace(s.Doc))
	}
	for _, k := range kind.Catalogue {
		fmt.Fprintf(&b, "\n## %s\n\n%s%s. %s\n\n", k.Name, strings.ToUpper(k.Summary[:1]), k.Summary[1:], k.Description)
		if len(k.Aliases) > 0 {
			fmt.Fprintf(&b, "Also called %s. ", strings.Join(k.Aliases, ", "))
		}
		if k.Internal {
			b.WriteString("Internal: a building block of other events.\n")
		} else {
			fmt.Fprintf(&b, "In the sets %s.\n", strings.Join(k.Sets, ", "))
		}
		if len(k.Fields) > 0 {
			b.WriteString("\n| key | type | what it is |\n|---|---|---|\n")
		}
		for _, f := range k.Fields {
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f.Name, cell.Replace(f.Type), cell.Replace(f.Doc))
			for _, sub := range f.Sub {
				fmt.Fprintf(&b, "| `%s.%s` | %s | %s |\n", f.Name, sub.Name, cell.Replace(sub.Type), cell.Replace(sub.Doc))
			}
		}
		list := func(title string, items []kind.Item) {
			if len(items) == 0 {
				return
			}
			fmt.Fprintf(&b, "\n%s:\n\n", title)
			for _, i := range items {
				fmt.Fprintf(&b, "- %s: %s\n", i.Term, i.Doc)
			}
		}
		list("Use cases", k.UseCases)
		for _, s := range k.Sections {
			list(strings.ToUpper(s.Title[:1])+strings.ToLower(s.Title[1:])+": "+strings.TrimSuffix(s.Intro, ":"), s.Items)
		}
		for _, names := range []struct {
			title string
			list  []string
		}{{"Depends on", k.DependsOn}, {"Related", k.Related}} {
			if len(names.list) > 0 {
				fmt.Fprintf(&b, "\n%s: ", names.title)
				for i, name := range names.list {
					if i > 0 {
						b.WriteString(", ")
					}
					fmt.Fprintf(&b, "[%s](#%s)", name, name)
				}
				b.WriteString(".\n")
			}
		}
	}
	comparePage(t, "events.md", b.Bytes())

	b.Reset()
	b.WriteString("# Fields\n\nMade from the table of fields; do not edit. `dnshark fields` tells the same, and how expressions are\nwritten. Of fields marked * an event may have several values: a comparison holds when it holds\nfor one of them.\n\n| field | type | what it is |\n|---|---|---|\n")
	for _, p := range event.Paths {
		several := ""
		if p.List {
			several = "*"
		}
		fmt.Fprintf(&b, "| `%s`%s | %s | %s |\n", p.Name, several, p.Kind, cell.Replace(p.Doc))
	}
	comparePage(t, "fields.md", b.Bytes())
}

func comparePage(t *testing.T, name string, want []byte) {
	t.Helper()
	path := filepath.Join(testkit.Root(t), "docs", name)
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, _ := os.ReadFile(path); !bytes.Equal(got, want) {
		t.Errorf("docs/%s is not what the code says; UPDATE=1 go test ./cmd/dnshark -run TestReferencePages makes it anew", name)
	}
}

// Links of the documents lead somewhere.
func TestLinks(t *testing.T) {
	root := testkit.Root(t)
	pages, _ := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	for _, page := range append(pages, filepath.Join(root, "README.md"), filepath.Join(root, "ARCHITECTURE.md"), filepath.Join(root, "CONTRIBUTING.md")) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range strings.Split(string(text), "](")[1:] {
			target, _, _ := strings.Cut(part, ")")
			target, _, _ = strings.Cut(target, "#")
			if target == "" || strings.Contains(target, "://") || strings.ContainsAny(target, " \n") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), target)); err != nil {
				t.Errorf("%s: %s leads nowhere", filepath.Base(page), target)
			}
		}
	}
}
