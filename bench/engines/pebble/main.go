// Pebble measures a tree of sorted files (LSM). Records stand under the reversed name,
// which serves names and *.names; names and addresses point there. Counts are added by
// a merge operator: nothing is read to write.
package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	"github.com/dnshark-io/dnshark/bench/engines/internal/load"
	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/internal/store"
)

func main() { load.Main(open) }

// Keys begin with what they are.
const (
	records   = 'k' // key of the name, 0, type, RDATA, bailiwick, 0, sensor, 0, asker: seen
	names     = 'n' // name, 0
	addresses = 'a' // length of the address, address, name
)

// seen is when and how often.
type seen struct{ first, last, count int64 }

func (s seen) append(dst []byte) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(binary.AppendUvarint(dst, uint64(s.first)), uint64(s.last-s.first)), uint64(s.count))
}

func parse(value []byte) (s seen, err error) {
	var f [3]int64
	for i := range f {
		u, n := binary.Uvarint(value)
		if n <= 0 {
			return s, errors.New("a damaged value")
		}
		f[i], value = int64(u), value[n:]
	}
	return seen{f[0], f[0] + f[1], f[2]}, nil
}

func (s *seen) add(o seen) {
	if s.count == 0 {
		*s = o
		return
	}
	s.first, s.last, s.count = min(s.first, o.first), max(s.last, o.last), s.count+o.count
}

// MergeNewer implements pebble.ValueMerger.
func (s *seen) MergeNewer(value []byte) error {
	o, err := parse(value)
	if err == nil {
		s.add(o)
	}
	return err
}

// MergeOlder implements pebble.ValueMerger.
func (s *seen) MergeOlder(value []byte) error { return s.MergeNewer(value) }

// Finish implements pebble.ValueMerger.
func (s *seen) Finish(bool) ([]byte, io.Closer, error) { return s.append(nil), nil, nil }

type engine struct {
	db    *pebble.DB
	known map[string]bool // names and addresses that point to their records already; not all
}

// maxKnown bounds known.
const maxKnown = 50_000

func open(dir string) (load.Engine, error) {
	cache := pebble.NewCache(32 << 20) // as SQLite's
	defer cache.Unref()
	o := &pebble.Options{
		Cache:              cache,
		MemTableSize:       16 << 20,
		FormatMajorVersion: pebble.FormatNewest,
		Logger:             quiet{},
		Merger: &pebble.Merger{Name: "seen", Merge: func(_, value []byte) (pebble.ValueMerger, error) {
			s := &seen{}
			return s, s.MergeNewer(value)
		}},
	}
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionBalanced })
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	db, err := pebble.Open(dir, o)
	if err != nil {
		return nil, err
	}
	return &engine{db, map[string]bool{}}, nil
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(text string, _ ...any) {
	panic(text)
}

func (e *engine) Write(_ context.Context, a *store.Aggregate) error {
	b := e.db.NewBatch()
	defer b.Close()
	var key, value []byte
	point := func(key []byte) error {
		if e.known[string(key)] {
			return nil
		}
		if len(e.known) >= maxKnown {
			clear(e.known)
		}
		e.known[string(key)] = true
		return b.Set(key, nil, nil)
	}
	for _, r := range load.Rows(a) {
		key = append(append(append(key[:0], records), r.Key...), 0)
		key = binary.BigEndian.AppendUint16(key, uint16(r.Type))
		key = append(key, r.RData...)
		if !load.IsAddress(int(r.Type)) {
			key = append(key, 0)
		}
		key = append(append(append(append(append(key, r.Bailiwick...), 0), r.Sensor...), 0), r.Asker()...)
		value = seen{r.First, r.Last, r.Count}.append(value[:0])
		if err := b.Merge(key, value, nil); err != nil {
			return err
		}
		if err := point(append(append(append(key[:0], names), r.Name...), 0)); err != nil {
			return err
		}
		if load.IsAddress(int(r.Type)) {
			if err := point(append(appendAddress(key[:0], r.RData), r.Name...)); err != nil {
				return err
			}
		}
	}
	return b.Commit(pebble.Sync) // without it the last ones would be in the program's memory alone
}

