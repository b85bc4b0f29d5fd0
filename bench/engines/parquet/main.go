// Parquet measures columnar files: each commit is a file, sorted by reversed name, and
// files of about one size are merged when there are many. Statistics of pages find
// names and *.names, Bloom filters addresses; name.* needs the whole column.
package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go"

	"github.com/dnshark-io/dnshark/bench/engines/internal/load"
	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/internal/store"
)

func main() { load.Main(open) }

type row struct {
	Key       []byte `parquet:"key,delta"`
	Type      int32  `parquet:"type,dict"`
	RData     []byte `parquet:"rdata"`
	Bailiwick []byte `parquet:"bailiwick,dict"`
	Sensor    []byte `parquet:"sensor,dict"`
	Asker     []byte `parquet:"asker,dict"`
	First     int64  `parquet:"first,delta"`
	Last      int64  `parquet:"last,delta"`
	Count     int64  `parquet:"count,delta"`
}

// Columns, as in row.
const (
	keys  = 0
	rdata = 2
)

func (r *row) compare(o *row) int {
	return cmp.Or(bytes.Compare(r.Key, o.Key), cmp.Compare(r.Type, o.Type), bytes.Compare(r.RData, o.RData),
		bytes.Compare(r.Bailiwick, o.Bailiwick), bytes.Compare(r.Sensor, o.Sensor), bytes.Compare(r.Asker, o.Asker))
}

type engine struct {
	dir   string
	files []*file // the oldest first; none is of a lower level than the next
	next  int
}

type file struct {
	from, to int // commits
	level    int // how often merged
	path     string
	os       *os.File
	*parquet.File
}

// fan is how many files of a level are merged into one of the next.
const fan = 8

const pattern = "%d-%d-%d.parquet" // from, to, level

func open(dir string) (load.Engine, error) {
	e := &engine{dir: dir}
	paths, err := filepath.Glob(filepath.Join(dir, "*.parquet"))
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		f := &file{path: path}
		if _, err := fmt.Sscanf(filepath.Base(path), pattern, &f.from, &f.to, &f.level); err != nil {
			return nil, err
		}
		e.files = append(e.files, f)
	}
	slices.SortFunc(e.files, func(a, b *file) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(b.to, a.to)) })
	for i := 0; i < len(e.files); {
		f := e.files[i]
		if i > 0 && f.to <= e.files[i-1].to { // merged, but the program ended before it was removed
			if err := os.Remove(f.path); err != nil {
				return nil, err
			}
			e.files = slices.Delete(e.files, i, i+1)
			continue
		}
		if err := f.open(); err != nil {
			return nil, err
		}
		e.next, i = f.to+1, i+1
	}
	return e, nil
}

func (f *file) open() (err error) {
	if f.os, err = os.Open(f.path); err != nil {
		return err
	}
	info, err := f.os.Stat()
	if err == nil {
		f.File, err = parquet.OpenFile(f.os, info.Size())
	}
	return err
}

// write makes a file of rows, which are in order.
func (e *engine) write(from, to, level int, rows func(*parquet.GenericWriter[row]) error) (*file, error) {
	f := &file{from: from, to: to, level: level, path: filepath.Join(e.dir, fmt.Sprintf(pattern, from, to, level))}
	out, err := os.Create(f.path + ".new")
	if err != nil {
		return nil, err
	}
	defer out.Close()
	w := parquet.NewGenericWriter[row](out, parquet.Compression(&parquet.Zstd), parquet.PageBufferSize(16<<10), parquet.MaxRowsPerRowGroup(128<<10),
		parquet.SortingWriterConfig(parquet.SortingColumns(parquet.Ascending("key"))), parquet.BloomFilters(parquet.SplitBlockFilter(10, "rdata")))
	if err := errors.Join(rows(w), w.Close(), out.Sync(), os.Rename(out.Name(), f.path)); err != nil {
		return nil, err
	}
	return f, f.open()
}

func (e *engine) Write(_ context.Context, a *store.Aggregate) error {
	var list []row
	for _, r := range load.Rows(a) {
		list = append(list, row{r.Key, int32(r.Type), r.RData, []byte(r.Bailiwick), []byte(r.Sensor), []byte(r.Asker()), r.First, r.Last, r.Count})
	}
	f, err := e.write(e.next, e.next, 0, func(w *parquet.GenericWriter[row]) error {
		_, err := w.Write(list)
		return err
	})
	if err != nil {
		return err
	}
	e.next++
	e.files = append(e.files, f)
	for len(e.files) >= fan && e.files[len(e.files)-fan].level == e.files[len(e.files)-1].level {
		if err := e.merge(); err != nil {
			return err
		}
	}
	return nil
}

// merge makes one file of the newest ones.
func (e *engine) merge() error {
	old := slices.Clone(e.files[len(e.files)-fan:])
	f, err := e.write(old[0].from, old[fan-1].to, old[0].level+1, func(w *parquet.GenericWriter[row]) error {
		var readers []*reader
		for _, f := range old {
			r := &reader{from: parquet.NewGenericReader[row](f.File), rows: make([]row, 256)}
			defer r.from.Close()
			if err := r.advance(); err != nil {
				return err
			}
			readers = append(readers, r)
		}
		var out []row
		for {
			var least *reader
			for _, r := range readers {
				if r.now != nil && (least == nil || r.now.compare(least.now) < 0) {
					least = r
				}
			}
			if n := len(out); least == nil || n >= 4096 && out[n-1].compare(least.now) != 0 {
				if _, err := w.Write(out); err != nil || least == nil {
					return err
				}
				out = out[:0]
			}
			r := *least.now
			if n := len(out); n > 0 && out[n-1].compare(&r) == 0 {
				o := &out[n-1]
				o.First, o.Last, o.Count = min(o.First, r.First), max(o.Last, r.Last), o.Count+r.Count
			} else {
				for _, text := range []*[]byte{&r.Key, &r.RData, &r.Bailiwick, &r.Sensor, &r.Asker} {
					*text = slices.Clone(*text) // the reader's
				}
				out = append(out, r)
			}
			if err := least.advance(); err != nil {
				return err
			}
		}
	})
	if err != nil {
		return err
	}
	for _, o := range old {
		err = errors.Join(err, o.os.Close(), os.Remove(o.path))
	}
	e.files = append(e.files[:len(e.files)-fan], f)
	return err
}

