package clickhouse

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"

	"github.com/dnshark-io/dnshark/event"
)

// Rows in ClickHouse's format RowBinary: integers are little-endian, a string is its
// length as a varint and its octets.

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendInt(dst []byte, n int64) []byte { return binary.LittleEndian.AppendUint64(dst, uint64(n)) }

// maxString bounds a string of an answer; RDATA of 64 KiB is longer as text.
const maxString = 1 << 20

var errString = errors.New("ClickHouse sent a string of more than 1 MiB")

// rows reads an answer, a value after the other. After an error all are zero.
type rows struct {
	in  *bufio.Reader
	err error
}

// next reports whether there is another row.
func (r *rows) next() bool {
	if r.err != nil {
		return false
	}
	if _, err := r.in.Peek(1); err != nil {
		if err != io.EOF {
			r.err = err
		}
		return false
	}
	return true
}

func (r *rows) fail(err error) {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	r.err = err
}

// text reads a string. What others wrote there is made printable.
func (r *rows) text() string {
	if r.err != nil {
		return ""
	}
	n, err := binary.ReadUvarint(r.in)
	if err == nil && n > maxString {
		err = errString
	}
	if err != nil {
		r.fail(err)
		return ""
	}
	octets := make([]byte, n)
	if _, err := io.ReadFull(r.in, octets); err != nil {
		r.fail(err)
		return ""
	}
	for _, c := range octets {
		if c < 0x20 || c > 0x7e {
			return string(event.AppendSafeBytes(nil, octets))
		}
	}
	return string(octets)
}

func (r *rows) int() int64 {
	if r.err != nil {
		return 0
	}
	var octets [8]byte
	if _, err := io.ReadFull(r.in, octets[:]); err != nil {
		r.fail(err)
		return 0
	}
	return int64(binary.LittleEndian.Uint64(octets[:]))
}
