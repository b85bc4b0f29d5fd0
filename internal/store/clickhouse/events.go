package clickhouse

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/dnshark-io/dnshark/internal/store"
	"github.com/dnshark-io/dnshark/internal/store/eventlog"
)

// EventsTable has an event per row; outputs (-o clickhouse://) and brokers fill it.
const EventsTable = "dnshark"

// pageRows is how many rows one statement asks for at most.
var pageRows = 5000 // fewer in tests

const (
	// maxLooked bounds how many events are looked at for one answer.
	maxLooked = 1_000_000
	// maxLine is the longest event that is shown, octets.
	maxLine = 1 << 19
)

// ErrOldTable says that an older dnshark made the table of events.
var ErrOldTable = errors.New("the table " + EventsTable + " lacks columns; dnshark store ddl prints what makes it")

// Events finds whole events.
type Events struct {
	client *client
	// Viewed tells that views make the history of events.
	Viewed bool
}

// OpenEvents connects as Open does. It returns nil where the database has no table of
// events, and ErrOldTable where that is too old to look into.
func OpenEvents(ctx context.Context, url string) (*Events, error) {
	c, err := newClient(url)
	if err != nil {
		return nil, err
	}
	e := &Events{client: c}
	err = c.look(ctx)
	columns, needed := int64(0), int64(0)
	if err == nil {
		err = c.query(ctx, `SELECT toInt64(countIf(table = unhex({table:String}))), toInt64(countIf(table = unhex({table:String}) AND name IN ('name_key', 'domain', 'server_comm'))),
			toInt64(countIf(table = unhex({view:String}))) FROM system.columns WHERE database = currentDatabase()`,
			args{"table": EventsTable, "view": Table + "_tuples"}, func(r *rows) error {
				columns, needed = r.int(), r.int()
				e.Viewed = r.int() > 0
				return r.err
			})
	}
	switch {
	case err != nil:
	case columns == 0:
		return nil, e.Close()
	case needed < 3:
		err = ErrOldTable
	default:
		return e, nil
	}
	return nil, errors.Join(err, e.Close())
}

// Close implements io.Closer.
func (e *Events) Close() error {
	e.client.http.CloseIdleConnections()
	return nil
}

// Output returns the output that inserts events where Open(url) finds them: at the
// first of the servers. It says nothing of what is wrong with url.
func (e *Events) Output(url string) string {
	scheme, rest, _ := strings.Cut(url, "://")
	rest, text, _ := strings.Cut(rest, "?")
	at := strings.LastIndexByte(rest, '@') + 1 // a password may have slashes
	servers, database, _ := strings.Cut(rest[at:], "/")
	first, _, _ := strings.Cut(servers, ",")
	options := []string{"name=events"}
	if database = strings.Trim(database, "/"); database != "" {
		options = append(options, "database="+database)
	}
	if e.client.literals {
		options = append(options, "deduplicate=no")
	}
	for option := range strings.SplitSeq(text, "&") {
		if option != "" && !strings.HasPrefix(option, "partial=") {
			options = append(options, option)
		}
	}
	return scheme + "://" + rest[:at] + first + "?" + strings.Join(options, "&")
}

// windows are how far back is looked at first, if the newest events are wanted: most
// of the time the last hour has enough, and a table has years.
var windows = []time.Duration{time.Hour, 24 * time.Hour, 7 * 24 * time.Hour}

// Find calls f for every event that q wants, as one line of JSON with its line feed,
// in the order of their times. It reports whether there are more than q.Limit, or
// more than it looked at. What others wrote into the table and is no JSON is left out.
func (e *Events) Find(ctx context.Context, q *eventlog.Query, f func(line []byte) error) (more bool, err error) {
	match, err := q.Matcher()
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, queryTime)
	defer cancel()
	found, looked := 0, 0
	for _, span := range spans(q, time.Now()) {
		page := eventPage{query: q, literals: e.client.literals, span: span, size: pageRows}
		if q.Limit > 0 {
			page.size = min(pageRows, q.Limit+1)
		}
		for {
			read := 0
			text, a := page.statement()
			err := e.client.query(ctx, text, a, func(r *rows) error {
				for ; r.next(); read++ {
					at, id, line := r.text(), r.text(), []byte(r.text()+"\n")
					if r.err != nil {
						break
					}
					if page.at == at && page.id == id { // a broker may deliver twice
						continue
					}
					page.at, page.id = at, id
					if !match(line[:len(line)-1]) || !json.Valid(line) {
						continue
					}
					if found++; q.Limit > 0 && found > q.Limit {
						more = true
						return nil
					}
					if err := f(line); err != nil {
						return err
					}
				}
				return r.err
			})
			if err != nil || more {
				return more, err
			}
			if looked += read; looked >= maxLooked {
				return true, nil
			}
			if int64(read) < int64(page.size) {
				break
			}
			page.size = pageRows
		}
	}
	return false, nil
}

// spans cuts the time that q wants into those that are looked at one after the other.
func spans(q *eventlog.Query, now time.Time) (list []store.Range) {
	// Few events are alerts, and an index finds them.
	if !q.Newest || q.Limit == 0 || q.Kind != "" && !strings.HasPrefix(q.Kind, "net_packet_") {
		return []store.Range{q.Range}
	}
	until, end := q.Until, now.UnixNano()
	if until != 0 {
		end = min(end, until)
	}
	for _, back := range windows {
		since := end - int64(back)
		if since <= q.Since {
			break
		}
		list = append(list, store.Range{Since: since, Until: until})
		until = since - 1
	}
	return append(list, store.Range{Since: q.Since, Until: until})
}

