package output

import (
	"math/bits"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/kind"
	"github.com/dnshark-io/dnshark/internal/suffix"
)

// ecs is the Elastic Common Schema, with the keys that Packetbeat adds for DNS.
// The process that asks is ECS's process; what the schema has no place for stands
// in an object of its own, "dnshark".
var ecs = Format{
	Name:  "ecs",
	Doc:   "Elastic Common Schema, with Packetbeat's DNS keys; alerts",
	Kinds: kindMessages | kindUnanswered | kindAlerts | kindLoss,
	New:   func(Settings) (Encoder, error) { return &ecsEncoder{}, nil },
}

// ecsEncoder remembers registered domains, so it belongs to one goroutine.
type ecsEncoder struct {
	suffixes suffix.Table
	name     []byte
}

// Append implements Encoder.
func (c *ecsEncoder) Append(dst []byte, b *event.Batch) []byte {
	for i := range b.Events {
		e := &b.Events[i]
		for kinds := kind.Set(e.Kinds) & ecs.Kinds; kinds != 0; kinds &= kinds - 1 {
			e.Begin()
			dst = c.event(dst, e, bits.TrailingZeros32(uint32(kinds)))
		}
	}
	return dst
}

// ecsVersion is the version of the schema that the keys are of.
const ecsVersion = "9.4.0"

func (c *ecsEncoder) event(dst []byte, e *event.Event, k int) []byte {
	if e.Class == event.ClassAlert {
		return appendECSAlert(dst, e)
	}
	if e.Class == event.ClassLoss {
		return appendECSLoss(dst, e)
	}
	m := &e.Msg
	response := m.Flags.Response()
	client, server := e.Ends()
	dst = event.AppendTime(append(dst, `{"@timestamp":"`...), e.Time)
	dst = append(append(dst, `","ecs":{"version":"`+ecsVersion+`"},"event":{"kind":"event","category":["network"],"type":["protocol"],"dataset":"dnshark.dns","action":"`...), kind.Catalogue[k].Name...)
	switch {
	case e.Class == event.ClassUnanswered:
		dst = append(dst, `","outcome":"failure`...)
	case response && m.RCode() == dnswire.RCodeNoError:
		dst = append(dst, `","outcome":"success`...)
	case response:
		dst = append(dst, `","outcome":"failure`...)
	default:
		dst = append(dst, `","outcome":"unknown`...)
	}
	dst = append(dst, '"')
	if response && e.Txn.State != event.StateNone && e.Txn.Latency >= 0 {
		dst = jsonNumber(dst, `,"duration":`, uint64(e.Txn.Latency))
	}
	dst = event.FieldHost.Append(append(dst, `},"host":{"name":`...), e)
	dst = event.AppendAddr(append(dst, `},"source":{"ip":"`...), e.Meta.SrcIP)
	dst = jsonNumber(dst, `","port":`, e.Meta.SrcPort)
	dst = event.AppendAddr(append(dst, `},"destination":{"ip":"`...), e.Meta.DstIP)
	dst = jsonNumber(dst, `","port":`, e.Meta.DstPort)
	dst = event.AppendAddr(append(dst, `},"client":{"ip":"`...), client.Addr())
	dst = jsonNumber(dst, `","port":`, client.Port())
	dst = event.AppendAddr(append(dst, `},"server":{"ip":"`...), server.Addr())
	dst = jsonNumber(dst, `","port":`, server.Port())
	dst = c.dns(ecsNetwork(append(dst, '}'), e), e)
	dst = ecsContainer(ecsProcess(dst, &e.Asker), e.Asker.Container)
	return append(appendRest(append(dst, `,"dnshark":`...), e), '}', '\n')
}

// ecsNetwork appends what the packet was carried in and where it came in.
func ecsNetwork(dst []byte, e *event.Event) []byte {
	dst = append(append(dst, `,"network":{"protocol":"dns","transport":"`...), transport(e, "udp", "tcp")...)
	if e.Meta.SrcIP.Is4() {
		dst = append(dst, `","iana_number":"`...)
		dst = append(event.AppendUint(dst, uint64(e.Meta.Protocol)), `","type":"ipv4"}`...)
	} else {
		dst = append(dst, `","iana_number":"`...)
		dst = append(event.AppendUint(dst, uint64(e.Meta.Protocol)), `","type":"ipv6"}`...)
	}
	if e.Meta.Iface != "" {
		dst = append(event.AppendJSON(append(dst, `,"observer":{"ingress":{"interface":{"name":`...), e.Meta.Iface), `}}}`...)
	}
	return dst
}

