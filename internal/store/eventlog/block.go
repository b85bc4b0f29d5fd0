package eventlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math"
	"net/netip"
	"os"
	"slices"
)

// A segment is a file of blocks; numbers are little-endian:
//
//	"dnsevent", then a version, 4 octets, and 4 of 0; then blocks:
//	 0  marker      "BLCK"
//	 4  CRC-32C     of the header behind it and of the index
//	 8  number of the first event
//	16  least and greatest time, 8 octets each, ns since the Unix epoch
//	32  events
//	36  length of the index
//	40  length of the data
//	44  length of the lines
//	48  CRC-32C     of the data
//	52  0
//	56  index: a bloom filter of what events are found by; data: see columns
const (
	magic       = "dnsevent"
	version     = 1
	fileHeader  = 16
	blockMarker = "BLCK"
	blockHeader = 56

	// Bounds of what a file may say.
	maxIndex = 4 << 20
	maxRaw   = 64 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendFileHeader(dst []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(append(dst, magic...), version), 0, 0, 0, 0)
}

var errVersion = errors.New("a newer dnshark wrote these events")

func checkFileHeader(raw []byte) error {
	switch {
	case len(raw) < fileHeader || string(raw[:len(magic)]) != magic:
		return errDamaged
	case binary.LittleEndian.Uint32(raw[len(magic):]) != version:
		return errVersion
	}
	return nil
}

// block is what the header says.
type block struct {
	offset             int64 // of the header
	first              uint64
	least, greatest    int64
	events             int
	index, packed, raw int
	sum                uint32
}

func (b *block) size() int64 { return int64(blockHeader + b.index + b.packed) }

func (b *block) next() uint64 { return b.first + uint64(b.events) }

func (b *block) append(dst, index, data []byte) []byte {
	start := len(dst)
	le := binary.LittleEndian
	dst = append(append(dst, blockMarker...), 0, 0, 0, 0)
	dst = le.AppendUint64(dst, b.first)
	dst = le.AppendUint64(dst, uint64(b.least))
	dst = le.AppendUint64(dst, uint64(b.greatest))
	for _, n := range []int{b.events, len(index), len(data), b.raw} {
		dst = le.AppendUint32(dst, uint32(n))
	}
	dst = le.AppendUint32(dst, crc32.Checksum(data, castagnoli))
	dst = append(append(dst, 0, 0, 0, 0), index...)
	le.PutUint32(dst[start+4:], crc32.Checksum(dst[start+8:], castagnoli))
	return append(dst, data...)
}

// parse reads a header; the sum is checked with the index.
func (b *block) parse(h []byte) bool {
	le := binary.LittleEndian
	if string(h[:4]) != blockMarker {
		return false
	}
	b.first, b.least, b.greatest = le.Uint64(h[8:]), int64(le.Uint64(h[16:])), int64(le.Uint64(h[24:]))
	sizes := [4]uint32{le.Uint32(h[32:]), le.Uint32(h[36:]), le.Uint32(h[40:]), le.Uint32(h[44:])}
	if sizes[0] == 0 || sizes[1] > maxIndex || sizes[2] > maxRaw || sizes[3] > maxRaw || sizes[0] > sizes[3] {
		return false
	}
	b.events, b.index, b.packed, b.raw = int(sizes[0]), int(sizes[1]), int(sizes[2]), int(sizes[3])
	b.sum = le.Uint32(h[48:])
	return true
}

// readIndex returns the index, whose sum and header's are right.
func (b *block) readIndex(f io.ReaderAt, buf []byte) ([]byte, error) {
	buf = slices.Grow(buf[:0], blockHeader+b.index)[:blockHeader+b.index]
	if _, err := f.ReadAt(buf, b.offset); err != nil {
		return buf, err
	}
	if crc32.Checksum(buf[8:], castagnoli) != binary.LittleEndian.Uint32(buf[4:]) {
		return buf, errDamaged
	}
	return buf, nil
}

func (b *block) readData(f io.ReaderAt, buf []byte) ([]byte, error) {
	buf = slices.Grow(buf[:0], b.packed)[:b.packed]
	if _, err := f.ReadAt(buf, b.offset+blockHeader+int64(b.index)); err != nil {
		return buf, err
	}
	if crc32.Checksum(buf, castagnoli) != b.sum {
		return buf, errDamaged
	}
	return buf, nil
}

