package main

import (
	"github.com/spf13/cobra"

	"github.com/dnshark-io/dnshark/internal/store/clickhouse"
)

func newStore(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Prepare a database for the history of many hosts",
		Args:  atMost(0),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newStoreDDL(o))
	return cmd
}

func newStoreDDL(o *options) *cobra.Command {
	var d clickhouse.DDL
	cmd := &cobra.Command{
		Use:   "ddl",
		Short: "Print the tables for ClickHouse",
		Long: `ddl prints what makes the tables for ClickHouse: that of events, for -o clickhouse://...
or a broker, and that of the history, for --store clickhouse://..., which views fill with what
comes to the table of events.`,
		Example: `  dnshark store ddl | clickhouse-client --database dns --multiquery
  dnshark store ddl --cluster fleet --kafka k1.example:9092,k2.example:9092`,
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if d.EventDays < 1 || d.HistoryDays < 1 || d.EventDays > clickhouse.MaxDays || d.HistoryDays > clickhouse.MaxDays {
				return usagef("--event-days and --history-days are 1 to %d", clickhouse.MaxDays)
			}
			if err := d.Print(o.std.out); err != nil {
				return usagef("%w", err)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&d.Cluster, "cluster", "", "tables with replicas and shards, on the `NAME` of the server's remote_servers")
	f.StringVar(&d.Kafka, "kafka", "", "read events from Kafka: `BROKERS`, HOST:PORT with commas between them")
	f.StringVar(&d.NATS, "nats", "", "read events from NATS JetStream: `SERVER`, HOST:PORT")
	f.StringVar(&d.Topic, "topic", "dnshark.events", "`TOPIC` of Kafka, or subject of NATS")
	f.StringVar(&d.Stream, "stream", "DNS", "`NAME` of JetStream's stream")
	f.StringVar(&d.Consumer, "consumer", "clickhouse", "`NAME` of the stream's durable consumer, which must be there")
	f.IntVar(&d.EventDays, "event-days", 30, "keep events for so many `DAYS`")
	f.IntVar(&d.HistoryDays, "history-days", 400, "keep of the history what was seen in so many `DAYS`")
	f.BoolVar(&d.Plain, "plain", false, "for servers before 20.1: no codecs, nothing is removed or merged")
	return cmd
}
