package store

import (
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

// seenAgain is what an upsert does with what is there.
const seenAgain = ` DO UPDATE SET first = min(first, excluded.first), last = max(last, excluded.last), count = count + excluded.count`

// row is a tuple of an aggregate and who was told it.
type row struct {
	name, rdata, bailiwick, target string
	typ                            dnswire.Type
	who
	seen
}

type who struct{ comm, exe, container string }

func (w *writing) write(a *Aggregate) error {
	rows := make([]row, 0, len(a.tuples))
	for t := range a.Tuples {
		r := row{t.Name, t.RData, t.Bailiwick, t.Target(), t.Type, who{t.Comm, t.Exe, t.Container}, seen{t.First, t.Last, t.Count}}
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
		if r.target != "" {
			note(r.target, &r.seen, 0)
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
	tuple, err := w.prepare(`INSERT INTO tuple (name, type, rdata, bailiwick, sensor, target, first, last, count)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name, type, rdata, bailiwick, sensor)` + seenAgain + ` RETURNING id`)
	if err != nil {
		return err
	}
	asker, err := w.prepare(`INSERT INTO asker (comm, exe, container, last) VALUES (?, ?, ?, ?)
		ON CONFLICT (comm, exe, container) DO UPDATE SET last = max(last, excluded.last) RETURNING id`)
	if err != nil {
		return err
	}
	asked, err := w.prepare(`INSERT INTO asked (asker, tuple, first, last, count) VALUES (?, ?, ?, ?, ?) ON CONFLICT` + seenAgain)
	if err != nil {
		return err
	}
	same := func(a, b *row) int {
		return cmp.Or(cmp.Compare(w.names[a.name], w.names[b.name]), cmp.Compare(a.typ, b.typ), strings.Compare(a.rdata, b.rdata), strings.Compare(a.bailiwick, b.bailiwick))
	}
	slices.SortFunc(rows, func(a, b row) int {
		if d := same(&a, &b); d != 0 {
			return d
		}
		return a.who.compare(&b.who)
	})
	// Who asked, and when last.
	askers := map[who]*struct{ id, last int64 }{}
	for i := range rows {
		r := &rows[i]
		if r.who == (who{}) {
			continue
		}
		if askers[r.who] == nil {
			askers[r.who] = &struct{ id, last int64 }{}
		}
		askers[r.who].last = max(askers[r.who].last, r.last)
	}
	for p, k := range askers {
		if err := asker.QueryRowContext(w.ctx, []byte(p.comm), []byte(p.exe), []byte(p.container), k.last).Scan(&k.id); err != nil {
			return err
		}
	}
	type pair struct {
		asker, tuple int64
		*seen
	}
	var pairs []pair
	for len(rows) > 0 {
		n, sum := 1, rows[0].seen
		for ; n < len(rows) && same(&rows[0], &rows[n]) == 0; n++ {
			s := &rows[n].seen
			sum = seen{min(sum.first, s.first), max(sum.last, s.last), sum.count + s.count}
		}
		r := &rows[0]
		var to any
		if r.target != "" {
			to = w.names[r.target]
		}
		var id int64
		err := tuple.QueryRowContext(w.ctx, w.names[r.name], int(r.typ), []byte(r.rdata), w.names[r.bailiwick], sensorID, to, sum.first, sum.last, sum.count).Scan(&id)
		if err != nil {
			return err
		}
		for i := range rows[:n] {
			if rows[i].who != (who{}) {
				pairs = append(pairs, pair{askers[rows[i].who].id, id, &rows[i].seen})
			}
		}
		rows = rows[n:]
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		return cmp.Or(cmp.Compare(a.asker, b.asker), cmp.Compare(a.tuple, b.tuple))
	})
	for _, p := range pairs {
		if _, err := asked.ExecContext(w.ctx, p.asker, p.tuple, p.first, p.last, p.count); err != nil {
			return err
		}
	}
	return nil
}

func (p *who) compare(q *who) int {
	return cmp.Or(strings.Compare(p.comm, q.comm), strings.Compare(p.exe, q.exe), strings.Compare(p.container, q.container))
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
