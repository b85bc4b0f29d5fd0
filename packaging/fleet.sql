-- Tables of dnshark for ClickHouse. `dnshark store ddl` prints them, with --cluster for replicas and shards, with
-- --kafka or --nats for events that come by a broker.

-- An event per row: `dnshark -o clickhouse://...` inserts them. Leave out what you do not query: dnshark's rows may
-- have more columns than the table, but the history needs those that its views name. Names and data are escaped
-- text (RFC 1035, \DDD); "json" is the whole event. "answers" is the data of records of the answer section,
-- answer_names and answer_types their owners and types, with the class before the type if it is not IN; zone is the
-- owner of the first SOA or NS record of the authority section. Of an alert, client is who it is about, server who
-- answers, domain what it is about, and incident what its updates have in common. server_comm and the others are of the
-- process that answered here. name_key is the name to look for, its labels from the last to the first.
CREATE TABLE dnshark
(
    event_id       String CODEC(ZSTD),
    time           DateTime64(9, 'UTC') CODEC(Delta, ZSTD),
    event          LowCardinality(String),
    host           LowCardinality(String),
    observer       LowCardinality(String),
    client         LowCardinality(String),
    client_port    UInt16,
    server         LowCardinality(String),
    server_port    UInt16,
    protocol       UInt8,
    id             UInt16,
    opcode         LowCardinality(String),
    rcode          LowCardinality(String),
    qname          String CODEC(ZSTD),
    qtype          LowCardinality(String),
    answers        Array(String) CODEC(ZSTD),
    answer_names   Array(String) CODEC(ZSTD),
    answer_types   Array(LowCardinality(String)),
    zone           String CODEC(ZSTD),
    state          LowCardinality(String),
    latency_us     Nullable(UInt64),
    attribution    LowCardinality(String),
    pid            UInt32,
    uid            Nullable(UInt32),
    user           LowCardinality(String),
    comm           LowCardinality(String),
    exe            LowCardinality(String),
    unit           LowCardinality(String),
    container      String CODEC(ZSTD),
    container_name LowCardinality(String),
    image          LowCardinality(String),
    pod            LowCardinality(String),
    namespace      LowCardinality(String),
    server_comm    LowCardinality(String),
    server_exe     LowCardinality(String),
    server_container String CODEC(ZSTD),
    incident       String CODEC(ZSTD),
    severity       LowCardinality(String),
    domain         String CODEC(ZSTD),
    json           String CODEC(ZSTD(3)),
    name_key       String MATERIALIZED concat(arrayStringConcat(arrayReverse(extractAll(lower(if(qname = '', domain, qname)), '((?:[^.\\\\]|\\\\.)+)')), '\0'), '\0') CODEC(ZSTD),
    INDEX event_index event TYPE set(100) GRANULARITY 4,
    INDEX owners_index answer_names TYPE bloom_filter GRANULARITY 4,
    INDEX answers_index answers TYPE bloom_filter GRANULARITY 4
)
ENGINE = MergeTree
PARTITION BY toYYYYMMDD(time)
ORDER BY (toStartOfHour(time), name_key, time)
TTL toDateTime(time) + INTERVAL 30 DAY
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000;

-- The history: passive DNS tuples and counts, a row for each way to find one. by: 0 owner name, 2 name in the data
-- (key: labels from the last to the first, a NUL after each), 1 and 3 the same as they are written, 4 address (16
-- octets), 5 comm, 6 exe, 7 container, 8 name that was asked for; per hour 16 names, 17 clients, 18 processes,
-- 19 servers, 20 rcodes, 21 NXDOMAIN, per day 16 more (key: begin, ns since 1970, 8 octets). first and last are ns
-- since 1970. Rows with the same sorting key become one when parts are merged; until then sums and minima do.
CREATE TABLE dnshark_history
(
    by        UInt8,
    key       String CODEC(ZSTD),
    name      String CODEC(ZSTD),
    type      LowCardinality(String),
    rdata     String CODEC(ZSTD),
    bailiwick String CODEC(ZSTD),
    sensor    LowCardinality(String),
    first     SimpleAggregateFunction(min, Int64) CODEC(Delta, ZSTD),
    last      SimpleAggregateFunction(max, Int64) CODEC(Delta, ZSTD),
    count     SimpleAggregateFunction(sum, Int64) CODEC(Delta, ZSTD),
    INDEX first_index first TYPE minmax GRANULARITY 1
)
ENGINE = AggregatingMergeTree
ORDER BY (by, key, name, type, rdata, bailiwick, sensor)
TTL toDateTime(intDiv(last, 1000000000)) + INTERVAL 400 DAY
SETTINGS index_granularity = 1024, non_replicated_deduplication_window = 10000;

