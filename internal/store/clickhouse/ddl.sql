{{- /* What dnshark store ddl prints; ddl.go says what the fields are. In SQL, a backslash in a string is doubled.
The numbers in "by" are the constants of clickhouse.go. */ -}}
{{- if .Plain -}}
-- Tables of dnshark for ClickHouse before 20.1: nothing is removed, rows of the history are not merged, and only
-- `dnshark --store` writes them.
{{- else -}}
-- Tables of dnshark for ClickHouse. `dnshark store ddl` prints them, with --cluster for replicas and shards, with
-- --kafka or --nats for events that come by a broker.
{{- end}}

-- An event per row: `dnshark -o clickhouse://...` inserts them. Leave out what you do not query: dnshark's rows may
-- have more columns than the table, but the history needs those that its views name. Names and data are escaped
-- text (RFC 1035, \DDD); "json" is the whole event. "answers" is the data of records of the answer section,
-- answer_names and answer_types their owners and types, with the class before the type if it is not IN; zone is the
-- owner of the first SOA or NS record of the authority section.
CREATE TABLE {{.Events}}{{.Local}}{{.OnCluster}}
(
    event_id       String{{.Zstd}},
    time           {{.Time}},
    event          {{.Low}},
    host           {{.Low}},
    observer       {{.Low}},
    client         {{.Low}},
    client_port    UInt16,
    server         {{.Low}},
    server_port    UInt16,
    protocol       UInt8,
    id             UInt16,
    opcode         {{.Low}},
    rcode          {{.Low}},
    qname          String{{.Zstd}},
    qtype          {{.Low}},
    answers        Array(String){{.Zstd}},
    answer_names   Array(String){{.Zstd}},
    answer_types   Array({{.Low}}),
    zone           String{{.Zstd}},
    state          {{.Low}},
    latency_us     Nullable(UInt64),
    attribution    {{.Low}},
    pid            UInt32,
    uid            Nullable(UInt32),
    user           {{.Low}},
    comm           {{.Low}},
    exe            {{.Low}},
    unit           {{.Low}},
    container      String{{.Zstd}},
    container_name {{.Low}},
    image          {{.Low}},
    pod            {{.Low}},
    namespace      {{.Low}},
    json           String{{if not .Plain}} CODEC(ZSTD(3)),
    INDEX answers_index answers TYPE bloom_filter GRANULARITY 4{{end}}
)
ENGINE = {{.Engine "MergeTree" .Events}}
PARTITION BY toYYYYMMDD(time)
ORDER BY (qname, time)
{{- if not .Plain}}
TTL toDateTime(time) + INTERVAL {{.EventDays}} DAY
SETTINGS ttl_only_drop_parts = 1{{.Remembers}}
{{- end}};

-- The history: passive DNS tuples and counts, a row for each way to find one. by: 0 owner name, 2 name in the data
-- (key: labels from the last to the first, a NUL after each), 1 and 3 the same as they are written, 4 address (16
-- octets), 5 comm, 6 exe, 7 container, 8 name that was asked for; per hour 16 names, 17 clients, 18 processes,
-- 19 servers, 20 rcodes, 21 NXDOMAIN, per day 16 more (key: begin, ns since 1970, 8 octets). first and last are ns
-- since 1970. Rows with the same sorting key become one when parts are merged; until then sums and minima do.
CREATE TABLE {{.History}}{{.Local}}{{.OnCluster}}
(
    by        UInt8,
    key       String{{.Zstd}},
    name      String{{.Zstd}},
    type      {{.Low}},
    rdata     String{{.Zstd}},
    bailiwick String{{.Zstd}},
    sensor    {{.Low}},
    first     {{.Simple "min"}},
    last      {{.Simple "max"}},
    count     {{.Simple "sum"}}{{if not .Plain}},
    INDEX first_index first TYPE minmax GRANULARITY 1{{end}}
)
ENGINE = {{if .Plain}}{{.Engine "MergeTree" .History}}{{else}}{{.Engine "AggregatingMergeTree" .History}}{{end}}
ORDER BY (by, key, name, type, rdata, bailiwick, sensor)
{{- if not .Plain}}
TTL toDateTime(intDiv(last, 1000000000)) + INTERVAL {{.HistoryDays}} DAY
SETTINGS index_granularity = 1024{{.Remembers}}
{{- else}}
SETTINGS index_granularity = 1024
{{- end}};
{{- if not .Plain}}

