package filter

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/dnshark-io/dnshark/event"
)

func TestConditions(t *testing.T) {
	for text, want := range map[string]string{
		`process.comm == "curl" && dns.rcode == "NXDOMAIN"`:                     `{[] [] [] [] [curl] []}`,
		`process.comm.begins("cu") and process.uid in {0, 1000}`:                `{[] [] [] [0 1000] [cu] []}`,
		`process.pid == 1 || process.pid == 2`:                                  `{[] [] [1 2] [] [] []}`,
		`process.pid == 1 || process.uid == 2`:                                  `{[] [] [] [] [] []}`,
		`(process.pid == 1 && dns.aa) || (dns.tc && process.pid == 1)`:          `{[] [] [1] [] [] []}`,
		`!(process.pid == 1)`:                                                   `{[] [] [] [] [] []}`,
		`process.pid > 1`:                                                       `{[] [] [] [] [] []}`,
		`process.uid == 4294967296`:                                             `{[] [] [] [] [] []}`,
		`process.cgroup_id == 7 && metadata.src_port == 53`:                     `{[53] [] [] [] [] [7]}`,
		`metadata.src_port == 53 || metadata.dst_port in (53, 5353)`:            `{[53 5353] [] [] [] [] []}`,
		`server.ip in 192.0.2.0/24`:                                             `{[] [192.0.2.0/24] [] [] [] []}`,
		`server.ip not in 192.0.2.0/24`:                                         `{[] [] [] [] [] []}`,
		`client.ip == 192.0.2.1 && server.ip in {10.0.0.0/8, 2001:db8::/32}`:    `{[] [192.0.2.1/32] [] [] [] []}`,
		`process.comm == "a-name-that-is-too-long"`:                             `{[] [] [] [] [a-name-that-is-] []}`,
		`process.comm in ("ab\\010", "c")`:                                      `{[] [] [] [] [ab c] []}`,
		`process.comm == "\\010"`:                                               `{[] [] [] [] [] []}`,
		`lower(process.comm) == "curl"`:                                         `{[] [] [] [] [] []}`,
		`process.comm.contains("curl")`:                                         `{[] [] [] [] [] []}`,
		`len(process.comm) == 4`:                                                `{[] [] [] [] [] []}`,
		`process.netns == 4026531840`:                                           `{[] [] [] [] [] []}`,
		`dns.response`:                                                          `{[] [] [] [] [] []}`,
		`process.comm == "curl" && server_process.comm == "dnsmasq"`:            `{[] [] [] [] [] []}`,
		`process.comm == "unbound" && !transaction.caused_by.pid.exists()`:      `{[] [] [] [] [] []}`,
		`process.comm == "unbound" && (dns.aa || transaction.caused_by.id > 0)`: `{[] [] [] [] [] []}`,
	} {
		f, err := Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got := fmt.Sprint(f.Conditions()); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestOnlyMessages(t *testing.T) {
	for text, want := range map[string]bool{
		`dns.aa`: true, `process.pid == 1`: false, `process.pid == 1 && qname.under("x")`: true, `dns.aa || answer.ip == ::1`: true,
		`dns.aa || process.pid == 1`: false, `!dns.aa`: false, `count(qname) == 0`: false, `time > 2026-01-01T00:00:00Z`: false,
	} {
		f, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.OnlyMessages(); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

// No event for which an expression holds fails its conditions, whatever both are.
func TestConditionsAreSound(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var paths []*event.Path
	for _, p := range event.Paths {
		// Those that conditions come from, more often than the others.
		for range 1 + 20*strings.Count(" metadata.src_ip metadata.dst_ip metadata.src_port metadata.dst_port client.ip server.ip"+
			" process.pid process.uid process.comm process.cgroup_id process.netns ", " "+p.Name+" ") {
			paths = append(paths, p)
		}
	}
	held, demanded, refused := 0, 0, 0
	for range 200_000 {
		e := randomEvent(t, r)
		f, ok := parseRandom(r, e, paths, 3)
		if !ok {
			continue
		}
		holds, c := f.Match(e), f.Conditions()
		if holds && f.OnlyMessages() && !e.HasMessage() {
			t.Fatalf("%s holds for what is no message", f)
		}
		meets := c.meets(e)
		if holds && !meets {
			t.Fatalf("%s holds, and %+v are not met by %+v, asked by %+v", f, c, e.Meta, e.Asker.ID)
		}
		if holds {
			held++
		}
		if len(c.Ports)+len(c.Addrs)+len(c.PIDs)+len(c.UIDs)+len(c.Comms)+len(c.Cgroups) > 0 {
			demanded++
			if !meets {
				refused++
			}
		}
	}
	t.Logf("%d expressions held, %d have conditions, which refused %d events", held, demanded, refused)
	if held < 20_000 || demanded < 20_000 || refused < 5_000 {
		t.Error("too few to prove anything")
	}
}

// meets reports whether an event meets the conditions.
func (c *Conditions) meets(e *event.Event) bool {
	m, id := &e.Meta, e.Asker.ID
	within := func(a netip.Addr) bool {
		return slices.ContainsFunc(c.Addrs, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	switch {
	case len(c.Ports) > 0 && !slices.Contains(c.Ports, m.SrcPort) && !slices.Contains(c.Ports, m.DstPort),
		len(c.Addrs) > 0 && !within(m.SrcIP) && !within(m.DstIP):
		return false
	case len(c.PIDs)+len(c.UIDs)+len(c.Comms)+len(c.Cgroups) == 0:
		return true
	case id == nil:
		return false
	}
	comm := func(p string) bool { return strings.HasPrefix(string(id.Comm[:]), p) }
	return (len(c.PIDs) == 0 || slices.Contains(c.PIDs, id.TGID)) && (len(c.UIDs) == 0 || slices.Contains(c.UIDs, id.UID)) &&
		(len(c.Cgroups) == 0 || slices.Contains(c.Cgroups, id.Cgroup)) && (len(c.Comms) == 0 || slices.ContainsFunc(c.Comms, comm))
}
