package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	_ "modernc.org/sqlite" // the driver
)

// migrations make the schema: the version in the file's user_version is how many
// of them it has had. A migration that was released is never changed.
//
// Schema 1 had texts where schema 2 has ids: names, sensors, who asked. Schema 2 had a
// row for each tuple and one for each that asked, where schema 3 has records.go.
//
// Octets that are compared as a range are blobs; so no collation and no LIKE ever
// reads what came from the wire.
var migrations = []migration{{text: `
CREATE TABLE tuple (
	id INTEGER PRIMARY KEY,
	key BLOB NOT NULL,        -- labels of the owner name, the last one first: see appendKey
	name BLOB NOT NULL,
	type INTEGER NOT NULL,
	rdata BLOB NOT NULL,
	bailiwick BLOB NOT NULL,
	sensor BLOB NOT NULL,
	ip BLOB,                  -- 16 octets, IPv4 mapped
	target BLOB,              -- the name in the RDATA
	target_key BLOB,
	first INTEGER NOT NULL,   -- ns since the Unix epoch
	last INTEGER NOT NULL,
	count INTEGER NOT NULL,
	UNIQUE (key, type, rdata, bailiwick, sensor)
);
CREATE INDEX tuple_name ON tuple (name);
CREATE INDEX tuple_ip ON tuple (ip) WHERE ip IS NOT NULL;
CREATE INDEX tuple_target ON tuple (target) WHERE target IS NOT NULL;
CREATE INDEX tuple_target_key ON tuple (target_key) WHERE target_key IS NOT NULL;
CREATE INDEX tuple_last ON tuple (last);
CREATE TABLE who (
	tuple INTEGER NOT NULL,
	comm BLOB NOT NULL,
	exe BLOB NOT NULL,
	container BLOB NOT NULL,
	first INTEGER NOT NULL,
	last INTEGER NOT NULL,
	count INTEGER NOT NULL,
	PRIMARY KEY (tuple, comm, exe, container)
) WITHOUT ROWID;
CREATE INDEX who_comm ON who (comm);
CREATE INDEX who_exe ON who (exe);
CREATE INDEX who_container ON who (container) WHERE container != x'';
CREATE TABLE name (
	name BLOB PRIMARY KEY,
	first INTEGER NOT NULL,
	last INTEGER NOT NULL,
	count INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX name_first ON name (first);
CREATE INDEX name_last ON name (last);
CREATE TABLE ranked (
	span INTEGER NOT NULL,    -- 0: an hour, 1: a day
	what INTEGER NOT NULL,
	start INTEGER NOT NULL,   -- ns since the Unix epoch
	value BLOB NOT NULL,
	count INTEGER NOT NULL,
	PRIMARY KEY (span, what, start, value)
) WITHOUT ROWID;
CREATE INDEX ranked_start ON ranked (start);
`}, {before: `
ALTER TABLE tuple RENAME TO tuple1;
ALTER TABLE who RENAME TO who1;
ALTER TABLE name RENAME TO name1;
ALTER TABLE ranked RENAME TO ranked1;
DROP INDEX tuple_name; DROP INDEX tuple_ip; DROP INDEX tuple_target; DROP INDEX tuple_target_key; DROP INDEX tuple_last;
DROP INDEX who_comm; DROP INDEX who_exe; DROP INDEX who_container; DROP INDEX name_first; DROP INDEX name_last; DROP INDEX ranked_start;
`, text: `
-- Times are ns since the Unix epoch. Ids are never given again, so what is left
-- of something that was removed is nobody's.
CREATE TABLE name (
	id INTEGER PRIMARY KEY AUTOINCREMENT,
	name BLOB NOT NULL UNIQUE,
	first INTEGER NOT NULL,   -- as question; without one, of what has the name
	last INTEGER NOT NULL,
	count INTEGER NOT NULL    -- as question
);
CREATE INDEX name_first ON name (first);
CREATE TABLE below (
	key BLOB PRIMARY KEY,     -- labels, the last one first: see appendKey
	name INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE sensor (
	id INTEGER PRIMARY KEY,
	name BLOB NOT NULL UNIQUE
);
CREATE TABLE tuple (
	id INTEGER PRIMARY KEY AUTOINCREMENT,
	name INTEGER NOT NULL,    -- the owner's
	type INTEGER NOT NULL,
	rdata BLOB NOT NULL,      -- text; of A and AAAA the octets
	bailiwick INTEGER NOT NULL, -- a name, 0: none
	sensor INTEGER NOT NULL,
	target INTEGER,           -- the name in the RDATA
	first INTEGER NOT NULL,
	last INTEGER NOT NULL,
	count INTEGER NOT NULL,
	UNIQUE (name, type, rdata, bailiwick, sensor)
);
CREATE INDEX tuple_address ON tuple (rdata) WHERE type IN (1, 28);
CREATE INDEX tuple_target ON tuple (target) WHERE target IS NOT NULL;
CREATE TABLE asker (
	id INTEGER PRIMARY KEY AUTOINCREMENT,
	comm BLOB NOT NULL,
	exe BLOB NOT NULL,
	container BLOB NOT NULL,
	last INTEGER NOT NULL,
	UNIQUE (comm, exe, container)
);
CREATE INDEX asker_exe ON asker (exe);
CREATE INDEX asker_container ON asker (container) WHERE container != x'';
CREATE TABLE asked (
	asker INTEGER NOT NULL,
	tuple INTEGER NOT NULL,
	first INTEGER NOT NULL,
	last INTEGER NOT NULL,
	count INTEGER NOT NULL,
	PRIMARY KEY (asker, tuple)
) WITHOUT ROWID;
CREATE TABLE ranked (
	what INTEGER NOT NULL,    -- twice the What, and 1 for a day
	start INTEGER NOT NULL,   -- hours since the Unix epoch
	value NOT NULL,           -- a name's id, or text
	count INTEGER NOT NULL,
	PRIMARY KEY (what, start, value)
) WITHOUT ROWID;
`, convert: convert1, after: `
DROP TABLE tuple1; DROP TABLE who1; DROP TABLE name1; DROP TABLE ranked1;
`}, {before: `
ALTER TABLE tuple RENAME TO tuple2;
ALTER TABLE asked RENAME TO asked2;
DROP INDEX tuple_address; DROP INDEX tuple_target;
`, text: `
CREATE TABLE records (
	name INTEGER NOT NULL,    -- the owner's
	low BLOB NOT NULL,        -- see part
	tuples INTEGER NOT NULL,
	data BLOB NOT NULL,
	PRIMARY KEY (name, low)
) WITHOUT ROWID;
CREATE TABLE counted (
	what INTEGER NOT NULL,    -- as in ranked, which has all but names
	start INTEGER NOT NULL,
	low INTEGER NOT NULL,     -- the first id
	data BLOB NOT NULL,
	PRIMARY KEY (what, start, low)
) WITHOUT ROWID;
CREATE TABLE total (
	tuples INTEGER NOT NULL
);
INSERT INTO total VALUES (0);
CREATE TABLE address (
	address BLOB NOT NULL,    -- 4 or 16 octets
	name INTEGER NOT NULL,    -- that has it
	PRIMARY KEY (address, name)
) WITHOUT ROWID;
CREATE TABLE target (
	target INTEGER NOT NULL,  -- the name in the RDATA
	name INTEGER NOT NULL,
	PRIMARY KEY (target, name)
) WITHOUT ROWID;
CREATE TABLE asked (
	asker INTEGER NOT NULL,
	name INTEGER NOT NULL,
	PRIMARY KEY (asker, name)
) WITHOUT ROWID;
`, convert: convert2, after: `
DROP TABLE tuple2; DROP TABLE asked2;
`}}

