package store

import (
	"context"
	"database/sql"
	"encoding/binary"
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

// row is a tuple of an aggregate.
type row struct {
	name, rdata, bailiwick string
	who                    string // the rest of the key
	target                 string
	typ                    dnswire.Type
	*seen
}

func (w *writing) write(a *Aggregate) error {
	rows := make([]row, 0, len(a.tuples))
	for key, n := range a.tuples {
		r := row{typ: dnswire.Type(binary.BigEndian.Uint16([]byte(key[:2]))), seen: n}
		r.name, key, _ = strings.Cut(key[2:], "\x00") // as adder.add makes it
		r.rdata, key, _ = strings.Cut(key, "\x00")
		r.bailiwick, r.who, _ = strings.Cut(key, "\x00")
		if r.typ == dnswire.TypeA || r.typ == dnswire.TypeAAAA {
			if addr, err := netip.ParseAddr(r.rdata); err == nil {
				r.rdata = string(addr.AsSlice())
			}
		} else {
			r.target = target(r.typ, r.rdata)
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
		if s, ok := all[name]; ok {
			all[name] = seen{min(s.first, n.first), max(s.last, n.last), s.count + count}
		} else {
			all[name] = seen{n.first, n.last, count}
		}
	}
	for key, n := range a.ranked {
		if What(key[0]) == Names {
			note(key[9:], n, n.count)
		}
	}
	for i := range rows {
		r := &rows[i]
		note(r.name, r.seen, 0)
		if r.target != "" {
			note(r.target, r.seen, 0)
		}
		if r.bailiwick != "" {
			note(r.bailiwick, r.seen, 0)
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
		args := []any{[]byte(text), n.first / 1e6, n.last / 1e6, n.count}
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
		if d := w.names[a.name] - w.names[b.name]; d != 0 {
			return int(d)
		}
		if d := int(a.typ) - int(b.typ); d != 0 {
			return d
		}
		if d := strings.Compare(a.rdata, b.rdata); d != 0 {
			return d
		}
		return strings.Compare(a.bailiwick, b.bailiwick)
	}
	slices.SortFunc(rows, func(a, b row) int {
		if d := same(&a, &b); d != 0 {
			return d
		}
		return strings.Compare(a.who, b.who)
	})
	// Who asked, and when last.
	askers := map[string]*struct{ id, last int64 }{}
	for i := range rows {
		r := &rows[i]
		if r.who == nobody {
			continue
		}
		if askers[r.who] == nil {
			askers[r.who] = &struct{ id, last int64 }{}
		}
		askers[r.who].last = max(askers[r.who].last, r.last)
	}
	for _, text := range slices.Sorted(maps.Keys(askers)) {
		k := askers[text]
		comm, exe, container := cutWho([]byte(text))
		if err := asker.QueryRowContext(w.ctx, comm, notNil(exe), notNil(container), k.last/1e6).Scan(&k.id); err != nil {
			return err
		}
	}
	type pair struct {
		asker, tuple int64
		*seen
	}
	var pairs []pair
	for len(rows) > 0 {
		n, sum := 0, *rows[0].seen
		for n = 1; n < len(rows) && same(&rows[0], &rows[n]) == 0; n++ {
			s := rows[n].seen
			sum = seen{min(sum.first, s.first), max(sum.last, s.last), sum.count + s.count}
		}
		r := &rows[0]
		var to any
		if r.target != "" {
			to = w.names[r.target]
		}
		var id int64
		err := tuple.QueryRowContext(w.ctx, w.names[r.name], int(r.typ), []byte(r.rdata), w.names[r.bailiwick], sensorID, to, sum.first/1e6, sum.last/1e6, sum.count).Scan(&id)
		if err != nil {
			return err
		}
		for i := range rows[:n] {
			if rows[i].who != nobody {
				pairs = append(pairs, pair{askers[rows[i].who].id, id, rows[i].seen})
			}
		}
		rows = rows[n:]
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		if a.asker != b.asker {
			return int(a.asker - b.asker)
		}
		return int(a.tuple - b.tuple)
	})
	for _, p := range pairs {
		if _, err := asked.ExecContext(w.ctx, p.asker, p.tuple, p.first/1e6, p.last/1e6, p.count); err != nil {
			return err
		}
	}
	return nil
}

// nobody is what adder.add writes where the process is unknown.
const nobody = "\x00\x00"

func notNil(b []byte) []byte { return append([]byte{}, b...) }

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
	for key, n := range a.ranked {
		what := What(key[0])
		r := rank{what: 2 * int(what), start: int64(binary.BigEndian.Uint64([]byte(key[1:9]))) / hour}
		if what.isName() {
			r.id = w.names[key[9:]]
		} else {
			r.text = key[9:]
		}
		counts[r] += n.count
		r.what, r.start = r.what+1, r.start/24*24
		counts[r] += n.count
	}
	list := slices.SortedFunc(maps.Keys(counts), func(a, b rank) int {
		switch {
		case a.what != b.what:
			return a.what - b.what
		case a.start != b.start:
			return int(a.start - b.start)
		case a.id != b.id:
			return int(a.id - b.id)
		}
		return strings.Compare(a.text, b.text)
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
