package eventlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Lines of one kind differ in their values alone, and values of one member are
// alike. So a block holds each frame of a line - the template - once, and the
// values member by member. In a template
//
//	\x01 c  stands for the next value of column c
//	\x02 i  for the i-th value of the same line again
//
// where c and i have firstRef added. A template of one \x01 and column 0 is a line
// that is no JSON of ours.
const (
	newValue, sameValue = 1, 2
	firstRef            = ' '
	maxRefs             = 200
	maxColumns          = 200
	leastSame           = 4 // octets of a value that is worth a reference
)

// How a column is written.
const (
	asText   = iota // values, a line feed after each
	asTimes         // differences in ns, zigzag varints
	asMicros        // differences in us
)

// columns turns lines into a block's data and back. It is for one at a time.
type columns struct {
	tokens    []token
	values    [maxColumns][]byte
	ids       map[string]int // columns by key
	keys      []string
	templates map[string]int
	order     []byte // template of each line, uvarints
	texts     []byte // templates, a NUL after each
	line      []byte
	z         *zstd.Encoder
	scratch   []byte
}

func newColumns() (*columns, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
	return &columns{ids: map[string]int{}, templates: map[string]int{}, z: z}, err
}

func (c *columns) reset() {
	for i := range c.values {
		c.values[i] = c.values[i][:0]
	}
	clear(c.ids)
	clear(c.templates)
	c.keys = append(c.keys[:0], "")
	c.order, c.texts = c.order[:0], c.texts[:0]
}

func (c *columns) column(key []byte) int {
	id, ok := c.ids[string(key)]
	if !ok {
		id = maxColumns - 1 // what is too much shares one
		if len(c.keys) < maxColumns-1 {
			id = len(c.keys)
			c.keys = append(c.keys, string(key))
			c.ids[string(key)] = id
		}
	}
	return id
}

// add adds a line without its line feed. The tokens are those of scan, nil when
// it is none of ours.
func (c *columns) add(line []byte, tokens []token) {
	c.line = c.line[:0]
	if tokens == nil {
		c.line = append(c.line, newValue, firstRef)
		c.values[0] = append(append(c.values[0], line...), '\n')
	}
	at := 0
	for i := range tokens {
		t := &tokens[i]
		value := line[t.begin:t.end]
		c.line = append(c.line, line[at:t.begin]...)
		at = t.end
		if same := sameAs(tokens[:i], line, value); same >= 0 {
			c.line = append(c.line, sameValue, byte(firstRef+same))
			continue
		}
		id := c.column(t.key)
		c.line = append(c.line, newValue, byte(firstRef+id))
		c.values[id] = append(append(c.values[id], value...), '\n')
	}
	if tokens != nil {
		c.line = append(c.line, line[at:]...)
	}
	id, ok := c.templates[string(c.line)]
	if !ok {
		id = len(c.templates)
		c.templates[string(c.line)] = id
		c.texts = append(append(c.texts, c.line...), 0)
	}
	c.order = binary.AppendUvarint(c.order, uint64(id))
}

// sameAs returns which of the first values is the same, or -1.
func sameAs(tokens []token, line, value []byte) int {
	if len(value) < leastSame {
		return -1
	}
	for i := range tokens[:min(len(tokens), maxRefs)] {
		if t := &tokens[i]; t.end-t.begin == len(value) && line[t.begin] == value[0] && bytes.Equal(line[t.begin:t.end], value) {
			return i
		}
	}
	return -1
}

// appendTo appends the data: the templates, which line has which, and the columns.
// Each is its way of writing, two lengths and a zstd frame.
func (c *columns) appendTo(dst []byte) []byte {
	put := func(way byte, text []byte) {
		c.scratch = c.z.EncodeAll(text, c.scratch[:0])
		dst = binary.AppendUvarint(append(dst, way), uint64(len(text)))
		dst = binary.AppendUvarint(dst, uint64(len(c.scratch)))
		dst = append(dst, c.scratch...)
	}
	put(asText, c.texts)
	put(asText, c.order)
	last := len(c.keys)
	if len(c.values[maxColumns-1]) > 0 {
		last = maxColumns
	}
	for id := range last {
		way, text := byte(asText), c.values[id]
		if id < len(c.keys) && c.keys[id] == "time" {
			way, text = packTimes(text)
		}
		put(way, text)
	}
	return dst
}

// timeLayout is what times in events look like.
const timeLayout = "2006-01-02T15:04:05.000000000Z"

