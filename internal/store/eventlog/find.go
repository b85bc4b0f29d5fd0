package eventlog

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/dnshark-io/dnshark/event"
	"github.com/dnshark-io/dnshark/internal/store"
)

// Query says which events are wanted; what is empty may be anything.
type Query struct {
	store.Range        // of the event's time
	Newest      bool   // the last to arrive first; otherwise in the order of arrival
	Kind        string // name of the event
	// Name is in the question or owns a record of the answer, or is what an alert is
	// about; *.NAME has what is below as well.
	Name      string
	Process   string       // comm or path of the executable, at either end
	Container string       // id or its beginning, 12 digits or more
	RCode     string       // as NXDOMAIN
	Addr      netip.Prefix // has the client, the server or an answer
	Limit     int          // at most; 0: any number
}

const containerDigits = 12

// ErrQuery is of a query that cannot be asked.
var ErrQuery = errors.New("not a query")

// matcher is a query made ready.
type matcher struct {
	q      *Query
	need   uint // bits of factKind
	texts  [noFact][]byte
	under  bool
	hashes []uint64 // of which a block has all
	rarest []byte   // stands in every line that matches, in any case, or nil
	tokens []token
	folded []byte
}

// Matcher returns a function that reports whether a line of JSON is wanted, whatever q says
// of order and limit. It is for one goroutine.
func (q *Query) Matcher() (func(line []byte) bool, error) {
	m, err := newMatcher(q)
	if err != nil {
		return nil, err
	}
	return m.line, nil
}

// Escaped is text as it stands in a line.
func Escaped(text string) string { return string(event.EscapeJSON([]byte(text), 0)) }

func newMatcher(q *Query) (*matcher, error) {
	m := &matcher{q: q}
	want := func(k factKind, text string) []byte {
		m.need |= 1 << k
		m.texts[k] = event.EscapeJSON([]byte(text), 0)
		return m.texts[k]
	}
	if q.Kind != "" {
		m.hashes = append(m.hashes, hash(factEvent, want(factEvent, q.Kind)))
	}
	if q.RCode != "" {
		m.hashes = append(m.hashes, hash(factRCode, want(factRCode, q.RCode)))
	}
	if q.Process != "" {
		m.hashes = append(m.hashes, hash(factProcess, want(factProcess, q.Process)))
	}
	if q.Container != "" {
		if len(q.Container) < containerDigits {
			return nil, errors.Join(ErrQuery, errors.New("at least 12 digits of a container's id are needed"))
		}
		m.hashes = append(m.hashes, hash(factContainer, want(factContainer, q.Container)[:containerDigits]))
	}
	if q.Name != "" {
		var name store.Query
		if err := name.ParseName(q.Name); err != nil || name.Wild == store.Right {
			return nil, errors.Join(ErrQuery, errors.New("want a domain name or *. and one"))
		}
		text := want(factName, name.Text)
		m.rarest = text
		switch {
		case name.Wild == store.Exact:
			m.hashes = append(m.hashes, hash(factName, text))
		case name.Text == ".":
			m.need &^= 1 << factName
		default:
			m.under = true
			var starts []int
			labels(text, func(at int) { starts = append(starts, at) })
			m.hashes = append(m.hashes, hash(under, text[starts[max(0, len(starts)-nameLabels)]:]))
		}
	}
	if q.Addr.IsValid() {
		if a := q.Addr.Addr(); a.Is4In6() || a.Zone() != "" {
			return nil, errors.Join(ErrQuery, errors.New("want an address without a zone"))
		}
		m.need |= 1 << factAddr
		for _, bits := range prefixes[q.Addr.Addr().Is4()] {
			if bits <= q.Addr.Bits() {
				m.hashes = append(m.hashes, hash(factAddr, prefixText(q.Addr.Addr(), bits)))
				break
			}
		}
	}
	return m, nil
}

func (m *matcher) span(least, greatest int64) bool {
	return (m.q.Since == 0 || greatest >= m.q.Since) && (m.q.Until == 0 || least <= m.q.Until)
}

func (m *matcher) block(filter []byte) bool {
	for _, h := range m.hashes {
		if !mayHave(filter, h) {
			return false
		}
	}
	return true
}

// line reports whether a line is wanted.
func (m *matcher) line(line []byte) bool {
	if len(m.rarest) > 0 {
		m.folded = appendLower(m.folded[:0], line)
		if !bytes.Contains(m.folded, m.rarest) {
			return false
		}
	}
	var ok bool
	if m.tokens, ok = scan(m.tokens[:0], line); !ok {
		return m.need == 0 && m.q.Range == store.Range{}
	}
	have, timely := uint(0), m.q.Range == store.Range{}
	for i := range m.tokens {
		t := &m.tokens[i]
		k := t.fact()
		if k == noFact || k != factTime && (m.need&^have)&(1<<k) == 0 {
			continue
		}
		value, fits := line[t.begin:t.end], false
		switch k {
		case factTime:
			if !timely {
				at, ok := parseTime(value)
				timely = ok && m.span(at, at)
			}
		case factAddr:
			a, ok := parseAddr(value)
			fits = ok && m.q.Addr.Contains(a)
		case factName:
			fits = m.name(value)
		case factContainer:
			fits = bytes.HasPrefix(value, m.texts[k])
		default:
			fits = bytes.Equal(value, m.texts[k])
		}
		if fits {
			have |= 1 << k
		}
	}
	return timely && have == m.need
}

