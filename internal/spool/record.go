package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Record is what is kept and handed out as a whole.
type Record struct {
	Source string // any text
	First  uint64 // any number
	Events int    // in Text, at least 1
	Text   []byte

	offset uint64 // events of the spool before this one's
	body   []byte
}

// A record in a file, numbers little-endian:
//
//	 0  marker      8 octets, the spool's own and random: what others wrote into
//	                a Text is never taken for a record
//	 8  CRC-32C     of the marker and all that follows
//	12  length      of the body
//	16  offset      8 octets
//	24  First       8 octets
//	32  Events
//	36  length of Text, 0 if it is not compressed
//	40  length of Source, 2 octets
//	42  form of Text, and 0
//	44  body: Source, then Text, as it is or as a zstd frame
const (
	headerSize = 44
	// Forms of Text. What an earlier version of dnshark left has lines.
	formLines, formColumns = 1, 2
	// maxBody and maxText bound what is read of a file that says anything.
	maxBody, maxText = 64 << 20, 256 << 20
)

type marker [8]byte

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrTooLarge is of records that no spool takes, or not this one.
var ErrTooLarge = errors.New("a batch is larger than the spool")

// recordWriter has what it takes to make records small.
type recordWriter struct {
	z       *zstd.Encoder
	apart   apart
	columns []byte
}

// append appends the record as it stands in a file.
func (w *recordWriter) append(dst []byte, m marker, r *Record) ([]byte, error) {
	if len(r.Text) > maxText || len(r.Source) > 1<<16-1 {
		return dst, ErrTooLarge
	}
	start := len(dst)
	dst = append(dst, m[:]...)
	dst = append(dst, make([]byte, headerSize-len(m))...)
	dst = append(dst, r.Source...)
	text, form := r.Text, byte(formLines)
	if w.columns = w.apart.split(w.columns[:0], r.Text); len(w.columns) > 0 {
		text, form = w.columns, formColumns
	}
	dst = w.z.EncodeAll(text, dst)
	plain := uint32(len(r.Text))
	if body := start + headerSize + len(r.Source); len(dst)-body >= len(r.Text) {
		dst, plain, form = append(dst[:body], r.Text...), 0, formLines
	}
	record := dst[start:]
	if len(record)-headerSize > maxBody {
		return dst[:start], ErrTooLarge
	}
	binary.LittleEndian.PutUint32(record[12:], uint32(len(record)-headerSize))
	binary.LittleEndian.PutUint64(record[16:], r.offset)
	binary.LittleEndian.PutUint64(record[24:], r.First)
	binary.LittleEndian.PutUint32(record[32:], uint32(r.Events))
	binary.LittleEndian.PutUint32(record[36:], plain)
	binary.LittleEndian.PutUint16(record[40:], uint16(len(r.Source)))
	record[42] = form
	binary.LittleEndian.PutUint32(record[8:], sum(record))
	return dst, nil
}

// sum is the checksum of a record, for which its own place counts as nothing.
func sum(record []byte) uint32 {
	return crc32.Update(crc32.Checksum(record[:8], castagnoli), castagnoli, record[12:])
}

// parser reads records of files in which anything may stand.
type parser struct {
	marker  marker
	z       *zstd.Decoder
	small   *zstd.Decoder // of columns, which are never as long as texts may be
	columns []byte
	window  []byte
}

// next finds the first whole record at pos or later, before end. It returns where
// the one after it begins; without one, end and false. Whatever else was there is
// bad. An error is the file's.
func (p *parser) next(f io.ReaderAt, pos, end int64, r *Record, text bool) (after int64, found, bad bool, err error) {
	for pos < end {
		n, err := p.parse(f, pos, end, r, text)
		if err != nil {
			return pos, false, bad, err
		}
		if n > 0 {
			return pos + n, true, bad, nil
		}
		bad = true
		if pos, err = p.find(f, pos+1, end); err != nil {
			return pos, false, bad, err
		}
	}
	return end, false, bad, nil
}

// parse reads the record at pos and returns its length, 0 if none is there. Its
// Text is read only if wanted.
func (p *parser) parse(f io.ReaderAt, pos, end int64, r *Record, text bool) (int64, error) {
	if end-pos < headerSize {
		return 0, nil
	}
	r.body = grow(r.body, headerSize)
	if err := readAt(f, r.body, pos); err != nil {
		return 0, err
	}
	head := r.body
	length := int64(binary.LittleEndian.Uint32(head[12:]))
	if marker(head[:8]) != p.marker || head[42] != formLines && head[42] != formColumns || length > min(maxBody, end-pos-headerSize) {
		return 0, nil
	}
	r.body = grow(r.body, int(headerSize+length))
	if err := readAt(f, r.body, pos); err != nil {
		return 0, err
	}
	head, body := r.body[:headerSize], r.body[headerSize:]
	source, plain := int(binary.LittleEndian.Uint16(head[40:])), binary.LittleEndian.Uint32(head[36:])
	if sum(r.body) != binary.LittleEndian.Uint32(head[8:]) || source > len(body) || plain > maxText {
		return 0, nil
	}
	r.offset, r.First = binary.LittleEndian.Uint64(head[16:]), binary.LittleEndian.Uint64(head[24:])
	r.Events = int(binary.LittleEndian.Uint32(head[32:]))
	if text {
		r.Source = string(body[:source])
		if plain == 0 {
			r.Text = append(r.Text[:0], body[source:]...)
		} else {
			r.Text = grow(r.Text, int(plain))
			if err := p.decode(r, body[source:], head[42], int(plain)); err != nil {
				return 0, nil
			}
		}
	}
	return headerSize + length, nil
}

// decode fills the text, which has room for size octets.
func (p *parser) decode(r *Record, body []byte, form byte, size int) (err error) {
	if form == formLines {
		r.Text, err = p.z.DecodeAll(body, r.Text[:0])
	} else if p.columns, err = p.small.DecodeAll(body, p.columns[:0]); err == nil {
		r.Text, err = join(r.Text[:0], p.columns, size)
	}
	if err == nil && len(r.Text) != size {
		err = errColumns
	}
	return err
}

// find returns where the marker stands next, or end.
func (p *parser) find(f io.ReaderAt, pos, end int64) (int64, error) {
	p.window = grow(p.window, 64<<10)
	for end-pos >= int64(len(p.marker)) {
		part := p.window[:min(int64(len(p.window)), end-pos)]
		if err := readAt(f, part, pos); err != nil {
			return pos, err
		}
		if i := bytes.Index(part, p.marker[:]); i >= 0 {
			return pos + int64(i), nil
		}
		pos += int64(len(part) - len(p.marker) + 1)
	}
	return end, nil
}

// readAt fills p. A file that is shorter than it was has zeros there.
func readAt(f io.ReaderAt, p []byte, pos int64) error {
	n, err := f.ReadAt(p, pos)
	if n < len(p) && errors.Is(err, io.EOF) {
		clear(p[n:])
		err = nil
	}
	if n == len(p) {
		err = nil
	}
	return err
}

// grow returns a slice of n octets, p's if that has room.
func grow(p []byte, n int) []byte {
	if cap(p) < n {
		return make([]byte, n)
	}
	return p[:n]
}
