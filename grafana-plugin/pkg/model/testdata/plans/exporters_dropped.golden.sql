WITH sums AS (
  SELECT
    t,
    reason,
    sum(dropped_so) AS v1
  FROM (
    SELECT
      *,
      toDateTime(intDiv(toUnixTimestamp64Milli(time) - 1, 60000) * 60, 'UTC') AS t
    FROM (
      SELECT
        *,
        reason,
        dropped_so
      FROM (
        SELECT
          *
        FROM exporter_stats FINAL
        WHERE time > fromUnixTimestamp64Milli({from:Int64})
          AND time <= fromUnixTimestamp64Milli({to:Int64})
      )
      ARRAY JOIN mapKeys(dropped) AS reason, mapValues(dropped) AS dropped_so
    )
  )
  WHERE t >= toDateTime(fromUnixTimestamp({first:Int64}), 'UTC')
    AND t < toDateTime(fromUnixTimestamp({end:Int64}), 'UTC')
  GROUP BY t, reason
)
SELECT
  t AS time,
  reason,
  v1 AS `dropped`
FROM sums
WHERE (reason) IN (
  SELECT
    reason
  FROM sums
  GROUP BY reason
  ORDER BY sum(v1) DESC, reason
  LIMIT 10
)
ORDER BY t, reason
LIMIT 3600

-- {from:Int64} = "1795665600000"
-- {to:Int64} = "1795687140000"
-- {first:Int64} = "1795665600"
-- {end:Int64} = "1795687140"
-- timeseries, at most 3600 rows, from 2026-11-26T04:00:00Z to 2026-11-26T09:59:00Z by 1m0s
-- column time time
-- column reason key
-- column dropped value short or 0
