package store

import (
	"bytes"
	"cmp"
	"container/heap"
	"context"
	"database/sql"
	"net/netip"
	"slices"
	"strings"

	"github.com/dnshark-io/dnshark/dnswire"
)

// Lookup implements Store. The database finds the names, by its indices; which of
// their records are wanted is seen here.
func (s *sqlite) Lookup(ctx context.Context, q *Query, f func(*Tuple) error) (more bool, err error) {
	if err := q.Check(); err != nil {
		return false, err
	}
	limit := q.Limit
	if limit <= 0 {
		limit = DefaultLimit
	}
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return false, err
	}
	defer tx.Rollback()
	l := &lookup{ctx: ctx, tx: tx, q: q, newest: newest{most: limit + q.Offset + 1}}
	if err := l.prepare(); err != nil {
		return false, err
	}
	if err := l.read(); err != nil {
		return false, err
	}
	list := l.newest.list
	slices.SortFunc(list, func(a, b found) int { return a.compare(&b) })
	list = list[min(q.Offset, len(list)):]
	if more = len(list) > limit; more {
		list = list[:limit]
	}
	// Texts are looked up for what is shown alone.
	texts := map[string]map[int64]string{"name": {0: ""}, "sensor": {}}
	statements := map[string]*sql.Stmt{}
	for table := range texts {
		if statements[table], err = tx.PrepareContext(ctx, `SELECT name FROM `+table+` WHERE id = ?`); err != nil {
			return false, err
		}
		defer statements[table].Close()
	}
	text := func(table string, id int64) string {
		t, ok := texts[table][id]
		if !ok {
			// A name that was removed since is nobody's.
			statements[table].QueryRowContext(ctx, id).Scan(&t)
			texts[table][id] = t
		}
		return t
	}
	for i := range list {
		r := &list[i]
		t := Tuple{text("name", r.id), r.typ, r.rdata, text("name", r.bailiwick), text("sensor", r.sensor), r.first, r.last, r.count}
		if a, ok := netip.AddrFromSlice([]byte(r.rdata)); ok && isAddress(r.typ) {
			t.RData = a.String()
		}
		if err := f(&t); err != nil {
			return false, err
		}
	}
	return more, ctx.Err()
}

func isAddress(t dnswire.Type) bool { return t == dnswire.TypeA || t == dnswire.TypeAAAA }

type lookup struct {
	ctx context.Context
	tx  *sql.Tx
	q   *Query

	names string // SELECT of the ids of names
	args  []any

	low, high []byte         // of ByNet
	key       []byte         // of ByTarget with Left
	askers    map[int64]bool // of ByProcess and ByContainer
	bailiwick int64

	newest newest
}

// prepare makes the query for names.
func (l *lookup) prepare() error {
	q := l.q
	// Ids of names that a text with its wildcard means.
	named := func() string {
		switch q.Wild {
		case Left:
			if l.key = appendKey([]byte{}, q.Text); len(l.key) == 0 {
				return `SELECT id FROM name`
			}
			l.args = append(l.args, l.key, append(slices.Clone(l.key[:len(l.key)-1]), 1))
			return `SELECT name FROM below WHERE key >= ? AND key < ?`
		case Right:
			// The octet behind the dot is the slash.
			l.args = append(l.args, []byte(q.Text+"."), []byte(q.Text+"/"))
			return `SELECT id FROM name WHERE name >= ? AND name < ?`
		default:
			l.args = append(l.args, []byte(q.Text))
			return `SELECT id FROM name WHERE name = ?`
		}
	}
	switch q.By {
	case ByName:
		l.names = named()
	case ByTarget:
		l.names = `SELECT name FROM target WHERE target IN (` + named() + `)`
	case ByNet:
		low, high := q.Bounds()
		l.low, l.high = low[:], high[:]
		if q.Net.Addr().Is4() {
			l.low, l.high = low[12:], high[12:]
		}
		l.names = `SELECT name FROM address WHERE address BETWEEN ? AND ?`
		l.args = append(l.args, l.low, l.high)
	case ByProcess, ByContainer:
		if err := l.findAskers(); err != nil {
			return err
		}
	}
	l.bailiwick = -1
	if q.Bailiwick != "" {
		err := l.tx.QueryRowContext(l.ctx, `SELECT id FROM name WHERE name = ?`, []byte(q.Bailiwick)).Scan(&l.bailiwick)
		if err == sql.ErrNoRows {
			l.names, l.args = `SELECT 0`, nil
		} else if err != nil {
			return err
		}
	}
	return nil
}

