package event

import (
	"net/netip"
	"slices"
	"strconv"

	"github.com/dnshark-io/dnshark/dnswire"
)

// Severity says how bad an alert is.
type Severity uint8

// Severities, the least first.
const (
	SeverityInfo Severity = iota
	SeverityLow
	SeverityMedium
	SeverityHigh
	SeverityCritical
)

// SeverityNames are the names of severities, the least first.
var SeverityNames = []string{"info", "low", "medium", "high", "critical"}

// String returns the severity's name in events.
func (s Severity) String() string { return SeverityNames[s] }

// ParseSeverity returns the severity of that name.
func ParseSeverity(name string) (Severity, bool) {
	i := slices.Index(SeverityNames, name)
	return Severity(max(i, 0)), i >= 0
}

// Alert is what a detector says of an incident. An incident has one alert and,
// while it goes on, updates of it. An alert is made once and never changed.
type Alert struct {
	ID     string // of the incident: 16 hex digits, the same in its updates
	Update int    // 0 for the first
	Threat string // the event's name, as dns_tunnel
	Kind   string // what exactly, as rebinding

	Severity   Severity
	Confidence float64 // 0 to 1
	Rule       string  // what was met, in words
	Technique  string  // MITRE ATT&CK id

	Start, End int64      // of what belongs to the incident so far, as Event.Time
	Src        netip.Addr // who asks, or whom it happens to; not valid when unknown
	Server     netip.Addr // who answers; not valid when several do
	Domain     string     // presentation format, lower case, "" when it is about several

	Value     float64 // what was compared
	Threshold float64
	Window    int64 // ns in which Value came about, 0 when time does not matter

	Evidence []Evidence
	Rejected []string // benign explanations that do not fit
}

// Evidence is a figure or samples that a responder can find in the packets.
type Evidence struct {
	Name   string
	Number float64
	Texts  []string // any octets; instead of Number when not nil
}

// Bounds of an alert's text.
const (
	maxSamples = 16
	maxSample  = 512 // octets of one text, escaped
	maxText    = 4 * dnswire.MaxNameLen
)

// FieldAlert is the alert of an event of the set alerts.
var FieldAlert = Field{
	Name: "alert", Type: "object", Doc: "what was detected; only in events of the set alerts",
	Sub: []SubField{
		{"id", "string", "id of the incident; its updates have the same"},
		{"update", "uint32", "0 for an incident's first alert, then counting"},
		{"threat", "string", "the event's name"},
		{"kind", "string", "what exactly"},
		{"severity", "string", "info, low, medium, high or critical"},
		{"confidence", "float", "0 to 1"},
		{"rule", "string", "what was met, in words"},
		{"technique", "string", "MITRE ATT&CK technique"},
		{"start", "string", "time of the first message that belongs to it"},
		{"end", "string", "time of the last one so far"},
		{"src", "string", "address of who asks, or of the victim; left out when unknown"},
		{"server", "string", "address of who answers; left out when several do"},
		{"domain", "string", "what it is about; left out when that is several domains"},
		{"value", "float", "what was compared with threshold"},
		{"threshold", "float", "what value had to reach"},
		{"window_s", "float", "seconds in which value came about; left out when time does not matter"},
		{"evidence", "object", "figures that can be recomputed from the packets, and samples"},
		{"benign_explanations_rejected[]", "[]string", "what it was compared with and is not"},
	},
	Append: appendAlert,
}

func appendAlert(dst []byte, e *Event) []byte {
	a := e.Alert
	if a == nil {
		return dst
	}
	text := func(key, s string) {
		if s != "" {
			dst = appendBounded(append(append(append(dst, `,"`...), key...), `":`...), s)
		}
	}
	number := func(key string, v float64) {
		dst = appendNumber(append(append(append(dst, `,"`...), key...), `":`...), v)
	}
	dst = appendBounded(append(dst, `{"id":`...), a.ID)
	number("update", float64(a.Update))
	text("threat", a.Threat)
	text("kind", a.Kind)
	text("severity", a.Severity.String())
	number("confidence", a.Confidence)
	text("rule", a.Rule)
	text("technique", a.Technique)
	dst = append(AppendTime(append(dst, `,"start":"`...), a.Start), '"')
	dst = append(AppendTime(append(dst, `,"end":"`...), a.End), '"')
	if a.Src.IsValid() {
		dst = append(AppendAddr(append(dst, `,"src":"`...), a.Src), '"')
	}
	if a.Server.IsValid() {
		dst = append(AppendAddr(append(dst, `,"server":"`...), a.Server), '"')
	}
	text("domain", a.Domain)
	number("value", a.Value)
	number("threshold", a.Threshold)
	if a.Window > 0 {
		number("window_s", float64(a.Window)/1e9)
	}
	dst = append(dst, `,"evidence":{`...)
	for i := range a.Evidence {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = a.Evidence[i].append(dst)
	}
	dst = append(dst, `},"benign_explanations_rejected":[`...)
	return append(appendTexts(dst, a.Rejected), ']', '}')
}

