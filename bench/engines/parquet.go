package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go"
)

// columnar appends what groups say to files. A file is whole when it is closed: what came
// since the last one is lost with the program, unlike in the other engines.
type columnar struct {
	dir     string
	waiting []tuple
	files   []*parquet.File
	open    []*os.File
}

type tuple struct {
	RName     string `parquet:"rname"`
	Name      string `parquet:"name"`
	Type      int32  `parquet:"type,dict"`
	RData     string `parquet:"rdata"`
	Bailiwick string `parquet:"bailiwick,dict"`
	Sensor    string `parquet:"sensor,dict"`
	Asker     string `parquet:"asker,dict"`
	First     int64  `parquet:"first,delta"`
	Last      int64  `parquet:"last,delta"`
	Count     int64  `parquet:"count"`
}

const fileRows = 250_000

func openParquet(dir string) (engine, error) { return &columnar{dir: dir}, nil }

func (c *columnar) write(group []row) error {
	for i := range group {
		r := &group[i]
		c.waiting = append(c.waiting, tuple{reversed(r.name), r.name, int32(r.typ), r.rdata, r.bailiwick, r.sensor, r.asker, r.first, r.last, r.count})
	}
	if len(c.waiting) >= fileRows {
		return c.flush()
	}
	return nil
}

// flush writes a file, each tuple once.
func (c *columnar) flush() error {
	slices.SortFunc(c.waiting, func(a, b tuple) int {
		if d := strings.Compare(a.RName, b.RName); d != 0 {
			return d
		}
		return strings.Compare(a.RData, b.RData)
	})
	rows := c.waiting[:0]
	for _, t := range c.waiting {
		if n := len(rows) - 1; n >= 0 && rows[n].RName == t.RName && rows[n].RData == t.RData && rows[n].Asker == t.Asker {
			rows[n].First, rows[n].Last, rows[n].Count = min(rows[n].First, t.First), max(rows[n].Last, t.Last), rows[n].Count+t.Count
			continue
		}
		rows = append(rows, t)
	}
	f, err := os.Create(filepath.Join(c.dir, fmt.Sprintf("%06d.parquet", len(c.open))))
	if err != nil {
		return err
	}
	w := parquet.NewGenericWriter[tuple](f, parquet.Compression(&parquet.Zstd), parquet.PageBufferSize(64<<10),
		parquet.BloomFilters(parquet.SplitBlockFilter(10, "rdata"), parquet.SplitBlockFilter(10, "name")))
	if _, err := w.Write(rows); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	c.open = append(c.open, f)
	c.waiting = c.waiting[:0]
	return nil
}

func (c *columnar) finish() error {
	if len(c.waiting) > 0 {
		if err := c.flush(); err != nil {
			return err
		}
	}
	for _, f := range c.open {
		info, err := f.Stat()
		if err != nil {
			return err
		}
		file, err := parquet.OpenFile(f, info.Size())
		if err != nil {
			return err
		}
		c.files = append(c.files, file)
	}
	return nil
}

// scan sums the rows whose column is from low up to high. exact says that it is low alone.
func (c *columnar) scan(column, low, high string, exact bool) (f found, err error) {
	tuples := map[string]bool{} // of all files
	for _, file := range c.files {
		leaf, _ := file.Schema().Lookup(column)
		count, _ := file.Schema().Lookup("count")
		name, _ := file.Schema().Lookup("name")
		rdata, _ := file.Schema().Lookup("rdata")
		for _, group := range file.RowGroups() {
			chunk := group.ColumnChunks()[leaf.ColumnIndex]
			if exact {
				if filter := chunk.BloomFilter(); filter != nil {
					if ok, err := filter.Check(parquet.ValueOf(low)); err != nil || !ok {
						if err != nil {
							return f, err
						}
						continue
					}
				}
			}
			index, err := chunk.ColumnIndex()
			if err != nil {
				return f, err
			}
			offsets, err := chunk.OffsetIndex()
			if err != nil {
				return f, err
			}
			for p := range index.NumPages() {
				if string(index.MaxValue(p).ByteArray()) < low || string(index.MinValue(p).ByteArray()) >= high {
					continue
				}
				first, end := offsets.FirstRowIndex(p), group.NumRows()
				if p+1 < index.NumPages() {
					end = offsets.FirstRowIndex(p + 1)
				}
				values, err := column0(chunk, first, end)
				if err != nil {
					return f, err
				}
				for i := 0; i < len(values); i++ {
					if v := string(values[i].ByteArray()); v < low || v >= high {
						continue
					}
					from := i
					for i < len(values) && string(values[i].ByteArray()) >= low && string(values[i].ByteArray()) < high {
						i++
					}
					var columns [3][]parquet.Value
					for k, l := range []int{count.ColumnIndex, name.ColumnIndex, rdata.ColumnIndex} {
						if columns[k], err = column0(group.ColumnChunks()[l], first+int64(from), first+int64(i)); err != nil {
							return f, err
						}
					}
					for k := range columns[0] {
						f.Count += columns[0][k].Int64()
						tuples[string(columns[1][k].ByteArray())+"\x00"+string(columns[2][k].ByteArray())] = true
					}
				}
			}
		}
	}
	f.Tuples = int64(len(tuples))
	return f, nil
}

// column0 reads the values of rows from first up to end.
func column0(chunk parquet.ColumnChunk, first, end int64) ([]parquet.Value, error) {
	pages := chunk.Pages()
	defer pages.Close()
	if err := pages.SeekToRow(first); err != nil {
		return nil, err
	}
	list := make([]parquet.Value, 0, end-first)
	for int64(len(list)) < end-first {
		page, err := pages.ReadPage()
		if err != nil {
			return nil, err
		}
		at := len(list)
		list = list[:min(int64(cap(list)), int64(at)+page.NumRows())]
		n, err := page.Values().ReadValues(list[at:])
		for i := at; i < at+n; i++ {
			list[i] = list[i].Clone()
		}
		list = list[:at+n]
		parquet.Release(page)
		if n == 0 {
			return nil, err
		}
	}
	return list, nil
}

func (c *columnar) name(name string) (found, error) {
	return c.scan("rname", reversed(name), reversed(name)+"\x00", false)
}
func (c *columnar) below(name string) (found, error) {
	return c.scan("rname", reversed(name), after(reversed(name)), false)
}
func (c *columnar) begins(text string) (found, error) {
	return c.scan("name", text+".", after(text+"."), false)
}
func (c *columnar) address(text string) (found, error) {
	return c.scan("rdata", text, text+"\x00", true)
}
func (c *columnar) close() error { return nil }
