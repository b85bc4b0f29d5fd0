package kind

import "github.com/dnshark-io/dnshark/event"

var dnsUnanswered = Kind{
	Name:    "net_packet_dns_unanswered",
	Summary: "a DNS query found no answer in time",
	Description: "No answer to a query was seen within the time limit (5 s, --timeout). Its time is the moment at which " +
		"the limit passed; metadata and dns are the query's. An answer that comes later is a net_packet_dns_response " +
		"whose transaction.state is late.",
	Sets: []string{SetDefault, SetNetworkEvents},
	Fields: []*event.Field{
		&event.FieldTime, &event.FieldHost, &event.FieldObserver, &event.FieldMetadata, &event.FieldQuestions,
		&event.FieldDNS, &event.FieldTransaction, &event.FieldProcess,
		&event.FieldServerProcess, &event.FieldPolicies,
	},
	DependsOn: []string{"net_packet_dns_base"},
	UseCases: []Item{
		{"Network debugging", "find dead servers, lost packets and blocked paths, and who suffers"},
		{"Security analysis", "see lookups that never get an answer"},
	},
	Related: []string{"net_packet_dns_request", "net_packet_dns_response"},
	Needs:   NeedMessages | NeedPairing,
	Match:   func(e *event.Event) bool { return e.Class == event.ClassUnanswered },
}