func (c *ecsEncoder) dns(dst []byte, e *event.Event) []byte {
	m := &e.Msg
	if m.Flags.Response() {
		dst = append(dst, `,"dns":{"type":"answer","id":"`...)
	} else {
		dst = append(dst, `,"dns":{"type":"query","id":"`...)
	}
	dst = event.AppendUint(dst, uint64(m.ID))
	dst = m.Flags.Opcode().Append(append(dst, `","op_code":"`...))
	dst = append(dst, `","header_flags":[`...)
	for _, f := range ecsFlags {
		if m.Flags&f.bit != 0 {
			dst = append(append(append(dst, '"'), f.upper...), `",`...)
		}
	}
	if opt, ok := m.EDNS(); ok && opt.DO {
		dst = append(dst, `"DO",`...)
	}
	dst = append(closeJSON(dst, ']'), `,"flags":{`...)
	for _, f := range ecsFlags {
		dst = appendTrue(append(append(append(dst, '"'), f.long...), `":`...), m.Flags&f.bit != 0)
		dst = append(dst, ',')
	}
	dst = closeJSON(dst, '}')
	if m.Flags.Response() {
		dst = append(m.RCode().Append(append(dst, `,"response_code":"`...)), '"')
	}
	start := len(dst)
	if q, ok := question(m); ok {
		dst = jsonNameLower(append(dst, `,"question":{"name":"`...), m, q.Name)
		dst = q.Type.Append(append(dst, `","type":"`...))
		dst = append(q.Class.Append(append(dst, `","class":"`...)), '"')
		dst = append(c.domain(dst, m, q.Name), '}')
	}
	dst = jsonNumber(dst, `,"answers_count":`, m.Seen[dnswire.SectionAnswer])
	dst = jsonNumber(dst, `,"authorities_count":`, m.Seen[dnswire.SectionAuthority])
	dst = jsonNumber(dst, `,"additionals_count":`, m.Seen[dnswire.SectionAdditional])
	dst = ecsRecords(dst, `,"answers":[`, start, e, m.Answer())
	dst = ecsResolved(dst, start, e)
	dst = ecsRecords(dst, `,"authorities":[`, start, e, m.Authority())
	dst = ecsRecords(dst, `,"additionals":[`, start, e, m.Additional())
	if opt, ok := m.EDNS(); ok {
		dst = event.AppendUint(append(dst, `,"opt":{"version":"`...), uint64(opt.Version))
		dst = appendTrue(append(dst, `","do":`...), opt.DO)
		dst = jsonNumber(dst, `,"udp_size":`, opt.UDPSize)
		dst = m.RCode().Append(append(dst, `,"ext_rcode":"`...))
		dst = append(dst, `"}`...)
	}
	return append(dst, '}')
}

// domain appends the parts of a name: what somebody registered, the public suffix
// of that and what stands before it.
func (c *ecsEncoder) domain(dst []byte, m *dnswire.Message, n dnswire.Name) []byte {
	c.name = m.AppendNameLower(c.name[:0], n)
	name := c.name
	registered := c.suffixes.Registered(name)
	if len(registered) == 0 {
		return dst
	}
	dst = append(jsonText(append(dst, `,"registered_domain":"`...), registered), '"')
	dst = append(jsonText(append(dst, `,"etld_plus_one":"`...), registered), '"')
	dst = append(jsonText(append(dst, `,"top_level_domain":"`...), registered[firstLabel(registered):]), '"')
	if before := len(name) - len(registered); before > 0 {
		dst = append(jsonText(append(dst, `,"subdomain":"`...), name[:before-1]), '"')
	}
	return dst
}

// firstLabel returns where the second label of a name begins.
func firstLabel(name []byte) int {
	for i := 0; i < len(name); i++ {
		switch name[i] {
		case '\\':
			i++ // a digit of \DDD is no dot either
		case '.':
			return i + 1
		}
	}
	return len(name)
}

var ecsFlags = [...]struct {
	bit         dnswire.Flags
	upper, long string
}{
	{dnswire.FlagAA, "AA", "authoritative"}, {dnswire.FlagTC, "TC", "truncated_response"}, {dnswire.FlagRD, "RD", "recursion_desired"},
	{dnswire.FlagRA, "RA", "recursion_available"}, {dnswire.FlagAD, "AD", "authentic_data"}, {dnswire.FlagCD, "CD", "checking_disabled"},
}

func appendTrue(dst []byte, v bool) []byte {
	if v {
		return append(dst, "true"...)
	}
	return append(dst, "false"...)
}

// ecsRecords appends the records but for the OPT record, which stands elsewhere.
func ecsRecords(dst []byte, key string, start int, e *event.Event, rs []dnswire.Record) []byte {
	m, begin := &e.Msg, len(dst)
	opt, _ := m.EDNS()
	dst = append(dst, key...)
	list := len(dst)
	for i := range rs {
		r, before := &rs[i], len(dst)
		if r == opt.Record {
			continue
		}
		dst = jsonName(append(dst, `{"name":"`...), m, r.Name)
		dst = r.Type.Append(append(dst, `","type":"`...))
		dst = r.Class.Append(append(dst, `","class":"`...))
		dst = jsonNumber(dst, `","ttl":`, r.TTL)
		dst = append(jsonData(append(dst, `,"data":"`...), m, r), `"},`...)
		if len(dst)-start > maxList {
			dst, e.Capped = dst[:before], true
			break
		}
	}
	if len(dst) == list {
		return dst[:begin]
	}
	return closeJSON(dst, ']')
}

