// Command reference is the pipeline that one would build from well-known parts:
// gopacket's layers, defragmentation and TCP assembly, miekg/dns for messages,
// encoding/json for one event per response. It shows the fields of the
// net_packet_dns_response contract, and does not pair questions with answers.
package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/ip4defrag"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/gopacket/gopacket/tcpassembly"
	"github.com/miekg/dns"
)

// The event, with the contract's names.
type (
	event struct {
		Time     time.Time  `json:"time"`
		Event    string     `json:"event"`
		Metadata metadata   `json:"metadata"`
		Response []response `json:"dns_response"`
	}
	metadata struct {
		SrcIP     netip.Addr `json:"src_ip"`
		DstIP     netip.Addr `json:"dst_ip"`
		SrcPort   uint16     `json:"src_port"`
		DstPort   uint16     `json:"dst_port"`
		Protocol  uint8      `json:"protocol"`
		PacketLen uint32     `json:"packet_len"`
		Iface     string     `json:"iface"`
	}
	query struct {
		Query string `json:"query"`
		Type  string `json:"query_type"`
		Class string `json:"query_class"`
	}
	answer struct {
		Type   string `json:"answer_type"`
		TTL    uint32 `json:"ttl"`
		Answer string `json:"answer"`
	}
	response struct {
		Query  query    `json:"query_data"`
		Answer []answer `json:"dns_answer"`
	}
)

type pipeline struct {
	out       *json.Encoder
	responses int
	at        metadata // of the packet at hand
}

func (p *pipeline) message(b []byte, t time.Time, meta metadata) {
	var m dns.Msg
	if m.Unpack(b) != nil || !m.Response {
		return
	}
	e := event{Time: t, Event: "net_packet_dns_response", Metadata: meta, Response: []response{}}
	for _, q := range m.Question {
		r := response{Query: query{q.Name, dns.Type(q.Qtype).String(), dns.Class(q.Qclass).String()}, Answer: []answer{}}
		for _, rr := range m.Answer {
			h := rr.Header()
			text := strings.TrimPrefix(rr.String(), h.String())
			r.Answer = append(r.Answer, answer{dns.Type(h.Rrtype).String(), h.Ttl, text})
		}
		e.Response = append(e.Response, r)
	}
	if err := p.out.Encode(&e); err != nil {
		fmt.Fprintln(os.Stderr, "reference:", err)
		os.Exit(1)
	}
	p.responses++
}

// stream is one direction of a connection.
type stream struct {
	p    *pipeline
	meta metadata
	buf  []byte
	lost bool
}

// New implements tcpassembly.StreamFactory.
func (p *pipeline) New(_, _ gopacket.Flow) tcpassembly.Stream { return &stream{p: p, meta: p.at} }

// Reassembled implements tcpassembly.Stream.
func (s *stream) Reassembled(parts []tcpassembly.Reassembly) {
	for _, part := range parts {
		s.lost = s.lost || part.Skip > 0
		if s.lost || s.meta.SrcPort != 53 {
			return
		}
		s.buf = append(s.buf, part.Bytes...)
		b := s.buf
		for len(b) >= 2 {
			n := int(binary.BigEndian.Uint16(b))
			if len(b) < 2+n {
				break
			}
			s.p.message(b[2:2+n], part.Seen, s.meta)
			b = b[2+n:]
		}
		s.buf = append(s.buf[:0], b...)
	}
}

// ReassemblyComplete implements tcpassembly.Stream.
func (s *stream) ReassemblyComplete() {}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: reference FILE")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "reference:", err)
		os.Exit(1)
	}
}

func run(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := pcapgo.NewReader(bufio.NewReaderSize(f, 1<<20))
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(os.Stdout, 64<<10)
	p := &pipeline{out: json.NewEncoder(w)}
	p.out.SetEscapeHTML(false)
	var (
		eth     layers.Ethernet
		ip4     layers.IPv4
		ip6     layers.IPv6
		udp     layers.UDP
		tcp     layers.TCP
		payload gopacket.Payload
		decoded []gopacket.LayerType
	)
	parser := gopacket.NewDecodingLayerParser(layers.LayerTypeEthernet, &eth, &ip4, &ip6, &udp, &tcp, &payload)
	parser.IgnoreUnsupported = true
	defrag := ip4defrag.NewIPv4Defragmenter()
	assembler := tcpassembly.NewAssembler(tcpassembly.NewStreamPool(p))
	for {
		data, info, err := r.ZeroCopyReadPacketData()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if parser.DecodeLayers(data, &decoded) != nil {
			continue
		}
		var network gopacket.Flow
		for _, l := range decoded {
			switch l {
			case layers.LayerTypeIPv4:
				network = ip4.NetworkFlow()
				p.at.SrcIP, _ = netip.AddrFromSlice(ip4.SrcIP)
				p.at.DstIP, _ = netip.AddrFromSlice(ip4.DstIP)
				p.at.Protocol, p.at.PacketLen = uint8(ip4.Protocol), uint32(ip4.Length)
				if ip4.Flags&layers.IPv4MoreFragments == 0 && ip4.FragOffset == 0 {
					continue
				}
				// The defragmenter keeps what it is given.
				own := ip4
				own.Contents, own.Payload = append([]byte(nil), ip4.Contents...), append([]byte(nil), ip4.Payload...)
				own.SrcIP, own.DstIP = append([]byte(nil), ip4.SrcIP...), append([]byte(nil), ip4.DstIP...)
				whole, err := defrag.DefragIPv4WithTimestamp(&own, info.Timestamp)
				if err != nil || whole == nil || whole.Protocol != layers.IPProtocolUDP || udp.DecodeFromBytes(whole.Payload, gopacket.NilDecodeFeedback) != nil {
					continue
				}
				p.at.PacketLen = uint32(whole.Length)
				p.udp(&udp, info.Timestamp)
			case layers.LayerTypeIPv6:
				network = ip6.NetworkFlow()
				p.at.SrcIP, _ = netip.AddrFromSlice(ip6.SrcIP)
				p.at.DstIP, _ = netip.AddrFromSlice(ip6.DstIP)
				p.at.Protocol, p.at.PacketLen = uint8(ip6.NextHeader), 40+uint32(ip6.Length)
			case layers.LayerTypeUDP:
				p.udp(&udp, info.Timestamp)
			case layers.LayerTypeTCP:
				p.at.SrcPort, p.at.DstPort = uint16(tcp.SrcPort), uint16(tcp.DstPort)
				if tcp.SrcPort == 53 {
					assembler.AssembleWithTimestamp(network, &tcp, info.Timestamp)
				}
			}
		}
	}
	assembler.FlushAll()
	fmt.Fprintln(os.Stderr, "reference: responses:", p.responses)
	return w.Flush()
}

func (p *pipeline) udp(udp *layers.UDP, t time.Time) {
	if udp.SrcPort == 53 {
		p.at.SrcPort, p.at.DstPort = uint16(udp.SrcPort), uint16(udp.DstPort)
		p.message(udp.Payload, t, p.at)
	}
}
