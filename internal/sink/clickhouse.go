package sink

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// clickhouse inserts into a table of ClickHouse over HTTP.
var clickhouse = Kind{
	Scheme: "clickhouse",
	Also:   []string{"clickhouses"},
	Form:   "clickhouse://[USER:PASSWORD@]HOST[:PORT], clickhouses://HOST[:PORT] with TLS",
	Doc:    "ClickHouse, a row per event; the table is that of docs/clickhouse.sql",
	Delivery: `A block counts as delivered when it is inserted. [clickhouse.sql](clickhouse.sql) makes the table;
columns that it lacks are left out. Rows with rows=format are the lines of any JSON format, for a
table of your own. A block that comes again has the same insert_deduplication_token: replicated
tables drop it then, others with non_replicated_deduplication_window. A server that does not know it
(18.16) needs deduplicate=no, and a block may be there twice after an error then, with the same
event_ids. Blocks are larger than those of other outputs, because a table digests about one insert
per second. A row that a column does not take is refused, alone. Old servers read gzip only.`,
	Example: "-o 'clickhouse://agent:${CLICKHOUSE_PASSWORD}@ch.example?database=dns'",
	Format:  "json",
	Options: options([]Option{
		{"database", "text", "default", "database"},
		{"table", "text", "dnshark", "table"},
		{"rows", "one of columns, format", "columns", "rows have columns made for queries, or those of the format; columns that the table lacks are left out"},
		{"deduplicate", "yes/no", "yes", "the table knows a block again; old servers have no insert_deduplication_token"},
		{"settings", "text", "", "more settings: NAME=VALUE, several with commas"},
		// The server wants few and large inserts.
		{"linger", "time", "1s", "for how long events are gathered"},
		{"batch", "size", "4MB", "how much is gathered at most"},
	}, httpOptions("gzip")),
	Open: openClickHouse,
}

type clickhouseSink struct {
	client      *httpClient
	query       url.Values
	columns     bool
	deduplicate bool
	pieces      pieces
	facts       facts
	body        []byte
}

func openClickHouse(t *Target) (Sink, error) {
	s := &clickhouseSink{columns: t.Text("rows") == "columns", deduplicate: t.Yes("deduplicate")}
	if s.columns && t.Format != "json" {
		return nil, fmt.Errorf("columns are made of format json; for those of format %s say rows=format", t.Format)
	}
	if err := t.needJSON(); err != nil {
		return nil, err
	}
	if strings.Trim(t.URL.Path, "/") != "" {
		return nil, errors.New("the URL has no path; see database and table")
	}
	s.query = url.Values{
		"query":    {"INSERT INTO " + quoteName(t.Text("database")) + "." + quoteName(t.Text("table")) + " FORMAT JSONEachRow"},
		"database": {t.Text("database")},
		// Numbers would be taken for seconds, or for nanoseconds.
		"date_time_input_format":           {"best_effort"},
		"input_format_skip_unknown_fields": {"1"},
	}
	if list := t.Text("settings"); list != "" {
		for _, setting := range strings.Split(list, ",") {
			name, value, ok := strings.Cut(setting, "=")
			if !ok || strings.Trim(name, idOctets) != "" || name == "query" {
				return nil, fmt.Errorf("settings: %q is no NAME=VALUE", setting)
			}
			s.query.Set(name, value)
		}
	}
	if s.deduplicate {
		// A block that comes again is also looked for where the history's views put it.
		s.query.Set("deduplicate_blocks_in_dependent_materialized_views", "1")
	}
	var err error
	if s.client, err = t.httpClient(); err != nil {
		return nil, err
	}
	s.client.defaultPort("8123", "8443")
	return s, nil
}

// quoteName writes a name as SQL does.
func quoteName(name string) string {
	return "`" + strings.NewReplacer("\\", "\\\\", "`", "\\`").Replace(name) + "`"
}

// Deliver implements Sink.
func (s *clickhouseSink) Deliver(ctx context.Context, b *Block) error {
	return s.pieces.deliver(b, func(lines [][]byte, from int) error {
		s.body = s.body[:0]
		for i, line := range lines {
			if s.columns {
				s.body = s.appendRow(s.body, b, from+i, line)
			} else {
				s.body = b.AppendJSON(s.body, from+i, line)
			}
			s.body = append(s.body, '\n')
		}
		if s.deduplicate {
			s.query.Set("insert_deduplication_token", string(b.AppendID(nil, from))+"-"+strconv.Itoa(len(lines)))
		}
		answer, err := s.client.post(ctx, "", s.query, http.Header{"Content-Type": {"application/x-ndjson"}}, s.body, 0)
		return clickhouseError(answer, err)
	})
}

