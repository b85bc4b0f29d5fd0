package decode

import (
	"strconv"

	"github.com/dnshark-io/dnshark/dnswire"
)

// Stats counts what a Decoder met, from its making on. A field counts packets
// unless it says otherwise.
type Stats struct {
	Frames   uint64 // frames handed in
	IPv4     uint64 // IPv4 packets, those inside tunnels and fragments included
	IPv6     uint64
	UDP      uint64 // datagrams on a DNS port
	TCP      uint64 // segments on a DNS port
	Messages uint64 // DNS messages emitted
	Packets  uint64 // events of IP packets emitted

	// What became of frames and reassembled datagrams, beside UDP and TCP.
	Fragments uint64 // fragments of which a datagram may be made
	Other     uint64 // not DNS, as far as one can tell
	Dropped   uint64 // not to be read; the reason is counted below

	// What became of messages.
	Whole     uint64 // nothing is wrong with them
	Flagged   uint64 // whole, but something is odd; see Anomalies
	Partial   uint64 // the capture holds only their beginning
	Malformed uint64 // not to be read to their end; see Broken

	// Broken counts the messages that could not be read to their end, each
	// under the one reason for it, Anomalies every message under each thing
	// that is odd about it.
	Broken    [dnswire.NumAnomalies]uint64
	Anomalies [dnswire.NumAnomalies]uint64

	LinkUnknown  uint64 // frames of a link type that is not known
	LinkShort    uint64 // frames that end within a link layer header
	NotIP        uint64 // frames that hold something else, as ARP
	VLANDepth    uint64 // more than 4 VLAN tags; decoded up to 16
	MPLSDepth    uint64 // more than 16 labels
	TunnelDepth  uint64 // more tunnels than Options.MaxTunnels
	TunnelHeader uint64 // tunnel header cut or impossible
	// TunnelDuplicate counts packets of DNS ports that were read already,
	// wrapped or bare.
	TunnelDuplicate uint64

	IPHeader        uint64 // IP header cut or impossible
	IPLength        uint64 // total length less than the headers (dropped) or more than the frame (decoded)
	ExtensionHeader uint64 // IPv6 extension header or AH cut
	ExtensionLimit  uint64 // more than 16 IPv6 extension headers

	FragReassembled uint64 // datagrams put together
	FragOverlap     uint64 // fragments that overlap others: IPv4 keeps the first octets, IPv6 drops the datagram (RFC 5722)
	FragLength      uint64 // fragments with an impossible length
	FragTooBig      uint64 // datagrams over 65,535 octets or 512 fragments
	FragTimeout     uint64 // datagrams that stayed incomplete 30 s after their last fragment
	FragEvicted     uint64 // datagrams dropped to keep the memory bound

	UDPLength     uint64 // UDP length under 8 (dropped) or over the packet (decoded)
	ShortHeader   uint64 // messages under 12 octets, not emitted
	SnapTruncated uint64 // packets of DNS ports cut by the snaplen, decoded as far as they go

	TCPHeader          uint64 // TCP header cut or impossible
	TCPZeroLength      uint64 // messages of length 0
	TCPRetransmitted   uint64 // segments without a new octet
	TCPOutOfOrder      uint64 // segments that came before an earlier one
	TCPOverlapConflict uint64 // segments that repeat octets with other values; the first win
	TCPGap             uint64 // holes that were given up
	TCPOutOfWindow     uint64 // segments too far from the others to belong to the stream
	TCPMidstream       uint64 // streams taken up without a SYN
	TCPResync          uint64 // message boundaries found again after a loss
	TCPIncomplete      uint64 // messages that broke off: RST, FIN, gap or timeout
	TCPMemory          uint64 // segments that found no memory
	TCPEvicted         uint64 // streams dropped to keep the memory bound
	NotDNS             uint64 // TCP streams on a DNS port that speak something else
}

