package output

import (
	"math/bits"
	"strconv"
	"time"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/kind"
)

// Table writes a line per event for people. Whatever comes from the wire is
// printable ASCII (dnswire's presentation format, event.AppendSafe), so no
// control octet of an attacker's reaches the terminal; the only escape
// sequences are the table's own colours.
type Table struct {
	width  int // columns of the terminal, 0 for lines that are never cut
	colour bool
	header bool // still to be written
	line   []byte
}

// NewTable returns an encoder for a terminal of width columns (0: do not cut).
func NewTable(width int, colour bool) *Table {
	return &Table{width: width, colour: colour, header: true}
}

// column is a part of a line. The last one takes what is left.
type column struct {
	title string
	width int
	right bool
	value func(dst []byte, e *event.Event, k *kind.Kind) []byte
}

var columns = []column{
	{"TIME", 15, false, appendClock},
	{"PROCESS", 22, false, appendProcess},
	{"QUESTION", 34, false, appendQuestion},
	{"TYPE", 6, false, appendType},
	{"RCODE", 10, false, appendOutcome},
	{"LATENCY", 9, true, appendLatency},
	{"SERVER", 21, false, appendServer},
	{"ANSWERS", 0, false, appendAnswers},
}

// Append implements Encoder.
func (t *Table) Append(dst []byte, b *event.Batch) []byte {
	for i := range b.Events {
		e := &b.Events[i]
		for kinds := e.Kinds; kinds != 0; kinds &= kinds - 1 {
			dst = t.row(dst, e, kind.Catalogue[bits.TrailingZeros32(kinds)])
		}
	}
	return dst
}

func (t *Table) row(dst []byte, e *event.Event, k *kind.Kind) []byte {
	if t.header {
		t.header = false
		t.line = t.line[:0]
		for i := range columns {
			t.line = pad(append(t.line, columns[i].title...), len(t.line), &columns[i])
		}
		dst = t.finish(dst, "\x1b[1m")
	}
	t.line = t.line[:0]
	for i := range columns {
		at := len(t.line)
		t.line = pad(columns[i].value(t.line, e, k), at, &columns[i])
	}
	return t.finish(dst, colourOf(e))
}

// pad makes the text since at as wide as its column: longer text is cut and
// says so.
func pad(line []byte, at int, c *column) []byte {
	if c.width == 0 {
		return line
	}
	text := len(line) - at
	if text > c.width {
		line = append(line[:at+c.width-1], '~')
		return append(line, ' ', ' ')
	}
	fill := c.width - text
	for range fill {
		line = append(line, ' ')
	}
	if c.right {
		copy(line[at+fill:], line[at:at+text])
		for i := range fill {
			line[at+i] = ' '
		}
	}
	return append(line, ' ', ' ')
}

func (t *Table) finish(dst []byte, colour string) []byte {
	line := t.line
	if t.width > 0 && len(line) > t.width {
		line = line[:t.width]
		line[t.width-1] = '~'
	}
	for len(line) > 0 && line[len(line)-1] == ' ' {
		line = line[:len(line)-1]
	}
	if !t.colour || colour == "" {
		return append(append(dst, line...), '\n')
	}
	dst = append(append(dst, colour...), line...)
	return append(dst, "\x1b[0m\n"...)
}

// colourOf tells the outcome: errors red, names that do not exist yellow,
// answers that nobody asked for magenta.
func colourOf(e *event.Event) string {
	switch {
	case e.Class == event.ClassPacket:
		return ""
	case e.Class == event.ClassAlert:
		return "\x1b[1;31m"
	case e.Class == event.ClassLoss && !e.Loss.Ends:
		return "\x1b[1;31m"
	case e.Class == event.ClassLoss:
		return ""
	case e.Class == event.ClassUnanswered:
		return "\x1b[31m"
	case !e.Msg.Flags.Response():
		return "\x1b[2m"
	case e.Txn.State == event.StateUnsolicited, e.Txn.State == event.StateMismatched:
		return "\x1b[35m"
	}
	switch e.Msg.RCode() {
	case dnswire.RCodeNoError:
		return ""
	case dnswire.RCodeNXDomain:
		return "\x1b[33m"
	default:
		return "\x1b[31m"
	}
}

func appendClock(dst []byte, e *event.Event, _ *kind.Kind) []byte {
	return time.Unix(0, e.Time).AppendFormat(dst, "15:04:05.000000")
}

func appendProcess(dst []byte, e *event.Event, _ *kind.Kind) []byte {
	if e.Asker.ID == nil || !e.Asker.ID.Known() {
		return append(dst, '-')
	}
	dst = append(e.Asker.ID.AppendComm(dst), " ("...)
	return append(event.AppendUint(dst, uint64(e.Asker.ID.TGID)), ')')
}

