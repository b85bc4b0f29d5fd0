// Duckdb measures DuckDB: an appender fills a staging table, which is upserted into a
// table with a primary key. ART indices serve the look-ups.
package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"path/filepath"

	"github.com/duckdb/duckdb-go/v2"

	"github.com/dnshark-io/dnshark/bench/engines/internal/load"
	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/internal/store"
)

func main() { load.Main(open) }

const columns = `name VARCHAR, key VARCHAR, type USMALLINT, rdata VARCHAR, bailiwick VARCHAR, sensor VARCHAR, asker VARCHAR,
	first BIGINT, last BIGINT, count BIGINT`

// Column stores keep texts in dictionaries: numbers in their place would save nothing.
var schema = []string{
	`SET memory_limit = '512MB'`,
	`SET threads = 2`,
	`CREATE TABLE IF NOT EXISTS tuple (` + columns + `, PRIMARY KEY (name, type, rdata, bailiwick, sensor, asker))`,
	`CREATE INDEX IF NOT EXISTS by_name ON tuple (name)`,
	`CREATE INDEX IF NOT EXISTS by_key ON tuple (key)`,
	`CREATE INDEX IF NOT EXISTS by_rdata ON tuple (rdata)`,
	`CREATE TEMP TABLE staging (` + columns + `)`,
}

type engine struct {
	db                                   *sql.DB
	conn                                 *sql.Conn
	byName, byBelow, byPrefix, byAddress *sql.Stmt
}

const selected = `SELECT name, type, rdata, bailiwick, sensor, min(first), max(last), sum(count)::BIGINT FROM tuple WHERE `

const grouped = ` GROUP BY name, type, rdata, bailiwick, sensor`

func open(dir string) (load.Engine, error) {
	db, err := sql.Open("duckdb", filepath.Join(dir, "history.duckdb"))
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	conn, err := db.Conn(ctx) // temporary tables are a connection's
	if err != nil {
		return nil, err
	}
	for _, text := range schema {
		if _, err := conn.ExecContext(ctx, text); err != nil {
			return nil, err
		}
	}
	e := &engine{db: db, conn: conn}
	for s, text := range map[**sql.Stmt]string{
		&e.byName:    selected + `name = ?` + grouped,
		&e.byBelow:   selected + `key >= ? AND key < ?` + grouped,
		&e.byPrefix:  selected + `name >= ? AND name < ?` + grouped,
		&e.byAddress: selected + `rdata = ? AND type IN (1, 28)` + grouped,
	} {
		if *s, err = conn.PrepareContext(ctx, text); err != nil {
			return nil, err
		}
	}
	return e, nil
}

func (e *engine) Write(ctx context.Context, a *store.Aggregate) error {
	tx, err := e.conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	err = e.conn.Raw(func(c any) error {
		to, err := duckdb.NewAppender(c.(driver.Conn), "temp", "", "staging")
		if err != nil {
			return err
		}
		for _, r := range load.Rows(a) {
			err := to.AppendRow(r.Name, string(r.Key), uint16(r.Type), r.Seen.RData, r.Bailiwick, r.Sensor, r.Asker(), r.First, r.Last, r.Count)
			if err != nil {
				return err
			}
		}
		return to.Close()
	})
	if err != nil {
		return err
	}
	for _, text := range []string{
		`INSERT INTO tuple SELECT * FROM staging ON CONFLICT DO UPDATE SET
			first = least(first, excluded.first), last = greatest(last, excluded.last), count = count + excluded.count`,
		`DELETE FROM staging`,
	} {
		if _, err := tx.ExecContext(ctx, text); err != nil {
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
		rows, err = e.byAddress.QueryContext(ctx, q.Net.Addr().String())
	case q.Wild == store.Left:
		key := store.Key(q.Text)
		rows, err = e.byBelow.QueryContext(ctx, string(key), string(load.Below(key)))
	case q.Wild == store.Right:
		rows, err = e.byPrefix.QueryContext(ctx, q.Text+".", q.Text+"/")
	default:
		rows, err = e.byName.QueryContext(ctx, q.Text)
	}
	if err != nil {
		return false, err
	}
	defer rows.Close()
	for rows.Next() {
		var t store.Tuple
		var typ uint16
		if err := rows.Scan(&t.Name, &typ, &t.RData, &t.Bailiwick, &t.Sensor, &t.First, &t.Last, &t.Count); err != nil {
			return false, err
		}
		t.Type = dnswire.Type(typ)
		if err := f(&t); err != nil {
			return false, err
		}
	}
	return false, rows.Err()
}

func (e *engine) Close() error {
	_, err := e.conn.ExecContext(context.Background(), `CHECKPOINT`)
	// What is open keeps the database, and who opens that again waits for ever.
	for _, s := range []*sql.Stmt{e.byName, e.byBelow, e.byPrefix, e.byAddress} {
		err = errors.Join(err, s.Close())
	}
	return errors.Join(err, e.conn.Close(), e.db.Close())
}