-- What events tell to the history: responses that somebody asked for. Programs that write to the history themselves
-- (dnshark --store) must not insert events too, or all of it counts twice.
CREATE MATERIALIZED VIEW dnshark_history_tuples TO dnshark_history AS
SELECT way.1 AS by, way.2 AS key, name, type, rdata, bailiwick, sensor, min(ns) AS first, max(ns) AS last, toInt64(count()) AS count
FROM
(
    SELECT ns, name, type, rdata, sensor, if(zone = '.' OR zone != '' AND startsWith(name_key, zone_key), zone, '') AS bailiwick,
        arrayJoin(arrayFilter(w -> w.2 != '', [
            (toUInt8(0), name_key), (toUInt8(1), name),
            (toUInt8(2), if(target = '', '', concat(arrayStringConcat(arrayReverse(extractAll(target, '((?:[^.\\\\]|\\\\.)+)')), '\0'), '\0'))), (toUInt8(3), target),
            (toUInt8(4), if(type IN ('A', 'AAAA'), unhex(hex(IPv6StringToNumOrDefault(if(type = 'A', concat('::ffff:', rdata), rdata)))), '')),
            (toUInt8(5), comm), (toUInt8(6), exe), (toUInt8(7), container)])) AS way
    FROM
    (
        SELECT ns, name, type, rdata, zone, sensor, comm, exe, container, concat(arrayStringConcat(arrayReverse(extractAll(name, '((?:[^.\\\\]|\\\\.)+)')), '\0'), '\0') AS name_key, concat(arrayStringConcat(arrayReverse(extractAll(zone, '((?:[^.\\\\]|\\\\.)+)')), '\0'), '\0') AS zone_key,
            transform(type, ['NS', 'CNAME', 'SOA', 'PTR', 'MX', 'SRV', 'DNAME', 'SVCB', 'HTTPS'], [1, 1, 1, 1, 2, 4, 1, 2, 2], 0) AS field,
            if(field = 0, '', lower(splitByChar(' ', rdata)[field])) AS target
        FROM
        (
            SELECT toUnixTimestamp64Nano(time) AS ns, lower(record.1) AS name, record.2 AS type, record.3 AS rdata, lower(zone) AS zone,
                toString(host) AS sensor, toString(comm) AS comm, toString(exe) AS exe, container
            FROM dnshark
            ARRAY JOIN arrayMap((n, t, d) -> (n, toString(t), d), answer_names, answer_types, answers) AS record
            WHERE event = 'net_packet_dns_response' AND opcode = 'QUERY' AND state NOT IN ('unsolicited', 'mismatched') AND qname != '' AND position(record.2, ' ') = 0
        )
    )
)
GROUP BY by, key, name, type, rdata, bailiwick, sensor;

CREATE MATERIALIZED VIEW dnshark_history_counts TO dnshark_history AS
SELECT way.1 AS by, way.2 AS key, way.3 AS name, '' AS type, '' AS rdata, '' AS bailiwick, '' AS sensor, min(ns) AS first, max(ns) AS last, toInt64(count()) AS count
FROM
(
    SELECT ns, arrayJoin(arrayFilter(w -> w.3 != '', [(toUInt8(8), concat(arrayStringConcat(arrayReverse(extractAll(asked, '((?:[^.\\\\]|\\\\.)+)')), '\0'), '\0'), asked),
        (toUInt8(16), begin_hour, asked),
        (toUInt8(17), begin_hour, asker),
        (toUInt8(18), begin_hour, process),
        (toUInt8(19), begin_hour, answerer),
        (toUInt8(20), begin_hour, code),
        (toUInt8(21), begin_hour, absent),
        (toUInt8(32), begin_day, asked),
        (toUInt8(33), begin_day, asker),
        (toUInt8(34), begin_day, process),
        (toUInt8(35), begin_day, answerer),
        (toUInt8(36), begin_day, code),
        (toUInt8(37), begin_day, absent)])) AS way
    FROM
    (
        SELECT toUnixTimestamp64Nano(time) AS ns, unhex(leftPad(hex(toUInt64(intDiv(ns, 3600000000000) * 3600000000000)), 16, '0')) AS begin_hour, unhex(leftPad(hex(toUInt64(intDiv(ns, 86400000000000) * 86400000000000)), 16, '0')) AS begin_day, lower(qname) AS asked, if(rcode = 'NXDOMAIN', asked, '') AS absent,
            toString(client) AS asker, toString(server) AS answerer, if(exe = '', toString(comm), toString(exe)) AS process, toString(rcode) AS code
        FROM dnshark
        WHERE event = 'net_packet_dns_response' AND opcode = 'QUERY' AND state NOT IN ('unsolicited', 'mismatched') AND qname != ''
    )
)
GROUP BY by, key, name;

-- Events from the broker: format json, as `dnshark -o kafka://...` sends them. Every server reads a part of them.
CREATE TABLE dnshark_queue (json String)
ENGINE = Kafka
SETTINGS kafka_broker_list = 'broker:19092', kafka_topic_list = 'dnshark.events', kafka_group_name = 'dnshark',
    kafka_format = 'JSONAsString', kafka_num_consumers = 1, kafka_max_block_size = 65536, kafka_flush_interval_ms = 1000;

CREATE MATERIALIZED VIEW dnshark_arrivals TO dnshark AS
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
FROM dnshark_queue;