func appendQuestion(dst []byte, e *event.Event, k *kind.Kind) []byte {
	if e.Class == event.ClassPacket {
		dst = event.AppendAddr(dst, e.Meta.SrcIP)
		dst = event.AppendUint(append(dst, ' '), uint64(e.Meta.SrcPort))
		return append(append(dst, " > "...), k.Name[len("net_packet_"):]...)
	}
	if e.Class == event.ClassAlert {
		if e.Alert.Domain == "" {
			return append(dst, '-')
		}
		return event.AppendSafe(dst, e.Alert.Domain)
	}
	if e.Class == event.ClassLoss {
		dst = event.AppendSafe(dst, e.Loss.Where)
		if e.Loss.Name != "" {
			dst = event.AppendSafe(append(dst, ' '), e.Loss.Name)
		}
		return dst
	}
	if len(e.Msg.Questions) == 0 {
		return append(dst, '-')
	}
	return e.Msg.AppendName(dst, e.Msg.Questions[0].Name)
}

func appendType(dst []byte, e *event.Event, _ *kind.Kind) []byte {
	if !e.HasMessage() || len(e.Msg.Questions) == 0 {
		return append(dst, '-')
	}
	return e.Msg.Questions[0].Type.Append(dst)
}

func appendOutcome(dst []byte, e *event.Event, _ *kind.Kind) []byte {
	switch {
	case e.Class == event.ClassPacket:
		return append(dst, '-')
	case e.Class == event.ClassAlert:
		return append(append(dst, '!'), e.Alert.Severity.String()...)
	case e.Class == event.ClassLoss && e.Loss.Ends:
		return append(dst, "loss end"...)
	case e.Class == event.ClassLoss:
		return append(dst, "!loss"...)
	case e.Class == event.ClassUnanswered:
		return append(dst, "unanswered"...)
	case !e.Msg.Flags.Response():
		return append(dst, "query"...)
	}
	return e.Msg.RCode().Append(dst)
}

func appendLatency(dst []byte, e *event.Event, _ *kind.Kind) []byte {
	if e.Class == event.ClassAlert || e.Class == event.ClassLoss || e.Txn.State == event.StateNone || e.Txn.Latency < 0 {
		return append(dst, '-')
	}
	dst = strconv.AppendFloat(dst, float64(e.Txn.Latency)/1e6, 'f', 2, 64)
	return append(dst, "ms"...)
}

func appendServer(dst []byte, e *event.Event, _ *kind.Kind) []byte {
	switch {
	case e.Class == event.ClassAlert && !e.Alert.Server.IsValid(), e.Class == event.ClassLoss:
		return append(dst, '-')
	case e.Class == event.ClassAlert:
		return event.AppendAddr(dst, e.Alert.Server)
	case e.Class == event.ClassMessage && e.Msg.Flags.Response():
		return event.AppendAddr(dst, e.Meta.SrcIP)
	}
	return event.AppendAddr(dst, e.Meta.DstIP)
}

func appendAnswers(dst []byte, e *event.Event, _ *kind.Kind) []byte {
	if e.Class == event.ClassPacket {
		return append(event.AppendUint(dst, uint64(e.Meta.PacketLen)), " octets"...)
	}
	if a := e.Alert; e.Class == event.ClassAlert {
		dst = append(event.AppendSafeUpTo(append(append(dst, a.Threat...), '/'), a.Kind, maxShort), " by "...)
		if a.Src.IsValid() {
			dst = event.AppendAddr(dst, a.Src)
		} else {
			dst = append(dst, "unknown"...)
		}
		return event.AppendSafeUpTo(append(dst, ": "...), a.Rule, maxPath)
	}
	if e.Class == event.ClassLoss {
		return appendLost(dst, e.Loss)
	}
	if e.Msg.Broken != dnswire.None {
		dst = append(append(append(dst, '['), e.Msg.Broken.String()...), "] "...)
	}
	start := len(dst)
	for i := range e.Msg.Answer() {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		if len(dst)-start > maxList {
			return append(dst, "..."...)
		}
		r := &e.Msg.Answer()[i]
		if r.Type != dnswire.TypeA && r.Type != dnswire.TypeAAAA {
			dst = append(r.Type.Append(dst), ' ')
		}
		dst = e.Msg.AppendRData(dst, r)
	}
	return dst
}

// appendLost appends "lost 7 overflow, 2 refused in 1.5s".
func appendLost(dst []byte, l *event.Loss) []byte {
	before := "lost "
	for i := range l.Reason {
		if r := &l.Reason[i]; r.N > 0 {
			dst = event.AppendUint(append(dst, before...), r.N)
			dst = event.AppendSafe(append(dst, ' '), r.Name)
			before = ", "
		}
	}
	if l.Ends {
		dst = append(append(dst, " in "...), time.Duration(l.Duration).Round(time.Millisecond).String()...)
	}
	return dst
}
