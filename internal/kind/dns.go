package kind

import "github.com/dnshark-io/dnshark/event"

var dns = Kind{
	Name:        "net_packet_dns",
	Summary:     "capture DNS packets of both directions",
	Description: "A DNS message was seen, a query or a response, with all its sections.",
	Sets:        []string{SetNetworkEvents},
	Fields: []*event.Field{
		&event.FieldTime, &event.FieldHost, &event.FieldObserver, &event.FieldMetadata,
		&event.FieldDNS, &event.FieldTransaction, &event.FieldProcess,
		&event.FieldServerProcess, &event.FieldReceiver, &event.FieldPolicies,
	},
	DependsOn: []string{"net_packet_dns_base"},
	UseCases: []Item{
		{"Traffic analysis", "queries and responses in one stream, in the order of the wire"},
	},
	Related: []string{"net_packet_dns_request", "net_packet_dns_response"},
	Needs:   NeedMessages | NeedPairing,
	Match:   func(e *event.Event) bool { return e.Class == event.ClassMessage },
}