// packTimes writes a column of times, as text where one is not like the others.
func packTimes(text []byte) (way byte, packed []byte) {
	var list []int64
	micros := true
	for line := range bytes.Lines(text) {
		t, err := time.Parse(timeLayout, string(line[:len(line)-1]))
		if err != nil || t.Year() < 1970 || t.Year() > 2200 {
			return asText, text
		}
		list = append(list, t.UnixNano())
		micros = micros && t.UnixNano()%1000 == 0
	}
	way, unit := byte(asTimes), int64(1)
	if micros {
		way, unit = asMicros, 1000
	}
	packed = make([]byte, 0, len(list)*4)
	before := int64(0)
	for _, t := range list {
		packed = binary.AppendVarint(packed, t/unit-before)
		before = t / unit
	}
	return way, packed
}

var errDamaged = errors.New("damaged block of events")

// restorer turns data into lines. It is for one at a time.
type restorer struct {
	z *zstd.Decoder
}

func newRestorer() (*restorer, error) {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxRaw), zstd.WithDecoderLowmem(true))
	return &restorer{z}, err
}

// part is literal text and what follows it.
type part struct {
	text []byte
	op   byte // newValue, sameValue, or 0 at the end
	id   int
}

// lines appends count lines, raw octets in all, to dst. The data is not trusted.
func (r *restorer) lines(dst, data []byte, count, raw int) ([]byte, error) {
	var texts [2 + maxColumns][]byte
	n, total := 0, 0
	for ; len(data) > 0; n++ {
		way := data[0]
		size, k := binary.Uvarint(data[1:])
		if k <= 0 || n == len(texts) {
			return dst, errDamaged
		}
		data = data[1+k:]
		packed, k := binary.Uvarint(data)
		if k <= 0 || packed > uint64(len(data)-k) || size > maxRaw || total+int(size) > maxRaw {
			return dst, errDamaged
		}
		total += int(size)
		text, err := r.z.DecodeAll(data[k:k+int(packed)], make([]byte, 0, size))
		if err != nil || len(text) != int(size) {
			return dst, errDamaged
		}
		data = data[k+int(packed):]
		if way != asText {
			if text, err = unpackTimes(way, text); err != nil {
				return dst, err
			}
		}
		texts[n] = text
	}
	if n < 2 {
		return dst, errDamaged
	}
	templates, err := parseTemplates(texts[0])
	if err != nil {
		return dst, err
	}
	order, values, end := texts[1], texts[2:], len(dst)+raw
	type span struct{ begin, end int }
	var of [maxRefs]span
	for range count {
		id, k := binary.Uvarint(order)
		if k <= 0 || id >= uint64(len(templates)) {
			return dst, errDamaged
		}
		order = order[k:]
		seen := 0
		for _, p := range templates[id] {
			dst = append(dst, p.text...)
			begin := len(dst)
			switch p.op {
			case 0:
			case sameValue:
				if p.id >= seen || len(dst)+of[p.id].end-of[p.id].begin > end {
					return dst, errDamaged
				}
				dst = append(dst, dst[of[p.id].begin:of[p.id].end]...)
			case newValue:
				v := values[p.id]
				i := bytes.IndexByte(v, '\n')
				if i < 0 {
					return dst, errDamaged
				}
				dst, values[p.id] = append(dst, v[:i]...), v[i+1:]
			}
			if len(dst) > end {
				return dst, errDamaged
			}
			if p.op != 0 && seen < maxRefs {
				of[seen] = span{begin, len(dst)}
				seen++
			}
		}
		dst = append(dst, '\n')
	}
	if len(dst) != end {
		return dst, errDamaged
	}
	return dst, nil
}

func parseTemplates(text []byte) (list [][]part, err error) {
	for len(text) > 0 {
		one, rest, ok := bytes.Cut(text, []byte{0})
		if !ok {
			return nil, errDamaged
		}
		var parts []part
		for {
			i := bytes.IndexAny(one, "\x01\x02")
			if i < 0 {
				break
			}
			if i+1 == len(one) || one[i+1] < firstRef || int(one[i+1]-firstRef) >= maxColumns {
				return nil, errDamaged
			}
			parts = append(parts, part{one[:i], one[i], int(one[i+1] - firstRef)})
			one = one[i+2:]
		}
		list, text = append(list, append(parts, part{text: one})), rest
	}
	return list, nil
}

func unpackTimes(way byte, packed []byte) (text []byte, err error) {
	unit := int64(1)
	switch way {
	case asTimes:
	case asMicros:
		unit = 1000
	default:
		return nil, errDamaged
	}
	text = make([]byte, 0, len(packed)*10)
	t := int64(0)
	for len(packed) > 0 {
		d, k := binary.Varint(packed)
		if k <= 0 {
			return nil, errDamaged
		}
		t, packed = t+d, packed[k:]
		text = append(time.Unix(0, t*unit).UTC().AppendFormat(text, timeLayout), '\n')
	}
	return text, nil
}
