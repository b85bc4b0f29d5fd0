package eventlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dnshark-io/dnshark/internal/store"
)

// Purged says what Purge removed.
type Purged struct {
	Events  int
	Damaged int // stretches of files that could not be searched, and went whole
}

// newSuffix is of a file that takes another's place when it is whole.
const newSuffix = ".new"

// Purge removes from the log in dir, which nobody may be writing, all events that
// mention the subject, and leaves no octet of them in the files. Every file is replaced
// as a whole or not at all. What cannot be read goes as well.
func Purge(ctx context.Context, dir string, subject *store.PurgeSubject) (p Purged, err error) {
	if _, err := os.Stat(filepath.Join(dir, "lock")); errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	l, err := Open(dir, Options{})
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	l.commit.Lock()
	defer l.commit.Unlock()
	names, err := segmentNames(dir)
	if err != nil {
		return p, err
	}
	m := mention{subject: subject, text: []byte(Escaped(subject.Value))}
	z, err := newRestorer()
	if err != nil {
		return p, err
	}
	defer z.z.Close()
	for _, name := range names {
		r := rewriting{l: l, m: &m, z: z, name: name}
		err := r.run(ctx)
		p.Events, p.Damaged = p.Events+r.purged.Events, p.Damaged+r.purged.Damaged
		if err != nil {
			return p, fmt.Errorf("%s: %w", name, err)
		}
	}
	kept := m.keep(nil, l.open)
	gone := bytes.Count(l.open, []byte{'\n'}) - bytes.Count(kept, []byte{'\n'})
	if gone == 0 {
		return p, nil
	}
	p.Events += gone
	// In a block first, so that what stays is in a file at every moment; numbers go on
	// from where they were.
	l.open, l.count, l.first = kept, l.count-gone, l.first+uint64(gone)
	if l.count > 0 {
		return p, l.writeBlock(l.open)
	}
	return p, l.beginJournal()
}

