package decode

import (
	"fmt"
	"strings"

	"github.com/dnshark-io/dnshark/dnswire"
)

// Stats counts what a Decoder met. Frames and packets that are not DNS are no
// fault and have no counter of their own.
type Stats struct {
	Frames   uint64
	Messages uint64 // DNS messages, broken ones included
	// Broken counts the messages that could not be read to their end, each
	// under the one reason for it; Anomalies counts messages under everything
	// odd about them.
	Broken    [dnswire.NumAnomalies]uint64
	Anomalies [dnswire.NumAnomalies]uint64

	LinkUnknown     uint64 // link layer or ethertype that is not IP
	LinkShort       uint64
	TagDepth        uint64 // more VLAN tags or MPLS labels than anybody uses
	TunnelDepth     uint64
	TunnelDuplicate uint64 // packets that were read already, wrapped or bare
	IPLength        uint64 // header or total length that cannot be
	ExtensionLimit  uint64
	FragmentParts   uint64 // fragments put aside
	FragmentOverlap uint64
	FragmentTooBig  uint64
	FragmentTimeout uint64
	FragmentEvicted uint64
	UDPLength       uint64 // UDP length field that does not fit the packet
	TCPHeader       uint64
	SnapTruncated   uint64 // packets whose end the capture does not hold
	ShortHeader     uint64 // fewer octets than a DNS header
	TCPZeroLength   uint64
	TCPGap          uint64
	TCPOverlap      uint64 // retransmissions with other octets
	TCPOutOfWindow  uint64
	TCPIncomplete   uint64 // messages whose end never came
	TCPEvicted      uint64
	NotDNS          uint64 // streams on a DNS port that carry something else
	TCPMuted        uint64 // segments of such streams
}

// String lists the counters that are not zero.
func (s Stats) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d frames, %d messages", s.Frames, s.Messages)
	for _, c := range []struct {
		n    uint64
		name string
	}{
		{s.LinkUnknown, "link_unknown"}, {s.LinkShort, "link_short"}, {s.TagDepth, "tag_depth"},
		{s.TunnelDepth, "tunnel_depth"}, {s.TunnelDuplicate, "tunnel_duplicate"}, {s.IPLength, "ip_len"}, {s.ExtensionLimit, "ext_header_limit"},
		{s.FragmentParts, "ip_fragments"}, {s.FragmentOverlap, "ip_frag_overlap"}, {s.FragmentTooBig, "ip_frag_too_big"},
		{s.FragmentTimeout, "ip_frag_timeout"}, {s.FragmentEvicted, "ip_frag_evicted"}, {s.UDPLength, "udp_len"},
		{s.TCPHeader, "tcp_header"}, {s.SnapTruncated, "snap_truncated"}, {s.ShortHeader, "short_header"},
		{s.TCPZeroLength, "tcp_zero_length"}, {s.TCPGap, "tcp_gap"}, {s.TCPOverlap, "tcp_overlap_conflict"},
		{s.TCPOutOfWindow, "tcp_out_of_window"}, {s.TCPIncomplete, "tcp_incomplete"}, {s.TCPEvicted, "tcp_evicted"},
		{s.NotDNS, "not_dns"}, {s.TCPMuted, "tcp_muted"},
	} {
		if c.n > 0 {
			fmt.Fprintf(&b, ", %d %s", c.n, c.name)
		}
	}
	list(&b, "broken", &s.Broken)
	list(&b, "odd", &s.Anomalies)
	return b.String()
}

func list(b *strings.Builder, title string, counts *[dnswire.NumAnomalies]uint64) {
	separator := "; " + title + ": "
	for a, n := range counts {
		if n > 0 {
			fmt.Fprintf(b, "%s%d %v", separator, n, dnswire.Anomaly(a))
			separator = ", "
		}
	}
}

func (s *Stats) count(m *dnswire.Message) {
	for a := range dnswire.Anomaly(dnswire.NumAnomalies) {
		if m.Anomalies.Has(a) {
			s.Anomalies[a]++
		}
	}
}
