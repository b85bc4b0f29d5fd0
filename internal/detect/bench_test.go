package detect

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/dnshark-io/dnshark/event"
)

// traffic is what clients of a resolver get: names as often as people ask for them, with
// aliases, both address families, some text and some names that do not exist.
type traffic struct {
	r        *rand.Rand
	zipf     *rand.Zipf
	messages [][]byte // by name
	clients  int
	now      int64
}

func newTraffic(b *testing.B, clients, names int) *traffic {
	r := rand.New(rand.NewPCG(1, 2))
	t := &traffic{r: r, zipf: rand.NewZipf(r, 1.1, 8, uint64(names-1)), clients: clients, now: 1_800_000_000e9}
	for i := range names {
		name := fmt.Sprintf("www%d.site%d.example", i%3, i/3)
		var m *dns.Msg
		switch {
		case i%20 == 7:
			m = reply(name, dns.TypeA, dns.RcodeNameError)
		case i%20 == 9:
			m = reply(name, dns.TypeTXT, 0, `TXT "v=spf1 include:_spf.mail.example -all"`)
		case i%4 == 1:
			m = reply(name, dns.TypeAAAA, 0, fmt.Sprintf("AAAA 2001:db8:%x::%x", i%512, i))
		case i%4 == 2:
			m = reply(name, dns.TypeA, 0, fmt.Sprintf("CNAME edge%d.cdn.example", i%64))
			rr, err := dns.NewRR(fmt.Sprintf("edge%d.cdn.example. 60 IN A 203.0.113.%d", i%64, i%64))
			if err != nil {
				b.Fatal(err)
			}
			m.Answer = append(m.Answer, rr)
		default:
			m = reply(name, dns.TypeA, 0, fmt.Sprintf("A 198.%d.%d.%d", 18+i>>16&1, i>>8&255, i&255), fmt.Sprintf("A 198.%d.%d.%d", 18+i>>16&1, i>>8&255, (i+1)&255))
		}
		m.SetEdns0(1232, false)
		raw, err := m.Pack()
		if err != nil {
			b.Fatal(err)
		}
		t.messages = append(t.messages, raw)
	}
	return t
}

// next adds an answer to the batch.
func (t *traffic) next(batch *event.Batch) {
	t.now += 100e3
	e := batch.Next()
	e.Time = t.now
	client := [4]byte{10}
	binary.BigEndian.PutUint16(client[2:], uint16(t.r.IntN(t.clients)))
	e.Meta = event.PktMeta{SrcIP: labServer, DstIP: netip.AddrFrom4(client), SrcPort: 53, DstPort: uint16(1024 + t.r.IntN(60000)), Protocol: 17}
	e.Txn.State, e.Flow.Hops = event.StateAnswered, 60
	e.Msg.Unpack(t.messages[t.zipf.Uint64()])
}

// The cost of all detectors, per answer.
func BenchmarkStage(b *testing.B) {
	for _, c := range []struct {
		name           string
		clients, names int
	}{{"20 clients", 20, 5000}, {"1000 clients", 1000, 50_000}, {"60000 clients", 60_000, 50_000}} {
		b.Run(c.name, func(b *testing.B) {
			t, s := newTraffic(b, c.clients, c.names), NewStage(&Options{})
			var batch event.Batch
			var spent time.Duration
			const size = 128
			run := func(n int) {
				for range n {
					batch.Reset()
					for range size {
						t.next(&batch)
					}
					batch.Now = t.now
					begin := time.Now()
					s.Process(&batch)
					spent += time.Since(begin)
				}
			}
			run(2_000_000 / size) // hours of a client
			spent = 0
			b.ReportAllocs()
			b.ResetTimer()
			run(b.N)
			b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N*size), "ns/answer")
			b.ReportMetric(0, "ns/op")
			for _, f := range s.Failed {
				b.Fatal(f)
			}
		})
	}
}
