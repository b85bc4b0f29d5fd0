package main

import (
	"encoding/binary"
	"io"
	"path/filepath"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// Keys are n, the reversed name, and the rest of the row; f and a, the name or the address, and
// then that key.
type lsm struct{ db *pebble.DB }

type figures struct{ first, last, count int64 }

func (f *figures) add(value []byte) {
	first, last, count := int64(binary.BigEndian.Uint64(value)), int64(binary.BigEndian.Uint64(value[8:])), int64(binary.BigEndian.Uint64(value[16:]))
	if f.count == 0 {
		f.first = first
	}
	f.first, f.last, f.count = min(f.first, first), max(f.last, last), f.count+count
}

func (f *figures) append(dst []byte) []byte {
	for _, n := range [...]int64{f.first, f.last, f.count} {
		dst = binary.BigEndian.AppendUint64(dst, uint64(n))
	}
	return dst
}

func (f *figures) MergeNewer(value []byte) error          { f.add(value); return nil }
func (f *figures) MergeOlder(value []byte) error          { f.add(value); return nil }
func (f *figures) Finish(bool) ([]byte, io.Closer, error) { return f.append(nil), nil, nil }

func openPebble(dir string) (engine, error) {
	cache := pebble.NewCache(32 << 20)
	defer cache.Unref()
	db, err := pebble.Open(filepath.Join(dir, "db"), &pebble.Options{
		Cache: cache,
		Merger: &pebble.Merger{Name: "figures", Merge: func(_, value []byte) (pebble.ValueMerger, error) {
			f := &figures{}
			f.add(value)
			return f, nil
		}},
	})
	return &lsm{db}, err
}

func (l *lsm) write(group []row) error {
	b := l.db.NewBatch()
	defer b.Close()
	for i := range group {
		r := &group[i]
		rest := string([]byte{byte(r.typ >> 8), byte(r.typ)}) + strings.Join([]string{r.rdata, r.bailiwick, r.sensor, r.asker}, "\x00")
		f := figures{r.first, r.last, r.count}
		key := "n" + reversed(r.name) + "\x00" + rest
		if err := b.Merge([]byte(key), f.append(nil), nil); err != nil {
			return err
		}
		for _, to := range []string{"f" + r.name + ".", "a" + r.rdata} {
			if err := b.Set([]byte(to+"\x00"+key), nil, nil); err != nil {
				return err
			}
		}
	}
	return b.Commit(pebble.NoSync)
}

func (l *lsm) finish() error { return l.db.Flush() }

// under calls f for what begins with prefix.
func (l *lsm) under(prefix string, f func(key, value []byte) error) error {
	i, err := l.db.NewIter(&pebble.IterOptions{LowerBound: []byte(prefix), UpperBound: []byte(after(prefix))})
	if err != nil {
		return err
	}
	defer i.Close()
	for i.First(); i.Valid(); i.Next() {
		value, err := i.ValueAndErr()
		if err == nil {
			err = f(i.Key(), value)
		}
		if err != nil {
			return err
		}
	}
	return i.Error()
}

func (l *lsm) sum(prefix string) (f found, err error) {
	return f, l.under(prefix, func(_, value []byte) error {
		f.Tuples, f.Count = f.Tuples+1, f.Count+int64(binary.BigEndian.Uint64(value[16:]))
		return nil
	})
}

// follow sums what keys under prefix point to.
func (l *lsm) follow(prefix string) (f found, err error) {
	return f, l.under(prefix, func(key, _ []byte) error {
		_, to, _ := strings.Cut(string(key), "\x00")
		value, closer, err := l.db.Get([]byte(to))
		if err != nil {
			return err
		}
		f.Tuples, f.Count = f.Tuples+1, f.Count+int64(binary.BigEndian.Uint64(value[16:]))
		return closer.Close()
	})
}

func (l *lsm) name(name string) (found, error)    { return l.sum("n" + reversed(name) + "\x00") }
func (l *lsm) below(name string) (found, error)   { return l.sum("n" + reversed(name)) }
func (l *lsm) begins(text string) (found, error)  { return l.follow("f" + text + ".") }
func (l *lsm) address(text string) (found, error) { return l.follow("a" + text + "\x00") }
func (l *lsm) close() error                       { return l.db.Close() }
