package output

import (
	"bytes"
	"net/netip"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/event"
)

// What the formats share. Text from the wire is dnswire's presentation format,
// other text from outside is what event.AppendSafe makes of it; both are then
// escaped as the format needs it. There is no third way.

// maxList is how many octets a list of an event may have, whatever the message:
// it ends before the element that would not fit.
const maxList = 20 << 10

// maxPath is how many octets of text a path may have, and what is like one.
const maxPath = 1 << 10

// jsonName appends a name, fit for a JSON string.
func jsonName(dst []byte, m *dnswire.Message, n dnswire.Name) []byte {
	at := len(dst)
	return event.EscapeJSON(m.AppendName(dst, n), at)
}

// jsonNameLower is jsonName in lower case.
func jsonNameLower(dst []byte, m *dnswire.Message, n dnswire.Name) []byte {
	at := len(dst)
	return event.EscapeJSON(m.AppendNameLower(dst, n), at)
}

// jsonData appends RDATA, fit for a JSON string.
func jsonData(dst []byte, m *dnswire.Message, r *dnswire.Record) []byte {
	at := len(dst)
	return event.EscapeJSON(m.AppendRData(dst, r), at)
}

// jsonText appends text, which is printable ASCII, fit for a JSON string.
func jsonText(dst, text []byte) []byte {
	at := len(dst)
	return event.EscapeJSON(append(dst, text...), at)
}

// jsonNumber appends a key, such as `,"id":`, and a number.
func jsonNumber[T ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~int](dst []byte, key string, v T) []byte {
	return event.AppendUint(append(dst, key...), uint64(v))
}

// jsonBit appends a key and 0 or 1.
func jsonBit(dst []byte, key string, set bool) []byte {
	dst = append(dst, key...)
	if set {
		return append(dst, '1')
	}
	return append(dst, '0')
}

const hexDigits = "0123456789abcdef"

// maxShort is how many octets of text a container's names may have.
const maxShort = 256

// jsonShort appends s, any octets, as a JSON string.
func jsonShort(dst []byte, s string) []byte {
	dst = append(dst, '"')
	at := len(dst)
	return append(event.EscapeJSON(event.AppendSafeUpTo(dst, s, maxShort), at), '"')
}

// jsonSet appends a key, a string and a comma, unless the string is empty.
func jsonSet(dst []byte, key, s string) []byte {
	if s == "" {
		return dst
	}
	return append(jsonShort(append(dst, key...), s), ',')
}

// closeJSON replaces the comma behind the last element, if any, by end.
func closeJSON(dst []byte, end byte) []byte {
	if n := len(dst) - 1; dst[n] == ',' {
		dst[n] = end
		return dst
	}
	return append(dst, end)
}

// parts is room for the text of RDATA whose parts a format wants one by one: two
// names and some numbers.
type parts [2*4*dnswire.MaxNameLen + 64]byte

// of returns the text of r. Its parts have a blank between them and none inside.
func (p *parts) of(m *dnswire.Message, r *dnswire.Record) []byte { return m.AppendRData(p[:0], r) }

// next returns the first part of text and what follows it.
func next(text []byte) (part, rest []byte) {
	part, rest, _ = bytes.Cut(text, []byte{' '})
	return part, rest
}

// question returns the first question, if any.
func question(m *dnswire.Message) (dnswire.Question, bool) {
	if len(m.Questions) == 0 {
		return dnswire.Question{}, false
	}
	return m.Questions[0], true
}

// restFields are the fields that most formats of others have no place for.
var restFields = []*event.Field{
	&event.FieldObserver, &event.FieldTransaction, &event.FieldProcess, &event.FieldServerProcess,
	&event.FieldReceiver, &event.FieldPolicies,
}

// appendRest appends an object of what a format has no place for: who asked,
// what became of the transaction, what is wrong with the message.
func appendRest(dst []byte, e *event.Event) []byte {
	dst = append(dst, '{')
	for _, f := range restFields {
		before := len(dst)
		dst = append(append(append(dst, '"'), f.Name...), `":`...)
		value := len(dst)
		if dst = f.Append(dst, e); len(dst) == value {
			dst = dst[:before]
			continue
		}
		dst = append(dst, ',')
	}
	if !e.HasMessage() {
		return closeJSON(dst, '}')
	}
	m := &e.Msg
	if m.Broken != dnswire.None {
		dst = append(dst, `"incomplete":true,`...)
	}
	if n := m.Anomalies.Len(); n > 0 || e.Capped || e.Missing > 0 {
		dst = append(dst, `"anomalies":[`...)
		for a := dnswire.Anomaly(1); n > 0 && int(a) < dnswire.NumAnomalies; a++ {
			if m.Anomalies.Has(a) {
				dst = append(append(append(dst, '"'), a.String()...), `",`...)
			}
		}
		if e.Missing > 0 {
			dst = append(dst, `"message_cut",`...)
		}
		if e.Capped {
			dst = append(dst, `"event_capped",`...)
		}
		dst = append(closeJSON(dst, ']'), ',')
	}
	return closeJSON(dst, '}')
}

// transport returns the name of the event's transport.
func transport(e *event.Event, udp, tcp string) string {
	if e.Meta.Protocol == 6 {
		return tcp
	}
	return udp
}

// flowID returns 53 bits that are the same for the messages of one conversation:
// a hash of its ends, the socket's cookie and the transport. Whoever chooses
// addresses and ports can make conversations collide; nothing depends on it.
func flowID(e *event.Event) uint64 {
	client, server := e.Ends()
	return flowOf(e, client, server)
}

func flowOf(e *event.Event, client, server netip.AddrPort) uint64 {
	a, b := client.Addr().As16(), server.Addr().As16()
	const prime = 1099511628211
	h := uint64(14695981039346656037)
	for i := range a {
		h = (h ^ uint64(a[i])) * prime
		h = (h ^ uint64(b[i])) * prime
	}
	for _, v := range [...]uint64{uint64(client.Port()), uint64(server.Port()), uint64(e.Meta.Protocol), e.Flow.Cookie} {
		h = (h ^ v) * prime
		h ^= h >> 29
	}
	return h >> 11
}

// ofProcess is for columns of who asked.
func ofProcess(f func(dst []byte, who *event.Party) []byte) func([]byte, *event.Event) []byte {
	return func(dst []byte, e *event.Event) []byte {
		if e.Asker.ID == nil || !e.Asker.ID.Known() {
			return dst
		}
		return f(dst, &e.Asker)
	}
}

// appendExe appends the path of the executable, if it is known.
func appendExe(dst []byte, who *event.Party) []byte {
	if who.Process == nil {
		return dst
	}
	return event.AppendSafeUpTo(dst, who.Process.Exe, maxPath)
}
