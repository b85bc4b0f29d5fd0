package output

import (
	"strconv"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
)

// ocsf is the class DNS Activity (4003) of the Open Cybersecurity Schema
// Framework. Times are in milliseconds. What the class has no attribute for
// stands in "unmapped", as the framework wants it.
var ocsf = Format{
	Name:  "ocsf",
	Doc:   "OCSF 1.8, DNS Activity (4003), alerts as Detection Finding (2004)",
	Kinds: kindMessages | kindUnanswered | kindAlerts,
	New:   (&perEvent{kinds: kindMessages | kindUnanswered | kindAlerts, append: appendOCSF}).new,
}

const ocsfVersion = "1.8.0"

func appendOCSF(dst []byte, e *event.Event) []byte {
	if e.Class == event.ClassAlert {
		return appendOCSFAlert(dst, e)
	}
	m := &e.Msg
	response := m.Flags.Response()
	if response {
		dst = append(dst, `{"activity_id":2,"activity_name":"Response","type_uid":400302,"type_name":"DNS Activity: Response"`...)
	} else {
		dst = append(dst, `{"activity_id":1,"activity_name":"Query","type_uid":400301,"type_name":"DNS Activity: Query"`...)
	}
	dst = append(dst, `,"category_uid":4,"category_name":"Network Activity","class_uid":4003,"class_name":"DNS Activity","severity_id":1,"severity":"Informational","time":`...)
	dst = strconv.AppendInt(dst, e.Time/1e6, 10)
	dst = append(dst, `,"metadata":{"version":"`+ocsfVersion+`","product":{"name":"dnshark","vendor_name":"dnshark"},"log_name":"dns"}`...)
	dst = ocsfStatus(dst, e)
	if q, ok := question(m); ok {
		dst = jsonName(append(dst, `,"query":{"hostname":"`...), m, q.Name)
		dst = q.Type.Append(append(dst, `","type":"`...))
		dst = q.Class.Append(append(dst, `","class":"`...))
		dst = ocsfOpcode(append(dst, '"'), m.Flags.Opcode())
		dst = append(jsonNumber(dst, `,"packet_uid":`, m.ID), '}')
	}
	if len(m.Answer()) > 0 {
		dst = ocsfAnswers(append(dst, `,"answers":[`...), e)
	}
	if response {
		dst = ocsfRCode(dst, m.RCode())
		dst = strconv.AppendInt(append(dst, `,"response_time":`...), e.Time/1e6, 10)
	}
	if !response || queryTime(e) != e.Time {
		dst = strconv.AppendInt(append(dst, `,"query_time":`...), queryTime(e)/1e6, 10)
	}
	// The endpoints are those of the packet.
	dst = event.AppendAddr(append(dst, `,"src_endpoint":{"ip":"`...), e.Meta.SrcIP)
	dst = jsonNumber(dst, `","port":`, e.Meta.SrcPort)
	if e.Meta.Iface != "" && e.Flow.Egress {
		dst = event.AppendJSON(append(dst, `,"interface_name":`...), e.Meta.Iface)
	}
	dst = event.AppendAddr(append(dst, `},"dst_endpoint":{"ip":"`...), e.Meta.DstIP)
	dst = jsonNumber(dst, `","port":`, e.Meta.DstPort)
	if e.Meta.Iface != "" && !e.Flow.Egress {
		dst = event.AppendJSON(append(dst, `,"interface_name":`...), e.Meta.Iface)
	}
	dst = jsonNumber(dst, `},"connection_info":{"protocol_num":`, e.Meta.Protocol)
	dst = append(append(dst, `,"protocol_name":"`...), transport(e, "udp", "tcp")...)
	if e.Meta.SrcIP.Is4() {
		dst = append(dst, `","protocol_ver":"Internet Protocol version 4 (IPv4)","protocol_ver_id":4`...)
	} else {
		dst = append(dst, `","protocol_ver":"Internet Protocol version 6 (IPv6)","protocol_ver_id":6`...)
	}
	switch {
	case e.Flow.Ingress:
		dst = append(dst, `,"direction":"Inbound","direction_id":1}`...)
	case e.Flow.Egress:
		dst = append(dst, `,"direction":"Outbound","direction_id":2}`...)
	default:
		dst = append(dst, `,"direction":"Unknown","direction_id":0}`...)
	}
	return append(appendRest(append(dst, `,"unmapped":`...), e), '}', '\n')
}