-- What events tell to the history: responses that somebody asked for. Programs that write to the history themselves
-- (dnshark --store) must not insert events too, or all of it counts twice.
CREATE MATERIALIZED VIEW {{.History}}_tuples{{.OnCluster}} TO {{.History}}{{.Local}} AS
SELECT way.1 AS by, way.2 AS key, name, type, rdata, bailiwick, sensor, min(ns) AS first, max(ns) AS last, toInt64(count()) AS count
FROM
(
    SELECT ns, name, type, rdata, sensor, if(zone = '.' OR zone != '' AND startsWith(name_key, zone_key), zone, '') AS bailiwick,
        arrayJoin(arrayFilter(w -> w.2 != '', [
            (toUInt8(0), name_key), (toUInt8(1), name),
            (toUInt8(2), if(target = '', '', {{.Key "target"}})), (toUInt8(3), target),
            (toUInt8(4), if(type IN ('A', 'AAAA'), unhex(hex(IPv6StringToNumOrDefault(if(type = 'A', concat('::ffff:', rdata), rdata)))), '')),
            (toUInt8(5), comm), (toUInt8(6), exe), (toUInt8(7), container)])) AS way
    FROM
    (
        SELECT ns, name, type, rdata, zone, sensor, comm, exe, container, {{.Key "name"}} AS name_key, {{.Key "zone"}} AS zone_key,
            transform(type, ['NS', 'CNAME', 'SOA', 'PTR', 'MX', 'SRV', 'DNAME', 'SVCB', 'HTTPS'], [1, 1, 1, 1, 2, 4, 1, 2, 2], 0) AS field,
            if(field = 0, '', lower(splitByChar(' ', rdata)[field])) AS target
        FROM
        (
            SELECT toUnixTimestamp64Nano(time) AS ns, lower(record.1) AS name, record.2 AS type, record.3 AS rdata, lower(zone) AS zone,
                toString(host) AS sensor, toString(comm) AS comm, toString(exe) AS exe, container
            FROM {{.Events}}{{.Local}}
            ARRAY JOIN arrayMap((n, t, d) -> (n, toString(t), d), answer_names, answer_types, answers) AS record
            WHERE {{.Evidence}} AND position(record.2, ' ') = 0
        )
    )
)
GROUP BY by, key, name, type, rdata, bailiwick, sensor;

CREATE MATERIALIZED VIEW {{.History}}_counts{{.OnCluster}} TO {{.History}}{{.Local}} AS
SELECT way.1 AS by, way.2 AS key, way.3 AS name, '' AS type, '' AS rdata, '' AS bailiwick, '' AS sensor, min(ns) AS first, max(ns) AS last, toInt64(count()) AS count
FROM
(
    SELECT ns, arrayJoin(arrayFilter(w -> w.3 != '', [(toUInt8(8), {{.Key "asked"}}, asked)
        {{- range .Counted}},
        (toUInt8({{.By}}), {{.Begin}}, {{.Value}}){{end}}])) AS way
    FROM
    (
        SELECT toUnixTimestamp64Nano(time) AS ns, {{.Begin "hour"}} AS begin_hour, {{.Begin "day"}} AS begin_day, lower(qname) AS asked, if(rcode = 'NXDOMAIN', asked, '') AS absent,
            toString(client) AS asker, toString(server) AS answerer, if(exe = '', toString(comm), toString(exe)) AS process, toString(rcode) AS code
        FROM {{.Events}}{{.Local}}
        WHERE {{.Evidence}}
    )
)
GROUP BY by, key, name;
{{- end}}
{{- if .Cluster}}

-- All shards together. Events of a host go to one shard, so its tuples are in one place. Programs with --store write
-- to the shard that they are connected to.
CREATE TABLE {{.Events}}{{.OnCluster}} AS {{.Events}}_local ENGINE = Distributed({{.Quoted .Cluster}}, currentDatabase(), {{.Events}}_local, sipHash64(host));
CREATE TABLE {{.History}}{{.OnCluster}} AS {{.History}}_local ENGINE = Distributed({{.Quoted .Cluster}}, currentDatabase(), {{.History}}_local);
{{- end}}
{{- if .Broker}}

