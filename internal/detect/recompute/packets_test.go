package recompute

import (
	"cmp"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/ip4defrag"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/miekg/dns"
	"golang.org/x/net/publicsuffix"
)

// State is what a message is to the queries before it.
type state string

const (
	query       state = "query"
	answered    state = "answered"
	duplicate   state = "duplicate"
	late        state = "late"
	mismatched  state = "mismatched"
	unsolicited state = "unsolicited"
	unanswered  state = "unanswered" // a query, at the moment when its time was out
)

// message is a DNS message of a capture, or what is none on its port.
type message struct {
	time           int64 // ns since the Unix epoch
	from, to       netip.AddrPort
	client, server netip.AddrPort
	tcp            bool
	hops           uint8  // IPv4 TTL or hop limit
	raw            []byte // as on the wire
	*dns.Msg              // nil for what is none
	state          state
	repeat         bool // the client had the same answer before

	// Of the first question, in lower case and without final dot.
	name, registered, labels string
	qtype                    uint16
}

func (m *message) response() bool { return m.Msg != nil && m.Response }

// is reports whether the first question's type is one of those.
func (m *message) is(types ...uint16) bool { return m.name != "" && slices.Contains(types, m.qtype) }

// packets returns the messages of a capture on port 53 in the order in which they were whole.
func packets(t *testing.T, path string) (list []*message) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapgo.NewReader(f)
	if err != nil {
		t.Fatal(path, ": ", err)
	}
	fragments, streams := ip4defrag.NewIPv4Defragmenter(), map[[2]netip.AddrPort]*stream{}
	for {
		data, info, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return list
		}
		if err != nil {
			t.Fatal(path, ": ", err)
		}
		m := message{time: info.Timestamp.UnixNano()}
		p := gopacket.NewPacket(data, r.LinkType(), gopacket.DecodeOptions{NoCopy: true})
		var src, dst netip.Addr
		switch ip := p.NetworkLayer().(type) {
		case *layers.IPv4:
			src, _ = netip.AddrFromSlice(ip.SrcIP)
			dst, _ = netip.AddrFromSlice(ip.DstIP)
			m.hops = ip.TTL
			whole, err := fragments.DefragIPv4WithTimestamp(ip, info.Timestamp)
			if err != nil || whole == nil {
				continue
			}
			if whole != ip {
				p = gopacket.NewPacket(whole.Payload, whole.Protocol.LayerType(), gopacket.Default)
			}
		case *layers.IPv6:
			src, _ = netip.AddrFromSlice(ip.SrcIP)
			dst, _ = netip.AddrFromSlice(ip.DstIP)
			m.hops = ip.HopLimit
		default:
			continue
		}
		switch l := p.TransportLayer().(type) {
		case *layers.UDP:
			m.from, m.to = netip.AddrPortFrom(src, uint16(l.SrcPort)), netip.AddrPortFrom(dst, uint16(l.DstPort))
			if m.from.Port() == 53 || m.to.Port() == 53 {
				list = append(list, m.parse(l.Payload))
			}
		case *layers.TCP:
			m.tcp = true
			m.from, m.to = netip.AddrPortFrom(src, uint16(l.SrcPort)), netip.AddrPortFrom(dst, uint16(l.DstPort))
			if m.from.Port() != 53 && m.to.Port() != 53 {
				continue
			}
			key := [2]netip.AddrPort{m.from, m.to}
			if l.SYN || streams[key] == nil {
				streams[key] = &stream{next: l.Seq, later: map[uint32][]byte{}}
				if l.SYN {
					streams[key].next++
				}
			}
			for _, raw := range streams[key].add(l.Seq, l.Payload) {
				one := m
				list = append(list, one.parse(raw))
			}
		}
	}
}

// stream is one direction of a TCP connection.
type stream struct {
	next  uint32
	later map[uint32][]byte // segments that came early
	held  []byte
}

// add returns the messages that a segment made whole (RFC 1035 section 4.2.2).
func (s *stream) add(seq uint32, data []byte) (list [][]byte) {
	if len(data) > 0 {
		s.later[seq] = data
	}
	for moved := true; moved; {
		moved = false
		for at, segment := range s.later {
			if skip := int32(s.next - at); skip >= 0 {
				delete(s.later, at)
				if int(skip) < len(segment) {
					s.held = append(s.held, segment[skip:]...)
					s.next += uint32(len(segment)) - uint32(skip)
				}
				moved = true
			}
		}
	}
	for len(s.held) >= 2 {
		n := 2 + int(binary.BigEndian.Uint16(s.held))
		if len(s.held) < n {
			break
		}
		list = append(list, slices.Clone(s.held[2:n]))
		s.held = s.held[n:]
	}
	return list
}

func (m *message) parse(raw []byte) *message {
	m.raw = slices.Clone(raw)
	m.client, m.server = m.from, m.to
	msg := &dns.Msg{}
	if msg.Unpack(m.raw) != nil {
		return m
	}
	m.Msg = msg
	if msg.Response {
		m.client, m.server = m.to, m.from
	}
	if len(msg.Question) > 0 {
		q := &msg.Question[0]
		m.qtype, m.name = q.Qtype, canonical(q.Name)
		m.registered, m.labels = registered(m.name)
	}
	return m
}

// canonical returns a name in octets, in lower case and without final dot. A dot inside a
// label becomes an octet that names have not.
func canonical(name string) string {
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c == '\\' && i+3 < len(name) && name[i+1] >= '0' && name[i+1] <= '9' {
			c = (name[i+1]-'0')*100 + (name[i+2]-'0')*10 + name[i+3] - '0'
			i += 3
		} else if c == '\\' && i+1 < len(name) {
			i++
			if c = name[i]; c == '.' {
				c = 0xff
			}
		}
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		b.WriteByte(c)
	}
	return strings.TrimSuffix(b.String(), ".")
}

