package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
)

// Lines of JSON say the same keys again and again, and most of their values twice. A
// compressor finds that, one line after the other, and each find costs. So before
// compression texts are taken apart into columns:
//
//	shapes   lines without their values, each different one once
//	numbers  the shape of every line
//	columns  for each value of a shape, those of all its lines; or, when they are those of
//	         an earlier column, that column's number
//
// Any text can be taken apart and put together again, octet by octet. Values are the insides
// of strings that are no keys, and numbers. Numbers in the format are uvarints.

const (
	hole = 0 // stands for a value in a shape; texts that have it are not taken apart
	// maxApart bounds the texts that are taken apart, maxShapes what is kept of them, and
	// maxHoles the time in which columns are compared with each other: what a line has beyond
	// stays in its shape.
	maxApart, maxShapes, maxHoles = 4 << 20, 4096, 256
)

// apart takes texts apart. It is used again.
type apart struct {
	shapes  map[string]int
	list    []shape
	numbers []int
	line    []byte
	values  []span // of all lines
}

type shape struct {
	text  []byte
	holes int
	first []int // of each line that has it, the place in values
}

type span struct{ from, to int }

// split appends the columns of a text. Nothing is appended of a text that cannot be taken
// apart, or that has hardly a shape twice.
func (a *apart) split(dst, text []byte) []byte {
	if len(text) > maxApart || bytes.IndexByte(text, hole) >= 0 {
		return dst
	}
	if a.shapes == nil {
		a.shapes = map[string]int{}
	}
	clear(a.shapes)
	a.list, a.numbers, a.values = a.list[:0], a.numbers[:0], a.values[:0]
	for at := 0; at <= len(text); {
		end := bytes.IndexByte(text[at:], '\n')
		if end < 0 {
			end = len(text) - at
		}
		first := len(a.values)
		a.parse(text, at, at+end)
		n, ok := a.shapes[string(a.line)]
		if !ok {
			n = len(a.list)
			a.list = append(a.list, shape{text: bytes.Clone(a.line), holes: len(a.values) - first})
			a.shapes[string(a.line)] = n
		}
		a.list[n].first = append(a.list[n].first, first)
		a.numbers = append(a.numbers, n)
		at += end + 1
	}
	if 2*len(a.list) > len(a.numbers) || len(a.list) > maxShapes {
		return dst
	}
	dst = binary.AppendUvarint(dst, uint64(len(a.list)))
	for i := range a.list {
		dst = appendBlock(dst, a.list[i].text)
	}
	dst = binary.AppendUvarint(dst, uint64(len(a.numbers)))
	for _, n := range a.numbers {
		dst = binary.AppendUvarint(dst, uint64(n))
	}
	for i := range a.list {
		for k := range a.list[i].holes {
			dst = a.column(dst, text, &a.list[i], k)
		}
	}
	return dst
}

// parse finds the values of a line, and leaves the rest in a.line.
func (a *apart) parse(text []byte, at, end int) {
	a.line = a.line[:0]
	most := len(a.values) + maxHoles
	for at < end {
		c := text[at]
		switch {
		case len(a.values) == most:
			a.line = append(a.line, text[at:end]...)
			at = end
		case c == '"':
			close := at + 1
			for close < end && text[close] != '"' {
				if text[close] == '\\' {
					close++
				}
				close++
			}
			close = min(close, end)
			if isKey := close+1 < end && text[close+1] == ':'; isKey {
				a.line = append(a.line, text[at:close]...)
			} else {
				a.line = append(a.line, c, hole)
				a.values = append(a.values, span{at + 1, close})
			}
			if at = close; at < end {
				a.line = append(a.line, '"')
				at++
			}
		case '0' <= c && c <= '9':
			close := at + 1
			for close < end && '0' <= text[close] && text[close] <= '9' {
				close++
			}
			a.line = append(a.line, hole)
			a.values = append(a.values, span{at, close})
			at = close
		default:
			a.line = append(a.line, c)
			at++
		}
	}
}

