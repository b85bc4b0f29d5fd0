package store

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"slices"
)

// How often names were asked for in an hour or a day stands packed in the table counted: a
// row of ranked for each would take five times the room of all else. A row has the names with
// ids from low on up to the next row's low, as varints: the id, less the one before, and the
// count.

// maxCounted is how large a row becomes before it is parted.
const maxCounted = 3 << 10

// counts are of a name's id.
type counts struct{ id, count int64 }

func packCounts(list []counts) (data []byte) {
	before := int64(0)
	for _, c := range list {
		data = binary.AppendUvarint(data, uint64(c.id-before))
		data = binary.AppendUvarint(data, uint64(c.count))
		before = c.id
	}
	return data
}

// eachCount calls f for what is packed. It stops at damage.
func eachCount(data []byte, f func(id, count int64)) {
	id := int64(0)
	for len(data) > 0 {
		delta, n := binary.Uvarint(data)
		if n <= 0 {
			return
		}
		count, k := binary.Uvarint(data[n:])
		if k <= 0 {
			return
		}
		data = data[n+k:]
		id += int64(delta)
		f(id, int64(count))
	}
}

// writeCounted adds counts of one hour or day, in the order of their ids.
func (w *writing) writeCounted(what int, start int64, list []counts) error {
	for len(list) > 0 {
		var low, next sql.NullInt64
		var data sql.RawBytes
		var all []counts
		rows, err := w.findCounted.QueryContext(w.ctx, what, start, list[0].id)
		if err != nil {
			return err
		}
		if rows.Next() {
			if err = rows.Scan(&low, &data, &next); err == nil {
				eachCount(data, func(id, count int64) { all = append(all, counts{id, count}) })
			}
		}
		if err := errors.Join(err, rows.Err(), rows.Close()); err != nil {
			return err
		}
		here := len(list) // those before the next row
		if next.Valid {
			here, _ = slices.BinarySearchFunc(list, next.Int64, func(c counts, id int64) int { return cmp.Compare(c.id, id) })
		}
		all = append(all, list[:here]...)
		list = list[here:]
		slices.SortFunc(all, func(a, b counts) int { return cmp.Compare(a.id, b.id) })
		n := 0
		for _, c := range all { // the same id once
			if n > 0 && all[n-1].id == c.id {
				all[n-1].count += c.count
				continue
			}
			all[n] = c
			n++
		}
		all = all[:n]
		parts := 1
		if size := len(packCounts(all)); size > maxCounted {
			parts = (size + maxCounted*3/4 - 1) / (maxCounted * 3 / 4)
		}
		at := low.Int64
		for i := range parts {
			part := all[len(all)*i/parts : len(all)*(i+1)/parts]
			if i > 0 {
				at = part[0].id
			}
			if _, err := w.putCounted.ExecContext(w.ctx, what, start, at, packCounts(part)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *writing) prepareCounted() (err error) {
	if w.findCounted, err = w.prepare(`SELECT low, data, (SELECT min(low) FROM counted WHERE what = ?1 AND start = ?2 AND low > c.low)
		FROM counted c WHERE what = ?1 AND start = ?2 AND low <= ?3 ORDER BY low DESC LIMIT 1`); err != nil {
		return err
	}
	w.putCounted, err = w.prepare(`INSERT INTO counted (what, start, low, data) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET data = excluded.data`)
	return err
}

// topNames returns the n most frequent names. Whole days, from firstDay up to lastDay, are
// counted by their own rows.
func (s *sqlite) topNames(ctx context.Context, w What, since, firstDay, lastDay, until int64, n int) ([]Ranked, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT data FROM counted WHERE what = ?1 + 1 AND start >= ?3 AND start < ?4
		UNION ALL SELECT data FROM counted WHERE what = ?1 AND start >= ?2 AND start < ?3
		UNION ALL SELECT data FROM counted WHERE what = ?1 AND start >= ?4 AND start <= ?5`, 2*int(w), since, firstDay, lastDay, until)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	sums := map[int64]int64{}
	for rows.Next() {
		var data sql.RawBytes
		if err := rows.Scan(&data); err != nil {
			return nil, err
		}
		eachCount(data, func(id, count int64) { sums[id] += count })
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	list := make([]counts, 0, len(sums))
	for id, count := range sums {
		list = append(list, counts{id, count})
	}
	slices.SortFunc(list, func(a, b counts) int { return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(a.id, b.id)) })
	var top []Ranked
	for _, c := range list {
		// Of as many, all that are as frequent: then by their names.
		if len(top) >= n+100 || len(top) >= n && c.count < top[n-1].Count {
			break
		}
		r := Ranked{Count: c.count}
		err := s.db.QueryRowContext(ctx, `SELECT name FROM name WHERE id = ?`, c.id).Scan(&r.Value)
		if errors.Is(err, sql.ErrNoRows) {
			continue // removed since
		}
		if err != nil {
			return nil, err
		}
		top = append(top, r)
	}
	slices.SortStableFunc(top, func(a, b Ranked) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Value, b.Value)) })
	return top[:min(n, len(top))], nil
}