// registered divides a name into the domain that somebody registered, and what stands
// before it.
func registered(name string) (domain, labels string) {
	domain, err := publicsuffix.EffectiveTLDPlusOne(name)
	if err != nil {
		return "", ""
	}
	return domain, strings.TrimSuffix(strings.TrimSuffix(name, domain), ".")
}

// within reports whether a name is the domain or below it.
func within(name, domain string) bool {
	return domain == "" || name == domain || strings.HasSuffix(name, "."+domain)
}

// timeout is after how long a query counts as unanswered.
const timeout = 5e9

type transaction struct {
	client, server netip.AddrPort
	tcp            bool
	id             uint16
}

type question struct {
	name   string
	qtype  uint16
	qclass uint16
}

// view is a capture as detection sees it: responses and what they are to the queries before
// them, queries, and queries that found no answer, in order.
type view struct {
	messages  []*message
	campaigns map[netip.Addr]int64 // when clients began to ask for made-up names, as alerts told so far
}

// pair tells what each message is to those before it.
func pair(list []*message) *view {
	type open struct {
		*message
		question
	}
	type past struct {
		transaction
		question
	}
	waiting, ended := map[transaction][]open{}, map[past]state{}
	v := &view{campaigns: map[netip.Addr]int64{}}
	var order []open
	expire := func(now int64) {
		for len(order) > 0 && now-order[0].time >= timeout {
			o := order[0]
			order = order[1:]
			key := transaction{o.client, o.server, o.tcp, o.Id}
			at := slices.IndexFunc(waiting[key], func(w open) bool { return w.message == o.message })
			if at < 0 {
				continue
			}
			waiting[key] = slices.Delete(waiting[key], at, at+1)
			ended[past{key, o.question}] = late
			one := *o.message
			one.time, one.state = o.time+timeout, unanswered
			v.messages = append(v.messages, &one)
		}
	}
	for _, m := range list {
		if m.Msg == nil {
			v.messages = append(v.messages, m)
			continue
		}
		expire(m.time)
		key := transaction{m.client, m.server, m.tcp, m.Id}
		q := question{}
		if len(m.Question) > 0 {
			q = question{m.name, m.Question[0].Qtype, m.Question[0].Qclass}
		}
		v.messages = append(v.messages, m)
		if !m.Response {
			m.state = query
			if !slices.ContainsFunc(waiting[key], func(o open) bool { return o.question == q }) {
				waiting[key] = append(waiting[key], open{m, q})
				order = append(order, open{m, q})
			}
			continue
		}
		m.state = unsolicited
		if len(waiting[key]) > 0 {
			m.state = mismatched
		}
		at := slices.IndexFunc(waiting[key], func(o open) bool { return len(m.Question) == 0 || o.question == q })
		if at >= 0 {
			m.state = answered
			ended[past{key, waiting[key][at].question}] = duplicate
			waiting[key] = slices.Delete(waiting[key], at, at+1)
			continue
		}
		if was, ok := ended[past{key, q}]; ok {
			m.state = was
			ended[past{key, q}] = duplicate
		}
	}
	// Captures end before the last queries' time is out.
	last := int64(0)
	for _, m := range list {
		last = max(last, m.time)
	}
	expire(last)
	slices.SortStableFunc(v.messages, func(a, b *message) int { return cmp.Compare(a.time, b.time) })
	v.repeats()
	return v
}

// repeats marks answers that tell a client of a server nothing that it was not told before.
func (v *view) repeats() {
	type content struct {
		client, server netip.Addr
		name           string
		qtype          uint16
		rcode          int
		state          state
		answer         string
	}
	seen := map[content]bool{}
	for _, m := range v.messages {
		if !m.response() || len(m.Question) == 0 {
			continue
		}
		c := content{m.client.Addr(), m.server.Addr(), m.name, m.qtype, m.Rcode, m.state, ""}
		var data []string
		for _, r := range m.Answer[:min(len(m.Answer), 16)] {
			data = append(data, rdata(r))
		}
		slices.Sort(data)
		c.answer = strings.Join(data, "\n")
		m.repeat, seen[c] = seen[c], true
	}
}

// rdata returns a record's data in octets, without compression.
func rdata(r dns.RR) string {
	one := dns.Copy(r)
	one.Header().Name = "."
	b := make([]byte, 1<<16)
	n, err := dns.PackRR(one, b, 0, nil, false)
	if err != nil {
		return r.String()
	}
	return string(b[11:n])
}

// address returns that of an A or AAAA record.
func address(r dns.RR) (a netip.Addr) {
	if r.Header().Class != dns.ClassINET {
		return a
	}
	switch r := r.(type) {
	case *dns.A:
		a, _ = netip.AddrFromSlice(r.A)
	case *dns.AAAA:
		a, _ = netip.AddrFromSlice(r.AAAA)
	}
	return a.Unmap()
}

// inner reports whether an address is of the client's own network or host.
func inner(ip netip.Addr) bool {
	return ip.IsPrivate() || ip.IsLoopback() || ip.IsUnspecified() || ip.IsLinkLocalUnicast() || netip.MustParsePrefix("100.64.0.0/10").Contains(ip)
}

// news tells what is new: what did not come within the time that detectors remember names.
type news map[string]int64

func (n news) add(key string, now int64) bool {
	before, ok := n[key]
	n[key] = now
	return !ok || now-before > remembered
}

func (n news) has(key string, now int64) bool {
	before, ok := n[key]
	return ok && now-before <= remembered
}

const remembered = 3600e9