// reader reads a file from its beginning to its end.
type reader struct {
	from       *parquet.GenericReader[row]
	rows, list []row
	now        *row // nil at the end
	err        error
}

func (r *reader) advance() error {
	if len(r.list) == 0 {
		n := 0
		for n == 0 && r.err == nil {
			n, r.err = r.from.Read(r.rows)
		}
		if r.list = r.rows[:n]; n == 0 {
			r.now = nil
			if r.err == io.EOF {
				return nil
			}
			return r.err
		}
	}
	r.now, r.list = &r.list[0], r.list[1:]
	return nil
}

// wanted says of which rows a look-up wants to know more.
type wanted struct {
	column    int
	low, high []byte // of the column, high excluded; nil: any
	exact     bool   // low alone
	test      func(value []byte) bool
}

func (e *engine) Lookup(_ context.Context, q *store.Query, f func(*store.Tuple) error) (bool, error) {
	key := store.Key(q.Text)
	w := wanted{column: keys, low: key, high: append(slices.Clone(key), 0)}
	switch {
	case q.By == store.ByNet:
		address := q.Net.Addr().AsSlice()
		w = wanted{column: rdata, low: address, high: append(slices.Clone(address), 0), exact: true}
	case q.Wild == store.Left:
		w.high = load.Below(key)
	case q.Wild == store.Right:
		tail := append([]byte{0}, key...)
		w = wanted{column: keys, test: func(value []byte) bool { return bytes.HasSuffix(value, tail) }}
	}
	found := map[string]*store.Tuple{}
	for _, file := range e.files {
		for _, group := range file.RowGroups() {
			if err := w.read(group, func(r *row) {
				if q.By == store.ByNet && !load.IsAddress(int(r.Type)) {
					return
				}
				id := strings.Join([]string{string(r.Key), fmt.Sprint(r.Type), string(r.RData), string(r.Bailiwick), string(r.Sensor)}, "\xff")
				if t := found[id]; t != nil {
					t.First, t.Last, t.Count = min(t.First, r.First), max(t.Last, r.Last), t.Count+r.Count
					return
				}
				found[id] = &store.Tuple{Name: load.Name(r.Key), Type: dnswire.Type(r.Type), RData: load.Text(int(r.Type), r.RData),
					Bailiwick: string(r.Bailiwick), Sensor: string(r.Sensor), First: r.First, Last: r.Last, Count: r.Count}
			}); err != nil {
				return false, err
			}
		}
	}
	for _, t := range found {
		if err := f(t); err != nil {
			return false, err
		}
	}
	return false, nil
}

// read calls f for the rows of a group that are wanted.
func (w *wanted) read(group parquet.RowGroup, f func(*row)) error {
	chunk := group.ColumnChunks()[w.column]
	if w.exact {
		if ok, err := chunk.BloomFilter().Check(parquet.ValueOf(w.low)); err != nil || !ok {
			return err
		}
	}
	index, err := chunk.ColumnIndex()
	if err != nil {
		return err
	}
	offsets, err := chunk.OffsetIndex()
	if err != nil {
		return err
	}
	pages := chunk.Pages()
	defer pages.Close()
	var values [256]parquet.Value
	for p := range index.NumPages() {
		if w.low != nil && (bytes.Compare(index.MaxValue(p).ByteArray(), w.low) < 0 || bytes.Compare(index.MinValue(p).ByteArray(), w.high) >= 0) {
			continue
		}
		at := offsets.FirstRowIndex(p)
		if err := pages.SeekToRow(at); err != nil {
			return err
		}
		page, err := pages.ReadPage()
		if err != nil {
			return err
		}
		first, end := int64(-1), int64(-1) // neighbours are read at once
		for from := page.Values(); err == nil; {
			var n int
			n, err = from.ReadValues(values[:])
			for _, v := range values[:n] {
				text := v.ByteArray()
				if w.low != nil && bytes.Compare(text, w.low) >= 0 && bytes.Compare(text, w.high) < 0 || w.test != nil && w.test(text) {
					if end != at {
						if err := rows(group, first, end, f); err != nil {
							return err
						}
						first = at
					}
					end = at + 1
				}
				at++
			}
		}
		parquet.Release(page)
		if err != io.EOF {
			return err
		}
		if err := rows(group, first, end, f); err != nil {
			return err
		}
	}
	return nil
}

// rows calls f for the rows from first up to end.
func rows(group parquet.RowGroup, first, end int64, f func(*row)) error {
	if first < 0 {
		return nil
	}
	from := parquet.NewGenericRowGroupReader[row](group)
	defer from.Close()
	if err := from.SeekToRow(first); err != nil {
		return err
	}
	list := make([]row, end-first)
	for len(list) > 0 {
		n, err := from.Read(list)
		for i := range n {
			f(&list[i])
		}
		if list = list[n:]; err != nil && len(list) > 0 {
			return err
		}
	}
	return nil
}

func (e *engine) Close() (err error) {
	for _, f := range e.files {
		err = errors.Join(err, f.os.Close())
	}
	return err
}
