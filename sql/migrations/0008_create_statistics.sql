-- Why:  how the machines and processes of Weir do, and how much there is in the estate and how much of that is active, over time: what a
--       status page shows of now can be asked of any time, put on dashboards, and alerted on.
-- Cost: none, the tables are new. A row of server_stats is some 100 bytes on disk, one of network_stats some 40; each process makes one a
--       minute, and each policyd one of network_stats.
-- Undo: DROP TABLE server_stats, network_stats. The history of both is lost.

-- Counters say by how much they grew in the interval, so that sums are right whatever was restarted. Replacing, so that a write that is
-- repeated after a failure, of which it is not known whether it was done, leaves one row: sum with FINAL.
CREATE TABLE IF NOT EXISTS server_stats
(
    time DateTime64(3, 'UTC') COMMENT 'End of the interval that the row is about.' CODEC(Delta, ZSTD(1)),
    interval_ms UInt64 COMMENT 'Its length, since the row before, or since the process started. Unit: ms.' CODEC(ZSTD(1)),
    instance UInt64 COMMENT 'Run of the process: a random number.' CODEC(ZSTD(1)),
    service LowCardinality(String) COMMENT 'What the process is: up, policyd, collector, or store, which is the embedded one.',
    machine LowCardinality(String) COMMENT 'Name of the machine that it runs on.',
    pid UInt32 COMMENT 'Number of the process.' CODEC(ZSTD(1)),
    version LowCardinality(String) COMMENT 'Version of Weir.',
    collector UInt16 COMMENT 'Collector that it is, as in flows; 0 if it is none, or has no number yet.' CODEC(ZSTD(1)),
    uptime_ms UInt64 COMMENT 'Since the process started. Unit: ms.' CODEC(T64, ZSTD(1)),
    cpu_ms UInt64 COMMENT 'Time of CPUs that the process used in the interval. Unit: ms.' CODEC(T64, ZSTD(1)),
    memory_bytes UInt64 COMMENT 'Memory that it has, resident. Unit: bytes.' CODEC(T64, ZSTD(1)),
    threads UInt32 COMMENT 'Its threads.' CODEC(T64, ZSTD(1)),
    open_files UInt32 COMMENT 'Files and sockets that it has open.' CODEC(T64, ZSTD(1)),
    max_open_files UInt64 COMMENT 'So many it may have.' CODEC(T64, ZSTD(1)),
    machine_cpus UInt32 COMMENT 'CPUs of the machine.' CODEC(T64, ZSTD(1)),
    machine_cpu_ms UInt64 COMMENT 'Time of CPUs that anything on the machine used in the interval; 0 in the first row of a run. Unit: ms.' CODEC(T64, ZSTD(1)),
    machine_load Float64 COMMENT 'Load of the machine, the mean of a minute. From: /proc/loadavg.' CODEC(ZSTD(1)),
    machine_memory_bytes UInt64 COMMENT 'Memory of the machine. Unit: bytes.' CODEC(T64, ZSTD(1)),
    machine_memory_free_bytes UInt64 COMMENT 'Of that, what programs could still get. From: MemAvailable of /proc/meminfo. Unit: bytes.' CODEC(T64, ZSTD(1)),
    machine_uptime_ms UInt64 COMMENT 'Since the machine started. Unit: ms.' CODEC(T64, ZSTD(1)),
    disk_bytes UInt64 COMMENT 'Size of the file system that the data of the process is on. Unit: bytes.' CODEC(T64, ZSTD(1)),
    disk_free_bytes UInt64 COMMENT 'Of that, what the process can still use. Unit: bytes.' CODEC(T64, ZSTD(1)),
    datagrams UInt64 COMMENT 'Datagrams received in the interval.' CODEC(T64, ZSTD(1)),
    socket_drops UInt64 COMMENT 'Datagrams that the kernel discarded in the interval, for want of buffer.' CODEC(T64, ZSTD(1)),
    socket_queue_bytes UInt64 COMMENT 'Memory of datagrams that wait in the kernel, of all sockets. Unit: bytes.' CODEC(T64, ZSTD(1)),
    socket_queue_max_bytes UInt64 COMMENT 'So much the kernel lets wait. Unit: bytes.' CODEC(T64, ZSTD(1)),
    flows UInt64 COMMENT 'Flows decoded in the interval.' CODEC(T64, ZSTD(1)),
    flows_stored UInt64 COMMENT 'Flows that the store took in the interval, those of former runs that were in the write-ahead log, too.' CODEC(T64, ZSTD(1)),
    flows_dropped UInt64 COMMENT 'Flows that were lost in the interval, between decoder and store.' CODEC(T64, ZSTD(1)),
    flows_waiting UInt64 COMMENT 'Flows that wait for the store, in the write-ahead log or in memory.' CODEC(T64, ZSTD(1)),
    wal_bytes UInt64 COMMENT 'Size of the write-ahead log. Unit: bytes.' CODEC(T64, ZSTD(1)),
    wal_max_bytes UInt64 COMMENT 'Size that it may have. Unit: bytes.' CODEC(T64, ZSTD(1)),
    wal_age_ms UInt64 COMMENT 'Age of the oldest flow that waits there; 0 if none does. Unit: ms.' CODEC(T64, ZSTD(1)),
    store_away_ms UInt64 COMMENT 'Since when the store takes no flows; 0 if it does. Unit: ms.' CODEC(T64, ZSTD(1)),
    events_waiting UInt64 COMMENT 'Network events that wait for the store.' CODEC(T64, ZSTD(1)),
    events_dropped UInt64 COMMENT 'Network events that were lost in the interval.' CODEC(T64, ZSTD(1)),
    hits_waiting UInt64 COMMENT 'Packets that met rules, in rows that wait for the store.' CODEC(T64, ZSTD(1)),
    hits_dropped UInt64 COMMENT 'Packets that met rules, of which it will not be stored, since too much waited in the interval.' CODEC(T64, ZSTD(1)),
    store_bytes UInt64 COMMENT 'Size of all tables on disk, as who keeps the store in bounds knows it; 0 from others. Unit: bytes.' CODEC(T64, ZSTD(1)),
    store_max_bytes UInt64 COMMENT 'Size that they may have; 0 is no limit. Unit: bytes.' CODEC(T64, ZSTD(1)),
    store_restarts UInt64 COMMENT 'Times in the interval that the embedded store ended by itself and was started again.' CODEC(T64, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (time, machine, service, instance)
TTL toDateTime(time) + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'How every process of Weir does, and its machine: a row for each once a minute. What a process has nothing to do with is 0. Sum with FINAL.';

CREATE TABLE IF NOT EXISTS network_stats
(
    time DateTime64(3, 'UTC') COMMENT 'When it was so.' CODEC(Delta, ZSTD(1)),
    instance UInt64 COMMENT 'Run of policyd, which counts: a random number.' CODEC(ZSTD(1)),
    pools UInt64 COMMENT 'Pools that there are.' CODEC(T64, ZSTD(1)),
    pools_active UInt64 COMMENT 'Of those, the ones with an active host.' CODEC(T64, ZSTD(1)),
    hosts UInt64 COMMENT 'Hosts that there are.' CODEC(T64, ZSTD(1)),
    hosts_active UInt64 COMMENT 'Of those, the ones that are connected; of hosts that Weir has no session with, the ones that send flows.' CODEC(T64, ZSTD(1)),
    networks UInt64 COMMENT 'Networks that there are.' CODEC(T64, ZSTD(1)),
    networks_active UInt64 COMMENT 'Of those, the ones with an active VIF.' CODEC(T64, ZSTD(1)),
    vms UInt64 COMMENT 'VMs that there are.' CODEC(T64, ZSTD(1)),
    vms_active UInt64 COMMENT 'Of those, the ones that run: their power state says so, or, where nobody tells it, the host is known where they are.' CODEC(T64, ZSTD(1)),
    vifs UInt64 COMMENT 'VIFs that there are.' CODEC(T64, ZSTD(1)),
    vifs_active UInt64 COMMENT 'Of those, the ones of VMs that run.' CODEC(T64, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (time, instance)
TTL toDateTime(time) + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'How much there is in the estate, and how much of that is active: a row once a minute.';