func (l *lookup) findAskers() (err error) {
	where, args := `comm = ?`, []any{[]byte(l.q.Text)}
	switch {
	case l.q.By == ByContainer:
		where, args = `container != x'' AND container >= ? AND container < ?`, []any{[]byte(l.q.Text), []byte(l.q.Text + "\x7f")}
	case strings.Contains(l.q.Text, "/"):
		where = `exe = ?`
	}
	query := `SELECT id FROM asker WHERE ` + where
	l.names, l.args = `SELECT name FROM asked WHERE asker IN (`+query+`)`, args
	l.askers, err = ids(l.ctx, l.tx, query, args...)
	return err
}

func (l *lookup) query() string {
	return `SELECT name, data FROM records WHERE name IN (` + l.names + `) ORDER BY name, low`
}

// read reads the rows of those names. They come in order without being sorted, which would
// take them all into memory.
func (l *lookup) read() error {
	rows, err := l.tx.QueryContext(l.ctx, l.query(), l.args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	var now found
	var list []record
	for rows.Next() {
		var id int64
		var data string
		if err := rows.Scan(&id, &data); err != nil {
			return err
		}
		if list, err = unpack(list[:0], data); err != nil {
			return err
		}
		for i := range list {
			r := &list[i]
			if !l.wants(r) {
				continue
			}
			if now.id == id && now.sameTuple(r) {
				now.add(&r.seen)
				continue
			}
			l.ended(&now)
			now.id, now.record = id, *r
		}
	}
	l.ended(&now)
	return rows.Err()
}

// wants reports whether a record belongs to a tuple that is wanted.
func (l *lookup) wants(r *record) bool {
	switch {
	case l.q.Type != 0 && r.typ != l.q.Type:
		return false
	case l.bailiwick >= 0 && r.bailiwick != l.bailiwick:
		return false
	case l.askers != nil:
		return l.askers[r.asker]
	case l.low != nil:
		return isAddress(r.typ) && len(r.rdata) == len(l.low) && r.rdata >= string(l.low) && r.rdata <= string(l.high)
	case l.q.By == ByTarget:
		t := target(r.typ, r.rdata)
		switch l.q.Wild {
		case Left:
			return t != "" && bytes.HasPrefix(appendKey(nil, t), l.key)
		case Right:
			return strings.HasPrefix(t, l.q.Text+".")
		}
		return t == l.q.Text
	}
	return true
}

// ended looks at a tuple that is whole.
func (l *lookup) ended(t *found) {
	q := l.q
	within := func(at int64, r Range) bool {
		return (r.Since == 0 || at >= r.Since) && (r.Until == 0 || at <= r.Until)
	}
	if t.id != 0 && within(t.first, q.First) && within(t.last, q.Last) && within(t.last, Range{Since: q.Since}) && within(t.first, Range{Until: q.Until}) {
		l.newest.add(t)
	}
}

// found is a tuple.
type found struct {
	id int64 // of the owner
	record
}

// compare puts the newest first.
func (a *found) compare(b *found) int {
	if c := cmp.Compare(b.last, a.last); c != 0 {
		return c
	}
	if c := cmp.Compare(a.id, b.id); c != 0 {
		return c
	}
	return a.record.compare(&b.record)
}

// newest keeps the newest tuples; the oldest of them is on top.
type newest struct {
	most int
	list []found
}

func (h *newest) add(t *found) {
	if len(h.list) < h.most {
		heap.Push(h, *t)
	} else if t.compare(&h.list[0]) < 0 {
		h.list[0] = *t
		heap.Fix(h, 0)
	}
}

func (h *newest) Len() int           { return len(h.list) }
func (h *newest) Less(i, j int) bool { return h.list[i].compare(&h.list[j]) > 0 }
func (h *newest) Swap(i, j int)      { h.list[i], h.list[j] = h.list[j], h.list[i] }
func (h *newest) Push(x any)         { h.list = append(h.list, x.(found)) }
func (h *newest) Pop() any           { panic("nothing is taken out") }
