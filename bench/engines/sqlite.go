package main

import (
	"database/sql"
	"path/filepath"

	_ "modernc.org/sqlite" // the driver
)

type sqlite struct{ db *sql.DB }

func openSQLite(dir string) (engine, error) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "db")+"?_pragma=journal_mode(wal)&_pragma=synchronous(normal)&_pragma=cache_size(-32000)")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	_, err = db.Exec(`
CREATE TABLE tuple (
	id INTEGER PRIMARY KEY, name TEXT, rname TEXT, type INTEGER, rdata TEXT, bailiwick TEXT, sensor TEXT, asker TEXT,
	first INTEGER, last INTEGER, count INTEGER,
	UNIQUE (name, type, rdata, bailiwick, sensor, asker));
CREATE INDEX tuple_rname ON tuple (rname);
CREATE INDEX tuple_rdata ON tuple (rdata);`)
	return &sqlite{db}, err
}

func (s *sqlite) write(group []row) error {
	tx, err := s.db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	upsert, err := tx.Prepare(`INSERT INTO tuple (name, rname, type, rdata, bailiwick, sensor, asker, first, last, count) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (name, type, rdata, bailiwick, sensor, asker) DO UPDATE SET first = min(first, excluded.first), last = max(last, excluded.last), count = count + excluded.count`)
	if err != nil {
		return err
	}
	defer upsert.Close()
	for i := range group {
		r := &group[i]
		if _, err := upsert.Exec(r.name, reversed(r.name), r.typ, r.rdata, r.bailiwick, r.sensor, r.asker, r.first, r.last, r.count); err != nil {
			return err
		}
	}
	return tx.Commit()
}

func (s *sqlite) finish() error {
	_, err := s.db.Exec(`PRAGMA wal_checkpoint(TRUNCATE)`)
	return err
}

const sums = `SELECT count(*), coalesce(sum(count), 0) FROM tuple WHERE `

func (s *sqlite) ask(where string, args ...any) (f found, err error) {
	err = s.db.QueryRow(sums+where, args...).Scan(&f.Tuples, &f.Count)
	return f, err
}

func (s *sqlite) name(name string) (found, error) { return s.ask(`name = ?`, name) }
func (s *sqlite) below(name string) (found, error) {
	return s.ask(`rname >= ? AND rname < ?`, reversed(name), after(reversed(name)))
}
func (s *sqlite) begins(text string) (found, error) {
	return s.ask(`name >= ? AND name < ?`, text+".", after(text+"."))
}
func (s *sqlite) address(text string) (found, error) { return s.ask(`rdata = ?`, text) }
func (s *sqlite) close() error                       { return s.db.Close() }
