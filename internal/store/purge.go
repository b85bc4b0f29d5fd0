package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// Purge removes from the store in dir what it knows of a name and all names under it, of an
// address, or of the host that saw it (Tuple.Sensor), whichever text is, and
// leaves no octet of that in the files. Records go whose data mentions the text.
// Of counts per hour and day, which do not know who saw what, those go whose
// value it is. It returns how many rows are gone. A program that writes to the store at the same time waits.
func Purge(ctx context.Context, dir, text string) (rows int64, err error) {
	path := filepath.Join(dir, FileName)
	if _, err := os.Stat(path); err != nil {
		return 0, err
	}
	q := &Query{}
	value := strings.ToLower(strings.TrimSuffix(text, "."))
	if a, err := netip.ParseAddr(value); err == nil {
		value = a.String()
	} else if err := q.ParseName(value); err != nil {
		return 0, err
	}
	if value == "" {
		return 0, errors.New("everything is under the root; remove the directory instead")
	}
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
	const (
		isOrUnder = `(%[1]s = @is OR substr(%[1]s, -length(@under)) = @under)`
		tuples    = `SELECT id FROM tuple WHERE sensor = @sensor OR instr(rdata, @is) > 0 OR instr(lower(CAST(rdata AS TEXT)), CAST(@is AS TEXT)) > 0 OR `
	)
	which := tuples + fmt.Sprintf(isOrUnder, "name") + " OR " + fmt.Sprintf(isOrUnder, "bailiwick")
	for _, statement := range []string{
		`DELETE FROM who WHERE tuple IN (` + which + `)`,
		`DELETE FROM tuple WHERE id IN (` + which + `)`,
		`DELETE FROM name WHERE ` + fmt.Sprintf(isOrUnder, "name"),
		`DELETE FROM ranked WHERE ` + fmt.Sprintf(isOrUnder, "value"),
	} {
		result, err := tx.ExecContext(ctx, statement, sql.Named("is", []byte(value)), sql.Named("under", []byte("."+value)), sql.Named("sensor", []byte(text)))
		if err != nil {
			return 0, err
		}
		n, err := result.RowsAffected()
		if err != nil {
			return 0, err
		}
		rows += n
	}
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
