package filter

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/dnshark-io/dnshark/event"
)

func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

// randomEvent returns an event whose values are few, so that they often meet those
// of a random expression.
func randomEvent(t testing.TB, r *rand.Rand) *event.Event {
	t.Helper()
	name := func() string {
		return pick(r, "", "www.", "WWW.", `a\.b.`, `\000\255.`) + pick(r, "", "example.com.", "xample.com.", "shop.example.co.uk.", "co.uk.", "test.") + "."
	}
	clean := func(name string) string {
		if name = strings.TrimSuffix(name, "."); name == "" {
			return "."
		}
		return name
	}
	m := new(dns.Msg)
	for range r.IntN(3) {
		m.Question = append(m.Question, dns.Question{Name: clean(name()), Qtype: pick[uint16](r, 1, 28, 65, 255), Qclass: pick[uint16](r, 1, 3, 255)})
	}
	for _, section := range []*[]dns.RR{&m.Answer, &m.Ns, &m.Extra} {
		for range r.IntN(3) {
			head := dns.RR_Header{Name: clean(name()), Class: 1, Ttl: uint32(r.IntN(4) * 100)}
			*section = append(*section, pick[func() dns.RR](r,
				func() dns.RR { head.Rrtype = 1; return &dns.A{Hdr: head, A: randomAddr(r, true).AsSlice()} },
				func() dns.RR { head.Rrtype = 28; return &dns.AAAA{Hdr: head, AAAA: randomAddr(r, false).AsSlice()} },
				func() dns.RR { head.Rrtype = 5; return &dns.CNAME{Hdr: head, Target: clean(name())} },
				func() dns.RR { head.Rrtype = 16; return &dns.TXT{Hdr: head, Txt: []string{"it's \"100%\"_"}} },
			)())
		}
	}
	m.Id, m.Response, m.Authoritative, m.Truncated = uint16(r.IntN(3)), r.IntN(2) == 0, r.IntN(2) == 0, r.IntN(2) == 0
	m.Rcode, m.Opcode = r.IntN(4), pick(r, 0, 0, 5)
	if r.IntN(2) == 0 {
		m.SetEdns0(1232, r.IntN(2) == 0)
	}
	raw, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	e := &event.Event{}
	if r.IntN(8) == 0 {
		raw = raw[:12+r.IntN(len(raw)-11)]
	}
	e.Msg.Unpack(raw)
	e.Time = 1_795_000_000_000_000_000 + r.Int64N(3)
	e.Host, e.Observer = pick(r, "web1", "o'hare\\"), event.Observer(r.IntN(3))
	e.Class = pick(r, event.ClassMessage, event.ClassMessage, event.ClassPacket, event.ClassUnanswered, event.ClassAlert)
	e.Meta = event.PktMeta{
		SrcIP: randomAddr(r, r.IntN(2) == 0), SrcPort: pick[uint16](r, 53, 5353, 40000), DstPort: pick[uint16](r, 53, 5353, 40000),
		Protocol: pick[uint8](r, 6, 17), PacketLen: uint32(r.IntN(3)), Iface: pick(r, "eth0", "lo", ""),
	}
	e.Meta.DstIP = randomAddr(r, e.Meta.SrcIP.Is4())
	e.Packet = event.Packet{Version: 4, TTL: uint8(r.IntN(3)), TCPSeq: r.Uint32()}
	if e.Class == event.ClassAlert {
		e.Alert = &event.Alert{Severity: event.Severity(r.IntN(5)), Threat: "dns_tunnel", Kind: "rebinding", Start: e.Time, End: e.Time, Src: e.Meta.SrcIP, Domain: "example.com"}
	}
	if e.HasMessage() {
		e.Txn = event.Transaction{State: event.State(r.IntN(8)), Latency: r.Int64N(3)*1000 - 1}
	}
	e.Asker, e.Server = randomParty(r), randomParty(r)
	if r.IntN(3) == 0 {
		e.Receiver = randomParty(r).ID
	}
	if r.IntN(3) == 0 {
		e.Txn.Cause = &event.Cause{Time: e.Time, Client: netip.AddrPortFrom(e.Meta.SrcIP, 53), PID: 1}
	}
	return e
}

func randomAddr(r *rand.Rand, v4 bool) netip.Addr {
	if v4 {
		return netip.AddrFrom4([4]byte{pick[byte](r, 10, 192), 0, 0, byte(r.IntN(3))})
	}
	return netip.AddrFrom16([16]byte{0: 0x20, 1: pick[byte](r, 1, 2), 15: byte(r.IntN(3))})
}

func randomParty(r *rand.Rand) (p event.Party) {
	if r.IntN(4) == 0 {
		return p
	}
	p.ID = &event.Identity{TGID: uint32(r.IntN(3)), TID: 7, UID: uint32(r.IntN(3)), Cgroup: uint64(r.IntN(3)), NetNS: uint32(r.IntN(3))}
	copy(p.ID.Comm[:], pick(r, "curl", "cur", "dig", `a\b`, "a\x01", "0123456789abcde"))
	p.Attribution, p.User = event.Attribution(r.IntN(4)), pick(r, "", "root")
	if r.IntN(2) == 0 {
		p.Process = &event.Process{
			Exe: pick(r, "", "/usr/bin/Curl", "/o'hare"), Args: pick(r, "", "curl\x00-s\x00", "x"), StartTime: r.Int64N(2),
			Ancestors: []event.Ancestor{{PID: 1}, {PID: uint32(r.IntN(3)), StartTime: 5}}[:r.IntN(3)],
		}
	}
	if r.IntN(3) == 0 {
		p.Container = &event.Container{ID: "c0ffee", Labels: []event.Label{{Key: "app", Value: "web"}}}
	}
	return p
}

