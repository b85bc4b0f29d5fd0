package store

import (
	"encoding/binary"
	"strings"

	"github.com/dnshark-io/dnshark/dnswire"
)

// Seen is an entry of an aggregate: a tuple, and who was told it.
type Seen struct {
	Tuple
	Comm, Exe, Container string
}

// Tuples yields the entries of the aggregate. What they say is valid until Write
// returns.
func (a *Aggregate) Tuples(yield func(*Seen) bool) {
	for key, n := range a.tuples.all {
		var f [6]string
		rest := key[2:]
		for i := range f { // as adder.add makes it
			f[i], rest, _ = strings.Cut(rest, "\x00")
		}
		s := Seen{
			Tuple{f[0], dnswire.Type(key[0])<<8 | dnswire.Type(key[1]), f[1], f[2], a.Sensor, n.first, n.last, n.count},
			f[3], f[4], f[5],
		}
		if !yield(&s) {
			return
		}
	}
}

// Hourly is how often a value was seen in the hour that begins at Start, ns since
// the Unix epoch.
type Hourly struct {
	What               What
	Start              int64
	Value              string
	First, Last, Count int64
}

// Ranked yields what the aggregate counts per hour. Values are valid until Write
// returns.
func (a *Aggregate) Ranked(yield func(*Hourly) bool) {
	for key, n := range a.ranked.all {
		h := Hourly{What(key[0]), int64(binary.BigEndian.Uint64([]byte(key[1:9]))), key[9:], n.first, n.last, n.count}
		if !yield(&h) {
			return
		}
	}
}

// Key returns the labels of a name in presentation format from the last to the
// first, a NUL after each: what is below a name begins with its key.
func Key(name string) []byte { return appendKey(nil, name) }

// Target returns the name in the tuple's RDATA, "" when its type has none.
func (t *Tuple) Target() string { return target(t.Type, t.RData) }

// Bounds returns the first and the last address of a range, 16 octets each, of IPv4
// mapped ones.
func (q *Query) Bounds() (low, high [16]byte) {
	low, high = q.Net.Masked().Addr().As16(), q.Net.Addr().As16()
	for i := q.Net.Bits() + 128 - q.Net.Addr().BitLen(); i < 128; i++ {
		high[i/8] |= 0x80 >> (i % 8)
	}
	return low, high
}
