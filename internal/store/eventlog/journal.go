package eventlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/klauspost/compress/s2"
)

// The journal has what is in no block yet: a block of few events would be large.
// It begins as a segment does; then come records:
//
//	 0  CRC-32C     of what follows
//	 4  length of the body
//	 8  number of the first event
//	16  events
//	20  length of the lines
//	24  body: lines, as an S2 block
//
// When the events are in a block the journal begins anew. A record without events
// then keeps their number.
const (
	journalName   = "journal"
	segmentSuffix = ".events"
	recordHeader  = 24
	maxJournal    = maxRaw
)

func appendRecord(dst, lines []byte, first uint64, events int) []byte {
	start := len(dst)
	le := binary.LittleEndian
	dst = append(dst, make([]byte, recordHeader)...)
	dst = slices.Grow(dst, s2.MaxEncodedLen(len(lines)))
	body := s2.Encode(dst[len(dst):cap(dst)], lines)
	dst = dst[:len(dst)+len(body)]
	le.PutUint32(dst[start+4:], uint32(len(body)))
	le.PutUint64(dst[start+8:], first)
	le.PutUint32(dst[start+16:], uint32(events))
	le.PutUint32(dst[start+20:], uint32(len(lines)))
	le.PutUint32(dst[start:], crc32.Checksum(dst[start+4:], castagnoli))
	return dst
}

// journal is what a journal has.
type journal struct {
	lines    []byte
	events   int
	recorded int    // events in the file; -1 when the next one has another number
	first    uint64 // number of the first event
	end      int64  // of the last whole record in the file
}

// from leaves out what comes before an event.
func (j *journal) from(first uint64) {
	for j.events > 0 && j.first < first {
		i := bytes.IndexByte(j.lines, '\n')
		if i < 0 {
			break
		}
		j.lines = j.lines[i+1:]
		j.events--
		j.first++
	}
	if j.events == 0 && j.first < first {
		j.lines, j.first, j.recorded = nil, first, -1
	}
}

// readJournal reads the whole records of a journal, which need not exist.
func readJournal(dir string) (j journal, err error) {
	f, err := os.Open(filepath.Join(dir, journalName))
	if errors.Is(err, fs.ErrNotExist) {
		return j, nil
	}
	if err != nil {
		return j, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxJournal))
	if err != nil {
		return j, err
	}
	if err := checkFileHeader(raw); err != nil {
		if errors.Is(err, errDamaged) { // torn when it was made
			err = nil
		}
		return j, err
	}
	le := binary.LittleEndian
	j.end = fileHeader
	for begun := false; len(raw)-int(j.end) >= recordHeader; begun = true {
		h := raw[j.end:]
		size, first, events, text := int(le.Uint32(h[4:])), le.Uint64(h[8:]), int(le.Uint32(h[16:])), int(le.Uint32(h[20:]))
		if size > len(h)-recordHeader || text > maxRaw || len(j.lines)+text > maxRaw || crc32.Checksum(h[4:recordHeader+size], castagnoli) != le.Uint32(h) {
			break
		}
		if begun && first != j.first+uint64(j.events) {
			break // of an older journal that was longer
		}
		body := h[recordHeader : recordHeader+size]
		if n, err := s2.DecodedLen(body); err != nil || n != text {
			break
		}
		lines, err := s2.Decode(nil, body)
		if err != nil || bytes.Count(lines, []byte{'\n'}) != events || events > 0 && lines[len(lines)-1] != '\n' {
			break
		}
		if !begun {
			j.first = first
		}
		j.lines, j.events = append(j.lines, lines...), j.events+events
		j.recorded = j.events
		j.end += int64(recordHeader + size)
	}
	return j, nil
}
