package output

import (
	"net/netip"
	"strconv"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/kind"
)

// What formats of others make of alerts has in common that the parts they have no place
// for stand in an object of their own.

// alertEnds returns who asks and who answers, as the packet behind an alert has them. Its
// message is gone, so the alert tells, or the ports: servers have the lower one.
func alertEnds(e *event.Event) (client, server netip.AddrPort) {
	client = netip.AddrPortFrom(e.Meta.SrcIP, e.Meta.SrcPort)
	server = netip.AddrPortFrom(e.Meta.DstIP, e.Meta.DstPort)
	src := e.Alert.Src
	if e.Meta.SrcIP != e.Meta.DstIP && (src == e.Meta.SrcIP || src == e.Meta.DstIP) {
		if src == e.Meta.DstIP {
			return server, client
		}
		return client, server
	}
	if e.Meta.SrcPort < e.Meta.DstPort {
		return server, client
	}
	return client, server
}

// alertName appends THREAT/KIND, fit for a JSON string.
func alertName(dst []byte, a *event.Alert) []byte {
	at := len(dst)
	dst = append(event.AppendSafeUpTo(dst, a.Threat, maxShort), '/')
	return event.EscapeJSON(event.AppendSafeUpTo(dst, a.Kind, maxShort), at)
}

// alertTitle appends what was seen and where as a JSON string: "THREAT/KIND: RULE (DOMAIN)".
func alertTitle(dst []byte, a *event.Alert) []byte {
	dst = append(alertName(append(dst, '"'), a), ": "...)
	at := len(dst)
	dst = event.AppendSafeUpTo(dst, a.Rule, maxShort)
	if a.Domain != "" {
		dst = append(event.AppendSafeUpTo(append(dst, " ("...), a.Domain, maxPath), ')')
	}
	return append(event.EscapeJSON(dst, at), '"')
}

// alertNumber returns the number of the alert's kind, 0 when nobody lists it.
func alertNumber(a *event.Alert) uint32 {
	if in := kind.FindIncident(a.Threat, a.Kind); in != nil {
		return in.ID
	}
	return 0
}

// appendAlertRest is appendRest with the alert.
func appendAlertRest(dst []byte, e *event.Event) []byte {
	dst = appendRest(dst, e)
	dst = dst[:len(dst)-1]
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	return append(event.FieldAlert.Append(append(dst, `"alert":`...), e), '}')
}

// appendLink appends the page of a technique or tactic as a JSON string. Parts of a
// technique have a page below it.
func appendLink(dst []byte, what, id string) []byte {
	dst = append(append(append(dst, `"https://attack.mitre.org/`...), what...), '/')
	for i := range len(id) {
		if c := id[i]; c == '.' {
			dst = append(dst, '/')
		} else {
			dst = append(dst, c)
		}
	}
	return append(dst, `/"`...)
}

// eveGenerator tells our rules from those of others, who number theirs as they like.
const eveGenerator = "1053"

var (
	// eveSeverities are priorities of Suricata: 1 is the highest.
	eveSeverities = [...]string{event.SeverityInfo: "4", event.SeverityLow: "3", event.SeverityMedium: "2", event.SeverityHigh: "1", event.SeverityCritical: "1"}
	// eveMetadata are the words of widely used rules.
	eveMetadata = [...]string{event.SeverityInfo: "Informational", event.SeverityLow: "Minor", event.SeverityMedium: "Major", event.SeverityHigh: "Major", event.SeverityCritical: "Critical"}
)

