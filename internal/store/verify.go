package store

import (
	"context"
	"fmt"
	"path/filepath"
)

// Verify reads the whole store in dir and returns an error that says what in it
// does not fit together.
func Verify(ctx context.Context, dir string) error {
	path := filepath.Join(dir, FileName)
	db, err := open(path, "ro", "query_only(true)", "busy_timeout(5000)")
	if err != nil {
		return err
	}
	defer db.Close()
	for _, check := range []struct{ query, want string }{
		{`PRAGMA integrity_check(1)`, "ok"},
		{`SELECT count(*) FROM asked WHERE name NOT IN (SELECT name FROM records)`, "0"},
		{`SELECT count(*) FROM address WHERE name NOT IN (SELECT name FROM records)`, "0"},
		{`SELECT count(*) FROM target WHERE name NOT IN (SELECT name FROM records)`, "0"},
		{`SELECT coalesce((SELECT sum(tuples) FROM records), 0) - tuples FROM total`, "0"},
		{`SELECT count(*) FROM name WHERE id NOT IN (SELECT name FROM below)`, "0"},
	} {
		var got string
		if err := db.QueryRowContext(ctx, check.query).Scan(&got); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if got != check.want {
			return fmt.Errorf("%s: %s: %s", path, check.query, got)
		}
	}
	return nil
}
