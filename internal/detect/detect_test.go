package detect

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"

	"github.com/miekg/dns"

	"github.com/dnshark-io/dnshark/event"
)

// lab feeds messages to a stage.
type lab struct {
	t     testing.TB
	stage *Stage
	batch event.Batch
	now   int64
	all   []*event.Alert
}

func newLab(t testing.TB, o Options) *lab {
	return &lab{t: t, stage: NewStage(&o), now: 1_800_000_000e9}
}

var (
	labClient = netip.MustParseAddr("192.0.2.10")
	labServer = netip.MustParseAddr("192.0.2.53")
)

// talk is a message and what is around it.
type talk struct {
	client, server netip.Addr
	port           uint16
	state          event.State
	hops           uint8
	tcp            bool
	m              *dns.Msg
}

// see shows a message and returns the alerts that it made.
func (l *lab) see(v talk) []*event.Alert {
	l.t.Helper()
	raw, err := v.m.Pack()
	if err != nil {
		l.t.Fatal(err)
	}
	l.batch.Reset()
	e := l.batch.Next()
	e.Time = l.now
	if !v.client.IsValid() {
		v.client = labClient
	}
	if !v.server.IsValid() {
		v.server = labServer
	}
	if v.port == 0 {
		v.port = 40000
	}
	e.Meta = event.PktMeta{SrcIP: v.client, DstIP: v.server, SrcPort: v.port, DstPort: 53, Protocol: 17}
	if v.tcp {
		e.Meta.Protocol = 6
	}
	if v.m.Response {
		e.Meta.SrcIP, e.Meta.DstIP, e.Meta.SrcPort, e.Meta.DstPort = v.server, v.client, 53, v.port
		if v.state == event.StateNone {
			v.state = event.StateAnswered
		}
	}
	e.Txn.State, e.Flow.Hops = v.state, v.hops
	e.Msg.Unpack(raw)
	l.stage.Process(&l.batch)
	var alerts []*event.Alert
	for i := range l.batch.Events[1:] {
		if a := l.batch.Events[i+1].Alert; a != nil {
			alerts = append(alerts, a)
		}
	}
	l.all = append(l.all, alerts...)
	return alerts
}

// end ends the capture and returns the final alerts.
func (l *lab) end() (alerts []*event.Alert) {
	l.batch.Reset()
	l.batch.Last = true
	l.stage.Process(&l.batch)
	for i := range l.batch.Events {
		alerts = append(alerts, l.batch.Events[i].Alert)
	}
	return alerts
}

func (l *lab) has(threat, kind string) *event.Alert {
	for _, a := range l.all {
		if a.Threat == threat && a.Kind == kind {
			return a
		}
	}
	return nil
}

func question(name string, qtype uint16) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), qtype)
	m.Id = uint16(rand.N(65536))
	return m
}