// appendEVEAlert appends an event of the type alert. src_ip is who asks.
func appendEVEAlert(dst []byte, e *event.Event) []byte {
	a := e.Alert
	client, server := alertEnds(e)
	dst = eveTime(append(dst, `{"timestamp":"`...), e.Time)
	dst = jsonNumber(dst, `","flow_id":`, flowOf(e, client, server))
	if e.Meta.Iface != "" {
		dst = event.AppendJSON(append(dst, `,"in_iface":`...), e.Meta.Iface)
	}
	dst = eveAddr(append(dst, `,"event_type":"alert","src_ip":"`...), client.Addr())
	dst = jsonNumber(dst, `","src_port":`, client.Port())
	dst = eveAddr(append(dst, `,"dest_ip":"`...), server.Addr())
	dst = jsonNumber(dst, `","dest_port":`, server.Port())
	dst = append(append(append(dst, `,"proto":"`...), transport(e, "UDP", "TCP")...), `","app_proto":"dns","alert":{"action":"allowed","gid":`+eveGenerator...)
	dst = jsonNumber(dst, `,"signature_id":`, alertNumber(a))
	dst = alertTitle(append(dst, `,"rev":1,"signature":`...), a)
	dst = append(append(dst, `,"category":`...), '"')
	at := len(dst)
	if k, ok := kind.Find(a.Threat); ok {
		dst = append(dst, k.Summary...)
	} else {
		dst = event.AppendSafeUpTo(dst, a.Threat, maxShort)
	}
	dst = append(event.EscapeJSON(dst, at), `","severity":`...)
	dst = append(append(dst, eveSeverities[a.Severity]...), `,"metadata":{"confidence":["`...)
	dst = append(append(dst, confidence(a, "Low", "Medium", "High")...), `"]`...)
	if t := kind.FindTechnique(a.Technique); t != nil {
		dst = jsonShort(append(dst, `,"mitre_tactic_id":[`...), t.TacticID)
		dst = jsonShort(append(dst, `],"mitre_tactic_name":[`...), t.Tactic)
		dst = jsonShort(append(dst, `],"mitre_technique_id":[`...), t.ID)
		dst = append(jsonShort(append(dst, `],"mitre_technique_name":[`...), t.Name), ']')
	}
	dst = append(append(dst, `,"signature_severity":["`...), eveMetadata[a.Severity]...)
	dst = event.FieldHost.Append(append(dst, `"]}},"host":`...), e)
	return append(appendAlertRest(append(dst, `,"dnshark":`...), e), '}', '\n')
}

// confidence returns one of three words.
func confidence(a *event.Alert, low, medium, high string) string {
	switch {
	case a.Confidence >= 0.8:
		return high
	case a.Confidence >= 0.5:
		return medium
	}
	return low
}

// ecsRisks are what rules of Elastic have for severities.
var ecsRisks = [...]string{event.SeverityInfo: "1", event.SeverityLow: "21", event.SeverityMedium: "47", event.SeverityHigh: "73", event.SeverityCritical: "99"}

// appendECSAlert appends an event of the kind alert.
func appendECSAlert(dst []byte, e *event.Event) []byte {
	a := e.Alert
	client, server := alertEnds(e)
	dst = event.AppendTime(append(dst, `{"@timestamp":"`...), e.Time)
	dst = append(dst, `","ecs":{"version":"`+ecsVersion+`"},"event":{"kind":"alert","category":["intrusion_detection","network"],"type":["info"],"dataset":"dnshark.alert","provider":"dnshark","action":`...)
	dst = jsonShort(dst, a.Threat)
	dst = jsonShort(append(dst, `,"code":`...), a.Kind)
	dst = jsonShort(append(dst, `,"id":`...), a.ID)
	dst = jsonNumber(dst, `,"sequence":`, a.Update)
	dst = append(append(dst, `,"severity":`...), ecsRisks[a.Severity]...)
	dst = append(append(dst, `,"risk_score":`...), ecsRisks[a.Severity]...)
	dst = event.AppendTime(append(dst, `,"start":"`...), a.Start)
	dst = event.AppendTime(append(dst, `","end":"`...), a.End)
	dst = alertTitle(append(dst, `"},"message":`...), a)
	dst = jsonNumber(dst, `,"rule":{"id":"`, alertNumber(a))
	dst = alertName(append(dst, `","name":"`...), a)
	dst = jsonShort(append(dst, `","category":`...), a.Threat)
	dst = jsonShort(append(dst, `,"description":`...), a.Rule)
	dst = append(dst, `,"ruleset":"dnshark"}`...)
	if t := kind.FindTechnique(a.Technique); t != nil {
		dst = jsonShort(append(dst, `,"threat":{"framework":"MITRE ATT&CK","tactic":{"id":[`...), t.TacticID)
		dst = jsonShort(append(dst, `],"name":[`...), t.Tactic)
		dst = appendLink(append(dst, `],"reference":[`...), "tactics", t.TacticID)
		dst = append(dst, `]},"technique":{`...)
		name := t.Name
		if t.Parent != "" {
			name = t.Parent
		}
		dst = ecsTechnique(dst, t.ParentID(), name)
		if t.Parent != "" {
			dst = append(ecsTechnique(append(dst, `,"subtechnique":{`...), t.ID, t.Name), '}')
		}
		dst = append(dst, `}}`...)
	}
	if a.Domain != "" {
		dst = append(dst, `,"dns":{"question":{"name":"`...)
		at := len(dst)
		dst = append(event.EscapeJSON(event.AppendSafeUpTo(dst, a.Domain, maxPath), at), `"}}`...)
	}
	dst = event.FieldHost.Append(append(dst, `,"host":{"name":`...), e)
	dst = ecsEnd(append(dst, `},"source":{"ip":"`...), client)
	dst = ecsEnd(append(dst, `,"destination":{"ip":"`...), server)
	dst = ecsEnd(append(dst, `,"client":{"ip":"`...), client)
	dst = ecsEnd(append(dst, `,"server":{"ip":"`...), server)
	dst = ecsNetwork(dst, e)
	dst = ecsContainer(ecsProcess(dst, &e.Asker), e.Asker.Container)
	return append(appendAlertRest(append(dst, `,"dnshark":`...), e), '}', '\n')
}

