-- Why:  which rule decided over flows, in words; how often each rule is met, also where flows are not sampled; sums of what was
--       delivered and what was denied, for which sums have to say the stage.
-- Cost: none to speak of: two new tables, a dictionary that holds all rule instances in memory (some 200 bytes each), columns of flows
--       that are computed when asked for, a column of sums that existing rows have by default, views made anew. A row of hits
--       is some 30 bytes on disk; a rule that is met makes one a minute for each bridge.
-- Undo: CREATE OR REPLACE the views as in 0005, ALTER TABLE flows DROP COLUMN rule_name, rule_text, ALTER TABLE flows_1m_rows,
--       flows_1h_rows, flows_rx_1m_rows, flows_group_1m_rows DROP COLUMN stage, DROP DICTIONARY rule_instance, DROP VIEW
--       rule_instances_now, DROP TABLE rule_instances, rule_hits_1m. The history of rules and hits is lost.

-- A period of an instance is one row: what is written again, as its end or after a failure, replaces it.
CREATE TABLE IF NOT EXISTS rule_instances
(
    instance UInt32 COMMENT 'Number of the rule instance; column rule_instance of other tables has it. Up to 255 it is a built-in rule.',
    valid_from DateTime64(3, 'UTC') COMMENT 'From when on it was in force.',
    valid_to DateTime64(3, 'UTC') COMMENT 'Until when it was; 2200 as long as it is.',
    rule_id UInt64 COMMENT 'Rule that it is an instance of; 0 of the built-in rules.',
    rule String COMMENT 'Name of the rule.',
    scope UInt64 COMMENT 'Pool, network, VM or VIF whose rule it is; 0 is all.',
    tier LowCardinality(String) COMMENT 'Tier of the hierarchy, as global_mandatory; system of the built-in rules.',
    action LowCardinality(String) COMMENT 'What it does: allow, deny, shadow.',
    verdict Enum8('unknown' = 0, 'allowed' = 1, 'denied' = 2, 'shadow_denied' = 3, 'spoofed' = 4, 'invalid' = 5, 'unknown_port' = 6) COMMENT 'Verdict of the flows that it decided.',
    text String COMMENT 'The rule in a line.',
    written DateTime64(3, 'UTC') COMMENT 'When the row was written: of several for one period the last holds.'
)
ENGINE = ReplacingMergeTree(written)
ORDER BY (instance, valid_from)
COMMENT 'Rule instances: each rule with one action in one version, and when it was in force.';

CREATE VIEW IF NOT EXISTS rule_instances_now AS
SELECT toUInt64(instance) AS instance, rule_id, rule, scope, toString(tier) AS tier, toString(action) AS action, toString(verdict) AS verdict, text, valid_from, valid_to
FROM rule_instances FINAL
ORDER BY instance, valid_from DESC
LIMIT 1 BY instance
COMMENT 'The last period of each rule instance.';

CREATE DICTIONARY IF NOT EXISTS rule_instance
(
    instance UInt64,
    rule_id UInt64,
    rule String,
    scope UInt64,
    tier String,
    action String,
    verdict String,
    text String
)
PRIMARY KEY instance
SOURCE(CLICKHOUSE(TABLE 'rule_instances_now'))
LIFETIME(MIN 30 MAX 60)
LAYOUT(HASHED())
COMMENT 'Rule instances by number.';

-- A row is what a run of policyd has counted of its minute so far. Both sums only grow, so of rows that are written again the last
-- one has the most packets, in whichever order they arrive: it replaces the others. Sum with FINAL.
CREATE TABLE IF NOT EXISTS rule_hits_1m
(
    minute DateTime('UTC') COMMENT 'Start of the minute in which the switch was asked.' CODEC(Delta, ZSTD(1)),
    host UInt64 COMMENT 'Host of the bridge.' CODEC(ZSTD(1)),
    bridge UInt64 COMMENT 'Bridge whose flows counted.' CODEC(ZSTD(1)),
    rule_id UInt64 COMMENT 'Rule that was met; 0 of the built-in rules.' CODEC(ZSTD(1)),
    rule_instance UInt32 COMMENT 'Version of the rule.' CODEC(ZSTD(1)),
    stage Enum8('none' = 0, 'egress' = 1, 'ingress' = 2, 'reply' = 3, 'system' = 4) COMMENT 'Stage of policy at which it was met.' CODEC(ZSTD(1)),
    run UInt64 COMMENT 'Run of policyd that counted: a random number.' CODEC(ZSTD(1)),
    packets UInt64 COMMENT 'Packets that met the rule there. From: flow statistics of the switch. Unit: packets.' CODEC(T64, ZSTD(1)),
    bytes UInt64 COMMENT 'Bytes of those, from the Ethernet header on. From: flow statistics of the switch. Unit: bytes.' CODEC(T64, ZSTD(1)),
    host_name String ALIAS dictGetOrDefault('entity_now', 'name', host, '') COMMENT 'Name that the host has now, or had last; empty is none known.',
    bridge_name String ALIAS dictGetOrDefault('entity_now', 'name', bridge, '') COMMENT 'Name that the bridge has now, or had last; empty is none known.',
    rule_name String ALIAS dictGetOrDefault('rule_instance', 'rule', toUInt64(rule_instance), '') COMMENT 'Name of the rule; empty is none known.'
)
ENGINE = ReplacingMergeTree(packets)
PARTITION BY toYYYYMM(minute)
ORDER BY (minute, rule_instance, stage, host, bridge, rule_id, run)
TTL minute + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'How often rules were met, by minute, as the switches count it: complete, whatever is sampled. Sum with FINAL.';

