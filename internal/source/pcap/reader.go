package pcap

import (
	"errors"
	"io"
)

// errRefill says that the next record is not wholly in the block. Frames that
// borrow from the block must be done with before refill.
var errRefill = errors.New("refill")

// blockBytes holds several of the longest frames. What is read at once, readBytes,
// stays in a second-level cache with all that is made of it.
const (
	blockBytes = 1 << 20
	readBytes  = 1 << 18
)

// reader is a window on a stream.
type reader struct {
	src  io.Reader
	buf  []byte
	from int // first octet that was not consumed
	to   int
	err  error // of src, told when the window is empty
}

func newReader(src io.Reader) *reader { return &reader{src: src, buf: make([]byte, blockBytes)} }

// refill reads more behind what is left, which it moves to the front when as much
// as a read was consumed: not every time, or a pipe that gives octets one by one
// would make it work without end. No record is longer than half a block.
func (r *reader) refill() {
	if r.from == r.to || r.from >= readBytes {
		r.to = copy(r.buf, r.buf[r.from:r.to])
		r.from = 0
	}
	// A pipe that has little now is not waited for.
	for n := 0; n == 0 && r.err == nil; {
		n, r.err = r.src.Read(r.buf[r.to:min(r.to+readBytes, len(r.buf))])
		r.to += n
	}
}

// window returns the next n octets without consuming them. It fails with
// errRefill when the block has fewer, with io.EOF at the stream's end, with
// ErrCut when the stream ends within the n octets.
func (r *reader) window(n int) ([]byte, error) {
	if r.to-r.from >= n {
		return r.buf[r.from : r.from+n], nil
	}
	switch {
	case r.err == nil:
		return nil, errRefill
	case !isEnd(r.err):
		return nil, r.err
	case r.to == r.from && errors.Is(r.err, io.EOF):
		return nil, io.EOF
	default:
		return nil, ErrCut
	}
}

// peek returns up to n octets, refilling as needed. Only for the start of a
// file, when nothing borrows from the block.
func (r *reader) peek(n int) ([]byte, error) {
	for r.to-r.from < n && r.err == nil {
		r.refill()
	}
	return r.buf[r.from:min(r.to, r.from+n)], r.err
}