// removeUnfinished removes what a purge left that was killed.
func removeUnfinished(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), segmentSuffix+newSuffix) {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// rewriting makes a file without what goes.
type rewriting struct {
	l      *Log
	m      *mention
	z      *restorer
	name   string
	purged Purged

	from, to *os.File // to is nil as long as everything stays
	at       int64    // octets in to
}

func (r *rewriting) run(ctx context.Context) (err error) {
	path := filepath.Join(r.l.dir, r.name)
	if r.from, err = os.Open(path); err != nil {
		return err
	}
	defer r.from.Close()
	info, err := r.from.Stat()
	if err != nil {
		return err
	}
	header := make([]byte, fileHeader)
	if _, err := r.from.ReadAt(header, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	var blocks []block
	end := int64(0)
	if err := checkFileHeader(header); errors.Is(err, errVersion) {
		return err
	} else if err == nil {
		if blocks, end, err = scanBlocks(nil, r.from, fileHeader); err != nil {
			return err
		}
	}
	defer func() {
		if r.to != nil { // it did not come to an end
			r.to.Close()
			os.Remove(path + newSuffix)
		}
	}()
	var data, lines []byte
	for i := range blocks {
		b := &blocks[i]
		if err := ctx.Err(); err != nil {
			return err
		}
		if data, err = b.readData(r.from, data); err == nil {
			lines, err = r.z.lines(lines[:0], data, b.events, b.raw)
		}
		if err != nil && !errors.Is(err, errDamaged) {
			return err
		}
		kept := lines
		if err != nil {
			kept = nil
			r.purged.Damaged++
		} else if kept = r.m.keep(nil, lines); len(kept) < len(lines) {
			r.purged.Events += b.events - bytes.Count(kept, []byte{'\n'})
		}
		stays := err == nil && len(kept) == len(lines)
		switch {
		case stays && r.to == nil:
			err = nil
		case stays:
			err = r.copy(b.offset, b.size())
		default:
			if err = r.begin(b.offset); err == nil && len(kept) > 0 {
				err = r.write(kept, b.next())
			}
		}
		if err != nil {
			return err
		}
	}
	if end < info.Size() {
		r.purged.Damaged++
		if err := r.begin(end); err != nil {
			return err
		}
	}
	if r.to == nil {
		return nil
	}
	return r.replace(path, info)
}

// begin begins the new file with what the old one has before an offset.
func (r *rewriting) begin(before int64) (err error) {
	if r.to != nil {
		return nil
	}
	r.to, err = os.OpenFile(filepath.Join(r.l.dir, r.name)+newSuffix, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	return r.copy(0, before)
}

func (r *rewriting) copy(at, size int64) error {
	_, err := io.Copy(io.NewOffsetWriter(r.to, r.at), io.NewSectionReader(r.from, at, size))
	r.at += size
	return err
}

// write writes lines as a block that ends with the event before next.
func (r *rewriting) write(lines []byte, next uint64) error {
	raw, _ := r.l.packer.append(nil, lines, next-uint64(bytes.Count(lines, []byte{'\n'})))
	_, err := r.to.WriteAt(raw, r.at)
	r.at += int64(len(raw))
	return err
}

// replace puts the new file in the place of the old one, as old as that, unless
// nothing is left in it.
func (r *rewriting) replace(path string, old os.FileInfo) error {
	r.l.Reader.mu.Lock()
	delete(r.l.Reader.segments, r.name)
	r.l.Reader.mu.Unlock()
	if r.at <= fileHeader {
		return os.Remove(path)
	}
	err := r.to.Sync()
	err = errors.Join(err, r.to.Close(), os.Chtimes(path+newSuffix, old.ModTime(), old.ModTime()))
	if err != nil {
		return err
	}
	r.to = nil
	return os.Rename(path+newSuffix, path)
}

// mention finds lines that mention a subject.
type mention struct {
	subject *store.PurgeSubject
	text    []byte // as it stands in a line
	tokens  []token
	folded  []byte
}

// keep appends the lines that do not.
func (m *mention) keep(dst, lines []byte) []byte {
	for line := range bytes.Lines(lines) {
		if !m.line(line[:len(line)-1]) {
			dst = append(dst, line...)
		}
	}
	return dst
}

// vocabulary are members that hold words of ours or of the protocol's: A is a type
// there, and no name.
var vocabulary = []string{
	"event", "time", "observer", "type", "class", "query_type", "query_class", "answer_type",
	"opcode", "rcode", "flags", "state", "attribution", "anomalies", "sections", "fault", "method",
}

// line reports whether one of the values in a line mentions the subject.
func (m *mention) line(line []byte) bool {
	m.folded = appendLower(m.folded[:0], line)
	host := bytes.Contains(line, []byte(Escaped(m.subject.Text)))
	if !host && !m.subject.Addr.IsValid() && !bytes.Contains(m.folded, m.text) {
		return false
	}
	var ok bool
	if m.tokens, ok = scan(m.tokens[:0], line); !ok {
		return true // none of ours
	}
	for i := range m.tokens {
		t := &m.tokens[i]
		value := line[t.begin:t.end]
		switch {
		case string(t.key) == "host" && t.parent == nil:
			if string(value) == Escaped(m.subject.Text) {
				return true
			}
		case !t.text || slices.Contains(vocabulary, string(t.key)):
		case m.subject.Addr.IsValid() && m.address(value), m.in(m.folded[t.begin:t.end]):
			return true
		}
	}
	return false
}

func (m *mention) address(value []byte) bool {
	a, ok := parseAddr(value)
	return ok && a.WithZone("") == m.subject.Addr
}

// in reports whether the text is in a value as a whole: a name at the end of labels, an
// address not as a part of another.
func (m *mention) in(value []byte) bool {
	for at := 0; ; at++ {
		i := bytes.Index(value[at:], m.text)
		if i < 0 {
			return false
		}
		at += i
		end := at + len(m.text)
		if m.apart(value, at-1, -1) && m.apart(value, end, 1) {
			return true
		}
	}
}

// apart reports whether what is at i, beside the text, is not of the same word.
func (m *mention) apart(value []byte, i, step int) bool {
	if i < 0 || i >= len(value) {
		return true
	}
	c := value[i]
	if c == '.' && m.subject.Addr.IsValid() {
		i += step
		return i < 0 || i >= len(value) || value[i] < '0' || value[i] > '9'
	}
	return !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == ':' && m.subject.Addr.Is6())
}
