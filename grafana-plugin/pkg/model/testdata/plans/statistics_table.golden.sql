SELECT
  machine,
  service,
  v1 AS `uptime`,
  v2 AS `cpu`,
  v3 AS `memory`,
  v4 AS `machine_cpu`,
  v5 AS `machine_memory_used`,
  v6 AS `disk_used`,
  v7 AS `socket_queue_used`,
  v8 AS `flows_waiting`,
  v9 AS `wal_used`,
  v10 AS `wal_age`,
  v11 AS `store_away`,
  v12 AS `events_waiting`,
  v13 AS `hits_waiting`,
  v14 AS `store`,
  v15 AS `silence`
FROM (
  SELECT
    machine,
    service,
    toFloat64(argMax(uptime_ms, time)) AS v1,
    toFloat64(sum(cpu_ms) / greatest(sum(interval_ms), 1)) AS v2,
    toFloat64(argMax(memory_bytes, time)) AS v3,
    toFloat64(if(max(machine_cpu_ms) = 0, 0, sum(machine_cpu_ms) / greatest(sumIf(interval_ms * machine_cpus, machine_cpu_ms > 0), 1))) AS v4,
    toFloat64(argMax(if(machine_memory_bytes = 0, 0, (machine_memory_bytes - machine_memory_free_bytes) / machine_memory_bytes), time)) AS v5,
    toFloat64(argMax(if(disk_bytes = 0, 0, (disk_bytes - disk_free_bytes) / disk_bytes), time)) AS v6,
    toFloat64(argMax(if(socket_queue_max_bytes = 0, 0, socket_queue_bytes / socket_queue_max_bytes), time)) AS v7,
    toFloat64(argMax(flows_waiting, time)) AS v8,
    toFloat64(argMax(if(wal_max_bytes = 0, 0, wal_bytes / wal_max_bytes), time)) AS v9,
    toFloat64(argMax(wal_age_ms, time)) AS v10,
    toFloat64(argMax(store_away_ms, time)) AS v11,
    toFloat64(argMax(events_waiting, time)) AS v12,
    toFloat64(argMax(hits_waiting, time)) AS v13,
    toFloat64(argMax(store_bytes, time)) AS v14,
    toFloat64(dateDiff('millisecond', max(time), fromUnixTimestamp64Milli({now:Int64})) / 1000) AS v15
  FROM (
    SELECT
      *
    FROM server_stats FINAL
    WHERE time > fromUnixTimestamp64Milli({from:Int64})
      AND time <= fromUnixTimestamp64Milli({to:Int64})
  )
  GROUP BY machine, service
  ORDER BY v1 DESC, machine, service
  LIMIT 1000
)
ORDER BY machine, service

-- {from:Int64} = "1795665607000"
-- {to:Int64} = "1795687207000"
-- {now:Int64} = "1795687207000"
-- table, at most 1000 rows
-- column machine key
-- column service key
-- column uptime value ms
-- column cpu value short
-- column memory value bytes
-- column machine_cpu value percentunit
-- column machine_memory_used value percentunit
-- column disk_used value percentunit
-- column socket_queue_used value percentunit
-- column flows_waiting value short
-- column wal_used value percentunit
-- column wal_age value ms
-- column store_away value ms
-- column events_waiting value short
-- column hits_waiting value short
-- column store value bytes
-- column silence value s