// column appends what is in hole k of all lines of a shape: 0 and the values, a line feed
// behind each, or the number of the column before that has the same, from 1.
func (a *apart) column(dst, text []byte, s *shape, k int) []byte {
	value := func(first, k int) []byte { v := a.values[first+k]; return text[v.from:v.to] }
	for j := range k {
		if !slices.ContainsFunc(s.first, func(first int) bool { return !bytes.Equal(value(first, j), value(first, k)) }) {
			return binary.AppendUvarint(dst, uint64(j)+1)
		}
	}
	dst = append(dst, 0)
	size := 0
	for _, first := range s.first {
		size += len(value(first, k)) + 1
	}
	dst = binary.AppendUvarint(dst, uint64(size))
	for _, first := range s.first {
		dst = append(append(dst, value(first, k)...), '\n')
	}
	return dst
}

func appendBlock(dst, block []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(block))), block...)
}

var errColumns = errors.New("no columns of a text")

// join appends the text that split took apart, of exactly size octets. The columns may be
// anything: the time it takes is bounded by their length and by size.
func join(dst, columns []byte, size int) ([]byte, error) {
	limit := len(dst) + size
	r := columnReader{rest: columns}
	type parts struct {
		text    [][]byte // before, between and behind the holes
		columns [][]byte // what is left of each, nil for a reference
		same    []int
		values  [][]byte // of the line at hand
	}
	n := r.count()
	if n > maxShapes || size > maxApart {
		return dst, errColumns
	}
	shapes := make([]parts, n)
	for i := range shapes {
		text := r.block()
		if bytes.Count(text, []byte{hole}) > maxHoles { // each takes 80 octets of memory
			return dst, errColumns
		}
		shapes[i].text = bytes.Split(text, []byte{hole})
	}
	numbers := r
	lines := r.count()
	for range lines {
		r.uvarint()
	}
	for i := range shapes {
		s := &shapes[i]
		holes := len(s.text) - 1
		s.columns, s.same, s.values = make([][]byte, holes), make([]int, holes), make([][]byte, holes)
		for k := range holes {
			if same := r.uvarint(); same > uint64(k) {
				r.bad = true
			} else if s.same[k] = int(same); same == 0 {
				s.columns[k] = r.block()
			}
		}
	}
	if r.bad || len(r.rest) > 0 {
		return dst, errColumns
	}
	numbers.count()
	values := 0
	for i := range lines {
		n := numbers.uvarint()
		if n >= uint64(len(shapes)) {
			return dst, errColumns
		}
		s := &shapes[n]
		if i > 0 {
			dst = append(dst, '\n')
		}
		dst = append(dst, s.text[0]...)
		// A value has an octet, or quotes around it.
		if values += len(s.values); values > size {
			return dst, errColumns
		}
		for k := range s.values {
			if same := s.same[k]; same > 0 {
				s.values[k] = s.values[same-1]
			} else {
				end := bytes.IndexByte(s.columns[k], '\n')
				if end < 0 {
					return dst, errColumns
				}
				s.values[k], s.columns[k] = s.columns[k][:end], s.columns[k][end+1:]
			}
			dst = append(append(dst, s.values[k]...), s.text[k+1]...)
			if len(dst) > limit {
				return dst, errColumns
			}
		}
		if len(dst) > limit {
			return dst, errColumns
		}
	}
	if len(dst) != limit {
		return dst, errColumns
	}
	return dst, nil
}

// columnReader reads the format. What is missing is 0, and bad.
type columnReader struct {
	rest []byte
	bad  bool
}

func (r *columnReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// count reads how many things follow, of an octet or more each.
func (r *columnReader) count() int {
	n := r.uvarint()
	if n > uint64(len(r.rest)) {
		r.bad, r.rest = true, nil
		return 0
	}
	return int(n)
}

func (r *columnReader) block() []byte {
	n := r.count()
	block := r.rest[:n]
	r.rest = r.rest[n:]
	return block
}
