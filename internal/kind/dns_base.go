package kind

var dnsBase = Kind{
	Name:     "net_packet_dns_base",
	Summary:  "base DNS packet processing",
	Internal: true,
	Description: "Picks the packets of the DNS ports, puts fragments and TCP streams together and reads the messages. " +
		"Every DNS event is made of it.",
	DependsOn: []string{"net_packet_ip", "net_packet_tcp", "net_packet_udp"},
	Related:   []string{"net_packet_dns", "net_packet_dns_request", "net_packet_dns_response", "net_packet_dns_unanswered"},
	Needs:     NeedMessages,
}