// randomExpr returns the text of an expression over the paths, whose values are
// often the event's.
func randomExpr(r *rand.Rand, e *event.Event, paths []*event.Path, depth int) string {
	if depth > 0 && r.IntN(3) > 0 {
		x, y := randomExpr(r, e, paths, depth-1), randomExpr(r, e, paths, depth-1)
		return pick(r, "("+x+") && ("+y+")", "("+x+") || ("+y+")", "!("+x+")", "("+x+") and "+y)
	}
	p := paths[r.IntN(len(paths))]
	n := p.Values(e)
	if r.IntN(12) == 0 {
		return pick(r, p.Name+".exists()", fmt.Sprintf("count(%s) %s %d", p.Name, pick(r, "==", ">", "<="), r.IntN(3)))
	}
	switch p.Kind {
	case event.KindNumber, event.KindTime:
		value := func() string {
			v := uint64(r.IntN(60))
			if n > 0 && r.IntN(3) > 0 {
				v = p.Number(e, r.IntN(n)) + pick[uint64](r, 0, 0, 1)
			}
			if p.Kind == event.KindTime {
				return Quote(time.Unix(0, int64(v)).UTC().Format(time.RFC3339Nano))
			}
			return strconv.FormatUint(v, 10)
		}
		if r.IntN(3) == 0 {
			return fmt.Sprintf("%s %s (%s, %s)", p.Name, pick(r, "in", "not in"), value(), value())
		}
		return fmt.Sprintf("%s %s %s", p.Name, pick(r, "==", "!=", "<", "<=", ">", ">="), value())
	case event.KindBool:
		return p.Name + pick(r, "", " == true", " == false", " != true")
	case event.KindAddr:
		value := func() string {
			a := randomAddr(r, r.IntN(2) == 0)
			if n > 0 && r.IntN(3) > 0 && p.Addr(e, 0).IsValid() {
				a = p.Addr(e, 0)
			}
			if r.IntN(2) == 0 {
				return fmt.Sprintf("%s/%d", a, r.IntN(a.BitLen()+1))
			}
			return a.String()
		}
		return fmt.Sprintf("%s %s {%s, %s}", p.Name, pick(r, "in", "not in"), value(), value())
	}
	value := func() string {
		if n > 0 && r.IntN(4) > 0 {
			if text := string(p.Text(nil, e, r.IntN(n))); text != "" {
				if from := r.IntN(len(text)); p.Code == nil && p.Kind == event.KindText && r.IntN(3) == 0 {
					text = text[from : from+r.IntN(len(text)-from+1)]
				}
				return Quote(text)
			}
		}
		return Quote(pick(r, "example.com", "co.uk", "www", "cu", "CU", "%", "a_b"))
	}
	if p.Code != nil {
		if n == 0 {
			return p.Name + `.matches("^[A-M]")`
		}
		if r.IntN(2) == 0 {
			return fmt.Sprintf("%s in (%s, %s)", p.Name, Quote(string(p.Text(nil, e, 0))), Quote(string(p.Text(nil, e, n-1))))
		}
		ops := []string{"==", "!="}
		if p.Ordered {
			ops = append(ops, "<", "<=", ">", ">=")
		}
		return fmt.Sprintf("%s %s %s", p.Name, pick(r, ops...), Quote(string(p.Text(nil, e, 0))))
	}
	if p.Kind == event.KindName && r.IntN(2) == 0 {
		return pick(r, fmt.Sprintf("%s.under(%s)", p.Name, value()), fmt.Sprintf("%s.under(%s, %s)", p.Name, value(), value()),
			fmt.Sprintf("domain(%s) == %s", p.Name, value()), fmt.Sprintf("labels(%s) >= %d", p.Name, r.IntN(4)))
	}
	return pick(r,
		fmt.Sprintf("%s == %s", p.Name, value()), fmt.Sprintf("%s != %s", p.Name, value()), fmt.Sprintf("%s in (%s, %s)", p.Name, value(), value()),
		fmt.Sprintf("%s.begins(%s)", p.Name, value()), fmt.Sprintf("%s.ends(%s)", p.Name, value()), fmt.Sprintf("%s.contains(%s)", p.Name, value()),
		fmt.Sprintf("len(%s) > %d", p.Name, r.IntN(16)), fmt.Sprintf("lower(%s) == %s", p.Name, value()), fmt.Sprintf(`%s =~ "^[a-m]"`, p.Name))
}

// parseRandom returns a random expression ready for use, or false where the text
// is none: a part of a name need not be a name.
func parseRandom(r *rand.Rand, e *event.Event, paths []*event.Path, depth int) (*Filter, bool) {
	f, err := Parse(randomExpr(r, e, paths, depth))
	return f, err == nil
}
