-- The table that `dnshark -o clickhouse://...` inserts into. Leave out what you do not query: dnshark's rows may
-- have more columns than the table. Names and data are escaped text (RFC 1035, \DDD); "json" is the whole event.
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
    json           String CODEC(ZSTD(3)),
    INDEX answers_index answers TYPE bloom_filter GRANULARITY 4
)
ENGINE = MergeTree
PARTITION BY toYYYYMMDD(time)
ORDER BY (qname, time)
TTL toDateTime(time) + INTERVAL 30 DAY
-- For insert_deduplication_token: how many blocks the table remembers. Replicated tables do by themselves.
SETTINGS non_replicated_deduplication_window = 10000;
