package clickhouse

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dnshark-io/dnshark/internal/store"
	"github.com/dnshark-io/dnshark/internal/testkit"
)

// tuplesOf fills the history with tuples h<n>.d<n/64>.example.test A 100.x.y.z that the
// process p<n mod 1000> asked for once an hour of 31 days: four rows each.
const tuplesOf = `INSERT INTO dnshark_history SELECT way.1, way.2, name, 'A', concat('100.', toString(intDiv(n, 65536) %% 256), '.', toString(intDiv(n, 256) %% 256), '.', toString(n %% 256)), 'example.test', 'sensor1', at, at, 1
	FROM (SELECT number AS n, concat('h', toString(n)) AS h, concat('d', toString(intDiv(n, 64))) AS d, concat(h, '.', d, '.example.test') AS name,
		toInt64(1772323200 + n %% 2678400) * 1000000000 AS at,
		arrayJoin([(0, concat('test\0example\0', d, '\0', h, '\0')), (1, name), (4, unhex(concat('00000000000000000000ffff64', leftPad(hex(toUInt32(n %% 16777216)), 6, '0')))),
			(5, concat('p', toString(n %% 1000)))]) AS way FROM numbers(%d))
	SETTINGS max_insert_threads = 2, optimize_on_insert = 0`

var granules = regexp.MustCompile(`Granules: (\d+)/(\d+)`)

// Every look-up reads the range of the primary key that has what is asked for, of ten
// million rows.
func TestPrimaryKeyIsUsed(t *testing.T) {
	const tuples = 2_500_000
	server := testkit.StartClickHouseToday(t)
	server.Run(statements(t, DDL{}))
	begin := time.Now()
	server.Ask(fmt.Sprintf(tuplesOf, tuples))
	t.Logf("%s rows in %v, %s octets", server.Ask("SELECT count() FROM dnshark_history"), time.Since(begin), server.Ask("SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND table = 'dnshark_history'"))
	s := connect(t, "clickhouse://"+server.Address)
	h := s.(*history)
	const n = 1_234_567
	name := fmt.Sprintf("h%d.d%d.example.test", n, n/64)
	address := netip.AddrFrom4([4]byte{100, n >> 16 & 255, n >> 8 & 255, n & 255})
	for _, test := range []struct {
		what  string
		q     store.Query
		found int
		most  int // granules, of each part
	}{
		{"name", store.Query{Text: name}, 1, 2},
		{"*.name", store.Query{Text: name[strings.IndexByte(name, '.')+1:], Wild: store.Left}, 64, 2},
		{"name.*", store.Query{Text: name[:strings.IndexByte(name, '.')], Wild: store.Right}, 1, 2},
		{"address", store.Query{By: store.ByNet, Net: netip.PrefixFrom(address, 32)}, 1, 2},
		{"256 addresses", store.Query{By: store.ByNet, Net: netip.PrefixFrom(address, 24).Masked()}, 256, 2},
		{"process", store.Query{By: store.ByProcess, Text: "p7", Limit: 5000}, tuples / 1000, 5},
	} {
		if test.q.Limit == 0 {
			test.q.Limit = 1000
		}
		text, a := lookup(&test.q)
		read, all, parts := h.client.granules(t, text, a)
		at := time.Now()
		found := 0
		if _, err := s.Lookup(t.Context(), &test.q, func(*store.Tuple) error { found++; return nil }); err != nil {
			t.Fatal(test.what, err)
		}
		t.Logf("%-13s %d of %d granules, %d found in %v", test.what, read, all, found, time.Since(at))
		if found != test.found || read == 0 || read > test.most*parts || all < 9000 {
			t.Errorf("%s: %d of %d granules in %d parts, %d found, want %d", test.what, read, all, parts, found, test.found)
		}
	}
}

// granules returns how many granules a statement reads, of all, and of how many parts.
func (c *client) granules(t *testing.T, text string, a args) (read, all, parts int) {
	t.Helper()
	var plan strings.Builder
	if err := c.query(t.Context(), "EXPLAIN indexes = 1 "+text, a, func(r *rows) error {
		for r.next() {
			plan.WriteString(r.text() + "\n")
		}
		return r.err
	}); err != nil {
		t.Fatal(err)
	}
	if f := regexp.MustCompile(`Parts: (\d+)/(\d+)`).FindStringSubmatch(plan.String()); f != nil {
		parts, _ = strconv.Atoi(f[2])
	}
	// Days are chosen first, and what the key leaves may be skipped after it.
	_, key, ok := strings.Cut(plan.String(), "PrimaryKey")
	if !ok {
		t.Fatalf("no primary key in\n%s", plan.String())
	}
	read, _ = strconv.Atoi(granules.FindStringSubmatch(key)[1])
	all, _ = strconv.Atoi(granules.FindStringSubmatch(plan.String())[2])
	return read, all, parts
}