// scanBlocks appends the whole blocks from an offset on. It ends at the first that
// is torn or damaged, and returns where that is.
func scanBlocks(list []block, f *os.File, at int64) ([]block, int64, error) {
	info, err := f.Stat()
	if err != nil {
		return list, at, err
	}
	var h [blockHeader]byte
	var buf []byte
	for at+blockHeader <= info.Size() {
		b := block{offset: at}
		if _, err := f.ReadAt(h[:], at); err != nil {
			return list, at, err
		}
		if !b.parse(h[:]) || at+b.size() > info.Size() {
			break
		}
		if buf, err = b.readIndex(f, buf); err != nil {
			break
		}
		list = append(list, b)
		at += b.size()
	}
	return list, at, nil
}

// Hashes of what is found are 64 bits; the filter has bitsPerKey for each
// different one, and sets filterBits of them.
const (
	bitsPerKey = 10
	filterBits = 7
)

// prefixes of an address are in the index, for questions about networks.
var prefixes = map[bool][]int{true: {32, 24, 16, 8}, false: {128, 64, 48, 32}}

// nameLabels is how many of the last labels of a name are in the index as what it
// is under.
const nameLabels = 8

const under factKind = 'u'

// hash is FNV-1a with a last step that spreads it; letters are lower case.
func hash(k factKind, text []byte) uint64 {
	h := uint64(14695981039346656037)
	h = (h ^ uint64(k)) * 1099511628211
	for _, c := range text {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		h = (h ^ uint64(c)) * 1099511628211
	}
	h ^= h >> 32
	h *= 0xd6e8feb86659fd93
	return h ^ h>>32
}

// index gathers hashes.
type index struct {
	hashes map[uint64]struct{}
	starts []int
}

func (x *index) add(k factKind, text []byte) {
	x.hashes[hash(k, text)] = struct{}{}
}

// line adds what a line is found by.
func (x *index) line(line []byte, tokens []token) (at int64) {
	for i := range tokens {
		t := &tokens[i]
		value := line[t.begin:t.end]
		switch k := t.fact(); k {
		case factTime:
			at, _ = parseTime(value)
		case factEvent, factProcess, factRCode:
			x.add(k, value)
		case factContainer:
			x.add(k, value[:min(len(value), containerDigits)])
		case factName:
			if sameAs(tokens[:i], line, value) >= 0 {
				continue
			}
			x.add(k, value)
			x.starts = x.starts[:0]
			labels(value, func(at int) { x.starts = append(x.starts, at) })
			for _, at := range x.starts[max(0, len(x.starts)-nameLabels):] {
				x.add(under, value[at:])
			}
		case factAddr:
			if a, ok := parseAddr(value); ok {
				for _, bits := range prefixes[a.Is4()] {
					x.add(k, prefixText(a, bits))
				}
			}
		}
	}
	return at
}

func prefixText(a netip.Addr, bits int) []byte {
	p, err := a.Prefix(bits)
	if err != nil {
		return nil
	}
	return append(p.Addr().AsSlice(), byte(bits))
}

func (x *index) filter() []byte {
	bits := make([]byte, max(8, (len(x.hashes)*bitsPerKey+7)/8))
	bits = bits[:min(len(bits), maxIndex)]
	for h := range x.hashes {
		for i := range uint64(filterBits) {
			n := position(h, i, len(bits))
			bits[n/8] |= 1 << (n % 8)
		}
	}
	clear(x.hashes)
	return bits
}

func position(h, i uint64, size int) uint64 {
	return (h&math.MaxUint32 + i*(h>>32|1)) % uint64(size*8)
}

func mayHave(filter []byte, h uint64) bool {
	if len(filter) == 0 {
		return true
	}
	for i := range uint64(filterBits) {
		if n := position(h, i, len(filter)); filter[n/8]&(1<<(n%8)) == 0 {
			return false
		}
	}
	return true
}

// packer makes blocks of lines. It is for one at a time.
type packer struct {
	columns *columns
	index   index
	data    []byte
}

func newPacker() (*packer, error) {
	c, err := newColumns()
	return &packer{columns: c, index: index{hashes: map[uint64]struct{}{}}}, err
}

// append appends a block of whole lines.
func (p *packer) append(dst, lines []byte, first uint64) ([]byte, block) {
	c := p.columns
	c.reset()
	b := block{first: first, least: math.MaxInt64, greatest: math.MinInt64, raw: len(lines)}
	for line := range bytes.Lines(lines) {
		line = line[:len(line)-1]
		var ok bool
		if c.tokens, ok = scan(c.tokens[:0], line); !ok {
			c.add(line, nil)
			b.least, b.greatest = min(b.least, 0), max(b.greatest, 0)
		} else {
			at := p.index.line(line, c.tokens)
			b.least, b.greatest = min(b.least, at), max(b.greatest, at)
			c.add(line, c.tokens)
		}
		b.events++
	}
	p.data = c.appendTo(p.data[:0])
	filter := p.index.filter()
	b.index, b.packed = len(filter), len(p.data)
	return b.append(dst, filter, p.data), b
}
