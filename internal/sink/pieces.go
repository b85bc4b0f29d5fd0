package sink

import (
	"bytes"
	"time"
)

// pieces delivers a block in pieces, which get smaller while the receiver refuses
// them: so one event that it will never take costs that event alone. It remembers
// where it was when a delivery is tried again.
type pieces struct {
	first uint64 // of the block that is being delivered
	size  int    // its octets; 0: none
	next  int    // line to send next
	// refused are lines that the receiver will never take, the last of them for that
	// reason.
	refused int
	why     error

	lines [][]byte
}

// maxRefused is after how many lines, each refused alone and none taken, the rest of
// the block is not tried any more: then it is not about the events.
const maxRefused = 8

// deliver calls send with runs of lines, of which the first is line number from of the
// block. What send returns is as for Sink.Deliver.
func (p *pieces) deliver(b *Block, send func(lines [][]byte, from int) error) error {
	if p.size != len(b.Text) || p.first != b.First {
		*p = pieces{first: b.First, size: len(b.Text), lines: p.lines}
	}
	p.lines = p.lines[:0]
	for _, line := range b.Lines() {
		p.lines = append(p.lines, line)
	}
	// The lines are borrowed.
	defer func() { clear(p.lines) }()
	for n := len(p.lines); p.next < len(p.lines); {
		n = min(n, len(p.lines)-p.next)
		err := send(p.lines[p.next:p.next+n], p.next)
		switch {
		case err == nil:
			p.next += n
			n *= 2
		case !isPermanent(err):
			return err
		case n > 1:
			n /= 2
		default:
			p.next++
			p.refused++
			p.why = err
			if p.refused == maxRefused && p.next == p.refused {
				p.refused += len(p.lines) - p.next
				p.next = len(p.lines)
			}
		}
	}
	p.size = 0
	if p.refused > 0 {
		return Partly(p.refused, p.why)
	}
	return nil
}

// appendNDJSON appends lines of b, with their ids in them, one per line.
func (b *Block) appendNDJSON(dst []byte, lines [][]byte, from int) []byte {
	for i, line := range lines {
		dst = append(b.AppendJSON(dst, from+i, line), '\n')
	}
	return dst
}

// appendArray appends lines of b, with their ids in them, as a JSON array; lines that
// are no JSON become strings.
func (b *Block) appendArray(dst []byte, lines [][]byte, from int) []byte {
	dst = append(dst, '[')
	for i, line := range lines {
		if i > 0 {
			dst = append(dst, ',')
		}
		if bytes.HasPrefix(line, []byte{'{'}) {
			dst = b.AppendJSON(dst, from+i, line)
		} else {
			dst = appendString(dst, line)
		}
	}
	return append(dst, ']')
}

// timeOf returns the time that a line of JSON begins with, as in dnshark's own
// format, or now.
func timeOf(line []byte) time.Time {
	if _, rest, ok := bytes.Cut(line[:min(len(line), 64)], []byte(`":"`)); ok && line[0] == '{' {
		text, _, _ := bytes.Cut(rest, []byte{'"'})
		if t, err := time.Parse(time.RFC3339Nano, string(text)); err == nil {
			return t.UTC()
		}
	}
	return time.Now().UTC()
}