// eventPage is a statement for a page of events, in the making.
type eventPage struct {
	query    *eventlog.Query
	literals bool // the server is an old one, its times are seconds
	span     store.Range
	size     int
	at, id   string // of the last event of the page before, "" on the first
	where    []string
	args     args
}

// statement returns what asks for the time as text, the id and the line. Events are in
// the order of time and id. The condition may hold for others besides: the matcher has
// the last word.
func (e *eventPage) statement() (string, args) {
	e.where, e.args = nil, args{"limit": int64(e.size)}
	q := e.query
	order, way, behind := "time", "ASC", ">"
	if q.Newest {
		way, behind = "DESC", "<"
	}
	shown := "toString(time)"
	cursor := "toDateTime64(unhex({at:String}), 9, 'UTC')"
	if e.literals {
		order = "visitParamExtractString(json, 'time')"
		shown, cursor = order, "unhex({at:String})"
	}
	if e.id != "" {
		e.add("("+order+", event_id) "+behind+" ("+cursor+", unhex({id:String}))", args{"at": e.at, "id": e.id})
	}
	e.within()
	if q.Kind != "" {
		e.add("event = unhex({kind:String})", args{"kind": q.Kind})
	}
	if q.RCode != "" {
		e.add("rcode = unhex({rcode:String})", args{"rcode": q.RCode})
	}
	if q.Process != "" {
		e.add("(comm = unhex({process:String}) OR exe = unhex({process:String}) OR server_comm = unhex({process:String}) OR server_exe = unhex({process:String}))", args{"process": q.Process})
	}
	if q.Container != "" {
		e.add("(startsWith(container, unhex({container:String})) OR startsWith(server_container, unhex({container:String})))", args{"container": q.Container})
	}
	if q.Addr.IsValid() {
		e.address(q.Addr)
	}
	ways := []string{""} // each has a range of the key, or an index
	if q.Name != "" {
		ways = e.name()
	}
	columns := shown + " AS at, event_id, if(length(json) < " + fmt.Sprint(maxLine) + ", json, '') AS line"
	for i, way1 := range ways {
		where := e.where
		if way1 != "" {
			where = append(where[:len(where):len(where)], way1)
		}
		condition := ""
		if len(where) > 0 {
			condition = " WHERE " + strings.Join(where, " AND ")
		}
		ways[i] = "SELECT " + columns + " FROM " + EventsTable + condition + " ORDER BY " + order + " " + way + ", event_id " + way + " LIMIT {limit:UInt64}"
	}
	if len(ways) == 1 {
		return ways[0], e.args
	}
	return "SELECT at, event_id, line FROM (" + strings.Join(ways, " UNION ALL ") + ") ORDER BY at " + way + ", event_id " + way + " LIMIT {limit:UInt64}", e.args
}

func (e *eventPage) add(condition string, a args) {
	e.where = append(e.where, condition)
	for name, value := range a {
		e.args[name] = value
	}
}

// within bounds the time. The key has hours, and is asked for these.
func (e *eventPage) within() {
	to := func(name string) string {
		if e.literals {
			return "toDateTime({" + name + ":UInt64})"
		}
		return "fromUnixTimestamp64Nano({" + name + ":Int64}, 'UTC')"
	}
	clock := func(ns int64) int64 {
		if e.literals {
			return max(ns, 0) / int64(time.Second)
		}
		return ns
	}
	if e.span.Since != 0 {
		e.add("time >= "+to("since")+" AND toStartOfHour(time) >= toStartOfHour("+to("since")+")", args{"since": clock(e.span.Since)})
	}
	if e.span.Until != 0 {
		e.add("time <= "+to("until")+" AND toStartOfHour(time) <= toStartOfHour("+to("until")+")", args{"until": clock(e.span.Until)})
	}
}

// name returns the ways to find a name: as the question, or what an alert is about; and
// as the owner of another record of the answer.
func (e *eventPage) name() []string {
	var q store.Query
	if q.ParseName(e.query.Name) != nil { // the matcher has read it
		return []string{"0"}
	}
	low := store.Key(q.Text)
	if q.Wild == store.Exact {
		e.args["key"], e.args["name"] = nameKey(q.Text), q.Text
		return []string{"name_key = unhex({key:String})", "name_key != unhex({key:String}) AND arrayExists(x -> lower(x) = unhex({name:String}), answer_names)"}
	}
	if len(low) == 0 {
		return []string{""}
	}
	e.args["low"], e.args["behind"], e.args["end"] = low, append(low[:len(low)-1:len(low)-1], 1), q.Text
	const within = "name_key >= unhex({low:String}) AND name_key < unhex({behind:String})"
	return []string{within, "NOT (" + within + ") AND arrayExists(x -> endsWith(lower(x), unhex({end:String})), answer_names)"}
}

// address asks for one end, or an address of an answer, within a prefix.
func (e *eventPage) address(p netip.Prefix) {
	if p.IsSingleIP() {
		e.add("(client = unhex({addr:String}) OR server = unhex({addr:String}) OR has(answers, unhex({addr:String})))", args{"addr": p.Addr().String()})
		return
	}
	parse := "IPv6StringToNumOrDefault"
	if e.literals {
		parse = "IPv6StringToNum"
	}
	within := func(v string) string {
		number := parse + "(if(position(" + v + ", ':') = 0, concat('::ffff:', " + v + "), " + v + "))"
		return "(hex(" + number + ") >= hex(unhex({first:String})) AND hex(" + number + ") <= hex(unhex({last:String})))"
	}
	q := store.Query{By: store.ByNet, Net: p}
	first, last := q.Bounds()
	e.add("("+within("toString(client)")+" OR "+within("toString(server)")+" OR arrayExists(x -> "+within("x")+", answers))", args{"first": first[:], "last": last[:]})
}
