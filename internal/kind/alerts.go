package kind

import "github.com/dnshark-io/dnshark/event"

// The threats that the contract names, each an event of the set alerts.
var (
	dnsTunnel = alert("dns_tunnel", "data is carried in DNS messages",
		"A client and a domain exchange data in names and records: tunnels, exfiltration, or what is no DNS on a DNS port.")
	dnsDGA = alert("dns_dga", "a client asks for domains that a program made up",
		"A client looks for its controller under generated names, most of which do not exist.")
	dnsC2 = alert("dns_c2", "malware is controlled through DNS",
		"Beacons, commands in records, and fast flux networks.")
	dnsCachePoisoning = alert("dns_cache_poisoning", "somebody forges answers",
		"Answers that nobody asked for, second answers that differ from the first, records about names that the server has no say in.")
	dnsHijacking = alert("dns_hijacking", "answers lead elsewhere than they should",
		"Rebinding, names that do not exist and get an answer, many names that move to one address, a resolver that was never used before.")
	dnsZoneTransfer = alert("dns_zone_transfer", "somebody copies a zone",
		"Zone transfers (AXFR, IXFR) with their outcome, and zones that are walked name by name.")
)

func alert(name, summary, description string) Kind {
	return Kind{
		Name: name, Summary: summary,
		Description: description + " One alert per incident; while it goes on, updates with the same id. " +
			"The other fields are those of the message that made it or its update.",
		Sets: []string{SetDefault, SetAlerts},
		Fields: []*event.Field{
			&event.FieldTime, &event.FieldHost, &event.FieldObserver, &event.FieldMetadata, &event.FieldAlert,
			&event.FieldProcess, &event.FieldServerProcess, &event.FieldPolicies,
		},
		DependsOn: []string{"net_packet_dns_base"},
		UseCases: []Item{
			{"Security analysis", "know of an incident, with evidence to check and what it was compared with"},
		},
		Related: []string{"net_packet_dns_response", "net_packet_dns_unanswered"},
		Needs:   NeedMessages | NeedPairing | NeedDetection,
		Match:   func(e *event.Event) bool { return e.Class == event.ClassAlert && e.Alert.Threat == name },
	}
}
