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
-- owner of the first SOA or NS record of the authority section. Of an alert, client is who it is about, server who
-- answers, domain what it is about, and incident what its updates have in common. server_comm and the others are of the
-- process that answered here. name_key is the name to look for, its labels from the last to the first.
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
    server_comm    {{.Low}},
    server_exe     {{.Low}},
    server_container String{{.Zstd}},
    incident       String{{.Zstd}},
    severity       {{.Low}},
    domain         String{{.Zstd}},
    json           String{{if not .Plain}} CODEC(ZSTD(3)){{end}},
    name_key       String MATERIALIZED {{.Key "lower(if(qname = '', domain, qname))"}}{{.Zstd}}{{if not .Plain}},
    INDEX event_index event TYPE set(100) GRANULARITY 4,
    INDEX owners_index answer_names TYPE bloom_filter GRANULARITY 4,
    INDEX answers_index answers TYPE bloom_filter GRANULARITY 4{{end}}
)
ENGINE = {{.Engine "MergeTree" .Events}}
PARTITION BY toYYYYMMDD(time)
ORDER BY (toStartOfHour(time), name_key, time)
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
    JSONExtract(json, 'Tuple(event_id String, time String, event String, host String, observer String,
        metadata Tuple(src_ip String, dst_ip String, src_port UInt16, dst_port UInt16, protocol UInt8),
        dns Tuple(id UInt16, opcode String, rcode String, flags Array(String), questions Array(Tuple(name String, type String)),
            answer Array(Tuple(name String, type String, class String, data Nullable(String))), authority Array(Tuple(name String, type String))),
        alert Tuple(id String, severity String, domain String, src String, server String),
        server_process Tuple(comm String, exe String, container Tuple(id String)),
        transaction Tuple(state String, latency_us Nullable(UInt64)),
        process Tuple(attribution String, pid UInt32, uid Nullable(UInt32), user String, comm String, exe String, unit String,
            container Tuple(id String, name String, image String, pod Tuple(name String, namespace String))))') AS e,
    e.dns.opcode = '' OR e.dns.flags[1] = 'qr' AS response,
    arrayFilter(r -> r.data IS NOT NULL, e.dns.answer) AS records
SELECT
    e.event_id AS event_id,
    parseDateTime64BestEffortOrZero(e.time, 9, 'UTC') AS time,
    e.event AS event,
    e.host AS host,
    e.observer AS observer,
    multiIf(e.alert.id != '', e.alert.src, response, e.metadata.dst_ip, e.metadata.src_ip) AS client,
    if(response, e.metadata.dst_port, e.metadata.src_port) AS client_port,
    multiIf(e.alert.id != '', e.alert.server, response, e.metadata.src_ip, e.metadata.dst_ip) AS server,
    if(response, e.metadata.src_port, e.metadata.dst_port) AS server_port,
    e.metadata.protocol AS protocol,
    e.dns.id AS id,
    e.dns.opcode AS opcode,
    e.dns.rcode AS rcode,
    e.dns.questions[1].name AS qname,
    e.dns.questions[1].type AS qtype,
    arrayMap(r -> assumeNotNull(r.data), records) AS answers,
    arrayMap(r -> r.name, records) AS answer_names,
    arrayMap(r -> if(r.class = 'IN', r.type, concat(r.class, ' ', r.type)), records) AS answer_types,
    arrayFirst(r -> r.type IN ('SOA', 'NS'), e.dns.authority).name AS zone,
    e.transaction.state AS state,
    e.transaction.latency_us AS latency_us,
    e.process.attribution AS attribution,
    e.process.pid AS pid,
    e.process.uid AS uid,
    e.process.user AS user,
    e.process.comm AS comm,
    e.process.exe AS exe,
    e.process.unit AS unit,
    e.process.container.id AS container,
    e.process.container.name AS container_name,
    e.process.container.image AS image,
    e.process.container.pod.name AS pod,
    e.process.container.pod.namespace AS namespace,
    e.server_process.comm AS server_comm,
    e.server_process.exe AS server_exe,
    e.server_process.container.id AS server_container,
    e.alert.id AS incident,
    e.alert.severity AS severity,
    e.alert.domain AS domain,
    json
FROM {{.Events}}_queue;
{{- end}}
