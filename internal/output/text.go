package output

import (
	"bytes"

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

// eachString calls f with the character-strings of an RDATA without fault, until
// it returns false.
func eachString(rdata []byte, f func(s []byte) bool) {
	for len(rdata) > 0 {
		n := 1 + int(rdata[0])
		if n > len(rdata) || !f(rdata[1:n]) {
			return
		}
		rdata = rdata[n:]
	}
}

// question returns the first question, if any.
func question(m *dnswire.Message) (dnswire.Question, bool) {
	if len(m.Questions) == 0 {
		return dnswire.Question{}, false
	}
	return m.Questions[0], true
}
