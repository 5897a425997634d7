-- Why:  sums by minute and by hour, which answer most questions without reading single flows. The collector sums each
--       batch; docs/adr/0010-rollups.md has the reasons and measurements.
-- Cost: none, the tables are new and begin empty: flows that were stored before are in table flows only.
-- Undo: DROP VIEW flows_1m, flows_1h, flows_rx_1m, flows_group_1m; DROP TABLE flows_1m_rows, flows_1h_rows,
--       flows_rx_1m_rows, flows_group_1m_rows, rollup_folds. All sums are lost; the flows are not.

-- The rows of a slot (some hour of the collector's running) come as each batch was summed, folded = false. When every
-- batch of the slot is stored, its rows are summed once more and written again, folded = true. Then a row of rollup_folds
-- says, in one step, that of all slots before "until" the folded rows count and of all others the rows of batches; the
-- former rows are dropped later. So a reader sees each flow once at every moment, whatever is killed when. Readers use
-- the views, which know that.
CREATE TABLE IF NOT EXISTS rollup_folds
(
    until DateTime('UTC') COMMENT 'Of the slots before this one folded rows count. The latest row holds.',
    folded_at DateTime64(3, 'UTC') COMMENT 'When that began to be so.',
    rows_before UInt64 COMMENT 'Rows that were folded.',
    rows_after UInt64 COMMENT 'Rows that they were folded into.'
)
ENGINE = MergeTree
ORDER BY until
COMMENT 'Up to where sums are folded.';

CREATE TABLE IF NOT EXISTS flows_1m_rows
(
    bucket DateTime('UTC') COMMENT 'Start of the minute in which the packets passed.' CODEC(Delta, ZSTD(1)),
    exporter IPv6 COMMENT 'Exporter, as in flows.' CODEC(ZSTD(1)),
    host UInt64 COMMENT 'Host that exported the flows.' CODEC(ZSTD(1)),
    network UInt64 COMMENT 'Network in which they were seen.' CODEC(ZSTD(1)),
    src_vm UInt64 COMMENT 'VM that sent them; 0 is none known.' CODEC(ZSTD(1)),
    dst_vm UInt64 COMMENT 'VM that received them; 0 is none known.' CODEC(ZSTD(1)),
    protocol UInt8 COMMENT 'IP protocol number.' CODEC(ZSTD(1)),
    service UInt16 COMMENT 'Service port: the lower port if it is one of a known service, else the lower one below 32768, else 0.' CODEC(ZSTD(1)),
    rule_id UInt64 COMMENT 'Policy rule that decided; 0 is none known.' CODEC(ZSTD(1)),
    verdict Enum8('unknown' = 0, 'allowed' = 1, 'denied' = 2, 'shadow_denied' = 3, 'spoofed' = 4, 'invalid' = 5, 'unknown_port' = 6) COMMENT 'What policy did with the packets.' CODEC(ZSTD(1)),
    counted Bool COMMENT 'Totals count the row; others are observations of the same packets.' CODEC(ZSTD(1)),
    bytes UInt64 COMMENT 'Bytes, sampling applied. Unit: bytes.' CODEC(T64, ZSTD(1)),
    packets UInt64 COMMENT 'Packets, sampling applied. Unit: packets.' CODEC(T64, ZSTD(1)),
    flows UInt64 COMMENT 'Flows that began in the bucket.' CODEC(T64, ZSTD(1)),
    slot DateTime('UTC') COMMENT 'Slot in which the row was written; it begins at that time.' CODEC(Delta, ZSTD(1)),
    folded Bool COMMENT 'The row sums the slot, not one batch.' CODEC(ZSTD(1)),
    batch UInt64 COMMENT 'Batch that the row sums; 0 if folded.' CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY if(folded, toYYYYMMDD(slot), toUnixTimestamp(slot))
ORDER BY (bucket, network, src_vm, dst_vm)
TTL slot + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000
COMMENT 'Storage of flows_1m.';

CREATE TABLE IF NOT EXISTS flows_1h_rows
(
    bucket DateTime('UTC') COMMENT 'Start of the hour in which the packets passed.' CODEC(Delta, ZSTD(1)),
    exporter IPv6 COMMENT 'Exporter, as in flows.' CODEC(ZSTD(1)),
    host UInt64 COMMENT 'Host that exported the flows.' CODEC(ZSTD(1)),
    network UInt64 COMMENT 'Network in which they were seen.' CODEC(ZSTD(1)),
    src_vm UInt64 COMMENT 'VM that sent them; 0 is none known.' CODEC(ZSTD(1)),
    dst_vm UInt64 COMMENT 'VM that received them; 0 is none known.' CODEC(ZSTD(1)),
    protocol UInt8 COMMENT 'IP protocol number.' CODEC(ZSTD(1)),
    service UInt16 COMMENT 'Service port, as in flows_1m.' CODEC(ZSTD(1)),
    rule_id UInt64 COMMENT 'Policy rule that decided; 0 is none known.' CODEC(ZSTD(1)),
    verdict Enum8('unknown' = 0, 'allowed' = 1, 'denied' = 2, 'shadow_denied' = 3, 'spoofed' = 4, 'invalid' = 5, 'unknown_port' = 6) COMMENT 'What policy did with the packets.' CODEC(ZSTD(1)),
    counted Bool COMMENT 'Totals count the row; others are observations of the same packets.' CODEC(ZSTD(1)),
    bytes UInt64 COMMENT 'Bytes, sampling applied. Unit: bytes.' CODEC(T64, ZSTD(1)),
    packets UInt64 COMMENT 'Packets, sampling applied. Unit: packets.' CODEC(T64, ZSTD(1)),
    flows UInt64 COMMENT 'Flows that began in the bucket.' CODEC(T64, ZSTD(1)),
    slot DateTime('UTC') COMMENT 'Slot in which the row was written; it begins at that time.' CODEC(Delta, ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(slot)
ORDER BY (bucket, network, src_vm, dst_vm)
TTL slot + INTERVAL 3 YEAR
SETTINGS ttl_only_drop_parts = 1
COMMENT 'Storage of flows_1h.';

CREATE TABLE IF NOT EXISTS flows_rx_1m_rows
(
    bucket DateTime('UTC') COMMENT 'Start of the minute in which the flows were received.' CODEC(Delta, ZSTD(1)),
    exporter IPv6 COMMENT 'Exporter, as in flows.' CODEC(ZSTD(1)),
    network UInt64 COMMENT 'Network in which they were seen.' CODEC(ZSTD(1)),
    src_vm UInt64 COMMENT 'VM that sent them; 0 is none known.' CODEC(ZSTD(1)),
    dst_vm UInt64 COMMENT 'VM that received them; 0 is none known.' CODEC(ZSTD(1)),
    rule_id UInt64 COMMENT 'Policy rule that decided; 0 is none known.' CODEC(ZSTD(1)),
    verdict Enum8('unknown' = 0, 'allowed' = 1, 'denied' = 2, 'shadow_denied' = 3, 'spoofed' = 4, 'invalid' = 5, 'unknown_port' = 6) COMMENT 'What policy did with the packets.' CODEC(ZSTD(1)),
    counted Bool COMMENT 'Totals count the row; others are observations of the same packets.' CODEC(ZSTD(1)),
    bytes UInt64 COMMENT 'Bytes, sampling applied. Unit: bytes.' CODEC(T64, ZSTD(1)),
    packets UInt64 COMMENT 'Packets, sampling applied. Unit: packets.' CODEC(T64, ZSTD(1)),
    flows UInt64 COMMENT 'Flows.' CODEC(T64, ZSTD(1)),
    slot DateTime('UTC') COMMENT 'Slot in which the row was written; it begins at that time.' CODEC(Delta, ZSTD(1)),
    folded Bool COMMENT 'The row sums the slot, not one batch.' CODEC(ZSTD(1)),
    batch UInt64 COMMENT 'Batch that the row sums; 0 if folded.' CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY if(folded, toYYYYMMDD(slot), toUnixTimestamp(slot))
ORDER BY (bucket, network, src_vm, dst_vm)
TTL slot + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000
COMMENT 'Storage of flows_rx_1m.';

CREATE TABLE IF NOT EXISTS flows_group_1m_rows
(
    bucket DateTime('UTC') COMMENT 'Start of the minute in which the packets passed.' CODEC(Delta, ZSTD(1)),
    group UInt64 COMMENT 'Address group or VM group; 0 is none at that end.' CODEC(ZSTD(1)),
    end Enum8('in' = 1, 'out' = 2, 'both' = 3) COMMENT 'End of the flows at which the group is: in is the destination, out the source.' CODEC(ZSTD(1)),
    protocol UInt8 COMMENT 'IP protocol number.' CODEC(ZSTD(1)),
    verdict Enum8('unknown' = 0, 'allowed' = 1, 'denied' = 2, 'shadow_denied' = 3, 'spoofed' = 4, 'invalid' = 5, 'unknown_port' = 6) COMMENT 'What policy did with the packets.' CODEC(ZSTD(1)),
    counted Bool COMMENT 'Totals count the row; others are observations of the same packets.' CODEC(ZSTD(1)),
    bytes UInt64 COMMENT 'Bytes, sampling applied. Unit: bytes.' CODEC(T64, ZSTD(1)),
    packets UInt64 COMMENT 'Packets, sampling applied. Unit: packets.' CODEC(T64, ZSTD(1)),
    flows UInt64 COMMENT 'Flows that began in the bucket.' CODEC(T64, ZSTD(1)),
    slot DateTime('UTC') COMMENT 'Slot in which the row was written; it begins at that time.' CODEC(Delta, ZSTD(1)),
    folded Bool COMMENT 'The row sums the slot, not one batch.' CODEC(ZSTD(1)),
    batch UInt64 COMMENT 'Batch that the row sums; 0 if folded.' CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY if(folded, toYYYYMMDD(slot), toUnixTimestamp(slot))
ORDER BY (bucket, group)
TTL slot + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000
COMMENT 'Storage of flows_group_1m.';

-- The names cost nothing to queries that do not name them.
CREATE VIEW IF NOT EXISTS flows_1m AS
WITH (SELECT max(until) FROM rollup_folds) AS folded_until
SELECT
    bucket, exporter, host, network, src_vm, dst_vm, protocol, service, rule_id, verdict, counted, bytes, packets, flows,
    dictGetOrDefault('entity_now', 'pool', host, 0) AS pool,
    dictGetOrDefault('entity_now', 'name', host, '') AS host_name,
    dictGetOrDefault('entity_now', 'name', network, '') AS network_name,
    dictGetOrDefault('entity_now', 'name', src_vm, '') AS src_vm_name,
    dictGetOrDefault('entity_now', 'name', dst_vm, '') AS dst_vm_name
FROM flows_1m_rows
WHERE (folded AND slot < folded_until) OR (NOT folded AND slot >= folded_until)
COMMENT 'Sums of flows by the minute in which the packets passed. The newest minutes read low until their flows have expired.';

CREATE VIEW IF NOT EXISTS flows_1h AS
WITH (SELECT max(until) FROM rollup_folds) AS folded_until
SELECT
    bucket, exporter, host, network, src_vm, dst_vm, protocol, service, rule_id, verdict, counted, bytes, packets, flows,
    dictGetOrDefault('entity_now', 'pool', host, 0) AS pool,
    dictGetOrDefault('entity_now', 'name', host, '') AS host_name,
    dictGetOrDefault('entity_now', 'name', network, '') AS network_name,
    dictGetOrDefault('entity_now', 'name', src_vm, '') AS src_vm_name,
    dictGetOrDefault('entity_now', 'name', dst_vm, '') AS dst_vm_name
FROM
(
    SELECT bucket, exporter, host, network, src_vm, dst_vm, protocol, service, rule_id, verdict, counted, bytes, packets, flows
    FROM flows_1h_rows
    WHERE slot < folded_until
    UNION ALL
    SELECT toStartOfHour(bucket) AS bucket, exporter, host, network, src_vm, dst_vm, protocol, service, rule_id, verdict, counted, bytes, packets, flows
    FROM flows_1m_rows
    WHERE NOT folded AND slot >= folded_until
)
COMMENT 'Sums of flows by the hour in which the packets passed.';

CREATE VIEW IF NOT EXISTS flows_rx_1m AS
WITH (SELECT max(until) FROM rollup_folds) AS folded_until
SELECT
    bucket, exporter, network, src_vm, dst_vm, rule_id, verdict, counted, bytes, packets, flows,
    dictGetOrDefault('entity_now', 'name', network, '') AS network_name,
    dictGetOrDefault('entity_now', 'name', src_vm, '') AS src_vm_name,
    dictGetOrDefault('entity_now', 'name', dst_vm, '') AS dst_vm_name
FROM flows_rx_1m_rows
WHERE (folded AND slot < folded_until) OR (NOT folded AND slot >= folded_until)
COMMENT 'Sums of flows by the minute in which they were received, which is complete at once: for alerts.';

CREATE VIEW IF NOT EXISTS flows_group_1m AS
WITH (SELECT max(until) FROM rollup_folds) AS folded_until
SELECT
    bucket, group, end, protocol, verdict, counted, bytes, packets, flows,
    dictGetOrDefault('entity_now', 'name', group, '') AS group_name
FROM flows_group_1m_rows
WHERE (folded AND slot < folded_until) OR (NOT folded AND slot >= folded_until)
COMMENT 'Sums of flows by minute and group of either end. A flow is in as many rows as it has groups: sums over groups are no totals.';