func reply(name string, qtype uint16, rcode int, answers ...string) *dns.Msg {
	m := question(name, qtype)
	m.Response, m.RecursionAvailable, m.Rcode = true, true, rcode
	for _, text := range answers {
		rr, err := dns.NewRR(dns.Fqdn(name) + " 60 IN " + text)
		if err != nil {
			panic(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	return m
}

func TestTable(t *testing.T) {
	table := newTable[int, int](3)
	for i := range 3 {
		*table.add(i) = 10 * i
	}
	table.get(0) // used now
	*table.add(3) = 30
	if table.peek(1) != nil || table.peek(0) == nil || table.Evicted != 1 {
		t.Errorf("the wrong value gave way")
	}
	table.drop(0)
	if table.peek(0) != nil || table.len() != 2 {
		t.Errorf("a dropped value is there")
	}
	*table.add(4) = 40
	order := ""
	table.each(func(k int, _ *int) { order += fmt.Sprint(k) })
	if order != "432" {
		t.Errorf("order %s", order)
	}
	if n := testing.AllocsPerRun(1000, func() {
		k := rand.IntN(100)
		if table.get(k) == nil {
			table.add(k)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestFilterSet(t *testing.T) {
	var f filterSet
	const n = 200_000
	wrong := 0
	for i := range uint64(n) {
		if !f.add(mixed(i), 0) {
			wrong++
		}
	}
	for i := range uint64(n) {
		if f.add(mixed(i), 1) {
			t.Fatalf("%d is new again", i)
		}
	}
	if wrong > n/100 {
		t.Errorf("%d of %d new ones were called old", wrong, n)
	}
	for i := range uint64(2*filterFull - n) { // both filters
		f.add(mixed(i+1<<32), 1)
	}
	wrong = 0
	for i := range uint64(n) {
		if f.has(mixed(i + 1<<40)) {
			wrong++
		}
	}
	t.Logf("%.2f %% of new ones are called old by full filters", 100*float64(wrong)/n)
	if wrong > 3*n/100 {
		t.Errorf("%d of %d new ones were called old by full filters", wrong, n)
	}
	f.add(1, 2*filterTime)
	f.add(2, 4*filterTime)
	if !f.add(mixed(7), 4*filterTime) {
		t.Errorf("nothing is forgotten")
	}
}

func TestNames(t *testing.T) {
	for labels, want := range map[string]bool{
		"4.3.2.1": true, "4.3.2.1.zen": true, "1.2.3.4.origin.asn": true, "www": false, "1.2.3": false, "256.1.1.1": false,
		"b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0": true, "b.a.9.8": false, "": false, "10.0.0.1": true, "a.1.2.3.4": false,
	} {
		if isReversed([]byte(labels)) != want {
			t.Errorf("isReversed(%q) is %v", labels, !want)
		}
	}
	const md5 = "d41d8cd98f00b204e9800998ecf8427e"
	for labels, want := range map[string]bool{md5: true, md5 + ".malware.hash": true, md5 + "." + md5 + md5: false, md5[:30]: false, "x" + md5[1:]: false} {
		if isDigest([]byte(labels)) != want {
			t.Errorf("isDigest(%q) is %v", labels, !want)
		}
	}
}

// An incident is one alert, an update when it grows, and final figures.
func TestDesk(t *testing.T) {
	l := newLab(t, Options{})
	var ids []string
	for range 40 {
		l.now += 1e9
		for _, a := range l.see(talk{m: reply("intra.example.com", dns.TypeAXFR, dns.RcodeRefused), tcp: true}) {
			ids = append(ids, fmt.Sprint(a.ID, a.Update))
		}
	}
	if len(ids) != 3 || ids[0][:16] != ids[2][:16] {
		t.Errorf("alerts %v, want one and its updates at 4 and 16 attempts", ids)
	}
	final := l.end()
	if len(final) != 1 || final[0].Update != 3 || final[0].Value != 40 {
		t.Errorf("final %v", final)
	}
	l.now += 2 * idle
	if a := l.see(talk{m: reply("intra.example.com", dns.TypeAXFR, dns.RcodeRefused), tcp: true}); len(a) != 1 || a[0].Update != 0 {
		t.Errorf("a later incident is none of its own: %v", a)
	}
}

type broken struct{ calls int }

func (*broken) Threat() string { return "broken" }
func (b *broken) See(*Seen, *Desk) {
	b.calls++
	panic("oh")
}

// A detector that panics is switched off, and only that one.
func TestPanic(t *testing.T) {
	l := newLab(t, Options{})
	b := &broken{}
	l.stage.slots = append([]slot{{Detector: b}}, l.stage.slots...)
	for range 3 {
		l.see(talk{m: reply("intra.example.com", dns.TypeAXFR, dns.RcodeRefused), tcp: true})
	}
	if b.calls != 1 || len(l.stage.Failed) != 1 || l.has("dns_zone_transfer", "transfer") == nil {
		t.Errorf("%d calls, %v", b.calls, l.stage.Failed)
	}
}

// Usual messages cost no memory once tables have grown, and what a million pairs take is
// bounded.
func TestBounds(t *testing.T) {
	l := newLab(t, Options{})
	m := reply("www.example.com", dns.TypeA, 0, "A 198.51.100.7")
	raw, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	fill := func(i int) {
		l.batch.Reset()
		e := l.batch.Next()
		l.now += 1e6
		e.Time, e.Txn.State = l.now, event.StateAnswered
		e.Meta = event.PktMeta{SrcIP: labServer, DstIP: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), SrcPort: 53, DstPort: 4000, Protocol: 17}
		e.Msg.Unpack(raw)
		l.stage.Process(&l.batch)
	}
	for range 100 {
		fill(1)
	}
	if n := testing.AllocsPerRun(1000, func() { fill(1) }); n != 0 {
		t.Errorf("%v allocations for a message", n)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	long := reply("0123456789abcdef.www.example.com", dns.TypeTXT, 0, "TXT hello")
	if raw, err = long.Pack(); err != nil {
		t.Fatal(err)
	}
	for i := range 1_000_000 {
		fill(i)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	mib := float64(after.HeapAlloc-min(before.HeapAlloc, after.HeapAlloc)) / (1 << 20)
	t.Logf("a million clients: %.0f MiB more", mib)
	if mib > 64 {
		t.Errorf("%.0f MiB", mib)
	}
	runtime.KeepAlive(l)
}

// Who misses some of many questions sees replies that nobody asked for, and no forgery.
func TestLostQueries(t *testing.T) {
	for _, lost := range []bool{true, false} {
		l := newLab(t, Options{})
		for i := range 3000 {
			l.now += 100e6
			v := talk{m: reply(fmt.Sprintf("host%d.example.test", i), dns.TypeA, 0, "A 198.51.100.7"), port: uint16(20000 + i)}
			if i%20 == 7 {
				v.state = event.StateUnsolicited
			} else if !lost {
				continue // only the forged ones are left, slowly
			}
			l.see(v)
		}
		if a := l.has("dns_cache_poisoning", "forged_replies"); (a != nil) == lost {
			t.Errorf("lost %v: %+v", lost, a)
		}
	}
}
