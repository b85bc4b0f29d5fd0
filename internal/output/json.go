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
}

type jsonKind struct {
	event  string // ,"event":"NAME"
	fields []jsonField
}

type jsonField struct {
	key    string // ,"NAME":
	append func([]byte, *event.Event) []byte
}

// NewJSON returns the encoder for all kinds of the catalogue.
func NewJSON() *JSON {
	j := &JSON{}
	for _, k := range kind.Catalogue {
		jk := jsonKind{event: `,"event":"` + k.Name + `"`}
		for _, f := range k.Fields {
			jk.fields = append(jk.fields, jsonField{`,"` + f.Name + `":`, f.Append})
		}
		j.kinds = append(j.kinds, jk)
	}
	return j
}

// Append implements Encoder.
func (j *JSON) Append(dst []byte, b *event.Batch) []byte {
	for i := range b.Events {
		e := &b.Events[i]
		for kinds := e.Kinds; kinds != 0; kinds &= kinds - 1 {
			dst = j.kinds[bits.TrailingZeros32(kinds)].append(dst, e)
		}
	}
	return dst
}

func (k *jsonKind) append(dst []byte, e *event.Event) []byte {
	start := len(dst)
	e.Begin()
	for i := range k.fields {
		f, before := &k.fields[i], len(dst)
		dst = append(dst, f.key...)
		value := len(dst)
		dst = f.append(dst, e)
		if len(dst) == value {
			dst = dst[:before]
		}
		if i == 0 {
			// The time comes first, so that sorted lines are sorted by time.
			dst = append(dst, k.event...)
		}
	}
	dst[start] = '{'
	return append(dst, '}', '\n')
}