func ecsEnd(dst []byte, end netip.AddrPort) []byte {
	dst = event.AppendAddr(dst, end.Addr())
	return append(jsonNumber(dst, `","port":`, end.Port()), '}')
}

func ecsTechnique(dst []byte, id, name string) []byte {
	dst = jsonShort(append(dst, `"id":[`...), id)
	dst = jsonShort(append(dst, `],"name":[`...), name)
	return append(appendLink(append(dst, `],"reference":[`...), "techniques", id), ']')
}

// ocsfSeverities are the ids and captions of severities.
var ocsfSeverities = [...]string{
	event.SeverityInfo: `1,"severity":"Informational"`, event.SeverityLow: `2,"severity":"Low"`, event.SeverityMedium: `3,"severity":"Medium"`,
	event.SeverityHigh: `4,"severity":"High"`, event.SeverityCritical: `5,"severity":"Critical"`,
}

// appendOCSFAlert appends a Detection Finding (2004): Create for an incident's first alert,
// Update for what follows.
func appendOCSFAlert(dst []byte, e *event.Event) []byte {
	a := e.Alert
	client, server := alertEnds(e)
	millis := func(key string, t int64) { dst = strconv.AppendInt(append(dst, key...), t/1e6, 10) }
	if a.Update == 0 {
		dst = append(dst, `{"activity_id":1,"activity_name":"Create","type_uid":200401,"type_name":"Detection Finding: Create"`...)
	} else {
		dst = append(dst, `{"activity_id":2,"activity_name":"Update","type_uid":200402,"type_name":"Detection Finding: Update"`...)
	}
	dst = append(dst, `,"category_uid":2,"category_name":"Findings","class_uid":2004,"class_name":"Detection Finding","severity_id":`...)
	dst = append(dst, ocsfSeverities[a.Severity]...)
	millis(`,"time":`, e.Time)
	millis(`,"start_time":`, a.Start)
	millis(`,"end_time":`, a.End)
	dst = append(dst, `,"is_alert":true,"metadata":{"version":"`+ocsfVersion+`","product":{"name":"dnshark","vendor_name":"dnshark"},"log_name":"alerts"},"message":`...)
	dst = alertTitle(dst, a)
	dst = append(append(dst, `,"confidence_id":`...), confidence(a, `1,"confidence":"Low"`, `2,"confidence":"Medium"`, `3,"confidence":"High"`)...)
	dst = jsonNumber(dst, `,"confidence_score":`, uint32(100*a.Confidence+0.5))
	dst = jsonShort(append(dst, `,"finding_info":{"uid":`...), a.ID)
	dst = alertTitle(append(dst, `,"title":`...), a)
	dst = jsonShort(append(dst, `,"desc":`...), a.Rule)
	dst = append(jsonShort(append(dst, `,"types":[`...), a.Threat), ']')
	millis(`,"first_seen_time":`, a.Start)
	millis(`,"last_seen_time":`, a.End)
	dst = jsonNumber(dst, `,"analytic":{"type_id":1,"type":"Rule","uid":"`, alertNumber(a))
	dst = append(alertName(append(dst, `","name":"`...), a), `"}`...)
	if t := kind.FindTechnique(a.Technique); t != nil {
		name := t.Name
		if t.Parent != "" {
			name = t.Parent
		}
		dst = ocsfNamed(append(dst, `,"attacks":[{"tactic":`...), t.TacticID, t.Tactic)
		dst = ocsfNamed(append(dst, `,"technique":`...), t.ParentID(), name)
		if t.Parent != "" {
			dst = ocsfNamed(append(dst, `,"sub_technique":`...), t.ID, t.Name)
		}
		dst = append(dst, `}]`...)
	}
	dst = ecsEnd(append(dst, `},"evidences":[{"src_endpoint":{"ip":"`...), client)
	dst = ecsEnd(append(dst, `,"dst_endpoint":{"ip":"`...), server)
	if a.Domain != "" {
		dst = append(dst, `,"query":{"hostname":"`...)
		at := len(dst)
		dst = append(event.EscapeJSON(event.AppendSafeUpTo(dst, a.Domain, maxPath), at), `"}`...)
	}
	if id := e.Asker.ID; id != nil && id.Known() {
		dst = jsonNumber(dst, `,"process":{"pid":`, id.TGID)
		dst = append(dst, `,"name":"`...)
		at := len(dst)
		dst = append(event.EscapeJSON(id.AppendComm(dst), at), `"}`...)
	}
	if c := e.Asker.Container; c != nil {
		dst = jsonSet(append(dst, `,"container":{`...), `"uid":`, c.ID)
		dst = closeJSON(jsonSet(dst, `"name":`, c.Name), '}')
	}
	dst = event.FieldAlert.Append(append(dst, `,"data":`...), e)
	return append(appendRest(append(dst, `}],"unmapped":`...), e), '}', '\n')
}

