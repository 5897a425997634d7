SELECT
  v1 AS `memory`,
  v2 AS `disk_free`,
  v3 AS `store_restarts`
FROM (
  SELECT
    sum(v1) AS v1,
    min(v2) AS v2,
    sum(v3) AS v3
  FROM (
    SELECT
      machine,
      service,
      toFloat64(argMax(memory_bytes, time)) AS v1,
      toFloat64(argMax(disk_free_bytes, time)) AS v2,
      toFloat64(sum(store_restarts)) AS v3
    FROM (
      SELECT
        *
      FROM server_stats FINAL
      WHERE time > fromUnixTimestamp64Milli({from:Int64})
        AND time <= fromUnixTimestamp64Milli({to:Int64})
    )
    GROUP BY machine, service
  )
  HAVING count() > 0
)

-- {from:Int64} = "1795665607000"
-- {to:Int64} = "1795687207000"
-- number, at most 10 rows
-- column memory value bytes
-- column disk_free value bytes
-- column store_restarts value short or 0
