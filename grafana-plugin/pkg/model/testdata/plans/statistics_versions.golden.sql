SELECT
  machine,
  service,
  version,
  v1 AS `uptime`,
  v2 AS `memory`
FROM (
  SELECT
    machine,
    service,
    runs AS version,
    min(v1) AS v1,
    sum(v2) AS v2
  FROM (
    SELECT
      machine,
      service,
      argMax(version, time) AS runs,
      toFloat64(argMax(uptime_ms, time)) AS v1,
      toFloat64(argMax(memory_bytes, time)) AS v2
    FROM (
      SELECT
        *
      FROM server_stats FINAL
      WHERE time > fromUnixTimestamp64Milli({from:Int64})
        AND time <= fromUnixTimestamp64Milli({to:Int64})
        AND service = {service:String}
    )
    GROUP BY machine, service
  )
  GROUP BY machine, service, version
  ORDER BY v1 DESC, machine, service, version
  LIMIT 1000
)
ORDER BY machine, service, version

-- {from:Int64} = "1795665607000"
-- {to:Int64} = "1795687207000"
-- {service:String} = "collector"
-- table, at most 1000 rows
-- column machine key
-- column service key
-- column version key
-- column uptime value ms
-- column memory value bytes
