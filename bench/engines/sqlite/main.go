// Sqlite measures SQLite with a row for each tuple and asker, and its indices.
package main

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"path/filepath"

	_ "modernc.org/sqlite" // the driver

	"github.com/dnshark-io/dnshark/bench/engines/internal/load"
	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/internal/store"
)

func main() { load.Main(open) }

const schema = `
CREATE TABLE IF NOT EXISTS name (id INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE, key BLOB NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS text (id INTEGER PRIMARY KEY, text BLOB NOT NULL UNIQUE); -- sensors and askers
CREATE TABLE IF NOT EXISTS tuple (
	name INTEGER, type INTEGER, rdata BLOB, bailiwick INTEGER, sensor INTEGER, asker INTEGER,
	first INTEGER, last INTEGER, count INTEGER,
	PRIMARY KEY (name, type, rdata, bailiwick, sensor, asker)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS address ON tuple (rdata) WHERE type IN (1, 28);`

const selected = `SELECT n.name, t.type, t.rdata, coalesce(b.name, x''), s.text, min(t.first), max(t.last), sum(t.count)
	FROM tuple t JOIN name n ON n.id = t.name JOIN text s ON s.id = t.sensor LEFT JOIN name b ON b.id = t.bailiwick WHERE `

const grouped = ` GROUP BY t.name, t.type, t.rdata, t.bailiwick, t.sensor`

type engine struct {
	db                                           *sql.DB
	findName, addName, findText, addText, upsert *sql.Stmt
	byName, byBelow, byAddress                   *sql.Stmt
	texts                                        map[string]int64
}

func open(dir string) (load.Engine, error) {
	// What internal/store sets.
	query := url.Values{"_pragma": {"journal_mode(wal)", "synchronous(normal)", "cache_size(-32000)", "journal_size_limit(67108864)"}, "_txlock": {"immediate"}}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: filepath.Join(dir, "history.db"), RawQuery: query.Encode()}).String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(schema); err != nil {
		return nil, err
	}
	e := &engine{db: db, texts: map[string]int64{}}
	for s, text := range map[**sql.Stmt]string{
		&e.findName: `SELECT id FROM name WHERE name = ?`,
		&e.addName:  `INSERT INTO name (name, key) VALUES (?, ?) RETURNING id`,
		&e.findText: `SELECT id FROM text WHERE text = ?`,
		&e.addText:  `INSERT INTO text (text) VALUES (?) RETURNING id`,
		&e.upsert: `INSERT INTO tuple VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
			first = min(first, excluded.first), last = max(last, excluded.last), count = count + excluded.count`,
		&e.byName:    selected + `t.name IN (SELECT id FROM name WHERE name >= ? AND name < ?)` + grouped,
		&e.byBelow:   selected + `t.name IN (SELECT id FROM name WHERE key >= ? AND key < ?)` + grouped,
		&e.byAddress: selected + `t.type IN (1, 28) AND t.rdata = ?` + grouped,
	} {
		if *s, err = db.Prepare(text); err != nil {
			return nil, err
		}
	}
	return e, nil
}

func (e *engine) Write(ctx context.Context, a *store.Aggregate) (err error) {
	tx, err := e.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			clear(e.texts) // ids of what is not there
			tx.Rollback()
		}
	}()
	findName, addName, upsert := tx.StmtContext(ctx, e.findName), tx.StmtContext(ctx, e.addName), tx.StmtContext(ctx, e.upsert)
	number := func(find, add *sql.Stmt, text string, more ...any) (id int64, err error) {
		if err = find.QueryRow([]byte(text)).Scan(&id); errors.Is(err, sql.ErrNoRows) {
			err = add.QueryRow(append([]any{[]byte(text)}, more...)...).Scan(&id)
		}
		return id, err
	}
	text := func(t string) (int64, error) {
		id, ok := e.texts[t]
		if ok {
			return id, nil
		}
		id, err := number(tx.StmtContext(ctx, e.findText), tx.StmtContext(ctx, e.addText), t)
		if len(e.texts) >= 10_000 {
			clear(e.texts)
		}
		e.texts[t] = id
		return id, err
	}
	var name, bailiwick, sensor, asker int64
	var before string
	for _, r := range load.Rows(a) {
		if r.Name != before {
			if name, err = number(findName, addName, r.Name, r.Key); err != nil {
				return err
			}
			before = r.Name
		}
		if bailiwick = 0; r.Bailiwick != "" {
			if bailiwick, err = number(findName, addName, r.Bailiwick, store.Key(r.Bailiwick)); err != nil {
				return err
			}
		}
		if sensor, err = text(r.Sensor); err != nil {
			return err
		}
		if asker, err = text(r.Asker()); err != nil {
			return err
		}
		if _, err = upsert.Exec(name, int(r.Type), r.RData, bailiwick, sensor, asker, r.First, r.Last, r.Count); err != nil {
			return err
		}
	}
	return tx.Commit()
}

func (e *engine) Lookup(ctx context.Context, q *store.Query, f func(*store.Tuple) error) (bool, error) {
	var rows *sql.Rows
	var err error
	switch {
	case q.By == store.ByNet:
		rows, err = e.byAddress.QueryContext(ctx, q.Net.Addr().AsSlice())
	case q.Wild == store.Left:
		key := store.Key(q.Text)
		rows, err = e.byBelow.QueryContext(ctx, key, load.Below(key))
	case q.Wild == store.Right:
		rows, err = e.byName.QueryContext(ctx, []byte(q.Text+"."), []byte(q.Text+"/"))
	default:
		rows, err = e.byName.QueryContext(ctx, []byte(q.Text), []byte(q.Text+"\x00"))
	}
	if err != nil {
		return false, err
	}
	defer rows.Close()
	for rows.Next() {
		var t store.Tuple
		var typ int
		var rdata []byte
		if err := rows.Scan(&t.Name, &typ, &rdata, &t.Bailiwick, &t.Sensor, &t.First, &t.Last, &t.Count); err != nil {
			return false, err
		}
		t.Type, t.RData = dnswire.Type(typ), load.Text(typ, rdata)
		if err := f(&t); err != nil {
			return false, err
		}
	}
	return false, rows.Err()
}

func (e *engine) Close() error { return e.db.Close() }
