package store

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/dnshark-io/dnshark/dnswire"
)

// writing is one aggregate on its way into the tables. Everything is written in the
// order of its keys: neighbours are then on one page.
type writing struct {
	ctx   context.Context
	tx    *sql.Tx
	names map[string]int64 // ids
	list  []*sql.Stmt

	find, put                 *sql.Stmt
	key                       []byte
	old, new                  []record
	addresses, targets, asked []link
	tuples                    int // more than there were
}

func (w *writing) close() (err error) {
	for _, s := range w.list {
		err = errors.Join(err, s.Close())
	}
	return err
}

func (w *writing) prepare(text string) (*sql.Stmt, error) {
	s, err := w.tx.PrepareContext(w.ctx, text)
	if err == nil {
		w.list = append(w.list, s)
	}
	return s, err
}

// row is a tuple of an aggregate and who was told it.
type row struct {
	name, rdata, bailiwick string
	typ                    dnswire.Type
	who
	seen
}

type who struct{ comm, exe, container string }

func (w *writing) write(a *Aggregate) error {
	rows := make([]row, 0, len(a.tuples))
	for t := range a.Tuples {
		r := row{t.Name, t.RData, t.Bailiwick, t.Type, who{t.Comm, t.Exe, t.Container}, seen{t.First, t.Last, t.Count}}
		if r.typ == dnswire.TypeA || r.typ == dnswire.TypeAAAA {
			if addr, err := netip.ParseAddr(r.rdata); err == nil {
				r.rdata = string(addr.AsSlice())
			}
		}
		rows = append(rows, r)
	}
	if err := w.writeNames(a, rows); err != nil {
		return err
	}
	if err := w.writeTuples(a.Sensor, rows); err != nil {
		return err
	}
	return w.writeRanked(a)
}

// writeNames writes every name there is, and learns the ids.
func (w *writing) writeNames(a *Aggregate, rows []row) error {
	all := make(map[string]seen, len(a.ranked)/2)
	note := func(name string, n *seen, count int64) {
		s, ok := all[name]
		switch {
		case !ok:
			s = seen{n.first, n.last, count}
		case s.count == 0 && count > 0: // first is when it was asked for
			s.first = n.first
		case s.count == 0 || count > 0:
			s.first = min(s.first, n.first)
		}
		if ok {
			s.last, s.count = max(s.last, n.last), s.count+count
		}
		all[name] = s
	}
	for h := range a.Ranked {
		if h.What == Names {
			note(h.Value, &seen{h.First, h.Last, h.Count}, h.Count)
		}
	}
	for i := range rows {
		r := &rows[i]
		note(r.name, &r.seen, 0)
		if t := target(r.typ, r.rdata); t != "" {
			note(t, &r.seen, 0)
		}
		if r.bailiwick != "" {
			note(r.bailiwick, &r.seen, 0)
		}
	}
	// An update that says nothing of first leaves the index of that alone.
	again, err := w.prepare(`UPDATE name SET last = max(last, ?3), count = count + ?4 WHERE name = ?1
		AND (count > 0 AND ?4 = 0 OR first <= ?2 AND (count > 0) = (?4 > 0)) RETURNING id`)
	if err != nil {
		return err
	}
	name, err := w.prepare(`INSERT INTO name (name, first, last, count) VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET
		first = CASE WHEN (count > 0) = (excluded.count > 0) THEN min(first, excluded.first) WHEN count > 0 THEN first ELSE excluded.first END,
		last = max(last, excluded.last), count = count + excluded.count RETURNING id`)
	if err != nil {
		return err
	}
	below, err := w.prepare(`INSERT INTO below (key, name) VALUES (?, ?) ON CONFLICT DO UPDATE SET name = excluded.name`)
	if err != nil {
		return err
	}
	var most int64
	if err := w.tx.QueryRowContext(w.ctx, `SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'name'`).Scan(&most); err != nil {
		return err
	}
	w.names = make(map[string]int64, len(all))
	type key struct {
		text []byte
		id   int64
	}
	var fresh []key
	for _, text := range slices.Sorted(maps.Keys(all)) {
		n := all[text]
		var id int64
		args := []any{[]byte(text), n.first, n.last, n.count}
		err := again.QueryRowContext(w.ctx, args...).Scan(&id)
		if errors.Is(err, sql.ErrNoRows) {
			err = name.QueryRowContext(w.ctx, args...).Scan(&id)
		}
		if err != nil {
			return err
		}
		if w.names[text] = id; id > most {
			fresh = append(fresh, key{appendKey([]byte{}, text), id})
		}
	}
	slices.SortFunc(fresh, func(a, b key) int { return slices.Compare(a.text, b.text) })
	for _, k := range fresh {
		if _, err := below.ExecContext(w.ctx, k.text, k.id); err != nil {
			return err
		}
	}
	return nil
}

