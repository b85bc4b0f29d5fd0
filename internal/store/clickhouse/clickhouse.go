// Package clickhouse keeps the history in ClickHouse, for many hosts together.
//
// There is one table, dnshark_history, and in it a row for each way to find a
// thing: "by" says which way, "key" is what is looked up. The primary key is (by,
// key, ...), so every look-up reads one range of it, and a batch is one insert into
// one table, which ClickHouse takes whole or not at all.
package clickhouse

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dnshark-io/dnshark/dnswire"
	"github.com/dnshark-io/dnshark/internal/store"
)

// What stands in the column "by"; ddl.sql makes the same rows of events.
const (
	byKey       = 0 // key of the owner name, see nameKey
	byName      = 1 // owner name
	byTargetKey = 2 // key of the name in the RDATA
	byTarget    = 3 // that name
	byAddress   = 4 // 16 octets
	byComm      = 5
	byExe       = 6
	byContainer = 7
	byAsked     = 8  // a name that was asked for, by its key: first, last and how often
	byHour      = 16 // + store.What: begin of the hour, 8 octets
	byDay       = 32 // + store.What: begin of the day
)

// Table holds the history. On a cluster it is Table+Local of every shard.
const (
	Table = "dnshark_history"
	Local = "_local"
)

const (
	// pace is how often a program inserts: ClickHouse wants few inserts.
	pace = 5 * time.Second
	// patience is for how long an insert is tried again.
	patience = 30 * time.Second

	hour = int64(time.Hour)
	day  = 24 * hour
)

type history struct {
	client *client
	into   string
	again  bool // an insert that comes twice is one
}

// Open connects to clickhouse://[USER[:PASSWORD]@]HOST[:PORT][,HOST...]/[DATABASE],
// which may have OPTION=VALUE behind a question mark: password-file, ca, and
// partial=yes for answers that lack shards which are down. The table must be there.
func Open(ctx context.Context, url string) (store.Store, error) {
	c, err := newClient(url)
	if err != nil {
		return nil, err
	}
	h := &history{client: c}
	if err := h.look(ctx); err != nil {
		c.http.CloseIdleConnections()
		return nil, err
	}
	return h, nil
}

// look finds out which tables there are.
func (h *history) look(ctx context.Context) error {
	if err := h.client.look(ctx); err != nil {
		return err
	}
	engines := map[string]string{}
	remembers := false
	err := h.client.query(ctx, `SELECT name, engine FROM system.tables WHERE database = currentDatabase() AND name IN ('`+Table+`', '`+Table+Local+`')`, nil, func(r *rows) error {
		for r.next() {
			name := r.text()
			engines[name] = r.text()
		}
		return r.err
	})
	if err == nil && engines[Table] == "" {
		err = errors.New("the database has no table " + Table + "; dnshark store ddl prints what makes it")
	}
	if err != nil {
		return err
	}
	h.into = Table
	if engines[Table+Local] != "" {
		h.into = Table + Local
	}
	if !h.client.literals {
		err = h.client.query(ctx, `SELECT create_table_query LIKE '%non_replicated_deduplication_window%' FROM system.tables WHERE database = currentDatabase() AND name = unhex({name:String})`,
			args{"name": h.into}, func(r *rows) error {
				octet, err := r.in.ReadByte()
				remembers = octet == 1
				return err
			})
	}
	h.again = remembers || strings.HasPrefix(engines[h.into], "Replicated")
	return err
}

// Pace returns how often to write.
func (h *history) Pace() time.Duration { return pace }

// Close implements store.Store.
func (h *history) Close() error {
	h.client.http.CloseIdleConnections()
	return nil
}

// Write implements store.Store. An insert of which it is not known whether it came
// in is sent again only to a table that then drops it.
func (h *history) Write(ctx context.Context, a *store.Aggregate) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	// Sent again, these are the same octets: replicated tables of old servers know
	// a block by its content.
	body, token := appendAggregate(nil, a), rand.Text()
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := h.client.insert(ctx, h.into, token, body)
		var none unreachable
		if err == nil || !h.again && !errors.As(err, &none) || refused(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
	}
}

// passing are the errors that may pass: too many queries, connections or parts, too
// little memory, no ZooKeeper. (src/Common/ErrorCodes.cpp)
var passing = []string{"159", "202", "203", "209", "210", "225", "241", "242", "252", "279", "319", "999"}

// refused reports whether the server says what it will say again.
func refused(err error) bool {
	var status *serverError
	if !errors.As(err, &status) {
		return false
	}
	code, ok := strings.CutPrefix(status.text, "Code: ")
	if !ok { // a proxy
		return status.status < 500
	}
	code = code[:len(code)-len(strings.TrimLeft(code, "0123456789"))]
	return !slices.Contains(passing, code)
}

