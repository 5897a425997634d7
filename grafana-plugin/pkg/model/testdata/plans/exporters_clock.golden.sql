WITH sums AS (
  SELECT
    t,
    exporter,
    observation_domain,
    toFloat64(argMax(clock_skew_ms, abs(clock_skew_ms))) AS v1
  FROM (
    SELECT
      *,
      toDateTime(intDiv(toUnixTimestamp64Milli(time) - 1, 60000) * 60, 'UTC') AS t
    FROM (
      SELECT
        *
      FROM exporter_stats FINAL
      WHERE time > fromUnixTimestamp64Milli({from:Int64})
        AND time <= fromUnixTimestamp64Milli({to:Int64})
    )
  )
  WHERE t >= toDateTime(fromUnixTimestamp({first:Int64}), 'UTC')
    AND t < toDateTime(fromUnixTimestamp({end:Int64}), 'UTC')
  GROUP BY t, exporter, observation_domain
)
SELECT
  t AS time,
  exporter,
  observation_domain,
  v1 AS `clock_skew`
FROM sums
WHERE (exporter, observation_domain) IN (
  SELECT
    exporter,
    observation_domain
  FROM sums
  GROUP BY exporter, observation_domain
  ORDER BY sum(v1) DESC, exporter, observation_domain
  LIMIT 10
)
ORDER BY t, exporter, observation_domain
LIMIT 3600

-- {from:Int64} = "1795665600000"
-- {to:Int64} = "1795687140000"
-- {first:Int64} = "1795665600"
-- {end:Int64} = "1795687140"
-- timeseries, at most 3600 rows, from 2026-11-26T04:00:00Z to 2026-11-26T09:59:00Z by 1m0s
-- column time time
-- column exporter key of exporter
-- column observation_domain key of observation_domain
-- column clock_skew value ms
