package kind

import (
	"fmt"
	"strings"

	"github.com/dnshark-io/dnshark/internal/nearest"
)

// Incident is a kind of alert: what a threat exactly is. An alert's Threat and Kind
// name one.
type Incident struct {
	Threat, Kind string
	// ID is the incident's number in formats that number rules. It never changes.
	ID        uint32
	Technique string // MITRE ATT&CK id
	Seen      string // what is seen
	Alike     string // what looks alike and is none
}

// Name returns the name that users give: THREAT/KIND.
func (i *Incident) Name() string { return i.Threat + "/" + i.Kind }

// Incidents lists all kinds of alerts, by threat.
var Incidents = []Incident{
	{"dns_tunnel", "odd_types", 1101, "T1071.004",
		"Data goes up or down in records of types that hardly anybody but tunnels uses (NULL, KEY, private ones).",
		"Experiments with new types: they ask for few names."},
	{"dns_tunnel", "undelegated_targets", 1102, "T1071.004",
		"New names are answered with aliases under top-level domains that do not exist, as tunnels with CNAME, MX and SRV records do.",
		"Names of a company's own top-level domain: allow the domain."},
	{"dns_tunnel", "two_way", 1103, "T1071.004",
		"A client asks one domain for many new names, and nearly each is answered with new data.",
		"Content delivery, block lists and reputation services: names that are addresses or digests do not count; see the shipped allow-lists."},
	{"dns_tunnel", "exfiltration", 1104, "T1071.004",
		"A client asks one domain for long names that are all new, and the answers say nothing.",
		"Telemetry in names, look-ups of file hashes: allow the domain."},
	{"dns_tunnel", "not_dns_on_port", 1105, "T1095",
		"Two hosts exchange packets on a DNS port that are no DNS, as iodine's raw mode does.",
		"Another service on port 53 (a VPN, a game): suppress by server."},
	{"dns_dga", "made_up_names", 1201, "T1568.002",
		"A client asks for domains that it never asked for before, that do not exist, and that look as if a program made them up.",
		"Crawlers and mail servers that meet dead domains: such names look chosen. Typing errors: they are few."},
	{"dns_dga", "word_lists", 1202, "T1568.002",
		"A client asks for domains that do not exist and are made of the same words again and again.",
		"Tools that try names on purpose: suppress by client or process."},
	{"dns_dga", "rendezvous", 1203, "T1568.002",
		"After many made-up domains that do not exist, one has an answer.",
		"A site that is new to everybody, with a name of the same length and suffix."},
	{"dns_c2", "beacon", 1301, "T1071.004",
		"One client alone asks about a domain at regular intervals, and gets or tells something new each time.",
		"Monitoring and update checks: they ask for the same and get the same."},
	{"dns_c2", "program_in_txt", 1302, "T1105",
		"A TXT record holds a piece of a program: a command line, a script, an executable, as it is or encoded.",
		"Keys, policies and verifications of domains: they hold no commands."},
	{"dns_c2", "dns_fast_flux", 1303, "T1568.001",
		"A name's addresses change all the time and are spread over many networks.",
		"Pools of volunteers (time servers, peers): told with low severity, and see the shipped allow-lists."},
	{"dns_cache_poisoning", "forged_replies", 1401, "T1557",
		"Replies come that nobody asked for, with guessed ids or in great number about one domain.",
		"Late and doubled replies: they have the id of a question. A capture that misses queries: then most replies are so."},
	{"dns_cache_poisoning", "two_answers", 1402, "T1557",
		"A query has two answers that have nothing in common.",
		"Content delivery: such answers share networks. Middleboxes that answer too: they are what is found."},
	{"dns_cache_poisoning", "foreign_records", 1403, "T1557",
		"An answer brings records about a name that it does not need and that is in another domain.",
		"Glue and aliases: a record of the answer refers to the name."},
	{"dns_hijacking", "rebinding", 1501, "T1557",
		"A name had a public address and now has one of the client's own network, or has both at once.",
		"Split horizon: other names of the domain always had private addresses, and severity is low. Block lists: the server sends other domains there too."},
	{"dns_hijacking", "drift", 1502, "T1584.002",
		"Unrelated names that were in different networks move to one address.",
		"Shared hosting and content delivery that take sites over: they come one by one."},
	{"dns_hijacking", "rogue_resolver", 1503, "T1584.002",
		"A resolver that one client alone began to use sends unrelated names to one address.",
		"A captive portal: it answers so until somebody logs in."},
	{"dns_hijacking", "nxdomain_substitution", 1504, "T1584.002",
		"Names that look made up, which should not exist, all have one address.",
		"A provider's search page for names that do not exist: it is what is found. A wildcard under one domain: it counts once."},
	{"dns_zone_transfer", "transfer", 1601, "T1590.002",
		"A client that is no known secondary asks for a whole zone, with or without success.",
		"Secondaries: those that are told of changes or ask for the serial have low severity, configured ones info."},
	{"dns_zone_transfer", "ixfr", 1602, "T1590.002",
		"A client that is no known secondary gets the changes of a zone, or all of it, by IXFR.",
		"Secondaries, as above."},
	{"dns_zone_transfer", "guesses", 1603, "T1590.002",
		"A client asks a server for many zones and gets none.",
		"A secondary whose primary forgot it: name it an authorised secondary."},
	{"dns_zone_transfer", "nsec_walk", 1604, "T1590.002",
		"A client asks for one name after another as the zone's NSEC records give them.",
		"Validating resolvers: they ask for what users want, not for the next name."},
}