// appendAggregate appends the rows of an aggregate.
func appendAggregate(dst []byte, a *store.Aggregate) []byte {
	row := func(by byte, key, name string, t *store.Tuple) {
		typ := ""
		if t.RData != "" || t.Type != 0 {
			typ = t.Type.String()
		}
		dst = appendString(append(dst, by), key)
		for _, s := range [...]string{name, typ, t.RData, t.Bailiwick, t.Sensor} {
			dst = appendString(dst, s)
		}
		dst = appendInt(appendInt(appendInt(dst, t.First), t.Last), t.Count)
	}
	for s := range a.Tuples {
		t := &s.Tuple
		row(byKey, nameKey(t.Name), t.Name, t)
		row(byName, t.Name, t.Name, t)
		if t.Type == dnswire.TypeA || t.Type == dnswire.TypeAAAA {
			if addr, err := netip.ParseAddr(t.RData); err == nil {
				octets := addr.As16()
				row(byAddress, string(octets[:]), t.Name, t)
			}
		} else if to := t.Target(); to != "" {
			row(byTargetKey, nameKey(to), t.Name, t)
			row(byTarget, to, t.Name, t)
		}
		for by, who := range map[byte]string{byComm: s.Comm, byExe: s.Exe, byContainer: s.Container} {
			if who != "" {
				row(by, who, t.Name, t)
			}
		}
	}
	for h := range a.Ranked {
		t := store.Tuple{First: h.First, Last: h.Last, Count: h.Count}
		row(byHour+byte(h.What), begin(h.Start), h.Value, &t)
		row(byDay+byte(h.What), begin(h.Start/day*day), h.Value, &t)
		if h.What == store.Names {
			row(byAsked, nameKey(h.Value), h.Value, &t)
		}
	}
	return dst
}

// nameKey is store.Key, of the root one that is not empty.
func nameKey(name string) string {
	if key := store.Key(name); len(key) > 0 {
		return string(key)
	}
	return "\x00"
}

// begin is a time as a key: in order.
func begin(ns int64) string {
	return string(binary.BigEndian.AppendUint64(nil, uint64(ns)))
}

// statement is one in the making. Its texts are constants, all values arguments.
type statement struct {
	where, having []string
	args          args
}

func (s *statement) within(column, name string, r store.Range) {
	if r.Since != 0 {
		s.having = append(s.having, column+" >= {"+name+"_since:Int64}")
		s.args[name+"_since"] = r.Since
	}
	if r.Until != 0 {
		s.having = append(s.having, column+" <= {"+name+"_until:Int64}")
		s.args[name+"_until"] = r.Until
	}
}

// find says which range of keys has what q is about.
func (s *statement) find(q *store.Query) {
	key, text := byte(byKey), byte(byName)
	switch q.By {
	case store.ByTarget:
		key, text = byTargetKey, byTarget
		fallthrough
	case store.ByName:
		low := store.Key(q.Text)
		switch {
		case q.Wild == store.Right:
			// The octet behind the dot is the slash.
			s.between(text, []byte(q.Text+"."), []byte(q.Text+"/"))
		case q.Wild == store.Exact:
			s.is(key, nameKey(q.Text))
		case len(low) == 0:
			s.where = append(s.where, "by = "+strconv.Itoa(int(key)))
		default:
			s.between(key, low, append(low[:len(low)-1:len(low)-1], 1))
		}
	case store.ByNet:
		low, high := q.Bounds()
		s.between(byAddress, low[:], append(high[:], 0))
		typ := dnswire.TypeA
		if q.Net.Addr().Is6() {
			typ = dnswire.TypeAAAA
		}
		s.where = append(s.where, "type = unhex({family:String})")
		s.args["family"] = typ.String()
	case store.ByProcess:
		if strings.Contains(q.Text, "/") {
			s.is(byExe, q.Text)
		} else {
			s.is(byComm, q.Text)
		}
	case store.ByContainer:
		s.between(byContainer, []byte(q.Text), []byte(q.Text+"\x7f"))
	}
}

func (s *statement) is(by byte, key string) {
	s.where = append(s.where, "by = "+strconv.Itoa(int(by)), "key = unhex({key:String})")
	s.args["key"] = key
}

func (s *statement) between(by byte, low, behind []byte) {
	s.where = append(s.where, "by = "+strconv.Itoa(int(by)), "key >= unhex({low:String})", "key < unhex({behind:String})")
	s.args["low"], s.args["behind"] = low, behind
}

// lookup returns the statement of a query.
func lookup(q *store.Query) (string, args) {
	s := statement{args: args{"limit": int64(q.Limit) + 1, "offset": int64(q.Offset)}}
	s.find(q)
	if q.Type != 0 {
		s.where = append(s.where, "type = unhex({type:String})")
		s.args["type"] = q.Type.String()
	}
	if q.Bailiwick != "" {
		s.where = append(s.where, "bailiwick = unhex({bailiwick:String})")
		s.args["bailiwick"] = q.Bailiwick
	}
	s.within("since", "first", q.First)
	s.within("seen", "last", q.Last)
	s.within("seen", "range", store.Range{Since: q.Since})
	s.within("since", "range", store.Range{Until: q.Until})
	having := ""
	if len(s.having) > 0 {
		having = " HAVING " + strings.Join(s.having, " AND ")
	}
	return `SELECT name, type, rdata, bailiwick, sensor, min(first) AS since, max(last) AS seen, toInt64(sum(count)) FROM ` + Table +
		` WHERE ` + strings.Join(s.where, " AND ") + ` GROUP BY name, type, rdata, bailiwick, sensor` + having +
		` ORDER BY seen DESC, name, type, rdata, bailiwick, sensor LIMIT {offset:UInt64}, {limit:UInt64}`, s.args
}

