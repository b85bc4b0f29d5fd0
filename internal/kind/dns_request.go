package kind

import "github.com/dnshark-io/dnshark/event"

var dnsRequest = Kind{
	Name:        "net_packet_dns_request",
	Summary:     "capture DNS query packets",
	Description: "A DNS query was seen, with its questions and, beside them, the whole message and the process that asks.",
	Sets:        []string{SetNetworkEvents},
	Fields: []*event.Field{
		&event.FieldTime, &event.FieldHost, &event.FieldObserver, &event.FieldMetadata, &event.FieldQuestions,
		&event.FieldDNS, &event.FieldTransaction, &event.FieldProcess,
		&event.FieldServerProcess, &event.FieldPolicies,
	},
	DependsOn: []string{"net_packet_dns_base"},
	UseCases: []Item{
		{"DNS monitoring", "see what is asked, answered or not"},
		{"Security analysis", "see what a process wanted to know"},
	},
	Related: []string{"net_packet_dns", "net_packet_dns_response", "net_packet_dns_unanswered"},
	Needs:   NeedMessages | NeedPairing,
	Match: func(e *event.Event) bool {
		return e.Class == event.ClassMessage && !e.Msg.Flags.Response()
	},
}
