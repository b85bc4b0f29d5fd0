package clickhouse

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/template"

	"github.com/dnshark-io/dnshark/internal/store"
)

//go:generate sh -c "go run ../../../cmd/dnshark store ddl >../../../docs/clickhouse.sql"
//go:generate sh -c "go run ../../../cmd/dnshark store ddl --kafka broker:19092 >../../../packaging/fleet.sql"

//go:embed ddl.sql
var ddlText string

var ddl = template.Must(template.New("ddl.sql").Parse(ddlText))

// DDL says which tables are wanted.
type DDL struct {
	Cluster string // name in the server's remote_servers; replicas by the macros {shard} and {replica}; "": one server
	Kafka   string // brokers, HOST:PORT with commas between them; "": none
	NATS    string // server, HOST:PORT; "": none
	Topic   string // or subject
	// Stream and Consumer are JetStream's; the consumer must be there.
	Stream, Consumer       string
	EventDays, HistoryDays int  // for how long rows are kept
	Plain                  bool // for servers before 20.1
}

// MaxDays is what the type DateTime, which ends in 2106, can add.
const MaxDays = 10000

// Print writes the statements, a semicolon after each.
func (d *DDL) Print(w io.Writer) error {
	switch {
	case d.Kafka != "" && d.NATS != "":
		return errors.New("events come from either Kafka or NATS")
	case d.Plain && (d.Kafka != "" || d.NATS != ""):
		return errors.New("old servers cannot read JSON from a broker")
	}
	return ddl.Execute(w, d)
}

// What the template asks for.

func (d *DDL) Events() string  { return "dnshark" }
func (d *DDL) History() string { return Table }
func (d *DDL) Broker() bool    { return d.Kafka != "" || d.NATS != "" }

// Local is what the name of a shard's own table ends with.
func (d *DDL) Local() string {
	if d.Cluster == "" {
		return ""
	}
	return Local
}

// Quoted writes text as SQL does.
func (d *DDL) Quoted(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'"
}

func (d *DDL) OnCluster() string {
	if d.Cluster == "" {
		return ""
	}
	return " ON CLUSTER " + d.Quoted(d.Cluster)
}

// Engine returns an engine of the MergeTree family, of replicas on a cluster.
func (d *DDL) Engine(family, table string) string {
	if d.Cluster == "" {
		return family
	}
	return "Replicated" + family + "('/clickhouse/tables/{shard}/" + table + "', '{replica}')"
}

// Remembers is the setting for insert_deduplication_token: how many blocks a table
// knows again. Replicated tables do by themselves.
func (d *DDL) Remembers() string {
	if d.Cluster != "" {
		return ""
	}
	return ", non_replicated_deduplication_window = 10000"
}

func (d *DDL) pick(plain, full string) string {
	if d.Plain {
		return plain
	}
	return full
}

func (d *DDL) Low() string  { return d.pick("String", "LowCardinality(String)") }
func (d *DDL) Zstd() string { return d.pick("", " CODEC(ZSTD)") }
func (d *DDL) Time() string {
	return d.pick("DateTime", "DateTime64(9, 'UTC') CODEC(Delta, ZSTD)")
}
func (d *DDL) Simple(function string) string {
	return d.pick("Int64", "SimpleAggregateFunction("+function+", Int64) CODEC(Delta, ZSTD)")
}

// Key is nameKey of a name in lower case.
func (d *DDL) Key(name string) string {
	return `concat(arrayStringConcat(arrayReverse(extractAll(` + name + `, '((?:[^.\\\\]|\\\\.)+)')), '\0'), '\0')`
}

// Begin is the begin of the hour or day as a key.
func (d *DDL) Begin(span string) string {
	length := map[string]int64{"hour": hour, "day": day}[span]
	return fmt.Sprintf("unhex(leftPad(hex(toUInt64(intDiv(ns, %d) * %[1]d)), 16, '0'))", length)
}

// counted is a value that is counted, as the view of counts makes it.
type counted struct {
	By           int
	Begin, Value string
}

func (d *DDL) Counted() (list []counted) {
	values := map[store.What]string{
		store.Names: "asked", store.Clients: "asker", store.Processes: "process",
		store.Servers: "answerer", store.RCodes: "code", store.NXDomain: "absent",
	}
	for _, span := range []counted{{byHour, "begin_hour", ""}, {byDay, "begin_day", ""}} {
		for i := range store.WhatNames() {
			list = append(list, counted{span.By + i, span.Begin, values[store.What(i)]})
		}
	}
	return list
}

// Evidence tells which events the history is made of: store.Evidence.
func (d *DDL) Evidence() string {
	return "event = 'net_packet_dns_response' AND opcode = 'QUERY' AND state NOT IN ('unsolicited', 'mismatched') AND qname != ''"
}