// Lookup implements store.Store.
func (h *history) Lookup(ctx context.Context, query *store.Query, f func(*store.Tuple) error) (more bool, err error) {
	q := *query
	if q.Limit <= 0 {
		q.Limit = store.DefaultLimit
	}
	if err := q.Check(); err != nil {
		return false, err
	}
	text, a := lookup(&q)
	err = h.client.query(ctx, text, a, func(r *rows) error {
		for n := 0; r.next(); n++ {
			if n == q.Limit {
				more = true
				return nil
			}
			t := store.Tuple{Name: r.text()}
			t.Type, _ = dnswire.ParseType(r.text())
			t.RData, t.Bailiwick, t.Sensor = r.text(), r.text(), r.text()
			t.First, t.Last, t.Count = r.int(), r.int(), r.int()
			if r.err != nil {
				return r.err
			}
			if err := f(&t); err != nil {
				return err
			}
		}
		return r.err
	})
	return more, err
}

// top ranks by whole days where there are, and hours at both ends.
const top = `SELECT name, toInt64(sum(count)) AS n, toInt64(0) FROM ` + Table + ` WHERE
	(by = {day:UInt64} AND key >= unhex({first_day:String}) AND key < unhex({last_day:String})) OR
	(by = {hour:UInt64} AND key >= unhex({since:String}) AND key < unhex({first_day:String})) OR
	(by = {hour:UInt64} AND key >= unhex({last_day:String}) AND key <= unhex({until:String}))
	GROUP BY name ORDER BY n DESC, name LIMIT {limit:UInt64}`

// Top implements store.Store.
func (h *history) Top(ctx context.Context, w store.What, r store.Range, n int) ([]store.Ranked, error) {
	text, a := ranking(w, r, n)
	return h.ranked(ctx, text, a)
}

func ranking(w store.What, r store.Range, n int) (string, args) {
	since, until := r.Since/hour*hour, r.Until
	if until == 0 {
		until = 1<<63 - 1
	}
	firstDay, lastDay := (since+day-1)/day*day, until/day*day // whole days from one up to the other
	if firstDay >= lastDay {
		firstDay, lastDay = since, since
	}
	return top, args{
		"day": int64(byDay) + int64(w), "hour": int64(byHour) + int64(w), "limit": int64(n),
		"since": begin(since), "first_day": begin(firstDay), "last_day": begin(lastDay), "until": begin(until),
	}
}

// newNames looks at the names alone that have a row with first in the range: a name
// without one was not new then.
const newNames = `SELECT name, toInt64(sum(count)), min(first) AS since FROM ` + Table + ` WHERE by = 8 AND key GLOBAL IN (
	SELECT key FROM ` + Table + ` WHERE by = 8 AND first >= {since:Int64} AND first <= {until:Int64})
	GROUP BY name HAVING since >= {since:Int64} AND since <= {until:Int64} ORDER BY since DESC, name LIMIT {limit:UInt64}`

// New implements store.Store.
func (h *history) New(ctx context.Context, r store.Range, n int) ([]store.Ranked, error) {
	text, a := newest(r, n)
	return h.ranked(ctx, text, a)
}

func newest(r store.Range, n int) (string, args) {
	until := r.Until
	if until == 0 {
		until = 1<<63 - 1
	}
	return newNames, args{"since": r.Since, "until": until, "limit": int64(n)}
}

func (h *history) ranked(ctx context.Context, text string, a args) (list []store.Ranked, err error) {
	err = h.client.query(ctx, text, a, func(r *rows) error {
		for r.next() {
			list = append(list, store.Ranked{Value: r.text(), Count: r.int(), First: r.int()})
		}
		return r.err
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// Counts implements store.Store. Rows that ClickHouse has yet to merge count each,
// and the octets are those of the server that was asked.
func (h *history) Counts(ctx context.Context) (c store.Counts, err error) {
	err = h.client.query(ctx, `SELECT toInt64(countIf(by = 0)), toInt64(countIf(by = 8)) FROM `+Table+` WHERE by IN (0, 8)`, nil, func(r *rows) error {
		c.Tuples, c.Names = r.int(), r.int()
		return r.err
	})
	if err == nil {
		err = h.client.query(ctx, `SELECT toInt64(sum(bytes_on_disk)) FROM system.parts WHERE active AND database = currentDatabase() AND table = unhex({table:String})`, args{"table": h.into}, func(r *rows) error {
			c.Octets = r.int()
			return r.err
		})
	}
	return c, err
}
