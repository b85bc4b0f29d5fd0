package store

import (
	"context"
	"slices"
)

// removeRecords removes what was last seen before a time from names of these ids. Of a
// tuple that was seen since, it forgets who asked before.
func removeRecords(ctx context.Context, tx database, before, from, to int64) error {
	return rewrite(ctx, tx, from, to, func(_ int64, list []record) []record {
		kept := list[:0:0]
		for len(list) > 0 {
			n, last := 1, list[0].last
			for ; n < len(list) && list[n].sameTuple(&list[0]); n++ {
				last = max(last, list[n].last)
			}
			tuple := list[:n]
			list = list[n:]
			if last < before {
				continue
			}
			at := len(kept)
			for i := range tuple {
				r := tuple[i]
				if r.last < before {
					r.asker = 0
				}
				if r.asker == 0 && len(kept) > at && kept[at].asker == 0 {
					kept[at].add(&r.seen)
				} else if r.asker == 0 {
					kept = slices.Insert(kept, at, r)
				} else {
					kept = append(kept, r)
				}
			}
		}
		return kept
	})
}

// rewrite gives each name of these ids with its records to f, which returns what
// stays, in order; it must leave the list it is given alone.
func rewrite(ctx context.Context, tx database, from, to int64, f func(name int64, list []record) []record) error {
	rows, err := tx.QueryContext(ctx, `SELECT name, tuples, data FROM records WHERE name >= ? AND name < ? ORDER BY name, low`, from, to)
	if err != nil {
		return err
	}
	defer rows.Close()
	var name, tuples int64
	var list []record
	type change struct {
		name, tuples  int64
		before, after []record
	}
	var changes []change
	ended := func() {
		if after := f(name, list); len(after) != len(list) || !slices.Equal(after, list) {
			changes = append(changes, change{name, tuples, list, after})
			list = nil
		}
		list, tuples = list[:0], 0
	}
	for rows.Next() {
		var id, n int64
		var data string
		if err := rows.Scan(&id, &n, &data); err != nil {
			return err
		}
		if id != name {
			ended()
			name = id
		}
		list, _ = unpack(list, data) // what cannot be read goes when something goes
		tuples += n
	}
	if err := rows.Err(); err != nil {
		return err
	}
	ended()
	for _, c := range changes {
		if err := replace(ctx, tx, c.name, c.tuples, c.before, c.after); err != nil {
			return err
		}
	}
	return nil
}

// replace puts what stays of a name's records in the place of what there was.
func replace(ctx context.Context, tx database, name, tuples int64, before, after []record) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM records WHERE name = ?`, name); err != nil {
		return err
	}
	if len(after) > 0 {
		for _, p := range pack(after, []byte{}) {
			if _, err := tx.ExecContext(ctx, `INSERT INTO records (name, low, tuples, data) VALUES (?, ?, ?, ?)`, name, p.low, p.tuples, p.data); err != nil {
				return err
			}
			tuples -= int64(p.tuples)
		}
	}
	if _, err := tx.ExecContext(ctx, `UPDATE total SET tuples = tuples - ?`, tuples); err != nil {
		return err
	}
	stays := linksOf(after)
	for l := range linksOf(before) {
		if stays[l] {
			continue
		}
		var err error
		switch {
		case l.asker != 0:
			_, err = tx.ExecContext(ctx, `DELETE FROM asked WHERE asker = ? AND name = ?`, l.asker, name)
		case l.target != "":
			_, err = tx.ExecContext(ctx, `DELETE FROM target WHERE target = (SELECT id FROM name WHERE name = ?) AND name = ?`, []byte(l.target), name)
		default:
			_, err = tx.ExecContext(ctx, `DELETE FROM address WHERE address = ? AND name = ?`, []byte(l.address), name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// found by: one of the three.
type foundBy struct {
	address, target string
	asker           int64
}

func linksOf(list []record) map[foundBy]bool {
	all := map[foundBy]bool{}
	for i := range list {
		r := &list[i]
		if r.asker != 0 {
			all[foundBy{asker: r.asker}] = true
		}
		if isAddress(r.typ) {
			all[foundBy{address: r.rdata}] = true
		} else if t := target(r.typ, r.rdata); t != "" {
			all[foundBy{target: t}] = true
		}
	}
	return all
}