// migration is one step: what was there is put aside, tables are made, filled, and
// what was put aside is dropped.
type migration struct {
	before, text, after string
	convert             func(*sql.Tx) error
}

// convert1 fills the tables of schema 2 out of those of schema 1.
func convert1(tx *sql.Tx) error {
	names, err := tx.Query(`SELECT name, coalesce(min(CASE WHEN count > 0 THEN first END), min(first)), max(last), sum(count) FROM (
		SELECT name, first, last, count FROM name1
		UNION ALL SELECT name, first, last, 0 FROM tuple1
		UNION ALL SELECT target, first, last, 0 FROM tuple1 WHERE target IS NOT NULL
		UNION ALL SELECT bailiwick, first, last, 0 FROM tuple1 WHERE bailiwick != x''
		) GROUP BY name`)
	if err != nil {
		return err
	}
	defer names.Close()
	for names.Next() {
		var name []byte
		var first, last, count int64
		if err := names.Scan(&name, &first, &last, &count); err != nil {
			return err
		}
		if _, err := tx.Exec(`INSERT INTO name (name, first, last, count) VALUES (?, ?, ?, ?)`, name, first, last, count); err != nil {
			return err
		}
		if _, err := tx.Exec(`INSERT INTO below SELECT ?, id FROM name WHERE name = ?`, appendKey([]byte{}, string(name)), name); err != nil {
			return err
		}
	}
	if err := names.Err(); err != nil {
		return err
	}
	_, err = tx.Exec(`
INSERT INTO sensor (name) SELECT DISTINCT sensor FROM tuple1;
INSERT INTO tuple SELECT t.id, n.id, t.type, CASE WHEN t.type = 1 AND t.ip IS NOT NULL THEN substr(t.ip, 13) ELSE coalesce(t.ip, t.rdata) END,
	coalesce(b.id, 0), s.id, g.id, t.first, t.last, t.count
	FROM tuple1 t JOIN name n ON n.name = t.name JOIN sensor s ON s.name = t.sensor
	LEFT JOIN name b ON b.name = t.bailiwick AND t.bailiwick != x'' LEFT JOIN name g ON g.name = t.target;
INSERT INTO asker (comm, exe, container, last) SELECT comm, exe, container, max(last) FROM who1 GROUP BY comm, exe, container;
INSERT INTO asked SELECT a.id, w.tuple, w.first, w.last, w.count FROM who1 w JOIN asker a USING (comm, exe, container);
INSERT INTO ranked SELECT r.what*2 + r.span, r.start/3600000000000, CASE WHEN r.what IN (0, 5) THEN n.id ELSE r.value END, r.count
	FROM ranked1 r LEFT JOIN name n ON r.what IN (0, 5) AND n.name = r.value
	WHERE r.what NOT IN (0, 5) OR n.id IS NOT NULL`)
	return err
}

