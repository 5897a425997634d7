WITH sums AS (
  SELECT
    t,
    exporter,
    sum(flows * share) / 60 AS v1,
    sum(lost * share) / 60 AS v2
  FROM (
    SELECT
      *,
      toUnixTimestamp64Milli(time) AS ends,
      ends - toInt64(least(greatest(interval_ms, 1), 600000)) AS starts,
      arrayJoin(range(toUInt64(intDiv(starts, 60000)), toUInt64(intDiv(ends - 1, 60000) + 1))) AS n,
      toDateTime(n * 60, 'UTC') AS t,
      (least(ends, toInt64(n + 1) * 60000) - greatest(starts, toInt64(n) * 60000)) / (ends - starts) AS share
    FROM (
      SELECT
        *
      FROM exporter_stats FINAL
      WHERE time > fromUnixTimestamp64Milli({from:Int64})
        AND time <= fromUnixTimestamp64Milli({to:Int64})
        AND exporter BETWEEN {p1:IPv6} AND {p2:IPv6}
    )
  )
  WHERE t >= toDateTime(fromUnixTimestamp({first:Int64}), 'UTC')
    AND t < toDateTime(fromUnixTimestamp({end:Int64}), 'UTC')
  GROUP BY t, exporter
)
SELECT
  t AS time,
  exporter,
  v1 AS `flows`,
  v2 AS `lost`
FROM sums
WHERE (exporter) IN (
  SELECT
    exporter
  FROM sums
  GROUP BY exporter
  ORDER BY sum(v1) DESC, exporter
  LIMIT 5
)
ORDER BY t, exporter
LIMIT 1800

-- {p1:IPv6} = "::ffff:192.0.2.0"
-- {p2:IPv6} = "::ffff:192.0.2.255"
-- {from:Int64} = "1795665600000"
-- {to:Int64} = "1795687740000"
-- {first:Int64} = "1795665600"
-- {end:Int64} = "1795687140"
-- timeseries, at most 1800 rows, from 2026-11-26T04:00:00Z to 2026-11-26T09:59:00Z by 1m0s
-- column time time
-- column exporter key of exporter
-- column flows value short or 0
-- column lost value short or 0