func (w *writing) writeTuples(sensor string, rows []row) error {
	if len(rows) == 0 {
		return nil
	}
	var sensorID int64
	if err := w.tx.QueryRowContext(w.ctx, `INSERT INTO sensor (name) VALUES (?) ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING id`, []byte(sensor)).Scan(&sensorID); err != nil {
		return err
	}
	asker, err := w.prepare(`INSERT INTO asker (comm, exe, container, last) VALUES (?, ?, ?, ?)
		ON CONFLICT (comm, exe, container) DO UPDATE SET last = max(last, excluded.last) RETURNING id`)
	if err != nil {
		return err
	}
	// Who asked, and when last.
	askers := map[who]*struct{ id, last int64 }{{}: {}}
	for i := range rows {
		r := &rows[i]
		if askers[r.who] == nil {
			askers[r.who] = &struct{ id, last int64 }{}
		}
		askers[r.who].last = max(askers[r.who].last, r.last)
	}
	for p, k := range askers {
		if p == (who{}) {
			continue
		}
		if err := asker.QueryRowContext(w.ctx, []byte(p.comm), []byte(p.exe), []byte(p.container), k.last).Scan(&k.id); err != nil {
			return err
		}
	}
	type owned struct {
		owner int64
		record
	}
	list := make([]owned, len(rows))
	for i := range rows {
		r := &rows[i]
		list[i] = owned{w.names[r.name], record{r.typ, r.rdata, w.names[r.bailiwick], sensorID, askers[r.who].id, r.seen}}
	}
	slices.SortFunc(list, func(a, b owned) int {
		if c := cmp.Compare(a.owner, b.owner); c != 0 {
			return c
		}
		return a.compare(&b.record)
	})
	if err := w.prepareRecords(); err != nil {
		return err
	}
	var records []record
	for len(list) > 0 {
		owner := list[0].owner
		records = records[:0]
		for len(list) > 0 && list[0].owner == owner {
			records = append(records, list[0].record)
			list = list[1:]
		}
		if err := w.writeRecords(owner, records); err != nil {
			return err
		}
	}
	return w.finishRecords()
}

// prepareRecords comes before writeRecords.
func (w *writing) prepareRecords() (err error) {
	if w.find, err = w.prepare(`SELECT low, tuples, data, (SELECT min(low) FROM records WHERE name = ?1 AND low > r.low)
		FROM records r WHERE name = ?1 AND low <= ?2 ORDER BY low DESC LIMIT 1`); err != nil {
		return err
	}
	w.put, err = w.prepare(`INSERT INTO records (name, low, tuples, data) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET tuples = excluded.tuples, data = excluded.data`)
	return err
}

