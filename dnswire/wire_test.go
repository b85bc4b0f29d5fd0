package dnswire

import (
	"testing"

	"github.com/miekg/dns"
)

// Whatever was compressed, the RDATA stands for itself: miekg/dns reads it
// without the message, and finds what it finds in the message.
func TestAppendWireRData(t *testing.T) {
	m := new(dns.Msg)
	m.SetQuestion("a.example.", dns.TypeANY)
	m.Response, m.Compress = true, true
	for _, text := range []string{
		"a.example. 1 IN A 192.0.2.1", "a.example. 1 IN NS ns.a.example.", "a.example. 1 IN SOA ns.a.example. h.a.example. 1 2 3 4 5",
		"a.example. 1 IN MX 10 mx.a.example.", "a.example. 1 IN SRV 1 2 3 srv.a.example.", `a.example. 1 IN TXT "x" "y"`,
		`a.example. 1 IN NAPTR 1 2 "s" "t" "u" n.a.example.`, "a.example. 1 IN RP r.a.example. s.a.example.",
		"a.example. 1 IN RRSIG A 8 2 300 20261231000000 20261101000000 12345 a.example. AAAA", "a.example. 1 IN NSEC b.a.example. A RRSIG",
		"a.example. 1 IN HTTPS 1 . alpn=h2", "a.example. 1 IN CNAME .",
	} {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	raw, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	var got Message
	if fault := got.Unpack(raw); fault != None {
		t.Fatal(fault)
	}
	shorter := 0
	for i := range got.Answer() {
		r := &got.Answer()[i]
		wire := got.AppendWireRData(nil, r)
		if len(wire) > int(r.Len) {
			shorter++
		}
		h := *m.Answer[i].Header()
		h.Rdlength = uint16(len(wire))
		rr, _, err := dns.UnpackRRWithHeader(h, wire, 0)
		if err != nil || rr.String() != m.Answer[i].String() {
			t.Errorf("%s: %x is %v, %v", m.Answer[i], wire, rr, err)
		}
	}
	if shorter < 3 {
		t.Errorf("only %d records are compressed", shorter)
	}
}
