package store

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	_ "modernc.org/sqlite" // the driver

	"github.com/dnshark-io/dnshark/dnswire"
)

// migrations make the schema: the version in the file's user_version is how many
// of them it has had. A migration that was released is never changed.
//
// Octets that are compared as a range are blobs; so no collation and no LIKE ever
// reads what came from the wire.
var migrations = []string{`
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
`}

const day = 24 * hour

// FileName is the file in the directory of a store.
const FileName = "history.db"

// Options says how much a store keeps.
type Options struct {
	Age    time.Duration // what was not seen for so long is removed; 0: any
	Octets int64         // of the file, about; 0: any
}

type sqlite struct {
	db      *sql.DB
	options Options
	removed time.Time // when something old was looked for
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
	// A crash of the program loses nothing that was committed; one of the machine
	// may lose the last seconds (synchronous=normal).
	db, err := open(path, "rwc", "auto_vacuum(incremental)", "journal_mode(wal)", "synchronous(normal)", "busy_timeout(10000)", "cache_size(-32000)", "journal_size_limit(67108864)")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	if err := migrate(db); err != nil {
		db.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &sqlite{db: db, options: o}, nil
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
	db, err := open(path, "ro", "query_only(true)", "busy_timeout(5000)", "cache_size(-16000)")
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
		if _, err := tx.Exec(m); err != nil {
			return err
		}
	}
	if _, err := tx.Exec(fmt.Sprintf("PRAGMA user_version = %d", len(migrations))); err != nil {
		return err
	}
	return tx.Commit()
}

func (s *sqlite) Close() error { return s.db.Close() }

// seenAgain is what an upsert does with what is there.
const seenAgain = ` DO UPDATE SET first = min(first, excluded.first), last = max(last, excluded.last), count = count + excluded.count`

func (s *sqlite) Write(ctx context.Context, a *Aggregate) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := writeTuples(ctx, tx, a); err != nil {
		return err
	}
	if err := writeRanked(ctx, tx, a); err != nil {
		return err
	}
	if time.Since(s.removed) >= removeEvery {
		if err := s.remove(ctx, tx); err != nil {
			return err
		}
	}
	return tx.Commit()
}

func writeTuples(ctx context.Context, tx *sql.Tx, a *Aggregate) error {
	tuple, err := tx.PrepareContext(ctx, `INSERT INTO tuple (key, name, type, rdata, bailiwick, sensor, ip, target, target_key, first, last, count)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key, type, rdata, bailiwick, sensor)`+seenAgain+` RETURNING id`)
	if err != nil {
		return err
	}
	defer tuple.Close()
	who, err := tx.PrepareContext(ctx, `INSERT INTO who (tuple, comm, exe, container, first, last, count)
		VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT`+seenAgain)
	if err != nil {
		return err
	}
	defer who.Close()
	sensor := []byte(a.Sensor)
	for key, n := range a.tuples {
		typ := dnswire.Type(binary.BigEndian.Uint16([]byte(key[:2])))
		f := strings.SplitN(key[2:], "\x00", 6) // as adder.add makes it
		name, rdata, bailiwick := f[0], f[1], f[2]
		var ip, to, toKey []byte
		if typ == dnswire.TypeA || typ == dnswire.TypeAAAA {
			if addr, err := netip.ParseAddr(rdata); err == nil {
				octets := addr.As16()
				ip = octets[:]
			}
		} else if t := target(typ, rdata); t != "" {
			to, toKey = []byte(t), appendKey(nil, t)
		}
		var id int64
		err := tuple.QueryRowContext(ctx, appendKey([]byte{}, name), []byte(name), int(typ), []byte(rdata), []byte(bailiwick), sensor, ip, to, toKey, n.first, n.last, n.count).Scan(&id)
		if err != nil {
			return err
		}
		if f[3] == "" && f[4] == "" && f[5] == "" {
			continue
		}
		if _, err := who.ExecContext(ctx, id, []byte(f[3]), []byte(f[4]), []byte(f[5]), n.first, n.last, n.count); err != nil {
			return err
		}
	}
	return nil
}

