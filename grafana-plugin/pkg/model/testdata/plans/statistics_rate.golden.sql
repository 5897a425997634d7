WITH figures AS (
  SELECT
    t,
    service,
    sum(v1) AS v1,
    sum(v2) AS v2
  FROM (
    SELECT
      t,
      machine,
      service,
      toFloat64(sum(socket_drops) * 1000 / greatest(sum(interval_ms), 1)) AS v1,
      toFloat64(sum(flows) * 1000 / greatest(sum(interval_ms), 1)) AS v2
    FROM (
      SELECT
        *,
        toDateTime(intDiv(toUnixTimestamp64Milli(time) - 1, 60000) * 60, 'UTC') AS t
      FROM server_stats FINAL
      WHERE time > fromUnixTimestamp64Milli({from:Int64})
        AND time <= fromUnixTimestamp64Milli({to:Int64})
        AND machine = {machine:String}
    )
    GROUP BY t, machine, service
  )
  GROUP BY t, service
)
SELECT
  t AS time,
  service,
  v1 AS `socket_drops`,
  v2 AS `flows`
FROM figures
WHERE (service) IN (
  SELECT
    service
  FROM figures
  GROUP BY service
  ORDER BY max(v1) DESC, service
  LIMIT 10
)
ORDER BY t, service
LIMIT 3600

-- {from:Int64} = "1795665600000"
-- {to:Int64} = "1795687140000"
-- {machine:String} = "weir-1"
-- timeseries, at most 3600 rows, from 2026-11-26T04:00:00Z to 2026-11-26T09:59:00Z by 1m0s
-- column time time
-- column service key
-- column socket_drops value short
-- column flows value short