-- Events from the broker: format json, as `dnshark -o {{if .Kafka}}kafka{{else}}nats{{end}}://...` sends them. Every server reads a part of them.
CREATE TABLE {{.Events}}_queue{{.OnCluster}} (json String)
{{- if .Kafka}}
ENGINE = Kafka
SETTINGS kafka_broker_list = {{.Quoted .Kafka}}, kafka_topic_list = {{.Quoted .Topic}}, kafka_group_name = 'dnshark',
    kafka_format = 'JSONAsString', kafka_num_consumers = 1, kafka_max_block_size = 65536, kafka_flush_interval_ms = 1000;
{{- else}}
ENGINE = NATS
SETTINGS nats_url = {{.Quoted .NATS}}, nats_subjects = {{.Quoted .Topic}}, nats_queue_group = 'dnshark',
    nats_stream = {{.Quoted .Stream}}, nats_consumer_name = {{.Quoted .Consumer}},
    nats_format = 'JSONAsString', nats_num_consumers = 1, nats_max_block_size = 65536, nats_flush_interval_ms = 1000;
{{- end}}

CREATE MATERIALIZED VIEW {{.Events}}_arrivals{{.OnCluster}} TO {{.Events}}{{.Local}} AS
WITH
    NOT JSONHas(json, 'dns') OR JSONExtractString(json, 'dns', 'flags', 1) = 'qr' AS response,
    arrayFilter(r -> JSONHas(r, 'data'), JSONExtractArrayRaw(json, 'dns', 'answer')) AS records
SELECT
    JSONExtractString(json, 'event_id') AS event_id,
    parseDateTime64BestEffortOrZero(JSONExtractString(json, 'time'), 9, 'UTC') AS time,
    JSONExtractString(json, 'event') AS event,
    JSONExtractString(json, 'host') AS host,
    JSONExtractString(json, 'observer') AS observer,
    JSONExtractString(json, 'metadata', if(response, 'dst_ip', 'src_ip')) AS client,
    JSONExtract(json, 'metadata', if(response, 'dst_port', 'src_port'), 'UInt16') AS client_port,
    JSONExtractString(json, 'metadata', if(response, 'src_ip', 'dst_ip')) AS server,
    JSONExtract(json, 'metadata', if(response, 'src_port', 'dst_port'), 'UInt16') AS server_port,
    JSONExtract(json, 'metadata', 'protocol', 'UInt8') AS protocol,
    JSONExtract(json, 'dns', 'id', 'UInt16') AS id,
    JSONExtractString(json, 'dns', 'opcode') AS opcode,
    JSONExtractString(json, 'dns', 'rcode') AS rcode,
    JSONExtractString(json, 'dns', 'questions', 1, 'name') AS qname,
    JSONExtractString(json, 'dns', 'questions', 1, 'type') AS qtype,
    arrayMap(r -> JSONExtractString(r, 'data'), records) AS answers,
    arrayMap(r -> JSONExtractString(r, 'name'), records) AS answer_names,
    arrayMap(r -> if(JSONExtractString(r, 'class') = 'IN', JSONExtractString(r, 'type'), concat(JSONExtractString(r, 'class'), ' ', JSONExtractString(r, 'type'))), records) AS answer_types,
    JSONExtractString(arrayFirst(r -> JSONExtractString(r, 'type') IN ('SOA', 'NS'), JSONExtractArrayRaw(json, 'dns', 'authority')), 'name') AS zone,
    JSONExtractString(json, 'transaction', 'state') AS state,
    JSONExtract(json, 'transaction', 'latency_us', 'Nullable(UInt64)') AS latency_us,
    JSONExtractString(json, 'process', 'attribution') AS attribution,
    JSONExtract(json, 'process', 'pid', 'UInt32') AS pid,
    JSONExtract(json, 'process', 'uid', 'Nullable(UInt32)') AS uid,
    JSONExtractString(json, 'process', 'user') AS user,
    JSONExtractString(json, 'process', 'comm') AS comm,
    JSONExtractString(json, 'process', 'exe') AS exe,
    JSONExtractString(json, 'process', 'unit') AS unit,
    JSONExtractString(json, 'process', 'container', 'id') AS container,
    JSONExtractString(json, 'process', 'container', 'name') AS container_name,
    JSONExtractString(json, 'process', 'container', 'image') AS image,
    JSONExtractString(json, 'process', 'container', 'pod', 'name') AS pod,
    JSONExtractString(json, 'process', 'container', 'pod', 'namespace') AS namespace,
    json
FROM {{.Events}}_queue;
{{- end}}
