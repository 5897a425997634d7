-- Why:  several collectors write to one database. Each folds its own sums, up to a line of its own: docs/adr/0017-several-collectors.md.
-- Cost: none to speak of: columns that existing rows have by default, one new table, views made anew. Sums by batch of the
--       hour in which it is applied are never folded, and are right as they are. The Weir that used the database is stopped before.
-- Undo: CREATE OR REPLACE the views as in 0002, ALTER TABLE flows_1m_rows, flows_1h_rows, flows_rx_1m_rows, flows_group_1m_rows,
--       rollup_folds, exporter_stats DROP COLUMN collector, DROP VIEW rollup_lines, DROP TABLE collectors: as long as no collector
--       but the first wrote.

CREATE TABLE IF NOT EXISTS collectors
(
    number UInt16 COMMENT 'Number of the collector, 1 to 299; column collector of other tables has it.',
    key UInt64 COMMENT 'Random number by which the collector knows the row as its own.',
    name String COMMENT 'Name of its machine when it registered.',
    registered DateTime64(3, 'UTC') COMMENT 'When it registered.'
)
ENGINE = MergeTree
ORDER BY number
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Collectors that ever wrote to the database. A number is given once: its deduplication token is that of the row.';

ALTER TABLE rollup_folds ADD COLUMN IF NOT EXISTS collector UInt16 COMMENT 'Collector whose slots these are; 0 wrote before there were numbers.' FIRST;

ALTER TABLE flows_1m_rows ADD COLUMN IF NOT EXISTS collector UInt16 COMMENT 'Collector that wrote the row. No two have a slot in common.' CODEC(ZSTD(1));

ALTER TABLE flows_1h_rows ADD COLUMN IF NOT EXISTS collector UInt16 COMMENT 'Collector that wrote the row. No two have a slot in common.' CODEC(ZSTD(1));

ALTER TABLE flows_rx_1m_rows ADD COLUMN IF NOT EXISTS collector UInt16 COMMENT 'Collector that wrote the row. No two have a slot in common.' CODEC(ZSTD(1));

ALTER TABLE flows_group_1m_rows ADD COLUMN IF NOT EXISTS collector UInt16 COMMENT 'Collector that wrote the row. No two have a slot in common.' CODEC(ZSTD(1));

ALTER TABLE exporter_stats ADD COLUMN IF NOT EXISTS collector UInt16 COMMENT 'Collector that received it; 0 wrote before there were numbers.' CODEC(ZSTD(1)) AFTER instance;

-- One row, whose array is a constant of each query that compares slots with it: each collector's rows count by their own line.
CREATE VIEW IF NOT EXISTS rollup_lines AS
SELECT groupArrayInsertAt(toDateTime(0, 'UTC'), 300)(until, collector) AS lines
FROM (SELECT collector, max(until) AS until FROM rollup_folds GROUP BY collector)
COMMENT 'Up to where sums are folded: of collector n, lines[n + 1].';

CREATE OR REPLACE VIEW flows_1m AS
WITH (SELECT lines FROM rollup_lines) AS folded_until
SELECT
    bucket, exporter, host, network, src_vm, dst_vm, protocol, service, rule_id, verdict, counted, bytes, packets, flows,
    dictGetOrDefault('entity_now', 'pool', host, 0) AS pool,
    dictGetOrDefault('entity_now', 'name', host, '') AS host_name,
    dictGetOrDefault('entity_now', 'name', network, '') AS network_name,
    dictGetOrDefault('entity_now', 'name', src_vm, '') AS src_vm_name,
    dictGetOrDefault('entity_now', 'name', dst_vm, '') AS dst_vm_name
FROM flows_1m_rows
WHERE folded = (slot < folded_until[collector + 1])
COMMENT 'Sums of flows by the minute in which the packets passed. The newest minutes read low until their flows have expired.';

CREATE OR REPLACE VIEW flows_1h AS
WITH (SELECT lines FROM rollup_lines) AS folded_until
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
    WHERE slot < folded_until[collector + 1]
    UNION ALL
    SELECT toStartOfHour(bucket) AS bucket, exporter, host, network, src_vm, dst_vm, protocol, service, rule_id, verdict, counted, bytes, packets, flows
    FROM flows_1m_rows
    WHERE NOT folded AND slot >= folded_until[collector + 1]
)
COMMENT 'Sums of flows by the hour in which the packets passed.';

CREATE OR REPLACE VIEW flows_rx_1m AS
WITH (SELECT lines FROM rollup_lines) AS folded_until
SELECT
    bucket, exporter, network, src_vm, dst_vm, rule_id, verdict, counted, bytes, packets, flows,
    dictGetOrDefault('entity_now', 'name', network, '') AS network_name,
    dictGetOrDefault('entity_now', 'name', src_vm, '') AS src_vm_name,
    dictGetOrDefault('entity_now', 'name', dst_vm, '') AS dst_vm_name
FROM flows_rx_1m_rows
WHERE folded = (slot < folded_until[collector + 1])
COMMENT 'Sums of flows by the minute in which they were received, which is complete at once: for alerts.';

CREATE OR REPLACE VIEW flows_group_1m AS
WITH (SELECT lines FROM rollup_lines) AS folded_until
SELECT
    bucket, group, end, protocol, verdict, counted, bytes, packets, flows,
    dictGetOrDefault('entity_now', 'name', group, '') AS group_name
FROM flows_group_1m_rows
WHERE folded = (slot < folded_until[collector + 1])
COMMENT 'Sums of flows by minute and group of either end. A flow is in as many rows as it has groups: sums over groups are no totals.';
