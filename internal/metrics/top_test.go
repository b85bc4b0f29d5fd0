package metrics

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/miekg/dns"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
)

func respond(t testing.TB, r *Recorder, name, comm string) {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, dns.TypeA)
	m.Response = true
	octets, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	b := &event.Batch{Limits: dnswire.Limits{Records: 8}}
	e := b.Next()
	e.Msg.Unpack(octets)
	e.Meta.SrcIP = netip.MustParseAddr("192.0.2.53")
	e.Asker.ID = &event.Identity{TGID: 1}
	copy(e.Asker.ID.Comm[:], comm)
	r.Process(b)
}

// What is seen often has a label, whatever flood of names passes between; there are never
// more labels than were asked for, and nothing is uncounted.
func TestTop(t *testing.T) {
	r := &Recorder{Top: Top{N: 3}}
	const rounds, flood = 400, 20
	for i := range rounds {
		respond(t, r, "www.often.example.", "curl")
		for j := range flood {
			respond(t, r, fmt.Sprintf("n%d-%d.example.", i, j), fmt.Sprintf("p%d", j))
		}
	}
	sum, labels := map[string]uint64{}, map[string]int{}
	named := map[string]uint64{}
	for _, c := range r.Top.Counts() {
		sum[c.Side] += c.N
		if c.What != "" {
			labels[c.Side]++
			named[c.Side+" "+c.What] = c.N
		}
	}
	const all = rounds * (flood + 1)
	if sum["domain"] != all || sum["process"] != all || sum["server"] != all {
		t.Errorf("%v, want %d each", sum, all)
	}
	if labels["domain"] > 3 || labels["process"] > 3 || labels["server"] != 1 {
		t.Errorf("labels: %v", labels)
	}
	if named["domain often.example"] < rounds/2 || named["server 192.0.2.53"] != all-often {
		t.Errorf("%v", named)
	}
	// Off, it costs and tells nothing.
	off := &Recorder{}
	respond(t, off, "www.often.example.", "curl")
	if off.Top.Counts() != nil {
		t.Error("counted though nobody asked")
	}
}

func TestTopAllocates(t *testing.T) {
	r := &Recorder{Top: Top{N: 5}}
	m := new(dns.Msg)
	m.SetQuestion("www.example.com.", dns.TypeA)
	m.Response = true
	octets, _ := m.Pack()
	b := &event.Batch{Limits: dnswire.Limits{Records: 8}}
	e := b.Next()
	e.Msg.Unpack(octets)
	e.Meta.SrcIP = netip.MustParseAddr("192.0.2.53")
	for range 2 * often {
		r.Process(b)
	}
	if n := testing.AllocsPerRun(100, func() { r.Process(b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
