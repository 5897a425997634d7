WITH figures AS (
  SELECT
    t,
    machine,
    service,
    toFloat64(sum(cpu_ms) / greatest(sum(interval_ms), 1)) AS v1,
    toFloat64(max(wal_bytes)) AS v2
  FROM (
    SELECT
      *,
      toDateTime(intDiv(toUnixTimestamp64Milli(time) - 1, 60000) * 60, 'UTC') AS t
    FROM server_stats FINAL
    WHERE time > fromUnixTimestamp64Milli({from:Int64})
      AND time <= fromUnixTimestamp64Milli({to:Int64})
  )
  GROUP BY t, machine, service
)
SELECT
  t AS time,
  machine,
  service,
  v1 AS `cpu`,
  v2 AS `wal`
FROM figures
WHERE (machine, service) IN (
  SELECT
    machine,
    service
  FROM figures
  GROUP BY machine, service
  ORDER BY max(v1) DESC, machine, service
  LIMIT 5
)
ORDER BY t, machine, service
LIMIT 1800

-- {from:Int64} = "1795665600000"
-- {to:Int64} = "1795687140000"
-- timeseries, at most 1800 rows, from 2026-11-26T04:00:00Z to 2026-11-26T09:59:00Z by 1m0s
-- column time time
-- column machine key
-- column service key
-- column cpu value short
-- column wal value bytes