func writeRanked(ctx context.Context, tx *sql.Tx, a *Aggregate) error {
	ranked, err := tx.PrepareContext(ctx, `INSERT INTO ranked (span, what, start, value, count) VALUES (0, ?1, ?2, ?4, ?5), (1, ?1, ?3, ?4, ?5)
		ON CONFLICT DO UPDATE SET count = count + excluded.count`)
	if err != nil {
		return err
	}
	defer ranked.Close()
	name, err := tx.PrepareContext(ctx, `INSERT INTO name (name, first, last, count) VALUES (?, ?, ?, ?) ON CONFLICT`+seenAgain)
	if err != nil {
		return err
	}
	defer name.Close()
	for key, n := range a.ranked {
		what, start, value := What(key[0]), int64(binary.BigEndian.Uint64([]byte(key[1:9]))), []byte(key[9:])
		if _, err := ranked.ExecContext(ctx, int(what), start, start/day*day, value, n.count); err != nil {
			return err
		}
		if what == Names {
			if _, err := name.ExecContext(ctx, value, n.first, n.last, n.count); err != nil {
				return err
			}
		}
	}
	return nil
}

const (
	removeEvery = 10 * time.Second
	removeRows  = 5000 // of a table, at once: so a commit stays short
)

// remove removes some of what is too old, or of what was not seen for longest
// where the file is too large.
func (s *sqlite) remove(ctx context.Context, tx *sql.Tx) error {
	before := int64(0)
	if s.options.Age > 0 {
		before = time.Now().Add(-s.options.Age).UnixNano()
	}
	octets, err := pagesInUse(ctx, tx)
	if err != nil {
		return err
	}
	large := s.options.Octets > 0 && octets > s.options.Octets
	if large {
		before = 1<<63 - 1
	}
	s.removed = time.Now()
	if before == 0 {
		return nil
	}
	var rows int64
	for _, q := range []string{
		`DELETE FROM who WHERE tuple IN (SELECT id FROM tuple WHERE last < ? ORDER BY last LIMIT ?)`,
		`DELETE FROM tuple WHERE id IN (SELECT id FROM tuple WHERE last < ? ORDER BY last LIMIT ?)`,
		`DELETE FROM name WHERE name IN (SELECT name FROM name WHERE last < ? ORDER BY last LIMIT ?)`,
		`DELETE FROM ranked WHERE (span, what, start, value) IN (SELECT span, what, start, value FROM ranked WHERE start < ? ORDER BY start LIMIT ?)`,
	} {
		result, err := tx.ExecContext(ctx, q, before, removeRows)
		if err != nil {
			return err
		}
		n, err := result.RowsAffected()
		if err != nil {
			return err
		}
		rows = max(rows, n)
	}
	if rows >= removeRows {
		s.removed = time.Time{} // there is more
	}
	_, err = tx.ExecContext(ctx, `PRAGMA incremental_vacuum(1000)`)
	return err
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
	if err = s.db.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM tuple), (SELECT count(*) FROM name)`).Scan(&c.Tuples, &c.Names); err == nil {
		c.Octets, err = pagesInUse(ctx, s.db)
	}
	return c, err
}

// condition is the WHERE of a query in the making. Its texts are constants.
type condition struct {
	texts []string
	args  []any
}

func (c *condition) add(text string, args ...any) {
	c.texts = append(c.texts, text)
	c.args = append(c.args, args...)
}

func (c *condition) within(column string, r Range) {
	if r.Since != 0 {
		c.add(column+" >= ?", r.Since)
	}
	if r.Until != 0 {
		c.add(column+" <= ?", r.Until)
	}
}

// named adds what a name with its wildcard demands of two columns.
func (c *condition) named(column, key string, q *Query) {
	switch q.Wild {
	case Exact:
		c.add(column+" = ?", []byte(q.Text))
	case Left:
		if k := appendKey(nil, q.Text); len(k) > 0 {
			c.add(key+" >= ? AND "+key+" < ?", k, append(k[:len(k)-1:len(k)-1], 1))
		} else {
			c.add(key + " IS NOT NULL")
		}
	case Right:
		// The octet behind the dot is the slash.
		c.add(column+" >= ? AND "+column+" < ?", []byte(q.Text+"."), []byte(q.Text+"/"))
	}
}

// Lookup implements Store.
func (s *sqlite) Lookup(ctx context.Context, q *Query, f func(*Tuple) error) (more bool, err error) {
	limit := q.Limit
	if limit <= 0 {
		limit = DefaultLimit
	}
	if err := q.Check(); err != nil {
		return false, err
	}
	var c condition
	from, first, last, count := "tuple", "tuple.first", "tuple.last", "tuple.count"
	switch q.By {
	case ByName:
		c.named("name", "key", q)
	case ByTarget:
		c.named("target", "target_key", q)
	case ByNet:
		low, high := bounds(q.Net)
		typ := dnswire.TypeA
		if q.Net.Addr().Is6() {
			typ = dnswire.TypeAAAA
		}
		c.add("ip BETWEEN ? AND ? AND +type = ?", low, high, int(typ))
	case ByProcess, ByContainer:
		// What that process or container saw, not what all did.
		from, first, last, count = "who JOIN tuple ON tuple.id = who.tuple", "min(who.first)", "max(who.last)", "sum(who.count)"
		switch {
		case q.By == ByProcess && !strings.Contains(q.Text, "/"):
			c.add("comm = ?", []byte(q.Text))
		case q.By == ByProcess:
			c.add("exe = ?", []byte(q.Text))
		default:
			c.add("container != x'' AND container >= ? AND container < ?", []byte(q.Text), []byte(q.Text+"\x7f"))
		}
	}
	if q.Type != 0 {
		c.add("+type = ?", int(q.Type))
	}
	if q.Bailiwick != "" {
		c.add("+bailiwick = ?", []byte(q.Bailiwick))
	}
	group, times := "", condition{}
	times.within(first, q.First)
	times.within(last, q.Last)
	times.within(last, Range{Since: q.Since})
	times.within(first, Range{Until: q.Until})
	if from != "tuple" {
		group = " GROUP BY who.tuple"
		if len(times.texts) > 0 {
			group += " HAVING " + strings.Join(times.texts, " AND ")
		}
		c.args = append(c.args, times.args...)
	} else {
		c.texts, c.args = append(c.texts, times.texts...), append(c.args, times.args...)
	}
	rows, err := s.db.QueryContext(ctx, `SELECT name, type, rdata, bailiwick, sensor, `+first+`, `+last+` AS seen, `+count+` FROM `+from+
		` WHERE `+strings.Join(c.texts, " AND ")+group+` ORDER BY seen DESC, tuple.id LIMIT ? OFFSET ?`, append(c.args, limit+1, q.Offset)...)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	var t Tuple
	for n := 0; rows.Next(); n++ {
		if n == limit {
			return true, nil
		}
		if err := rows.Scan(&t.Name, &t.Type, &t.RData, &t.Bailiwick, &t.Sensor, &t.First, &t.Last, &t.Count); err != nil {
			return false, err
		}
		if err := f(&t); err != nil {
			return false, err
		}
	}
	return false, rows.Err()
}

// bounds returns the first and the last address, 16 octets each.
func bounds(p netip.Prefix) (low, high []byte) {
	first, last := p.Masked().Addr().As16(), p.Addr().As16()
	for i := p.Bits() + 128 - p.Addr().BitLen(); i < 128; i++ {
		last[i/8] |= 0x80 >> (i % 8)
	}
	return first[:], last[:]
}

// Top implements Store. Whole days are counted by their own rows.
func (s *sqlite) Top(ctx context.Context, w What, r Range, n int) ([]Ranked, error) {
	since, until := r.Since/hour*hour, r.Until
	if until == 0 {
		until = 1<<63 - 1
	}
	firstDay, lastDay := (since+day-1)/day*day, until/day*day // whole days from one up to the other
	if firstDay >= lastDay {
		firstDay, lastDay = since, since
	}
	return s.ranked(ctx, `SELECT value, sum(count) AS n, 0 FROM (
		SELECT value, count FROM ranked WHERE span = 1 AND what = ?1 AND start >= ?3 AND start < ?4
		UNION ALL SELECT value, count FROM ranked WHERE span = 0 AND what = ?1 AND start >= ?2 AND start < ?3
		UNION ALL SELECT value, count FROM ranked WHERE span = 0 AND what = ?1 AND start >= ?4 AND start <= ?5
		) GROUP BY value ORDER BY n DESC, value LIMIT ?6`, int(w), since, firstDay, lastDay, until, n)
}

// New implements Store.
func (s *sqlite) New(ctx context.Context, r Range, n int) ([]Ranked, error) {
	until := r.Until
	if until == 0 {
		until = 1<<63 - 1
	}
	return s.ranked(ctx, `SELECT name, count, first FROM name WHERE first BETWEEN ? AND ? ORDER BY first DESC, name LIMIT ?`, r.Since, until, n)
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