func ocsfStatus(dst []byte, e *event.Event) []byte {
	switch {
	case e.Class == event.ClassUnanswered:
		return append(dst, `,"status_id":2,"status":"Failure","status_detail":"unanswered"`...)
	case !e.Msg.Flags.Response():
		return dst
	case e.Msg.RCode() == dnswire.RCodeNoError:
		return append(dst, `,"status_id":1,"status":"Success"`...)
	}
	dst = append(dst, `,"status_id":2,"status":"Failure","status_detail":"`...)
	return append(e.Msg.RCode().Append(dst), '"')
}

// ocsfRCodes are the captions of rcode_id, which is the code itself. 99 is
// another one, whose caption is the source's own.
var ocsfRCodes = [...]string{
	0: "NoError", 1: "FormError", 2: "ServError", 3: "NXDomain", 4: "NotImp", 5: "Refused", 6: "YXDomain", 7: "YXRRSet", 8: "NXRRSet",
	9: "NotAuth", 10: "NotZone", 11: "DSOTYPENI", 16: "BADSIG_VERS", 17: "BADKEY", 18: "BADTIME", 19: "BADMODE", 20: "BADNAME",
	21: "BADALG", 22: "BADTRUNC", 23: "BADCOOKIE",
}

func ocsfRCode(dst []byte, rc dnswire.RCode) []byte {
	if int(rc) < len(ocsfRCodes) && ocsfRCodes[rc] != "" {
		dst = jsonNumber(dst, `,"rcode_id":`, rc)
		return append(append(append(dst, `,"rcode":"`...), ocsfRCodes[rc]...), '"')
	}
	return append(rc.Append(append(dst, `,"rcode_id":99,"rcode":"`...)), '"')
}

// ocsfOpcode appends the opcode, whose ids are those of DNS.
func ocsfOpcode(dst []byte, o dnswire.Opcode) []byte {
	name := ""
	switch o {
	case dnswire.OpcodeQuery:
		name = "Query"
	case dnswire.OpcodeIQuery:
		name = "Inverse Query"
	case dnswire.OpcodeStatus:
		name = "Status"
	case dnswire.OpcodeNotify:
		name = "Notify"
	case dnswire.OpcodeUpdate:
		name = "Update"
	case dnswire.OpcodeDSO:
		name = "DSO Message"
	default:
		return dst // it knows no others
	}
	dst = jsonNumber(dst, `,"opcode_id":`, o)
	return append(append(append(dst, `,"opcode":"`...), name...), '"')
}

var ocsfFlags = [...]struct {
	bit      dnswire.Flags
	id, name string
}{
	{dnswire.FlagAA, "1,", `"Authoritative Answer",`}, {dnswire.FlagTC, "2,", `"Truncated Response",`},
	{dnswire.FlagRD, "3,", `"Recursion Desired",`}, {dnswire.FlagRA, "4,", `"Recursion Available",`},
	{dnswire.FlagAD, "5,", `"Authentic Data",`}, {dnswire.FlagCD, "6,", `"Checking Disabled",`},
}

func ocsfAnswers(dst []byte, e *event.Event) []byte {
	m, start := &e.Msg, len(dst)
	for i := range m.Answer() {
		r, before := &m.Answer()[i], len(dst)
		dst = jsonData(append(dst, `{"rdata":"`...), m, r)
		dst = r.Type.Append(append(dst, `","type":"`...))
		dst = r.Class.Append(append(dst, `","class":"`...))
		dst = jsonNumber(dst, `","ttl":`, r.TTL)
		dst = jsonNumber(dst, `,"packet_uid":`, m.ID)
		dst = append(dst, `,"flag_ids":[`...)
		for _, f := range ocsfFlags {
			if m.Flags&f.bit != 0 {
				dst = append(dst, f.id...)
			}
		}
		dst = append(closeJSON(dst, ']'), `,"flags":[`...)
		for _, f := range ocsfFlags {
			if m.Flags&f.bit != 0 {
				dst = append(dst, f.name...)
			}
		}
		dst = append(closeJSON(dst, ']'), `},`...)
		if len(dst)-start > maxList {
			dst, e.Capped = dst[:before], true
			break
		}
	}
	return closeJSON(dst, ']')
}
