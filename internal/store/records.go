package store

import (
	"cmp"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"

	"github.com/dnshark-io/dnshark/dnswire"
)

// What is known of a name's tuples stands packed in few rows of the table records,
// most often in one: a row for each tuple, with its index, would be twice as large
// and take twice the time. A row is a list of records in the order of their keys:
//
//	flags      1 octet
//	type       varint                      \
//	length     varint, of the RDATA         > unless sameRData
//	RDATA      text; of A and AAAA octets  /
//	bailiwick  varint, id of a name, 0: none, unless sameBailiwick
//	sensor     varint, unless sameSensor
//	asker      varint, 0: nobody known, unless sameAsker
//	first      varint, ns since the Unix epoch \
//	last       varint, ns since first           > unless sameSeen
//	count      varint                          /
//
// "Same" is as in the record before. What the columns of a name's row need is not
// repeated here.
const (
	sameRData = 1 << iota
	sameBailiwick
	sameSensor
	sameAsker
	sameSeen
)

// maxPart is how large a row becomes before it is parted. It bounds what one more
// tuple of a name costs, however many the name has.
const maxPart = 8 << 10

// record is what one asker was told of one tuple.
type record struct {
	typ       dnswire.Type
	rdata     string // of A and AAAA the octets
	bailiwick int64
	sensor    int64
	asker     int64
	seen
}

// sameTuple reports whether two records differ in who asked alone.
func (r *record) sameTuple(o *record) bool {
	return r.typ == o.typ && r.rdata == o.rdata && r.bailiwick == o.bailiwick && r.sensor == o.sensor
}

func (r *record) compare(o *record) int {
	if r.typ != o.typ {
		return cmp.Compare(r.typ, o.typ)
	}
	if c := strings.Compare(r.rdata, o.rdata); c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(r.bailiwick, o.bailiwick), cmp.Compare(r.sensor, o.sensor), cmp.Compare(r.asker, o.asker))
}

// appendLow appends octets that are in the order of compare. NUL ends the RDATA, so
// one in it becomes two octets.
func (r *record) appendLow(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(r.typ))
	for i := range len(r.rdata) {
		if dst = append(dst, r.rdata[i]); r.rdata[i] == 0 {
			dst = append(dst, 0xff)
		}
	}
	dst = append(dst, 0, 0)
	for _, id := range [...]int64{r.bailiwick, r.sensor, r.asker} {
		dst = binary.BigEndian.AppendUint64(dst, uint64(id))
	}
	return dst
}

func appendRecord(dst []byte, r, before *record) []byte {
	at := len(dst)
	dst = append(dst, 0)
	var flags byte
	if before == nil {
		before = &record{seen: seen{count: -1}}
	}
	if r.typ == before.typ && r.rdata == before.rdata {
		flags |= sameRData
	} else {
		dst = binary.AppendUvarint(dst, uint64(r.typ))
		dst = binary.AppendUvarint(dst, uint64(len(r.rdata)))
		dst = append(dst, r.rdata...)
	}
	id := func(is, was int64, same byte) {
		if is == was {
			flags |= same
		} else {
			dst = binary.AppendUvarint(dst, uint64(is))
		}
	}
	id(r.bailiwick, before.bailiwick, sameBailiwick)
	id(r.sensor, before.sensor, sameSensor)
	id(r.asker, before.asker, sameAsker)
	if r.seen == before.seen {
		flags |= sameSeen
	} else {
		dst = binary.AppendUvarint(dst, uint64(r.first))
		dst = binary.AppendUvarint(dst, uint64(r.last-r.first))
		dst = binary.AppendUvarint(dst, uint64(r.count))
	}
	dst[at] = flags
	return dst
}

var errRecords = errors.New("records are damaged")

// unpack appends the records of a row to list. Their texts are parts of data.
func unpack(list []record, data string) ([]record, error) {
	var r record
	ok := true
	number := func() uint64 {
		var n uint64
		for i := 0; i < len(data) && i < binary.MaxVarintLen64; i++ {
			n |= uint64(data[i]&0x7f) << (7 * i)
			if data[i] < 0x80 {
				data = data[i+1:]
				return n
			}
		}
		ok = false
		return 0
	}
	for len(data) > 0 {
		flags := data[0]
		data = data[1:]
		if flags&sameRData == 0 {
			r.typ = dnswire.Type(number())
			n := number()
			if !ok || n > uint64(len(data)) {
				return list, errRecords
			}
			r.rdata, data = data[:n], data[n:]
		}
		if flags&sameBailiwick == 0 {
			r.bailiwick = int64(number())
		}
		if flags&sameSensor == 0 {
			r.sensor = int64(number())
		}
		if flags&sameAsker == 0 {
			r.asker = int64(number())
		}
		if flags&sameSeen == 0 {
			r.first = int64(number())
			r.last = r.first + int64(number())
			r.count = int64(number())
		}
		if !ok {
			return list, errRecords
		}
		list = append(list, r)
	}
	return list, nil
}

// merge returns the records of both lists, which are in order, in order. It calls
// fresh for what only b has.
func merge(dst, a, b []record, fresh func(r *record, sameRData bool)) []record {
	for len(a) > 0 || len(b) > 0 {
		c := 0
		switch {
		case len(a) == 0:
			c = 1
		case len(b) == 0:
			c = -1
		default:
			c = a[0].compare(&b[0])
		}
		if c <= 0 {
			dst = append(dst, a[0])
			a = a[1:]
			if c == 0 {
				dst[len(dst)-1].add(&b[0].seen)
				b = b[1:]
			}
			continue
		}
		near := func(o *record) bool { return o.typ == b[0].typ && o.rdata == b[0].rdata }
		fresh(&b[0], len(dst) > 0 && near(&dst[len(dst)-1]) || len(a) > 0 && near(&a[0]))
		dst = append(dst, b[0])
		b = b[1:]
	}
	return dst
}

// part is a row of the table records.
type part struct {
	low    []byte // no record of the part comes before it; that of the first one is empty
	tuples int    // that begin here
	data   []byte
}

// pack makes rows of records that are in order; the first one begins at low. Rows that
// come of a large one are alike in size: one that lost its end alone would lose it again.
func pack(list []record, low []byte) []part {
	whole := packIn(list, low, math.MaxInt)
	n := len(whole[0].data)
	if n <= maxPart {
		return whole
	}
	const most = maxPart * 3 / 4
	return packIn(list, low, n/((n+most-1)/most)+1)
}

// packIn begins a row wherever one has reached size.
func packIn(list []record, low []byte, size int) (parts []part) {
	p := part{low: low}
	for i := range list {
		r := &list[i]
		var before *record
		if i > 0 {
			before = &list[i-1]
		}
		begins := before == nil && !midway(low, r) || before != nil && !before.sameTuple(r)
		if len(p.data) >= size {
			parts = append(parts, p)
			at := *r
			if begins {
				at.asker = 0 // others who ask for it come here as well
			}
			p, before = part{low: at.appendLow([]byte{})}, nil
		}
		if begins {
			p.tuples++
		}
		p.data = appendRecord(p.data, r, before)
	}
	return append(parts, p)
}

// midway reports whether a part that begins at low continues the tuple of its first
// record: the asker's id in its end is then not 0.
func midway(low []byte, first *record) bool {
	if len(low) == 0 || slices.Equal(low[len(low)-8:], make([]byte, 8)) {
		return false
	}
	at := *first
	at.asker = 0
	return slices.Equal(at.appendLow(nil)[:len(low)-8], low[:len(low)-8])
}
