package recompute

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/dnshark-io/dnshark/internal/testkit"
)

// maker writes captures in which every kind of alert is at least once; the labelled ones
// are not part of the project, and lack some.
type maker struct {
	t       *testing.T
	capture *testkit.Capture
	now     int64
	id      uint16
	server  netip.AddrPort
	streams map[netip.AddrPort]*[2]uint32
}

const second = 1e9

// made writes the captures and returns their paths.
func made(t *testing.T) (paths []string) {
	for name, write := range map[string]func(*maker){
		"program": (*maker).program, "notdns": (*maker).notDNS, "walk": (*maker).walk, "transfers": (*maker).transfers,
		"tunnel": (*maker).tunnel, "beacon": (*maker).beacon, "words": (*maker).words, "dga": (*maker).madeUp, "slow": (*maker).slowReplies,
		"types": (*maker).types, "upload": (*maker).upload, "flux": (*maker).flux, "hijack": (*maker).hijack, "poison": (*maker).poison,
	} {
		path := filepath.Join(t.TempDir(), name+".pcap")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		capture, err := testkit.NewCapture(f)
		if err != nil {
			t.Fatal(err)
		}
		write(&maker{t: t, capture: capture, now: 1_800_000_000 * second, server: netip.MustParseAddrPort("192.0.2.53:53"), streams: map[netip.AddrPort]*[2]uint32{}})
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

func client(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(100 + n)}), 40000)
}

// send writes a message a millisecond later than the one before.
func (c *maker) send(from, to netip.AddrPort, raw []byte) {
	c.now += second / 1000
	if err := c.capture.UDP(c.now, from, to, raw); err != nil {
		c.t.Fatal(err)
	}
}

func (c *maker) pack(m *dns.Msg) []byte {
	raw, err := m.Pack()
	if err != nil {
		c.t.Fatal(err)
	}
	return raw
}

// ask writes a query and returns the beginning of its answer.
func (c *maker) ask(from netip.AddrPort, name string, qtype uint16) *dns.Msg {
	q := &dns.Msg{Question: []dns.Question{{Name: name, Qtype: qtype, Qclass: dns.ClassINET}}}
	c.id++
	q.Id = c.id
	c.send(from, c.server, c.pack(q))
	r := &dns.Msg{}
	return r.SetReply(q)
}

func (c *maker) answer(to netip.AddrPort, m *dns.Msg, records ...string) {
	for _, text := range records {
		m.Answer = append(m.Answer, c.record(text))
	}
	c.send(c.server, to, c.pack(m))
}