func (v *Evidence) append(dst []byte) []byte {
	dst = append(appendBounded(dst, v.Name), ':')
	if v.Texts == nil {
		return appendNumber(dst, v.Number)
	}
	return append(appendTexts(append(dst, '['), v.Texts), ']')
}

// appendBounded appends text, which a name in presentation format always fits.
func appendBounded(dst []byte, s string) []byte {
	dst = append(dst, '"')
	at := len(dst)
	return append(EscapeJSON(AppendSafeUpTo(dst, s, maxText), at), '"')
}

func appendTexts(dst []byte, list []string) []byte {
	for i, s := range list[:min(len(list), maxSamples)] {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '"')
		at := len(dst)
		dst = append(EscapeJSON(AppendSafeUpTo(dst, s, maxSample), at), '"')
	}
	return dst
}

func appendNumber(dst []byte, v float64) []byte {
	return strconv.AppendFloat(dst, v, 'f', -1, 64)
}

var alertPaths = []*Path{
	alertText("id", func(a *Alert) string { return a.ID }),
	alertText("threat", func(a *Alert) string { return a.Threat }),
	alertText("kind", func(a *Alert) string { return a.Kind }),
	alertText("technique", func(a *Alert) string { return a.Technique }),
	{
		Name: "alert.severity", Kind: KindText, Doc: "info, low, medium, high or critical; they compare in this order", Count: oneAlert,
		Text:   func(dst []byte, e *Event, _ int) []byte { return append(dst, e.Alert.Severity.String()...) },
		Number: func(e *Event, _ int) uint64 { return uint64(e.Alert.Severity) },
		Code:   func(name string) (uint64, bool) { s, ok := ParseSeverity(name); return uint64(s), ok }, Ordered: true,
	},
	alertText("rule", func(a *Alert) string { return a.Rule }),
	alertTime("start", func(a *Alert) int64 { return a.Start }),
	alertTime("end", func(a *Alert) int64 { return a.End }),
	{Name: "alert.update", Kind: KindNumber, Doc: "0 for an incident's first alert", Count: oneAlert, Number: func(e *Event, _ int) uint64 { return uint64(e.Alert.Update) }},
	{Name: "alert.domain", Kind: KindName, Doc: "what it is about", Count: oneAlert, Text: func(dst []byte, e *Event, _ int) []byte { return AppendSafe(dst, e.Alert.Domain) }},
	alertAddr("src", "who asks, or the victim", func(a *Alert) netip.Addr { return a.Src }),
	alertAddr("server", "who answers", func(a *Alert) netip.Addr { return a.Server }),
}

func oneAlert(e *Event) int {
	if e.Alert == nil {
		return 0
	}
	return 1
}

func alertText(name string, value func(*Alert) string) *Path {
	return &Path{Name: "alert." + name, Kind: KindText, Doc: name + " of an alert", Count: oneAlert,
		Text: func(dst []byte, e *Event, _ int) []byte { return AppendSafe(dst, value(e.Alert)) }}
}

func alertAddr(name, doc string, value func(*Alert) netip.Addr) *Path {
	return &Path{Name: "alert." + name, Kind: KindAddr, Doc: doc,
		Count: func(e *Event) int {
			if e.Alert == nil || !value(e.Alert).IsValid() {
				return 0
			}
			return 1
		},
		Addr: func(e *Event, _ int) netip.Addr { return value(e.Alert) }}
}

func alertTime(name string, value func(*Alert) int64) *Path {
	return &Path{Name: "alert." + name, Kind: KindTime, Doc: name + " of an alert's incident", Count: oneAlert,
		Number: func(e *Event, _ int) uint64 { return uint64(value(e.Alert)) }}
}
