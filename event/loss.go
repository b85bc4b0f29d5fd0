package event

// Loss is what dnshark itself lost at one place, from when it began to lose there until it
// lost nothing more. One event tells of its beginning, one of its end.
type Loss struct {
	Ends       bool // of the episode: the event is loss_end
	Unfinished bool // dnshark ended before the episode did

	Where  string // what kind of step it is, as source or output
	Name   string // which one, "" where there is only one
	Reason []LossReason
	// Start and End are when losses were seen first and last, as Event.Time; they are
	// looked for ten times a second. Duration is between the two, ns, by a clock that
	// nobody sets.
	Start, End, Duration int64
}

// LossReason is how much was lost for a reason, by the name that it has in the accounts.
type LossReason struct {
	Name string
	N    uint64
}

// Count returns how much was lost for all reasons.
func (l *Loss) Count() (n uint64) {
	for i := range l.Reason {
		n += l.Reason[i].N
	}
	return n
}

// FieldLoss is the loss of loss_start and loss_end.
var FieldLoss = Field{
	Name: "loss", Type: "object", Doc: "what dnshark lost, where and why",
	Sub: []SubField{
		{"where", "string", "which step lost it: source (packets), decoder (what was to be put together), pairing (queries that waited), history, event_log or output (events)"},
		{"name", "string", "which one: the output's name; left out where there is only one"},
		{"count", "uint64", "how much was lost so far: what kind of thing, the step tells"},
		{"by_reason", "object", "the same by reason, with the names of the counters; reasons without a loss are left out"},
		{"start", "string", "when the loss was seen first, within 100 ms"},
		{"end", "string", "when it was seen last; left out in loss_start"},
		{"duration_s", "float", "seconds from start to end; left out in loss_start"},
		{"unfinished", "bool", "true when dnshark ended while it lost; left out otherwise"},
	},
	Append: appendLoss,
}

func appendLoss(dst []byte, e *Event) []byte {
	l := e.Loss
	if l == nil {
		return dst
	}
	dst = appendBounded(append(dst, `{"where":`...), l.Where)
	if l.Name != "" {
		dst = appendBounded(append(dst, `,"name":`...), l.Name)
	}
	dst = AppendUint(append(dst, `,"count":`...), l.Count())
	dst = append(dst, `,"by_reason":{`...)
	for i, some := 0, false; i < len(l.Reason); i++ {
		if l.Reason[i].N == 0 {
			continue
		}
		if some {
			dst = append(dst, ',')
		}
		dst = AppendUint(append(appendBounded(dst, l.Reason[i].Name), ':'), l.Reason[i].N)
		some = true
	}
	dst = append(AppendTime(append(dst, `},"start":"`...), l.Start), '"')
	if l.Ends {
		dst = append(AppendTime(append(dst, `,"end":"`...), l.End), '"')
		dst = appendNumber(append(dst, `,"duration_s":`...), float64(l.Duration)/1e9)
	}
	if l.Unfinished {
		dst = append(dst, `,"unfinished":true`...)
	}
	return append(dst, '}')
}

var lossPaths = []*Path{
	{Name: "loss.where", Kind: KindText, Doc: "which step lost: source, decoder, pairing, history, event_log or output", Count: oneLoss,
		Text: func(dst []byte, e *Event, _ int) []byte { return AppendSafe(dst, e.Loss.Where) }},
	{Name: "loss.name", Kind: KindText, Doc: "name of the output that lost",
		Count: func(e *Event) int {
			if e.Loss == nil || e.Loss.Name == "" {
				return 0
			}
			return 1
		},
		Text: func(dst []byte, e *Event, _ int) []byte { return AppendSafe(dst, e.Loss.Name) }},
	{Name: "loss.count", Kind: KindNumber, Doc: "how much was lost", Count: oneLoss,
		Number: func(e *Event, _ int) uint64 { return e.Loss.Count() }},
}

func oneLoss(e *Event) int {
	if e.Loss == nil {
		return 0
	}
	return 1
}
