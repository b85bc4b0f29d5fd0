package clickhouse

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"time"

	"github.com/dnshark-io/dnshark/internal/store"
	"github.com/dnshark-io/dnshark/internal/store/eventlog"
)

// EventsTable has an event per row; the output clickhouse:// fills it.
const EventsTable = "dnshark"

// pageRows is how many rows a question for events reads at once at most, and pages how
// often. What is not among them is told to be more.
var pageRows = 5000 // fewer in tests

const pages = 20

// Events finds whole events.
type Events struct {
	client *client
	coarse bool // times are seconds
}

// OpenEvents connects as Open does. It returns nil where the database has no table of events.
func OpenEvents(ctx context.Context, url string) (*Events, error) {
	c, err := newClient(url)
	if err != nil {
		return nil, err
	}
	e := &Events{client: c}
	typ := ""
	err = c.query(ctx, `SELECT type FROM system.columns WHERE database = currentDatabase() AND table = '`+EventsTable+`' AND name = 'time'`, nil, func(r *rows) error {
		if r.next() {
			typ = r.text()
		}
		return r.err
	})
	if err != nil || typ == "" {
		return nil, errors.Join(err, e.Close())
	}
	e.coarse = !strings.HasPrefix(typ, "DateTime64(9")
	c.literals = e.coarse // ddl.sql makes such a table for servers without parameters
	return e, nil
}

// Close implements io.Closer.
func (e *Events) Close() error {
	e.client.http.CloseIdleConnections()
	return nil
}

// Find is eventlog's Reader.Find. The database leaves out what its columns can tell; which of
// the rest is wanted is seen in the lines.
func (e *Events) Find(ctx context.Context, q *eventlog.Query, f func(line []byte) error) (more bool, err error) {
	wants, err := q.Matcher()
	if err != nil {
		return false, err
	}
	limit := q.Limit
	if limit <= 0 {
		limit = math.MaxInt
	}
	where, a := e.where(q)
	order := "time, event_id"
	if q.Newest {
		order = "time DESC, event_id DESC"
	}
	ctx, cancel := context.WithTimeout(ctx, queryTime)
	defer cancel()
	a["rows"] = int64(min(limit, pageRows-1) + 1)
	for page := range int64(pages) {
		a["after"] = page * a["rows"].(int64)
		n := int64(0)
		err := e.client.query(ctx, `SELECT json FROM `+EventsTable+` WHERE `+where+` ORDER BY `+order+` LIMIT {after:UInt64}, {rows:UInt64}`, a, func(r *rows) error {
			for ; r.next() && !more; n++ {
				line := []byte(r.text())
				// The table is not ours alone.
				if r.err != nil || !json.Valid(line) || !wants(line) {
					continue
				}
				if limit--; limit < 0 {
					more = true
					break
				}
				if err := f(append(line, '\n')); err != nil {
					return err
				}
			}
			return r.err
		})
		if err != nil || more || n < a["rows"].(int64) {
			return more, err
		}
	}
	return true, nil
}

// where returns conditions that all wanted events meet, and perhaps others. Alerts have no
// qname and few columns, so for them the line is searched.
func (e *Events) where(q *eventlog.Query) (where string, a args) {
	a = args{}
	var conditions []string
	add := func(condition, name string, value any) {
		conditions = append(conditions, condition)
		a[name] = value
	}
	since, until := `time >= fromUnixTimestamp64Nano({since:Int64})`, `time <= fromUnixTimestamp64Nano({until:Int64})`
	unit := int64(1)
	if e.coarse {
		since, until, unit = `time >= toDateTime({since:Int64})`, `time <= toDateTime({until:Int64})`, int64(time.Second)
	}
	if q.Since != 0 {
		add(since, "since", q.Since/unit)
	}
	if q.Until != 0 {
		add(until, "until", q.Until/unit)
	}
	if q.Kind != "" {
		add(`event = unhex({kind:String})`, "kind", q.Kind)
	}
	if q.RCode != "" {
		add(`rcode = unhex({rcode:String})`, "rcode", q.RCode)
	}
	for name, text := range map[string]string{"process": q.Process, "container": q.Container} {
		if text != "" { // at either end
			add(`position(json, unhex({`+name+`:String})) > 0`, name, eventlog.Escaped(text))
		}
	}
	var name store.Query
	if q.Name != "" && name.ParseName(q.Name) == nil {
		own := func(column string) string { return `lower(` + column + `) = unhex({name:String})` }
		if name.Wild == store.Left {
			own = func(column string) string {
				return `endsWith(lower(` + column + `), unhex({name:String}))`
			}
		}
		if name.Wild != store.Left || name.Text != "." {
			a["escaped"] = eventlog.Escaped(name.Text)
			add(`(`+own("qname")+` OR arrayExists(x -> `+own("x")+`, answer_names) OR qname = '' AND position(lower(json), unhex({escaped:String})) > 0)`, "name", name.Text)
		}
	}
	if q.Addr.IsValid() && q.Addr.IsSingleIP() {
		add(`(client = unhex({address:String}) OR server = unhex({address:String}) OR has(answers, unhex({address:String})) OR qname = '' AND position(json, unhex({address:String})) > 0)`,
			"address", q.Addr.Addr().String())
	}
	if len(conditions) == 0 {
		return "1", a
	}
	return strings.Join(conditions, " AND "), a
}
