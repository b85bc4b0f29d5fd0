// Package asn tells which autonomous system an address belongs to, by a table that the user
// has: a MaxMind DB file (https://maxmind.github.io/MaxMind-DB/) with the key
// autonomous_system_number, as GeoLite2-ASN and its like have it.
package asn

import (
	"fmt"
	"io"
	"net/netip"
	"os"

	"github.com/oschwald/maxminddb-golang/v2"
)

// maxFile is several times as long as tables of the whole Internet are.
const maxFile = 128 << 20

// key is where a record has the number.
const key = "autonomous_system_number"

// Table is a file that was read. Many goroutines may use it.
type Table struct{ db *maxminddb.Reader }

// Open reads a file. It is not mapped: whoever cuts it short later must not end the program.
func Open(path string) (*Table, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	octets, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(octets) > maxFile {
		return nil, fmt.Errorf("%s: longer than %d MiB", path, maxFile>>20)
	}
	db, err := maxminddb.OpenBytes(octets)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	t := &Table{db}
	if !t.hasNumbers() {
		return nil, fmt.Errorf("%s: %s has no %s; it takes a table of autonomous systems, as GeoLite2-ASN.mmdb", path, db.Metadata.DatabaseType, key)
	}
	return t, nil
}

// hasNumbers reports whether one of the first records has a number.
func (t *Table) hasNumbers() bool {
	const most = 1000
	n := 0
	for r := range t.db.Networks() {
		if number(r) != 0 {
			return true
		}
		if n++; n == most {
			break
		}
	}
	return false
}

// Number returns the autonomous system of an address, 0 where the table does not know.
func (t *Table) Number(a netip.Addr) uint32 { return number(t.db.Lookup(a)) }

func number(r maxminddb.Result) (n uint32) {
	if r.DecodePath(&n, key) != nil {
		return 0 // what is broken in the table is unknown
	}
	return n
}