// appendRow appends an event as the columns of docs/clickhouse.sql. What is not known
// is left out: the table's default stands in for it.
func (s *clickhouseSink) appendRow(dst []byte, b *Block, i int, line []byte) []byte {
	f := &s.facts
	f.read(line)
	dst = append(b.AppendID(append(dst, `{"event_id":"`...), i), '"')
	for _, column := range [...]struct {
		name  string
		value []byte
	}{
		{"time", f.time}, {"event", f.event}, {"host", f.host}, {"observer", f.observer},
		{"client", f.client}, {"client_port", f.clientPort}, {"server", f.server}, {"server_port", f.serverPort},
		{"protocol", f.protocol}, {"id", f.id}, {"opcode", f.opcode}, {"rcode", f.rcode},
		{"qname", f.qname}, {"qtype", f.qtype}, {"state", f.state}, {"latency_us", f.latency},
		{"attribution", f.attribution}, {"pid", f.pid}, {"uid", f.uid}, {"user", f.user}, {"comm", f.comm}, {"exe", f.exe},
		{"unit", f.unit}, {"container", f.container}, {"container_name", f.containerName}, {"image", f.image},
		{"pod", f.pod}, {"namespace", f.namespace},
		{"server_comm", f.serverComm}, {"server_exe", f.serverExe}, {"server_container", f.serverContainer},
		{"incident", f.incident}, {"severity", f.severity}, {"domain", f.domain},
	} {
		if column.value != nil {
			dst = append(append(append(append(dst, `,"`...), column.name...), `":`...), column.value...)
		}
	}
	dst = appendRecords(dst, f.answers)
	if zone := zone(f.authority); zone != nil {
		dst = append(append(dst, `,"zone":`...), zone...)
	}
	return append(appendString(append(dst, `,"json":`...), line), '}')
}

// appendRecords appends data, owners and types of records that have data.
func appendRecords(dst, records []byte) []byte {
	for i, column := range [...]string{`,"answers":[`, `],"answer_names":[`, `],"answer_types":[`} {
		dst = append(dst, column...)
		empty := len(dst)
		for record := range elements(records) {
			data, class, typ := get(record, "data"), get(record, "class"), get(record, "type")
			if data == nil {
				continue
			}
			if len(dst) > empty {
				dst = append(dst, ',')
			}
			switch {
			case i == 0:
				dst = append(dst, data...)
			case i == 1:
				dst = append(dst, get(record, "name")...)
			case string(class) == `"IN"`:
				dst = append(dst, typ...)
			default:
				dst = appendString(dst, []byte(text(class)+" "+text(typ)))
			}
		}
	}
	return append(dst, ']')
}

// zone returns the owner of the first SOA or NS record.
func zone(authority []byte) []byte {
	for record := range elements(authority) {
		if t := string(get(record, "type")); t == `"SOA"` || t == `"NS"` {
			return get(record, "name")
		}
	}
	return nil
}

// clickhouseCode is what an answer with an error begins with.
var clickhouseCode = regexp.MustCompile(`^Code: (\d+)[.,]`)

// clickhouseRows are the errors that are about a row: it has what its column does not
// take. (src/Common/ErrorCodes.cpp)
var clickhouseRows = []string{"6", "26", "27", "33", "38", "41", "53", "69", "70", "72", "117", "131", "349", "436", "441", "676", "677"}

// clickhouseError makes of an answer what Deliver is to return. The status is not to be
// trusted: servers of all times say 500 for what a row has wrong, and 400 for what a
// setting has.
func clickhouseError(answer []byte, err error) error {
	code := clickhouseCode.FindSubmatch(answer)
	if code == nil {
		return err
	}
	var status *httpError
	if !errors.As(err, &status) {
		status = &httpError{http.StatusOK, printable(answer)}
	}
	if slices.Contains(clickhouseRows, string(code[1])) {
		return Permanent(status)
	}
	if strings.Contains(string(answer), "dedup") {
		return fmt.Errorf("say deduplicate=no to this server: %w", status)
	}
	var wait *after
	if errors.As(err, &wait) {
		return err
	}
	return status
}

// Close implements Sink.
func (s *clickhouseSink) Close() error {
	s.client.close()
	return nil
}