func (c *maker) record(text string) dns.RR {
	r, err := dns.NewRR(text)
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

// stream writes messages in one TCP segment each, behind a handshake if there was none.
func (c *maker) stream(from, to netip.AddrPort, m *dns.Msg) {
	asks, back := from, 0
	if m.Response {
		asks, back = to, 1
	}
	s := c.streams[asks]
	write := func(a, b netip.AddrPort, flags uint8, seq uint32, data []byte) {
		c.now += second / 1000
		if err := c.capture.TCP(c.now, a, b, flags, seq, 0, data); err != nil {
			c.t.Fatal(err)
		}
	}
	if s == nil {
		s = &[2]uint32{1, 1}
		c.streams[asks] = s
		write(from, to, testkit.SYN, 0, nil)
		write(to, from, testkit.SYN|testkit.ACK, 0, nil)
	}
	raw := c.pack(m)
	raw = append(binary.BigEndian.AppendUint16(nil, uint16(len(raw))), raw...)
	write(from, to, testkit.ACK|testkit.PSH, s[back], raw)
	s[back] += uint32(len(raw))
}

func (c *maker) program() {
	const text = "powershell -nop -w hidden -c iex(new-object net.webclient)"
	for i, text := range []string{text, "v=" + base64.StdEncoding.EncodeToString([]byte(text+"  ")), hex.EncodeToString([]byte(text))} {
		from := client(i)
		c.answer(from, c.ask(from, "a1.stage-host.com.", dns.TypeTXT), `a1.stage-host.com. 60 IN TXT "first" "of"`, fmt.Sprintf("a1.stage-host.com. 60 IN TXT %q", text))
	}
}

func (c *maker) notDNS() {
	from := client(0)
	for i := range 3 {
		c.answer(from, c.ask(from, fmt.Sprintf("login%d.vpn-host.com.", i), dns.TypeNULL))
	}
	for i := range 200 {
		junk := []byte(strings.Repeat("\x10\xd1\x9e", 20+i%30))
		if i%3 == 0 {
			c.send(from, c.server, junk)
		} else {
			c.send(c.server, from, junk)
		}
	}
}

func (c *maker) walk() {
	from := client(0)
	name := func(i int) string { return fmt.Sprintf("host%02d.signed-zone.com.", i) }
	for i := range 40 {
		asked := name(i)
		if i%2 == 1 {
			asked = `\000.` + asked
		}
		m := c.ask(from, asked, dns.TypeA)
		m.Ns = append(m.Ns, c.record(name(i)+" 60 IN NSEC "+name(i+1)+" A RRSIG NSEC"))
		c.answer(from, m)
		c.now += second
	}
}

func (c *maker) transfers() {
	transfer := func(from netip.AddrPort, zone string, qtype uint16) (*dns.Msg, func(*dns.Msg)) {
		q := &dns.Msg{Question: []dns.Question{{Name: zone, Qtype: qtype, Qclass: dns.ClassINET}}}
		c.id++
		q.Id = c.id
		c.stream(from, c.server, q)
		r := &dns.Msg{}
		return r.SetReply(q), func(m *dns.Msg) { c.stream(c.server, from, m) }
	}
	for i := range 300 { // more zones than are told apart; some twice
		from := client(0)
		if i < 12 {
			from = client(1)
		}
		m, send := transfer(from, fmt.Sprintf("zone%d.com.", i-i%3), dns.TypeAXFR)
		m.Rcode = dns.RcodeRefused
		send(m)
		m, send = transfer(from, fmt.Sprintf("other%d.com.", i), dns.TypeAXFR)
		m.Rcode = dns.RcodeNotAuth
		send(m)
	}
	soa := c.record("zone.com. 60 IN SOA ns.zone.com. mail.zone.com. 5 1 1 1 1")
	for i, qtype := range []uint16{dns.TypeAXFR, dns.TypeIXFR} {
		from := client(2 + i)
		m, send := transfer(from, "zone.com.", qtype)
		m.Compress, m.Answer = true, []dns.RR{soa}
		for j := range 400 {
			m.Answer = append(m.Answer, c.record(fmt.Sprintf("host%d.zone.com. 60 IN A 192.0.2.1", j)))
		}
		send(m)
		more := *m
		more.Question, more.Answer = nil, append(m.Answer[100:300:300], soa)
		send(&more)
		m, send = transfer(from, "zone.com.", qtype) // and one that breaks off
		m.Answer = []dns.RR{soa, c.record("host.zone.com. 60 IN A 192.0.2.1")}
		send(m)
	}
	from := client(3)
	m := c.ask(from, "zone.com.", dns.TypeIXFR)
	m.Answer = []dns.RR{soa}
	c.answer(from, m)
}

// tunnel has queries without answer, repeats, and octets that names escape.
func (c *maker) tunnel() {
	from := client(0)
	for i := range 300 {
		name := fmt.Sprintf(`%05d\200\.\201\"\\payload.t.tunnel-host.com.`, i)
		m := c.ask(from, name, dns.TypeTXT)
		if i%7 == 3 {
			continue
		}
		text := fmt.Sprintf("%s 0 IN TXT \"%060d\"", name, i-i%2)
		c.answer(from, m, text)
		if i%5 == 0 {
			c.answer(from, c.ask(from, name, dns.TypeTXT), text)
		}
		c.now += int64(i%11) * second / 3
	}
}

// beacon tells in names, and gets nothing.
func (c *maker) beacon() {
	from := client(0)
	for i := range 100 {
		m := c.ask(from, fmt.Sprintf("s%03dx.beacon-host.com.", i*7), dns.TypeA)
		m.Rcode = dns.RcodeNameError
		c.answer(from, m)
		c.now += int64(50+i%17) * second
		if i == 60 {
			c.now += 600 * second // the host slept
		}
	}
}

// madeUp are many names that do not exist, and one that does.
func (c *maker) madeUp() {
	from, x := client(0), uint32(1)
	for i := range 90 {
		label := []byte("............")
		for j := range label {
			x = x*1664525 + 1013904223
			label[j] = 'a' + byte(x>>16)%26
		}
		name := string(label) + ".com."
		m := c.ask(from, name, dns.TypeA)
		if i == 70 {
			c.answer(from, m, name+" 60 IN A 198.51.100.7")
		} else {
			m.Rcode = dns.RcodeNameError
			c.answer(from, m)
		}
		c.now += 20 * second
	}
}

// words are names of which some share words, some are single and some are of no words: no
// program makes such, so that they are not called made up together, at least by the model
// that they were chosen with.
func (c *maker) words() {
	from := client(0)
	for _, name := range strings.Fields(`cloudstudio.info forestmypaper.net photomysummer.de coffeeqmk.co.uk sunnyvaleelementary.org
		housephoto.com photomymarket.net castleoxrnzjhif.fr smithandsonsroofing24.com.au bncmfaerbt.de uni-bremenhafen-online.de
		housephoto.net bridgeeybaryttn.fr winterfkqhwldmxtq.info marketldrh.info cloudsriver.de qthdlcuhq.net bridgehmmeqeyk.de
		clouddesign.com design-garden.net iwztonb.com gardensmarket.org thecornershop24.ie riverzzsyogyrh.de cloudsummer.fr
		atydxbgkwr.fr healthmusic.net healthghwccz.net xbklycwx.org clwnijl.com stone-winter.com housemohefc.de
		studiozwdteypzm.co.uk cloudtravel.net designjxtxkntossj.com gyondpm.org`) {
		m := c.ask(from, name+".", dns.TypeA)
		m.Rcode = dns.RcodeNameError
		c.answer(from, m)
		c.now += 20 * second
	}
}

// slowReplies come with the same id for names that others are asked for too.
func (c *maker) slowReplies() {
	from := client(0)
	for i := range 120 {
		c.answer(from, c.ask(from, fmt.Sprintf("www%d.site%d.com.", i, i), dns.TypeA), fmt.Sprintf("www%d.site%d.com. 60 IN A 198.51.100.7", i, i))
		m := &dns.Msg{Question: []dns.Question{{Name: "login.bank-host.com.", Qtype: dns.TypeA, Qclass: dns.ClassINET}}}
		m.Id, m.Response = 7, true
		c.answer(from, m, "login.bank-host.com. 60 IN A 203.0.113.9")
		c.now += 17 * second
	}
}

// types has a tunnel in odd types, and one in aliases that lead nowhere.
func (c *maker) types() {
	for i := range 100 {
		from := client(0)
		name := fmt.Sprintf("%032x.k.key-host.com.", i)
		c.answer(from, c.ask(from, name, 65399), fmt.Sprintf(`%s 0 IN TYPE65399 \# 40 %080x`, name, i-i%3))
		name = fmt.Sprintf("%020x.c.cname-host.com.", i)
		target := fmt.Sprintf(`h%04dabcdefgh\201.xo.`, i)
		if i%4 == 0 {
			target = "www.cname-host.com."
		}
		c.answer(from, c.ask(from, name, dns.TypeMX), name+" 0 IN MX 10 "+target, name+" 0 IN MX 20 x"+target)
	}
}

// upload sends in names, over the edge of an hour.
func (c *maker) upload() {
	from := client(0)
	for i := range 150 {
		name := fmt.Sprintf("%050d.%04d.upload-host.com.", i*i, i)
		m := c.ask(from, name, dns.TypeA)
		switch i % 5 {
		case 0:
			m.Rcode = dns.RcodeNameError
			c.answer(from, m)
		case 1: // nobody answers
		default:
			c.answer(from, m, name+" 60 IN A 198.51.100.7")
		}
		c.now += 37 * second
	}
}

func (c *maker) flux() {
	for i := range 60 {
		from := client(i % 3)
		m := c.ask(from, "shop.flux-host.com.", dns.TypeA)
		for j := range 4 {
			m.Answer = append(m.Answer, c.record(fmt.Sprintf("shop.flux-host.com. %d IN A %d.%d.7.%d", 60+i, 20+i%40, i*3+j, 1+j)))
		}
		c.answer(from, m)
		if i%4 == 0 { // what another is told of it at once
			again := c.ask(client(5), "shop.flux-host.com.", dns.TypeA)
			again.Answer = m.Answer
			c.answer(client(5), again)
		}
		c.now += 200 * second
	}
}

// hijack has names that move to one address, at the usual server and at another one, names
// that should not exist, and one that moves into the client's network.
func (c *maker) hijack() {
	usual, rogue := c.server, netip.MustParseAddrPort("203.0.113.53:53")
	tell := func(n int, name, address string) {
		c.answer(client(n), c.ask(client(n), name, dns.TypeA), name+" 60 IN A "+address)
		c.now += 5 * second
	}
	site := func(i int) string { return fmt.Sprintf("www.site%d.com.", i) }
	for i := range 30 {
		tell(0, site(i), fmt.Sprintf("198.18.%d.1", i))
		tell(1, fmt.Sprintf("www.other%d.com.", i), "198.19.0.1")
	}
	for i := range 12 {
		tell(i%2, site(i), "203.0.113.77")
	}
	c.server = rogue
	for i := range 12 {
		tell(0, site(12+i), "203.0.113.99")
	}
	c.server = usual
	for i := range 40 {
		tell(0, fmt.Sprintf("%s%dxq.com.", []string{"xkqzvjw", "qwrtzpl", "zzxkvbn", "jqhgkfd", "vbnmxqz"}[i%5], i*7919%9973), "203.0.113.111")
	}
	tell(0, "a.rebind-host.com.", "198.51.100.1")
	tell(0, "a.rebind-host.com.", "192.168.1.1")
}

// poison has second answers of another's, and records that nobody asked for.
func (c *maker) poison() {
	from := client(0)
	for i := range 20 {
		name := fmt.Sprintf("www%d.raced-host.com.", i)
		m := c.ask(from, name, dns.TypeA)
		c.answer(from, m, name+" 60 IN A 203.0.113.5")
		if i%2 == 0 { // the true one
			m.Answer = nil
			c.answer(from, m, fmt.Sprintf("%s 60 IN A 198.51.%d.7", name, i))
		}
		name = fmt.Sprintf("www%d.careless-host.com.", i)
		m = c.ask(from, name, dns.TypeA)
		m.Ns = []dns.RR{c.record("careless-host.com. 60 IN NS ns.elsewhere.net.")}
		m.Extra = []dns.RR{c.record("ns.elsewhere.net. 60 IN A 203.0.113.6")}
		if i%3 == 0 {
			m.Ns = append(m.Ns, c.record("bank-host.net. 60 IN NS ns.elsewhere.net."))
			m.Extra = append(m.Extra, c.record("www.bank-host.net. 60 IN A 203.0.113.6"))
		}
		c.answer(from, m, name+" 60 IN A 203.0.113.8")
		c.now += second
	}
}
