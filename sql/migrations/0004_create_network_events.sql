-- Why:  what Weir noticed in the estate: hosts and VIFs that come and go, exporters that fall silent, settings that others changed.
-- Cost: none, the table is new. A row is some 100 bytes on disk; an estate of a thousand VMs makes some thousand a day.
-- Undo: DROP TABLE network_events. The history of events is lost.

-- Who writes looks which ids are there before it repeats an insert that failed, so that each event is there once; replacing is for
-- the insert that is done after that look, all the same.
CREATE TABLE IF NOT EXISTS network_events
(
    id UInt64 COMMENT 'Identifier; ascends in the order in which events were noticed, with gaps.' CODEC(Delta, ZSTD(1)),
    time DateTime64(3, 'UTC') COMMENT 'When it was noticed.' CODEC(Delta, ZSTD(1)),
    kind LowCardinality(String) COMMENT 'What happened: host_connected, host_lost, vif_plugged, … (docs/howto/watch-events.md lists all).',
    severity Enum8('emergency' = 0, 'alert' = 1, 'critical' = 2, 'error' = 3, 'warning' = 4, 'notice' = 5, 'info' = 6, 'debug' = 7) COMMENT 'How urgent it is. From: RFC 5424 §6.2.1.',
    pool UInt64 COMMENT 'Pool that it is about; 0 is none.' CODEC(ZSTD(1)),
    host UInt64 COMMENT 'Host that it is about; 0 is none.' CODEC(ZSTD(1)),
    bridge UInt64 COMMENT 'Bridge that it is about; 0 is none.' CODEC(ZSTD(1)),
    network UInt64 COMMENT 'Network that it is about; 0 is none.' CODEC(ZSTD(1)),
    vm UInt64 COMMENT 'VM that it is about; 0 is none.' CODEC(ZSTD(1)),
    vif UInt64 COMMENT 'VIF that it is about; 0 is none.' CODEC(ZSTD(1)),
    subject String COMMENT 'Name, as it was then, of what it is about.' CODEC(ZSTD(1)),
    text String COMMENT 'What happened, in a line.' CODEC(ZSTD(1)),
    attributes Map(String, String) COMMENT 'Facts in the text, for programs.' CODEC(ZSTD(1)),
    pool_name String ALIAS dictGetOrDefault('entity_then', 'name', pool, time, '') COMMENT 'Name that the pool had then.',
    host_name String ALIAS dictGetOrDefault('entity_then', 'name', host, time, '') COMMENT 'Name that the host had then.',
    bridge_name String ALIAS dictGetOrDefault('entity_then', 'name', bridge, time, '') COMMENT 'Name that the bridge had then.',
    network_name String ALIAS dictGetOrDefault('entity_then', 'name', network, time, '') COMMENT 'Name that the network had then.',
    vm_name String ALIAS dictGetOrDefault('entity_then', 'name', vm, time, '') COMMENT 'Name that the VM had then.',
    vif_name String ALIAS dictGetOrDefault('entity_then', 'name', vif, time, '') COMMENT 'Name that the VIF had then.',
    INDEX id_range id TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (time, id)
TTL toDateTime(time) + INTERVAL 365 DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'Network events: what Weir noticed in the estate.';
