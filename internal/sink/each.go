package sink

// each keeps account of a block's lines for receivers that acknowledge every line for
// itself. It remembers which are settled when a delivery is tried again.
type each struct {
	first uint64 // of the block that is being delivered
	size  int    // its octets; 0: none
	lines [][]byte

	settled []bool
	left    int // not settled
	refused int // settled, but never taken, the last of them for that reason
	why     error
}

// begin is called first in Deliver. It reports whether the block is another one than
// the last time.
func (e *each) begin(b *Block) (fresh bool) {
	e.lines = e.lines[:0]
	for _, line := range b.Lines() {
		e.lines = append(e.lines, line)
	}
	if e.size == len(b.Text) && e.first == b.First {
		return false
	}
	*e = each{first: b.First, size: len(b.Text), lines: e.lines, settled: e.settled[:0], left: len(e.lines)}
	for range e.lines {
		e.settled = append(e.settled, false)
	}
	return true
}

// taken and refuse settle line i.
func (e *each) taken(i int) {
	if !e.settled[i] {
		e.settled[i] = true
		e.left--
	}
}

func (e *each) refuse(i int, why error) {
	if !e.settled[i] {
		e.taken(i)
		e.refused, e.why = e.refused+1, why
	}
}

// end makes of the last error, or nil, what Deliver returns. There must be one while
// lines are left.
func (e *each) end(err error) error {
	clear(e.lines) // borrowed
	if e.left > 0 {
		return err
	}
	e.size = 0
	if e.refused > 0 {
		return Partly(e.refused, e.why)
	}
	return nil
}