ALTER TABLE flows ADD COLUMN IF NOT EXISTS rule_name String ALIAS dictGetOrDefault('rule_instance', 'rule', toUInt64(rule_instance), '') COMMENT 'Name of the rule that decided, built-in ones too; empty is none known.' AFTER dst_vif_name;

ALTER TABLE flows ADD COLUMN IF NOT EXISTS rule_text String ALIAS dictGetOrDefault('rule_instance', 'text', toUInt64(rule_instance), '') COMMENT 'The rule that decided, in a line, as it was when it did.' AFTER rule_name;

-- Sums have hardly more rows by it: rows that differ in the stage mostly differ in rule, verdict or counted, too.
ALTER TABLE flows_1m_rows ADD COLUMN IF NOT EXISTS stage Enum8('none' = 0, 'egress' = 1, 'ingress' = 2, 'reply' = 3, 'system' = 4) COMMENT 'Stage of policy at which the flows were sampled.' CODEC(ZSTD(1)) AFTER rule_id;

ALTER TABLE flows_1h_rows ADD COLUMN IF NOT EXISTS stage Enum8('none' = 0, 'egress' = 1, 'ingress' = 2, 'reply' = 3, 'system' = 4) COMMENT 'Stage of policy at which the flows were sampled.' CODEC(ZSTD(1)) AFTER rule_id;

ALTER TABLE flows_rx_1m_rows ADD COLUMN IF NOT EXISTS stage Enum8('none' = 0, 'egress' = 1, 'ingress' = 2, 'reply' = 3, 'system' = 4) COMMENT 'Stage of policy at which the flows were sampled.' CODEC(ZSTD(1)) AFTER rule_id;

ALTER TABLE flows_group_1m_rows ADD COLUMN IF NOT EXISTS stage Enum8('none' = 0, 'egress' = 1, 'ingress' = 2, 'reply' = 3, 'system' = 4) COMMENT 'Stage of policy at which the flows were sampled.' CODEC(ZSTD(1)) AFTER protocol;

CREATE OR REPLACE VIEW flows_1m AS
WITH (SELECT lines FROM rollup_lines) AS folded_until
SELECT
    bucket, exporter, host, network, src_vm, dst_vm, protocol, service, rule_id, stage, verdict, counted, bytes, packets, flows,
    dictGetOrDefault('entity_now', 'pool', host, 0) AS pool,
    dictGetOrDefault('entity_now', 'name', host, '') AS host_name,
    dictGetOrDefault('entity_now', 'name', network, '') AS network_name,
    dictGetOrDefault('entity_now', 'name', src_vm, '') AS src_vm_name,
    dictGetOrDefault('entity_now', 'name', dst_vm, '') AS dst_vm_name,
    dictGetOrDefault('entity_now', 'name', rule_id, '') AS rule_name
FROM flows_1m_rows
WHERE folded = (slot < folded_until[collector + 1])
COMMENT 'Sums of flows by the minute in which the packets passed. The newest minutes read low until their flows have expired.';

CREATE OR REPLACE VIEW flows_1h AS
WITH (SELECT lines FROM rollup_lines) AS folded_until
SELECT
    bucket, exporter, host, network, src_vm, dst_vm, protocol, service, rule_id, stage, verdict, counted, bytes, packets, flows,
    dictGetOrDefault('entity_now', 'pool', host, 0) AS pool,
    dictGetOrDefault('entity_now', 'name', host, '') AS host_name,
    dictGetOrDefault('entity_now', 'name', network, '') AS network_name,
    dictGetOrDefault('entity_now', 'name', src_vm, '') AS src_vm_name,
    dictGetOrDefault('entity_now', 'name', dst_vm, '') AS dst_vm_name,
    dictGetOrDefault('entity_now', 'name', rule_id, '') AS rule_name
FROM
(
    SELECT bucket, exporter, host, network, src_vm, dst_vm, protocol, service, rule_id, stage, verdict, counted, bytes, packets, flows
    FROM flows_1h_rows
    WHERE slot < folded_until[collector + 1]
    UNION ALL
    SELECT toStartOfHour(bucket) AS bucket, exporter, host, network, src_vm, dst_vm, protocol, service, rule_id, stage, verdict, counted, bytes, packets, flows
    FROM flows_1m_rows
    WHERE NOT folded AND slot >= folded_until[collector + 1]
)
COMMENT 'Sums of flows by the hour in which the packets passed.';

CREATE OR REPLACE VIEW flows_rx_1m AS
WITH (SELECT lines FROM rollup_lines) AS folded_until
SELECT
    bucket, exporter, network, src_vm, dst_vm, rule_id, stage, verdict, counted, bytes, packets, flows,
    dictGetOrDefault('entity_now', 'name', network, '') AS network_name,
    dictGetOrDefault('entity_now', 'name', src_vm, '') AS src_vm_name,
    dictGetOrDefault('entity_now', 'name', dst_vm, '') AS dst_vm_name,
    dictGetOrDefault('entity_now', 'name', rule_id, '') AS rule_name
FROM flows_rx_1m_rows
WHERE folded = (slot < folded_until[collector + 1])
COMMENT 'Sums of flows by the minute in which they were received, which is complete at once: for alerts.';

CREATE OR REPLACE VIEW flows_group_1m AS
WITH (SELECT lines FROM rollup_lines) AS folded_until
SELECT
    bucket, group, end, protocol, stage, verdict, counted, bytes, packets, flows,
    dictGetOrDefault('entity_now', 'name', group, '') AS group_name
FROM flows_group_1m_rows
WHERE folded = (slot < folded_until[collector + 1])
COMMENT 'Sums of flows by minute and group of either end. A flow is in as many rows as it has groups: sums over groups are no totals.';
