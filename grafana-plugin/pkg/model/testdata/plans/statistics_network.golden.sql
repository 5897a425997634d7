SELECT
  t AS time,
  v1 AS `hosts_active`,
  v2 AS `vms_active`
FROM (
  SELECT
    t,
    toFloat64(argMax(hosts_active, time)) AS v1,
    toFloat64(argMax(vms_active, time)) AS v2
  FROM (
    SELECT
      *,
      toDateTime(intDiv(toUnixTimestamp64Milli(time) - 1, 60000) * 60, 'UTC') AS t
    FROM network_stats FINAL
    WHERE time > fromUnixTimestamp64Milli({from:Int64})
      AND time <= fromUnixTimestamp64Milli({to:Int64})
  )
  GROUP BY t
)
ORDER BY t
LIMIT 3600

-- {from:Int64} = "1795665600000"
-- {to:Int64} = "1795687140000"
-- timeseries, at most 3600 rows, from 2026-11-26T04:00:00Z to 2026-11-26T09:59:00Z by 1m0s
-- column time time
-- column hosts_active value short
-- column vms_active value short
