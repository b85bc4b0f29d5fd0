package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// PurgeSubject is what a purge is about.
type PurgeSubject struct {
	Text  string     // as it was given, for a host is as it called itself
	Value string     // a name without its final dot, or an address; lower case
	Addr  netip.Addr // of an address
}

// ParsePurgeSubject reads a name, which stands for all names under it too, an address or a host.
func ParsePurgeSubject(text string) (*PurgeSubject, error) {
	s := &PurgeSubject{Text: text, Value: strings.ToLower(strings.TrimSuffix(text, "."))}
	if a, err := netip.ParseAddr(s.Value); err == nil {
		s.Addr, s.Value = a, a.String()
		return s, nil
	}
	if err := (&Query{}).ParseName(s.Value); err != nil {
		return nil, err
	}
	if s.Value == "" {
		return nil, errors.New("everything is under the root; remove the directory instead")
	}
	return s, nil
}

// Purge removes from the store in dir what it knows of a name and all names under it, of an
// address, or of the host that saw it (Tuple.Sensor), whichever the subject is, and
// leaves no octet of that in the files. Records go whose data mentions it.
// Of counts per hour and day, which do not know who saw what, those go whose
// value it is. It returns how many rows are gone. A program that writes to the store at the same time waits.
func Purge(ctx context.Context, dir string, subject *PurgeSubject) (rows int64, err error) {
	path := filepath.Join(dir, FileName)
	if _, err := os.Stat(path); err != nil {
		return 0, err
	}
	value := subject.Value
	db, err := open(path, "rw", "busy_timeout(60000)", "secure_delete(on)")
	if err != nil {
		return 0, err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	version, err := schemaVersion(db)
	if err != nil {
		return 0, err
	}
	if version != len(migrations) {
		return 0, versionError(version)
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	p := purge{tx: tx, value: value, octets: string(subject.Addr.AsSlice())}
	const isOrUnder = `(%[1]s = @is OR substr(%[1]s, -length(@under)) = @under)`
	named := []any{sql.Named("is", []byte(value)), sql.Named("under", []byte("."+value))}
	names := `SELECT id FROM name WHERE ` + fmt.Sprintf(isOrUnder, "name")
	if p.names, err = ids(ctx, tx, names, named...); err != nil {
		return 0, err
	}
	if p.sensors, err = ids(ctx, tx, `SELECT id FROM sensor WHERE name = ?`, []byte(subject.Text)); err != nil {
		return 0, err
	}
	if err := rewrite(ctx, tx, 0, math.MaxInt64, p.stays); err != nil {
		return 0, err
	}
	for _, statement := range []string{
		`DELETE FROM ranked WHERE ` + fmt.Sprintf(isOrUnder, "value"),
		`DELETE FROM below WHERE name IN (` + names + `)`,
		`DELETE FROM name WHERE ` + fmt.Sprintf(isOrUnder, "name"),
		`DELETE FROM sensor WHERE name = @sensor`,
	} {
		result, err := tx.ExecContext(ctx, statement, append(named, sql.Named("sensor", []byte(subject.Text)))...)
		if err != nil {
			return 0, err
		}
		n, err := result.RowsAffected()
		if err != nil {
			return 0, err
		}
		p.rows += n
	}
	rows = p.rows
	if err := tx.Commit(); err != nil {
		return 0, err
	}
	// What was removed earlier may still stand in unused pages, and in the log.
	if _, err := db.ExecContext(ctx, `VACUUM`); err != nil {
		return rows, fmt.Errorf("removed, but its octets may still be in %s: %w", path, err)
	}
	var busy, pages, moved int
	if err := db.QueryRowContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`).Scan(&busy, &pages, &moved); err != nil || busy != 0 {
		return rows, errors.Join(fmt.Errorf("removed, but its octets may still be in %s-wal, which somebody reads; try again", path), err)
	}
	return rows, nil
}

// purge is what goes of the records.
type purge struct {
	tx             *sql.Tx
	value, octets  string
	names, sensors map[int64]bool
	rows           int64
}

// stays returns the records of a name that have nothing of what goes.
func (p *purge) stays(name int64, list []record) []record {
	kept := list[:0:0]
	for i := range list {
		r := &list[i]
		gone := p.names[name] || p.names[r.bailiwick] || p.sensors[r.sensor]
		if isAddress(r.typ) {
			gone = gone || r.rdata == p.octets
		} else {
			gone = gone || strings.Contains(strings.ToLower(r.rdata), p.value)
		}
		if gone {
			p.rows++
		} else {
			kept = append(kept, *r)
		}
	}
	return kept
}

func ids(ctx context.Context, tx *sql.Tx, query string, args ...any) (map[int64]bool, error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := map[int64]bool{}
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		all[id] = true
	}
	return all, rows.Err()
}