func appendAddress(dst, address []byte) []byte {
	return append(append(dst, addresses, byte(len(address))), address...)
}

func (e *engine) Lookup(_ context.Context, q *store.Query, f func(*store.Tuple) error) (bool, error) {
	switch {
	case q.By == store.ByNet:
		address := q.Net.Addr().AsSlice()
		low := appendAddress(nil, address)
		owners, err := e.owners(low, append(slices.Clone(low), 0xff))
		for _, owner := range owners {
			if err == nil {
				err = e.records(store.Key(owner), 0, address, f)
			}
		}
		return false, err
	case q.Wild == store.Right:
		low := append(append([]byte{names}, q.Text...), '.')
		high := slices.Clone(low)
		high[len(high)-1]++
		owners, err := e.owners(low, high)
		for _, owner := range owners {
			if err == nil {
				err = e.records(store.Key(owner[:len(owner)-1]), 0, nil, f)
			}
		}
		return false, err
	case q.Wild == store.Left:
		return false, e.records(store.Key(q.Text), 0xff, nil, f)
	}
	return false, e.records(store.Key(q.Text), 0, nil, f)
}

// owners returns what follows the prefix of keys: names.
func (e *engine) owners(low, high []byte) (list []string, err error) {
	it, err := e.db.NewIter(&pebble.IterOptions{LowerBound: low, UpperBound: high})
	if err != nil {
		return nil, err
	}
	skip := 1
	if low[0] == addresses {
		skip = len(low)
	}
	for it.First(); it.Valid(); it.Next() {
		list = append(list, string(it.Key()[skip:]))
	}
	return list, errors.Join(it.Error(), it.Close())
}

// records calls f for the tuples of a name, and with below 0xff for those below it.
// With an address it wants those alone that have it.
func (e *engine) records(key []byte, below byte, address []byte, f func(*store.Tuple) error) error {
	low := append([]byte{records}, key...)
	high := append(slices.Clone(low), 1)
	if below == 0xff {
		high[len(high)-1] = 0xff
	}
	it, err := e.db.NewIter(&pebble.IterOptions{LowerBound: low, UpperBound: high})
	if err != nil {
		return err
	}
	defer it.Close()
	var now store.Tuple
	var owner, before []byte
	for it.First(); it.Valid(); it.Next() {
		k := it.Key()[1:]
		end := bytes.Index(k, []byte{0, 0})
		tail := k[end+2:]
		t := store.Tuple{Type: dnswire.Type(binary.BigEndian.Uint16(tail))}
		tail = tail[2:]
		var rdata []byte
		switch t.Type {
		case 1:
			rdata, tail = tail[:4], tail[4:]
		case 28:
			rdata, tail = tail[:16], tail[16:]
		default:
			rdata, tail, _ = bytes.Cut(tail, []byte{0})
		}
		if address != nil && !(load.IsAddress(int(t.Type)) && bytes.Equal(rdata, address)) {
			continue
		}
		bailiwick, tail, _ := bytes.Cut(tail, []byte{0})
		sensor, asker, _ := bytes.Cut(tail, []byte{0})
		s, err := parse(it.Value())
		if err != nil {
			return err
		}
		if tuple := k[:len(k)-len(asker)]; now.Count > 0 && bytes.Equal(tuple, before) {
			now.First, now.Last, now.Count = min(now.First, s.first), max(now.Last, s.last), now.Count+s.count
			continue
		} else {
			before = append(before[:0], tuple...)
		}
		if now.Count > 0 {
			if err := f(&now); err != nil {
				return err
			}
		}
		if !bytes.Equal(owner, k[:end+1]) {
			owner = append(owner[:0], k[:end+1]...)
			t.Name = load.Name(owner)
		} else {
			t.Name = now.Name
		}
		t.RData, t.Bailiwick, t.Sensor = load.Text(int(t.Type), rdata), string(bailiwick), string(sensor)
		t.First, t.Last, t.Count = s.first, s.last, s.count
		now = t
	}
	if now.Count > 0 {
		if err := f(&now); err != nil {
			return err
		}
	}
	return it.Error()
}

func (e *engine) Close() error { return errors.Join(e.db.Flush(), e.db.Close()) }
