package decode

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/miekg/dns"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/source"
)

var (
	client = netip.MustParseAddrPort("192.0.2.1:40000")
	server = netip.MustParseAddrPort("192.0.2.53:53")
)

// response returns a response about name.
func response(t testing.TB, id uint16, name string) []byte {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, dns.TypeA)
	m.Id, m.Response = id, true
	raw, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func prefixed(raw []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(raw))), raw...)
}

// ipPacket returns an IPv4 or IPv6 packet.
func ipPacket(src, dst netip.Addr, proto uint8, payload []byte) []byte {
	if src.Is6() {
		p := make([]byte, 40, 40+len(payload))
		p[0], p[6], p[7] = 0x60, proto, 64
		be.PutUint16(p[4:], uint16(len(payload)))
		copy(p[8:], src.AsSlice())
		copy(p[24:], dst.AsSlice())
		return append(p, payload...)
	}
	p := make([]byte, 20, 20+len(payload))
	p[0], p[8], p[9] = 0x45, 64, proto
	be.PutUint16(p[2:], uint16(20+len(payload)))
	copy(p[12:], src.AsSlice())
	copy(p[16:], dst.AsSlice())
	return append(p, payload...)
}

func tcpSegment(src, dst netip.AddrPort, seq uint32, flags uint8, data []byte) []byte {
	h := make([]byte, tcpHeader, tcpHeader+len(data))
	be.PutUint16(h, src.Port())
	be.PutUint16(h[2:], dst.Port())
	be.PutUint32(h[4:], seq)
	h[12], h[13] = 5<<4, flags
	return ipPacket(src.Addr(), dst.Addr(), protoTCP, append(h, data...))
}

func udpDatagram(src, dst netip.AddrPort, data []byte) []byte {
	h := make([]byte, udpHeader, udpHeader+len(data))
	be.PutUint16(h, src.Port())
	be.PutUint16(h[2:], dst.Port())
	be.PutUint16(h[4:], uint16(udpHeader+len(data)))
	return append(h, data...)
}

// lane feeds packets to a decoder and keeps the names of the messages.
type lane struct {
	d     *Decoder
	b     event.Batch
	names []string
	quiet bool // keep no names
	f     source.Frame
}

func newLane(o Options) *lane {
	o.Messages = true
	return &lane{d: New(o)}
}

func (l *lane) see(time int64, packet []byte) {
	l.f = source.Frame{Time: time, Data: packet, WireLen: len(packet), Link: source.LinkRaw}
	l.d.Frame(&l.f, &l.b)
	l.take()
}

func (l *lane) take() {
	if l.quiet {
		l.b.Reset()
		return
	}
	for i := range l.b.Events {
		m := &l.b.Events[i].Msg
		name := "?"
		if len(m.Questions) > 0 {
			name = string(m.AppendName(nil, m.Questions[0].Name))
		}
		l.names = append(l.names, name)
	}
	l.b.Reset()
}

func (l *lane) finish() []string {
	l.d.Flush(&l.b)
	l.take()
	return l.names
}

var links = []source.LinkType{
	source.LinkRaw, source.LinkEthernet, source.LinkNull, source.LinkLoop, source.LinkPPP, source.LinkSLL,
	source.LinkSLL2, source.LinkFDDI, source.LinkWiFi, source.LinkRadiotap, 65000,
}

func (l *lane) frame(link source.LinkType, octets []byte) {
	l.d.Frame(&source.Frame{Data: octets, WireLen: len(octets), Link: link}, &l.b)
	l.take()
}