func ocsfNamed(dst []byte, uid, name string) []byte {
	dst = jsonShort(append(dst, `{"uid":`...), uid)
	return append(jsonShort(append(dst, `,"name":`...), name), '}')
}

// zeekNote returns the type of a notice, as Zeek writes names of types.
func zeekNote(threat string) string {
	switch threat {
	case "dns_tunnel":
		return "Dnshark::DNS_Tunnel"
	case "dns_dga":
		return "Dnshark::DNS_Generated_Domains"
	case "dns_c2":
		return "Dnshark::DNS_Command_And_Control"
	case "dns_cache_poisoning":
		return "Dnshark::DNS_Cache_Poisoning"
	case "dns_hijacking":
		return "Dnshark::DNS_Hijacking"
	case "dns_zone_transfer":
		return "Dnshark::DNS_Zone_Transfer"
	}
	return "Dnshark::Alert"
}

// appendNotice appends a line of Zeek's notice.log. Among lines of dns.log, _path tells it.
func appendNotice(dst []byte, e *event.Event) []byte {
	a := e.Alert
	client, server := alertEnds(e)
	dst = event.AppendSeconds(append(dst, `{"_path":"notice","ts":`...), e.Time)
	dst = append(zeekUIDOf(append(dst, `,"uid":"`...), flowOf(e, client, server)), '"')
	dst = event.AppendAddr(append(dst, `,"id.orig_h":"`...), client.Addr())
	dst = jsonNumber(dst, `","id.orig_p":`, client.Port())
	dst = event.AppendAddr(append(dst, `,"id.resp_h":"`...), server.Addr())
	dst = jsonNumber(dst, `","id.resp_p":`, server.Port())
	dst = append(append(append(dst, `,"proto":"`...), transport(e, "udp", "tcp")...), `","note":"`...)
	dst = alertTitle(append(append(dst, zeekNote(a.Threat)...), `","msg":`...), a)
	dst = append(dst, `,"sub":"`...)
	at := len(dst)
	dst = append(append(dst, a.Severity.String()...), ", "...)
	dst = strconv.AppendFloat(dst, a.Value, 'f', -1, 64)
	dst = strconv.AppendFloat(append(dst, " of "...), a.Threshold, 'f', -1, 64)
	dst = append(event.AppendSafeUpTo(append(dst, ", incident "...), a.ID, maxShort), ", "...)
	dst = append(event.EscapeJSON(event.AppendSafeUpTo(dst, a.Technique, maxShort), at), '"')
	if a.Src.IsValid() {
		dst = append(event.AppendAddr(append(dst, `,"src":"`...), a.Src), '"')
	}
	if a.Server.IsValid() {
		dst = append(event.AppendAddr(append(dst, `,"dst":"`...), a.Server), '"')
	}
	dst = jsonNumber(dst, `,"p":`, server.Port())
	dst = jsonNumber(dst, `,"n":`, a.Update)
	dst = event.FieldHost.Append(append(dst, `,"peer_descr":`...), e)
	return append(dst, `,"actions":["Notice::ACTION_LOG"],"email_dest":[],"suppress_for":0.0}`+"\n"...)
}