// statNames are the counters' names in reports, in the order of Stats.
var statNames = [...]string{
	"frames", "ipv4", "ipv6", "udp", "tcp", "messages", "packets",
	"fragments", "other", "dropped", "whole", "flagged", "partial", "malformed",
	"link_unknown", "link_short", "not_ip", "vlan_depth", "mpls_depth", "tunnel_depth", "tunnel_header", "tunnel_duplicate",
	"ip_header", "ip_len", "ext_header", "ext_header_limit",
	"ip_frag_reassembled", "ip_frag_overlap", "ip_frag_len", "ip_frag_too_big", "ip_frag_timeout", "ip_frag_evicted",
	"udp_len", "short_header", "snap_truncated",
	"tcp_header", "tcp_zero_length", "tcp_retransmitted", "tcp_out_of_order", "tcp_overlap_conflict", "tcp_gap",
	"tcp_out_of_window", "tcp_midstream", "tcp_resync", "tcp_incomplete", "tcp_memory", "tcp_evicted", "not_dns",
}

// values returns the counters in the order of statNames.
func (s *Stats) values() [len(statNames)]uint64 {
	return [...]uint64{
		s.Frames, s.IPv4, s.IPv6, s.UDP, s.TCP, s.Messages, s.Packets,
		s.Fragments, s.Other, s.Dropped, s.Whole, s.Flagged, s.Partial, s.Malformed,
		s.LinkUnknown, s.LinkShort, s.NotIP, s.VLANDepth, s.MPLSDepth, s.TunnelDepth, s.TunnelHeader, s.TunnelDuplicate,
		s.IPHeader, s.IPLength, s.ExtensionHeader, s.ExtensionLimit,
		s.FragReassembled, s.FragOverlap, s.FragLength, s.FragTooBig, s.FragTimeout, s.FragEvicted,
		s.UDPLength, s.ShortHeader, s.SnapTruncated,
		s.TCPHeader, s.TCPZeroLength, s.TCPRetransmitted, s.TCPOutOfOrder, s.TCPOverlapConflict, s.TCPGap,
		s.TCPOutOfWindow, s.TCPMidstream, s.TCPResync, s.TCPIncomplete, s.TCPMemory, s.TCPEvicted, s.NotDNS,
	}
}

// Evicted returns what of Stats was dropped to keep memory bound: FragEvicted, TCPMemory and
// TCPEvicted.
func (d *Decoder) Evicted() (datagrams, segments, streams uint64) {
	return d.stats.FragEvicted, d.stats.TCPMemory, d.stats.TCPEvicted
}

// drop counts a frame that cannot be read, and why.
func (d *Decoder) drop(reason *uint64) {
	*reason++
	d.stats.Dropped++
}

// message counts a message, which lacks missing octets.
func (s *Stats) message(m *dnswire.Message, broken dnswire.Anomaly, missing int) {
	if broken != dnswire.None {
		s.Broken[broken]++
	}
	switch {
	case missing > 0:
		s.Partial++
	case broken != dnswire.None:
		s.Malformed++
	case !m.Anomalies.Empty():
		s.Flagged++
	default:
		s.Whole++
	}
	if m.Anomalies.Empty() {
		return
	}
	for a := range dnswire.Anomaly(dnswire.NumAnomalies) {
		if m.Anomalies.Has(a) {
			s.Anomalies[a]++
		}
	}
}

// Each calls f with every counter of packets and its name, in a fixed order.
func (s *Stats) Each(f func(name string, n uint64)) {
	for i, n := range s.values() {
		f(statNames[i], n)
	}
}

// String returns "12 frames, 10 ipv4, ...; broken: 1 ptr_loop; odd: ...", without
// the counters that are 0.
func (s Stats) String() string {
	var text []byte
	s.Each(func(name string, n uint64) {
		if n > 0 {
			text = appendCount(text, ", ", n, name)
		}
	})
	if len(text) == 0 {
		text = append(text, "0 frames"...)
	}
	text = appendCounts(text, "; broken: ", &s.Broken)
	text = appendCounts(text, "; odd: ", &s.Anomalies)
	return string(text)
}

func appendCount(text []byte, separator string, n uint64, name string) []byte {
	if len(text) > 0 {
		text = append(text, separator...)
	}
	text = strconv.AppendUint(text, n, 10)
	return append(append(text, ' '), name...)
}

func appendCounts(text []byte, separator string, counts *[dnswire.NumAnomalies]uint64) []byte {
	for a, n := range counts {
		if n > 0 {
			text = appendCount(text, separator, n, dnswire.Anomaly(a).String())
			separator = ", "
		}
	}
	return text
}
