package output

import (
	"math/bits"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/kind"
)

// JSON writes one object per line (NDJSON). The keys and their order are those
// of the kind's table of fields.
type JSON struct {
	kinds []jsonKind
	memo  *event.Memo // made with the first message
	size  int         // octets that it takes, 0: no memo
}

// jsonMemory is for what each that encodes remembers of messages, in octets. It
// fits a second-level cache: to fetch a text from further away takes as long as to
// write it anew.
const jsonMemory = 1 << 20

type jsonKind struct {
	event   string // ,"event":"NAME"
	before  []jsonField
	message func([]byte, *event.Event) []byte // the fields of the message, which stand together
	after   []jsonField
}

type jsonField struct {
	key    string // ,"NAME":
	append func([]byte, *event.Event) []byte
}

// NewJSON returns the encoder for all kinds of the catalogue.
func NewJSON() *JSON {
	j := &JSON{size: jsonMemory}
	for _, k := range kind.Catalogue {
		j.kinds = append(j.kinds, newJSONKind(k))
	}
	return j
}

func newJSONKind(k *kind.Kind) jsonKind {
	jk := jsonKind{event: `,"event":"` + k.Name + `"`}
	var message []jsonField
	for _, f := range k.Fields {
		field := jsonField{`,"` + f.Name + `":`, f.Append}
		switch {
		case f.OfMessage:
			message = append(message, field)
		case message == nil:
			jk.before = append(jk.before, field)
		default:
			jk.after = append(jk.after, field)
		}
	}
	if message != nil {
		jk.message = func(dst []byte, e *event.Event) []byte {
			return appendFields(dst, e, message)
		}
	}
	return jk
}

// worker has a memo of its own.
func (j *JSON) worker() Encoder { return &JSON{kinds: j.kinds, size: j.size} }

// Append implements Encoder.
func (j *JSON) Append(dst []byte, b *event.Batch) []byte {
	for i := range b.Events {
		e := &b.Events[i]
		for kinds := e.Kinds; kinds != 0; kinds &= kinds - 1 {
			dst = j.append(dst, e, bits.TrailingZeros32(kinds))
		}
	}
	return dst
}

func (j *JSON) append(dst []byte, e *event.Event, kind int) []byte {
	k, start := &j.kinds[kind], len(dst)
	e.Capped = false
	// The time comes first, so that sorted lines are sorted by time.
	dst = appendFields(dst, e, k.before[:1])
	dst = append(dst, k.event...)
	dst = appendFields(dst, e, k.before[1:])
	switch {
	case k.message == nil:
	case j.size == 0:
		e.Begin()
		dst = k.message(dst, e)
	default:
		if j.memo == nil {
			j.memo = event.NewMemo(make([]byte, j.size))
		}
		dst = j.memo.Append(dst, e, uint8(kind), k.message)
	}
	dst = appendFields(dst, e, k.after)
	dst[start] = '{'
	return append(dst, '}', '\n')
}

// appendFields appends the fields that the event has.
func appendFields(dst []byte, e *event.Event, fields []jsonField) []byte {
	for i := range fields {
		f, before := &fields[i], len(dst)
		dst = append(dst, f.key...)
		value := len(dst)
		if dst = f.append(dst, e); len(dst) == value {
			dst = dst[:before]
		}
	}
	return dst
}
