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
		mentions  = `instr(rdata, @is) > 0 OR instr(lower(CAST(rdata AS TEXT)), CAST(@is AS TEXT)) > 0`
	)
	names := `SELECT id FROM name WHERE ` + fmt.Sprintf(isOrUnder, "name")
	which := `SELECT id FROM tuple WHERE sensor IN (SELECT id FROM sensor WHERE name = @sensor) OR name IN (` + names + `) OR bailiwick IN (` + names + `)
		OR CASE WHEN type IN (1, 28) THEN rdata = @octets ELSE ` + mentions + ` END`
	var octets []byte
	if a, err := netip.ParseAddr(value); err == nil {
		octets = a.AsSlice()
	}
	for _, statement := range []string{
		`DELETE FROM asked WHERE tuple IN (` + which + `)`,
		`DELETE FROM tuple WHERE id IN (` + which + `)`,
		fmt.Sprintf(`DELETE FROM ranked WHERE CASE WHEN what / 2 IN (%d, %d) THEN value IN (`+names+`) ELSE `, Names, NXDomain) + fmt.Sprintf(isOrUnder, "value") + ` END`,
		`DELETE FROM below WHERE name IN (` + names + `)`,
		`DELETE FROM name WHERE ` + fmt.Sprintf(isOrUnder, "name"),
		`DELETE FROM sensor WHERE name = @sensor`,
	} {
		result, err := tx.ExecContext(ctx, statement, sql.Named("is", []byte(value)), sql.Named("under", []byte("."+value)), sql.Named("sensor", []byte(text)), sql.Named("octets", octets))
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
