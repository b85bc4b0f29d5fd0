package store

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"github.com/dnshark-io/dnshark/dnswire"
)

// writing is one aggregate on its way into the tables. Everything is written in the
// order of its keys: neighbours are then on one page.
type writing struct {
	ctx        context.Context
	tx         database
	statements []*sql.Stmt

	names  []name
	nameAt map[string]int32 // where in names a text is
	rows   []row

	find, put                 *sql.Stmt
	findCounted, putCounted   *sql.Stmt
	key                       []byte
	old, new                  []record
	addresses, targets, asked []link
	tuples                    int // more than there were
}

// begin empties all lists. Their memory is used again, after a crowd it is given back.
func (w *writing) begin(ctx context.Context, tx database) {
	if cap(w.rows) > 4*len(w.rows) {
		*w = writing{}
	}
	*w = writing{
		ctx: ctx, tx: tx, statements: w.statements[:0],
		names: w.names[:0], nameAt: w.nameAt, rows: w.rows[:0], key: w.key, old: w.old, new: w.new,
		addresses: w.addresses[:0], targets: w.targets[:0], asked: w.asked[:0],
	}
}

// close ends what the transaction needed.
func (w *writing) close() (err error) {
	for _, s := range w.statements {
		err = errors.Join(err, s.Close())
	}
	clear(w.nameAt) // texts are the aggregate's
	clear(w.names)
	clear(w.rows)
	return err
}

func (w *writing) prepare(text string) (*sql.Stmt, error) {
	s, err := w.tx.PrepareContext(w.ctx, text)
	if err == nil {
		w.statements = append(w.statements, s)
	}
	return s, err
}

// name is a name in the aggregate, in whatever place.
type name struct {
	text string
	seen // count: as question
	id   int64
}

// row is a tuple of an aggregate and who was told it. Names and askers are numbers in
// their lists: there may be hundreds of thousands of rows.
type row struct {
	rdata                  string // of A and AAAA the octets
	name, bailiwick, asker int32
	typ                    dnswire.Type
	seen
}

type who struct{ comm, exe, container string }

type asker struct {
	who
	last, id int64
}

func (w *writing) write(a *Aggregate) error {
	if w.nameAt == nil {
		w.nameAt = map[string]int32{}
	}
	w.names = append(w.names, name{}) // none
	for h := range a.Ranked {
		if h.What == Names {
			w.noteName(h.Value, seen{h.First, h.Last, h.Count}, h.Count)
		}
	}
	askers, askerAt := []asker{{}}, map[who]int32{{}: 0}
	for t := range a.Tuples {
		n := seen{t.First, t.Last, t.Count}
		r := row{rdata: t.RData, name: w.noteName(t.Name, n, 0), typ: t.Type, seen: n}
		if t.Bailiwick != "" {
			r.bailiwick = w.noteName(t.Bailiwick, n, 0)
		}
		if to := t.Target(); to != "" {
			w.noteName(to, n, 0)
		}
		if isAddress(r.typ) {
			if addr, err := netip.ParseAddr(r.rdata); err == nil {
				r.rdata = string(addr.AsSlice())
			}
		}
		p := who{t.Comm, t.Exe, t.Container}
		at, ok := askerAt[p]
		if !ok {
			at = int32(len(askers))
			askers, askerAt[p] = append(askers, asker{who: p}), at
		}
		r.asker, askers[at].last = at, max(askers[at].last, r.last)
		w.rows = append(w.rows, r)
	}
	if err := w.writeNames(); err != nil {
		return err
	}
	if err := w.writeTuples(a.Sensor, askers); err != nil {
		return err
	}
	return w.writeRanked(a)
}

// noteName returns the number of a name, which was count times a question.
func (w *writing) noteName(text string, n seen, count int64) int32 {
	n.count = count
	at, ok := w.nameAt[text]
	if !ok {
		at = int32(len(w.names))
		w.names, w.nameAt[text] = append(w.names, name{text: text, seen: n}), at
		return at
	}
	s := &w.names[at]
	switch {
	case s.count == 0 && count > 0: // first is when it was asked for
		s.first = n.first
	case s.count == 0 || count > 0:
		s.first = min(s.first, n.first)
	}
	s.last, s.count = max(s.last, n.last), s.count+count
	return at
}

