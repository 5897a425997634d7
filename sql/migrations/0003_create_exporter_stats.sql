-- Why:  what each exporter sent, lost and got stored, over time: the counters of `weir exporters` outlive the process and
--       can be asked with SQL.
-- Cost: none, the table is new. A row is some 60 bytes on disk; an exporter that sends makes one every 30 seconds.
-- Undo: DROP TABLE exporter_stats. The history of the counters is lost, flows are not.

-- Each row says by how much the counters grew, so that sums are right whatever was restarted. Replacing, so that a write
-- that is repeated after a failure, of which it is not known whether it was done, leaves one row: sum with FINAL.
CREATE TABLE IF NOT EXISTS exporter_stats
(
    time DateTime64(3, 'UTC') COMMENT 'End of the interval that the row is about.' CODEC(Delta, ZSTD(1)),
    interval_ms UInt64 COMMENT 'Its length, since the collector looked before, or since the domain was heard of. Unit: ms.' CODEC(ZSTD(1)),
    instance UInt64 COMMENT 'Run of the collector: a random number.' CODEC(ZSTD(1)),
    exporter IPv6 COMMENT 'Exporter, as in flows.' CODEC(ZSTD(1)),
    version UInt8 COMMENT 'Protocol, as in flows.' CODEC(ZSTD(1)),
    observation_domain UInt32 COMMENT 'Observation domain, as in flows.' CODEC(ZSTD(1)),
    datagrams UInt64 COMMENT 'Datagrams, or messages where a datagram has several.' CODEC(T64, ZSTD(1)),
    bytes UInt64 COMMENT 'Size of those, UDP payload. Unit: bytes.' CODEC(T64, ZSTD(1)),
    flows UInt64 COMMENT 'Flows decoded.' CODEC(T64, ZSTD(1)),
    no_flow UInt64 COMMENT 'Data records that are no flow.' CODEC(T64, ZSTD(1)),
    option_records UInt64 COMMENT 'Records of option data.' CODEC(T64, ZSTD(1)),
    templates UInt64 COMMENT 'Template records, repeated ones too.' CODEC(T64, ZSTD(1)),
    sealed UInt64 COMMENT 'Flows in batches that were closed.' CODEC(T64, ZSTD(1)),
    logged UInt64 COMMENT 'Flows that the write-ahead log took.' CODEC(T64, ZSTD(1)),
    stored UInt64 COMMENT 'Flows that the store took. Not those that a later run of the collector found in the log.' CODEC(T64, ZSTD(1)),
    not_stored UInt64 COMMENT 'Flows lost between decoder and store.' CODEC(T64, ZSTD(1)),
    unclear UInt64 COMMENT 'Flows of batches of which a part was lost: it is not known whose.' CODEC(T64, ZSTD(1)),
    sequence_unit Enum8('flows' = 1, 'messages' = 2, 'records' = 3) COMMENT 'What sequence numbers of the exporter count.' CODEC(ZSTD(1)),
    received UInt64 COMMENT 'What came of that, each once.' CODEC(T64, ZSTD(1)),
    lost UInt64 COMMENT 'What did not come. From: sequence numbers.' CODEC(T64, ZSTD(1)),
    out_of_order UInt64 COMMENT 'Messages that came after a later one.' CODEC(T64, ZSTD(1)),
    duplicates UInt64 COMMENT 'Messages that came again, or too late to count.' CODEC(T64, ZSTD(1)),
    restarts UInt64 COMMENT 'Times that the exporter, or a process of it, began to number anew.' CODEC(T64, ZSTD(1)),
    jumps UInt64 COMMENT 'Times that the number jumped further than loss can explain.' CODEC(T64, ZSTD(1)),
    unchecked UInt64 COMMENT 'Messages whose number could not be checked, for want of a template.' CODEC(T64, ZSTD(1)),
    held_sets UInt64 COMMENT 'Data sets that came before their template.' CODEC(T64, ZSTD(1)),
    expired_sets UInt64 COMMENT 'Of those, the ones whose template did not come in time.' CODEC(T64, ZSTD(1)),
    sampling_assumed UInt64 COMMENT 'Flows whose sampling rate the exporter did not say.' CODEC(T64, ZSTD(1)),
    times_clamped UInt64 COMMENT 'Flows whose times could not be true and were changed.' CODEC(T64, ZSTD(1)),
    dropped Map(String, UInt64) COMMENT 'What could not be decoded, by reason: sets, template records, messages.',
    clock_skew_ms Int64 COMMENT 'How far the exporter\'s clock was ahead at the end, smoothed; 0 also where it was not measured. Unit: ms.' CODEC(T64, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (exporter, observation_domain, version, time, instance)
TTL toDateTime(time) + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'What each observation domain of each exporter sent, lost and got stored, by interval; only intervals in which something changed. Sum with FINAL.';