func (m *matcher) name(value []byte) bool {
	text := m.texts[factName]
	if len(value) == len(text) || !m.under {
		return equalFold(value, text)
	}
	at := len(value) - len(text)
	if at < 2 || value[at-1] != '.' || !equalFold(value[at:], text) {
		return false
	}
	found := false
	labels(value, func(start int) { found = found || start == at })
	return found
}

// equalFold compares octets; b is in lower case.
func equalFold(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i, c := range a {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != b[i] {
			return false
		}
	}
	return true
}

func appendLower(dst, text []byte) []byte {
	for _, c := range text {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		dst = append(dst, c)
	}
	return dst
}

// Reader finds events. It may be used by several at once, while somebody writes.
type Reader struct {
	dir string

	mu       sync.Mutex
	segments map[string]*segment // what was seen of files
}

type segment struct {
	file   os.FileInfo // another one may be in its place by now
	blocks []block
	end    int64
}

// OpenReader opens the log in dir, which exists, for a process that does not
// write it.
func OpenReader(dir string) (*Reader, error) {
	if _, err := os.Stat(filepath.Join(dir, journalName)); err != nil {
		return nil, err
	}
	return &Reader{dir: dir, segments: map[string]*segment{}}, nil
}

// Close releases what the reader has.
func (r *Reader) Close() error { return nil }

var errEnough = errors.New("enough")

// Find calls f for every event that q wants, as one line of JSON with its line
// feed; the line is f's until it returns. It reports whether there are more than
// q.Limit. Damaged blocks are left out.
func (r *Reader) Find(ctx context.Context, q *Query, f func(line []byte) error) (more bool, err error) {
	m, err := newMatcher(q)
	if err != nil {
		return false, err
	}
	found := 0
	each := func(line []byte) error {
		if !m.line(line[:len(line)-1]) {
			return nil
		}
		if found++; q.Limit > 0 && found > q.Limit {
			return errEnough
		}
		return f(line)
	}
	// The journal first: what leaves it after that is in a segment before we look.
	recent, err := readJournal(r.dir)
	if err != nil {
		return false, err
	}
	names, err := segmentNames(r.dir)
	if err != nil {
		return false, err
	}
	list := make([]*segment, len(names))
	for i, name := range names {
		if list[i], err = r.segment(name); err != nil {
			return false, err
		}
		if blocks := list[i].blocks; len(blocks) > 0 {
			recent.from(blocks[len(blocks)-1].next())
		}
	}
	if q.Newest {
		slices.Reverse(names)
		slices.Reverse(list)
		err = eachLine(ctx, recent.lines, true, each)
	}
	for i := 0; i < len(names) && err == nil; i++ {
		err = r.find(ctx, names[i], list[i].blocks, m, each)
	}
	if err == nil && !q.Newest {
		err = eachLine(ctx, recent.lines, false, each)
	}
	if errors.Is(err, errEnough) {
		return true, nil
	}
	return false, err
}

// segment returns what is in a file by now.
func (r *Reader) segment(name string) (*segment, error) {
	f, err := os.Open(filepath.Join(r.dir, name))
	if errors.Is(err, fs.ErrNotExist) { // retention was faster
		return &segment{}, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	s := r.segments[name]
	if s == nil || !os.SameFile(s.file, info) {
		var h [fileHeader]byte
		if n, _ := f.ReadAt(h[:], 0); n < fileHeader {
			return &segment{}, nil // just made
		}
		if err := checkFileHeader(h[:]); errors.Is(err, errVersion) {
			return nil, err
		} else if err != nil {
			return &segment{}, nil
		}
		s = &segment{file: info, end: fileHeader}
		r.segments[name] = s
	}
	if s.blocks, s.end, err = scanBlocks(s.blocks, f, s.end); err != nil {
		return nil, err
	}
	return &segment{blocks: s.blocks[:len(s.blocks):len(s.blocks)]}, nil
}

// find looks into the blocks of a file.
func (r *Reader) find(ctx context.Context, name string, blocks []block, m *matcher, each func([]byte) error) error {
	var f *os.File
	var z *restorer
	var buf, lines []byte
	for i := range blocks {
		b := &blocks[i]
		if m.q.Newest {
			b = &blocks[len(blocks)-1-i]
		}
		if !m.span(b.least, b.greatest) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		var err error
		if f == nil {
			f, err = os.Open(filepath.Join(r.dir, name))
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			defer f.Close()
		}
		if len(m.hashes) > 0 {
			if buf, err = b.readIndex(f, buf); err != nil {
				continue
			}
			if !m.block(buf[blockHeader:]) {
				continue
			}
		}
		if buf, err = b.readData(f, buf); err != nil {
			continue
		}
		if z == nil {
			if z, err = newRestorer(); err != nil {
				return err
			}
			defer z.z.Close()
		}
		if lines, err = z.lines(lines[:0], buf, b.events, b.raw); err != nil {
			continue
		}
		if err := eachLine(ctx, lines, m.q.Newest, each); err != nil {
			return err
		}
	}
	return nil
}

// eachLine calls f for each line, the last one first if that is wanted.
func eachLine(ctx context.Context, lines []byte, back bool, f func([]byte) error) error {
	if !back {
		for line := range bytes.Lines(lines) {
			if err := f(line); err != nil {
				return err
			}
		}
		return ctx.Err()
	}
	for len(lines) > 0 {
		i := bytes.LastIndexByte(lines[:len(lines)-1], '\n') + 1
		if err := f(lines[i:]); err != nil {
			return err
		}
		lines = lines[:i]
	}
	return ctx.Err()
}

// segmentNames returns the files with blocks, the oldest first.
func segmentNames(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir) // sorted by name
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), segmentSuffix) && e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}
