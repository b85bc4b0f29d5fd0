// Dnshark measures the project's own store: SQLite with packed records. Unlike the
// others it also counts names, clients, servers, processes and response codes per
// hour and day, and finds names by process and by when they were first seen.
package main

import (
	"database/sql"
	"path/filepath"

	"github.com/dnshark-io/dnshark/bench/engines/internal/load"
	"github.com/dnshark-io/dnshark/internal/store"
)

func main() {
	load.Main(func(dir string) (load.Engine, error) {
		s, err := store.Open(dir, store.Options{})
		return &engine{s, dir}, err
	})
}

type engine struct {
	store.Store
	dir string
}

// Beside returns how much of the file is what the other engines do not keep.
func (e *engine) Beside() (octets int64, err error) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(e.dir, store.FileName)+"?mode=ro")
	if err != nil {
		return 0, err
	}
	defer db.Close()
	err = db.QueryRow(`SELECT coalesce(sum(pgsize), 0) FROM dbstat WHERE name LIKE '%ranked%' OR name = 'counted' OR name LIKE 'asked%' OR name = 'name_first'`).Scan(&octets)
	return octets, err
}
