package kind

import "github.com/dnshark-io/dnshark/event"

var dnsResponse = Kind{
	Name:    "net_packet_dns_response",
	Summary: "capture DNS response packets",
	Description: "A DNS response was seen: the answer to a query, whatever its response code. It tells the packet's " +
		"metadata, the question, every answer with its TTL and, beside the contract's fields, the whole message, " +
		"the transaction and the process that asked.",
	Sets: []string{SetDefault, SetNetworkEvents},
	Fields: []*event.Field{
		&event.FieldTime, &event.FieldHost, &event.FieldObserver, &event.FieldMetadata, &event.FieldResponse,
		&event.FieldDNS, &event.FieldTransaction, &event.FieldProcess,
		&event.FieldServerProcess, &event.FieldReceiver, &event.FieldPolicies,
	},
	DependsOn: []string{"net_packet_dns_base"},
	UseCases: []Item{
		{"DNS monitoring", "track domain resolutions"},
		{"Network debugging", "diagnose DNS issues"},
		{"Security analysis", "detect DNS-based threats"},
		{"Traffic analysis", "understand DNS patterns"},
	},
	Sections: []Section{
		{"DNS RESPONSE TYPES", "Common response types; every other type is shown too, unknown ones as TYPEnnn:", []Item{
			{"A/AAAA", "IPv4 and IPv6 addresses"},
			{"CNAME", "canonical names"},
			{"MX", "mail exchange servers, with their preference"},
			{"NS", "name servers"},
			{"PTR", "reverse DNS lookups"},
			{"SOA", "start of authority, all seven fields"},
			{"TXT", "text records, as quoted strings"},
			{"SRV", "service records: priority, weight, port and target"},
		}},
		{"RESPONSE COMPONENTS", "Where each element of a response stands:", []Item{
			{"Answer section", "dns_response.dns_answer and dns.answer: resource records"},
			{"Authority section", "dns.authority: authoritative name servers"},
			{"Additional section", "dns.additional and dns.edns: extra information"},
			{"Response codes", "dns.rcode: success or the kind of error"},
			{"Flags", "dns.flags: qr aa tc rd ra z ad cd"},
			{"TTL values", "dns_answer.ttl and dns.answer.ttl: how long a cache may keep the record"},
		}},
		{"SECURITY IMPLICATIONS", "What the event is evidence of:", []Item{
			{"DNS tunneling detection", "sizes, types and names of answers per domain"},
			{"Domain generation algorithms", "names that nobody registered: dns.rcode NXDOMAIN by process"},
			{"DNS-based malware C2", "regular lookups of one name, and what came back"},
			{"Cache poisoning attempts", "transaction.state unsolicited, duplicate and mismatched_question"},
			{"DNS hijacking", "metadata.src_ip: who really answered"},
			{"Zone transfer attempts", "queries of type AXFR and IXFR over TCP, and their answers"},
		}},
	},
	Related: []string{"net_packet_dns", "net_packet_dns_request", "net_packet_ip", "net_packet_tcp", "net_packet_udp"},
	Needs:   NeedMessages | NeedPairing,
	Match: func(e *event.Event) bool {
		return e.Class == event.ClassMessage && e.Msg.Flags.Response()
	},
}