// ecsResolved appends the addresses among the answers.
func ecsResolved(dst []byte, start int, e *event.Event) []byte {
	m, begin := &e.Msg, len(dst)
	dst = append(dst, `,"resolved_ip":[`...)
	list := len(dst)
	for i := range m.Answer() {
		r := &m.Answer()[i]
		if (r.Type != dnswire.TypeA && r.Type != dnswire.TypeAAAA) || r.Fault != dnswire.None || r.Len == 0 {
			continue
		}
		before := len(dst)
		dst = append(m.AppendRData(append(dst, '"'), r), `",`...)
		if len(dst)-start > maxList {
			dst, e.Capped = dst[:before], true
			break
		}
	}
	if len(dst) == list {
		return dst[:begin]
	}
	return closeJSON(dst, ']')
}

func ecsProcess(dst []byte, who *event.Party) []byte {
	id := who.ID
	if id == nil || !id.Known() {
		return dst
	}
	dst = jsonNumber(dst, `,"process":{"pid":`, id.TGID)
	dst = append(dst, `,"name":"`...)
	at := len(dst)
	dst = append(event.EscapeJSON(id.AppendComm(dst), at), '"')
	dst = jsonNumber(dst, `,"thread":{"id":`, id.TID)
	dst = append(jsonNumber(dst, `},"parent":{"pid":`, id.PPID), '}')
	if p := who.Process; p != nil {
		if p.Exe != "" {
			dst = append(dst, `,"executable":"`...)
			at = len(dst)
			dst = append(event.EscapeJSON(event.AppendSafeUpTo(dst, p.Exe, maxPath), at), '"')
		}
		if p.Cwd != "" {
			dst = append(dst, `,"working_directory":"`...)
			at = len(dst)
			dst = append(event.EscapeJSON(event.AppendSafeUpTo(dst, p.Cwd, maxPath), at), '"')
		}
		if p.ExeSHA256 != "" {
			dst = append(event.AppendJSON(append(dst, `,"hash":{"sha256":`...), p.ExeSHA256), '}')
		}
		if p.StartTime != 0 {
			dst = append(event.AppendTime(append(dst, `,"start":"`...), p.StartTime), '"')
		}
	}
	dst = append(dst, `},"user":{"id":"`...)
	dst = event.AppendUint(dst, uint64(id.UID))
	if who.User != "" {
		dst = append(dst, `","name":"`...)
		at = len(dst)
		dst = event.EscapeJSON(event.AppendSafeUpTo(dst, who.User, 128), at)
	}
	return append(dst, `"}`...)
}

func ecsContainer(dst []byte, c *event.Container) []byte {
	if c == nil {
		return dst
	}
	dst = jsonSet(append(dst, `,"container":{`...), `"id":`, c.ID)
	dst = jsonSet(dst, `"name":`, c.Name)
	dst = jsonSet(dst, `"runtime":`, c.Runtime)
	if c.Image != "" {
		dst = append(jsonShort(append(dst, `"image":{"name":`...), c.Image), `},`...)
	}
	dst = closeJSON(dst, '}')
	if pod := c.Pod; pod != nil {
		dst = jsonSet(append(dst, `,"orchestrator":{"type":"kubernetes",`...), `"namespace":`, pod.Namespace)
		dst = jsonSet(append(dst, `"resource":{"type":"pod",`...), `"name":`, pod.Name)
		dst = append(closeJSON(jsonSet(dst, `"id":`, pod.UID), '}'), '}')
	}
	return dst
}

// appendECSLoss appends what dnshark says of itself: an event of the host.
func appendECSLoss(dst []byte, e *event.Event) []byte {
	l, name, typ := e.Loss, "loss_start", "start"
	if l.Ends {
		name, typ = "loss_end", "end"
	}
	dst = event.AppendTime(append(dst, `{"@timestamp":"`...), e.Time)
	dst = append(append(dst, `","ecs":{"version":"`+ecsVersion+`"},"event":{"kind":"event","category":["host"],"type":["`...), typ...)
	dst = append(append(dst, `"],"dataset":"dnshark.loss","provider":"dnshark","action":"`...), name...)
	dst = event.AppendTime(append(dst, `","start":"`...), l.Start)
	if l.Ends {
		dst = event.AppendTime(append(dst, `","end":"`...), l.End)
		dst = append(jsonNumber(dst, `","duration":`, uint64(max(l.Duration, 0))), `},"message":"`...)
	} else {
		dst = append(dst, `"},"message":"`...)
	}
	at := len(dst)
	dst = event.AppendSafeUpTo(append(event.AppendSafeUpTo(dst, l.Where, maxShort), ' '), l.Name, maxShort)
	dst = event.EscapeJSON(appendLost(append(dst, ": "...), l), at)
	dst = event.FieldHost.Append(append(dst, `","host":{"name":`...), e)
	dst = event.FieldLoss.Append(append(dst, `},"dnshark":{"loss":`...), e)
	return append(dst, '}', '}', '\n')
}