// writeNames writes every name there is, and learns the ids.
func (w *writing) writeNames() error {
	// An update that says nothing of first leaves the index of that alone.
	again, err := w.prepare(`UPDATE name SET last = max(last, ?3), count = count + ?4 WHERE name = ?1
		AND (count > 0 AND ?4 = 0 OR first <= ?2 AND (count > 0) = (?4 > 0)) RETURNING id`)
	if err != nil {
		return err
	}
	upsert, err := w.prepare(`INSERT INTO name (name, first, last, count) VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET
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
	order := make([]int32, len(w.names)-1)
	for i := range order {
		order[i] = int32(i + 1)
	}
	slices.SortFunc(order, func(a, b int32) int { return strings.Compare(w.names[a].text, w.names[b].text) })
	type key struct {
		text []byte
		id   int64
	}
	var fresh []key
	for _, at := range order {
		n := &w.names[at]
		args := []any{[]byte(n.text), n.first, n.last, n.count}
		err := again.QueryRowContext(w.ctx, args...).Scan(&n.id)
		if errors.Is(err, sql.ErrNoRows) {
			err = upsert.QueryRowContext(w.ctx, args...).Scan(&n.id)
		}
		if err != nil {
			return err
		}
		if n.id > most {
			fresh = append(fresh, key{appendKey([]byte{}, n.text), n.id})
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

func (w *writing) writeTuples(sensor string, askers []asker) error {
	if len(w.rows) == 0 {
		return nil
	}
	var sensorID int64
	if err := w.tx.QueryRowContext(w.ctx, `INSERT INTO sensor (name) VALUES (?) ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING id`, []byte(sensor)).Scan(&sensorID); err != nil {
		return err
	}
	upsert, err := w.prepare(`INSERT INTO asker (comm, exe, container, last) VALUES (?, ?, ?, ?)
		ON CONFLICT (comm, exe, container) DO UPDATE SET last = max(last, excluded.last) RETURNING id`)
	if err != nil {
		return err
	}
	for i := range askers[1:] {
		k := &askers[1+i]
		if err := upsert.QueryRowContext(w.ctx, []byte(k.comm), []byte(k.exe), []byte(k.container), k.last).Scan(&k.id); err != nil {
			return err
		}
	}
	if err := w.prepareRecords(); err != nil {
		return err
	}
	slices.SortFunc(w.rows, func(a, b row) int { return cmp.Compare(w.names[a.name].id, w.names[b.name].id) })
	var records []record
	for rows := w.rows; len(rows) > 0; {
		owner := rows[0].name
		records = records[:0]
		for len(rows) > 0 && rows[0].name == owner {
			r := &rows[0]
			records = append(records, record{r.typ, r.rdata, w.names[r.bailiwick].id, sensorID, askers[r.asker].id, r.seen})
			rows = rows[1:]
		}
		slices.SortFunc(records, func(a, b record) int { return a.compare(&b) })
		if err := w.writeRecords(w.names[owner].id, records); err != nil {
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
	} else if at := w.nameAt[target(r.typ, r.rdata)]; at != 0 {
		w.targets = append(w.targets, link{id: w.names[at].id, name: name})
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

// rank is a row of ranked, or of counted in the making.
type rank struct {
	what  int
	start int64
	counts
	text string // where it is no name's id
}

func (r *rank) compare(o *rank) int {
	return cmp.Or(cmp.Compare(r.what, o.what), cmp.Compare(r.start, o.start), cmp.Compare(r.id, o.id), strings.Compare(r.text, o.text))
}

func (w *writing) writeRanked(a *Aggregate) error {
	upsert, err := w.prepare(`INSERT INTO ranked (what, start, value, count) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count`)
	if err == nil {
		err = w.prepareCounted()
	}
	if err != nil {
		return err
	}
	list := make([]rank, 0, 2*len(a.ranked.entries))
	for h := range a.Ranked {
		r := rank{what: 2 * int(h.What), start: h.Start / hour, counts: counts{count: h.Count}}
		if h.What.isName() {
			r.id = w.names[w.nameAt[h.Value]].id
		} else {
			r.text = h.Value
		}
		list = append(list, r)
		r.what, r.start = r.what+1, r.start/24*24
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b rank) int { return a.compare(&b) })
	for len(list) > 0 {
		first, names := list[0], []counts(nil)
		for ; len(list) > 0 && list[0].id != 0 && list[0].what == first.what && list[0].start == first.start; list = list[1:] {
			names = append(names, list[0].counts)
		}
		if len(names) > 0 {
			if err := w.writeCounted(first.what, first.start, names); err != nil {
				return err
			}
			continue
		}
		for list = list[1:]; len(list) > 0 && list[0].compare(&first) == 0; list = list[1:] {
			first.count += list[0].count
		}
		if _, err := upsert.ExecContext(w.ctx, first.what, first.start, []byte(first.text), first.count); err != nil {
			return err
		}
	}
	return nil
}