// convert2 fills the tables of schema 3 out of those of schema 2.
func convert2(tx *sql.Tx) error {
	rows, err := tx.Query(`SELECT t.id, t.name, t.type, t.rdata, t.bailiwick, t.sensor, t.first, t.last, t.count,
		coalesce(a.asker, 0), coalesce(a.first, 0), coalesce(a.last, 0), coalesce(a.count, 0)
		FROM tuple2 t LEFT JOIN asked2 a ON a.tuple = t.id ORDER BY t.name, t.id`)
	if err != nil {
		return err
	}
	defer rows.Close()
	w := &writing{ctx: context.Background(), tx: tx}
	defer w.close()
	if err := w.prepareRecords(); err != nil {
		return err
	}
	var list []record
	var owner, tuple int64
	rest := record{} // what nobody known asked for
	ended := func() {
		if tuple != 0 && (rest.count > 0 || len(list) == 0 || !list[len(list)-1].sameTuple(&rest)) {
			list = append(list, rest)
		}
	}
	flush := func() error {
		slices.SortFunc(list, func(a, b record) int { return a.compare(&b) })
		err := w.writeRecords(owner, list)
		list = list[:0]
		return err
	}
	for rows.Next() {
		var r record
		var id, name int64
		var asker record
		if err := rows.Scan(&id, &name, &r.typ, &r.rdata, &r.bailiwick, &r.sensor, &r.first, &r.last, &r.count, &asker.asker, &asker.first, &asker.last, &asker.count); err != nil {
			return err
		}
		if id != tuple {
			ended()
			if name != owner {
				if err := flush(); err != nil {
					return err
				}
			}
			owner, tuple, rest = name, id, r
		}
		if asker.asker != 0 {
			told := r
			told.asker, told.seen = asker.asker, asker.seen
			list = append(list, told)
			rest.count -= asker.count
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	ended()
	if err := flush(); err != nil {
		return err
	}
	if err := w.finishRecords(); err != nil {
		return err
	}
	if _, err := tx.Exec(`INSERT OR IGNORE INTO target SELECT target, name FROM tuple2 WHERE target IS NOT NULL`); err != nil {
		return err
	}
	return convertRanked2(w)
}

// convertRanked2 packs how often names were asked for.
func convertRanked2(w *writing) error {
	if err := w.prepareCounted(); err != nil {
		return err
	}
	rows, err := w.tx.QueryContext(w.ctx, `SELECT what, start, value, count FROM ranked WHERE what / 2 IN (?, ?) ORDER BY what, start, value`, Names, NXDomain)
	if err != nil {
		return err
	}
	defer rows.Close()
	var what, start int64
	var list []counts
	for rows.Next() {
		var ofWhat, ofStart int64
		var c counts
		if err := rows.Scan(&ofWhat, &ofStart, &c.id, &c.count); err != nil {
			return err
		}
		if ofWhat != what || ofStart != start {
			if err := w.writeCounted(int(what), start, list); err != nil {
				return err
			}
			what, start, list = ofWhat, ofStart, list[:0]
		}
		list = append(list, c)
	}
	if err := errors.Join(rows.Err(), w.writeCounted(int(what), start, list)); err != nil {
		return err
	}
	_, err = w.tx.ExecContext(w.ctx, `DELETE FROM ranked WHERE what / 2 IN (?, ?)`, Names, NXDomain)
	return err
}

// FileName is the file in the directory of a store.
const FileName = "history.db"

// clockName is the file of its clock.
const clockName = "history.clock"

// Options says how much a store keeps.
type Options struct {
	Age    time.Duration // what was not seen for so long is removed; 0: any
	Octets int64         // of the file, about; 0: any
}

type sqlite struct {
	db      *sql.DB
	options Options
	removed time.Time // when something old was looked for
	clock   *Clock
	sweep   sweep
	writing writing // by one at a time
}

// Open opens the store in dir for writing, and makes both when they do not exist.
func Open(dir string, o Options) (Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, FileName)
	// What processes asked is not for everybody.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	f.Close()
	// What it sets aside stays in memory: the sandbox lets it make files here alone.
	// A crash of the program loses nothing that was committed; one of the machine
	// may lose the last seconds (synchronous=normal).
	db, err := open(path, "rwc", "auto_vacuum(incremental)", "journal_mode(wal)", "synchronous(normal)", "temp_store(memory)", "busy_timeout(10000)", "cache_size(-32000)", "journal_size_limit(67108864)")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	if err := migrate(db); err != nil {
		db.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var last int64
	if err := db.QueryRow(`SELECT coalesce(max(last), 0) FROM name`).Scan(&last); err != nil {
		db.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var newest time.Time
	if last > 0 {
		newest = time.Unix(0, last)
	}
	return &sqlite{db: db, options: o, clock: NewClock(filepath.Join(dir, clockName), newest)}, nil
}

// OpenReader opens a store that exists, for look-ups alone.
func OpenReader(dir string) (Store, error) {
	path := filepath.Join(dir, FileName)
	if _, err := os.Stat(path); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("%s holds no history; dnshark --store %s makes one", dir, dir)
		}
		return nil, err
	}
	db, err := open(path, "ro", "query_only(true)", "busy_timeout(5000)", "cache_size(-16000)", "temp_store(memory)")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(4)
	version, err := schemaVersion(db)
	if err == nil && version != len(migrations) {
		err = versionError(version)
	}
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &sqlite{db: db}, nil
}

func open(path, mode string, pragmas ...string) (*sql.DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	query := url.Values{"mode": {mode}, "_pragma": pragmas, "_txlock": {"immediate"}}
	return sql.Open("sqlite", (&url.URL{Scheme: "file", Path: abs, RawQuery: query.Encode()}).String())
}

func schemaVersion(db *sql.DB) (version int, err error) {
	return version, db.QueryRow("PRAGMA user_version").Scan(&version)
}

func versionError(version int) error {
	if version == 0 {
		return errors.New("the history is still being made; try again")
	}
	if version > len(migrations) {
		return fmt.Errorf("a newer dnshark wrote it: schema %d, this one knows %d", version, len(migrations))
	}
	return fmt.Errorf("schema %d is older than %d; writing with dnshark --store brings it up to date", version, len(migrations))
}

func migrate(db *sql.DB) error {
	tx, err := db.Begin() // of two programs one migrates
	if err != nil {
		return err
	}
	defer tx.Rollback()
	var version int
	if err := tx.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	if version > len(migrations) {
		return versionError(version)
	}
	for _, m := range migrations[version:] {
		if _, err := tx.Exec(m.before + m.text); err != nil {
			return err
		}
		if m.convert == nil {
			continue
		}
		if err := m.convert(tx); err != nil {
			return err
		}
		if _, err := tx.Exec(m.after); err != nil {
			return err
		}
	}
	if _, err := tx.Exec(fmt.Sprintf("PRAGMA user_version = %d", len(migrations))); err != nil {
		return err
	}
	return tx.Commit()
}

func (s *sqlite) Close() error { return s.db.Close() }

func (s *sqlite) Write(ctx context.Context, a *Aggregate) error {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	// In a sql.Tx, or with a context that can end, every row that is read costs a goroutine.
	ctx = context.WithoutCancel(ctx)
	if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	w := &s.writing
	w.begin(ctx, conn)
	err = errors.Join(w.write(a), w.close())
	if err == nil && time.Since(s.removed) >= removeEvery {
		err = s.remove(ctx, conn)
	}
	if err == nil {
		_, err = conn.ExecContext(ctx, "COMMIT")
	}
	if err != nil {
		conn.ExecContext(ctx, "ROLLBACK") // a disk that is full may have done it already
	}
	return err
}

// database is a transaction, or a connection in one.
type database interface {
	PrepareContext(context.Context, string) (*sql.Stmt, error)
	ExecContext(context.Context, string, ...any) (sql.Result, error)
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
	QueryRowContext(context.Context, string, ...any) *sql.Row
}

// remove removes some of what is too old, or of what was not seen for longest
// where the file is too large. An index over when things were last seen would cost
// more than all else at each event, so tables are swept in the order of their ids.
func (s *sqlite) remove(ctx context.Context, tx database) error {
	s.removed = time.Now()
	w := &s.sweep
	if w.next == 0 {
		var err error
		if w.before, err = s.cutoff(ctx, tx); err != nil || w.before == 0 {
			return err
		}
		w.next = 1
	}
	var last int64
	if err := tx.QueryRowContext(ctx, `SELECT coalesce(max(id), 0) FROM name`).Scan(&last); err != nil {
		return err
	}
	end := w.next + sweepIDs
	if err := removeRecords(ctx, tx, w.before, w.next, end); err != nil {
		return err
	}
	if err := removeNames(ctx, tx, w.before, w.next, end); err != nil {
		return err
	}
	if w.next = end; w.next <= last {
		s.removed = time.Time{} // there is more
		return nil
	}
	w.next = 0
	if _, err := tx.ExecContext(ctx, `DELETE FROM asker WHERE last < ?`, w.before); err != nil {
		return err
	}
	for what := range 2 * int(numWhat) {
		for _, table := range []string{"ranked", "counted"} {
			if _, err := tx.ExecContext(ctx, `DELETE FROM `+table+` WHERE what = ? AND start < ?`, what, w.before/hour); err != nil {
				return err
			}
		}
	}
	_, err := tx.ExecContext(ctx, `PRAGMA incremental_vacuum(5000)`)
	return err
}

// removeNames removes names of these ids that were not seen since before, when all
// that refers to them is no younger.
func removeNames(ctx context.Context, tx database, before, from, to int64) error {
	rows, err := tx.QueryContext(ctx, `DELETE FROM name WHERE id >= ? AND id < ? AND last < ? RETURNING name`, from, to, before)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var name []byte
		if err := rows.Scan(&name); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM below WHERE key = ?`, appendKey([]byte{}, string(name))); err != nil {
			return err
		}
	}
	return rows.Err()
}

const (
	removeEvery = 10 * time.Second
	sweepIDs    = 20_000 // at once, so that a commit stays short
)

// sweep is what a search for old things is at.
type sweep struct {
	next   int64 // id, 0 between two searches
	before int64 // ns since the Unix epoch
}

// cutoff returns before which time things are removed, 0 when nothing is.
func (s *sqlite) cutoff(ctx context.Context, tx database) (before int64, err error) {
	if s.options.Age > 0 {
		before = s.clock.Now().Add(-s.options.Age).UnixNano()
	}
	octets, err := pagesInUse(ctx, tx)
	if err != nil || s.options.Octets == 0 || octets <= s.options.Octets {
		return before, err
	}
	// A tenth more than is too much goes.
	share := min(1, 1.1-float64(s.options.Octets)/float64(octets))
	var oldest int64
	err = tx.QueryRowContext(ctx, `SELECT coalesce(max(last), 0) FROM (SELECT last FROM name ORDER BY last LIMIT (SELECT max(1, CAST(count(*) * ? AS INTEGER)) FROM name))`, share).Scan(&oldest)
	return max(before, oldest+1), err
}

type queryer interface {
	QueryRowContext(context.Context, string, ...any) *sql.Row
}

func pagesInUse(ctx context.Context, q queryer) (octets int64, err error) {
	err = q.QueryRowContext(ctx, `SELECT (c.page_count - f.freelist_count) * s.page_size FROM pragma_page_count() c, pragma_freelist_count() f, pragma_page_size() s`).Scan(&octets)
	return octets, err
}

// Counts implements Store.
func (s *sqlite) Counts(ctx context.Context) (c Counts, err error) {
	if err = s.db.QueryRowContext(ctx, `SELECT (SELECT tuples FROM total), (SELECT count(*) FROM name WHERE count > 0)`).Scan(&c.Tuples, &c.Names); err == nil {
		c.Octets, err = pagesInUse(ctx, s.db)
	}
	return c, err
}

// Top implements Store. Whole days are counted by their own rows.
func (s *sqlite) Top(ctx context.Context, w What, r Range, n int) ([]Ranked, error) {
	since, until := r.Since/hour, r.Until/hour
	if r.Until == 0 {
		until = 1<<63 - 1
	}
	firstDay, lastDay := (since+23)/24*24, until/24*24 // whole days from one up to the other
	if firstDay >= lastDay {
		firstDay, lastDay = since, since
	}
	if w.isName() {
		return s.topNames(ctx, w, since, firstDay, lastDay, until, n)
	}
	return s.ranked(ctx, `SELECT value, sum(count) AS n, 0 FROM (
		SELECT value, count FROM ranked WHERE what = ?1 + 1 AND start >= ?3 AND start < ?4
		UNION ALL SELECT value, count FROM ranked WHERE what = ?1 AND start >= ?2 AND start < ?3
		UNION ALL SELECT value, count FROM ranked WHERE what = ?1 AND start >= ?4 AND start <= ?5
		) GROUP BY value ORDER BY n DESC, value LIMIT ?6`, 2*int(w), since, firstDay, lastDay, until, n)
}

// New implements Store.
func (s *sqlite) New(ctx context.Context, r Range, n int) ([]Ranked, error) {
	until := r.Until
	if until == 0 {
		until = 1<<63 - 1
	}
	return s.ranked(ctx, `SELECT name, count, first FROM name WHERE count > 0 AND first BETWEEN ? AND ? ORDER BY first DESC, name LIMIT ?`, r.Since, until, n)
}

func (s *sqlite) ranked(ctx context.Context, query string, args ...any) (list []Ranked, err error) {
	rows, err := s.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var r Ranked
		if err := rows.Scan(&r.Value, &r.Count, &r.First); err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, rows.Err()
}
