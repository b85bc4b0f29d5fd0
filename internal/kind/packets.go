package kind

import "github.com/dnshark-io/dnshark/event"

// Protocol numbers (IANA "Protocol Numbers").
const (
	protoTCP = 6
	protoUDP = 17
)

var ip = Kind{
	Name:        "net_packet_ip",
	Aliases:     []string{"net_packet_ipv4", "net_packet_ipv6"},
	Summary:     "IP packet events",
	Description: "An IP packet of either family was seen, on any port. Asking for it makes the kernel copy the headers of every packet.",
	Sets:        []string{SetNetworkEvents},
	Fields: []*event.Field{
		&event.FieldTime, &event.FieldHost, &event.FieldObserver, &event.FieldMetadata, &event.FieldIP, &event.FieldPolicies,
	},
	UseCases: []Item{{"Traffic analysis", "see who talks with whom around a lookup"}},
	Related:  []string{"net_packet_tcp", "net_packet_udp", "net_packet_dns"},
	Needs:    NeedPackets,
	Match:    func(e *event.Event) bool { return e.Class == event.ClassPacket },
}

var tcp = Kind{
	Name:        "net_packet_tcp",
	Summary:     "TCP packet events",
	Description: "A TCP segment over IPv4 or IPv6 was seen, on any port.",
	Sets:        []string{SetNetworkEvents},
	Fields: []*event.Field{
		&event.FieldTime, &event.FieldHost, &event.FieldObserver, &event.FieldMetadata, &event.FieldIP, &event.FieldTCP, &event.FieldPolicies,
	},
	DependsOn: []string{"net_packet_ip"},
	UseCases:  []Item{{"Network debugging", "see connections fail or be reset"}},
	Related:   []string{"net_packet_ip", "net_packet_udp", "net_packet_dns"},
	Needs:     NeedPackets,
	Match: func(e *event.Event) bool {
		return e.Class == event.ClassPacket && e.Meta.Protocol == protoTCP
	},
}

var udp = Kind{
	Name:        "net_packet_udp",
	Summary:     "UDP packet events",
	Description: "A UDP datagram over IPv4 or IPv6 was seen, on any port.",
	Sets:        []string{SetNetworkEvents},
	Fields: []*event.Field{
		&event.FieldTime, &event.FieldHost, &event.FieldObserver, &event.FieldMetadata, &event.FieldIP, &event.FieldUDP, &event.FieldPolicies,
	},
	DependsOn: []string{"net_packet_ip"},
	UseCases:  []Item{{"Network debugging", "see what else runs over UDP"}},
	Related:   []string{"net_packet_ip", "net_packet_tcp", "net_packet_dns"},
	Needs:     NeedPackets,
	Match: func(e *event.Event) bool {
		return e.Class == event.ClassPacket && e.Meta.Protocol == protoUDP
	},
}
