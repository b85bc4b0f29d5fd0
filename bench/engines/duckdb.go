package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"path/filepath"

	"github.com/duckdb/duckdb-go/v2"
)

type duck struct {
	sqlite
	conn *sql.Conn
}

func openDuckDB(dir string) (engine, error) {
	db, err := sql.Open("duckdb", filepath.Join(dir, "db")+"?threads=2&memory_limit=1GB")
	if err != nil {
		return nil, err
	}
	if _, err := db.Exec(`
CREATE TABLE tuple (
	name VARCHAR, rname VARCHAR, type USMALLINT, rdata VARCHAR, bailiwick VARCHAR, sensor VARCHAR, asker VARCHAR,
	first BIGINT, last BIGINT, count BIGINT,
	PRIMARY KEY (name, type, rdata, bailiwick, sensor, asker));
CREATE TABLE staging AS FROM tuple;
CREATE INDEX tuple_rdata ON tuple (rdata);`); err != nil {
		return nil, err
	}
	conn, err := db.Conn(context.Background())
	return &duck{sqlite{db}, conn}, err
}

func (d *duck) write(group []row) error {
	if err := d.conn.Raw(func(conn any) error {
		a, err := duckdb.NewAppenderFromConn(conn.(driver.Conn), "", "staging")
		if err != nil {
			return err
		}
		for i := range group {
			r := &group[i]
			if err := a.AppendRow(r.name, reversed(r.name), r.typ, r.rdata, r.bailiwick, r.sensor, r.asker, r.first, r.last, r.count); err != nil {
				return err
			}
		}
		return a.Close()
	}); err != nil {
		return err
	}
	_, err := d.conn.ExecContext(context.Background(), `BEGIN;
INSERT INTO tuple FROM staging ON CONFLICT DO UPDATE SET first = least(first, excluded.first), last = greatest(last, excluded.last), count = count + excluded.count;
DELETE FROM staging;
COMMIT`)
	return err
}

func (d *duck) finish() error {
	_, err := d.conn.ExecContext(context.Background(), `CHECKPOINT`)
	return err
}

func (d *duck) close() error {
	if err := d.conn.Close(); err != nil {
		return err
	}
	return d.db.Close()
}