// writeRecords adds records, which are in order, to those of a name.
func (w *writing) writeRecords(name int64, list []record) error {
	for len(list) > 0 {
		w.key = list[0].appendLow(w.key[:0])
		var p part
		var next []byte
		var data string
		err := w.find.QueryRowContext(w.ctx, name, w.key).Scan(&p.low, &p.tuples, &data, &next)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if p.low == nil {
			p.low = []byte{}
		}
		here := len(list) // those before the next part
		if next != nil {
			here, _ = slices.BinarySearchFunc(list, next, func(r record, next []byte) int {
				w.key = r.appendLow(w.key[:0])
				return bytes.Compare(w.key, next)
			})
		}
		// What can be read of a damaged row stays.
		w.old, _ = unpack(w.old[:0], data)
		w.new = merge(w.new[:0], w.old, list[:here], func(r *record, sameRData bool) { w.index(name, r, sameRData) })
		list = list[here:]
		w.tuples -= p.tuples
		for _, p := range pack(w.new, p.low) {
			if _, err := w.put.ExecContext(w.ctx, name, p.low, p.tuples, p.data); err != nil {
				return err
			}
			w.tuples += p.tuples
		}
	}
	return nil
}

// link is a row of an index: what points to a name.
type link struct {
	address string
	id      int64 // of a target or an asker
	name    int64
}

func (a *link) compare(b *link) int {
	return cmp.Or(strings.Compare(a.address, b.address), cmp.Compare(a.id, b.id), cmp.Compare(a.name, b.name))
}

// index notes what a record is found by that its name did not have.
func (w *writing) index(name int64, r *record, sameRData bool) {
	if r.asker != 0 {
		w.asked = append(w.asked, link{id: r.asker, name: name})
	}
	if sameRData {
		return
	}
	if r.typ == dnswire.TypeA || r.typ == dnswire.TypeAAAA {
		w.addresses = append(w.addresses, link{address: r.rdata, name: name})
	} else if id := w.names[target(r.typ, r.rdata)]; id != 0 {
		w.targets = append(w.targets, link{id: id, name: name})
	}
}

// finishRecords writes the indices.
func (w *writing) finishRecords() error {
	for _, index := range []struct {
		text string
		list []link
	}{
		{`INSERT OR IGNORE INTO address (address, name) VALUES (?, ?)`, w.addresses},
		{`INSERT OR IGNORE INTO target (target, name) VALUES (?, ?)`, w.targets},
		{`INSERT OR IGNORE INTO asked (asker, name) VALUES (?, ?)`, w.asked},
	} {
		insert, err := w.prepare(index.text)
		if err != nil {
			return err
		}
		slices.SortFunc(index.list, func(a, b link) int { return a.compare(&b) })
		for i, l := range index.list {
			if i > 0 && l == index.list[i-1] {
				continue
			}
			var from any = l.id
			if l.id == 0 {
				from = []byte(l.address)
			}
			if _, err := insert.ExecContext(w.ctx, from, l.name); err != nil {
				return err
			}
		}
	}
	_, err := w.tx.ExecContext(w.ctx, `UPDATE total SET tuples = tuples + ?`, w.tuples)
	return err
}

// rank is a row of ranked.
type rank struct {
	what  int
	start int64
	id    int64 // of a name
	text  string
}

func (w *writing) writeRanked(a *Aggregate) error {
	ranked, err := w.prepare(`INSERT INTO ranked (what, start, value, count) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count`)
	if err != nil {
		return err
	}
	counts := make(map[rank]int64, len(a.ranked)*2)
	for h := range a.Ranked {
		r := rank{what: 2 * int(h.What), start: h.Start / hour}
		if h.What.isName() {
			r.id = w.names[h.Value]
		} else {
			r.text = h.Value
		}
		counts[r] += h.Count
		r.what, r.start = r.what+1, r.start/24*24
		counts[r] += h.Count
	}
	list := slices.SortedFunc(maps.Keys(counts), func(a, b rank) int {
		return cmp.Or(cmp.Compare(a.what, b.what), cmp.Compare(a.start, b.start), cmp.Compare(a.id, b.id), strings.Compare(a.text, b.text))
	})
	for _, r := range list {
		var value any = r.id
		if r.id == 0 {
			value = []byte(r.text)
		}
		if _, err := ranked.ExecContext(w.ctx, r.what, r.start, value, counts[r]); err != nil {
			return err
		}
	}
	return nil
}