// FindIncident returns the kind of alert, or nil.
func FindIncident(threat, kind string) *Incident {
	for i := range Incidents {
		if in := &Incidents[i]; in.Kind == kind && in.Threat == threat {
			return in
		}
	}
	return nil
}

// CheckThreat reports whether text names a threat, or one of its kinds as THREAT/KIND.
func CheckThreat(text string) error {
	var names []string
	for i := range Incidents {
		in := &Incidents[i]
		if text == in.Threat || text == in.Name() {
			return nil
		}
		names = append(names, in.Threat, in.Name())
	}
	hint := "; `dnshark events` lists threats, docs/alerts.md their kinds"
	if near := nearest.Name(text, names); near != "" {
		hint = "; did you mean " + near + "?"
	}
	return fmt.Errorf("unknown threat %q%s", text, hint)
}

// Technique is a technique of MITRE ATT&CK.
type Technique struct {
	ID, Name         string
	Tactic, TacticID string
	Parent           string // name of the technique that it is a part of
}

// techniques are those of Incidents.
var techniques = []Technique{
	{"T1071.004", "DNS", "Command and Control", "TA0011", "Application Layer Protocol"},
	{"T1095", "Non-Application Layer Protocol", "Command and Control", "TA0011", ""},
	{"T1105", "Ingress Tool Transfer", "Command and Control", "TA0011", ""},
	{"T1557", "Adversary-in-the-Middle", "Credential Access", "TA0006", ""},
	{"T1568.001", "Fast Flux DNS", "Command and Control", "TA0011", "Dynamic Resolution"},
	{"T1568.002", "Domain Generation Algorithms", "Command and Control", "TA0011", "Dynamic Resolution"},
	{"T1584.002", "DNS Server", "Resource Development", "TA0042", "Compromise Infrastructure"},
	{"T1590.002", "DNS", "Reconnaissance", "TA0043", "Gather Victim Network Information"},
}

// FindTechnique returns the technique of an id, or nil.
func FindTechnique(id string) *Technique {
	for i := range techniques {
		if techniques[i].ID == id {
			return &techniques[i]
		}
	}
	return nil
}

// ParentID returns the id of the technique that it is a part of, or its own.
func (t *Technique) ParentID() string {
	id, _, _ := strings.Cut(t.ID, ".")
	return id
}
